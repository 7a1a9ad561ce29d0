//! The store from the inside: what survives, what never becomes visible, what is cleaned up. `wire` has it
//! from the outside.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use s3s::dto::StreamingBlob;
use s3s::{Body, S3Response};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::meta::Content;
use super::multipart::Named;
use super::read::Ask;
use super::{DevStore, Settings, Store, multi_delete, multipart, objects, read};
use crate::error::{Code, Error};
use crate::types::Secret;

mod wire;

fn settings(dir: &Path) -> Settings {
    Settings {
        dir: dir.to_owned(),
        bucket: "real".into(),
        region: "us-east-1".into(),
        access_key_id: "AK".into(),
        secret: Secret::new("SK".into()),
    }
}

fn open(dir: &Path) -> Arc<Store> {
    DevStore::open(settings(dir)).unwrap().store
}

fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
    let pair = |(name, value): &(&str, &str)| {
        (HeaderName::try_from(*name).unwrap(), HeaderValue::from_bytes(value.as_bytes()).unwrap())
    };
    pairs.iter().map(pair).collect()
}

fn body(bytes: &[u8]) -> StreamingBlob {
    StreamingBlob::from(Body::from(bytes.to_vec()))
}

async fn put(store: &Arc<Store>, key: &str, bytes: &[u8], more: &[(&str, &str)]) -> Result<HeaderMap, Error> {
    let mut request = headers(more);
    request.entry("content-length").or_insert(bytes.len().into());
    objects::put(store, key.to_owned(), request, Some(body(bytes))).await
}

async fn ask(store: &Arc<Store>, key: &str, more: &[(&str, &str)]) -> Result<S3Response<Body>, Error> {
    let ask = Ask { method: Method::GET, key: key.to_owned(), query: Vec::new(), headers: headers(more) };
    read::answer(Arc::clone(store), ask).await
}

async fn drain(mut body: Body) -> Vec<u8> {
    let mut bytes = Vec::new();
    while let Some(piece) = body.next().await {
        bytes.extend_from_slice(&piece.unwrap());
    }
    bytes
}

async fn get(store: &Arc<Store>, key: &str) -> Vec<u8> {
    drain(ask(store, key, &[]).await.unwrap().output).await
}

fn code(result: Result<impl Sized, Error>) -> Option<Code> {
    result.err().map(|error| error.code)
}

fn blobs(dir: &Path) -> usize {
    let shelves = fs::read_dir(dir.join("blobs")).unwrap();
    shelves.map(|shelf| fs::read_dir(shelf.unwrap().path()).unwrap().count()).sum()
}

/// Bytes that differ from place to place.
fn noise(len: usize) -> Vec<u8> {
    (0..len).map(|at| u8::try_from(at * 31 % 251).unwrap()).collect()
}

async fn upload(store: &Arc<Store>, key: &str, parts: &[&[u8]]) -> Result<multipart::Completed, Error> {
    let id = multipart::create(store, key.to_owned(), &HeaderMap::new()).await.unwrap().id;
    let mut named = Vec::new();
    for (part, number) in parts.iter().zip(1..) {
        let request = headers(&[("content-length", &part.len().to_string())]);
        let place = (key.to_owned(), id.clone(), number);
        let answer = multipart::put_part(store, place, &request, Some(body(part))).await.unwrap();
        let etag = answer["etag"].to_str().unwrap().trim_matches('"').to_owned();
        named.push(Named { number, etag, checksum: None });
    }
    multipart::complete(store, key.to_owned(), id, HeaderMap::new(), named).await
}

#[tokio::test]
async fn objects_and_uploads_survive_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let big = noise(5 << 20);
    {
        let store = open(dir.path());
        assert!(DevStore::open(settings(dir.path())).err().unwrap().to_string().contains("another process"));
        put(&store, "a", b"one", &[("x-amz-meta-name", "Zoë"), ("content-type", "text/x")]).await.unwrap();
        put(&store, "a/b", b"two", &[]).await.unwrap();
        put(&store, "a//b", b"three", &[]).await.unwrap();
        put(&store, "../up", b"four", &[]).await.unwrap();
        upload(&store, "parts", &[&big, b"tail"]).await.unwrap();
    }
    let store = open(dir.path());
    let answer = ask(&store, "a", &[]).await.unwrap();
    assert_eq!(answer.headers["x-amz-meta-name"].as_bytes(), "Zoë".as_bytes());
    assert_eq!(answer.headers["content-type"], "text/x");
    assert_eq!(answer.headers["etag"], "\"f97c5d29941bfb1b2fdab0874906ab82\"");
    assert_eq!(drain(answer.output).await, b"one");
    assert_eq!(get(&store, "a/b").await, b"two");
    assert_eq!(get(&store, "a//b").await, b"three");
    assert_eq!(get(&store, "../up").await, b"four");
    assert_eq!(get(&store, "parts").await, [big.as_slice(), b"tail"].concat());
    let across = ask(&store, "parts", &[("range", "bytes=5242879-5242881")]).await.unwrap();
    assert_eq!(across.status, Some(StatusCode::PARTIAL_CONTENT));
    assert_eq!(across.headers["content-range"], "bytes 5242879-5242881/5242884");
    assert_eq!(drain(across.output).await, [&big[5_242_879..], b"ta"].concat());
}

#[tokio::test]
async fn a_crash_leaves_no_orphans_and_no_torn_objects() {
    let (dir, copy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = open(dir.path());
    put(&store, "kept", b"bytes", &[]).await.unwrap();
    put(&store, "torn", b"bytes", &[]).await.unwrap();
    upload(&store, "parts", &[&noise(5 << 20), b"tail"]).await.unwrap();
    let mut orphan = store.blobs.create().unwrap();
    orphan.write(b"no row names this").unwrap();
    fs::write(dir.path().join("blobs/00/notes.txt"), "somebody else's").unwrap();
    // What a crash leaves is what is on disk now.
    fs::copy(dir.path().join("meta.redb"), copy.path().join("meta.redb")).unwrap();
    for shelf in fs::read_dir(dir.path().join("blobs")).unwrap() {
        let shelf = shelf.unwrap();
        let to = copy.path().join("blobs").join(shelf.file_name());
        fs::create_dir_all(&to).unwrap();
        for file in fs::read_dir(shelf.path()).unwrap() {
            let file = file.unwrap();
            fs::copy(file.path(), to.join(file.file_name())).unwrap();
        }
    }
    let torn = read::find(&store, "torn").unwrap().unwrap().object.content;
    let Content::Blob(torn) = torn else { panic!("a small object is one blob") };
    let name = String::from(torn);
    fs::write(copy.path().join("blobs").join(&name[..2]).join(&name[2..]), "by").unwrap();
    assert_eq!(blobs(copy.path()), 6);
    let after = open(copy.path());
    assert_eq!(blobs(copy.path()), 4);
    assert_eq!(code(ask(&after, "torn", &[]).await), Some(Code::NoSuchKey));
    assert_eq!(get(&after, "kept").await, b"bytes");
    assert_eq!(get(&after, "parts").await.len(), (5 << 20) + 4);
    drop(orphan);
    assert_eq!(blobs(dir.path()), 5);
}

#[tokio::test]
async fn a_body_that_breaks_a_promise_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    put(&store, "k", b"before", &[]).await.unwrap();
    let cases: [(&[(&str, &str)], Code); 8] = [
        (&[("content-md5", "AAAAAAAAAAAAAAAAAAAAAA==")], Code::BadDigest),
        (&[("content-md5", "AAAA")], Code::InvalidDigest),
        (&[("x-amz-checksum-crc32", "AAAAAA==")], Code::BadDigest),
        (&[("x-amz-checksum-crc64nvme", "AAAAAAAAAAA=")], Code::BadDigest),
        (&[("x-amz-checksum-sha1", "AAAA")], Code::InvalidRequest),
        (&[("x-amz-trailer", "x-amz-checksum-crc32c")], Code::MalformedTrailerError),
        (&[("content-length", "99")], Code::IncompleteBody),
        (&[("content-length", "3")], Code::IncompleteBody),
    ];
    for (more, expected) in cases {
        assert_eq!(code(put(&store, "k", b"after", more).await), Some(expected), "{more:?}");
    }
    assert_eq!(get(&store, "k").await, b"before");
    let died = async_stream([Ok(Bytes::from_static(b"half")), Err("the client died")]);
    let request = headers(&[("content-length", "8")]);
    let result = objects::put(&store, "k".into(), request, Some(died)).await;
    assert_eq!(code(result), Some(Code::IncompleteBody));
    assert_eq!(blobs(dir.path()), 1);
    // And what keeps its promises is taken.
    let crc = put(&store, "probe", b"after", &[("x-amz-checksum-algorithm", "CRC32C")]).await.unwrap();
    let crc = crc["x-amz-checksum-crc32c"].to_str().unwrap().to_owned();
    let answer = put(&store, "k", b"after", &[("x-amz-checksum-crc32c", &crc)]).await.unwrap();
    assert_eq!(answer["x-amz-checksum-crc32c"], crc.as_str());
    assert_eq!(get(&store, "k").await, b"after");
}

fn async_stream<const N: usize>(pieces: [Result<Bytes, &'static str>; N]) -> StreamingBlob {
    let pieces = pieces.map(|piece| piece.map_err(std::io::Error::other));
    StreamingBlob::wrap(futures_util::stream::iter(pieces))
}

#[tokio::test]
async fn a_download_outlives_the_object() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let (old, tail) = (noise(6 << 20), b"tail");
    upload(&store, "k", &[&old, tail]).await.unwrap();
    let download = ask(&store, "k", &[]).await.unwrap().output;
    put(&store, "k", b"new", &[]).await.unwrap();
    assert_eq!(get(&store, "k").await, b"new");
    assert_eq!(blobs(dir.path()), 3);
    assert_eq!(drain(download).await, [old.as_slice(), tail].concat());
    assert_eq!(blobs(dir.path()), 1);
    objects::delete(&store, "k".into(), None, HeaderMap::new()).await.unwrap();
    assert_eq!(blobs(dir.path()), 0);
    assert_eq!(code(ask(&store, "k", &[]).await), Some(Code::NoSuchKey));
}

#[tokio::test]
async fn completing_checks_parts_and_frees_what_is_not_named() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let done = upload(&store, "one", &[b"only"]).await.unwrap();
    assert!(done.etag.ends_with("-1"));
    assert_eq!(code(upload(&store, "small", &[b"too", b"small"]).await), Some(Code::EntityTooSmall));
    let id = multipart::create(&store, "k".into(), &HeaderMap::new()).await.unwrap().id;
    let place = |number| ("k".to_owned(), id.clone(), number);
    let request = headers(&[("content-length", "1")]);
    for number in [1, 2, 1] {
        multipart::put_part(&store, place(number), &request, Some(body(b"x"))).await.unwrap();
    }
    for wrong in [0, 10_001, -1] {
        let result = multipart::put_part(&store, place(wrong), &request, Some(body(b"x"))).await;
        assert_eq!(code(result), Some(Code::InvalidArgument));
    }
    let named = |number, etag: &str| Named { number, etag: etag.to_owned(), checksum: None };
    let complete = |parts| multipart::complete(&store, "k".into(), id.clone(), HeaderMap::new(), parts);
    let x = "9dd4e461268c8034f5c8564e155c67a6";
    assert_eq!(code(complete(vec![]).await), Some(Code::MalformedXML));
    assert_eq!(code(complete(vec![named(2, x), named(1, x)]).await), Some(Code::InvalidPartOrder));
    assert_eq!(code(complete(vec![named(1, x), named(1, x)]).await), Some(Code::InvalidPartOrder));
    assert_eq!(code(complete(vec![named(3, x)]).await), Some(Code::InvalidPart));
    assert_eq!(code(complete(vec![named(1, "else")]).await), Some(Code::InvalidPart));
    let before = blobs(dir.path());
    complete(vec![named(2, x)]).await.unwrap();
    assert_eq!(blobs(dir.path()), before - 1);
    assert_eq!(code(complete(vec![named(2, x)]).await), Some(Code::NoSuchUpload));
    assert_eq!(get(&store, "k").await, b"x");
}

#[tokio::test]
async fn writes_are_conditional() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    assert_eq!(code(put(&store, "k", b"1", &[("if-match", "\"x\"")]).await), Some(Code::NoSuchKey));
    let answer = put(&store, "k", b"1", &[("if-none-match", "*")]).await.unwrap();
    let etag = answer["etag"].to_str().unwrap();
    assert_eq!(code(put(&store, "k", b"2", &[("if-none-match", "*")]).await), Some(Code::PreconditionFailed));
    assert_eq!(code(put(&store, "k", b"2", &[("if-none-match", "\"x\"")]).await), Some(Code::NotImplemented));
    assert_eq!(code(put(&store, "k", b"2", &[("if-match", "\"x\"")]).await), Some(Code::PreconditionFailed));
    put(&store, "k", b"2", &[("if-match", etag)]).await.unwrap();
    let delete = |etag: &str| objects::delete(&store, "k".into(), None, headers(&[("if-match", etag)]));
    assert_eq!(code(delete(etag).await), Some(Code::PreconditionFailed));
    delete("*").await.unwrap();
    // Of many that want to be first, one is.
    let rivals = (0..16).map(|_| put(&store, "race", b"x", &[("if-none-match", "*")]));
    let won = futures_util::future::join_all(rivals).await.into_iter().flatten().count();
    assert_eq!((won, blobs(dir.path())), (1, 1));
}

#[tokio::test]
async fn a_customer_key_is_demanded_again() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let key = |byte| {
        use base64::Engine;
        use base64::engine::general_purpose::STANDARD;
        use md5::Digest;
        (STANDARD.encode([byte; 32]), STANDARD.encode(md5::Md5::digest([byte; 32])))
    };
    let prefix = "x-amz-server-side-encryption-customer-";
    let names = ["algorithm", "key", "key-md5"].map(|name| format!("{prefix}{name}"));
    let (one, other) = (key(1), key(2));
    let one = [
        (names[0].as_str(), "AES256"),
        (names[1].as_str(), one.0.as_str()),
        (names[2].as_str(), one.1.as_str()),
    ];
    let other = [one[0], (one[1].0, other.0.as_str()), (one[2].0, other.1.as_str())];
    let answer = put(&store, "k", b"secret", &one).await.unwrap();
    assert_eq!(answer[names[0].as_str()], "AES256");
    assert_eq!(answer[names[2].as_str()], one[2].1);
    assert_eq!(code(ask(&store, "k", &[]).await), Some(Code::InvalidRequest));
    assert_eq!(code(ask(&store, "k", &other).await), Some(Code::AccessDenied));
    assert_eq!(code(ask(&store, "k", &one[..2]).await), Some(Code::InvalidArgument));
    assert_eq!(drain(ask(&store, "k", &one).await.unwrap().output).await, b"secret");
    put(&store, "plain", b"", &[]).await.unwrap();
    assert_eq!(code(ask(&store, "plain", &one).await), Some(Code::InvalidRequest));
}

#[tokio::test]
async fn many_keys_go_in_one_request() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    for key in ["a&b", "\u{1}", "😀", "stays"] {
        put(&store, key, b"x", &[]).await.unwrap();
    }
    let xml = "<Delete><Object><Key>a&amp;b</Key></Object><Object><Key>&#x1;</Key></Object>\
        <Object><Key>&#x1F600;</Key></Object><Object><Key><![CDATA[<none>]]></Key></Object>\
        <Object><Key>stays</Key><VersionId>v9</VersionId></Object></Delete>";
    let run = |request: HeaderMap| {
        let store = &store;
        async move { multi_delete::run(store, &request, Body::from(xml.to_owned())).await }
    };
    assert_eq!(code(run(HeaderMap::new()).await), Some(Code::InvalidRequest));
    assert_eq!(
        code(run(headers(&[("content-md5", "AAAAAAAAAAAAAAAAAAAAAA==")])).await),
        Some(Code::BadDigest)
    );
    let sum = {
        use sha2::Digest;
        base64::Engine::encode(&base64::engine::general_purpose::STANDARD, sha2::Sha256::digest(xml))
    };
    let answer = run(headers(&[("x-amz-checksum-sha256", &sum)])).await.unwrap();
    assert_eq!(answer.matches("<Deleted>").count(), 4);
    assert!(
        answer.contains("<Key>stays</Key><VersionId>v9</VersionId><Code>NoSuchVersion</Code>"),
        "{answer}"
    );
    assert_eq!(blobs(dir.path()), 1);
}

#[tokio::test]
async fn strangers_are_turned_away_and_shutdown_is_prompt() {
    let dir = tempfile::tempdir().unwrap();
    let store = DevStore::open(settings(dir.path())).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let server = tokio::spawn(store.serve(listener, async { drop(stopped.await) }));
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET /real/k HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut answer = vec![0; 4096];
    let got = stream.read(&mut answer).await.unwrap();
    let answer = String::from_utf8_lossy(&answer[..got]);
    assert!(answer.starts_with("HTTP/1.1 403 ") && answer.contains("x-amz-request-id: "), "{answer}");
    stop.send(()).unwrap();
    server.await.unwrap();
    // The folder is free again.
    drop(open(dir.path()));
}
