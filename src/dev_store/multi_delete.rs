//! `DeleteObjects`. In: the XML body, verified. Out: the XML of results.
//! Parsed here and not by the `s3s` crate, because it drops CDATA, refuses character references above
//! U+FFFF and of control characters (so such keys could never be deleted), and verifies no Content-MD5.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::StreamExt;
use http::HeaderMap;
use md5::{Digest, Md5};
use quick_xml::escape::{escape, resolve_predefined_entity};
use quick_xml::events::Event;
use s3s::Body;

use super::checksum::{self, Hasher};
use super::meta::{Effects, OBJECTS, find_object, replace_object};
use super::{Store, conditions, intake, read};
use crate::error::{Code, Error, Result};

/// Room for 1,000 keys of 1,024 bytes, written as character references.
const MAX_XML: usize = 8 << 20;
const MAX_KEYS: usize = 1000;

#[derive(Default)]
struct Doomed {
    key: String,
    version: Option<String>,
    etag: Option<String>,
}

pub(super) async fn run(store: &Arc<Store>, request: &HeaderMap, mut body: Body) -> Result<String> {
    let mut xml = Vec::new();
    while let Some(piece) = body.next().await {
        xml.extend_from_slice(&piece.map_err(intake::broken_body)?);
        if xml.len() > MAX_XML {
            return Err(Code::MaxMessageLengthExceeded.into());
        }
    }
    verify(request, &xml)?;
    let xml = String::from_utf8(xml).map_err(malformed)?;
    let (objects, quiet) = parse(&xml)?;
    let mut answer = String::from(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><DeleteResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">",
    );
    for (key, version, result) in delete(store, objects).await? {
        let version = version.map(|id| format!("<VersionId>{}</VersionId>", escape(&id))).unwrap_or_default();
        let key = escape(&key);
        match result {
            Ok(()) if quiet => {}
            Ok(()) => answer.extend(["<Deleted><Key>", &key, "</Key>", &version, "</Deleted>"]),
            Err(error) => {
                let (code, message) = (error.code.as_str(), escape(error.message()));
                answer.extend(["<Error><Key>", &key, "</Key>", &version, "<Code>", code, "</Code>"]);
                answer.extend(["<Message>", &message, "</Message></Error>"]);
            }
        }
    }
    answer.push_str("</DeleteResult>");
    Ok(answer)
}

/// S3 takes no `DeleteObjects` without a digest of its body.
fn verify(request: &HeaderMap, xml: &[u8]) -> Result<()> {
    let mut verified = false;
    if let Some(md5) = request.get("content-md5") {
        if md5.as_bytes() != STANDARD.encode(Md5::digest(xml)).as_bytes() {
            return Err(Code::BadDigest.into());
        }
        verified = true;
    }
    if let Some((algorithm, value)) = checksum::stated(request)? {
        let mut hasher = Hasher::new(algorithm);
        hasher.update(xml);
        if hasher.finish().value != value {
            return Err(Code::BadDigest.into());
        }
        verified = true;
    }
    if verified {
        Ok(())
    } else {
        Err(Error::new(Code::InvalidRequest).say("Missing required header for this request: Content-MD5"))
    }
}

fn malformed(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::new(Code::MalformedXML).because(cause)
}

fn parse(xml: &str) -> Result<(Vec<Doomed>, bool)> {
    let mut reader = quick_xml::Reader::from_str(xml);
    let mut path: Vec<String> = Vec::new();
    let mut text = String::new();
    let mut objects: Vec<Doomed> = Vec::new();
    let mut quiet = false;
    let mut current = None;
    loop {
        match reader.read_event().map_err(malformed)? {
            Event::Start(start) => {
                path.push(start.local_name().into_inner().to_owned());
                text.clear();
                if path[0] != "Delete" {
                    return Err(malformed("the root element is not Delete"));
                }
                if path[1..] == ["Object"] {
                    current = Some(Doomed::default());
                }
            }
            Event::Text(piece) => text.push_str(&piece.xml10_content()),
            Event::CData(piece) => text.push_str(&piece.xml10_content()),
            Event::GeneralRef(reference) => {
                if let Some(character) = reference.resolve_char_ref().map_err(malformed)? {
                    text.push(character);
                } else {
                    let entity = resolve_predefined_entity(&reference);
                    text.push_str(entity.ok_or_else(|| malformed("an unknown entity"))?);
                }
            }
            Event::End(_) => {
                let text = std::mem::take(&mut text);
                let names: Vec<&str> = path.iter().skip(1).map(String::as_str).collect();
                match (names.as_slice(), &mut current) {
                    (["Quiet"], _) => quiet = text.trim() == "true",
                    (["Object", "Key"], Some(object)) => object.key = text,
                    (["Object", "VersionId"], Some(object)) => object.version = Some(text),
                    (["Object", "ETag"], Some(object)) => object.etag = Some(text),
                    (["Object"], _) => objects.extend(current.take()),
                    _ => {}
                }
                path.pop();
            }
            Event::DocType(_) => return Err(malformed("a document type")),
            Event::Empty(_) | Event::Comment(_) | Event::Decl(_) | Event::PI(_) => {}
            Event::Eof => break,
        }
    }
    let whole = path.is_empty() && objects.iter().all(|object| !object.key.is_empty());
    if !whole || objects.is_empty() || objects.len() > MAX_KEYS {
        return Err(Code::MalformedXML.into());
    }
    Ok((objects, quiet))
}

type Deleted = (String, Option<String>, Result<()>);

/// All keys in one commit; what one key is refused does not stop the others.
async fn delete(store: &Store, objects: Vec<Doomed>) -> Result<Vec<Deleted>> {
    let write = store.meta.write(move |tx| {
        let mut doom = Vec::new();
        let mut results = Vec::new();
        for Doomed { key, version, etag } in objects {
            let existing = find_object(&tx.open_table(OBJECTS)?, &key)?;
            let wanted = match (&etag, existing) {
                (Some(tags), Some(object)) if !conditions::lists(tags, &object.etag) => {
                    Err(Code::PreconditionFailed.into())
                }
                _ => read::check_version(version.as_deref()),
            };
            if wanted.is_ok() {
                doom.extend(replace_object(tx, &key, None)?);
            }
            results.push((key, version, wanted));
        }
        Ok((results, Effects { keep: None, doom }))
    });
    write.await
}
