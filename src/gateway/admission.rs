//! A write's way through the ledger: what it may add is held before its body is asked for, and settled on what became
//! of it, by a task that the client's going does not end. Buckets that do not count keep only the file size.

use std::future::Future;

use super::settle::Record;
use super::{Ask, Gateway};
use crate::account::{Named, Outcome, Refusal, Target, Write};
use crate::admit::quota::Reservation;
use crate::body::upload::UploadHandle;
use crate::error::{Blame, Code, Error, Result};
use crate::ledger::Ledger;
use crate::types::ClientKey;

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
        match self.ledger.admit(&ask.caller.user, write, limits, slow).await? {
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
