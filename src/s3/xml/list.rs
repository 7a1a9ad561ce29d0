//! Listings, upstream's to client's. In: `ListObjects` (V1, V2), `ListObjectVersions` or `ListMultipartUploads` as
//! the upstream answered, and a `ListView`: what the client asked. Out: the page written anew in one pass:
//! the client's own parameters verbatim, virtual names, only elements known here. A key or prefix that
//! `unmap` refuses fails the page: better no listing than a name from another scope.
//!
//! The upstream is always asked with `encoding-type=url`. If it obeyed it says so, and its names are decoded;
//! otherwise they are plain. Servers differ in what a `+` in an encoded name is (AWS writes a space so, Go's
//! `PathEscape` leaves a plus so): `ListView::plus` decides, `Evidence` reports what was seen.

mod pass;

use memchr::memchr2_iter;

use self::pass::Pass;
use super::read::Flaw;
use super::write::Writer;
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
}

/// Which `ListObjects`, and where its page begins.
#[derive(Clone, Copy)]
pub enum ObjectsPage<'a> {
    V1 {
        marker: &'a str,
    },
    V2 {
        start_after: Option<&'a str>,
        continuation_token: Option<&'a str>,
        /// The upstream's next token → the opaque one for the client.
        token: &'a (dyn Fn(&str) -> String + Sync),
    },
}

#[derive(Clone, Copy)]
pub struct VersionsPage<'a> {
    pub key_marker: &'a str,
    pub version_id_marker: Option<&'a str>,
}

#[derive(Clone, Copy)]
pub struct UploadsPage<'a> {
    pub key_marker: &'a str,
    pub upload_id_marker: Option<&'a str>,
    /// Client key and the upstream's upload id → the id for the client.
    pub upload_id: &'a (dyn Fn(&str, &str) -> String + Sync),
}

/// A page for the client.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rewritten {
    pub xml: String,
    pub saw: Evidence,
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

pub fn rewrite_objects(upstream: &str, view: &ListView<'_>, page: &ObjectsPage<'_>) -> Result<Rewritten> {
    objects(upstream, view, page).map_err(Flaw::of_upstream)
}

pub fn rewrite_versions(upstream: &str, view: &ListView<'_>, page: &VersionsPage<'_>) -> Result<Rewritten> {
    versions(upstream, view, page).map_err(Flaw::of_upstream)
}

pub fn rewrite_uploads(upstream: &str, view: &ListView<'_>, page: &UploadsPage<'_>) -> Result<Rewritten> {
    uploads(upstream, view, page).map_err(Flaw::of_upstream)
}

/// A page without entries, for `max-keys=0` and for scopes that are known to be empty.
pub fn empty_objects(view: &ListView<'_>, page: &ObjectsPage<'_>) -> String {
    let mut out = Writer::s3(OBJECTS);
    objects_head(&mut out, view, page);
    if matches!(page, ObjectsPage::V2 { .. }) {
        out.number("KeyCount", 0);
    }
    out.flag("IsTruncated", false);
    out.finish(OBJECTS)
}

pub fn empty_versions(view: &ListView<'_>, page: &VersionsPage<'_>) -> String {
    let mut out = Writer::s3(VERSIONS);
    versions_head(&mut out, view, page);
    out.flag("IsTruncated", false);
    out.finish(VERSIONS)
}

pub fn empty_uploads(view: &ListView<'_>, page: &UploadsPage<'_>) -> String {
    let mut out = Writer::s3(UPLOADS);
    uploads_head(&mut out, view, page);
    out.flag("IsTruncated", false);
    out.finish(UPLOADS)
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

fn objects(upstream: &str, view: &ListView<'_>, page: &ObjectsPage<'_>) -> Result<Rewritten, Flaw> {
    let mut pass = Pass::begin(upstream, view, OBJECTS)?;
    objects_head(&mut pass.out, view, page);
    let (mut next_marker, mut next_token) = (None, None);
    while let Some(element) = pass.reader.child()? {
        match element {
            "Contents" => pass.entry("Contents", OBJECT)?,
            "NextMarker" => next_marker = pass.marker_or_token()?,
            "NextContinuationToken" => {
                next_token = Some(pass.reader.text()?).filter(|token| !token.is_empty());
            }
            other => pass.common(other)?,
        }
    }
    match page {
        ObjectsPage::V1 { .. } => {
            // A client goes on from the last key by itself; but where prefixes stand among the keys it needs to
            // be told, and not every server tells.
            if next_marker.is_none() && pass.truncated && view.delimiter.is_some() {
                next_marker = pass.greatest.take();
            }
            optional_name(&mut pass.out, "NextMarker", next_marker.as_deref(), view.url);
        }
        ObjectsPage::V2 { token, .. } => {
            pass.out.number("KeyCount", pass.count);
            match next_token {
                Some(next) => pass.out.leaf("NextContinuationToken", &token(&next)),
                // A client would begin again at the first page, for ever.
                None if pass.truncated => return Err(Flaw("a truncated page without a token")),
                None => {}
            }
        }
    }
    pass.end(OBJECTS)
}

fn objects_head(out: &mut Writer, view: &ListView<'_>, page: &ObjectsPage<'_>) {
    out.leaf("Name", view.bucket);
    out.name("Prefix", view.prefix, view.url);
    match page {
        ObjectsPage::V1 { marker } => out.name("Marker", marker, view.url),
        ObjectsPage::V2 { start_after, continuation_token, .. } => {
            out.optional("ContinuationToken", *continuation_token);
            optional_name(out, "StartAfter", *start_after, view.url);
        }
    }
    out.number("MaxKeys", view.max.into());
    delimiter_and_encoding(out, view);
}

fn versions(upstream: &str, view: &ListView<'_>, page: &VersionsPage<'_>) -> Result<Rewritten, Flaw> {
    let mut pass = Pass::begin(upstream, view, VERSIONS)?;
    versions_head(&mut pass.out, view, page);
    while let Some(element) = pass.reader.child()? {
        match element {
            "Version" => pass.entry("Version", VERSION)?,
            "DeleteMarker" => pass.entry("DeleteMarker", DELETE_MARKER)?,
            "NextKeyMarker" => {
                let marker = pass.marker()?;
                optional_name(&mut pass.out, "NextKeyMarker", marker.as_deref(), view.url);
            }
            "NextVersionIdMarker" => pass.copy("NextVersionIdMarker")?,
            other => pass.common(other)?,
        }
    }
    pass.end(VERSIONS)
}

fn versions_head(out: &mut Writer, view: &ListView<'_>, page: &VersionsPage<'_>) {
    out.leaf("Name", view.bucket);
    out.name("Prefix", view.prefix, view.url);
    out.name("KeyMarker", page.key_marker, view.url);
    out.leaf("VersionIdMarker", page.version_id_marker.unwrap_or_default());
    out.number("MaxKeys", view.max.into());
    delimiter_and_encoding(out, view);
}

fn uploads(upstream: &str, view: &ListView<'_>, page: &UploadsPage<'_>) -> Result<Rewritten, Flaw> {
    let mut pass = Pass::begin(upstream, view, UPLOADS)?;
    uploads_head(&mut pass.out, view, page);
    let (mut next_key, mut next_id) = (None, None);
    while let Some(element) = pass.reader.child()? {
        match element {
            "Upload" => pass.upload(page)?,
            "NextKeyMarker" => next_key = pass.marker()?,
            "NextUploadIdMarker" => next_id = Some(pass.reader.text()?).filter(|id| !id.is_empty()),
            other => pass.common(other)?,
        }
    }
    if let Some(key) = next_key {
        pass.out.name("NextKeyMarker", &key, view.url);
        if let Some(id) = next_id {
            pass.out.leaf("NextUploadIdMarker", &(page.upload_id)(&key, &id));
        }
    }
    pass.end(UPLOADS)
}

fn uploads_head(out: &mut Writer, view: &ListView<'_>, page: &UploadsPage<'_>) {
    out.leaf("Bucket", view.bucket);
    out.name("KeyMarker", page.key_marker, view.url);
    out.leaf("UploadIdMarker", page.upload_id_marker.unwrap_or_default());
    out.name("Prefix", view.prefix, view.url);
    out.number("MaxUploads", view.max.into());
    delimiter_and_encoding(out, view);
}

fn delimiter_and_encoding(out: &mut Writer, view: &ListView<'_>) {
    optional_name(out, "Delimiter", view.delimiter, view.url);
    if view.url {
        out.leaf("EncodingType", "url");
    }
}

fn optional_name(out: &mut Writer, element: &'static str, name: Option<&str>, url: bool) {
    if let Some(name) = name {
        out.name(element, name, url);
    }
}

#[cfg(test)]
mod tests;
