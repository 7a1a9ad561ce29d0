//! Access keys, and what becomes of them with their users.

use bucketwarden::store::{Added, KeyRecord, MAX_KEYS, Store, UserChange};
use bucketwarden::types::AccessKeyId;

use crate::kit::{NOW, user};
use crate::openers::Place;

fn id(text: &str) -> AccessKeyId {
    AccessKeyId::parse(text).unwrap()
}

fn record(owner: &str, generation: u64) -> KeyRecord {
    KeyRecord {
        user: user(owner),
        generation,
        sealed: format!("sealed for {owner}"),
        enabled: true,
        created_at: NOW,
    }
}

async fn make(store: &Store, owner: &str) -> u64 {
    store.change_user(&user(owner), &UserChange::default(), NOW).await.unwrap().0.generation
}

async fn add(store: &Store, key: &str, record: &KeyRecord) -> Added {
    store.add_key(&id(key), record).await.unwrap()
}

async fn ids_of(store: &Store, owner: &str) -> Vec<String> {
    let keys = store.keys_of(&user(owner)).await.unwrap();
    keys.into_iter().map(|key| key.id.as_str().to_owned()).collect()
}

pub(crate) async fn keys_are_made_changed_and_removed_by_their_user(place: Place) {
    let store = place.open().await;
    assert_eq!(add(&store, "KEY1", &record("alice", 0)).await, Added::NoSuchUser);
    make(&store, "alice").await;
    make(&store, "alice.b").await;
    assert_eq!(add(&store, "KEY2", &record("alice", 0)).await, Added::Done);
    assert_eq!(add(&store, "KEY1", &record("alice", 0)).await, Added::Done);
    assert_eq!(add(&store, "KEY3", &record("alice.b", 0)).await, Added::Done);
    assert!(store.add_key(&id("KEY1"), &record("alice.b", 0)).await.is_err(), "an id is one key's");
    drop(store);

    let store = place.open().await;
    let key = store.key(&id("KEY1")).await.unwrap().unwrap();
    assert_eq!((key.record, key.owner.enabled), (record("alice", 0), true));
    assert_eq!(store.key(&id("KEY")).await.unwrap(), None);
    assert_eq!(ids_of(&store, "alice").await, ["KEY1", "KEY2"]);

    let changed = store.set_key(&user("alice"), &id("KEY1"), false).await.unwrap().unwrap();
    assert_eq!(changed.record, KeyRecord { enabled: false, ..record("alice", 0) });
    assert!(!store.key(&id("KEY1")).await.unwrap().unwrap().record.enabled);
    // Somebody else's key is none.
    assert_eq!(store.set_key(&user("alice.b"), &id("KEY2"), false).await.unwrap(), None);
    assert!(!store.remove_key(&user("alice.b"), &id("KEY2")).await.unwrap());
    assert!(store.key(&id("KEY2")).await.unwrap().unwrap().record.enabled);
    assert!(store.remove_key(&user("alice"), &id("KEY2")).await.unwrap());
    assert!(!store.remove_key(&user("alice"), &id("KEY2")).await.unwrap());
    assert_eq!(store.key(&id("KEY2")).await.unwrap(), None);
    assert_eq!(ids_of(&store, "alice").await, ["KEY1"]);
    assert_eq!(ids_of(&store, "alice.b").await, ["KEY3"]);
}

pub(crate) async fn a_key_knows_when_it_was_used_last(place: Place) {
    let store = place.open().await;
    make(&store, "alice").await;
    add(&store, "KEY1", &record("alice", 0)).await;
    let last = async || store.keys_of(&user("alice")).await.unwrap()[0].last_used_at;
    assert_eq!(last().await, None);
    for (used, expected) in [(NOW, NOW), (NOW + 5, NOW + 5), (NOW - 5, NOW + 5)] {
        store.note_key_use(&id("KEY1"), used).await.unwrap();
        assert_eq!(last().await, Some(expected));
    }
    store.remove_key(&user("alice"), &id("KEY1")).await.unwrap();
    store.note_key_use(&id("KEY1"), NOW + 9).await.unwrap();
    add(&store, "KEY1", &record("alice", 0)).await;
    assert_eq!(last().await, None);
}

pub(crate) async fn a_user_has_so_many_keys_and_no_more(place: Place) {
    let store = place.open().await;
    make(&store, "alice").await;
    let all = (0..MAX_KEYS + 4).map(|n| {
        let store = &store;
        async move { add(store, &format!("KEY{n}"), &record("alice", 0)).await }
    });
    let added = futures_util::future::join_all(all).await;
    assert_eq!(added.iter().filter(|added| **added == Added::Done).count(), MAX_KEYS);
    assert_eq!(added.iter().filter(|added| **added == Added::TooMany).count(), 4);
    assert_eq!(ids_of(&store, "alice").await.len(), MAX_KEYS);
}

pub(crate) async fn nothing_of_a_removed_user_revives(place: Place) {
    let store = place.open().await;
    make(&store, "alice").await;
    make(&store, "bob").await;
    add(&store, "KEY1", &record("alice", 0)).await;
    add(&store, "KEY2", &record("bob", 0)).await;
    assert!(store.remove_user(&user("alice"), NOW + 10).await.unwrap());
    assert!(!store.remove_user(&user("alice"), NOW + 20).await.unwrap());
    assert_eq!(store.key(&id("KEY1")).await.unwrap(), None);
    assert_eq!(ids_of(&store, "alice").await, [""; 0]);
    assert_eq!(add(&store, "KEY1", &record("alice", 0)).await, Added::NoSuchUser);

    // What comes after is of a later life, whatever the clock says.
    let second = make(&store, "alice").await;
    assert!(second > NOW + 10, "{second}");
    assert_eq!(add(&store, "KEY1", &record("alice", 0)).await, Added::NoSuchUser);
    assert_eq!(add(&store, "KEY1", &record("alice", second)).await, Added::Done);
    assert!(store.remove_user(&user("alice"), NOW - 99).await.unwrap());
    let third = make(&store, "alice").await;
    assert!(third > second, "{third}");
    assert_eq!(store.key(&id("KEY1")).await.unwrap(), None);
    assert_eq!(ids_of(&store, "bob").await, ["KEY2"]);
}
