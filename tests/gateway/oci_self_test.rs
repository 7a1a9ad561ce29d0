//! The OCI stand-in against itself: every refusal is provoked by a raw request. That it cannot be fooled is what makes
//! the tests against it worth something.

use std::net::SocketAddr;

use time::Duration;

use crate::harness::{
    Chunked, Client, Request, Response, Signer, UNSIGNED, assert_well_formed, base64, checksum, eventually,
    flip_signature, md5,
};
use crate::oci::{Propagation, Settings, StandIn};

const BUCKET: &str = "real-bucket";
const REGION: &str = "us-phoenix-1";
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(8);
const KEY: (&str, &str) = ("customer-key", "customer-secret");
const NO_KEY: &str = "The secret key required to complete authentication could not be found. The region must be \
                      specified if this is not the home region for the tenancy.";

fn oci() -> StandIn {
    StandIn::start_apart(Settings { keys: vec![(KEY.0.into(), KEY.1.into())], ..Settings::default() })
}

fn signer() -> Signer {
    Signer::new(KEY.0, KEY.1).but(|signer| signer.region = REGION.into())
}

fn at(rest: &str) -> String {
    format!("/{BUCKET}/{rest}")
}

fn addr(oci: &StandIn) -> SocketAddr {
    oci.s3_endpoint().strip_prefix("http://").unwrap().parse().unwrap()
}

fn call(oci: &StandIn, request: &Request) -> Response {
    Client::connect(addr(oci)).send(request)
}

/// Refused so, in OCI's form.
#[track_caller]
fn refused(oci: &StandIn, request: &Request, status: u16, code: &str) -> String {
    let answer = call(oci, request);
    assert_eq!((answer.status, answer.code().as_str()), (status, code), "{}", answer.everything());
    answer.element("Message").expect("a message")
}

fn delete_body() -> &'static str {
    "<Delete><Object><Key>a</Key></Object></Delete>"
}

#[test]
fn what_is_right_is_done() {
    let oci = oci();
    let put = Request::put(&at("a/b%20c%2B"), "hello").header("x-amz-meta-colour", "deep  blue");
    call(&oci, &signer().sign(put)).assert_status(200);
    call(&oci, &signer().sign_unsigned_payload(Request::put(&at("a/d/e"), "x"))).assert_status(200);
    let got = call(&oci, &signer().sign(Request::get(&at("a/b%20c%2B")).header("range", "bytes=1-3")));
    assert_eq!(
        (got.status, got.text().as_str(), got.header("x-amz-meta-colour")),
        (206, "ell", Some("deep  blue"))
    );
    let head = call(&oci, &signer().sign(Request::new("HEAD", &at("a/d/e"))));
    assert_eq!((head.status, head.header("content-length")), (200, Some("1")));
    for (list, keys) in [("list-type=2&prefix=a/", ["a/b c+", "a/d/e"]), ("prefix=a/", ["a/b c+", "a/d/e"])] {
        let listed = call(&oci, &signer().sign(Request::get(&format!("/{BUCKET}?{list}"))));
        assert_eq!(listed.elements("Key"), keys);
    }
    let presigned = signer().presign(Request::get(&at("a/d/e")), "60");
    assert_eq!(call(&oci, &presigned).text(), "x");
    let copy = Request::put(&at("copy"), "").header("x-amz-copy-source", at("a/d/e"));
    call(&oci, &signer().sign(copy)).assert_status(200);
    call(&oci, &signer().sign(Request::delete(&at("copy")))).assert_status(204);
    refused(&oci, &signer().sign(Request::get(&at("copy"))), 404, "NoSuchKey");
    refused(&oci, &signer().sign(Request::get("/another-bucket/a")), 404, "NoSuchBucket");
    let create = |bucket: &str| signer().sign(Request::put(&format!("/{bucket}"), ""));
    refused(&oci, &create(BUCKET), 409, "BucketAlreadyOwnedByYou");
    refused(&oci, &create("another-bucket"), 403, "AccessDenied");
}

#[test]
fn answers_are_dressed_as_ocis() {
    let oci = oci();
    let answer = call(&oci, &signer().sign(Request::get(&at("none"))));
    let text = answer.text();
    assert_well_formed(&text);
    assert!(text.find("<Message>") < text.find("<Code>"), "{text}");
    for absent in ["RequestId", "HostId", "Resource", "BucketName"] {
        assert!(!text.contains(absent), "{text}");
    }
    let id = answer.header("opc-request-id").expect("an id");
    assert!(id.starts_with("phx-1:") && id.len() > 60, "{id}");
    assert_eq!(answer.header("x-amz-request-id"), Some(id));
    for name in [
        "x-api-id",
        "opc-client-info",
        "strict-transport-security",
        "x-content-type-options",
        "access-control-allow-methods",
        "access-control-expose-headers",
    ] {
        assert!(answer.header(name).is_some(), "no {name}");
    }
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    assert_eq!(answer.header("access-control-allow-credentials"), Some("true"));
}

#[test]
fn signatures_are_verified() {
    let oci = oci();
    let get = || Request::get(&at("a"));
    call(&oci, &signer().sign(Request::put(&at("a"), "a"))).assert_status(200);
    for wrong in [
        flip_signature(signer().sign(get())),
        flip_signature(signer().presign(get(), "60")),
        signer().but(|s| s.secret.push('x')).sign(get()),
        signer().sign(get()).query("prefix=x"),
        signer().sign(get().header("x-amz-meta-a", "1")).set("x-amz-meta-a", "2"),
        signer().sign(get()).set("x-amz-content-sha256", UNSIGNED),
        Request { target: at("b"), ..signer().sign(get()) },
        Request { method: "DELETE".into(), ..signer().sign(get()) },
    ] {
        refused(&oci, &wrong, 403, "SignatureDoesNotMatch");
    }
    refused(&oci, &get(), 403, "AccessDenied");
    refused(&oci, &get().header("authorization", "AWS AK:c2lnbmF0dXJl"), 400, "InvalidRequest");
    refused(
        &oci,
        &signer().not_signing("x-amz-meta-a").sign(get().header("x-amz-meta-a", "1")),
        403,
        "AccessDenied",
    );
    refused(&oci, &signer().not_signing("host").sign(get()), 403, "AccessDenied");
    for by in [Duration::minutes(16), Duration::minutes(-16)] {
        refused(&oci, &signer().later(by).sign(get()), 403, "RequestTimeTooSkewed");
    }
    let tomorrow = signer().but(|s| s.scope_day = Some("20000101".into()));
    refused(&oci, &tomorrow.sign(get()), 400, "AuthorizationHeaderMalformed");
    refused(&oci, &signer().later(Duration::minutes(-2)).presign(get(), "60"), 403, "AccessDenied");
    refused(&oci, &signer().presign(get(), "604801"), 400, "AuthorizationQueryParametersError");
    assert_eq!(call(&oci, &signer().sign(get())).text(), "a");
}

#[test]
fn the_region_is_named_but_at_home() {
    let abroad = oci();
    let settings = || Settings { keys: vec![(KEY.0.into(), KEY.1.into())], ..Settings::default() };
    let home = StandIn::start_apart(Settings { home_region: REGION.into(), ..settings() });
    for region in ["us-east-1", ""] {
        let request = || signer().but(|s| s.region = region.into()).sign(Request::get(&format!("/{BUCKET}")));
        assert_eq!(refused(&abroad, &request(), 403, "SignatureDoesNotMatch"), NO_KEY);
        call(&home, &request()).assert_status(200);
    }
    let elsewhere = signer().but(|s| s.region = "eu-frankfurt-1".into()).sign(Request::get("/"));
    assert_eq!(refused(&home, &elsewhere, 403, "SignatureDoesNotMatch"), NO_KEY);
}

#[test]
fn keys_spread_slowly() {
    let oci = oci();
    let newer = Signer::new("newer-key", "newer-secret").but(|s| s.region = REGION.into());
    let ask = |signer: &Signer| signer.sign(Request::get(&format!("/{BUCKET}")));
    assert_eq!(refused(&oci, &ask(&newer), 403, "SignatureDoesNotMatch"), NO_KEY);
    oci.control().add_key("newer-key", "newer-secret");
    call(&oci, &ask(&newer)).assert_status(200);
    oci.control().propagate("newer-key", Propagation::Nowhere);
    refused(&oci, &ask(&newer), 403, "SignatureDoesNotMatch");
    oci.control().propagate("newer-key", Propagation::Every(3));
    let statuses: Vec<u16> = (0..6).map(|_| call(&oci, &ask(&newer)).status).collect();
    assert_eq!(statuses, [403, 403, 200, 403, 403, 200]);
    call(&oci, &ask(&signer())).assert_status(200);
}

#[test]
fn too_many_requests_are_refused_on_demand() {
    let oci = oci();
    let get = || signer().sign(Request::get(&format!("/{BUCKET}")));
    oci.control().throttle_next(1);
    assert_eq!(refused(&oci, &get(), 429, "TooManyRequests"), "rate-limit exceeded");
    oci.control().throttle_every(3);
    let statuses: Vec<u16> = (0..6).map(|_| call(&oci, &get()).status).collect();
    assert_eq!(statuses, [200, 200, 429, 200, 200, 429]);
    oci.control().throttle_every(0);
    let seen = oci.control().requests();
    assert_eq!(seen.iter().filter(|seen| seen.status == 429).count(), 3);
    assert!(seen.iter().all(|seen| seen.access_key.as_deref() == Some(KEY.0) && seen.method == "GET"));
}

#[test]
fn bodies_are_what_their_heads_say() {
    let oci = oci();
    let put = || Request::put(&at("a"), "body");
    let message =
        refused(&oci, &signer().sign(put().header("x-amz-content-sha256", "abc")), 400, "InvalidArgument");
    assert_eq!(message, "x-amz-content-sha256 must be UNSIGNED-PAYLOAD or a valid sha256 value.");
    refused(&oci, &signer().sign(put()).body("b0dy"), 400, "XAmzContentSHA256Mismatch");
    let unsigned = |name: &str, value: String| signer().sign_unsigned_payload(put().header(name, value));
    refused(&oci, &unsigned("content-md5", base64(&md5(b"b0dy"))), 400, "BadDigest");
    for sum in ["crc32c", "sha256"] {
        let name = format!("x-amz-checksum-{sum}");
        refused(&oci, &unsigned(&name, checksum(sum, b"b0dy")), 400, "BadDigest");
        call(&oci, &unsigned(&name, checksum(sum, b"body"))).assert_status(200);
    }
    call(&oci, &unsigned("content-md5", base64(&md5(b"body")))).assert_status(200);
    let endless = signer().sign_unsigned_payload(put()).header("transfer-encoding", "chunked");
    refused(&oci, &endless.body("4\r\nbody\r\n0\r\n\r\n"), 411, "MissingContentLength");
}

#[test]
fn aws_chunked_is_refused_until_the_region_has_it() {
    let oci = oci();
    let put = || Request::put(&at("chunked"), "some body");
    let sum = || ("x-amz-checksum-crc32", checksum("crc32", b"some body"));
    let ways = [
        Chunked::signed(4),
        Chunked::signed(4).trailer(sum().0, sum().1),
        Chunked::unsigned(4).trailer(sum().0, sum().1),
    ];
    for how in &ways {
        let message = refused(&oci, &signer().sign_chunked(put(), how), 501, "NotImplemented");
        assert_eq!(message, "AWS chunked encoding not supported.");
    }
    let unsigned = signer().sign_unsigned_payload(put().header("content-encoding", "aws-chunked"));
    refused(&oci, &unsigned, 501, "NotImplemented");

    oci.control().allow_aws_chunked(true);
    for how in &ways {
        call(&oci, &signer().sign_chunked(put().header("content-encoding", "gzip"), how)).assert_status(200);
        let got = call(&oci, &signer().sign(Request::get(&at("chunked"))));
        assert_eq!((got.text().as_str(), got.header("content-encoding")), ("some body", Some("gzip")));
    }
    let tampered = signer().sign_chunked(put(), &ways[0]);
    let body = String::from_utf8(tampered.body.clone()).unwrap().replacen("some", "s0me", 1);
    refused(&oci, &tampered.body(body), 403, "SignatureDoesNotMatch");
    let wrong = Chunked::unsigned(4).trailer("x-amz-checksum-crc32", checksum("crc32", b"other"));
    refused(&oci, &signer().sign_chunked(put(), &wrong), 400, "BadDigest");
    let sha1 = Chunked::unsigned(4).trailer("x-amz-checksum-sha1", checksum("sha1", b"some body"));
    refused(&oci, &signer().sign_chunked(put(), &sha1), 501, "NotImplemented");
    let shorter = put().header("x-amz-decoded-content-length", "8");
    refused(&oci, &signer().sign_chunked(shorter, &ways[0]), 400, "IncompleteBody");
    let undeclared = put()
        .header("content-encoding", "aws-chunked")
        .header("x-amz-content-sha256", "STREAMING-UNSIGNED-PAYLOAD-TRAILER")
        .body("9\r\nsome body\r\n0\r\n\r\n");
    refused(&oci, &signer().sign(undeclared), 411, "MissingContentLength");
}

#[test]
fn aws_chunked_may_come_in_http_chunks() {
    let oci = oci();
    oci.control().allow_aws_chunked(true);
    let how = Chunked::unsigned(4).trailer("x-amz-checksum-crc64nvme", checksum("crc64nvme", b"some body"));
    let request = signer().sign_chunked(Request::put(&at("chunked"), "some body"), &how);
    let body = String::from_utf8(request.body.clone()).expect("text");
    let body = format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
    call(&oci, &request.header("transfer-encoding", "chunked").body(body)).assert_status(200);
    assert_eq!(call(&oci, &signer().sign(Request::get(&at("chunked")))).text(), "some body");
}

#[test]
fn a_body_that_is_cut_short_becomes_no_object() {
    let oci = oci();
    let request = signer().sign_unsigned_payload(Request::put(&at("short"), "0123456789"));
    let mut client = Client::connect(addr(&oci));
    client.write(request.head_bytes());
    client.write("01234");
    client.hang_up();
    eventually(PATIENCE, "an answer", || {
        oci.control().requests().first().is_some_and(|seen| seen.status == 400)
    });
    refused(&oci, &signer().sign(Request::get(&at("short"))), 404, "NoSuchKey");
}

#[test]
fn who_asks_before_a_body_is_told_at_once() {
    let oci = oci();
    let put = || {
        signer().sign_unsigned_payload(Request::put(&at("asked"), "body").header("expect", "100-continue"))
    };
    oci.control().throttle_next(1);
    let mut early = Client::connect(addr(&oci));
    early.write(put().head_bytes());
    let refusal = early.response("PUT").expect("an answer before the body");
    assert_eq!((refusal.status, refusal.interim.as_slice()), (429, [].as_slice()));
    let mut client = Client::connect(addr(&oci));
    client.write(put().head_bytes());
    client.write("body");
    let done = client.response("PUT").expect("an answer");
    assert_eq!((done.status, done.interim.as_slice()), (200, [100].as_slice()));
}

#[test]
fn multi_delete_wants_a_digest_that_oci_knows() {
    let oci = oci();
    let body = delete_body();
    let post = |name: &str, value: String| {
        signer().sign(Request::post(&format!("/{BUCKET}?delete"), body).header(name, value))
    };
    for (name, value) in [
        ("content-md5", base64(&md5(body.as_bytes()))),
        ("x-amz-checksum-sha256", checksum("sha256", body.as_bytes())),
        ("x-amz-checksum-crc32c", checksum("crc32c", body.as_bytes())),
    ] {
        call(&oci, &signer().sign(Request::put(&at("a"), "a"))).assert_status(200);
        let answer = call(&oci, &post(name, value));
        assert_eq!((answer.status, answer.elements("Key")), (200, vec!["a".to_owned()]), "{name}");
        refused(&oci, &signer().sign(Request::get(&at("a"))), 404, "NoSuchKey");
    }
    for (name, value) in [
        ("content-md5", base64(&md5(b"other"))),
        ("x-amz-checksum-sha256", checksum("sha256", b"other")),
        ("x-amz-checksum-crc32c", checksum("crc32c", b"other")),
    ] {
        refused(&oci, &post(name, value), 400, "BadDigest");
    }
    for sum in ["crc32", "sha1", "crc64nvme"] {
        let value = checksum(sum, body.as_bytes());
        refused(&oci, &post(&format!("x-amz-checksum-{sum}"), value), 400, "InvalidRequest");
    }
    refused(&oci, &post("x-amz-meta-a", "1".into()), 400, "InvalidRequest");
}

#[test]
fn what_oci_lacks_is_refused() {
    let oci = oci();
    let bucket = |query: &str| format!("/{BUCKET}?{query}");
    let lacking = |method: &str, target: String| {
        let message = refused(&oci, &signer().sign(Request::new(method, &target)), 501, "NotImplemented");
        assert_eq!(message, "The s3 command you requested is not implemented.", "{method} {target}");
    };
    for query in [
        "versions",
        "versioning",
        "acl",
        "policy",
        "lifecycle",
        "cors",
        "website",
        "encryption",
        "object-lock",
    ] {
        lacking("GET", bucket(query));
        lacking("PUT", bucket(query));
    }
    for query in ["acl", "attributes", "torrent", "retention", "legal-hold", "unheard-of"] {
        lacking("GET", at(&format!("a?{query}")));
    }
    lacking("PUT", at("a?acl"));
    lacking("POST", at("a?select&select-type=2"));
    lacking("PATCH", at("a"));
    lacking("GET", bucket("list-type=2&unheard-of=1"));
    for (method, verb) in [("GET", "Get"), ("PUT", "Put"), ("DELETE", "Delete")] {
        let request = signer().sign(Request::new(method, &at("a?tagging")));
        let message = refused(&oci, &request, 501, "NotImplemented");
        assert_eq!(message, format!("S3 {verb} Object tagging operation is not supported."));
    }
}

#[test]
fn headers_that_no_gateway_should_send_are_refused() {
    let oci = oci();
    for (name, value) in [
        ("x-amz-sdk-checksum-algorithm", "CRC32".to_owned()),
        ("x-amz-trailer", "x-amz-checksum-crc32".into()),
        ("x-amz-decoded-content-length", "4".into()),
        ("x-amz-checksum-crc32", checksum("crc32", b"body")),
        ("x-amz-checksum-crc64nvme", checksum("crc64nvme", b"body")),
        ("x-amz-checksum-sha1", checksum("sha1", b"body")),
        ("x-amz-checksum-algorithm", "CRC32".into()),
        ("x-amz-tagging", "a=b".into()),
        ("x-amz-acl", "public-read".into()),
        ("x-amz-grant-read", "id=1".into()),
        ("x-amz-object-lock-mode", "GOVERNANCE".into()),
        ("x-amz-server-side-encryption", "AES256".into()),
        ("x-amz-security-token", "token".into()),
    ] {
        let put = Request::put(&at("a"), "body").header(name, value);
        refused(&oci, &signer().sign(put), 501, "NotImplemented");
    }
    for name in ["x-amz-checksum-mode", "x-amz-checksum-sha256"] {
        refused(&oci, &signer().sign(Request::get(&at("a")).header(name, "ENABLED")), 501, "NotImplemented");
    }
    call(&oci, &signer().sign(Request::put(&at("a"), "body").header("x-amz-acl", "private")))
        .assert_status(200);
}

#[test]
fn keys_hold_no_line_ends() {
    let oci = oci();
    for key in ["a%0Ab", "a%0Db", "a%00b"] {
        refused(&oci, &signer().sign(Request::put(&at(key), "x")), 400, "InvalidArgument");
    }
    refused(&oci, &signer().sign(Request::put(&at(&"k".repeat(1025)), "x")), 400, "KeyTooLongError");
    call(&oci, &signer().sign(Request::put(&at(&"k".repeat(1024)), "x"))).assert_status(200);
}

#[test]
fn there_is_no_virtual_hosted_style() {
    let oci = oci();
    let request = Request::get("/a").header("host", format!("{BUCKET}.compat.example.com"));
    refused(&oci, &signer().sign(request), 404, "NoSuchBucket");
}

#[test]
fn a_write_can_depend_on_what_is_there() {
    let oci = oci();
    let put = || Request::put(&at("once"), "x").header("if-none-match", "*");
    call(&oci, &signer().sign(put())).assert_status(200);
    refused(&oci, &signer().sign(put()), 412, "PreconditionFailed");
    let changed = || Request::put(&at("once"), "y").header("if-match", "\"another\"");
    call(&oci, &signer().sign(changed())).assert_status(200);
    oci.control().heed_if_match(true);
    refused(&oci, &signer().sign(changed()), 412, "PreconditionFailed");
}

#[test]
fn nobody_can_compute_a_multipart_etag() {
    let oci = oci();
    let created = call(&oci, &signer().sign(Request::post(&at("big?uploads"), "")));
    let id = created.element("UploadId").expect("an id");
    let part =
        call(&oci, &signer().sign(Request::put(&at(&format!("big?partNumber=7&uploadId={id}")), "part")));
    let etag = part.header("etag").expect("a tag").to_owned();
    let body = format!(
        "<CompleteMultipartUpload><Part><PartNumber>7</PartNumber><ETag>{etag}</ETag></Part></CompleteMultipartUpload>"
    );
    let target = at(&format!("big?uploadId={id}"));
    let completed = call(&oci, &signer().sign(Request::post(&target, body)));
    let told = completed.element("ETag").expect("a tag");
    let groups: Vec<usize> = told.trim_matches('"').split('-').map(str::len).collect();
    assert_eq!(groups, [8, 4, 4, 4, 12], "{told}");
    let get = |condition: &str, tag: &str| signer().sign(Request::get(&at("big")).header(condition, tag));
    let got = call(&oci, &get("if-match", &told));
    assert_eq!((got.text().as_str(), got.header("etag")), ("part", Some(told.as_str())));
    assert_eq!(call(&oci, &get("if-none-match", &told)).status, 304);
    let listed = call(&oci, &signer().sign(Request::get(&format!("/{BUCKET}?list-type=2"))));
    assert_eq!(listed.element("ETag"), Some(told));
}

#[test]
fn other_processes_steer_it_over_http() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let settings = Settings { keys: vec![(KEY.0.into(), KEY.1.into())], ..Settings::default() };
    let mut oci = runtime.block_on(StandIn::start(settings));
    let control = runtime.block_on(oci.be_steered()).strip_prefix("http://").unwrap().parse().unwrap();
    let order = |body: &str| Client::connect(control).send(&Request::put("/control", body));
    let orders =
        r#"{"throttle_next": 1, "add_keys": {"newer": "secret"}, "propagate": {"newer": {"every": 2}}}"#;
    order(orders).assert_status(200);
    order(r#"{"unheard_of": 1}"#).assert_status(400);
    let newer = Signer::new("newer", "secret").but(|s| s.region = REGION.into());
    let statuses: Vec<u16> =
        (0..4).map(|_| call(&oci, &newer.sign(Request::get(&format!("/{BUCKET}")))).status).collect();
    assert_eq!(statuses, [429, 403, 200, 403]);
    let told = Client::connect(control).send(&Request::get("/requests"));
    let told: serde_json::Value = serde_json::from_slice(&told.body).expect("JSON");
    assert_eq!((told[1]["status"].as_u64(), told[1]["access_key"].as_str()), (Some(403), Some("newer")));
    Client::connect(control).send(&Request::delete("/requests")).assert_status(200);
    assert!(oci.control().requests().is_empty());
}
