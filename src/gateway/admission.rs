//! A write's way through the ledger: what it may add is held before its body is asked for, and settled on what became
//! of it, by a task that the client's going does not end. Buckets that do not count keep only the file size.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::settle::Record;
use super::{Ask, Gateway};
use crate::account::{Limits, Named, Outcome, Refusal, Target, Write};
use crate::admit::quota::Reservation;
use crate::body::upload::UploadHandle;
use crate::error::{Blame, Code, Error, Result};
use crate::ledger::Ledger;
use crate::types::{ClientKey, UserId};

/// What is held for a write; nothing where the bucket does not count.
pub(super) struct Held {
    reservation: Option<Reservation>,
    ledger: Ledger,
}

impl Held {
    /// To be done before the client hears of the outcome.
    pub(super) async fn settle(self, outcome: Outcome) -> Result<()> {
        match self.reservation {
            Some(reservation) => self.ledger.settle(reservation, outcome).await,
            None => Ok(()),
        }
    }
}

/// An admission under way. If its client leaves meanwhile, what it comes to hold is given back at once, and not when
/// its lease ends.
struct Admitting {
    ledger: Ledger,
    work: Option<Admission>,
}

type Admission = Pin<Box<dyn Future<Output = Result<Result<Reservation, Refusal>>> + Send>>;

impl Admitting {
    fn new(ledger: &Ledger, user: &UserId, write: Write, limits: Limits, slow: bool) -> Self {
        let (ledger, user) = (ledger.clone(), user.clone());
        let worker = ledger.clone();
        let work = async move { worker.admit(&user, write, limits, slow).await };
        Self { ledger, work: Some(Box::pin(work)) }
    }
}

impl Future for Admitting {
    type Output = Result<Result<Reservation, Refusal>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let admitted = self.work.as_mut().expect("nobody asks after the end").as_mut().poll(cx);
        if admitted.is_ready() {
            self.work = None;
        }
        admitted
    }
}

impl Drop for Admitting {
    fn drop(&mut self) {
        let Some(work) = self.work.take() else { return };
        let ledger = self.ledger.clone();
        self.ledger.detach(async move {
            if let Ok(Ok(reservation)) = work.await
                && let Err(error) = ledger.settle(reservation, Outcome::Failed).await
            {
                tracing::debug!(%error, "a reservation is left to its lease");
            }
        });
    }
}

impl Gateway {
    pub(super) async fn admit(&self, ask: &Ask<'_>, write: Write) -> Result<Held> {
        let limits = ask.standing.ledger_limits();
        let refused = |refusal: Refusal| {
            self.instruments.metrics.ledger.refused(&refusal, &ask.standing.tier);
            Err(refusal.to_error(self.refusal_status))
        };
        if !ask.counts {
            let size = match write {
                Write::Put { size, .. } | Write::Part { size, .. } => size,
                Write::Delete { .. }
                | Write::Create { .. }
                | Write::Complete { .. }
                | Write::Abort { .. } => 0,
            };
            return match limits.file_size {
                Some(max) if size > max => refused(Refusal::FileSize { size, max }),
                Some(_) | None => Ok(self.hold_nothing()),
            };
        }
        let slow = ask.request.operation.is_slow();
        match Admitting::new(&self.ledger, &ask.caller.user, write, limits, slow).await? {
            Ok(reservation) => Ok(Held { reservation: Some(reservation), ledger: self.ledger.clone() }),
            Err(refusal) => refused(refusal),
        }
    }

    /// For a write that no quota counts.
    pub(super) fn hold_nothing(&self) -> Held {
        Held { reservation: None, ledger: self.ledger.clone() }
    }

    /// The object that was asked for, as the ledger names it.
    pub(super) fn ledger_target(&self, ask: &Ask<'_>) -> Result<Target> {
        self.ledger_target_of(ask, ask.key())
    }

    pub(super) fn ledger_target_of(&self, ask: &Ask<'_>, key: &ClientKey) -> Result<Target> {
        Ok(self.ledger.quota().ids().target(&ask.grant.target(key)?.key))
    }

    /// The multipart upload that was asked for, by the upstream's id.
    pub(super) fn ledger_upload(&self, ask: &Ask<'_>, upload_id: &str) -> Result<Named> {
        Ok(self.ledger.quota().ids().upload(self.ledger_target(ask)?, upload_id))
    }

    /// Runs a write to its settlement, whoever waits for it. It keeps the place of its request as long.
    pub(super) async fn run_to_settlement<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T>> + Send + 'static,
        record: &Record,
    ) -> Result<T> {
        let permit = record.permit.clone();
        let work = async move {
            let _permit = permit;
            work.await
        };
        let finished = self.ledger.detach(work).await;
        finished.unwrap_or_else(|panic| Err(Error::new(Code::InternalError).because(panic)))
    }
}

/// What the upstream's answer says of a write. A refusal did nothing; a fault may have done it all the same, and so
/// may the try before a refused one.
pub(super) fn outcome<T>(answered: &Result<T>) -> Outcome {
    match answered {
        Ok(_) => Outcome::Done,
        Err(error) if error.is_after_a_lost_answer() => Outcome::Unknown,
        Err(error) => match (error.code, error.code.blame()) {
            (Code::SlowDown | Code::NotImplemented | Code::ServiceUnavailable, _) | (_, Blame::Client) => {
                Outcome::Failed
            }
            (_, Blame::Gateway | Blame::Upstream) => Outcome::Unknown,
        },
    }
}

/// The same of an upload: one whose tail was never released is a short body, which no upstream can commit.
pub(super) fn outcome_of_upload<T>(answered: &Result<T>, upload: &UploadHandle) -> Outcome {
    if answered.is_err() && !upload.is_complete() { Outcome::Failed } else { outcome(answered) }
}
