//! Whose a training job is.

use bucketwarden::store::{Assigned, PAGE, UserChange};
use bucketwarden::types::{JobId, UserId};
use futures_util::stream::{self, StreamExt as _};

use crate::kit::{NOW, user};
use crate::openers::Place;

fn job(id: &str) -> JobId {
    JobId::parse(id).unwrap()
}

fn ids(jobs: &[JobId]) -> Vec<&str> {
    jobs.iter().map(JobId::as_str).collect()
}

pub(crate) async fn a_job_is_one_users(place: Place) {
    let store = place.open().await;
    let (alice, bob) = (user("alice"), user("bob"));
    assert_eq!(store.job_owner(&job("j1")).await.unwrap(), None);
    assert!(!store.remove_job(&job("j1")).await.unwrap());
    for (id, owner, expected) in [
        ("j1", &alice, Assigned::New),
        ("j10", &bob, Assigned::New),
        ("j1.a", &alice, Assigned::New),
        ("j1-a", &alice, Assigned::New),
        ("j1", &alice, Assigned::Again),
        ("J1", &bob, Assigned::New),
        ("j1.a", &bob, Assigned::Again),
    ] {
        assert_eq!(store.assign_job(&job(id), owner).await.unwrap(), expected, "{id}");
    }
    drop(store);
    let store = place.open().await;
    let owner = async |id: &str| store.job_owner(&job(id)).await.unwrap();
    assert_eq!((owner("j1").await, owner("j10").await), (Some(alice.clone()), Some(bob.clone())));
    assert_eq!((owner("j1.a").await, owner("j1.").await), (Some(bob.clone()), None));
    assert_eq!(ids(&store.jobs_of(&alice).await.unwrap()), ["j1", "j1-a"]);
    assert_eq!(ids(&store.jobs_of(&bob).await.unwrap()), ["J1", "j1.a", "j10"]);
    assert!(store.remove_job(&job("j1.a")).await.unwrap());
    assert_eq!((owner("j1.a").await, owner("j1").await), (None, Some(alice)));
    assert_eq!(ids(&store.jobs_of(&bob).await.unwrap()), ["J1", "j10"]);
    assert_eq!(store.jobs_of(&user("bo")).await.unwrap(), []);
}

pub(crate) async fn jobs_come_in_pages_and_in_order(place: Place) {
    let store = place.open().await;
    let mut all: Vec<(JobId, UserId)> =
        (0..PAGE + 100).map(|n| (job(&format!("j{n}")), user(["a", "b", "a.b"][n % 3]))).collect();
    let assigned = all.iter().map(|(job, owner)| store.assign_job(job, owner));
    // Not all at once: a store may refuse what it cannot do in time.
    let assigned: Vec<_> = stream::iter(assigned).buffer_unordered(50).collect().await;
    assert!(assigned.iter().all(|assigned| *assigned == Ok(Assigned::New)));
    all.sort();
    let first = store.jobs(None).await.unwrap();
    assert_eq!(first, all[..PAGE]);
    let last = first.last().map(|(job, _)| job);
    assert_eq!(store.jobs(last).await.unwrap(), all[PAGE..]);
    assert_eq!(store.jobs(Some(&job("z"))).await.unwrap(), []);
    let of_a: Vec<_> = all.into_iter().filter(|(_, owner)| *owner == user("a")).map(|(job, _)| job).collect();
    assert_eq!(store.jobs_of(&user("a")).await.unwrap(), of_a);
}

pub(crate) async fn jobs_go_with_their_user(place: Place) {
    let store = place.open().await;
    let (alice, bob) = (user("alice"), user("bob"));
    for user in [&alice, &bob] {
        store.change_user(user, &UserChange::default(), NOW).await.unwrap();
    }
    for (id, owner) in [("j1", &alice), ("j2", &alice), ("j3", &bob)] {
        assert_eq!(store.assign_job(&job(id), owner).await.unwrap(), Assigned::New);
    }
    assert!(store.remove_user(&alice, NOW).await.unwrap());
    assert_eq!(store.jobs_of(&alice).await.unwrap(), []);
    assert_eq!(store.jobs(None).await.unwrap(), [(job("j3"), bob)]);
    assert_eq!(store.assign_job(&job("j4"), &alice).await.unwrap(), Assigned::NoSuchUser);
    assert_eq!(store.assign_job(&job("j3"), &alice).await.unwrap(), Assigned::NoSuchUser);
    store.change_user(&alice, &UserChange::default(), NOW).await.unwrap();
    assert_eq!(store.jobs_of(&alice).await.unwrap(), []);
    assert_eq!(store.assign_job(&job("j1"), &alice).await.unwrap(), Assigned::New);
}
