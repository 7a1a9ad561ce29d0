//! `DeleteObjects`: the client's list is parsed, each key judged and mapped, and a new list written for the
//! upstream, with the integrity header it wants. A key that is none fails alone; the others are deleted.

use http::{HeaderName, HeaderValue, Method};
use std::collections::HashMap;
use std::time::Instant;

use super::admission::outcome;
use super::answer::Answer;
use super::settle::Record;
use super::{Ask, Gateway};
use crate::account::{Outcome, Write};
use crate::error::{Code, Error, Result};
use crate::keymap::UpstreamTarget;
use crate::s3::operation::client_key;
use crate::s3::xml::{self, DeleteObject, DeleteOutcome, DeleteResult};
use crate::upstream;

impl Gateway {
    pub(super) async fn delete_objects(
        &self,
        ask: Ask<'_>,
        document: &str,
        record: &mut Record,
    ) -> Result<Answer> {
        require_integrity(&ask)?;
        let delete = xml::parse_delete(document)?;
        let mut results = Vec::with_capacity(delete.objects.len());
        let mut mapped: Vec<(UpstreamTarget, &DeleteObject)> = Vec::with_capacity(delete.objects.len());
        for object in &delete.objects {
            match self.deleted(&ask, object) {
                Ok(target) => mapped.push((target, object)),
                Err(error) => results.push(failed(object.key.clone(), object.version_id.clone(), &error)),
            }
        }
        if !mapped.is_empty() {
            results.extend(self.delete_mapped(&ask, mapped, record).await?);
        }
        let is_deleted = |result: &&DeleteResult| matches!(result.outcome, DeleteOutcome::Deleted { .. });
        let deleted_objects = results.iter().filter(is_deleted).count();
        tracing::info!(
            target: "audit",
            request_id = %ask.request_id,
            user = %ask.caller.user,
            bucket = %ask.bucket(),
            deleted_objects,
            failed = results.len() - deleted_objects,
            "a list of objects was deleted"
        );
        Ok(Answer::xml(xml::write_delete_result(&results, delete.quiet)))
    }

    fn deleted(&self, ask: &Ask<'_>, object: &DeleteObject) -> Result<UpstreamTarget> {
        if !object.conditions.is_empty() {
            // An upstream that does not know the condition would delete without it.
            return Err(Code::NotImplemented.into());
        }
        let key = client_key(object.key.clone())?;
        self.check_name(&key)?;
        ask.grant.target(&key)
    }

    pub(super) async fn delete_mapped(
        &self,
        ask: &Ask<'_>,
        mapped: Vec<(UpstreamTarget, &DeleteObject)>,
        record: &mut Record,
    ) -> Result<Vec<DeleteResult>> {
        let document =
            xml::write_delete(mapped.iter().map(|(target, object)| (target.key.as_str(), *object)));
        let (integrity, digest) = self.upstream.dialect().delete_integrity(document.as_bytes());
        let call = self
            .upstream
            .bucket_call(ask.request.operation, Method::POST)
            .query("delete", "")
            .header(integrity, digest)
            .header(http::header::CONTENT_TYPE, HeaderValue::from_static("application/xml"));
        let ids = self.ledger.quota().ids();
        let counted: Vec<bool> = mapped.iter().map(|(target, _)| ask.grant.counts(target)).collect();
        let targets = kept(&counted, mapped.iter().map(|(target, _)| ids.target(&target.key)));
        let held = if targets.is_empty() {
            self.hold_nothing()
        } else {
            self.admit(ask, Write::Delete { targets }).await?
        };
        let mapped: Vec<(UpstreamTarget, DeleteObject)> =
            mapped.into_iter().map(|(target, object)| (target, object.clone())).collect();
        // Of many pages, the last may be sent long after the request came: a signature must not be that old.
        let (upstream, now) = (self.upstream.clone(), crate::now());
        let started = Instant::now();
        let deleting = async move {
            let results = async {
                let response = upstream.send_document(call, document.into(), now).await?;
                let told = Told::new(xml::parse_delete_result(&upstream::read_document(response).await?)?);
                Ok(mapped.iter().map(|(target, object)| told.of(target, object)).collect::<Vec<_>>())
            }
            .await;
            held.settle(match &results {
                Ok(results) => Outcome::Each(kept(
                    &counted,
                    mapped.iter().zip(results).map(|((_, asked), result)| outcome_of_one(asked, result)),
                )),
                Err(_) => outcome(&results),
            })
            .await?;
            results
        };
        let results = self.run_to_settlement(deleting, record).await;
        self.note_upstream(started, &results, record);
        results
    }
}

/// What belongs to the objects that count: the ledger knows of no others.
fn kept<T>(counted: &[bool], all: impl Iterator<Item = T>) -> Vec<T> {
    all.zip(counted).filter_map(|(one, counts)| counts.then_some(one)).collect()
}

fn outcome_of_one(asked: &DeleteObject, result: &DeleteResult) -> Outcome {
    match &result.outcome {
        // Another version may be the current one now, or the same as before. Not every upstream repeats the id.
        DeleteOutcome::Deleted { .. } if asked.version_id.is_some() || result.version_id.is_some() => {
            Outcome::Look
        }
        DeleteOutcome::Deleted { .. } => Outcome::Done,
        DeleteOutcome::Failed { code, .. } if code == Code::InternalError.as_str() => Outcome::Unknown,
        DeleteOutcome::Failed { .. } => Outcome::Failed,
    }
}

/// What the upstream said of each real key.
struct Told(HashMap<String, Vec<DeleteResult>>);

impl Told {
    fn new(results: Vec<DeleteResult>) -> Self {
        let mut by_key: HashMap<String, Vec<DeleteResult>> = HashMap::with_capacity(results.len());
        for result in results {
            by_key.entry(result.key.clone()).or_default().push(result);
        }
        Self(by_key)
    }

    /// The result of one object that was asked for. Silence is no success: what the upstream left out has failed.
    fn of(&self, target: &UpstreamTarget, object: &DeleteObject) -> DeleteResult {
        let results = self.0.get(target.key.as_str()).map_or(&[][..], Vec::as_slice);
        let of_version = results.iter().find(|result| result.version_id == object.version_id);
        let Some(told) = of_version.or(results.first()) else {
            let error = Error::new(Code::InternalError);
            tracing::warn!("the upstream's DeleteResult leaves out a key that it was asked to delete");
            return failed(object.key.clone(), object.version_id.clone(), &error);
        };
        let mut result = DeleteResult { key: object.key.clone(), ..told.clone() };
        if let DeleteOutcome::Failed { code, message } = &mut result.outcome {
            let error = upstream::translate_named(code, message);
            if error.code == Code::NoSuchKey && object.version_id.is_none() {
                // S3 deletes what is not there with success; not every upstream does.
                result.outcome = DeleteOutcome::Deleted { marker: false, marker_version_id: None };
            } else {
                (*code, *message) = (error.code.as_str().to_owned(), error.message().to_owned());
            }
        }
        result
    }
}

fn failed(key: String, version_id: Option<String>, error: &Error) -> DeleteResult {
    let outcome = DeleteOutcome::Failed { code: error.code.as_str().into(), message: error.message().into() };
    DeleteResult { key, version_id, outcome }
}

/// S3 deletes no list whose integrity it cannot check.
fn require_integrity(ask: &Ask<'_>) -> Result<()> {
    let headers = ask.headers;
    let checksum = |name: &HeaderName| {
        let name = name.as_str();
        name.starts_with("x-amz-checksum-")
            && name != "x-amz-checksum-algorithm"
            && name != "x-amz-checksum-type"
    };
    let promised = headers.contains_key("content-md5")
        || headers.contains_key("x-amz-trailer")
        || headers.keys().any(checksum);
    if promised {
        return Ok(());
    }
    Err(Error::new(Code::InvalidRequest).say("Missing required header for this request: Content-MD5"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_had_a_version_is_looked_at() {
        let version = |id: Option<&str>| id.map(str::to_owned);
        let outcome = |asked, told| {
            let object = DeleteObject { key: "k".into(), version_id: version(asked), conditions: Vec::new() };
            let outcome = DeleteOutcome::Deleted { marker: false, marker_version_id: None };
            outcome_of_one(&object, &DeleteResult { key: "k".into(), version_id: version(told), outcome })
        };
        assert!(matches!(outcome(None, None), Outcome::Done));
        for (asked, told) in [(Some("1"), None), (None, Some("1")), (Some("1"), Some("1"))] {
            assert!(matches!(outcome(asked, told), Outcome::Look), "{asked:?} {told:?}");
        }
    }
}
