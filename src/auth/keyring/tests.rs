//! Keys over a real store.

use std::sync::atomic::{AtomicUsize, Ordering};

use tempfile::TempDir;

use super::*;
use crate::auth::credentials::Directory;
use crate::config;
use crate::metrics::Metrics;
use crate::store::{Unavailable, UserChange};
use crate::types::Role;

const NOW: Millis = 1_764_064_800_000;

fn user(text: &str) -> UserId {
    UserId::parse(text).expect("an id")
}

async fn open_store(folder: &TempDir) -> Arc<Store> {
    let state = config::State::Redb(folder.path().join("state.redb"));
    Arc::new(Store::open(&state, Arc::new(Metrics::new().expect("metrics"))).await.expect("a store"))
}

async fn ring() -> (Keyring, TempDir) {
    let folder = TempDir::new().expect("a folder");
    let store = open_store(&folder).await;
    store.change_user(&user("alice"), &UserChange::default(), NOW).await.expect("a store");
    (Keyring::new(store, b"master"), folder)
}

async fn create(ring: &Keyring, owner: &str) -> NewKey {
    let created = ring.create(&user(owner), None, NOW).await.expect("a store");
    created.unwrap_or_else(|refused| panic!("{refused:?}"))
}

async fn secret(ring: &Keyring, id: &AccessKeyId) -> Option<Secret> {
    ring.find(id.as_str()).await.expect("a store").map(|credential| credential.secret.clone())
}

#[tokio::test]
async fn a_key_works_until_it_is_disabled_or_revoked() {
    let (ring, _folder) = ring().await;
    let [one, two] = [create(&ring, "alice").await, create(&ring, "alice").await];
    assert_ne!(one.access_key_id, two.access_key_id);
    assert_eq!((one.access_key_id.as_str().len(), one.secret.expose().len()), (20, 40));
    assert_eq!(secret(&ring, &one.access_key_id).await.as_ref(), Some(&one.secret));
    assert_eq!(secret(&ring, &two.access_key_id).await.as_ref(), Some(&two.secret));

    ring.enable(&user("alice"), &one.access_key_id, false).await.expect("a store").expect("a key");
    assert_eq!(secret(&ring, &one.access_key_id).await, None, "at once");
    ring.enable(&user("alice"), &one.access_key_id, true).await.expect("a store").expect("a key");
    assert_eq!(secret(&ring, &one.access_key_id).await, Some(one.secret));
    assert!(!ring.revoke(&user("bob"), &two.access_key_id).await.expect("a store"));
    assert!(ring.revoke(&user("alice"), &two.access_key_id).await.expect("a store"));
    assert_eq!(secret(&ring, &two.access_key_id).await, None);
}

#[tokio::test]
async fn what_was_changed_of_a_user_counts_at_once() {
    let (ring, _folder) = ring().await;
    let key = create(&ring, "alice").await;
    let change = async |enabled| {
        let change = UserChange { enabled: Some(enabled), ..UserChange::default() };
        ring.store.change_user(&user("alice"), &change, NOW).await.expect("a store");
        ring.forget_user(&user("alice"));
    };
    assert!(secret(&ring, &key.access_key_id).await.is_some());
    change(false).await;
    assert_eq!(secret(&ring, &key.access_key_id).await, None);
    change(true).await;
    assert!(secret(&ring, &key.access_key_id).await.is_some());
    ring.store.remove_user(&user("alice"), NOW).await.expect("a store");
    ring.forget_user(&user("alice"));
    change(true).await;
    assert_eq!(secret(&ring, &key.access_key_id).await, None, "a later alice");
    assert!(matches!(ring.create(&user("bob"), None, NOW).await, Ok(Err(NoKey::NoSuchUser))));
}

#[tokio::test]
async fn whoever_asks_for_a_key_must_still_be_who_they_were() {
    let (ring, _folder) = ring().await;
    let (first, other) = (create(&ring, "alice").await, create(&ring, "alice").await);
    let ask = async |generation, origin: &Origin| {
        let made = ring.create(&user("alice"), Some(Asker { generation, origin }), NOW).await;
        made.expect("a store").map(drop)
    };
    let by = |key: &NewKey| Origin::AccessKey(key.access_key_id.as_str().to_owned());
    let issuer = Origin::Issuer("https://issuer.example".to_owned());
    for origin in [by(&first), by(&other), issuer.clone()] {
        assert_eq!(ask(0, &origin).await, Ok(()));
        assert_eq!(ask(1, &origin).await, Err(NoKey::NotTheirs), "another life");
    }
    // As another gateway does it: nothing is forgotten here.
    ring.store.set_key(&user("alice"), &first.access_key_id, false).await.expect("a store");
    assert_eq!(ask(0, &by(&first)).await, Err(NoKey::NotTheirs), "disabled");
    ring.store.remove_key(&user("alice"), &other.access_key_id).await.expect("a store");
    assert_eq!(ask(0, &by(&other)).await, Err(NoKey::NotTheirs), "revoked");
    let disable = UserChange { enabled: Some(false), ..UserChange::default() };
    ring.store.change_user(&user("alice"), &disable, NOW).await.expect("a store");
    assert_eq!(ask(0, &issuer).await, Err(NoKey::NotTheirs), "a disabled user");
}

#[tokio::test]
async fn another_master_key_opens_no_key() {
    let (ring, folder) = ring().await;
    let key = create(&ring, "alice").await;
    drop(ring);
    let other = Keyring::new(open_store(&folder).await, b"another");
    assert_eq!(secret(&other, &key.access_key_id).await, None);
    drop(other);
    let same = Keyring::new(open_store(&folder).await, b"master");
    assert_eq!(secret(&same, &key.access_key_id).await, Some(key.secret));
}

/// Row L07.
#[tokio::test]
async fn l07_no_secret_lies_in_the_state_file() {
    let (ring, folder) = ring().await;
    let key = create(&ring, "alice").await;
    drop(ring);
    let file = std::fs::read(folder.path().join("state.redb")).expect("a file");
    let holds = |text: &str| file.windows(text.len()).any(|bytes| bytes == text.as_bytes());
    assert!(holds(key.access_key_id.as_str()));
    assert!(!holds(key.secret.expose()));
}

fn credential(id: &AccessKeyId, owner: &str) -> Arc<Credential> {
    let secret = Secret::new("a secret".to_owned());
    let (access_key_id, user) = (id.clone(), user(owner));
    Arc::new(Credential { access_key_id, secret, generation: 0, user, role: Role::User })
}

type Found = Option<Arc<Credential>>;

fn is_known(found: store::Result<Found>) -> Option<bool> {
    found.ok().map(|found| found.is_some())
}

#[tokio::test]
async fn many_who_ask_at_once_ask_the_store_once() {
    let (known, id) = (Known::new(), random_id().expect("chance"));
    let asked = AtomicUsize::new(0);
    for (answer, owner) in [(Some(credential(&id, "alice")), "alice"), (None, "nobody")] {
        asked.store(0, Ordering::Relaxed);
        let ask = || async {
            match known.get(id.as_str()) {
                Some(found) => Ok(found),
                None => {
                    known
                        .ask(&id, async || {
                            asked.fetch_add(1, Ordering::Relaxed);
                            tokio::task::yield_now().await;
                            Ok(answer.clone())
                        })
                        .await
                }
            }
        };
        let all = futures_util::future::join_all((0..100).map(|_| ask())).await;
        assert!(all.into_iter().all(|found| is_known(found) == Some(answer.is_some())), "{owner}");
        assert_eq!(is_known(ask().await), Some(answer.is_some()));
        assert_eq!(asked.load(Ordering::Relaxed), 1, "{owner}");
        known.forget(&id);
    }
}

#[tokio::test]
async fn a_key_stays_good_while_the_store_is_away_unless_it_was_changed() {
    let (known, id, other) = (Known::new(), random_id().expect("chance"), random_id().expect("chance"));
    let away = async |id: &AccessKeyId| is_known(known.ask(id, async || Err(Unavailable)).await);
    let there = async |id: &AccessKeyId| {
        let found = credential(id, "alice");
        is_known(known.ask(id, async || Ok(Some(found))).await)
    };
    assert_eq!(away(&id).await, None);
    assert_eq!((there(&id).await, there(&other).await), (Some(true), Some(true)));
    assert_eq!((away(&id).await, away(&other).await), (Some(true), Some(true)));
    known.forget(&id);
    assert_eq!((away(&id).await, away(&other).await), (None, Some(true)));
    known.forget_user(&user("bob"));
    assert_eq!(away(&other).await, Some(true));
    known.forget_user(&user("alice"));
    assert_eq!(away(&other).await, None);
    // What the store denies is not good any more.
    there(&id).await;
    assert_eq!(is_known(known.ask(&id, async || Ok(None)).await), Some(false));
    assert_eq!(away(&id).await, None);
}

#[tokio::test]
async fn an_answer_that_a_change_overtook_is_not_kept() {
    let (known, id) = (Known::new(), random_id().expect("chance"));
    let changes: [&dyn Fn(); 2] = [&|| known.forget(&id), &|| known.forget_user(&user("alice"))];
    for overtake in changes {
        let found = known.ask(&id, async || {
            overtake();
            Ok(Some(credential(&id, "alice")))
        });
        assert_eq!(is_known(found.await), Some(true), "an answer to the one who asked");
        assert!(known.get(id.as_str()).is_none());
        assert_eq!(is_known(known.ask(&id, async || Err(Unavailable)).await), None);
    }
}

#[test]
fn only_ids_that_may_be_keys_are_asked_for() {
    let made = random_id().expect("chance");
    assert_eq!(ours(made.as_str()), Some(made));
    for bad in [
        "",
        "BWK",
        "AKIAIOSFODNN7EXAMPLE",
        "BWKABCDEFGHIJKLMNOP1",
        "BWTABCDEFGHIJKLMNOPQ",
        "BWK/BCDEFGHIJKLMNOPQ",
    ] {
        assert_eq!(ours(bad), None, "{bad}");
    }
}

#[tokio::test]
async fn the_files_users_have_the_files_keys_alone() {
    let (ring, _folder) = ring().await;
    let stored = create(&ring, "alice").await;
    let ring = Arc::new(ring);
    let directory = |file: &str| {
        let id = AccessKeyId::parse("nobody").expect("an id");
        let access_keys = vec![config::AccessKey { id, secret: Secret::new("the file's".to_owned()) }];
        let (tier, role) = ("default".to_owned(), Role::User);
        let users = [config::User { id: user(file), tier, role, access_keys }];
        Directory::new(&users, ring.clone()).expect("random numbers")
    };
    let find = async |file: &str, id: &str| directory(file).find(id).await.expect("a store");
    assert!(find("bob", stored.access_key_id.as_str()).await.is_some());
    assert!(find("alice", stored.access_key_id.as_str()).await.is_none(), "the file manages alice now");

    // Signing keys are kept by id and generation: no key that there is may meet the one in place of those that are not.
    let (one, other) = (directory("alice"), directory("alice"));
    let file = find("alice", "nobody").await.expect("a key of the file's");
    assert_ne!(file.generation, one.nobody().generation);
    assert_ne!(one.nobody().secret, other.nobody().secret);
}
