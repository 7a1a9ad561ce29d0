//! Every key there is, in the file's order. One table serves the file, the environment, the message for an
//! unknown key and the test of `config.toml.example`; reading a key that is not here is a bug the tests catch.

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Scalar,
    /// May also be given as `<key>_file`.
    Secret,
    /// An array of scalars; no environment override.
    List,
}

/// `x[]` is an array of tables, `*` a name of the operator's choice.
#[rustfmt::skip]
const KEYS: &[(&str, &[&str])] = &[
    ("server", &["listen", "public_url", "virtual_host_suffix", "trusted_proxies=list", "proxy_protocol",
        "max_connections", "max_connections_per_peer", "max_in_flight", "header_timeout", "idle_timeout",
        "body_idle_timeout", "drain_timeout"]),
    ("server.tls", &["cert", "key"]),
    ("admin", &["listen", "token=secret"]),
    ("upstream", &["dialect", "namespace", "region", "bucket", "endpoint", "access_key_id",
        "secret_access_key=secret", "ca_file", "connect_timeout", "first_byte_timeout",
        "slow_operation_timeout", "idle_timeout"]),
    ("upstream.previous", &["access_key_id", "secret_access_key=secret"]),
    ("upstream.native", &["tenancy", "user", "fingerprint", "key_file", "max_expiry", "endpoint"]),
    ("auth", &["master_key=secret", "regions=list", "max_clock_skew"]),
    ("auth.jwt[]", &["issuer", "audience", "jwks_url", "jwks_file", "public_key_file", "hs256_secret=secret",
        "user_claim", "tier_claim", "jobs_claim", "auto_provision"]),
    ("auth.sts", &["enabled", "default_duration", "max_duration"]),
    ("buckets[]", &["name", "prefix", "scope", "access", "counts_towards_quota", "view"]),
    ("tiers.*", &["max_storage", "max_file_size", "uploads_per_hour", "uploads_per_day",
        "requests_per_second", "burst", "upload_rate", "download_rate", "max_concurrent_requests",
        "max_open_multipart_uploads"]),
    ("quota", &["refusal_status", "reservation_lease", "reconcile_interval", "abandoned_upload_age"]),
    ("state", &["url=secret"]),
    ("log", &["format", "level", "access"]),
    ("metrics", &["per_user_top"]),
    ("uri", &["enabled", "scheme", "bucket"]),
    ("telemetry", &["otlp_endpoint"]),
    ("users[]", &["id", "tier", "role"]),
    ("users[].access_keys[]", &["id", "secret=secret"]),
];

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Node {
    Leaf(Kind),
    Table,
    /// An array of tables.
    Tables,
}

/// Every key as (pattern, kind): `tiers.*.burst`, `users[].access_keys[].secret`.
pub(super) fn keys() -> impl Iterator<Item = (String, Kind)> {
    KEYS.iter().flat_map(|(section, keys)| {
        keys.iter().map(move |key| {
            let (name, kind) = match key.split_once('=') {
                Some((name, "list")) => (name, Kind::List),
                Some((name, _)) => (name, Kind::Secret),
                None => (*key, Kind::Scalar),
            };
            (join(section, name), kind)
        })
    })
}

/// The child `name` of the table at `pattern`, and that child's own pattern.
pub(super) fn child(pattern: &str, name: &str) -> Option<(Node, String)> {
    let path = join(pattern, name);
    for (key, kind) in keys() {
        if key == path || (kind == Kind::Secret && path.strip_suffix("_file") == Some(&key)) {
            // The file form of a secret holds a path, which is no secret.
            let kind = if key == path { kind } else { Kind::Scalar };
            return Some((Node::Leaf(kind), path));
        }
    }
    let tables = format!("{path}[]");
    let named = join(pattern, "*");
    let under = |parent: &str| KEYS.iter().any(|(section, _)| is_under(section, parent));
    if under(&tables) {
        Some((Node::Tables, tables))
    } else if under(&path) {
        Some((Node::Table, path))
    } else if under(&named) {
        Some((Node::Table, named))
    } else {
        None
    }
}

/// The names that the table at `pattern` may hold, for messages.
pub(super) fn names(pattern: &str) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for (key, kind) in keys() {
        let rest = match (pattern, key.strip_prefix(pattern)) {
            ("", Some(rest)) => rest,
            (_, Some(rest)) if rest.starts_with('.') => &rest[1..],
            (_, Some(_) | None) => continue,
        };
        let name = rest.split(['.', '[']).next().unwrap_or(rest).to_owned();
        let file = (kind == Kind::Secret && rest == name).then(|| format!("{name}_file"));
        for name in std::iter::once(name).chain(file) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
    }
    names
}

pub(super) fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

fn is_under(section: &str, parent: &str) -> bool {
    section.strip_prefix(parent).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn children_are_found_by_pattern() {
        let node = |pattern, name| child(pattern, name).map(|(node, _)| node);
        assert_eq!(node("", "server"), Some(Node::Table));
        assert_eq!(node("", "users"), Some(Node::Tables));
        assert_eq!(node("auth", "jwt"), Some(Node::Tables));
        assert_eq!(node("users[]", "access_keys"), Some(Node::Tables));
        assert_eq!(node("tiers", "gold"), Some(Node::Table));
        assert_eq!(node("tiers.*", "burst"), Some(Node::Leaf(Kind::Scalar)));
        assert_eq!(node("admin", "token"), Some(Node::Leaf(Kind::Secret)));
        assert_eq!(node("admin", "token_file"), Some(Node::Leaf(Kind::Scalar)));
        assert_eq!(node("server", "trusted_proxies"), Some(Node::Leaf(Kind::List)));
        for (pattern, name) in [("", "serve"), ("server", "listen_file"), ("users", "x"), ("admin", "tok")] {
            assert_eq!(node(pattern, name), None, "{pattern} {name}");
        }
    }

    #[test]
    fn names_list_a_table_once() {
        assert_eq!(names("admin"), ["listen", "token", "token_file"]);
        assert!(names("").contains(&"tiers".to_owned()));
        assert_eq!(names("server").iter().filter(|name| *name == "tls").count(), 1);
    }
}
