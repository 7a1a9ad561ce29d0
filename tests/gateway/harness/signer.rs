//! Requests and an independent SigV4 signer that can also sign wrongly. Follows
//! <https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html>, `sigv4-query-string-auth` and
//! `sigv4-streaming` of the same guide, and nothing of `src/sigv4`.

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use time::format_description::FormatItem;
use time::macros::format_description;
use time::{Duration, OffsetDateTime};

use super::text::{hex, sha256_hex, uri_decode, uri_encode};

pub const HOST: &str = "s3.bucketwarden.test";
pub const UNSIGNED: &str = "UNSIGNED-PAYLOAD";
const STAMP: &[FormatItem<'static>] = format_description!("[year][month][day]T[hour][minute][second]Z");

/// A request as it will stand on the wire.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    pub target: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Request {
    pub fn new(method: &str, target: &str) -> Self {
        Self { method: method.into(), target: target.into(), headers: Vec::new(), body: Vec::new() }
    }

    pub fn get(target: &str) -> Self {
        Self::new("GET", target)
    }

    pub fn put(target: &str, body: impl AsRef<[u8]>) -> Self {
        Self::new("PUT", target).body(body)
    }

    pub fn post(target: &str, body: impl AsRef<[u8]>) -> Self {
        Self::new("POST", target).body(body)
    }

    pub fn delete(target: &str) -> Self {
        Self::new("DELETE", target)
    }

    pub fn body(mut self, body: impl AsRef<[u8]>) -> Self {
        self.body = body.as_ref().to_vec();
        self
    }

    pub fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Replaces every header of that name.
    pub fn set(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.retain(|(n, _)| !n.eq_ignore_ascii_case(name));
        self.header(name, value)
    }

    pub fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(n, _)| !n.eq_ignore_ascii_case(name));
        self
    }

    pub fn get_header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    }

    /// Adds to the query, after signing too.
    pub fn query(mut self, pair: &str) -> Self {
        self.target.push(if self.target.contains('?') { '&' } else { '?' });
        self.target.push_str(pair);
        self
    }

    /// Edits one header in place: how tests tamper with what was signed.
    pub fn edit(mut self, name: &str, edit: impl Fn(&str) -> String) -> Self {
        for (n, value) in &mut self.headers {
            if n.eq_ignore_ascii_case(name) {
                *value = edit(value);
            }
        }
        self
    }

    pub fn head_bytes(&self) -> Vec<u8> {
        let mut head = format!("{} {} HTTP/1.1\r\n", self.method, self.target);
        let mut line = |name: &str, value: &str| {
            head.push_str(name);
            head.push_str(": ");
            head.push_str(value);
            head.push_str("\r\n");
        };
        if self.get_header("host").is_none() {
            line("Host", HOST);
        }
        for (name, value) in &self.headers {
            line(name, value);
        }
        let framed = ["content-length", "transfer-encoding"].iter().any(|n| self.get_header(n).is_some());
        if !framed && (!self.body.is_empty() || matches!(self.method.as_str(), "PUT" | "POST")) {
            line("Content-Length", &self.body.len().to_string());
        }
        head.push_str("\r\n");
        head.into_bytes()
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.head_bytes();
        bytes.extend_from_slice(&self.body);
        bytes
    }
}

/// The target of an object, its key encoded the way SDKs do.
pub fn object(bucket: &str, key: &str) -> String {
    format!("/{bucket}/{}", uri_encode(key, true))
}

/// Who signs, and every way to do it wrong.
#[derive(Clone, Debug)]
pub struct Signer {
    pub id: String,
    pub secret: String,
    pub region: String,
    pub service: String,
    pub terminal: String,
    pub algorithm: String,
    pub time: OffsetDateTime,
    /// The day of the scope, if not that of `time`.
    pub scope_day: Option<String>,
    /// Headers that are sent but not signed.
    pub unsigned: Vec<String>,
    /// The secret that chunks are signed with, if not `secret`.
    pub chunk_secret: Option<String>,
}

/// How a body is wrapped in aws-chunked.
#[derive(Clone, Debug)]
pub struct Chunked {
    pub size: usize,
    pub signed: bool,
    /// Announced in `x-amz-trailer` and written after the last chunk.
    pub trailer: Option<(String, String)>,
}

impl Chunked {
    pub fn signed(size: usize) -> Self {
        Self { size, signed: true, trailer: None }
    }

    pub fn unsigned(size: usize) -> Self {
        Self { size, signed: false, trailer: None }
    }

    pub fn trailer(mut self, name: &str, value: impl Into<String>) -> Self {
        self.trailer = Some((name.into(), value.into()));
        self
    }

    fn mode(&self) -> &'static str {
        match (self.signed, self.trailer.is_some()) {
            (true, false) => "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
            (true, true) => "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER",
            (false, _) => "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
        }
    }
}

impl Signer {
    pub fn new(id: &str, secret: &str) -> Self {
        Self {
            id: id.into(),
            secret: secret.into(),
            region: "us-east-1".into(),
            service: "s3".into(),
            terminal: "aws4_request".into(),
            algorithm: "AWS4-HMAC-SHA256".into(),
            time: OffsetDateTime::now_utc(),
            scope_day: None,
            unsigned: Vec::new(),
            chunk_secret: None,
        }
    }

    /// The same signer with one thing changed.
    pub fn but(&self, change: impl FnOnce(&mut Self)) -> Self {
        let mut other = self.clone();
        change(&mut other);
        other
    }

    pub fn later(&self, by: Duration) -> Self {
        self.but(|s| s.time += by)
    }

    pub fn not_signing(&self, header: &str) -> Self {
        self.but(|s| s.unsigned.push(header.to_ascii_lowercase()))
    }

    pub fn stamp(&self) -> String {
        self.time.format(STAMP).expect("a time formats")
    }

    fn scope(&self) -> String {
        let day = self.scope_day.clone().unwrap_or_else(|| self.stamp()[..8].to_owned());
        format!("{day}/{}/{}/{}", self.region, self.service, self.terminal)
    }

    fn sign_text(&self, secret: &str, text: &str) -> String {
        let scope = self.scope();
        let key = scope
            .split('/')
            .fold(format!("AWS4{secret}").into_bytes(), |key, part| hmac(&key, part.as_bytes()));
        hex(&hmac(&key, text.as_bytes()))
    }

    fn signature(&self, request: &Request, signed: &[String], payload: &str) -> String {
        let canonical = canonical_request(request, signed, payload);
        let text = format!(
            "{}\n{}\n{}\n{}",
            self.algorithm,
            self.stamp(),
            self.scope(),
            sha256_hex(canonical.as_bytes())
        );
        self.sign_text(&self.secret, &text)
    }

    /// Which of the headers present this signer signs.
    fn signed_headers(&self, request: &Request) -> Vec<String> {
        let plain =
            ["authorization", "connection", "content-length", "expect", "transfer-encoding", "user-agent"];
        let mut names: Vec<String> = request.headers.iter().map(|(n, _)| n.to_ascii_lowercase()).collect();
        names.retain(|n| !plain.contains(&n.as_str()) && !self.unsigned.contains(n));
        names.sort();
        names.dedup();
        names
    }

    /// Signs in the Authorization header. The payload mode is the hash of the body unless the request already
    /// says otherwise in `x-amz-content-sha256`.
    pub fn sign(&self, request: Request) -> Request {
        let payload =
            request.get_header("x-amz-content-sha256").map_or_else(|| sha256_hex(&request.body), Into::into);
        let mut request = request.set("x-amz-content-sha256", payload.clone());
        if request.get_header("host").is_none() {
            request.headers.insert(0, ("host".into(), HOST.into()));
        }
        if request.get_header("x-amz-date").is_none() {
            request = request.header("x-amz-date", self.stamp());
        }
        let signed = self.signed_headers(&request);
        let signature = self.signature(&request, &signed, &payload);
        request.header(
            "authorization",
            format!(
                "{} Credential={}/{}, SignedHeaders={}, Signature={signature}",
                self.algorithm,
                self.id,
                self.scope(),
                signed.join(";")
            ),
        )
    }

    pub fn sign_unsigned_payload(&self, request: Request) -> Request {
        self.sign(request.set("x-amz-content-sha256", UNSIGNED))
    }

    /// Signs in the query. Headers already present are signed unless left out.
    pub fn presign(&self, mut request: Request, expires: &str) -> Request {
        if request.get_header("host").is_none() {
            request.headers.insert(0, ("host".into(), HOST.into()));
        }
        let signed = self.signed_headers(&request);
        for (name, value) in [
            ("X-Amz-Algorithm", self.algorithm.clone()),
            ("X-Amz-Credential", format!("{}/{}", self.id, self.scope())),
            ("X-Amz-Date", self.stamp()),
            ("X-Amz-Expires", expires.to_owned()),
            ("X-Amz-SignedHeaders", signed.join(";")),
        ] {
            request = request.query(&format!("{name}={}", uri_encode(&value, false)));
        }
        let signature = self.signature(&request, &signed, UNSIGNED);
        request.query(&format!("X-Amz-Signature={signature}"))
    }

    /// Wraps the body in aws-chunked and signs the head, and the chunks where the mode asks for it.
    pub fn sign_chunked(&self, request: Request, how: &Chunked) -> Request {
        let data = request.body.clone();
        let encoding = match request.get_header("content-encoding") {
            Some(own) if !own.starts_with("aws-chunked") => format!("aws-chunked,{own}"),
            Some(own) => own.to_owned(),
            None => "aws-chunked".to_owned(),
        };
        let mut request = request.set("content-encoding", encoding).set("x-amz-content-sha256", how.mode());
        if request.get_header("x-amz-decoded-content-length").is_none() {
            request = request.header("x-amz-decoded-content-length", data.len().to_string());
        }
        if let Some((name, _)) = &how.trailer
            && request.get_header("x-amz-trailer").is_none()
        {
            request = request.header("x-amz-trailer", name.clone());
        }
        let request = self.sign(request);
        let seed = request
            .get_header("authorization")
            .and_then(|a| a.split("Signature=").nth(1))
            .unwrap_or_default();
        let body = self.chunk_body(&data, seed, how);
        request.body(body)
    }

    fn chunk_body(&self, data: &[u8], seed: &str, how: &Chunked) -> Vec<u8> {
        let secret = self.chunk_secret.as_ref().unwrap_or(&self.secret);
        let mut previous = seed.to_owned();
        let mut out = Vec::new();
        for piece in data.chunks(how.size).chain([&[][..]]) {
            out.extend_from_slice(format!("{:x}", piece.len()).as_bytes());
            if how.signed {
                let text = format!(
                    "AWS4-HMAC-SHA256-PAYLOAD\n{}\n{}\n{previous}\n{}\n{}",
                    self.stamp(),
                    self.scope(),
                    sha256_hex(b""),
                    sha256_hex(piece)
                );
                previous = self.sign_text(secret, &text);
                out.extend_from_slice(format!(";chunk-signature={previous}").as_bytes());
            }
            out.extend_from_slice(b"\r\n");
            if !piece.is_empty() {
                out.extend_from_slice(piece);
                out.extend_from_slice(b"\r\n");
            }
        }
        if let Some((name, value)) = &how.trailer {
            out.extend_from_slice(format!("{name}:{value}\r\n").as_bytes());
            if how.signed {
                let hash = sha256_hex(format!("{name}:{value}\n").as_bytes());
                let text = format!(
                    "AWS4-HMAC-SHA256-TRAILER\n{}\n{}\n{previous}\n{hash}",
                    self.stamp(),
                    self.scope()
                );
                out.extend_from_slice(
                    format!("x-amz-trailer-signature:{}\r\n", self.sign_text(secret, &text)).as_bytes(),
                );
            }
        }
        out.extend_from_slice(b"\r\n");
        out
    }

    /// What is wrong with the Authorization header of a request received, if anything.
    pub fn fault_in(&self, request: &Request) -> Option<String> {
        let Some(auth) = request.get_header("authorization") else {
            return Some("no Authorization".into());
        };
        let field =
            |name: &str| auth.split(&format!("{name}=")).nth(1).and_then(|r| r.split([',', ' ']).next());
        let (Some(credential), Some(signed), Some(signature)) =
            (field("Credential"), field("SignedHeaders"), field("Signature"))
        else {
            return Some(format!("malformed: {auth}"));
        };
        let parts: Vec<&str> = credential.split('/').collect();
        let (Some(date), &[id, _, region, service, _]) = (request.get_header("x-amz-date"), &parts[..])
        else {
            return Some(format!("malformed credential or date: {credential}"));
        };
        let time =
            time::PrimitiveDateTime::parse(date, STAMP).expect("x-amz-date has its format").assume_utc();
        let again = self.but(|s| {
            s.time = time;
            s.region = region.into();
        });
        let signed: Vec<String> = signed.split(';').map(Into::into).collect();
        let payload = request.get_header("x-amz-content-sha256").unwrap_or_default();
        if id != self.id || service != "s3" {
            return Some(format!("signed as {credential}"));
        }
        let unsigned = request.headers.iter().map(|(n, _)| n.to_ascii_lowercase());
        let unsigned: Vec<_> = unsigned.filter(|n| n.starts_with("x-amz-") && !signed.contains(n)).collect();
        if !unsigned.is_empty() {
            return Some(format!("not signed: {unsigned:?}"));
        }
        (again.signature(request, &signed, payload) != signature).then(|| "wrong signature".into())
    }
}

fn hmac(key: &[u8], text: &[u8]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("any key length will do");
    mac.update(text);
    mac.finalize().into_bytes().to_vec()
}

fn canonical_request(request: &Request, signed: &[String], payload: &str) -> String {
    let (path, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
    let mut pairs: Vec<(String, String)> = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(k, v)| (uri_encode(&uri_decode(k), false), uri_encode(&uri_decode(v), false)))
        .collect();
    pairs.sort();
    let query: Vec<String> = pairs.iter().map(|(k, v)| format!("{k}={v}")).collect();
    let mut headers = String::new();
    for name in signed {
        let values: Vec<String> = request
            .headers
            .iter()
            .filter(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, v)| v.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect();
        headers.push_str(&format!("{name}:{}\n", values.join(",")));
    }
    format!("{}\n{path}\n{}\n{headers}\n{}\n{payload}", request.method, query.join("&"), signed.join(";"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn aws_example() -> Signer {
        let start = time::macros::datetime!(2013-05-24 00:00:00 UTC);
        Signer::new("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
            .but(|s| s.time = start)
    }

    /// "Example: GET Object" of the S3 API guide.
    #[test]
    fn signs_the_header_example_of_the_guide() {
        let request = Request::get("/test.txt")
            .header("host", "examplebucket.s3.amazonaws.com")
            .header("range", "bytes=0-9");
        let signed = aws_example().sign(request);
        let auth = signed.get_header("authorization").unwrap();
        assert!(auth.ends_with("f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"), "{auth}");
        assert_eq!(aws_example().fault_in(&signed), None);
        assert!(aws_example().fault_in(&signed.set("range", "bytes=0-8")).is_some());
    }

    /// The presigned example of the guide.
    #[test]
    fn signs_the_query_example_of_the_guide() {
        let request = Request::get("/test.txt").header("host", "examplebucket.s3.amazonaws.com");
        let signed = aws_example().presign(request, "86400");
        let signature = "aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404";
        assert!(signed.target.ends_with(signature), "{}", signed.target);
    }

    /// The chunked upload example of the guide: 66,560 bytes of `a` in two chunks.
    #[test]
    fn signs_the_chunk_example_of_the_guide() {
        let seed = "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9";
        let body = aws_example().chunk_body(&vec![b'a'; 66_560], seed, &Chunked::signed(65_536));
        let text = String::from_utf8(body).unwrap();
        for signature in [
            "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648",
            "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497",
            "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9",
        ] {
            assert!(text.contains(signature), "{signature}");
        }
    }
}
