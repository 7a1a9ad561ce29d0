//! One direction of a user's bandwidth, and the queue of the user's streams for it. Grants are equal, and who was
//! granted one goes to the end: so streams share evenly, whatever their frames. The first in the queue keeps its
//! own timer; the others sleep until they are the first. A lane follows the user's limit and the number of
//! gateways while streams flow.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};

use tokio::sync::watch;
use tokio::time::Instant;

use super::bucket::Bucket;
/// How many gateways share the limits; each takes an equal share.
#[derive(Clone, Debug)]
pub struct Replicas(watch::Receiver<usize>);

impl Replicas {
    pub fn new(live: watch::Receiver<usize>) -> Self {
        Self(live)
    }

    /// A gateway that is alone.
    pub fn one() -> Self {
        Self(watch::channel(1).1)
    }

    /// This gateway's share of a limit: at least one, for none would be a lock-out.
    pub fn share(&self, limit: u64) -> u64 {
        // Before the first heartbeat nobody is counted, and this gateway lives.
        let live = u64::try_from(*self.0.borrow()).unwrap_or(u64::MAX).max(1);
        (limit / live).max(1)
    }
}

/// One direction of a user's bandwidth.
pub struct Lane {
    replicas: Replicas,
    state: Mutex<State>,
}

struct State {
    /// Of all gateways together, in bytes per second; `None` is unlimited.
    limit: Option<u64>,
    bucket: Bucket,
    /// In the order of their tickets.
    queue: VecDeque<Waiting>,
    next_ticket: u64,
}

struct Waiting {
    ticket: u64,
    waker: Waker,
}

/// What came of asking for a grant.
pub(super) enum Turn {
    Granted(u64),
    /// The first in the queue asks again then.
    Due(Instant),
    /// Not the first. Woken when it is.
    Queued,
}

impl Lane {
    /// `limit` is what all gateways together may pass, in bytes per second; `None` is unlimited.
    pub fn new(limit: Option<u64>, replicas: Replicas) -> Self {
        let bucket = Bucket::new(limit.map_or(u64::MAX, |rate| replicas.share(rate)), Instant::now());
        let state = State { limit, bucket, queue: VecDeque::new(), next_ticket: 0 };
        Self { replicas, state: Mutex::new(state) }
    }

    /// Changes the limit, also of the streams that are under way.
    pub fn set_limit(&self, limit: Option<u64>) {
        let mut state = self.state();
        if state.limit == limit {
            return;
        }
        state.limit = limit;
        let first = state.first();
        drop(state);
        wake(first);
    }

    /// Whether a new lane would be no different: no stream holds this one, and nothing flowed lately.
    pub fn is_idle(self: &Arc<Self>) -> bool {
        Arc::strong_count(self) == 1 && self.state().bucket.is_full(Instant::now())
    }

    /// Asks for a grant. The ticket is kept between calls; while there is one, the stream stands in the queue.
    pub(super) fn ask(&self, ticket: &mut Option<u64>, cx: &Context<'_>) -> Turn {
        let now = Instant::now();
        let mut state = self.state();
        let is_first = match *ticket {
            Some(ticket) => state.queue.front().is_some_and(|first| first.ticket == ticket),
            None => state.queue.is_empty(),
        };
        let due = match is_first.then(|| state.take(&self.replicas, now)) {
            Some(Ok(granted)) => {
                let mut next = None;
                if ticket.take().is_some() {
                    state.queue.pop_front();
                    next = state.first();
                }
                drop(state);
                wake(next);
                return Turn::Granted(granted);
            }
            Some(Err(wait)) => Some(now + wait),
            None => None,
        };
        state.stand(ticket, cx.waker());
        due.map_or(Turn::Queued, Turn::Due)
    }

    /// A stream ends: its place is free, and what it did not use is the user's again.
    pub(super) fn leave(&self, ticket: Option<u64>, unused: u64) {
        let mut state = self.state();
        if let Some(ticket) = ticket
            && let Ok(at) = state.position(ticket)
        {
            state.queue.remove(at);
        }
        state.bucket.give_back(unused);
        // It may be another one now, or have to wait for less.
        let first = state.first();
        drop(state);
        wake(first);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics under this lock; and if it did, the values would still be whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn take(&mut self, replicas: &Replicas, now: Instant) -> Result<u64, std::time::Duration> {
        let rate = self.limit.map_or(u64::MAX, |rate| replicas.share(rate));
        if self.bucket.rate() != rate {
            self.bucket.set_rate(rate, now);
        }
        if self.limit.is_none() { Ok(self.bucket.grant()) } else { self.bucket.take(now) }
    }

    /// Takes a place in the queue, or notes whom to wake there.
    fn stand(&mut self, ticket: &mut Option<u64>, waker: &Waker) {
        if let Some(Ok(at)) = ticket.map(|ticket| self.position(ticket)) {
            self.queue[at].waker.clone_from(waker);
            return;
        }
        let new = self.next_ticket;
        self.next_ticket += 1;
        self.queue.push_back(Waiting { ticket: new, waker: waker.clone() });
        *ticket = Some(new);
    }

    fn position(&self, ticket: u64) -> Result<usize, usize> {
        self.queue.binary_search_by_key(&ticket, |waiting| waiting.ticket)
    }

    fn first(&self) -> Option<Waker> {
        self.queue.front().map(|first| first.waker.clone())
    }
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}
