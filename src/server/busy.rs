//! What a connection's stream and its service know of each other: whether a request is being served, and what of
//! its answer the socket has not taken yet.

use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::task::AtomicWaker;
use http_body::{Body, Frame, SizeHint};
use tokio::time::Instant;

/// Whether a request is between its head and the end of its answer, and since when none is; and what of the
/// answer waits to be written. Shared by a connection's stream and its service.
#[derive(Clone)]
pub(super) struct Busy(Arc<Shared>);

struct Shared {
    work: Mutex<Work>,
    unwritten: Unwritten,
}

#[derive(Clone, Copy)]
pub(super) enum Work {
    Request,
    NoneSince(Instant),
}

impl Busy {
    pub(super) fn new() -> Self {
        let work = Mutex::new(Work::NoneSince(Instant::now()));
        Self(Arc::new(Shared { work, unwritten: Unwritten::default() }))
    }

    /// A request begins; it ends when the guard goes.
    pub(super) fn begin(&self) -> BusyGuard {
        *self.work_mut() = Work::Request;
        self.0.unwritten.clear();
        BusyGuard(self.clone())
    }

    pub(super) fn work(&self) -> Work {
        *self.work_mut()
    }

    /// The socket has taken so many bytes.
    pub(super) fn written(&self, bytes: usize) {
        self.0.unwritten.written(bytes);
    }

    /// Never contended: stream and service are polled by one task.
    fn work_mut(&self) -> MutexGuard<'_, Work> {
        self.0.work.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) struct BusyGuard(Busy);

impl Drop for BusyGuard {
    fn drop(&mut self) {
        *self.0.work_mut() = Work::NoneSince(Instant::now());
    }
}

/// Bytes of an answer's body that hyper has and the socket has not. Heads and chunk framing are written without
/// being counted, so the count may be a little low; it is never too high for long.
#[derive(Default)]
struct Unwritten {
    bytes: AtomicUsize,
    body: AtomicWaker,
}

impl Unwritten {
    fn add(&self, bytes: usize) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    fn clear(&self) {
        self.bytes.store(0, Ordering::Relaxed);
    }

    fn written(&self, bytes: usize) {
        let before = self.bytes.load(Ordering::Relaxed);
        if before > 0 {
            self.bytes.store(before.saturating_sub(bytes), Ordering::Relaxed);
            if before <= bytes {
                self.body.wake();
            }
        }
    }

    /// Whether there are any; if so, the body is woken when there are none.
    fn is_pending(&self, cx: &Context<'_>) -> bool {
        let pending = self.bytes.load(Ordering::Relaxed) > 0;
        if pending {
            self.body.register(cx.waker());
        }
        pending
    }
}

/// A response body that keeps its connection busy until it is gone, and hands hyper the next piece only when
/// the client's socket has taken the one before: what waits to be written is one piece, never a queue.
pub(super) struct Guarded<B> {
    pub body: B,
    pub busy: BusyGuard,
}

impl<B: Body<Data = Bytes> + Unpin> Body for Guarded<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = self.get_mut();
        let unwritten = &this.busy.0.0.unwritten;
        if unwritten.is_pending(cx) {
            return Poll::Pending;
        }
        let polled = Pin::new(&mut this.body).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &polled {
            unwritten.add(frame.data_ref().map_or(0, Bytes::len));
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
