//! What an operator should know about a valid configuration: one line each, naming section and key.

use super::model::Config;
use super::raw::{Table, Value};
use super::rules;

/// A part of the configuration that is understood but has no effect yet.
pub struct Unbuilt {
    /// The section or key, as a file writes it.
    pub key: &'static str,
    /// What does not happen.
    pub missing: &'static str,
    /// Where it stands among what was said.
    path: &'static str,
}

impl Config {
    /// What is not built yet. Whoever builds one deletes its entry.
    pub const UNBUILT: &'static [Unbuilt] = &[
        Unbuilt {
            key: "server.proxy_protocol",
            missing: "PROXY protocol headers are not read",
            path: "server.proxy_protocol",
        },
        Unbuilt { key: "[telemetry]", missing: "no traces are sent", path: "telemetry" },
    ];
}

/// `said` is everything that file and environment say: what asks for a default is asked for all the same.
pub(super) fn warnings(config: &Config, said: &Table) -> Vec<String> {
    let unbuilt = Config::UNBUILT.iter().filter(|unbuilt| is_given(said, unbuilt.path));
    let mut warnings: Vec<String> =
        unbuilt.map(|unbuilt| format!("{}: not built yet: {}", unbuilt.key, unbuilt.missing)).collect();
    let endpoint = &config.upstream.endpoint;
    if endpoint.scheme_str() == Some("http") && !rules::is_loopback(endpoint) {
        let text = "upstream.endpoint: plain http to another host: objects cross the network unencrypted, and their bytes are not signed";
        warnings.push(text.to_owned());
    }
    if let Some(native) = &config.upstream.native
        && native.endpoint.scheme_str() == Some("http")
        && !rules::is_loopback(&native.endpoint)
    {
        let text = "upstream.native.endpoint: plain http to another host: whoever sees a pre-authenticated request made can use it";
        warnings.push(text.to_owned());
    }
    if config.auth.master_key.is_none() {
        let text = "auth.master_key: missing: users' access keys are sealed with, and page tokens, upload ids and the ledger's names are made with, a key derived from upstream.secret_access_key: when that changes, they are worth nothing";
        warnings.push(text.to_owned());
    }
    warnings
}

/// Whether something stands at this path: a section with or without keys, a key with a value, in this form or as
/// `<key>_file`; for an array of tables, whether it stands in any of them.
fn is_given(said: &Table, path: &str) -> bool {
    let Some((name, rest)) = path.split_once('.') else {
        let speaks = |name: &str| said.get(name).is_some_and(|entry| !entry.value.is_silent());
        return speaks(path) || speaks(&format!("{path}_file"));
    };
    match said.get(name).map(|entry| &entry.value) {
        Some(Value::Table(table)) => is_given(table, rest),
        Some(Value::Array(items)) => {
            items.iter().any(|item| matches!(&item.value, Value::Table(table) if is_given(table, rest)))
        }
        Some(_) | None => false,
    }
}
