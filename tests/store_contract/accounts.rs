//! Accounts and their rows.

use std::sync::Arc;

use bucketwarden::account::{Begun, HOUR, Limits, ObjectId, Outcome, Refusal, Reply, Step, Write};
use bucketwarden::store::PAGE;

use crate::kit::{LEASE, NOW, account, bytes, count, lease, named, objects, target, try_begin, user, write};
use crate::openers::Place;

fn put(key: u64, size: u64) -> Write {
    Write::Put { target: target(key), size }
}

pub(crate) async fn what_was_answered_is_there_after_reopening(place: Place) {
    let store = place.open().await;
    let alice = user("alice");
    count(&store, &alice, vec![(target(1).id, 100), (target(2).id, 50)]).await;
    write(&store, &alice, 1, put(1, 70), Outcome::Done).await;
    write(&store, &alice, 2, Write::Create { target: target(3) }, Outcome::Created(named(9, 3))).await;
    write(&store, &alice, 3, Write::Part { upload: named(9, 3), number: 1, size: 30 }, Outcome::Done).await;
    // One is left under way.
    assert_eq!(try_begin(&store, &alice, 4, put(2, 60), Limits::default()).await, Begun::Admitted);
    let before = account(&store, &alice).await;
    assert_eq!((before.used, before.reserved, before.hour, before.open_uploads), (120, 40, 3, 1));
    drop(store);

    let store = place.open().await;
    assert_eq!(account(&store, &alice).await, before);
    assert_eq!(objects(&store, &alice).await, [target(1).id, target(2).id]);
    let uploads = store.uploads(&alice).await.unwrap();
    assert_eq!((uploads.len(), uploads[0].0, uploads[0].1.total), (1, named(9, 3).key, 30));
    assert_eq!(store.expired(NOW + LEASE).await.unwrap(), [(alice.clone(), lease(4))]);
    // All goes on where it was: part and windows too.
    let complete = Write::Complete { upload: named(9, 3), parts: vec![1] };
    write(&store, &alice, 5, complete, Outcome::Done).await;
    let Reply::Settled(settled) =
        store.step(&alice, crate::kit::settle(4, Outcome::Failed, NOW), NOW).await.unwrap()
    else {
        panic!("settled")
    };
    assert!(!settled.lost);
    let Reply::Usage(usage) = store.step(&alice, Step::Usage, NOW + HOUR).await.unwrap() else {
        panic!("usage")
    };
    assert_eq!((usage.used, usage.reserved, usage.hour, usage.day, usage.open_uploads), (150, 0, 0, 2, 0));
}

pub(crate) async fn rows_are_a_users_own(place: Place) {
    let store = place.open().await;
    // Ids that begin alike, and differ in what might be a separator.
    let users = ["a", "a.", "a-", "a_", "a.b", "a-b", "ab", "A", "a0"].map(user);
    for (n, user) in (1..).zip(&users) {
        count(&store, user, vec![(target(1).id, n)]).await;
        write(&store, user, 1, put(2, 10 * n), Outcome::Done).await;
        write(&store, user, 2, Write::Create { target: target(3) }, Outcome::Created(named(9, 3))).await;
        write(&store, user, 3, Write::Part { upload: named(9, 3), number: 1, size: n }, Outcome::Done).await;
        try_begin(&store, user, 4, put(4, 100 * n), Limits::default()).await;
    }
    write(&store, &users[0], 5, Write::Delete { targets: vec![target(1)] }, Outcome::Done).await;
    write(&store, &users[0], 6, Write::Abort { upload: named(9, 3) }, Outcome::Done).await;
    for (n, user) in (1..).zip(&users) {
        let account = account(&store, user).await;
        let objects = objects(&store, user).await.len();
        let uploads = store.uploads(user).await.unwrap().len();
        let expected = if n == 1 { (10, 100, 1, 0) } else { (11 * n, 101 * n, 2, 1) };
        assert_eq!((account.used, account.reserved, objects, uploads), expected, "{user}");
    }
    let mut expired = store.expired(NOW + LEASE).await.unwrap();
    expired.sort_unstable();
    let mut all = users.map(|user| (user, lease(4)));
    all.sort_unstable();
    assert_eq!(expired, all);
}

pub(crate) async fn writes_at_the_edge_of_a_limit_are_admitted_as_far_as_they_fit(place: Place) {
    let store = Arc::new(place.open().await);
    let alice = user("alice");
    count(&store, &alice, Vec::new()).await;
    let limits = Limits { storage: Some(1000), uploads_per_hour: Some(40), ..Limits::default() };
    let all_at_once = |from: u64, size: u64| {
        let begins = (from..from + 64).map(|n| {
            let (store, alice) = (Arc::clone(&store), alice.clone());
            tokio::spawn(async move { try_begin(&store, &alice, n, put(n, size), limits).await })
        });
        begins.collect::<Vec<_>>()
    };
    let mut admitted = 0;
    for begun in all_at_once(100, 40) {
        match begun.await.unwrap() {
            Begun::Admitted => admitted += 1,
            Begun::Refused(Refusal::Storage { used: 1000, adds: 40, max: 1000 }) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((admitted, account(&store, &alice).await.reserved), (25, 1000));
    for begun in all_at_once(200, 0) {
        match begun.await.unwrap() {
            Begun::Admitted => admitted += 1,
            Begun::Refused(Refusal::Hourly { count: 40, max: 40, .. }) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((admitted, account(&store, &alice).await.hour), (40, 40));
}

pub(crate) async fn objects_come_in_pages(place: Place) {
    let store = place.open().await;
    let mut all: Vec<_> = (0..2500).map(|n| ObjectId(bytes(n))).collect();
    count(&store, &user("bob"), vec![(ObjectId([0xff; 16]), 1), (ObjectId([0; 16]), 1)]).await;
    count(&store, &user("alice"), all.iter().map(|id| (*id, 3)).collect()).await;
    count(&store, &user("carol"), vec![(ObjectId([0xff; 16]), 1), (ObjectId([0; 16]), 1)]).await;
    let (first, next) = store.objects(&user("alice"), None).await.unwrap();
    assert!(next.is_some() && first.len() < 2 * PAGE, "{}", first.len());
    assert_eq!(account(&store, &user("alice")).await.used, 7500);
    all.sort_unstable();
    assert_eq!(objects(&store, &user("alice")).await, all);
    assert_eq!(store.objects(&user("nobody"), None).await.unwrap(), (Vec::new(), None));
}

pub(crate) async fn leases_are_found_once_they_have_expired(place: Place) {
    let store = place.open().await;
    let (alice, bob) = (user("alice"), user("bob"));
    for user in [&alice, &bob] {
        count(&store, user, Vec::new()).await;
        try_begin(&store, user, 1, put(1, 1), Limits::default()).await;
    }
    try_begin(&store, &alice, 2, put(2, 1), Limits::default()).await;
    assert_eq!(store.expired(NOW + LEASE - 1).await.unwrap(), []);
    assert_eq!(store.expired(NOW + LEASE).await.unwrap().len(), 3);
    let renew = Step::Renew { leases: vec![lease(1), lease(77)], expires_at: NOW + 2 * LEASE };
    assert_eq!(store.step(&alice, renew, NOW).await.unwrap(), Reply::Renewed);
    let mut expired = store.expired(NOW + LEASE).await.unwrap();
    expired.sort_unstable();
    assert_eq!(expired, [(alice.clone(), lease(2)), (bob.clone(), lease(1))]);
    store.step(&bob, crate::kit::settle(1, Outcome::Done, NOW), NOW).await.unwrap();
    assert_eq!(store.expired(NOW + LEASE).await.unwrap(), [(alice.clone(), lease(2))]);
    // Whoever takes one for dead has it to itself for a while.
    let expire = Step::Expire { lease: lease(2), orphaned: false, look_at: NOW + 3 * LEASE };
    let Reply::Settled(settled) = store.step(&alice, expire, NOW + LEASE).await.unwrap() else {
        panic!("expired")
    };
    assert_eq!(settled.objects.len(), 1);
    assert_eq!(store.expired(NOW + LEASE).await.unwrap(), []);
}

pub(crate) async fn uploads_are_listed_while_they_are_open(place: Place) {
    let store = place.open().await;
    let alice = user("alice");
    count(&store, &alice, Vec::new()).await;
    for n in [1, 2] {
        let created = Outcome::Created(named(n, n));
        write(&store, &alice, n, Write::Create { target: target(n) }, created).await;
    }
    let upload = store.upload(&alice, named(2, 2).key).await.unwrap().unwrap();
    assert_eq!((upload.upload_id.as_str(), upload.target, upload.begun_at), ("upload-2", target(2), NOW));
    // While a recount runs, an upload that has ended leaves a row behind, which is none of them.
    let begin = bucketwarden::account::Recount::Begin { stale_before: NOW };
    crate::kit::recount(&store, &alice, begin, NOW).await.unwrap();
    write(&store, &alice, 3, Write::Abort { upload: named(2, 2) }, Outcome::Done).await;
    assert_eq!(store.upload(&alice, named(2, 2).key).await.unwrap(), None);
    let open = store.uploads(&alice).await.unwrap();
    assert_eq!(open.iter().map(|(key, _)| *key).collect::<Vec<_>>(), [named(1, 1).key]);
    assert_eq!(store.uploads(&user("nobody")).await.unwrap(), []);
}
