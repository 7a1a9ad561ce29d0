//! Multipart uploads and copies. Every question begins an upload of its own; those that it does not end are
//! aborted with everything else.

use http::{HeaderName, Method};

use super::answer::quoted;
use super::ask::Ask;
use super::bench::{Bench, CONTENT};
use super::report::{Cut, Run, Stake, Tried, Verdict};
use crate::s3::xml::{self, Answer, CompletedPart};

const COPY_SOURCE: HeaderName = HeaderName::from_static("x-amz-copy-source");
const ODD: &str = "copy/a b+c%41é~;=&";

pub(super) async fn ask(run: &mut Run, bench: &Bench) {
    run.ask("multipart.complete", "a multipart upload of one part", Stake::Gateway, whole(bench)).await;
    run.ask("multipart.list-parts", "ListParts", Stake::Gateway, list_parts(bench)).await;
    run.ask("multipart.list-uploads", "ListMultipartUploads", Stake::Gateway, list_uploads(bench)).await;
    run.ask("multipart.abort", "AbortMultipartUpload", Stake::Gateway, abort(bench)).await;
    let copy_is_for = Stake::Clients("CopyObject does not work");
    run.ask("copy.object", "CopyObject", copy_is_for, copy(bench, "object")).await;
    let odd_is_for = Stake::Clients("objects with unusual names cannot be copied");
    run.ask("copy.odd-key", "CopyObject of a key with space, +, %, é", odd_is_for, copy(bench, ODD)).await;
    let part_is_for = Stake::Clients("UploadPartCopy does not work");
    run.ask("copy.part", "UploadPartCopy", part_is_for, copy_part(bench)).await;
}

pub(super) async fn open(bench: &Bench, name: &str) -> Tried<String> {
    let answer = bench.object(Method::POST, name).query("uploads", "").send().await?;
    let id = xml::parse_initiate_result(&answer.text()).ok().filter(|_| answer.ok());
    id.ok_or_else(|| Cut::Step(format!("CreateMultipartUpload: {}", answer.says())))
}

fn part<'a>(bench: &'a Bench, name: &str, upload: &str, number: u16) -> Ask<'a> {
    let ask = bench.object(Method::PUT, name);
    ask.query("partNumber", &number.to_string()).query("uploadId", upload)
}

/// The part's `ETag`.
pub(super) async fn upload(
    bench: &Bench,
    name: &str,
    upload: &str,
    number: u16,
    bytes: &[u8],
) -> Tried<String> {
    let answer = part(bench, name, upload, number).bytes(bytes).send().await?;
    let etag = answer.header("etag").filter(|_| answer.ok()).map(str::to_owned);
    etag.ok_or_else(|| Cut::Step(format!("UploadPart: {}", answer.says())))
}

pub(super) fn complete<'a>(bench: &'a Bench, name: &str, upload: &str, parts: &[(u16, String)]) -> Ask<'a> {
    let parts: Vec<CompletedPart> = parts
        .iter()
        .map(|(number, etag)| CompletedPart { number: *number, etag: etag.clone(), checksums: Vec::new() })
        .collect();
    let ask = bench.object(Method::POST, name).query("uploadId", upload);
    ask.amz("content-type", "application/xml").bytes(xml::write_complete(&parts))
}

async fn whole(bench: &Bench) -> Tried {
    let id = open(bench, "multipart").await?;
    let etag = upload(bench, "multipart", &id, 1, CONTENT).await?;
    let answer = complete(bench, "multipart", &id, &[(1, etag)]).send().await?;
    let completed = match xml::parse_complete_result(&answer.text()) {
        Ok(Answer::Done(completed)) if answer.ok() => completed,
        _ => return Ok(Verdict::no(format!("CompleteMultipartUpload: {}", answer.says()))),
    };
    let back = bench.object(Method::GET, "multipart").send().await?;
    let came = format!("{}, ETag {}", answer.says(), quoted(&completed.etag));
    Ok(Verdict::is(back.ok() && back.body == CONTENT, came))
}

async fn list_parts(bench: &Bench) -> Tried {
    let id = open(bench, "list-parts").await?;
    upload(bench, "list-parts", &id, 1, CONTENT).await?;
    let answer = bench.object(Method::GET, "list-parts").query("uploadId", &id).send().await?;
    let parts = xml::read_parts(&answer.text()).map(|page| page.entries).unwrap_or_default();
    let whole = matches!(parts.as_slice(), [(1, size)] if usize::try_from(*size) == Ok(CONTENT.len()));
    let came = if answer.ok() && !whole { format!("200, but {} parts", parts.len()) } else { answer.says() };
    Ok(Verdict::is(answer.ok() && whole, came))
}

async fn list_uploads(bench: &Bench) -> Tried {
    let id = open(bench, "list-uploads").await?;
    let key = bench.key("list-uploads");
    let answer = bench.bucket(Method::GET).query("uploads", "").query("prefix", &key).send().await?;
    let uploads = xml::read_uploads(&answer.text()).map(|page| page.entries).unwrap_or_default();
    let listed = uploads.iter().any(|upload| upload.key == key && upload.upload_id == id);
    let came = if answer.ok() && !listed { "200, but without the upload".to_owned() } else { answer.says() };
    Ok(Verdict::is(answer.ok() && listed, came))
}

async fn abort(bench: &Bench) -> Tried {
    let id = open(bench, "abort").await?;
    upload(bench, "abort", &id, 1, CONTENT).await?;
    let answer = bench.object(Method::DELETE, "abort").query("uploadId", &id).send().await?;
    let after = bench.object(Method::GET, "abort").query("uploadId", &id).send().await?;
    let came = format!("{}, then ListParts {}", answer.names(), after.names());
    Ok(Verdict::is(answer.ok() && after.code() == "NoSuchUpload", came))
}

async fn copy(bench: &Bench, source: &str) -> Tried {
    bench.put(source).await?;
    let name = "copied";
    let ask = bench.object(Method::PUT, name).header(COPY_SOURCE, bench.copy_source(source));
    let answer = ask.send().await?;
    if !answer.ok() {
        return Ok(Verdict::no(answer.says()));
    }
    let back = bench.object(Method::GET, name).send().await?;
    let came =
        if back.body == CONTENT { answer.says() } else { format!("{}, but other bytes", answer.says()) };
    Ok(Verdict::is(back.ok() && back.body == CONTENT, came))
}

async fn copy_part(bench: &Bench) -> Tried {
    bench.put("object").await?;
    let id = open(bench, "copy-part").await?;
    let ask = part(bench, "copy-part", &id, 1).header(COPY_SOURCE, bench.copy_source("object"));
    let answer = ask.send().await?;
    if !answer.ok() {
        return Ok(Verdict::no(answer.says()));
    }
    let listed = bench.object(Method::GET, "copy-part").query("uploadId", &id).send().await?;
    let parts = xml::read_parts(&listed.text()).map(|page| page.entries).unwrap_or_default();
    let whole = matches!(parts.as_slice(), [(1, size)] if usize::try_from(*size) == Ok(CONTENT.len()));
    Ok(Verdict::is(whole, answer.says()))
}
