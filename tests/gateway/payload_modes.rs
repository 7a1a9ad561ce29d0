//! Every payload mode with every checksum, right and wrong: one matrix instead of a test each.

use crate::harness::*;

type Sign = fn(&Signer, Request) -> Request;

const TARGET: &str = "/datasets/modes/object";
const KEY: &str = "datasets/alice/modes/object";

/// The modes that carry a checksum in a header.
const HEADER_MODES: [(&str, Sign); 4] = [
    ("hash", |s, r| s.sign(r)),
    ("unsigned", |s, r| s.sign_unsigned_payload(r)),
    ("signed chunks", |s, r| s.sign_chunked(r, &Chunked::signed(8192))),
    ("presigned", |s, r| s.presign(r, "600")),
];

fn sizes() -> [Vec<u8>; 4] {
    [0, 1, 8192, 100_000].map(|n| (0..n).map(pattern_byte).collect())
}

#[test]
fn every_mode_stores_exactly_the_body() {
    let world = World::new();
    let mut modes: Vec<(&str, Sign)> = HEADER_MODES.to_vec();
    modes.push(("unsigned chunks", |s, r| s.sign_chunked(r, &Chunked::unsigned(8192))));
    for (mode, sign) in modes {
        for body in sizes() {
            world.accepts(&sign(&world.alice(), Request::put(TARGET, &body)));
            assert!(world.origin.object(KEY).unwrap() == body, "{mode} of {} bytes", body.len());
            let upstream = world.origin.last_of("PUT");
            assert_eq!(upstream.header("content-length").unwrap(), body.len().to_string(), "{mode}");
            assert_eq!(upstream.header("x-amz-content-sha256"), Some("UNSIGNED-PAYLOAD"), "{mode}");
            assert_eq!(upstream.header("transfer-encoding"), None, "{mode}");
            assert_eq!(upstream.header("x-amz-decoded-content-length"), None, "{mode}");
        }
    }
}

#[test]
fn checksums_in_headers_are_verified_and_echoed() {
    let world = World::new();
    for (mode, sign) in HEADER_MODES {
        for algorithm in CHECKSUMS {
            let name = format!("x-amz-checksum-{algorithm}");
            for body in sizes() {
                let value = checksum(algorithm, &body);
                let request = Request::put(TARGET, &body).header(&name, value.clone());
                let response = world.accepts(&sign(&world.alice(), request));
                assert_eq!(response.header(&name), Some(value.as_str()), "{mode} {algorithm}");
            }
            let request = Request::put(TARGET, "right").header(&name, checksum(algorithm, b"wrong"));
            world.refuses_upload(&sign(&world.alice(), request), BAD_DIGEST);
        }
    }
}

#[test]
fn checksums_in_trailers_are_verified_and_echoed() {
    let world = World::new();
    for make in [Chunked::signed, Chunked::unsigned] {
        for algorithm in CHECKSUMS {
            let name = format!("x-amz-checksum-{algorithm}");
            for body in sizes() {
                let value = checksum(algorithm, &body);
                let chunked = make(8192).trailer(&name, value.clone());
                let response =
                    world.accepts(&world.alice().sign_chunked(Request::put(TARGET, &body), &chunked));
                assert_eq!(response.header(&name), Some(value.as_str()), "{algorithm}");
                assert!(world.origin.object(KEY).unwrap() == body, "{algorithm}");
            }
            let chunked = make(8192).trailer(&name, checksum(algorithm, b"wrong"));
            world.refuses_upload(
                &world.alice().sign_chunked(Request::put(TARGET, "right"), &chunked),
                BAD_DIGEST,
            );
        }
    }
}

#[test]
fn parts_are_verified_like_objects() {
    let world = World::new();
    let alice = world.alice();
    let created = world.accepts(&alice.sign(Request::post(&format!("{TARGET}?uploads"), "")));
    let id = uri_encode(&created.element("UploadId").unwrap(), false);
    let part = |body: &str| Request::put(&format!("{TARGET}?partNumber=1&uploadId={id}"), body);
    for algorithm in CHECKSUMS {
        let name = format!("x-amz-checksum-{algorithm}");
        let good = part("right").header(&name, checksum(algorithm, b"right"));
        let response = world.accepts(&alice.sign(good));
        assert!(response.header(&name).is_some(), "{algorithm}");
        let bad = part("right").header(&name, checksum(algorithm, b"wrong"));
        world.refuses_upload(&alice.sign(bad), BAD_DIGEST);
    }
    world.refuses_upload(&alice.sign(part("right")).body("wrong"), WRONG_HASH);
}

#[test]
fn a_chunked_put_without_any_length_is_411() {
    let world = World::new();
    let request = world.alice().sign_unsigned_payload(Request::put(TARGET, "5\r\nhello\r\n0\r\n\r\n"));
    let request = request.header("transfer-encoding", "chunked");
    world.refuses(&request, &[(411, "MissingContentLength")]);
}
