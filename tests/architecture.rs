//! The floors of the house, as data: a module imports from lower floors only, rooms on floor 4 never from each
//! other, and only `store`-like rooms touch what they own. A breach fails with file, line and rule.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::fs;
use std::path::{Path, PathBuf};

/// Top-level modules, lowest floor first. Those of one floor may import each other where `neighbours` says so.
const FLOORS: &[&[&str]] = &[
    &["types", "error"],
    &["s3", "sigv4", "account", "dialect"],
    &["config", "tls", "metrics", "access_log", "refusals", "body", "io"],
    &["store"],
    &["auth", "access", "keymap", "admit"],
    &["upstream"],
    &["gateway", "ledger"],
    &["server", "api", "admin", "dev_store"],
    &["cli", "app"],
];

/// Imports within one floor that are meant: user, used.
const NEIGHBOURS: &[(&str, &str)] = &[
    ("sigv4", "s3"),      // a canonical request is made of a parsed query
    ("dialect", "s3"),    // a dialect says who answers which operation
    ("access", "keymap"), // a grant holds the scope that it opens
    ("access_log", "config"),
    ("gateway", "ledger"), // a write is settled where it was admitted
    ("admin", "api"),      // an operator sees the document that the user sees
    ("cli", "app"),
];

/// Text that may stand in one place only, and why.
const ALONE: &[(&str, &[&str], &str)] = &[
    ("SystemTime::now", &["lib.rs"], "time is passed in; the wall clock is read by `crate::now` alone"),
    ("redb::", &["dev_store", "store"], "only stores talk to disk"),
    ("redis::", &["store"], "only stores talk to Redis"),
    ("UpstreamKey::mapped", &["keymap.rs", "types.rs"], "only keymap makes real keys"),
    ("vouched_payload", &["auth", "sigv4"], "only auth knows that a bearer's token is true"),
    ("IntCounter::new", &["metrics.rs", "metrics"], "metrics are made in one place"),
    (".collect().await", &[], "a body is never held whole"),
];

/// Nothing pure may wait, read a clock or do I/O.
const PURE: &[&str] = &["types", "error", "s3", "sigv4", "account", "dialect"];
const IMPURE: &[&str] = &["tokio", "std::fs", "std::net", "hyper", "async fn", "Instant::now"];

struct Source {
    path: PathBuf,
    module: String,
    /// Lines with their numbers, without comments and without the tests at the end.
    lines: Vec<(usize, String)>,
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    assert!(files.len() > 40, "the walk found only {} files", files.len());
    files.iter().map(|path| read(&root, path)).collect()
}

fn read(root: &Path, path: &Path) -> Source {
    let relative = path.strip_prefix(root).unwrap().to_owned();
    let module = relative.iter().next().unwrap().to_str().unwrap().trim_end_matches(".rs").to_owned();
    let is_test_file = relative.components().any(|part| {
        matches!(part.as_os_str().to_str(), Some("tests" | "tests.rs" | "vectors.rs" | "kit.rs"))
    });
    let text = fs::read_to_string(path).unwrap();
    let code = text.lines().enumerate().map(|(i, line)| (i + 1, line));
    let lines = code
        .take_while(|(_, line)| !is_test_file && !line.starts_with("#[cfg(test)]"))
        .map(|(number, line)| (number, line.split("//").next().unwrap_or("").to_owned()))
        .collect();
    Source { path: relative, module, lines }
}

fn floor(module: &str) -> Option<usize> {
    FLOORS.iter().position(|modules| modules.contains(&module))
}

/// The top-level modules that a line names by `crate::`.
fn imports(line: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, _) in line.match_indices("crate::") {
        let rest = &line[at + "crate::".len()..];
        let named =
            |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
        match rest.strip_prefix('{') {
            Some(list) => {
                let mut depth = 0_i32;
                for part in list.split(',') {
                    if depth == 0 {
                        found.push(named(part.trim()));
                    }
                    depth += i32::try_from(part.matches('{').count()).unwrap();
                    depth -= i32::try_from(part.matches('}').count()).unwrap();
                }
            }
            None => found.push(named(rest)),
        }
    }
    found
}

#[test]
fn imports_go_to_lower_floors_only() {
    let mut breaches = Vec::new();
    for source in sources() {
        let Some(from) = floor(&source.module) else {
            assert!(
                matches!(source.module.as_str(), "lib" | "main" | "build"),
                "{} has no floor",
                source.module
            );
            continue;
        };
        for (number, line) in &source.lines {
            for import in imports(line).into_iter().filter(|import| *import != source.module) {
                let Some(to) = floor(&import) else { continue };
                let meant = NEIGHBOURS.contains(&(source.module.as_str(), import.as_str()));
                if to > from || (to == from && !meant) {
                    breaches.push(format!(
                        "{}:{number}: {} (floor {from}) imports {import} (floor {to})",
                        source.path.display(),
                        source.module
                    ));
                }
            }
        }
    }
    // Errors are the one thing that types may speak of, and the other way round.
    assert!(breaches.is_empty(), "\n{}", breaches.join("\n"));
}

#[test]
fn what_belongs_to_one_place_stays_there() {
    let mut breaches = Vec::new();
    for source in sources() {
        for (number, line) in &source.lines {
            for (text, places, rule) in ALONE {
                let allowed = places.iter().any(|place| source.path.starts_with(place));
                if line.contains(text) && !allowed {
                    breaches.push(format!("{}:{number}: `{text}`: {rule}", source.path.display()));
                }
            }
        }
    }
    assert!(breaches.is_empty(), "\n{}", breaches.join("\n"));
}

#[test]
fn pure_floors_are_pure() {
    let mut breaches = Vec::new();
    for source in sources().iter().filter(|source| PURE.contains(&source.module.as_str())) {
        for (number, line) in &source.lines {
            for text in IMPURE.iter().filter(|text| line.contains(**text)) {
                breaches.push(format!("{}:{number}: `{text}` on a pure floor", source.path.display()));
            }
        }
    }
    assert!(breaches.is_empty(), "\n{}", breaches.join("\n"));
}

#[test]
fn files_can_be_read_in_one_sitting() {
    let long: Vec<_> = sources()
        .into_iter()
        .filter(|source| source.lines.len() > 600)
        .map(|source| format!("{}: {} lines without tests", source.path.display(), source.lines.len()))
        .collect();
    assert!(long.is_empty(), "split these: {long:#?}");
}

#[test]
fn every_file_says_what_it_is() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for source in sources() {
        let text = fs::read_to_string(root.join(&source.path)).unwrap();
        assert!(text.starts_with("//!"), "{} has no module doc", source.path.display());
    }
}

#[test]
fn the_rules_can_fail() {
    assert_eq!(imports("use crate::{error::Error, types::{A, B}, s3};"), ["error", "types", "s3"]);
    assert_eq!(imports("    crate::store::open(crate::types::X)"), ["store", "types"]);
    assert!(floor("gateway") > floor("upstream"));
}
