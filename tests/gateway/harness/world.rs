//! A running gateway between an `Origin` and the users alice, bob, bobby and the service user svc, and what must
//! hold for every refusal and at the end of every test.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::origin::{GATEWAY_KEY, GATEWAY_SECRET, NAMESPACE, Origin, REAL_BUCKET, Seen};
use super::signer::{HOST, Request, Signer};
use super::text::{assert_well_formed, element, uri_decode};
use super::{Client, Response};
use bucketwarden::account::{Account, Recount, Step};
use bucketwarden::admin::{NotReloaded, Reloaded};
use bucketwarden::admit::quota::millis;
use bucketwarden::app::Running as Gateway;
use bucketwarden::config::Sources;
use bucketwarden::ledger::Ledger;
use bucketwarden::store::{Assigned, ParId, ParRecord};
use bucketwarden::types::{JobId, UserId};

/// Statuses and codes that answer a request rightly. An empty code asks for none: what the HTTP layer itself
/// refuses has no S3 error.
pub type Answers<'a> = &'a [(u16, &'a str)];

const USERS: [&str; 4] = ["alice", "bob", "bobby", "svc"];
const CONFIG: &str = "config.toml";
const ADMIN_TOKEN: &str = "an-admin-token-for-the-gateway-tests-0123456789";

pub struct World {
    pub origin: Origin,
    gateway: Option<Gateway>,
    s3: SocketAddr,
    admin: SocketAddr,
    client_names: Vec<&'static str>,
    runtime: tokio::runtime::Runtime,
    /// Where configuration and state lie; gone with the world.
    folder: tempfile::TempDir,
}

/// TOML lines by section, beyond what every world has.
#[derive(Default)]
pub struct Settings<'a> {
    pub server: &'a str,
    pub upstream: &'a str,
    /// Of the tier that everyone is in; by default as shipped, but without end to uploads and requests.
    pub limits: Option<&'a str>,
    pub quota: &'a str,
    /// Issuers of tokens, temporary keys.
    pub auth: &'a str,
    /// More `[[buckets]]`.
    pub buckets: &'a str,
    /// Where the state lies, if not in a file of the world's own. Nobody is counted then.
    pub state: Option<&'a str>,
    /// Where the upstream is said to be, if not at the world's origin.
    pub upstream_at: Option<SocketAddr>,
    /// Whether it is said to speak TLS.
    pub upstream_tls: bool,
    /// `s3` if not said.
    pub dialect: Option<&'a str>,
}

impl World {
    pub fn new() -> Self {
        Self::with(&Settings::default())
    }

    /// With the platform's view of the bucket besides.
    pub fn with_view() -> Self {
        let buckets = "[[buckets]]\nname = \"aiserve-storage\"\nview = \"platform\"";
        Self::with(&Settings { buckets, ..Settings::default() })
    }

    /// Makes a training job somebody's, as the admin API does.
    pub fn assign(&self, job: &str, user: &str) {
        let (job, user) = (JobId::parse(job).expect("an id"), UserId::parse(user).expect("an id"));
        let assigned = self.runtime.block_on(self.ledger().store().assign_job(&job, &user));
        assert!(matches!(assigned, Ok(Assigned::New | Assigned::Again)), "{assigned:?}");
    }

    /// With these limits for everyone.
    pub fn with_limits(limits: &str) -> Self {
        Self::with(&Settings { limits: Some(limits), ..Settings::default() })
    }

    /// The ledger's own word on a user.
    pub fn account(&self, user: &str) -> Account {
        let user = UserId::parse(user).expect("an id");
        self.runtime
            .block_on(self.ledger().store().account(&user))
            .expect("the store answers")
            .unwrap_or_default()
    }

    pub fn recount(&self, user: &str) {
        self.try_recount(user).expect("the origin lists");
    }

    pub fn try_recount(&self, user: &str) -> bucketwarden::error::Result<()> {
        let user = UserId::parse(user).expect("an id");
        self.runtime.block_on(self.ledger().recount(&user, |_| {})).map(|_| ())
    }

    fn ledger(&self) -> Ledger {
        self.running().ledger()
    }

    fn running(&self) -> &Gateway {
        self.gateway.as_ref().expect("the gateway runs")
    }

    /// Changes one place in the configuration file.
    #[track_caller]
    pub fn edit(&self, old: &str, new: &str) {
        let path = self.path(CONFIG);
        let text = std::fs::read_to_string(&path).expect("the file is there");
        assert_eq!(text.matches(old).count(), 1, "{old} in {text}");
        std::fs::write(path, text.replace(old, new)).expect("the file can be written");
    }

    /// In the folder of the configuration file, which is the working folder too.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes into the folder of the configuration file.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        std::fs::write(self.path(name), content).expect("the file can be written");
    }

    /// What SIGHUP does.
    pub fn try_reload(&self) -> Result<Reloaded, NotReloaded> {
        self.runtime.block_on(self.running().reload())
    }

    /// Changes the configuration file and has it taken over.
    #[track_caller]
    pub fn reload_with(&self, old: &str, new: &str) {
        self.edit(old, new);
        self.try_reload().expect("the configuration is right");
    }

    /// What a series of the metrics says.
    #[track_caller]
    pub fn series(&self, series: &str) -> u64 {
        let text = self.admin_get("/metrics").text();
        let value = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        value.unwrap_or_else(|| panic!("no {series} in {text}")).parse().expect("a whole number")
    }

    /// With more lines in `[server]`.
    pub fn with_server(server: &str) -> Self {
        Self::with(&Settings { server, ..Settings::default() })
    }

    /// With more lines in `[upstream]`.
    pub fn with_upstream(upstream: &str) -> Self {
        Self::with(&Settings { upstream, ..Settings::default() })
    }

    pub fn with(settings: &Settings<'_>) -> Self {
        let origin = Origin::start();
        for user in ["alice", "bob", "bobby"] {
            origin.seed(&format!("datasets/{user}/control"), control_body(user));
        }
        let folder = tempfile::tempdir().expect("a temporary folder");
        let text = config(settings.upstream_at.unwrap_or(origin.addr), settings);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a runtime starts");
        std::fs::write(folder.path().join(CONFIG), text).expect("the file can be written");
        let working_dir = folder.path().to_owned();
        let sources = Sources { file: Some(CONFIG.into()), env: Vec::new(), working_dir };
        let gateway = runtime.block_on(Gateway::start(sources)).expect("the gateway starts");
        let (s3, admin) = (gateway.s3_addr(), gateway.admin_addr());
        // Everyone has been seen before: no test's request is a user's first, with a count of its own.
        runtime.block_on(async {
            for user in USERS {
                let user = UserId::parse(user).expect("an id");
                if settings.state.is_some() {
                    continue;
                }
                if settings.upstream_at.is_some() {
                    count_nothing(&gateway.ledger(), &user).await;
                } else {
                    gateway.ledger().recount(&user, |_| {}).await.expect("the origin lists");
                }
            }
        });
        origin.forget();
        Self { origin, gateway: Some(gateway), s3, admin, client_names: Vec::new(), runtime, folder }
    }

    pub fn alice(&self) -> Signer {
        user("alice")
    }

    pub fn bob(&self) -> Signer {
        user("bob")
    }

    pub fn bobby(&self) -> Signer {
        user("bobby")
    }

    /// The service user.
    pub fn svc(&self) -> Signer {
        user("svc")
    }

    /// Names that clients gave their objects and that only look like something hidden.
    pub fn expect_names(&mut self, names: &[&'static str]) {
        self.client_names.extend(names);
    }

    pub fn client(&self) -> Client {
        Client::connect(self.s3)
    }

    pub fn s3_addr(&self) -> SocketAddr {
        self.s3
    }

    /// A plain GET on the admin listener.
    pub fn admin_get(&self, path: &str) -> Response {
        Client::connect(self.admin)
            .send(&Request::get(path).header("host", "localhost").header("connection", "close"))
    }

    /// The sum of a metric's series.
    pub fn metric(&self, name: &str) -> f64 {
        let text = self.admin_get("/metrics").text();
        let lines = text.lines().filter(|line| line.split([' ', '{']).next() == Some(name));
        lines
            .map(|line| line.rsplit(' ').next().and_then(|value| value.parse::<f64>().ok()).expect(line))
            .sum()
    }

    /// One exchange with the admin API by whoever holds its token.
    pub fn as_admin(&self, request: Request) -> Response {
        let request = request.header("host", "localhost").header("connection", "close");
        Client::connect(self.admin).send(&request.header("authorization", format!("Bearer {ADMIN_TOKEN}")))
    }

    /// An operator's call to the admin API: the status, and the document or nothing.
    pub fn operate(&self, method: &str, path: &str, body: &str) -> (u16, serde_json::Value) {
        let request = Request::new(method, path)
            .header("host", "localhost")
            .header("authorization", format!("Bearer {ADMIN_TOKEN}"))
            .header("connection", "close")
            .body(body);
        let answer = Client::connect(self.admin).send(&request);
        (answer.status, serde_json::from_slice(&answer.body).unwrap_or_default())
    }

    /// One exchange on a connection of its own.
    #[track_caller]
    pub fn call(&self, request: &Request) -> Response {
        self.client().send(request)
    }

    /// Like `call`, for what must succeed: 2xx, a whole body, nothing leaked.
    #[track_caller]
    pub fn accepts(&self, request: &Request) -> Response {
        let response = self.call(request);
        assert!(
            (200..300).contains(&response.status),
            "{} {}: {}",
            request.method,
            request.target,
            response.everything()
        );
        assert!(response.is_whole(), "{} {} ended early", request.method, request.target);
        self.assert_nothing_leaked(request, &response);
        response
    }

    /// The standard refusal: one of these answers, no upstream request, nothing changed, nothing leaked, well-formed,
    /// and the connection in sync or closed.
    #[track_caller]
    pub fn refuses(&self, request: &Request, answers: Answers<'_>) -> Response {
        self.refuses_after(0, request, answers)
    }

    /// Like `refuses`, where so many upstream requests are part of finding out.
    #[track_caller]
    pub fn refuses_after(&self, upstream: usize, request: &Request, answers: Answers<'_>) -> Response {
        self.refuses_bytes(upstream, request, &request.bytes(), answers).expect("an answer")
    }

    /// Like `refuses`, for these very bytes. A close without an answer counts only if `answers` is empty or names
    /// an answer without a code.
    #[track_caller]
    pub fn refuses_bytes(
        &self,
        upstream: usize,
        request: &Request,
        bytes: &[u8],
        answers: Answers<'_>,
    ) -> Option<Response> {
        let what = format!("{} {}", request.method, request.target);
        let (inventory, count) = (self.origin.inventory(), self.origin.count());
        let mut client = self.client();
        let response = client.exchange(bytes, &request.method);
        if let Some(response) = &response {
            self.assert_refusal(request, response, answers);
            if !response.announces_close() {
                self.assert_in_sync(&mut client);
            }
        } else {
            assert!(answers.iter().any(|(_, code)| code.is_empty()), "{what}: closed without an answer");
        }
        let extra: Vec<String> = self.origin.seen()[count..]
            .iter()
            .filter(|s| !s.target().ends_with("/datasets/alice/control"))
            .map(|s| format!("{} {}", s.method(), s.target()))
            .collect();
        assert!(extra.len() <= upstream, "{what}: expected {upstream} upstream requests, saw {extra:?}");
        assert_eq!(self.origin.inventory(), inventory, "{what}: an object changed");
        response
    }

    /// What an error answer must look like, wherever it came from.
    #[track_caller]
    pub fn assert_refusal(&self, request: &Request, response: &Response, answers: Answers<'_>) {
        let what = format!("{} {}", request.method, request.target);
        let code = response.code();
        let right = answers
            .iter()
            .any(|(status, wanted)| *status == response.status && (wanted.is_empty() || code == *wanted));
        assert!(right, "{what}: wanted one of {answers:?}, got {}", response.everything());
        assert!(response.is_whole(), "{what}: the answer ended early");
        self.assert_nothing_leaked(request, response);
        let from_http_layer = code.is_empty() && answers.iter().any(|(_, wanted)| wanted.is_empty());
        if from_http_layer {
            return;
        }
        assert!(
            response.header("x-amz-request-id").is_some(),
            "{what}: no request id: {}",
            response.everything()
        );
        if request.method != "HEAD" {
            let text = response.text();
            assert_well_formed(&text);
            assert!(element(&text, "RequestId").is_some_and(|id| !id.is_empty()), "{what}: {text}");
            assert!(element(&text, "Message").is_some_and(|m| !m.is_empty()), "{what}: {text}");
        }
    }

    /// The connection answers the next request for what it is, or is closed.
    #[track_caller]
    pub fn assert_in_sync(&self, client: &mut Client) {
        if let Some(next) = client.try_send(&self.alice().sign(Request::get("/datasets/control"))) {
            assert_eq!(
                (next.status, next.text()),
                (200, control_body("alice")),
                "out of sync: {}",
                next.everything()
            );
        }
    }

    /// Nothing of the platform behind the gateway in an answer, but the caller's own URI.
    #[track_caller]
    pub fn assert_nothing_leaked(&self, request: &Request, response: &Response) {
        let raw = String::from_utf8_lossy(&response.head.raw);
        let head = raw.lines().filter(|line| !line.to_ascii_lowercase().starts_with("x-bucketwarden-uri:"));
        let shown = format!("{}\n{}", head.collect::<Vec<_>>().join("\n"), response.text());
        let sent = format!("{}{}", request.target, String::from_utf8_lossy(&request.body));
        let own =
            |text: &str| self.client_names.iter().fold(text.to_owned(), |text, name| text.replace(name, ""));
        let backend = self.origin.addr.to_string();
        let mut words = vec![
            REAL_BUCKET.to_owned(),
            NAMESPACE.into(),
            GATEWAY_KEY.into(),
            GATEWAY_SECRET.into(),
            backend,
            "LeakyS3".into(),
            "UPSTREAM-REQUEST".into(),
            "logs/training".into(),
        ];
        words.extend(USERS.iter().flat_map(|u| ["datasets", "models"].map(|bucket| format!("{bucket}/{u}"))));
        for word in words {
            let named_by_client = sent.contains(&word) || uri_decode(&sent).contains(&word);
            let leaks = |text: &str| text.to_ascii_lowercase().contains(&word.to_ascii_lowercase());
            let leaked = !named_by_client && (leaks(&own(&shown)) || leaks(&own(&uri_decode(&shown))));
            assert!(!leaked, "{} {} leaks {word}: {shown}", request.method, request.target);
        }
    }

    /// What is under way of pre-authenticated requests, as their sweeper sees it so much later.
    pub fn sweep_pars(&self, later: Duration) -> bucketwarden::error::Result<()> {
        self.runtime.block_on(self.running().pars().sweep(bucketwarden::now() + later))
    }

    /// Puts PARs of another bucket on a user's record.
    pub fn add_foreign_pars(&self, user: &str, number: usize) {
        let ledger = self.ledger();
        let due = millis(bucketwarden::now() + Duration::from_hours(1));
        let record = ParRecord {
            user: UserId::parse(user).expect("an id"),
            generation: 0,
            place: "elsewhere".into(),
            object: String::new(),
            writes: false,
            oci_id: Some("made-there".into()),
            expires_at: due,
            due,
        };
        let adding = (0..number).map(|_| async { ledger.store().add_par(&ParId::random(), &record).await });
        let added = self.runtime.block_on(futures_util::future::join_all(adding));
        assert!(added.iter().all(|added| *added == Ok(true)));
    }

    /// The pre-authenticated requests on record of a user.
    pub fn pars_of(&self, user: &str) -> Vec<(ParId, ParRecord)> {
        let user = UserId::parse(user).expect("an id");
        self.runtime.block_on(self.ledger().store().pars_of(&user)).expect("the store answers")
    }

    /// SIGTERM's behaviour: starts draining and returns at once.
    pub fn start_drain(&mut self) -> tokio::task::JoinHandle<()> {
        let gateway = self.gateway.take().expect("drained once");
        self.runtime.spawn(gateway.drain())
    }

    pub fn finish<T>(&self, task: tokio::task::JoinHandle<T>, limit: Duration) -> T {
        let within = async { tokio::time::timeout(limit, task).await };
        self.runtime.block_on(within).expect("it ends in time").expect("it does not panic")
    }
}

/// The body of every user's `/datasets/control`.
pub fn control_body(user: &str) -> String {
    format!("control of {user}")
}

/// A user of the config file.
fn user(name: &str) -> Signer {
    Signer::new(&format!("AK{}", name.to_ascii_uppercase()), &format!("secret-of-{name}-0123456789abcdef"))
}

/// Waits until `done`, at most `limit`.
#[track_caller]
pub fn eventually(limit: Duration, what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + limit;
    while !done() {
        assert!(Instant::now() < deadline, "{what} did not happen in {limit:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

impl Drop for World {
    /// What holds after every test: the gateway signed everything it sent, with its own key, and sent nothing a
    /// client could have smuggled into it.
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        for seen in self.origin.seen() {
            assert_proper(&seen);
        }
    }
}

/// The headers that may cross to the upstream.
const MAY_CROSS: [&str; 23] = [
    "host",
    "authorization",
    "user-agent",
    "range",
    "expect",
    "content-length",
    "content-type",
    "content-md5",
    "content-encoding",
    "content-disposition",
    "content-language",
    "cache-control",
    "expires",
    "if-match",
    "if-none-match",
    "if-modified-since",
    "if-range",
    "if-unmodified-since",
    "x-amz-date",
    "x-amz-content-sha256",
    "x-amz-storage-class",
    "x-amz-metadata-directive",
    "x-amz-tagging-directive",
];
const MAY_CROSS_FAMILIES: [&str; 6] = [
    "x-amz-meta-",
    "x-amz-checksum-",
    "x-amz-copy-source",
    "x-amz-server-side-encryption-customer-",
    "x-amz-object-attributes",
    "x-amz-mp-object-size",
];

fn assert_proper(seen: &Seen) {
    let what = format!("{} {}", seen.method(), seen.target());
    let gateway = Signer::new(GATEWAY_KEY, GATEWAY_SECRET);
    assert_eq!(gateway.fault_in(&seen.request), None, "{what}: {:?}", seen.request.headers);
    for (name, _) in &seen.request.headers {
        let name = name.to_ascii_lowercase();
        let known =
            MAY_CROSS.contains(&name.as_str()) || MAY_CROSS_FAMILIES.iter().any(|f| name.starts_with(f));
        assert!(known, "{what}: header {name} crossed");
    }
    let head = String::from_utf8_lossy(&seen.head);
    for secret in USERS.map(|u| user(u).id) {
        assert!(!head.contains(&secret), "{what}: a client's credential crossed: {head}");
    }
    assert!(!head.contains(HOST), "{what}: the client's Host crossed: {head}");
    let path = seen.target().split('?').next().unwrap_or_default();
    assert!(path.starts_with(&format!("/{REAL_BUCKET}")), "{what}: outside the bucket");
    let walks = uri_decode(path).split(['/', '\\']).any(|s| matches!(s, "." | ".."));
    assert!(!walks, "{what}: a dot segment went upstream");
}

/// Where the upstream is said to be elsewhere, nobody is there to list; nothing was stored either.
async fn count_nothing(ledger: &Ledger, user: &UserId) {
    let now = millis(bucketwarden::now());
    let step = |step| ledger.store().step(user, Step::Recount(step), now);
    step(Recount::Begin { stale_before: now }).await.expect("the store answers");
    step(Recount::End { number: 1, life: ledger.store().life() }).await.expect("the store answers");
}

fn config(upstream: SocketAddr, settings: &Settings<'_>) -> String {
    let Settings { server, upstream: more, limits, quota, auth, buckets, .. } = settings;
    let state = settings.state.unwrap_or("redb:./state.redb");
    let limits = limits.unwrap_or(
        "uploads_per_hour = \"unlimited\"\nuploads_per_day = \"unlimited\"\n\
         requests_per_second = \"unlimited\"\nmax_concurrent_requests = \"unlimited\"",
    );
    let dialect = settings.dialect.unwrap_or("s3");
    let scheme = if settings.upstream_tls { "https" } else { "http" };
    let users: String = USERS
        .iter()
        .map(|name| {
            let role = if *name == "svc" { "service" } else { "user" };
            let Signer { id, secret, .. } = user(name);
            format!(
                "[[users]]\nid = \"{name}\"\ntier = \"default\"\nrole = \"{role}\"\n\
                 access_keys = [{{ id = \"{id}\", secret = \"{secret}\" }}]\n"
            )
        })
        .collect();
    format!(
        r#"
[server]
listen = "127.0.0.1:0"
public_url = "http://{HOST}"
virtual_host_suffix = "{HOST}"
{server}
[admin]
listen = "127.0.0.1:0"
token = "{ADMIN_TOKEN}"
[upstream]
dialect = "{dialect}"
namespace = "{NAMESPACE}"
region = "us-phoenix-1"
bucket = "{REAL_BUCKET}"
endpoint = "{scheme}://{upstream}"
access_key_id = "{GATEWAY_KEY}"
secret_access_key = "{GATEWAY_SECRET}"
{more}
[auth]
master_key = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
{auth}
[[buckets]]
name = "datasets"
prefix = "datasets/{{user_id}}/"
[[buckets]]
name = "models"
prefix = "models/{{user_id}}/"
[[buckets]]
name = "logs"
prefix = "logs/training/"
scope = "job"
access = "read-only"
counts_towards_quota = false
{buckets}
[state]
url = "{state}"
[tiers.default]
{limits}
[quota]
{quota}
[uri]
bucket = "platform"
{users}
"#
    )
}
