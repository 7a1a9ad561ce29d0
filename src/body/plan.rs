//! How a body will come, decided from the head alone and before a byte of it is asked for: its framing, its
//! exact decoded length, and what is promised about it. An inconsistent promise is refused here.

use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue, TRANSFER_ENCODING};

use super::aws_chunked::Decoder;
use super::checksum::{Checks, Promise, content_md5};
use super::intake::{Framing, Intake};
use crate::error::{Code, Error, Result};
use crate::sigv4::Payload;

const DECODED_LENGTH: HeaderName = HeaderName::from_static("x-amz-decoded-content-length");

/// The largest object there can be: S3's own limit of 50 TB, rounded up.
const MAX_OBJECT: u64 = 50 << 40;

/// The plan for an object's or a part's bytes: the length is always known.
pub struct UploadPlan {
    length: u64,
    pub(super) intake: Intake,
}

/// The plan for a control body that is read whole.
pub struct SmallPlan {
    /// `None`: HTTP chunks without a length.
    pub(super) length: Option<u64>,
    pub(super) intake: Intake,
}

impl UploadPlan {
    pub fn from_head(headers: &HeaderMap, payload: Payload) -> Result<Self> {
        let plain = matches!(payload, Payload::Unsigned | Payload::Sha256(_));
        if plain && announces_chunks(headers) {
            // The framing would be stored as if it were the object.
            return Err(Error::new(Code::InvalidRequest).say(
                "Content-Encoding aws-chunked needs an x-amz-content-sha256 that begins with STREAMING-.",
            ));
        }
        let (length, intake) = plan(headers, payload, Checksums::OfBody)?;
        let length = length.ok_or(Code::MissingContentLength)?;
        if length > MAX_OBJECT {
            return Err(Error::new(Code::EntityTooLarge)
                .detail("ProposedSize", length.to_string())
                .detail("MaxSizeAllowed", MAX_OBJECT.to_string()));
        }
        Ok(Self { length, intake })
    }

    /// For XML bodies, which may come without a length, or not at all.
    pub fn for_small(headers: &HeaderMap, payload: Payload) -> Result<SmallPlan> {
        let (length, intake) = plan(headers, payload, Checksums::OfBody)?;
        Ok(SmallPlan { length, intake }.or_absent(headers))
    }

    /// For `CompleteMultipartUpload`, whose `x-amz-checksum-*` speak of the object and not of the XML.
    pub fn for_complete(headers: &HeaderMap, payload: Payload) -> Result<SmallPlan> {
        let (length, intake) = plan(headers, payload, Checksums::OfObject)?;
        Ok(SmallPlan { length, intake }.or_absent(headers))
    }

    /// The payload's exact length, without any framing.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// An empty body has no tail to hold: `small::verify_empty` must see it whole before the upstream hears of it.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }
}

impl SmallPlan {
    /// Neither a length nor a transfer coding: there is no body.
    fn or_absent(mut self, headers: &HeaderMap) -> Self {
        if self.length.is_none() && !headers.contains_key(TRANSFER_ENCODING) {
            self.length = Some(0);
        }
        self
    }
}

/// Whether a request says that its body is in aws-chunked framing.
fn announces_chunks(headers: &HeaderMap) -> bool {
    headers.contains_key(DECODED_LENGTH)
        && headers.get_all(CONTENT_ENCODING).iter().any(|value| {
            let tokens = value.as_bytes().split(|byte| *byte == b',');
            tokens.map(<[u8]>::trim_ascii).any(|token| token.eq_ignore_ascii_case(b"aws-chunked"))
        })
}

/// `Content-Encoding` as it may be stored: without `aws-chunked`, which describes the request and not the
/// object. `None`: nothing is left.
pub fn stored_content_encoding(value: &HeaderValue) -> Option<HeaderValue> {
    let Ok(text) = value.to_str() else {
        return Some(value.clone());
    };
    let is_chunked = |token: &str| token.trim().eq_ignore_ascii_case("aws-chunked");
    if !text.split(',').any(is_chunked) {
        return Some(value.clone());
    }
    let kept: Vec<&str> =
        text.split(',').map(str::trim).filter(|token| !token.is_empty() && !is_chunked(token)).collect();
    HeaderValue::from_str(&kept.join(",")).ok().filter(|value| !value.is_empty())
}

/// What the `x-amz-checksum-*` headers are about.
#[derive(Clone, Copy)]
enum Checksums {
    OfBody,
    OfObject,
}

fn plan(headers: &HeaderMap, payload: Payload, checksums: Checksums) -> Result<(Option<u64>, Intake)> {
    let plain_length = match length_header(headers, &CONTENT_LENGTH)? {
        Some(_) if headers.contains_key(TRANSFER_ENCODING) => None,
        length => length,
    };
    let trailer_mode = match &payload {
        Payload::Unsigned | Payload::Sha256(_) => false,
        Payload::SignedChunks { trailer, .. } => *trailer,
        Payload::UnsignedChunks => true,
    };
    let promise = match checksums {
        Checksums::OfBody => Promise::from_head(headers, trailer_mode)?,
        Checksums::OfObject => None,
    };
    let announced = match &promise {
        Some(Promise::InTrailer(algorithm)) => Some(*algorithm),
        Some(Promise::InHeader(..)) | None => None,
    };
    let decoded_length =
        || length_header(headers, &DECODED_LENGTH)?.ok_or(Error::new(Code::MissingContentLength));
    let (length, framing, sha256) = match payload {
        Payload::Unsigned => (plain_length, Framing::Plain { due: plain_length }, None),
        Payload::Sha256(hash) => (plain_length, Framing::Plain { due: plain_length }, Some(hash)),
        Payload::SignedChunks { signer, trailer } => {
            let length = decoded_length()?;
            let decoder = if trailer {
                Decoder::signed_with_trailer(signer, announced, length)
            } else {
                Decoder::signed(signer, length)
            };
            (Some(length), Framing::AwsChunked(Box::new(decoder)), None)
        }
        Payload::UnsignedChunks => {
            let length = decoded_length()?;
            (Some(length), Framing::AwsChunked(Box::new(Decoder::unsigned(announced, length))), None)
        }
    };
    Ok((length, Intake::new(framing, Checks::new(sha256, content_md5(headers)?, promise))))
}

/// Digits and nothing else: `+5` is a number to Rust's parser, and nothing to HTTP.
fn length_header(headers: &HeaderMap, name: &HeaderName) -> Result<Option<u64>> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    let number = value
        .to_str()
        .ok()
        .filter(|text| text.bytes().all(|b| b.is_ascii_digit()))
        .and_then(|text| text.parse().ok());
    match (number, values.next()) {
        (Some(number), None) => Ok(Some(number)),
        (_, Some(_)) | (None, _) => {
            Err(Error::new(Code::InvalidArgument).say(format!("The value of {name} is not valid.")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::body::kit::{headers, signed_chunks};

    fn length(pairs: &[(&str, &str)], payload: Payload) -> Result<u64, Code> {
        UploadPlan::from_head(&headers(pairs), payload).map(|plan| plan.length()).map_err(|error| error.code)
    }

    #[test]
    fn a_plain_body_needs_its_length() {
        assert_eq!(length(&[("content-length", "5")], Payload::Unsigned), Ok(5));
        assert_eq!(length(&[], Payload::Unsigned), Err(Code::MissingContentLength));
        let both = [("content-length", "5"), ("transfer-encoding", "chunked")];
        assert_eq!(length(&both, Payload::Sha256([0; 32])), Err(Code::MissingContentLength));
        for bad in ["", "+5", "-1", "abc", "12x", "0x5", "5 5", "5,5", "18446744073709551616"] {
            assert_eq!(
                length(&[("content-length", bad)], Payload::Unsigned),
                Err(Code::InvalidArgument),
                "{bad}"
            );
        }
        let twice = [("content-length", "5"), ("content-length", "5")];
        assert_eq!(length(&twice, Payload::Unsigned), Err(Code::InvalidArgument));
    }

    #[test]
    fn aws_chunked_needs_the_decoded_length() {
        let modes = || [signed_chunks(false), signed_chunks(true), Payload::UnsignedChunks];
        for payload in modes() {
            assert_eq!(length(&[("content-length", "500")], payload), Err(Code::MissingContentLength));
        }
        for payload in modes() {
            let chunked = [("transfer-encoding", "chunked"), ("x-amz-decoded-content-length", "7")];
            assert_eq!(length(&chunked, payload), Ok(7));
        }
        for bad in ["", "abc", "12x", "-1", "+5", "18446744073709551616"] {
            let pairs = [("x-amz-decoded-content-length", bad)];
            assert_eq!(length(&pairs, Payload::UnsignedChunks), Err(Code::InvalidArgument), "{bad}");
        }
        // The encoding alone decides nothing; what says in two ways that it is framed must be read so.
        let pairs = [("content-encoding", "aws-chunked"), ("content-length", "9")];
        assert_eq!(length(&pairs, Payload::Unsigned), Ok(9));
        let framed = [
            ("content-encoding", "gzip, aws-chunked"),
            ("content-length", "9"),
            ("x-amz-decoded-content-length", "7"),
        ];
        assert_eq!(length(&framed, Payload::Unsigned), Err(Code::InvalidRequest));
    }

    #[test]
    fn no_object_is_larger_than_s3_takes() {
        let largest = MAX_OBJECT.to_string();
        assert_eq!(length(&[("content-length", &largest)], Payload::Unsigned), Ok(MAX_OBJECT));
        let larger = (MAX_OBJECT + 1).to_string();
        assert_eq!(length(&[("content-length", &larger)], Payload::Unsigned), Err(Code::EntityTooLarge));
    }

    #[test]
    fn the_stored_encoding_knows_nothing_of_aws_chunked() {
        for (sent, stored) in [
            ("aws-chunked", None),
            ("AWS-Chunked", None),
            ("aws-chunked,", None),
            ("aws-chunked,gzip", Some("gzip")),
            ("gzip , aws-chunked", Some("gzip")),
            ("br, aws-chunked, gzip", Some("br,gzip")),
            ("gzip, br", Some("gzip, br")),
            ("x-aws-chunked", Some("x-aws-chunked")),
        ] {
            let value = stored_content_encoding(&HeaderValue::from_static(sent));
            assert_eq!(value, stored.map(HeaderValue::from_static), "{sent}");
        }
    }

    #[test]
    fn the_checksums_of_complete_are_the_objects() {
        let head = headers(&[("content-length", "5"), ("x-amz-checksum-crc32", "y/Q5Jg==-3")]);
        assert!(UploadPlan::for_complete(&head, Payload::Unsigned).is_ok());
        assert!(UploadPlan::for_small(&head, Payload::Unsigned).is_err());
    }
}
