//! Who there is: the users of the configuration file and those of the store, in the order of their ids, page by
//! page. In: `?limit=&after=`. Out: ids, and where the next page begins.

use std::collections::BTreeSet;

use super::answer::Result;
use crate::admit::tiers::Rules;
use crate::api::page::{PageId, Wanted};
use crate::s3::query::Query;
use crate::store::{self, PAGE, Store};
use crate::types::UserId;

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Page {
    pub(super) users: Vec<UserId>,
    /// The last of these, if there may be more.
    pub(super) next: Option<UserId>,
}

/// The part of a list that a request asks for.
pub(super) fn wanted<Id: PageId>(query: Option<&str>) -> Result<Wanted<Id>> {
    Ok(Wanted::parse(&Query::parse(query.unwrap_or(""))?)?)
}

pub(super) async fn page(store: &Store, rules: &Rules, wanted: &Wanted<UserId>) -> store::Result<Page> {
    let stored = store.users(wanted.after.as_ref()).await?;
    Ok(merge(&stored, rules.managed_users(), wanted))
}

/// The first page, or the one after.
pub(super) async fn whole_page(store: &Store, rules: &Rules, after: Option<UserId>) -> store::Result<Page> {
    page(store, rules, &Wanted { limit: PAGE, after }).await
}

fn merge<'a>(stored: &[UserId], managed: impl Iterator<Item = &'a UserId>, wanted: &Wanted<UserId>) -> Page {
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
}
