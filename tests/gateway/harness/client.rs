//! A raw HTTP/1.1 client: sends any bytes, halves of bodies too, and tells a clean end from a broken one.

use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::signer::Request;
use super::text::element;
use super::wire::{End, Head, Wire, is_timeout};

pub struct Client {
    wire: Wire,
}

#[derive(Clone, Debug)]
pub struct Response {
    pub status: u16,
    pub head: Head,
    pub body: Vec<u8>,
    pub end: End,
    /// Statuses of the interim answers before it.
    pub interim: Vec<u16>,
}

impl Response {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.get(name)
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The S3 error code, from the body or for HEAD from its header.
    pub fn code(&self) -> String {
        let own = self.header("x-amz-error-code").map(Into::into);
        element(&self.text(), "Code").or(own).unwrap_or_default()
    }

    /// The text of an element of an XML answer.
    pub fn element(&self, name: &str) -> Option<String> {
        element(&self.text(), name)
    }

    pub fn elements(&self, name: &str) -> Vec<String> {
        super::text::elements(&self.text(), name)
    }

    /// Everything the client saw, as one text.
    pub fn everything(&self) -> String {
        format!("{}{}", String::from_utf8_lossy(&self.head.raw), self.text())
    }

    pub fn is_whole(&self) -> bool {
        self.end == End::Clean
    }

    pub fn announces_close(&self) -> bool {
        self.header("connection").is_some_and(|v| v.eq_ignore_ascii_case("close"))
    }

    #[track_caller]
    pub fn assert_status(&self, status: u16) -> &Self {
        assert_eq!(self.status, status, "{}", self.everything());
        self
    }
}

impl Client {
    pub fn connect(addr: SocketAddr) -> Self {
        Self { wire: Wire::new(TcpStream::connect(addr).expect("the gateway listens")) }
    }

    /// None where nobody listens.
    pub fn try_connect(addr: SocketAddr) -> Option<Self> {
        Some(Self { wire: Wire::new(TcpStream::connect(addr).ok()?) })
    }

    pub fn wire(&mut self) -> &mut Wire {
        &mut self.wire
    }

    /// Writes bytes as they are; a peer that already left is no failure here.
    pub fn write(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.wire.write(bytes.as_ref()).is_ok()
    }

    /// One exchange. The body is written while the answer is read, so an early answer is not missed.
    #[track_caller]
    pub fn send(&mut self, request: &Request) -> Response {
        self.try_send(request).expect("an answer")
    }

    pub fn try_send(&mut self, request: &Request) -> Option<Response> {
        let bytes = request.bytes();
        self.exchange(&bytes, &request.method)
    }

    /// Sends these very bytes and reads one answer; none when the peer closed without one.
    pub fn exchange(&mut self, bytes: &[u8], method: &str) -> Option<Response> {
        let writer = self.wire.stream().try_clone().expect("a socket can be cloned");
        let answered = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| write_until(writer, bytes, &answered));
            let response = self.response(method);
            answered.store(true, Ordering::Release);
            response
        })
    }

    /// Reads the next final answer.
    pub fn response(&mut self, method: &str) -> Option<Response> {
        let (head, interim) = self.response_head()?;
        let mut body = Vec::new();
        let end = self.wire.body(head.response_framing(method), &mut |piece| {
            body.extend_from_slice(piece);
            true
        });
        Some(Response { status: status(&head), head, body, end, interim })
    }

    /// Reads the next final head and leaves its body on the wire.
    pub fn response_head(&mut self) -> Option<(Head, Vec<u16>)> {
        let mut interim = Vec::new();
        loop {
            let head = self.wire.head()?;
            let status = status(&head);
            if status >= 200 {
                return Some((head, interim));
            }
            interim.push(status);
        }
    }

    /// Waits until the peer closes; how long that took.
    pub fn closed_after(&mut self) -> Duration {
        let start = Instant::now();
        assert!(self.wire.peer_goes(), "the peer spoke or stayed instead of closing");
        start.elapsed()
    }

    /// Goes away without a word.
    pub fn hang_up(self) {
        drop(self);
    }
}

fn status(head: &Head) -> u16 {
    head.word(1).parse().expect("a status line has a status")
}

/// Writes it all, but does not wait for ever on a peer that has answered and reads no more.
fn write_until(mut stream: TcpStream, mut bytes: &[u8], answered: &AtomicBool) {
    const TICK: Duration = Duration::from_millis(50);
    stream.set_write_timeout(Some(TICK)).expect("a write timeout can be set");
    let mut idle = 0;
    while !bytes.is_empty() && idle < 20 {
        match stream.write(bytes) {
            Ok(n) => bytes = &bytes[n..],
            Err(e) if is_timeout(&e) => idle += u32::from(answered.load(Ordering::Acquire)),
            Err(_) => break,
        }
    }
    stream.set_write_timeout(None).expect("a write timeout can be unset");
}
