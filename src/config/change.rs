//! One configuration in the place of another, in a process that runs. In: both. Out: the sections that differ; and the
//! keys among them that hold until the process ends, so that the other cannot take its place.
//!
//! Fixed are what is bound or open (listeners, the state store, the log's form), what tokens, sealed keys and the
//! ledger's names are derived from, and which bucket it is that the ledger counts. How the bucket is reached is not.

use std::collections::BTreeSet;

use super::model::{Bucket, BucketKind, Config};
use super::problem::{Problem, Problems};
use crate::dialect::Dialect;

impl Config {
    /// The sections in which the next one differs, as a file names them.
    pub fn changes(&self, next: &Self) -> Vec<&'static str> {
        // All of them, or it does not compile.
        let Self {
            server,
            admin,
            upstream,
            auth,
            buckets,
            tiers,
            quota,
            state,
            log,
            metrics,
            uri,
            telemetry,
            users,
        } = next;
        let sections = [
            ("server", self.server != *server),
            ("admin", self.admin != *admin),
            ("upstream", self.upstream != *upstream),
            ("auth", self.auth != *auth),
            ("buckets", self.buckets != *buckets),
            ("tiers", self.tiers != *tiers),
            ("quota", self.quota != *quota),
            ("state", self.state != *state),
            ("log", self.log != *log),
            ("metrics", self.metrics != *metrics),
            ("uri", self.uri != *uri),
            ("telemetry", self.telemetry != *telemetry),
            ("users", self.users != *users),
        ];
        sections.into_iter().filter_map(|(name, differs)| differs.then_some(name)).collect()
    }

    /// Whether the next one, which `source` says, can take this one's place while the process runs; if not, every key
    /// that stands against it.
    pub fn may_become(&self, next: &Self, source: &str) -> Result<(), Problems> {
        let (upstream, next_upstream) = (&self.upstream, &next.upstream);
        let shared_secret_differs = self.shared_secret() != next.shared_secret();
        let of_master_key = self.auth.master_key.is_some() || next.auth.master_key.is_some();
        // OCI's buckets are their region's. Elsewhere the endpoint finds the bucket, and the region is for signatures.
        let is_elsewhere = upstream.dialect == Dialect::Oci && upstream.region != next_upstream.region;
        let fixed = [
            ("server.listen", self.server.listen != next.server.listen, IS_BOUND),
            ("admin.listen", self.admin.listen != next.admin.listen, IS_BOUND),
            ("upstream.dialect", upstream.dialect != next_upstream.dialect, IS_COUNTED),
            ("upstream.namespace", upstream.namespace != next_upstream.namespace, IS_COUNTED),
            ("upstream.region", is_elsewhere, IS_COUNTED),
            ("upstream.bucket", upstream.bucket != next_upstream.bucket, IS_COUNTED),
            ("upstream.secret_access_key", shared_secret_differs && !of_master_key, STANDS_IN),
            ("auth.master_key", shared_secret_differs && of_master_key, SEALS),
            ("state.url", self.state != next.state, IS_OPEN),
            ("log.format", self.log.format != next.log.format, IS_WRITTEN),
        ];
        let problem = |(key, differs, why): (&str, bool, &str)| {
            let expected = format!("needs a restart: {why}");
            differs.then(|| Problem {
                source: source.to_owned(),
                key: key.to_owned(),
                position: None,
                expected,
            })
        };
        let problems: Vec<Problem> = fixed.into_iter().filter_map(problem).collect();
        if problems.is_empty() { Ok(()) } else { Err(Problems(problems)) }
    }

    /// Whether the same objects count in the next one.
    pub fn counts_like(&self, next: &Self) -> bool {
        let counted = |config: &Self| -> BTreeSet<String> {
            let buckets = config.buckets.iter().filter(|bucket| bucket.counts_towards_quota);
            let prefix = |bucket: &Bucket| match &bucket.kind {
                BucketKind::User { prefix } => Some(prefix.text()),
                // A view shows what counts elsewhere.
                BucketKind::Job { .. } | BucketKind::PlatformView => None,
            };
            buckets.filter_map(prefix).collect()
        };
        counted(self) == counted(next)
    }
}

const IS_BOUND: &str = "the address is bound";
const IS_OPEN: &str = "the store is open";
const IS_WRITTEN: &str = "the log is being written";
const IS_COUNTED: &str = "the ledger counts the objects of the one bucket it began with";
const SEALS: &str = "sessions, access keys, page tokens, upload ids and the ledger's names were made with it";
const STANDS_IN: &str = "auth.master_key is missing, and what that would seal was sealed with this";

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const TEXT: &str = r#"
        [server]
        listen = "127.0.0.1:1"
        [admin]
        listen = "127.0.0.1:2"
        [upstream]
        dialect = "s3"
        endpoint = "http://127.0.0.1:3"
        bucket = "real"
        access_key_id = "AKREAL"
        secret_access_key = "a-secret-of-the-gateway"
        [auth]
        master_key = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
        [state]
        url = "redb:a.redb"
        [log]
        format = "json"
        level = "info"
        [[users]]
        id = "alice"
        "#;

    fn config(changes: &[(&str, &str)]) -> Config {
        let mut text = TEXT.to_owned();
        for (old, new) in changes {
            assert!(text.contains(old), "{old}");
            text = text.replacen(old, new, 1);
        }
        Config::from_toml(&text, Path::new(".")).expect("a configuration").config
    }

    /// The keys that stand against a change.
    fn against(before: &Config, after: &Config) -> Vec<String> {
        let refused = before.may_become(after, "config.toml").err();
        refused.iter().flatten().map(|problem| problem.key.clone()).collect()
    }

    #[test]
    fn what_differs_is_named_by_section() {
        let before = config(&[]);
        assert_eq!(before.changes(&before), Vec::<&str>::new());
        let after =
            config(&[("info", "debug"), ("alice", "bob"), ("a-secret-of-the-gateway", "another-secret")]);
        assert_eq!(before.changes(&after), ["upstream", "log", "users"]);
        assert_eq!(against(&before, &after), Vec::<String>::new());
    }

    #[test]
    fn all_that_needs_a_restart_is_told_at_once() {
        let after = config(&[
            ("127.0.0.1:1", "127.0.0.1:11"),
            ("127.0.0.1:2", "127.0.0.1:12"),
            ("real", "another"),
            ("MDEy", "MDEz"),
            ("a.redb", "b.redb"),
            ("json", "text"),
            ("alice", "bob"),
        ]);
        let keys = [
            "server.listen",
            "admin.listen",
            "upstream.bucket",
            "auth.master_key",
            "state.url",
            "log.format",
        ];
        assert_eq!(against(&config(&[]), &after), keys);
        let told = config(&[]).may_become(&after, "config.toml").expect_err("refused").to_string();
        assert!(told.contains("config.toml: state.url: needs a restart: the store is open"), "{told}");
    }

    #[test]
    fn a_bucket_of_ocis_is_its_regions() {
        let endpoint = ("endpoint = \"http://127.0.0.1:3\"", "namespace = \"ns\"\nregion = \"us-phoenix-1\"");
        let phoenix = config(&[("\"s3\"", "\"oci\""), endpoint]);
        let ashburn = config(&[("\"s3\"", "\"oci\""), endpoint, ("us-phoenix-1", "us-ashburn-1")]);
        assert_eq!(against(&phoenix, &ashburn), ["upstream.region"]);
        let signs_for = |region: &str| config(&[("bucket =", &format!("region = \"{region}\"\nbucket ="))]);
        assert_eq!(against(&signs_for("eu-west-1"), &signs_for("eu-west-2")), Vec::<String>::new());
    }

    #[test]
    fn without_a_master_key_the_upstreams_secret_is_fixed() {
        let line = "master_key = \"MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=\"";
        let without = config(&[(line, "")]);
        let rotated = config(&[(line, ""), ("a-secret-of-the-gateway", "another-secret")]);
        assert_eq!(against(&without, &rotated), ["upstream.secret_access_key"]);
        assert_eq!(against(&without, &config(&[])), ["auth.master_key"]);
        assert_eq!(against(&config(&[]), &without), ["auth.master_key"]);
    }

    #[test]
    fn what_counts_is_a_matter_of_counted_prefixes() {
        let buckets = |text: &str| config(&[("[[users]]", &format!("{text}\n[[users]]"))]);
        let one = buckets("[[buckets]]\nname = \"aaa\"\nprefix = \"a/{user_id}/\"");
        let renamed = buckets("[[buckets]]\nname = \"bbb\"\nprefix = \"a/{user_id}/\"");
        let moved = buckets("[[buckets]]\nname = \"aaa\"\nprefix = \"b/{user_id}/\"");
        assert!(one.counts_like(&renamed) && !one.counts_like(&moved));
        let text = "[[buckets]]\nname = \"bbb\"\nprefix = \"b/{user_id}/\"\n\
            [[buckets]]\nname = \"aaa\"\nprefix = \"a/{user_id}/\"";
        let two = buckets(text);
        let viewed = buckets(&format!("[[buckets]]\nname = \"view\"\nview = \"platform\"\n{text}"));
        assert!(two.counts_like(&viewed) && viewed.counts_like(&two) && !one.counts_like(&two));
    }
}
