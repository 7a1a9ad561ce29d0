//! What a step of the ledger costs, durably: `cargo bench --bench ledger`. Callers, each with one write under way at a
//! time, begin and settle writes of 64 users; a step is timed from asking to the answer, which comes when it
//! is on disk. `BUCKETWARDEN_BENCH_STATE` names the store as `state.url` does; by default it is a file beside
//! the build. `-- --test` does a little of everything, quickly. `-- --bytes` tells what an object's row takes in the
//! file, and how long the file takes to open after a crash.

#![allow(
    clippy::as_conversions,
    clippy::cast_precision_loss,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a bench: numbers are for people, and a failure ends it"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bucketwarden::account::{
    Begun, LeaseId, Limits, Millis, ObjectId, Outcome, Recount, Reply, Step, Target, Write,
};
use bucketwarden::config;
use bucketwarden::metrics::Metrics;
use bucketwarden::store::Store;
use bucketwarden::types::{Secret, UserId};

const CALLERS: [usize; 3] = [1, 32, 512];
const USERS: usize = 64;
const NOW: Millis = 1_800_000_000_000;

fn main() {
    let has = |flag: &str| std::env::args().any(|argument| argument == flag);
    let smoke = has("--test");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let state = match std::env::var("BUCKETWARDEN_BENCH_STATE") {
        Err(_) => config::State::Redb(folder.path().join("state.redb")),
        Ok(url) => match url.strip_prefix("redb:") {
            Some(path) => config::State::Redb(path.into()),
            None => config::State::Redis(Secret::new(url)),
        },
    };
    if has("--bytes") {
        return runtime.block_on(bytes(&state));
    }
    let time = if smoke { Duration::from_millis(50) } else { Duration::from_secs(5) };
    println!("| callers | steps/s | p50 ms | p99 ms | steps per commit |\n|---|---|---|---|---|");
    for callers in CALLERS {
        runtime.block_on(load(&state, callers, time));
    }
}

async fn load(state: &config::State, callers: usize, time: Duration) {
    let metrics = Arc::new(Metrics::new().unwrap());
    let store = Arc::new(Store::open(state, Arc::clone(&metrics)).await.unwrap());
    // A store that others use, or an earlier run did, is no obstacle.
    let run = uuid::Uuid::new_v4().simple().to_string();
    let users: Vec<UserId> = (0..USERS).map(|n| UserId::parse(&format!("{run}-{n}")).unwrap()).collect();
    for user in &users {
        count(&store, user, &[]).await;
    }
    let next = Arc::new(AtomicU64::new(0));
    let before = metrics.state_commits.get();
    let start = Instant::now();
    let callers_at_work = (0..callers).map(|n| {
        let (store, next, user) = (Arc::clone(&store), Arc::clone(&next), users[n % USERS].clone());
        tokio::spawn(async move {
            let mut took = Vec::new();
            while start.elapsed() < time {
                for step in write(&store, next.fetch_add(1, Ordering::Relaxed)) {
                    let asked = Instant::now();
                    let reply = store.step(&user, step, NOW).await.unwrap();
                    took.push(asked.elapsed());
                    assert!(matches!(reply, Reply::Begun(Begun::Admitted) | Reply::Settled(_)), "{reply:?}");
                }
            }
            took
        })
    });
    let mut took = Vec::new();
    for caller in callers_at_work.collect::<Vec<_>>() {
        took.extend(caller.await.unwrap());
    }
    let rate = took.len() as f64 / start.elapsed().as_secs_f64();
    let commits = metrics.state_commits.get() - before;
    took.sort_unstable();
    let at = |percent: usize| took[(took.len() - 1) * percent / 100].as_secs_f64() * 1e3;
    let shared =
        if commits == 0 { "–".to_owned() } else { format!("{:.1}", took.len() as f64 / commits as f64) };
    println!("| {callers} | {rate:.0} | {:.2} | {:.2} | {shared} |", at(50), at(99));
}

/// One write of an object of its own, begun and done.
fn write(store: &Store, n: u64) -> [Step; 2] {
    let id = uuid::Uuid::new_v4().into_bytes();
    let key = format!("datasets/5f0c2a7e-6f0f-4c39-9d5e-0d6a4b8f7c21/train/shard-{n:06}.tar");
    let write = Write::Put { target: Target { id: ObjectId(id), key }, size: 1 << 20 };
    let (lease, limits) = (LeaseId(id), Limits::default());
    [
        Step::Begin { lease, write, limits, expires_at: NOW + 60_000, life: store.life() },
        Step::Settle { lease, outcome: Outcome::Done, look_at: NOW },
    ]
}

async fn count(store: &Store, user: &UserId, listed: &[(ObjectId, u64)]) {
    let recount = async |step| match store.step(user, Step::Recount(step), NOW).await.unwrap() {
        Reply::Recount(counted) => counted.number.unwrap(),
        other => panic!("{other:?}"),
    };
    let number = recount(Recount::Begin { stale_before: NOW }).await;
    for page in listed.chunks(1000) {
        recount(Recount::Objects { number, listed: page.to_vec() }).await;
    }
    recount(Recount::Listed { number }).await;
    recount(Recount::End { number, life: store.life() }).await;
}

/// Fills a file with objects of 64 users, and looks at it.
async fn bytes(state: &config::State) {
    const EACH: usize = 100_000 / USERS;
    let config::State::Redb(path) = state else { panic!("only a file has a size") };
    let metrics = || Arc::new(Metrics::new().unwrap());
    drop(Store::open(state, metrics()).await.unwrap());
    let size = || std::fs::metadata(path).unwrap().len();
    println!("{} bytes empty", size());
    let store = Store::open(state, metrics()).await.unwrap();
    for n in 0..USERS {
        let user = UserId::parse(&format!("5f0c2a7e-6f0f-4c39-9d5e-0d6a4b8f{n:04}")).unwrap();
        let objects: Vec<_> =
            (0..EACH).map(|n| (ObjectId(uuid::Uuid::new_v4().into_bytes()), (n << 14) as u64)).collect();
        count(&store, &user, &objects).await;
    }
    // What is in the file now is what a crash would leave.
    let crashed = path.with_extension("crashed");
    std::fs::copy(path, &crashed).unwrap();
    println!("{} objects, {} bytes open", EACH * USERS, size());
    drop(store);
    println!("{:.1} bytes an object once closed", size() as f64 / (EACH * USERS) as f64);
    for (how, state) in [("in good order", state.clone()), ("crashed", config::State::Redb(crashed))] {
        let start = Instant::now();
        let store = Store::open(&state, metrics()).await.unwrap();
        println!("opened in {:?}, {how}", start.elapsed());
        drop(store);
    }
}
