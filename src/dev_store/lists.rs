//! The LIST operations: requests as the `s3s` crate parsed them in, its answers out. What they share is in
//! `listing`; here is how each one names its markers and spells its names.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use s3s::dto::{
    ChecksumAlgorithm, ChecksumType, CommonPrefix, EncodingType, ListMultipartUploadsInput,
    ListMultipartUploadsOutput, ListObjectVersionsInput, ListObjectVersionsOutput, ListObjectsInput,
    ListObjectsOutput, ListObjectsV2Input, ListObjectsV2Output, MultipartUpload, Object as Listed,
    ObjectVersion, Owner, StorageClass, Timestamp,
};

use super::listing::{self, Cursor, Entry, Page, Query, past, spell};
use super::meta::{OBJECTS, Object, blocking, decode};
use super::{Store, multipart};
use crate::error::{Code, Error, Result};

const MAX_KEYS: i32 = 1000;

pub(super) fn timestamp(seconds: i64) -> Timestamp {
    time::OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(time::OffsetDateTime::UNIX_EPOCH).into()
}

pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(super) fn owner() -> Owner {
    Owner { display_name: Some("dev".to_owned()), id: Some("dev".to_owned()) }
}

/// A page size as the client gave it and as it counts.
pub(super) fn page_size(asked: Option<i32>, name: &'static str) -> Result<(i32, usize)> {
    let asked = asked.unwrap_or(MAX_KEYS).min(MAX_KEYS);
    match usize::try_from(asked) {
        Ok(size) => Ok((asked, size)),
        Err(_) => Err(Error::new(Code::InvalidArgument)
            .say(format!("Argument {name} must be an integer between 0 and 2147483647"))),
    }
}

pub(super) fn wants_url(encoding: Option<&EncodingType>) -> Result<bool> {
    match encoding {
        None => Ok(false),
        Some(encoding) if encoding.as_str() == EncodingType::URL => Ok(true),
        Some(_) => Err(Error::new(Code::InvalidArgument).say("Invalid Encoding Method specified in Request")),
    }
}

fn text(key: Vec<u8>) -> Result<String> {
    String::from_utf8(key).map_err(|error| Error::new(Code::InternalError).because(error))
}

/// Names of one answer: as they are, or URL-encoded.
struct Names {
    url: bool,
}

impl Names {
    fn spell(&self, name: &str) -> String {
        spell(name, self.url)
    }

    fn some(&self, name: Option<&String>) -> Option<String> {
        name.filter(|name| !name.is_empty()).map(|name| self.spell(name))
    }
}

struct Found {
    objects: Vec<(String, Object)>,
    prefixes: Vec<CommonPrefix>,
    truncated: bool,
    /// Where the next page starts.
    last: Option<Last>,
}

enum Last {
    Key(String),
    Prefix(String),
}

impl Last {
    fn name(&self) -> &str {
        match self {
            Self::Key(name) | Self::Prefix(name) => name,
        }
    }

    fn token(&self) -> String {
        let (kind, name) = match self {
            Self::Key(name) => ('k', name),
            Self::Prefix(name) => ('p', name),
        };
        URL_SAFE_NO_PAD.encode(format!("{kind}{name}"))
    }

    fn resume(token: &str) -> Result<Cursor> {
        let plain = URL_SAFE_NO_PAD.decode(token).ok();
        match plain.as_deref() {
            Some([b'k', key @ ..]) => Ok(Cursor::After(key.to_vec())),
            Some([b'p', prefix @ ..]) => Ok(past(prefix)),
            _ => Err(Error::new(Code::InvalidArgument).say("The continuation token provided is incorrect")),
        }
    }
}

async fn find(store: &Arc<Store>, names: &Names, query: Query) -> Result<Found> {
    let store = Arc::clone(store);
    let page: Page<Object> = blocking(move || {
        store.meta.read(|tx| {
            let table = tx.open_table(OBJECTS)?;
            listing::page(&query, |cursor| {
                let from = match cursor {
                    Cursor::From(key) => std::ops::Bound::Included(key.as_slice()),
                    Cursor::After(key) | Cursor::AfterUpload(key, _) => {
                        std::ops::Bound::Excluded(key.as_slice())
                    }
                };
                let rows = table.range::<&[u8]>((from, std::ops::Bound::Unbounded))?;
                Ok(rows.map(|row| {
                    let (key, value) = row?;
                    Ok((key.value().to_vec(), decode(value.value())?))
                }))
            })
        })
    })
    .await?;
    let mut found =
        Found { objects: Vec::new(), prefixes: Vec::new(), truncated: page.truncated, last: None };
    for entry in page.entries {
        match entry {
            Entry::Item(key, object) => {
                let key = text(key)?;
                found.last = Some(Last::Key(key.clone()));
                found.objects.push((key, object));
            }
            Entry::Prefix(prefix) => {
                let prefix = text(prefix)?;
                found.prefixes.push(CommonPrefix { prefix: Some(names.spell(&prefix)) });
                found.last = Some(Last::Prefix(prefix));
            }
        }
    }
    Ok(found)
}

fn some_prefixes(prefixes: Vec<CommonPrefix>) -> Option<Vec<CommonPrefix>> {
    (!prefixes.is_empty()).then_some(prefixes)
}

fn listed(names: &Names, key: &str, object: &Object, with_owner: bool) -> Listed {
    Listed {
        key: Some(names.spell(key)),
        e_tag: Some(s3s::dto::ETag::Strong(object.etag.clone())),
        size: Some(signed(object.size)),
        last_modified: Some(timestamp(object.modified)),
        storage_class: Some(object.attributes.storage_class().to_owned().into()),
        checksum_algorithm: object
            .checksum
            .as_ref()
            .map(|sum| vec![ChecksumAlgorithm::from(sum.algorithm.name().to_owned())]),
        checksum_type: object.checksum.as_ref().map(|sum| ChecksumType::from(sum.kind.name().to_owned())),
        owner: with_owner.then(owner),
        ..Listed::default()
    }
}

pub(super) async fn v1(store: &Arc<Store>, input: ListObjectsInput) -> Result<ListObjectsOutput> {
    let names = Names { url: wants_url(input.encoding_type.as_ref())? };
    let (max_keys, max) = page_size(input.max_keys, "max-keys")?;
    let prefix = input.prefix.unwrap_or_default();
    let delimiter = input.delimiter.unwrap_or_default();
    let marker = input.marker.unwrap_or_default();
    let start = Cursor::after_marker(&marker, &prefix, &delimiter);
    let query = Query { prefix: prefix.clone().into(), delimiter: delimiter.clone().into(), start, max };
    let found = find(store, &names, query).await?;
    let next = found.last.as_ref().filter(|_| found.truncated && !delimiter.is_empty());
    Ok(ListObjectsOutput {
        name: Some(input.bucket),
        prefix: Some(names.spell(&prefix)),
        marker: Some(names.spell(&marker)),
        next_marker: next.map(|last| names.spell(last.name())),
        max_keys: Some(max_keys),
        delimiter: names.some(Some(&delimiter)),
        is_truncated: Some(found.truncated),
        contents: Some(found.objects.iter().map(|(key, object)| listed(&names, key, object, true)).collect()),
        common_prefixes: some_prefixes(found.prefixes),
        encoding_type: input.encoding_type,
        ..ListObjectsOutput::default()
    })
}

pub(super) async fn v2(store: &Arc<Store>, input: ListObjectsV2Input) -> Result<ListObjectsV2Output> {
    let names = Names { url: wants_url(input.encoding_type.as_ref())? };
    let (max_keys, max) = page_size(input.max_keys, "max-keys")?;
    let prefix = input.prefix.unwrap_or_default();
    let delimiter = input.delimiter.unwrap_or_default();
    let start = match (&input.continuation_token, &input.start_after) {
        (Some(token), _) => Last::resume(token)?,
        (None, Some(after)) => Cursor::after_marker(after, &prefix, &delimiter),
        (None, None) => Cursor::From(Vec::new()),
    };
    let query = Query { prefix: prefix.clone().into(), delimiter: delimiter.clone().into(), start, max };
    let found = find(store, &names, query).await?;
    let with_owner = input.fetch_owner.unwrap_or(false);
    let count = found.objects.len() + found.prefixes.len();
    Ok(ListObjectsV2Output {
        name: Some(input.bucket),
        prefix: Some(names.spell(&prefix)),
        start_after: names.some(input.start_after.as_ref()),
        continuation_token: input.continuation_token,
        next_continuation_token: found.last.as_ref().filter(|_| found.truncated).map(Last::token),
        max_keys: Some(max_keys),
        key_count: Some(i32::try_from(count).unwrap_or(MAX_KEYS)),
        delimiter: names.some(Some(&delimiter)),
        is_truncated: Some(found.truncated),
        contents: Some(
            found.objects.iter().map(|(key, object)| listed(&names, key, object, with_owner)).collect(),
        ),
        common_prefixes: some_prefixes(found.prefixes),
        encoding_type: input.encoding_type,
        ..ListObjectsV2Output::default()
    })
}

/// The bucket keeps no versions: every object is the latest and only one, called `null`.
pub(super) async fn versions(
    store: &Arc<Store>,
    input: ListObjectVersionsInput,
) -> Result<ListObjectVersionsOutput> {
    let names = Names { url: wants_url(input.encoding_type.as_ref())? };
    let (max_keys, max) = page_size(input.max_keys, "max-keys")?;
    let prefix = input.prefix.unwrap_or_default();
    let delimiter = input.delimiter.unwrap_or_default();
    let marker = input.key_marker.unwrap_or_default();
    let start = Cursor::after_marker(&marker, &prefix, &delimiter);
    let query = Query { prefix: prefix.clone().into(), delimiter: delimiter.clone().into(), start, max };
    let found = find(store, &names, query).await?;
    let next = found.last.as_ref().filter(|_| found.truncated);
    let versions = found.objects.iter().map(|(key, object)| {
        let listed = listed(&names, key, object, true);
        ObjectVersion {
            key: listed.key,
            e_tag: listed.e_tag,
            size: listed.size,
            last_modified: listed.last_modified,
            storage_class: Some(object.attributes.storage_class().to_owned().into()),
            owner: listed.owner,
            is_latest: Some(true),
            version_id: Some("null".to_owned()),
            ..ObjectVersion::default()
        }
    });
    Ok(ListObjectVersionsOutput {
        name: Some(input.bucket),
        prefix: Some(names.spell(&prefix)),
        key_marker: Some(names.spell(&marker)),
        version_id_marker: Some(input.version_id_marker.unwrap_or_default()),
        next_key_marker: next.map(|last| names.spell(last.name())),
        next_version_id_marker: next.and_then(|last| matches!(last, Last::Key(_)).then(|| "null".to_owned())),
        max_keys: Some(max_keys),
        delimiter: names.some(Some(&delimiter)),
        is_truncated: Some(found.truncated),
        versions: Some(versions.collect()),
        common_prefixes: some_prefixes(found.prefixes),
        encoding_type: input.encoding_type,
        ..ListObjectVersionsOutput::default()
    })
}

pub(super) async fn uploads(
    store: &Arc<Store>,
    input: ListMultipartUploadsInput,
) -> Result<ListMultipartUploadsOutput> {
    let names = Names { url: wants_url(input.encoding_type.as_ref())? };
    let (max_uploads, max) = page_size(input.max_uploads, "max-uploads")?;
    let prefix = input.prefix.unwrap_or_default();
    let delimiter = input.delimiter.unwrap_or_default();
    let marker = input.key_marker.unwrap_or_default();
    let start = match &input.upload_id_marker {
        Some(id) if !id.is_empty() && !marker.is_empty() => {
            Cursor::AfterUpload(marker.clone().into(), id.clone())
        }
        _ => Cursor::after_marker(&marker, &prefix, &delimiter),
    };
    let query = Query { prefix: prefix.clone().into(), delimiter: delimiter.clone().into(), start, max };
    let page = multipart::list_uploads(store, query).await?;
    let mut prefixes = Vec::new();
    let mut uploads = Vec::new();
    let mut last = None;
    for entry in page.entries {
        match entry {
            Entry::Prefix(prefix) => {
                let prefix = text(prefix)?;
                prefixes.push(CommonPrefix { prefix: Some(names.spell(&prefix)) });
                last = Some((prefix, None));
            }
            Entry::Item(key, (id, upload)) => {
                let key = text(key)?;
                uploads.push(MultipartUpload {
                    key: Some(names.spell(&key)),
                    upload_id: Some(id.clone()),
                    initiated: Some(timestamp(upload.initiated)),
                    owner: Some(owner()),
                    storage_class: Some(StorageClass::from(upload.attributes.storage_class().to_owned())),
                    checksum_algorithm: upload
                        .checksum
                        .map(|(algorithm, _)| algorithm.name().to_owned().into()),
                    checksum_type: upload.checksum.map(|(_, kind)| kind.name().to_owned().into()),
                    ..MultipartUpload::default()
                });
                last = Some((key, Some(id)));
            }
        }
    }
    let (next_key, next_id) = last.filter(|_| page.truncated).unzip();
    Ok(ListMultipartUploadsOutput {
        bucket: Some(input.bucket),
        prefix: Some(names.spell(&prefix)),
        key_marker: Some(names.spell(&marker)),
        upload_id_marker: Some(input.upload_id_marker.unwrap_or_default()),
        next_key_marker: next_key.map(|key| names.spell(&key)),
        next_upload_id_marker: next_id.flatten(),
        max_uploads: Some(max_uploads),
        delimiter: names.some(Some(&delimiter)),
        is_truncated: Some(page.truncated),
        uploads: Some(uploads),
        common_prefixes: some_prefixes(prefixes),
        encoding_type: input.encoding_type,
        ..ListMultipartUploadsOutput::default()
    })
}
