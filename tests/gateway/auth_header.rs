//! Group A: SigV4 in the Authorization header.

use time::Duration;

use crate::harness::*;

fn control() -> Request {
    Request::get("/datasets/control")
}

/// A request signed well, with its Authorization header replaced. A signer's time is its own: what belongs
/// together is signed by one.
fn authorized_by(signer: &Signer, value: &str) -> Request {
    signer.sign(control()).set("authorization", value)
}

#[test]
fn a01_wrong_secret_or_flipped_signature() {
    let world = World::new();
    let alice = world.alice();
    world.accepts(&alice.sign(control()));
    world.refuses(&alice.but(|s| s.secret = "a guess".into()).sign(control()), WRONG_SIGNATURE);
    world.refuses(&flip_signature(alice.sign(control())), WRONG_SIGNATURE);
    world.refuses(&alice.but(|s| s.secret = world.bob().secret).sign(control()), WRONG_SIGNATURE);
}

#[test]
fn a02_unknown_access_key() {
    let world = World::new();
    let stranger = world.alice().but(|s| s.id = "AKSTRANGER".into());
    world.refuses(&stranger.sign(control()), &[(403, "InvalidAccessKeyId")]);
}

#[test]
fn a04_malformed_authorization_headers() {
    let world = World::new();
    let alice = world.alice();
    let good = alice.sign(control()).get_header("authorization").unwrap().to_owned();
    world.accepts(&authorized_by(&alice, &good));
    let day = &alice.stamp()[..8];
    let mut bad = vec!["invalid_header".to_owned(), "AWS4-HMAC-SHA256".into(), "AWS4-HMAC-SHA256 ".into()];
    bad.extend(
        ["Credential", "SignedHeaders", "Signature"].map(|part| good.replace(&format!("{part}="), "Gone=")),
    );
    bad.push(good.replace("SignedHeaders=", "SignedHeaders-"));
    let scope = format!("{day}/us-east-1/s3/aws4_request");
    for wrong in [
        format!("{day}/us-east-1/aws4_request"),
        format!("{day}/s3/us-east-1/more/aws4_request"),
        format!("{day}/us-east-1/s3/aws4_request/more/more"),
        "32234/us-east-1/s3/aws4_request".into(),
        format!("{day}/us-east-1/s3/aws_request"),
    ] {
        bad.push(good.replace(&scope, &wrong));
    }
    for value in bad {
        world.refuses(&authorized_by(&alice, &value), BAD_AUTHORIZATION);
    }
    world.refuses(&authorized_by(&alice, ""), ACCESS_DENIED);
}

#[test]
fn a04_headers_signed_twice_or_without_a_name() {
    let world = World::new();
    let alice = world.alice();
    let header = alice.sign(control()).get_header("authorization").unwrap().to_owned();
    // A canonical request of this would hold the long value seven thousand times.
    let many = format!("SignedHeaders={}", "a;".repeat(7000));
    for names in ["SignedHeaders=host;", "SignedHeaders=;", &many] {
        let request = authorized_by(&alice, &header.replace("SignedHeaders=", names));
        world.refuses(&request.header("a", "x".repeat(8000)), BAD_AUTHORIZATION);
    }
    let presigned = alice.presign(control(), "60");
    let twice = Request {
        target: presigned.target.replace("SignedHeaders=host", "SignedHeaders=host%3Bhost"),
        ..presigned
    };
    world.refuses(&twice, &[(400, "AuthorizationQueryParametersError")]);
}

#[test]
fn a05_other_signature_versions() {
    let world = World::new();
    for value in [
        "AWS AKALICE:c2lnbmF0dXJl",
        "AWS4-ECDSA-P256-SHA256 Credential=AKALICE/20260901/s3/aws4_request, SignedHeaders=host, Signature=00",
    ] {
        world.refuses(&authorized_by(&world.alice(), value), INVALID_REQUEST);
    }
}

#[test]
fn a06_another_region() {
    let world = World::new();
    let abroad = world.alice().but(|s| s.region = "eu-x".into());
    let response = world.refuses(&abroad.sign(control()), MALFORMED_HEADER);
    assert!(response.element("Region").is_some(), "{}", response.text());
    for region in ["us-east-1", "us-phoenix-1"] {
        world.accepts(&world.alice().but(|s| s.region = region.into()).sign(control()));
    }
}

#[test]
fn a07_another_service() {
    let world = World::new();
    for service in ["ec2", "sts"] {
        let elsewhere = world.alice().but(|s| s.service = service.into());
        world.refuses(&elsewhere.sign(control()), MALFORMED_HEADER);
    }
}

#[test]
fn a09_scope_of_another_day() {
    let world = World::new();
    let stale = world.alice().but(|s| s.scope_day = Some("20200101".into()));
    world.refuses(&stale.sign(control()), MALFORMED_HEADER);
}

#[test]
fn a10_clock_skew() {
    let world = World::new();
    for minutes in [-16, 16] {
        let skewed = world.alice().later(Duration::minutes(minutes));
        world.refuses(&skewed.sign(control()), SKEWED);
    }
    for minutes in [-14, 14] {
        world.accepts(&world.alice().later(Duration::minutes(minutes)).sign(control()));
    }
}

#[test]
fn a12_no_date_or_one_nobody_can_read() {
    let world = World::new();
    let undated = world.alice().not_signing("x-amz-date").sign(control()).without("x-amz-date");
    world.refuses(&undated, ACCESS_DENIED);
    let unreadable = world.alice().sign(control().header("x-amz-date", "03032006"));
    world.refuses(&unreadable, ACCESS_DENIED);
}

#[test]
fn a14_host_not_signed() {
    let world = World::new();
    let request = world.alice().not_signing("host").sign(control());
    world.refuses(&request, &[(403, "AccessDenied"), (403, "SignatureDoesNotMatch")]);
}

#[test]
fn a17_odd_paths_and_queries_verify() {
    let world = World::new();
    let alice = world.alice();
    for key in ["a b", "a=b", "a+b", "100%", "é😀", "a//b", "(x)!*'", "e\u{301}", "~.-_"] {
        world.accepts(&alice.sign(Request::put(&object("datasets", key), key)));
        assert_eq!(world.accepts(&alice.sign(Request::get(&object("datasets", key)))).text(), key);
    }
    for target in [
        "/datasets?prefix=b&list-type=2",
        "/datasets?uploads",
        "/datasets?uploads=",
        "/datasets?list-type=2&prefix=a%2fb",
        "/datasets?list-type=2&prefix=a%2Fb&delimiter=%2F",
        "/datasets?list-type=2&prefix=a%20b",
        "/datasets/",
    ] {
        world.accepts(&alice.sign(Request::get(target)));
    }
    // Signed as sent: lower-case escapes, and characters that strict encoding would escape.
    world.accepts(&alice.sign(Request::get("/datasets/%c3%a9%F0%9F%98%80")));
    world.accepts(&alice.sign(Request::get("/datasets/(x)!*'")));
    world.refuses(
        &Request { target: "/datasets/a%20c".into(), ..alice.sign(Request::get("/datasets/a%20b")) },
        WRONG_SIGNATURE,
    );
}

#[test]
fn a18_body_changed_under_its_hash() {
    let world = World::new();
    world.accepts(&world.alice().sign(Request::put("/datasets/a18", "aaaa")));
    for (before, after) in
        [("aaaa".to_owned(), "bbbb".to_owned()), ("a".repeat(300_000), "b".repeat(300_000))]
    {
        let request = world.alice().sign(Request::put("/datasets/a18", before)).body(after);
        world.refuses_upload(&request, WRONG_HASH);
    }
    assert_eq!(world.origin.object("datasets/alice/a18").unwrap(), b"aaaa");
}

#[test]
fn a18_only_the_last_byte_changed() {
    let world = World::new();
    let mut body = vec![7; 3 << 20];
    let request = world.alice().sign(Request::put("/datasets/a18", &body));
    *body.last_mut().unwrap() = 8;
    world.refuses_upload(&request.body(body), WRONG_HASH);
    assert_eq!(world.origin.object("datasets/alice/a18"), None);
}

#[test]
fn a18_an_empty_body_is_verified_before_anything_goes_upstream() {
    let world = World::new();
    let request = world.alice().sign(Request::put("/datasets/a18", "signed for this")).body("");
    world.refuses(&request, WRONG_HASH);
    world.accepts(&world.alice().sign(Request::put("/datasets/a18", "")));
    assert_eq!(world.origin.object("datasets/alice/a18").unwrap(), b"");
}

#[test]
fn a19_payload_hash_missing_or_unknown() {
    let world = World::new();
    let put = || Request::put("/datasets/a19", "body");
    let missing =
        world.alice().not_signing("x-amz-content-sha256").sign(put()).without("x-amz-content-sha256");
    let either: Answers<'_> = &[(400, "InvalidRequest"), (400, "InvalidArgument")];
    world.refuses(&missing, either);
    for mode in ["invalid_sha256", "STREAMING-FOO", "UNSIGNED", &"0".repeat(63)] {
        world.refuses(&world.alice().sign(put().header("x-amz-content-sha256", mode)), either);
    }
}

#[test]
fn no_authorization_at_all() {
    let world = World::new();
    for request in [control(), Request::put("/datasets/x", "y"), Request::get("/"), Request::get("/datasets")]
    {
        world.refuses(&request, ACCESS_DENIED);
    }
}

#[test]
fn a_bearer_whose_issuer_nobody_knows() {
    let world = World::new();
    let bearer = control().header("authorization", "Bearer eyJhbGciOiJub25lIn0.e30.");
    let response = world.refuses(&bearer, &[(401, "InvalidToken")]);
    assert!(response.header("www-authenticate").is_some_and(|v| v.starts_with("Bearer")));
    let mixed = world.alice().sign_chunked(Request::put("/datasets/x", "body"), &Chunked::signed(8192));
    let mixed = mixed.set("authorization", "Bearer eyJhbGciOiJub25lIn0.e30.");
    world.refuses(&mixed, &[(401, "InvalidToken"), (400, "InvalidRequest"), (400, "InvalidArgument")]);
}
