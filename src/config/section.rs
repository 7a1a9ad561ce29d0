//! Reading keys. In: a table of the tree. Out: typed values or defaults; what is wrong goes on the report,
//! with its place and what was expected, and reading goes on, so that one run lists every problem.

use std::cell::RefCell;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use zeroize::Zeroizing;

use super::layers::variables;
use super::limits::LimitKey;
use super::problem::Problem;
use super::raw::{Entry, Place, Table, Value};
use super::schema::join;
use super::units::{Limit, parse_duration};
use crate::types::Secret;

/// The largest file a secret is read from.
const MAX_SECRET_FILE: u64 = 64 << 10;

/// The problems so far.
pub(super) struct Report {
    problems: RefCell<Vec<Problem>>,
    /// What a missing key is missing from.
    home: String,
    /// Where the default paths start.
    base: PathBuf,
}

impl Report {
    pub(super) fn new(home: String, base: PathBuf, problems: Vec<Problem>) -> Self {
        Self { problems: RefCell::new(problems), home, base }
    }

    pub(super) fn into_problems(self) -> Vec<Problem> {
        self.problems.into_inner()
    }
}

/// A table under its key; absent tables read as empty ones.
#[derive(Clone)]
pub(super) struct Section<'a> {
    report: &'a Report,
    path: String,
    table: Option<&'a Table>,
    place: Option<&'a Place>,
}

/// Judges a secret: `Err` is what was expected.
pub(super) type SecretRule = fn(&str) -> Result<(), &'static str>;

impl<'a> Section<'a> {
    pub(super) fn root(report: &'a Report, table: &'a Table) -> Self {
        Self { report, path: String::new(), table: Some(table), place: None }
    }

    pub(super) fn section(&self, key: &str) -> Self {
        let entry = self.entry(key);
        let table = entry.and_then(|entry| match &entry.value {
            Value::Table(table) => Some(table),
            _ => None,
        });
        let place = entry.map(|entry| &entry.place);
        Self { report: self.report, path: join(&self.path, key), table, place }
    }

    /// The tables of an array of tables, `None` if the key is absent.
    pub(super) fn sections(&self, key: &str) -> Option<Vec<Self>> {
        let Value::Array(items) = &self.entry(key)?.value else {
            return None;
        };
        let path = join(&self.path, key);
        let section = |(index, item): (usize, &'a Entry)| match &item.value {
            Value::Table(table) => Some(Self {
                report: self.report,
                path: format!("{path}[{index}]"),
                table: Some(table),
                place: Some(&item.place),
            }),
            _ => None,
        };
        Some(items.iter().enumerate().filter_map(section).collect())
    }

    /// The names of the tables in this one.
    pub(super) fn names(&self) -> Vec<&'a str> {
        self.table.into_iter().flat_map(|table| table.keys().map(String::as_str)).collect()
    }

    /// Whether any key here says anything. A header alone says nothing.
    pub(super) fn is_given(&self) -> bool {
        self.table.is_some_and(|table| table.values().any(|entry| !entry.value.is_silent()))
    }

    pub(super) fn says(&self, key: &str) -> bool {
        self.said(key).is_some()
    }

    pub(super) fn place(&self, key: &str) -> Option<&'a Place> {
        self.entry(key).map(|entry| &entry.place)
    }

    /// The place of the section itself.
    pub(super) fn own_place(&self) -> Option<&'a Place> {
        self.place
    }

    /// The folder that default paths start from.
    pub(super) fn base(&self) -> &'a Path {
        &self.report.base
    }

    /// Puts a problem with `key` on the report; an empty key is the section itself.
    pub(super) fn problem(&self, key: &str, expected: impl Into<String>) {
        let place = if key.is_empty() { self.place } else { self.place(key) };
        let path = if key.is_empty() { self.path.clone() } else { join(&self.path, key) };
        self.report_at(place, path, expected.into());
    }

    /// A key that may be left out or empty.
    pub(super) fn optional<T>(
        &self,
        key: &str,
        expected: &str,
        parse: impl FnOnce(&Value) -> Option<T>,
    ) -> Option<T> {
        let entry = self.said(key)?;
        let value = parse(&entry.value);
        if value.is_none() {
            self.problem(key, format!("expected {expected}"));
        }
        value
    }

    /// A key with a default.
    pub(super) fn or<T>(
        &self,
        key: &str,
        expected: &str,
        default: T,
        parse: impl FnOnce(&Value) -> Option<T>,
    ) -> T {
        match self.said(key) {
            None => default,
            Some(entry) => parse(&entry.value).unwrap_or_else(|| {
                self.problem(key, format!("expected {expected}"));
                default
            }),
        }
    }

    /// A key that must be there. `None` once the problem is on the report.
    pub(super) fn required<T>(
        &self,
        key: &str,
        expected: &str,
        parse: impl FnOnce(&Value) -> Option<T>,
    ) -> Option<T> {
        if !self.says(key) {
            self.missing(key, expected);
            return None;
        }
        self.optional(key, expected, parse)
    }

    /// Reports a key as missing and says which variables could give it.
    pub(super) fn missing(&self, key: &str, expected: &str) {
        let path = join(&self.path, key);
        let or = match variables(&path).as_slice() {
            [] => String::new(),
            names => format!(" (or set {})", names.join(" or ")),
        };
        let place = self.place.filter(|place| place.position.is_some());
        self.report_at(place, path, format!("missing; expected {expected}{or}"));
    }

    pub(super) fn flag(&self, key: &str, default: bool) -> bool {
        self.or(key, "true or false", default, Value::flag)
    }

    /// A limit in connections or requests: semaphores and the like take it.
    pub(super) fn count(&self, key: &str, default: usize) -> Limit<usize> {
        let expected = "a whole number from 1 to 16777216, or \"unlimited\"";
        self.or(key, expected, Limit::At(default), |value| {
            if value.text() == Some("unlimited") {
                return Some(Limit::Unlimited);
            }
            let number = usize::try_from(value.whole()?).ok()?;
            (1..=Limit::MOST).contains(&number).then_some(Limit::At(number))
        })
    }

    /// A span of time that is not zero.
    pub(super) fn duration(&self, key: &str, default: Duration) -> Duration {
        self.or(key, "a duration above zero and up to 366d, such as \"30s\" or \"24h\"", default, duration)
    }

    /// A limit of a tier.
    pub(super) fn tier_limit(&self, key: LimitKey, default: Limit) -> Limit {
        self.or(key.name(), &key.expected(), default, |value| {
            let number = value.whole().and_then(|number| key.from_number(number));
            number.or_else(|| key.from_text(value.text()?))
        })
    }

    /// An array, `None` if the key is absent; items that do not parse are reported and left out.
    pub(super) fn list<T>(
        &self,
        key: &str,
        expected: &str,
        parse: impl Fn(&Value) -> Option<T>,
    ) -> Option<Vec<T>> {
        let Value::Array(items) = &self.entry(key)?.value else {
            return None;
        };
        let path = join(&self.path, key);
        let read = |(index, item): (usize, &Entry)| {
            let value = parse(&item.value);
            if value.is_none() {
                self.report_at(Some(&item.place), format!("{path}[{index}]"), format!("expected {expected}"));
            }
            value
        };
        Some(items.iter().enumerate().filter_map(read).collect())
    }

    /// A path, from the folder of whoever said it.
    pub(super) fn path(&self, key: &str) -> Option<PathBuf> {
        let text = self.optional(key, "a path", |value| value.text().map(str::to_owned))?;
        Some(self.place(key)?.base.join(text))
    }

    /// A path whose content `check` accepts.
    pub(super) fn file(&self, key: &str, check: impl FnOnce(&Path) -> Result<(), String>) -> Option<PathBuf> {
        let path = self.path(key)?;
        match check(&path) {
            Ok(()) => Some(path),
            Err(expected) => {
                self.problem(key, expected);
                None
            }
        }
    }

    /// A secret, said here or in a file. Neither text nor path is ever quoted: they may be swapped.
    pub(super) fn secret(&self, key: &str, rule: SecretRule) -> Option<Secret> {
        let file_key = format!("{key}_file");
        let (said_as, text) = match (self.says(key), self.says(&file_key)) {
            (false, false) => return None,
            (true, true) => {
                self.problem(&file_key, format!("expected either {key} or {file_key}, not both"));
                return None;
            }
            (true, false) => {
                let text =
                    self.optional(key, "text", |value| value.text().map(|t| Zeroizing::new(t.to_owned())))?;
                (key, text)
            }
            (false, true) => match read_secret(&self.path(&file_key)?) {
                Ok(text) => (file_key.as_str(), text),
                Err(expected) => {
                    self.problem(&file_key, expected);
                    return None;
                }
            },
        };
        match rule(&text) {
            Ok(()) => Some(Secret::new(text.to_string())),
            Err(expected) => {
                self.problem(said_as, format!("expected {expected}"));
                None
            }
        }
    }

    /// Whether a secret is said in either form.
    pub(super) fn says_secret(&self, key: &str) -> bool {
        self.says(key) || self.says(&format!("{key}_file"))
    }

    fn entry(&self, key: &str) -> Option<&'a Entry> {
        self.table?.get(key)
    }

    fn said(&self, key: &str) -> Option<&'a Entry> {
        self.entry(key).filter(|entry| !entry.value.is_silent())
    }

    fn report_at(&self, place: Option<&Place>, key: String, expected: String) {
        let source = place.map_or_else(|| self.report.home.clone(), |place| place.source.to_string());
        let position = place.and_then(|place| place.position);
        self.report.problems.borrow_mut().push(Problem { source, key, position, expected });
    }
}

pub(super) fn duration(value: &Value) -> Option<Duration> {
    parse_duration(value.text()?).filter(|span| !span.is_zero())
}

fn read_secret(path: &Path) -> Result<Zeroizing<String>, String> {
    let unreadable = |error: std::io::Error| format!("expected a readable file: {}", error.kind());
    let mut text = Zeroizing::new(String::new());
    let file = std::fs::File::open(path).map_err(unreadable)?;
    let read = file.take(MAX_SECRET_FILE + 1).read_to_string(&mut text).map_err(unreadable)?;
    if u64::try_from(read).is_ok_and(|read| read > MAX_SECRET_FILE) {
        return Err("expected a file of at most 64 KiB".to_owned());
    }
    let end = text.trim_end_matches(['\n', '\r']).len();
    text.truncate(end);
    if text.is_empty() {
        Err("expected a file with a secret in it, found it empty".to_owned())
    } else {
        Ok(text)
    }
}
