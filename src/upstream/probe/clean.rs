//! Leaving nothing behind, however the run ended: every upload under the probe's prefix is aborted, every object
//! deleted, every version that was made; then the prefix is listed once more, and what is still there is named.

use std::time::Duration;

use http::Method;

use super::bench::Bench;
use super::report::{Cut, Tried};
use crate::s3::xml;

const ROUNDS: u32 = 3;
const PAUSE: Duration = Duration::from_millis(500);

/// What became of what the run wrote.
#[derive(Debug, Default)]
pub struct Cleaned {
    /// Where it all lay.
    pub prefix: String,
    /// Keys, and uploads as `key (upload id)`, that could not be removed.
    pub left: Vec<String>,
    /// Keys of writes without an answer. They are not there, but a slow upstream may still carry them out.
    pub may_come: Vec<String>,
    /// Why it is not known that nothing is left, if it is not.
    pub unverified: Option<String>,
}

impl Cleaned {
    pub fn is_clean(&self) -> bool {
        self.left.is_empty() && self.unverified.is_none()
    }
}

pub(super) async fn clean(bench: &Bench) -> Cleaned {
    let mut cleaned = Cleaned { prefix: bench.prefix.clone(), ..Cleaned::default() };
    if bench.litter().keys.is_empty() {
        return cleaned;
    }
    bench.begin_cleaning();
    for round in 0..ROUNDS {
        if round > 0 {
            tokio::time::sleep(PAUSE).await;
        }
        remove(bench).await;
        match remaining(bench).await {
            Ok(left) => (cleaned.left, cleaned.unverified) = (left, None),
            Err(cut) => {
                cleaned.left = bench.litter().keys.iter().cloned().collect();
                cleaned.unverified = Some(match cut {
                    Cut::Silent(reason) | Cut::Step(reason) => reason,
                    Cut::OutOfTime | Cut::Stopped => "the time for cleaning is up".to_owned(),
                });
            }
        }
        if cleaned.is_clean() {
            break;
        }
    }
    cleaned.may_come = bench.litter().unheard.iter().cloned().collect();
    cleaned
}

/// One try at everything. What fails shows in the listing that follows.
async fn remove(bench: &Bench) {
    for upload in uploads(bench).await.unwrap_or_default() {
        let ask = bench.real_object(Method::DELETE, upload.key).query("uploadId", &upload.upload_id);
        attempt(ask.send().await);
    }
    // Both: some services list a name otherwise than it was put. In a bucket with versions, deleting what is not there
    // makes a marker, whose id comes with the answer.
    let mut keys = bench.litter().keys.clone();
    keys.extend(objects(bench).await.unwrap_or_default());
    for key in keys {
        attempt(bench.real_object(Method::DELETE, key).send().await);
    }
    let mut versions = bench.litter().versions.clone();
    versions.extend(listed_versions(bench).await.unwrap_or_default());
    for (key, version) in versions {
        let deleted =
            bench.real_object(Method::DELETE, key.clone()).query("versionId", &version).send().await;
        if deleted.is_ok_and(|answer| answer.ok() || answer.status.as_u16() == 404) {
            bench.litter().versions.remove(&(key, version));
        }
    }
}

fn attempt(answer: Tried<super::answer::Answer>) {
    match answer {
        Ok(answer) if answer.ok() || answer.status.as_u16() == 404 => {}
        Ok(answer) => tracing::debug!(status = answer.status.as_u16(), "not removed yet"),
        Err(cut) => tracing::debug!(?cut, "not removed yet"),
    }
}

/// What a listing still shows, and the versions that would not go.
async fn remaining(bench: &Bench) -> Tried<Vec<String>> {
    let mut left = objects(bench).await?;
    let open = uploads(bench).await?;
    left.extend(open.into_iter().map(|upload| format!("{} (upload {})", upload.key, upload.upload_id)));
    let mut versions = bench.litter().versions.clone();
    // An upstream that lists no versions may keep some all the same: those that its answers told of.
    versions.extend(listed_versions(bench).await.unwrap_or_default());
    left.extend(versions.into_iter().map(|(key, version)| format!("{key} (version {version})")));
    Ok(left)
}

async fn objects(bench: &Bench) -> Tried<Vec<String>> {
    let (mut keys, mut token) = (Vec::new(), None::<String>);
    loop {
        let mut ask = bench.bucket(Method::GET).query("list-type", "2").query("prefix", &bench.prefix);
        if let Some(token) = &token {
            ask = ask.query("continuation-token", token);
        }
        let answer = ask.send().await?;
        let page = xml::read_objects(&answer.text()).ok().filter(|_| answer.ok());
        let page = page.ok_or_else(|| Cut::Step(format!("ListObjectsV2: {}", answer.says())))?;
        keys.extend(page.entries.into_iter().map(|(key, _)| key).filter(|key| is_own(bench, key)));
        token = page.next;
        if token.is_none() {
            return Ok(keys);
        }
    }
}

async fn uploads(bench: &Bench) -> Tried<Vec<xml::OpenUpload>> {
    let answer = bench.bucket(Method::GET).query("uploads", "").query("prefix", &bench.prefix).send().await?;
    let page = xml::read_uploads(&answer.text()).ok().filter(|_| answer.ok());
    let page = page.ok_or_else(|| Cut::Step(format!("ListMultipartUploads: {}", answer.says())))?;
    Ok(page.entries.into_iter().filter(|upload| is_own(bench, &upload.key)).collect())
}

async fn listed_versions(bench: &Bench) -> Tried<Vec<(String, String)>> {
    if bench.litter().versions.is_empty() {
        return Ok(Vec::new());
    }
    let answer =
        bench.bucket(Method::GET).query("versions", "").query("prefix", &bench.prefix).send().await?;
    let versions = xml::read_versions(&answer.text()).ok().filter(|_| answer.ok());
    let versions = versions.ok_or_else(|| Cut::Step(format!("ListObjectVersions: {}", answer.says())))?;
    Ok(versions.into_iter().filter(|(key, _)| is_own(bench, key)).collect())
}

/// An upstream that ignores the prefix lists what must not be touched.
fn is_own(bench: &Bench, key: &str) -> bool {
    key.starts_with(&bench.prefix)
}
