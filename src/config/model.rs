//! The configuration as the program uses it: typed, complete, valid. Every field is named as its key in the
//! file; a value that the file leaves out is already its default here. Sizes and rates are bytes (per second).

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::Uri;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::prefix::PrefixTemplate;
use super::units::Limit;
use crate::dialect::Dialect;
use crate::types::{AccessKeyId, BucketName, Role, Secret, UserId};

#[derive(Clone, PartialEq, Debug)]
pub struct Config {
    pub server: Server,
    pub admin: Admin,
    pub upstream: Upstream,
    pub auth: Auth,
    /// At least one; names differ, and no prefix lies in another.
    pub buckets: Vec<Bucket>,
    /// Always holds [`Tier::DEFAULT`] and [`Tier::PREMIUM`].
    pub tiers: BTreeMap<String, Tier>,
    pub quota: Quota,
    pub state: State,
    pub log: Log,
    pub metrics: Metrics,
    pub uri: PlatformUri,
    pub telemetry: Telemetry,
    pub users: Vec<User>,
}

impl Config {
    /// What everything that replicas must agree on is derived from: the master key, or in its place the upstream's
    /// secret.
    pub fn shared_secret(&self) -> &[u8] {
        match &self.auth.master_key {
            Some(key) => key.expose(),
            None => self.upstream.secret_access_key.expose().as_bytes(),
        }
    }
}

#[derive(Clone, PartialEq, Debug)]
pub struct Server {
    pub listen: SocketAddr,
    /// Scheme and authority only.
    pub public_url: Option<Uri>,
    /// Lower case, no dot at either end.
    pub virtual_host_suffix: Option<String>,
    pub trusted_proxies: Vec<ipnet::IpNet>,
    pub proxy_protocol: bool,
    pub max_connections: Limit<usize>,
    pub max_connections_per_peer: Limit<usize>,
    pub max_in_flight: Limit<usize>,
    pub header_timeout: Duration,
    pub idle_timeout: Duration,
    pub body_idle_timeout: Duration,
    pub drain_timeout: Duration,
    pub tls: Option<TlsFiles>,
}

/// PEM files, readable and matching when the configuration was loaded.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TlsFiles {
    pub cert: PathBuf,
    pub key: PathBuf,
}

#[derive(Clone, PartialEq, Debug)]
pub struct Admin {
    pub listen: SocketAddr,
    /// Without it the admin API admits nobody.
    pub token: Option<Secret>,
}

#[derive(Clone, PartialEq, Debug)]
pub struct Upstream {
    pub dialect: Dialect,
    /// OCI's namespace; empty in dialect `s3`, where it has no meaning.
    pub namespace: String,
    pub region: String,
    pub bucket: String,
    /// The effective S3 endpoint, derived or given: scheme and authority only.
    pub endpoint: Uri,
    pub access_key_id: String,
    pub secret_access_key: Secret,
    /// Extra roots, PEM.
    pub ca_file: Option<PathBuf>,
    pub connect_timeout: Duration,
    pub first_byte_timeout: Duration,
    pub slow_operation_timeout: Duration,
    pub idle_timeout: Duration,
    pub previous: Option<PreviousKey>,
    pub native: Option<Native>,
}

/// The upstream key being rotated out.
#[derive(Clone, PartialEq, Debug)]
pub struct PreviousKey {
    pub access_key_id: String,
    pub secret_access_key: Secret,
}

/// An OCI API key, for pre-authenticated requests.
#[derive(Clone, PartialEq, Debug)]
pub struct Native {
    pub tenancy: String,
    pub user: String,
    pub fingerprint: String,
    pub key_file: PathBuf,
    pub max_expiry: Duration,
    /// Scheme and authority only.
    pub endpoint: Uri,
}

#[derive(Clone, PartialEq, Debug)]
pub struct Auth {
    pub master_key: Option<MasterKey>,
    /// Regions a client may sign for; never empty.
    pub regions: Vec<String>,
    pub max_clock_skew: Duration,
    pub jwt: Vec<JwtIssuer>,
    pub sts: Sts,
}

/// What user secrets and session tokens are sealed with: 32 bytes, never printed.
#[derive(Clone)]
pub struct MasterKey(Arc<Zeroizing<[u8; 32]>>);

impl MasterKey {
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(Arc::new(Zeroizing::new(bytes)))
    }

    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

impl PartialEq for MasterKey {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&**other.0).into()
    }
}

impl Eq for MasterKey {}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterKey(…)")
    }
}

#[derive(Clone, PartialEq, Debug)]
pub struct JwtIssuer {
    pub issuer: String,
    pub audience: String,
    pub keys: JwtKeys,
    pub user_claim: String,
    pub tier_claim: String,
    pub jobs_claim: String,
    /// A valid token of an unknown user creates the user.
    pub auto_provision: bool,
}

/// Where an issuer's verification keys come from.
#[derive(Clone, PartialEq, Debug)]
pub enum JwtKeys {
    /// https, or http to a loopback host.
    JwksUrl(Uri),
    JwksFile(PathBuf),
    PublicKeyFile(PathBuf),
    Hs256(Secret),
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sts {
    pub enabled: bool,
    pub default_duration: Duration,
    pub max_duration: Duration,
}

impl Default for Sts {
    fn default() -> Self {
        let hour = Duration::from_hours(1);
        Self { enabled: true, default_duration: hour, max_duration: hour * 12 }
    }
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Bucket {
    pub name: BucketName,
    pub kind: BucketKind,
    pub access: Access,
    pub counts_towards_quota: bool,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum BucketKind {
    /// Each user has an own prefix.
    User { prefix: PrefixTemplate },
    /// The first path segment under `prefix` (which ends in `/`) is a job id.
    Job { prefix: String },
    /// The real bucket as the platform's own scripts address it, cut down to the caller's scopes.
    PlatformView,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    ReadWrite,
    ReadOnly,
}

/// The limits of a group of users. Zero in sizes and upload counts means "none may".
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tier {
    /// Bytes.
    pub max_storage: Limit,
    /// Bytes.
    pub max_file_size: Limit,
    pub uploads_per_hour: Limit,
    pub uploads_per_day: Limit,
    pub requests_per_second: Limit,
    /// Requests; `Unlimited` when `requests_per_second` is.
    pub burst: Limit,
    /// Bytes per second.
    pub upload_rate: Limit,
    /// Bytes per second.
    pub download_rate: Limit,
    pub max_concurrent_requests: Limit,
    pub max_open_multipart_uploads: Limit,
}

impl Tier {
    pub const DEFAULT: &'static str = "default";
    pub const PREMIUM: &'static str = "premium";

    /// `[tiers.default]` as shipped: what a key missing in any tier falls back to.
    pub fn shipped_default() -> Self {
        Self {
            max_storage: Limit::At(100 << 30),
            max_file_size: Limit::At(10 << 30),
            uploads_per_hour: Limit::At(50),
            uploads_per_day: Limit::At(500),
            requests_per_second: Limit::At(100),
            burst: Limit::At(200),
            upload_rate: Limit::Unlimited,
            download_rate: Limit::Unlimited,
            max_concurrent_requests: Limit::At(64),
            max_open_multipart_uploads: Limit::At(100),
        }
    }

    pub fn shipped_premium() -> Self {
        Self {
            max_storage: Limit::At(1 << 40),
            max_file_size: Limit::At(100 << 30),
            uploads_per_hour: Limit::At(500),
            uploads_per_day: Limit::At(5000),
            requests_per_second: Limit::At(1000),
            burst: Limit::At(2000),
            ..Self::shipped_default()
        }
    }

    pub fn shipped() -> BTreeMap<String, Self> {
        BTreeMap::from([
            (Self::DEFAULT.to_owned(), Self::shipped_default()),
            (Self::PREMIUM.to_owned(), Self::shipped_premium()),
        ])
    }
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Quota {
    pub refusal_status: RefusalStatus,
    pub reservation_lease: Duration,
    pub reconcile_interval: Duration,
    pub abandoned_upload_age: Duration,
}

impl Default for Quota {
    fn default() -> Self {
        Self {
            refusal_status: RefusalStatus::Status429,
            reservation_lease: Duration::from_mins(1),
            reconcile_interval: Duration::from_hours(24),
            abandoned_upload_age: Duration::from_hours(7 * 24),
        }
    }
}

/// How an upload refused for quota answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RefusalStatus {
    Status429,
    /// 400 `EntityTooLarge`, 403 `QuotaExceeded`, 503 `SlowDown`, as S3 clients expect them.
    S3,
}

/// Where users, keys and the ledger live.
#[derive(Clone, PartialEq, Debug)]
pub enum State {
    Redb(PathBuf),
    /// A `redis://` or `rediss://` URL; it may hold a password.
    Redis(Secret),
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Log {
    pub format: LogFormat,
    pub level: LogLevel,
    pub access: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LogFormat {
    Json,
    Text,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

impl From<LogLevel> for tracing::Level {
    fn from(level: LogLevel) -> Self {
        match level {
            LogLevel::Error => Self::ERROR,
            LogLevel::Warn => Self::WARN,
            LogLevel::Info => Self::INFO,
            LogLevel::Debug => Self::DEBUG,
            LogLevel::Trace => Self::TRACE,
        }
    }
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Metrics {
    /// Usage of this many of the fullest users is exported; 0 is none.
    pub per_user_top: usize,
}

/// The platform's own object URIs, `<scheme>://<bucket>/<real path>`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PlatformUri {
    pub enabled: bool,
    pub scheme: String,
    pub bucket: String,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Telemetry {
    pub otlp_endpoint: Option<Uri>,
}

/// A user whom the file manages.
#[derive(Clone, PartialEq, Debug)]
pub struct User {
    pub id: UserId,
    /// A key of [`Config::tiers`].
    pub tier: String,
    pub role: Role,
    pub access_keys: Vec<AccessKey>,
}

#[derive(Clone, PartialEq, Debug)]
pub struct AccessKey {
    pub id: AccessKeyId,
    pub secret: Secret,
}
