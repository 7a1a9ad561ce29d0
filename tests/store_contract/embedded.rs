//! What the store in a file promises besides: it is whole after any end, it is its owner's alone, one process holds it,
//! and many steps share a flush of the disk.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bucketwarden::account::{Begun, Limits, ObjectId, Outcome, Recount, Reply, Step, Write};
use bucketwarden::config;
use bucketwarden::metrics::Metrics;
use bucketwarden::store::{Store, Unavailable, UserChange};
use bucketwarden::types::UserId;

use crate::child;
use crate::kit::{
    LEASE, NOW, account, bytes, count, lease, objects, recount, settle, target, try_begin, user,
};
use crate::openers::{Place, embedded};

async fn open(path: &Path) -> anyhow::Result<Store> {
    Store::open(&config::State::Redb(path.to_owned()), Arc::new(Metrics::new()?)).await
}

async fn refusal(path: &Path) -> String {
    let error = open(path).await.err().expect("it is refused");
    let text = format!("{error:#}");
    assert!(text.contains(path.to_str().unwrap()), "{text}");
    text
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn put(key: u64, size: u64) -> Write {
    Write::Put { target: target(key), size }
}

/// A closed file with some rows, and its bytes.
async fn filled() -> (Place, Vec<u8>) {
    let place = embedded().await;
    let store = place.open().await;
    count(&store, &user("alice"), (0..20_000).map(|n| (ObjectId(bytes(n)), n)).collect()).await;
    drop(store);
    let file = fs::read(place.path()).unwrap();
    (place, file)
}

#[tokio::test]
async fn the_file_is_its_owners_alone() {
    let place = embedded().await;
    drop(place.open().await);
    assert_eq!(mode(place.path()), 0o600);
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o644)).unwrap();
    drop(place.open().await);
    assert_eq!(mode(place.path()), 0o600);
    let names = fs::read_dir(place.path().parent().unwrap()).unwrap();
    assert_eq!(names.count(), 1, "nothing lies beside it");
}

#[tokio::test]
async fn a_folder_that_is_not_there_is_named() {
    let place = embedded().await;
    let path = place.path().parent().unwrap().join("nowhere/state.redb");
    assert!(refusal(&path).await.contains("no folder"));
}

#[tokio::test]
async fn a_start_that_was_cut_short_leaves_no_state_behind() {
    let place = embedded().await;
    let mut unfinished = place.path().as_os_str().to_owned();
    unfinished.push(".unfinished");
    fs::write(&unfinished, b"half of a file").unwrap();
    place.open().await;
    assert!(!Path::new(&unfinished).exists());
}

#[tokio::test]
async fn one_at_a_time_holds_the_file() {
    let place = embedded().await;
    let store = place.open().await;
    assert!(refusal(place.path()).await.contains("another process holds"));
    drop(store);
    place.open().await;
}

#[tokio::test]
async fn a_file_of_an_earlier_release_gets_the_tables_that_it_has_not() {
    const PARS: redb::TableDefinition<'_, &str, &[u8]> = redb::TableDefinition::new("pars");
    let place = embedded().await;
    let alice = user("alice");
    place.open().await.change_user(&alice, &UserChange::default(), NOW).await.unwrap();
    let db = redb::Database::open(place.path()).unwrap();
    let tx = db.begin_write().unwrap();
    assert!(tx.delete_table(PARS).unwrap());
    tx.commit().unwrap();
    drop(db);
    let store = place.open().await;
    assert_eq!(store.pars_of(&alice).await.unwrap(), []);
    assert!(store.user(&alice).await.unwrap().is_some());
}

#[tokio::test]
async fn what_is_no_state_file_is_left_as_it_is() {
    const FACTS: redb::TableDefinition<'_, &str, &[u8]> = redb::TableDefinition::new("facts");
    const OTHER: redb::TableDefinition<'_, u64, u64> = redb::TableDefinition::new("facts");
    let place = embedded().await;
    let folder = place.path().parent().unwrap();
    let path = |name: &str| folder.join(name);

    fs::write(path("empty"), b"").unwrap();
    fs::write(path("text"), "not a database\n".repeat(1000)).unwrap();
    for (name, fill) in [("another", None), ("newer", Some(&b"bucketwarden-state 2"[..]))] {
        let db = redb::Database::create(path(name)).unwrap();
        let tx = db.begin_write().unwrap();
        match fill {
            Some(format) => drop(tx.open_table(FACTS).unwrap().insert("format", format).unwrap()),
            None => drop(tx.open_table(OTHER).unwrap().insert(1, 1).unwrap()),
        }
        tx.commit().unwrap();
    }
    for (name, why) in [
        ("empty", "torn"),
        ("text", "torn"),
        ("another", "not Bucketwarden's"),
        ("newer", "`bucketwarden-state 2`"),
    ] {
        let before = fs::read(path(name)).unwrap();
        let told = refusal(&path(name)).await;
        assert!(told.contains(why), "{told}");
        if !matches!(name, "another" | "newer") {
            assert!(fs::read(path(name)).unwrap() == before, "{name} was changed");
        }
    }
}

#[tokio::test]
async fn a_torn_file_is_refused() {
    let (place, whole) = filled().await;
    let step = whole.len() / 40;
    for length in (0..40).map(|n| n * step + n).chain([whole.len() - 4096, whole.len() - 1]) {
        fs::write(place.path(), &whole[..length]).unwrap();
        let told = refusal(place.path()).await;
        assert!(told.contains("torn"), "{length}: {told}");
        assert_eq!(fs::metadata(place.path()).unwrap().len(), u64::try_from(length).unwrap());
    }
    fs::write(place.path(), &whole).unwrap();
    place.open().await;
}

#[tokio::test]
async fn a_damaged_page_is_never_read_as_if_it_were_whole() {
    let (place, whole) = filled().await;
    let mut refused = 0;
    for n in 0..40 {
        let mut damaged = whole.clone();
        for byte in &mut damaged[whole.len() * n / 40..][..64] {
            *byte ^= 0x5a;
        }
        fs::write(place.path(), &damaged).unwrap();
        match open(place.path()).await {
            Err(_) => refused += 1,
            // The page was free.
            Ok(store) => {
                let sums = account(&store, &user("alice")).await;
                assert_eq!((sums.used, sums.counted), (19_999 * 10_000, true), "damaged at {n}/40");
            }
        }
    }
    assert!(refused > 10, "only {refused} were noticed");
}

#[tokio::test]
async fn many_steps_share_a_commit() {
    let place = embedded().await;
    let metrics = Arc::new(Metrics::new().unwrap());
    let store = Arc::new(place.open_with(Arc::clone(&metrics)).await);
    for name in ["a", "b", "c", "d"] {
        count(&store, &user(name), Vec::new()).await;
    }
    let before = metrics.state_commits.get();
    let steps = (0..512).map(|n| {
        let store = Arc::clone(&store);
        let user = user(["a", "b", "c", "d"][n % 4]);
        let n = u64::try_from(n).unwrap();
        tokio::spawn(async move { try_begin(&store, &user, n, put(n, 1), Limits::default()).await })
    });
    for step in steps.collect::<Vec<_>>() {
        assert_eq!(step.await.unwrap(), Begun::Admitted);
    }
    let commits = metrics.state_commits.get() - before;
    assert!(commits <= 64, "{commits} commits");
    let text = String::from_utf8(metrics.text().unwrap()).unwrap();
    assert!(text.contains("bucketwarden_state_duration_seconds_count{operation=\"begin\"} 512"), "{text}");
    assert!(text.contains("bucketwarden_state_available 1"));
}

#[tokio::test]
async fn leases_that_are_there_at_the_start_are_orphaned_once() {
    let place = embedded().await;
    let store = place.open().await;
    let alice = user("alice");
    count(&store, &alice, Vec::new()).await;
    assert_eq!(store.orphaned().await.unwrap(), []);
    try_begin(&store, &alice, 1, put(1, 1), Limits::default()).await;
    assert_eq!(store.orphaned().await.unwrap(), []);
    drop(store);
    let store = place.open().await;
    try_begin(&store, &alice, 2, put(2, 1), Limits::default()).await;
    assert_eq!(store.orphaned().await.unwrap(), [(alice.clone(), lease(1))]);
    assert_eq!(store.orphaned().await.unwrap(), []);
    assert_eq!(store.beat("me", NOW, std::time::Duration::from_secs(1)).await.unwrap(), 1);
}

const USERS: [&str; 2] = ["alice", "bob"];

/// Writes without end, and says of each write when its begin and when its end was answered.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a child of `no_answer_is_lost_to_kill_9`"]
async fn child_that_writes() {
    let Some(given) = child::given() else { return };
    let (first, path) = given.split_once(' ').unwrap();
    let store = Arc::new(open(Path::new(path)).await.unwrap());
    let next = Arc::new(AtomicU64::new(first.parse().unwrap()));
    let writers = (0..8).map(|n| {
        let (store, next, user) = (Arc::clone(&store), Arc::clone(&next), user(USERS[n % 2]));
        tokio::spawn(async move {
            loop {
                let id = next.fetch_add(1, Ordering::Relaxed);
                assert_eq!(
                    try_begin(&store, &user, id, put(id, 7), Limits::default()).await,
                    Begun::Admitted
                );
                say(&format!("begun {user} {id}\n"));
                store.step(&user, settle(id, Outcome::Done, NOW), NOW).await.unwrap();
                say(&format!("done {user} {id}\n"));
            }
        })
    });
    // None ends but by a failure.
    futures_util::future::select_all(writers).await.0.unwrap();
}

/// In one piece, past what the test runner catches.
fn say(line: &str) {
    std::io::stdout().write_all(line.as_bytes()).unwrap();
}

#[tokio::test]
async fn no_answer_is_lost_to_kill_9() {
    let place = embedded().await;
    {
        let store = place.open().await;
        for name in USERS {
            count(&store, &user(name), Vec::new()).await;
        }
    }
    let mut all_done: BTreeSet<(UserId, u64)> = BTreeSet::new();
    for round in 0..10 {
        let answers = 1 + uuid::Uuid::new_v4().as_u128() % 200;
        let mut child = child::run(
            "embedded::child_that_writes",
            &format!("{} {}", round * 1_000_000, place.path().display()),
        );
        let mut begun = BTreeSet::new();
        let mut done = BTreeSet::new();
        let mut left = answers;
        // What it still says after the blow was said before.
        for line in BufReader::new(child.stdout.take().unwrap()).lines() {
            let line = line.unwrap();
            let words: Vec<&str> = line.split(' ').collect();
            let [what @ ("begun" | "done"), name, id] = words[..] else { continue };
            let write = (user(name), id.parse::<u64>().unwrap());
            if what == "begun" {
                begun.insert(write)
            } else {
                done.insert(write)
            };
            if left == 0 {
                continue;
            }
            left -= 1;
            if left == 0 {
                if round == 0 {
                    assert!(refusal(place.path()).await.contains("another process holds"));
                }
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        assert!(begun.len() + done.len() >= usize::try_from(answers).unwrap(), "the child ended by itself");
        all_done.extend(done.iter().cloned());

        let store = place.open().await;
        let orphaned: BTreeSet<_> = store.orphaned().await.unwrap().into_iter().collect();
        let told = format!("round {round}, killed after {answers} answers");
        for name in USERS {
            let user = user(name);
            let objects: BTreeSet<_> = objects(&store, &user).await.into_iter().collect();
            for (_, id) in all_done.iter().filter(|(of, _)| *of == user) {
                assert!(objects.contains(&target(*id).id), "{told}: {id} is gone");
            }
            for (_, id) in begun.iter().filter(|(of, _)| *of == user) {
                let is_done = objects.contains(&target(*id).id);
                let is_left = orphaned.contains(&(user.clone(), lease(*id)));
                assert!(is_done != is_left, "{told}: {id}: done {is_done}, left {is_left}");
            }
            let of_user: Vec<_> = orphaned.iter().filter(|(of, _)| *of == user).collect();
            let sums = account(&store, &user).await;
            let count = |n: usize| u64::try_from(n).unwrap();
            assert_eq!(
                (sums.used, sums.reserved),
                (7 * count(objects.len()), 7 * count(of_user.len())),
                "{told}"
            );
            for (_, lease) in of_user {
                let failed = Step::Settle { lease: *lease, outcome: Outcome::Failed, look_at: NOW + LEASE };
                store.step(&user, failed, NOW).await.unwrap();
            }
            assert_eq!(account(&store, &user).await.reserved, 0);
        }
    }
}

/// Fills a disk that is soon full, says so, and goes on when it is told that there is space.
#[tokio::test]
#[ignore = "a child of `a_full_disk_is_no_end`"]
async fn child_on_a_full_disk() {
    let Some(path) = child::given() else { return };
    let metrics = Arc::new(Metrics::new().unwrap());
    let store = Store::open(&config::State::Redb(path.into()), Arc::clone(&metrics)).await.unwrap();
    let alice = user("alice");
    let number = recount(&store, &alice, Recount::Begin { stale_before: NOW }, NOW).await.unwrap();
    let page = |n: u64| {
        Step::Recount(Recount::Objects {
            number,
            listed: (n * 1000..(n + 1) * 1000).map(|id| (ObjectId(bytes(id)), 1)).collect(),
        })
    };
    let mut pages = 0;
    while store.step(&alice, page(pages), NOW).await != Err(Unavailable) {
        pages += 1;
        assert!(pages < 10_000);
    }
    assert!(!store.is_up() && metrics.state_available.get() == 0);
    // Again and again; and reads go on.
    for _ in 0..3 {
        assert_eq!(store.step(&alice, page(pages), NOW).await, Err(Unavailable));
        assert_eq!(account(&store, &alice).await.used, 1000 * pages);
        assert_eq!(store.objects(&alice, None).await.unwrap().0.len(), 1000);
    }
    say("full\n");
    std::io::stdin().lines().next().unwrap().unwrap();
    let Reply::Recount(_) = store.step(&alice, page(pages), NOW).await.unwrap() else { panic!("counted") };
    assert!(store.is_up() && metrics.state_available.get() == 1);
    assert_eq!(account(&store, &alice).await.used, 1000 * (pages + 1));
    say(&format!("back {pages}\n"));
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_full_disk_is_no_end() {
    let place = embedded().await;
    let mut child =
        child::run_limited("embedded::child_on_a_full_disk", place.path().to_str().unwrap(), 4 << 20);
    let mut said = BTreeMap::new();
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        match line.split(' ').collect::<Vec<_>>()[..] {
            ["full"] => {
                let pid = child.id().to_string();
                let freed = Command::new("prlimit").args(["--pid", &pid, "--fsize=unlimited"]).status();
                assert!(freed.unwrap().success());
                child.stdin.take().unwrap().write_all(b"go on\n").unwrap();
                said.insert("full", 0);
            }
            ["back", pages] => drop(said.insert("back", pages.parse::<u64>().unwrap())),
            _ => {}
        }
    }
    assert!(child.wait().unwrap().success());
    let pages = said["back"];
    assert!(said.contains_key("full") && pages > 0);
    let store = place.open().await;
    assert_eq!(account(&store, &user("alice")).await.used, 1000 * (pages + 1));
}
