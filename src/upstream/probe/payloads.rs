//! How a body may come: hashed, in aws-chunked pieces, without a length, after `100 Continue`. The gateway itself
//! sends `UNSIGNED-PAYLOAD` with a length; the other forms are what its clients would have met without it.

use http::Method;

use super::ask::{Ask, sha256};
use super::bench::{Bench, CONTENT};
use super::chunks::Chunked;
use super::report::{Run, Stake, Tried, Verdict};

pub(super) async fn ask(run: &mut Run, bench: &Bench) {
    run.ask("payload.sha256", "hex SHA-256, right and wrong", Stake::Nobody, hashed(bench)).await;
    for (name, form) in [
        ("chunked.signed", Chunked::Signed),
        ("chunked.signed-trailer", Chunked::SignedTrailer),
        ("chunked.unsigned-trailer", Chunked::UnsignedTrailer),
    ] {
        run.ask(name, form.mode(), Stake::Nobody, chunked(bench, name, form)).await;
    }
    run.ask("body.no-length", "Transfer-Encoding: chunked", Stake::Nobody, without_length(bench)).await;
    run.ask("body.expect", "Expect: 100-continue", Stake::Nobody, expect(bench)).await;
}

/// Puts, and reads back: a service may take the framing for the content.
async fn round_trip(bench: &Bench, name: &str, put: Ask<'_>) -> Tried {
    let answer = put.send().await?;
    if !answer.ok() {
        return Ok(Verdict::no(answer.says()));
    }
    let back = bench.object(Method::GET, name).send().await?;
    let says = answer.says();
    Ok(match back.header("content-encoding") {
        _ if back.body != CONTENT => Verdict::no(format!("{says}, but other bytes were stored")),
        Some(encoding) if encoding.contains("aws-chunked") => {
            Verdict::no(format!("{says}, but Content-Encoding: aws-chunked was stored"))
        }
        _ => Verdict::yes(says),
    })
}

async fn hashed(bench: &Bench) -> Tried {
    let put = |hash| bench.object(Method::PUT, "hashed").bytes(CONTENT).sha256(hash).send();
    let right = put(sha256(CONTENT)).await?;
    let wrong = put(sha256(b"other")).await?;
    Ok(Verdict::is(right.ok() && !wrong.ok(), format!("right {}, wrong {}", right.names(), wrong.names())))
}

async fn chunked(bench: &Bench, name: &str, form: Chunked) -> Tried {
    round_trip(bench, name, bench.object(Method::PUT, name).bytes(CONTENT).chunked(form)).await
}

async fn without_length(bench: &Bench) -> Tried {
    let put = bench.object(Method::PUT, "no-length").bytes(CONTENT).without_length();
    round_trip(bench, "no-length", put).await
}

async fn expect(bench: &Bench) -> Tried {
    let answer = bench.object(Method::PUT, "expect").bytes(CONTENT).ask_first().send().await?;
    Ok(match answer.continued {
        Some(after) => {
            Verdict::is(answer.ok(), format!("100 after {} ms, then {}", after.as_millis(), answer.says()))
        }
        None => Verdict::no(format!("no 100 Continue, then {}", answer.says())),
    })
}
