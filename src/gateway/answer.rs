//! An answer before it has a request id and an ear for its end: status, headers, content.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use serde::Serialize;

use crate::error::{Code, Error, Result};
use crate::gateway::keep_alive::Trickle;

pub(super) struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub content: Content,
}

pub(super) enum Content {
    Empty,
    Document(Bytes),
    Stream(Stream),
}

/// A body that comes as it comes.
pub enum Stream {
    Upstream(Incoming),
    Trickle(Trickle),
}

impl Answer {
    pub(super) fn empty(status: StatusCode) -> Self {
        Self { status, headers: HeaderMap::new(), content: Content::Empty }
    }

    pub(super) fn xml(document: String) -> Self {
        Self::document(StatusCode::OK, document)
    }

    pub(super) fn document(status: StatusCode, document: String) -> Self {
        let mut answer =
            Self { status, headers: HeaderMap::new(), content: Content::Document(document.into()) };
        answer.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/xml"));
        answer
    }

    pub(super) fn json(status: StatusCode, document: &impl Serialize) -> Result<Self> {
        let text = serde_json::to_string(document)
            .map_err(|error| Error::new(Code::InternalError).because(error))?;
        let answer = Self { status, headers: HeaderMap::new(), content: Content::Document(text.into()) };
        Ok(answer.header(header::CONTENT_TYPE, HeaderValue::from_static("application/json")))
    }

    /// An upstream's answer with the headers that may be seen.
    pub(super) fn upstream(response: Response<Incoming>, headers: HeaderMap) -> Self {
        let status = response.status();
        Self { status, headers, content: Content::Stream(Stream::Upstream(response.into_body())) }
    }

    #[must_use]
    pub(super) fn header(mut self, name: impl header::IntoHeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    #[must_use]
    pub(super) fn headers(mut self, headers: HeaderMap) -> Self {
        self.headers.extend(headers);
        self
    }
}

impl Body for Stream {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match self.get_mut() {
            Self::Upstream(body) => Pin::new(body).poll_frame(cx),
            Self::Trickle(trickle) => {
                trickle.poll_bytes(cx).map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Upstream(body) => body.is_end_stream(),
            Self::Trickle(trickle) => trickle.is_over(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Upstream(body) => body.size_hint(),
            Self::Trickle(_) => SizeHint::default(),
        }
    }
}
