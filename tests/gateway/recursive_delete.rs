//! `DELETE /api/v1/datasets/{dataset_id}` and `…/models/{model_id}`.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::*;

fn delete(world: &World, target: &str) -> (u16, Value) {
    let answer = world.call(&world.alice().sign(Request::delete(&format!("/api/v1/{target}"))));
    assert_eq!(answer.header("content-type"), Some("application/json"), "{}", answer.everything());
    (answer.status, serde_json::from_str(&answer.text()).expect("JSON"))
}

/// Objects past the gateway, and an account that knows of them.
fn seed(world: &World, keys: impl IntoIterator<Item = String>) {
    for key in keys {
        world.origin.seed(&format!("datasets/alice/{key}"), "12345");
    }
    world.recount("alice");
}

/// What the bucket holds of alice, and that her account says the same.
fn left(world: &World) -> u64 {
    let keys = world.origin.inventory().into_iter().map(|(key, _)| key);
    let own = keys.filter(|key| key.starts_with("datasets/alice/") || key.starts_with("models/alice/"));
    let stored =
        own.map(|key| u64::try_from(world.origin.object(&key).expect("it is there").len()).unwrap()).sum();
    let account = world.account("alice");
    assert_eq!((account.used, account.reserved), (stored, 0));
    stored
}

fn lists(world: &World) -> usize {
    world.origin.seen().iter().filter(|seen| seen.target().contains("list-type=2")).count()
}

#[test]
fn everything_under_an_id_goes_and_nothing_beside_it() {
    let world = World::new();
    let (alice, before) = (world.alice(), left(&world));
    for key in ["ds1/a", "ds1/b/c", "ds1/", "ds1//x", "ds1/100%25.csv"] {
        world.accepts(&alice.sign(Request::put(&format!("/datasets/{key}"), "12345")));
    }
    for key in ["/datasets/ds10/a", "/datasets/ds1", "/datasets/ds", "/models/ds1/a"] {
        world.accepts(&alice.sign(Request::put(key, "1")));
    }
    world.accepts(&world.bob().sign(Request::put("/datasets/ds1/a", "bob's")));
    assert_eq!(delete(&world, "datasets/ds1"), (200, json!({ "deleted_objects": 5, "freed_bytes": 25 })));
    assert_eq!(left(&world), before + 4);
    assert_eq!(delete(&world, "datasets/ds1"), (200, json!({ "deleted_objects": 0, "freed_bytes": 0 })));
    assert_eq!(delete(&world, "models/ds1"), (200, json!({ "deleted_objects": 1, "freed_bytes": 1 })));
    for key in ["datasets/alice/ds10/a", "datasets/alice/ds1", "datasets/alice/ds", "datasets/bob/ds1/a"] {
        assert!(world.origin.object(key).is_some(), "{key}");
    }
}

#[test]
fn it_goes_page_by_page() {
    let world = World::new();
    let before = left(&world);
    seed(&world, (0..2500).map(|n| format!("ds/{n:04}")));
    let listed = lists(&world);
    assert_eq!(
        delete(&world, "datasets/ds"),
        (200, json!({ "deleted_objects": 2500, "freed_bytes": 12500 }))
    );
    assert_eq!(lists(&world) - listed, 3);
    assert_eq!(left(&world), before);
}

#[test]
fn an_id_is_a_whole_segment_and_nothing_is_overlooked() {
    let world = World::new();
    let (count, inventory) = (world.origin.count(), world.origin.inventory());
    for target in [
        "datasets/%2e%2e",
        "datasets/..%2fbob",
        "datasets/a%2Fb",
        "datasets/a%5Cb",
        "datasets/%00",
        "datasets/%zz",
        "datasets/ds1?dry_run=true",
        "datasets/ds1?prefix=a",
    ] {
        let (status, document) = delete(&world, target);
        assert_eq!(status, 400, "{target}: {document}");
    }
    for target in ["datasets/", "datasets/a/b", "logs/job1", "datasets"] {
        assert_eq!(delete(&world, target).0, 404, "{target}");
    }
    for method in ["GET", "POST"] {
        let request = world.alice().sign(Request::new(method, "/api/v1/datasets/ds1"));
        assert_eq!(world.call(&request).status, 404, "{method}");
    }
    assert_eq!(world.call(&Request::delete("/api/v1/datasets/ds1").header("host", HOST)).status, 401);
    assert_eq!((world.origin.count(), world.origin.inventory()), (count, inventory));
}

#[test]
fn what_fails_is_told_and_tried_again() {
    let world = World::new();
    let before = left(&world);
    seed(&world, ["ds/a", "ds/locked", "ds/z"].map(String::from));
    let (status, document) = delete(&world, "datasets/ds");
    assert_eq!(
        (status, &document["deleted_objects"], &document["freed_bytes"]),
        (503, &json!(2), &json!(10))
    );
    assert!(
        document["error"].as_str().expect("a text").contains("1 objects could not be deleted"),
        "{document}"
    );
    assert_eq!(left(&world), before + 5);
    assert_eq!(delete(&world, "datasets/ds").1["deleted_objects"], 0);
}

#[test]
fn a_page_that_fails_ends_it_and_a_repeat_goes_on() {
    let world = World::new();
    let before = left(&world);
    seed(&world, (0..1500).map(|n| format!("ds/{n:04}")));
    let is_second_page = |seen: &Seen| seen.target().contains("continuation-token");
    world.origin.when(is_second_page, Act::error(403, "AccessDenied"));
    let (status, document) = delete(&world, "datasets/ds");
    assert_eq!(
        (status, &document["deleted_objects"], &document["freed_bytes"]),
        (503, &json!(1000), &json!(5000))
    );
    assert_eq!(left(&world), before + 2500);
    world.origin.behave();
    assert_eq!(delete(&world, "datasets/ds"), (200, json!({ "deleted_objects": 500, "freed_bytes": 2500 })));
    assert_eq!(left(&world), before);
}

#[test]
fn every_page_is_signed_for_its_own_time() {
    let world = World::new();
    seed(&world, (0..1500).map(|n| format!("ds/{n:04}")));
    let is_delete = |seen: &Seen| seen.target().contains("?delete");
    world.origin.when(is_delete, Act::serve().after(Duration::from_millis(1100)));
    assert_eq!(delete(&world, "datasets/ds").0, 200);
    let signed = world.origin.seen().into_iter().filter(is_delete);
    let times: Vec<String> =
        signed.map(|seen| seen.header("x-amz-date").expect("signed").to_owned()).collect();
    assert!(times.len() == 2 && times[0] < times[1], "{times:?}");
}

#[test]
fn a_client_that_leaves_ends_it_between_two_pages() {
    let world = World::new();
    let before = left(&world);
    seed(&world, (0..2500).map(|n| format!("ds/{n:04}")));
    let is_delete = |seen: &Seen| seen.target().contains("?delete");
    // The first page is under way, and is settled whoever waits.
    world.origin.when(is_delete, Act::serve().after(Duration::from_millis(500)));
    let listed = lists(&world);
    let mut client = world.client();
    client.write(world.alice().sign(Request::delete("/api/v1/datasets/ds")).bytes());
    world.origin.wait_for("the first page", |seen| seen.iter().any(|s| is_delete(s) && s.is_complete()));
    client.hang_up();
    eventually(Duration::from_secs(5), "the page is settled", || {
        let account = world.account("alice");
        (account.used, account.reserved) == (before + 1500 * 5, 0)
    });
    assert_eq!(lists(&world) - listed, 1, "no further page was asked for");
    assert_eq!(left(&world), before + 1500 * 5);
    world.origin.behave();
    assert_eq!(delete(&world, "datasets/ds").1["deleted_objects"], 1500);
    assert_eq!(left(&world), before);
}

#[test]
fn uploads_meanwhile_are_counted_exactly() {
    let world = World::new();
    seed(&world, (0..300).map(|n| format!("ds/{n:04}")));
    std::thread::scope(|scope| {
        for writer in 0..4 {
            let world = &world;
            scope.spawn(move || {
                for n in 0..25 {
                    // New keys, and keys that are being deleted.
                    let key = if n % 2 == 0 { format!("new-{writer}-{n}") } else { format!("{:04}", n * 11) };
                    let put = Request::put(&format!("/datasets/ds/{key}"), "x".repeat(writer + n));
                    world.accepts(&world.alice().sign(put));
                }
            });
        }
        for _ in 0..3 {
            assert_eq!(delete(&world, "datasets/ds").0, 200);
        }
    });
    eventually(Duration::from_secs(5), "what was left open is settled", || {
        world.account("alice").reserved == 0
    });
    eventually(Duration::from_secs(5), "the account is what the bucket holds", || {
        let before = world.account("alice").used;
        world.recount("alice");
        world.account("alice").used == before
    });
    assert_eq!(delete(&world, "datasets/ds").0, 200);
    left(&world);
}
