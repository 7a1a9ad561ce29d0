//! From the tree to the [`Config`]: one function per section, defaults where they are read. A section with
//! a problem still reads to its end; the whole is made only of sections that are right.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use super::buckets;
use super::limits::LimitKey;
use super::model::{
    Admin, Auth, Config, JwtIssuer, JwtKeys, Log, LogFormat, LogLevel, Metrics, PlatformUri, Quota,
    RefusalStatus, Server, State, Sts, Telemetry, Tier, TlsFiles,
};
use super::raw::{Layer, Value};
use super::section::{Section, duration};
use super::units::Limit;
use super::{rules, upstream, users};
use crate::types::Secret;

const ADDRESS: &str = "an address and port, such as 127.0.0.1:8080 or [::]:8080";

pub(super) fn build(root: &Section) -> Option<Config> {
    let server = server(&root.section("server"));
    let admin = admin(&root.section("admin"), server.listen);
    let upstream = upstream::read(&root.section("upstream"));
    let region = upstream.as_ref().map(|upstream| upstream.region.as_str());
    let auth = auth(&root.section("auth"), region);
    let buckets = buckets::read(root);
    let tiers = tiers(&root.section("tiers"));
    let quota = quota(&root.section("quota"));
    let state = state(&root.section("state"));
    let log = log(&root.section("log"));
    let metrics = metrics(&root.section("metrics"));
    let uri = uri(&root.section("uri"), upstream.as_ref().map_or("", |upstream| &upstream.bucket));
    let telemetry = telemetry(&root.section("telemetry"));
    let users = users::read(root, &tiers);
    Some(Config {
        server,
        admin,
        upstream: upstream?,
        auth,
        buckets,
        tiers,
        quota,
        state: state?,
        log,
        metrics,
        uri,
        telemetry,
        users,
    })
}

fn server(s: &Section) -> Server {
    let origin = "http:// or https:// and a host, without path, query or credentials";
    let trusted_proxies = s.list("trusted_proxies", "an address or CIDR, such as 10.0.0.0/8", rules::network);
    let server = Server {
        listen: s.or("listen", ADDRESS, SocketAddr::from((Ipv4Addr::UNSPECIFIED, 8080)), rules::address),
        public_url: s.optional("public_url", origin, rules::origin),
        virtual_host_suffix: s.optional("virtual_host_suffix", "a host name", rules::host_name),
        trusted_proxies: trusted_proxies.unwrap_or_default(),
        proxy_protocol: s.flag("proxy_protocol", false),
        max_connections: s.count("max_connections", 8192),
        max_connections_per_peer: s.count("max_connections_per_peer", 1024),
        max_in_flight: s.count("max_in_flight", 1024),
        header_timeout: s.duration("header_timeout", Duration::from_secs(10)),
        idle_timeout: s.duration("idle_timeout", Duration::from_mins(1)),
        body_idle_timeout: s.duration("body_idle_timeout", Duration::from_secs(30)),
        drain_timeout: s.duration("drain_timeout", Duration::from_mins(1)),
        tls: tls(&s.section("tls")),
    };
    if server.proxy_protocol && server.trusted_proxies.is_empty() {
        s.problem("proxy_protocol", "expected trusted_proxies too: only they may send the PROXY header");
    }
    server
}

fn tls(s: &Section) -> Option<TlsFiles> {
    if !s.is_given() {
        return None;
    }
    for (key, what) in [("cert", "a PEM file of certificates"), ("key", "a PEM file with a private key")] {
        if !s.says(key) {
            s.missing(key, what);
        }
    }
    let cert = s.file("cert", rules::pem_certificates);
    let key = s.file("key", |key| {
        rules::pem_private_key(key)?;
        cert.as_ref().map_or(Ok(()), |cert| rules::pem_pair(cert, key))
    });
    Some(TlsFiles { cert: cert?, key: key? })
}

fn admin(s: &Section, server: SocketAddr) -> Admin {
    let listen = s.or("listen", ADDRESS, SocketAddr::from((Ipv4Addr::LOCALHOST, 9090)), rules::address);
    if listen == server && listen.port() != 0 {
        s.problem("listen", "expected another address than server.listen");
    }
    Admin { listen, token: s.secret("token", rules::admin_token) }
}

fn auth(s: &Section, upstream_region: Option<&str>) -> Auth {
    let given = s.list("regions", "a region's name, such as us-east-1", rules::region).unwrap_or_default();
    let mut regions: Vec<String> = Vec::new();
    let usual = [upstream_region.unwrap_or("us-east-1"), "us-east-1"].map(str::to_owned);
    for region in if given.is_empty() { usual.to_vec() } else { given } {
        if !regions.contains(&region) {
            regions.push(region);
        }
    }
    let master_key = s.secret("master_key", rules::master_key);
    Auth {
        master_key: master_key.and_then(|text| rules::decode_master_key(text.expose())),
        regions,
        max_clock_skew: s.duration("max_clock_skew", Duration::from_mins(15)),
        jwt: jwt(s),
        sts: sts(&s.section("sts")),
    }
}

fn jwt(s: &Section) -> Vec<JwtIssuer> {
    let mut issuers: Vec<JwtIssuer> = Vec::new();
    for s in s.sections("jwt").unwrap_or_default() {
        let issuer = s.required("issuer", "the text of the tokens' iss claim", rules::text);
        let claim = |key: &str, usual: &str| s.or(key, "a claim's name", usual.to_owned(), rules::text);
        let audience = claim("audience", "bucketwarden");
        let user_claim = claim("user_claim", "sub");
        let tier_claim = claim("tier_claim", "tier");
        let jobs_claim = claim("jobs_claim", "jobs");
        let auto_provision = s.flag("auto_provision", true);
        let (Some(keys), Some(issuer)) = (jwt_keys(&s), issuer) else {
            continue;
        };
        if issuers.iter().any(|other| other.issuer == issuer && other.audience == audience) {
            s.problem("issuer", "expected each issuer once per audience");
            continue;
        }
        issuers.push(JwtIssuer {
            issuer,
            audience,
            keys,
            user_claim,
            tier_claim,
            jobs_claim,
            auto_provision,
        });
    }
    issuers
}

fn jwt_keys(s: &Section) -> Option<JwtKeys> {
    let secret = s.says_secret("hs256_secret");
    let given = ["jwks_url", "jwks_file", "public_key_file"].iter().filter(|key| s.says(key)).count();
    if given + usize::from(secret) != 1 {
        s.problem("", "expected exactly one of jwks_url, jwks_file, public_key_file, hs256_secret");
    }
    let url = s.optional("jwks_url", "an https:// URL (http:// only to this machine)", |value| {
        rules::url(value).filter(|url| url.scheme_str() == Some("https") || rules::is_loopback(url))
    });
    let jwks = s.file("jwks_file", rules::jwk_set);
    let public = s.file("public_key_file", rules::public_key);
    let hs256 = s.secret("hs256_secret", rules::hs256_secret);
    url.map(JwtKeys::JwksUrl)
        .or(jwks.map(JwtKeys::JwksFile))
        .or(public.map(JwtKeys::PublicKeyFile))
        .or(hs256.map(JwtKeys::Hs256))
}

fn sts(s: &Section) -> Sts {
    let usual = Sts::default();
    let bounds = Duration::from_mins(15)..=Duration::from_hours(12);
    let within = |key: &str, usual| {
        s.or(key, "a duration from 15m to 12h", usual, |value| {
            duration(value).filter(|span| bounds.contains(span))
        })
    };
    let max_duration = within("max_duration", usual.max_duration);
    // A lower maximum lowers the default with it, unless the default is said too.
    let default_duration = within("default_duration", usual.default_duration.min(max_duration));
    if default_duration > max_duration {
        s.problem("default_duration", "expected at most max_duration");
    }
    Sts { enabled: s.flag("enabled", usual.enabled), default_duration, max_duration }
}

fn tiers(s: &Section) -> BTreeMap<String, Tier> {
    let mut tiers = Tier::shipped();
    for name in s.names() {
        let tier = s.section(name);
        if !rules::is_tier_name(name) {
            tier.problem("", "expected a tier's name of 1 to 32 lower-case letters, digits, _ and -");
        }
        // What the file writes stands on [tiers.default] as shipped; a variable alone changes the shipped tier.
        let in_file = tier.own_place().is_some_and(|place| place.layer == Layer::File);
        let shipped = tiers.get(name).filter(|_| !in_file).cloned();
        tiers.insert(name.to_owned(), read_tier(&tier, &shipped.unwrap_or_else(Tier::shipped_default)));
    }
    tiers
}

fn read_tier(s: &Section, usual: &Tier) -> Tier {
    let mut tier = usual.clone();
    for &key in LimitKey::ALL {
        *tier.limit_mut(key) = s.tier_limit(key, usual.limit(key));
    }
    if tier.requests_per_second == Limit::Unlimited {
        tier.burst = Limit::Unlimited;
    }
    tier
}

fn quota(s: &Section) -> Quota {
    let usual = Quota::default();
    let status = |value: &Value| match (value.whole(), value.text()) {
        (Some(429), _) => Some(RefusalStatus::Status429),
        (_, Some("s3")) => Some(RefusalStatus::S3),
        (Some(_) | None, _) => None,
    };
    Quota {
        refusal_status: s.or("refusal_status", "429 or \"s3\"", usual.refusal_status, status),
        reservation_lease: s.duration("reservation_lease", usual.reservation_lease),
        reconcile_interval: s.duration("reconcile_interval", usual.reconcile_interval),
        abandoned_upload_age: s.duration("abandoned_upload_age", usual.abandoned_upload_age),
    }
}

fn state(s: &Section) -> Option<State> {
    let rule = |text: &str| match text.split_once(':') {
        Some(("redb", path)) if !path.is_empty() && !path.starts_with("//") => Ok(()),
        Some(("redis" | "rediss", rest)) if rest.strip_prefix("//").is_some_and(|host| !host.is_empty()) => {
            Ok(())
        }
        Some(_) | None => Err("redb:<path>, redis://<host>:<port> or rediss://<host>:<port>"),
    };
    if !s.says_secret("url") {
        return Some(State::Redb(s.base().join("state.redb")));
    }
    let url = s.secret("url", rule)?;
    match url.expose().strip_prefix("redb:") {
        Some(path) => {
            let path = s.place("url").or_else(|| s.place("url_file"))?.base.join(path);
            // `redb:./state.redb` and `redb:state.redb` are one place.
            Some(State::Redb(path.components().collect()))
        }
        None => Some(State::Redis(Secret::new(url.expose().to_owned()))),
    }
}

fn log(s: &Section) -> Log {
    let format = |value: &Value| match value.text()? {
        "json" => Some(LogFormat::Json),
        "text" => Some(LogFormat::Text),
        _ => None,
    };
    let level = |value: &Value| match value.text()?.to_ascii_lowercase().as_str() {
        "error" => Some(LogLevel::Error),
        "warn" => Some(LogLevel::Warn),
        "info" => Some(LogLevel::Info),
        "debug" => Some(LogLevel::Debug),
        "trace" => Some(LogLevel::Trace),
        _ => None,
    };
    Log {
        format: s.or("format", "\"json\" or \"text\"", LogFormat::Json, format),
        level: s.or("level", "error, warn, info, debug or trace", LogLevel::Info, level),
        access: s.flag("access", true),
    }
}

fn metrics(s: &Section) -> Metrics {
    let most = 1000;
    let per_user_top = s.or("per_user_top", "a whole number from 0 to 1000", 0, |value| {
        value.whole().and_then(|number| usize::try_from(number).ok()).filter(|number| *number <= most)
    });
    Metrics { per_user_top }
}

fn uri(s: &Section, upstream_bucket: &str) -> PlatformUri {
    let expected = "a URI scheme: lower-case letters, digits, +, - and .";
    let bucket = s.optional("bucket", "a bucket's name", rules::upstream_bucket);
    PlatformUri {
        enabled: s.flag("enabled", true),
        scheme: s.or("scheme", expected, "darkstorage".to_owned(), rules::scheme),
        bucket: bucket.unwrap_or_else(|| upstream_bucket.to_owned()),
    }
}

fn telemetry(s: &Section) -> Telemetry {
    Telemetry { otlp_endpoint: s.optional("otlp_endpoint", "an http:// or https:// URL", rules::url) }
}
