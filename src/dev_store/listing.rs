//! Listings of keys with prefix, delimiter and paging, for objects and open uploads alike. In: a query and a
//! way to seek in a sorted table. Out: one page. Never reads past the page: a group of keys under one common
//! prefix costs one seek, however many keys it holds.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::meta::Step;

/// What a LIST asks for. `start` is where the last page, or the client, left off.
pub(super) struct Query {
    pub(super) prefix: Vec<u8>,
    pub(super) delimiter: Vec<u8>,
    pub(super) start: Cursor,
    pub(super) max: usize,
}

/// A place in a table.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Cursor {
    /// This key and those after it.
    From(Vec<u8>),
    /// Past this key, and past all uploads of it.
    After(Vec<u8>),
    /// Past one upload of this key.
    AfterUpload(Vec<u8>, String),
}

impl Cursor {
    fn key(&self) -> &[u8] {
        match self {
            Self::From(key) | Self::After(key) | Self::AfterUpload(key, _) => key,
        }
    }

    /// Where a marker starts. One that names a common prefix stands for all keys under it, as in S3.
    pub(super) fn after_marker(marker: &str, prefix: &str, delimiter: &str) -> Self {
        let marker = marker.as_bytes();
        match common_prefix(marker, prefix.as_bytes(), delimiter.as_bytes()) {
            Some(common) if common.len() == marker.len() => past(marker),
            _ => Self::After(marker.to_vec()),
        }
    }
}

pub(super) enum Entry<T> {
    Item(Vec<u8>, T),
    Prefix(Vec<u8>),
}

pub(super) struct Page<T> {
    pub(super) entries: Vec<Entry<T>>,
    pub(super) truncated: bool,
}

/// Collects one page. `seek` gives the rows from a place on, in order of keys.
pub(super) fn page<T, I>(query: &Query, mut seek: impl FnMut(&Cursor) -> Step<I>) -> Step<Page<T>>
where
    I: Iterator<Item = Step<(Vec<u8>, T)>>,
{
    let mut entries = Vec::new();
    let mut truncated = false;
    let before_prefix = query.start.key() < query.prefix.as_slice();
    let mut next = Some(if before_prefix { Cursor::From(query.prefix.clone()) } else { query.start.clone() });
    while let Some(cursor) = next.take().filter(|_| query.max > 0) {
        for row in seek(&cursor)? {
            let (key, value) = row?;
            if !key.starts_with(&query.prefix) {
                break;
            }
            if entries.len() == query.max {
                truncated = true;
                break;
            }
            if let Some(common) = common_prefix(&key, &query.prefix, &query.delimiter) {
                entries.push(Entry::Prefix(common.to_vec()));
                next = Some(past(common));
                break;
            }
            entries.push(Entry::Item(key, value));
        }
    }
    Ok(Page { entries, truncated })
}

fn common_prefix<'key>(key: &'key [u8], prefix: &[u8], delimiter: &[u8]) -> Option<&'key [u8]> {
    if delimiter.is_empty() {
        return None;
    }
    let rest = key.strip_prefix(prefix)?;
    let at = memchr::memmem::find(rest, delimiter)?;
    Some(&key[..prefix.len() + at + delimiter.len()])
}

/// The first place after everything that starts with `prefix`.
pub(super) fn past(prefix: &[u8]) -> Cursor {
    let mut next = prefix.to_vec();
    while let Some(last) = next.pop() {
        if let Some(more) = last.checked_add(1) {
            next.push(more);
            return Cursor::From(next);
        }
    }
    // Only 0xFF bytes, which UTF-8 does not hold: nothing follows.
    Cursor::After(prefix.to_vec())
}

/// What `encoding-type=url` leaves as it is, besides letters and digits.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b'/');

/// A name in an answer, URL-encoded if the client asked for that.
pub(super) fn spell(name: &str, url: bool) -> String {
    if url { utf8_percent_encode(name, PLAIN).to_string().replace("%20", "+") } else { name.to_owned() }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::ops::Bound;

    use proptest::prelude::*;

    use super::*;

    type Table = BTreeSet<Vec<u8>>;

    fn run(table: &Table, query: &Query) -> (Vec<String>, bool) {
        let seek = |cursor: &Cursor| -> Step<_> {
            let from = match cursor {
                Cursor::From(key) => Bound::Included(key.clone()),
                Cursor::After(key) | Cursor::AfterUpload(key, _) => Bound::Excluded(key.clone()),
            };
            Ok(table.range((from, Bound::Unbounded)).map(|key| Ok((key.clone(), ()))))
        };
        let page = page(query, seek).unwrap_or(Page { entries: Vec::new(), truncated: true });
        let name = |entry| match entry {
            Entry::Item(key, ()) => String::from_utf8(key).unwrap(),
            Entry::Prefix(prefix) => String::from_utf8(prefix).unwrap() + " (prefix)",
        };
        (page.entries.into_iter().map(name).collect(), page.truncated)
    }

    /// What S3 documents, computed the slow way: filter, group, in order.
    fn model(keys: &Table, prefix: &str, delimiter: &str, marker: &str) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        for key in keys.iter().map(|key| std::str::from_utf8(key).unwrap()) {
            let Some(rest) = key.strip_prefix(prefix) else {
                continue;
            };
            let name = match rest.split_once(delimiter).filter(|_| !delimiter.is_empty()) {
                Some((head, _)) => {
                    let group = format!("{prefix}{head}{delimiter}");
                    if group == marker {
                        continue;
                    }
                    group + " (prefix)"
                }
                None => key.to_owned(),
            };
            if key > marker && names.last() != Some(&name) {
                names.push(name);
            }
        }
        names
    }

    fn keys() -> impl Strategy<Value = Table> {
        proptest::collection::btree_set("[ab/é-]{1,6}".prop_map(String::into_bytes), 0..40)
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

        #[test]
        fn pages_join_to_what_the_model_says(
            keys in keys(), prefix in "[ab/]{0,2}", delimiter in "(|/|a|b/)", marker in "(|[ab/é]{1,4})", max in 1_usize..5,
        ) {
            let mut start = Cursor::after_marker(&marker, &prefix, &delimiter);
            let mut seen = Vec::new();
            loop {
                let query = Query { prefix: prefix.clone().into(), delimiter: delimiter.clone().into(), start, max };
                let (names, truncated) = run(&keys, &query);
                prop_assert!(!truncated || names.len() == max);
                seen.extend(names);
                if !truncated {
                    break;
                }
                // A V1 client goes on from the last name, be it a key or a prefix.
                let last = seen.last().unwrap().trim_end_matches(" (prefix)");
                start = Cursor::after_marker(last, &prefix, &delimiter);
            }
            prop_assert_eq!(seen, model(&keys, &prefix, &delimiter, &marker));
        }
    }

    #[test]
    fn a_common_prefix_costs_one_seek() {
        let table: Table = (0..1000).map(|n| format!("d{}/{n}", n % 3).into_bytes()).collect();
        let mut read = 0;
        let query =
            Query { prefix: Vec::new(), delimiter: b"/".into(), start: Cursor::From(Vec::new()), max: 10 };
        let page = page(&query, |cursor| {
            let rows: Vec<_> =
                table.range(cursor.key().to_vec()..).map(|key| Ok((key.clone(), ()))).collect();
            read += 1;
            Ok(rows.into_iter())
        });
        assert_eq!(page.map(|page| page.entries.len()).unwrap_or_default(), 3);
        assert_eq!(read, 4);
    }

    #[test]
    fn names_are_spelled_as_s3_spells_them() {
        assert_eq!(spell("a b/ü+*~._-", true), "a+b/%C3%BC%2B%2A~._-");
        assert_eq!(spell("\u{1}\n%", true), "%01%0A%25");
        assert_eq!(spell("a b", false), "a b");
    }
}
