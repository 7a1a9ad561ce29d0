//! `POST` and `DELETE /api/v1/par` between the gateway and OCI's native API: who gets a pre-authenticated request, and
//! that each comes to its end, whatever breaks in between.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{KeyPair as _, RsaKeyPair};
use bucketwarden::config::ApiKey;
use bucketwarden::store::MAX_PARS;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::harness::*;
use crate::oci::{NativeKey, StandIn};

const TENANCY: &str = "ocid1.tenancy.oc1..t";
const OCI_USER: &str = "ocid1.user.oc1..u";
const TOKEN_SECRET: &str = "a-secret-of-32-bytes-for-hs256-!";
const SOON: Duration = Duration::from_secs(10);
/// When nobody waits any more for the making of a PAR.
const SETTLED: Duration = Duration::from_secs(150);

/// A gateway in front of OCI. Carol is a user of an issuer's, so that she can be disabled; the others are the file's.
struct Scene {
    world: World,
    oci: StandIn,
    link: Link,
    carol: String,
    /// The section of the configuration.
    native: String,
    _key: tempfile::TempDir,
}

impl Scene {
    fn new() -> Self {
        Self::with("")
    }

    /// With more lines in `[upstream.native]`.
    fn with(more: &str) -> Self {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).expect("a key");
        let public: PublicKeyX509Der<'_> = pair.public_key().as_der().expect("a public key");
        let private: Pkcs8V1Der<'_> = pair.as_der().expect("a private key");
        let pem =
            format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", base64(private.as_ref()));
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("key.pem");
        std::fs::write(&file, &pem).expect("a file");
        let fingerprint = ApiKey::from_pem(pem.as_bytes()).expect("a key").fingerprint().to_owned();
        let oci = StandIn::start_apart(crate::oci::Settings {
            namespace: NAMESPACE.into(),
            bucket: REAL_BUCKET.into(),
            keys: vec![(GATEWAY_KEY.into(), GATEWAY_SECRET.into())],
            native_keys: vec![NativeKey {
                key_id: format!("{TENANCY}/{OCI_USER}/{fingerprint}"),
                public_key_der: public.as_ref().to_vec(),
            }],
            ..crate::oci::Settings::default()
        });
        let link = Link::to(address(&oci.native_endpoint()));
        let native = format!(
            "[upstream.native]\ntenancy = \"{TENANCY}\"\nuser = \"{OCI_USER}\"\nfingerprint = \"{fingerprint}\"\n\
             key_file = \"{}\"\nendpoint = \"http://{}\"\n{more}",
            file.display(),
            link.addr
        );
        let world = World::with(&Settings {
            dialect: Some("oci"),
            upstream: &native,
            upstream_at: Some(address(&oci.s3_endpoint())),
            auth: &entry(ISSUER, &format!("hs256_secret = \"{TOKEN_SECRET}\"\nauto_provision = true")),
            ..Settings::default()
        });
        let carol = TokenKey::hs256("", TOKEN_SECRET).token(&claims("carol"));
        let here = Self { world, oci, link, carol, native, _key: folder };
        for signer in [here.world.alice(), here.world.bob()] {
            here.world.accepts(&signer.sign(Request::put("/datasets/a%20b/x+y", "an object")));
        }
        here.as_carol(Request::put("/datasets/a%20b/x+y", "an object")).assert_status(200);
        here
    }

    fn as_carol(&self, request: Request) -> Response {
        self.world.call(&request.header("authorization", format!("Bearer {}", self.carol)))
    }

    fn asked(&self, signer: &Signer, wanted: &Value) -> Response {
        self.world.call(&signer.sign(asking(wanted)))
    }

    /// What was made for whom.
    fn made(&self, signer: &Signer, wanted: &Value) -> Value {
        document(&self.asked(signer, wanted))
    }

    fn made_for_carol(&self) -> Value {
        document(&self.as_carol(asking(&read("a b/x+y"))))
    }

    fn delete(&self, signer: &Signer, id: &str) -> Response {
        self.world.call(&signer.sign(Request::delete(&format!("/api/v1/par/{id}"))))
    }

    /// What is left: at OCI, and on record of a user.
    fn left(&self, user: &str) -> (usize, usize) {
        (self.oci.control().pars().len(), self.world.pars_of(user).len())
    }

    fn enable_carol(&self, enabled: bool) {
        let (status, _) = self.world.operate(
            "PUT",
            "/api/v1/admin/users/carol",
            &json!({ "enabled": enabled }).to_string(),
        );
        assert_eq!(status, 200);
    }
}

fn asking(wanted: &Value) -> Request {
    Request::post("/api/v1/par", wanted.to_string())
}

fn read(key: &str) -> Value {
    json!({ "method": "GET", "bucket": "datasets", "key": key })
}

fn address(endpoint: &str) -> SocketAddr {
    endpoint.strip_prefix("http://").expect("an endpoint").parse().expect("an address")
}

/// What a PAR's maker is told.
#[track_caller]
fn document(answer: &Response) -> Value {
    answer.assert_status(200);
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    serde_json::from_str(&answer.text()).expect("JSON")
}

fn id(made: &Value) -> &str {
    made["id"].as_str().expect("an id")
}

/// What any HTTP client makes of the URL.
fn open(method: &str, made: &Value, body: &str) -> Response {
    let url = made["url"].as_str().expect("a URL").strip_prefix("http://").expect("a URL");
    let (host, target) = url.split_once('/').expect("a path");
    let request = Request::new(method, &format!("/{target}")).header("host", host).body(body);
    Client::connect(host.parse().expect("an address")).send(&request)
}

/// Stands between the gateway and OCI's native API.
struct Link {
    addr: SocketAddr,
    manner: Arc<(Mutex<Manner>, Condvar)>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Manner {
    Carries,
    /// 503, in OCI's stead.
    Refuses,
    /// What was asked is done, and the connection ends without an answer.
    LosesAnswers,
    /// What was asked is done, and the answer waits.
    HoldsAnswers,
    Ended,
}

impl Link {
    fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let addr = listener.local_addr().expect("bound");
        let manner = Arc::new((Mutex::new(Manner::Carries), Condvar::new()));
        let told = manner.clone();
        let thread = thread::spawn(move || {
            for stream in listener.incoming() {
                if *told.0.lock().expect("not poisoned") == Manner::Ended {
                    return;
                }
                let (stream, told) = (stream.expect("a connection"), told.clone());
                thread::spawn(move || carry(stream, server, &told));
            }
        });
        Self { addr, manner, thread: Some(thread) }
    }

    fn now(&self, manner: Manner) {
        *self.manner.0.lock().expect("not poisoned") = manner;
        self.manner.1.notify_all();
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.now(Manner::Ended);
        drop(TcpStream::connect(self.addr));
        self.thread.take().expect("joined once").join().expect("it ends");
    }
}

fn carry(stream: TcpStream, server: SocketAddr, told: &(Mutex<Manner>, Condvar)) {
    let mut wire = Wire::new(stream);
    while let Some(head) = wire.head() {
        let mut request = head.raw.clone();
        wire.body(head.request_framing(), &mut |piece| {
            request.extend_from_slice(piece);
            true
        });
        let manner = *told.0.lock().expect("not poisoned");
        if manner == Manner::Refuses {
            let body = "{\"code\":\"ServiceUnavailable\",\"message\":\"nsleak is away\"}";
            let answer = format!("HTTP/1.1 503 x\r\ncontent-length: {}\r\n\r\n{body}", body.len());
            wire.write(answer.as_bytes()).ok();
            continue;
        }
        let answer = Client::connect(server).exchange(&request, head.word(0)).expect("an answer");
        if manner == Manner::LosesAnswers {
            return;
        }
        let holds = told.0.lock().expect("not poisoned");
        drop(told.1.wait_while(holds, |manner| *manner == Manner::HoldsAnswers).expect("not poisoned"));
        wire.write(&[answer.head.raw, answer.body].concat()).ok();
    }
}

#[test]
fn a_par_is_made_opened_and_deleted() {
    let here = Scene::new();
    let alice = here.world.alice();
    let made = here.made(&alice, &read("a b/x+y"));
    let url = made["url"].as_str().expect("a URL");
    assert!(url.starts_with(&format!("http://{}/p/", here.link.addr)), "{url}");
    assert!(uri_decode(url).ends_with("/datasets/alice/a b/x+y"), "{url}");
    assert_eq!(made["method"], "GET");
    assert_eq!(open("GET", &made, "").assert_status(200).text(), "an object");
    open("PUT", &made, "another").assert_status(404);

    let [at_oci] = here.oci.control().pars().try_into().expect("one");
    assert_eq!(
        (at_oci.access_type.as_str(), at_oci.object_name.as_str()),
        ("ObjectRead", "datasets/alice/a b/x+y")
    );
    let told = OffsetDateTime::parse(made["expires_at"].as_str().expect("a time"), &Rfc3339).expect("a time");
    assert_eq!(told, at_oci.time_expires);
    let left = (told - OffsetDateTime::now_utc()).whole_seconds();
    assert!((86_300..=86_400).contains(&left), "{left}");
    // OCI's id names the object as it lies; ours says nothing.
    assert_eq!((id(&made).len(), id(&made).contains("alice")), (32, false));
    assert_eq!(at_oci.name, format!("bucketwarden-{}", id(&made)));

    here.delete(&alice, id(&made)).assert_status(204);
    open("GET", &made, "").assert_status(404);
    assert_eq!(here.left("alice"), (0, 0));
    here.delete(&alice, id(&made)).assert_status(404);
    assert_eq!(here.world.series("bucketwarden_par_deletions_total{reason=\"asked\",result=\"deleted\"}"), 1);
}

#[test]
fn a_par_is_its_users_alone() {
    let here = Scene::new();
    let (alice, bob) = (here.world.alice(), here.world.bob());
    let own = here.made(&alice, &read("a b/x+y"));
    let theirs = here.made(&bob, &read("a b/x+y"));
    assert_ne!(id(&own), id(&theirs));
    let foreign = here.delete(&bob, id(&own));
    for unknown in ["0", &"0".repeat(32), &"Z".repeat(32), "%2e%2e", &id(&own).to_uppercase()] {
        let unknown = here.delete(&bob, unknown);
        assert_eq!((foreign.status, foreign.text()), (404, unknown.text()));
    }
    for made in [&own, &theirs] {
        open("GET", made, "").assert_status(200);
    }
    let by_uri = json!({ "uri": "darkstorage://platform/datasets/bob/a b/x+y" });
    here.asked(&alice, &by_uri).assert_status(404);
    assert_eq!(open("GET", &here.made(&bob, &by_uri), "").text(), "an object");
}

#[test]
fn what_no_par_is_made_for() {
    let here = Scene::with("max_expiry = \"2h\"\n");
    let (alice, wanted) = (here.world.alice(), read("a b/x+y"));
    let but = |name: &str, value: Value| {
        let mut wanted = wanted.clone();
        wanted[name] = value;
        wanted
    };
    for (status, text, wanted) in [
        (404, "does not exist", read("nothing")),
        (404, "does not exist", json!({ "bucket": "logs", "key": "job1/out" })),
        (404, "bucket", but("bucket", "elsewhere".into())),
        (400, "segment", read("../bob/a b/x+y")),
        (400, "GET or PUT", but("method", "HEAD".into())),
        (400, "GET or PUT", but("method", "DELETE".into())),
        (400, "7200", but("expires_in", 7201.into())),
        (400, "7200", but("expires_in", 0.into())),
        (400, "expires", but("expires", 60.into())),
        (403, "service users", but("method", "PUT".into())),
        (400, "bucket and key", json!({ "key": "x" })),
    ] {
        let refused = here.asked(&alice, &wanted);
        let document: Value = serde_json::from_str(&refused.text()).expect("JSON");
        let said = document["error"].as_str().expect("an error");
        assert_eq!(refused.status, status, "{wanted}: {said}");
        assert!(said.contains(text), "{wanted}: {said}");
    }
    // Who holds but a URL gets no other.
    let presigned = alice.presign(asking(&wanted), "60");
    here.world.call(&presigned).assert_status(403);
    assert_eq!(here.left("alice"), (0, 0));
    // What nobody asked to last longer lasts as long as it may.
    let day = here.made(&alice, &wanted);
    let [at_oci] = here.oci.control().pars().try_into().expect("one");
    let left = (at_oci.time_expires - OffsetDateTime::now_utc()).whole_seconds();
    assert!((7_100..=7_200).contains(&left), "{left} {day}");
}

#[test]
fn a_par_ends_with_the_token_of_who_asked_for_it() {
    let here = Scene::new();
    here.made_for_carol();
    let [at_oci] = here.oci.control().pars().try_into().expect("one");
    let left = (at_oci.time_expires - OffsetDateTime::now_utc()).whole_seconds();
    assert!((3_500..=3_600).contains(&left), "{left}");
}

#[test]
fn services_may_have_pars_that_write() {
    let here = Scene::new();
    let wanted = json!({ "method": "PUT", "bucket": "models", "key": "new", "expires_in": 60 });
    let made = here.made(&here.world.svc(), &wanted);
    assert_eq!(made["method"], "PUT");
    open("GET", &made, "").assert_status(404);
    open("PUT", &made, "by a URL").assert_status(200);
    let stored = here.world.accepts(&here.world.svc().sign(Request::get("/models/new")));
    assert_eq!(stored.text(), "by a URL");
    here.world.accepts(&here.world.svc().sign(Request::put("/logs/job1/out", "a log")));
    here.world.assign("job1", "alice");
    let log = json!({ "bucket": "logs", "key": "job1/out" });
    assert_eq!(open("GET", &here.made(&here.world.alice(), &log), "").text(), "a log");
    here.asked(&here.world.bob(), &log).assert_status(404);
}

#[test]
fn pars_go_with_their_user() {
    let here = Scene::new();
    let kept = here.made(&here.world.alice(), &read("a b/x+y"));
    let made = [here.made_for_carol(), here.made_for_carol()];
    assert_eq!(here.left("carol"), (3, 2));
    here.enable_carol(false);
    eventually(SOON, "both are deleted", || here.left("carol") == (1, 0));
    open("GET", &made[0], "").assert_status(404);
    open("GET", &kept, "").assert_status(200);

    here.enable_carol(true);
    here.made_for_carol();
    here.world.operate("DELETE", "/api/v1/admin/users/carol", "");
    eventually(SOON, "it is deleted", || here.left("carol") == (1, 0));
    assert_eq!(
        here.world.series("bucketwarden_par_deletions_total{reason=\"revoked\",result=\"deleted\"}"),
        3
    );
}

#[test]
fn what_writes_ends_with_being_a_service() {
    let here = Scene::new();
    let role = |role: &str| {
        let change = json!({ "role": role }).to_string();
        assert_eq!(here.world.operate("PUT", "/api/v1/admin/users/carol", &change).0, 200);
    };
    let wanted = json!({ "method": "PUT", "bucket": "models", "key": "new" });
    role("service");
    let reads = here.made_for_carol();
    let writes = document(&here.as_carol(asking(&wanted)));
    role("user");
    eventually(SOON, "it is deleted", || here.left("carol") == (1, 1));
    open("PUT", &writes, "past the quota").assert_status(404);
    open("GET", &reads, "").assert_status(200);

    // While one is made, and by the file's word.
    role("service");
    here.link.now(Manner::HoldsAnswers);
    thread::scope(|scope| {
        let asking = scope.spawn(|| here.as_carol(asking(&wanted)));
        eventually(SOON, "OCI has made it", || here.left("carol") == (2, 2));
        role("user");
        here.link.now(Manner::Carries);
        asking.join().expect("an answer").assert_status(403);
    });
    assert_eq!(here.left("carol"), (1, 1));
    here.made(&here.world.svc(), &wanted);
    here.world.reload_with("role = \"service\"", "role = \"user\"");
    eventually(SOON, "it is deleted", || here.left("svc") == (1, 0));
}

/// Nine, so that all deletions under way at a time may be of such.
#[test]
fn what_cannot_be_deleted_here_holds_up_no_other() {
    let here = Scene::new();
    here.world.add_foreign_pars("carol", 9);
    here.made_for_carol();
    here.enable_carol(false);
    eventually(SOON, "the one that can be is deleted", || here.left("carol") == (0, 9));

    // And so with the sweep's turns: the other is due last.
    here.world.sweep_pars(Duration::ZERO).expect("swept");
    let wanted = json!({ "bucket": "datasets", "key": "a b/x+y", "expires_in": 600 });
    here.made(&here.world.alice(), &wanted);
    here.world.sweep_pars(Duration::from_secs(610)).expect("swept");
    assert_eq!((here.left("carol"), here.left("alice")), ((0, 9), (0, 0)));
}

#[test]
fn who_is_disabled_while_a_par_is_made_gets_none() {
    let here = Scene::new();
    here.link.now(Manner::HoldsAnswers);
    thread::scope(|scope| {
        let asking = scope.spawn(|| here.as_carol(asking(&read("a b/x+y"))));
        eventually(SOON, "OCI has made it", || here.left("carol") == (1, 1));
        here.enable_carol(false);
        here.link.now(Manner::Carries);
        let refused = asking.join().expect("an answer");
        refused.assert_status(403);
        assert!(!refused.text().contains("/p/"), "{}", refused.text());
    });
    eventually(SOON, "it is deleted", || here.left("carol") == (0, 0));
}

#[test]
fn the_sweeper_deletes_what_has_expired() {
    let here = Scene::new();
    let short = json!({ "bucket": "datasets", "key": "a b/x+y", "expires_in": 600 });
    here.made(&here.world.alice(), &short);
    let long = here.made(&here.world.alice(), &read("a b/x+y"));
    here.world.sweep_pars(Duration::from_secs(590)).expect("swept");
    assert_eq!(here.left("alice"), (2, 2));
    assert_eq!(here.world.series("bucketwarden_pars"), 2);
    here.world.sweep_pars(Duration::from_secs(610)).expect("swept");
    assert_eq!(here.left("alice"), (1, 1));
    open("GET", &long, "").assert_status(200);
    // OCI has forgotten it itself: that is as good.
    let [at_oci] = here.oci.control().pars().try_into().expect("one");
    here.oci.control().delete_par(&at_oci.id);
    here.world.sweep_pars(Duration::from_hours(25)).expect("swept");
    assert_eq!(here.left("alice"), (0, 0));
    assert_eq!(
        here.world.series("bucketwarden_par_deletions_total{reason=\"expired\",result=\"deleted\"}"),
        2
    );
}

#[test]
fn gateways_that_share_a_store_sweep_it_together() {
    let here = Scene::new();
    for _ in 0..20 {
        here.made(&here.world.alice(), &read("a b/x+y"));
    }
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| here.world.sweep_pars(Duration::from_hours(25)).expect("swept"));
        }
    });
    assert_eq!(here.left("alice"), (0, 0));
    assert_eq!(
        here.world.series("bucketwarden_par_deletions_total{reason=\"expired\",result=\"deleted\"}"),
        20
    );
}

#[test]
fn a_user_has_so_many_pars_and_no_more() {
    let here = Scene::new();
    here.world.add_foreign_pars("alice", MAX_PARS);
    let refused = here.asked(&here.world.alice(), &read("a b/x+y"));
    refused.assert_status(429);
    assert!(refused.text().contains("1000 pre-authenticated requests"), "{}", refused.text());
    here.made(&here.world.bob(), &read("a b/x+y"));
}

#[test]
fn an_answer_that_was_lost_leaves_no_par() {
    let here = Scene::new();
    let kept = here.made(&here.world.alice(), &read("a b/x+y"));
    here.link.now(Manner::LosesAnswers);
    here.asked(&here.world.alice(), &read("a b/x+y")).assert_status(503);
    here.link.now(Manner::Carries);
    assert_eq!(here.left("alice"), (2, 2), "it is made, and on record");
    here.world.sweep_pars(Duration::ZERO).expect("swept");
    assert_eq!(here.left("alice"), (2, 2), "it might be in the making");
    here.world.sweep_pars(SETTLED).expect("swept");
    assert_eq!(here.left("alice"), (1, 1));
    open("GET", &kept, "").assert_status(200);
    assert_eq!(
        here.world.series("bucketwarden_par_deletions_total{reason=\"unfinished\",result=\"deleted\"}"),
        1
    );
}

#[test]
fn nothing_is_lost_while_oci_is_away() {
    let here = Scene::new();
    let alice = here.world.alice();
    let made = here.made(&alice, &read("a b/x+y"));
    here.made_for_carol();
    here.link.now(Manner::Refuses);
    for refused in [here.asked(&alice, &read("a b/x+y")), here.delete(&alice, id(&made))] {
        refused.assert_status(503);
        assert!(!refused.text().contains("nsleak"), "{}", refused.text());
    }
    here.enable_carol(false);
    let failed = "bucketwarden_par_deletions_total{reason=\"revoked\",result=\"failed\"}";
    eventually(SOON, "OCI was asked", || here.world.series(failed) == 1);
    here.world.sweep_pars(SETTLED).expect_err("OCI is away");
    assert_eq!((here.left("alice"), here.left("carol")), ((2, 2), (2, 1)));

    here.link.now(Manner::Carries);
    open("GET", &made, "").assert_status(200);
    here.delete(&alice, id(&made)).assert_status(204);
    // Each gets another turn, and the one that OCI never heard of is forgotten.
    here.world.sweep_pars(SETTLED + Duration::from_mins(6)).expect("swept");
    assert_eq!((here.left("alice"), here.left("carol")), ((0, 0), (0, 0)));
}

#[test]
fn a_user_who_is_gone_from_the_file_has_no_pars() {
    let here = Scene::new();
    here.made(&here.world.alice(), &read("a b/x+y"));
    here.made(&here.world.bob(), &read("a b/x+y"));
    here.world.reload_with("id = \"bob\"", "id = \"robert\"");
    eventually(SOON, "a reload sweeps", || (here.left("alice"), here.left("bob")) == ((1, 1), (1, 0)));
}

#[test]
fn a_reload_takes_the_api_key_away_and_brings_it_back() {
    let here = Scene::new();
    let alice = here.world.alice();
    let made = here.made(&alice, &read("a b/x+y"));
    here.world.reload_with(&here.native, "");
    here.asked(&alice, &read("a b/x+y")).assert_status(501);
    here.delete(&alice, id(&made)).assert_status(501);
    here.world.sweep_pars(Duration::ZERO).expect("nothing is due");
    here.world.reload_with("[auth]\n", &format!("{}\n[auth]\n", here.native));
    here.delete(&alice, id(&made)).assert_status(204);
    assert_eq!(here.left("alice"), (0, 0));
}

#[test]
fn another_address_of_the_api_is_the_same_bucket() {
    let here = Scene::new();
    let alice = here.world.alice();
    let made = here.made(&alice, &read("a b/x+y"));
    let carols = here.made_for_carol();
    here.world.reload_with(&format!("http://{}", here.link.addr), &here.oci.native_endpoint());
    here.delete(&alice, id(&made)).assert_status(204);
    here.enable_carol(false);
    eventually(SOON, "it is deleted", || here.left("carol") == (0, 0));
    open("GET", &carols, "").assert_status(404);
}
