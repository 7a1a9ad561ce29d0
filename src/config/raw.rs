//! What was said, and where: a tree of values that know their file, line and column, or their variable.
//! In: TOML text. Out: the tree, cut to the keys that exist, plus a problem for every line that is not TOML,
//! every unknown key and every value where a section belongs (or the reverse). No value is judged here.
//! Serde would stop at the first error of a section and forget the lines once the environment is merged in.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};
use zeroize::Zeroizing;

use super::problem::Problem;
use super::schema::{self, Kind, Node};

/// Where a value comes from, weakest first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Layer {
    DotEnv,
    Oci,
    File,
    Env,
}

#[derive(Clone)]
pub(super) struct Place {
    pub(super) layer: Layer,
    /// The file's path or the variable's name.
    pub(super) source: Arc<str>,
    pub(super) position: Option<(usize, usize)>,
    /// Where relative paths start.
    pub(super) base: Arc<Path>,
}

pub(super) type Table = BTreeMap<String, Entry>;

pub(super) struct Entry {
    pub(super) value: Value,
    pub(super) place: Place,
}

pub(super) enum Value {
    Text(Zeroizing<String>),
    /// Text of a variable, which may also stand for a number or a flag.
    Env(Zeroizing<String>),
    Integer(i64),
    Bool(bool),
    Array(Vec<Entry>),
    Table(Table),
    /// Floats, dates, numbers beyond 64 bits: no key takes them.
    Other,
}

impl Value {
    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) | Self::Env(text) => Some(text),
            Self::Integer(_) | Self::Bool(_) | Self::Array(_) | Self::Table(_) | Self::Other => None,
        }
    }

    pub(super) fn whole(&self) -> Option<u64> {
        match self {
            Self::Integer(number) => u64::try_from(*number).ok(),
            Self::Env(text) => text.trim().parse().ok(),
            Self::Text(_) | Self::Bool(_) | Self::Array(_) | Self::Table(_) | Self::Other => None,
        }
    }

    pub(super) fn flag(&self) -> Option<bool> {
        match self {
            Self::Bool(flag) => Some(*flag),
            Self::Env(text) => text.trim().parse().ok(),
            Self::Text(_) | Self::Integer(_) | Self::Array(_) | Self::Table(_) | Self::Other => None,
        }
    }

    fn is_nested(&self) -> bool {
        matches!(self, Self::Array(_) | Self::Table(_))
    }

    /// An empty text says nothing.
    pub(super) fn is_silent(&self) -> bool {
        self.text().is_some_and(str::is_empty)
    }
}

/// A file's text as a tree, and whether some of it was no TOML.
pub(super) fn parse(text: &str, source: &str, base: &Path, problems: &mut Vec<Problem>) -> (Table, bool) {
    let reader = Reader { text, source: source.into(), base: base.into() };
    let (document, errors) = DeTable::parse_recoverable(text);
    let broken = !errors.is_empty();
    for error in errors {
        // The message alone: the error's own rendering quotes the line, which may hold a secret.
        let position = error.span().map(|span| reader.position(&span));
        let expected = format!("not TOML: {}", error.message());
        problems.push(Problem { source: source.to_owned(), key: String::new(), position, expected });
    }
    let mut table = reader.table(document.into_inner());
    keep_known(&mut table, "", "", problems);
    (table, broken)
}

struct Reader<'t> {
    text: &'t str,
    source: Arc<str>,
    base: Arc<Path>,
}

impl Reader<'_> {
    fn table(&self, table: DeTable<'_>) -> Table {
        table.into_iter().map(|(key, value)| (key.into_inner().into_owned(), self.entry(value))).collect()
    }

    fn entry(&self, spanned: Spanned<DeValue<'_>>) -> Entry {
        let position = Some(self.position(&spanned.span()));
        let place =
            Place { layer: Layer::File, source: self.source.clone(), position, base: self.base.clone() };
        let value = match spanned.into_inner() {
            DeValue::String(text) => Value::Text(Zeroizing::new(text.into_owned())),
            DeValue::Integer(number) => {
                i64::from_str_radix(number.as_str(), number.radix()).map_or(Value::Other, Value::Integer)
            }
            DeValue::Boolean(flag) => Value::Bool(flag),
            DeValue::Float(_) | DeValue::Datetime(_) => Value::Other,
            DeValue::Array(items) => Value::Array(items.into_iter().map(|item| self.entry(item)).collect()),
            DeValue::Table(table) => Value::Table(self.table(table)),
        };
        Entry { value, place }
    }

    fn position(&self, span: &Range<usize>) -> (usize, usize) {
        let before = self.text.get(..span.start).unwrap_or(self.text);
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
    }
}

/// Drops what no key is called, or what has the wrong shape, saying so.
fn keep_known(table: &mut Table, pattern: &str, path: &str, problems: &mut Vec<Problem>) {
    table.retain(|name, entry| {
        let key = schema::join(path, name);
        let Some((node, child)) = schema::child(pattern, name) else {
            let names = schema::names(pattern).join(", ");
            problems.push(problem(&entry.place, &key, format!("unknown key; expected one of {names}")));
            return false;
        };
        let expected = match (node, &mut entry.value) {
            (Node::Table, Value::Table(inner)) => {
                keep_known(inner, &child, &key, problems);
                return true;
            }
            (Node::Tables, Value::Array(items)) => {
                keep_tables(items, &child, &key, problems);
                return true;
            }
            (Node::Leaf(Kind::List), Value::Array(_)) => return true,
            (Node::Leaf(Kind::Scalar | Kind::Secret), value) if !value.is_nested() => return true,
            (Node::Table, _) => format!("expected a section, [{key}]"),
            (Node::Tables, _) => format!("expected an array of tables, [[{key}]]"),
            (Node::Leaf(Kind::List), _) => "expected an array".to_owned(),
            (Node::Leaf(Kind::Scalar | Kind::Secret), _) => "expected one value".to_owned(),
        };
        problems.push(problem(&entry.place, &key, expected));
        false
    });
}

fn keep_tables(items: &mut [Entry], pattern: &str, key: &str, problems: &mut Vec<Problem>) {
    for (index, item) in items.iter_mut().enumerate() {
        let key = format!("{key}[{index}]");
        match &mut item.value {
            Value::Table(inner) => keep_known(inner, pattern, &key, problems),
            _ => problems.push(problem(&item.place, &key, "expected a table".to_owned())),
        }
    }
}

fn problem(place: &Place, key: &str, expected: String) -> Problem {
    Problem { source: place.source.to_string(), key: key.to_owned(), position: place.position, expected }
}
