//! Single objects: what is put comes back, whole, in part and on conditions, and goes when it is deleted.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::{Method, header};
use md5::{Digest as _, Md5};

use super::answer::quoted;
use super::ask::{Ask, sha256};
use super::bench::{Bench, CONTENT};
use super::chunks::hex;
use super::listings::listed;
use super::report::{Cut, Run, Stake, Tried, Verdict};

/// What clients are promised: names without the prefix plus values.
const METADATA: usize = 2 * 1024;

pub(super) async fn ask(run: &mut Run, bench: &Bench) {
    run.ask("object.head", "HeadObject", Stake::Gateway, head(bench)).await;
    run.ask("object.get", "GetObject", Stake::Gateway, get(bench)).await;
    run.ask("object.range", "GetObject, Range", Stake::Gateway, range(bench)).await;
    run.ask("object.delete", "DeleteObject", Stake::Gateway, delete(bench)).await;
    run.ask("object.etag", "ETag of a PutObject", Stake::Nobody, etag(bench)).await;
    let conditions_are_for = Stake::Clients("conditional reads answer in full");
    run.ask("object.get-conditions", "If-None-Match, If-Match", conditions_are_for, conditions(bench)).await;
    let metadata_is_for = Stake::Clients("user metadata of 2 KiB cannot be stored");
    run.ask("object.metadata", "2 KiB of user metadata", metadata_is_for, metadata(bench)).await;
    let text_is_for = Stake::Clients("user metadata that is not ASCII is refused or changed");
    run.ask("object.metadata-utf8", "user metadata, not ASCII", text_is_for, metadata_utf8(bench)).await;
    for (name, tried, class) in [
        ("object.class-standard", "x-amz-storage-class: STANDARD", "STANDARD"),
        ("object.class-standard-ia", "x-amz-storage-class: STANDARD_IA", "STANDARD_IA"),
    ] {
        run.ask(name, tried, Stake::Nobody, storage_class(bench, class)).await;
    }
    run.ask("object.class-unknown", "an unknown storage class is refused", Stake::Nobody, no_class(bench))
        .await;
    let sse_c_is_for = Stake::Clients("objects cannot be encrypted with clients' own keys (SSE-C)");
    run.ask("object.sse-c", "SSE-C", sse_c_is_for, sse_c(bench)).await;
    for (name, tried, folder, key) in [
        ("key.odd", "a key with space, +, %, é, ~", "key-odd/", "key-odd/a b+c%41é~;=&"),
        ("key.slashes", "a key with //", "key-slashes/", "key-slashes/a//b/"),
        ("key.line-feed", "a key with a line feed", "key-lf/", "key-lf/a\nb"),
        ("key.control", "a key with U+0001", "key-control/", "key-control/a\u{1}b"),
    ] {
        run.ask(name, tried, Stake::Clients("some names cannot be used"), listed(bench, folder, key)).await;
    }
}

async fn head(bench: &Bench) -> Tried {
    bench.put("object").await?;
    let answer = bench.object(Method::HEAD, "object").send().await?;
    let length = answer.header("content-length").and_then(|text| text.parse().ok());
    if answer.ok() && length == Some(CONTENT.len()) {
        return Ok(Verdict::yes(answer.says()));
    }
    Ok(Verdict::no(format!("{}, Content-Length {length:?}", answer.says())))
}

async fn get(bench: &Bench) -> Tried {
    bench.put("object").await?;
    let answer = bench.object(Method::GET, "object").send().await?;
    let same = answer.ok() && answer.body == CONTENT;
    let came = if answer.ok() && !same { "200, but other bytes".to_owned() } else { answer.says() };
    Ok(Verdict::is(same, came))
}

async fn range(bench: &Bench) -> Tried {
    bench.put("object").await?;
    let answer = bench.object(Method::GET, "object").header(header::RANGE, "bytes=2-5").send().await?;
    Ok(Verdict::is(answer.status.as_u16() == 206 && answer.body == CONTENT[2..6], answer.says()))
}

async fn delete(bench: &Bench) -> Tried {
    bench.put("deleted").await?;
    let answer = bench.object(Method::DELETE, "deleted").send().await?;
    if !answer.ok() {
        return Ok(Verdict::no(answer.says()));
    }
    let after = bench.object(Method::HEAD, "deleted").send().await?;
    Ok(Verdict::is(after.status.as_u16() == 404, format!("{}, then {}", answer.says(), after.says())))
}

async fn etag(bench: &Bench) -> Tried {
    bench.put("object").await?;
    let answer = bench.object(Method::HEAD, "object").send().await?;
    let etag = answer.header("etag").unwrap_or_default().trim_matches('"').to_owned();
    let is_md5 = etag.eq_ignore_ascii_case(&hex(&Md5::digest(CONTENT)));
    Ok(Verdict::is(is_md5, if is_md5 { "the MD5 of the bytes".to_owned() } else { quoted(&etag) }))
}

async fn conditions(bench: &Bench) -> Tried {
    bench.put("object").await?;
    let head = bench.object(Method::HEAD, "object").send().await?;
    let etag = head.header("etag").unwrap_or("\"\"").to_owned();
    let same = bench.object(Method::GET, "object").header(header::IF_NONE_MATCH, etag).send().await?;
    let other = bench.object(Method::GET, "object").header(header::IF_MATCH, "\"other\"").send().await?;
    let both = (same.status.as_u16(), other.status.as_u16());
    Ok(Verdict::is(both == (304, 412), format!("If-None-Match {}, If-Match {}", same.names(), other.names())))
}

async fn metadata(bench: &Bench) -> Tried {
    let value = "m".repeat(METADATA - "probe".len());
    stored(bench, "metadata", &value).await
}

async fn metadata_utf8(bench: &Bench) -> Tried {
    stored(bench, "metadata-utf8", "Grüße, 世界").await
}

async fn stored(bench: &Bench, name: &str, value: &str) -> Tried {
    let put = bench.object(Method::PUT, name).amz("x-amz-meta-probe", value).bytes(CONTENT).send().await?;
    if !put.ok() {
        return Ok(Verdict::no(put.says()));
    }
    let head = bench.object(Method::HEAD, name).send().await?;
    let back = head.headers.get("x-amz-meta-probe").map(http::HeaderValue::as_bytes);
    Ok(match back {
        Some(back) if back == value.as_bytes() => Verdict::yes("stored, and comes back as it is"),
        Some(back) => Verdict::no(format!("comes back as {}", quoted(&String::from_utf8_lossy(back)))),
        None => Verdict::no("accepted, but does not come back"),
    })
}

async fn storage_class(bench: &Bench, class: &str) -> Tried {
    let name = format!("class-{class}");
    let put =
        bench.object(Method::PUT, &name).amz("x-amz-storage-class", class).bytes(CONTENT).send().await?;
    if !put.ok() {
        return Ok(Verdict::no(put.says()));
    }
    let head = bench.object(Method::HEAD, &name).send().await?;
    let shown = head.header("x-amz-storage-class").map_or_else(|| "none".to_owned(), quoted);
    Ok(Verdict::yes(format!("accepted; HeadObject shows {shown}")))
}

async fn no_class(bench: &Bench) -> Tried {
    let put = bench.object(Method::PUT, "class-unknown").amz("x-amz-storage-class", "BUCKETWARDEN");
    let answer = put.bytes(CONTENT).send().await?;
    Ok(Verdict::is(!answer.ok(), answer.names()))
}

async fn sse_c(bench: &Bench) -> Tried {
    if bench.scheme != http::uri::Scheme::HTTPS {
        return Err(Cut::Step("keys are not sent over plain http".to_owned()));
    }
    let put = with_own_key(bench.object(Method::PUT, "sse-c").bytes(CONTENT)).send().await?;
    if !put.ok() {
        return Ok(Verdict::no(put.says()));
    }
    let without = bench.object(Method::GET, "sse-c").send().await?;
    let with = with_own_key(bench.object(Method::GET, "sse-c")).send().await?;
    let works = !without.ok() && with.ok() && with.body == CONTENT;
    Ok(Verdict::is(works, format!("with the key {}, without {}", with.names(), without.names())))
}

/// A key for [`CONTENT`], which is no secret.
fn with_own_key(ask: Ask<'_>) -> Ask<'_> {
    let key = sha256(CONTENT);
    ask.amz("x-amz-server-side-encryption-customer-algorithm", "AES256")
        .amz("x-amz-server-side-encryption-customer-key", BASE64.encode(key))
        .amz("x-amz-server-side-encryption-customer-key-md5", BASE64.encode(Md5::digest(key)))
}
