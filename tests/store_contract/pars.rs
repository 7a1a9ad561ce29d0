//! Pre-authenticated requests on record.

use bucketwarden::account::Millis;
use bucketwarden::store::{MAX_PARS, PAGE, ParId, ParRecord, Store, UserChange};
use bucketwarden::types::UserId;
use futures_util::stream::{self, StreamExt as _};

use crate::kit::{NOW, user};
use crate::openers::Place;

fn record(owner: &str, due: Millis) -> ParRecord {
    ParRecord {
        user: user(owner),
        generation: 0,
        place: "us-phoenix-1/n/ns/b/real".to_owned(),
        object: format!("datasets/{owner}/a b"),
        writes: false,
        oci_id: None,
        expires_at: NOW + 1000,
        due,
    }
}

async fn add(store: &Store, record: &ParRecord) -> ParId {
    let id = ParId::random();
    assert!(store.add_par(&id, record).await.unwrap());
    id
}

fn ids(pars: &[(ParId, ParRecord)]) -> Vec<&ParId> {
    pars.iter().map(|(id, _)| id).collect()
}

pub(crate) async fn pars_are_found_by_id_user_and_time(place: Place) {
    let store = place.open().await;
    let first = record("alice", NOW + 20);
    let one = add(&store, &first).await;
    let two = add(&store, &record("alice", NOW + 10)).await;
    let three = add(&store, &record("alice.b", NOW + 30)).await;
    assert!(store.add_par(&one, &record("alice", NOW)).await.is_err(), "an id is one PAR's");
    drop(store);

    let store = place.open().await;
    assert_eq!(store.par(&one).await.unwrap(), Some(first.clone()));
    assert_eq!(store.par(&ParId::random()).await.unwrap(), None);
    let mut of_alice = [&one, &two];
    of_alice.sort();
    assert_eq!(ids(&store.pars_of(&user("alice")).await.unwrap()), of_alice);
    assert_eq!(store.pars_of(&user("alic")).await.unwrap(), []);
    for (now, expected) in [
        (NOW + 9, &[][..]),
        (NOW + 10, &[&two]),
        (NOW + 29, &[&two, &one]),
        (NOW + 99, &[&two, &one, &three]),
    ] {
        assert_eq!(ids(&store.pars_due(now).await.unwrap()), expected, "{}", now - NOW);
    }

    let live = ParRecord { oci_id: Some("oci/1".to_owned()), due: NOW + 90, ..first.clone() };
    assert!(store.replace_par(&one, &first, &live).await.unwrap());
    assert_eq!(ids(&store.pars_due(NOW + 89).await.unwrap()), [&two, &three]);
    // Done already; and then of a row that is not there any more.
    assert!(store.replace_par(&one, &first, &live).await.unwrap());
    let other = ParRecord { oci_id: Some("oci/2".to_owned()), ..live.clone() };
    assert!(!store.replace_par(&one, &first, &other).await.unwrap());
    assert!(!store.replace_par(&ParId::random(), &first, &live).await.unwrap());
    assert_eq!(store.par(&one).await.unwrap(), Some(live.clone()));

    assert!(store.remove_par(&user("alice"), &one).await.unwrap());
    assert!(!store.remove_par(&user("alice"), &one).await.unwrap());
    assert!(!store.replace_par(&one, &live, &other).await.unwrap(), "what is gone stays gone");
    assert_eq!(ids(&store.pars_of(&user("alice")).await.unwrap()), [&two]);
    assert_eq!(ids(&store.pars_due(NOW + 99).await.unwrap()), [&two, &three]);
}

pub(crate) async fn a_user_has_so_many_pars_and_no_more(place: Place) {
    let store = place.open().await;
    let wanted: Vec<_> = (0..MAX_PARS + 4).map(|_| (ParId::random(), record("alice", NOW + 1))).collect();
    let adding = wanted.iter().map(|(id, record)| store.add_par(id, record));
    // Not all at once: a store may refuse what it cannot do in time.
    let added: Vec<bool> = stream::iter(adding).buffer_unordered(50).map(Result::unwrap).collect().await;
    assert_eq!(added.iter().filter(|added| **added).count(), MAX_PARS);
    let all = store.pars_of(&user("alice")).await.unwrap();
    assert_eq!(all.len(), MAX_PARS);
    let other = add(&store, &record("alice.b", NOW)).await;
    assert!(store.remove_par(&user("alice"), &all[0].0).await.unwrap());
    add(&store, &record("alice", NOW + 1)).await;
    assert!(!store.add_par(&ParId::random(), &record("alice", NOW)).await.unwrap());
    let due = store.pars_due(NOW + 2).await.unwrap();
    assert_eq!((due.len(), &due[0].0), (PAGE, &other));
}

pub(crate) async fn owners_of_pars_come_in_pages_and_in_order(place: Place) {
    let store = place.open().await;
    let mut all: Vec<UserId> = (0..PAGE + 20).map(|n| user(&format!("u{n}"))).collect();
    all.extend(["u1-a", "u1.a", "u1_a", "U1"].map(user));
    all.sort();
    let mut adding = Vec::new();
    for owner in all.iter().chain(&all) {
        let (store, record) = (&store, record(owner.as_str(), NOW));
        adding.push(async move { add(store, &record).await });
    }
    stream::iter(adding).buffer_unordered(50).collect::<Vec<_>>().await;
    let first = store.par_owners(None).await.unwrap();
    assert_eq!(first, all[..PAGE]);
    let second = store.par_owners(first.last()).await.unwrap();
    assert_eq!(second, all[PAGE..]);
    assert_eq!(store.par_owners(second.last()).await.unwrap(), []);
    for (id, _) in store.pars_of(&all[0]).await.unwrap() {
        store.remove_par(&all[0], &id).await.unwrap();
    }
    assert_eq!(store.par_owners(None).await.unwrap()[0], all[1]);
}

pub(crate) async fn pars_outlive_their_user(place: Place) {
    let store = place.open().await;
    store.change_user(&user("alice"), &UserChange::default(), NOW).await.unwrap();
    let id = add(&store, &record("alice", NOW)).await;
    assert!(store.remove_user(&user("alice"), NOW + 1).await.unwrap());
    assert_eq!(ids(&store.pars_of(&user("alice")).await.unwrap()), [&id], "OCI has it still");
    assert_eq!(store.par_owners(None).await.unwrap(), [user("alice")]);
    assert_eq!(ids(&store.pars_due(NOW).await.unwrap()), [&id]);
}
