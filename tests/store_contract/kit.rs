//! What all checks speak of: users, names, and steps that must go well.

use bucketwarden::account::{
    Account, Begun, LeaseId, Limits, Millis, Named, ObjectId, Outcome, Recount, Reply, Settled, Step, Target,
    UploadKey, Write,
};
use bucketwarden::store::Store;
use bucketwarden::types::UserId;

/// Any time will do; all times are passed in.
pub(crate) const NOW: Millis = 1_800_000_000_000;
pub(crate) const LEASE: Millis = 60_000;

pub(crate) fn user(id: &str) -> UserId {
    UserId::parse(id).unwrap()
}

pub(crate) fn bytes(n: u64) -> [u8; 16] {
    (u128::from(n) << 64 | u128::from(n)).to_be_bytes()
}

pub(crate) fn lease(n: u64) -> LeaseId {
    LeaseId(bytes(n))
}

pub(crate) fn target(n: u64) -> Target {
    Target { id: ObjectId(bytes(n)), key: format!("datasets/somebody/{n}") }
}

pub(crate) fn named(n: u64, key: u64) -> Named {
    Named { key: UploadKey(bytes(n)), target: target(key), upload_id: format!("upload-{n}") }
}

pub(crate) fn begin(id: u64, write: Write, limits: Limits, life: u64, now: Millis) -> Step {
    Step::Begin { lease: lease(id), write, limits, expires_at: now + LEASE, life }
}

pub(crate) fn settle(id: u64, outcome: Outcome, now: Millis) -> Step {
    Step::Settle { lease: lease(id), outcome, look_at: now + LEASE }
}

pub(crate) async fn recount(store: &Store, user: &UserId, step: Recount, now: Millis) -> Option<u32> {
    match store.step(user, Step::Recount(step), now).await.unwrap() {
        Reply::Recount(counted) => counted.number,
        other => panic!("{other:?}"),
    }
}

/// Counts a user's objects, so that writes are admitted.
pub(crate) async fn count(store: &Store, user: &UserId, listed: Vec<(ObjectId, u64)>) {
    let number = recount(store, user, Recount::Begin { stale_before: NOW }, NOW).await.unwrap();
    for page in listed.chunks(1000) {
        recount(store, user, Recount::Objects { number, listed: page.to_vec() }, NOW).await;
    }
    recount(store, user, Recount::Listed { number }, NOW).await;
    recount(store, user, Recount::End { number, life: store.life() }, NOW).await;
}

pub(crate) async fn try_begin(store: &Store, user: &UserId, id: u64, write: Write, limits: Limits) -> Begun {
    match store.step(user, begin(id, write, limits, store.life(), NOW), NOW).await.unwrap() {
        Reply::Begun(begun) => begun,
        other => panic!("{other:?}"),
    }
}

pub(crate) async fn write(store: &Store, user: &UserId, id: u64, write: Write, outcome: Outcome) -> Settled {
    assert_eq!(try_begin(store, user, id, write, Limits::default()).await, Begun::Admitted);
    match store.step(user, settle(id, outcome, NOW), NOW).await.unwrap() {
        Reply::Settled(settled) => settled,
        other => panic!("{other:?}"),
    }
}

pub(crate) async fn account(store: &Store, user: &UserId) -> Account {
    store.account(user).await.unwrap().unwrap_or_default()
}

/// Every object row of a user, once and in order.
pub(crate) async fn objects(store: &Store, user: &UserId) -> Vec<ObjectId> {
    let (mut all, mut cursor) = store.objects(user, None).await.unwrap();
    while cursor.is_some() {
        let (more, next) = store.objects(user, cursor).await.unwrap();
        all.extend(more);
        cursor = next;
    }
    all.sort_unstable();
    all.dedup();
    all
}
