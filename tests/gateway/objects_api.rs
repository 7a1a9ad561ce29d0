//! `/api/v1/objects`: objects by the platform's URI.

use serde_json::Value;

use crate::harness::*;

/// The call about an object by its real path, as `x-bucketwarden-uri` would spell it.
fn by_path(method: &str, path: &str) -> Request {
    by_uri(method, &format!("darkstorage://platform/{}", uri_encode(path, true)))
}

fn by_uri(method: &str, uri: &str) -> Request {
    Request::new(method, &format!("/api/v1/objects?uri={}", uri_encode(uri, false)))
}

fn error(response: &Response) -> String {
    assert_eq!(response.header("content-type"), Some("application/json"), "{}", response.everything());
    let document: Value = serde_json::from_str(&response.text()).expect("JSON");
    assert_eq!(document.as_object().map(serde_json::Map::len), Some(1), "{document}");
    document["error"].as_str().expect("a text").to_owned()
}

#[test]
fn an_object_is_found_by_the_uri_that_its_headers_tell() {
    let world = World::new();
    let alice = world.alice();
    for key in ["plain", "a b/100%.txt", "a//b", "\u{e9}+&=?#~", "dir/", "%2e%2e", "a%20b"] {
        world.accepts(&alice.sign(Request::put(&object("datasets", key), key)));
        let head = world.accepts(&alice.sign(Request::new("HEAD", &object("datasets", key))));
        let uri = head.header("x-bucketwarden-uri").expect("a URI");
        let got = world.accepts(&alice.sign(by_uri("GET", uri)));
        assert_eq!((got.text().as_str(), got.header("x-bucketwarden-uri")), (key, Some(uri)));
        assert_eq!(got.header("etag"), head.header("etag"));
        let again = world.accepts(&alice.sign(by_uri("HEAD", uri)));
        assert_eq!(again.header("content-length"), head.header("content-length"));
        assert_eq!(world.accepts(&alice.sign(by_uri("DELETE", uri))).status, 204);
        assert_eq!(world.origin.object(&format!("datasets/alice/{key}")), None, "{key}");
    }
}

#[test]
fn ranges_conditions_and_overrides_are_those_of_s3() {
    let world = World::new();
    let alice = world.alice();
    let control = || by_path("GET", "datasets/alice/control");
    let etag = world.accepts(&alice.sign(control())).header("etag").expect("an ETag").to_owned();
    let part = world.accepts(&alice.sign(control().header("range", "bytes=0-6")));
    assert_eq!((part.status, part.text().as_str()), (206, "control"));
    assert_eq!(part.header("content-range"), Some("bytes 0-6/16"));
    let same = world.call(&alice.sign(control().header("if-none-match", &*etag)));
    assert_eq!((same.status, same.body.len()), (304, 0));
    let other = world.call(&alice.sign(control().header("if-match", "\"0\"")));
    assert_eq!(other.status, 412);
    error(&other);
    let beyond = world.call(&alice.sign(control().header("range", "bytes=99-")));
    assert_eq!(beyond.status, 416);
    let named = world.accepts(&alice.sign(control().query("response-content-type=text%2Fcsv")));
    assert_eq!(named.header("content-type"), Some("text/csv"));
    // And for whoever has but a URL.
    assert_eq!(world.accepts(&alice.presign(control(), "60")).text(), control_body("alice"));
    let tampered = alice.presign(control(), "60").query("versionId=1");
    assert_eq!(world.call(&tampered).status, 401);
}

#[test]
fn what_is_streamed_arrives_whole() {
    let world = World::new();
    world.origin.seed_pattern("models/alice/large", 3 << 20);
    let got = world.accepts(&world.alice().sign(by_path("GET", "models/alice/large")));
    assert_eq!(got.body.len(), 3 << 20);
    assert!(got.body.iter().zip(0..).all(|(byte, offset)| *byte == pattern_byte(offset)));
}

#[test]
fn a_delete_gives_back_its_bytes() {
    let world = World::new();
    let alice = world.alice();
    let before = world.account("alice").used;
    world.accepts(&alice.sign(Request::put("/models/m/weights", "x".repeat(50))));
    assert_eq!(world.account("alice").used, before + 50);
    for _ in 0..2 {
        let deleted = world.accepts(&alice.sign(by_path("DELETE", "models/alice/m/weights")));
        assert_eq!((deleted.status, deleted.body.len()), (204, 0));
        assert_eq!((world.account("alice").used, world.account("alice").reserved), (before, 0));
    }
}

/// G10, G12: by no spelling is there anything but one's own.
#[test]
fn what_is_not_ones_own_does_not_exist() {
    let world = World::new();
    world.origin.seed("logs/training/job1/out", "a foreign log");
    let (bob, count) = (world.bob(), world.origin.count());
    let inventory = world.origin.inventory();
    let missing = error(&world.call(&bob.sign(by_path("GET", "datasets/alice/never-was"))));
    for path in [
        "datasets/alice/control",
        "datasets/bobby/control",
        "datasets/bob",
        "datasets/bob/",
        "datasets/",
        "datasets/b",
        "models/alice/x",
        "logs/training/job1/out",
        "other/bob/x",
        "/datasets/bob/control",
        "datasets//bob/control",
        "datasets/alice/../bob/control",
        "",
    ] {
        for method in ["GET", "DELETE"] {
            let refused = world.call(&bob.sign(by_path(method, path)));
            let is_log = method == "DELETE" && path.starts_with("logs/");
            let told = (refused.status, error(&refused));
            assert!(told == (404, missing.clone()) || is_log && told.0 == 403, "{method} {path}: {told:?}");
        }
    }
    assert_eq!(
        world.call(&bob.sign(by_uri("GET", "darkstorage://platforms/datasets/bob/control"))).status,
        404
    );
    assert_eq!(world.call(&bob.sign(by_path("GET", "datasets/bob/../alice/control"))).status, 400);
    assert_eq!(world.origin.count(), count, "none of it reached the upstream");
    assert_eq!(world.origin.inventory(), inventory);
    // What one has, and what one does not have, is found out by asking.
    world.accepts(&bob.sign(by_path("GET", "datasets/bob/control")));
    let head = world.call(&bob.sign(by_path("HEAD", "datasets/bob/never-was")));
    assert_eq!((head.status, head.code().as_str(), head.is_whole()), (404, "NoSuchKey", true));
    let gone = world.call(&bob.sign(by_path("GET", "datasets/bob/never-was")));
    assert_eq!((gone.status, error(&gone)), (404, missing));
}

#[test]
fn only_whole_objects_are_asked_for() {
    let world = World::new();
    let (alice, count) = (world.alice(), world.origin.count());
    let control = |method: &str, pair: &str| {
        let request = by_path(method, "datasets/alice/control").query(pair);
        let answer = world.call(&alice.sign(request));
        error(&answer);
        answer.status
    };
    for (method, pair) in [
        ("GET", "acl"),
        ("GET", "attributes"),
        ("GET", "uploadId=x"),
        ("DELETE", "uploadId=x"),
        ("DELETE", "partNumber=1"),
        ("GET", "versionId="),
    ] {
        assert_eq!(control(method, pair), 400, "{method} {pair}");
    }
    for (method, pair) in [("GET", "torrent"), ("DELETE", "tagging")] {
        assert_eq!(control(method, pair), 501, "{method} {pair}");
    }
    for uri in
        ["", "datasets/alice/control", "s3://platform/datasets/alice/control", "darkstorage://platform/%zz"]
    {
        assert_eq!(world.call(&alice.sign(by_uri("GET", uri))).status, 400, "{uri}");
    }
    let none = world.call(&alice.sign(Request::get("/api/v1/objects")));
    assert_eq!((none.status, error(&none).as_str()), (400, "Expected ?uri=, the URI of an object."));
    assert_eq!(world.call(&alice.sign(by_path("PUT", "datasets/alice/control"))).status, 404);
    assert_eq!(world.origin.count(), count, "none of it reached the upstream");
}

#[test]
fn nobody_gets_anything_without_credentials() {
    let world = World::new();
    let count = world.origin.count();
    for method in ["GET", "HEAD", "DELETE"] {
        let request = by_path(method, "datasets/alice/control").header("host", HOST);
        for request in [request.clone(), flip_signature(world.alice().sign(request))] {
            let refused = world.call(&request);
            assert_eq!((refused.status, refused.header("www-authenticate")), (401, Some("Bearer")));
        }
    }
    assert_eq!(world.origin.count(), count);
}

#[test]
fn services_reach_logs_by_their_uri_too() {
    let world = World::new();
    world.origin.seed("logs/training/job1/out", "a log");
    assert_eq!(world.accepts(&world.svc().sign(by_path("GET", "logs/training/job1/out"))).text(), "a log");
    world.accepts(&world.svc().sign(by_path("DELETE", "logs/training/job1/out")));
    assert_eq!(world.origin.object("logs/training/job1/out"), None);
}

#[test]
fn pre_authenticated_requests_are_not_offered() {
    let world = World::new();
    let body = r#"{"method":"GET","bucket":"datasets","key":"control"}"#;
    for request in [Request::post("/api/v1/par", body), Request::delete("/api/v1/par/1")] {
        let answer = world.call(&world.alice().sign(request));
        assert_eq!(answer.status, 501);
        assert!(error(&answer).contains("/api/v1/presign"));
    }
}
