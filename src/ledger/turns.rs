//! When it is time for a piece of background work, and who does it: at once, again after each period, and whenever the
//! one who does it is made anew, as a reload of the configuration does.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

pub(super) struct Turns<T> {
    current: watch::Receiver<T>,
    period: fn(&T) -> Duration,
    due: Instant,
}

impl<T: Clone> Turns<T> {
    pub(super) fn new(current: &watch::Receiver<T>, period: fn(&T) -> Duration) -> Self {
        Self { current: current.clone(), period, due: Instant::now() }
    }

    /// None when there will be nobody any more.
    pub(super) async fn next(&mut self) -> Option<T> {
        tokio::select! {
            () = sleep_until(self.due) => {}
            changed = self.current.changed() => changed.ok()?,
        }
        let current = self.current.borrow_and_update().clone();
        self.due = Instant::now() + (self.period)(&current);
        Some(current)
    }
}
