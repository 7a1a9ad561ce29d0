//! A client's body as bytes or a fault: a lost connection is an incomplete body, a silent one a timeout.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::Body;

use super::count;
use super::patience::Patience;
use crate::error::{Code, Error, Result};

pub(super) struct Source<B> {
    body: B,
    patience: Patience,
}

impl<B> Source<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    pub(super) fn new(body: B, idle: Duration) -> Self {
        Self { body, patience: Patience::new(idle).with_floor() }
    }

    pub(super) fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>>> {
        loop {
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
            return Poll::Ready(Ok(Some(data)));
        }
    }
}
