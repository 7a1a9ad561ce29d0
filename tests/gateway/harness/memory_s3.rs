//! A small S3 in memory, good enough for what the gateway asks of one. Path style, real keys. Its answers are as
//! talkative as real ones: real bucket, real keys, owner ids; hiding them is the gateway's work.

use std::collections::BTreeMap;

use super::memory_page::{Page, shown};
use super::origin::REAL_BUCKET;
use super::script::{Content, Reply, pattern_byte};
use super::signer::Request;
use super::text::{elements, hex, md5, uri_decode, uri_encode, xml_escape};

pub const LAST_MODIFIED: &str = "Tue, 01 Sep 2026 10:00:00 GMT";
const STAMP: &str = "2026-09-01T10:00:00.000Z";
const OWNER: &str = "<ID>nsleak</ID><DisplayName>nsleak</DisplayName>";

#[derive(Clone)]
struct Object {
    content: Content,
    etag: String,
    headers: Vec<(String, String)>,
}

struct Upload {
    key: String,
    headers: Vec<(String, String)>,
    parts: BTreeMap<u32, Vec<u8>>,
}

#[derive(Default)]
pub struct MemoryS3 {
    objects: BTreeMap<String, Object>,
    uploads: BTreeMap<String, Upload>,
    minted: usize,
    /// Knows nothing of conditions on a copy's source.
    pub(super) is_blind: bool,
}

/// The request in the words of S3.
pub(super) struct Call<'a> {
    request: &'a Request,
    key: String,
    query: Vec<(String, String)>,
}

impl Call<'_> {
    pub(super) fn arg(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(k, _)| k == name).map(|(_, v)| v.as_str())
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.arg(name).is_some()
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.request.get_header(name)
    }
}

impl MemoryS3 {
    pub fn seed(&mut self, key: &str, content: Content) {
        let object = Object { etag: etag(&content), content, headers: Vec::new() };
        self.objects.insert(key.into(), object);
    }

    pub fn seed_upload(&mut self, key: &str) {
        self.minted += 1;
        let upload = Upload { key: key.into(), headers: Vec::new(), parts: BTreeMap::new() };
        self.uploads.insert(format!("upload-{}", self.minted), upload);
    }

    pub fn bytes_of(&self, key: &str) -> Option<Vec<u8>> {
        self.objects.get(key).map(|o| bytes(&o.content))
    }

    pub fn header_of(&self, key: &str, name: &str) -> Option<String> {
        let headers = &self.objects.get(key)?.headers;
        headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.clone())
    }

    pub fn inventory(&self) -> Vec<(String, String)> {
        self.objects.iter().map(|(key, o)| (key.clone(), o.etag.clone())).collect()
    }

    pub fn open_uploads(&self) -> Vec<String> {
        self.uploads.values().map(|u| u.key.clone()).collect()
    }

    pub fn answer(&mut self, request: &Request) -> Reply {
        let (path, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
        let pair = |p: &str| {
            let (k, v) = p.split_once('=').unwrap_or((p, ""));
            (uri_decode(k), uri_decode(v))
        };
        let query = query.split('&').filter(|p| !p.is_empty()).map(pair).collect();
        let Some(rest) = path.strip_prefix(&format!("/{REAL_BUCKET}")) else {
            return Reply::error(404, "NoSuchBucket");
        };
        let key = uri_decode(rest.strip_prefix('/').unwrap_or(rest));
        let call = Call { request, key, query };
        if call.key.is_empty() { self.bucket(&call) } else { self.object(&call) }
    }

    fn bucket(&mut self, call: &Call<'_>) -> Reply {
        match call.request.method.as_str() {
            "HEAD" => Reply::new(200),
            "GET" if call.has("uploads") => self.list_uploads(call),
            "GET" if call.has("versioning") => Reply::xml(200, "<VersioningConfiguration/>"),
            "GET" if call.has("versions") => self.list_versions(call),
            "GET" => self.list(call),
            "POST" if call.has("delete") => self.delete_many(call),
            _ => Reply::error(501, "NotImplemented"),
        }
    }

    fn object(&mut self, call: &Call<'_>) -> Reply {
        let copies = call.header("x-amz-copy-source").is_some();
        match call.request.method.as_str() {
            "PUT" if call.has("partNumber") => self.put_part(call, copies),
            "PUT" if copies => self.copy(call),
            "PUT" => self.put(call),
            "GET" if call.has("uploadId") => self.list_parts(call),
            "GET" | "HEAD" => self.get(call),
            "DELETE" if call.has("uploadId") => {
                match self.uploads.remove(call.arg("uploadId").unwrap_or_default()) {
                    Some(_) => Reply::new(204),
                    None => Reply::error(404, "NoSuchUpload"),
                }
            }
            "DELETE" => {
                self.objects.remove(&call.key);
                Reply::new(204)
            }
            "POST" if call.has("uploads") => self.create_upload(call),
            "POST" if call.has("uploadId") => self.complete(call),
            "POST" if call.has("restore") => Reply::new(202),
            _ => Reply::error(501, "NotImplemented"),
        }
    }

    fn put(&mut self, call: &Call<'_>) -> Reply {
        let old = self.objects.get(&call.key);
        let refused = match (call.header("if-none-match"), call.header("if-match"), old) {
            (Some("*"), _, Some(_)) => Some((412, "PreconditionFailed")),
            (_, Some(_), None) => Some((404, "NoSuchKey")),
            (_, Some(tag), Some(old)) if tag != old.etag => Some((412, "PreconditionFailed")),
            _ => None,
        };
        if let Some((status, code)) = refused {
            return Reply::error(status, code);
        }
        let content = Content::Bytes(call.request.body.clone());
        let object = Object { etag: etag(&content), content, headers: kept(call.request) };
        let reply = Reply::new(200).header("etag", object.etag.clone());
        self.objects.insert(call.key.clone(), object);
        reply
    }

    fn get(&self, call: &Call<'_>) -> Reply {
        let Some(object) = self.objects.get(&call.key) else {
            return Reply::error(404, "NoSuchKey");
        };
        if call.header("if-match").is_some_and(|tag| tag != object.etag)
            || call.header("if-unmodified-since").is_some_and(|date| date != LAST_MODIFIED)
        {
            return Reply::error(412, "PreconditionFailed");
        }
        if call.header("if-none-match").is_some_and(|tag| tag == object.etag)
            || call.header("if-modified-since").is_some_and(|date| date == LAST_MODIFIED)
        {
            return Reply::new(304).header("etag", object.etag.clone());
        }
        let mut reply = Reply::new(200)
            .header("etag", object.etag.clone())
            .header("last-modified", LAST_MODIFIED)
            .header("accept-ranges", "bytes");
        for (name, value) in &object.headers {
            let replaced = call.arg(&format!("response-{name}"));
            reply = reply.header(name, replaced.unwrap_or(value));
        }
        for name in ["content-type", "content-disposition"] {
            if let (Some(value), None) =
                (call.arg(&format!("response-{name}")), object.headers.iter().find(|(n, _)| n == name))
            {
                reply = reply.header(name, value);
            }
        }
        reply.content = object.content.clone();
        let size = object.content.len();
        let Some(range) = call.header("range") else {
            return reply;
        };
        let Some((from, to)) = parse_range(range, size) else {
            return Reply::error(416, "InvalidRange");
        };
        let all = bytes(&object.content);
        let at = |n: u64| usize::try_from(n).expect("a length fits");
        reply.content = Content::Bytes(all[at(from)..=at(to)].to_vec());
        reply.status = 206;
        reply.header("content-range", format!("bytes {from}-{to}/{size}"))
    }

    fn source(&self, call: &Call<'_>) -> Result<Object, Reply> {
        let source = uri_decode(call.header("x-amz-copy-source").unwrap_or_default());
        let source = source.trim_start_matches('/');
        let source = source.split("?versionId=").next().unwrap_or_default();
        let key = source
            .strip_prefix(&format!("{REAL_BUCKET}/"))
            .ok_or_else(|| Reply::error(404, "NoSuchBucket"))?;
        let object = self.objects.get(key).cloned().ok_or_else(|| Reply::error(404, "NoSuchKey"))?;
        match call.header("x-amz-copy-source-if-match") {
            Some(tag) if tag != object.etag && !self.is_blind => Err(Reply::error(412, "PreconditionFailed")),
            _ => Ok(object),
        }
    }

    fn copy(&mut self, call: &Call<'_>) -> Reply {
        let mut object = match self.source(call) {
            Ok(object) => object,
            Err(reply) => return reply,
        };
        if call.header("x-amz-metadata-directive") == Some("REPLACE") {
            object.headers = kept(call.request);
        }
        let body = format!(
            "<CopyObjectResult><LastModified>{STAMP}</LastModified><ETag>{}</ETag></CopyObjectResult>",
            xml_quote(&object.etag)
        );
        self.objects.insert(call.key.clone(), object);
        Reply::xml(200, &body)
    }

    fn create_upload(&mut self, call: &Call<'_>) -> Reply {
        self.minted += 1;
        let id = format!("upload-{}", self.minted);
        let upload = Upload { key: call.key.clone(), headers: kept(call.request), parts: BTreeMap::new() };
        self.uploads.insert(id.clone(), upload);
        let key = xml_escape(&call.key);
        Reply::xml(
            200,
            &format!(
                "<InitiateMultipartUploadResult><Bucket>{REAL_BUCKET}</Bucket><Key>{key}</Key>\
                 <UploadId>{id}</UploadId></InitiateMultipartUploadResult>"
            ),
        )
    }

    fn put_part(&mut self, call: &Call<'_>, copies: bool) -> Reply {
        let data = if copies {
            match self.source(call) {
                Ok(object) => bytes(&object.content),
                Err(reply) => return reply,
            }
        } else {
            call.request.body.clone()
        };
        let Some(upload) = self.uploads.get_mut(call.arg("uploadId").unwrap_or_default()) else {
            return Reply::error(404, "NoSuchUpload");
        };
        let tag = format!("\"{}\"", hex(&md5(&data)));
        upload.parts.insert(call.arg("partNumber").and_then(|n| n.parse().ok()).unwrap_or_default(), data);
        if copies {
            let tag = xml_quote(&tag);
            let body = format!(
                "<CopyPartResult><LastModified>{STAMP}</LastModified><ETag>{tag}</ETag></CopyPartResult>"
            );
            return Reply::xml(200, &body);
        }
        Reply::new(200).header("etag", tag)
    }

    fn list_parts(&self, call: &Call<'_>) -> Reply {
        let id = call.arg("uploadId").unwrap_or_default();
        let Some(upload) = self.uploads.get(id) else {
            return Reply::error(404, "NoSuchUpload");
        };
        let after: u32 = call.arg("part-number-marker").and_then(|n| n.parse().ok()).unwrap_or(0);
        let parts: String = upload
            .parts
            .iter()
            .filter(|(n, _)| **n > after)
            .map(|(n, data)| {
                format!(
                    "<Part><PartNumber>{n}</PartNumber><LastModified>{STAMP}</LastModified><ETag>{}</ETag>\
                     <Size>{}</Size></Part>",
                    xml_quote(&format!("\"{}\"", hex(&md5(data)))),
                    data.len()
                )
            })
            .collect();
        Reply::xml(
            200,
            &format!(
                "<ListPartsResult><Bucket>{REAL_BUCKET}</Bucket><Key>{}</Key><UploadId>{id}</UploadId>\
                 <Initiator>{OWNER}</Initiator><Owner>{OWNER}</Owner><StorageClass>STANDARD</StorageClass>\
                 <PartNumberMarker>{after}</PartNumberMarker><MaxParts>1000</MaxParts>\
                 <IsTruncated>false</IsTruncated>{parts}</ListPartsResult>",
                shown(call, &upload.key)
            ),
        )
    }

    fn complete(&mut self, call: &Call<'_>) -> Reply {
        let id = call.arg("uploadId").unwrap_or_default();
        let Some(upload) = self.uploads.get(id) else {
            return Reply::error(404, "NoSuchUpload");
        };
        let text = String::from_utf8_lossy(&call.request.body).into_owned();
        let mut body = Vec::new();
        let mut digests = Vec::new();
        for number in elements(&text, "PartNumber") {
            let Some(part) = number.parse().ok().and_then(|n: u32| upload.parts.get(&n)) else {
                return Reply::error(400, "InvalidPart");
            };
            digests.extend(md5(part));
            body.extend_from_slice(part);
        }
        let etag = format!("\"{}-{}\"", hex(&md5(&digests)), upload.parts.len());
        let key = upload.key.clone();
        let object =
            Object { content: Content::Bytes(body), etag: etag.clone(), headers: upload.headers.clone() };
        self.objects.insert(key.clone(), object);
        self.uploads.remove(id);
        Reply::xml(
            200,
            &format!(
                "<CompleteMultipartUploadResult><Location>http://nsleak.compat.objectstorage.test/{REAL_BUCKET}/{0}\
                 </Location><Bucket>{REAL_BUCKET}</Bucket><Key>{0}</Key><ETag>{1}</ETag>\
                 </CompleteMultipartUploadResult>",
                xml_escape(&key),
                xml_quote(&etag)
            ),
        )
    }

    fn delete_many(&mut self, call: &Call<'_>) -> Reply {
        let text = String::from_utf8_lossy(&call.request.body).into_owned();
        let Some(sent) = call.header("content-md5") else {
            return Reply::error(400, "InvalidRequest");
        };
        if sent != super::text::base64(&md5(&call.request.body)) {
            return Reply::error(400, "BadDigest");
        }
        let quiet = elements(&text, "Quiet").first().is_some_and(|q| q == "true");
        let mut rows = String::new();
        for key in elements(&text, "Key") {
            if key.ends_with("locked") {
                rows.push_str(&format!(
                    "<Error><Key>{}</Key><Code>AccessDenied</Code><Message>in {REAL_BUCKET}</Message></Error>",
                    xml_escape(&key)
                ));
                continue;
            }
            self.objects.remove(&key);
            if !quiet {
                rows.push_str(&format!("<Deleted><Key>{}</Key></Deleted>", xml_escape(&key)));
            }
        }
        Reply::xml(200, &format!("<DeleteResult>{rows}</DeleteResult>"))
    }

    fn list(&self, call: &Call<'_>) -> Reply {
        let second = call.arg("list-type") == Some("2");
        let token = call.arg("continuation-token").map(|t| uri_decode(t.trim_start_matches("token:")));
        let after =
            if second { token.as_deref().or_else(|| call.arg("start-after")) } else { call.arg("marker") };
        let keys = self.objects.keys().map(String::as_str);
        let page = Page::cut(call, keys, after.unwrap_or_default());
        let mut xml = format!("<Name>{REAL_BUCKET}</Name>{}", page.echo(call));
        if second {
            xml.push_str(&format!("<KeyCount>{}</KeyCount>", page.keys.len() + page.prefixes.len()));
            for (name, element) in
                [("start-after", "StartAfter"), ("continuation-token", "ContinuationToken")]
            {
                if let Some(value) = call.arg(name) {
                    xml.push_str(&format!("<{element}>{}</{element}>", shown(call, value)));
                }
            }
            if page.truncated {
                let token = format!("token:{}", uri_encode(&page.last, false));
                xml.push_str(&format!("<NextContinuationToken>{token}</NextContinuationToken>"));
            }
        } else {
            xml.push_str(&format!(
                "<Marker>{}</Marker>",
                shown(call, call.arg("marker").unwrap_or_default())
            ));
            if page.truncated && call.has("delimiter") {
                xml.push_str(&format!("<NextMarker>{}</NextMarker>", shown(call, &page.last)));
            }
        }
        for key in &page.keys {
            let object = &self.objects[key];
            let owner = if second && call.arg("fetch-owner") != Some("true") {
                String::new()
            } else {
                format!("<Owner>{OWNER}</Owner>")
            };
            xml.push_str(&format!(
                "<Contents><Key>{}</Key><LastModified>{STAMP}</LastModified><ETag>{}</ETag><Size>{}</Size>{owner}\
                 <StorageClass>STANDARD</StorageClass></Contents>",
                shown(call, key),
                xml_quote(&object.etag),
                object.content.len()
            ));
        }
        xml.push_str(&page.common_prefixes(call));
        Reply::xml(
            200,
            &format!(
                "<ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">{xml}</ListBucketResult>"
            ),
        )
    }

    fn list_versions(&self, call: &Call<'_>) -> Reply {
        let keys = self.objects.keys().map(String::as_str);
        let page = Page::cut(call, keys, call.arg("key-marker").unwrap_or_default());
        let mut xml = format!("<Name>{REAL_BUCKET}</Name>{}", page.echo(call));
        xml.push_str(&format!(
            "<KeyMarker>{}</KeyMarker>",
            shown(call, call.arg("key-marker").unwrap_or_default())
        ));
        if page.truncated {
            xml.push_str(&format!(
                "<NextKeyMarker>{}</NextKeyMarker><NextVersionIdMarker>null</NextVersionIdMarker>",
                shown(call, &page.last)
            ));
        }
        for key in &page.keys {
            let object = &self.objects[key];
            xml.push_str(&format!(
                "<Version><Key>{}</Key><VersionId>null</VersionId><IsLatest>true</IsLatest>\
                 <LastModified>{STAMP}</LastModified><ETag>{}</ETag><Size>{}</Size><Owner>{OWNER}</Owner>\
                 <StorageClass>STANDARD</StorageClass></Version>",
                shown(call, key),
                xml_quote(&object.etag),
                object.content.len()
            ));
        }
        xml.push_str(&page.common_prefixes(call));
        Reply::xml(200, &format!("<ListVersionsResult>{xml}</ListVersionsResult>"))
    }

    fn list_uploads(&self, call: &Call<'_>) -> Reply {
        let mut rows: Vec<(&str, &str)> =
            self.uploads.iter().map(|(id, u)| (u.key.as_str(), id.as_str())).collect();
        rows.sort_unstable();
        let marker = call.arg("key-marker").unwrap_or_default();
        let page = Page::cut(call, rows.iter().map(|(key, _)| *key), marker);
        let mut xml = format!(
            "<Bucket>{REAL_BUCKET}</Bucket>{}<KeyMarker>{}</KeyMarker><UploadIdMarker></UploadIdMarker>",
            page.echo(call),
            shown(call, marker)
        );
        if page.truncated {
            xml.push_str(&format!("<NextKeyMarker>{}</NextKeyMarker>", shown(call, &page.last)));
        }
        for (key, id) in rows.iter().filter(|(key, _)| page.keys.iter().any(|k| k == key)) {
            xml.push_str(&format!(
                "<Upload><Key>{}</Key><UploadId>{id}</UploadId><Initiator>{OWNER}</Initiator><Owner>{OWNER}</Owner>\
                 <StorageClass>STANDARD</StorageClass><Initiated>{STAMP}</Initiated></Upload>",
                shown(call, key)
            ));
        }
        xml.push_str(&page.common_prefixes(call));
        Reply::xml(200, &format!("<ListMultipartUploadsResult>{xml}</ListMultipartUploadsResult>"))
    }
}

fn xml_quote(etag: &str) -> String {
    etag.replace('"', "&quot;")
}

fn etag(content: &Content) -> String {
    match content {
        Content::Bytes(bytes) => format!("\"{}\"", hex(&md5(bytes))),
        Content::Pattern(n) => format!("\"{n:032x}\""),
    }
}

fn bytes(content: &Content) -> Vec<u8> {
    match content {
        Content::Bytes(bytes) => bytes.clone(),
        Content::Pattern(n) => (0..*n).map(pattern_byte).collect(),
    }
}

/// The headers that S3 keeps with an object.
fn kept(request: &Request) -> Vec<(String, String)> {
    let named = [
        "content-type",
        "content-encoding",
        "content-disposition",
        "content-language",
        "cache-control",
        "expires",
    ];
    let lower = request.headers.iter().map(|(n, v)| (n.to_ascii_lowercase(), v.clone()));
    lower.filter(|(n, _)| named.contains(&n.as_str()) || n.starts_with("x-amz-meta-")).collect()
}

fn parse_range(range: &str, size: u64) -> Option<(u64, u64)> {
    let (from, to) = range.strip_prefix("bytes=")?.split_once('-')?;
    let (from, to) = match (from.parse::<u64>(), to.parse::<u64>()) {
        (Ok(from), Ok(to)) => (from, to.min(size.checked_sub(1)?)),
        (Ok(from), Err(_)) => (from, size.checked_sub(1)?),
        (Err(_), Ok(last)) => (size.saturating_sub(last), size.checked_sub(1)?),
        (Err(_), Err(_)) => return None,
    };
    (from <= to && from < size).then_some((from, to))
}
