//! Group D: the gateway signs for its clients; nothing they smuggle in is signed with its key. What may cross at
//! all is checked at the end of every test, see `World::drop`.

use crate::harness::*;

fn put() -> Request {
    Request::put("/datasets/d", "body")
}

/// The names of the headers that reached the origin with the last request of a method.
fn crossed(world: &World, method: &str) -> Vec<String> {
    let names = world.origin.last_of(method).request.headers;
    names.into_iter().map(|(name, _)| name.to_ascii_lowercase()).collect()
}

#[test]
fn d01_unsigned_amz_headers() {
    let world = World::new();
    let alice = world.alice();
    let smuggled = [
        ("x-amz-copy-source", "datasets/control"),
        ("x-amz-tagging", "a=b"),
        ("x-amz-acl", "public-read"),
        ("x-amz-acl", "private"),
        ("x-amz-storage-class", "GLACIER"),
        ("x-amz-meta-x", "y"),
        ("x-amz-website-redirect-location", "/x"),
        ("x-amz-object-lock-mode", "COMPLIANCE"),
        ("x-amz-object-lock-legal-hold", "ON"),
        ("x-amz-checksum-crc32", "AAAAAA=="),
        ("x-amz-server-side-encryption", "AES256"),
        ("X-AMZ-Meta-Case", "y"),
    ];
    world.accepts(&alice.presign(put(), "60"));
    for (name, value) in smuggled {
        for signed in [alice.presign(put(), "60"), alice.sign(put())] {
            let response = world.refuses(&signed.header(name, value), ACCESS_DENIED);
            let message = response.element("Message").unwrap();
            assert_eq!(message, "There were headers present in the request which were not signed");
            let listed = response.element("HeadersNotSigned").unwrap();
            assert!(listed.contains(&name.to_ascii_lowercase()), "{listed}");
        }
    }
}

#[test]
fn d03_plain_headers_may_stay_unsigned() {
    let world = World::new();
    let alice = world.alice();
    world.accepts(&alice.sign(put()).header("content-type", "text/x-late").header("x-custom", "1"));
    world.accepts(&alice.not_signing("x-amz-content-sha256").sign(put()));
    world.accepts(&alice.presign(put(), "60").header("x-amz-content-sha256", UNSIGNED));
    assert!(!crossed(&world, "PUT").contains(&"x-custom".to_owned()));
}

#[test]
fn d04_signed_but_not_for_the_upstream() {
    let world = World::new();
    let alice = world.alice();
    for (name, value) in [
        ("x-amz-acl", "public-read"),
        ("x-amz-grant-read", "id=1"),
        ("x-amz-grant-full-control", "id=1"),
        ("x-amz-object-lock-mode", "COMPLIANCE"),
        ("x-amz-object-lock-retain-until-date", "2030-01-01T00:00:00Z"),
        ("x-amz-object-lock-legal-hold", "ON"),
        ("x-amz-tagging", "a=b"),
        ("x-amz-server-side-encryption", "aws:kms"),
        ("x-amz-server-side-encryption-aws-kms-key-id", "k"),
    ] {
        world.refuses(&alice.sign(put().header(name, value)), NOT_IMPLEMENTED);
    }
    for (name, value) in [
        ("x-amz-bypass-governance-retention", "true"),
        ("x-amz-website-redirect-location", "/x"),
        ("x-amz-request-payer", "requester"),
        ("x-amz-expected-bucket-owner", "123456789012"),
        ("opc-client-request-id", "x"),
        ("opc-meta-x", "x"),
        ("x-minio-source-etag", "x"),
        ("x-amz-replication-status", "REPLICA"),
        ("x-amz-unheard-of", "x"),
    ] {
        let request = alice.sign(put().header(name, value));
        let response = world.call(&request);
        if response.status == 200 {
            assert!(!crossed(&world, "PUT").contains(&name.to_owned()), "{name}");
        } else {
            world.assert_refusal(
                &request,
                &response,
                &[(501, "NotImplemented"), (400, "InvalidArgument"), (403, "AccessDenied")],
            );
        }
    }
    for (name, value) in [
        ("x-amz-acl", "private"),
        ("x-amz-acl", "bucket-owner-full-control"),
        ("x-amz-server-side-encryption", "AES256"),
    ] {
        world.accepts(&alice.sign(put().header(name, value)));
        assert!(!crossed(&world, "PUT").contains(&name.to_owned()), "{name}");
    }
}

#[test]
fn d04_customer_keys_pass_through() {
    let world = World::new();
    let name = |part: &str| format!("x-amz-server-side-encryption-customer-{part}");
    let request = put()
        .header(&name("algorithm"), "AES256")
        .header(&name("key"), base64(&[1; 32]))
        .header(&name("key-md5"), base64(&md5(&[1; 32])));
    world.accepts(&world.alice().sign(request));
    assert!(crossed(&world, "PUT").contains(&name("key")));
}

#[test]
fn d05_the_clients_credentials_stay_here() {
    let world = World::new();
    world.accepts(&world.alice().sign(put().header("cookie", "session=1")));
    let upstream = world.origin.last_of("PUT");
    let authorization = upstream.header("authorization").unwrap();
    assert!(authorization.contains(GATEWAY_KEY), "{authorization}");
    let names = crossed(&world, "PUT");
    assert!(!names.contains(&"cookie".to_owned()) && !names.contains(&"x-amz-security-token".to_owned()));
    let count = |name: &str| names.iter().filter(|n| *n == name).count();
    assert_eq!((count("authorization"), count("x-amz-date"), count("host")), (1, 1, 1));
}

#[test]
fn d05_a_security_token_nobody_issued() {
    let world = World::new();
    let request = Request::get("/datasets/control").header("x-amz-security-token", "made-up");
    let answers = &[
        (400, "InvalidToken"),
        (401, "InvalidToken"),
        (403, "InvalidToken"),
        (403, "InvalidAccessKeyId"),
        (403, "AccessDenied"),
    ];
    world.refuses(&world.alice().sign(request), answers);
}

#[test]
fn d07_hop_by_hop_headers_stop_here() {
    let world = World::new();
    let hops = [
        ("keep-alive", "timeout=5"),
        ("te", "trailers"),
        ("upgrade", "h2c"),
        ("proxy-authorization", "Basic eA=="),
        ("proxy-connection", "keep-alive"),
        ("connection", "x-amz-date, keep-alive"),
    ];
    let request = hops.iter().fold(world.alice().sign(put()), |r, (name, value)| r.header(name, *value));
    world.accepts(&request);
    let names = crossed(&world, "PUT");
    for (name, _) in hops {
        assert!(!names.contains(&name.to_owned()), "{name} crossed");
    }
    assert!(names.contains(&"x-amz-date".to_owned()));
}

#[test]
fn d09_foreign_authorities_are_never_dialled() {
    let world = World::new();
    let alice = world.alice();
    let absolute = Request::get("http://169.254.169.254/datasets/control").header("host", "169.254.169.254");
    let answers = &[(400, ""), (403, ""), (404, ""), (405, "")];
    world.refuses(&absolute, answers);
    world.refuses(&alice.sign(absolute), answers);
    world.refuses(&Request::new("CONNECT", "169.254.169.254:80"), answers);
    // A Host that is nobody's is still path style, and names no other backend.
    let internal = Request::get("/datasets/control").header("host", "internal:9999");
    world.accepts(&alice.sign(internal));
    let two_hosts = alice.sign(Request::get("/datasets/control")).header("host", "internal");
    world.refuses(&two_hosts, answers);
}

#[test]
fn d09_no_host_at_all() {
    let world = World::new();
    let bytes = b"GET /datasets/control HTTP/1.1\r\nconnection: close\r\n\r\n";
    world.refuses_bytes(0, &Request::get("/datasets/control"), bytes, &[(400, "")]);
}

#[test]
fn d11_forwarded_headers_of_strangers_are_ignored() {
    let world = World::new();
    let mut request = world.alice().sign(Request::get("/datasets?location"));
    for name in [
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-proto",
        "x-forwarded-uri",
        "x-real-ip",
        "forwarded",
    ] {
        request = request.header(name, "evil.example");
    }
    let response = world.accepts(&request);
    assert!(!response.everything().contains("evil.example"));
    let created = world
        .alice()
        .sign(Request::post("/datasets/d?uploads", ""))
        .header("x-forwarded-host", "evil.example");
    assert!(!world.accepts(&created).everything().contains("evil.example"));
}

#[test]
fn d13_subresources_never_fall_through_to_a_plain_operation() {
    let world = World::new();
    let alice = world.alice();
    let names = [
        "policy",
        "acl",
        "versioning",
        "lifecycle",
        "replication",
        "cors",
        "website",
        "logging",
        "object-lock",
        "tagging",
        "torrent",
        "select&select-type=2",
        "notification",
        "encryption",
        "requestPayment",
        "accelerate",
        "analytics",
        "inventory",
        "metrics",
        "intelligent-tiering",
        "publicAccessBlock",
        "ownershipControls",
        "policyStatus",
        "legal-hold",
        "retention",
        "attributes",
    ];
    for name in names {
        for path in ["/datasets", "/datasets/control"] {
            for method in ["GET", "PUT", "POST", "DELETE"] {
                let count = world.origin.count();
                let inventory = world.origin.inventory();
                let request = alice.sign(Request::new(method, &format!("{path}?{name}")));
                let response = world.call(&request);
                let what = format!("{method} {path}?{name}: {}", response.everything());
                assert!(response.status < 500 || response.status == 501, "{what}");
                assert!(!response.text().contains("ListBucketResult"), "{what}");
                assert_ne!(response.text(), "control of alice", "{what}");
                assert_eq!(world.origin.inventory(), inventory, "{what}");
                world.assert_nothing_leaked(&request, &response);
                let asks_upstream = matches!(name, "attributes" | "acl" | "versioning");
                assert!(world.origin.count() - count <= usize::from(asks_upstream), "{what}");
            }
        }
    }
}

#[test]
fn d15_redirects_are_not_followed() {
    let world = World::new();
    for status in [301, 302, 307, 308] {
        let elsewhere =
            Reply::error(status, "PermanentRedirect").header("location", "http://169.254.169.254/x");
        world.origin.next(Act::reply(elsewhere));
        let count = world.origin.count();
        let get = world.alice().sign(Request::get("/datasets/control"));
        let response = world.refuses_after(
            1,
            &get,
            &[(502, "BadGateway"), (503, "ServiceUnavailable"), (500, "InternalError")],
        );
        assert_eq!(response.header("location"), None);
        assert!(world.origin.count() - count <= 2, "it was asked again");
    }
}
