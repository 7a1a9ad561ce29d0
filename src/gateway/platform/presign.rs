//! Presigned URLs for whoever cannot sign, or wants somebody else to fetch. In: a method on one object that the caller
//! may do, and for how long. Out: a URL signed with a session of its own, which is sealed into it: nothing is stored,
//! and it opens that one method on that one object, until it expires or its user is disabled, removed or made anew.
//! It never outlives the credentials of whoever asked for it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::{HeaderValue, Method, StatusCode, header};
use serde::{Deserialize, Serialize};

use super::Visit;
use crate::auth::session::Origin;
use crate::error::{Code, Error, Result};
use crate::gateway::answer::Answer;
use crate::gateway::settle::Record;
use crate::gateway::{Ask, Gateway};
use crate::s3::operation::{self, Target, client_key};
use crate::s3::query::Query;
use crate::s3::uri;
use crate::sigv4::presign::Presign;
use crate::sigv4::scope::format_iso;
use crate::types::{BucketName, Caller, JobId};

pub(super) const USUAL: Duration = Duration::from_hours(24);
/// What a signature in a query may live at most.
const MAX_EXPIRES: u64 = 7 * 24 * 60 * 60;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    pub(super) method: Option<String>,
    bucket: Option<String>,
    key: Option<String>,
    uri: Option<String>,
    pub(super) expires_in: Option<u64>,
}

#[derive(Serialize)]
struct Document<'a> {
    url: String,
    method: &'a str,
    expires_at: String,
}

impl Gateway {
    pub(super) async fn presign(
        &self,
        document: &[u8],
        visit: &Visit<'_>,
        record: &mut Record,
    ) -> Result<Answer> {
        let caller = record.caller.clone().expect("who was let in is known");
        if visit.is_presigned {
            return Err(Error::new(Code::AccessDenied).say("A presigned URL makes no other."));
        }
        let wanted = Wanted::parse(document)?;
        let expires_in = wanted.expires_in.unwrap_or(USUAL.as_secs());
        if !(1..=MAX_EXPIRES).contains(&expires_in) {
            return Err(invalid(format!("expires_in: expected 1 to {MAX_EXPIRES} seconds.")));
        }
        let method = wanted.method()?;
        let target = self.target(&caller, wanted)?;
        record.bucket.clone_from(&target.bucket);
        record.key.clone_from(&target.key);
        let request = operation::Request::new(&method, target, Query::default(), false)?;
        let ask = self.ask(&request, &visit.parts.headers, &caller, visit, record).await?;

        let signed_at = whole_second(visit.now);
        let expires_in = lifetime(&caller, signed_at, Duration::from_secs(expires_in))?;
        let url = self.presigned_url(&ask, method.as_str(), visit.origin.clone(), signed_at, expires_in)?;
        let expires_at = format_iso(signed_at + expires_in);
        let answer = Answer::json(StatusCode::OK, &Document { url, method: method.as_str(), expires_at })?;
        Ok(answer.header(header::CACHE_CONTROL, HeaderValue::from_static("no-store")))
    }

    pub(super) fn target(&self, caller: &Caller, wanted: Wanted) -> Result<Target> {
        match (wanted.bucket, wanted.key, wanted.uri) {
            (Some(bucket), Some(key), None) => {
                let bucket = BucketName::parse(&bucket).ok_or(Code::NoSuchBucket)?;
                Ok(Target { bucket: Some(bucket), key: Some(client_key(key)?) })
            }
            (None, None, Some(uri)) => self.locate(caller, &uri),
            _ => Err(invalid("Expected bucket and key, or uri.".into())),
        }
    }

    fn presigned_url(
        &self,
        ask: &Ask<'_>,
        method: &str,
        origin: Origin,
        signed_at: SystemTime,
        expires_in: Duration,
    ) -> Result<String> {
        let key = ask.key().as_str();
        // One that the URL does not need would only make it long.
        let needed = |job: &&JobId| key.split('/').any(|segment| segment == job.as_str());
        let jobs = ask.caller.jobs.iter().filter(needed).cloned().collect();
        let (generation, expires) = (ask.standing.generation, signed_at + expires_in);
        let session = self.authenticator.presign(ask.caller, generation, origin, jobs, expires)?;
        let (scheme, host) = self.public_host(ask);
        let raw_path = format!("/{}/{}", ask.bucket(), uri::encode_path(key));
        let query = Presign {
            method,
            host: &host,
            raw_path: &raw_path,
            region: &self.region,
            access_key_id: &session.access_key_id,
            secret: &session.secret,
            token: session.token.expose(),
            signed_at,
            expires_in,
        }
        .query();
        let host =
            host.to_str().map_err(|_| Error::new(Code::InvalidRequest).say("A Host that is no name."))?;
        Ok(format!("{scheme}://{host}{raw_path}?{query}"))
    }

    /// Where the URL will be opened: the public URL, or where the request came.
    fn public_host(&self, ask: &Ask<'_>) -> (&str, HeaderValue) {
        let public = self.public_url.as_ref().and_then(|url| Some((url.scheme_str()?, url.authority()?)));
        if let Some((scheme, authority)) = public {
            let host = HeaderValue::from_str(authority.as_str()).expect("an authority is printable ASCII");
            return (scheme, host);
        }
        let host = ask.parts.headers.get(header::HOST).cloned();
        let scheme = if ask.peer.tls { "https" } else { "http" };
        (scheme, host.expect("a request without a Host gets no further than the door"))
    }
}

impl Wanted {
    pub(super) fn parse(document: &[u8]) -> Result<Self> {
        serde_json::from_slice(document)
            .map_err(|error| invalid(format!("The body is not what was expected: {error}.")))
    }

    fn method(&self) -> Result<Method> {
        match self.method.as_deref() {
            None | Some("GET") => Ok(Method::GET),
            Some("HEAD") => Ok(Method::HEAD),
            Some("PUT") => Ok(Method::PUT),
            Some("DELETE") => Ok(Method::DELETE),
            Some(_) => Err(invalid("method: expected GET, HEAD, PUT or DELETE.".into())),
        }
    }
}

/// As long as is wanted, but no longer than the caller's own credentials live.
pub(super) fn lifetime(caller: &Caller, signed_at: SystemTime, wanted: Duration) -> Result<Duration> {
    let Some(end) = caller.expires else { return Ok(wanted) };
    let left = end.duration_since(signed_at).unwrap_or_default().as_secs();
    match Duration::from_secs(left).min(wanted) {
        Duration::ZERO => Err(Code::ExpiredToken.into()),
        some => Ok(some),
    }
}

/// A signature knows no finer time.
pub(super) fn whole_second(time: SystemTime) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs())
}

pub(super) fn invalid(text: String) -> Error {
    Error::new(Code::InvalidArgument).say(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Role, UserId, WayIn};

    #[test]
    fn a_url_lives_no_longer_than_whoever_made_it() {
        let signed_at = whole_second(UNIX_EPOCH + Duration::from_millis(1_700_000_000_900));
        assert_eq!(signed_at, UNIX_EPOCH + Duration::from_secs(1_700_000_000));
        let lifetime = |expires| {
            let user = UserId::parse("alice").expect("an id");
            let caller = Caller { user, role: Role::User, way: WayIn::SigV4Header, jobs: [].into(), expires };
            lifetime(&caller, signed_at, Duration::from_secs(100)).map_err(|error| error.code)
        };
        let after = |millis| Some(signed_at + Duration::from_millis(millis));
        assert_eq!(lifetime(None), Ok(Duration::from_secs(100)));
        assert_eq!(lifetime(after(200_000)), Ok(Duration::from_secs(100)));
        assert_eq!(lifetime(after(50_900)), Ok(Duration::from_secs(50)));
        assert_eq!(lifetime(after(900)), Err(Code::ExpiredToken));
        assert_eq!(lifetime(Some(signed_at - Duration::from_secs(1))), Err(Code::ExpiredToken));
    }

    #[test]
    fn what_is_wanted_is_read_strictly() {
        let parse = |text: &str| serde_json::from_str::<Wanted>(text);
        let wanted = parse(r#"{"method":"PUT","bucket":"models","key":"m","expires_in":60}"#).expect("fine");
        assert_eq!(wanted.method().expect("a method"), Method::PUT);
        for bad in [r#"{"expires_in":-1}"#, r#"{"expires_in":1.5}"#, r#"{"expires":60}"#, "[]", ""] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        let other = parse(r#"{"method":"POST"}"#).expect("fine so far");
        assert_eq!(other.method().expect_err("no such method").code, Code::InvalidArgument);
    }
}
