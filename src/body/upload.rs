//! A client's body on its way upstream: decoded, checked, counted, and its tail held. The last slice leaves
//! only after the client's body has ended and everything it promised was found true; so on any failure the
//! upstream sees fewer bytes than its Content-Length says, and can commit nothing. A failure is always an
//! `Err` frame: hyper would end a body that just stops as if it were whole.
//!
//! `UploadHandle` is the other end: it opens the gate (`Expect: 100-continue` upstream), stops the upload, and
//! tells what happened. A plan of length 0 has no tail: send it through `small::verify_empty` instead.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::task::AtomicWaker;
use http_body::{Body, Frame, SizeHint};

use super::checksum::Verified;
use super::count;
use super::intake::Intake;
use super::pace::Pacer;
use super::plan::UploadPlan;
use super::source::Source;
use crate::error::Error;

/// Whether bytes may flow at once, or only after `UploadHandle::open_gate`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum GateState {
    Open,
    Closed,
}

/// Why an upload stopped, as the upstream client sees it. The client's own fault is in the handle.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum UploadError {
    #[error("the client's body is not what it promised")]
    Client,
    #[error("the upload was stopped")]
    Aborted,
}

pub struct Upload<B> {
    /// Taken when the body has ended or failed, so that the client's connection is let go.
    source: Option<Source<B>>,
    intake: Intake,
    input: Bytes,
    held: Option<Bytes>,
    /// Bytes that were not released yet.
    due: u64,
    shared: Arc<Shared>,
}

#[derive(Clone)]
pub struct UploadHandle(Arc<Shared>);

struct Shared {
    gate_open: AtomicBool,
    aborted: AtomicBool,
    polled: AtomicBool,
    complete: AtomicBool,
    waits_for_client: AtomicBool,
    received: AtomicU64,
    /// Woken by the handle; registered only while there is something to wait for.
    waker: AtomicWaker,
    outcome: Mutex<Outcome>,
}

#[derive(Default)]
struct Outcome {
    failure: Option<Error>,
    verified: Option<Verified>,
}

pub fn upload<B>(inner: B, plan: UploadPlan, idle: Duration, gate: GateState) -> (Upload<B>, UploadHandle)
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let shared = Arc::new(Shared {
        gate_open: AtomicBool::new(gate == GateState::Open),
        aborted: AtomicBool::new(false),
        polled: AtomicBool::new(false),
        complete: AtomicBool::new(false),
        waits_for_client: AtomicBool::new(false),
        received: AtomicU64::new(0),
        waker: AtomicWaker::new(),
        outcome: Mutex::default(),
    });
    let upload = Upload {
        due: plan.length(),
        source: Some(Source::new(inner, idle)),
        intake: plan.intake,
        input: Bytes::new(),
        held: None,
        shared: shared.clone(),
    };
    (upload, UploadHandle(shared))
}

impl UploadHandle {
    /// The upstream wants the body.
    pub fn open_gate(&self) {
        self.0.gate_open.store(true, Ordering::Release);
        self.0.waker.wake();
    }

    pub fn gate_is_open(&self) -> bool {
        self.0.gate_open.load(Ordering::Acquire)
    }

    /// The upstream has answered without waiting for the rest: the next poll fails, and the client's body is
    /// dropped. Does nothing to a body that was released whole.
    pub fn abort(&self) {
        self.0.aborted.store(true, Ordering::Release);
        self.0.waker.wake();
    }

    /// Takes the client's fault, if the upload stopped because of one.
    pub fn failure(&self) -> Option<Error> {
        self.0.outcome().failure.take()
    }

    /// The checksum that was sent and found right.
    pub fn verified(&self) -> Option<Verified> {
        self.0.outcome().verified.clone()
    }

    /// The body came whole and kept its promises.
    pub fn is_complete(&self) -> bool {
        self.0.complete.load(Ordering::Acquire)
    }

    /// The upstream would take more, and the client has sent no more, or more than the user's bandwidth allows.
    pub fn waits_for_client(&self) -> bool {
        self.0.waits_for_client.load(Ordering::Relaxed)
    }

    /// Payload bytes that the client has sent so far.
    pub fn received(&self) -> u64 {
        self.0.received.load(Ordering::Relaxed)
    }

    /// Whether anybody has asked for the body yet.
    pub fn polled(&self) -> bool {
        self.0.polled.load(Ordering::Relaxed)
    }
}

impl Shared {
    fn outcome(&self) -> MutexGuard<'_, Outcome> {
        // Nothing panics under this lock; and if it did, the values would still be whole.
        self.outcome.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<B> Upload<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    /// The same upload within its user's bandwidth. While it waits for room it counts as waiting for the client:
    /// the upstream is not to blame.
    #[must_use]
    pub fn paced(mut self, pacer: Pacer) -> Self {
        if let Some(source) = &mut self.source {
            source.pace(pacer);
        }
        self
    }

    /// The next slice that may leave; `None` once all have left.
    fn poll_slice(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, UploadError>> {
        loop {
            let Some(source) = &mut self.source else {
                // Ended well, or failed before: then some bytes are due that will never come.
                let last = self.held.take();
                let missing = last.as_ref().map_or(0, |slice| count(slice)) != self.due;
                return Poll::Ready(if missing { Err(UploadError::Client) } else { Ok(last) });
            };
            match self.intake.next(&mut self.input) {
                Err(error) => return self.fail(error),
                Ok(Some(slice)) => {
                    self.shared.received.fetch_add(count(&slice), Ordering::Relaxed);
                    if let Some(free) = self.held.replace(slice) {
                        return Poll::Ready(Ok(Some(free)));
                    }
                    continue;
                }
                Ok(None) => {}
            }
            let data = source.poll_data(cx);
            self.shared.waits_for_client.store(data.is_pending(), Ordering::Relaxed);
            match data {
                Poll::Ready(Ok(Some(data))) => self.input = data,
                Poll::Ready(Ok(None)) => match self.intake.finish() {
                    Ok(verified) => {
                        self.shared.outcome().verified = verified;
                        self.shared.complete.store(true, Ordering::Release);
                        self.source = None;
                    }
                    Err(error) => return self.fail(error),
                },
                Poll::Ready(Err(error)) => return self.fail(error),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    fn fail(&mut self, error: Error) -> Poll<Result<Option<Bytes>, UploadError>> {
        self.shared.outcome().failure = Some(error);
        self.stop();
        Poll::Ready(Err(UploadError::Client))
    }

    fn stop(&mut self) {
        self.source = None;
        self.input = Bytes::new();
        self.held = None;
    }

    /// Waits for the handle; `true` when there is no need to.
    fn gate_is_open(&self, cx: &Context<'_>) -> bool {
        if self.shared.gate_open.load(Ordering::Acquire) {
            return true;
        }
        self.shared.waker.register(cx.waker());
        self.shared.gate_open.load(Ordering::Acquire)
    }

    fn is_aborted(&self) -> bool {
        self.due > 0 && self.shared.aborted.load(Ordering::Acquire)
    }
}

impl<B> Body for Upload<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Data = Bytes;
    type Error = UploadError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, UploadError>>> {
        let this = self.get_mut();
        this.shared.polled.store(true, Ordering::Relaxed);
        let polled = if this.is_aborted() {
            Poll::Ready(Err(UploadError::Aborted))
        } else if this.gate_is_open(cx) {
            this.poll_slice(cx)
        } else {
            Poll::Pending
        };
        let polled = match polled {
            Poll::Pending => {
                this.shared.waker.register(cx.waker());
                // The handle may have spoken between the first look and the registration.
                if this.is_aborted() { Poll::Ready(Err(UploadError::Aborted)) } else { Poll::Pending }
            }
            ready @ Poll::Ready(_) => ready,
        };
        match polled {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Ok(None)) => Poll::Ready(None),
            Poll::Ready(Ok(Some(slice))) => {
                this.due -= count(&slice);
                Poll::Ready(Some(Ok(Frame::data(slice))))
            }
            Poll::Ready(Err(error)) => {
                this.stop();
                Poll::Ready(Some(Err(error)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.source.is_none() && self.due == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.due)
    }
}
