//! PutObject, `DeleteObject`, `CopyObject` and `RestoreObject`. In: the key, the request's headers and body.
//! Out: response headers or results. An object becomes visible in one commit, after its blob is written and
//! verified; conditions are checked in that same transaction, so two writers cannot both win.

use std::fs::File;
use std::ops::Range;
use std::sync::Arc;

use http::HeaderMap;
use s3s::dto::StreamingBlob;

use super::blobs::NewBlob;
use super::checksum::{self, Algorithm, Checksum};
use super::intake::{self, Promise, Received, Sink, disk};
use super::meta::{
    Content, Effects, OBJECTS, Object, Step, blocking, encode, find_object, now, replace_object,
};
use super::read::{self, Sight};
use super::{Store, conditions, headers};
use crate::error::{Code, Error, Result};

/// S3's limit for `CopyObject` and `UploadPartCopy`.
const MAX_COPY: u64 = 5 << 30;

pub(super) async fn put(
    store: &Arc<Store>,
    key: String,
    request: HeaderMap,
    body: Option<StreamingBlob>,
) -> Result<HeaderMap> {
    let attributes = headers::attributes(&request)?;
    let promise = Promise::new(&request, checksum::named(&request)?)?;
    check_early(store, &key, &request).await?;
    let Received { blob, size, etag, checksum } = intake::receive(&store.blobs, body, promise).await?;
    let mut answer = HeaderMap::new();
    headers::set_etag(&mut answer, &etag);
    headers::set_checksum(&mut answer, checksum.as_ref());
    headers::set_sse_c(&mut answer, attributes.sse_c.as_ref());
    let content = Content::Blob(blob.id);
    let object = Object { size, etag, modified: now(), content, checksum, restored_until: None, attributes };
    commit(store, key, request, object, blob).await?;
    Ok(answer)
}

/// A condition that fails already is told before the body is asked for.
pub(super) async fn check_early(store: &Arc<Store>, key: &str, request: &HeaderMap) -> Result<()> {
    if !request.contains_key("if-match") && !request.contains_key("if-none-match") {
        return Ok(());
    }
    let (store, key, request) = (Arc::clone(store), key.to_owned(), request.clone());
    blocking(move || {
        let existing = store.meta.read(|tx| find_object(&tx.open_table(OBJECTS)?, &key))?;
        conditions::write(&request, existing.as_ref())
    })
    .await
}

async fn commit(store: &Store, key: String, request: HeaderMap, object: Object, blob: NewBlob) -> Result<()> {
    let write = store.meta.write(move |tx| {
        let existing = find_object(&tx.open_table(OBJECTS)?, &key)?;
        conditions::write(&request, existing.as_ref())?;
        let doom = replace_object(tx, &key, Some(&object))?;
        Ok(((), Effects { keep: Some(blob), doom }))
    });
    write.await
}

/// Deleting what is not there succeeds, as in S3.
pub(super) async fn delete(
    store: &Store,
    key: String,
    version: Option<&str>,
    request: HeaderMap,
) -> Result<()> {
    read::check_version(version)?;
    let write = store.meta.write(move |tx| {
        let existing = find_object(&tx.open_table(OBJECTS)?, &key)?;
        conditions::matching(&request, existing.as_ref())?;
        let doom = replace_object(tx, &key, None)?;
        Ok(((), Effects { keep: None, doom }))
    });
    write.await
}

/// The source of a copy, checked like a read.
pub(super) struct Source {
    pub(super) sight: Sight,
    pub(super) range: Range<u64>,
}

/// Blocks.
pub(super) fn open_source(
    store: &Store,
    key: &str,
    request: &HeaderMap,
    range: Option<&str>,
) -> Result<Source> {
    let sight = read::find_pinned(store, key)?.ok_or(Code::NoSuchKey)?;
    let object = &sight.object;
    let given = headers::sse_c(request, "x-amz-copy-source-")?;
    headers::demand_key(object.attributes.sse_c.as_ref(), given.as_ref())?;
    if object.attributes.archived() && object.restored_until.is_none_or(|until| until < now()) {
        return Err(Code::InvalidObjectState.into());
    }
    conditions::copy_source(request, &object.etag, object.modified)?;
    let range = match range {
        None => 0..object.size,
        Some(text) => {
            let asked = read::parse_range(text).filter(|asked| matches!(asked, read::Asked::Between(..)));
            let asked = asked.ok_or_else(|| {
                Error::new(Code::InvalidArgument)
                    .say("The x-amz-copy-source-range value must be of the form bytes=first-last")
            })?;
            let range = asked.within(object.size);
            let outside = matches!(asked, read::Asked::Between(_, last) if last >= object.size);
            range.filter(|_| !outside).ok_or_else(|| {
                Error::new(Code::InvalidArgument).say("Range specified is not valid for source object")
            })?
        }
    };
    if range.end - range.start > MAX_COPY {
        let text = "The specified copy source is larger than the maximum allowable size for a copy source: 5368709120";
        return Err(Error::new(Code::InvalidRequest).say(text));
    }
    Ok(Source { sight, range })
}

/// Copies the source's bytes into a new blob. Blocks.
pub(super) fn copy_bytes(store: &Store, mut source: Source, compute: Option<Algorithm>) -> Result<Received> {
    let object = &source.sight.object;
    let whole = source.range == (0..object.size);
    let known = |sum: &Checksum| compute.is_none_or(|algorithm| algorithm == sum.algorithm);
    if let (Content::Blob(id), true) = (object.content, whole)
        && (compute.is_none() || object.checksum.as_ref().is_some_and(known))
    {
        // Whole blob to whole blob: the kernel copies, and the digests are known.
        let blob = store.blobs.create().map_err(disk)?;
        let mut from = File::open(store.blobs.path(id)).map_err(disk)?;
        let size = std::io::copy(&mut from, &mut blob.file()).map_err(disk)?;
        if size != object.size {
            return Err(disk("a blob is shorter than its row says"));
        }
        return Ok(Received { blob, size, etag: object.etag.clone(), checksum: object.checksum.clone() });
    }
    let compute = compute.or(object.checksum.as_ref().map(|sum| sum.algorithm));
    let range = source.range.clone();
    let mut reader = source.sight.reader(store, &range);
    let mut sink = Sink::new(&store.blobs, compute)?;
    loop {
        let piece = reader.next_piece().map_err(disk)?;
        if piece.is_empty() {
            break;
        }
        sink.write(&piece)?;
    }
    let (received, _) = sink.finish();
    Ok(received)
}

pub(super) struct Copied {
    pub(super) etag: String,
    pub(super) modified: i64,
    pub(super) checksum: Option<Checksum>,
    pub(super) headers: HeaderMap,
}

pub(super) async fn copy(
    store: &Arc<Store>,
    from: String,
    key: String,
    request: HeaderMap,
) -> Result<Copied> {
    let mut attributes = headers::attributes(&request)?;
    let replace = match request.get("x-amz-metadata-directive").map(http::HeaderValue::as_bytes) {
        None | Some(b"COPY") => false,
        Some(b"REPLACE") => true,
        Some(_) => return Err(Error::new(Code::InvalidArgument).say("Unknown metadata directive.")),
    };
    let compute = checksum::named(&request)?;
    let changes = replace
        || ["x-amz-storage-class", "x-amz-website-redirect-location"]
            .iter()
            .any(|name| request.contains_key(*name));
    if from == key && !changes && attributes.sse_c.is_none() {
        return Err(Error::new(Code::InvalidRequest).say(
            "This copy request is illegal because it is trying to copy an object to itself without changing the object's metadata, storage class, website redirect location or encryption attributes.",
        ));
    }
    let (store_there, request_there) = (Arc::clone(store), request.clone());
    let (received, from_source) = blocking(move || {
        let source = open_source(&store_there, &from, &request_there, None)?;
        let kept = source.sight.object.attributes.headers.clone();
        Ok((copy_bytes(&store_there, source, compute)?, kept))
    })
    .await?;
    if !replace {
        let redirect = "x-amz-website-redirect-location";
        attributes.headers.retain(|(name, _)| name == redirect);
        attributes.headers.extend(from_source.into_iter().filter(|(name, _)| name != redirect));
    }
    let Received { blob, size, etag, checksum } = received;
    let mut answer = HeaderMap::new();
    headers::set_sse_c(&mut answer, attributes.sse_c.as_ref());
    let modified = now();
    let copied = Copied { etag: etag.clone(), modified, checksum: checksum.clone(), headers: answer };
    let content = Content::Blob(blob.id);
    let object = Object { size, etag, modified, content, checksum, restored_until: None, attributes };
    commit(store, key, request, object, blob).await?;
    Ok(copied)
}

/// Restores at once. `true` if the object was readable already.
pub(super) async fn restore(store: &Store, key: String, version: Option<&str>, days: i64) -> Result<bool> {
    read::check_version(version)?;
    let write = store.meta.write(move |tx| {
        let object = find_object(&tx.open_table(OBJECTS)?, &key)?.ok_or(Code::NoSuchKey)?;
        if !object.attributes.archived() {
            return Err(Error::new(Code::InvalidObjectState)
                .say("Restore is not allowed for the object's current storage class")
                .into());
        }
        let readable = object.restored_until.is_some_and(|until| until >= now());
        let until = days.max(1).saturating_mul(24 * 60 * 60).saturating_add(now());
        let restored = Object { restored_until: Some(until), ..object };
        rewrite(tx, &key, &restored)?;
        Ok((readable, Effects::default()))
    });
    write.await
}

/// Changes an object's row and leaves its blobs alone.
fn rewrite(tx: &redb::WriteTransaction, key: &str, object: &Object) -> Step<()> {
    tx.open_table(OBJECTS)?.insert(key.as_bytes(), encode(object)?.as_slice())?;
    Ok(())
}
