//! One client connection: its timeouts, and the phases that decide which of them counts. A head must come
//! within `header_timeout` of its first byte (of the accept, for the first one), the next request within
//! `idle_timeout`, and a client that takes nothing of its answer for `idle_timeout` is cut. While a request is
//! being served, the body adapters time the client's sending; here it is only noticed when the client leaves. A
//! head whose lines do not end in CRLF is spoilt on its way in, so that hyper refuses it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use memchr::memchr;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use super::busy::{Busy, Work};
use super::presence::{Presence, Watched};

/// Between looks at a client whose bytes wait unread: nothing wakes anybody when it leaves.
const LOOK_EVERY: Duration = Duration::from_millis(250);

#[derive(Clone, Copy, Debug)]
pub(super) struct Timeouts {
    pub header: Duration,
    pub idle: Duration,
}

/// What the connection waits for from its client.
enum Waiting {
    /// The rest of a head, since then.
    Head(Instant),
    /// The first byte of the next head, since then.
    Next(Instant),
    /// Nothing: a request is being served.
    Served,
}

/// A client's stream that gives up on a client that is too slow.
pub(super) struct ClientStream<S> {
    inner: S,
    timeouts: Timeouts,
    busy: Busy,
    waiting: Waiting,
    line_ends: LineEnds,
    read_timer: Timer,
    write_timer: Timer,
    write_blocked_since: Option<Instant>,
    look_timer: Timer,
}

impl<S> ClientStream<S> {
    pub(super) fn new(inner: S, timeouts: Timeouts, busy: Busy) -> Self {
        Self {
            inner,
            timeouts,
            busy,
            waiting: Waiting::Head(Instant::now()),
            line_ends: LineEnds::default(),
            read_timer: Timer::default(),
            write_timer: Timer::default(),
            write_blocked_since: None,
            look_timer: Timer::default(),
        }
    }

    /// Follows the service from one request to the next.
    fn follow(&mut self) {
        let work = self.busy.work();
        match (&self.waiting, work) {
            (Waiting::Head(_) | Waiting::Next(_), Work::Request) => self.waiting = Waiting::Served,
            (Waiting::Served, Work::NoneSince(since)) => self.waiting = Waiting::Next(since),
            // One that was answered between two looks.
            (Waiting::Head(began), Work::NoneSince(since)) if since > *began => {
                self.waiting = Waiting::Next(since);
            }
            (Waiting::Head(_) | Waiting::Next(_), Work::NoneSince(_)) | (Waiting::Served, Work::Request) => {}
        }
    }

    fn read_deadline(&self) -> Instant {
        match self.waiting {
            Waiting::Head(since) => since + self.timeouts.header,
            Waiting::Next(since) => since + self.timeouts.idle,
            // Nobody polls again when the answer has ended: look then whether it has.
            Waiting::Served => Instant::now() + self.timeouts.idle,
        }
    }

    fn after_write(
        &mut self,
        polled: Poll<io::Result<usize>>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        match &polled {
            Poll::Pending => return self.poll_stalled(cx),
            Poll::Ready(Ok(bytes)) => self.busy.written(*bytes),
            Poll::Ready(Err(_)) => {}
        }
        self.write_blocked_since = None;
        polled
    }

    fn poll_stalled<T>(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        let since = *self.write_blocked_since.get_or_insert_with(Instant::now);
        ready!(self.write_timer.poll(since + self.timeouts.idle, cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client does not read")))
    }
}

impl<S: Watched> ClientStream<S> {
    /// An error once the client of the request being served has left.
    fn check_presence(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        self.follow();
        if !matches!(self.waiting, Waiting::Served) {
            return Ok(());
        }
        match self.inner.presence(cx) {
            Presence::Silent => Ok(()),
            Presence::Unread => {
                // Its wake-up brings the next flush, and with it the next look.
                if self.look_timer.poll(Instant::now() + LOOK_EVERY, cx).is_ready() {
                    cx.waker().wake_by_ref();
                }
                Ok(())
            }
            Presence::Gone => Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the client has left")),
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for ClientStream<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let polled = Pin::new(&mut this.inner).poll_read(cx, buf);
        this.follow();
        if polled.is_ready() {
            if buf.filled().len() > before && matches!(this.waiting, Waiting::Next(_)) {
                this.waiting = Waiting::Head(Instant::now());
                this.line_ends = LineEnds::default();
            }
            if matches!(this.waiting, Waiting::Head(_)) {
                this.line_ends.spoil_bare(&mut buf.filled_mut()[before..]);
            }
            return polled;
        }
        let deadline = this.read_deadline();
        ready!(this.read_timer.poll(deadline, cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client sends nothing")))
    }
}

impl<S: AsyncWrite + Watched + Unpin> AsyncWrite for ClientStream<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.inner).poll_write(cx, data);
        this.after_write(polled, cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.inner).poll_write_vectored(cx, data);
        this.after_write(polled, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    /// hyper calls this whenever it does anything, so this is where a client's going is noticed.
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.check_presence(cx)?;
        let polled = Pin::new(&mut this.inner).poll_flush(cx);
        if polled.is_pending() { this.poll_stalled(cx) } else { polled }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(cx)
    }
}

/// Looks at the line ends of a head. hyper takes a bare LF for one, as RFC 9112 §2.2 allows; a proxy in front that
/// does not would see other lines than we do, so it is refused.
#[derive(Default)]
struct LineEnds {
    /// The last bytes of what came before.
    before: [u8; 3],
    head_is_over: bool,
}

impl LineEnds {
    /// Makes a NUL of every LF that no CR precedes: no head may hold one.
    fn spoil_bare(&mut self, bytes: &mut [u8]) {
        if self.head_is_over || bytes.is_empty() {
            return;
        }
        let mut from = 0;
        while let Some(found) = memchr(b'\n', &bytes[from..]) {
            let at = from + found;
            match self.three_before(bytes, at) {
                [b'\r', b'\n', b'\r'] => {
                    self.head_is_over = true;
                    return;
                }
                [_, _, b'\r'] => {}
                _ => bytes[at] = 0,
            }
            from = at + 1;
        }
        self.before = self.three_before(bytes, bytes.len());
    }

    fn three_before(&self, bytes: &[u8], at: usize) -> [u8; 3] {
        let mut three = [0; 3];
        for (back, slot) in (1..=3).zip(three.iter_mut().rev()) {
            *slot = match at.checked_sub(back) {
                Some(index) => bytes[index],
                None => self.before[3 + at - back],
            };
        }
        three
    }
}

/// A deadline that moves often and passes rarely: the timer wheel is touched when the timer fires, not when
/// the deadline moves. It may fire early, and is then set to what is left.
#[derive(Default)]
struct Timer(Option<Pin<Box<Sleep>>>);

impl Timer {
    fn poll(&mut self, deadline: Instant, cx: &mut Context<'_>) -> Poll<()> {
        let sleep = self.0.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if sleep.deadline() > deadline {
            sleep.as_mut().reset(deadline);
        }
        loop {
            ready!(sleep.as_mut().poll(cx));
            if Instant::now() >= deadline {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(deadline);
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

    use super::*;

    impl Watched for DuplexStream {
        fn presence(&self, _: &mut Context<'_>) -> Presence {
            Presence::Silent
        }
    }

    const TIMEOUTS: Timeouts = Timeouts { header: Duration::from_secs(10), idle: Duration::from_mins(1) };

    #[tokio::test(start_paused = true)]
    async fn a_head_has_ten_seconds_and_the_next_one_sixty() {
        let (mut client, server) = duplex(64);
        let busy = Busy::new();
        let mut server = ClientStream::new(server, TIMEOUTS, busy.clone());
        let started = Instant::now();
        let mut buffer = [0; 8];
        client.write_all(b"G").await.expect("open");
        server.read_exact(&mut buffer[..1]).await.expect("a byte");
        drop(busy.begin());
        server.follow();
        assert_eq!(server.read(&mut buffer).await.expect_err("silence").kind(), io::ErrorKind::TimedOut);
        assert_eq!(started.elapsed().as_secs(), 10);

        // A request was served: the next may take longer to begin, but not to go on.
        let guard = busy.begin();
        server.follow();
        drop(guard);
        server.follow();
        tokio::time::advance(Duration::from_secs(50)).await;
        client.write_all(b"G").await.expect("open");
        server.read_exact(&mut buffer[..1]).await.expect("within the idle time");
        let began = Instant::now();
        assert_eq!(server.read(&mut buffer).await.expect_err("silence").kind(), io::ErrorKind::TimedOut);
        assert_eq!(began.elapsed().as_secs(), 10);
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_is_answered_at_once_counts_as_one() {
        let (mut client, server) = duplex(64);
        let busy = Busy::new();
        let mut server = ClientStream::new(server, TIMEOUTS, busy.clone());
        let mut buffer = [0; 8];
        client.write_all(b"G").await.expect("open");
        server.read_exact(&mut buffer[..1]).await.expect("a byte");
        tokio::time::advance(Duration::from_millis(1)).await;
        drop(busy.begin());
        let started = Instant::now();
        assert_eq!(server.read(&mut buffer).await.expect_err("silence").kind(), io::ErrorKind::TimedOut);
        assert_eq!(started.elapsed().as_secs(), 60);
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_timed_while_a_request_is_served() {
        let (_client, server) = duplex(64);
        let busy = Busy::new();
        let mut server = ClientStream::new(server, TIMEOUTS, busy.clone());
        let _guard = busy.begin();
        let waited = tokio::time::timeout(Duration::from_hours(1), server.read(&mut [0; 8])).await;
        assert!(waited.is_err(), "{waited:?}");
    }

    #[test]
    fn bare_line_feeds_of_a_head_are_spoilt_wherever_it_is_cut() {
        for (sent, seen) in [
            ("GET / HTTP/1.1\r\nA: b\r\n\r\nbody\nbody", "GET / HTTP/1.1\r\nA: b\r\n\r\nbody\nbody"),
            ("GET / HTTP/1.1\nA: b\r\n\r\n", "GET / HTTP/1.1\0A: b\r\n\r\n"),
            ("GET / HTTP/1.1\r\nA: b\n\r\nx\n", "GET / HTTP/1.1\r\nA: b\0\r\nx\0"),
            ("GET / HTTP/1.1\n\n", "GET / HTTP/1.1\0\0"),
            ("\nGET / HTTP/1.1\r\n\r\n", "\0GET / HTTP/1.1\r\n\r\n"),
        ] {
            for cut in 0..=sent.len() {
                let mut line_ends = LineEnds::default();
                let mut bytes = sent.as_bytes().to_vec();
                let (first, rest) = bytes.split_at_mut(cut);
                line_ends.spoil_bare(first);
                line_ends.spoil_bare(rest);
                assert_eq!(String::from_utf8(bytes).expect("text"), seen, "cut at {cut}");
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_does_not_read_is_cut() {
        let (_client, server) = duplex(8);
        let mut server = ClientStream::new(server, TIMEOUTS, Busy::new());
        let started = Instant::now();
        assert_eq!(server.write_all(&[0; 64]).await.expect_err("stalled").kind(), io::ErrorKind::TimedOut);
        assert_eq!(started.elapsed().as_secs(), 60);
    }
}
