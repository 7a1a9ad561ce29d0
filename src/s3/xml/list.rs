//! Listings, upstream's to client's. In: `ListObjects` (V1, V2), `ListObjectVersions` or `ListMultipartUploads` as
//! the upstream answered, once or several times, and a `ListView`: what the client asked. Out: each answer read in
//! one pass into a `Portion`, and the client's page made of these: its own parameters verbatim, virtual names, only
//! elements known here. A key or prefix that `unmap` refuses fails the page: better no listing than a name from
//! another scope.
//!
//! The upstream is always asked with `encoding-type=url`. If it obeyed it says so, and its names are decoded;
//! otherwise they are plain. Servers differ in what a `+` in an encoded name is (AWS writes a space so, Go's
//! `PathEscape` leaves a plus so): `ListView::plus` decides, `Evidence` reports what was seen.

mod pass;

use std::borrow::Cow;

use memchr::memchr2_iter;

use self::pass::Pass;
use super::read::Flaw;
use super::write::{S3_NAMESPACE, Writer};
use crate::error::Result;
use crate::s3::uri::PlusMeaning;

/// Real key or prefix → the client's, or `None` if it lies outside the client's scope.
pub type Unmap<'a> = &'a (dyn Fn(&str) -> Option<&str> + Sync);

/// Who stands as owner of what a client lists.
#[derive(Clone, Copy, Debug)]
pub struct Owner<'a> {
    pub id: &'a str,
    pub name: &'a str,
}

impl Owner<'_> {
    pub(super) fn write(self, out: &mut Writer, element: &'static str) {
        out.open(element);
        out.leaf("ID", self.id);
        out.leaf("DisplayName", self.name);
        out.close(element);
    }
}

/// What the client asked, in the client's terms and decoded; every listing echoes it.
#[derive(Clone, Copy)]
pub struct ListView<'a> {
    pub bucket: &'a str,
    pub prefix: &'a str,
    pub delimiter: Option<&'a str>,
    /// `max-keys` or `max-uploads` as it took effect.
    pub max: u32,
    /// The client wants `encoding-type=url`.
    pub url: bool,
    /// Shown with every entry: by V1, versions and uploads always, by V2 for `fetch-owner=true`.
    pub owner: Option<Owner<'a>>,
    /// What a `+` in the upstream's encoded names is.
    pub plus: PlusMeaning,
    pub unmap: Unmap<'a>,
    /// Names from here on are not wanted: what the upstream says of them is left out, and not read on.
    pub until: Option<&'a str>,
}

/// Which listing, and where its page begins.
#[derive(Clone, Copy)]
pub enum ListPage<'a> {
    V1 {
        marker: &'a str,
    },
    V2 {
        start_after: Option<&'a str>,
        continuation_token: Option<&'a str>,
    },
    Versions {
        key_marker: &'a str,
        version_id_marker: Option<&'a str>,
    },
    Uploads {
        key_marker: &'a str,
        upload_id_marker: Option<&'a str>,
        /// Client key and the upstream's upload id → the id for the client.
        upload_id: &'a (dyn Fn(&str, &str) -> String + Sync),
    },
}

/// What one answer of the upstream gives to the client's page.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Portion {
    /// Entries and common prefixes, written.
    xml: String,
    /// How many they are.
    pub count: u64,
    /// The greatest name among them, in the client's terms.
    pub last: Option<String>,
    /// Where the upstream has more.
    pub next: Option<Next>,
    pub saw: Evidence,
}

/// Where a listing goes on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Next {
    /// Of V2: the upstream's own word when read, one for the client when written.
    Token(String),
    /// After a name that the client knows; of versions and uploads perhaps after one id of it, which is the upstream's.
    After { name: String, id: Option<String> },
}

/// How the upstream encoded names. `%20` seen: a raw `+` can hardly be a space as well. `%2B` seen: a raw `+`
/// can hardly be a plus.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Evidence {
    pub plus: bool,
    pub percent20: bool,
    pub percent2b: bool,
}

impl Evidence {
    /// The meaning that the page proves, if it proves one.
    pub fn plus_means(self) -> Option<PlusMeaning> {
        match (self.percent20, self.percent2b) {
            (true, false) => Some(PlusMeaning::Literal),
            (false, true) => Some(PlusMeaning::Space),
            (true, true) | (false, false) => None,
        }
    }

    fn look(&mut self, escaped: &str) {
        let bytes = escaped.as_bytes();
        for at in memchr2_iter(b'%', b'+', bytes) {
            match &bytes[at..] {
                [b'+', ..] => self.plus = true,
                [_, b'2', b'0', ..] => self.percent20 = true,
                [_, b'2', b'b' | b'B', ..] => self.percent2b = true,
                _ => {}
            }
        }
    }
}

pub fn read_portion(upstream: &str, view: &ListView<'_>, page: &ListPage<'_>) -> Result<Portion> {
    portion(upstream, view, page).map_err(Flaw::of_upstream)
}

/// A common prefix that is known without its entries.
pub fn common_prefix(name: &str, view: &ListView<'_>) -> Portion {
    let mut out = Writer::fragment(name.len() + 64);
    write_common_prefix(&mut out, name, view);
    Portion { xml: out.into_text(), count: 1, last: Some(name.to_owned()), ..Portion::default() }
}

/// The page for the client; it is truncated if there is a `next`.
pub fn write_listing(
    view: &ListView<'_>,
    page: &ListPage<'_>,
    portions: &[Portion],
    next: Option<&Next>,
) -> String {
    let root = page.root();
    let entries: usize = portions.iter().map(|portion| portion.xml.len()).sum();
    let mut out = Writer::document(root, Some(S3_NAMESPACE), entries + 1024);
    head(&mut out, view, page);
    for portion in portions {
        out.written(&portion.xml);
    }
    if let ListPage::V2 { .. } = page {
        out.number("KeyCount", portions.iter().map(|portion| portion.count).sum());
    }
    match (page, next) {
        (_, None) => {}
        (_, Some(Next::Token(token))) => out.leaf("NextContinuationToken", token),
        (ListPage::V1 { .. } | ListPage::V2 { .. }, Some(Next::After { name, .. })) => {
            // A client goes on from the last key by itself; but where that is not the way it needs to be told.
            let last = portions.last().and_then(|portion| portion.last.as_deref());
            if view.delimiter.is_some() || last != Some(name) {
                out.name("NextMarker", name, view.url);
            }
        }
        (ListPage::Versions { .. }, Some(Next::After { name, id })) => {
            out.name("NextKeyMarker", name, view.url);
            out.optional("NextVersionIdMarker", id.as_deref());
        }
        (ListPage::Uploads { upload_id, .. }, Some(Next::After { name, id })) => {
            out.name("NextKeyMarker", name, view.url);
            out.optional("NextUploadIdMarker", id.as_deref().map(|id| upload_id(name, id)).as_deref());
        }
    }
    out.flag("IsTruncated", next.is_some());
    out.finish(root)
}

impl ListPage<'_> {
    fn root(&self) -> &'static str {
        match self {
            Self::V1 { .. } | Self::V2 { .. } => OBJECTS,
            Self::Versions { .. } => VERSIONS,
            Self::Uploads { .. } => UPLOADS,
        }
    }
}

const OBJECTS: &str = "ListBucketResult";
const VERSIONS: &str = "ListVersionsResult";
const UPLOADS: &str = "ListMultipartUploadsResult";

/// What an entry shows besides its key and owner.
const OBJECT: &[&str] =
    &["LastModified", "ETag", "Size", "StorageClass", "ChecksumAlgorithm", "ChecksumType"];
const VERSION: &[&str] = &[
    "VersionId",
    "IsLatest",
    "LastModified",
    "ETag",
    "Size",
    "StorageClass",
    "ChecksumAlgorithm",
    "ChecksumType",
];
const DELETE_MARKER: &[&str] = &["VersionId", "IsLatest", "LastModified"];

/// How a page says where the next one begins.
#[derive(Default)]
struct Told<'t> {
    name: Option<Cow<'t, str>>,
    /// V2's token, or the second half of a marker.
    id: Option<Cow<'t, str>>,
}

fn portion(upstream: &str, view: &ListView<'_>, page: &ListPage<'_>) -> Result<Portion, Flaw> {
    let mut pass = Pass::begin(upstream, view, page.root())?;
    let mut told = Told::default();
    while let Some(element) = pass.reader.child()? {
        match (page, element) {
            (ListPage::V1 { .. } | ListPage::V2 { .. }, "Contents") => pass.entry("Contents", OBJECT)?,
            (ListPage::Versions { .. }, "Version") => pass.entry("Version", VERSION)?,
            (ListPage::Versions { .. }, "DeleteMarker") => pass.entry("DeleteMarker", DELETE_MARKER)?,
            (ListPage::Uploads { upload_id, .. }, "Upload") => pass.upload(*upload_id)?,
            (ListPage::V1 { .. }, "NextMarker") => told.name = pass.marker_or_token()?,
            (ListPage::Versions { .. } | ListPage::Uploads { .. }, "NextKeyMarker") => {
                told.name = pass.marker()?;
            }
            (ListPage::V2 { .. }, "NextContinuationToken")
            | (ListPage::Versions { .. }, "NextVersionIdMarker")
            | (ListPage::Uploads { .. }, "NextUploadIdMarker") => {
                told.id = Some(pass.reader.text()?).filter(|id| !id.is_empty());
            }
            (_, other) => pass.common(other)?,
        }
    }
    // Not every server says where to go on; often the last entry does as well.
    pass.end(|last, last_id| {
        let (name, id) = match (page, told.name) {
            (ListPage::V2 { .. }, _) => return told.id.map(|token| Next::Token(token.into_owned())),
            (_, Some(name)) => (name, told.id),
            (ListPage::V1 { .. }, None) => (last?, None),
            (ListPage::Uploads { .. }, None) => (last?, last_id),
            (ListPage::Versions { .. }, None) => return None,
        };
        Some(Next::After { name: name.into_owned(), id: id.map(Cow::into_owned) })
    })
}

fn head(out: &mut Writer, view: &ListView<'_>, page: &ListPage<'_>) {
    match page {
        ListPage::V1 { marker } => {
            out.leaf("Name", view.bucket);
            out.name("Prefix", view.prefix, view.url);
            out.name("Marker", marker, view.url);
            out.number("MaxKeys", view.max.into());
        }
        ListPage::V2 { start_after, continuation_token } => {
            out.leaf("Name", view.bucket);
            out.name("Prefix", view.prefix, view.url);
            out.optional("ContinuationToken", *continuation_token);
            optional_name(out, "StartAfter", *start_after, view.url);
            out.number("MaxKeys", view.max.into());
        }
        ListPage::Versions { key_marker, version_id_marker } => {
            out.leaf("Name", view.bucket);
            out.name("Prefix", view.prefix, view.url);
            out.name("KeyMarker", key_marker, view.url);
            out.leaf("VersionIdMarker", version_id_marker.unwrap_or_default());
            out.number("MaxKeys", view.max.into());
        }
        ListPage::Uploads { key_marker, upload_id_marker, .. } => {
            out.leaf("Bucket", view.bucket);
            out.name("KeyMarker", key_marker, view.url);
            out.leaf("UploadIdMarker", upload_id_marker.unwrap_or_default());
            out.name("Prefix", view.prefix, view.url);
            out.number("MaxUploads", view.max.into());
        }
    }
    optional_name(out, "Delimiter", view.delimiter, view.url);
    if view.url {
        out.leaf("EncodingType", "url");
    }
}

fn write_common_prefix(out: &mut Writer, name: &str, view: &ListView<'_>) {
    out.open("CommonPrefixes");
    out.name("Prefix", name, view.url);
    out.close("CommonPrefixes");
}

fn optional_name(out: &mut Writer, element: &'static str, name: Option<&str>, url: bool) {
    if let Some(name) = name {
        out.name(element, name, url);
    }
}

#[cfg(test)]
mod tests;
