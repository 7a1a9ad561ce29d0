//! Everything of one dataset or model, deleted: page by page of the upstream's own listing, each page as one
//! `DeleteObjects`, whose every key is settled before the next page is asked for. A client that leaves ends it between
//! two pages; asked again, it goes on with what is left. What came meanwhile may stay.

use http::StatusCode;
use http::header::RETRY_AFTER;
use serde::Serialize;

use super::Visit;
use crate::error::{Code, Error, Result};
use crate::gateway::answer::Answer;
use crate::gateway::settle::Record;
use crate::gateway::{Ask, Gateway};
use crate::keymap::{self, UpstreamTarget};
use crate::s3::operation::{self, Operation, Target, client_key};
use crate::s3::query::Query;
use crate::s3::uri;
use crate::s3::xml::{DeleteObject, DeleteOutcome};
use crate::types::{BucketName, ClientKey};

#[derive(Serialize)]
struct Document {
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    deleted_objects: u64,
    /// As the listing had them.
    freed_bytes: u64,
}

/// How far it is; told to the audit log however it ends.
struct Tally<'a> {
    ask: &'a Ask<'a>,
    deleted_objects: u64,
    freed_bytes: u64,
    /// Keys that the upstream did not delete.
    failed: u64,
}

impl Drop for Tally<'_> {
    fn drop(&mut self) {
        let Self { ask, deleted_objects, freed_bytes, failed } = *self;
        tracing::info!(
            target: "audit",
            request_id = %ask.request_id,
            user = %ask.caller.user,
            bucket = %ask.bucket(),
            prefix = %ask.key().as_str().escape_debug(),
            deleted_objects,
            freed_bytes,
            failed,
            "everything under a prefix was deleted, so far"
        );
    }
}

impl Gateway {
    pub(super) async fn delete_all(
        &self,
        bucket: &str,
        raw_id: &str,
        query: &Query<'_>,
        visit: &Visit<'_>,
        record: &mut Record,
    ) -> Result<Answer> {
        refuse_parameters(query)?;
        let target = Target { bucket: BucketName::parse(bucket), key: Some(prefix(raw_id)?) };
        record.operation = Some(Operation::DeleteObjects);
        record.bucket.clone_from(&target.bucket);
        record.key.clone_from(&target.key);
        let request =
            operation::Request { operation: Operation::DeleteObjects, target, query: Query::default() };
        let caller = record.caller.clone().expect("who was let in is known");
        let ask = self.ask(&request, &visit.parts.headers, &caller, visit, record).await?;
        let mut tally = Tally { ask: &ask, deleted_objects: 0, freed_bytes: 0, failed: 0 };
        let ended = self.delete_pages(&mut tally, record).await;
        let Tally { deleted_objects, freed_bytes, failed, .. } = tally;
        let ended = ended.and(if failed == 0 {
            Ok(())
        } else {
            Err(Error::new(Code::ServiceUnavailable).say(format!("{failed} objects could not be deleted.")))
        });
        let Err(error) = ended else {
            return Answer::json(StatusCode::OK, &Document { error: None, deleted_objects, freed_bytes });
        };
        tracing::debug!(request_id = %record.id, %error, "a recursive delete is not finished");
        record.late_failure.get_or_init(|| error.code);
        let text = format!("Not everything was deleted; asked again, it goes on. {}", error.message());
        let document = Document { error: Some(text), deleted_objects, freed_bytes };
        let answer = Answer::json(StatusCode::SERVICE_UNAVAILABLE, &document)?;
        Ok(match error.retry_after_secs() {
            Some(seconds) => answer.header(RETRY_AFTER, seconds.into()),
            None => answer,
        })
    }

    async fn delete_pages(&self, tally: &mut Tally<'_>, record: &mut Record) -> Result<()> {
        let ask = tally.ask;
        let prefix = ask.grant.target(ask.key())?;
        let mut token = None;
        loop {
            let page = self.ledger.list(&prefix.key, token.as_deref()).await?;
            let (mut objects, mut sizes) = (Vec::new(), Vec::new());
            for (key, size) in page.entries {
                // A listing that named what is not the caller's was refused already; this fails closed all the same.
                let own = ask.grant.scope().unmap(&key).ok_or(Code::BadGateway)?.to_owned();
                if client_key(own.clone()).is_err() {
                    // Written past the gateway, under a name that nobody can say here.
                    tally.failed += 1;
                    continue;
                }
                let object = DeleteObject { key: own, version_id: None, conditions: Vec::new() };
                objects.push((UpstreamTarget { key: keymap::listed(key) }, object));
                sizes.push(size);
            }
            if !objects.is_empty() {
                let mapped = objects.iter().map(|(target, object)| (target.clone(), object)).collect();
                let results = self.delete_mapped(ask, mapped, record).await?;
                for (result, size) in results.iter().zip(sizes) {
                    match &result.outcome {
                        DeleteOutcome::Deleted { .. } => {
                            tally.deleted_objects += 1;
                            tally.freed_bytes += size;
                        }
                        DeleteOutcome::Failed { .. } => tally.failed += 1,
                    }
                }
            }
            token = page.next;
            if token.is_none() {
                return Ok(());
            }
        }
    }
}

/// The id and a slash: one whole segment, so that `ds1` is no prefix of `ds10`.
fn prefix(raw_id: &str) -> Result<ClientKey> {
    let id = uri::decode_path(raw_id).map_err(|_| Code::InvalidURI)?;
    if id.contains(['/', '\\']) {
        return Err(Error::new(Code::InvalidArgument).say("An id is one segment of a path."));
    }
    client_key([&id, "/"].concat())
}

/// One that is not known here could be meant to make it delete less.
fn refuse_parameters(query: &Query<'_>) -> Result<()> {
    let is_of_the_signature =
        |name: &str| name.get(..6).is_some_and(|start| start.eq_ignore_ascii_case("x-amz-"));
    match query.iter().find(|(name, _)| !is_of_the_signature(name)) {
        None => Ok(()),
        Some((name, _)) => Err(Error::new(Code::InvalidArgument)
            .say(format!("This call has no parameter {}.", name.escape_debug()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_one_whole_segment() {
        let prefix = |raw| prefix(raw).map(|key| key.as_str().to_owned()).map_err(|error| error.code);
        assert_eq!(prefix("ds1").as_deref(), Ok("ds1/"));
        assert_eq!(prefix("a%20b%25").as_deref(), Ok("a b%/"));
        for bad in ["a%2Fb", "%2F", "a%5Cb", "..%2f..%2fbob"] {
            assert_eq!(prefix(bad), Err(Code::InvalidArgument), "{bad}");
        }
        for bad in ["..", ".", "%2e%2e", "%zz", "%00", "%ff"] {
            assert_eq!(prefix(bad), Err(Code::InvalidURI), "{bad}");
        }
    }

    #[test]
    fn no_parameter_is_overlooked() {
        let refused = |raw| refuse_parameters(&Query::parse(raw).expect("a query")).is_err();
        assert!(!refused(""));
        assert!(!refused("X-Amz-Signature=s&x-amz-date=d"));
        for bad in ["dry_run=true", "prefix=a", "versionId=1", "x-am"] {
            assert!(refused(bad), "{bad}");
        }
    }
}
