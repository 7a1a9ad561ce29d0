//! Random programs of one user against a plain model of the bucket: writes overlap, end in any order, fail or lose
//! their answer; a recount runs in between. After every step what is really in the bucket fits into
//! `used + reserved`, and that into the limit; when everything has ended the account is the bucket.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::memory::Memory;
use super::*;

mod plain;

const LIMIT: u64 = 100;
const FILE: u64 = 60;
const LEASE: Millis = 60_000;

fn target(n: u8) -> Target {
    Target { id: ObjectId([n; 16]), key: format!("datasets/alice/{n}") }
}

fn named(n: u8, key: u8) -> Named {
    Named { key: UploadKey([n; 16]), target: target(key), upload_id: format!("up-{n}") }
}

/// What really is in the bucket.
#[derive(Clone, Default, Debug)]
struct Bucket {
    objects: BTreeMap<u8, u64>,
    /// By upload: its key's number, and its parts.
    uploads: BTreeMap<u8, (u8, BTreeMap<u16, u64>)>,
}

impl Bucket {
    fn stored(&self) -> u64 {
        self.objects.values().sum::<u64>() + self.parts()
    }

    fn parts(&self) -> u64 {
        self.uploads.values().flat_map(|(_, parts)| parts.values()).sum()
    }
}

/// A write on its way: what it would do to the bucket, and whether that has happened.
#[derive(Clone, Debug)]
struct Flight {
    lease: LeaseId,
    write: Does,
    /// Whether the upstream did it; `None` while it has not come to it.
    did: Option<bool>,
    /// An abort that came too late: the upstream answers that there is no such upload.
    too_late: bool,
}

#[derive(Clone, Debug)]
enum Does {
    Put(u8, u64),
    Delete(Vec<u8>),
    Create(u8, u8),
    Part(u8, u16, u64),
    Complete(u8, Vec<u16>),
    Abort(u8),
}

#[derive(Clone, Debug)]
enum Act {
    Put(u8, u64),
    Delete(Vec<u8>),
    Create(u8),
    Part(usize, u16, u64),
    Complete(usize, Vec<u16>),
    Abort(usize),
    /// The upstream comes to a write, and does it or refuses it.
    Reach(usize, bool),
    /// The gateway hears of a write that the upstream has come to, or gives up on one.
    Answer(usize),
    Lose(usize),
    /// Time passes, and whoever sweeps finds expired leases.
    Sweep,
    /// The gateway dies, and another looks at once: the upstream may still come to what it was asked for.
    Crash,
    /// One more step of a recount.
    Count,
    /// The upstream does not list any more.
    GiveUp,
}

fn act() -> impl Strategy<Value = Act> {
    let key = 0..3_u8;
    let size = prop_oneof![0..40_u64, 30..70_u64];
    let part = 1..4_u16;
    prop_oneof![
        4 => (key.clone(), size.clone()).prop_map(|(key, size)| Act::Put(key, size)),
        1 => prop::collection::vec(key.clone(), 1..3).prop_map(Act::Delete),
        1 => key.prop_map(Act::Create),
        4 => (any::<usize>(), part.clone(), size).prop_map(|(upload, part, size)| Act::Part(upload, part, size)),
        1 => (any::<usize>(), prop::collection::btree_set(part, 1..3))
            .prop_map(|(upload, parts)| Act::Complete(upload, parts.into_iter().collect())),
        1 => any::<usize>().prop_map(Act::Abort),
        6 => (any::<usize>(), prop::bool::weighted(0.8)).prop_map(|(n, does)| Act::Reach(n, does)),
        6 => any::<usize>().prop_map(Act::Answer),
        1 => any::<usize>().prop_map(Act::Lose),
        1 => Just(Act::Sweep),
        1 => Just(Act::Crash),
        4 => Just(Act::Count),
        1 => Just(Act::GiveUp),
    ]
}

/// Of one upload of one part, which is completed and aborted at once.
fn act_on_one_upload() -> impl Strategy<Value = Act> {
    prop_oneof![
        1 => Just(Act::Create(0)),
        2 => (10..60_u64).prop_map(|size| Act::Part(0, 1, size)),
        2 => Just(Act::Complete(0, vec![1])),
        2 => Just(Act::Abort(0)),
        1 => (10..60_u64).prop_map(|size| Act::Put(1, size)),
        5 => (any::<usize>(), prop::bool::weighted(0.8)).prop_map(|(n, does)| Act::Reach(n, does)),
        5 => any::<usize>().prop_map(Act::Answer),
        1 => any::<usize>().prop_map(Act::Lose),
        1 => Just(Act::Sweep),
        1 => Just(Act::Crash),
        1 => Just(Act::Count),
    ]
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    prop_oneof![
        2 => prop::collection::vec(act(), 1..60),
        1 => prop::collection::vec(act_on_one_upload(), 1..60),
    ]
}

struct World {
    ledger: Memory,
    bucket: Bucket,
    flights: Vec<Flight>,
    /// On their way when the gateway died. The upstream comes to them before their leases would have expired, or never.
    late: Vec<Does>,
    now: Millis,
    next: u8,
    recount: Option<Counting>,
    gave_up: bool,
}

/// A recount on its way: its number, and the pages that were fetched and not taken in yet.
struct Counting {
    number: u32,
    objects: Vec<(u8, u64)>,
    /// Upload, key, and the parts.
    uploads: Vec<Listed>,
}

type Listed = (u8, u8, Vec<(u16, u64)>);

fn limits() -> Limits {
    Limits { storage: Some(LIMIT), file_size: Some(FILE), ..Limits::default() }
}

impl World {
    fn new() -> Self {
        let mut ledger = Memory::default();
        ledger.account.counted = true;
        Self {
            ledger,
            bucket: Bucket::default(),
            flights: Vec::new(),
            late: Vec::new(),
            now: 1_000_000,
            next: 1,
            recount: None,
            gave_up: false,
        }
    }

    fn begin(&mut self, write: Write, does: Does) {
        let lease = LeaseId([self.next; 16]);
        self.next = self.next.wrapping_add(1).max(1);
        let step = Step::Begin { lease, write, limits: limits(), expires_at: self.now + LEASE, life: 0 };
        match self.ledger.step(step, self.now) {
            Reply::Begun(Begun::Admitted) => {
                self.flights.push(Flight { lease, write: does, did: None, too_late: false });
            }
            Reply::Begun(Begun::Refused(_)) => {}
            other => panic!("{other:?}"),
        }
    }

    fn upload(&self, n: usize) -> Option<(u8, u8)> {
        // A client learns an upload's id from the answer.
        let told = |upload: &u8| {
            !self
                .flights
                .iter()
                .any(|flight| matches!(flight.write, Does::Create(made, _) if made == *upload))
        };
        let open: Vec<_> =
            self.bucket.uploads.iter().filter(|(id, _)| told(id)).map(|(id, (key, _))| (*id, *key)).collect();
        (!open.is_empty()).then(|| open[n % open.len()])
    }

    fn take(&mut self, act: Act) {
        match act {
            Act::Put(key, size) => {
                self.begin(Write::Put { target: target(key), size }, Does::Put(key, size));
            }
            Act::Delete(mut keys) => {
                keys.sort_unstable();
                keys.dedup();
                let targets = keys.iter().map(|key| target(*key)).collect();
                self.begin(Write::Delete { targets }, Does::Delete(keys));
            }
            Act::Create(key) => {
                let upload = self.next;
                self.begin(Write::Create { target: target(key) }, Does::Create(upload, key));
            }
            Act::Part(n, number, size) => {
                if let Some((upload, key)) = self.upload(n) {
                    let write = Write::Part { upload: named(upload, key), number, size };
                    self.begin(write, Does::Part(upload, number, size));
                }
            }
            Act::Complete(n, parts) => {
                if let Some((upload, key)) = self.upload(n) {
                    let write = Write::Complete { upload: named(upload, key), parts: parts.clone() };
                    self.begin(write, Does::Complete(upload, parts));
                }
            }
            Act::Abort(n) => {
                if let Some((upload, key)) = self.upload(n) {
                    self.begin(Write::Abort { upload: named(upload, key) }, Does::Abort(upload));
                }
            }
            Act::Reach(n, does) => self.reach(n, does),
            Act::Answer(n) => {
                if let Some(flight) = self.land(n) {
                    let outcome = if flight.did == Some(true) || flight.too_late {
                        done(&flight.write, &self.bucket)
                    } else {
                        Outcome::Failed
                    };
                    self.settle(&flight, outcome);
                }
            }
            Act::Lose(n) => {
                if let Some(flight) = self.land(n) {
                    self.settle(&flight, Outcome::Unknown);
                }
            }
            Act::Sweep => self.sweep(),
            Act::Crash => self.crash(),
            Act::Count => self.count(),
            Act::GiveUp => {
                if let Some(Counting { number, .. }) = self.recount.take() {
                    self.recount(Recount::GiveUp { number });
                    self.gave_up = true;
                }
            }
        }
    }

    fn land(&mut self, n: usize) -> Option<Flight> {
        if self.flights.is_empty() {
            return None;
        }
        let n = n % self.flights.len();
        Some(self.flights.remove(n))
    }

    /// The upstream is atomic: a write happens at one moment between its begin and its answer.
    fn reach(&mut self, n: usize, does: bool) {
        let waiting: Vec<usize> =
            (0..self.flights.len()).filter(|at| self.flights[*at].did.is_none()).collect();
        if !self.late.is_empty() && (waiting.is_empty() || n.is_multiple_of(2)) {
            let late = self.late.remove(n % self.late.len());
            self.bucket.apply(&late);
            return;
        }
        if waiting.is_empty() {
            return;
        }
        let flight = &mut self.flights[waiting[n % waiting.len()]];
        flight.did = Some(does && self.bucket.apply(&flight.write));
        flight.too_late = does && flight.did == Some(false) && matches!(flight.write, Does::Abort(_));
    }

    fn settle(&mut self, flight: &Flight, outcome: Outcome) {
        let step = Step::Settle { lease: flight.lease, outcome, look_at: self.now + LEASE };
        let Reply::Settled(settled) = self.ledger.step(step, self.now) else { panic!("settled") };
        assert!(!settled.lost);
        self.look(flight.lease, &settled);
    }

    fn look(&mut self, lease: LeaseId, settled: &Settled) {
        if settled.objects.is_empty() && settled.upload.is_none() {
            return;
        }
        let objects = settled
            .objects
            .iter()
            .map(|(target, stamp)| (target.id, *stamp, self.bucket.objects.get(&target.id.0[0]).copied()));
        let upload_is_gone =
            settled.upload.is_some_and(|upload| !self.bucket.uploads.contains_key(&upload.0[0]));
        let found = Found { objects: objects.collect(), upload_is_gone };
        self.ledger.step(Step::Resolve { lease, found }, self.now);
    }

    /// Owners that are alive renew; the others' leases expire.
    fn sweep(&mut self) {
        self.late.clear();
        self.now += LEASE + 1;
        let leases = self.flights.iter().map(|flight| flight.lease).collect();
        self.ledger.step(Step::Renew { leases, expires_at: self.now + LEASE }, self.now);
        let expired: Vec<LeaseId> = self
            .ledger
            .leases
            .iter()
            .filter(|(_, lease)| lease.expires_at <= self.now)
            .map(|(id, _)| *id)
            .collect();
        for lease in expired {
            self.expire(lease, false);
        }
    }

    fn expire(&mut self, lease: LeaseId, orphaned: bool) {
        let step = Step::Expire { lease, orphaned, look_at: self.now + LEASE };
        let Reply::Settled(settled) = self.ledger.step(step, self.now) else { panic!("settled") };
        self.look(lease, &settled);
    }

    fn crash(&mut self) {
        for flight in std::mem::take(&mut self.flights) {
            // What becomes of others late, the next recount sees.
            let waited_for = matches!(flight.write, Does::Put(..) | Does::Delete(_) | Does::Complete(..));
            if flight.did.is_none() && waited_for {
                self.late.push(flight.write);
            }
        }
        let orphaned: Vec<LeaseId> = self.ledger.leases.keys().copied().collect();
        for lease in orphaned {
            self.expire(lease, true);
        }
    }

    fn recount(&mut self, step: Recount) -> Counted {
        let Reply::Recount(counted) = self.ledger.step(Step::Recount(step), self.now) else {
            panic!("counted")
        };
        counted
    }

    /// Fetches the whole listing at once, and takes in one piece of it at each later step.
    fn count(&mut self) {
        let Some(mut counting) = self.recount.take() else {
            let number = self.recount(Recount::Begin { stale_before: self.now }).number.expect("it begins");
            let objects = self.bucket.objects.iter().map(|(key, size)| (*key, *size)).collect();
            let uploads = self.bucket.uploads.iter().map(|(upload, (key, parts))| {
                (*upload, *key, parts.iter().map(|(part, size)| (*part, *size)).collect())
            });
            self.recount = Some(Counting { number, objects, uploads: uploads.collect() });
            return;
        };
        let number = counting.number;
        if let Some((key, size)) = counting.objects.pop() {
            self.recount(Recount::Objects { number, listed: vec![(target(key).id, size)] });
        } else if let Some((upload, key, parts)) = counting.uploads.pop() {
            let upload = named(upload, key);
            self.recount(Recount::Upload { number, upload, begun_at: self.now, parts });
        } else {
            self.recount(Recount::Listed { number });
            let objects = self.ledger.objects.keys().copied().collect();
            self.recount(Recount::Forget { number, objects });
            self.recount(Recount::ForgetUploads { number });
            self.recount(Recount::End { number, life: 0 });
            return;
        }
        self.recount = Some(counting);
    }

    fn check(&self) {
        let Account { used, reserved, .. } = self.ledger.account;
        assert!(used + reserved <= LIMIT, "{used} + {reserved}");
        let stored = self.bucket.stored();
        assert!(stored <= used + reserved, "{stored} stored, {used} + {reserved} in the ledger");
        assert_eq!(used, self.ledger.objects.values().filter(|o| o.present).map(|o| o.size).sum::<u64>());
    }

    /// Everything ends: every write is heard of or given up, every lease resolved.
    fn rest(&mut self) {
        while self.flights.iter().any(|flight| flight.did.is_none()) {
            self.reach(0, true);
        }
        while !self.flights.is_empty() {
            self.take(Act::Answer(0));
            self.check();
        }
        for _ in 0..3 {
            self.sweep();
            self.check();
        }
        if self.gave_up && self.recount.is_none() {
            // The marks that one leaves when it gives up are the next one's to clear.
            self.count();
        }
        while self.recount.is_some() {
            self.count();
        }
    }
}

impl Bucket {
    /// Whether the upstream could do it.
    fn apply(&mut self, write: &Does) -> bool {
        match write {
            Does::Put(key, size) => drop(self.objects.insert(*key, *size)),
            Does::Delete(keys) => {
                for key in keys {
                    self.objects.remove(key);
                }
            }
            Does::Create(upload, key) => drop(self.uploads.insert(*upload, (*key, BTreeMap::new()))),
            Does::Part(upload, number, size) => match self.uploads.get_mut(upload) {
                Some((_, parts)) => drop(parts.insert(*number, *size)),
                None => return false,
            },
            Does::Complete(upload, numbers) => {
                let whole = self
                    .uploads
                    .get(upload)
                    .is_some_and(|(_, parts)| numbers.iter().all(|number| parts.contains_key(number)));
                if !whole {
                    return false;
                }
                let (key, parts) = self.uploads.remove(upload).expect("it is there");
                self.objects.insert(key, numbers.iter().map(|number| parts[number]).sum());
            }
            Does::Abort(upload) => return self.uploads.remove(upload).is_some(),
        }
        true
    }
}

fn done(write: &Does, _bucket: &Bucket) -> Outcome {
    match write {
        Does::Create(upload, key) => Outcome::Created(named(*upload, *key)),
        Does::Put(..) | Does::Delete(_) | Does::Part(..) | Does::Complete(..) | Does::Abort(_) => {
            Outcome::Done
        }
    }
}

/// `PROPTEST_CASES` for a long night.
fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(2000)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases()))]

    #[test]
    fn the_account_is_the_bucket(acts in acts()) {
        let mut world = World::new();
        for act in acts {
            world.take(act);
            world.check();
        }
        world.rest();
        let Account { used, reserved, open_uploads, .. } = world.ledger.account;
        prop_assert_eq!(used, world.bucket.objects.values().sum::<u64>());
        prop_assert!(world.ledger.leases.is_empty(), "{:?}", world.ledger.leases);
        prop_assert!(world.ledger.holds.is_empty(), "{:?}", world.ledger.holds);
        // What is left of uploads is what the bucket has of them; an unknown outcome may hold more until they end.
        prop_assert!(reserved >= world.bucket.parts());
        prop_assert!(open_uploads <= u64::try_from(world.bucket.uploads.len()).unwrap());
        for upload in world.bucket.uploads.keys().copied().collect::<Vec<_>>() {
            let key = world.bucket.uploads[&upload].0;
            world.begin(Write::Abort { upload: named(upload, key) }, Does::Abort(upload));
        }
        world.rest();
        prop_assert_eq!(world.ledger.account.reserved, 0);
        prop_assert_eq!(world.ledger.account.open_uploads, 0);
        prop_assert!(world.ledger.parts.is_empty() && world.ledger.uploads.is_empty());
    }
}
