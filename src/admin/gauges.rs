//! The sums that metrics show of all users: a walk over them, page by page, now and then. In: the store, and the
//! `Admin` of the moment. Out: gauges by tier, and the fullest few where the configuration asks for them.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::time::MissedTickBehavior;

use super::{Admin, people};
use crate::account::Account;
use crate::admit::tiers::{Standing, Tiers};
use crate::metrics::{TierUsage, Usage};
use crate::store::{self, Store};
use crate::types::UserId;

/// Walks again and again, until it is dropped. While the store is away the sums stay as they were.
pub async fn run(admin: Arc<ArcSwap<Admin>>, every: Duration) {
    let mut known = BTreeSet::new();
    let mut tick = tokio::time::interval(every);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let Admin { store, tiers, metrics, per_user_top, .. } = &*admin.load_full();
        let names: BTreeSet<String> = tiers.rules().tier_names().map(str::to_owned).collect();
        for gone in known.difference(&names) {
            metrics.ledger.forget_tier(gone);
        }
        metrics.ledger.know_tiers(names.iter().map(String::as_str));
        known = names;
        match walk(store, tiers, *per_user_top).await {
            Ok(usage) => metrics.ledger.set(&usage),
            Err(unavailable) => tracing::debug!(%unavailable, "the gauges of usage stay as they are"),
        }
    }
}

pub(super) async fn walk(store: &Store, tiers: &Tiers, per_user_top: usize) -> store::Result<Usage> {
    let mut sums = Sums::new(tiers, per_user_top);
    let mut after = None;
    loop {
        let page = people::whole_page(store, tiers.rules(), after).await?;
        for user in &page.users {
            let account = store.account(user).await?.unwrap_or_default();
            let record = store.user(user).await?;
            sums.add(user, &tiers.rules().standing(user, record.as_ref()), &account);
        }
        after = page.next;
        if after.is_none() {
            return Ok(sums.finish());
        }
    }
}

struct Sums {
    usage: Usage,
    /// The least full on top, so that it goes first.
    fullest: BinaryHeap<Reverse<(u64, UserId)>>,
    per_user_top: usize,
}

impl Sums {
    fn new(tiers: &Tiers, per_user_top: usize) -> Self {
        let names = tiers.rules().tier_names();
        let by_tier = names.map(|name| (name.into(), TierUsage::default())).collect();
        let usage = Usage { by_tier, ..Usage::default() };
        Self { usage, fullest: BinaryHeap::new(), per_user_top }
    }

    fn add(&mut self, user: &UserId, standing: &Standing, account: &Account) {
        let tier = self.usage.by_tier.entry(standing.tier.clone()).or_default();
        tier.users += 1;
        tier.used = tier.used.saturating_add(account.used);
        tier.near_limit += u64::from(is_near(account.used, standing.limits.max_storage.at()));
        self.usage.reserved = self.usage.reserved.saturating_add(account.reserved);
        if self.per_user_top > 0 && account.used > 0 {
            self.fullest.push(Reverse((account.used, user.clone())));
            if self.fullest.len() > self.per_user_top {
                self.fullest.pop();
            }
        }
    }

    fn finish(mut self) -> Usage {
        let fullest = self.fullest.into_sorted_vec();
        self.usage.fullest =
            fullest.into_iter().map(|Reverse((used, user))| (user.as_str().to_owned(), used)).collect();
        self.usage
    }
}

/// Over 90 % of the limit.
fn is_near(used: u64, limit: Option<u64>) -> bool {
    limit.is_some_and(|limit| u128::from(used) * 10 > u128::from(limit) * 9)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::admit::UserLimits;
    use crate::config::{Limit, Tier};
    use crate::types::Role;

    fn standing(tier: &str, max_storage: Limit) -> Standing {
        let limits = Tier { max_storage, ..Tier::shipped_default() };
        let limits = UserLimits::new(&limits, &BTreeMap::new());
        Standing { tier: tier.into(), role: Role::User, enabled: true, known: true, generation: 0, limits }
    }

    #[test]
    fn the_fullest_and_the_nearly_full_are_found() {
        let mut sums = Sums { usage: Usage::default(), fullest: BinaryHeap::new(), per_user_top: 2 };
        for (user, tier, max, used) in [
            ("a", "default", Limit::At(100), 90),
            ("b", "default", Limit::At(100), 91),
            ("c", "premium", Limit::Unlimited, 1000),
            ("d", "premium", Limit::At(1), 0),
        ] {
            let account = Account { used, reserved: 1, ..Account::default() };
            sums.add(&UserId::parse(user).expect("an id"), &standing(tier, max), &account);
        }
        let usage = sums.finish();
        assert_eq!(usage.by_tier["default"], TierUsage { users: 2, used: 181, near_limit: 1 });
        assert_eq!(usage.by_tier["premium"], TierUsage { users: 2, used: 1000, near_limit: 0 });
        assert_eq!(usage.reserved, 4);
        assert_eq!(usage.fullest, [("c".to_owned(), 1000), ("b".to_owned(), 91)]);
    }
}
