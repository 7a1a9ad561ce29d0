//! Random programs of two users, each with two keys, on a store and on plain maps (`memory`) side by side: every answer
//! and every account must be the same. The bucket changes when an answer comes or is lost; what writes do that
//! overlap in the bucket itself is `account`'s own test.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bucketwarden::account::{
    Begun, Found, HOUR, LeaseId, Limits, Millis, Outcome, Recount, Reply, Settled, Step, UploadKey, Write,
};
use bucketwarden::store::Store;
use bucketwarden::types::UserId;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::kit::{LEASE, NOW, begin, lease, named, settle, target, user};
use crate::memory::Memory;
use crate::openers::Place;

const LIMITS: Limits = Limits {
    storage: Some(100),
    file_size: Some(60),
    uploads_per_hour: Some(12),
    uploads_per_day: Some(20),
    open_uploads: Some(2),
};

#[derive(Clone, Debug)]
enum Act {
    Put(u64, u64),
    Delete(Vec<u64>),
    Create(u64),
    Part(usize, u16, u64),
    Complete(usize, Vec<u16>),
    Abort(usize),
    Answer(usize, Answer),
    Sweep,
    Wait(Millis),
    Usage,
    /// One more step of a recount.
    Count,
}

#[derive(Clone, Debug)]
enum Answer {
    Done,
    /// Of several, every second.
    Half,
    Failed,
    /// Lost; and whether it was done.
    Lost(bool),
}

fn act() -> impl Strategy<Value = Act> {
    let key = 0..2_u64;
    let size = prop_oneof![0..40_u64, 30..70_u64];
    let part = 1..4_u16;
    let answer = prop_oneof![
        6 => Just(Answer::Done),
        1 => Just(Answer::Half),
        2 => Just(Answer::Failed),
        2 => any::<bool>().prop_map(Answer::Lost),
    ];
    prop_oneof![
        5 => (key.clone(), size.clone()).prop_map(|(key, size)| Act::Put(key, size)),
        1 => prop::collection::btree_set(key.clone(), 1..3).prop_map(|keys| Act::Delete(keys.into_iter().collect())),
        2 => key.prop_map(Act::Create),
        4 => (any::<usize>(), part.clone(), size).prop_map(|(upload, part, size)| Act::Part(upload, part, size)),
        1 => (any::<usize>(), prop::collection::btree_set(part, 1..3))
            .prop_map(|(upload, parts)| Act::Complete(upload, parts.into_iter().collect())),
        1 => any::<usize>().prop_map(Act::Abort),
        9 => (any::<usize>(), answer).prop_map(|(n, answer)| Act::Answer(n, answer)),
        1 => Just(Act::Sweep),
        1 => prop_oneof![1..5000_u64, Just(HOUR / 2), Just(7 * HOUR)].prop_map(Act::Wait),
        1 => Just(Act::Usage),
        2 => Just(Act::Count),
    ]
}

#[derive(Clone, Debug)]
enum Does {
    Put(u64, u64),
    Delete(Vec<u64>),
    Create(u64, u64),
    Part(u64, u16, u64),
    Complete(u64, Vec<u16>),
    Abort(u64),
}

#[derive(Default)]
struct Bucket {
    objects: BTreeMap<u64, u64>,
    /// By upload: its key, and its parts.
    uploads: BTreeMap<u64, (u64, BTreeMap<u16, u64>)>,
}

type Parts = Vec<(u16, u64)>;

/// A recount on its way: its number, and the pages that were fetched and not taken in yet.
struct Counting {
    number: u32,
    objects: Vec<(u64, u64)>,
    uploads: Vec<(u64, u64, Parts)>,
}

/// One user, twice.
struct World {
    store: Arc<Store>,
    user: UserId,
    plain: Memory,
    bucket: Bucket,
    flights: Vec<(u64, Does)>,
    counting: Option<Counting>,
    next: u64,
    now: Millis,
}

impl World {
    async fn new(store: Arc<Store>, user: UserId) -> Self {
        let (plain, bucket) = (Memory::default(), Bucket::default());
        let mut world =
            Self { store, user, plain, bucket, flights: Vec::new(), counting: None, next: 1, now: NOW };
        let put = Write::Put { target: target(0), size: 1 };
        let refused = world.step(begin(0, put, LIMITS, world.store.life(), NOW)).await;
        assert_eq!(refused, Reply::Begun(Begun::NotCounted));
        world.count_all().await;
        world
    }

    async fn step(&mut self, step: Step) -> Reply {
        let expected = self.plain.step(step.clone(), self.now);
        let told = format!("{step:?}");
        let reply = self.store.step(&self.user, step, self.now).await.unwrap();
        assert_eq!(reply, expected, "{told}");
        let account = self.store.account(&self.user).await.unwrap().unwrap_or_default();
        assert_eq!(account, self.plain.account, "{told}");
        assert!(account.used + account.reserved <= 100, "{account:?}");
        reply
    }

    async fn take(&mut self, act: Act) {
        match act {
            Act::Put(key, size) => {
                self.begin(Write::Put { target: target(key), size }, Does::Put(key, size)).await;
            }
            Act::Delete(keys) => {
                let targets = keys.iter().map(|key| target(*key)).collect();
                self.begin(Write::Delete { targets }, Does::Delete(keys)).await;
            }
            Act::Create(key) => {
                let does = Does::Create(self.next, key);
                self.begin(Write::Create { target: target(key) }, does).await;
            }
            Act::Part(n, number, size) => {
                if let Some((upload, key)) = self.upload(n) {
                    let write = Write::Part { upload: named(upload, key), number, size };
                    self.begin(write, Does::Part(upload, number, size)).await;
                }
            }
            Act::Complete(n, parts) => {
                if let Some((upload, key)) = self.upload(n) {
                    let write = Write::Complete { upload: named(upload, key), parts: parts.clone() };
                    self.begin(write, Does::Complete(upload, parts)).await;
                }
            }
            Act::Abort(n) => {
                if let Some((upload, key)) = self.upload(n) {
                    self.begin(Write::Abort { upload: named(upload, key) }, Does::Abort(upload)).await;
                }
            }
            Act::Answer(n, answer) => self.answer(n, &answer).await,
            Act::Sweep => self.sweep().await,
            Act::Wait(time) => self.now += time,
            Act::Usage => drop(self.step(Step::Usage).await),
            Act::Count => self.count().await,
        }
    }

    fn upload(&self, n: usize) -> Option<(u64, u64)> {
        let open = self.bucket.uploads.len();
        let (upload, (key, _)) = self.bucket.uploads.iter().nth(n.checked_rem(open)?)?;
        Some((*upload, *key))
    }

    async fn begin(&mut self, write: Write, does: Does) {
        let id = self.next;
        self.next += 1;
        match self.step(begin(id, write, LIMITS, self.store.life(), self.now)).await {
            Reply::Begun(Begun::Admitted) => self.flights.push((id, does)),
            Reply::Begun(Begun::Refused(_)) => {}
            other => panic!("{other:?}"),
        }
    }

    async fn answer(&mut self, n: usize, answer: &Answer) {
        let Some(n) = n.checked_rem(self.flights.len()) else { return };
        let (id, does) = self.flights.remove(n);
        let outcome = match answer {
            Answer::Failed => Outcome::Failed,
            Answer::Lost(done) => {
                if *done {
                    self.bucket.apply(&does);
                }
                Outcome::Unknown
            }
            Answer::Half if let Does::Delete(keys) = &does => {
                let each = keys.iter().enumerate().map(|(at, key)| {
                    if at % 2 == 0 {
                        self.bucket.objects.remove(key);
                        Outcome::Done
                    } else {
                        Outcome::Failed
                    }
                });
                Outcome::Each(each.collect())
            }
            Answer::Done | Answer::Half => match (self.bucket.apply(&does), does) {
                (false, _) => Outcome::Failed,
                (true, Does::Create(upload, key)) => Outcome::Created(named(upload, key)),
                (true, _) => Outcome::Done,
            },
        };
        match self.step(settle(id, outcome, self.now)).await {
            Reply::Settled(settled) => self.look(lease(id), settled).await,
            other => panic!("{other:?}"),
        }
    }

    async fn look(&mut self, lease: LeaseId, settled: Settled) {
        if settled.objects.is_empty() && settled.upload.is_none() {
            return;
        }
        let there = |key: &str| {
            key.rsplit('/').next()?.parse().ok().and_then(|key: u64| self.bucket.objects.get(&key))
        };
        let objects = settled.objects.iter();
        let found = Found {
            objects: objects
                .map(|(target, stamp)| (target.id, *stamp, there(&target.key).copied()))
                .collect(),
            upload_is_gone: settled.upload.is_some_and(|upload| !self.has_upload(upload)),
        };
        self.step(Step::Resolve { lease, found }).await;
    }

    fn has_upload(&self, upload: UploadKey) -> bool {
        self.bucket.uploads.iter().any(|(n, (key, _))| named(*n, *key).key == upload)
    }

    /// Owners that are alive renew; the others' leases expire.
    async fn sweep(&mut self) {
        self.now += LEASE + 1;
        let leases = self.flights.iter().map(|(id, _)| lease(*id)).collect();
        self.step(Step::Renew { leases, expires_at: self.now + LEASE }).await;
        let expired: Vec<LeaseId> = self.expired(self.now).await;
        for lease in expired {
            match self.step(Step::Expire { lease, orphaned: false, look_at: self.now + LEASE }).await {
                Reply::Settled(settled) => self.look(lease, settled).await,
                other => panic!("{other:?}"),
            }
        }
    }

    /// What the store has of this user's, which must be what plain maps have.
    async fn expired(&self, now: Millis) -> Vec<LeaseId> {
        let all = self.store.expired(now).await.unwrap();
        let mut expired: Vec<_> =
            all.into_iter().filter(|(user, _)| *user == self.user).map(|(_, id)| id).collect();
        expired.sort_unstable();
        let plain = self.plain.leases.iter().filter(|(_, lease)| lease.expires_at <= now);
        assert_eq!(expired, plain.map(|(id, _)| *id).collect::<Vec<_>>());
        expired
    }

    async fn recount(&mut self, step: Recount) -> Option<u32> {
        match self.step(Step::Recount(step)).await {
            Reply::Recount(counted) => counted.number,
            other => panic!("{other:?}"),
        }
    }

    async fn count(&mut self) {
        let Some(mut counting) = self.counting.take() else {
            let number = self.recount(Recount::Begin { stale_before: self.now }).await.expect("it begins");
            let objects = self.bucket.objects.iter().map(|(key, size)| (*key, *size)).collect();
            let uploads = self.bucket.uploads.iter().map(|(upload, (key, parts))| {
                (*upload, *key, parts.iter().map(|(part, size)| (*part, *size)).collect())
            });
            self.counting = Some(Counting { number, objects, uploads: uploads.collect() });
            return;
        };
        let number = counting.number;
        if let Some((key, size)) = counting.objects.pop() {
            self.recount(Recount::Objects { number, listed: vec![(target(key).id, size)] }).await;
        } else if let Some((upload, key, parts)) = counting.uploads.pop() {
            let upload = named(upload, key);
            self.recount(Recount::Upload { number, upload, begun_at: self.now, parts }).await;
        } else {
            self.recount(Recount::Listed { number }).await;
            let objects = crate::kit::objects(&self.store, &self.user).await;
            self.recount(Recount::Forget { number, objects }).await;
            self.recount(Recount::ForgetUploads { number }).await;
            self.recount(Recount::End { number, life: self.store.life() }).await;
            return;
        }
        self.counting = Some(counting);
    }

    async fn count_all(&mut self) {
        self.count().await;
        while self.counting.is_some() {
            self.count().await;
        }
    }

    /// Everything ends, and what is left is the bucket.
    async fn rest(&mut self) {
        for again in [false, true] {
            while !self.flights.is_empty() {
                self.answer(0, &Answer::Done).await;
            }
            for _ in 0..3 {
                self.sweep().await;
            }
            if self.counting.is_some() {
                self.count_all().await;
            }
            if !again {
                while let Some((upload, key)) = self.upload(0) {
                    self.begin(Write::Abort { upload: named(upload, key) }, Does::Abort(upload)).await;
                    self.answer(self.flights.len() - 1, &Answer::Done).await;
                }
            }
        }
        let account = self.plain.account;
        assert_eq!((account.reserved, account.open_uploads), (0, 0));
        assert_eq!(account.used, self.bucket.objects.values().sum::<u64>());
        assert_eq!(self.expired(Millis::MAX).await, []);
        let objects = crate::kit::objects(&self.store, &self.user).await;
        assert_eq!(objects, self.plain.objects.keys().copied().collect::<Vec<_>>());
        assert_eq!(self.store.uploads(&self.user).await.unwrap(), []);
    }
}

impl Bucket {
    /// Whether the upstream could do it.
    fn apply(&mut self, does: &Does) -> bool {
        match does {
            Does::Put(key, size) => drop(self.objects.insert(*key, *size)),
            Does::Delete(keys) => self.objects.retain(|key, _| !keys.contains(key)),
            Does::Create(upload, key) => drop(self.uploads.insert(*upload, (*key, BTreeMap::new()))),
            Does::Part(upload, number, size) => match self.uploads.get_mut(upload) {
                Some((_, parts)) => drop(parts.insert(*number, *size)),
                None => return false,
            },
            Does::Complete(upload, numbers) => {
                let Some((key, parts)) = self.uploads.get(upload) else { return false };
                let Some(size) = numbers.iter().map(|number| parts.get(number)).sum::<Option<u64>>() else {
                    return false;
                };
                self.objects.insert(*key, size);
                self.uploads.remove(upload);
            }
            Does::Abort(upload) => return self.uploads.remove(upload).is_some(),
        }
        true
    }
}

/// `PROPTEST_CASES` for a long night.
fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(32)
}

pub(crate) async fn random_steps_equal_plain_arithmetic(place: Place) {
    static USERS: AtomicU64 = AtomicU64::new(0);
    let store = Arc::new(place.open().await);
    let runtime = tokio::runtime::Handle::current();
    let run = move || {
        let config = Config { cases: cases(), failure_persistence: None, ..Config::default() };
        let programs = prop::collection::vec((any::<bool>(), act()), 1..60);
        let outcome = TestRunner::new(config).run(&programs, |program| {
            let case = USERS.fetch_add(1, Ordering::Relaxed);
            runtime.block_on(async {
                let [a, b] = ["a", "b"].map(|name| user(&format!("{name}{case}")));
                let mut first = World::new(Arc::clone(&store), a).await;
                let mut second = World::new(Arc::clone(&store), b).await;
                for (which, act) in program {
                    if which { first.take(act).await } else { second.take(act).await }
                }
                first.rest().await;
                second.rest().await;
            });
            Ok(())
        });
        outcome.unwrap();
    };
    tokio::task::spawn_blocking(run).await.unwrap();
    drop(place);
}
