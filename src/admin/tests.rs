//! The admin listener over real sockets and a real store.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Mutex;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderMap, Method, Response, header};
use http_body_util::Full;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Map, Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use super::*;
use crate::account::{ObjectId, Recount, Reply, Step};
use crate::config::{self, Config};

mod keys;
mod matrix;

const TOKEN: &str = "a-token-of-at-least-32-characters";
const RIGHT: Option<&str> = Some(TOKEN);

/// `deputy` is the file's.
fn configuration() -> Config {
    let text = "[upstream]\ndialect = \"s3\"\nendpoint = \"http://127.0.0.1:1\"\nregion = \"us-east-1\"\n\
                bucket = \"real\"\naccess_key_id = \"AKREAL\"\nsecret_access_key = \"a-secret-of-the-gateway\"\n\
                [[users]]\nid = \"deputy\"\ntier = \"premium\"\nrole = \"service\"\n\
                access_keys = [{ id = \"AKDEPUTY\", secret = \"a-secret-of-the-deputy\" }]\n";
    Config::from_toml(text, Path::new(".")).expect("a configuration").config
}

fn id(text: &str) -> UserId {
    UserId::parse(text).expect("an id")
}

/// Counts what a test lets it count, one user per permit; fails for `broken`.
struct Scripted {
    permits: Semaphore,
    counted: Mutex<Vec<String>>,
}

impl Reconciler for Scripted {
    fn reconcile<'a>(
        &'a self,
        user: &'a UserId,
        progress: &'a (dyn Fn(Progress) + Send + Sync),
    ) -> BoxFuture<'a, Result<Recounted, String>> {
        Box::pin(async move {
            self.permits.acquire().await.expect("open").forget();
            self.counted.lock().expect("not poisoned").push(user.as_str().to_owned());
            if user.as_str() == "broken" {
                return Err("the bucket is not listed".to_owned());
            }
            progress(Progress { objects: 1000, bytes: 5000 });
            Ok(Recounted { objects: 1001, bytes: 5005, found_bytes: 5, missing_bytes: 2 })
        })
    }
}

/// Reloads, as far as it says.
struct Obedient;

impl Reload for Obedient {
    fn reload(&self) -> BoxFuture<'_, Result<Reloaded, NotReloaded>> {
        Box::pin(async { Ok(Reloaded { changed: vec!["users"], warnings: Vec::new() }) })
    }
}

struct Door {
    address: SocketAddr,
    admin: Arc<Admin>,
    in_force: Arc<ArcSwap<Admin>>,
    reconciler: Arc<Scripted>,
    client: Client<HttpConnector, Full<Bytes>>,
    server: tokio::task::JoinHandle<()>,
    _folder: TempDir,
}

impl Drop for Door {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Door {
    async fn open(token: Option<&str>) -> Self {
        let folder = TempDir::new().expect("a folder");
        let metrics = Arc::new(Metrics::new().expect("metrics"));
        let state = config::State::Redb(folder.path().join("state.redb"));
        let store = Arc::new(Store::open(&state, metrics.clone()).await.expect("a store"));
        let tiers = Arc::new(Tiers::new(&configuration(), store.clone()));
        let keyring = Arc::new(Keyring::new(store.clone(), configuration().shared_secret()));
        let pars = Pars::new(store.clone(), tiers.clone(), None, metrics.clone());
        let reconciler = Arc::new(Scripted { permits: Semaphore::new(0), counted: Mutex::default() });
        let admin = Arc::new(Admin {
            metrics,
            readiness: Readiness::default(),
            store,
            tiers,
            keyring,
            reconciler: reconciler.clone(),
            pars,
            reloader: Arc::new(Obedient),
            refusals: Arc::default(),
            token: token.map(|token| Secret::new(token.to_owned())),
            per_user_top: 0,
        });
        admin.readiness.set(Phase::Ready);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let in_force = Arc::new(ArcSwap::new(admin.clone()));
        let server = tokio::spawn(run(listener, in_force.clone()));
        let client = Client::builder(TokioExecutor::new()).build_http();
        Self { address, admin, in_force, reconciler, client, server, _folder: folder }
    }

    async fn send(
        &self,
        method: &Method,
        path: &str,
        token: Option<&str>,
        body: impl Into<Bytes>,
    ) -> Response<Incoming> {
        let mut request = Request::builder().method(method).uri(format!("http://{}{path}", self.address));
        if let Some(token) = token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let request = request.body(Full::new(body.into())).expect("a request");
        self.client.request(request).await.expect("an answer")
    }

    async fn send_as(
        &self,
        method: &Method,
        path: &str,
        authorization: Option<&str>,
        body: &'static str,
    ) -> Response<Incoming> {
        let mut request = Request::builder().method(method).uri(format!("http://{}{path}", self.address));
        if let Some(authorization) = authorization {
            request = request.header(header::AUTHORIZATION, authorization.as_bytes());
        }
        let request = request.body(Full::new(body.into())).expect("a request");
        self.client.request(request).await.expect("an answer")
    }

    /// With the right token; the document of the answer, or `Null` where there is none.
    async fn ask(&self, method: Method, path: &str, body: impl Into<Bytes>) -> (u16, Value) {
        let (status, _, document) = told(self.send(&method, path, RIGHT, body).await).await;
        (status, document)
    }

    async fn get(&self, path: &str) -> (u16, Value) {
        self.ask(Method::GET, path, "").await
    }

    async fn put(&self, user: &str, document: &Value) -> (u16, Value) {
        self.ask(Method::PUT, &format!("/api/v1/admin/users/{user}"), document.to_string()).await
    }

    /// Gives a user an account that holds one object.
    async fn account(&self, user: &str, bytes: u64) {
        let (user, now) = (id(user), self.admin.now());
        let step = async |recount| {
            let reply = self.admin.store.step(&user, Step::Recount(recount), now).await.expect("a store");
            let Reply::Recount(counted) = reply else { panic!("{reply:?}") };
            counted.number
        };
        let number = step(Recount::Begin { stale_before: 0 }).await.expect("a number");
        step(Recount::Objects { number, listed: vec![(ObjectId([7; 16]), bytes)] }).await;
        step(Recount::Listed { number }).await;
        step(Recount::End { number, life: self.admin.store.life() }).await;
    }
}

async fn whole(answer: Response<Incoming>) -> (u16, HeaderMap, String) {
    let (head, mut body) = answer.into_parts();
    let mut text = Vec::new();
    while let Some(frame) = body.frame().await {
        text.extend(frame.expect("a frame").into_data().unwrap_or_default());
    }
    (head.status.as_u16(), head.headers, String::from_utf8(text).expect("text"))
}

async fn told(answer: Response<Incoming>) -> (u16, HeaderMap, Value) {
    let (status, headers, text) = whole(answer).await;
    let document = serde_json::from_str(&text).unwrap_or(Value::Null);
    (status, headers, document)
}

/// A user as the API shows them, without the time of their making.
fn without_time(mut user: Value) -> Value {
    let created_at = user.as_object_mut().and_then(|user| user.remove("created_at"));
    let created_at = created_at.expect("a time");
    assert!(created_at.as_str().is_none_or(|time| time.len() == 20 && time.ends_with('Z')), "{created_at}");
    user
}

#[tokio::test]
async fn users_are_made_changed_shown_and_removed() {
    let door = Door::open(Some(TOKEN)).await;
    let path = "/api/v1/admin/users/alice";
    assert_eq!(door.get(path).await, (404, json!({"error": "There is no user alice."})));
    let (status, user) =
        door.put("alice", &json!({"tier": "premium", "limits": {"max_storage": "1GiB"}})).await;
    let expected = json!({"user_id": "alice", "tier": "premium", "role": "user", "enabled": true,
                          "limits": {"max_storage": 1_073_741_824}});
    assert_eq!((status, without_time(user.clone())), (201, expected));
    assert_eq!(door.get(path).await, (200, user.clone()));

    // What is not said stays; the standing follows at once.
    let limits = json!({"uploads_per_hour": 7, "burst": "unlimited"});
    assert_eq!(
        door.admin.tiers.of(&id("alice")).await.expect("a store").limits.max_storage.at(),
        Some(1 << 30)
    );
    let (status, user) = door.put("alice", &json!({"enabled": false, "limits": limits})).await;
    let limits = json!({"burst": "unlimited", "max_storage": 1_073_741_824, "uploads_per_hour": 7});
    let expected =
        json!({"user_id": "alice", "tier": "premium", "role": "user", "enabled": false, "limits": limits});
    assert_eq!((status, without_time(user)), (200, expected));
    let standing = door.admin.tiers.of(&id("alice")).await.expect("a store");
    assert_eq!((standing.enabled, standing.limits.uploads_per_hour.at()), (false, Some(7)));

    // Null is the tier's again.
    let limits = json!({"burst": null, "max_storage": null, "uploads_per_hour": null});
    let (_, user) = door.put("alice", &json!({"tier": "default", "role": "service", "limits": limits})).await;
    let expected =
        json!({"user_id": "alice", "tier": "default", "role": "service", "enabled": false, "limits": {}});
    assert_eq!(without_time(user), expected);
    let standing = door.admin.tiers.of(&id("alice")).await.expect("a store");
    assert_eq!(*standing.limits, config::Tier::shipped_default());

    assert_eq!(door.ask(Method::DELETE, path, "").await, (204, Value::Null));
    assert_eq!(door.ask(Method::DELETE, path, "").await.0, 404);
    assert_eq!(door.get(path).await.0, 404);
}

#[tokio::test]
async fn what_cannot_be_is_refused_and_changes_nothing() {
    let door = Door::open(Some(TOKEN)).await;
    for (document, part) in [
        (json!({"tiers": "gold"}), "tiers"),
        (json!({"tier": "gold"}), "default, premium"),
        (json!({"role": "root"}), "service"),
        (json!({"limits": {"max_objects": 1}}), "max_objects"),
        (json!({"limits": {"max_storage": "lots"}}), "10GiB"),
        (json!([]), "JSON object"),
    ] {
        let (status, answer) = door.put("alice", &document).await;
        assert_eq!(status, 400, "{document}");
        assert!(answer["error"].as_str().is_some_and(|text| text.contains(part)), "{document}: {answer}");
    }
    assert_eq!(door.put("..", &json!({})).await.0, 400);
    assert_eq!(door.put(&"a".repeat(65), &json!({})).await.0, 400);
    let (status, answer) =
        door.ask(Method::PUT, "/api/v1/admin/users/alice", " ".repeat(MAX_DOCUMENT + 1)).await;
    assert_eq!(status, 413, "{answer}");
    assert_eq!(door.get("/api/v1/admin/users/alice").await.0, 404);
}

#[tokio::test]
async fn users_of_the_file_keep_what_the_file_says() {
    let door = Door::open(Some(TOKEN)).await;
    let (_, user) = door.get("/api/v1/admin/users/deputy").await;
    let expected = json!({"user_id": "deputy", "tier": "premium", "role": "service", "enabled": true,
                          "limits": {}, "created_at": null});
    assert_eq!(user, expected);
    for document in
        [json!({"role": "user"}), json!({"enabled": false}), json!({"tier": "default", "role": "user"})]
    {
        let (status, answer) = door.put("deputy", &document).await;
        assert_eq!(status, 409, "{document}");
        assert!(answer["error"].as_str().is_some_and(|text| text.contains("configuration file")), "{answer}");
    }
    assert_eq!(door.ask(Method::DELETE, "/api/v1/admin/users/deputy", "").await.0, 409);
    assert_eq!(door.get("/api/v1/admin/users/deputy").await.1, user);

    let document = json!({"tier": "default", "role": "service", "limits": {"uploads_per_day": 3}});
    let (status, user) = door.put("deputy", &document).await;
    let expected = json!({"user_id": "deputy", "tier": "default", "role": "service", "enabled": true,
                          "limits": {"uploads_per_day": 3}});
    assert_eq!((status, without_time(user)), (200, expected));
}

#[tokio::test]
async fn lists_come_in_pages() {
    let door = Door::open(Some(TOKEN)).await;
    for user in ["alice", "bob", "zoe"] {
        door.put(user, &json!({})).await;
    }
    // An account without a record is no user, but its bytes count.
    door.account("gone", 10).await;
    for (list, expected) in [
        ("users", &["alice", "bob", "deputy", "zoe"][..]),
        ("quota", &["alice", "bob", "deputy", "gone", "zoe"]),
    ] {
        for limit in [1, 2, 3, 1000] {
            let (mut seen, mut after) = (Vec::new(), String::new());
            loop {
                let (status, page) =
                    door.get(&format!("/api/v1/admin/{list}?limit={limit}&after={after}")).await;
                assert_eq!(status, 200, "{page}");
                let users = page["users"].as_array().expect("a list");
                assert!(users.len() <= limit);
                seen.extend(users.iter().map(|user| user["user_id"].as_str().expect("an id").to_owned()));
                match page["next"].as_str() {
                    Some(next) => next.clone_into(&mut after),
                    None => break,
                }
            }
            assert_eq!(seen, expected, "{list} by {limit}");
        }
        assert_eq!(door.get(&format!("/api/v1/admin/{list}?limit=0")).await.0, 400);
        assert_eq!(door.get(&format!("/api/v1/admin/{list}?page=2")).await.0, 400);
    }
}

#[tokio::test]
async fn quotas_are_those_that_users_see() {
    let door = Door::open(Some(TOKEN)).await;
    assert_eq!(door.get("/api/v1/admin/quota/alice").await.0, 404);
    door.account("alice", 512).await;
    door.put("alice", &json!({"limits": {"max_storage": 1024, "uploads_per_day": "unlimited"}})).await;
    let expected = json!({
        "user_id": "alice", "tier": "default",
        "storage": {"used_bytes": 512, "reserved_bytes": 0, "limit_bytes": 1024, "used_pct": 50.0},
        "file_size": {"max_bytes": 10_737_418_240_u64},
        "rate_limits": {"uploads_last_hour": 0, "hourly_limit": 50, "uploads_last_day": 0, "daily_limit": null},
    });
    assert_eq!(door.get("/api/v1/admin/quota/alice").await, (200, expected));
    assert_eq!(door.get("/api/v1/admin/quota/deputy").await.1["storage"]["limit_bytes"], json!(1_u64 << 40));
}

#[tokio::test]
async fn a_recount_is_told_line_by_line() {
    let door = Door::open(Some(TOKEN)).await;
    door.reconciler.permits.add_permits(10);
    for user in ["alice", "broken"] {
        door.put(user, &json!({})).await;
    }
    let recount = async |who: Value| {
        let path = "/api/v1/admin/reconcile";
        whole(door.send(&Method::POST, path, RIGHT, who.to_string()).await).await
    };
    let (status, headers, text) = recount(json!({"users": ["broken", "alice"]})).await;
    assert_eq!(
        (status, &headers[header::CONTENT_TYPE]),
        (200, &"application/x-ndjson".parse().expect("a type"))
    );
    let expected = "\
{\"user_id\":\"broken\",\"event\":\"counting\",\"objects\":0,\"bytes\":0,\"number\":1,\"of\":2}
{\"user_id\":\"broken\",\"event\":\"failed\",\"error\":\"the bucket is not listed\",\"number\":1,\"of\":2}
{\"user_id\":\"alice\",\"event\":\"counting\",\"objects\":0,\"bytes\":0,\"number\":2,\"of\":2}
{\"user_id\":\"alice\",\"event\":\"counting\",\"objects\":1000,\"bytes\":5000,\"number\":2,\"of\":2}
{\"user_id\":\"alice\",\"event\":\"done\",\"objects\":1001,\"bytes\":5005,\"drift_bytes\":7,\"found_bytes\":5,\
\"missing_bytes\":2,\"number\":2,\"of\":2}
";
    assert_eq!(text, expected);

    let (_, _, text) = recount(json!({"all": true})).await;
    let users: BTreeSet<String> = text
        .lines()
        .map(|line| serde_json::from_str::<Line>(line).expect("a line"))
        .filter(|line| !matches!(line.event, Event::Counting { .. }))
        .map(|line| line.user_id)
        .collect();
    assert_eq!(users, ["alice", "broken", "deputy"].map(str::to_owned).into());
    assert_eq!(recount(json!({"users": ["alice", "nobody"]})).await.0, 404);
    assert_eq!(recount(json!({"user": "alice"})).await.0, 400);
}

#[tokio::test]
async fn when_nobody_reads_on_no_further_user_is_recounted() {
    let door = Door::open(Some(TOKEN)).await;
    for user in ["alice", "bob"] {
        door.put(user, &json!({})).await;
    }
    let who = r#"{"users":["alice","bob"]}"#;
    let mut answer = door.send(&Method::POST, "/api/v1/admin/reconcile", RIGHT, who).await;
    answer.body_mut().frame().await.expect("a first line").expect("a frame");
    let (connections, runs) = (Arc::strong_count(&door.in_force), Arc::strong_count(&door.admin));
    drop(answer);
    // The connection and then the run let go of what they held.
    while Arc::strong_count(&door.in_force) > connections - 1 {
        tokio::task::yield_now().await;
    }
    door.reconciler.permits.add_permits(10);
    while Arc::strong_count(&door.admin) > runs - 1 {
        tokio::task::yield_now().await;
    }
    assert_eq!(*door.reconciler.counted.lock().expect("not poisoned"), ["alice"]);
}

#[tokio::test]
async fn lines_outlast_the_age_of_a_connection() {
    let door = Door::open(Some(TOKEN)).await;
    door.put("alice", &json!({})).await;
    let who = r#"{"users":["alice"]}"#;
    let mut answer = door.send(&Method::POST, "/api/v1/admin/reconcile", RIGHT, who).await;
    answer.body_mut().frame().await.expect("a first line").expect("a frame");
    tokio::time::pause();
    tokio::time::advance(MAX_AGE * 3).await;
    tokio::task::yield_now().await;
    tokio::time::advance(LAST_ANSWER * 3).await;
    tokio::time::resume();
    door.reconciler.permits.add_permits(1);
    let (_, _, text) = whole(answer).await;
    assert!(text.contains("\"event\":\"done\""), "{text}");
}

#[tokio::test]
async fn gauges_are_the_sums_over_all_users() {
    let door = Door::open(Some(TOKEN)).await;
    door.account("alice", 950).await;
    door.put("alice", &json!({"limits": {"max_storage": 1000}})).await;
    door.account("gone", 50).await;
    let usage = gauges::walk(&door.admin.store, &door.admin.tiers, 1).await.expect("a store");
    let default = crate::metrics::TierUsage { users: 2, used: 1000, near_limit: 1 };
    let premium = crate::metrics::TierUsage { users: 1, used: 0, near_limit: 0 };
    assert_eq!((usage.by_tier["default"], usage.by_tier["premium"]), (default, premium));
    assert_eq!(usage.fullest, [("alice".to_owned(), 950)]);
}

#[tokio::test]
async fn readiness_names_the_store() {
    let door = Door::open(None).await;
    let ready = async || whole(door.send(&Method::GET, "/readyz", None, "").await).await;
    let (status, _, text) = ready().await;
    assert_eq!((status, text.as_str()), (200, "ready (redb)\n"));
    for (phase, expected) in [(Phase::Starting, "starting (redb)\n"), (Phase::Draining, "draining (redb)\n")]
    {
        door.admin.readiness.set(phase);
        let (status, _, text) = ready().await;
        assert_eq!((status, text.as_str()), (503, expected));
    }
}

const GET: &[u8] = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n";

async fn answer_to(stream: &mut TcpStream) -> String {
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("open");
    let mut answer = vec![0; 1024];
    let read = stream.read(&mut answer).await.expect("an answer");
    String::from_utf8_lossy(&answer[..read]).into_owned()
}

/// Asks and asks and reads nothing, until not a byte more is taken.
async fn clog(stream: &mut TcpStream) {
    let asks = GET.repeat(1000);
    while tokio::time::timeout(Duration::from_millis(100), stream.write_all(&asks)).await.is_ok() {}
}

#[tokio::test]
async fn clients_that_do_not_read_lose_their_places() {
    let door = Door::open(None).await;
    let mut clogged = Vec::new();
    for _ in 0..MAX_CONNECTIONS {
        let mut stream = TcpStream::connect(door.address).await.expect("it listens");
        clog(&mut stream).await;
        clogged.push(stream);
    }
    tokio::time::pause();
    let mut probe = TcpStream::connect(door.address).await.expect("it listens");
    let answer = tokio::time::timeout(MAX_AGE * 5, answer_to(&mut probe)).await;
    assert!(answer.expect("a place was given back").starts_with("HTTP/1.1 200"));
    // A scraper keeps its connection from one request to the next.
    assert!(answer_to(&mut probe).await.starts_with("HTTP/1.1 200"));
}
