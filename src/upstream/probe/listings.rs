//! Listings: the forms of `ListObjects` that the gateway sends on for its clients and for its own counting.

use std::collections::BTreeSet;

use http::Method;

use super::answer::{Answer, quoted};
use super::ask::Ask;
use super::bench::{Bench, CONTENT};
use super::report::{Cut, Run, Stake, Tried, Verdict};
use crate::s3::uri::{self, PlusMeaning};
use crate::s3::xml;

/// What the bucket holds for these questions: two names and a folder between them in order.
const NAMES: [&str; 3] = ["list/a", "list/b/c", "list/d"];
/// A name that encodings differ about.
const ODD: &str = "odd/a b+c%41é~";

pub(super) async fn ask(run: &mut Run, bench: &Bench) {
    run.ask("bucket.head", "HeadBucket", Stake::Nobody, head(bench)).await;
    run.ask("bucket.location", "GetBucketLocation", Stake::Nobody, location(bench)).await;
    if !run.ask("object.put", "PutObject, UNSIGNED-PAYLOAD", Stake::Gateway, fill(bench)).await {
        run.block("no object could be put");
    }
    run.ask("list.v2", "ListObjectsV2 under a prefix", Stake::Gateway, v2(bench)).await;
    run.ask("list.paging", "max-keys and continuation-token", Stake::Gateway, paging(bench)).await;
    let v1_is_for = Stake::Clients("ListObjects version 1 does not work");
    run.ask("list.v1", "ListObjects, marker", v1_is_for, v1(bench)).await;
    let start_after_is_for = Stake::Clients("ListObjectsV2 with start-after does not work");
    run.ask("list.start-after", "start-after", start_after_is_for, start_after(bench)).await;
    let delimiter_is_for = Stake::Clients("listings by folder do not work");
    run.ask("list.delimiter", "delimiter=/", delimiter_is_for, delimiter(bench)).await;
    let encoding_is_for = Stake::Clients("names with control characters cannot be listed");
    run.ask("list.encoding-type", "encoding-type=url", encoding_is_for, encoding(bench)).await;
}

async fn head(bench: &Bench) -> Tried {
    let answer = bench.bucket(Method::HEAD).send().await?;
    Ok(Verdict::is(answer.ok(), answer.says()))
}

async fn location(bench: &Bench) -> Tried {
    let answer = bench.bucket(Method::GET).query("location", "").send().await?;
    let text = answer.text();
    let region = text.rsplit_once("</LocationConstraint>").and_then(|(before, _)| before.rsplit_once('>'));
    Ok(match region {
        Some((_, region)) if answer.ok() => Verdict::yes(format!("{}, {}", answer.says(), quoted(region))),
        _ => Verdict::is(answer.ok(), answer.says()),
    })
}

async fn fill(bench: &Bench) -> Tried {
    for name in NAMES {
        let answer = bench.object(Method::PUT, name).bytes(CONTENT).send().await?;
        if !answer.ok() {
            let verdict = Verdict::no(answer.says());
            return Ok(match answer.code().as_str() {
                "NoSuchBucket" => verdict.setting("upstream.bucket = a bucket that is there"),
                "AccessDenied" => verdict.setting("let the gateway's key put objects there (IAM policy)"),
                _ => verdict,
            });
        }
    }
    Ok(Verdict::yes(format!("{} objects put", NAMES.len())))
}

fn listing<'a>(bench: &'a Bench, folder: &str) -> Ask<'a> {
    bench.bucket(Method::GET).query("prefix", &bench.key(folder))
}

fn listing_v2<'a>(bench: &'a Bench, folder: &str) -> Ask<'a> {
    listing(bench, folder).query("list-type", "2")
}

/// The names of a page and the token of the next, or what is wrong with the page.
fn page(bench: &Bench, answer: &Answer) -> Result<(Vec<String>, Option<String>), Verdict> {
    if !answer.ok() {
        return Err(Verdict::no(answer.says()));
    }
    let page = xml::read_objects(&answer.text())
        .map_err(|_| Verdict::no("200, but no document that can be read"))?;
    let names =
        page.entries.into_iter().map(|(key, _)| key.strip_prefix(&bench.prefix).unwrap_or(&key).to_owned());
    Ok((names.collect(), page.next))
}

fn compare(answer: &Answer, found: &[String], expected: &[&str]) -> Verdict {
    if found == expected {
        let names = if found.len() == 1 { "name" } else { "names" };
        return Verdict::yes(format!("{}, {} {names}", answer.says(), found.len()));
    }
    Verdict::no(format!("{}, but it lists {found:?}, not {expected:?}", answer.says()))
}

async fn whole(bench: &Bench, ask: Ask<'_>, expected: &[&str]) -> Tried {
    let answer = ask.send().await?;
    Ok(page(bench, &answer).map_or_else(|verdict| verdict, |(names, _)| compare(&answer, &names, expected)))
}

async fn v2(bench: &Bench) -> Tried {
    whole(bench, listing_v2(bench, "list/"), &NAMES).await
}

async fn v1(bench: &Bench) -> Tried {
    whole(bench, listing(bench, "list/").query("marker", &bench.key("list/a")), &NAMES[1..]).await
}

async fn start_after(bench: &Bench) -> Tried {
    whole(bench, listing_v2(bench, "list/").query("start-after", &bench.key("list/b/c")), &NAMES[2..]).await
}

async fn paging(bench: &Bench) -> Tried {
    let (mut names, mut token, mut pages) = (Vec::new(), None::<String>, 0);
    loop {
        let mut ask = listing_v2(bench, "list/").query("max-keys", "1");
        if let Some(token) = &token {
            ask = ask.query("continuation-token", token);
        }
        let answer = ask.send().await?;
        let (more, next) = match page(bench, &answer) {
            Ok(page) => page,
            Err(verdict) => return Ok(verdict),
        };
        names.extend(more);
        pages += 1;
        token = next;
        // One more than it needs: a page that repeats itself must not go on for ever.
        if token.is_none() || pages > NAMES.len() {
            return Ok(compare(&answer, &names, &NAMES));
        }
    }
}

async fn delimiter(bench: &Bench) -> Tried {
    let answer = listing_v2(bench, "list/").query("delimiter", "/").send().await?;
    let (names, _) = match page(bench, &answer) {
        Ok(page) => page,
        Err(verdict) => return Ok(verdict),
    };
    let folder = format!("<Prefix>{}</Prefix>", bench.key("list/b/"));
    if !answer.text().contains("<CommonPrefixes>") || !answer.text().contains(&folder) {
        return Ok(Verdict::no(format!("{}, without the folder", answer.says())));
    }
    Ok(compare(&answer, &names, &[NAMES[0], NAMES[2]]))
}

async fn encoding(bench: &Bench) -> Tried {
    bench.put(ODD).await?;
    let answer = listing_v2(bench, "odd/").query("encoding-type", "url").send().await?;
    // Not taken apart as a key: the encoded name need not begin with the prefix as it is written.
    let text = answer.text();
    let written = text.split_once("<Key>").and_then(|(_, rest)| rest.split_once("</Key>"));
    let Some((written, _)) = written.filter(|_| answer.ok()) else {
        return Ok(Verdict::no(answer.says()));
    };
    let key = bench.key(ODD);
    let means = |plus| uri::decode(written, plus).is_ok_and(|name| name == key);
    let readings: BTreeSet<&str> =
        [(PlusMeaning::Space, "+ is a space"), (PlusMeaning::Literal, "+ is itself")]
            .into_iter()
            .filter_map(|(plus, text)| means(plus).then_some(text))
            .collect();
    Ok(match readings.len() {
        0 => Verdict::no(format!("{}, but the name comes as {}", answer.says(), quoted(written))),
        1 => Verdict::yes(format!("{}; {}", answer.says(), readings.into_iter().collect::<String>())),
        _ => Verdict::yes(format!("{}; nothing is written as +", answer.says())),
    })
}

/// Names that some services change, and that must come back as they went.
pub(super) async fn listed(bench: &Bench, folder: &str, name: &str) -> Tried {
    let put = bench.object(Method::PUT, name).bytes(CONTENT).send().await?;
    if !put.ok() {
        return Ok(Verdict::no(format!("PutObject: {}", put.says())));
    }
    let answer = listing_v2(bench, folder).query("encoding-type", "url").send().await?;
    if !answer.ok() {
        return Err(Cut::Step(format!("ListObjectsV2: {}", answer.says())));
    }
    let text = answer.text();
    let written =
        text.split_once("<Key>").and_then(|(_, rest)| rest.split_once("</Key>")).map(|(key, _)| key);
    let key = bench.key(name);
    let same = |written: &str| {
        [PlusMeaning::Space, PlusMeaning::Literal]
            .into_iter()
            .any(|plus| uri::decode(written, plus).is_ok_and(|name| name == key))
    };
    Ok(match written {
        Some(written) if same(written) => Verdict::yes("stored and listed as it is"),
        Some(written) => Verdict::no(format!("stored, but listed as {}", quoted(written))),
        None => Verdict::no("stored, but not listed"),
    })
}
