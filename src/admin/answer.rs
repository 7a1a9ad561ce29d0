//! Answers of the admin listener: a document, lines as they come, or what was wrong.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use http_body::{Body, Frame, SizeHint};
use serde::Serialize;
use tokio::sync::mpsc;
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::api;
use crate::api::page::Page;
use crate::error::Error;
use crate::store::Unavailable;

pub(super) type Answer = Response<Content>;
pub(super) type Result<T = Answer, E = Problem> = std::result::Result<T, E>;

pub(super) enum Content {
    Whole(Option<Bytes>),
    Lines(Lines),
}

/// Lines as they come, until the sender is gone.
pub(super) struct Lines {
    lines: mpsc::Receiver<Bytes>,
    /// Says that the connection is not idle.
    _at_work: TaskTrackerToken,
}

impl Body for Content {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<std::result::Result<Frame<Bytes>, Infallible>>> {
        match self.get_mut() {
            Self::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Lines(Lines { lines, .. }) => {
                lines.poll_recv(cx).map(|line| line.map(|line| Ok(Frame::data(line))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(bytes) => bytes.is_none(),
            Self::Lines(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => {
                let length = bytes.as_ref().map_or(0, Bytes::len);
                SizeHint::with_exact(u64::try_from(length).expect("a length fits"))
            }
            Self::Lines(_) => SizeHint::default(),
        }
    }
}

/// Why a request was not served.
#[derive(Debug)]
pub(super) struct Problem {
    pub(super) status: StatusCode,
    pub(super) text: String,
    header: Option<(HeaderName, HeaderValue)>,
}

impl Problem {
    pub(super) fn new(status: StatusCode, text: impl Into<String>) -> Self {
        Self { status, text: text.into(), header: None }
    }

    pub(super) fn bad(text: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, text)
    }

    pub(super) fn no_such_user(user: &impl std::fmt::Display) -> Self {
        Self::new(StatusCode::NOT_FOUND, format!("There is no user {user}."))
    }

    #[must_use]
    pub(super) fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.header = Some((name, value));
        self
    }

    pub(super) fn answer(self) -> Answer {
        let mut answer = json(self.status, &serde_json::json!({ "error": self.text }));
        answer.headers_mut().extend(self.header);
        answer
    }
}

impl From<Unavailable> for Problem {
    fn from(_: Unavailable) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "The state store is not available. Please try again.")
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        Self::new(api::status(&error), error.message())
    }
}

pub(super) fn json(status: StatusCode, document: &impl Serialize) -> Answer {
    match serde_json::to_vec(document) {
        Ok(text) => whole(status, "application/json", text),
        Err(error) => {
            tracing::error!(%error, "a document cannot be written");
            text(StatusCode::INTERNAL_SERVER_ERROR, "the document cannot be written\n")
        }
    }
}

pub(super) fn text(status: StatusCode, text: impl Into<Bytes>) -> Answer {
    whole(status, "text/plain; charset=utf-8", text)
}

pub(super) fn whole(status: StatusCode, content_type: &'static str, text: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Content::Whole(Some(text.into())));
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer
}

pub(super) fn no_content() -> Answer {
    let mut answer = Response::new(Content::Whole(None));
    *answer.status_mut() = StatusCode::NO_CONTENT;
    answer
}

/// A page of a list, and after what the next one begins.
pub(super) fn page<T: Serialize>(name: &'static str, items: &[T], next: Option<&str>) -> Answer {
    json(StatusCode::OK, &Page { name, items, next })
}

/// One JSON document per line.
pub(super) fn lines(lines: mpsc::Receiver<Bytes>, at_work: TaskTrackerToken) -> Answer {
    let mut answer = Response::new(Content::Lines(Lines { lines, _at_work: at_work }));
    let json_lines = HeaderValue::from_static("application/x-ndjson");
    answer.headers_mut().insert(header::CONTENT_TYPE, json_lines);
    answer
}
