//! Who may use the admin API: whoever holds `admin.token`. In: the configured token, a request's headers. Out: a
//! problem, or none. Without a token in the configuration, nobody may.

use http::{HeaderMap, HeaderValue, StatusCode, header};

use super::answer::Problem;
use crate::types::Secret;

pub(super) fn check(token: Option<&Secret>, headers: &HeaderMap) -> Result<(), Problem> {
    let Some(token) = token else {
        let text = "The admin API is closed: the configuration has no admin.token.";
        return Err(Problem::new(StatusCode::FORBIDDEN, text));
    };
    // Compared in constant time.
    if bearer(headers).is_some_and(|presented| presented == *token) {
        return Ok(());
    }
    let text = "Expected the admin token, as `Authorization: Bearer <admin.token>`.";
    let problem = Problem::new(StatusCode::UNAUTHORIZED, text);
    Err(problem.header(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer")))
}

/// The one bearer token presented.
fn bearer(headers: &HeaderMap) -> Option<Secret> {
    let mut all = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (all.next(), all.next()) else { return None };
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("Bearer").then(|| Secret::new(token.trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "a-token-of-at-least-32-characters";

    fn status(configured: Option<&str>, presented: &[&str]) -> Option<StatusCode> {
        let mut headers = HeaderMap::new();
        for value in presented {
            headers.append(header::AUTHORIZATION, HeaderValue::from_str(value).expect("a value"));
        }
        let configured = configured.map(|token| Secret::new(token.to_owned()));
        check(configured.as_ref(), &headers).err().map(|problem| problem.status)
    }

    #[test]
    fn only_the_token_opens() {
        let right = format!("Bearer {TOKEN}");
        assert_eq!(status(Some(TOKEN), &[&right]), None);
        assert_eq!(status(Some(TOKEN), &[&format!("bearer  {TOKEN} ")]), None);
        for wrong in [
            &["Bearer"][..],
            &["Bearer "],
            &["Bearer wrong"],
            &[TOKEN],
            &[&right[..right.len() - 1]],
            &[&format!("{right}x")],
            &[&format!("Basic {TOKEN}")],
            &[&right, &right],
            &[],
        ] {
            assert_eq!(status(Some(TOKEN), wrong), Some(StatusCode::UNAUTHORIZED), "{wrong:?}");
        }
    }

    #[test]
    fn without_a_token_it_is_closed() {
        for presented in [&["Bearer "][..], &["Bearer x"], &[]] {
            assert_eq!(status(None, presented), Some(StatusCode::FORBIDDEN));
        }
    }
}
