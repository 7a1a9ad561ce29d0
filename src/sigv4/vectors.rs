//! AWS's own signing test suite, which the crate `aws-sigv4` ships, held against the verifier: header and
//! query form, each accepted as published and refused after any change to what the signature covers.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::s3::query::Query;
use crate::sigv4::scope::parse_amz_date;
use crate::sigv4::verify::{Head, presented};

const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
const TIME: &str = "20150830T123600Z";

/// This case's presigned URL got its session token after signing, as only services other than S3 allow.
const TOKEN_UNSIGNED: (&str, &str) = ("post-sts-header-after", "query");

/// Cases that other services canonicalise in a way that S3 does not: they resolve `.`, `..` and `//`, or
/// encode an already encoded path a second time. S3's forms of the same are the `-unnormalized` cases.
const NOT_S3: [&str; 8] = [
    "double-encode-path",
    "double-url-encode",
    "get-relative-normalized",
    "get-relative-relative-normalized",
    "get-slash-dot-slash-normalized",
    "get-slash-normalized",
    "get-slash-pointless-dot-normalized",
    "get-slashes-normalized",
];

struct Request {
    method: String,
    path: String,
    query: String,
    headers: HeaderMap,
}

impl Request {
    fn read(file: &Path) -> Self {
        let text = std::fs::read_to_string(file).expect("a vector file").replace("\r\n", "\n");
        let head = text.split_once("\n\n").map_or(text.as_str(), |(head, _)| head);
        let mut lines = head.lines();
        let line = lines.next().expect("a request line");
        let (method, rest) = line.split_once(' ').expect("method");
        let (uri, _) = rest.rsplit_once(' ').expect("version");
        let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
        let mut headers: Vec<(String, String)> = Vec::new();
        for line in lines {
            // A folded line: HTTP/1.1 servers no longer take these; the value is what they meant.
            if let (true, Some((_, value))) = (line.starts_with(' '), headers.last_mut()) {
                *value = format!("{value} {}", line.trim());
                continue;
            }
            let (name, value) = line.split_once(':').expect("a header");
            headers.push((name.to_owned(), value.trim().to_owned()));
        }
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            let name = HeaderName::from_bytes(name.as_bytes()).expect("a header name");
            map.append(name, HeaderValue::from_str(&value).expect("a header value"));
        }
        Self { method: method.into(), path: path.into(), query: query.into(), headers: map }
    }

    /// Whether the verifier takes it as signed by the suite's secret.
    fn verifies(&self, key: &[u8; 32], payload_hash: &str) -> bool {
        let Ok(query) = Query::parse(&self.query) else {
            return false;
        };
        let head = Head { method: &self.method, raw_path: &self.path, query: &query, headers: &self.headers };
        presented(head).is_ok_and(|presented| presented.signature_matches(head, payload_hash, key))
    }
}

fn suite() -> PathBuf {
    let output = std::process::Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--locked"])
        .args(["--manifest-path", concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")])
        .output()
        .expect("cargo runs");
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).expect("cargo speaks JSON");
    let manifest = metadata["packages"]
        .as_array()
        .and_then(|packages| packages.iter().find(|package| package["name"] == "aws-sigv4"))
        .and_then(|package| package["manifest_path"].as_str())
        .expect("aws-sigv4 is a dependency");
    Path::new(manifest).with_file_name("aws-signing-test-suite").join("v4")
}

fn cases() -> Vec<(String, PathBuf)> {
    let mut cases: Vec<_> = std::fs::read_dir(suite())
        .expect("the suite is there")
        .map(|entry| entry.expect("readable").path())
        .map(|path| (path.file_name().expect("named").to_string_lossy().into_owned(), path))
        .filter(|(name, _)| !NOT_S3.contains(&name.as_str()))
        .collect();
    cases.sort();
    assert!(cases.len() >= 30, "only {} vectors found", cases.len());
    cases
}

fn signing_key() -> [u8; 32] {
    let time: SystemTime = parse_amz_date(TIME).expect("a date");
    let key = aws_sigv4::sign::v4::generate_signing_key(SECRET, time, "us-east-1", "service");
    key.as_ref().try_into().expect("32 bytes")
}

fn payload_hash(case: &Path, form: &str) -> String {
    let canonical =
        std::fs::read_to_string(case.join(format!("{form}-canonical-request.txt"))).expect("a vector");
    canonical.lines().last().expect("the hash").to_owned()
}

#[test]
fn every_published_vector_verifies_and_no_changed_one_does() {
    let key = signing_key();
    for (name, case) in cases() {
        for form in ["header", "query"] {
            if (name.as_str(), form) == TOKEN_UNSIGNED {
                continue;
            }
            let request = Request::read(&case.join(format!("{form}-signed-request.txt")));
            let hash = payload_hash(&case, form);
            assert!(request.verifies(&key, &hash), "{name}, {form}: refused as published");
            refuses_changes(&name, form, &request, &key, &hash);
        }
    }
}

#[test]
fn no_case_is_left_out_that_would_pass() {
    let key = signing_key();
    for name in NOT_S3.into_iter().filter(|name| *name != "double-url-encode") {
        let case = suite().join(name);
        let request = Request::read(&case.join("header-signed-request.txt"));
        assert!(!request.verifies(&key, &payload_hash(&case, "header")), "{name} verifies");
    }
}

fn refuses_changes(name: &str, form: &str, request: &Request, key: &[u8; 32], hash: &str) {
    let copy = || Request {
        method: request.method.clone(),
        path: request.path.clone(),
        query: request.query.clone(),
        headers: request.headers.clone(),
    };
    let refused = |changed: &Request, what: &str| {
        assert!(!changed.verifies(key, hash), "{name}, {form}: accepted with another {what}");
    };
    refused(&Request { method: "PUT".into(), ..copy() }, "method");
    refused(&Request { path: format!("{}x", request.path), ..copy() }, "path");
    refused(&Request { query: format!("{}&x=1", request.query), ..copy() }, "query");
    assert!(!request.verifies(&[7; 32], hash), "{name}, {form}: accepted for another secret");
    assert!(!request.verifies(key, "UNSIGNED-PAYLOAD"), "{name}, {form}: accepted with another payload hash");
    let query = Query::parse(&request.query).expect("as published");
    let head =
        Head { method: &request.method, raw_path: &request.path, query: &query, headers: &request.headers };
    let signed = presented(head).expect("as published").signed_headers;
    for header in request.headers.keys().filter(|header| signed.split(';').any(|name| name == *header)) {
        let mut changed = copy();
        changed.headers.insert(header, HeaderValue::from_static("other"));
        refused(&changed, header.as_str());
    }
}
