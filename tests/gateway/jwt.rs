//! Bearer tokens on S3 and `/api/v1`, against real keys and a real identity provider: group E of the checklist, C19.

use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::*;

/// A bad token; a `503` where the address has failed so often that nobody looks.
const REFUSED: Answers<'_> = &[(401, "InvalidToken")];

fn world(auth: &str) -> World {
    World::with(&Settings { auth, ..Settings::default() })
}

fn bearer(request: Request, token: &str) -> Request {
    request.header("authorization", format!("Bearer {token}"))
}

fn control(token: &str) -> Request {
    bearer(Request::get("/datasets/control"), token)
}

/// The quota that the token's user sees.
fn quota(world: &World, token: &str) -> Value {
    let answer = world.accepts(&bearer(Request::get("/api/v1/quota"), token));
    serde_json::from_str(&answer.text()).expect("JSON")
}

/// Refused alike on both surfaces.
#[track_caller]
fn refuses(world: &World, token: &str, what: &str) {
    let answer = world.refuses(&control(token), REFUSED);
    assert_eq!(answer.header("www-authenticate"), Some("Bearer"), "{what}");
    let answer = world.call(&bearer(Request::get("/api/v1/quota"), token));
    assert_eq!(answer.status, 401, "{what}: {}", answer.everything());
    assert_eq!(answer.header("www-authenticate"), Some("Bearer"), "{what}");
    assert!(answer.text().starts_with("{\"error\":"), "{what}: {}", answer.text());
}

#[test]
fn every_kind_of_key_lets_its_user_in_on_both_surfaces() {
    let keys = [TokenKey::rs256("rs"), TokenKey::ps256("ps"), TokenKey::es256("es"), TokenKey::ed25519("ed")];
    let provider = Provider::of(&keys.each_ref());
    let [in_pem, in_file] = [TokenKey::rs256("pem"), TokenKey::es256("file")];
    let secret = "a-secret-of-32-bytes-for-hs256-!";
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path.display().to_string()
    };
    let pem = write("key.pem", &in_pem.rsa_public()[0]);
    let set = write("jwks.json", key_set(&[&in_file]).as_bytes());
    let world = world(
        &[
            provider.entry(),
            entry("pem", &format!("public_key_file = \"{pem}\"")),
            entry("file", &format!("jwks_file = \"{set}\"")),
            entry("secret", &format!("hs256_secret = \"{secret}\"")),
        ]
        .concat(),
    );
    let shared = TokenKey::hs256("", secret);
    let by = |key: &TokenKey, issuer: &str| key.token(&claims_but("alice", |c| c["iss"] = issuer.into()));
    let mut tokens: Vec<String> = keys.iter().map(|key| by(key, ISSUER)).collect();
    tokens.extend([by(&in_pem, "pem"), by(&in_file, "file"), by(&shared, "secret")]);
    for token in &tokens {
        assert_eq!(world.accepts(&control(token)).text(), control_body("alice"));
        assert_eq!(quota(&world, token)["user_id"], "alice");
    }
    assert_eq!(provider.asked(), 1, "the set was fetched once for all");
    // Each issuer is held to its own keys.
    for (key, issuer) in [(&keys[0], "pem"), (&in_pem, ISSUER), (&shared, ISSUER), (&keys[2], "secret")] {
        refuses(&world, &by(key, issuer), issuer);
    }
    let metrics = world.admin_get("/metrics").text();
    assert!(metrics.contains("auth=\"jwt\""), "{metrics}");
}

/// As a share that is away does it: whoever opens the file waits.
#[test]
fn a_key_file_that_does_not_come_is_an_issuer_that_is_away() {
    let key = TokenKey::rs256("k");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("jwks.json");
    std::fs::write(&file, key_set(&[&key])).unwrap();
    let world = world(&entry(ISSUER, &format!("jwks_file = \"{}\"", file.display())));
    std::fs::remove_file(&file).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(&file).status().unwrap().success());
    let asked = control(&key.token(&claims("alice")));
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| world.refuses(&asked, &[(503, "ServiceUnavailable")]));
        }
    });
    // Whoever reads it finds nothing then, and the world can end.
    drop(std::fs::OpenOptions::new().write(true).open(&file).unwrap());
}

#[test]
fn e01_a_token_without_a_signature() {
    let key = TokenKey::rs256("a");
    let provider = Provider::of(&[&key]);
    let world = world(&provider.entry());
    let good = key.token(&claims("alice"));
    world.accepts(&control(&good));
    let stripped = good.rsplit_once('.').unwrap().0;
    for alg in ["none", "None", "NoNe", "NONE", "", "RS257", "HS256"] {
        let token = key.token_with(&json!({ "alg": alg, "kid": "a" }), &claims("alice"));
        refuses(&world, &token, alg);
        refuses(&world, &format!("{}.", token.rsplit_once('.').unwrap().0), alg);
    }
    for bad in
        [stripped, &format!("{stripped}."), &format!("{stripped}.AAAA"), &format!("{good}."), "..", "a.b.c"]
    {
        refuses(&world, bad, bad);
    }
    for bad in ["Bearer", "Bearer ", "bearer x y"] {
        let request = Request::get("/datasets/control").header("authorization", bad);
        world.refuses(&request, REFUSED);
    }
    for absent in ["alg", "typ"] {
        let mut header = json!({ "alg": "RS256", "typ": "JWT" });
        header.as_object_mut().unwrap().remove(absent);
        let token = key.token_with(&header, &claims("alice"));
        assert_eq!(world.call(&control(&token)).status, if absent == "alg" { 401 } else { 200 });
    }
}

#[test]
fn e02_an_hmac_keyed_with_what_is_public() {
    let key = TokenKey::rs256("a");
    let provider = Provider::of(&[&key]);
    let world = world(&provider.entry());
    world.accepts(&control(&key.token(&claims("alice"))));
    for public in key.rsa_public() {
        for id in ["a", "", "other"] {
            let forger = TokenKey::hs256(id, &public);
            refuses(&world, &forger.token(&claims("alice")), "an HMAC");
            let header = json!({ "alg": "RS256", "kid": id });
            refuses(&world, &forger.token_with(&header, &claims("alice")), "an HMAC that says RS256");
        }
    }
    // A set that holds a secret lends it to nobody.
    let secret = TokenKey::hs256("oct", b"the secret itself, which no set should hold");
    provider.serves(&[&key, &secret]);
    refuses(&world, &secret.token(&claims("alice")), "a secret of the set");
}

#[test]
fn e03_a_token_that_brings_its_own_key() {
    let (key, attacker) = (TokenKey::rs256("a"), TokenKey::rs256("a"));
    let provider = Provider::of(&[&key]);
    let lair = Provider::of(&[&attacker]);
    let world = world(&provider.entry());
    for name in ["jku", "x5u", "jwk", "x5c", "kid"] {
        let mut header = json!({ "alg": "RS256", "kid": "a" });
        header[name] = match name {
            "jwk" => attacker.jwk(),
            "x5c" => json!(["MIIB"]),
            _ => lair.url().into(),
        };
        refuses(&world, &attacker.token_with(&header, &claims("alice")), name);
    }
    let crit = json!({ "alg": "RS256", "kid": "a", "crit": ["b64"], "b64": false });
    refuses(&world, &key.token_with(&crit, &claims("alice")), "an extension that nobody here knows");
    assert_eq!(lair.asked(), 0, "nobody went where the token pointed");
}

#[test]
fn e04_a_kid_is_a_name_and_nothing_else() {
    let key = TokenKey::rs256("a");
    let provider = Provider::of(&[&key]);
    let world = world(&provider.entry());
    world.accepts(&control(&key.token(&claims("alice"))));
    for kid in
        [json!("../../x"), json!("' OR 1=1--"), json!("a\0"), json!("/etc/passwd"), json!(7), json!(["a"])]
    {
        let token = key.token_with(&json!({ "alg": "RS256", "kid": kid }), &claims("alice"));
        refuses(&world, &token, "a kid");
    }
    let long = json!({ "alg": "RS256", "kid": "a".repeat(64 * 1024) });
    let token = key.token_with(&long, &claims("alice"));
    world.refuses_bytes(
        0,
        &control(&token),
        &control(&token).bytes(),
        &[(431, ""), (400, ""), (401, "InvalidToken")],
    );
}

#[test]
fn e05_every_claim_is_required_and_checked() {
    let key = TokenKey::es256("a");
    let provider = Provider::of(&[&key]);
    let world = world(&provider.entry());
    let (past, future) = (seconds(-31), seconds(31));
    let bad: [(&str, Option<Value>); 16] = [
        ("exp", Some(past.into())),
        ("exp", None),
        ("exp", Some(json!(seconds(3600).to_string()))),
        ("nbf", Some(future.into())),
        ("nbf", Some(json!("soon"))),
        ("iat", Some(future.into())),
        ("iss", Some(json!("https://login.example.test"))),
        ("iss", Some(json!([ISSUER]))),
        ("iss", None),
        ("aud", Some(json!("another"))),
        ("aud", Some(json!(["another"]))),
        ("aud", Some(json!([]))),
        ("aud", Some(json!({ AUDIENCE: true }))),
        ("aud", Some(json!(null))),
        ("aud", None),
        ("sub", None),
    ];
    for (name, value) in bad {
        let what = format!("{name}: {value:?}");
        let token = key.token(&claims_but("alice", |claims| match value {
            Some(value) => drop(claims.insert(name.to_owned(), value)),
            None => drop(claims.remove(name)),
        }));
        refuses(&world, &token, &what);
    }
    for good in [json!([AUDIENCE, "another"]), json!(AUDIENCE)] {
        world.accepts(&control(&key.token(&claims_but("alice", |claims| claims["aud"] = good))));
    }
    world.accepts(&control(&key.token(&claims_but("alice", |claims| drop(claims.remove("iat"))))));
    let fractions = claims_but("alice", |claims| {
        claims["exp"] = format!("{}.5", seconds(60)).parse::<f64>().unwrap().into();
        claims.insert("nbf".to_owned(), seconds(0).into());
    });
    world.accepts(&control(&key.token(&fractions)));
}

#[test]
fn e07_a_sub_that_is_no_text() {
    let key = TokenKey::es256("a");
    let provider = Provider::of(&[&key]);
    let world = world(&provider.entry());
    for sub in
        [json!(null), json!(""), json!(" "), json!(7), json!(["alice"]), json!({ "a": 1 }), json!(true)]
    {
        refuses(
            &world,
            &key.token(&claims_but("alice", |claims| claims["sub"] = sub.clone())),
            &sub.to_string(),
        );
    }
}

#[test]
fn e08_a_sub_that_is_more_or_less_than_a_segment() {
    let key = TokenKey::es256("a");
    let provider = Provider::of(&[&key]);
    let world = world(&provider.entry());
    let long = "x".repeat(300);
    for sub in [
        "..",
        ".",
        "a/b",
        "a%2Fb",
        "/alice",
        "alice/",
        "a\\b",
        "alice\0",
        "alice\r\nx: y",
        "alice ",
        "é",
        &long,
    ] {
        refuses(&world, &key.token(&claims(sub)), sub);
    }
}

#[test]
fn e12_tokens_with_keys_that_nobody_has() {
    let key = TokenKey::es256("a");
    let provider = Provider::of(&[&key]);
    let world = world(&provider.entry());
    let good = key.token(&claims("alice"));
    world.accepts(&control(&good));
    let before = provider.asked();
    thread::scope(|scope| {
        for worker in 0..4 {
            let (world, key) = (&world, &key);
            scope.spawn(move || {
                let mut client = world.client();
                for n in 0..250 {
                    let header = json!({ "alg": "ES256", "kid": format!("{worker}-{n}") });
                    let answer = client.send(&control(&key.token_with(&header, &claims("alice"))));
                    assert!(matches!(answer.status, 401 | 503), "{}", answer.everything());
                }
            });
        }
        let mut client = world.client();
        for _ in 0..100 {
            assert_eq!(client.send(&control(&good)).status, 200, "who has a good token is not disturbed");
        }
    });
    assert_eq!(provider.asked(), before + 1, "one look for all of them");
}

#[test]
fn e14_a_new_key_is_known_when_it_is_first_used() {
    let (old, new) = (TokenKey::rs256("old"), TokenKey::es256("new"));
    let provider = Provider::of(&[&old]);
    let world = world(&provider.entry());
    world.accepts(&control(&old.token(&claims("alice"))));
    provider.serves(&[&old, &new]);
    world.accepts(&control(&new.token(&claims("alice"))));
    world.accepts(&control(&old.token(&claims("alice"))));
    assert_eq!(provider.asked(), 2);
    // The old one goes with the next look: `auth::jwt::ring` turns the clock for that.
    provider.serves(&[&new]);
    let unknown = TokenKey::es256("unknown");
    refuses(&world, &unknown.token(&claims("alice")), "a key that nobody has");
    refuses(&world, &old.token(&claims("alice")), "a key that was taken back");
}

#[test]
fn e15_tokens_out_of_proportion_or_out_of_place() {
    let key = TokenKey::es256("a");
    let provider = Provider::of(&[&key]);
    let world = world(&provider.entry());
    let padded =
        |n: usize| key.token(&claims_but("alice", |c| drop(c.insert("pad".into(), "x".repeat(n).into()))));
    world.accepts(&control(&padded(8 * 1024)));
    refuses(&world, &padded(17 * 1024), "longer than 16 KiB");
    let huge = control(&padded(64 * 1024));
    world.refuses_bytes(0, &huge, &huge.bytes(), &[(431, ""), (400, "")]);
    let deep = format!("{}{}", "[".repeat(5_000), "]".repeat(5_000));
    let header = json!({ "alg": "ES256", "kid": "a" }).to_string();
    for (header, claims) in [
        (header.clone(), format!("{{\"sub\":{deep}}}")),
        (format!("{{\"alg\":\"ES256\",\"kid\":{deep}}}"), claims("alice").to_string()),
        (header.clone(), deep.clone()),
        (header, "not JSON".to_owned()),
    ] {
        refuses(&world, &key.token_of(header.as_bytes(), claims.as_bytes()), "JSON");
    }
    let token = key.token(&claims("alice"));
    for name in ["access_token", "token", "X-Amz-Security-Token", "Authorization"] {
        let request = Request::get("/datasets/control").query(&format!("{name}={token}"));
        world.refuses(&request, ACCESS_DENIED);
    }
}

#[test]
fn two_ways_in_at_once() {
    let key = TokenKey::es256("a");
    let provider = Provider::of(&[&key]);
    let world = world(&provider.entry());
    let token = key.token(&claims("alice"));
    let presigned = world.alice().presign(Request::get("/datasets/control"), "60");
    world.accepts(&presigned);
    world.refuses(&bearer(presigned, &token), INVALID_ARGUMENT);
    let signed = world.alice().sign(Request::get("/datasets/control"));
    world.refuses(&bearer(signed, &token), INVALID_ARGUMENT);
    world.refuses(&control(&token).header("x-amz-security-token", "made-up"), INVALID_ARGUMENT);
}

#[test]
fn c19_bodies_of_bearers() {
    let key = TokenKey::es256("a");
    let provider = Provider::of(&[&key]);
    let world = world(&provider.entry());
    let token = key.token(&claims("alice"));
    let put = |body: &str| bearer(Request::put("/datasets/by-bearer", body), &token);
    let stored = || String::from_utf8(world.origin.object("datasets/alice/by-bearer").unwrap()).unwrap();
    world.accepts(&put("plain"));
    assert_eq!(stored(), "plain");
    world.accepts(&put("unsigned").header("x-amz-content-sha256", UNSIGNED));
    assert_eq!(stored(), "unsigned");
    let hashed = world.alice().sign(Request::put("/datasets/by-bearer", "hashed"));
    let hash = hashed.get_header("x-amz-content-sha256").unwrap().to_owned();
    world.accepts(&put("hashed").header("x-amz-content-sha256", hash.clone()));
    assert_eq!(stored(), "hashed");
    world.refuses_upload(&put("hushed").header("x-amz-content-sha256", hash), WRONG_HASH);

    let chunked = |how: &Chunked| {
        let signed = world.alice().sign_chunked(Request::put("/datasets/by-bearer", "in chunks"), how);
        bearer(signed.without("authorization").without("x-amz-date"), &token)
    };
    let trailer =
        |value: &[u8]| Chunked::unsigned(4).trailer("x-amz-checksum-crc32", checksum("crc32", value));
    world.accepts(&chunked(&trailer(b"in chunks")));
    assert_eq!(stored(), "in chunks");
    world.refuses_upload(&chunked(&trailer(b"other")), BAD_DIGEST);
    world.refuses(&chunked(&Chunked::signed(4)), INVALID_REQUEST);
    world.refuses(&put("x").header("x-amz-content-sha256", "STREAMING-FOO"), INVALID_ARGUMENT);
    assert_eq!(stored(), "in chunks");
}

#[test]
fn a_provider_that_misbehaves() {
    let key = TokenKey::es256("a");
    let other = Provider::of(&[&key]);
    let away: Answers<'_> = &[(503, "ServiceUnavailable")];
    for manner in [Manner::Fails, Manner::Huge, Manner::RedirectsTo(other.url()), Manner::Serves("{}".into())]
    {
        let provider = Provider::start(manner);
        let world = world(&provider.entry());
        let token = key.token(&claims("alice"));
        world.refuses(&control(&token), away);
        let answer = world.call(&bearer(Request::get("/api/v1/quota"), &token));
        assert_eq!((answer.status, answer.text().starts_with("{\"error\":")), (503, true));
        world.accepts(&world.alice().sign(Request::get("/datasets/control")));
        assert_eq!(provider.asked(), 1, "not asked again at once");
    }
    assert_eq!(other.asked(), 0, "nobody follows it");
    let world = world(&Provider::start(Manner::Silent).entry());
    let begun = Instant::now();
    world.refuses(&control(&key.token(&claims("alice"))), away);
    let waited = begun.elapsed();
    assert!((Duration::from_secs(4)..Duration::from_secs(15)).contains(&waited), "{waited:?}");
}

#[test]
fn a_provider_that_goes_away_is_believed_on() {
    let key = TokenKey::es256("a");
    let provider = Provider::of(&[&key]);
    let world = world(&provider.entry());
    let token = key.token(&claims("alice"));
    world.accepts(&control(&token));
    provider.now(Manner::Fails);
    let unknown = TokenKey::es256("unknown");
    refuses(&world, &unknown.token(&claims("alice")), "a look in vain");
    world.accepts(&control(&token));
}

#[test]
fn a_user_whom_nobody_knows() {
    let (key, strict) = (TokenKey::es256("a"), TokenKey::es256("strict"));
    let provider = Provider::of(&[&key]);
    let closed = Provider::of(&[&strict]);
    let more = format!("jwks_url = \"{}\"\nauto_provision = false", closed.url());
    let world = world(&(provider.entry() + &entry("strict", &more)));
    let by_strict = |user: &str| strict.token(&claims_but(user, |claims| claims["iss"] = "strict".into()));
    refuses(&world, &by_strict("carol"), "nobody knows her");
    world.accepts(&control(&by_strict("alice")));

    let tier =
        |user: &str, tier: &str| key.token(&claims_but(user, |c| drop(c.insert("tier".into(), tier.into()))));
    assert_eq!(quota(&world, &tier("carol", "premium"))["tier"], "premium");
    assert_eq!(quota(&world, &tier("dave", "no-such-tier"))["tier"], "default");
    assert_eq!(quota(&world, &by_strict("carol"))["tier"], "premium", "she is known now");
    let stays = quota(&world, &tier("carol", "default"));
    assert_eq!(stays["tier"], "premium", "a token makes a user, and does not change one");
    world.accepts(&bearer(Request::put("/datasets/hers", "x"), &tier("carol", "premium")));
    assert!(world.origin.object("datasets/carol/hers").is_some());
}

#[test]
fn a_user_who_was_removed_or_disabled() {
    let key = TokenKey::es256("a");
    let provider = Provider::of(&[&key]);
    let world = world(&provider.entry());
    let issued =
        |offset: i64| key.token(&claims_but("carol", |claims| claims["iat"] = seconds(offset).into()));
    let [old, without] = [issued(-10), key.token(&claims_but("carol", |claims| drop(claims.remove("iat"))))];
    let path = "/api/v1/admin/users/carol";
    assert_eq!(quota(&world, &old)["user_id"], "carol");

    let enable = |enabled: bool| {
        let body = json!({ "enabled": enabled }).to_string();
        let request = Request::new("PUT", path).body(body).header("content-type", "application/json");
        world.as_admin(request).assert_status(200);
    };
    enable(false);
    refuses(&world, &old, "disabled");
    enable(true);
    assert_eq!(quota(&world, &old)["user_id"], "carol");

    world.as_admin(Request::delete(path)).assert_status(204);
    refuses(&world, &old, "issued before the removal");
    refuses(&world, &without, "issued nobody knows when");
    assert_eq!(quota(&world, &issued(1))["user_id"], "carol", "somebody new");
    refuses(&world, &old, "the new one is not the old one");
}

#[test]
fn a_bearer_is_told_of_limits_in_json() {
    let key = TokenKey::es256("a");
    let provider = Provider::of(&[&key]);
    let entry = provider.entry();
    let settings = Settings { auth: &entry, limits: Some("max_file_size = 3"), ..Settings::default() };
    let world = World::with(&settings);
    let token = key.token(&claims("alice"));
    let answer = world.call(&bearer(Request::put("/datasets/large", "four"), &token));
    assert_eq!((answer.status, answer.header("content-type")), (429, Some("application/json")));
    let told: Value = serde_json::from_str(&answer.text()).unwrap();
    let error = "Upload denied: file size 4 bytes exceeds maximum allowed 3 bytes";
    assert_eq!(told, json!({ "error": error, "quota": "Check /api/v1/quota for current limits" }));
    let signed = world.call(&world.alice().sign(Request::put("/datasets/large", "four")));
    assert_eq!((signed.status, signed.code().as_str()), (429, "EntityTooLarge"));
    world.refuses(&bearer(Request::get("/no-such-bucket/x"), &token), NO_SUCH_BUCKET);
}
