//! The calls of `/api/v1` over a real store.

use std::path::Path;

use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::account::{LeaseId, Limits, ObjectId, Recount, Reply, Step, Target, Write};
use crate::auth::session::Origin;
use crate::config::{self, Config};
use crate::metrics::Metrics;
use crate::store::UserChange;
use crate::types::{BucketName, Role, UserId, WayIn};

fn text(response: &Response<Bytes>) -> &str {
    std::str::from_utf8(response.body()).expect("text")
}

#[test]
fn only_the_calls_of_the_table_exist() {
    for (method, path, expected) in ROUTES {
        let path = path.replace("{}", "BWKONE");
        let segment = if path.ends_with("BWKONE") { "BWKONE" } else { "" };
        assert_eq!(route(method, &path).expect("a call"), (*expected, segment));
    }
    for (method, path) in [
        (Method::POST, "/api/v1/quota"),
        (Method::GET, "/api/v1/quota/"),
        (Method::GET, "/api/v1/"),
        (Method::GET, "/api/v2/quota"),
        (Method::GET, "/api/v1/admin/users"),
        (Method::DELETE, "/api/v1/keys"),
        (Method::DELETE, "/api/v1/keys/"),
        (Method::DELETE, "/api/v1/keys/a/b"),
        (Method::PATCH, "/api/v1/keys/a"),
    ] {
        let refusal = refused(&route(&method, path).expect_err("no call"));
        assert_eq!(refusal.status(), 404, "{method} {path}");
        assert!(text(&refusal).starts_with("{\"error\":\""), "{method} {path}");
    }
}

#[test]
fn sizes_are_plain_numbers() {
    let size = |query| size(&Query::parse(query).expect("a query"));
    assert_eq!(size("size=0").expect("a size"), 0);
    assert_eq!(size("size=18446744073709551615").expect("a size"), u64::MAX);
    for bad in ["", "size", "size=", "size=-1", "size=1GiB", "size=18446744073709551616", "Size=1"] {
        assert_eq!(refused(&size(bad).expect_err(bad)).status(), 400, "{bad}");
    }
}

#[test]
fn statuses_are_those_of_the_contract() {
    let allowed = [400, 401, 403, 404, 429, 501, 503];
    for code in [
        Code::AccessDenied,
        Code::BadGateway,
        Code::GatewayTimeout,
        Code::InternalError,
        Code::InvalidToken,
        Code::NotImplemented,
        Code::ServiceUnavailable,
        Code::SlowDown,
    ] {
        assert!(allowed.contains(&refused(&code.into()).status().as_u16()), "{code:?}");
    }
    let slow = Error::new(Code::SlowDown).retry_after(std::time::Duration::from_secs(3));
    assert_eq!(refused(&slow).status(), 429);
    assert_eq!(refused(&slow).headers()[header::RETRY_AFTER], "3");
    let as_s3_says = slow.with_status(StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(refused(&as_s3_says).status(), 503);
}

#[test]
fn bad_credentials_are_401_and_bad_requests_400() {
    for (code, status) in [
        (Code::AccessDenied, 401),
        (Code::InvalidAccessKeyId, 401),
        (Code::SignatureDoesNotMatch, 401),
        (Code::InvalidToken, 401),
        (Code::AuthorizationHeaderMalformed, 400),
    ] {
        let refusal = unauthenticated(&code.into());
        assert_eq!(refusal.status(), status, "{code:?}");
        assert_eq!(refusal.headers().contains_key(header::WWW_AUTHENTICATE), status == 401);
        assert_eq!(refusal.headers()[header::CONTENT_TYPE], "application/json");
    }
}

struct Listed;

impl Usage for Listed {
    fn usage<'a>(&'a self, _: &'a UserId) -> BoxFuture<'a, Result<Totals>> {
        let bucket = |name| BucketName::parse(name).expect("a name");
        let totals = Totals { bytes: vec![(bucket("datasets"), 5), (bucket("models"), 7)], objects: 3 };
        Box::pin(async { Ok(totals) })
    }
}

const NOW: Millis = 1_764_064_800_000;

struct Front {
    api: Api,
    store: Arc<Store>,
    caller: Caller,
    _folder: TempDir,
}

impl Front {
    async fn new(refusal_status: RefusalStatus) -> Self {
        let folder = TempDir::new().expect("a folder");
        let text = "[upstream]\ndialect = \"s3\"\nendpoint = \"http://127.0.0.1:1\"\nregion = \"us-east-1\"\n\
                    bucket = \"real\"\naccess_key_id = \"AKREAL\"\nsecret_access_key = \"a-secret-of-the-gateway\"\n";
        let config = Config::from_toml(text, Path::new(".")).expect("a configuration").config;
        let state = config::State::Redb(folder.path().join("state.redb"));
        let metrics = Arc::new(Metrics::new().expect("metrics"));
        let store = Arc::new(Store::open(&state, metrics).await.expect("a store"));
        let tiers = Arc::new(Tiers::new(&config, store.clone()));
        let user = UserId::parse("alice").expect("an id");
        let caller =
            Caller { user, role: Role::User, way: WayIn::SigV4Header, jobs: Arc::default(), expires: None };
        let keyring = Arc::new(Keyring::new(store.clone(), config.shared_secret()));
        let api = Api::new(store.clone(), tiers, keyring, Arc::new(Listed), refusal_status);
        Self { api, store, caller, _folder: folder }
    }

    /// With limits of 1000 bytes, 800 per file, and one upload an hour, of which 300 bytes are stored.
    async fn with_limits(refusal_status: RefusalStatus) -> Self {
        let front = Self::new(refusal_status).await;
        let limits = [("max_storage", 1000), ("max_file_size", 800), ("uploads_per_hour", 1)];
        let limits = limits.map(|(name, limit)| (name.to_owned(), Some(Some(limit)))).into();
        let change = UserChange { limits, ..UserChange::default() };
        front.store.change_user(&front.caller.user, &change, NOW).await.expect("a store");
        let counted = async |recount| match front.step(Step::Recount(recount)).await {
            Reply::Recount(counted) => counted.number,
            other => panic!("{other:?}"),
        };
        let number = counted(Recount::Begin { stale_before: 0 }).await.expect("a number");
        counted(Recount::Objects { number, listed: vec![(ObjectId([7; 16]), 300)] }).await;
        counted(Recount::Listed { number }).await;
        counted(Recount::End { number, life: front.store.life() }).await;
        front
    }

    async fn step(&self, step: Step) -> Reply {
        self.store.step(&self.caller.user, step, NOW).await.expect("a store")
    }

    /// An upload is under way.
    async fn upload(&self, size: u64) {
        let target = Target { id: ObjectId([9; 16]), key: "datasets/alice/x".into() };
        let write = Write::Put { target, size };
        let (lease, limits, life) = (LeaseId([1; 16]), Limits::default(), self.store.life());
        self.step(Step::Begin { lease, write, limits, expires_at: NOW + 60_000, life }).await;
    }

    async fn get(&self, path: &str, query: &str) -> (u16, Option<String>, Value) {
        let query = Query::parse(query).expect("a query");
        let call = Call {
            method: &Method::GET,
            path,
            query: &query,
            caller: &self.caller,
            asker: Asker { generation: 0, origin: &Origin::Issuer(String::new()) },
            body: b"",
            now: NOW + 1500,
        };
        let answer = self.api.answer(call).await;
        assert_eq!(answer.headers()[header::CONTENT_TYPE], "application/json");
        let retry_after = answer.headers().get(header::RETRY_AFTER);
        let retry_after = retry_after.map(|value| value.to_str().expect("text").to_owned());
        let document = serde_json::from_slice(answer.body()).expect("a document");
        (answer.status().as_u16(), retry_after, document)
    }
}

#[tokio::test]
async fn the_quota_holds_what_is_under_way() {
    let front = Front::with_limits(RefusalStatus::Status429).await;
    front.upload(200).await;
    let expected = json!({
        "user_id": "alice", "tier": "default",
        "storage": {"used_bytes": 300, "reserved_bytes": 200, "limit_bytes": 1000, "used_pct": 30.0},
        "file_size": {"max_bytes": 800},
        "rate_limits": {"uploads_last_hour": 1, "hourly_limit": 1, "uploads_last_day": 1, "daily_limit": 500},
    });
    assert_eq!(front.get("/api/v1/quota", "").await, (200, None, expected));
}

#[tokio::test]
async fn a_check_answers_as_the_upload_would_be() {
    const QUOTA: &str = "Check /api/v1/quota for current limits";
    for (mode, file, storage, hourly) in
        [(RefusalStatus::Status429, 429, 429, 429), (RefusalStatus::S3, 400, 403, 503)]
    {
        let front = Front::with_limits(mode).await;
        let check = async |size: &str| front.get("/api/v1/quota/check", &format!("size={size}")).await;
        assert_eq!(check("700").await, (200, None, json!({"allowed": true})));
        let text = "Upload denied: storage quota exceeded: current 300 + upload 701 > limit 1000 bytes";
        assert_eq!(check("701").await, (storage, None, json!({"error": text, "quota": QUOTA})));
        let text = "Upload denied: file size 801 bytes exceeds maximum allowed 800 bytes";
        assert_eq!(check("801").await, (file, None, json!({"error": text, "quota": QUOTA})));
        front.upload(0).await;
        let text = "Upload denied: hourly upload limit reached: 1/1 uploads";
        let expected = (hourly, Some("3599".to_owned()), json!({"error": text, "quota": QUOTA}));
        assert_eq!(check("0").await, expected);
        assert_eq!(check("many").await.0, 400);
    }
}

#[tokio::test]
async fn users_who_were_never_seen_have_nothing_and_are_told_to_wait() {
    let front = Front::new(RefusalStatus::Status429).await;
    let (status, _, quota) = front.get("/api/v1/quota", "").await;
    assert_eq!((status, &quota["storage"]["used_bytes"]), (200, &json!(0)));
    let (status, retry_after, _) = front.get("/api/v1/quota/check", "size=1").await;
    assert_eq!((status, retry_after.as_deref()), (503, Some("1")));
    assert_eq!(front.store.account(&front.caller.user).await, Ok(None), "a question opens no account");
}

#[tokio::test]
async fn usage_comes_from_the_bucket() {
    let front = Front::new(RefusalStatus::Status429).await;
    let expected =
        json!({"user_id": "alice", "datasets_bytes": 5, "models_bytes": 7, "total_bytes": 12, "objects": 3});
    assert_eq!(front.get("/api/v1/usage", "").await, (200, None, expected));
    assert_eq!(front.get("/api/v1/uses", "").await.0, 404);
}
