//! Pre-authenticated requests: URLs of OCI's own, past the gateway. In: an object that the caller may read and that is
//! there, or one that a service user may write, and for how long. Out: the URL, once, and an id to delete it by. It
//! never outlives the credentials of whoever asked for it; who only holds a URL gets no other.

use std::time::Duration;

use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use serde::Serialize;

use super::Visit;
use super::presign::{USUAL, Wanted, invalid, lifetime, whole_second};
use crate::error::{Code, Error, Result};
use crate::gateway::Gateway;
use crate::gateway::answer::Answer;
use crate::gateway::settle::Record;
use crate::ledger::pars;
use crate::s3::operation;
use crate::s3::query::Query;
use crate::sigv4::scope::format_iso;
use crate::types::Role;
use crate::upstream::native::Access;

#[derive(Serialize)]
struct Document<'a> {
    url: &'a str,
    id: &'a str,
    method: &'a str,
    expires_at: String,
}

impl Gateway {
    pub(super) async fn create_par(
        &self,
        document: &[u8],
        visit: &Visit<'_>,
        record: &mut Record,
    ) -> Result<Answer> {
        let caller = record.caller.clone().expect("who was let in is known");
        refuse_presigned(visit)?;
        let longest = self.pars.max_expiry()?;
        let wanted = Wanted::parse(document)?;
        let expires_in = wanted.expires_in.map_or(USUAL.min(longest), Duration::from_secs);
        if expires_in.is_zero() || expires_in > longest {
            return Err(invalid(format!("expires_in: expected 1 to {} seconds.", longest.as_secs())));
        }
        let (method, access) = match wanted.method.as_deref() {
            None | Some("GET") => (Method::GET, Access::Read),
            Some("PUT") => (Method::PUT, Access::Write),
            Some(_) => return Err(invalid("method: expected GET or PUT.".into())),
        };
        if access == Access::Write && caller.role != Role::Service {
            let text = "Only service users may have one that writes: what comes that way is counted towards no quota.";
            return Err(Error::new(Code::AccessDenied).say(text));
        }
        let target = self.target(&caller, wanted)?;
        record.bucket.clone_from(&target.bucket);
        record.key.clone_from(&target.key);
        // An object that is to be read must be there.
        let first = if access == Access::Read { Method::HEAD } else { Method::PUT };
        let request = operation::Request::new(&first, target, Query::default(), false)?;
        let headers = HeaderMap::new();
        let ask = self.ask(&request, &headers, &caller, visit, record).await?;
        if access == Access::Read {
            self.head(&ask, record).await?;
        }

        let now = whole_second(visit.now);
        let expires = now + lifetime(&caller, now, expires_in)?;
        let wanted = pars::Wanted {
            user: caller.user.clone(),
            generation: visit.standing.generation,
            target: ask.grant.target(ask.key())?,
            access,
            expires,
        };
        let made = self.pars.create(wanted).await?;
        let expires_at = format_iso(expires);
        tracing::info!(
            target: "audit",
            request_id = %record.id,
            user = %caller.user,
            bucket = %ask.bucket(),
            key = %ask.key().as_str().escape_debug(),
            par = %made.id,
            method = %method,
            expires_at,
            "a pre-authenticated request was made"
        );
        let document = Document { url: &made.url, id: made.id.as_str(), method: method.as_str(), expires_at };
        let answer = Answer::json(StatusCode::OK, &document)?;
        Ok(answer.header(header::CACHE_CONTROL, HeaderValue::from_static("no-store")))
    }

    pub(super) async fn delete_par(&self, id: &str, visit: &Visit<'_>, record: &Record) -> Result<Answer> {
        let caller = record.caller.as_ref().expect("who was let in is known");
        refuse_presigned(visit)?;
        self.pars.delete(&caller.user, visit.standing.generation, id).await?;
        Ok(Answer::empty(StatusCode::NO_CONTENT))
    }
}

fn refuse_presigned(visit: &Visit<'_>) -> Result<()> {
    if visit.is_presigned {
        return Err(Error::new(Code::AccessDenied).say("A presigned URL makes no other, and deletes none."));
    }
    Ok(())
}
