//! A client's body as bytes or a fault: a lost connection is an incomplete body, a silent one a timeout. What
//! came is held while the user's bandwidth has no room for it; meanwhile nothing is read, and nobody is silent.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::Body;

use super::count;
use super::pace::Pacer;
use super::patience::Patience;
use crate::error::{Code, Error, Result};

pub(super) struct Source<B> {
    body: B,
    patience: Patience,
    pacer: Pacer,
}

impl<B> Source<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    pub(super) fn new(body: B, idle: Duration) -> Self {
        Self { body, patience: Patience::new(idle).with_floor(), pacer: Pacer::default() }
    }

    pub(super) fn pace(&mut self, pacer: Pacer) {
        self.pacer = pacer;
    }

    pub(super) fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>>> {
        loop {
            if let Some(data) = ready!(self.pacer.poll_held(cx)) {
                return Poll::Ready(Ok(Some(data)));
            }
            let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) else {
                let _exhausted = ready!(self.patience.poll_exhausted(cx));
                return Poll::Ready(Err(Code::RequestTimeout.into()));
            };
            let Some(frame) = frame else {
                return Poll::Ready(Ok(None));
            };
            let frame = frame.map_err(|error| Error::new(Code::IncompleteBody).because(error))?;
            // HTTP's own trailers are not S3's, which stand inside the aws-chunked body.
            let Ok(data) = frame.into_data() else { continue };
            if self.patience.progress(count(&data)).is_err() {
                return Poll::Ready(Err(Code::RequestTimeout.into()));
            }
            if let Some(data) = self.pacer.hold(data) {
                return Poll::Ready(Ok(Some(data)));
            }
        }
    }
}
