//! Waiting for an answer while an upload runs: opens the gate of an upstream that never says `100 Continue`,
//! gives the upstream its time for the answer once the body is out, and gives up on one that stops reading.

use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use crate::body::upload::UploadHandle;

/// How long a server may leave `Expect` unanswered before it is taken for one that does not know it.
const GATE_TIMEOUT: Duration = Duration::from_secs(1);
const TICK: Duration = Duration::from_millis(250);

pub(super) struct Watch<'a> {
    handle: &'a UploadHandle,
    answer_limit: Duration,
    stall_limit: Duration,
    ignores_expect: &'a AtomicBool,
}

impl<'a> Watch<'a> {
    pub(super) fn new(
        handle: &'a UploadHandle,
        answer_limit: Duration,
        stall_limit: Duration,
        ignores_expect: &'a AtomicBool,
    ) -> Self {
        Self { handle, answer_limit, stall_limit, ignores_expect }
    }

    /// The answer, or `None` if it did not come in time.
    pub(super) async fn until<A: Future>(&self, answer: A) -> Option<A::Output> {
        let mut answer = pin!(answer);
        let mut asked_at = None;
        let mut progress = (self.progress(), Instant::now());
        loop {
            if let Ok(answered) = tokio::time::timeout(TICK, &mut answer).await {
                return Some(answered);
            }
            let now = Instant::now();
            if !self.handle.gate_is_open() && self.handle.polled() {
                // The head is out; an answer to it is due.
                if now - *asked_at.get_or_insert(now) >= GATE_TIMEOUT {
                    tracing::info!(
                        "the upstream does not answer Expect: 100-continue; it is not asked again"
                    );
                    self.ignores_expect.store(true, Ordering::Relaxed);
                    self.handle.open_gate();
                }
            }
            // A client that pauses has its own time limit; only the upstream's silence counts here.
            if progress.0 != self.progress() || self.handle.waits_for_client() {
                progress = (self.progress(), now);
            }
            // Complete is an upload when its last slice was taken, by a connection that holds little.
            let limit = if self.handle.is_complete() { self.answer_limit } else { self.stall_limit };
            if now - progress.1 >= limit {
                return None;
            }
        }
    }

    fn progress(&self) -> (u64, bool) {
        (self.handle.received(), self.handle.is_complete())
    }
}
