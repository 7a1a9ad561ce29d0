//! Operations that may take minutes (`CopyObject`, `UploadPartCopy`, `CompleteMultipartUpload`). They run detached:
//! a client that goes away does not undo them half-way. One that is done soon answers as any other; for the
//! others the client gets 200 at once, a space now and then, and in the end the result or an `<Error>`, as
//! AWS does: <https://docs.aws.amazon.com/AmazonS3/latest/API/API_CompleteMultipartUpload.html>.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use tokio::task::JoinHandle;
use tokio::time::{Instant, Sleep};

use crate::admit::Permit;
use crate::error::{Code, Error, Result};
use crate::gateway::answer::{Answer, Content, Stream};
use crate::ledger::Ledger;
use crate::s3::xml;
use crate::types::RequestId;

/// How long an operation may take before the client is told that it goes on.
const PATIENCE: Duration = Duration::from_secs(5);
const SPACE_EVERY: Duration = Duration::from_secs(5);
/// Longer than between two spaces: the operation has time limits of its own.
pub(super) const SILENCE: Duration = Duration::from_mins(1);

/// What is said of an operation before its end is known, and what its end needs to be told.
pub(super) struct Promise {
    /// For the answer's head: true whatever comes.
    pub headers: HeaderMap,
    /// For an error's XML.
    pub resource: String,
    pub request_id: RequestId,
    /// Where the code of a failure is left that came after the head.
    pub late_failure: Arc<OnceLock<Code>>,
}

/// Runs an operation to its end, within `limit`, whoever waits for it. It keeps the place of its request as long.
pub(super) async fn run<F>(
    operation: F,
    limit: Duration,
    ledger: &Ledger,
    permit: Option<Permit>,
    promise: Promise,
) -> Result<Answer>
where
    F: Future<Output = Result<Answer>> + Send + 'static,
{
    let mut task = ledger.detach(async move {
        let _permit = permit;
        tokio::time::timeout(limit, operation).await.unwrap_or_else(|_| Err(Code::GatewayTimeout.into()))
    });
    if let Ok(finished) = tokio::time::timeout(PATIENCE, &mut task).await {
        return outcome(finished);
    }
    let mut headers = promise.headers.clone();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/xml"));
    let next_space = Box::pin(tokio::time::sleep(Duration::ZERO));
    let trickle = Trickle { task: Some(task), promise, next_space, begun: false };
    Ok(Answer { status: StatusCode::OK, headers, content: Content::Stream(Stream::Trickle(trickle)) })
}

fn outcome(finished: Result<Result<Answer>, tokio::task::JoinError>) -> Result<Answer> {
    finished.unwrap_or_else(|panic| Err(Error::new(Code::InternalError).because(panic)))
}

/// The body of an answer that began before its end was known.
pub struct Trickle {
    task: Option<JoinHandle<Result<Answer>>>,
    promise: Promise,
    next_space: Pin<Box<Sleep>>,
    begun: bool,
}

impl Trickle {
    pub fn poll_bytes(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let Some(task) = &mut self.task else {
            return Poll::Ready(None);
        };
        if let Poll::Ready(finished) = Pin::new(task).poll(cx) {
            self.task = None;
            let document = match outcome(finished) {
                Ok(Answer { content: Content::Document(document), .. }) => document,
                Ok(_) => Bytes::new(),
                Err(error) => {
                    let Promise { resource, request_id, late_failure, .. } = &self.promise;
                    tracing::warn!(%request_id, %error, "a slow operation failed after its answer had begun");
                    late_failure.get_or_init(|| error.code);
                    xml::write_error(&error, resource, request_id.as_str()).into()
                }
            };
            return Poll::Ready(Some(self.without_declaration(document)));
        }
        if self.next_space.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        self.next_space.as_mut().reset(Instant::now() + SPACE_EVERY);
        // Registers for the next space; it cannot be due yet.
        if self.next_space.as_mut().poll(cx).is_ready() {
            cx.waker().wake_by_ref();
        }
        // The declaration must be the first thing in a document, so it goes ahead of the white space.
        let first = !std::mem::replace(&mut self.begun, true);
        Poll::Ready(Some(Bytes::from_static(if first { DECLARATION } else { b" " })))
    }

    pub fn is_over(&self) -> bool {
        self.task.is_none()
    }

    fn without_declaration(&self, document: Bytes) -> Bytes {
        if self.begun && document.starts_with(DECLARATION) {
            document.slice(DECLARATION.len()..)
        } else {
            document
        }
    }
}

const DECLARATION: &[u8] = b"<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n";
