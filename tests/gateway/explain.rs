//! Rows L01, L05, L09, L14; `GET /api/v1/admin/explain/{request_id}`, and the audit log.

use std::io::Write;
use std::sync::{Arc, Mutex};

use serde_json::Value;
use time::Duration;
use tracing_subscriber::fmt::MakeWriter;

use crate::harness::*;

fn explained(world: &World, refused: &Response) -> Value {
    let id = refused.header("x-amz-request-id").expect("a request id");
    let answer = world.as_admin(Request::get(&format!("/api/v1/admin/explain/{id}")));
    assert_eq!(answer.status, 200, "{}", answer.everything());
    serde_json::from_str(&answer.text()).expect("JSON")
}

fn signature_of(request: &Request) -> String {
    let all = format!("{} {}", request.target, request.get_header("authorization").unwrap_or_default());
    all.rsplit("Signature=").next().expect("a signature").trim().to_owned()
}

#[test]
fn a_wrong_signature_is_explained_to_the_operator_only() {
    let world = World::new();
    let signed =
        world.alice().sign(Request::get("/datasets/a%20b?partNumber=1").header("x-amz-acl", "private"));
    let wrong = flip_signature(signed.clone());
    let refused = world.refuses(&wrong, WRONG_SIGNATURE);
    for hidden in ["CanonicalRequest", "StringToSign", &signature_of(&signed)] {
        assert!(!refused.text().contains(hidden), "{hidden}: {}", refused.text());
    }
    let document = explained(&world, &refused);
    let told = |name: &str| document[name].as_str().unwrap_or_default().to_owned();
    assert_eq!((told("stage"), told("code")), ("authentication".into(), "SignatureDoesNotMatch".into()));
    assert_eq!((told("method"), told("operation")), ("GET".into(), "GetObject".into()));
    assert_eq!(
        (told("path"), told("bucket"), told("key")),
        ("/datasets/a%20b".into(), "datasets".into(), "a b".into())
    );
    assert_eq!((told("auth"), &document["user"]), ("sigv4".into(), &Value::Null));
    let seen = &document["signature"];
    assert_eq!(
        (&seen["access_key_id"], &seen["service"], &seen["region"]),
        (&"AKALICE".into(), &"s3".into(), &"us-east-1".into())
    );
    assert!(seen["clock_difference_seconds"].as_i64().expect("a number").abs() < 60);
    let canonical = seen["canonical_request"].as_str().expect("a text");
    assert!(
        canonical.starts_with(
            "GET\n/datasets/a%20b\npartNumber=1\nhost:s3.bucketwarden.test\nx-amz-acl:private\n"
        ),
        "{canonical}"
    );
    // The client can compare it with its own.
    let hash = bucketwarden_hash(canonical);
    assert_eq!(seen["string_to_sign"].as_str().expect("a text").lines().last(), Some(hash.as_str()));
    for secret in [signature_of(&wrong), signature_of(&signed), "secret-of-alice".into()] {
        assert!(!document.to_string().contains(&secret), "{document}");
    }
}

fn bucketwarden_hash(text: &str) -> String {
    use sha2::Digest as _;
    hex(&sha2::Sha256::digest(text.as_bytes()))
}

#[test]
fn each_refusal_says_what_was_wrong() {
    let world = World::new();
    let alice = world.alice();
    let control = || Request::get("/datasets/control");
    let explain = |request: &Request| explained(&world, &world.call(request));

    let unsigned = explain(&alice.not_signing("x-amz-acl").sign(control().header("x-amz-acl", "private")));
    assert_eq!(unsigned["signature"]["unsigned_headers"], serde_json::json!(["x-amz-acl"]));

    let skewed = explain(&alice.later(Duration::minutes(-20)).sign(control()));
    let difference = skewed["signature"]["clock_difference_seconds"].as_i64().expect("a number");
    assert!((-1260..=-1190).contains(&difference), "{difference}");
    assert_eq!(skewed["code"], "RequestTimeTooSkewed");

    let elsewhere = explain(&alice.but(|signer| signer.region = "eu-x".into()).sign(control()));
    assert_eq!(elsewhere["signature"]["region"], "eu-x");

    let unknown = explain(&Signer::new("AKNOBODY", "secret").sign(control()));
    assert_eq!(
        (&unknown["code"], &unknown["signature"]["access_key_id"]),
        (&"InvalidAccessKeyId".into(), &"AKNOBODY".into())
    );

    let anonymous = explain(&control().header("host", HOST));
    assert_eq!((&anonymous["signature"], &anonymous["auth"]), (&Value::Null, &Value::Null));

    let presigned = explain(&alice.later(Duration::hours(-1)).presign(control(), "60"));
    assert_eq!(
        (&presigned["auth"], &presigned["message"]),
        (&"presigned".into(), &"Request has expired".into())
    );

    let api = explain(&flip_signature(alice.sign(Request::get("/api/v1/quota"))));
    assert_eq!((&api["code"], &api["path"]), (&"SignatureDoesNotMatch".into(), &"/api/v1/quota".into()));
}

#[test]
fn authorisation_says_which_bucket_refused() {
    let world = World::new();
    let denied = world.refuses(&world.bob().sign(Request::put("/logs/job1/x", "x")), ACCESS_DENIED);
    let document = explained(&world, &denied);
    assert_eq!((&document["stage"], &document["user"]), (&"authorisation".into(), &"bob".into()));
    let rule = document["rule"].as_str().expect("a rule");
    assert!(rule.contains("PutObject (Write)") && rule.contains("scope = \"job\""), "{rule}");
    let elsewhere = world.refuses(&world.bob().sign(Request::get("/nowhere/x")), NO_SUCH_BUCKET);
    assert!(explained(&world, &elsewhere)["rule"].as_str().expect("a rule").contains("not configured"));
}

#[test]
fn only_refusals_are_kept_and_only_for_the_operator() {
    let world = World::new();
    let explain = |id: &str| world.as_admin(Request::get(&format!("/api/v1/admin/explain/{id}"))).status;
    let fine = world.accepts(&world.alice().sign(Request::get("/datasets/control")));
    assert_eq!(explain(fine.header("x-amz-request-id").expect("an id")), 404);
    let missing = world.call(&world.alice().sign(Request::get("/datasets/never-was")));
    assert_eq!((missing.status, explain(missing.header("x-amz-request-id").expect("an id"))), (404, 404));
    assert_eq!((explain("0"), explain("..")), (404, 404));
    let refused = world.call(&Request::get("/datasets/control").header("host", HOST));
    let path = format!("/api/v1/admin/explain/{}", refused.header("x-amz-request-id").expect("an id"));
    assert_eq!(world.admin_get(&path).status, 401);
    assert_eq!(world.as_admin(Request::get(&path)).status, 200);
    // On the data port it is no path at all.
    assert_eq!(world.call(&world.alice().sign(Request::get(&path))).status, 404);
}

#[test]
fn a_token_is_never_shown() {
    let world = World::new();
    let token = "t0k3n-of-a-session";
    let header = world.alice().sign(Request::get("/datasets/control").header("x-amz-security-token", token));
    let query = world.alice().presign(
        Request::get(&format!("/datasets/control?X-Amz-Security-Token={token}&access_token={token}")),
        "60",
    );
    let bearer = Request::get("/datasets/control").header("host", HOST);
    let bearer = bearer.header("authorization", format!("Bearer {token}"));
    for request in [header, query, bearer] {
        let document = explained(&world, &world.call(&request)).to_string();
        assert!(!document.contains(token), "{document}");
    }
}

#[test]
fn l01_admin_paths_on_the_data_port_and_data_paths_on_the_admin_port() {
    let world = World::new();
    let count = world.origin.count();
    for path in ["/api/v1/admin/users", "/api/v1/admin/explain/0", "/api/v1/admin/quota/alice"] {
        for signer in [world.alice(), world.svc()] {
            assert_eq!(world.call(&signer.sign(Request::get(path))).status, 404, "{path}");
        }
    }
    for path in ["/datasets/control", "/api/v1/objects", "/api/v1/quota", "/datasets?list-type=2"] {
        assert_eq!(
            world
                .as_admin(world.alice().sign(Request::get(path)).without("authorization").without("host"))
                .status,
            404,
            "{path}"
        );
    }
    assert_eq!(world.origin.count(), count);
}

#[test]
fn l05_health_and_metrics_are_no_paths_of_the_public_port() {
    let world = World::new();
    for path in ["/metrics", "/healthz", "/readyz", "/debug", "/debug/pprof"] {
        let nobody = world.call(&Request::get(path).header("host", HOST));
        assert!([400, 403].contains(&nobody.status), "{path}: {}", nobody.everything());
        // To a user they are names of buckets that do not exist.
        let user = world.call(&world.alice().sign(Request::get(path)));
        assert_eq!(user.code(), "NoSuchBucket", "{path}");
        for told in [nobody, user] {
            assert!(!told.everything().contains(env!("CARGO_PKG_VERSION")), "{}", told.everything());
        }
    }
}

#[test]
fn l14_no_origin_is_let_in() {
    let world = World::new();
    for target in ["/datasets/control", "/api/v1/quota"] {
        let request = Request::get(target).header("origin", "https://evil.example").header("cookie", "a=b");
        let answer = world.accepts(&world.alice().sign(request));
        assert!(
            !answer.everything().to_ascii_lowercase().contains("access-control-"),
            "{}",
            answer.everything()
        );
    }
    let preflight = Request::new("OPTIONS", "/datasets/control")
        .header("host", HOST)
        .header("origin", "https://evil.example")
        .header("access-control-request-method", "PUT");
    let refused = world.refuses(&preflight, &[(403, "AccessForbidden")]);
    assert!(!refused.everything().contains("evil.example"), "{}", refused.everything());
}

/// Everything that is logged, at whatever level, by whichever crate.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn everything() -> Self {
        let log = Self::default();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_ansi(false)
            .with_writer(log.clone());
        subscriber.try_init().expect("each test is a process of its own");
        log
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// A world whose issuer may speak for anybody, and the issuer's key.
fn world_of_tokens() -> (World, TokenKey) {
    let secret = "a-secret-of-32-bytes-for-hs256-!";
    let auth = entry(ISSUER, &format!("hs256_secret = \"{secret}\""));
    (World::with(&Settings { auth: &auth, ..Settings::default() }), TokenKey::hs256("", secret))
}

/// Asks for temporary keys.
fn exchange(token: &str) -> Request {
    let form = format!(
        "Action=AssumeRoleWithWebIdentity&Version=2011-06-15&RoleSessionName=session\
         &RoleArn=arn%3Aaws%3Aiam%3A%3A123456789012%3Arole%2Fany&WebIdentityToken={token}"
    );
    Request::post("/", form).header("content-type", "application/x-www-form-urlencoded")
}

fn by_bearer(request: Request, token: &str) -> Request {
    request.header("authorization", format!("Bearer {token}"))
}

#[test]
fn a_refused_token_is_explained_by_its_flaw_alone() {
    let (world, key) = world_of_tokens();
    let late = key.token(&claims_but("carol", |claims| {
        claims.insert("exp".into(), seconds(-3600).into());
    }));
    let bearer = world.call(&by_bearer(Request::get("/datasets/control"), &late));
    let web_identity = world.call(&exchange(&late));
    for (refused, code, auth) in
        [(bearer, "InvalidToken", "jwt".into()), (web_identity, "ExpiredTokenException", Value::Null)]
    {
        let document = explained(&world, &refused);
        assert_eq!((&document["code"], &document["auth"]), (&code.into(), &auth), "{document}");
        assert_eq!(document["cause"], "the token has expired");
        assert!(!document.to_string().contains(late.split('.').nth(1).expect("claims")), "{document}");
        assert!(!refused.text().contains("the token has expired"), "{}", refused.text());
    }
}

#[test]
fn l09_no_secret_is_logged_at_any_level() {
    let log = Log::everything();
    let (world, key) = world_of_tokens();
    let alice = world.alice();
    let (jwt, foreign) =
        (key.token(&claims("carol")), TokenKey::hs256("", "another").token(&claims("carol")));
    let token = "t0k3n-of-a-session";
    let control = || Request::get("/datasets/control");
    let requests = [
        alice.sign(control()),
        alice.presign(control(), "60"),
        flip_signature(alice.sign(control())),
        flip_signature(alice.presign(control(), "60")),
        alice.later(Duration::hours(-1)).presign(control(), "60"),
        alice.sign_chunked(Request::put("/datasets/chunked", "body"), &Chunked::signed(8192)),
        alice.sign(control().header("x-amz-security-token", token)),
        alice.presign(control().query(&format!("X-Amz-Security-Token={token}")), "60"),
        control().header("host", HOST).header("authorization", format!("Bearer {token}")),
        control().query(&format!("access_token={token}")).header("host", HOST),
        alice.sign(Request::delete("/api/v1/datasets/ds1")),
    ];
    for request in &requests {
        world.call(request);
    }
    for jwt in [&jwt, &foreign] {
        world.call(&by_bearer(control(), jwt));
        world.call(&exchange(jwt).query(&format!("WebIdentityToken={jwt}")));
    }
    let temporary = world.accepts(&exchange(&jwt));
    let [id, secret, session] = ["AccessKeyId", "SecretAccessKey", "SessionToken"]
        .map(|name| temporary.element(name).expect("temporary keys"));
    let carol = Signer::new(&id, &secret);
    world.call(&carol.sign(Request::get("/datasets/none").header("x-amz-security-token", &*session)));
    world.call(&carol.sign(Request::get("/datasets/none").header("x-amz-security-token", &session[1..])));
    let wanted = r#"{"bucket":"datasets","key":"control"}"#;
    let presigned = world.accepts(&alice.sign(Request::post("/api/v1/presign", wanted)));
    let presigned: Value = serde_json::from_str(&presigned.text()).expect("JSON");
    let url = presigned["url"].as_str().expect("a URL").to_owned();
    let target = url.strip_prefix(&format!("http://{HOST}")).expect("a target");
    world.accepts(&Request::get(target).header("host", HOST));
    world.call(&Request::delete(target).header("host", HOST));
    world.as_admin(Request::put("/api/v1/admin/users/dave", "{}"));
    let made = world.as_admin(Request::post("/api/v1/admin/users/dave/keys", ""));
    let made: Value = serde_json::from_str(&made.text()).expect("JSON");
    let made = made["secret_access_key"].as_str().expect("a secret").to_owned();
    world.as_admin(Request::get("/api/v1/admin/users"));
    world.origin.next_times(2, Act::error(403, "SignatureDoesNotMatch"));
    world.call(&alice.sign(control()));
    let text = log.text();
    assert!(text.contains("audit"), "the log is on: {text}");
    let mut secrets =
        vec![token.to_owned(), "secret-of-alice".into(), "an-admin-token".into(), GATEWAY_SECRET.into()];
    secrets.push("MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY".into());
    secrets.extend([&jwt, &foreign].map(|jwt| jwt.rsplit('.').next().expect("a signature").to_owned()));
    let parameter = |name: &str| url.split(name).nth(1).and_then(|rest| rest.split('&').next());
    let [token_in_url, signature] = ["X-Amz-Security-Token=", "X-Amz-Signature="].map(parameter);
    secrets.extend([token_in_url, signature].map(|secret| secret.expect("a parameter").to_owned()));
    secrets.extend([secret, session, made, "a-secret-of-32-bytes".into()]);
    secrets.extend(requests.iter().map(signature_of).filter(|signature| signature.len() == 64));
    secrets.extend(world.origin.seen().iter().map(|seen| signature_of(&seen.request)));
    for secret in secrets {
        assert!(!text.contains(&secret), "{secret} is in the log");
    }
}

#[test]
fn deletes_and_refusals_are_lines_of_the_audit_log() {
    let log = Log::everything();
    let world = World::new();
    let alice = world.alice();
    for key in ["one", "ds/a", "ds/b", "b1", "b2"] {
        world.accepts(&alice.sign(Request::put(&format!("/datasets/{key}"), "12345")));
    }
    world.accepts(&alice.sign(Request::delete("/datasets/one%0A2026%20INFO%20audit")));
    world.accepts(&alice.sign(Request::delete("/datasets/one")));
    world.accepts(&alice.sign(Request::delete("/api/v1/datasets/ds")));
    let body = "<Delete><Object><Key>b1</Key></Object><Object><Key>b2</Key></Object></Delete>";
    world.accepts(
        &alice.sign(
            Request::post("/datasets?delete", body).header("content-md5", base64(&md5(body.as_bytes()))),
        ),
    );
    let refused = world.call(&Request::get("/datasets/control").header("host", HOST));
    let text = log.text();
    let audit: Vec<&str> = text.lines().filter(|line| line.contains(" audit: ")).collect();
    assert_eq!(audit.len(), 5, "{audit:#?}");
    assert!(audit[0].contains(r"key=one\n2026 INFO audit"), "{}", audit[0]);
    assert!(audit[1].contains("user=alice bucket=datasets key=one"), "{}", audit[1]);
    assert!(audit[2].contains("prefix=ds/ deleted_objects=2 freed_bytes=10 failed=0"), "{}", audit[2]);
    assert!(audit[3].contains("deleted_objects=2 failed=0"), "{}", audit[3]);
    assert!(audit[4].contains(refused.header("x-amz-request-id").expect("an id")), "{}", audit[4]);
    assert!(audit[4].contains("code=\"AccessDenied\""), "{}", audit[4]);
}

#[test]
fn a_user_who_is_refused_for_what_they_are_is_explained() {
    let key = TokenKey::es256("a");
    let provider = Provider::of(&[&key]);
    let entry = provider.entry();
    let world = World::with(&Settings { auth: &entry, ..Settings::default() });
    let issued =
        |offset: i64| key.token(&claims_but("carol", |claims| claims["iat"] = seconds(offset).into()));
    let ask = |token: &str| {
        world.call(&Request::get("/datasets/x").header("authorization", format!("Bearer {token}")))
    };
    let exchange = |token: &str| {
        let parameters = format!(
            "Action=AssumeRoleWithWebIdentity&Version=2011-06-15&RoleSessionName=session&WebIdentityToken={token}\
             &RoleArn=arn:aws:iam::123456789012:role/bucketwarden"
        );
        world.call(&Request::post(&format!("/?{parameters}"), ""))
    };
    let cause = |refused: &Response| {
        let document = explained(&world, refused);
        assert_eq!((&document["stage"], &document["user"]), (&"authentication".into(), &"carol".into()));
        assert!(!refused.text().contains(document["cause"].as_str().expect("a cause")));
        document["cause"].as_str().unwrap_or_default().to_owned()
    };
    let old = issued(-10);
    ask(&old).assert_status(404);
    world.operate("PUT", "/api/v1/admin/users/carol", "{\"enabled\":false}");
    for refused in [ask(&old), exchange(&old)] {
        assert_eq!(cause(&refused), "the user is disabled", "{}", refused.everything());
    }
    world.as_admin(Request::delete("/api/v1/admin/users/carol")).assert_status(204);
    for refused in [ask(&old), exchange(&old)] {
        assert_eq!(cause(&refused), "there is no such user", "{}", refused.everything());
    }
    exchange(&issued(2)).assert_status(200);
    for refused in [ask(&old), exchange(&old)] {
        let earlier = "the credentials are of an earlier life of the user";
        assert_eq!(cause(&refused), earlier, "{}", refused.everything());
    }
}
