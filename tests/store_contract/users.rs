//! Users' records.

use std::collections::BTreeMap;
use std::sync::Arc;

use bucketwarden::store::{Known, PAGE, UserChange};
use bucketwarden::types::Role;
use futures_util::stream::{self, StreamExt as _};

use crate::kit::{NOW, count, user};
use crate::openers::Place;

#[expect(clippy::option_option, reason = "as `UserChange` has it")]
fn limit(name: &str, value: Option<Option<u64>>) -> UserChange {
    UserChange { limits: BTreeMap::from([(name.to_owned(), value)]), ..UserChange::default() }
}

pub(crate) async fn a_change_makes_a_record_and_changes_add_up(place: Place) {
    let store = Arc::new(place.open().await);
    let alice = user("alice");
    assert_eq!(store.user(&alice).await.unwrap(), None);
    assert!(!store.remove_user(&alice, NOW).await.unwrap());
    let premium = UserChange {
        tier: Some("premium".into()),
        role: Some(Role::Service),
        enabled: Some(false),
        ..UserChange::default()
    };
    let (record, is_new) = store.change_user(&alice, &premium, NOW).await.unwrap();
    assert!(is_new && !record.enabled && record.created_at == NOW);
    assert_eq!((record.tier.as_deref(), record.role), (Some("premium"), Some(Role::Service)));

    let changes = (0..50).map(|n| {
        let (store, alice) = (Arc::clone(&store), alice.clone());
        tokio::spawn(async move {
            store.change_user(&alice, &limit(&format!("limit-{n}"), Some(Some(n))), NOW + 1).await.unwrap().1
        })
    });
    for change in changes.collect::<Vec<_>>() {
        assert!(!change.await.unwrap());
    }
    let (record, _) = store.change_user(&alice, &limit("limit-7", Some(None)), NOW + 2).await.unwrap();
    assert_eq!(record.limits.len(), 50);
    let (record, _) = store.change_user(&alice, &limit("limit-8", None), NOW + 2).await.unwrap();
    assert_eq!(
        (record.limits.len(), record.limits["limit-7"], record.limits["limit-9"]),
        (49, None, Some(9))
    );
    assert_eq!((record.tier.as_deref(), record.created_at), (Some("premium"), NOW));
    assert_eq!(store.user(&alice).await.unwrap(), Some(record));

    assert!(store.remove_user(&alice, NOW).await.unwrap());
    assert_eq!(store.user(&alice).await.unwrap(), None);
    assert!(store.change_user(&alice, &UserChange::default(), NOW).await.unwrap().1);
}

pub(crate) async fn who_was_removed_stays_known(place: Place) {
    let store = place.open().await;
    let alice = user("alice");
    assert_eq!(store.known(&alice).await.unwrap(), Known::Nobody);
    let (first, _) = store.change_user(&alice, &UserChange::default(), NOW).await.unwrap();
    assert_eq!(first.generation, 0);
    let disabled = UserChange { enabled: Some(false), ..limit("burst", Some(Some(1))) };
    store.change_user(&alice, &disabled, NOW).await.unwrap();
    store.remove_user(&alice, NOW + 5).await.unwrap();
    drop(store);
    let store = place.open().await;
    assert_eq!(store.known(&alice).await.unwrap(), Known::Removed { next: NOW + 6 });
    assert_eq!(store.users(None).await.unwrap(), []);
    let (again, is_new) = store.change_user(&alice, &UserChange::default(), NOW + 9).await.unwrap();
    assert!(is_new && again.enabled && again.limits.is_empty());
    assert_eq!((again.generation, again.created_at), (NOW + 6, NOW + 9));
    assert_eq!(store.known(&alice).await.unwrap(), Known::User(again));
}

pub(crate) async fn who_is_there_already_is_not_made(place: Place) {
    let store = Arc::new(place.open().await);
    let alice = user("alice");
    let tier = |name: &str| UserChange { tier: Some(name.into()), ..UserChange::default() };
    let Known::User(first) = store.create_user(&alice, &tier("first"), 0, NOW).await.unwrap() else {
        panic!("a record")
    };
    assert_eq!((first.tier.as_deref(), first.generation, first.created_at), (Some("first"), 0, NOW));
    let disabled = UserChange { enabled: Some(false), ..UserChange::default() };
    let (disabled, _) = store.change_user(&alice, &disabled, NOW + 1).await.unwrap();
    let there = store.create_user(&alice, &tier("second"), 0, NOW + 2).await.unwrap();
    assert_eq!(there, Known::User(disabled.clone()));
    assert_eq!(store.user(&alice).await.unwrap(), Some(disabled));

    store.remove_user(&alice, NOW + 5).await.unwrap();
    let removed = Known::Removed { next: NOW + 6 };
    for other in [0, NOW + 5, NOW + 7] {
        assert_eq!(store.create_user(&alice, &tier("third"), other, NOW + 8).await.unwrap(), removed);
    }
    assert_eq!(store.known(&alice).await.unwrap(), removed);
    let makers = (0..20).map(|n| {
        let (store, alice, first) = (Arc::clone(&store), alice.clone(), tier(&format!("tier-{n}")));
        tokio::spawn(async move { store.create_user(&alice, &first, NOW + 6, NOW + 9).await.unwrap() })
    });
    let mut seen = Vec::new();
    for maker in makers.collect::<Vec<_>>() {
        seen.push(maker.await.unwrap());
    }
    let there = store.known(&alice).await.unwrap();
    assert!(matches!(&there, Known::User(record) if record.generation == NOW + 6));
    assert!(seen.iter().all(|one| *one == there), "one of them made it, and all see it");
    assert_eq!(store.users(None).await.unwrap(), [alice]);
}

pub(crate) async fn users_come_in_pages_and_in_order(place: Place) {
    let store = Arc::new(place.open().await);
    let mut all: Vec<_> = (0..PAGE + 200).map(|n| user(&format!("u{n}"))).collect();
    let changes = all.iter().cloned().enumerate().map(|(n, user)| {
        let store = Arc::clone(&store);
        async move {
            // Some have an account, some a record, some both.
            if n % 3 != 0 {
                store.change_user(&user, &UserChange::default(), NOW).await.unwrap();
            }
            if n % 3 != 1 {
                count(&store, &user, Vec::new()).await;
            }
        }
    });
    // Not all at once: a store may refuse what it cannot do in time.
    stream::iter(changes).buffer_unordered(50).collect::<Vec<_>>().await;
    all.sort();
    let first = store.users(None).await.unwrap();
    assert_eq!(first, all[..PAGE]);
    let second = store.users(first.last()).await.unwrap();
    assert_eq!(second, all[PAGE..]);
    assert_eq!(store.users(second.last()).await.unwrap(), []);
    // The account outlives the record.
    assert!(
        store.remove_user(&all[2], NOW).await.unwrap() || store.account(&all[2]).await.unwrap().is_some()
    );
}
