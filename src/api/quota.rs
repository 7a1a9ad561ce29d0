//! `/api/v1/quota`: what a user has and may. In: the account, the user's standing. Out: the contract's
//! document, `null` where there is no limit; and whether one more upload would be let in.

use std::time::Duration;

use http::StatusCode;
use serde::{Deserialize, Serialize};

use crate::account::{Account, Begun, Millis, Reply, Step};
use crate::admit::tiers::{Standing, Tiers};
use crate::config::RefusalStatus;
use crate::error::{Code, Error};
use crate::store::{self, Store, Unavailable};
use crate::types::UserId;

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Quota {
    pub user_id: String,
    pub tier: String,
    pub storage: Storage,
    pub file_size: FileSize,
    pub rate_limits: RateLimits,
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Storage {
    pub used_bytes: u64,
    pub reserved_bytes: u64,
    pub limit_bytes: Option<u64>,
    /// One decimal; may pass 100.
    pub used_pct: Option<f64>,
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct FileSize {
    pub max_bytes: Option<u64>,
}

/// Places held by uploads under way are included.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct RateLimits {
    pub uploads_last_hour: u64,
    pub hourly_limit: Option<u64>,
    pub uploads_last_day: u64,
    pub daily_limit: Option<u64>,
}

impl Quota {
    pub fn new(user: &UserId, standing: &Standing, account: &Account) -> Self {
        let limits = standing.ledger_limits();
        Self {
            user_id: user.as_str().to_owned(),
            tier: standing.tier.to_string(),
            storage: Storage {
                used_bytes: account.used,
                reserved_bytes: account.reserved,
                limit_bytes: limits.storage,
                used_pct: limits.storage.map(|limit| percent(account.used, limit)),
            },
            file_size: FileSize { max_bytes: limits.file_size },
            rate_limits: RateLimits {
                uploads_last_hour: account.hour,
                hourly_limit: limits.uploads_per_hour,
                uploads_last_day: account.day,
                daily_limit: limits.uploads_per_day,
            },
        }
    }

    pub async fn read(store: &Store, tiers: &Tiers, user: &UserId, now: Millis) -> store::Result<Self> {
        let standing = tiers.of(user).await?;
        let account = account(store, user, now).await?;
        Ok(Self::new(user, &standing, &account))
    }
}

/// The account as it stands now; one that was never opened holds nothing, and is not opened by the question.
async fn account(store: &Store, user: &UserId, now: Millis) -> store::Result<Account> {
    if store.account(user).await?.is_none() {
        return Ok(Account::default());
    }
    match store.step(user, Step::Usage, now).await? {
        Reply::Usage(account) => Ok(account),
        other => Err(unfitting(&other)),
    }
}

/// Whether an upload of a new object of this size would be let in now.
pub(super) async fn check(
    store: &Store,
    tiers: &Tiers,
    user: &UserId,
    size: u64,
    mode: RefusalStatus,
    now: Millis,
) -> Result<(), Error> {
    let limits = tiers.of(user).await?.ledger_limits();
    if store.account(user).await?.is_none() {
        return Err(not_counted());
    }
    match store.step(user, Step::Check { size, limits }, now).await? {
        Reply::Begun(Begun::Admitted) => Ok(()),
        Reply::Begun(Begun::Refused(refusal)) => Err(refusal.to_error(mode)),
        Reply::Begun(Begun::NotCounted) => Err(not_counted()),
        other => Err(unfitting(&other).into()),
    }
}

/// A user's first sight: what they have is not known yet.
fn not_counted() -> Error {
    Error::new(Code::SlowDown)
        .with_status(StatusCode::SERVICE_UNAVAILABLE)
        .say("What you have stored is being counted. Please try again.")
        .retry_after(Duration::from_secs(1))
}

fn unfitting(reply: &Reply) -> Unavailable {
    tracing::error!(?reply, "the store answered another question than it was asked");
    Unavailable
}

/// To one decimal. Of a limit of nothing, anything is all of it.
fn percent(used: u64, limit: u64) -> f64 {
    if limit == 0 {
        return if used == 0 { 0.0 } else { 100.0 };
    }
    let (used, limit) = (u128::from(used), u128::from(limit));
    let tenths = (used * 1000 + limit / 2) / limit;
    format!("{}.{}", tenths / 10, tenths % 10).parse().expect("a decimal number")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::admit::UserLimits;
    use crate::config::{Limit, Tier};
    use crate::types::Role;

    fn standing(limits: &Tier) -> Standing {
        let limits = UserLimits::new(limits, &BTreeMap::new());
        Standing {
            tier: "default".into(),
            role: Role::User,
            enabled: true,
            known: true,
            generation: 0,
            limits,
        }
    }

    fn document(limits: &Tier, account: &Account) -> String {
        let user = UserId::parse("123e4567-e89b-12d3-a456-426614174000").expect("an id");
        serde_json::to_string(&Quota::new(&user, &standing(limits), account)).expect("a document")
    }

    #[test]
    fn the_document_is_the_contracts() {
        let account = Account { used: 52_428_800_000, hour: 12, day: 87, ..Account::default() };
        assert_eq!(
            document(&Tier::shipped_default(), &account),
            "{\"user_id\":\"123e4567-e89b-12d3-a456-426614174000\",\"tier\":\"default\",\
             \"storage\":{\"used_bytes\":52428800000,\"reserved_bytes\":0,\"limit_bytes\":107374182400,\"used_pct\":48.8},\
             \"file_size\":{\"max_bytes\":10737418240},\
             \"rate_limits\":{\"uploads_last_hour\":12,\"hourly_limit\":50,\"uploads_last_day\":87,\"daily_limit\":500}}"
        );
    }

    #[test]
    fn unlimited_is_null() {
        let limits = Tier {
            max_storage: Limit::Unlimited,
            max_file_size: Limit::Unlimited,
            uploads_per_hour: Limit::Unlimited,
            uploads_per_day: Limit::Unlimited,
            ..Tier::shipped_default()
        };
        assert_eq!(
            document(&limits, &Account { used: 1, reserved: 2, ..Account::default() }),
            "{\"user_id\":\"123e4567-e89b-12d3-a456-426614174000\",\"tier\":\"default\",\
             \"storage\":{\"used_bytes\":1,\"reserved_bytes\":2,\"limit_bytes\":null,\"used_pct\":null},\
             \"file_size\":{\"max_bytes\":null},\
             \"rate_limits\":{\"uploads_last_hour\":0,\"hourly_limit\":null,\"uploads_last_day\":0,\"daily_limit\":null}}"
        );
    }

    #[test]
    fn percents_have_one_decimal_and_no_ceiling() {
        for (used, limit, expected) in [
            (0, 100, "0.0"),
            (1, 3, "33.3"),
            (2, 3, "66.7"),
            (99_949, 100_000, "99.9"),
            (99_950, 100_000, "100.0"),
            (150, 100, "150.0"),
            (1 << 50, 1 << 40, "102400.0"),
            (0, 0, "0.0"),
            (1, 0, "100.0"),
        ] {
            assert_eq!(format!("{:?}", percent(used, limit)), expected, "{used}/{limit}");
        }
    }
}
