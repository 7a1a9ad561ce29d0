//! `POST /api/v1/presign`: URLs that anybody can open, for what their maker may do and no longer.

use std::time::Duration;

use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::harness::*;

fn asked(world: &World, signer: &Signer, wanted: &Value) -> Response {
    world.call(&signer.sign(Request::post("/api/v1/presign", wanted.to_string())))
}

fn presigned(world: &World, signer: &Signer, wanted: &Value) -> Value {
    let answer = asked(world, signer, wanted);
    assert_eq!(answer.status, 200, "{}", answer.everything());
    assert_eq!(answer.header("content-type"), Some("application/json"));
    world.assert_nothing_leaked(&Request::get(""), &answer);
    serde_json::from_str(&answer.text()).expect("JSON")
}

/// The request that any HTTP client makes of a URL.
fn opening(method: &str, document: &Value) -> Request {
    let url = document["url"].as_str().expect("a URL");
    let (host, target) = url.strip_prefix("http://").and_then(|rest| rest.split_once('/')).expect("a path");
    assert_eq!(host, HOST);
    Request::new(method, &format!("/{target}"))
}

fn wanted(method: &str, key: &str) -> Value {
    json!({ "method": method, "bucket": "datasets", "key": key })
}

#[test]
fn a_url_does_one_thing_to_one_object() {
    let world = World::new();
    let alice = world.alice();
    for key in ["new", "a b/100%25.csv", "\u{e9}+&=?#", "a//b"] {
        let url = |method: &str| presigned(&world, &alice, &wanted(method, key));
        world.accepts(&opening("PUT", &url("PUT")).body("by a URL"));
        assert_eq!(world.origin.object(&format!("datasets/alice/{key}")).expect("stored"), b"by a URL");
        let get = url("GET");
        assert_eq!(get["method"], "GET");
        assert_eq!(world.accepts(&opening("GET", &get)).text(), "by a URL");
        let part = world.accepts(&opening("GET", &get).header("range", "bytes=3-"));
        assert_eq!((part.status, part.text().as_str()), (206, "a URL"));
        assert_eq!(world.accepts(&opening("HEAD", &url("HEAD"))).header("content-length"), Some("8"));
        for method in ["HEAD", "PUT", "DELETE", "POST"] {
            world.refuses(&opening(method, &get), &[(403, "SignatureDoesNotMatch"), (501, "NotImplemented")]);
        }
        let mut other = opening("GET", &get);
        other.target = other.target.replacen('?', "2?", 1);
        world.refuses(&other, WRONG_SIGNATURE);
        world.refuses(&opening("GET", &get).query("versionId=1"), WRONG_SIGNATURE);
        world.refuses(&opening("GET", &get).header("x-amz-acl", "private"), ACCESS_DENIED);
        assert_eq!(world.accepts(&opening("DELETE", &url("DELETE"))).status, 204);
        assert_eq!(world.origin.object(&format!("datasets/alice/{key}")), None);
        world.call(&opening("GET", &get)).assert_status(404);
    }
}

#[test]
fn uploads_by_url_are_counted_as_all_others() {
    let world = World::with_limits("max_file_size = 10");
    let (alice, before) = (world.alice(), world.account("alice"));
    let put = presigned(&world, &alice, &wanted("PUT", "counted"));
    world.accepts(&opening("PUT", &put).body("12345"));
    let after = world.account("alice");
    assert_eq!((after.used - before.used, after.hour - before.hour), (5, 1));
    assert_eq!(world.call(&opening("PUT", &put).body("x".repeat(11))).code(), "EntityTooLarge");
}

#[test]
fn an_object_may_be_named_by_its_uri() {
    let world = World::new();
    let by_uri = |uri: &str| json!({ "uri": uri });
    let own = presigned(&world, &world.alice(), &by_uri("darkstorage://platform/datasets/alice/control"));
    assert_eq!(world.accepts(&opening("GET", &own)).text(), control_body("alice"));
    assert!(!own["url"].as_str().expect("a URL").contains("datasets/alice"), "{own}");
    let foreign = by_uri("darkstorage://platform/datasets/bob/control");
    asked(&world, &world.alice(), &foreign).assert_status(404);
}

#[test]
fn a_url_lives_as_long_as_was_asked_for() {
    let world = World::new();
    let alice = world.alice();
    let left = |document: &Value| {
        let end = OffsetDateTime::parse(document["expires_at"].as_str().expect("a time"), &Rfc3339);
        (end.expect("a time") - OffsetDateTime::now_utc()).whole_seconds()
    };
    let day = left(&presigned(&world, &alice, &wanted("GET", "control")));
    assert!((86_300..=86_400).contains(&day), "{day}");
    for seconds in [1, 60, 604_800] {
        let mut wanted = wanted("GET", "control");
        wanted["expires_in"] = seconds.into();
        let document = presigned(&world, &alice, &wanted);
        assert!((seconds - 30..=seconds).contains(&left(&document)), "{document}");
        let url = document["url"].as_str().expect("a URL");
        assert!(url.contains(&format!("X-Amz-Expires={seconds}&")), "{url}");
        if seconds == 1 {
            eventually(Duration::from_secs(10), "the URL expires", || {
                let answer = world.call(&opening("GET", &document));
                [400, 403].contains(&answer.status) && answer.text().contains("expired")
            });
        }
    }
}

#[test]
fn what_no_url_is_made_for() {
    let world = World::new();
    let (bob, count) = (world.bob(), world.origin.count());
    for (status, wanted) in [
        (403, json!({ "method": "PUT", "bucket": "logs", "key": "job1/x" })),
        (404, json!({ "method": "GET", "bucket": "logs", "key": "job1/x" })),
        (404, json!({ "method": "GET", "bucket": "nowhere", "key": "x" })),
        (404, json!({ "method": "GET", "bucket": "No Bucket", "key": "x" })),
        (400, json!({ "method": "POST", "bucket": "datasets", "key": "x" })),
        (400, json!({ "method": "get", "bucket": "datasets", "key": "x" })),
        (400, json!({ "bucket": "datasets", "key": "../alice/x" })),
        (400, json!({ "bucket": "datasets", "key": "" })),
        (400, json!({ "bucket": "datasets", "key": "x".repeat(1020) })),
        (400, json!({ "bucket": "datasets" })),
        (400, json!({ "key": "x" })),
        (400, json!({})),
        (400, json!({ "bucket": "datasets", "key": "x", "uri": "darkstorage://platform/datasets/bob/x" })),
        (400, json!({ "bucket": "datasets", "key": "x", "expires_in": 0 })),
        (400, json!({ "bucket": "datasets", "key": "x", "expires_in": 604_801 })),
        (400, json!({ "bucket": "datasets", "key": "x", "expires_in": -1 })),
        (400, json!({ "bucket": "datasets", "key": "x", "expires": 60 })),
        (400, json!("datasets/x")),
    ] {
        let refused = asked(&world, &bob, &wanted);
        let document: Value = serde_json::from_str(&refused.text()).expect("JSON");
        assert_eq!((refused.status, document["error"].is_string()), (status, true), "{wanted}: {document}");
    }
    let large = Request::post("/api/v1/presign", format!("{{\"key\":\"{}\"}}", "x".repeat(70_000)));
    world.call(&bob.sign(large)).assert_status(400);
    let changed = bob.sign(Request::post("/api/v1/presign", wanted("GET", "control").to_string()));
    world.call(&changed.body(wanted("PUT", "control").to_string())).assert_status(400);
    let nobody = Request::post("/api/v1/presign", wanted("GET", "control").to_string()).header("host", HOST);
    world.call(&nobody).assert_status(401);
    assert_eq!(world.origin.count(), count);
}

#[test]
fn a_url_has_no_other_power() {
    let world = World::new();
    let alice = world.alice();
    // It makes no other URL, not even one that was signed for that.
    let body = wanted("GET", "control").to_string();
    world.call(&alice.presign(Request::post("/api/v1/presign", body), "60")).assert_status(403);
    // Its keys, taken out of it, sign nothing.
    let document = presigned(&world, &alice, &wanted("GET", "control"));
    let url = opening("GET", &document);
    let parameter = |name: &str| {
        let from = url.target.split_once(&format!("{name}=")).expect("a parameter").1;
        uri_decode(from.split('&').next().expect("a value"))
    };
    let id = parameter("X-Amz-Credential").split('/').next().expect("an id").to_owned();
    let token = parameter("X-Amz-Security-Token");
    let thief = Signer::new(&id, &token).but(|signer| signer.region = "us-phoenix-1".into());
    for request in [Request::get("/datasets/control"), Request::get("/datasets?list-type=2")] {
        let signed = thief.sign(request.header("x-amz-security-token", &*token));
        let refused = world.call(&signed);
        assert!((400..=403).contains(&refused.status), "{}", refused.everything());
    }
    // Nor does its token vouch for another's signature.
    let stolen = world.bob().presign(
        Request::get(&format!("/datasets/control?X-Amz-Security-Token={}", uri_encode(&token, false))),
        "60",
    );
    let refused = world.call(&stolen);
    assert!((400..=403).contains(&refused.status), "{}", refused.everything());
    // And without it there are no such keys.
    let bare = without_parameter(url.clone(), "X-Amz-Security-Token");
    world.refuses(&bare, &[(403, "InvalidAccessKeyId"), (403, "SignatureDoesNotMatch")]);
    world.accepts(&url);
}

fn without_parameter(mut request: Request, name: &str) -> Request {
    let (path, query) = request.target.split_once('?').expect("a query");
    let left: Vec<&str> = query.split('&').filter(|pair| !pair.starts_with(&format!("{name}="))).collect();
    request.target = format!("{path}?{}", left.join("&"));
    request
}

const TOKEN_SECRET: &str = "a-secret-of-32-bytes-for-hs256-!";

/// A world whose issuer may speak for anybody, and the issuer's key.
fn world_of_tokens() -> (World, TokenKey) {
    let auth = entry(ISSUER, &format!("hs256_secret = \"{TOKEN_SECRET}\"\nauto_provision = true"));
    (World::with(&Settings { auth: &auth, ..Settings::default() }), TokenKey::hs256("", TOKEN_SECRET))
}

fn asked_by_token(world: &World, token: &str, wanted: &Value) -> Response {
    let request = Request::post("/api/v1/presign", wanted.to_string());
    world.call(&request.header("authorization", format!("Bearer {token}")))
}

fn presigned_by_token(world: &World, token: &str, wanted: &Value) -> Value {
    let answer = asked_by_token(world, token, wanted);
    assert_eq!(answer.status, 200, "{}", answer.everything());
    serde_json::from_str(&answer.text()).expect("JSON")
}

fn change(world: &World, user: &str, document: &Value) {
    let answer = world.as_admin(Request::put(&format!("/api/v1/admin/users/{user}"), document.to_string()));
    assert!([200, 201].contains(&answer.status), "{}", answer.everything());
}

#[test]
fn who_holds_but_a_token_gets_urls_that_end_with_it() {
    let (world, key) = world_of_tokens();
    let token = key.token(&claims("carol"));
    let put = presigned_by_token(&world, &token, &wanted("PUT", "by/token"));
    world.accepts(&opening("PUT", &put).body("from carol"));
    assert_eq!(world.origin.object("datasets/carol/by/token").expect("stored"), b"from carol");
    let get = presigned_by_token(&world, &token, &wanted("GET", "by/token"));
    assert_eq!(world.accepts(&opening("GET", &get)).text(), "from carol");
    // The token ends in an hour, and no URL lives longer.
    let end = OffsetDateTime::parse(get["expires_at"].as_str().expect("a time"), &Rfc3339).expect("a time");
    let left = (end - OffsetDateTime::now_utc()).whole_seconds();
    assert!((3_500..=3_600).contains(&left), "{left}");
    assert!(!get["url"].as_str().expect("a URL").contains(&token));
}

#[test]
fn a_url_dies_with_its_user_and_does_not_rise_with_another() {
    let (world, key) = world_of_tokens();
    let token = key.token(&claims("carol"));
    let put = presigned_by_token(&world, &token, &wanted("PUT", "kept"));
    world.accepts(&opening("PUT", &put).body("kept"));
    let url = opening("GET", &presigned_by_token(&world, &token, &wanted("GET", "kept")));
    let opens = || world.call(&url).status;
    assert_eq!(opens(), 200);
    change(&world, "carol", &json!({ "enabled": false }));
    world.refuses(&url, &[(403, "InvalidAccessKeyId")]);
    change(&world, "carol", &json!({ "enabled": true }));
    assert_eq!(opens(), 200);
    world.as_admin(Request::delete("/api/v1/admin/users/carol")).assert_status(204);
    world.refuses(&url, &[(403, "InvalidAccessKeyId")]);
    change(&world, "carol", &json!({ "tier": "default" }));
    world.refuses(&url, &[(403, "InvalidAccessKeyId")]);
    world.refuses(&opening("PUT", &put).body("x"), &[(403, "InvalidAccessKeyId")]);
}

#[test]
fn a_url_dies_with_the_key_that_asked_for_it() {
    let world = World::new();
    change(&world, "dave", &json!({}));
    let made = world.as_admin(Request::post("/api/v1/admin/users/dave/keys", ""));
    let made: Value = serde_json::from_str(&made.text()).expect("JSON");
    let text = |name: &str| made[name].as_str().expect("a text").to_owned();
    let dave = Signer::new(&text("access_key_id"), &text("secret_access_key"));
    let put = presigned(&world, &dave, &wanted("PUT", "x"));
    world.accepts(&opening("PUT", &put).body("x"));
    let key = format!("/api/v1/admin/users/dave/keys/{}", text("access_key_id"));
    world.as_admin(Request::delete(&key)).assert_status(204);
    eventually(Duration::from_secs(10), "the URL is refused", || {
        world.call(&opening("PUT", &put).body("x")).code() == "InvalidAccessKeyId"
    });
}

#[test]
fn logs_of_ones_own_job_may_be_handed_on() {
    let (world, key) = world_of_tokens();
    world.origin.seed("logs/training/job1/out", "a log");
    world.origin.seed("logs/training/job10/out", "a foreign log");
    let token = key.token(&claims_but("carol", |claims| {
        claims.insert("jobs".into(), json!(["job1", "job2"]));
    }));
    let log = |job: &str| json!({ "bucket": "logs", "key": format!("{job}/out") });
    let url = presigned_by_token(&world, &token, &log("job1"));
    assert_eq!(world.accepts(&opening("GET", &url)).text(), "a log");
    let foreign = asked_by_token(&world, &token, &log("job10"));
    let unknown = asked_by_token(&world, &token, &log("job11"));
    assert_eq!((foreign.status, foreign.text()), (404, unknown.text()));
}
