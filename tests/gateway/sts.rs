//! `AssumeRoleWithWebIdentity` and the temporary keys that it gives: group F of the checklist.

use std::time::Duration;

use bucketwarden::auth::session::{Claims, Origin, Purpose, Sessions};
use bucketwarden::now;
use bucketwarden::types::UserId;
use serde_json::{Map, Value, json};

use crate::harness::*;
use crate::redis_server::Server as Redis;

const INVALID: Answers<'_> = &[(400, "InvalidIdentityToken")];
const VALIDATION: Answers<'_> = &[(400, "ValidationError")];
const ROLE: &str = "arn:aws:iam::123456789012:role/team/bucketwarden";
/// The world's master key.
const MASTER: &[u8] = b"0123456789abcdef0123456789abcdef";

type Edit = fn(&mut Map<String, Value>);

struct Here {
    world: World,
    key: TokenKey,
    provider: Provider,
}

fn here() -> Here {
    let key = TokenKey::es256("a");
    let provider = Provider::of(&[&key]);
    let entry = provider.entry();
    let world = World::with(&Settings { auth: &entry, ..Settings::default() });
    Here { world, key, provider }
}

/// The usual parameters for this token; one with an empty name is none.
fn parameters<'a>(token: &'a str, but: &[(&'a str, Option<&'a str>)]) -> Vec<(&'a str, &'a str)> {
    let mut all = vec![
        ("Action", "AssumeRoleWithWebIdentity"),
        ("Version", "2011-06-15"),
        ("RoleArn", ROLE),
        ("RoleSessionName", "session"),
        ("WebIdentityToken", token),
    ];
    for (name, value) in but {
        all.retain(|(known, _)| known != name);
        all.extend(value.map(|value| (*name, value)));
    }
    all
}

fn encoded(parameters: &[(&str, &str)]) -> String {
    let pairs = parameters.iter().map(|(name, value)| format!("{name}={}", uri_encode(value, false)));
    pairs.collect::<Vec<_>>().join("&")
}

fn form(parameters: &[(&str, &str)]) -> Request {
    Request::post("/", encoded(parameters))
        .header("content-type", "application/x-www-form-urlencoded; charset=utf-8")
}

fn query(parameters: &[(&str, &str)]) -> Request {
    Request::post(&format!("/?{}", encoded(parameters)), "")
}

struct Temporary {
    signer: Signer,
    token: String,
}

impl Temporary {
    fn of(answer: &Response) -> Self {
        let [id, secret, token] =
            ["AccessKeyId", "SecretAccessKey", "SessionToken"].map(|name| answer.element(name).expect(name));
        Self { signer: Signer::new(&id, &secret), token }
    }

    fn sign(&self, request: Request) -> Request {
        self.signer.sign(request.header("x-amz-security-token", self.token.clone()))
    }

    fn presign(&self, request: Request) -> Request {
        let token = uri_encode(&self.token, false);
        self.signer.presign(request.query(&format!("X-Amz-Security-Token={token}")), "60")
    }
}

impl Here {
    fn token(&self, user: &str) -> String {
        self.key.token(&claims(user))
    }

    fn assume(&self, user: &str) -> Temporary {
        Temporary::of(&self.world.accepts(&form(&parameters(&self.token(user), &[]))))
    }
}

fn get() -> Request {
    Request::get("/datasets/control")
}

#[test]
fn temporary_keys_are_their_users_own() {
    let here = here();
    let world = &here.world;
    let token = here.token("alice");
    let answer = world.accepts(&form(&parameters(&token, &[("DurationSeconds", Some("900"))])));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    for (name, value) in [
        ("SubjectFromWebIdentityToken", "alice"),
        ("Audience", AUDIENCE),
        ("Provider", ISSUER),
        ("Arn", "arn:aws:sts::123456789012:assumed-role/bucketwarden/session"),
    ] {
        assert_eq!(answer.element(name).as_deref(), Some(value), "{}", answer.text());
    }
    let ends = humantime::parse_rfc3339(&answer.element("Expiration").unwrap()).unwrap();
    let left = ends.duration_since(now()).unwrap();
    assert!((Duration::from_secs(890)..=Duration::from_mins(15)).contains(&left), "{left:?}");

    let keys = Temporary::of(&answer);
    assert!(keys.signer.id.starts_with("BWT"), "{}", keys.signer.id);
    assert_eq!(world.accepts(&keys.sign(get())).text(), control_body("alice"));
    assert_eq!(world.accepts(&keys.presign(get())).text(), control_body("alice"));
    world.accepts(&keys.sign(Request::put("/datasets/mine", "x")));
    let chunked = Request::put("/datasets/mine", "chunks").header("x-amz-security-token", keys.token.clone());
    world.accepts(&keys.signer.sign_chunked(chunked, &Chunked::signed(3)));
    assert_eq!(world.origin.object("datasets/alice/mine").unwrap(), b"chunks");
    let quota = world.accepts(&keys.sign(Request::get("/api/v1/quota")));
    assert!(quota.text().contains("\"user_id\":\"alice\""), "{}", quota.text());
    // They make nothing that outlives them.
    for method in ["GET", "POST"] {
        let answer = world.call(&keys.sign(Request::new(method, "/api/v1/keys")));
        assert_eq!(answer.status, 403, "{}", answer.everything());
    }
    let metrics = world.admin_get("/metrics").text();
    assert!(metrics.contains("auth=\"sts\""), "{metrics}");
}

#[test]
fn f01_tokens_that_are_not_taken() {
    let here = here();
    let world = &here.world;
    let by = |key: &TokenKey, edit: Edit| key.token(&claims_but("alice", edit));
    let forged = TokenKey::es256("a");
    world.refuses(&form(&parameters(&by(&forged, |_| ()), &[])), INVALID);
    world.refuses(&form(&parameters("not.a.token", &[])), INVALID);
    world.refuses(
        &form(&parameters(&by(&here.key, |c| c["exp"] = seconds(-60).into()), &[])),
        &[(400, "ExpiredTokenException")],
    );
    // What is wrong with a forged token besides is nobody's business.
    world.refuses(&form(&parameters(&by(&forged, |c| c["exp"] = seconds(-60).into()), &[])), INVALID);
    let rejected: Answers<'_> = &[(403, "IDPRejectedClaim")];
    let edits: [Edit; 3] = [
        |c| c["aud"] = "another".into(),
        |c| c["sub"] = "../bob".into(),
        |c| drop(c.insert("nbf".into(), seconds(60).into())),
    ];
    for edit in edits {
        world.refuses(&form(&parameters(&by(&here.key, edit), &[])), rejected);
    }
    let away = Provider::start(Manner::Fails);
    let entry = away.entry();
    let alone = World::with(&Settings { auth: &entry, ..Settings::default() });
    let token = here.token("alice");
    alone.refuses(&form(&parameters(&token, &[])), &[(400, "IDPCommunicationError")]);
    let document = world.call(&form(&parameters("not.a.token", &[]))).text();
    assert_eq!(elements_within(&document, "Error", "Type"), ["Sender"], "{document}");
    assert!(
        document.contains("<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">"),
        "{document}"
    );
}

#[test]
fn f02_parameters_out_of_bounds() {
    let here = here();
    let world = &here.world;
    let token = here.token("alice");
    let long_name = "x".repeat(65);
    let long_token = "x".repeat(20_001);
    let long_arn = format!("{ROLE}{}", "x".repeat(2048));
    let bad: [(&str, Option<&str>); 26] = [
        ("DurationSeconds", Some("899")),
        ("DurationSeconds", Some("43201")),
        ("DurationSeconds", Some("-1")),
        ("DurationSeconds", Some("abc")),
        ("DurationSeconds", Some("")),
        ("DurationSeconds", Some("99999999999999999999")),
        ("RoleSessionName", Some("a")),
        ("RoleSessionName", Some(&long_name)),
        ("RoleSessionName", Some("a/b")),
        ("RoleSessionName", Some("a b")),
        ("RoleSessionName", Some("ab\r\nx")),
        ("RoleSessionName", None),
        ("RoleArn", None),
        ("RoleArn", Some("bucketwarden")),
        ("RoleArn", Some("arn:aws:iam::1234:role/bucketwarden")),
        ("RoleArn", Some("arn:aws:iam::123456789012:user/alice")),
        ("RoleArn", Some("arn:aws:s3:::123456789012:role/x")),
        ("RoleArn", Some("arn:aws:iam::123456789012:role/")),
        ("RoleArn", Some(&long_arn)),
        ("WebIdentityToken", None),
        ("WebIdentityToken", Some("x")),
        ("WebIdentityToken", Some(&long_token)),
        ("ProviderId", Some("www.amazon.com")),
        ("Policy", Some("{}")),
        ("Policy", Some("")),
        ("PolicyArns.member.1.arn", Some("arn:aws:iam::aws:policy/ReadOnlyAccess")),
    ];
    for but in bad {
        world.refuses(&form(&parameters(&token, &[but])), VALIDATION);
    }
    let twice = parameters(&token, &[]).into_iter().chain([("RoleArn", ROLE)]).collect::<Vec<_>>();
    world.refuses(&form(&twice), VALIDATION);
    let both = query(&[("RoleArn", ROLE)]).body(encoded(&parameters(&token, &[])));
    world.refuses(&both.header("content-type", "application/x-www-form-urlencoded"), VALIDATION);
    let action: Answers<'_> = &[(400, "InvalidAction")];
    for but in [
        ("Action", Some("GetCallerIdentity")),
        ("Action", Some("AssumeRole")),
        ("Version", Some("2010-01-01")),
        ("Version", None),
    ] {
        world.refuses(&form(&parameters(&token, &[but])), action);
    }
    world.refuses(&form(&parameters(&token, &[("Action", None)])), &[(400, "MissingAction")]);
    for good in ["900", "43200"] {
        world.accepts(&form(&parameters(&token, &[("DurationSeconds", Some(good))])));
    }
}

#[test]
fn f03_keys_without_their_token_or_after_their_time() {
    let here = here();
    let world = &here.world;
    let [keys, others] = ["alice", "bob"].map(|user| here.assume(user));
    let unknown: Answers<'_> = &[(403, "InvalidAccessKeyId")];
    let invalid: Answers<'_> = &[(403, "InvalidToken")];
    world.refuses(&keys.signer.sign(get()), unknown);
    world.refuses(&keys.signer.presign(get(), "60"), unknown);
    // With a token, but not signed, or not where the signature is, or twice, or another's.
    let later = keys.signer.sign(get()).header("x-amz-security-token", keys.token.clone());
    world.refuses(&later, ACCESS_DENIED);
    let token = format!("X-Amz-Security-Token={}", uri_encode(&keys.token, false));
    world.refuses(&keys.signer.presign(get(), "60").query(&token), WRONG_SIGNATURE);
    world.refuses(&keys.presign(get()).query(&token), invalid);
    world.refuses(&keys.sign(get().query(&token)), invalid);
    for (signer, token) in [
        (&keys.signer, &others.token),
        (&others.signer, &keys.token),
        (&world.alice(), &keys.token),
        (&keys.signer, &keys.token[1..].to_owned()),
        (&keys.signer, &String::new()),
    ] {
        let stolen = Temporary { signer: signer.clone(), token: token.clone() };
        world.refuses(&stolen.sign(get()), invalid);
    }
    let wrong = Temporary { signer: Signer::new(&keys.signer.id, "guessed"), token: keys.token.clone() };
    world.refuses(&wrong.sign(get()), WRONG_SIGNATURE);
    world.accepts(&keys.sign(get()));

    let minted = |purpose, issuer: &str, expires| {
        let session = Sessions::new(MASTER).mint(&Claims {
            user: UserId::parse("alice").unwrap(),
            generation: 0,
            purpose,
            origin: Origin::Issuer(issuer.to_owned()),
            jobs: [].into(),
            expires,
        });
        let session = session.unwrap();
        let signer = Signer::new(session.access_key_id.as_str(), session.secret.expose());
        Temporary { signer, token: session.token.expose().to_owned() }
    };
    let (past, future) = (now() - Duration::from_secs(1), now() + Duration::from_mins(1));
    world.accepts(&minted(Purpose::Sts, ISSUER, future).sign(get()));
    world.refuses(&minted(Purpose::Sts, ISSUER, past).sign(get()), &[(400, "ExpiredToken")]);
    world.refuses(&minted(Purpose::Sts, "https://nobody.test/", future).sign(get()), invalid);
    // The session of a presigned URL is good for nothing else.
    world.accepts(&minted(Purpose::Presign, ISSUER, future).presign(get()));
    world.refuses(&minted(Purpose::Presign, ISSUER, future).sign(get()), invalid);
    let answer = world.call(&minted(Purpose::Sts, ISSUER, past).sign(Request::get("/api/v1/quota")));
    assert_eq!(answer.status, 401, "{}", answer.everything());
}

#[test]
fn f09_sixty_keys_a_minute() {
    let here = here();
    let token = here.token("alice");
    let mut client = here.world.client();
    let mut ask = || client.send(&form(&parameters(&token, &[])));
    for _ in 0..60 {
        ask().assert_status(200);
    }
    let refused = ask();
    assert_eq!((refused.status, refused.code().as_str()), (429, "Throttling"), "{}", refused.everything());
    let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=60).contains(&wait), "{wait}");
    here.assume("bob");
}

#[test]
fn f10_refusals_tell_nothing_and_both_encodings_are_alike() {
    let here = here();
    let world = &here.world;
    let forged = TokenKey::es256("a").token(&claims("alice"));
    let foreign =
        here.key.token(&claims_but("alice", |claims| claims["iss"] = "https://nobody.test/".into()));
    let unknown_key = TokenKey::es256("b").token(&claims("alice"));
    let text = |request: Request| {
        let answer = world.refuses(&request, INVALID);
        let id = answer.element("RequestId").unwrap();
        answer.text().replace(&id, "")
    };
    let expected = text(form(&parameters(&forged, &[])));
    for token in [&forged, &foreign, &unknown_key, "garbage"] {
        for encode in [form, query] {
            assert_eq!(text(encode(&parameters(token, &[]))), expected);
        }
        let other_role = [("RoleArn", Some("arn:aws:iam::000000000000:role/nobody-knows-it"))];
        assert_eq!(text(form(&parameters(token, &other_role))), expected);
    }
    let token = here.token("alice");
    let keys = Temporary::of(&world.accepts(&query(&parameters(&token, &[]))));
    world.accepts(&keys.sign(get()));
    world.refuses(&query(&parameters(&token, &[("DurationSeconds", Some("1"))])), VALIDATION);
}

#[test]
fn sessions_end_with_their_user() {
    let here = here();
    let world = &here.world;
    let unknown: Answers<'_> = &[(403, "InvalidAccessKeyId")];
    let path = "/api/v1/admin/users/carol";
    let keys = here.assume("carol");
    world.accepts(&keys.sign(Request::put("/datasets/hers", "x")));
    let enable = |enabled: bool| {
        let body = json!({ "enabled": enabled }).to_string();
        let request = Request::new("PUT", path).body(body).header("content-type", "application/json");
        world.as_admin(request).assert_status(200);
    };
    enable(false);
    world.refuses(&keys.sign(Request::get("/datasets/hers")), unknown);
    let rejected: Answers<'_> = &[(403, "IDPRejectedClaim")];
    world.refuses(&form(&parameters(&here.token("carol"), &[])), rejected);
    enable(true);
    world.accepts(&keys.sign(Request::get("/datasets/hers")));

    world.as_admin(Request::delete(path)).assert_status(204);
    world.refuses(&keys.sign(Request::get("/datasets/hers")), unknown);
    let old = here.key.token(&claims_but("carol", |claims| claims["iat"] = seconds(-10).into()));
    world.refuses(&form(&parameters(&old, &[])), rejected);
    let new = here.key.token(&claims_but("carol", |claims| claims["iat"] = seconds(1).into()));
    let again = Temporary::of(&world.accepts(&form(&parameters(&new, &[]))));
    world.accepts(&again.sign(Request::get("/datasets/hers")));
    world.refuses(&keys.sign(Request::get("/datasets/hers")), unknown);
}

#[test]
fn where_sts_is_turned_off_there_is_none() {
    let key = TokenKey::es256("a");
    let provider = Provider::of(&[&key]);
    let auth = format!("{}[auth.sts]\nenabled = false\n", provider.entry());
    let world = World::with(&Settings { auth: &auth, ..Settings::default() });
    let token = key.token(&claims("alice"));
    let answer = world.call(&form(&parameters(&token, &[])));
    assert!(matches!(answer.status, 403 | 405 | 501), "{}", answer.everything());
    assert_eq!(answer.element("SessionToken"), None);
    assert_eq!(provider.asked(), 0);
}

#[test]
fn only_a_form_or_an_action_asks_for_keys() {
    let here = here();
    let world = &here.world;
    let answer = world.call(&Request::post("/", "x"));
    assert!(!answer.text().contains("sts.amazonaws.com"), "{}", answer.everything());
    let large =
        Request::post("/", "x".repeat(65 * 1024)).header("content-type", "application/x-www-form-urlencoded");
    world.refuses(&large, VALIDATION);
    assert_eq!(here.provider.asked(), 0);
}

#[test]
fn forms_that_do_not_come_take_nobodys_place() {
    let key = TokenKey::es256("a");
    let provider = Provider::of(&[&key]);
    let entry = provider.entry();
    let settings = Settings { server: "max_in_flight = 4", auth: &entry, ..Settings::default() };
    let world = World::with(&settings);
    let head = "POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/x-www-form-urlencoded\r\n\
                Content-Length: 1000\r\n\r\nA";
    let mut slow: Vec<Client> = (0..8).map(|_| world.client()).collect();
    for client in &mut slow {
        client.write(head);
    }
    // One address has eight at a time.
    let token = key.token(&claims("alice"));
    eventually(Duration::from_secs(4), "the ninth is sent away", || {
        let answer = world.call(&form(&parameters(&token, &[])));
        answer.status == 429 && answer.header("retry-after").is_some()
    });
    world.accepts(&world.alice().sign(get()));
    for client in &mut slow {
        let answer = client.response("POST").expect("an answer when the time is over");
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (400, "ValidationError"),
            "{}",
            answer.everything()
        );
    }
    world.accepts(&form(&parameters(&token, &[])));
}

#[test]
fn a_gateway_that_is_cut_off_from_the_store_hands_out_nothing_and_writes_nothing() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut redis = runtime.block_on(Redis::start());
    let url = format!("redis://{}", redis.address());
    let key = TokenKey::es256("a");
    let provider = Provider::of(&[&key]);
    let entry = provider.entry();
    let world = World::with(&Settings { state: Some(&url), auth: &entry, ..Settings::default() });
    world.origin.seed("datasets/carol/x", "hers");
    let token = key.token(&claims("carol"));
    let keys = Temporary::of(&world.accepts(&form(&parameters(&token, &[]))));
    world.accepts(&keys.sign(Request::get("/datasets/x")));
    redis.kill();
    // What the store said a moment ago is its word still.
    std::thread::sleep(Duration::from_secs(5));
    let away: Answers<'_> = &[(503, "ServiceUnavailable")];
    for _ in 0..2 {
        world.accepts(&keys.sign(Request::get("/datasets/x")));
        world.refuses(&form(&parameters(&token, &[])), away);
        world.refuses(&keys.sign(Request::put("/datasets/y", "body")), away);
    }
}
