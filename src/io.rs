//! Streams that read as much at once as their flow deserves. Large reads make a fast stream cheap; but what was
//! read is held until the other side takes it, so a stream whose other side stalls must have read little.
//! Every stream reads [`SMALL`] pieces until it has carried more than socket buffers hold; then, while it
//! stays fast, and while the [`Budget`] of its listener has room, [`LARGE`] ones.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf, Take};
use tokio::time::Instant;

/// What a stream reads at once by default, in bytes.
pub const SMALL: usize = 64 * 1024;
/// What a fast stream reads at once, in bytes; also the most that hyper may buffer of a connection.
pub const LARGE: usize = 256 * 1024;

/// A stalled reader's socket buffers can swallow this much before it shows: Linux gives a connection up to
/// 6 MiB to receive and 4 MiB to send.
const PROVEN_AFTER: u64 = 16 << 20;
/// A stream that paused for longer than this is not fast.
const PAUSE: Duration = Duration::from_millis(10);
/// Streams with large reads at once, for each budget. Each holds three reads at most: one being filled, one on
/// its way, one being written.
const MOST_LARGE: usize = 24;

/// How many streams read large pieces now.
#[derive(Clone, Default)]
pub struct Budget(Arc<AtomicUsize>);

impl Budget {
    fn take(&self) -> Option<Share> {
        let room = |taken: usize| (taken < MOST_LARGE).then_some(taken + 1);
        self.0.try_update(Ordering::Relaxed, Ordering::Relaxed, room).ok()?;
        Some(Share(self.clone()))
    }
}

/// Leave to read large pieces, until dropped.
struct Share(Budget);

impl Drop for Share {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A stream that adapts its reads; it writes as the stream inside does.
pub struct Adaptive<S> {
    inner: Take<S>,
    budget: Budget,
    /// Bytes read since the last pause.
    carried: u64,
    last_read: Option<Instant>,
    large: Option<Share>,
}

impl<S: AsyncRead> Adaptive<S> {
    pub fn new(inner: S, budget: Budget) -> Self {
        Self { inner: inner.take(0), budget, carried: 0, last_read: None, large: None }
    }

    pub fn get_ref(&self) -> &S {
        self.inner.get_ref()
    }

    fn note(&mut self, bytes: usize) {
        let now = Instant::now();
        let paused = self.last_read.replace(now).is_none_or(|last| now - last > PAUSE);
        if paused {
            self.carried = 0;
            self.large = None;
        }
        self.carried += u64::try_from(bytes).expect("a length fits");
        if self.large.is_none() && self.carried > PROVEN_AFTER {
            self.large = self.budget.take();
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Adaptive<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let most = if this.large.is_some() { LARGE } else { SMALL };
        this.inner.set_limit(u64::try_from(most).expect("a length fits"));
        let polled = Pin::new(&mut this.inner).poll_read(cx, buf);
        if polled.is_ready() {
            this.note(buf.filled().len() - before);
        }
        polled
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Adaptive<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(self.get_mut().inner.get_mut()).poll_write(cx, data)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(self.get_mut().inner.get_mut()).poll_write_vectored(cx, data)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.get_ref().is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.get_mut().inner.get_mut()).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.get_mut().inner.get_mut()).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A stream that always has bytes.
    struct Endless;

    impl AsyncRead for Endless {
        fn poll_read(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buf: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            buf.initialize_unfilled();
            buf.advance(buf.remaining());
            Poll::Ready(Ok(()))
        }
    }

    async fn read(stream: &mut Adaptive<Endless>) -> usize {
        stream.read(&mut vec![0; 2 * LARGE]).await.expect("it never fails")
    }

    async fn prove(stream: &mut Adaptive<Endless>) {
        for _ in 0..=PROVEN_AFTER / u64::try_from(SMALL).expect("fits") {
            read(stream).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn large_reads_are_earned_and_lost_by_a_pause() {
        let mut stream = Adaptive::new(Endless, Budget::default());
        assert_eq!(read(&mut stream).await, SMALL);
        prove(&mut stream).await;
        assert_eq!(read(&mut stream).await, LARGE);
        tokio::time::advance(PAUSE * 2).await;
        read(&mut stream).await;
        assert_eq!(read(&mut stream).await, SMALL);
    }

    #[tokio::test(start_paused = true)]
    async fn only_so_many_streams_read_large() {
        let budget = Budget::default();
        let mut streams: Vec<_> = (0..=MOST_LARGE).map(|_| Adaptive::new(Endless, budget.clone())).collect();
        for stream in &mut streams {
            prove(stream).await;
        }
        let mut last = streams.pop().expect("the one too many");
        assert_eq!(read(&mut streams[0]).await, LARGE);
        assert_eq!(read(&mut last).await, SMALL);
        drop(streams);
        read(&mut last).await;
        assert_eq!(read(&mut last).await, LARGE);
    }
}
