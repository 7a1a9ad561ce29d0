//! What an operator should know about a valid configuration: one line each, naming section and key.

use super::model::{BucketKind, Config, Quota, State, Sts, Tier};
use super::rules;

/// A part of the configuration that is understood but has no effect yet.
pub struct Unbuilt {
    /// The section or key, as a file writes it.
    pub key: &'static str,
    /// What does not happen.
    pub missing: &'static str,
    /// Whether a configuration asks for it.
    used: fn(&Config) -> bool,
}

impl Config {
    /// What is not built yet. Whoever builds one deletes its entry.
    pub const UNBUILT: &'static [Unbuilt] = &[
        Unbuilt {
            key: "server.proxy_protocol",
            missing: "PROXY protocol headers are not read",
            used: |config| config.server.proxy_protocol,
        },
        Unbuilt {
            key: "[upstream.previous]",
            missing: "the previous upstream key is not tried",
            used: |config| config.upstream.previous.is_some(),
        },
        Unbuilt {
            key: "[upstream.native]",
            missing: "there are no pre-authenticated requests",
            used: |config| config.upstream.native.is_some(),
        },
        Unbuilt {
            key: "[[auth.jwt]]",
            missing: "bearer tokens are not accepted",
            used: |config| !config.auth.jwt.is_empty(),
        },
        Unbuilt {
            key: "[auth.sts]",
            missing: "there are no temporary keys",
            used: |config| config.auth.sts != Sts::default(),
        },
        Unbuilt {
            key: "[[buckets]] view = \"platform\"",
            missing: "the bucket is not shown",
            used: |config| config.buckets.iter().any(|bucket| bucket.kind == BucketKind::PlatformView),
        },
        Unbuilt {
            key: "[tiers.*]",
            missing: "no limit is enforced",
            used: |config| config.tiers != Tier::shipped(),
        },
        Unbuilt {
            key: "[quota]",
            missing: "nothing is counted",
            used: |config| config.quota != Quota::default(),
        },
        Unbuilt {
            key: "[state]",
            missing: "nothing is stored",
            used: |config| match &config.state {
                State::Redb(path) => !path.ends_with("state.redb"),
                State::Redis(_) => true,
            },
        },
        Unbuilt {
            key: "metrics.per_user_top",
            missing: "usage of single users is not exported",
            used: |config| config.metrics.per_user_top > 0,
        },
        Unbuilt {
            key: "[telemetry]",
            missing: "no traces are sent",
            used: |config| config.telemetry.otlp_endpoint.is_some(),
        },
    ];
}

pub(super) fn warnings(config: &Config) -> Vec<String> {
    let unbuilt = Config::UNBUILT.iter().filter(|unbuilt| (unbuilt.used)(config));
    let mut warnings: Vec<String> =
        unbuilt.map(|unbuilt| format!("{}: not built yet: {}", unbuilt.key, unbuilt.missing)).collect();
    let endpoint = &config.upstream.endpoint;
    if endpoint.scheme_str() == Some("http") && !rules::is_loopback(endpoint) {
        let text = "upstream.endpoint: plain http to another host: objects cross the network unencrypted, and their bytes are not signed";
        warnings.push(text.to_owned());
    }
    if config.auth.master_key.is_none() {
        let text = "auth.master_key: missing: page tokens and upload ids are sealed with a key derived from upstream.secret_access_key, and change with it";
        warnings.push(text.to_owned());
    }
    warnings
}
