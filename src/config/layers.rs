//! Who is believed. In: the file's tree, the environment, the text of `.env.local`. Out: one tree, where
//! `BUCKETWARDEN_*` beats the file, the file beats `OCI_*`, and those beat everything in `.env.local`.
//! An empty value says nothing and overrides nothing, wherever it stands.

use std::path::Path;

use zeroize::Zeroizing;

use super::problem::Problem;
use super::raw::{Entry, Layer, Place, Table, Value};
use super::schema::{self, Kind, Node};

const PREFIX: &str = "BUCKETWARDEN_";

/// Variables of the command line, not of the configuration.
const COMMAND_LINE: [&str; 2] = ["BUCKETWARDEN_ADMIN_URL", "BUCKETWARDEN_ADMIN_TOKEN"];

/// The platform's own variables.
const OCI: [(&str, &str); 6] = [
    ("OCI_STORAGE_ENDPOINT", "upstream.endpoint"),
    ("OCI_STORAGE_NAMESPACE", "upstream.namespace"),
    ("OCI_STORAGE_BUCKET", "upstream.bucket"),
    ("OCI_STORAGE_REGION", "upstream.region"),
    ("OCI_ACCESS_KEY_ID", "upstream.access_key_id"),
    ("OCI_SECRET_ACCESS_KEY", "upstream.secret_access_key"),
];

/// The variables that can say `key`, for messages; none inside arrays.
pub(super) fn variables(key: &str) -> Vec<String> {
    if key.contains('[') {
        return Vec::new();
    }
    let own = format!("{PREFIX}{}", key.replace('.', "__").to_uppercase());
    let platform = OCI.iter().filter(|(_, path)| *path == key).map(|(name, _)| (*name).to_owned());
    std::iter::once(own).chain(platform).collect()
}

/// Puts the layers together.
pub(super) fn merge(
    file: Table,
    env: &[(String, String)],
    dot_env: &[(String, String)],
    working_dir: &Path,
    problems: &mut Vec<Problem>,
) -> Table {
    let mut tree = Table::new();
    overlay(&mut tree, platform_variables(dot_env, Layer::DotEnv, working_dir));
    overlay(&mut tree, own_variables(dot_env, Layer::DotEnv, working_dir, problems));
    overlay(&mut tree, platform_variables(env, Layer::Oci, working_dir));
    overlay(&mut tree, file);
    overlay(&mut tree, own_variables(env, Layer::Env, working_dir, problems));
    tree
}

/// `NAME=value` lines: `export`, comments, and quotes around the whole value, which may then span lines.
/// The file serves other programs too: what is no such line is theirs. No escapes, no `$NAME`.
pub(super) fn parse_dot_env(text: &str, problems: &mut Vec<Problem>) -> Vec<(String, String)> {
    let legal = |name: &str| name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    let mut variables = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((index, line)) = lines.next() {
        let line = line.trim();
        let Some((name, value)) = line.strip_prefix("export ").unwrap_or(line).split_once('=') else {
            continue;
        };
        let (name, value) = (name.trim(), value.trim());
        if name.is_empty() || !legal(name) {
            continue;
        }
        let Some(quote) = value.chars().next().filter(|c| matches!(c, '"' | '\'')) else {
            let value = value.split_once(" #").map_or(value, |(value, _)| value.trim_end());
            variables.push((name.to_owned(), value.to_owned()));
            continue;
        };
        let mut quoted = value[1..].to_owned();
        while !quoted.contains(quote)
            && let Some((_, more)) = lines.next()
        {
            quoted.push('\n');
            quoted.push_str(more);
        }
        match quoted.split_once(quote) {
            Some((inner, _)) => variables.push((name.to_owned(), inner.to_owned())),
            None => problems.push(Problem {
                source: ".env.local".to_owned(),
                key: String::new(),
                position: Some((index + 1, 1)),
                expected: "expected the quote to be closed".to_owned(),
            }),
        }
    }
    variables
}

fn platform_variables(variables: &[(String, String)], layer: Layer, base: &Path) -> Table {
    let mut tree = Table::new();
    for (name, value) in variables.iter().filter(|(_, value)| !value.is_empty()) {
        if let Some((_, path)) = OCI.iter().find(|(oci, _)| oci == name) {
            put(&mut tree, path, value, &place(name, layer, base));
        }
    }
    tree
}

fn own_variables(
    variables: &[(String, String)],
    layer: Layer,
    base: &Path,
    problems: &mut Vec<Problem>,
) -> Table {
    let mut tree = Table::new();
    for (name, value) in variables {
        let Some(rest) = name.strip_prefix(PREFIX) else {
            continue;
        };
        if COMMAND_LINE.contains(&name.as_str()) {
            continue;
        }
        match target(rest) {
            Ok(Some(path)) if !value.is_empty() => {
                put(&mut tree, &path, value, &place(name, layer, base));
            }
            Ok(_) => {}
            Err(expected) => {
                let source = place(name, layer, base).source.to_string();
                problems.push(Problem { source, key: String::new(), position: None, expected });
            }
        }
    }
    tree
}

/// The key that a variable sets. Names without `__` are none of ours (orchestrators make such names for a
/// service called bucketwarden), unless a second underscore would make them a key.
fn target(rest: &str) -> Result<Option<String>, String> {
    if !rest.contains("__") {
        let typo = schema::keys().find(|(key, _)| key.replace('.', "_").eq_ignore_ascii_case(rest));
        return match typo {
            Some((key, _)) => Err(format!("unknown variable; expected {}", variables(&key).swap_remove(0))),
            None => Ok(None),
        };
    }
    let path = rest.to_lowercase().replace("__", ".");
    let mut pattern = String::new();
    let mut node = Node::Table;
    for name in path.split('.') {
        if node != Node::Table || name.is_empty() {
            return Err(unknown(&pattern));
        }
        let Some((next, child)) = schema::child(&pattern, name) else {
            return Err(unknown(&pattern));
        };
        if matches!(next, Node::Tables | Node::Leaf(Kind::List)) {
            return Err(format!("{path} lies in an array, which has no variable; set it in the file"));
        }
        (node, pattern) = (next, child);
    }
    match node {
        Node::Leaf(_) => Ok(Some(path)),
        Node::Table | Node::Tables => Err(unknown(&pattern)),
    }
}

fn unknown(pattern: &str) -> String {
    let names = schema::names(pattern).iter().map(|name| name.to_uppercase()).collect::<Vec<_>>().join(", ");
    let prefix = pattern.replace('.', "__").to_uppercase();
    let prefix = if prefix.is_empty() { prefix } else { format!("{prefix}__") };
    if names.is_empty() {
        format!("unknown variable; {} is no section", pattern.trim_end_matches("[]"))
    } else {
        format!("unknown variable; expected {PREFIX}{prefix} and one of {names}")
    }
}

fn place(name: &str, layer: Layer, base: &Path) -> Place {
    let source = match layer {
        Layer::DotEnv => format!(".env.local: {name}"),
        Layer::Oci | Layer::File | Layer::Env => name.to_owned(),
    };
    Place { layer, source: source.into(), position: None, base: base.into() }
}

fn put(tree: &mut Table, path: &str, value: &str, place: &Place) {
    let (name, rest) = path.split_once('.').map_or((path, None), |(name, rest)| (name, Some(rest)));
    let Some(rest) = rest else {
        let value = Value::Env(Zeroizing::new(value.to_owned()));
        tree.insert(name.to_owned(), Entry { value, place: place.clone() });
        return;
    };
    let entry = tree
        .entry(name.to_owned())
        .or_insert_with(|| Entry { value: Value::Table(Table::new()), place: place.clone() });
    if let Value::Table(inner) = &mut entry.value {
        put(inner, rest, value, place);
    }
}

/// Lays `over` on `under`, key by key.
fn overlay(under: &mut Table, over: Table) {
    // A secret in one form replaces the other form of a weaker layer; both in one layer is an error later.
    let other_form = |name: &str| match name.strip_suffix("_file") {
        Some(direct) => direct.to_owned(),
        None => format!("{name}_file"),
    };
    for name in over.iter().filter(|(_, entry)| !entry.value.is_silent()).map(|(name, _)| name) {
        let other = other_form(name);
        if over.get(&other).is_none_or(|entry| entry.value.is_silent()) {
            under.remove(&other);
        }
    }
    for (name, entry) in over {
        match (under.get_mut(&name), entry.value) {
            (Some(Entry { value: Value::Table(inner), place }), Value::Table(over)) => {
                // A section that the file writes is the file's, whatever else adds to it.
                if entry.place.layer == Layer::File {
                    *place = entry.place;
                }
                overlay(inner, over);
            }
            (Some(_), value) if value.is_silent() => {}
            (_, value) => {
                let place = entry.place;
                under.insert(name, Entry { value, place });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dot_env_reads_what_shells_write() {
        let text = "# a=b\nA=1\nexport B = \"two # words\" # why\nC='x=y'\nD=a#b # c\n\
                    PEM=\"-----BEGIN\nE=not a variable\n-----END\"\nset -a\nF=\n";
        let mut problems = Vec::new();
        let read = parse_dot_env(text, &mut problems);
        let expected = [
            ("A", "1"),
            ("B", "two # words"),
            ("C", "x=y"),
            ("D", "a#b"),
            ("PEM", "-----BEGIN\nE=not a variable\n-----END"),
            ("F", ""),
        ];
        assert_eq!(read, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
        assert_eq!(problems, []);
        assert_eq!(parse_dot_env("A=1\nB='open\n", &mut problems).len(), 1);
        assert_eq!(problems[0].to_string(), ".env.local:2:1: expected the quote to be closed");
    }
}
