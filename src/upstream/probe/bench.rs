//! What every question of the probe stands on: the connection pool, the keys to sign with, the place in the
//! bucket where its objects lie, and the books of what it wrote and of what it saw in passing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use http::uri::{Authority, Scheme};
use http::{HeaderValue, Method};
use http_body_util::combinators::UnsyncBoxBody;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::ask::Ask;
use super::report::{Cut, Tried};
use crate::config::{self, BucketKind, Config};
use crate::s3::uri;
use crate::sigv4::sign::Signer;
use crate::tls;
use crate::types::Secret;
use crate::upstream::connect::Connector;

/// What the probe's objects hold.
pub(super) const CONTENT: &[u8] = b"bucketwarden probe";

/// No single answer is waited for longer than this, whatever the configuration allows.
const PATIENCE: Duration = Duration::from_secs(15);
/// All questions together. A run over a healthy upstream takes seconds.
const TIME: Duration = Duration::from_mins(2);
/// Cleaning up has its own time, which a signal does not end.
const CLEANING_TIME: Duration = Duration::from_mins(1);

pub(super) type Body = UnsyncBoxBody<Bytes, std::convert::Infallible>;

pub(super) struct Bench {
    pub(super) client: Client<Connector, Body>,
    pub(super) scheme: Scheme,
    pub(super) authority: Authority,
    pub(super) host: HeaderValue,
    pub(super) patience: Duration,
    pub(super) bucket: String,
    /// Ends in `/`. No user's keys can lie under it.
    pub(super) prefix: String,
    /// The key in use, then the one being rotated out.
    pub(super) identities: Vec<Identity>,
    in_use: AtomicUsize,
    limits: Mutex<Limits>,
    litter: Mutex<Litter>,
    seen: Mutex<Seen>,
}

/// Who signs.
pub(super) struct Identity {
    pub(super) signer: Signer,
    pub(super) secret: Secret,
    pub(super) region: String,
}

/// When to send nothing more.
#[derive(Clone)]
pub(super) struct Limits {
    pub(super) stop: CancellationToken,
    pub(super) until: Instant,
}

/// What was written, whatever became of it.
#[derive(Clone, Default, Debug)]
pub(super) struct Litter {
    pub(super) keys: BTreeSet<String>,
    /// Keys and version ids, delete markers among them.
    pub(super) versions: BTreeSet<(String, String)>,
    /// Keys of writes that no answer came to: they may still be carried out.
    pub(super) unheard: BTreeSet<String>,
}

/// What answers say about the upstream besides what was asked.
#[derive(Clone, Default, Debug)]
pub(super) struct Seen {
    pub(super) answers: u32,
    pub(super) throttled: u32,
    /// Refusals of a key that was accepted before.
    pub(super) key_unknown: u32,
    pub(super) key_accepted: bool,
    pub(super) headers: BTreeMap<String, String>,
}

impl Identity {
    pub(super) fn new(access_key_id: &str, secret: &Secret, region: &str) -> Self {
        let signer = Signer::new(access_key_id.to_owned(), secret.clone(), region.to_owned());
        Self { signer, secret: secret.clone(), region: region.to_owned() }
    }
}

impl Bench {
    pub(super) fn new(config: &Config, stop: CancellationToken) -> anyhow::Result<Self> {
        let upstream = &config.upstream;
        let tls = tls::client_config(upstream.ca_file.as_deref()).context("upstream TLS")?;
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .set_host(false)
            .build(Connector::new(tls, upstream.connect_timeout));
        let authority = upstream.endpoint.authority().context("upstream.endpoint names no host")?.clone();
        Ok(Self {
            client,
            scheme: upstream.endpoint.scheme().context("upstream.endpoint has no scheme")?.clone(),
            host: HeaderValue::from_str(authority.as_str())?,
            authority,
            patience: upstream.first_byte_timeout.min(PATIENCE),
            bucket: upstream.bucket.clone(),
            prefix: prefix(&config.buckets),
            identities: identities(upstream),
            in_use: AtomicUsize::new(0),
            limits: Mutex::new(Limits { stop, until: Instant::now() + TIME }),
            litter: Mutex::default(),
            seen: Mutex::default(),
        })
    }

    /// A request about the bucket.
    pub(super) fn bucket(&self, method: Method) -> Ask<'_> {
        Ask::new(self, method, ["/", &uri::encode_query(&self.bucket)].concat(), None)
    }

    /// A request about one of the probe's objects.
    pub(super) fn object(&self, method: Method, name: &str) -> Ask<'_> {
        self.real_object(method, self.key(name))
    }

    /// A request about an object by its whole key.
    pub(super) fn real_object(&self, method: Method, key: String) -> Ask<'_> {
        let path = ["/", &uri::encode_query(&self.bucket), "/", &uri::encode_path(&key)].concat();
        Ask::new(self, method, path, Some(key))
    }

    /// Makes an object that the question is about.
    pub(super) async fn put(&self, name: &str) -> Tried<()> {
        let answer = self.object(Method::PUT, name).bytes(CONTENT).send().await?;
        if answer.ok() { Ok(()) } else { Err(Cut::Step(format!("PutObject: {}", answer.says()))) }
    }

    pub(super) fn key(&self, name: &str) -> String {
        [&self.prefix, name].concat()
    }

    /// The value of `x-amz-copy-source`.
    pub(super) fn copy_source(&self, name: &str) -> String {
        ["/", &uri::encode_query(&self.bucket), "/", &uri::encode_path(&self.key(name))].concat()
    }

    pub(super) fn identity(&self) -> &Identity {
        &self.identities[self.in_use.load(Ordering::Relaxed)]
    }

    /// From here on this one signs.
    pub(super) fn sign_by(&self, identity: usize) {
        self.in_use.store(identity.min(self.identities.len() - 1), Ordering::Relaxed);
    }

    pub(super) fn limits(&self) -> Limits {
        lock(&self.limits).clone()
    }

    pub(super) fn begin_cleaning(&self) {
        let until = Instant::now() + CLEANING_TIME;
        *lock(&self.limits) = Limits { stop: CancellationToken::new(), until };
    }

    pub(super) fn litter(&self) -> MutexGuard<'_, Litter> {
        lock(&self.litter)
    }

    pub(super) fn seen(&self) -> MutexGuard<'_, Seen> {
        lock(&self.seen)
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

fn identities(upstream: &config::Upstream) -> Vec<Identity> {
    let current = Identity::new(&upstream.access_key_id, &upstream.secret_access_key, &upstream.region);
    let previous = upstream
        .previous
        .as_ref()
        .map(|key| Identity::new(&key.access_key_id, &key.secret_access_key, &upstream.region));
    [Some(current), previous].into_iter().flatten().collect()
}

/// Where users' objects lie, so that a policy that names only those prefixes allows it, but under a segment that is
/// no user's id nor job's: those begin with a letter or digit.
fn prefix(buckets: &[config::Bucket]) -> String {
    let own = format!(".bucketwarden-probe-{}", uuid::Uuid::new_v4().simple());
    let of_users = buckets.iter().find_map(|bucket| match &bucket.kind {
        BucketKind::User { prefix } => Some([prefix.before(), &own, prefix.after()].concat()),
        BucketKind::Job { .. } | BucketKind::PlatformView => None,
    });
    let of_jobs = buckets.iter().find_map(|bucket| match &bucket.kind {
        BucketKind::Job { prefix } => Some([prefix, own.as_str(), "/"].concat()),
        BucketKind::User { .. } | BucketKind::PlatformView => None,
    });
    of_users.or(of_jobs).unwrap_or_else(|| own + "/")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{JobId, UserId};

    #[test]
    fn the_probes_keys_are_nobodys() {
        let text = "[admin]\n[auth]\n[upstream]\ndialect = 's3'\nendpoint = 'http://127.0.0.1:1'\nbucket = 'real'\n\
            access_key_id = 'AKEXAMPLE'\nsecret_access_key = 'secret'\n";
        for (buckets, before, after) in [
            ("", "datasets/", "/"),
            ("[[buckets]]\nname = 'abc'\nprefix = 'a/{user_id}/b/'\n", "a/", "/b/"),
            (
                "[[buckets]]\nname = 'abc'\nprefix = 'jobs/'\nscope = 'job'\ncounts_towards_quota = false\n",
                "jobs/",
                "/",
            ),
        ] {
            let loaded = Config::from_toml(&[text, buckets].concat(), std::path::Path::new(".")).unwrap();
            let prefix = prefix(&loaded.config.buckets);
            let own = prefix.strip_prefix(before).and_then(|rest| rest.strip_suffix(after)).unwrap();
            assert!(own.starts_with(".bucketwarden-probe-") && !own.contains('/'), "{prefix}");
            assert!(UserId::parse(own).is_none() && JobId::parse(own).is_none(), "{prefix}");
        }
    }
}
