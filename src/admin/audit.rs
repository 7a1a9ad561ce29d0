//! The log target `audit`: one line for each call that changes something, and for each that is denied: who, what, on
//! whom, and what came of it. A call whose client left before the answer is told of too: it may have been done.

use http::{Method, StatusCode};

use super::answer::Answer;
use super::routes;

/// Longer paths are cut: no id is as long.
const MAX_PATH: usize = 512;

/// What a handler knows of a change beyond its path.
#[derive(Clone)]
struct Detail(String);

/// Adds to an answer's line what was changed. No secret may be in it.
pub(super) fn detail(mut answer: Answer, text: impl Into<String>) -> Answer {
    answer.extensions_mut().insert(Detail(text.into()));
    answer
}

/// A call under way.
pub(super) struct Entry {
    what: String,
    path: String,
    changes: bool,
    told: bool,
}

impl Entry {
    pub(super) fn open(method: &Method, path: &str) -> Self {
        // What is under no route is denied, or is nothing.
        let route = routes::find(method, path).map(|(route, _)| route);
        Self {
            what: route.map_or_else(|_| method.as_str().to_owned(), |route| format!("{route:?}")),
            path: path.chars().take(MAX_PATH).collect(),
            changes: !matches!(*method, Method::GET | Method::HEAD),
            told: false,
        }
    }

    pub(super) fn close(mut self, answer: &Answer) {
        self.told = true;
        let (status, what, on) = (answer.status(), &self.what, &self.path);
        let detail = answer.extensions().get::<Detail>().map_or("", |Detail(text)| text.as_str());
        if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
            tracing::warn!(target: "audit", who = "?", what, on, status = status.as_u16(), "denied");
        } else if self.changes {
            tracing::info!(target: "audit", who = "admin", what, on, status = status.as_u16(), detail, "admin call");
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        if self.changes && !self.told {
            let (what, on) = (&self.what, &self.path);
            tracing::warn!(target: "audit", who = "?", what, on, "admin call whose client left");
        }
    }
}
