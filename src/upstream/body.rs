//! The body of an upstream request: none, a document the gateway wrote, or a client's upload. The upload sits
//! in a slot that the sender keeps, so that a try that failed before it took a byte costs the client nothing:
//! the body is put into the next one. Only the latest try may take of it; an earlier one, whose connection may
//! still be there, is told that its body has failed, and closes.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use crate::body::upload::{Upload, UploadError};

pub(super) enum UpstreamBody {
    Empty,
    Document(Bytes),
    Upload(Slot),
}

/// A client's upload, shared between the sender and the connections that try to carry it.
pub(super) struct Slot {
    shared: Arc<Mutex<Shared>>,
    try_number: u32,
}

struct Shared {
    upload: Upload<Incoming>,
    latest_try: u32,
    /// The connection that waits for more of the body.
    waiting: Option<Waker>,
}

impl Slot {
    pub(super) fn new(upload: Upload<Incoming>) -> Self {
        let shared = Shared { upload, latest_try: 0, waiting: None };
        Self { shared: Arc::new(Mutex::new(shared)), try_number: 0 }
    }

    fn next_try(&self) -> Self {
        let mut shared = self.shared();
        shared.latest_try += 1;
        let try_number = shared.latest_try;
        if let Some(earlier) = shared.waiting.take() {
            earlier.wake();
        }
        drop(shared);
        Self { shared: self.shared.clone(), try_number }
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn poll_frame(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, UploadError>>> {
        let mut shared = self.shared();
        if shared.latest_try != self.try_number {
            return Poll::Ready(Some(Err(UploadError::Aborted)));
        }
        let polled = Pin::new(&mut shared.upload).poll_frame(cx);
        if polled.is_pending() && !shared.waiting.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            shared.waiting = Some(cx.waker().clone());
        }
        polled
    }
}

impl UpstreamBody {
    /// The same body for one more try. Of an upload, it is the very same.
    pub(super) fn again(&self) -> Self {
        match self {
            Self::Empty => Self::Empty,
            Self::Document(bytes) => Self::Document(bytes.clone()),
            Self::Upload(slot) => Self::Upload(slot.next_try()),
        }
    }

    pub(super) fn length(&self) -> u64 {
        self.size_hint().exact().expect("every upstream body knows its length")
    }
}

impl Body for UpstreamBody {
    type Data = Bytes;
    type Error = UploadError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, UploadError>>> {
        match self.get_mut() {
            Self::Empty => Poll::Ready(None),
            Self::Document(bytes) if bytes.is_empty() => Poll::Ready(None),
            Self::Document(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Self::Upload(slot) => slot.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Document(bytes) => bytes.is_empty(),
            Self::Upload(slot) => slot.shared().upload.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Document(bytes) => SizeHint::with_exact(u64::try_from(bytes.len()).expect("a length fits")),
            Self::Upload(slot) => slot.shared().upload.size_hint(),
        }
    }
}
