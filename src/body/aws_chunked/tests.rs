//! The decoder against good, broken, hostile and random wires.

use proptest::prelude::*;

use super::*;
use crate::body::kit::{CRC32, crc32, cut, signed, signer, unsigned};

fn run(mut decoder: Decoder, pieces: impl IntoIterator<Item = Bytes>) -> Result<(Vec<u8>, Option<String>)> {
    let mut payload = Vec::new();
    for mut piece in pieces {
        while let Some(slice) = decoder.decode(&mut piece)? {
            assert!(!slice.is_empty());
            payload.extend_from_slice(&slice);
        }
        assert!(piece.is_empty());
    }
    decoder.finish().map(|trailer| (payload, trailer))
}

fn whole(decoder: Decoder, wire: &[u8]) -> Result<Vec<u8>, Code> {
    run(decoder, [Bytes::copy_from_slice(wire)]).map(|(payload, _)| payload).map_err(|error| error.code)
}

fn plain(length: u64) -> Decoder {
    Decoder::unsigned(None, length)
}

fn with_crc(length: u64) -> Decoder {
    Decoder::unsigned(Some(Algorithm::Crc32), length)
}

#[test]
fn framing_faults_are_incomplete_bodies() {
    assert_eq!(whole(plain(10), b"A\r\n0123456789\r\n0\r\n\r\n"), Ok(b"0123456789".to_vec()));
    for wire in [
        &b""[..],
        b"A\n0123456789\r\n0\r\n\r\n",   // bare LF
        b"A\r0123456789\r\n0\r\n\r\n",   // bare CR
        b"A\r\n01234567890\r\n\r\n",     // no CRLF after the data
        b"A\r\n0123456789\n0\r\n\r\n",   // LF after the data
        b"9\r\n0123456789\r\n0\r\n\r\n", // size too small
        b"B\r\n0123456789\r\n0\r\n\r\n", // size too large
        b"J\r\n0123456789\r\n0\r\n\r\n", // not hex
        b"0xA\r\n0123456789\r\n0\r\n\r\n",
        b"+A\r\n0123456789\r\n0\r\n\r\n",
        b" A\r\n0123456789\r\n0\r\n\r\n",
        b"A \r\n0123456789\r\n0\r\n\r\n",
        b"\r\n0123456789\r\n0\r\n\r\n",
        b"A;x=y\r\n0123456789\r\n0\r\n\r\n",             // an extension
        b"0000000000000000A\r\n0123456789\r\n0\r\n\r\n", // 17 digits
        b"A\r\n0123456789\r\n",                          // no final chunk
        b"A\r\n0123456789\r\n0\r\n",                     // no final CRLF
        b"A\r\n0123456789\r\n0\r\n\r",
        b"A\r\n01234",
        b"A\r\n0123456789\r\n0\r\n\r\nX",          // more after the end
        b"5\r\n01234\r\n0\r\n\r\n",                // less than declared
        b"A\r\n0123456789\r\n1\r\nX\r\n0\r\n\r\n", // more than declared
    ] {
        let text = String::from_utf8_lossy(wire);
        assert_eq!(whole(plain(10), wire), Err(Code::IncompleteBody), "{text:?}");
    }
}

#[test]
fn signature_fields_are_exact() {
    let wire = String::from_utf8(signed(&[b"0123456789".to_vec()], false, None)).unwrap();
    assert_eq!(whole(Decoder::signed(signer(), 10), wire.as_bytes()), Ok(b"0123456789".to_vec()));
    let first = &wire[2..83];
    for (part, replacement) in [
        (";chunk-signature=", ":chunk-signature="),
        (";chunk-signature=", ";Chunk-Signature="),
        (";chunk-signature=", "; chunk-signature="),
        (";chunk-signature=", ";"),
        (first, ""),
        (first, &first[..80]),
        (first, &format!("{first}0")),
        (first, &format!("{first};x=y")),
        (first, &format!("{};", &first[..80])),
    ] {
        let wire = wire.replacen(part, replacement, 1);
        assert_eq!(
            whole(Decoder::signed(signer(), 10), wire.as_bytes()),
            Err(Code::IncompleteBody),
            "{wire:?}"
        );
    }
}

#[test]
fn a_wrong_link_anywhere_breaks_the_chain() {
    let chunks = [b"first".to_vec(), b"middle".to_vec(), b"last".to_vec()];
    let wire = signed(&chunks, false, None);
    assert!(whole(Decoder::signed(signer(), 15), &wire).is_ok());
    let mut other =
        ChunkSigner::new([8; 32], "20130524T000000Z", "20130524/us-east-1/s3/aws4_request", &"0".repeat(64));
    let stranger = other.sign_chunk(&[0; 32]);
    for (at, _) in wire.windows(17).enumerate().filter(|(_, window)| *window == b";chunk-signature=") {
        let mut wire = wire.clone();
        wire[at + 17..at + 81].copy_from_slice(&stranger);
        assert_eq!(whole(Decoder::signed(signer(), 15), &wire), Err(Code::SignatureDoesNotMatch));
    }
    assert_eq!(whole(Decoder::signed(other, 15), &wire), Err(Code::SignatureDoesNotMatch));
}

#[test]
fn trailers_are_the_announced_one_and_its_signature() {
    let faults = [
        ("0\r\n\r\n", "none"),
        ("0\r\nx-amz-checksum-crc32c:AAAAAA==\r\n\r\n", "another"),
        ("0\r\nx-amz-checksum-crc32:AAAAAA==\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n", "twice"),
        ("0\r\nx-amz-checksum-crc32:AAAAAA==\r\nx-amz-meta-a:b\r\n\r\n", "a stranger"),
        ("0\r\nx-amz-checksum-crc32 AAAAAA==\r\n\r\n", "no colon"),
        ("0\r\nx-amz-checksum-crc32:AA\nAA==\r\n\r\n", "a line feed inside"),
        ("0\r\nx-amz-checksum-crc32:AAAAAA==\r\nx-amz-trailer-signature:00\r\n\r\n", "unsigned yet signed"),
    ];
    for (wire, what) in faults {
        assert_eq!(whole(with_crc(0), wire.as_bytes()), Err(Code::MalformedTrailerError), "{what}");
    }
    assert_eq!(
        whole(plain(0), b"0\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n"),
        Err(Code::MalformedTrailerError)
    );
    assert_eq!(whole(plain(0), b"0\r\n\r\n"), Ok(vec![]));
    for wire in [
        "0\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n",
        "0\r\nX-Amz-Checksum-CRC32: AAAAAA== \r\n\r\n",
        "0\r\nx-amz-checksum-crc32:AAAAAA==\n\r\n\r\n", // minio-go
    ] {
        let (_, trailer) = run(with_crc(0), [Bytes::from(wire)]).unwrap();
        assert_eq!(trailer.as_deref(), Some("AAAAAA=="), "{wire:?}");
    }
}

#[test]
fn a_signed_trailer_needs_its_signature() {
    let decoder = || Decoder::signed_with_trailer(signer(), Some(Algorithm::Crc32), 2);
    let wire = String::from_utf8(signed(&[b"ab".to_vec()], true, Some((CRC32, "AAAAAA==")))).unwrap();
    assert_eq!(whole(decoder(), wire.as_bytes()), Ok(b"ab".to_vec()));
    let minio = wire.replace("==\r\n", "==\n\r\n");
    assert_eq!(whole(decoder(), minio.as_bytes()), Ok(b"ab".to_vec()));
    let changed = wire.replace("AAAAAA==", "AAAAAQ==");
    assert_eq!(whole(decoder(), changed.as_bytes()), Err(Code::SignatureDoesNotMatch));
    let (head, signature) = wire.split_at(wire.find("x-amz-trailer-signature").unwrap());
    assert_eq!(whole(decoder(), format!("{head}\r\n").as_bytes()), Err(Code::MalformedTrailerError));
    let short = wire.replace("-signature:", "-signature:0");
    assert_eq!(whole(decoder(), short.as_bytes()), Err(Code::MalformedTrailerError));
    let early =
        wire.replace("x-amz-checksum", &format!("{}x-amz-checksum", &signature[..signature.len() - 2]));
    assert!(whole(decoder(), early.as_bytes()).is_err());
    let nothing = signed(&[b"ab".to_vec()], true, None);
    assert_eq!(whole(Decoder::signed_with_trailer(signer(), None, 2), &nothing), Ok(b"ab".to_vec()));
    assert_eq!(whole(Decoder::signed(signer(), 2), wire.as_bytes()), Err(Code::MalformedTrailerError));
}

#[test]
fn floods_end_before_they_are_buffered() {
    let mut decoder = plain(1);
    let mut endless = Bytes::from(vec![b'0'; 1 << 20]);
    assert_eq!(decoder.decode(&mut endless).map_err(|error| error.code), Err(Code::IncompleteBody));
    assert!(decoder.line.capacity() <= 2 * MAX_CHUNK_HEADER);

    let trailers: String = (0..10_000).fold("0\r\n".to_owned(), |all, n| all + &format!("x-t-{n}:v\r\n"));
    assert_eq!(whole(plain(0), trailers.as_bytes()), Err(Code::MalformedTrailerError));

    for filler in ["A", "\n"] {
        let mut decoder = with_crc(0);
        let mut line = Bytes::from(format!("0\r\n{CRC32}:{}", filler.repeat(1 << 20)));
        assert_eq!(decoder.decode(&mut line).map_err(|error| error.code), Err(Code::MalformedTrailerError));
        assert!(decoder.line.capacity() <= 2 * MAX_TRAILER_LINE);
    }

    // A size is only ever a number.
    let mut huge = Bytes::from("100000000;chunk-signature=".to_owned() + &"0".repeat(64) + "\r\nabc");
    let slice = Decoder::signed(signer(), 1 << 32).decode(&mut huge).unwrap();
    assert_eq!(slice.as_deref(), Some(&b"abc"[..]));
    let mut overflow = Bytes::from("ffffffffffffffff\r\n");
    assert!(plain(u64::MAX).decode(&mut overflow).is_ok());
}

#[test]
fn payload_is_not_copied() {
    let wire = Bytes::from(unsigned(&[vec![b'x'; 100]], None));
    let mut input = wire.clone();
    let slice = plain(100).decode(&mut input).unwrap().unwrap();
    assert_eq!(slice.as_ptr(), wire[4..].as_ptr());
}

#[test]
fn every_flipped_bit_of_a_signed_stream_is_noticed() {
    let chunks = [b"some payload".to_vec(), b"and some more".to_vec()];
    let payload = chunks.concat();
    let wire = signed(&chunks, true, Some((CRC32, &crc32(&payload))));
    for at in 0..wire.len() {
        for bit in 0..8 {
            let mut wire = wire.clone();
            wire[at] ^= 1 << bit;
            let decoder = Decoder::signed_with_trailer(signer(), Some(Algorithm::Crc32), count(&payload));
            // Upper case in a size or a trailer's name says the same.
            if let Ok(decoded) = whole(decoder, &wire) {
                assert_eq!(decoded, payload, "byte {at}, bit {bit}");
            }
        }
    }
}

fn chunks() -> impl Strategy<Value = Vec<Vec<u8>>> {
    prop::collection::vec(prop::collection::vec(any::<u8>(), 1..300), 0..6)
}

proptest! {
    #[test]
    fn cuts_do_not_matter(
        chunks in chunks(),
        cuts in prop::collection::vec(any::<usize>(), 0..40),
        is_signed: bool,
        has_trailer: bool,
    ) {
        let payload = chunks.concat();
        let length = count(&payload);
        let value = crc32(&payload);
        let trailer = has_trailer.then_some((CRC32, value.as_str()));
        let announced = has_trailer.then_some(Algorithm::Crc32);
        let (wire, decoder) = if is_signed {
            (signed(&chunks, true, trailer), Decoder::signed_with_trailer(signer(), announced, length))
        } else {
            (unsigned(&chunks, trailer), Decoder::unsigned(announced, length))
        };
        let decoded = run(decoder, cut(&wire, &cuts)).unwrap();
        prop_assert_eq!(decoded, (payload, has_trailer.then_some(value)));
    }

    #[test]
    fn garbage_gives_the_same_verdict_however_it_is_cut(
        wire in "([0-3]\r\n|[a-c]{0,3}|\r\n|\n|x-amz-checksum-crc32:){0,12}",
        cuts in prop::collection::vec(any::<usize>(), 0..20),
    ) {
        let code = |result: Result<_>| result.map_err(|error| error.code);
        let whole = code(run(with_crc(3), [Bytes::from(wire.clone())]));
        let pieces = code(run(with_crc(3), cut(wire.as_bytes(), &cuts)));
        prop_assert_eq!(whole, pieces);
    }

    #[test]
    fn a_shortened_stream_is_never_whole(chunks in chunks(), keep: prop::sample::Index) {
        let payload = chunks.concat();
        let wire = signed(&chunks, false, None);
        let kept = &wire[..keep.index(wire.len())];
        prop_assert!(whole(Decoder::signed(signer(), count(&payload)), kept).is_err());
    }
}
