//! What the bucket itself says: sizes by HEAD and LIST, open uploads, parts. Every question goes through the one
//! upstream client, with its retries and time limits; an answer that cannot be read is an error, never "nothing".

use std::sync::Arc;
use std::time::SystemTime;

use http::{Method, header};

use crate::error::{Code, Error, Result};
use crate::keymap::UpstreamTarget;
use crate::s3::operation::Operation;
use crate::s3::xml::{self, OpenUpload, Page};
use crate::types::UpstreamKey;
use crate::upstream::{self, Upstream};

pub(super) struct Inventory {
    upstream: Arc<Upstream>,
}

impl Inventory {
    pub(super) fn new(upstream: Arc<Upstream>) -> Self {
        Self { upstream }
    }

    /// The size of an object, if it is there.
    pub(super) async fn size(&self, key: &UpstreamKey, now: SystemTime) -> Result<Option<u64>> {
        let target = UpstreamTarget { key: key.clone() };
        let call = self.upstream.object_call(Operation::HeadObject, Method::HEAD, &target);
        match self.upstream.send(call, now).await {
            Ok(response) => {
                let length = response.headers().get(header::CONTENT_LENGTH);
                let size = length.and_then(|length| length.to_str().ok()?.parse().ok());
                size.map(Some).ok_or_else(|| Error::new(Code::BadGateway).because("a HEAD without a length"))
            }
            Err(error) if error.code == Code::NoSuchKey => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(super) async fn objects(
        &self,
        prefix: &str,
        token: Option<&str>,
        now: SystemTime,
    ) -> Result<Page<(String, u64), String>> {
        let mut call = self
            .upstream
            .bucket_call(Operation::ListObjectsV2, Method::GET)
            .query("list-type", "2")
            .query("prefix", prefix)
            .query("max-keys", "1000");
        if let Some(token) = token {
            call = call.query("continuation-token", token);
        }
        let page = xml::read_objects(&upstream::read_document(self.upstream.send(call, now).await?).await?)?;
        inside(prefix, page.entries.iter().map(|(key, _)| key))?;
        Ok(page)
    }

    pub(super) async fn uploads(
        &self,
        prefix: &str,
        after: Option<&(String, String)>,
        now: SystemTime,
    ) -> Result<Page<OpenUpload, (String, String)>> {
        let mut call = self
            .upstream
            .bucket_call(Operation::ListMultipartUploads, Method::GET)
            .query("uploads", "")
            .query("prefix", prefix);
        if let Some((key, id)) = after {
            call = call.query("key-marker", key).query("upload-id-marker", id);
        }
        let page = xml::read_uploads(&upstream::read_document(self.upstream.send(call, now).await?).await?)?;
        inside(prefix, page.entries.iter().map(|upload| &upload.key))?;
        Ok(page)
    }

    /// The parts of an upload, or `None` if it is gone.
    pub(super) async fn parts(
        &self,
        key: &UpstreamKey,
        upload_id: &str,
        now: SystemTime,
    ) -> Result<Option<Vec<(u16, u64)>>> {
        let target = UpstreamTarget { key: key.clone() };
        let (mut parts, mut after) = (Vec::new(), 0);
        loop {
            let call = self
                .upstream
                .object_call(Operation::ListParts, Method::GET, &target)
                .query("uploadId", upload_id)
                .query("max-parts", "1000")
                .query("part-number-marker", &after.to_string());
            let response = match self.upstream.send(call, now).await {
                Ok(response) => response,
                Err(error) if matches!(error.code, Code::NoSuchUpload | Code::NoSuchKey) => return Ok(None),
                Err(error) => return Err(error),
            };
            let page = xml::read_parts(&upstream::read_document(response).await?)?;
            parts.extend(page.entries);
            match page.next {
                Some(next) if next > after => after = next,
                Some(_) | None => return Ok(Some(parts)),
            }
        }
    }

    /// Ends an upload. Whether it was there.
    pub(super) async fn abort(&self, key: &UpstreamKey, upload_id: &str, now: SystemTime) -> Result<bool> {
        let target = UpstreamTarget { key: key.clone() };
        let call = self
            .upstream
            .object_call(Operation::AbortMultipartUpload, Method::DELETE, &target)
            .query("uploadId", upload_id);
        match self.upstream.send(call, now).await {
            Ok(_) => Ok(true),
            Err(error) if matches!(error.code, Code::NoSuchUpload | Code::NoSuchKey) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// A listing that names what it was not asked for would be booked on the wrong user.
fn inside<'k>(prefix: &str, mut keys: impl Iterator<Item = &'k String>) -> Result<()> {
    if keys.all(|key| key.starts_with(prefix)) {
        return Ok(());
    }
    Err(Error::new(Code::BadGateway).because("a listing names a key outside its prefix"))
}
