//! Conditional writes. An upstream that ignores a condition carries the write out, so each question looks at what
//! became of the object and not at the status alone.

use http::{HeaderName, HeaderValue, Method, header};

use super::bench::{Bench, CONTENT};
use super::multipart;
use super::report::{Cut, Run, Stake, Tried, Verdict};
use crate::dialect::{Condition, Dialect, Honoured};
use crate::s3::operation::Operation;

const OTHER: &[u8] = b"another probe";

pub(super) async fn ask(run: &mut Run, bench: &Bench, dialect: Dialect) {
    let create_is_for =
        Stake::Clients("PutObject with If-None-Match: * overwrites: two writers may both win");
    run.ask("condition.put-new", "PutObject, If-None-Match: *, twice", create_is_for, put_new(bench)).await;
    let loss = |write, condition, looked, bare| {
        // Where nobody says that the upstream honours it, the gateway looks at the object before it writes.
        let looks = dialect.honours(write, condition, &HeaderValue::from_static("*")) == Honoured::Perhaps;
        Stake::Clients(if looks { looked } else { bare })
    };
    let replace_is_for = loss(
        Operation::PutObject,
        Condition::IfMatch,
        "PutObject with If-Match misses a change between the gateway's look and the write",
        "PutObject with If-Match is not held to its condition",
    );
    run.ask("condition.put-match", "PutObject, If-Match", replace_is_for, put_match(bench)).await;
    let delete_is_for = loss(
        Operation::DeleteObject,
        Condition::IfMatch,
        "DeleteObject with If-Match misses a change between the gateway's look and the delete",
        "DeleteObject with If-Match is not held to its condition",
    );
    run.ask("condition.delete-match", "DeleteObject, wrong If-Match", delete_is_for, delete_match(bench))
        .await;
    let complete_is_for = loss(
        Operation::CompleteMultipartUpload,
        Condition::IfNoneMatch,
        "CompleteMultipartUpload with If-None-Match: * misses an object made between the gateway's look and it",
        "CompleteMultipartUpload with If-None-Match: * overwrites",
    );
    let question = complete_new(bench);
    run.ask("condition.complete-new", "CompleteMultipartUpload, If-None-Match: *", complete_is_for, question)
        .await;
}

async fn put(
    bench: &Bench,
    name: &str,
    condition: HeaderName,
    value: &str,
    bytes: &[u8],
) -> Tried<super::answer::Answer> {
    bench.object(Method::PUT, name).header(condition, value).bytes(bytes).send().await
}

/// Whether the object still is what was put first.
async fn is_untouched(bench: &Bench, name: &str) -> Tried<bool> {
    let answer = bench.object(Method::GET, name).send().await?;
    Ok(answer.ok() && answer.body == CONTENT)
}

async fn put_new(bench: &Bench) -> Tried {
    let first = put(bench, "put-new", header::IF_NONE_MATCH, "*", CONTENT).await?;
    let second = put(bench, "put-new", header::IF_NONE_MATCH, "*", OTHER).await?;
    let came = format!("new {}, again {}", first.names(), second.names());
    Ok(Verdict::is(first.ok() && !second.ok() && is_untouched(bench, "put-new").await?, came))
}

async fn put_match(bench: &Bench) -> Tried {
    bench.put("put-match").await?;
    let head = bench.object(Method::HEAD, "put-match").send().await?;
    let etag = head.header("etag").ok_or_else(|| Cut::Step("the object has no ETag".to_owned()))?.to_owned();
    let wrong =
        put(bench, "put-match", header::IF_MATCH, "\"00000000000000000000000000000000\"", OTHER).await?;
    let untouched = is_untouched(bench, "put-match").await?;
    let right = put(bench, "put-match", header::IF_MATCH, &etag, CONTENT).await?;
    let came = format!("wrong {}, right {}", wrong.names(), right.names());
    Ok(Verdict::is(!wrong.ok() && untouched && right.ok(), came))
}

async fn delete_match(bench: &Bench) -> Tried {
    bench.put("delete-match").await?;
    let ask = bench.object(Method::DELETE, "delete-match");
    let answer = ask.header(header::IF_MATCH, "\"00000000000000000000000000000000\"").send().await?;
    let kept = is_untouched(bench, "delete-match").await?;
    let came = format!("{}, the object is {}", answer.names(), if kept { "kept" } else { "gone" });
    Ok(Verdict::is(!answer.ok() && kept, came))
}

async fn complete_new(bench: &Bench) -> Tried {
    bench.put("complete-new").await?;
    let upload = multipart::open(bench, "complete-new").await?;
    let part = multipart::upload(bench, "complete-new", &upload, 1, OTHER).await?;
    let ask = multipart::complete(bench, "complete-new", &upload, &[(1, part)]);
    let answer = ask.header(header::IF_NONE_MATCH, "*").send().await?;
    let kept = is_untouched(bench, "complete-new").await?;
    let came = format!("{}, the object is {}", answer.names(), if kept { "kept" } else { "overwritten" });
    Ok(Verdict::is(!answer.ok() && kept, came))
}
