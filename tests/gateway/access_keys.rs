//! Access keys that live in the store: made by operators and by their users, seen by every gateway that shares it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::*;
use crate::redis_server::Server as Redis;

const REFUSED: Answers<'_> = &[(403, "InvalidAccessKeyId")];
/// What a change may take to be seen by every gateway.
const EVERYWHERE: Duration = Duration::from_secs(5);

fn signer(made: &Value) -> Signer {
    let text = |name: &str| made[name].as_str().unwrap_or_else(|| panic!("no {name} in {made}"));
    Signer::new(text("access_key_id"), text("secret_access_key"))
}

/// A user of the store, with a key.
fn carol(world: &World) -> Signer {
    let (status, _) = world.operate("PUT", "/api/v1/admin/users/carol", "{}");
    assert_eq!(status, 201);
    let (status, made) = world.operate("POST", "/api/v1/admin/users/carol/keys", "");
    assert_eq!(status, 201, "{made}");
    signer(&made)
}

fn key_path(key: &Signer) -> String {
    format!("/api/v1/admin/users/carol/keys/{}", key.id)
}

/// One request by each way in that a key opens.
fn ways(key: &Signer) -> [Request; 5] {
    let get = || Request::get("/datasets/x");
    [
        key.sign(get()),
        key.sign(Request::get("/")),
        key.sign(Request::put("/datasets/y", "body")),
        key.presign(get(), "600"),
        key.sign(Request::get("/api/v1/quota")),
    ]
}

/// Says that it is over also when the test fails.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn lets_in(world: &World, key: &Signer) -> bool {
    world.call(&key.sign(Request::get("/"))).status == 200
}

/// As `lets_in`, but by somebody who has patience between one try and the next.
fn tries(world: &World, key: &Signer) -> bool {
    std::thread::sleep(Duration::from_millis(100));
    lets_in(world, key)
}

#[test]
fn a20_what_becomes_of_a_key_is_seen_by_every_gateway_while_clients_use_it() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let redis = runtime.block_on(Redis::start());
    let url = format!("redis://{}", redis.address());
    let one = World::with(&Settings { state: Some(&url), ..Settings::default() });
    let upstream_at = Some(one.origin.addr);
    let other = World::with(&Settings { state: Some(&url), upstream_at, ..Settings::default() });
    one.origin.seed("datasets/carol/x", "of carol");
    let key = carol(&one);
    assert!(lets_in(&one, &key) && lets_in(&other, &key));

    // Clients hammer both, so that no cache is ever cold.
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _over = Over(&over);
        for world in [&one, &other] {
            let (key, over, addr) = (&key, &over, world.s3_addr());
            scope.spawn(move || {
                let mut client = Client::connect(addr);
                while !over.load(Ordering::Relaxed) {
                    if client.try_send(&key.sign(Request::get("/datasets/x"))).is_none() {
                        client = Client::connect(addr);
                    }
                    // Not so often that the address is taken for an attacker's while it is refused.
                    std::thread::sleep(Duration::from_millis(200));
                }
            });
        }
        let refused_everywhere = |what: &str, changed: Instant| {
            for request in ways(&key) {
                let answer = one.call(&request);
                assert!(matches!(answer.status, 401 | 403), "{what}, at once: {}", answer.everything());
            }
            eventually(EVERYWHERE.saturating_sub(changed.elapsed()), what, || !tries(&other, &key));
            for request in ways(&key) {
                let answer = other.call(&request);
                if request.target.starts_with("/api/") {
                    assert_eq!(answer.status, 401, "{what}: {}", answer.everything());
                } else {
                    assert_eq!(answer.code(), "InvalidAccessKeyId", "{what}");
                }
            }
        };
        let let_in_everywhere = |what: &str| {
            assert!(lets_in(&one, &key), "{what}");
            eventually(EVERYWHERE, what, || tries(&other, &key));
        };
        let enable = |path: &str, enabled: bool| {
            let method = if path.contains("/keys/") { "PATCH" } else { "PUT" };
            let changed = Instant::now();
            let (status, _) = one.operate(method, path, &json!({ "enabled": enabled }).to_string());
            assert_eq!(status, 200);
            changed
        };
        for path in [key_path(&key).as_str(), "/api/v1/admin/users/carol"] {
            refused_everywhere(&format!("disabled: {path}"), enable(path, false));
            enable(path, true);
            let_in_everywhere(&format!("enabled: {path}"));
        }
        let changed = Instant::now();
        assert_eq!(one.operate("DELETE", "/api/v1/admin/users/carol", "").0, 204);
        refused_everywhere("removed", changed);
    });

    // A later carol has nothing of this one's but what lies in the bucket.
    let later = carol(&one);
    for world in [&one, &other] {
        assert_eq!(world.accepts(&later.sign(Request::get("/datasets/x"))).text(), "of carol");
        world.refuses(&key.sign(Request::get("/datasets/x")), REFUSED);
    }
    assert_eq!(one.operate("DELETE", &key_path(&later), "").0, 204);
    one.refuses(&later.sign(Request::get("/datasets/x")), REFUSED);
    eventually(EVERYWHERE, "revoked", || !tries(&other, &later));
    let dump =
        format!("{}{}", redis.cli(&["HGETALL", "{bw:records}:keys"]), redis.cli(&["HGETALL", "bw:records"]));
    assert!(!dump.contains(&later.secret) && !dump.contains(&key.secret), "{dump}");
}

#[test]
fn l07_no_secret_lies_in_redis() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let redis = runtime.block_on(Redis::start());
    let url = format!("redis://{}", redis.address());
    let world = World::with(&Settings { state: Some(&url), ..Settings::default() });
    let key = carol(&world);
    world.accepts(&key.sign(Request::put("/datasets/x", "body")));
    let mut holds_the_key = false;
    for name in redis.cli(&["--scan"]).lines() {
        let dump = redis.cli(&["DUMP", name]);
        assert!(!dump.contains(&key.secret), "{name}");
        holds_the_key |= dump.contains(&key.id);
    }
    assert!(holds_the_key);
}

#[test]
fn a_key_that_is_known_reads_while_the_store_is_away() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut redis = runtime.block_on(Redis::start());
    let url = format!("redis://{}", redis.address());
    let world = World::with(&Settings { state: Some(&url), ..Settings::default() });
    world.origin.seed("datasets/carol/x", "of carol");
    let known = carol(&world);
    let (_, made) = world.operate("POST", "/api/v1/admin/users/carol/keys", "");
    let unused = signer(&made);
    world.accepts(&known.sign(Request::get("/datasets/x")));
    redis.kill();
    world.accepts(&known.sign(Request::get("/datasets/x")));
    world.refuses(&unused.sign(Request::get("/datasets/x")), &[(503, "ServiceUnavailable")]);
    world.refuses(&known.sign(Request::put("/datasets/y", "body")), &[(503, "ServiceUnavailable")]);
    // Whoever is not one of ours is nobody, store or no store.
    world.refuses(&Signer::new("AKIANOBODY0000000000", "x").sign(Request::get("/datasets/x")), REFUSED);
}

#[test]
fn users_make_list_and_end_their_own_keys() {
    let world = World::new();
    let key = carol(&world);
    let ask = |signer: &Signer, request: Request| {
        let answer = world.call(&signer.sign(request));
        (answer.status, serde_json::from_slice(&answer.body).unwrap_or(Value::Null))
    };
    let (status, made) = ask(&key, Request::post("/api/v1/keys", ""));
    assert_eq!(status, 201, "{made}");
    let second = signer(&made);
    assert!(lets_in(&world, &second));
    let (status, listed) = ask(&second, Request::get("/api/v1/keys"));
    let ids: Vec<_> =
        listed["keys"].as_array().unwrap().iter().map(|key| key["access_key_id"].clone()).collect();
    assert_eq!((status, ids.len()), (200, 2), "{listed}");
    assert!(ids.contains(&json!(key.id)) && ids.contains(&json!(second.id)));
    // Row L06.
    assert!(
        !listed.to_string().contains(&second.secret) && !listed.to_string().contains("secret"),
        "{listed}"
    );

    // Row L04.
    for chosen in [
        json!({"user_id": "bob"}),
        json!({"access_key_id": "BWKAAAAAAAAAAAAAAAAA", "secret_access_key": "known-to-somebody"}),
        json!({"parent": "alice"}),
    ] {
        let (status, answer) = ask(&key, Request::post("/api/v1/keys", chosen.to_string()));
        assert_eq!((status, answer["error"].is_string()), (403, true), "{chosen}: {answer}");
    }
    assert_eq!(ask(&key, Request::post("/api/v1/keys", "[]")).0, 400);
    assert_eq!(ask(&key, Request::delete("/api/v1/keys/AKALICE")).0, 404);
    assert_eq!(ask(&key, Request::delete("/api/v1/keys/a=b")).0, 400);
    let presigned = world.call(&key.presign(Request::get("/api/v1/keys"), "60"));
    assert_eq!(presigned.status, 403, "{}", presigned.everything());

    assert_eq!(ask(&second, Request::delete(&format!("/api/v1/keys/{}", second.id))), (204, Value::Null));
    world.refuses(&second.sign(Request::get("/")), REFUSED);
    assert!(lets_in(&world, &key));
    // The file's users have their keys there.
    let alice = world.alice();
    assert_eq!(ask(&alice, Request::post("/api/v1/keys", "")).0, 409);
    assert_eq!(ask(&alice, Request::delete(&format!("/api/v1/keys/{}", alice.id))).0, 409);
    assert_eq!(ask(&alice, Request::get("/api/v1/keys")).1["keys"][0]["access_key_id"], json!(alice.id));
}

#[test]
fn a_key_tells_when_it_was_used() {
    let world = World::new();
    let key = carol(&world);
    let last =
        || world.operate("GET", "/api/v1/admin/users/carol/keys", "").1["keys"][0]["last_used_at"].clone();
    assert_eq!(last(), Value::Null);
    // A wrong signature is no use.
    world.refuses(&Signer::new(&key.id, "x").sign(Request::get("/")), &[(403, "SignatureDoesNotMatch")]);
    assert!(lets_in(&world, &key));
    eventually(Duration::from_secs(5), "the use is noted", || last().is_string());
}

#[test]
fn an_unknown_key_takes_the_time_of_a_known_one() {
    let world = World::new();
    let key = carol(&world);
    let (wrong, unknown) = (Signer::new(&key.id, "x"), Signer::new("BWKAAAAAAAAAAAAAAAAA", "x"));
    assert!(lets_in(&world, &key));
    let mut client = world.client();
    let mut time = |signer: &Signer| {
        // Of one address only so many may fail; a success in between shows it to be a friend.
        assert_eq!(client.send(&key.sign(Request::get("/"))).status, 200);
        let request = signer.sign(Request::get("/"));
        let asked = Instant::now();
        assert_eq!(client.send(&request).status, 403);
        asked.elapsed()
    };
    let mut times = [Vec::new(), Vec::new()];
    for _ in 0..60 {
        times[0].push(time(&wrong));
        times[1].push(time(&unknown));
    }
    let [wrong, unknown] = times.map(|mut times| {
        times.sort_unstable();
        times[times.len() / 2]
    });
    assert!(unknown < wrong * 3 && wrong < unknown * 3, "wrong: {wrong:?}, unknown: {unknown:?}");
}
