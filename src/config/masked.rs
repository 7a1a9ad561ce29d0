//! The effective configuration as TOML, in the order of `config.toml.example`. In: a [`Config`]. Out: text
//! for `check`, every secret as `********`, defaults and derived values written out.

use std::fmt::{self, Display, Write};
use std::time::Duration;

use super::model::{
    Access, BucketKind, Config, JwtIssuer, JwtKeys, LogFormat, LogLevel, RefusalStatus, State, Tier,
};
use super::units::{Limit, format_duration, format_size};
use crate::types::Role;

const MASK: &str = "********";

impl Config {
    /// The effective configuration, secrets masked.
    pub fn to_masked_toml(&self) -> String {
        let mut out = Writer(String::new());
        self.write_server(&mut out);
        self.write_upstream(&mut out);
        self.write_auth(&mut out);
        self.write_buckets(&mut out);
        for (name, tier) in &self.tiers {
            write_tier(&mut out, name, tier);
        }
        self.write_rest(&mut out);
        self.write_users(&mut out);
        out.0
    }

    fn write_server(&self, out: &mut Writer) {
        let server = &self.server;
        out.section("[server]");
        out.text("listen", server.listen);
        out.maybe("public_url", server.public_url.as_ref().map(origin));
        out.maybe("virtual_host_suffix", server.virtual_host_suffix.as_ref());
        out.list("trusted_proxies", &server.trusted_proxies);
        out.plain("proxy_protocol", server.proxy_protocol);
        out.count("max_connections", server.max_connections);
        out.count("max_connections_per_peer", server.max_connections_per_peer);
        out.count("max_in_flight", server.max_in_flight);
        out.span("header_timeout", server.header_timeout);
        out.span("idle_timeout", server.idle_timeout);
        out.span("body_idle_timeout", server.body_idle_timeout);
        out.span("drain_timeout", server.drain_timeout);
        if let Some(tls) = &server.tls {
            out.section("[server.tls]");
            out.text("cert", tls.cert.display());
            out.text("key", tls.key.display());
        }
        out.section("[admin]");
        out.text("listen", self.admin.listen);
        out.maybe("token", self.admin.token.as_ref().map(|_| MASK));
    }

    fn write_upstream(&self, out: &mut Writer) {
        let upstream = &self.upstream;
        out.section("[upstream]");
        out.text("dialect", upstream.dialect.name());
        out.text("namespace", &upstream.namespace);
        out.text("region", &upstream.region);
        out.text("bucket", &upstream.bucket);
        out.text("endpoint", origin(&upstream.endpoint));
        out.text("access_key_id", &upstream.access_key_id);
        out.text("secret_access_key", MASK);
        out.maybe("ca_file", upstream.ca_file.as_ref().map(|path| path.display()));
        out.span("connect_timeout", upstream.connect_timeout);
        out.span("first_byte_timeout", upstream.first_byte_timeout);
        out.span("slow_operation_timeout", upstream.slow_operation_timeout);
        out.span("idle_timeout", upstream.idle_timeout);
        if let Some(previous) = &upstream.previous {
            out.section("[upstream.previous]");
            out.text("access_key_id", &previous.access_key_id);
            out.text("secret_access_key", MASK);
        }
        if let Some(native) = &upstream.native {
            out.section("[upstream.native]");
            out.text("tenancy", &native.tenancy);
            out.text("user", &native.user);
            out.text("fingerprint", &native.fingerprint);
            out.text("key_file", native.key_file.display());
            out.span("max_expiry", native.max_expiry);
            out.text("endpoint", origin(&native.endpoint));
        }
    }

    fn write_auth(&self, out: &mut Writer) {
        let auth = &self.auth;
        out.section("[auth]");
        out.maybe("master_key", auth.master_key.as_ref().map(|_| MASK));
        out.list("regions", &auth.regions);
        out.span("max_clock_skew", auth.max_clock_skew);
        for issuer in &auth.jwt {
            write_issuer(out, issuer);
        }
        out.section("[auth.sts]");
        out.plain("enabled", auth.sts.enabled);
        out.span("default_duration", auth.sts.default_duration);
        out.span("max_duration", auth.sts.max_duration);
    }

    fn write_buckets(&self, out: &mut Writer) {
        for bucket in &self.buckets {
            out.section("[[buckets]]");
            out.text("name", bucket.name.as_str());
            match &bucket.kind {
                BucketKind::User { prefix } => {
                    out.text("prefix", prefix.text());
                    out.text("scope", "user");
                }
                BucketKind::Job { prefix } => {
                    out.text("prefix", prefix);
                    out.text("scope", "job");
                }
                BucketKind::PlatformView => {
                    out.text("view", "platform");
                    continue;
                }
            }
            let access = match bucket.access {
                Access::ReadWrite => "read-write",
                Access::ReadOnly => "read-only",
            };
            out.text("access", access);
            out.plain("counts_towards_quota", bucket.counts_towards_quota);
        }
    }

    fn write_rest(&self, out: &mut Writer) {
        out.section("[quota]");
        match self.quota.refusal_status {
            RefusalStatus::Status429 => out.plain("refusal_status", 429),
            RefusalStatus::S3 => out.text("refusal_status", "s3"),
        }
        out.span("reservation_lease", self.quota.reservation_lease);
        out.span("reconcile_interval", self.quota.reconcile_interval);
        out.span("abandoned_upload_age", self.quota.abandoned_upload_age);
        out.section("[state]");
        match &self.state {
            State::Redb(path) => out.text("url", format_args!("redb:{}", path.display())),
            State::Redis(url) => out.text("url", without_credentials(url.expose())),
        }
        out.section("[log]");
        let format = match self.log.format {
            LogFormat::Json => "json",
            LogFormat::Text => "text",
        };
        out.text("format", format);
        let level = match self.log.level {
            LogLevel::Error => "error",
            LogLevel::Warn => "warn",
            LogLevel::Info => "info",
            LogLevel::Debug => "debug",
            LogLevel::Trace => "trace",
        };
        out.text("level", level);
        out.plain("access", self.log.access);
        out.section("[metrics]");
        out.plain("per_user_top", self.metrics.per_user_top);
        out.section("[uri]");
        out.plain("enabled", self.uri.enabled);
        out.text("scheme", &self.uri.scheme);
        out.text("bucket", &self.uri.bucket);
        out.section("[telemetry]");
        out.maybe("otlp_endpoint", self.telemetry.otlp_endpoint.as_ref().map(hide_query));
    }

    fn write_users(&self, out: &mut Writer) {
        for user in &self.users {
            out.section("[[users]]");
            out.text("id", &user.id);
            out.text("tier", &user.tier);
            let role = match user.role {
                Role::User => "user",
                Role::Service => "service",
            };
            out.text("role", role);
            for key in &user.access_keys {
                out.section("[[users.access_keys]]");
                out.text("id", key.id.as_str());
                out.text("secret", MASK);
            }
        }
    }
}

fn write_issuer(out: &mut Writer, issuer: &JwtIssuer) {
    out.section("[[auth.jwt]]");
    out.text("issuer", &issuer.issuer);
    out.text("audience", &issuer.audience);
    match &issuer.keys {
        JwtKeys::JwksUrl(url) => out.text("jwks_url", hide_query(url)),
        JwtKeys::JwksFile(path) => out.text("jwks_file", path.display()),
        JwtKeys::PublicKeyFile(path) => out.text("public_key_file", path.display()),
        JwtKeys::Hs256(_) => out.text("hs256_secret", MASK),
    }
    out.text("user_claim", &issuer.user_claim);
    out.text("tier_claim", &issuer.tier_claim);
    out.text("jobs_claim", &issuer.jobs_claim);
    out.plain("auto_provision", issuer.auto_provision);
}

fn write_tier(out: &mut Writer, name: &str, tier: &Tier) {
    out.section(&format!("[tiers.{name}]"));
    out.size("max_storage", tier.max_storage);
    out.size("max_file_size", tier.max_file_size);
    out.number("uploads_per_hour", tier.uploads_per_hour);
    out.number("uploads_per_day", tier.uploads_per_day);
    out.number("requests_per_second", tier.requests_per_second);
    out.number("burst", tier.burst);
    out.size("upload_rate", tier.upload_rate);
    out.size("download_rate", tier.download_rate);
    out.number("max_concurrent_requests", tier.max_concurrent_requests);
    out.number("max_open_multipart_uploads", tier.max_open_multipart_uploads);
}

/// Scheme and authority, without the slash that `http::Uri` adds.
fn origin(uri: &http::Uri) -> String {
    uri.to_string().trim_end_matches('/').to_owned()
}

/// A query may hold a key.
fn hide_query(uri: &http::Uri) -> String {
    let text = uri.to_string();
    text.split_once('?').map_or_else(|| text.clone(), |(path, _)| format!("{path}?{MASK}"))
}

/// A Redis URL: user and password masked, and a query, which some put a password in.
fn without_credentials(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("redis", url));
    let (rest, query) = rest.split_once('?').map_or((rest, ""), |(rest, _)| (rest, "?********"));
    match rest.rsplit_once('@') {
        Some((_, host)) => format!("{scheme}://{MASK}@{host}{query}"),
        None => format!("{scheme}://{rest}{query}"),
    }
}

struct Writer(String);

impl Writer {
    fn section(&mut self, header: &str) {
        if !self.0.is_empty() {
            self.0.push('\n');
        }
        self.line(format_args!("{header}"));
    }

    fn line(&mut self, line: fmt::Arguments<'_>) {
        writeln!(self.0, "{line}").expect("a String takes everything");
    }

    fn plain(&mut self, key: &str, value: impl Display) {
        self.line(format_args!("{key} = {value}"));
    }

    fn count(&mut self, key: &str, limit: Limit<usize>) {
        match limit {
            Limit::Unlimited => self.text(key, limit),
            Limit::At(count) => self.plain(key, count),
        }
    }

    fn text(&mut self, key: &str, value: impl Display) {
        self.plain(key, toml::Value::String(value.to_string()));
    }

    fn maybe(&mut self, key: &str, value: Option<impl Display>) {
        match value {
            Some(value) => self.text(key, value),
            None => self.line(format_args!("# {key} is not set")),
        }
    }

    fn list(&mut self, key: &str, items: &[impl ToString]) {
        let items = items.iter().map(|item| toml::Value::String(item.to_string())).collect();
        self.plain(key, toml::Value::Array(items));
    }

    fn span(&mut self, key: &str, span: Duration) {
        self.text(key, format_duration(span));
    }

    fn size(&mut self, key: &str, limit: Limit) {
        match limit {
            Limit::Unlimited => self.text(key, "unlimited"),
            Limit::At(bytes) => self.text(key, format_size(bytes)),
        }
    }

    fn number(&mut self, key: &str, limit: Limit) {
        match limit {
            Limit::Unlimited => self.text(key, "unlimited"),
            Limit::At(number) => self.plain(key, number),
        }
    }
}
