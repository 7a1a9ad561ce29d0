//! Whether the upstream takes the gateway's signatures, by either key, and what its clock says. A refusal is
//! taken apart by asking again with one thing changed: the time, the region, a key that nobody has. An upstream
//! that answers the configured key as it answers nobody's does not know it; OCI says the same of a key that has
//! not spread to all of its servers yet, and of a wrong region.

use std::future::ready;
use std::time::{SystemTime, UNIX_EPOCH};

use http::Method;

use super::answer::Answer;
use super::bench::{Bench, Identity};
use super::report::{Cut, Run, Stake, Tried, Verdict};
use crate::types::Secret;

/// A key that spreads is known to some servers only: one answer says little.
const TRIES: usize = 5;
/// S3 refuses signatures that are further off.
const S3_SKEW: i64 = 15 * 60;
/// OCI's native API refuses signatures that are further off.
const NATIVE_SKEW: i64 = 5 * 60;
/// What clients sign for that have no region to name.
const UNNAMED: &str = "us-east-1";

pub(super) async fn ask(run: &mut Run, bench: &Bench) {
    let rotating = bench.identities.len() > 1;
    let stake = if rotating { Stake::Nobody } else { Stake::Gateway };
    let mut skew = None;
    let current =
        run.ask("signing.key", "upstream.access_key_id", stake, accepted(bench, 0, &mut skew)).await;
    let mut any = current;
    if rotating {
        let question = accepted(bench, 1, &mut skew);
        let tried = "upstream.previous.access_key_id";
        let previous = run.ask("signing.previous", tried, Stake::Nobody, question).await;
        run.ask("signing.either", "a key to work with", Stake::Gateway, ready(Ok(either(current, previous))))
            .await;
        bench.sign_by(usize::from(!current && previous));
        any |= previous;
    }
    run.ask("clock.skew", "the upstream's Date", Stake::Nobody, ready(clock(skew))).await;
    if any {
        // From here on a refusal of the key is one that passes.
        bench.seen().key_accepted = true;
    } else {
        run.block("no key is accepted");
    }
}

fn either(current: bool, previous: bool) -> Verdict {
    match (current, previous) {
        (true, true) => Verdict::yes("both keys are accepted")
            .setting("remove [upstream.previous] once every gateway has the new key"),
        (true, false) => Verdict::yes("the new key alone").setting("remove [upstream.previous]"),
        (false, true) => Verdict::yes("the previous key alone").setting("keep [upstream.previous]"),
        (false, false) => Verdict::no("neither key is accepted"),
    }
}

async fn list(bench: &Bench, identity: &Identity, ahead: i64) -> Tried<Answer> {
    let ask = bench
        .bucket(Method::GET)
        .query("list-type", "2")
        .query("max-keys", "1")
        .query("prefix", &bench.prefix);
    ask.signed_by(identity).signed_ahead(ahead).send().await
}

async fn accepted(bench: &Bench, which: usize, skew: &mut Option<i64>) -> Tried {
    let identity = &bench.identities[which];
    let (mut good, mut refusal, mut silence) = (0, None, None);
    for _ in 0..TRIES {
        let answer = list(bench, identity, 0).await?;
        *skew = skew.or_else(|| skew_of(&answer));
        if !is_of_s3(&answer) {
            let came = format!("{}, which no S3 service says", answer.says());
            return Ok(Verdict::no(came).setting("check upstream.endpoint"));
        }
        if is_refused(&answer) {
            refusal = Some(answer);
        } else if is_accepted(&answer) {
            good += 1;
        } else {
            silence = Some(answer);
        }
    }
    match refusal.or(silence.filter(|_| good == 0)) {
        None => Ok(Verdict::yes(format!("accepted, {good} of {TRIES} times"))),
        Some(silence) if !is_refused(&silence) => {
            Ok(Verdict::no(format!("{}, which says nothing about the key", silence.says())))
        }
        Some(refusal) if good > 0 => {
            Ok(Verdict::yes(format!("accepted {good} of {TRIES} times, else {}", refusal.says()))
                .setting("wait: the key has not reached every server yet (up to 5 minutes)"))
        }
        Some(refusal) => diagnose(bench, identity, &refusal, *skew).await,
    }
}

fn is_of_s3(answer: &Answer) -> bool {
    !answer.code().is_empty() || answer.text().contains("<ListBucketResult")
}

/// About the signature, not about what was asked: any other refusal shows that it was accepted.
fn is_refused(answer: &Answer) -> bool {
    const ABOUT_THE_SIGNATURE: &[&str] = &[
        "AuthorizationHeaderMalformed",
        "ExpiredToken",
        "InvalidAccessKeyId",
        "InvalidSecurity",
        "InvalidToken",
        "NotAuthenticated",
        "RequestExpired",
        "RequestTimeTooSkewed",
        "SignatureDoesNotMatch",
    ];
    answer.status.as_u16() == 401 || ABOUT_THE_SIGNATURE.contains(&answer.code().as_str())
}

/// Trouble and throttling may come before anybody looked at the signature.
fn is_accepted(answer: &Answer) -> bool {
    !is_refused(answer) && !answer.throttles() && !answer.status.is_server_error()
}

async fn diagnose(bench: &Bench, identity: &Identity, refusal: &Answer, skew: Option<i64>) -> Tried {
    let says = refusal.says();
    if let Some(skew) = skew.filter(|skew| skew.abs() >= NATIVE_SKEW)
        && is_accepted(&list(bench, identity, skew).await?)
    {
        let came = format!("{says}; accepted when signed by the upstream's clock");
        return Ok(Verdict::no(came).setting("set this machine's clock"));
    }
    for region in regions(refusal, &identity.region) {
        let elsewhere =
            Identity { signer: identity.signer.in_region(&region), secret: identity.secret.clone(), region };
        if is_accepted(&list(bench, &elsewhere, 0).await?) {
            let came = format!("{says}; accepted when signed for {}", elsewhere.region);
            let is_ocis = refusal.header("opc-request-id").is_some();
            return Ok(Verdict::no(came).setting(if is_ocis && elsewhere.region == UNNAMED {
                "upstream.region = the tenancy's home region, where OCI takes us-east-1 for its name"
                    .to_owned()
            } else {
                format!("upstream.region = \"{}\"", elsewhere.region)
            }));
        }
    }
    let nobody = Identity::new(&nobodys_id(), &Secret::new(nobodys_id()), &identity.region);
    let unknown = list(bench, &nobody, 0).await?;
    if (unknown.status, unknown.code(), message(&unknown))
        == (refusal.status, refusal.code(), message(refusal))
    {
        let came = format!("{says}; a key that nobody has gets the same: not known here, or not yet");
        return Ok(Verdict::no(came)
            .setting("check access_key_id and upstream.region; a new key takes up to 5 minutes to spread"));
    }
    Ok(Verdict::no(format!("{says}; the key is known, the signature is refused"))
        .setting("check secret_access_key"))
}

fn message(answer: &Answer) -> String {
    answer.error().map(|error| error.message).unwrap_or_default()
}

fn nobodys_id() -> String {
    format!("BUCKETWARDEN{}", uuid::Uuid::new_v4().simple()).to_uppercase()
}

/// Regions that the refusal names, and the one that stands for any.
fn regions(refusal: &Answer, configured: &str) -> Vec<String> {
    let (text, message) = (refusal.text(), message(refusal));
    let between = |text: &str, before: &str, after: char| {
        let (_, rest) = text.split_once(before)?;
        rest.split_once(after).map(|(found, _)| found.to_owned())
    };
    let named = [
        between(&text, "<Region>", '<'),
        between(&message, "expecting '", '\''),
        refusal.header("x-amz-bucket-region").map(str::to_owned),
        Some(UNNAMED.to_owned()),
    ];
    let mut regions: Vec<String> = Vec::new();
    for region in named.into_iter().flatten() {
        // It goes into a header.
        let plain =
            !region.is_empty() && region.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        if plain && region != configured && !regions.contains(&region) {
            regions.push(region);
        }
    }
    regions
}

/// How far the upstream's clock is ahead of this one, in seconds.
fn skew_of(answer: &Answer) -> Option<i64> {
    let date = httpdate::parse_http_date(answer.header("date")?).ok()?;
    let seconds = |time: SystemTime| i64::try_from(time.duration_since(UNIX_EPOCH).ok()?.as_secs()).ok();
    Some(seconds(date)? - seconds(crate::now())?)
}

fn clock(skew: Option<i64>) -> Tried {
    let skew = skew.ok_or_else(|| Cut::Step("its answers have no Date".to_owned()))?;
    let came = format!("{skew:+} s; S3 refuses from {S3_SKEW} s, OCI's native API from {NATIVE_SKEW} s");
    let verdict = Verdict::is(skew.abs() <= NATIVE_SKEW, came);
    Ok(if skew.abs() <= NATIVE_SKEW { verdict } else { verdict.setting("set this machine's clock") })
}
