//! Who a user is to the limits: tier, own limits, role, whether enabled. In: a user's id. Out: their `Standing`,
//! from the configuration's entry of that id and the store's record over it. Looked up once per user however
//! many ask, and kept for at most four seconds; what is changed here is seen here at once. While the store is
//! away, what it said last goes on being true for a while (`GRACE`), though not for a write.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use moka::sync::Cache;
use tokio::sync::OnceCell;

use super::UserLimits;
use crate::account::{self, Millis};
use crate::config::{Config, Tier};
use crate::store::{GRACE, Known, Result, Store, Unavailable, UserChange, UserRecord};
use crate::types::{AccessKeyId, Role, UserId};

/// How old an answer may be. A change made at another gateway is promised to be seen here within five seconds; one is
/// for asking.
const FRESH: Duration = Duration::from_secs(4);
/// Users kept at most, about 400 bytes each.
const MAX_USERS: u64 = 100_000;

#[derive(Clone, PartialEq, Debug)]
pub struct Standing {
    /// A name of the configuration's tiers, whatever a record says: it may be a label.
    pub tier: Arc<str>,
    pub role: Role,
    pub enabled: bool,
    /// Whether there is such a user: in the file, or with a record.
    pub known: bool,
    /// The user record's; see there. Of a user who was removed, that of whoever comes next.
    pub generation: Millis,
    /// The tier's, with the user's own in their place.
    pub limits: UserLimits,
}

impl Standing {
    /// What the ledger holds a write against.
    pub fn ledger_limits(&self) -> account::Limits {
        (&self.limits).into()
    }
}

/// A user's entry in the configuration file.
#[derive(Clone, PartialEq, Debug)]
pub struct Managed {
    pub tier: String,
    pub role: Role,
    pub access_keys: Vec<AccessKeyId>,
}

/// What the configuration says of tiers and users.
#[derive(Clone, Debug)]
pub struct Rules {
    tiers: BTreeMap<String, (Arc<str>, Tier)>,
    managed: HashMap<UserId, Managed>,
}

impl Rules {
    pub fn new(config: &Config) -> Self {
        let tiers = config.tiers.iter();
        let managed = config.users.iter();
        Self {
            tiers: tiers.map(|(name, tier)| (name.clone(), (name.as_str().into(), tier.clone()))).collect(),
            managed: managed
                .map(|user| {
                    let access_keys = user.access_keys.iter().map(|key| key.id.clone()).collect();
                    (user.id.clone(), Managed { tier: user.tier.clone(), role: user.role, access_keys })
                })
                .collect(),
        }
    }

    pub fn tier_names(&self) -> impl Iterator<Item = &str> {
        self.tiers.keys().map(String::as_str)
    }

    /// The user's entry in the file, which then has the say over their role and keys.
    pub fn managed(&self, user: &UserId) -> Option<&Managed> {
        self.managed.get(user)
    }

    pub fn managed_users(&self) -> impl Iterator<Item = &UserId> {
        self.managed.keys()
    }

    /// A user who was removed may do nothing; unless the file has one of the id.
    pub fn standing_of(&self, user: &UserId, known: &Known) -> Standing {
        match known {
            Known::User(record) => self.standing(user, Some(record)),
            Known::Nobody => self.standing(user, None),
            Known::Removed { next } => Standing {
                enabled: self.managed(user).is_some(),
                generation: *next,
                ..self.standing(user, None)
            },
        }
    }

    /// The file's word on role and enabled, the record's on tier and limits; a tier that nobody knows any more
    /// is the default one.
    pub fn standing(&self, user: &UserId, record: Option<&UserRecord>) -> Standing {
        let managed = self.managed(user);
        let of_record = record.and_then(|record| record.tier.as_deref());
        let said = [of_record, managed.map(|managed| managed.tier.as_str()), Some(Tier::DEFAULT)];
        let (tier, limits) = said
            .into_iter()
            .flatten()
            .find_map(|name| self.tiers.get(name))
            .expect("a configuration always has the default tier");
        let none = BTreeMap::new();
        Standing {
            tier: tier.clone(),
            role: match managed {
                Some(managed) => managed.role,
                None => record.and_then(|record| record.role).unwrap_or_default(),
            },
            enabled: managed.is_some() || record.is_none_or(|record| record.enabled),
            known: managed.is_some() || record.is_some(),
            generation: record.map_or(0, |record| record.generation),
            limits: UserLimits::new(limits, record.map_or(&none, |record| &record.limits)),
        }
    }
}

/// What the store said of a user, and what that comes to by the rules of one edition.
#[derive(Clone, PartialEq, Debug)]
struct Told {
    known: Known,
    edition: u64,
    standing: Arc<Standing>,
}

impl Told {
    fn new(rules: &Rules, edition: u64, user: &UserId, known: Known) -> Self {
        let standing = Arc::new(rules.standing_of(user, &known));
        Self { known, edition, standing }
    }
}

/// An answer.
#[derive(Clone, PartialEq, Debug)]
struct Seen {
    told: Arc<Told>,
    /// The store was away: it is what it said last.
    stale: bool,
}

type Pending = Arc<OnceCell<Seen>>;

pub struct Tiers {
    rules: Rules,
    /// Which rules these are, of those that share a cache.
    edition: u64,
    store: Arc<Store>,
    cache: Arc<Standings>,
}

impl Tiers {
    pub fn new(config: &Config, store: Arc<Store>) -> Self {
        let cache = Arc::new(Standings::new(FRESH, GRACE));
        Self { rules: Rules::new(config), edition: 0, store, cache }
    }

    /// By the rules of another configuration. What the store said of users goes on being known, and what is forgotten by
    /// one of the two is forgotten by both.
    #[must_use]
    pub fn renewed(&self, config: &Config) -> Self {
        let (store, cache) = (self.store.clone(), self.cache.clone());
        Self { rules: Rules::new(config), edition: self.edition + 1, store, cache }
    }

    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    pub async fn of(&self, user: &UserId) -> Result<Arc<Standing>> {
        Ok(self.standing(user, &self.seen(user).await?.told))
    }

    /// By the store's own word of the last seconds.
    pub async fn surely_of(&self, user: &UserId) -> Result<Arc<Standing>> {
        let mut seen = self.seen(user).await?;
        if seen.stale {
            // It may be back.
            self.cache.fresh.invalidate(user);
            seen = self.seen(user).await?;
        }
        if seen.stale { Err(Unavailable) } else { Ok(self.standing(user, &seen.told)) }
    }

    async fn seen(&self, user: &UserId) -> Result<Seen> {
        let ask = async || {
            let known = self.store.known(user).await?;
            Ok(Told::new(&self.rules, self.edition, user, known))
        };
        self.cache.get(user, ask).await
    }

    /// By these rules, whichever were asked first.
    fn standing(&self, user: &UserId, told: &Told) -> Arc<Standing> {
        if told.edition == self.edition {
            told.standing.clone()
        } else {
            Arc::new(self.rules.standing_of(user, &told.known))
        }
    }

    /// Makes a user whom nobody knows, in this tier if there is one of the name, and of this generation. Somebody may
    /// have made them since, or removed them: then nothing is done, and the answer is what they are.
    pub async fn provision(
        &self,
        user: &UserId,
        tier: Option<&str>,
        generation: Millis,
        now: Millis,
    ) -> Result<Arc<Standing>> {
        let tier = tier.filter(|name| self.rules.tiers.contains_key(*name)).map(str::to_owned);
        let first = UserChange { tier, ..UserChange::default() };
        let known = self.store.create_user(user, &first, generation, now).await;
        // Also if it is not known what became of it.
        self.forget(user);
        Ok(Arc::new(self.rules.standing_of(user, &known?)))
    }

    /// Something about the user was changed: whoever asks from now on gets a new answer.
    pub fn forget(&self, user: &UserId) {
        self.cache.forget(user);
    }
}

/// What was found out, fresh or not.
struct Standings {
    fresh: Cache<UserId, Pending>,
    last: Cache<UserId, Arc<Told>>,
}

impl Standings {
    fn new(fresh: Duration, grace: Duration) -> Self {
        Self {
            fresh: Cache::builder().max_capacity(MAX_USERS).time_to_live(fresh).build(),
            last: Cache::builder().max_capacity(MAX_USERS).time_to_live(grace).build(),
        }
    }

    async fn get(&self, user: &UserId, ask: impl AsyncFnOnce() -> Result<Told>) -> Result<Seen> {
        let pending = self.fresh.get_with_by_ref(user, Pending::default);
        let seen = pending.get_or_try_init(async || match ask().await {
            Ok(told) => {
                let told = Arc::new(told);
                // Not if the user was changed while this was being asked for.
                if self.fresh.get(user).is_some_and(|current| Arc::ptr_eq(&current, &pending)) {
                    self.last.insert(user.clone(), told.clone());
                }
                Ok(Seen { told, stale: false })
            }
            Err(unavailable) => {
                let told = self.last.get(user).ok_or(unavailable)?;
                Ok(Seen { told, stale: true })
            }
        });
        seen.await.cloned()
    }

    /// Also what is being asked for just now: its answer goes to those who wait for it, and to nobody else. And
    /// what was true before a change is not true while the store is away: a user disabled stays out.
    fn forget(&self, user: &UserId) {
        self.fresh.invalidate(user);
        self.last.invalidate(user);
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::config::{self, Limit};
    use crate::metrics::Metrics;

    fn id(text: &str) -> UserId {
        UserId::parse(text).expect("an id")
    }

    fn config() -> Config {
        let text = "[upstream]\ndialect = \"s3\"\nendpoint = \"http://127.0.0.1:1\"\nregion = \"us-east-1\"\n\
                    bucket = \"real\"\naccess_key_id = \"AKREAL\"\nsecret_access_key = \"a-secret-of-the-gateway\"\n\
                    [tiers.gold]\nmax_storage = \"2TiB\"\n\
                    [[users]]\nid = \"deputy\"\ntier = \"premium\"\nrole = \"service\"\n";
        Config::from_toml(text, Path::new(".")).expect("a configuration").config
    }

    fn rules() -> Rules {
        Rules::new(&config())
    }

    fn record(tier: &str) -> UserRecord {
        UserRecord {
            tier: Some(tier.to_owned()),
            role: Some(Role::User),
            enabled: false,
            limits: BTreeMap::from([
                ("max_storage".to_owned(), Some(7)),
                ("uploads_per_day".to_owned(), None),
            ]),
            created_at: 0,
            generation: 0,
        }
    }

    fn told(rules: &Rules, user: &UserId, known: Known) -> Told {
        Told::new(rules, 0, user, known)
    }

    #[test]
    fn a_record_stands_over_the_file_but_not_in_role_and_enabled() {
        let rules = rules();
        let nobody = rules.standing(&id("nobody"), None);
        assert_eq!((&*nobody.tier, nobody.role, nobody.enabled), ("default", Role::User, true));
        assert_eq!(*nobody.limits, Tier::shipped_default());

        let own = rules.standing(&id("own"), Some(&record("gold")));
        assert_eq!((&*own.tier, own.role, own.enabled), ("gold", Role::User, false));
        assert_eq!(own.limits.max_storage, Limit::At(7));
        assert_eq!(own.limits.uploads_per_day, Limit::Unlimited);
        assert_eq!(own.ledger_limits().storage, Some(7));
        assert_eq!(own.ledger_limits().uploads_per_hour, Some(50));

        let deputy = rules.standing(&id("deputy"), None);
        assert_eq!((&*deputy.tier, deputy.role, deputy.enabled), ("premium", Role::Service, true));
        let deputy = rules.standing(&id("deputy"), Some(&record("gold")));
        assert_eq!((&*deputy.tier, deputy.role, deputy.enabled), ("gold", Role::Service, true));
        let gone = rules.standing(&id("deputy"), Some(&record("tier-of-yesterday")));
        assert_eq!(&*gone.tier, "premium");
        assert_eq!(&*rules.standing(&id("own"), Some(&record("tier-of-yesterday"))).tier, "default");
    }

    #[test]
    fn who_was_removed_may_do_nothing() {
        let (rules, removed) = (rules(), Known::Removed { next: 7 });
        let gone = rules.standing_of(&id("own"), &removed);
        assert_eq!((gone.enabled, gone.generation), (false, 7));
        let deputy = rules.standing_of(&id("deputy"), &removed);
        assert_eq!((deputy.enabled, deputy.generation), (true, 7));
        let known = Known::User(UserRecord { generation: 7, enabled: true, ..record("gold") });
        let back = rules.standing_of(&id("own"), &known);
        assert_eq!((back.enabled, back.generation, &*back.tier), (true, 7, "gold"));
        assert!(rules.standing_of(&id("own"), &Known::Nobody).enabled);
    }

    #[tokio::test]
    async fn who_was_disabled_or_removed_meanwhile_is_not_made() {
        let folder = tempfile::tempdir().expect("a folder");
        let state = config::State::Redb(folder.path().join("state.redb"));
        let metrics = Arc::new(Metrics::new().expect("metrics"));
        let store = Arc::new(Store::open(&state, metrics).await.expect("a store"));
        let (tiers, user) = (Tiers::new(&config(), store.clone()), id("alice"));
        assert!(!tiers.of(&user).await.expect("an answer").known);
        // As at another gateway.
        let disabled =
            UserChange { tier: Some("gold".into()), enabled: Some(false), ..UserChange::default() };
        store.change_user(&user, &disabled, 1_000).await.expect("a store");
        let there = tiers.provision(&user, Some("premium"), 0, 2_000).await.expect("an answer");
        assert_eq!((there.known, there.enabled, &*there.tier), (true, false, "gold"));
        store.remove_user(&user, 3_000).await.expect("a store");
        let gone = tiers.provision(&user, None, 0, 4_000).await.expect("an answer");
        assert_eq!((gone.known, gone.enabled, gone.generation), (false, false, 3_001));
        let next = tiers.provision(&user, Some("premium"), 3_001, 5_000).await.expect("an answer");
        assert_eq!((next.known, next.enabled, next.generation, &*next.tier), (true, true, 3_001, "premium"));
    }

    #[tokio::test]
    async fn new_rules_hold_at_once_and_what_the_store_said_stays() {
        let folder = tempfile::tempdir().expect("a folder");
        let state = config::State::Redb(folder.path().join("state.redb"));
        let metrics = Arc::new(Metrics::new().expect("metrics"));
        let store = Arc::new(Store::open(&state, metrics).await.expect("a store"));
        let (old, user, deputy) = (Tiers::new(&config(), store.clone()), id("alice"), id("deputy"));
        let gold = UserChange { tier: Some("gold".into()), ..UserChange::default() };
        store.change_user(&user, &gold, 1_000).await.expect("a store");
        let before = old.of(&user).await.expect("an answer");
        assert_eq!(before.limits.max_storage, Limit::At(2 << 40));
        assert!(old.of(&deputy).await.expect("an answer").known);

        let mut changed = config();
        changed.users.clear();
        changed.tiers.get_mut("gold").expect("a tier").max_storage = Limit::At(5);
        let new = old.renewed(&changed);
        // At another gateway: nobody here has heard of it.
        store.remove_user(&user, 2_000).await.expect("a store");
        assert_eq!(new.of(&user).await.expect("an answer").limits.max_storage, Limit::At(5));
        assert!(!new.of(&deputy).await.expect("an answer").known, "gone from the file");
        assert_eq!(old.of(&user).await.expect("an answer"), before, "whoever began with it ends with it");
        // What one forgets, the other does not know either.
        old.forget(&user);
        assert!(!new.of(&user).await.expect("an answer").known);
    }

    #[tokio::test]
    async fn many_who_ask_at_once_ask_the_store_once() {
        let (cache, rules, user) = (Standings::new(FRESH, GRACE), rules(), id("alice"));
        let asked = AtomicUsize::new(0);
        let ask = || {
            cache.get(&user, async || {
                asked.fetch_add(1, Ordering::Relaxed);
                tokio::task::yield_now().await;
                Ok(told(&rules, &user, Known::Nobody))
            })
        };
        let all = futures_util::future::join_all((0..100).map(|_| ask())).await;
        assert!(all.iter().all(Result::is_ok));
        assert_eq!(asked.load(Ordering::Relaxed), 1);
        cache.forget(&user);
        ask().await.expect("an answer");
        assert_eq!(asked.load(Ordering::Relaxed), 2);
    }

    #[tokio::test]
    async fn what_was_known_stays_true_while_the_store_is_away() {
        let (cache, rules, user) = (Standings::new(FRESH, GRACE), rules(), id("alice"));
        let away = async || cache.get(&user, async || Err(Unavailable)).await;
        assert_eq!(away().await, Err(Unavailable));
        let known = cache.get(&user, async || Ok(told(&rules, &user, Known::User(record("gold"))))).await;
        // As time does.
        cache.fresh.invalidate(&user);
        let stale = known.map(|seen| Seen { stale: true, ..seen });
        assert_eq!(away().await, stale);
        assert_eq!(away().await, stale);
        cache.forget(&user);
        assert_eq!(away().await, Err(Unavailable), "what was changed is not what it was");
    }

    #[tokio::test]
    async fn what_was_known_is_not_true_for_ever() {
        let (grace, user) = (Duration::from_millis(200), id("alice"));
        let (cache, rules) = (Standings::new(Duration::from_millis(1), grace), rules());
        let seen = cache.get(&user, async || Ok(told(&rules, &user, Known::Nobody))).await;
        assert!(!seen.expect("an answer").stale);
        tokio::time::sleep(grace * 2).await;
        assert_eq!(cache.get(&user, async || Err(Unavailable)).await, Err(Unavailable));
    }

    #[tokio::test]
    async fn an_answer_that_a_change_overtook_is_not_kept() {
        let (cache, rules, user) = (Standings::new(FRESH, GRACE), rules(), id("alice"));
        let overtaken = cache.get(&user, async || {
            cache.forget(&user);
            Ok(told(&rules, &user, Known::Nobody))
        });
        overtaken.await.expect("an answer to the one who asked");
        assert_eq!(cache.get(&user, async || Err(Unavailable)).await, Err(Unavailable));
    }
}
