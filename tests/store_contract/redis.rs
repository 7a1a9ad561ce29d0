//! What the shared store promises besides: gateways hold a user to one limit together, what Redis has lost or does not
//! answer is noticed and never taken for zero, and a step whose answer was lost is taken once.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bucketwarden::account::{Begun, DAY, LeaseId, Limits, Outcome, Refusal, Reply, Step, Write};
use bucketwarden::config;
use bucketwarden::metrics::Metrics;
use bucketwarden::store::{Store, Unavailable};
use bucketwarden::types::Secret;
use tokio::time::{Instant, sleep, timeout};

use crate::kit::{LEASE, NOW, account, begin, count, lease, objects, settle, target, try_begin, user};
use crate::openers::Place;
use crate::server::{Cluster, Proxy, Server, state};
use crate::{accounts, child, jobs, keys, programs, users};

async fn open(state: config::State) -> (Arc<Store>, Arc<Metrics>) {
    let metrics = Arc::new(Metrics::new().unwrap());
    (Arc::new(Store::open(&state, metrics.clone()).await.unwrap()), metrics)
}

fn put(key: u64, size: u64) -> Write {
    Write::Put { target: target(key), size }
}

/// Waits until the store answers again.
async fn recovered(store: &Store) {
    let back = async {
        while !store.is_up() || store.account(&user("alice")).await.is_err() {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(Duration::from_secs(10), back).await.expect("it recovers by itself");
}

async fn is_down(store: &Store) {
    let down = async {
        while store.is_up() {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(Duration::from_secs(1), down).await.expect("the loss is noticed");
}

#[tokio::test(flavor = "multi_thread")]
async fn gateways_hold_a_user_to_one_limit() {
    let server = Server::start().await;
    let (one, _) = open(server.state()).await;
    let (other, _) = open(server.state()).await;
    let alice = user("alice");
    count(&one, &alice, Vec::new()).await;
    let limits = Limits { storage: Some(1000), ..Limits::default() };
    let (third, watched) = (open(server.state()).await.0, alice.clone());
    let watch = tokio::spawn(async move {
        let mut samples = 0;
        loop {
            let Ok(Some(account)) = third.account(&watched).await else { continue };
            assert!(account.used + account.reserved <= 1000, "{account:?}");
            samples += 1;
            if account.reserved == 1000 {
                return samples;
            }
        }
    });
    let begins = (0..200).map(|n| {
        let (store, alice) = (if n % 2 == 0 { one.clone() } else { other.clone() }, alice.clone());
        tokio::spawn(
            async move { store.step(&alice, begin(n, put(n, 40), limits, store.life(), NOW), NOW).await },
        )
    });
    let (mut admitted, mut unheard) = (0, 0);
    for answer in begins.collect::<Vec<_>>() {
        match answer.await.unwrap() {
            Ok(Reply::Begun(Begun::Admitted)) => admitted += 1,
            Ok(Reply::Begun(Begun::Refused(Refusal::Storage { used: 1000, adds: 40, max: 1000 }))) => {}
            // On a machine that is very busy.
            Err(Unavailable) => unheard += 1,
            other => panic!("{other:?}"),
        }
    }
    assert!(admitted <= 25 && admitted + unheard >= 25, "{admitted} admitted, {unheard} unheard");
    assert_eq!(account(&one, &alice).await.reserved, 1000);
    assert_eq!(account(&other, &alice).await.hour, 25);
    assert!(timeout(Duration::from_secs(5), watch).await.unwrap().unwrap() > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_answered_outlives_a_killed_server() {
    // Every answer is on disk before it is given.
    let mut server = Server::start_with(&["--appendfsync", "always"]).await;
    let (store, metrics) = open(server.state()).await;
    assert!(store.is_up() && metrics.state_available.get() == 1);
    let life = store.life();
    let alice = user("alice");
    count(&store, &alice, Vec::new()).await;
    let writers = (1..=8_u64).map(|writer| {
        let (store, alice) = (store.clone(), alice.clone());
        tokio::spawn(async move {
            let mut done = Vec::new();
            for n in (0..).map(|n| writer * 1_000_000 + n) {
                let begun = begin(n, put(n, 7), Limits::default(), store.life(), NOW);
                if store.step(&alice, begun, NOW).await.is_err() {
                    break;
                }
                if store.step(&alice, settle(n, Outcome::Done, NOW), NOW).await.is_err() {
                    break;
                }
                done.push(target(n).id);
            }
            done
        })
    });
    let writers: Vec<_> = writers.collect();
    while account(&store, &alice).await.used < 7 * 100 {
        sleep(Duration::from_millis(5)).await;
    }
    server.kill();
    let lost = Instant::now();
    assert_eq!(store.step(&alice, Step::Usage, NOW).await, Err(Unavailable));
    assert!(lost.elapsed() < Duration::from_secs(1), "{:?}", lost.elapsed());
    is_down(&store).await;
    assert_eq!(metrics.state_available.get(), 0);
    let mut done = BTreeSet::new();
    for writer in writers {
        done.extend(writer.await.unwrap());
    }
    assert!(done.len() >= 90, "{}", done.len());

    server.start_again().await;
    recovered(&store).await;
    assert_eq!(metrics.state_available.get(), 1);
    assert_ne!(store.life(), life);
    let there: BTreeSet<_> = objects(&store, &alice).await.into_iter().collect();
    assert!(done.is_subset(&there), "{} of {}", there.len(), done.len());
    // Nobody knows what the server may have lost: a recount comes first. Who wrote long ago has lost nothing.
    let begun = |now| begin(1, put(1, 1), Limits::default(), life, now);
    assert_eq!(store.step(&alice, begun(NOW), NOW).await.unwrap(), Reply::Begun(Begun::NotCounted));
    // Every lease that was left is found.
    let expired: BTreeSet<LeaseId> =
        store.expired(NOW + LEASE).await.unwrap().into_iter().map(|(_, lease)| lease).collect();
    assert_eq!(7 * u64::try_from(expired.len()).unwrap(), account(&store, &alice).await.reserved);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_wrote_long_ago_is_trusted_in_another_life() {
    let mut server = Server::start().await;
    let (store, _) = open(server.state()).await;
    let alice = user("alice");
    count(&store, &alice, Vec::new()).await;
    server.kill();
    server.start_again().await;
    recovered(&store).await;
    let later = NOW + DAY;
    let begun = begin(1, put(1, 1), Limits::default(), store.life(), later);
    assert_eq!(store.step(&alice, begun, later).await.unwrap(), Reply::Begun(Begun::Admitted));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_does_not_answer_costs_no_more_than_the_deadline() {
    let server = Server::start().await;
    let (store, metrics) = open(server.state()).await;
    let alice = user("alice");
    count(&store, &alice, Vec::new()).await;
    server.halt();
    for n in 0..4 {
        let asked = Instant::now();
        let begun = begin(n, put(n, 1), Limits::default(), store.life(), NOW);
        assert_eq!(store.step(&alice, begun, NOW).await, Err(Unavailable));
        assert!(asked.elapsed() < Duration::from_millis(300), "{:?}", asked.elapsed());
    }
    is_down(&store).await;
    assert_eq!(metrics.state_available.get(), 0);
    server.go_on();
    recovered(&store).await;
    assert_eq!(try_begin(&store, &alice, 10, put(10, 1), Limits::default()).await, Begun::Admitted);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_comes_late_is_found() {
    let mut server = Server::start().await;
    server.kill();
    let (store, metrics) = open(server.state()).await;
    assert!(!store.is_up() && metrics.state_available.get() == 0);
    assert_eq!(store.step(&user("alice"), Step::Usage, NOW).await, Err(Unavailable));
    server.start_again().await;
    recovered(&store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_emptied_server_is_not_zero_use() {
    let server = Server::start().await;
    let (store, _) = open(server.state()).await;
    let alice = user("alice");
    count(&store, &alice, vec![(target(1).id, 100)]).await;
    assert_eq!(try_begin(&store, &alice, 1, put(1, 1), Limits::default()).await, Begun::Admitted);
    let life = store.life();
    server.cli(&["FLUSHALL"]);
    assert_eq!(try_begin(&store, &alice, 2, put(2, 1), Limits::default()).await, Begun::NotCounted);
    let Reply::Settled(settled) = store.step(&alice, settle(1, Outcome::Done, NOW), NOW).await.unwrap()
    else {
        panic!("settled")
    };
    assert!(settled.lost);
    // The epoch went too: that is another life.
    let changed = async {
        while store.life() == life {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(5), changed).await.expect("it is noticed");
    count(&store, &alice, vec![(target(1).id, 100)]).await;
    assert_eq!(try_begin(&store, &alice, 3, put(3, 1), Limits::default()).await, Begun::Admitted);
    // And the leases of the new account are found.
    assert_eq!(store.expired(NOW + LEASE).await.unwrap(), [(alice, lease(3))]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_whose_answer_was_lost_is_taken_once() {
    let server = Server::start().await;
    let proxy = Proxy::start(server.address()).await;
    let (store, _) = open(state(proxy.address)).await;
    let alice = user("alice");
    count(&store, &alice, Vec::new()).await;
    let mut taken = 0;
    for n in 1..=20 {
        proxy.swallow.store(1, Ordering::SeqCst);
        let begun = begin(n, put(n, 10), Limits::default(), store.life(), NOW);
        let answer = store.step(&alice, begun, NOW).await;
        assert_eq!(proxy.swallow.load(Ordering::SeqCst), 0, "an answer was lost");
        match answer {
            Ok(reply) => {
                assert_eq!(reply, Reply::Begun(Begun::Admitted));
                taken += 1;
            }
            // No time was left to ask again, on a machine that is very busy.
            Err(Unavailable) => recovered(&store).await,
        }
        let account = account(&store, &alice).await;
        assert_eq!((account.hour, account.reserved), (n, 10 * n));
    }
    assert!(taken > 10, "{taken}");
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_are_counted_while_they_beat() {
    let server = Server::start().await;
    let (one, _) = open(server.state()).await;
    let (other, _) = open(server.state()).await;
    let ttl = Duration::from_secs(30);
    assert_eq!(one.beat("one", NOW, ttl).await.unwrap(), 1);
    assert_eq!(other.beat("other", NOW + 10_000, ttl).await.unwrap(), 2);
    assert_eq!(one.beat("one", NOW + 20_000, ttl).await.unwrap(), 2);
    assert_eq!(one.beat("one", NOW + 40_000, ttl).await.unwrap(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_is_needed_where_there_is_one() {
    let server = Server::start_with(&["--user", "gateway", "on", ">open-sesame", "~*", "&*", "+@all"]).await;
    let url =
        |login: &str| config::State::Redis(Secret::new(format!("redis://{login}@{}", server.address())));
    server.cli(&["CONFIG", "SET", "requirepass", "another"]);
    let (store, _) = open(url("gateway:open-sesame")).await;
    assert!(store.is_up());
    let (store, _) = open(url("gateway:wrong")).await;
    assert!(!store.is_up());
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_trusts_the_systems_roots_and_no_others() {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: String| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (cert, key) = (file("tls.crt", made.cert.pem()), file("tls.key", made.signing_key.serialize_pem()));
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
    let tls =
        ["--tls-port", &port, "--tls-cert-file", &cert, "--tls-key-file", &key, "--tls-auth-clients", "no"];
    let _server = Server::start_with(&tls).await;
    let url = format!("rediss://localhost:{port}");
    let (store, _) = open(config::State::Redis(Secret::new(url.clone()))).await;
    assert!(!store.is_up(), "a certificate that nobody vouches for");
    let test = "redis::child_that_trusts";
    let mut child = child::run_with(test, &url, "SSL_CERT_FILE", cert.as_ref());
    assert!(child.wait().unwrap().success());
}

/// Has the certificate among the system's roots.
#[tokio::test]
#[ignore = "a child of `tls_trusts_the_systems_roots_and_no_others`"]
async fn child_that_trusts() {
    let Some(url) = child::given() else { return };
    let (store, _) = open(config::State::Redis(Secret::new(url))).await;
    assert!(store.is_up());
    count(&store, &user("alice"), Vec::new()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_does_what_one_server_does() {
    let cluster = Cluster::start().await;
    let place = |nodes| Place::new(cluster.state(nodes), ());
    let empty = || {
        for server in cluster.servers() {
            server.cli(&["FLUSHALL"]);
        }
    };
    accounts::rows_are_a_users_own(place(1)).await;
    empty();
    accounts::what_was_answered_is_there_after_reopening(place(1)).await;
    empty();
    accounts::writes_at_the_edge_of_a_limit_are_admitted_as_far_as_they_fit(place(3)).await;
    empty();
    accounts::leases_are_found_once_they_have_expired(place(1)).await;
    empty();
    users::a_change_makes_a_record_and_changes_add_up(place(3)).await;
    empty();
    keys::keys_are_made_changed_and_removed_by_their_user(place(3)).await;
    empty();
    keys::nothing_of_a_removed_user_revives(place(1)).await;
    empty();
    jobs::jobs_go_with_their_user(place(3)).await;
    empty();
    programs::random_steps_equal_plain_arithmetic(place(3)).await;
    let spread = cluster.servers().iter().filter(|server| server.cli(&["DBSIZE"]) != "0").count();
    assert_eq!(spread, 3);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement: prints what `store::redis` says of memory"]
async fn memory_of_objects_and_of_an_idle_user() {
    const OBJECTS: u64 = 100_000;
    let server = Server::start().await;
    let (store, _) = open(server.state()).await;
    let used = || -> u64 {
        let info = server.cli(&["INFO", "memory"]);
        let line = info.lines().find_map(|line| line.strip_prefix("used_memory_dataset:"));
        line.unwrap().trim().parse().unwrap()
    };
    let idle = used();
    for n in 0..1000 {
        count(&store, &user(&format!("u{n}")), Vec::new()).await;
    }
    // Writers' notes go by themselves, seconds later.
    let gone = async {
        while !server.cli(&["--scan", "--pattern", "*:by:*"]).is_empty() {
            sleep(Duration::from_millis(200)).await;
        }
    };
    timeout(Duration::from_mins(1), gone).await.unwrap();
    println!("{} bytes a user without objects", (used() - idle) / 1000);
    let listed: Vec<_> = (0..OBJECTS)
        .map(|n| {
            // Ids are hashes; sizes are like those of a data set.
            let id = (u128::from(n) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
            (bucketwarden::account::ObjectId(id.to_be_bytes()), n * 7919 % (64 << 20))
        })
        .collect();
    let before = used();
    count(&store, &user("alice"), listed).await;
    println!("{} bytes an object, of {OBJECTS}, in all of the server", (used() - before) / OBJECTS);
    let usage: u64 = server.cli(&["MEMORY", "USAGE", "bw:{alice}:objects", "SAMPLES", "0"]).parse().unwrap();
    println!("{} bytes an object by MEMORY USAGE", usage / OBJECTS);
}
