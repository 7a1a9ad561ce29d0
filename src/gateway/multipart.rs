//! Multipart uploads, but for the parts' bytes (`object`) and copies (`copy`). The upload id that a client
//! holds is the upstream's with a mark that binds it to user, bucket and key; any other id does not exist.

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};

use std::time::Instant;

use super::admission::outcome;
use super::answer::Answer;
use super::settle::Record;
use super::token::Tokens;
use super::{Ask, Gateway, local};
use crate::account::{Outcome, Write};
use crate::body::checksum::Algorithm;
use crate::error::{Code, Error, Result};
use crate::s3::query;
use crate::s3::xml::{self, PartsView};
use crate::upstream::{self, Call, headers};

/// S3's limit on part numbers.
const MAX_PART_NUMBER: u16 = 10_000;
const MAX_PARTS_A_PAGE: u32 = 1000;

/// The upstream's id of the upload that was asked for, if it is the caller's.
fn upload_id<'q>(ask: &'q Ask<'_>, tokens: &Tokens) -> Result<&'q str> {
    let marked = ask.param("uploadId").ok_or(Code::NoSuchUpload)?;
    tokens.unmark(marked, &ask.context(&[ask.key().as_str()])).ok_or_else(|| Code::NoSuchUpload.into())
}

/// The part number that was asked for, and the upstream's id of the upload.
pub(super) fn part_named<'q>(ask: &'q Ask<'_>, tokens: &Tokens) -> Result<(u16, &'q str)> {
    let number = ask.param("partNumber").and_then(query::number::<u16>);
    let number = number.filter(|number| (1..=MAX_PART_NUMBER).contains(number)).ok_or_else(|| {
        Error::new(Code::InvalidArgument)
            .say("Part number must be an integer between 1 and 10000, inclusive")
            .detail("ArgumentName", "partNumber")
    })?;
    Ok((number, upload_id(ask, tokens)?))
}

/// Adds the upload id and part number that were asked for.
pub(super) fn name_part(call: Call, ask: &Ask<'_>, tokens: &Tokens) -> Result<Call> {
    let (number, upload_id) = part_named(ask, tokens)?;
    Ok(call.query("partNumber", &number.to_string()).query("uploadId", upload_id))
}

impl Gateway {
    pub(super) async fn create_upload(&self, ask: Ask<'_>, record: &mut Record) -> Result<Answer> {
        let checksum = checksum_headers(ask.headers)?;
        let call = self.object_call(Method::POST, &ask)?.query("uploads", "");
        let target = self.ledger_target(&ask)?;
        let held = self.admit(&ask, Write::Create { target: target.clone() }).await?;
        let (upstream, ledger, now) = (self.upstream.clone(), self.ledger.clone(), ask.now);
        let started = Instant::now();
        let creating = async move {
            let created = async {
                let response = upstream.send(call, now).await?;
                let headers = headers::of_write(response.headers());
                let id = xml::parse_initiate_result(&upstream::read_document(response).await?)?;
                Ok((headers, id))
            }
            .await;
            held.settle(match &created {
                Ok((_, id)) => Outcome::Created(ledger.quota().ids().upload(target, id)),
                Err(_) => outcome(&created),
            })
            .await?;
            created
        };
        let created = self.run_to_settlement(creating, record).await;
        self.note_upstream(started, &created, record);
        let (mut headers, id) = created?;
        headers.extend(checksum);
        let id = self.tokens.mark(&id, &ask.context(&[ask.key().as_str()]));
        let document = xml::write_initiate_result(ask.bucket().as_str(), ask.key().as_str(), &id);
        Ok(Answer::xml(document).headers(headers))
    }

    pub(super) async fn complete_upload(
        &self,
        ask: Ask<'_>,
        document: &str,
        record: &mut Record,
    ) -> Result<Answer> {
        let id = upload_id(&ask, &self.tokens)?;
        let mut parts = xml::parse_complete(document)?;
        for part in &mut parts {
            // Verified when the part came; the upstream was not told of it.
            part.checksums.clear();
        }
        let call = self.object_call(Method::POST, &ask)?.query("uploadId", id).slow();
        let uri = self.platform_uri_header(&ask);
        let early = uri.clone();
        let location = self.location(&ask);
        let (bucket, key) = (ask.bucket().clone(), ask.key().clone());
        let numbers = parts.iter().map(|part| part.number).collect();
        let write = Write::Complete { upload: self.ledger_upload(&ask, id)?, parts: numbers };
        let held = self.admit(&ask, write).await?;
        let (upstream, now) = (self.upstream.clone(), ask.now);
        let operation = async move {
            let completed = async {
                let response = upstream.send_document(call, xml::write_complete(&parts).into(), now).await?;
                let kept = headers::of_write(response.headers());
                let document = upstream::read_document(response).await?;
                Ok((kept, upstream::embedded(xml::parse_complete_result(&document)?)?))
            }
            .await;
            held.settle(outcome(&completed)).await?;
            let (kept, completed) = completed?;
            let document = xml::write_complete_result(&location, bucket.as_str(), key.as_str(), &completed);
            Ok(Answer::xml(document).headers(kept).headers(uri))
        };
        self.run_slow(operation, early, &ask, record).await
    }

    pub(super) async fn abort_upload(&self, ask: Ask<'_>, record: &mut Record) -> Result<Answer> {
        let id = upload_id(&ask, &self.tokens)?;
        let call = self.object_call(Method::DELETE, &ask)?.query("uploadId", id);
        let held = self.admit(&ask, Write::Abort { upload: self.ledger_upload(&ask, id)? }).await?;
        let (upstream, now) = (self.upstream.clone(), ask.now);
        let started = Instant::now();
        let aborting = async move {
            let answered = upstream.send(call, now).await;
            held.settle(match &answered {
                // It is gone either way; whether by a completion, the account knows.
                Err(error) if error.code == Code::NoSuchUpload => Outcome::Done,
                _ => outcome(&answered),
            })
            .await?;
            answered
        };
        let answered = self.run_to_settlement(aborting, record).await;
        self.note_upstream(started, &answered, record);
        answered?;
        Ok(Answer::empty(StatusCode::NO_CONTENT))
    }

    pub(super) async fn list_parts(&self, ask: Ask<'_>, record: &mut Record) -> Result<Answer> {
        let id = upload_id(&ask, &self.tokens)?;
        let number = |name: &'static str, default: u32| match ask.param(name) {
            None | Some("") => Ok(default),
            Some(text) => query::number::<u32>(text).ok_or_else(|| {
                Error::new(Code::InvalidArgument)
                    .say(format!("Provided {name} not an integer or within integer range"))
                    .detail("ArgumentName", name)
            }),
        };
        let max_parts = number("max-parts", MAX_PARTS_A_PAGE)?.min(MAX_PARTS_A_PAGE);
        let part_number_marker = number("part-number-marker", 0)?;
        let call = self
            .object_call(Method::GET, &ask)?
            .query("uploadId", id)
            .query("max-parts", &max_parts.to_string())
            .query("part-number-marker", &part_number_marker.to_string());
        let response = self.forward(call, &ask, record).await?;
        let view = PartsView {
            bucket: ask.bucket().as_str(),
            key: ask.key().as_str(),
            upload_id: ask.param("uploadId").unwrap_or_default(),
            part_number_marker,
            max_parts,
            owner: Some(local::owner(ask.caller)),
            url: ask.param("encoding-type") == Some("url"),
        };
        Ok(Answer::xml(xml::rewrite_parts(&upstream::read_document(response).await?, &view)?))
    }
}

/// The checksums that the client says its parts will have: the gateway verifies them, and says so.
fn checksum_headers(client: &HeaderMap) -> Result<Vec<(HeaderName, HeaderValue)>> {
    let name = HeaderName::from_static("x-amz-checksum-algorithm");
    let Some(value) = client.get(&name) else {
        return Ok(Vec::new());
    };
    let known = value.to_str().ok().and_then(Algorithm::from_name).is_some();
    if !known {
        return Err(Error::new(Code::InvalidRequest).say("Checksum algorithm provided is unsupported."));
    }
    let kind = HeaderName::from_static("x-amz-checksum-type");
    let kind = client.get(&kind).map(|value| (kind, value.clone()));
    Ok([(name, value.clone())].into_iter().chain(kind).collect())
}
