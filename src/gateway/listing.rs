//! Listings: `ListObjects` (both versions), `ListObjectVersions`, `ListMultipartUploads`. The client's prefix and
//! markers are moved into its scope, the page that comes back is moved out again. Continuation tokens and
//! upload ids leave sealed to this user, bucket and listing.

use std::sync::atomic::{AtomicU8, Ordering};

use http::Method;

use super::answer::Answer;
use super::settle::Record;
use super::{Ask, Context, Gateway, local};
use crate::access::Sees;
use crate::error::{Code, Error, Result};
use crate::s3::operation::Operation;
use crate::s3::query::number;
use crate::s3::uri::PlusMeaning;
use crate::s3::xml::{self, ListView, ObjectsPage, Rewritten, Unmap, UploadsPage, VersionsPage};
use crate::upstream::{self, Call};

/// The most entries of one page, as S3 has it.
const MAX_ENTRIES: u32 = 1000;

impl Gateway {
    pub(super) async fn list_objects(&self, ask: Ask<'_>, record: &mut Record) -> Result<Answer> {
        let listing = Listing::new(&ask, "max-keys")?;
        let is_v2 = ask.request.operation == Operation::ListObjectsV2;
        let context = listing.context(&ask);
        let seal = |token: &str| self.tokens.seal(token, &context);
        let continuation_token = ask.param("continuation-token").filter(|_| is_v2);
        let start_after = ask.param("start-after").filter(|_| is_v2);
        let marker = ask.param("marker").unwrap_or("");
        let page = if is_v2 {
            ObjectsPage::V2 { start_after, continuation_token, token: &seal }
        } else {
            ObjectsPage::V1 { marker }
        };
        let unmap = unmap(&ask);
        let shows_owner = !is_v2 || ask.param("fetch-owner") == Some("true");
        let view = |plus| listing.view(&ask, shows_owner, plus, &unmap);
        let upstream_token = match continuation_token {
            Some("") => return Err(bad_token()),
            Some(token) => Some(self.tokens.open(token, &context).ok_or_else(bad_token)?),
            None => None,
        };
        if listing.is_empty(&ask) {
            return Ok(Answer::xml(xml::empty_objects(&view(PlusMeaning::Space), &page)));
        }
        let mut call = listing.call(self, &ask);
        if is_v2 {
            call = call.query("list-type", "2");
            if let Some(token) = &upstream_token {
                call = call.query("continuation-token", token);
            } else if let Some(start_after) = start_after.filter(|text| !text.is_empty()) {
                call = call.query("start-after", &ask.grant.scope().extend(start_after));
            }
        } else if !marker.is_empty() {
            call = call.query("marker", &ask.grant.scope().extend(marker));
        }
        self.rewrite(call, &ask, record, |upstream, plus| xml::rewrite_objects(upstream, &view(plus), &page))
            .await
    }

    pub(super) async fn list_versions(&self, ask: Ask<'_>, record: &mut Record) -> Result<Answer> {
        let listing = Listing::new(&ask, "max-keys")?;
        let unmap = unmap(&ask);
        let view = |plus| listing.view(&ask, true, plus, &unmap);
        let key_marker = ask.param("key-marker").unwrap_or("");
        let version_id_marker = ask.param("version-id-marker");
        if key_marker.is_empty() && version_id_marker.is_some_and(|marker| !marker.is_empty()) {
            return Err(Error::new(Code::InvalidArgument)
                .say("A version-id marker cannot be specified without a key marker.")
                .detail("ArgumentName", "version-id-marker"));
        }
        let page = VersionsPage { key_marker, version_id_marker };
        if listing.is_empty(&ask) {
            return Ok(Answer::xml(xml::empty_versions(&view(PlusMeaning::Space), &page)));
        }
        let mut call = listing.call(self, &ask).query("versions", "");
        if !key_marker.is_empty() {
            call = call.query("key-marker", &ask.grant.scope().extend(key_marker));
            if let Some(marker) = version_id_marker {
                call = call.query("version-id-marker", marker);
            }
        }
        self.rewrite(call, &ask, record, |upstream, plus| xml::rewrite_versions(upstream, &view(plus), &page))
            .await
    }

    pub(super) async fn list_uploads(&self, ask: Ask<'_>, record: &mut Record) -> Result<Answer> {
        let listing = Listing::new(&ask, "max-uploads")?;
        let unmap = unmap(&ask);
        let view = |plus| listing.view(&ask, true, plus, &unmap);
        let key_marker = ask.param("key-marker").unwrap_or("");
        let upload_id_marker = ask.param("upload-id-marker").filter(|_| !key_marker.is_empty());
        let mark = |key: &str, id: &str| self.tokens.mark(id, &ask.context(&[key]));
        let page = UploadsPage { key_marker, upload_id_marker, upload_id: &mark };
        if listing.is_empty(&ask) {
            return Ok(Answer::xml(xml::empty_uploads(&view(PlusMeaning::Space), &page)));
        }
        let mut call = listing.call(self, &ask).query("uploads", "");
        if !key_marker.is_empty() {
            call = call.query("key-marker", &ask.grant.scope().extend(key_marker));
        }
        if let Some(marker) = upload_id_marker.filter(|marker| !marker.is_empty()) {
            let bad = || Error::new(Code::InvalidArgument).say("Invalid uploadId marker");
            let id = self.tokens.unmark(marker, &ask.context(&[key_marker])).ok_or_else(bad)?;
            call = call.query("upload-id-marker", id);
        }
        self.rewrite(call, &ask, record, |upstream, plus| xml::rewrite_uploads(upstream, &view(plus), &page))
            .await
    }

    /// Asks for a page and rewrites it. Until this upstream has shown what it means by a `+` in an encoded name, a
    /// page that holds one and proves nothing is asked for again, unencoded.
    async fn rewrite(
        &self,
        call: Call,
        ask: &Ask<'_>,
        record: &mut Record,
        rewrite: impl Fn(&str, PlusMeaning) -> Result<Rewritten>,
    ) -> Result<Answer> {
        let response = self.forward(call.clone().query("encoding-type", "url"), ask, record).await?;
        let document = upstream::read_document(response).await?;
        let known = self.plus.get();
        let page = rewrite(&document, known.unwrap_or(PlusMeaning::Space))?;
        let proven = page.saw.plus_means();
        if let Some(meaning) = proven {
            self.plus.learn(meaning);
        }
        let page = match (page.saw.plus, known, proven) {
            (true, _, Some(meaning)) if known.unwrap_or(PlusMeaning::Space) != meaning => {
                rewrite(&document, meaning)?
            }
            (true, None, None) => {
                let response = self.forward(call, ask, record).await?;
                rewrite(&upstream::read_document(response).await?, PlusMeaning::Literal)?
            }
            (false, _, _) | (true, Some(_), None) | (true, _, Some(_)) => page,
        };
        Ok(Answer::xml(page.xml))
    }
}

fn bad_token() -> Error {
    Error::new(Code::InvalidArgument)
        .say("The continuation token provided is incorrect")
        .detail("ArgumentName", "continuation-token")
}

/// Real keys to the caller's.
fn unmap(ask: &Ask<'_>) -> impl Fn(&str) -> Option<&str> {
    |key| ask.grant.scope().unmap(key)
}

/// The parameters that every listing has.
struct Listing<'a> {
    prefix: &'a str,
    delimiter: Option<&'a str>,
    max_parameter: &'static str,
    max: u32,
    url: bool,
}

impl<'a> Listing<'a> {
    fn new(ask: &'a Ask<'_>, max_parameter: &'static str) -> Result<Self> {
        let invalid = |name: &'static str, text: &'static str| {
            Error::new(Code::InvalidArgument).say(text).detail("ArgumentName", name)
        };
        let url = match ask.param("encoding-type") {
            None | Some("") => false,
            Some("url") => true,
            Some(_) => {
                return Err(invalid("encoding-type", "Invalid Encoding Method specified in Request"));
            }
        };
        let max = match ask.param(max_parameter) {
            None | Some("") => MAX_ENTRIES,
            Some(text) => {
                let number: u64 = number(text)
                    .filter(|&number| number <= u64::from(i32::MAX.unsigned_abs()))
                    .ok_or_else(|| {
                        Error::new(Code::InvalidArgument)
                            .say(format!("Provided {max_parameter} not an integer or within integer range"))
                            .detail("ArgumentName", max_parameter)
                    })?;
                u32::try_from(number).unwrap_or(MAX_ENTRIES).min(MAX_ENTRIES)
            }
        };
        Ok(Self {
            prefix: ask.param("prefix").unwrap_or(""),
            delimiter: ask.param("delimiter").filter(|delimiter| !delimiter.is_empty()),
            max_parameter,
            max,
            url,
        })
    }

    /// There is nothing to ask the upstream for.
    fn is_empty(&self, ask: &Ask<'_>) -> bool {
        self.max == 0 || ask.grant.sees() == Sees::Nothing
    }

    /// A continuation token goes on with this listing and no other.
    fn context(&self, ask: &Ask<'_>) -> Context {
        ask.context(&["list", self.prefix, self.delimiter.unwrap_or("")])
    }

    fn call(&self, gateway: &Gateway, ask: &Ask<'_>) -> Call {
        let mut call = gateway
            .upstream
            .bucket_call(ask.request.operation, Method::GET)
            .query("prefix", &ask.grant.scope().extend(self.prefix))
            .query(self.max_parameter, &self.max.to_string());
        if let Some(delimiter) = self.delimiter {
            call = call.query("delimiter", delimiter);
        }
        call
    }

    fn view<'v>(
        &'v self,
        ask: &'v Ask<'_>,
        shows_owner: bool,
        plus: PlusMeaning,
        unmap: Unmap<'v>,
    ) -> ListView<'v> {
        ListView {
            bucket: ask.bucket().as_str(),
            prefix: self.prefix,
            delimiter: self.delimiter,
            max: self.max,
            url: self.url,
            owner: shows_owner.then(|| local::owner(ask.caller)),
            plus,
            unmap,
        }
    }
}

/// What this upstream means by a `+` in an encoded name, learned from the pages that prove it.
#[derive(Default)]
pub(super) struct PlusHabit(AtomicU8);

impl PlusHabit {
    const SPACE: u8 = 1;
    const LITERAL: u8 = 2;

    fn get(&self) -> Option<PlusMeaning> {
        match self.0.load(Ordering::Relaxed) {
            Self::SPACE => Some(PlusMeaning::Space),
            Self::LITERAL => Some(PlusMeaning::Literal),
            _ => None,
        }
    }

    fn learn(&self, meaning: PlusMeaning) {
        let habit = match meaning {
            PlusMeaning::Space => Self::SPACE,
            PlusMeaning::Literal => Self::LITERAL,
        };
        self.0.store(habit, Ordering::Relaxed);
    }
}
