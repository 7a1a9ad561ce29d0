//! `POST /api/v1/admin/reconcile`: users are recounted from the bucket, one after the other, and whoever asked
//! sees it line by line. In: which users. Out: JSON lines; a user ends with `done` or `failed`. When the one who
//! asked goes away, the recount under way ends as it would, and no further one begins.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::sync::mpsc;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::answer::{self, Problem, Result};
use super::{Admin, people, quota};
use crate::api::page::PageId as _;
use crate::ledger::{self, Ledger};
use crate::store;
use crate::types::UserId;

/// Recounts a user from the bucket's own listing.
pub trait Reconciler: Send + Sync {
    /// `progress` is told after every page. An error is a text for the operator.
    fn reconcile<'a>(
        &'a self,
        user: &'a UserId,
        progress: &'a (dyn Fn(Progress) + Send + Sync),
    ) -> BoxFuture<'a, Result<Recounted, String>>;
}

impl Reconciler for Ledger {
    fn reconcile<'a>(
        &'a self,
        user: &'a UserId,
        progress: &'a (dyn Fn(Progress) + Send + Sync),
    ) -> BoxFuture<'a, Result<Recounted, String>> {
        Box::pin(async move {
            let tell = |event| {
                let ledger::Event::Counting { objects, bytes } = event;
                progress(Progress { objects, bytes });
            };
            let counted = self.recount(user, tell).await.map_err(|error| error.message().to_owned())?;
            let ledger::Recounted { objects, bytes, found_bytes, missing_bytes } = counted;
            Ok(Recounted { objects, bytes, found_bytes, missing_bytes })
        })
    }
}

/// What was listed so far.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Progress {
    pub objects: u64,
    pub bytes: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Recounted {
    pub objects: u64,
    pub bytes: u64,
    /// Bytes that the ledger did not know of.
    pub found_bytes: u64,
    /// Bytes that it had and that are not there.
    pub missing_bytes: u64,
}

/// One line.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Line {
    pub user_id: String,
    #[serde(flatten)]
    pub event: Event,
    /// Which user this is, of how many.
    pub number: u64,
    pub of: u64,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub enum Event {
    Counting { objects: u64, bytes: u64 },
    Done { objects: u64, bytes: u64, drift_bytes: u64, found_bytes: u64, missing_bytes: u64 },
    Failed { error: String },
}

impl From<Recounted> for Event {
    fn from(recounted: Recounted) -> Self {
        let Recounted { objects, bytes, found_bytes, missing_bytes } = recounted;
        Self::Done { objects, bytes, drift_bytes: found_bytes + missing_bytes, found_bytes, missing_bytes }
    }
}

/// Lines that wait for a slow reader; of what is only progress, more are dropped.
const WAITING: usize = 16;

#[derive(PartialEq, Eq, Debug)]
enum Who {
    All,
    These(Vec<UserId>),
}

pub(super) async fn start(admin: &Arc<Admin>, document: &[u8], token: TaskTrackerToken) -> Result {
    let who = parse(document).map_err(Problem::bad)?;
    if let Who::These(users) = &who {
        for user in users {
            if !quota::exists(admin, user).await? {
                return Err(Problem::no_such_user(user));
            }
        }
    }
    let of = count(admin, &who).await?;
    let (lines, answer) = mpsc::channel(WAITING);
    let run = Run { admin: admin.clone(), lines, number: 0, of };
    tokio::spawn(run.everyone(who));
    Ok(answer::lines(answer, token))
}

fn parse(document: &[u8]) -> Result<Who, String> {
    const EXPECTED: &str = "Expected {\"users\":[…]} or {\"all\":true}.";
    let document: Map<String, Value> = serde_json::from_slice(document).map_err(|_| EXPECTED.to_owned())?;
    if let Some(name) = document.keys().find(|name| !matches!(name.as_str(), "users" | "all")) {
        return Err(format!("Unknown field {name:?}. {EXPECTED}"));
    }
    match (document.get("users"), document.get("all")) {
        (None | Some(Value::Null), Some(Value::Bool(true))) => Ok(Who::All),
        (Some(Value::Array(users)), None | Some(Value::Bool(false) | Value::Null)) => {
            let parse = |user: &Value| user.as_str().and_then(UserId::parse);
            let users: Option<Vec<_>> = users.iter().map(parse).collect();
            Ok(Who::These(users.ok_or_else(|| format!("users: {}", UserId::EXPECTED))?))
        }
        _ => Err(EXPECTED.to_owned()),
    }
}

async fn count(admin: &Admin, who: &Who) -> store::Result<u64> {
    let mut count = 0;
    match who {
        Who::These(users) => count = users.len(),
        Who::All => {
            let mut after = None;
            loop {
                let page = people::whole_page(&admin.store, admin.tiers.rules(), after).await?;
                count += page.users.len();
                after = page.next;
                if after.is_none() {
                    break;
                }
            }
        }
    }
    Ok(u64::try_from(count).expect("a count fits"))
}

struct Run {
    admin: Arc<Admin>,
    lines: mpsc::Sender<Bytes>,
    number: u64,
    of: u64,
}

/// The reader has gone.
struct Gone;

impl Run {
    async fn everyone(mut self, who: Who) {
        let done = match who {
            Who::These(users) => self.these(users).await,
            Who::All => self.all().await,
        };
        if done.is_err() {
            tracing::info!(done = self.number, of = self.of, "nobody reads on: no further user is recounted");
        }
    }

    async fn all(&mut self) -> Result<(), Gone> {
        let mut after = None;
        loop {
            let page = people::whole_page(&self.admin.store, self.admin.tiers.rules(), after).await;
            let Ok(page) = page else {
                let error = "the state store is not available: the users after this are not recounted";
                // Named by nobody: who would have come next is not known.
                return self.tell("", Event::Failed { error: error.to_owned() }).await;
            };
            self.these(page.users).await?;
            after = page.next;
            if after.is_none() {
                return Ok(());
            }
        }
    }

    async fn these(&mut self, users: Vec<UserId>) -> Result<(), Gone> {
        for user in users {
            self.number += 1;
            if self.lines.is_closed() {
                return Err(Gone);
            }
            let progress = |progress: Progress| {
                let Progress { objects, bytes } = progress;
                let line = self.line(user.as_str(), Event::Counting { objects, bytes });
                // A reader who does not keep up misses some of it.
                self.lines.try_send(line).ok();
            };
            progress(Progress::default());
            let recounted = self.admin.reconciler.reconcile(&user, &progress).await;
            let event = recounted.map_or_else(|error| Event::Failed { error }, Event::from);
            self.tell(user.as_str(), event).await?;
        }
        Ok(())
    }

    async fn tell(&self, user: &str, event: Event) -> Result<(), Gone> {
        self.lines.send(self.line(user, event)).await.map_err(|_| Gone)
    }

    fn line(&self, user: &str, event: Event) -> Bytes {
        let line = Line { user_id: user.to_owned(), event, number: self.number, of: self.of };
        let mut text = serde_json::to_vec(&line).expect("numbers and text can be written");
        text.push(b'\n');
        text.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_to_be_recounted_is_said_plainly() {
        let alice = || UserId::parse("alice").expect("an id");
        assert_eq!(parse(br#"{"all":true}"#), Ok(Who::All));
        assert_eq!(parse(br#"{"users":["alice"]}"#), Ok(Who::These(vec![alice()])));
        assert_eq!(parse(br#"{"users":["alice"],"all":false}"#), Ok(Who::These(vec![alice()])));
        for bad in [
            "",
            "{}",
            "[]",
            r#"{"all":false}"#,
            r#"{"all":"true"}"#,
            r#"{"users":"alice"}"#,
            r#"{"users":[".."]}"#,
            r#"{"users":[1]}"#,
            r#"{"users":["alice"],"all":true}"#,
            r#"{"users":["alice"],"fast":true}"#,
        ] {
            assert!(parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn lines_read_back() {
        let recounted = Recounted { objects: 1, bytes: 2, found_bytes: 3, missing_bytes: 4 };
        for (event, text) in [
            (
                Event::Counting { objects: 1, bytes: 2 },
                r#"{"user_id":"alice","event":"counting","objects":1,"bytes":2,"number":1,"of":2}"#,
            ),
            (
                recounted.into(),
                r#"{"user_id":"alice","event":"done","objects":1,"bytes":2,"drift_bytes":7,"found_bytes":3,"missing_bytes":4,"number":1,"of":2}"#,
            ),
            (
                Event::Failed { error: "why".into() },
                r#"{"user_id":"alice","event":"failed","error":"why","number":1,"of":2}"#,
            ),
        ] {
            let line = Line { user_id: "alice".into(), event, number: 1, of: 2 };
            assert_eq!(serde_json::to_string(&line).expect("a line"), text);
            assert_eq!(serde_json::from_str::<Line>(text).expect("a line"), line);
        }
    }
}
