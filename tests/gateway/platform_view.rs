//! `view = "platform"`: the bucket as the platform's own scripts address it. The same objects and the same ledger as
//! through the other buckets, by their full paths; of strangers' nothing.

use crate::harness::*;

const VIEW: &str = "aiserve-storage";

fn world() -> World {
    let mut world = World::with_view();
    // One's own paths are what this bucket shows.
    world.expect_names(&["datasets/alice", "models/alice", "logs/training", "datasets%2Falice"]);
    world.assign("job1", "alice");
    world.assign("job10", "bob");
    world.origin.seed("logs/training/job1/out.log", "alice's run");
    world.origin.seed("logs/training/job10/out.log", "bob's run");
    world
}

fn ask(method: &str, key: &str) -> Request {
    Request::new(method, &object(VIEW, key))
}

fn put(key: &str, body: &str) -> Request {
    ask("PUT", key).body(body)
}

fn list(world: &World, who: &Signer, query: &str) -> Vec<String> {
    let page = world.accepts(&who.sign(Request::get(&format!("/{VIEW}?{query}"))));
    assert_eq!(page.element("Name").as_deref(), Some(VIEW));
    let mut names = page.elements("Key");
    names.extend(elements_within(&page.text(), "CommonPrefixes", "Prefix"));
    names
}

fn delete_many(keys: &[&str]) -> Request {
    let rows: String = keys.iter().map(|key| format!("<Object><Key>{key}</Key></Object>")).collect();
    let body = format!("<Delete>{rows}</Delete>");
    let digest = base64(&md5(body.as_bytes()));
    Request::post(&format!("/{VIEW}?delete"), body).header("content-md5", digest)
}

#[test]
fn an_object_is_one_object_by_both_names() {
    let world = world();
    let alice = world.alice();
    let used = || (world.account("alice").used, world.account("alice").reserved);
    let (before, _) = used();
    let response = world.accepts(&alice.sign(put("datasets/alice/ds1/data.csv", "12345")));
    assert_eq!(
        response.header("x-bucketwarden-uri"),
        Some("darkstorage://platform/datasets/alice/ds1/data.csv")
    );
    assert_eq!(used(), (before + 5, 0));
    assert_eq!(world.accepts(&alice.sign(Request::get("/datasets/ds1/data.csv"))).text(), "12345");
    // An overwrite and a delete by the other name find the same row.
    world.accepts(&alice.sign(Request::put("/datasets/ds1/data.csv", "1234567")));
    assert_eq!(used(), (before + 7, 0));
    world.accepts(&alice.sign(put("datasets/alice/ds1/data.csv", "1")));
    assert_eq!(used(), (before + 1, 0));
    assert_eq!(world.accepts(&alice.sign(ask("GET", "datasets/alice/ds1/data.csv"))).text(), "1");
    world.accepts(&alice.sign(Request::delete("/datasets/ds1/data.csv")));
    assert_eq!(used(), (before, 0));
    world.accepts(&alice.sign(put("models/alice/m", "123")));
    world.accepts(&alice.sign(ask("DELETE", "models/alice/m")));
    assert_eq!(used(), (before, 0));
    world.recount("alice");
    assert_eq!(used(), (before, 0));
}

#[test]
fn g10_what_is_in_no_scope_does_not_exist() {
    let world = world();
    let before = world.origin.inventory();
    let alice = world.alice();
    for key in [
        "datasets/bob/control",
        "datasets/bob/none",
        "datasets/alice2/x",
        "datasets/alice",
        "datasets/",
        "logs/training/job10/out.log",
        "logs/training/job99/out.log",
        "logs/training/job1",
        "control",
        "tmp/x",
        "/datasets/alice/control",
        "datasets//alice/control",
    ] {
        world.refuses(&alice.sign(ask("GET", key)), NO_SUCH_KEY);
        world.refuses(&alice.sign(ask("HEAD", key)), NO_SUCH_KEY);
        world.refuses(&alice.sign(put(key, "x")), ACCESS_DENIED);
        world.refuses(&alice.sign(ask("DELETE", key)), ACCESS_DENIED);
        world.refuses(&alice.sign(ask("POST", key).query("uploads")), ACCESS_DENIED);
        let from = format!("{VIEW}/{key}");
        let copy = put("datasets/alice/copy", "").header("x-amz-copy-source", uri_encode(&from, true));
        world.refuses(&alice.sign(copy), NO_SUCH_KEY);
        let copy = put(key, "").header("x-amz-copy-source", "datasets/control");
        world.refuses(&alice.sign(copy), ACCESS_DENIED);
    }
    for key in ["datasets/alice/../bob/control", "datasets/alice/..%2fbob"] {
        let request = Request::get(&format!("/{VIEW}/{key}"));
        world.refuses(&alice.sign(request), INVALID_URI);
    }
    assert_eq!(world.origin.inventory(), before);
}

#[test]
fn logs_keep_their_rules_under_their_path() {
    let world = world();
    let (alice, svc) = (world.alice(), world.svc());
    let out = "logs/training/job1/out.log";
    assert_eq!(world.accepts(&alice.sign(ask("GET", out))).text(), "alice's run");
    world.refuses(&alice.sign(put(out, "x")), ACCESS_DENIED);
    world.refuses(&alice.sign(ask("DELETE", out)), ACCESS_DENIED);
    let before = world.account("svc");
    world.accepts(&svc.sign(put("logs/training/job10/more.log", "more")));
    assert_eq!(world.account("svc"), before, "logs count towards nobody's quota");
    assert_eq!(world.accepts(&world.bob().sign(Request::get("/logs/job10/more.log"))).text(), "more");
    // Elsewhere the service has its own scope only.
    world.refuses(&svc.sign(ask("GET", "datasets/alice/control")), NO_SUCH_KEY);
    let copy = put("datasets/alice/kept", "").header("x-amz-copy-source", format!("{VIEW}/{out}"));
    world.accepts(&alice.sign(copy));
    assert_eq!(world.origin.object("datasets/alice/kept").unwrap(), b"alice's run");
}

#[test]
fn listings_show_what_leads_to_ones_own() {
    let world = world();
    let alice = world.alice();
    world.accepts(&alice.sign(put("models/alice/m/w", "x")));
    let control = "datasets/alice/control";
    for (query, shown) in [
        ("list-type=2", vec![control, "logs/training/job1/out.log", "models/alice/m/w"]),
        ("list-type=2&delimiter=/", vec!["datasets/", "logs/", "models/"]),
        ("delimiter=/&prefix=datasets/", vec!["datasets/alice/"]),
        ("delimiter=/&prefix=datasets", vec!["datasets/"]),
        ("delimiter=/&prefix=datasets/alice/", vec![control]),
        ("delimiter=/&prefix=logs/", vec!["logs/training/"]),
        ("list-type=2&delimiter=/&prefix=logs/training/", vec!["logs/training/job1/"]),
        ("list-type=2&prefix=datasets/b", vec![]),
        ("list-type=2&prefix=datasets/bob/", vec![]),
        ("list-type=2&prefix=logs/training/job10/", vec![]),
        ("list-type=2&prefix=z", vec![]),
        ("versions&delimiter=/", vec!["datasets/", "logs/", "models/"]),
        ("list-type=2&max-keys=0", vec![]),
        ("list-type=2&encoding-type=url&prefix=models/", vec!["models/alice/m/w"]),
    ] {
        assert_eq!(list(&world, &alice, query), shown, "{query}");
    }
    // Nothing in it, nothing that leads there.
    assert_eq!(list(&world, &world.svc(), "delimiter=/"), ["logs/"]);
    assert_eq!(list(&world, &world.svc(), "delimiter=/&prefix=logs/training/").len(), 2);
}

#[test]
fn tokens_belong_to_their_user_and_listing() {
    let world = world();
    let page = world.accepts(&world.alice().sign(Request::get(&format!("/{VIEW}?list-type=2&max-keys=1"))));
    let token = uri_encode(&page.element("NextContinuationToken").unwrap(), false);
    let with = |more: &str| {
        Request::get(&format!("/{VIEW}?list-type=2&max-keys=1&continuation-token={token}{more}"))
    };
    world.accepts(&world.alice().sign(with("")));
    world.refuses(&world.bob().sign(with("")), INVALID_ARGUMENT);
    world.refuses(&world.alice().sign(with("&prefix=d")), INVALID_ARGUMENT);
    let elsewhere = Request::get(&format!("/datasets?list-type=2&max-keys=1&continuation-token={token}"));
    world.refuses(&world.alice().sign(elsewhere), INVALID_ARGUMENT);
}

#[test]
fn h10_a_batch_is_judged_key_by_key_and_counted_so() {
    let world = world();
    let (alice, svc) = (world.alice(), world.svc());
    world.accepts(&alice.sign(put("datasets/alice/a", "12345")));
    let used = world.account("alice").used;
    let foreign = ["datasets/bob/control", "logs/training/job1/out.log", "logs/training/job10/out.log", "x"];
    let keys = [&["datasets/alice/a"], &foreign[..]].concat();
    let deleted = world.accepts(&alice.sign(delete_many(&keys)));
    assert_eq!(elements_within(&deleted.text(), "Deleted", "Key"), ["datasets/alice/a"]);
    assert_eq!(elements_within(&deleted.text(), "Error", "Key"), foreign);
    assert!(elements_within(&deleted.text(), "Error", "Code").iter().all(|code| code == "AccessDenied"));
    assert!(world.origin.object("datasets/bob/control").is_some());
    assert_eq!((world.account("alice").used, world.account("alice").reserved), (used - 5, 0));
    // Some that count and some that do not.
    world.accepts(&svc.sign(put("datasets/svc/a", "12345")));
    let keys = ["logs/training/job1/out.log", "datasets/svc/a", "logs/training/job10/out.log"];
    let deleted = world.accepts(&svc.sign(delete_many(&keys)));
    assert_eq!(elements_within(&deleted.text(), "Deleted", "Key"), keys);
    assert_eq!((world.account("svc").used, world.account("svc").reserved), (0, 0));
}

#[test]
fn h06_h22_multipart_uploads() {
    let world = world();
    let (alice, bob) = (world.alice(), world.bob());
    let key = "datasets/alice/h/big";
    let used = world.account("alice").used;
    let created = world.accepts(&alice.sign(ask("POST", key).query("uploads")));
    assert_eq!(created.element("Bucket").as_deref(), Some(VIEW));
    assert_eq!(created.element("Key").as_deref(), Some(key));
    let id = uri_encode(&created.element("UploadId").unwrap(), false);
    let target = format!("{}?partNumber=1&uploadId={id}", object(VIEW, key));
    let etag = world.accepts(&alice.sign(Request::put(&target, "part"))).header("etag").unwrap().to_owned();
    // The id is worth nothing to bob, under another key, or in another bucket.
    world.refuses(&bob.sign(Request::put(&target, "part")), ACCESS_DENIED);
    let other = target.replace("h/big", "h/other");
    world.refuses(&alice.sign(Request::put(&other, "part")), NO_SUCH_UPLOAD);
    let in_datasets = format!("/datasets/h/big?partNumber=1&uploadId={id}");
    world.refuses(&alice.sign(Request::put(&in_datasets, "part")), NO_SUCH_UPLOAD);
    world.accepts(&bob.sign(Request::post("/datasets/h/bobs?uploads", "")));
    let open = |who: &Signer| world.accepts(&who.sign(Request::get(&format!("/{VIEW}?uploads"))));
    assert_eq!(open(&alice).elements("Key"), [key]);
    assert_eq!(list(&world, &world.svc(), "list-type=2&prefix=datasets/").len(), 0);

    let row = format!("<Part><PartNumber>1</PartNumber><ETag>{}</ETag></Part>", xml_escape(&etag));
    let body = format!("<CompleteMultipartUpload>{row}</CompleteMultipartUpload>");
    let done = Request::post(&format!("{}?uploadId={id}", object(VIEW, key)), body);
    let done = world.accepts(&alice.sign(done));
    assert_eq!(done.element("Location").unwrap(), format!("http://{HOST}/{VIEW}/{key}"));
    assert_eq!(world.accepts(&alice.sign(Request::get("/datasets/h/big"))).text(), "part");
    assert_eq!((world.account("alice").used, world.account("alice").reserved), (used + 4, 0));
}

#[test]
fn g15_it_is_a_bucket_like_any_other() {
    let world = world();
    let alice = world.alice();
    let buckets = world.accepts(&alice.sign(Request::get("/")));
    assert_eq!(buckets.elements("Name"), ["datasets", "models", "logs", VIEW]);
    for query in ["", "?location", "?versioning", "?acl"] {
        world.accepts(&alice.sign(Request::get(&format!("/{VIEW}{query}"))));
    }
    world.accepts(&alice.sign(Request::new("HEAD", &format!("/{VIEW}"))));
    let owned: Answers<'_> = &[(409, "BucketAlreadyOwnedByYou")];
    world.refuses(&alice.sign(Request::put(&format!("/{VIEW}"), "")), owned);
    // Addressed by its host.
    let by_host = Request::get("/datasets/alice/control").header("host", format!("{VIEW}.{HOST}"));
    assert_eq!(world.accepts(&alice.sign(by_host)).text(), control_body("alice"));
    // A world without it has no such bucket.
    World::new().refuses(&alice.sign(Request::get(&format!("/{VIEW}/x"))), NO_SUCH_BUCKET);
}

#[test]
fn the_prefix_is_part_of_the_key_and_of_its_length() {
    let world = world();
    let alice = world.alice();
    let longest = format!("datasets/alice/{}", "k".repeat(1024 - "datasets/alice/".len()));
    world.accepts(&alice.sign(put(&longest, "x")));
    let too_long: Answers<'_> = &[(400, "KeyTooLongError")];
    world.refuses(&alice.sign(put(&format!("{longest}k"), "x")), too_long);
}
