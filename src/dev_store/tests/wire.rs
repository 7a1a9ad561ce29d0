//! The store from the outside: requests as a gateway signs them, byte for byte, and what comes back.

use std::net::SocketAddr;

use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::settings;
use crate::dev_store::DevStore;
use crate::sigv4::sign::Signer;
use crate::types::Secret;

type Sent<'test> = (&'static str, &'test [u8]);

/// A running store.
struct Wire {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    server: JoinHandle<()>,
    _dir: tempfile::TempDir,
}

struct Answer {
    status: u16,
    headers: Vec<(String, Vec<u8>)>,
    body: String,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&[u8]> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_slice())
    }

    /// The text of an XML element.
    fn element(&self, name: &str) -> &str {
        let (_, rest) = self.body.split_once(&format!("<{name}>")).expect(&self.body);
        rest.split_once('<').unwrap().0
    }
}

impl Wire {
    async fn open() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = DevStore::open(settings(dir.path())).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let server = tokio::spawn(store.serve(listener, async { drop(stopped.await) }));
        Self { address, stop, server, _dir: dir }
    }

    async fn close(self) {
        self.stop.send(()).unwrap();
        self.server.await.unwrap();
    }

    fn sign(&self, signer: &Signer, method: &str, target: &str, sent: &[Sent<'_>]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert("host", self.address.to_string().parse().unwrap());
        for (name, value) in sent {
            headers.append(HeaderName::from_static(name), HeaderValue::from_bytes(value).unwrap());
        }
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        signer.sign(method, path, query, &mut headers, crate::now());
        headers
    }

    async fn ask(&self, method: &str, target: &str, sent: &[Sent<'_>], body: &str) -> Answer {
        let signer = Signer::new("AK".into(), Secret::new("SK".into()), "us-east-1".into());
        self.send(method, target, &self.sign(&signer, method, target, sent), body).await
    }

    async fn send(&self, method: &str, target: &str, headers: &HeaderMap, body: &str) -> Answer {
        let mut head = format!("{method} {target} HTTP/1.1\r\nConnection: close\r\n").into_bytes();
        if method == "PUT" || method == "POST" {
            head.extend(format!("Content-Length: {}\r\n", body.len()).as_bytes());
        }
        for (name, value) in headers {
            head.extend([name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
        }
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(&[&head, &b"\r\n"[..], body.as_bytes()].concat()).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        let end = answer.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
        let mut lines = answer[..end].split(|byte| *byte == b'\n');
        let status = std::str::from_utf8(lines.next().unwrap()).unwrap()[9..12].parse().unwrap();
        let headers = lines.map(|line| {
            let colon = line.iter().position(|byte| *byte == b':').unwrap();
            let name = String::from_utf8(line[..colon].to_vec()).unwrap();
            (name.to_ascii_lowercase(), line[colon + 1..].trim_ascii().to_vec())
        });
        let body = String::from_utf8(answer[end + 4..].to_vec()).unwrap();
        Answer { status, headers: headers.collect(), body }
    }

    /// Uploads in one part.
    async fn upload(&self, key: &str, sent: &[Sent<'_>]) {
        let created = self.ask("POST", &format!("/real/{key}?uploads="), sent, "").await;
        assert_eq!(created.status, 200, "{sent:?} {}", created.body);
        let id = created.element("UploadId");
        let part = self.ask("PUT", &format!("/real/{key}?partNumber=1&uploadId={id}"), &[], "body").await;
        let etag = std::str::from_utf8(part.header("etag").unwrap()).unwrap();
        let xml = format!(
            "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{etag}</ETag></Part></CompleteMultipartUpload>"
        );
        let done = self.ask("POST", &format!("/real/{key}?uploadId={id}"), &[], &xml).await;
        assert_eq!(done.status, 200, "{}", done.body);
    }
}

/// Values that S3 keeps as they come, whatever HTTP would make of them.
const ODD: [Sent<'static>; 24] = [
    ("expires", b"0"),
    ("expires", b"-1"),
    ("expires", b"2020-01-01T00:00:00Z"),
    ("expires", b"Thu, 01 Dec 1994 16:00:00 GMT"),
    ("cache-control", "größe=1".as_bytes()),
    ("content-disposition", "attachment; filename=\"ä.txt\"".as_bytes()),
    ("content-disposition", b"attachment; filename=\"\xe4.txt\""),
    ("content-encoding", b"gzip, br"),
    ("content-language", b"de,\ten"),
    ("content-type", "text/plain; title=\"ä\"".as_bytes()),
    ("content-type", b"multipart/form-data; boundary=abc"),
    ("content-type", b"multipart/form-data"),
    ("content-type", b"no type at all"),
    ("x-amz-meta-a", b""),
    ("x-amz-meta-a", b"tab\there"),
    ("x-amz-meta-a", b"tabs\t\t \there"),
    ("x-amz-meta-a", b"two  spaces,   three"),
    ("x-amz-meta-a", "no\u{a0}break\u{a0}\u{a0}space".as_bytes()),
    ("x-amz-meta-a", "\u{a0}around\u{a0}".as_bytes()),
    ("x-amz-meta-a", "ideographic\u{3000}space".as_bytes()),
    ("x-amz-meta-a", "em\u{2003}\u{2003}space".as_bytes()),
    ("x-amz-meta-a", b"caf\xe9"),
    ("x-amz-meta-a", b"\x80\xff"),
    ("x-amz-meta-a", b"=?utf-8?q?broken"),
];

#[tokio::test]
async fn values_come_back_as_they_were_sent() {
    let wire = Wire::open().await;
    for (name, value) in ODD {
        let odd = (name, value);
        let put = wire.ask("PUT", "/real/put", &[odd], "body").await;
        assert_eq!(put.status, 200, "{odd:?} {}", put.body);
        wire.upload("upload", &[odd]).await;
        let source = ("x-amz-copy-source", &b"/real/put"[..]);
        let replaced = [source, ("x-amz-metadata-directive", b"REPLACE"), odd];
        for (key, sent) in [("replaced", &replaced[..]), ("copied", &[source])] {
            let copied = wire.ask("PUT", &format!("/real/{key}"), sent, "").await;
            assert_eq!(copied.status, 200, "{odd:?} {}", copied.body);
        }
        for key in ["put", "upload", "replaced", "copied"] {
            for (method, body) in [("GET", "body"), ("HEAD", "")] {
                let got = wire.ask(method, &format!("/real/{key}"), &[], "").await;
                assert_eq!((got.status, got.body.as_str()), (200, body), "{key} {odd:?}");
                assert_eq!(got.header(name), Some(value), "{key} {odd:?}");
            }
        }
    }
    wire.close().await;
}

/// Parsing them is the store's own business; `s3s` would answer 400 before it is asked.
#[tokio::test]
async fn headers_that_s3_reads_leniently() {
    let wire = Wire::open().await;
    let put = wire.ask("PUT", "/real/k", &[("x-amz-meta-a", b"1"), ("x-amz-meta-a", b"2")], "body").await;
    assert_eq!(put.status, 200, "{}", put.body);
    let etag = put.header("etag").unwrap().trim_ascii();
    let bare = etag.strip_prefix(b"\"").and_then(|etag| etag.strip_suffix(b"\"")).unwrap();
    assert_eq!(wire.ask("PUT", "/real/k", &[("if-match", bare)], "body").await.status, 200);
    let source = ("x-amz-copy-source", &b"real/k"[..]);
    let since = ("x-amz-copy-source-if-modified-since", &b"yesterday"[..]);
    let copied = wire.ask("PUT", "/real/copy", &[source, since], "").await;
    assert_eq!(copied.status, 200, "{}", copied.body);
    wire.close().await;
}

#[tokio::test]
async fn a_resumed_download_names_its_object() {
    let wire = Wire::open().await;
    wire.ask("PUT", "/real/k", &[], "body").await;
    let head = wire.ask("HEAD", "/real/k", &[], "").await;
    for (named, status, body) in [
        (head.header("last-modified").unwrap(), 206, "dy"),
        (head.header("etag").unwrap(), 206, "dy"),
        (b"Fri, 01 Jan 2038 00:00:00 GMT", 200, "body"),
        (b"\"another\"", 200, "body"),
    ] {
        let got = wire.ask("GET", "/real/k", &[("range", b"bytes=2-"), ("if-range", named)], "").await;
        assert_eq!((got.status, got.body.as_str()), (status, body), "{named:?}");
    }
    wire.close().await;
}

#[tokio::test]
async fn only_the_stores_own_key_opens() {
    let wire = Wire::open().await;
    let signer = |key: &str, secret: &str, region: &str| {
        Signer::new(key.into(), Secret::new(secret.into()), region.into())
    };
    for (signer, status, code) in [
        (signer("AK", "SK", "us-east-1"), 200, None),
        (signer("AK", "sk", "us-east-1"), 403, Some("SignatureDoesNotMatch")),
        (signer("KA", "SK", "us-east-1"), 403, Some("InvalidAccessKeyId")),
        (signer("AK", "SK", "eu-west-1"), 400, Some("AuthorizationHeaderMalformed")),
    ] {
        for target in ["/real/k", "/real/k?partNumber=1&uploadId=x", "/real?location="] {
            let method = if target == "/real?location=" { "GET" } else { "PUT" };
            let headers = wire.sign(&signer, method, target, &[]);
            let got = wire.send(method, target, &headers, "").await;
            match code {
                Some(code) => assert_eq!((got.status, got.element("Code")), (status, code), "{target}"),
                None => assert_ne!(got.status, 403, "{target}"),
            }
        }
    }
    let mut changed =
        wire.sign(&signer("AK", "SK", "us-east-1"), "PUT", "/real/k", &[("x-amz-meta-a", b"1")]);
    changed.insert("x-amz-meta-a", HeaderValue::from_static("2"));
    assert_eq!(wire.send("PUT", "/real/k", &changed, "").await.element("Code"), "SignatureDoesNotMatch");
    changed.remove("x-amz-meta-a");
    assert_eq!(wire.send("PUT", "/real/k", &changed, "").await.element("Code"), "SignatureDoesNotMatch");
    let mut more = wire.sign(&signer("AK", "SK", "us-east-1"), "PUT", "/real/k", &[]);
    more.insert("x-amz-copy-source", HeaderValue::from_static("/real/k"));
    assert_eq!(wire.send("PUT", "/real/k", &more, "").await.element("Code"), "AccessDenied");
    wire.close().await;
}
