//! Every route of the admin listener, as data: its path, who may ask, what it answers to. In: method and path.
//! Out: the route with the id that its path names, or what was wrong with the request.

use http::{HeaderValue, Method, StatusCode, header};

use super::answer::{Problem, Result};
use crate::types::UserId;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Route {
    Alive,
    Ready,
    Metrics,
    ListUsers,
    GetUser,
    PutUser,
    DeleteUser,
    ListQuotas,
    GetQuota,
    Reconcile,
    Explain,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Needs {
    Nothing,
    Token,
}

pub(super) struct Entry {
    pub(super) method: Method,
    /// `{user_id}` stands for one segment.
    pub(super) path: &'static str,
    pub(super) needs: Needs,
    route: Route,
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
    entry(Method::GET, "/api/v1/admin/quota", Needs::Token, Route::ListQuotas),
    entry(Method::GET, "/api/v1/admin/quota/{user_id}", Needs::Token, Route::GetQuota),
    entry(Method::POST, "/api/v1/admin/reconcile", Needs::Token, Route::Reconcile),
    entry(Method::GET, "/api/v1/admin/explain/{request_id}", Needs::Token, Route::Explain),
];

/// Whether a path can be answered without a token: only what the table says so of. What is not in it needs one,
/// so that nobody learns without it which routes there are.
pub(super) fn needs(path: &str) -> Needs {
    let open = ROUTES.iter().any(|entry| entry.needs == Needs::Nothing && entry.path == path);
    if open || !path.starts_with("/api/") { Needs::Nothing } else { Needs::Token }
}

/// A HEAD is answered as the GET would be.
pub(super) fn find<'a>(method: &Method, path: &'a str) -> Result<(Route, Option<&'a str>)> {
    let mut allowed = Vec::new();
    for entry in ROUTES {
        let Captured::Yes(segment) = captured(entry.path, path) else { continue };
        if entry.method == *method || (*method == Method::HEAD && entry.method == Method::GET) {
            return Ok((entry.route, segment));
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

enum Captured<'a> {
    /// With the segment that stands for `{…}`.
    Yes(Option<&'a str>),
    No,
}

/// Whether a path is that of a pattern.
fn captured<'a>(pattern: &str, path: &'a str) -> Captured<'a> {
    match pattern.split_once('{') {
        None if pattern == path => Captured::Yes(None),
        None => Captured::No,
        Some((fixed, _)) => match path.strip_prefix(fixed) {
            Some(segment) if !segment.is_empty() && !segment.contains('/') => Captured::Yes(Some(segment)),
            Some(_) | None => Captured::No,
        },
    }
}

/// The user that a path names. No legal id needs an escape in a path.
pub(super) fn user_id(segment: Option<&str>) -> Result<UserId> {
    segment.and_then(UserId::parse).ok_or_else(|| Problem::bad(EXPECTED_ID))
}

pub(super) const EXPECTED_ID: &str =
    "Expected a user id: 1 to 64 of A-Z, a-z, 0-9, . _ and -, the first a letter or digit.";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_find_their_routes() {
        let found = |method, path| find(&method, path).map_err(|problem| problem.status.as_u16());
        assert_eq!(found(Method::GET, "/healthz"), Ok((Route::Alive, None)));
        assert_eq!(found(Method::HEAD, "/readyz"), Ok((Route::Ready, None)));
        assert_eq!(found(Method::PUT, "/api/v1/admin/users/alice"), Ok((Route::PutUser, Some("alice"))));
        assert_eq!(found(Method::GET, "/api/v1/admin/users/alice"), Ok((Route::GetUser, Some("alice"))));
        assert_eq!(found(Method::GET, "/api/v1/admin/quota"), Ok((Route::ListQuotas, None)));
        for path in [
            "/",
            "/healthz/",
            "/api/v1/admin/users/",
            "/api/v1/admin/users/a/b",
            "/api/v1/admin",
            "/api/v1/quota",
        ] {
            assert_eq!(found(Method::GET, path), Err(404), "{path}");
        }
        assert_eq!(found(Method::POST, "/metrics"), Err(405));
        let problem = find(&Method::POST, "/api/v1/admin/users/alice").expect_err("no such method");
        assert_eq!(problem.answer().headers()[header::ALLOW], "GET, PUT, DELETE");
        assert_eq!(user_id(Some("..")).map_err(|problem| problem.status.as_u16()), Err(400));
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
