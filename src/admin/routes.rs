//! Every route of the admin listener, as data: its path, who may ask, what it answers to. In: method and path.
//! Out: the route with the ids that its path names, or what was wrong with the request. What a route takes and
//! answers is described in `openapi`.

use http::{HeaderValue, Method, StatusCode, header};

use super::answer::{Problem, Result};
use crate::api::page::PageId;
use crate::types::{AccessKeyId, JobId, UserId};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Route {
    Alive,
    Ready,
    Metrics,
    ListUsers,
    GetUser,
    PutUser,
    DeleteUser,
    ListKeys,
    CreateKey,
    SetKey,
    DeleteKey,
    ListJobs,
    GetJob,
    PutJob,
    DeleteJob,
    ListQuotas,
    GetQuota,
    Reconcile,
    Explain,
    Reload,
    OpenApi,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Needs {
    Nothing,
    Token,
}

pub(super) struct Entry {
    pub(super) method: Method,
    /// `{user_id}` and the like stand for one segment.
    pub(super) path: &'static str,
    pub(super) needs: Needs,
    pub(super) route: Route,
}

const fn entry(method: Method, path: &'static str, needs: Needs, route: Route) -> Entry {
    Entry { method, path, needs, route }
}

pub(super) const ROUTES: &[Entry] = &[
    entry(Method::GET, "/healthz", Needs::Nothing, Route::Alive),
    entry(Method::GET, "/readyz", Needs::Nothing, Route::Ready),
    entry(Method::GET, "/metrics", Needs::Nothing, Route::Metrics),
    entry(Method::GET, "/api/v1/admin/users", Needs::Token, Route::ListUsers),
    entry(Method::GET, "/api/v1/admin/users/{user_id}", Needs::Token, Route::GetUser),
    entry(Method::PUT, "/api/v1/admin/users/{user_id}", Needs::Token, Route::PutUser),
    entry(Method::DELETE, "/api/v1/admin/users/{user_id}", Needs::Token, Route::DeleteUser),
    entry(Method::GET, "/api/v1/admin/users/{user_id}/keys", Needs::Token, Route::ListKeys),
    entry(Method::POST, "/api/v1/admin/users/{user_id}/keys", Needs::Token, Route::CreateKey),
    entry(Method::PATCH, "/api/v1/admin/users/{user_id}/keys/{key_id}", Needs::Token, Route::SetKey),
    entry(Method::DELETE, "/api/v1/admin/users/{user_id}/keys/{key_id}", Needs::Token, Route::DeleteKey),
    entry(Method::GET, "/api/v1/admin/jobs", Needs::Token, Route::ListJobs),
    entry(Method::GET, "/api/v1/admin/jobs/{job_id}", Needs::Token, Route::GetJob),
    entry(Method::PUT, "/api/v1/admin/jobs/{job_id}", Needs::Token, Route::PutJob),
    entry(Method::DELETE, "/api/v1/admin/jobs/{job_id}", Needs::Token, Route::DeleteJob),
    entry(Method::GET, "/api/v1/admin/quota", Needs::Token, Route::ListQuotas),
    entry(Method::GET, "/api/v1/admin/quota/{user_id}", Needs::Token, Route::GetQuota),
    entry(Method::POST, "/api/v1/admin/reconcile", Needs::Token, Route::Reconcile),
    entry(Method::GET, "/api/v1/admin/explain/{request_id}", Needs::Token, Route::Explain),
    entry(Method::POST, "/api/v1/admin/reload", Needs::Token, Route::Reload),
    entry(Method::GET, "/api/v1/admin/openapi.json", Needs::Token, Route::OpenApi),
];

/// Whether a path can be answered without a token: only what the table says so of. What is not in it needs one,
/// so that nobody learns without it which routes there are.
pub(super) fn needs(path: &str) -> Needs {
    let open = ROUTES.iter().any(|entry| entry.needs == Needs::Nothing && entry.path == path);
    if open || !path.starts_with("/api/") { Needs::Nothing } else { Needs::Token }
}

/// A HEAD is answered as the GET would be.
pub(super) fn find<'a>(method: &Method, path: &'a str) -> Result<(Route, Segments<'a>)> {
    let mut allowed = Vec::new();
    for entry in ROUTES {
        let Some(segments) = captured(entry.path, path) else { continue };
        if entry.method == *method || (*method == Method::HEAD && entry.method == Method::GET) {
            return Ok((entry.route, segments));
        }
        allowed.push(entry.method.as_str());
    }
    if allowed.is_empty() {
        return Err(Problem::new(StatusCode::NOT_FOUND, "There is nothing of this path."));
    }
    let allowed = allowed.join(", ");
    let allow = HeaderValue::try_from(&allowed).expect("names of methods");
    let text = format!("The method {method} is not allowed here; allowed: {allowed}.");
    Err(Problem::new(StatusCode::METHOD_NOT_ALLOWED, text).header(header::ALLOW, allow))
}

/// What a path has for each `{…}` of its pattern. No legal id needs an escape in a path.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Segments<'a> {
    pub(super) first: &'a str,
    second: &'a str,
}

impl Segments<'_> {
    pub(super) fn user(&self) -> Result<UserId> {
        id(self.first)
    }

    pub(super) fn job(&self) -> Result<JobId> {
        id(self.first)
    }

    /// Of the user before it.
    pub(super) fn key(&self) -> Result<AccessKeyId> {
        id(self.second)
    }
}

fn id<Id: PageId>(segment: &str) -> Result<Id> {
    Id::parse(segment).ok_or_else(|| Problem::bad(Id::EXPECTED))
}

/// Whether a path is that of a pattern.
fn captured<'a>(pattern: &str, path: &'a str) -> Option<Segments<'a>> {
    let mut segments = Segments::default();
    let (mut wanted, mut given) = (pattern.split('/'), path.split('/'));
    loop {
        match (wanted.next(), given.next()) {
            (None, None) => return Some(segments),
            (Some(wanted), Some(given)) if wanted.starts_with('{') && !given.is_empty() => {
                let free = if segments.first.is_empty() { &mut segments.first } else { &mut segments.second };
                *free = given;
            }
            (Some(wanted), Some(given)) if wanted == given => {}
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_find_their_routes() {
        let found = |method, path| find(&method, path).map_err(|problem| problem.status.as_u16());
        let segments = |first, second| Segments { first, second };
        assert_eq!(found(Method::GET, "/healthz"), Ok((Route::Alive, segments("", ""))));
        assert_eq!(found(Method::HEAD, "/readyz"), Ok((Route::Ready, segments("", ""))));
        assert_eq!(
            found(Method::PUT, "/api/v1/admin/users/alice"),
            Ok((Route::PutUser, segments("alice", "")))
        );
        assert_eq!(
            found(Method::GET, "/api/v1/admin/users/alice/keys"),
            Ok((Route::ListKeys, segments("alice", "")))
        );
        assert_eq!(
            found(Method::PATCH, "/api/v1/admin/users/alice/keys/BWKONE"),
            Ok((Route::SetKey, segments("alice", "BWKONE")))
        );
        assert_eq!(found(Method::GET, "/api/v1/admin/quota"), Ok((Route::ListQuotas, segments("", ""))));
        for path in [
            "/",
            "/healthz/",
            "/api/v1/admin/users/",
            "/api/v1/admin/users//keys",
            "/api/v1/admin/users/a/b",
            "/api/v1/admin/users/a/keys/b/c",
            "/api/v1/admin",
            "/api/v1/quota",
        ] {
            assert_eq!(found(Method::GET, path), Err(404), "{path}");
        }
        assert_eq!(found(Method::POST, "/metrics"), Err(405));
        let problem = find(&Method::POST, "/api/v1/admin/users/alice").expect_err("no such method");
        assert_eq!(problem.answer().headers()[header::ALLOW], "GET, PUT, DELETE");
        assert_eq!(segments("..", "").user().map_err(|problem| problem.status.as_u16()), Err(400));
        assert_eq!(segments("a", "b=c").key().map_err(|problem| problem.status.as_u16()), Err(400));
    }

    #[test]
    fn everything_under_api_needs_the_token() {
        for entry in ROUTES {
            assert_eq!(needs(entry.path), entry.needs, "{}", entry.path);
            assert_eq!(
                entry.needs == Needs::Token,
                entry.path.starts_with("/api/v1/admin/"),
                "{}",
                entry.path
            );
        }
        assert_eq!(needs("/api/v1/admin/nothing"), Needs::Token);
    }
}
