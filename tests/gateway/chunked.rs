//! Group C: aws-chunked, payload integrity, trailers. What fails verification is never committed.

use crate::harness::*;

const TARGET: &str = "/datasets/c/object";
const KEY: &str = "datasets/alice/c/object";

fn put(body: impl AsRef<[u8]>) -> Request {
    Request::put(TARGET, body)
}

/// 40,000 bytes: five chunks of 8 KiB, the last one short.
fn body() -> Vec<u8> {
    (0..40_000).map(pattern_byte).collect()
}

fn crc32_trailer(chunked: Chunked, body: &[u8]) -> Chunked {
    chunked.trailer("x-amz-checksum-crc32", checksum("crc32", body))
}

/// An unsigned aws-chunked body written by hand.
fn by_hand(world: &World, decoded: usize, wire: impl AsRef<[u8]>) -> Request {
    let request = put("")
        .header("x-amz-content-sha256", "STREAMING-UNSIGNED-PAYLOAD-TRAILER")
        .header("content-encoding", "aws-chunked")
        .header("x-amz-decoded-content-length", decoded.to_string());
    world.alice().sign(request).body(wire)
}

/// A well signed request whose body is edited afterwards.
fn edited_body(request: Request, edit: impl FnOnce(&mut Vec<u8>)) -> Request {
    let mut body = request.body.clone();
    edit(&mut body);
    request.body(body)
}

#[test]
fn c01_fabricated_head_signature_with_unsigned_chunks() {
    let world = World::new();
    let chunked = crc32_trailer(Chunked::unsigned(8192), &body());
    let good = world.alice().sign_chunked(put(body()), &chunked);
    world.accepts(&good);
    assert_eq!(world.origin.object(KEY).unwrap(), body());
    world.refuses(&flip_signature(good), WRONG_SIGNATURE);
    let part = Request::put("/datasets/c/object?partNumber=1&uploadId=guess", body());
    world.refuses(&flip_signature(world.alice().sign_chunked(part, &chunked)), WRONG_SIGNATURE);
}

#[test]
fn c03_corrupt_chunk_signatures() {
    let world = World::new();
    let alice = world.alice();
    let good = alice.sign_chunked(put(body()), &Chunked::signed(8192));
    for n in [0, 2, 4, 5] {
        world.refuses_upload(&flip_chunk_signature(good.clone(), n), WRONG_SIGNATURE);
    }
    let two_secrets = alice.but(|s| s.chunk_secret = Some("another".into()));
    world.refuses_upload(&two_secrets.sign_chunked(put(body()), &Chunked::signed(8192)), WRONG_SIGNATURE);
    let data_changed = edited_body(good.clone(), |bytes| bytes[5000] ^= 1);
    world.refuses_upload(&data_changed, WRONG_SIGNATURE);
    assert_eq!(world.origin.object(KEY), None);
    world.accepts(&good);
}

#[test]
fn c03_corrupt_trailer_signature() {
    let world = World::new();
    let good = world.alice().sign_chunked(put(body()), &crc32_trailer(Chunked::signed(8192), &body()));
    let marker = b"x-amz-trailer-signature:";
    let bad = edited_body(good.clone(), |bytes| {
        let at = find(bytes, marker).unwrap() + marker.len();
        bytes[at] = if bytes[at] == b'0' { b'1' } else { b'0' };
    });
    world.refuses_upload(&bad, WRONG_SIGNATURE);
    let missing = edited_body(good.clone(), |bytes| {
        let at = find(bytes, marker).unwrap();
        bytes.truncate(at);
        bytes.extend_from_slice(b"\r\n");
    });
    world.refuses_upload(
        &missing,
        &[(400, "MalformedTrailerError"), (403, "SignatureDoesNotMatch"), (400, "IncompleteBody")],
    );
    world.accepts(&good);
}

#[test]
fn c05_final_chunk_missing() {
    let world = World::new();
    let alice = world.alice();
    let signed = edited_body(alice.sign_chunked(put(body()), &Chunked::signed(8192)), |bytes| {
        let at = find(bytes, b"\r\n0;chunk-signature").unwrap();
        bytes.truncate(at + 2);
    });
    world.refuses_upload(&signed, INCOMPLETE_BODY);
    world.refuses_upload(&by_hand(&world, 5, "5\r\nhello\r\n"), INCOMPLETE_BODY);
    assert_eq!(world.origin.object(KEY), None);
}

#[test]
fn c06_decoded_length_is_wrong() {
    let world = World::new();
    for wrong in [39_997, 40_003, 0, 1] {
        for chunked in [Chunked::signed(8192), Chunked::unsigned(8192)] {
            let request = put(body()).header("x-amz-decoded-content-length", wrong.to_string());
            let answers = &[(400, "IncompleteBody"), (400, "InvalidRequest")];
            world.refuses_upload(&world.alice().sign_chunked(request, &chunked), answers);
        }
    }
    assert_eq!(world.origin.object(KEY), None);
}

#[test]
fn c07_decoded_length_is_no_number() {
    let world = World::new();
    let answers = &[
        (411, "MissingContentLength"),
        (400, "InvalidArgument"),
        (400, "InvalidRequest"),
        (400, "EntityTooLarge"),
        (400, "IncompleteBody"),
    ];
    for wrong in ["abc", "12x", "-1", "+5", "18446744073709551616", "", "5 5", "0x5"] {
        let request = put("hello").header("x-amz-decoded-content-length", wrong);
        world.refuses(&world.alice().sign_chunked(request, &Chunked::signed(8192)), answers);
    }
    let header = "x-amz-decoded-content-length";
    let missing = world.alice().not_signing(header).sign_chunked(put("hello"), &Chunked::signed(8192));
    world.refuses(&missing.without(header), answers);
}

#[test]
fn c10_framing_faults() {
    let world = World::new();
    world.accepts(&by_hand(&world, 5, "5\r\nhello\r\n0\r\n\r\n"));
    world.origin.behave();
    let answers = &[(400, "IncompleteBody"), (400, "InvalidRequest"), (400, "MalformedTrailerError")];
    for wire in [
        "5\nhello\r\n0\r\n\r\n",
        "5\r\nhello0\r\n\r\n",
        "4\r\nhello\r\n0\r\n\r\n",
        "6\r\nhello\r\n0\r\n\r\n",
        "J\r\nhello\r\n0\r\n\r\n",
        "\r\nhello\r\n0\r\n\r\n",
        "-5\r\nhello\r\n0\r\n\r\n",
        "5 \r\nhello\r\n0\r\n\r\n",
        "0x5\r\nhello\r\n0\r\n\r\n",
        "5\r\nhello\r\n0",
        "5\r\nhello\r\n0\r",
        "5\r\nhello\r\n0\r\n",
        "5\r\nhello\r\n0\r\n\r",
        "hello",
        "",
    ] {
        let before = world.origin.count();
        let response = world.call(&by_hand(&world, 5, wire));
        world.assert_refusal(&put(""), &response, answers);
        world.assert_nothing_committable(before);
    }
}

#[test]
fn c10_framing_faults_of_signed_chunks() {
    let world = World::new();
    let good = world.alice().sign_chunked(put("hello"), &Chunked::signed(8192));
    let text = String::from_utf8(good.body.clone()).unwrap();
    let answers = &[(400, "IncompleteBody"), (400, "InvalidRequest"), (403, "SignatureDoesNotMatch")];
    for bad in [
        text.replacen(";chunk-signature", ":chunk-signature", 1),
        text.replacen(";chunk-signature=", ";chunk-sig=", 1),
        text.replacen(";chunk-signature=", ";", 1),
        text.replacen("chunk-signature=", "chunk-signature=0", 1),
        format!("5{}", &text[text.find("\r\n").unwrap()..]),
        text[..text.len() - 2].to_owned(),
        text.replacen("\r\n", "\n", 1),
    ] {
        world.refuses_upload(&good.clone().body(bad), answers);
    }
    assert_eq!(world.origin.object(KEY), None);
    world.accepts(&good);
}

#[test]
fn c10_bytes_after_the_end() {
    let world = World::new();
    let answers = &[(400, "IncompleteBody"), (400, "InvalidRequest"), (400, "MalformedTrailerError")];
    let trailing = by_hand(&world, 5, "5\r\nhello\r\n0\r\n\r\nGET /datasets/control HTTP/1.1\r\n\r\n");
    world.refuses_upload(&trailing, answers);
}

#[test]
fn c12_trailers() {
    let world = World::new();
    let alice = world.alice();
    let sign = |chunked: Chunked| alice.sign_chunked(put(body()), &chunked);
    let malformed = &[(400, "MalformedTrailerError")];
    for make in [Chunked::signed, Chunked::unsigned] {
        let plain = || make(8192);
        world.refuses_upload(
            &sign(plain().trailer("x-amz-checksum-crc32", checksum("crc32", b"x"))),
            BAD_DIGEST,
        );
        for value in ["AAAA", "not base64!", ""] {
            world.refuses_upload(
                &sign(plain().trailer("x-amz-checksum-crc32", value)),
                &[(400, "InvalidRequest"), (400, "InvalidDigest"), (400, "MalformedTrailerError")],
            );
        }
        let renamed = put(body()).header("x-amz-trailer", "x-amz-checksum-crc32c");
        world.refuses_upload(&alice.sign_chunked(renamed, &crc32_trailer(plain(), &body())), malformed);
        let unknown = plain().trailer("x-amz-checksum-sha10", "AAAAAA==");
        world.refuses_upload(&sign(unknown), INVALID_REQUEST);
    }
    // Announced, but not there.
    let absent = put(body()).header("x-amz-trailer", "x-amz-checksum-crc32");
    world.refuses_upload(&alice.sign_chunked(absent, &Chunked::unsigned(8192)), malformed);
    // There, but not announced.
    let unannounced = by_hand(
        &world,
        5,
        format!("5\r\nhello\r\n0\r\nx-amz-checksum-crc32:{}\r\n\r\n", checksum("crc32", b"hello")),
    );
    world.refuses_upload(&unannounced, malformed);
    assert_eq!(world.origin.object(KEY), None);
    world.accepts(&sign(crc32_trailer(Chunked::signed(8192), &body())));
}

#[test]
fn c16_stored_encoding_is_the_clients_own() {
    let world = World::new();
    let alice = world.alice();
    for (sent, stored) in [
        ("aws-chunked,gzip", Some("gzip")),
        ("aws-chunked, gzip", Some("gzip")),
        ("gzip,aws-chunked", Some("gzip")),
        ("aws-chunked", None),
    ] {
        // `gzip` before `aws-chunked` would be wrapped once more by the signer, so it is set here.
        let mut request = put(body()).header("content-encoding", sent);
        if sent.starts_with("aws-chunked") {
            world.accepts(&alice.sign_chunked(request, &Chunked::signed(8192)));
        } else {
            request = request
                .header("x-amz-content-sha256", "STREAMING-UNSIGNED-PAYLOAD-TRAILER")
                .header("x-amz-decoded-content-length", "5")
                .body("5\r\nhello\r\n0\r\n\r\n");
            world.accepts(&alice.sign(request));
        }
        assert_eq!(world.origin.stored_header(KEY, "content-encoding").as_deref(), stored, "{sent}");
        let head = world.accepts(&alice.sign(Request::new("HEAD", TARGET)));
        assert_eq!(head.header("content-encoding"), stored, "{sent}");
    }
}

#[test]
fn c17_chunk_sizes_size_no_buffer() {
    let world = World::new();
    let answers = &[
        (400, "IncompleteBody"),
        (400, "InvalidRequest"),
        (400, "MalformedTrailerError"),
        (400, "EntityTooLarge"),
    ];
    for wire in [
        b"100000000\r\nhello".to_vec(),
        b"ffffffffffffffff\r\nhello\r\n0\r\n\r\n".to_vec(),
        b"10000000000000005\r\nhello\r\n0\r\n\r\n".to_vec(),
        vec![b'5'; 1 << 20],
        [&b"5;"[..], &vec![b'x'; 1 << 20]].concat(),
        [&b"5\r\nhello\r\n0\r\n"[..], "x-amz-meta-a:b\r\n".repeat(10_000).as_bytes(), b"\r\n"].concat(),
        [&b"5\r\nhello\r\n0\r\nx-amz-checksum-crc32:"[..], &vec![b'A'; 1 << 20], b"\r\n\r\n"].concat(),
    ] {
        world.refuses_upload(&by_hand(&world, 5, wire), answers);
    }
}

#[test]
fn c20_digests_in_headers() {
    let world = World::new();
    let alice = world.alice();
    let md5_of = |text: &str| base64(&md5(text.as_bytes()));
    world.accepts(&alice.sign(put("body").header("content-md5", md5_of("body"))));
    world.refuses(&alice.sign(put("c20").header("content-md5", "x")), INVALID_DIGEST);
    world.refuses(&alice.sign(put("c20").header("content-md5", "YWJj")), INVALID_DIGEST);
    world.refuses_upload(&alice.sign(put("c20").header("content-md5", md5_of("other"))), BAD_DIGEST);
    let two = put("c20")
        .header("x-amz-checksum-crc32", checksum("crc32", b"c20"))
        .header("x-amz-checksum-sha1", checksum("sha1", b"c20"));
    world.refuses(&alice.sign(two), INVALID_REQUEST);
    let malformed = put("c20").header("x-amz-checksum-crc32", "AAAA");
    world.refuses(&alice.sign(malformed), &[(400, "InvalidRequest"), (400, "InvalidDigest")]);
    for algorithm in CHECKSUMS {
        let name = format!("x-amz-checksum-{algorithm}");
        let wrong = put("c20").header(&name, checksum(algorithm, b"other"));
        world.refuses_upload(&alice.sign(wrong), BAD_DIGEST);
    }
    assert_eq!(world.origin.object(KEY).unwrap(), b"body");
}

#[test]
fn c21_aws_chunked_where_it_does_not_belong() {
    let world = World::new();
    let alice = world.alice();
    for (method, target) in [
        ("GET", "/datasets/control"),
        ("GET", "/datasets?list-type=2"),
        ("HEAD", "/datasets/control"),
        ("DELETE", "/datasets/gone"),
        ("POST", "/datasets?delete"),
        ("POST", "/datasets/x?uploads"),
        ("POST", "/datasets/x?uploadId=guess"),
        ("PUT", "/datasets"),
        ("GET", "/"),
    ] {
        for chunked in [Chunked::signed(8192), Chunked::unsigned(8192)] {
            let mut client = world.client();
            let request = alice.sign_chunked(Request::new(method, target).body("<x/>"), &chunked);
            let Some(response) = client.try_send(&request) else {
                continue;
            };
            assert!(
                response.status < 500 || response.status == 501,
                "{method} {target}: {}",
                response.everything()
            );
            world.assert_nothing_leaked(&request, &response);
            if !response.announces_close() {
                world.assert_in_sync(&mut client);
            }
        }
    }
}

#[test]
fn c21_short_chunks() {
    let world = World::new();
    let request = world.alice().sign_chunked(put(body()), &Chunked::signed(1000));
    let response = world.call(&request);
    if response.status == 200 {
        assert_eq!(world.origin.object(KEY).unwrap(), body());
    } else {
        assert_eq!(response.code(), "InvalidChunkSizeError");
    }
}

#[test]
fn chunks_inside_chunked_transfer_coding() {
    let world = World::new();
    let signed = world.alice().sign_chunked(put(body()), &Chunked::signed(8192));
    let mut wire = Vec::new();
    for piece in signed.body.chunks(1000) {
        wire.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
        wire.extend_from_slice(piece);
        wire.extend_from_slice(b"\r\n");
    }
    wire.extend_from_slice(b"0\r\n\r\n");
    world.accepts(&signed.header("transfer-encoding", "chunked").body(wire));
    assert_eq!(world.origin.object(KEY).unwrap(), body());
}
