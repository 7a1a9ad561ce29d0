//! The last requests that were refused, for whoever is asked why. In: what authentication or authorisation had
//! against a request. Out: the same, by the request's id, to an operator; the client has heard no more than AWS
//! says. Requests that succeed never get here. Nothing kept lets anybody in: see `sigv4::explain`.
//!
//! Kept are the last 4,096, for 15 minutes, in 8 MiB at most; long texts are cut.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use serde::Serialize;

use crate::sigv4::explain::{Explanation, cut};
use crate::sigv4::scope::format_iso;
use crate::types::RequestId;

const MOST: usize = 4096;
const MOST_BYTES: usize = 8 << 20;
const MAX_AGE: Duration = Duration::from_mins(15);
/// Of a canonical request; of any other text.
const LONGEST_CANONICAL: usize = 8 * 1024;
const LONGEST: usize = 1024;

/// Which room refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    Authentication,
    Authorisation,
}

/// Why one request was refused.
#[derive(Clone, Debug, Serialize)]
pub struct Refusal {
    pub request_id: String,
    pub at: String,
    pub stage: Stage,
    pub method: String,
    /// As it came, without the query.
    pub path: String,
    pub operation: Option<&'static str>,
    pub bucket: Option<String>,
    pub key: Option<String>,
    /// The way in that was tried, or taken.
    pub auth: Option<&'static str>,
    /// Of whoever was let in.
    pub user: Option<String>,
    pub code: &'static str,
    /// As the client was told.
    pub message: String,
    /// What the client was not told.
    pub cause: Option<String>,
    /// What of the bucket's configuration decided.
    pub rule: Option<String>,
    pub signature: Option<Signature>,
}

/// What a signature was checked against.
#[derive(Clone, Debug, Serialize)]
pub struct Signature {
    pub access_key_id: String,
    pub date: String,
    pub region: String,
    pub service: String,
    pub signed_at: String,
    /// By how much the client's clock is ahead of the gateway's; of a presigned URL, its age below zero.
    pub clock_difference_seconds: i64,
    pub unsigned_headers: Vec<String>,
    pub canonical_request: Option<String>,
    pub string_to_sign: Option<String>,
}

impl Signature {
    pub fn new(explanation: Explanation<'_>, now: SystemTime) -> Self {
        let Explanation { credential, time, canonical, unsigned_headers } = explanation;
        let seconds = |duration: Duration| i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
        let clock_difference_seconds = match time.duration_since(now) {
            Ok(ahead) => seconds(ahead),
            Err(behind) => -seconds(behind.duration()),
        };
        let (canonical_request, string_to_sign) =
            canonical.map(|text| (text.request, text.string_to_sign)).unzip();
        Self {
            access_key_id: credential.access_key_id.to_owned(),
            date: credential.date.to_owned(),
            region: credential.region.to_owned(),
            service: credential.service.to_owned(),
            signed_at: format_iso(time),
            clock_difference_seconds,
            unsigned_headers,
            canonical_request,
            string_to_sign,
        }
    }
}

impl Refusal {
    /// Cuts every text that a client had a say in.
    fn cut(mut self) -> Self {
        let short = |text: &mut String| *text = cut(text, LONGEST).into_owned();
        [&mut self.method, &mut self.path, &mut self.message].into_iter().for_each(short);
        let maybe = [&mut self.bucket, &mut self.key, &mut self.user, &mut self.cause, &mut self.rule];
        maybe.into_iter().flatten().for_each(short);
        if let Some(signature) = &mut self.signature {
            let Signature { access_key_id, date, region, service, string_to_sign, .. } = signature;
            [access_key_id, date, region, service].into_iter().chain(string_to_sign).for_each(short);
            if let Some(text) = &mut signature.canonical_request {
                *text = cut(text, LONGEST_CANONICAL).into_owned();
            }
            let names = std::mem::take(&mut signature.unsigned_headers);
            let mut room = LONGEST;
            let fitting = names.into_iter().take_while(|name| {
                let fits = name.len() <= room;
                room = room.saturating_sub(name.len());
                fits
            });
            signature.unsigned_headers = fitting.collect();
        }
        self
    }

    fn bytes(&self) -> usize {
        let of = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        let signature = self.signature.as_ref().map_or(0, |signature| {
            let Signature { access_key_id, date, region, service, unsigned_headers, .. } = signature;
            [access_key_id, date, region, service]
                .into_iter()
                .chain(unsigned_headers)
                .map(|text| text.len() + size_of::<String>())
                .sum::<usize>()
                + of(&signature.canonical_request)
                + of(&signature.string_to_sign)
        });
        let texts = [&self.bucket, &self.key, &self.user, &self.cause, &self.rule];
        let texts = texts.into_iter().map(of).sum::<usize>();
        size_of::<Self>() + self.method.len() + self.path.len() + self.message.len() + texts + signature
    }
}

/// The ring; the newest is last.
#[derive(Default)]
pub struct Refusals(Mutex<Ring>);

#[derive(Default)]
struct Ring {
    kept: VecDeque<(RequestId, SystemTime, Refusal)>,
    bytes: usize,
}

impl Refusals {
    pub fn keep(&self, id: RequestId, refusal: Refusal, now: SystemTime) {
        let refusal = refusal.cut();
        let mut ring = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        ring.bytes += refusal.bytes();
        ring.kept.push_back((id, now, refusal));
        ring.trim(now);
    }

    /// Why the request of that id was refused, if it was, and not too long ago.
    pub fn find(&self, request_id: &str, now: SystemTime) -> Option<Refusal> {
        let mut ring = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        ring.trim(now);
        let newest_first = ring.kept.iter().rev();
        let mut found = newest_first.filter(|(id, ..)| id.as_str().eq_ignore_ascii_case(request_id));
        found.next().map(|(_, _, refusal)| refusal.clone())
    }
}

impl Ring {
    fn trim(&mut self, now: SystemTime) {
        let is_old = |at: SystemTime| now.duration_since(at).is_ok_and(|age| age > MAX_AGE);
        while let Some((_, at, oldest)) = self.kept.front() {
            if self.kept.len() <= MOST && self.bytes <= MOST_BYTES && !is_old(*at) {
                return;
            }
            self.bytes -= oldest.bytes();
            self.kept.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(path: usize) -> Refusal {
        Refusal {
            request_id: "0".into(),
            at: String::new(),
            stage: Stage::Authentication,
            method: "GET".into(),
            path: "p".repeat(path),
            operation: None,
            bucket: None,
            key: None,
            auth: None,
            user: None,
            code: "AccessDenied",
            message: "Access Denied".into(),
            cause: None,
            rule: None,
            signature: None,
        }
    }

    fn signed(canonical: usize) -> Refusal {
        let signature = Signature {
            access_key_id: "A".repeat(canonical),
            date: String::new(),
            region: String::new(),
            service: String::new(),
            signed_at: String::new(),
            clock_difference_seconds: 0,
            unsigned_headers: vec!["x-amz-a".repeat(100); 100],
            canonical_request: Some("c".repeat(canonical)),
            string_to_sign: Some("s".repeat(canonical)),
        };
        Refusal { signature: Some(signature), ..refusal(canonical) }
    }

    #[test]
    fn the_last_are_kept_for_a_while() {
        let (refusals, now) = (Refusals::default(), SystemTime::UNIX_EPOCH);
        let ids: Vec<_> = (0..=MOST).map(|_| RequestId::new()).collect();
        for id in &ids {
            refusals.keep(*id, refusal(1), now);
        }
        assert!(refusals.find(ids[0].as_str(), now).is_none(), "one too many");
        let last = ids[MOST].as_str();
        assert!(refusals.find(ids[1].as_str(), now).is_some());
        assert!(refusals.find(&last.to_lowercase(), now + MAX_AGE).is_some());
        assert!(refusals.find(last, now + MAX_AGE + Duration::from_secs(1)).is_none());
        assert_eq!(refusals.0.lock().expect("not poisoned").bytes, 0);
    }

    #[test]
    fn long_texts_do_not_take_the_memory() {
        let (refusals, now) = (Refusals::default(), SystemTime::UNIX_EPOCH);
        for _ in 0..MOST {
            refusals.keep(RequestId::new(), signed(64 * 1024), now);
        }
        let ring = refusals.0.lock().expect("not poisoned");
        assert!(ring.bytes <= MOST_BYTES, "{}", ring.bytes);
        assert!(ring.kept.len() > 500, "each takes little: {}", ring.kept.len());
        let (_, _, kept) = ring.kept.back().expect("the last");
        assert!(kept.path.ends_with("bytes more)"), "a cut says so");
        assert_eq!(ring.bytes, ring.kept.iter().map(|(_, _, refusal)| refusal.bytes()).sum::<usize>());
    }
}
