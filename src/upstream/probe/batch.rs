//! `DeleteObjects`: which header about its body it wants. Each question deletes a real object and looks whether it is
//! gone, because clients have taken a refusal of the whole batch for a success.

use http::{HeaderName, Method};

use super::bench::Bench;
use super::checksums::{CONTENT_MD5, digest, md5};
use super::report::{Run, Stake, Tried, Verdict};
use crate::body::checksum::Algorithm;
use crate::s3::xml::{self, DeleteObject, DeleteOutcome};

pub(super) async fn ask(run: &mut Run, bench: &Bench) {
    let with = |algorithm: Algorithm| (algorithm.header(), move |body: &[u8]| digest(algorithm, body));
    // What the gateway sends, in every dialect.
    let question = delete(bench, "batch-md5", Some((CONTENT_MD5, md5)));
    run.ask("delete-objects.content-md5", "DeleteObjects, Content-MD5", Stake::Gateway, question).await;
    let question = delete(bench, "batch-sha256", Some(with(Algorithm::Sha256)));
    run.ask("delete-objects.sha256", "DeleteObjects, x-amz-checksum-sha256", Stake::Nobody, question).await;
    let question = delete(bench, "batch-crc32c", Some(with(Algorithm::Crc32c)));
    run.ask("delete-objects.crc32c", "DeleteObjects, x-amz-checksum-crc32c", Stake::Nobody, question).await;
    let question = delete(bench, "batch-crc32", Some(with(Algorithm::Crc32)));
    run.ask("delete-objects.crc32", "DeleteObjects, x-amz-checksum-crc32", Stake::Nobody, question).await;
    let question = delete(bench, "batch-bare", None::<(HeaderName, fn(&[u8]) -> String)>);
    run.ask("delete-objects.bare", "DeleteObjects, none of them", Stake::Nobody, question).await;
}

async fn delete(bench: &Bench, name: &str, sum: Option<(HeaderName, impl Fn(&[u8]) -> String)>) -> Tried {
    bench.put(name).await?;
    let object = DeleteObject { key: bench.key(name), version_id: None, conditions: Vec::new() };
    let document = xml::write_delete([(object.key.as_str(), &object)]);
    let mut ask = bench.bucket(Method::POST).query("delete", "");
    if let Some((header, sum)) = sum {
        ask = ask.header(header, sum(document.as_bytes()));
    }
    let answer = ask.amz("content-type", "application/xml").bytes(document).send().await?;
    if !answer.ok() {
        return Ok(Verdict::no(answer.says()));
    }
    let results = xml::parse_delete_result(&answer.text());
    let failure = results.into_iter().flatten().find_map(|result| match result.outcome {
        DeleteOutcome::Failed { code, .. } => Some(code),
        DeleteOutcome::Deleted { marker_version_id, .. } => {
            let version = marker_version_id.map(|version| (result.key, version));
            bench.litter().versions.extend(version);
            None
        }
    });
    if let Some(code) = failure {
        return Ok(Verdict::no(format!("{}, but {code} for the key", answer.says())));
    }
    let after = bench.object(Method::HEAD, name).send().await?;
    let gone = after.status.as_u16() == 404;
    Ok(Verdict::is(
        gone,
        format!("{}, the object is {}", answer.says(), if gone { "gone" } else { "still there" }),
    ))
}
