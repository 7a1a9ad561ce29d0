//! Who there is: the users of the configuration file and those of the store, in the order of their ids, page by
//! page. In: `?limit=&after=`. Out: ids, and where the next page begins.

use std::collections::BTreeSet;

use super::answer::{Problem, Result};
use super::routes::EXPECTED_ID;
use crate::admit::tiers::Rules;
use crate::s3::query::{self, Query};
use crate::store::{self, PAGE, Store};
use crate::types::UserId;

const USUAL: usize = 100;

/// What part of a list is asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Wanted {
    limit: usize,
    after: Option<UserId>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Page {
    pub(super) users: Vec<UserId>,
    /// The last of these, if there may be more.
    pub(super) next: Option<UserId>,
}

impl Wanted {
    pub(super) fn parse(query: Option<&str>) -> Result<Self> {
        let query = Query::parse(query.unwrap_or("")).map_err(|error| Problem::bad(error.message()))?;
        let mut wanted = Self { limit: USUAL, after: None };
        for (name, value) in query.iter() {
            match name {
                "limit" => {
                    let limit = query::number(value).filter(|limit| (1..=PAGE).contains(limit));
                    wanted.limit = limit
                        .ok_or_else(|| Problem::bad(format!("limit: expected a number from 1 to {PAGE}.")))?;
                }
                // As `next` says it when nothing is left.
                "after" if value.is_empty() => {}
                "after" => {
                    let after = UserId::parse(value);
                    wanted.after = Some(after.ok_or_else(|| Problem::bad(format!("after: {EXPECTED_ID}")))?);
                }
                _ => return Err(Problem::bad(format!("Unknown parameter {name}: expected limit or after."))),
            }
        }
        Ok(wanted)
    }
}

pub(super) async fn page(store: &Store, rules: &Rules, wanted: &Wanted) -> store::Result<Page> {
    let stored = store.users(wanted.after.as_ref()).await?;
    Ok(merge(&stored, rules.managed_users(), wanted))
}

/// The first page, or the one after.
pub(super) async fn whole_page(store: &Store, rules: &Rules, after: Option<UserId>) -> store::Result<Page> {
    page(store, rules, &Wanted { limit: PAGE, after }).await
}

fn merge<'a>(stored: &[UserId], managed: impl Iterator<Item = &'a UserId>, wanted: &Wanted) -> Page {
    // Beyond a full page of the store there may be more of its users, to stand between those of the file.
    let end = if stored.len() < PAGE { None } else { stored.last().cloned() };
    let in_reach = |user: &&UserId| {
        wanted.after.as_ref().is_none_or(|after| *user > after) && end.as_ref().is_none_or(|end| *user <= end)
    };
    let all: BTreeSet<UserId> = managed.filter(in_reach).cloned().chain(stored.iter().cloned()).collect();
    let more = all.len() > wanted.limit || end.is_some();
    let users: Vec<UserId> = all.into_iter().take(wanted.limit).collect();
    let next = users.last().filter(|_| more).cloned();
    Page { users, next }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> UserId {
        UserId::parse(text).expect("an id")
    }

    fn ids(names: &[&str]) -> Vec<UserId> {
        names.iter().map(|name| id(name)).collect()
    }

    #[test]
    fn pages_hold_both_kinds_once_and_in_order() {
        let (managed, mut after, mut seen) = (ids(&["b", "d", "f"]), None, Vec::new());
        loop {
            let stored: Vec<_> = ids(&["a", "b", "c", "e"])
                .into_iter()
                .filter(|user| after.as_ref().is_none_or(|after| user > after))
                .collect();
            let page = merge(&stored, managed.iter(), &Wanted { limit: 2, after });
            assert!(page.users.len() <= 2);
            seen.extend(page.users);
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(seen, ids(&["a", "b", "c", "d", "e", "f"]));
    }

    #[test]
    fn users_of_the_file_wait_for_the_page_they_belong_to() {
        let stored: Vec<_> = (0..PAGE).map(|n| id(&format!("u{n:04}"))).collect();
        let managed = ids(&["a", "z"]);
        let page = merge(&stored, managed.iter(), &Wanted { limit: PAGE, after: None });
        assert_eq!((page.users.len(), page.users.first()), (PAGE, Some(&id("a"))));
        assert_eq!(page.next, Some(id("u0998")));
        let page = merge(&ids(&["u0999"]), managed.iter(), &Wanted { limit: PAGE, after: Some(id("u0998")) });
        assert_eq!(page, Page { users: ids(&["u0999", "z"]), next: None });
    }

    #[test]
    fn what_is_wanted_is_checked() {
        let parse = |query| Wanted::parse(Some(query)).map_err(|problem| problem.status.as_u16());
        assert_eq!(parse(""), Ok(Wanted { limit: USUAL, after: None }));
        assert_eq!(parse("limit=1000&after=bob"), Ok(Wanted { limit: 1000, after: Some(id("bob")) }));
        for bad in
            ["limit=0", "limit=1001", "limit=", "limit=-1", "after=..", "after=a/b", "offset=1", "a=%zz"]
        {
            assert_eq!(parse(bad), Err(400), "{bad}");
        }
    }
}
