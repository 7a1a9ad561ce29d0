//! The body of an upstream request: none, a document the gateway wrote, or a client's upload. The upload sits
//! in a slot that the sender can look into, so that a connection that failed before taking a byte costs the
//! client nothing: the body is put into the next try.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use crate::body::upload::{Upload, UploadError};

pub(super) enum UpstreamBody {
    Empty,
    Document(Bytes),
    Upload(Slot),
}

/// A client's upload, shared between the sender and the connection that carries it.
#[derive(Clone)]
pub(super) struct Slot(Arc<Mutex<Upload<Incoming>>>);

impl Slot {
    pub(super) fn new(upload: Upload<Incoming>) -> Self {
        Self(Arc::new(Mutex::new(upload)))
    }

    fn upload(&self) -> MutexGuard<'_, Upload<Incoming>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl UpstreamBody {
    /// The same body for one more try. Of an upload, it is the very same.
    pub(super) fn again(&self) -> Self {
        match self {
            Self::Empty => Self::Empty,
            Self::Document(bytes) => Self::Document(bytes.clone()),
            Self::Upload(slot) => Self::Upload(slot.clone()),
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
            Self::Upload(slot) => Pin::new(&mut *slot.upload()).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Document(bytes) => bytes.is_empty(),
            Self::Upload(slot) => slot.upload().is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Document(bytes) => SizeHint::with_exact(u64::try_from(bytes.len()).expect("a length fits")),
            Self::Upload(slot) => slot.upload().size_hint(),
        }
    }
}
