//! HTTP/1.1 as bytes on a socket: what the origin and the client of these tests both read. Knows framing and
//! nothing of S3; tells a clean end from a broken one, which no HTTP library lets a test see.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// How long a peer may be silent before a read counts as lost. Longer than anything a test waits for.
const PATIENCE: Duration = Duration::from_secs(15);

/// A start line and headers, with the exact bytes they came in.
#[derive(Clone, Debug, Default)]
pub struct Head {
    pub line: String,
    pub headers: Vec<(String, String)>,
    pub raw: Vec<u8>,
}

impl Head {
    pub fn get(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The n-th word of the start line.
    pub fn word(&self, n: usize) -> &str {
        self.line.split(' ').nth(n).unwrap_or_default()
    }

    fn parse(raw: Vec<u8>) -> Self {
        let text = String::from_utf8_lossy(&raw).into_owned();
        let mut lines = text.split("\r\n");
        let line = lines.next().unwrap_or_default().to_owned();
        let headers = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
            .collect();
        Self { line, headers, raw }
    }

    /// How the body after a request head is framed.
    pub fn request_framing(&self) -> Framing {
        self.explicit_framing().unwrap_or(Framing::Length(0))
    }

    /// How the body after a response head is framed.
    pub fn response_framing(&self, method: &str) -> Framing {
        let status = self.word(1);
        if method == "HEAD" || status == "204" || status == "304" || status.starts_with('1') {
            return Framing::Length(0);
        }
        self.explicit_framing().unwrap_or(Framing::UntilClose)
    }

    fn explicit_framing(&self) -> Option<Framing> {
        if self.get("transfer-encoding").is_some_and(|v| v.eq_ignore_ascii_case("chunked")) {
            return Some(Framing::Chunked);
        }
        self.get("content-length").map(|v| Framing::Length(v.parse().expect("a content-length is a number")))
    }
}

#[derive(Clone, Copy, Debug)]
pub enum Framing {
    Length(u64),
    Chunked,
    UntilClose,
}

/// How a body ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// As its framing promised.
    Clean,
    /// The peer closed, reset or went silent before the promised end.
    Broken,
}

/// A socket with what was read ahead.
pub struct Wire {
    stream: TcpStream,
    ahead: Vec<u8>,
}

impl Wire {
    pub fn new(stream: TcpStream) -> Self {
        stream.set_nodelay(true).expect("nodelay can be set");
        stream.set_read_timeout(Some(PATIENCE)).expect("a read timeout can be set");
        Self { stream, ahead: Vec::new() }
    }

    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// One read more. 0 is the end of the stream.
    fn fill(&mut self) -> io::Result<usize> {
        let mut piece = vec![0; 64 << 10];
        let n = self.stream.read(&mut piece)?;
        self.ahead.extend_from_slice(&piece[..n]);
        Ok(n)
    }

    /// Waits for the peer to say anything more or to go; true when it went.
    pub fn peer_goes(&mut self) -> bool {
        while self.ahead.is_empty() {
            match self.fill() {
                Ok(0) => return true,
                Ok(_) => {}
                Err(e) => return !is_timeout(&e),
            }
        }
        false
    }

    /// The next head, or none when the peer closed or reset instead of starting one.
    pub fn head(&mut self) -> Option<Head> {
        loop {
            if let Some(at) = find(&self.ahead, b"\r\n\r\n") {
                let rest = self.ahead.split_off(at + 4);
                return Some(Head::parse(std::mem::replace(&mut self.ahead, rest)));
            }
            match self.fill() {
                Ok(0) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    }

    /// Reads a body to its end, giving each piece to `sink`; `sink` says whether to go on.
    pub fn body(&mut self, framing: Framing, sink: &mut dyn FnMut(&[u8]) -> bool) -> End {
        match framing {
            Framing::Length(n) => self.take(n, sink),
            Framing::Chunked => self.take_chunks(sink),
            Framing::UntilClose => self.take_rest(sink),
        }
    }

    fn take(&mut self, mut n: u64, sink: &mut dyn FnMut(&[u8]) -> bool) -> End {
        while n > 0 {
            if self.ahead.is_empty() && !matches!(self.fill(), Ok(1..)) {
                return End::Broken;
            }
            let now = self.ahead.len().min(usize::try_from(n).unwrap_or(usize::MAX));
            let rest = self.ahead.split_off(now);
            let piece = std::mem::replace(&mut self.ahead, rest);
            n -= u64::try_from(now).expect("a length fits");
            if !sink(&piece) {
                return End::Broken;
            }
        }
        End::Clean
    }

    fn take_chunks(&mut self, sink: &mut dyn FnMut(&[u8]) -> bool) -> End {
        loop {
            let Some(line) = self.line() else {
                return End::Broken;
            };
            let size = line.split(';').next().unwrap_or_default().trim();
            let Ok(size) = u64::from_str_radix(size, 16) else {
                return End::Broken;
            };
            if size == 0 {
                return if self.trailers() { End::Clean } else { End::Broken };
            }
            if self.take(size, sink) == End::Broken || self.line().as_deref() != Some("") {
                return End::Broken;
            }
        }
    }

    fn trailers(&mut self) -> bool {
        loop {
            match self.line() {
                None => return false,
                Some(line) if line.is_empty() => return true,
                Some(_) => {}
            }
        }
    }

    fn line(&mut self) -> Option<String> {
        loop {
            if let Some(at) = find(&self.ahead, b"\r\n") {
                let rest = self.ahead.split_off(at + 2);
                let line = std::mem::replace(&mut self.ahead, rest);
                return Some(String::from_utf8_lossy(&line[..at]).into_owned());
            }
            if !matches!(self.fill(), Ok(1..)) {
                return None;
            }
        }
    }

    fn take_rest(&mut self, sink: &mut dyn FnMut(&[u8]) -> bool) -> End {
        loop {
            if !self.ahead.is_empty() && !sink(&std::mem::take(&mut self.ahead)) {
                return End::Broken;
            }
            match self.fill() {
                Ok(0) => return End::Clean,
                Ok(_) => {}
                Err(_) => return End::Broken,
            }
        }
    }

    /// Closes with a reset instead of an orderly end.
    pub fn reset(self) {
        let socket = socket2::SockRef::from(&self.stream);
        socket.set_linger(Some(Duration::ZERO)).expect("linger can be set");
    }
}

pub fn is_timeout(e: &io::Error) -> bool {
    matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

pub fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    memchr::memmem::find(haystack, needle)
}
