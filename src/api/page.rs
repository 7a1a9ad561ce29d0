//! Pages of lists, the same on both doors. In: `?limit=&after=`. Out: what part is asked for; and the document
//! `{"<name>": […], "next": …}`, where `next` is what the next page begins after, if there may be more.

use serde::Serialize;
use serde::ser::{SerializeMap as _, Serializer};

use crate::error::{Code, Error, Result};
use crate::s3::query::{self, Query};
use crate::store::PAGE;

const USUAL: usize = 100;

/// What part of a list is asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Wanted<Id> {
    pub limit: usize,
    pub after: Option<Id>,
}

/// The ids that a list goes by.
pub trait PageId: Sized {
    fn parse(text: &str) -> Option<Self>;
    const EXPECTED: &'static str;
}

impl<Id: PageId> Wanted<Id> {
    pub fn parse(query: &Query<'_>) -> Result<Self> {
        let bad = |text: String| Error::new(Code::InvalidArgument).say(text);
        let mut wanted = Self { limit: USUAL, after: None };
        for (name, value) in query.iter() {
            match name {
                "limit" => {
                    let limit = query::number(value).filter(|limit| (1..=PAGE).contains(limit));
                    wanted.limit =
                        limit.ok_or_else(|| bad(format!("limit: expected a number from 1 to {PAGE}.")))?;
                }
                // As `next` says it when nothing is left.
                "after" if value.is_empty() => {}
                "after" => {
                    let after = Id::parse(value);
                    wanted.after = Some(after.ok_or_else(|| bad(format!("after: {}", Id::EXPECTED)))?);
                }
                _ => return Err(bad(format!("Unknown parameter {name}: expected limit or after."))),
            }
        }
        Ok(wanted)
    }
}

macro_rules! page_id {
    ($($id:ident $expected:literal;)*) => {
        $(impl PageId for crate::types::$id {
            fn parse(text: &str) -> Option<Self> {
                Self::parse(text)
            }
            const EXPECTED: &'static str = $expected;
        })*
    };
}

page_id! {
    UserId "Expected a user id: 1 to 64 of A-Z, a-z, 0-9, . _ and -, the first a letter or digit.";
    JobId "Expected a job id: 1 to 128 of A-Z, a-z, 0-9, . _ and -, the first a letter or digit.";
    AccessKeyId "Expected an access key id: 3 to 128 printable characters other than / , and =.";
}

/// A page of a list, and after what the next one begins.
pub struct Page<'a, T> {
    pub name: &'static str,
    pub items: &'a [T],
    pub next: Option<&'a str>,
}

impl<T: Serialize> Serialize for Page<'_, T> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut map = to.serialize_map(Some(2))?;
        map.serialize_entry(self.name, self.items)?;
        map.serialize_entry("next", &self.next)?;
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::UserId;

    #[test]
    fn what_is_wanted_is_checked() {
        let parse = |text| Wanted::<UserId>::parse(&Query::parse(text).expect("a query"));
        assert_eq!(parse("").ok(), Some(Wanted { limit: USUAL, after: None }));
        let bob = UserId::parse("bob");
        assert_eq!(parse("limit=1000&after=bob").ok(), Some(Wanted { limit: 1000, after: bob }));
        for bad in ["limit=0", "limit=1001", "limit=", "limit=-1", "after=..", "after=a/b", "offset=1"] {
            assert_eq!(parse(bad).expect_err(bad).code, Code::InvalidArgument, "{bad}");
        }
    }

    #[test]
    fn the_list_comes_before_what_comes_next() {
        let page = Page { name: "users", items: &[1, 2], next: Some("2") };
        let text = serde_json::to_string(&page).expect("a document");
        assert_eq!(text, r#"{"users":[1,2],"next":"2"}"#);
    }
}
