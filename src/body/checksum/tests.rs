//! Promises, kept and broken.

use super::*;
use crate::body::kit::{CHECK_VALUES, headers, sha256};

fn promise(pairs: &[(&str, &str)], trailer_mode: bool) -> Result<Option<Promise>, (Code, String)> {
    Promise::from_head(&headers(pairs), trailer_mode)
        .map_err(|error| (error.code, error.message().to_owned()))
}

fn check(promise: Option<Promise>, payload: &[u8], trailer: Option<&str>) -> Result<Option<Verified>> {
    let mut checks = Checks::new(None, None, promise);
    payload.chunks(4).for_each(|piece| checks.update(piece));
    checks.finish(trailer)
}

#[test]
fn known_values_of_every_algorithm() {
    for (algorithm, value) in CHECK_VALUES {
        let header = algorithm.header();
        let sent =
            promise(&[(header.as_str(), value), ("x-amz-sdk-checksum-algorithm", algorithm.name())], false);
        let verified = Some(Verified { algorithm, base64: value.to_owned() });
        assert_eq!(check(sent.unwrap(), b"123456789", None).unwrap(), verified);
        let announced = promise(&[("x-amz-trailer", header.as_str())], true).unwrap();
        assert_eq!(check(announced.clone(), b"123456789", Some(value)).unwrap(), verified);
        let error = check(announced.clone(), b"123456780", Some(value)).unwrap_err();
        let text = format!("The {} you specified did not match the calculated checksum.", algorithm.name());
        assert_eq!((error.code, error.message()), (Code::BadDigest, text.as_str()));
        for malformed in ["", "x", &value[..value.len() - 1], "AAAA", &format!("{value}AAAA")] {
            assert_eq!(
                check(announced.clone(), b"", Some(malformed)).unwrap_err().code,
                Code::InvalidRequest
            );
        }
        assert_eq!(check(announced, b"", None).unwrap_err().code, Code::MalformedTrailerError);
    }
}

#[test]
fn one_checksum_and_one_that_is_known() {
    let crc = ("x-amz-checksum-crc32", "y/Q5Jg==");
    for (pairs, trailer_mode) in [
        (&[crc, ("x-amz-checksum-sha1", "98O8HYCOBHMq32eZZczDTKeuNEE=")][..], false),
        (&[crc, crc], false),
        (&[crc, ("x-amz-trailer", "x-amz-checksum-crc32")], true),
        (&[("x-amz-checksum-crc32", "y/Q5Jg")], false),
        (&[("x-amz-checksum-crc32", "x")], false),
        (&[("x-amz-checksum-foo", "y/Q5Jg==")], false),
        (&[("x-amz-trailer", "x-amz-checksum-sha10")], true),
        (&[("x-amz-trailer", "x-amz-checksum-crc32, x-amz-checksum-sha1")], true),
        (&[("x-amz-trailer", "content-type")], true),
        (&[crc, ("x-amz-sdk-checksum-algorithm", "SHA1")], false),
        (&[crc, ("x-amz-sdk-checksum-algorithm", "FOO")], false),
        (&[("x-amz-sdk-checksum-algorithm", "CRC32")], false),
        (&[("x-amz-trailer", "x-amz-checksum-sha1"), ("x-amz-sdk-checksum-algorithm", "CRC32")], true),
    ] {
        let code = promise(pairs, trailer_mode).map_err(|(code, _)| code);
        assert_eq!(code, Err(Code::InvalidRequest), "{pairs:?}");
    }
    let (_, text) =
        promise(&[crc, ("x-amz-checksum-sha1", "98O8HYCOBHMq32eZZczDTKeuNEE=")], false).unwrap_err();
    assert!(text.starts_with("Expecting a single x-amz-checksum- header"));
}

#[test]
fn headers_that_are_no_values() {
    let pairs = [
        ("x-amz-checksum-type", "FULL_OBJECT"),
        ("x-amz-checksum-algorithm", "CRC32"),
        ("x-amz-checksum-mode", "ENABLED"),
    ];
    assert_eq!(promise(&pairs, false), Ok(None));
}

#[test]
fn a_header_stands_in_for_a_trailer_that_cannot_come() {
    let pairs = [("x-amz-checksum-crc32", "y/Q5Jg=="), ("x-amz-trailer", "x-amz-checksum-crc32")];
    assert!(matches!(promise(&pairs, false), Ok(Some(Promise::InHeader(Algorithm::Crc32, _)))));
    assert_eq!(promise(&pairs[1..], false).unwrap_err().0, Code::MalformedTrailerError);
}

#[test]
fn payload_hash_and_md5() {
    let md5 = |text| content_md5(&headers(&[("content-md5", text)])).map_err(|error| error.code);
    for malformed in ["x", "", "AAAA", "JfnnlDI7RTiF9RgfG2JNCw"] {
        assert_eq!(md5(malformed), Err(Code::InvalidDigest), "{malformed}");
    }
    let md5 = md5("JfnnlDI7RTiF9RgfG2JNCw==").unwrap();
    let sha = Some(Promise::InHeader(Algorithm::Sha256, sha256(b"123456789").to_vec()));
    for (payload, expected) in
        [(&b"123456789"[..], None), (b"123456780", Some(Code::XAmzContentSHA256Mismatch))]
    {
        let mut checks = Checks::new(Some(sha256(b"123456789")), md5, sha.clone());
        checks.update(payload);
        assert_eq!(checks.finish(None).err().map(|error| error.code), expected);
    }
    let mut checks = Checks::new(None, md5, None);
    checks.update(b"123456780");
    assert_eq!(checks.finish(None).unwrap_err().code, Code::BadDigest);
}
