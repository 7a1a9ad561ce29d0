//! Small things S3 is written in: URI encoding, XML, hex, base64, digests. Written apart from `src/`, so that a
//! mistake there does not agree with itself here.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::Digest as _;

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a String takes everything");
        text
    })
}

pub fn base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

pub fn sha256_hex(bytes: &[u8]) -> String {
    hex(&sha2::Sha256::digest(bytes))
}

pub fn md5(bytes: &[u8]) -> Vec<u8> {
    md5::Md5::digest(bytes).to_vec()
}

/// AWS's `UriEncode`: everything but `A-Za-z0-9-._~`, and `/` where it separates.
pub fn uri_encode(text: &str, keep_slash: bool) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            b'/' if keep_slash => out.push('/'),
            _ => write!(out, "%{byte:02X}").expect("a String takes everything"),
        }
    }
    out
}

pub fn uri_decode(text: &str) -> String {
    percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned()
}

/// The checksum algorithms of S3, by their header suffix.
pub const CHECKSUMS: [&str; 5] = ["crc32", "crc32c", "crc64nvme", "sha1", "sha256"];

/// The base64 checksum that `x-amz-checksum-<algorithm>` carries.
pub fn checksum(algorithm: &str, bytes: &[u8]) -> String {
    let raw = match algorithm {
        "crc32" => reflected(32, 0xEDB8_8320, bytes),
        "crc32c" => reflected(32, 0x82F6_3B78, bytes),
        "crc64nvme" => reflected(64, 0x9A6C_9329_AC4B_C9B5, bytes),
        "sha1" => sha1::Sha1::digest(bytes).to_vec(),
        "sha256" => sha2::Sha256::digest(bytes).to_vec(),
        other => panic!("no such checksum: {other}"),
    };
    base64(&raw)
}

/// Any reflected CRC with all-ones start and end, bit by bit.
fn reflected(width: u32, polynomial: u64, bytes: &[u8]) -> Vec<u8> {
    let ones = u64::MAX >> (64 - width);
    let mut crc = ones;
    for &byte in bytes {
        crc ^= u64::from(byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (polynomial * (crc & 1));
        }
    }
    let bytes = (crc ^ ones).to_be_bytes();
    bytes[8 - usize::try_from(width / 8).expect("small")..].to_vec()
}

pub fn xml_escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

pub fn xml_unescape(text: &str) -> String {
    quick_xml::escape::unescape(text).expect("well-formed entities").into_owned()
}

/// The text of every `<name>` element, unescaped, in order.
pub fn elements(xml: &str, name: &str) -> Vec<String> {
    let (open, close) = (format!("<{name}>"), format!("</{name}>"));
    xml.split(&open)
        .skip(1)
        .filter_map(|rest| rest.split_once(&close))
        .map(|(text, _)| xml_unescape(text))
        .collect()
}

pub fn element(xml: &str, name: &str) -> Option<String> {
    elements(xml, name).into_iter().next()
}

/// The text of `inner` within every `outer`, in order.
pub fn elements_within(xml: &str, outer: &str, inner: &str) -> Vec<String> {
    let (open, close) = (format!("<{outer}>"), format!("</{outer}>"));
    let rows = xml.split(&open).skip(1).filter_map(|rest| rest.split_once(&close));
    rows.filter_map(|(row, _)| element(row, inner)).collect()
}

/// One document, every tag closed.
pub fn assert_well_formed(xml: &str) {
    let mut reader = quick_xml::Reader::from_str(xml);
    let mut depth = 0_usize;
    loop {
        match reader.read_event() {
            Ok(quick_xml::events::Event::Start(_)) => depth += 1,
            Ok(quick_xml::events::Event::End(_)) => depth -= 1,
            Ok(quick_xml::events::Event::Eof) => break,
            Ok(_) => {}
            Err(e) => panic!("not well-formed ({e}): {xml}"),
        }
    }
    assert_eq!(depth, 0, "unclosed element: {xml}");
}

#[test]
fn checksums_match_the_published_check_values() {
    let check = |algorithm| checksum(algorithm, b"123456789");
    assert_eq!(check("crc32"), base64(&0xCBF4_3926_u32.to_be_bytes()));
    assert_eq!(check("crc32c"), base64(&0xE306_9283_u32.to_be_bytes()));
    assert_eq!(check("crc64nvme"), base64(&0xAE8B_1486_0A79_9888_u64.to_be_bytes()));
}
