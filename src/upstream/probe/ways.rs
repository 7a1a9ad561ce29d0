//! The upstream's own ways: versions, tags, how its errors look, which headers it adds, how it throttled.
//! The conclusion tells the dialect from these.

use std::future::ready;

use http::Method;

use super::answer::quoted;
use super::bench::Bench;
use super::report::{Cut, Run, Stake, Tried, Verdict};
use crate::s3::xml::{self, Versioning};

/// Headers that say whose service it is, or that browsers act on.
const TELLING: &[&str] = &["access-control-", "opc-", "server", "strict-transport-security", "x-api-id"];

/// Signs of OCI that were found in passing.
#[derive(Default)]
pub(super) struct Signs {
    pub(super) message_before_code: bool,
}

pub(super) async fn ask(run: &mut Run, bench: &Bench) -> Signs {
    let mut signs = Signs::default();
    run.ask("versions.status", "GetBucketVersioning", Stake::Nobody, versioning(bench)).await;
    let versions_are_for = Stake::Clients("ListObjectVersions does not work");
    run.ask("versions.list", "ListObjectVersions", versions_are_for, versions(bench)).await;
    run.ask("tagging.object", "GetObjectTagging", Stake::Nobody, tagging(bench)).await;
    run.ask(
        "error.shape",
        "GetObject of a key that is not there",
        Stake::Nobody,
        error_shape(bench, &mut signs),
    )
    .await;
    run.ask("answer.headers", "headers that come unasked", Stake::Nobody, ready(headers(bench))).await;
    run.ask("load.throttled", "answers that meant: slower", Stake::Nobody, ready(Ok(throttled(bench)))).await;
    signs
}

async fn versioning(bench: &Bench) -> Tried {
    let answer = bench.bucket(Method::GET).query("versioning", "").send().await?;
    if !answer.ok() {
        return Ok(Verdict::no(answer.says()));
    }
    Ok(match xml::parse_versioning(&answer.text()) {
        Ok(Some(Versioning::Enabled)) => {
            Verdict::yes("enabled: deleted and overwritten objects go on taking space")
        }
        Ok(Some(Versioning::Suspended)) => Verdict::yes("suspended"),
        Ok(None) => Verdict::yes("never enabled"),
        Err(_) => Verdict::no("200, but no document that can be read"),
    })
}

async fn versions(bench: &Bench) -> Tried {
    let ask = bench.bucket(Method::GET).query("versions", "").query("prefix", &bench.key("list/"));
    let answer = ask.send().await?;
    Ok(Verdict::is(answer.ok() && answer.text().contains("<Version>"), answer.says()))
}

async fn tagging(bench: &Bench) -> Tried {
    bench.put("object").await?;
    let answer = bench.object(Method::GET, "object").query("tagging", "").send().await?;
    Ok(Verdict::is(answer.ok(), answer.says()))
}

async fn error_shape(bench: &Bench, signs: &mut Signs) -> Tried {
    let answer = bench.object(Method::GET, "never-put").send().await?;
    let text = answer.text();
    let at = |element: &str| text.find(element);
    let (code, message) = (at("<Code>"), at("<Message>"));
    signs.message_before_code = code.zip(message).is_some_and(|(code, message)| message < code);
    let order = if signs.message_before_code { "Message before Code" } else { "Code before Message" };
    let id = if at("<RequestId>").is_some() { "with RequestId" } else { "without RequestId" };
    Ok(Verdict::is(answer.code() == "NoSuchKey", format!("{}; {order}, {id}", answer.names())))
}

fn headers(bench: &Bench) -> Tried {
    let found: Vec<String> = bench
        .seen()
        .headers
        .iter()
        .filter(|(name, _)| TELLING.iter().any(|telling| name.starts_with(telling)))
        .map(|(name, value)| match name.as_str() {
            "server" | "access-control-allow-origin" => format!("{name}: {}", quoted(value)),
            _ => name.clone(),
        })
        .collect();
    if found.is_empty() { Err(Cut::Step("none".to_owned())) } else { Ok(Verdict::yes(found.join(", "))) }
}

fn throttled(bench: &Bench) -> Verdict {
    let seen = bench.seen().clone();
    let keys = match seen.key_unknown {
        0 => String::new(),
        unknown => format!("; {unknown} did not know the key that others accepted"),
    };
    Verdict::is(seen.throttled == 0, format!("{} of {}{keys}", seen.throttled, seen.answers))
}
