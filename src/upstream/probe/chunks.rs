//! aws-chunked bodies as SDKs send them: signed chunks, signed chunks with a trailer, unsigned chunks with a
//! trailer. In: the bytes and the signed head. Out: what goes on the wire.
//! Follows <https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming.html>.

use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header};

use super::ask::sha256;
use super::bench::Identity;
use crate::sigv4::canonical::push_hex;
use crate::sigv4::chunk::ChunkSigner;
use crate::sigv4::scope::format_amz_date;
use crate::sigv4::verify::signing_key;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Chunked {
    Signed,
    SignedTrailer,
    UnsignedTrailer,
}

const TRAILER: &str = "x-amz-checksum-crc32";

impl Chunked {
    /// What `x-amz-content-sha256` says.
    pub(super) fn mode(self) -> &'static str {
        match self {
            Self::Signed => "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
            Self::SignedTrailer => "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER",
            Self::UnsignedTrailer => "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
        }
    }

    /// The headers that belong to the form, before the head is signed.
    pub(super) fn announce(self, length: usize, headers: &mut HeaderMap) {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("aws-chunked"));
        headers.insert("x-amz-decoded-content-length", HeaderValue::from(length));
        if self != Self::Signed {
            headers.insert("x-amz-trailer", HeaderValue::from_static(TRAILER));
        }
    }

    /// All of `bytes` in one chunk, and the end.
    pub(super) fn encode(
        self,
        bytes: &[u8],
        head: &HeaderMap,
        identity: &Identity,
        now: SystemTime,
    ) -> Bytes {
        let mut signer = (self != Self::UnsignedTrailer).then(|| signer(head, identity, now));
        let mut out = Vec::new();
        for piece in [bytes, &[]] {
            out.extend_from_slice(format!("{:x}", piece.len()).as_bytes());
            if let Some(signer) = &mut signer {
                out.extend_from_slice(b";chunk-signature=");
                out.extend_from_slice(&signer.sign_chunk(&sha256(piece)));
            }
            out.extend_from_slice(b"\r\n");
            if !piece.is_empty() {
                out.extend_from_slice(piece);
                out.extend_from_slice(b"\r\n");
            }
        }
        if self != Self::Signed {
            let value = BASE64.encode(crc32(bytes));
            out.extend_from_slice(format!("{TRAILER}:{value}\r\n").as_bytes());
            if let Some(signer) = &mut signer {
                let hash = sha256(format!("{TRAILER}:{value}\n").as_bytes());
                out.extend_from_slice(b"x-amz-trailer-signature:");
                out.extend_from_slice(&signer.sign_trailer(&hash));
                out.extend_from_slice(b"\r\n");
            }
        }
        out.extend_from_slice(b"\r\n");
        out.into()
    }
}

fn signer(head: &HeaderMap, identity: &Identity, now: SystemTime) -> ChunkSigner {
    let date = format_amz_date(now);
    let scope = format!("{}/{}/s3/aws4_request", &date[..8], identity.region);
    let authorization = head.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let seed = authorization.and_then(|text| text.rsplit("Signature=").next()).unwrap_or_default();
    ChunkSigner::new(signing_key(identity.secret.expose(), now, &identity.region), &date, &scope, seed)
}

fn crc32(bytes: &[u8]) -> [u8; 4] {
    let sum = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32IsoHdlc, bytes);
    u32::try_from(sum).expect("a CRC-32 has 32 bits").to_be_bytes()
}

pub(super) fn hex(bytes: &[u8]) -> String {
    let mut out = Vec::with_capacity(2 * bytes.len());
    push_hex(&mut out, bytes);
    String::from_utf8(out).expect("hex is ASCII")
}
