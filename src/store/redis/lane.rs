//! Steps of one user queue up here, so that a process never contends with itself: whatever has queued up while the
//! last batch was away is taken as the next one, with one load and one write. Between gateways the account's
//! version decides; who was too late loads again. In: steps. Out: replies, each within its deadline.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};
use tracing::{debug, warn};

use super::Redis;
use super::keys::Keys;
use super::link::{DEADLINE, Trouble};
use super::save;
use super::script::{WRITE, integer};
use crate::account::{LeaseId, Millis, Reply, Step, View};
use crate::store::{Result, Unavailable};
use crate::types::UserId;

/// Steps that wait in one lane.
const QUEUE: usize = 4096;
/// Steps of one batch, and the rows they may need in sum, but for one big step alone.
const BATCH: usize = 64;
const BATCH_ROWS: usize = 2000;

pub(super) struct Lanes {
    /// A user is here as long as a task serves the lane.
    waiting: Mutex<HashMap<UserId, VecDeque<Waiting>>>,
    writer: String,
    writes: AtomicU64,
}

struct Waiting {
    step: Step,
    now: Millis,
    deadline: Instant,
    tell: oneshot::Sender<Reply>,
}

impl Waiting {
    fn is_over(&self) -> bool {
        self.tell.is_closed() || self.deadline <= Instant::now()
    }
}

impl Lanes {
    pub(super) fn new() -> Self {
        let writer = uuid::Uuid::new_v4().simple().to_string();
        Self { waiting: Mutex::default(), writer, writes: AtomicU64::new(0) }
    }

    /// Whether the lane has to be served.
    fn push(&self, user: &UserId, waiting: Waiting) -> Result<bool> {
        let mut lanes = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lane) = lanes.get_mut(user) {
            if lane.len() >= QUEUE {
                return Err(Unavailable);
            }
            lane.push_back(waiting);
            return Ok(false);
        }
        lanes.insert(user.clone(), VecDeque::from([waiting]));
        Ok(true)
    }

    /// The next batch; the lane goes when there is none.
    fn next(&self, user: &UserId) -> Option<Vec<Waiting>> {
        let mut lanes = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let lane = lanes.get_mut(user)?;
        let (mut batch, mut rows, mut begun) = (Vec::new(), 0, Vec::new());
        while let Some(waiting) = lane.front() {
            let needs = waiting.step.needs();
            rows += needs.objects.len() + needs.parts.len() + needs.leases.len();
            // What a lease needs is known only where the store has it.
            let of_this_batch = begun.iter().any(|lease| needs.leases.contains(lease));
            let full = batch.len() >= BATCH || rows > BATCH_ROWS || needs.all_uploads || of_this_batch;
            if full && !batch.is_empty() {
                break;
            }
            begun.extend(begins(&waiting.step));
            batch.extend(lane.pop_front());
        }
        if batch.is_empty() {
            lanes.remove(user);
            return None;
        }
        Some(batch)
    }

    fn close(&self, user: &UserId) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(user);
    }

    /// A version that no account ever had.
    fn version(&self) -> Vec<u8> {
        format!("{}-{}", self.writer, self.writes.fetch_add(1, Ordering::Relaxed)).into_bytes()
    }
}

fn begins(step: &Step) -> Option<LeaseId> {
    if let Step::Begin { lease, .. } = step { Some(*lease) } else { None }
}

/// Closes a lane whose task dies in the middle of a batch: whoever waits hears that there is no answer.
struct Close<'a> {
    lanes: &'a Lanes,
    user: &'a UserId,
    in_the_middle: bool,
}

impl Drop for Close<'_> {
    fn drop(&mut self) {
        // A lane that has come to its end is gone, and may be another task's by now.
        if self.in_the_middle {
            self.lanes.close(self.user);
        }
    }
}

impl Redis {
    pub(super) async fn queue(self: &Arc<Self>, user: &UserId, step: Step, now: Millis) -> Result<Reply> {
        let (tell, told) = oneshot::channel();
        let deadline = Instant::now() + DEADLINE;
        if self.lanes.push(user, Waiting { step, now, deadline, tell })? {
            let (store, user) = (self.clone(), user.clone());
            // A caller who goes away must not take the others' steps along.
            tokio::spawn(async move { store.serve(&user).await });
        }
        match timeout_at(deadline, told).await {
            Ok(Ok(reply)) => Ok(reply),
            Ok(Err(_)) | Err(_) => Err(Unavailable),
        }
    }

    async fn serve(&self, user: &UserId) {
        let mut close = Close { lanes: &self.lanes, user, in_the_middle: true };
        let keys = Keys::of(user);
        while let Some(mut batch) = self.lanes.next(user) {
            batch.retain(|waiting| !waiting.is_over());
            let Some(deadline) = batch.iter().map(|waiting| waiting.deadline).max() else {
                continue;
            };
            match timeout_at(deadline, self.take_batch(user, &keys, &mut batch, deadline)).await {
                Ok(Ok(replies)) => {
                    for (waiting, reply) in batch.into_iter().zip(replies) {
                        // Whoever has gone away does not hear it.
                        drop(waiting.tell.send(reply));
                    }
                }
                Ok(Err(Trouble::Silent)) | Err(_) => debug!("steps ran out of time"),
                Ok(Err(trouble)) => warn!(%trouble, "the state store did not take a step"),
            }
        }
        close.in_the_middle = false;
    }

    /// Takes the steps in their order, all or none.
    async fn take_batch(
        &self,
        user: &UserId,
        keys: &Keys,
        batch: &mut Vec<Waiting>,
        deadline: Instant,
    ) -> Result<Vec<Reply>, Trouble> {
        loop {
            // Between two attempts some may have run out of time.
            batch.retain(|waiting| !waiting.is_over());
            if batch.is_empty() {
                return Err(Trouble::Silent);
            }
            let mut steps: Vec<_> = batch.iter().map(|waiting| (waiting.step.clone(), waiting.now)).collect();
            let mut loaded = match self.load(keys, &steps, deadline).await {
                Err(Trouble::Broken) => continue,
                loaded => loaded?,
            };
            let before = loaded.view.account;
            let replies = take(&mut loaded.view, &mut steps, loaded.life);
            let version = self.lanes.version();
            let Some(call) = save::write(keys, &before, &loaded, &version, &self.lanes.writer)? else {
                return Ok(replies);
            };
            let born = loaded.born.as_ref().unwrap_or(&version);
            if batch.iter().any(|waiting| begins(&waiting.step).is_some()) || loaded.born.is_none() {
                match self.mark(user, loaded.life, born, deadline).await {
                    Err(Trouble::Broken) => continue,
                    marked => marked?,
                }
            }
            let taken = loop {
                match self.link.call(&WRITE, &call, deadline).await {
                    // It may have been carried out: asking again tells.
                    Err(Trouble::Broken) => {}
                    answer => break integer(&answer?.0)? == 1,
                }
            };
            if taken {
                save::hint(&loaded, &self.hints);
                return Ok(replies);
            }
        }
    }
}

fn take(view: &mut View, steps: &mut Vec<(Step, Millis)>, life: u64) -> Vec<Reply> {
    let take_one = |(mut step, now)| {
        if let Step::Begin { life: of_caller, .. } = &mut step {
            // The connection knows of a new life before any caller can.
            *of_caller = life;
        }
        view.step(step, now)
    };
    steps.drain(..).map(take_one).collect()
}
