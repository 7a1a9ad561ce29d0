//! Uploads in parts. In: keys, upload ids, parts. Out: rows; an upload becomes an object in one commit that
//! moves no bytes: the object is the list of its parts' blobs.

use std::collections::HashSet;
use std::sync::Arc;

use http::HeaderMap;
use md5::{Digest, Md5};
use redb::{ReadableTable, WriteTransaction};
use s3s::dto::StreamingBlob;

use super::blobs::BlobId;
use super::checksum::{self, Checksum, Kind};
use super::intake::{self, Promise, Received, disk, hex};
use super::listing::{self, Cursor, Page, Query};
use super::meta::{
    Content, Effects, LAYOUTS, LayoutPart, OBJECTS, Object, PARTS, Part, Step, UPLOADS, Upload, blocking,
    decode, encode, find_object, now, replace_object,
};
use super::{Store, conditions, headers, objects};
use crate::error::{Code, Error, Result};

/// What every part but the last must hold.
const MIN_PART: u64 = 5 << 20;
const MAX_OBJECT: u64 = 5 << 40;

/// Sorts after every upload id.
const AFTER_IDS: &str = "~";

pub(super) struct Created {
    pub(super) id: String,
    pub(super) headers: HeaderMap,
}

pub(super) async fn create(store: &Store, key: String, request: &HeaderMap) -> Result<Created> {
    let attributes = headers::attributes(request)?;
    let kind =
        request.get("x-amz-checksum-type").map(|kind| Kind::from_name(kind.to_str().unwrap_or_default()));
    let checksum = match (checksum::named(request)?, kind.transpose()?) {
        (None, None) => None,
        (Some(algorithm), kind) => {
            let kind = kind.unwrap_or_else(|| algorithm.default_kind());
            if !algorithm.allows(kind) {
                let text = format!(
                    "The {} checksum type cannot be used with the {} checksum algorithm.",
                    kind.name(),
                    algorithm.name()
                );
                return Err(Error::new(Code::InvalidRequest).say(text));
            }
            Some((algorithm, kind))
        }
        (None, Some(_)) => {
            let text =
                "The x-amz-checksum-type header can only be used with the x-amz-checksum-algorithm header.";
            return Err(Error::new(Code::InvalidRequest).say(text));
        }
    };
    let mut answer = HeaderMap::new();
    headers::set_sse_c(&mut answer, attributes.sse_c.as_ref());
    if let Some((algorithm, kind)) = checksum {
        headers::set(&mut answer, "x-amz-checksum-algorithm", algorithm.name());
        headers::set(&mut answer, "x-amz-checksum-type", kind.name());
    }
    let id = uuid::Uuid::now_v7().simple().to_string();
    let upload = Upload { initiated: now(), checksum, attributes };
    let row_id = id.clone();
    let write = store.meta.write(move |tx| {
        tx.open_table(UPLOADS)?.insert((key.as_bytes(), row_id.as_str()), encode(&upload)?.as_slice())?;
        Ok(((), Effects::default()))
    });
    write.await?;
    Ok(Created { id, headers: answer })
}

type UploadKey = (&'static [u8], &'static str);

fn find_upload(table: &impl ReadableTable<UploadKey, &'static [u8]>, key: &str, id: &str) -> Step<Upload> {
    match table.get((key.as_bytes(), id))? {
        Some(row) => decode(row.value()),
        None => Err(Code::NoSuchUpload.into()),
    }
}

/// The upload that a part is for, if the part may be for it.
async fn upload_for_part(
    store: &Arc<Store>,
    key: &str,
    id: &str,
    number: i32,
    request: &HeaderMap,
) -> Result<(Upload, u16)> {
    let number =
        u16::try_from(number).ok().filter(|number| (1..=10_000).contains(number)).ok_or_else(|| {
            Error::new(Code::InvalidArgument)
                .say("Part number must be an integer between 1 and 10000, inclusive")
        })?;
    let (store, key, id) = (Arc::clone(store), key.to_owned(), id.to_owned());
    let upload =
        blocking(move || store.meta.read(|tx| find_upload(&tx.open_table(UPLOADS)?, &key, &id))).await?;
    headers::demand_key(upload.attributes.sse_c.as_ref(), headers::sse_c(request, "x-amz-")?.as_ref())?;
    Ok((upload, number))
}

pub(super) async fn put_part(
    store: &Arc<Store>,
    (key, id, number): (String, String, i32),
    request: &HeaderMap,
    body: Option<StreamingBlob>,
) -> Result<HeaderMap> {
    let (upload, number) = upload_for_part(store, &key, &id, number, request).await?;
    let wanted = upload.checksum.map(|(algorithm, _)| algorithm);
    let promise = Promise::new(request, wanted.or(checksum::named(request)?))?;
    if let (Some(wanted), Some(sent)) = (wanted, promise.algorithm())
        && wanted != sent
    {
        return Err(Error::new(Code::InvalidRequest).say(format!(
            "Checksum Type mismatch occurred, expected checksum Type: {}, actual checksum Type: {}",
            wanted.name().to_ascii_lowercase(),
            sent.name().to_ascii_lowercase()
        )));
    }
    let received = intake::receive(&store.blobs, body, promise).await?;
    let mut answer = HeaderMap::new();
    headers::set_etag(&mut answer, &received.etag);
    if let Some(sum) = &received.checksum {
        headers::set(&mut answer, sum.algorithm.header(), &sum.value);
    }
    headers::set_sse_c(&mut answer, upload.attributes.sse_c.as_ref());
    commit_part(store, key, id, number, received).await?;
    Ok(answer)
}

pub(super) async fn copy_part(
    store: &Arc<Store>,
    (key, id, number): (String, String, i32),
    from: String,
    request: &HeaderMap,
) -> Result<objects::Copied> {
    let (upload, number) = upload_for_part(store, &key, &id, number, request).await?;
    let compute = upload.checksum.map(|(algorithm, _)| algorithm);
    let (store_there, request) = (Arc::clone(store), request.clone());
    let received = blocking(move || {
        let range = match request.get("x-amz-copy-source-range") {
            Some(range) => Some(range.to_str().map_err(|_| Error::new(Code::InvalidArgument))?),
            None => None,
        };
        let source = objects::open_source(&store_there, &from, &request, range)?;
        objects::copy_bytes(&store_there, source, compute)
    })
    .await?;
    let mut answer = HeaderMap::new();
    headers::set_sse_c(&mut answer, upload.attributes.sse_c.as_ref());
    let (etag, checksum) = (received.etag.clone(), received.checksum.clone());
    let modified = commit_part(store, key, id, number, received).await?;
    Ok(objects::Copied { etag, modified, checksum, headers: answer })
}

async fn commit_part(store: &Store, key: String, id: String, number: u16, received: Received) -> Result<i64> {
    let Received { blob, size, etag, checksum } = received;
    let part = Part { blob: blob.id, size, etag, modified: now(), checksum };
    let modified = part.modified;
    let write = store.meta.write(move |tx| {
        // It may have been completed or aborted while the part arrived.
        find_upload(&tx.open_table(UPLOADS)?, &key, &id)?;
        let mut parts = tx.open_table(PARTS)?;
        let before = parts.insert((id.as_str(), number), encode(&part)?.as_slice())?;
        let before: Option<Part> = before.map(|row| decode(row.value())).transpose()?;
        let doom = before.map(|part| part.blob).into_iter().collect();
        Ok((modified, Effects { keep: Some(blob), doom }))
    });
    write.await
}

/// Forgets an upload; gives the parts it had, by number.
fn take_upload(tx: &WriteTransaction, key: &str, id: &str) -> Step<Vec<(u16, Part)>> {
    tx.open_table(UPLOADS)?.remove((key.as_bytes(), id))?;
    let mut table = tx.open_table(PARTS)?;
    let parts = all_parts(&table, id, 0)?.collect::<Step<Vec<_>>>()?;
    for (number, _) in &parts {
        table.remove((id, *number))?;
    }
    Ok(parts)
}

fn all_parts(
    table: &impl ReadableTable<(&'static str, u16), &'static [u8]>,
    id: &str,
    after: u16,
) -> Step<impl Iterator<Item = Step<(u16, Part)>>> {
    let rows = table.range((id, after.saturating_add(1))..=(id, u16::MAX))?;
    Ok(rows.map(|row| {
        let (key, value) = row?;
        Ok((key.value().1, decode(value.value())?))
    }))
}

pub(super) async fn abort(store: &Store, key: String, id: String) -> Result<()> {
    let write = store.meta.write(move |tx| {
        find_upload(&tx.open_table(UPLOADS)?, &key, &id)?;
        let parts = take_upload(tx, &key, &id)?;
        Ok(((), Effects { keep: None, doom: parts.into_iter().map(|(_, part)| part.blob).collect() }))
    });
    write.await
}

/// A part as `CompleteMultipartUpload` names it.
pub(super) struct Named {
    pub(super) number: i32,
    pub(super) etag: String,
    pub(super) checksum: Option<String>,
}

pub(super) struct Completed {
    pub(super) etag: String,
    pub(super) checksum: Option<Checksum>,
}

pub(super) async fn complete(
    store: &Store,
    key: String,
    id: String,
    request: HeaderMap,
    named: Vec<Named>,
) -> Result<Completed> {
    if named.is_empty() {
        return Err(Code::MalformedXML.into());
    }
    if !named.is_sorted_by(|one, next| one.number < next.number) {
        return Err(Code::InvalidPartOrder.into());
    }
    let layout_id = BlobId::random().map_err(disk)?;
    let write = store.meta.write(move |tx| {
        let upload = find_upload(&tx.open_table(UPLOADS)?, &key, &id)?;
        headers::demand_key_if_sent(&upload.attributes, &request)?;
        let chosen = choose_parts(tx, &id, &named)?;
        let object = assemble(upload, &chosen, layout_id, &request)?;
        conditions::write(&request, find_object(&tx.open_table(OBJECTS)?, &key)?.as_ref())?;
        // Nothing is refused from here on: only now are rows written.
        let mut doom = replace_object(tx, &key, Some(&object))?;
        let layout: Vec<LayoutPart> = chosen
            .into_iter()
            .map(|part| LayoutPart { blob: part.blob, size: part.size, checksum: part.checksum })
            .collect();
        tx.open_table(LAYOUTS)?.insert(layout_id.number(), encode(&layout)?.as_slice())?;
        let used: HashSet<BlobId> = layout.iter().map(|part| part.blob).collect();
        let all = take_upload(tx, &key, &id)?;
        doom.extend(all.into_iter().map(|(_, part)| part.blob).filter(|blob| !used.contains(blob)));
        Ok((Completed { etag: object.etag, checksum: object.checksum }, Effects { keep: None, doom }))
    });
    write.await
}

fn choose_parts(tx: &WriteTransaction, id: &str, named: &[Named]) -> Step<Vec<Part>> {
    let parts = tx.open_table(PARTS)?;
    let mut chosen = Vec::with_capacity(named.len());
    for wanted in named {
        let number = u16::try_from(wanted.number).map_err(|_| Error::new(Code::InvalidPart))?;
        let row = parts.get((id, number))?.ok_or(Code::InvalidPart)?;
        let part: Part = decode(row.value())?;
        let same_sum = match (&wanted.checksum, &part.checksum) {
            (Some(wanted), Some(have)) => *wanted == have.value,
            (Some(_), None) => false,
            (None, _) => true,
        };
        if part.etag != wanted.etag || !same_sum {
            return Err(Code::InvalidPart.into());
        }
        chosen.push(part);
    }
    match chosen.split_last() {
        Some((_, before)) if before.iter().any(|part| part.size < MIN_PART) => {
            Err(Code::EntityTooSmall.into())
        }
        _ => Ok(chosen),
    }
}

fn assemble(upload: Upload, chosen: &[Part], layout: BlobId, request: &HeaderMap) -> Result<Object> {
    let size = chosen.iter().map(|part| part.size).sum();
    if size > MAX_OBJECT {
        return Err(Code::EntityTooLarge.into());
    }
    let promised =
        request.get("x-amz-mp-object-size").and_then(|size| size.to_str().ok()?.parse::<u64>().ok());
    if promised.is_some_and(|promised| promised != size) {
        let text = "The provided 'x-amz-mp-object-size' header does not match what was computed.";
        return Err(Error::new(Code::InvalidRequest).say(text));
    }
    let sums: Vec<(Option<&Checksum>, u64)> =
        chosen.iter().map(|part| (part.checksum.as_ref(), part.size)).collect();
    let checksum = upload.checksum.and_then(|(algorithm, kind)| checksum::of_parts(algorithm, kind, &sums));
    if let Some((algorithm, value)) = checksum::stated(request)? {
        // A client may leave out the `-N` of a composite.
        let same = |sum: &Checksum| {
            sum.algorithm == algorithm && (sum.value == value || sum.value.split('-').next() == Some(&value))
        };
        if !checksum.as_ref().is_some_and(same) {
            return Err(Code::BadDigest.into());
        }
    }
    let mut md5 = Md5::new();
    for part in chosen {
        md5.update(unhex(&part.etag));
    }
    let etag = format!("{}-{}", hex(&md5.finalize()), chosen.len());
    let content = Content::Parts(layout);
    Ok(Object {
        size,
        etag,
        modified: now(),
        content,
        checksum,
        restored_until: None,
        attributes: upload.attributes,
    })
}

fn unhex(text: &str) -> Vec<u8> {
    let digit =
        |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok()).unwrap_or(0);
    text.as_bytes().chunks(2).map(|pair| pair.iter().fold(0, |byte, &next| byte << 4 | digit(next))).collect()
}

pub(super) struct Parts {
    pub(super) upload: Upload,
    pub(super) found: Vec<(u16, Part)>,
    pub(super) truncated: bool,
}

pub(super) async fn list_parts(
    store: &Arc<Store>,
    key: String,
    id: String,
    after: u16,
    max: usize,
) -> Result<Parts> {
    let store = Arc::clone(store);
    blocking(move || {
        store.meta.read(|tx| {
            let upload = find_upload(&tx.open_table(UPLOADS)?, &key, &id)?;
            let table = tx.open_table(PARTS)?;
            let mut parts = all_parts(&table, &id, after)?.take(max + 1).collect::<Step<Vec<_>>>()?;
            let truncated = max > 0 && parts.len() > max;
            parts.truncate(max);
            Ok(Parts { upload, found: parts, truncated })
        })
    })
    .await
}

pub(super) async fn list_uploads(store: &Arc<Store>, query: Query) -> Result<Page<(String, Upload)>> {
    let store = Arc::clone(store);
    blocking(move || {
        store.meta.read(|tx| {
            let table = tx.open_table(UPLOADS)?;
            listing::page(&query, |cursor| {
                let rows = match cursor {
                    Cursor::From(key) => table.range((key.as_slice(), "")..)?,
                    Cursor::After(key) => table.range((key.as_slice(), AFTER_IDS)..)?,
                    // No id starts with another one, so this is past exactly that upload.
                    Cursor::AfterUpload(key, id) => {
                        table.range((key.as_slice(), format!("{id}{AFTER_IDS}").as_str())..)?
                    }
                };
                Ok(rows.map(|row| {
                    let (row_key, value) = row?;
                    let (key, id) = row_key.value();
                    Ok((key.to_vec(), (id.to_owned(), decode(value.value())?)))
                }))
            })
        })
    })
    .await
}
