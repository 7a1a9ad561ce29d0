//! Which of the gateway's own keys signs a call. In: calls, and what the upstream says of the keys. Out: a signer.
//! With one key there is no choice. While a key is rotated out there are two, and the newer may not be known to all of
//! the upstream's servers for minutes: calls that can be sent again try it first, and fall back; uploads, which mostly
//! cannot, go by the older until the newer was known without fail for a while. A key that was missed rests.
//!
//! Follows the advice on rotation in <https://docs.oracle.com/en-us/iaas/Content/Identity/Tasks/managingcredentials.htm>.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use crate::config;
use crate::metrics::UpstreamKey;
use crate::sigv4::sign::Signer;

/// How long a new key must be known, without being missed, before uploads rely on it.
const PROBATION: Duration = Duration::from_mins(5);
/// How long a key that was missed is not tried, if there is another.
const REST: Duration = Duration::from_secs(10);
/// How long a missed key makes uploads ask before they send.
const MEMORY: Duration = Duration::from_mins(1);
/// A key that was missed so often, and never known between, is wrong, and not only new.
const LOST: u64 = 100;

pub(super) struct Keys {
    current: Key,
    previous: Option<Key>,
    since: Instant,
}

/// One of the gateway's keys, and how it has fared. Times are milliseconds of `Keys::since`, 0 for never.
pub(super) struct Key {
    pub(super) name: UpstreamKey,
    pub(super) signer: Signer,
    known_since: AtomicU64,
    missed_at: AtomicU64,
    misses_in_a_row: AtomicU64,
}

impl Keys {
    pub(super) fn new(config: &config::Upstream) -> Self {
        let key = |name, id: &str, secret: &crate::types::Secret| Key {
            name,
            signer: Signer::new(id.to_owned(), secret.clone(), config.region.clone()),
            known_since: AtomicU64::new(0),
            missed_at: AtomicU64::new(0),
            misses_in_a_row: AtomicU64::new(0),
        };
        Self {
            current: key(UpstreamKey::Current, &config.access_key_id, &config.secret_access_key),
            previous: config
                .previous
                .as_ref()
                .map(|old| key(UpstreamKey::Previous, &old.access_key_id, &old.secret_access_key)),
            since: Instant::now(),
        }
    }

    /// The key for a call's first try.
    pub(super) fn choose(&self, is_upload: bool) -> &Key {
        let Some(previous) = &self.previous else {
            return &self.current;
        };
        let now = self.now();
        let prefers_current =
            !is_upload || self.current.is_settled(now) || previous.failed_after(&self.current);
        let (first, second) =
            if prefers_current { (&self.current, previous) } else { (previous, &self.current) };
        if first.rests(now) && !second.rests(now) { second } else { first }
    }

    /// The one that is not this one.
    pub(super) fn other(&self, key: &Key) -> Option<&Key> {
        let previous = self.previous.as_ref()?;
        Some(if key.name == UpstreamKey::Current { previous } else { &self.current })
    }

    pub(super) fn known(&self, key: &Key) {
        // Read first: this is every call's way, and nearly always there is nothing to write.
        if key.misses_in_a_row.load(Ordering::Relaxed) != 0 {
            key.misses_in_a_row.store(0, Ordering::Relaxed);
        }
        if key.known_since.load(Ordering::Relaxed) == 0 {
            key.known_since.store(self.now(), Ordering::Relaxed);
        }
    }

    pub(super) fn missed(&self, key: &Key) {
        let now = self.now();
        if !key.rests(now) {
            tracing::error!(
                key = ?key.name,
                "the upstream does not know this gateway's access key: it is new, or was deleted, or belongs to another region"
            );
        }
        key.missed_at.store(now, Ordering::Relaxed);
        key.known_since.store(0, Ordering::Relaxed);
        key.misses_in_a_row.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether a call may be refused for its key, so that an upload should ask before it sends.
    pub(super) fn is_troubled(&self) -> bool {
        let now = self.now();
        let keys = [Some(&self.current), self.previous.as_ref()];
        keys.into_iter().flatten().any(|key| key.missed_within(MEMORY, now))
    }

    fn now(&self) -> u64 {
        u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX).max(1)
    }
}

impl Key {
    /// Whether it was missed so often that another try is not worth the wait.
    pub(super) fn is_lost(&self) -> bool {
        self.misses_in_a_row.load(Ordering::Relaxed) >= LOST
    }

    fn is_settled(&self, now: u64) -> bool {
        let known_since = self.known_since.load(Ordering::Relaxed);
        known_since != 0 && now.saturating_sub(known_since) >= millis(PROBATION)
    }

    fn failed_after(&self, other: &Self) -> bool {
        self.missed_at.load(Ordering::Relaxed) > other.missed_at.load(Ordering::Relaxed)
    }

    fn rests(&self, now: u64) -> bool {
        self.missed_within(REST, now)
    }

    fn missed_within(&self, span: Duration, now: u64) -> bool {
        let missed_at = self.missed_at.load(Ordering::Relaxed);
        missed_at != 0 && now.saturating_sub(missed_at) < millis(span)
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;
    use crate::config::{Config, PreviousKey};
    use crate::types::Secret;

    fn keys(rotating: bool) -> Keys {
        let toml = "[upstream]\nnamespace = \"ns\"\nregion = \"us-phoenix-1\"\nbucket = \"b\"\naccess_key_id = \"new\"\nsecret_access_key = \"dp3xT0pS3cr3tV4lue\"\n";
        let mut config = Config::from_toml(toml, std::path::Path::new("/")).expect("valid").config.upstream;
        if rotating {
            let secret_access_key = Secret::new("0ldS3cr3tV4lue".to_owned());
            config.previous = Some(PreviousKey { access_key_id: "old".into(), secret_access_key });
        }
        Keys::new(&config)
    }

    fn chosen(keys: &Keys, is_upload: bool) -> UpstreamKey {
        keys.choose(is_upload).name
    }

    #[tokio::test(start_paused = true)]
    async fn one_key_is_always_the_one() {
        let keys = keys(false);
        keys.missed(&keys.current);
        assert_eq!((chosen(&keys, false), chosen(&keys, true)), (UpstreamKey::Current, UpstreamKey::Current));
        assert!(keys.other(&keys.current).is_none());
        assert!(keys.is_troubled());
        advance(MEMORY * 2).await;
        assert!(!keys.is_troubled());
    }

    #[tokio::test(start_paused = true)]
    async fn uploads_rely_on_the_newer_when_it_was_known_for_a_while() {
        let keys = keys(true);
        assert_eq!(
            (chosen(&keys, false), chosen(&keys, true)),
            (UpstreamKey::Current, UpstreamKey::Previous)
        );
        keys.known(&keys.current);
        advance(PROBATION / 2).await;
        assert_eq!(chosen(&keys, true), UpstreamKey::Previous);
        keys.missed(&keys.current);
        assert_eq!(chosen(&keys, false), UpstreamKey::Previous, "it rests");
        advance(REST).await;
        assert_eq!(chosen(&keys, false), UpstreamKey::Current, "it is tried again");
        keys.known(&keys.current);
        advance(PROBATION / 2).await;
        assert_eq!(chosen(&keys, true), UpstreamKey::Previous, "its probation begins anew");
        advance(PROBATION / 2).await;
        assert_eq!(chosen(&keys, true), UpstreamKey::Current);
    }

    #[tokio::test(start_paused = true)]
    async fn an_older_key_that_is_gone_is_not_held_on_to() {
        let keys = keys(true);
        let previous = keys.previous.as_ref().expect("two keys");
        keys.known(&keys.current);
        keys.missed(previous);
        assert_eq!(chosen(&keys, true), UpstreamKey::Current);
        advance(REST).await;
        assert_eq!(chosen(&keys, true), UpstreamKey::Current);
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_that_is_never_known_is_lost() {
        let keys = keys(false);
        for _ in 0..LOST {
            assert!(!keys.current.is_lost());
            keys.missed(&keys.current);
        }
        assert!(keys.current.is_lost());
        keys.known(&keys.current);
        assert!(!keys.current.is_lost());
    }
}
