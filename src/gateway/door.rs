//! Who comes in. In: a head, and where it came from. Out: what was proven, with the caller in the record; then the
//! user's standing, if the proof is of the life that the user is in; then a place within the user's limits. Users
//! whom nobody knows are made here when their issuer's word is enough.

use std::sync::Arc;
use std::time::SystemTime;

use super::settle::Record;
use super::{Access, Gateway, Peer};
use crate::admit::quota::millis;
use crate::admit::tiers::Standing;
use crate::auth::{Admitted, Life, Proof};
use crate::error::{Code, Error, Result};
use crate::sigv4::verify::{Claim, Head, VerifiedPayload, claimed};

impl Gateway {
    /// Authenticates the caller, unless its address keeps failing at it.
    pub(super) async fn let_in(
        &self,
        head: Head<'_>,
        peer: Peer,
        now: SystemTime,
        record: &mut Record,
    ) -> Result<(VerifiedPayload, Proof)> {
        let claim = claimed(head);
        let name = claim.as_ref().ok().map(Claim::name);
        self.admit.check_peer(peer.ip, name)?;
        let admitted = match claim {
            Ok(claim) => self.authenticator.authenticate(head, &claim, now).await,
            Err(error) => Err(error),
        };
        match admitted {
            Ok(Admitted { caller, payload, proof }) => {
                if let Some(name) = name {
                    self.admit.peer_succeeded(peer.ip, name);
                }
                record.caller = Some(caller);
                Ok((payload, proof))
            }
            // Nobody makes a guess while a store or an issuer is away.
            Err(error) if error.code == Code::ServiceUnavailable => Err(error),
            Err(error) => {
                self.admit.peer_failed(peer.ip, name);
                self.instruments.metrics.auth_failure(error.code);
                Err(error)
            }
        }
    }

    /// What is known of the user whose credentials were true, unless they are those of an earlier life, or of nobody.
    /// While the store is away, reads go on with what is known without it.
    pub(super) async fn recognise(
        &self,
        life: Life,
        access: Access,
        now: SystemTime,
        record: &mut Record,
    ) -> Result<Arc<Standing>> {
        let caller = record.caller.as_mut().expect("who was let in is known");
        let refused = match &life {
            Life::Present | Life::Of(_) => Code::InvalidAccessKeyId,
            Life::Vouched(_) => Code::InvalidToken,
        };
        let asked = match access {
            // What was true lately is not enough: who was disabled meanwhile would go on.
            Access::Write => self.tiers.surely_of(&caller.user).await,
            Access::Read | Access::List | Access::Bucket => self.tiers.of(&caller.user).await,
        };
        let standing = match asked {
            Ok(standing) => standing,
            Err(unavailable) => {
                let standing = self.tiers.rules().standing(&caller.user, None);
                let enough = standing.known || matches!(life, Life::Present);
                if access == Access::Write || !enough {
                    return Err(unavailable.into());
                }
                Arc::new(standing)
            }
        };
        let (theirs, standing) = match life {
            Life::Present => (true, standing),
            Life::Of(generation) => (standing.known && standing.generation == generation, standing),
            Life::Vouched(identity) => {
                let generation = standing.generation;
                let standing = if !standing.known && identity.auto_provision && identity.is_of(generation) {
                    let tier = identity.tier.as_deref();
                    self.tiers.provision(&identity.user, tier, generation, millis(now)).await?
                } else {
                    standing
                };
                (standing.known && identity.is_of(standing.generation), standing)
            }
        };
        if !theirs || !standing.enabled {
            self.instruments.metrics.auth_failure(refused);
            return Err(Error::new(refused).because(objection(theirs, &standing)));
        }
        caller.role = standing.role;
        Ok(standing)
    }

    /// A place for the request within its user's limits.
    pub(super) fn make_room(&self, standing: &Standing, record: &mut Record) -> Result<()> {
        let caller = record.caller.as_ref().expect("who was let in is known");
        if let Some(permit) = &record.permit {
            self.admit.admit(permit, &caller.user, &standing.limits)?;
        }
        record.download_pacer = self.admit.download_pacer(&caller.user, &standing.limits);
        Ok(())
    }
}

/// What the operator is told of a user who is refused.
fn objection(theirs: bool, standing: &Standing) -> &'static str {
    match (standing.known, theirs) {
        (false, _) => "there is no such user",
        (true, false) => "the credentials are of an earlier life of the user",
        (true, true) => "the user is disabled",
    }
}
