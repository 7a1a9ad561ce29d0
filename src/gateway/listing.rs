//! Listings: `ListObjects` (both versions), `ListObjectVersions`, `ListMultipartUploads`. In: what the client asks,
//! read and checked. Out: a page, made run by run in `runs`. The client's prefix and markers are moved into its
//! scope, what comes back is moved out again. Continuation tokens and upload ids leave sealed to this user, bucket
//! and listing.

mod runs;

use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Instant;

use futures_util::future::BoxFuture;
use http::Method;

use super::answer::Answer;
use super::settle::Record;
use super::{Ask, Context, Gateway, local};
use crate::error::{Code, Error, Result};
use crate::s3::operation::Operation;
use crate::s3::query::number;
use crate::s3::uri::PlusMeaning;
use crate::s3::xml::{self, ListPage, ListView, Next, Portion};
use crate::upstream::{Call, read_document};
use runs::{Run, Source};

/// The most entries of one page, as S3 has it.
const MAX_ENTRIES: u32 = 1000;

impl Gateway {
    pub(super) async fn list_objects(&self, ask: Ask<'_>, record: &mut Record) -> Result<Answer> {
        let is_v2 = ask.request.operation == Operation::ListObjectsV2;
        let mut listing = Listing::new(&ask, "max-keys")?;
        listing.shows_owner = !is_v2 || ask.param("fetch-owner") == Some("true");
        if !is_v2 {
            let marker = ask.param("marker").unwrap_or("");
            return self.list(&listing, &ListPage::V1 { marker }, after(marker, None), record).await;
        }
        let (start_after, token) = (ask.param("start-after"), ask.param("continuation-token"));
        let from = match token {
            None => after(start_after.unwrap_or(""), None),
            Some(token) => {
                let place = self.tokens.open(token, &listing.context()).filter(|_| !token.is_empty());
                Some(Next::Token(place.ok_or_else(bad_token)?))
            }
        };
        let page = ListPage::V2 { start_after, continuation_token: token };
        self.list(&listing, &page, from, record).await
    }

    pub(super) async fn list_versions(&self, ask: Ask<'_>, record: &mut Record) -> Result<Answer> {
        let listing = Listing::new(&ask, "max-keys")?;
        let key_marker = ask.param("key-marker").unwrap_or("");
        let version_id_marker = ask.param("version-id-marker");
        if key_marker.is_empty() && version_id_marker.is_some_and(|marker| !marker.is_empty()) {
            return Err(Error::new(Code::InvalidArgument)
                .say("A version-id marker cannot be specified without a key marker.")
                .detail("ArgumentName", "version-id-marker"));
        }
        let page = ListPage::Versions { key_marker, version_id_marker };
        self.list(&listing, &page, after(key_marker, version_id_marker), record).await
    }

    pub(super) async fn list_uploads(&self, ask: Ask<'_>, record: &mut Record) -> Result<Answer> {
        let listing = Listing::new(&ask, "max-uploads")?;
        let key_marker = ask.param("key-marker").unwrap_or("");
        let upload_id_marker = ask.param("upload-id-marker").filter(|_| !key_marker.is_empty());
        let id = match upload_id_marker.filter(|marker| !marker.is_empty()) {
            None => None,
            Some(marker) => {
                let bad = || Error::new(Code::InvalidArgument).say("Invalid uploadId marker");
                Some(self.tokens.unmark(marker, &ask.context(&[key_marker])).ok_or_else(bad)?)
            }
        };
        let mark = |key: &str, id: &str| self.tokens.mark(id, &ask.context(&[key]));
        let page = ListPage::Uploads { key_marker, upload_id_marker, upload_id: &mark };
        self.list(&listing, &page, after(key_marker, id), record).await
    }

    async fn list(
        &self,
        listing: &Listing<'_>,
        page: &ListPage<'_>,
        from: Option<Next>,
        record: &mut Record,
    ) -> Result<Answer> {
        let scope = listing.ask.grant.scope();
        let runs = match page {
            _ if listing.max == 0 => Vec::new(),
            // Whoever cannot write has no uploads, and is shown nobody else's.
            ListPage::Uploads { .. } => {
                runs::all(scope.writable_windows(), listing.prefix, listing.delimiter)
            }
            ListPage::V1 { .. } | ListPage::V2 { .. } | ListPage::Versions { .. } => {
                runs::all(scope.windows(), listing.prefix, listing.delimiter)
            }
        };
        let pages = Pages { gateway: self, listing, page };
        let started = Instant::now();
        let filled = runs::fill(runs::from(runs, from), listing.max, &pages).await;
        self.note_upstream(started, &filled, record);
        let (portions, next) = filled?;
        let next = next.map(|place| match page {
            ListPage::V2 { .. } => Next::Token(self.tokens.seal(&place.token(), &listing.context())),
            ListPage::V1 { .. } | ListPage::Versions { .. } | ListPage::Uploads { .. } => place.marker(),
        });
        let view = listing.view(None, PlusMeaning::Space, &|_| None);
        Ok(Answer::xml(xml::write_listing(&view, page, &portions, next.as_ref())))
    }
}

/// The upstream's pages of one listing.
struct Pages<'a> {
    gateway: &'a Gateway,
    listing: &'a Listing<'a>,
    page: &'a ListPage<'a>,
}

impl Source for Pages<'_> {
    fn portion<'a>(&'a self, run: &'a Run, max: u32) -> BoxFuture<'a, Result<Portion>> {
        Box::pin(async move {
            if let Some(common) = &run.folds_into {
                let found = self.ask(run, run.from.as_ref(), 1).await?;
                let view = self.listing.view(None, PlusMeaning::Space, &|_| None);
                let is_empty = found.count == 0 && found.next.is_none();
                return Ok(if is_empty { found } else { xml::common_prefix(common, &view) });
            }
            let found = self.ask(run, run.from.as_ref(), max).await?;
            if found.count == 0 && found.next.is_some() {
                // The folder marker of the scope itself took the only place, and is not shown.
                return self.ask(run, found.next.as_ref(), max).await;
            }
            Ok(found)
        })
    }
}

impl Pages<'_> {
    /// Asks for a page and reads it. Until this upstream has shown what it means by a `+` in an encoded name, a page
    /// that holds one and proves nothing is asked for again, unencoded.
    async fn ask(&self, run: &Run, from: Option<&Next>, max: u32) -> Result<Portion> {
        let (upstream, plus, ask) = (&self.gateway.upstream, &self.gateway.plus, self.listing.ask);
        let call = self.call(run, from, max);
        let unmap = unmap(ask);
        let read = |document: &str, plus| {
            let view = self.listing.view(run.until.as_deref(), plus, &unmap);
            xml::read_portion(document, &view, self.page)
        };
        let response = upstream.send(call.clone().query("encoding-type", "url"), ask.now).await?;
        let document = read_document(response).await?;
        let known = plus.get();
        let portion = read(&document, known.unwrap_or(PlusMeaning::Space))?;
        let proven = portion.saw.plus_means();
        if let Some(meaning) = proven {
            plus.learn(meaning);
        }
        match (portion.saw.plus, known, proven) {
            (true, _, Some(meaning)) if known.unwrap_or(PlusMeaning::Space) != meaning => {
                read(&document, meaning)
            }
            (true, None, None) => {
                let response = upstream.send(call, ask.now).await?;
                read(&read_document(response).await?, PlusMeaning::Literal)
            }
            (false, _, _) | (true, Some(_), None) | (true, _, Some(_)) => Ok(portion),
        }
    }

    fn call(&self, run: &Run, from: Option<&Next>, max: u32) -> Call {
        let (listing, scope) = (self.listing, self.listing.ask.grant.scope());
        let mut call = self
            .gateway
            .upstream
            .bucket_call(listing.ask.request.operation, Method::GET)
            .query("prefix", &scope.extend(&run.prefix))
            .query(listing.max_parameter, &max.to_string());
        if let Some(delimiter) = listing.delimiter.filter(|_| run.folds_into.is_none()) {
            call = call.query("delimiter", delimiter);
        }
        let (selector, marker, id_marker) = match self.page {
            ListPage::V1 { .. } => (None, "marker", None),
            ListPage::V2 { .. } => (Some(("list-type", "2")), "start-after", None),
            ListPage::Versions { .. } => (Some(("versions", "")), "key-marker", Some("version-id-marker")),
            ListPage::Uploads { .. } => (Some(("uploads", "")), "key-marker", Some("upload-id-marker")),
        };
        if let Some((name, value)) = selector {
            call = call.query(name, value);
        }
        match from {
            None => call,
            Some(Next::Token(token)) => call.query("continuation-token", token),
            Some(Next::After { name, id }) => {
                call = call.query(marker, &scope.extend(name));
                match id_marker.zip(id.as_deref()) {
                    Some((id_marker, id)) => call.query(id_marker, id),
                    None => call,
                }
            }
        }
    }
}

fn bad_token() -> Error {
    Error::new(Code::InvalidArgument)
        .say("The continuation token provided is incorrect")
        .detail("ArgumentName", "continuation-token")
}

/// Real names to the caller's.
fn unmap(ask: &Ask<'_>) -> impl Fn(&str) -> Option<&str> {
    |name| ask.grant.scope().unmap(name)
}

/// An empty marker is none.
fn after(name: &str, id: Option<&str>) -> Option<Next> {
    (!name.is_empty()).then(|| Next::After { name: name.to_owned(), id: id.map(str::to_owned) })
}

/// The parameters that every listing has.
struct Listing<'a> {
    ask: &'a Ask<'a>,
    prefix: &'a str,
    delimiter: Option<&'a str>,
    max_parameter: &'static str,
    max: u32,
    url: bool,
    shows_owner: bool,
}

impl<'a> Listing<'a> {
    fn new(ask: &'a Ask<'a>, max_parameter: &'static str) -> Result<Self> {
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
            ask,
            prefix: ask.param("prefix").unwrap_or(""),
            delimiter: ask.param("delimiter").filter(|delimiter| !delimiter.is_empty()),
            max_parameter,
            max,
            url,
            shows_owner: true,
        })
    }

    /// A continuation token goes on with this listing and no other.
    fn context(&self) -> Context {
        self.ask.context(&["list", self.prefix, self.delimiter.unwrap_or("")])
    }

    fn view<'v>(&'v self, until: Option<&'v str>, plus: PlusMeaning, unmap: xml::Unmap<'v>) -> ListView<'v> {
        ListView {
            bucket: self.ask.bucket().as_str(),
            prefix: self.prefix,
            delimiter: self.delimiter,
            max: self.max,
            url: self.url,
            owner: self.shows_owner.then(|| local::owner(self.ask.caller)),
            plus,
            unmap,
            until,
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
