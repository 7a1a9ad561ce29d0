//! How long a peer may keep us waiting. The clock is looked at only when there is nothing to read, and the
//! timer wheel is touched once per limit, not once per frame: a timer that fires early is set to the rest.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

/// Below this rate, over a window of pure waiting, a peer is not slow but hostile. Time in which we
/// did not want to read does not count.
const LEAST_RATE: u64 = 1024;
const WINDOW: Duration = Duration::from_mins(1);

pub(super) struct Patience {
    limit: Duration,
    floor: bool,
    sleep: Option<Pin<Box<Sleep>>>,
    waiting_since: Option<Instant>,
    /// Of the current window.
    waited: Duration,
    bytes: u64,
}

/// The peer was silent, or dripped, for too long.
#[derive(Debug)]
pub(super) struct Exhausted;

impl Patience {
    pub(super) fn new(limit: Duration) -> Self {
        Self { limit, floor: false, sleep: None, waiting_since: None, waited: Duration::ZERO, bytes: 0 }
    }

    /// Also asks for a least rate.
    pub(super) fn with_floor(self) -> Self {
        Self { floor: true, ..self }
    }

    /// The peer sent something.
    pub(super) fn progress(&mut self, bytes: u64) -> Result<(), Exhausted> {
        if let Some(since) = self.waiting_since.take() {
            self.waited += since.elapsed();
        }
        self.bytes = self.bytes.saturating_add(bytes);
        if self.waited < WINDOW {
            return Ok(());
        }
        let enough = self.bytes >= LEAST_RATE * WINDOW.as_secs();
        self.waited = Duration::ZERO;
        self.bytes = 0;
        if enough || !self.floor { Ok(()) } else { Err(Exhausted) }
    }

    /// There is nothing to read. Wakes the task when the limit is over.
    pub(super) fn poll_exhausted(&mut self, cx: &mut Context<'_>) -> Poll<Exhausted> {
        let deadline = *self.waiting_since.get_or_insert_with(Instant::now) + self.limit;
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        while sleep.as_mut().poll(cx).is_ready() {
            if Instant::now() >= deadline {
                return Poll::Ready(Exhausted);
            }
            sleep.as_mut().reset(deadline);
        }
        Poll::Pending
    }
}
