//! `deploy/` is true: its configuration loads, and every key, variable, metric and label that it names is there.

use std::collections::BTreeSet;
use std::path::Path;

use bucketwarden::config::Config;
use bucketwarden::metrics::Metrics;
use toml::{Table, Value};

const GUIDE: &str = include_str!("../deploy/oci.md");
const ALERTS: &str = include_str!("../deploy/alerts.yml");
const UNIT: &str = include_str!("../deploy/bucketwarden.service");
const IMAGE: &str = include_str!("../deploy/container.toml");
const README: &str = include_str!("../README.md");

#[test]
fn the_guides_configuration_loads_in_the_middle_of_a_rotation_too() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    for (name, content) in [
        ("secrets/admin-token", "dp3xT0pS3cr3tV4lue-dp3xT0pS3cr3tV4lue"),
        ("secrets/master-key", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="),
        ("upstream/secret-2026-11", "n3wS3cr3tV4lue"),
        ("upstream/secret-2026-05", "0ldS3cr3tV4lue"),
    ] {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().expect("its folder")).expect("a folder");
        std::fs::write(path, content).expect("a file");
    }
    let block_with = |section: &str| {
        let has =
            |block: &Table| section.split('.').try_fold(block, |at, name| at.get(name)?.as_table()).is_some();
        toml_blocks().into_iter().find(has).unwrap_or_else(|| panic!("no block with [{section}]"))
    };
    let mut whole = block_with("server");
    assert!(load(&whole, dir.path()).upstream.previous.is_none());
    merge(&mut whole, block_with("upstream.previous"));
    assert!(load(&whole, dir.path()).upstream.previous.is_some());
}

#[test]
fn every_key_of_the_configuration_that_is_named_is_one() {
    let keys: BTreeSet<_> = Config::keys().into_iter().collect();
    let known = |key: &str| keys.contains(key) || keys.contains(key.strip_suffix("_file").unwrap_or(key));
    let sections: BTreeSet<_> = keys.iter().filter_map(|key| key.split(['.', '[']).next()).collect();

    let mut named = Vec::new();
    for block in toml_blocks().iter().chain([&IMAGE.parse().expect("TOML")]) {
        leaves(block, "", &mut named);
    }
    // In code: `upstream.endpoint`, and neither `config.toml` nor `target.object.name`.
    for code in GUIDE.split('`').skip(1).step_by(2) {
        let word = code.split([' ', '=']).next().unwrap_or_default();
        let is_key = word.contains('.') && word.bytes().all(|b| b.is_ascii_lowercase() || b"._".contains(&b));
        if is_key && sections.contains(word.split('.').next().unwrap_or_default()) {
            named.push(word.to_owned());
        }
    }
    for text in [GUIDE, UNIT, README] {
        for name in words(text, "BUCKETWARDEN_").filter(|name| name.contains("__")) {
            named.push(name.trim_start_matches("BUCKETWARDEN_").replace("__", ".").to_ascii_lowercase());
        }
    }
    assert!(named.len() > 40, "the documents are read wrongly: {named:?}");
    // `server.tls` names a section.
    let section =
        |name: &str| keys.iter().any(|key| key.strip_prefix(name).is_some_and(|rest| rest.starts_with('.')));
    let wrong: Vec<_> = named.iter().filter(|key| !known(key) && !section(key)).collect();
    assert!(wrong.is_empty(), "no such keys: {wrong:?}");
}

#[test]
fn every_metric_and_label_that_is_named_exists() {
    let metrics = Metrics::new().expect("metrics");
    metrics.ledger.know_tiers(["default"]);
    let text = String::from_utf8(metrics.text().expect("metrics")).expect("text");
    let series: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
    // A histogram is named as such, or by one of its series.
    let of = |name: &str| -> Vec<&str> {
        let is_it = |line: &str| {
            let rest = line.strip_prefix(name).map(|rest| rest.strip_prefix("_count").unwrap_or(rest));
            rest.is_some_and(|rest| rest.starts_with(['{', ' ']))
        };
        series.iter().copied().filter(|line| is_it(line)).collect()
    };
    let prefixes = ["bucketwarden_", "process_"];
    let mut seen = 0;
    for text in [GUIDE, ALERTS] {
        for (name, rest) in prefixes.iter().flat_map(|prefix| words_and_rest(text, prefix)) {
            seen += 1;
            let lines = of(name);
            assert!(!lines.is_empty(), "there is no metric {name}");
            for (label, values) in selector(rest) {
                let has = |pair: &str| lines.iter().any(|line| line.contains(pair));
                // The scrape adds it.
                if label == "job" {
                    continue;
                }
                assert!(has(&format!("{label}=\"")), "{name} has no label {label}");
                // Series of other statuses are born when they happen.
                for value in values.split('|').filter(|_| label != "status") {
                    assert!(has(&format!("{label}=\"{value}\"")), "{name} has no {label} {value}");
                }
            }
        }
    }
    assert!(seen > 15, "the documents are read wrongly: {seen} metrics");
}

#[test]
fn every_alert_is_explained() {
    let alerts: Vec<_> = ALERTS.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(alerts.len() > 10, "{alerts:?}");
    for alert in alerts {
        assert!(GUIDE.contains(&format!("`{alert}`")), "deploy/oci.md says nothing of {alert}");
    }
}

fn load(table: &Table, dir: &Path) -> Config {
    let text = toml::to_string(table).expect("TOML");
    Config::from_toml(&text, dir).map_err(|problems| problems.to_string()).expect("it loads").config
}

fn toml_blocks() -> Vec<Table> {
    let blocks = GUIDE.split("```toml\n").skip(1);
    blocks.map(|rest| rest.split("```").next().expect("its end").parse().expect("TOML")).collect()
}

/// Puts what `over` says over what is there.
fn merge(table: &mut Table, over: Table) {
    for (key, value) in over {
        match (table.get_mut(&key), value) {
            (Some(Value::Table(under)), Value::Table(over)) => merge(under, over),
            (_, value) => drop(table.insert(key, value)),
        }
    }
}

/// The full names of all values.
fn leaves(table: &Table, under: &str, names: &mut Vec<String>) {
    for (key, value) in table {
        let name = if under.is_empty() { key.clone() } else { format!("{under}.{key}") };
        match value {
            Value::Table(table) => leaves(table, &name, names),
            _ => names.push(name),
        }
    }
}

fn words<'t>(text: &'t str, prefix: &'t str) -> impl Iterator<Item = &'t str> {
    words_and_rest(text, prefix).map(|(word, _)| word)
}

/// Every word that begins with `prefix`, and what follows it.
fn words_and_rest<'t>(text: &'t str, prefix: &'t str) -> impl Iterator<Item = (&'t str, &'t str)> {
    let in_word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    text.match_indices(prefix).filter_map(move |(at, _)| {
        if at > 0 && in_word(text.as_bytes()[at - 1]) {
            return None;
        }
        let word = &text[at..];
        let end = word.bytes().position(|b| !in_word(b)).unwrap_or(word.len());
        Some(word.split_at(end))
    })
}

/// The labels that `{…}` after a metric asks for, with their values.
fn selector(rest: &str) -> Vec<(&str, &str)> {
    let inside = rest.strip_prefix('{').and_then(|rest| rest.split('}').next()).unwrap_or_default();
    let pairs = inside.split(", ").filter_map(|pair| pair.split_once('='));
    pairs.map(|(label, value)| (label, value.trim_start_matches('~').trim_matches('"'))).collect()
}
