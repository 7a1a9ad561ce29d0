//! What a client promises about the bytes of its body: the payload hash, Content-MD5 and one
//! `x-amz-checksum-*`, which comes in the head or in the trailer. Only what was promised is computed.
//! Follows <https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity.html>.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use crc_fast::CrcAlgorithm;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use md5::Md5;
use sha1::Sha1;
use sha2::{Digest, Sha256};

use crate::error::{Code, Error, Result};

/// A checksum that S3 verifies and stores.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Algorithm {
    Crc32,
    Crc32c,
    Crc64Nvme,
    Sha1,
    Sha256,
}

impl Algorithm {
    pub const ALL: [Self; 5] = [Self::Crc32, Self::Crc32c, Self::Crc64Nvme, Self::Sha1, Self::Sha256];

    /// As `x-amz-sdk-checksum-algorithm` and S3's messages write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Crc32 => "CRC32",
            Self::Crc32c => "CRC32C",
            Self::Crc64Nvme => "CRC64NVME",
            Self::Sha1 => "SHA1",
            Self::Sha256 => "SHA256",
        }
    }

    /// The header or trailer that carries the value.
    pub fn header(self) -> HeaderName {
        HeaderName::from_static(match self {
            Self::Crc32 => "x-amz-checksum-crc32",
            Self::Crc32c => "x-amz-checksum-crc32c",
            Self::Crc64Nvme => "x-amz-checksum-crc64nvme",
            Self::Sha1 => "x-amz-checksum-sha1",
            Self::Sha256 => "x-amz-checksum-sha256",
        })
    }

    pub fn digest_len(self) -> usize {
        match self {
            Self::Crc32 | Self::Crc32c => 4,
            Self::Crc64Nvme => 8,
            Self::Sha1 => 20,
            Self::Sha256 => 32,
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name().eq_ignore_ascii_case(name))
    }

    pub fn from_header(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.header().as_str().eq_ignore_ascii_case(name))
    }
}

/// A checksum that was sent and found right: what the answer echoes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Verified {
    pub algorithm: Algorithm,
    pub base64: String,
}

impl Verified {
    pub fn header_value(&self) -> HeaderValue {
        HeaderValue::from_str(&self.base64).expect("base64 is a header value")
    }
}

/// The one `x-amz-checksum-*` of a request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Promise {
    InHeader(Algorithm, Vec<u8>),
    InTrailer(Algorithm),
}

impl Promise {
    pub fn algorithm(&self) -> Algorithm {
        match self {
            Self::InHeader(algorithm, _) | Self::InTrailer(algorithm) => *algorithm,
        }
    }

    /// Reads the checksum headers. `trailer_mode`: the body ends in a trailer block.
    pub fn from_head(headers: &HeaderMap, trailer_mode: bool) -> Result<Option<Self>> {
        let sent = value_header(headers)?;
        let announced = announced_trailer(headers)?;
        let promise = match (sent, announced) {
            (Some(_), Some(_)) if trailer_mode => return Err(more_than_one()),
            // Java's SDK announces a trailer, then sends the header and a mode without trailers.
            (Some((algorithm, value)), _) => Some(Self::InHeader(algorithm, value)),
            (None, Some(algorithm)) if trailer_mode => Some(Self::InTrailer(algorithm)),
            (None, Some(_)) => {
                return Err(Error::new(Code::MalformedTrailerError)
                    .because("x-amz-trailer announced in a payload mode without trailers"));
            }
            (None, None) => None,
        };
        agrees_with_sdk_header(headers, promise.as_ref())?;
        Ok(promise)
    }
}

/// The hashes of one body, fed as it passes.
#[derive(Default)]
pub struct Checks {
    /// Shared: the payload hash and `x-amz-checksum-sha256` are the same sum.
    sha256: Option<Sha256>,
    sha1: Option<Sha1>,
    crc: Option<crc_fast::Digest>,
    md5: Option<Md5>,
    payload_sha256: Option<[u8; 32]>,
    content_md5: Option<[u8; 16]>,
    promise: Option<Promise>,
}

impl Checks {
    pub fn new(
        payload_sha256: Option<[u8; 32]>,
        content_md5: Option<[u8; 16]>,
        promise: Option<Promise>,
    ) -> Self {
        let mut checks = Self { payload_sha256, content_md5, promise, ..Self::default() };
        checks.sha256 = checks.payload_sha256.map(|_| Sha256::new());
        checks.md5 = checks.content_md5.map(|_| Md5::new());
        match checks.promise.as_ref().map(Promise::algorithm) {
            Some(Algorithm::Crc32) => checks.crc = Some(crc_fast::Digest::new(CrcAlgorithm::Crc32IsoHdlc)),
            Some(Algorithm::Crc32c) => checks.crc = Some(crc_fast::Digest::new(CrcAlgorithm::Crc32Iscsi)),
            Some(Algorithm::Crc64Nvme) => checks.crc = Some(crc_fast::Digest::new(CrcAlgorithm::Crc64Nvme)),
            Some(Algorithm::Sha1) => checks.sha1 = Some(Sha1::new()),
            Some(Algorithm::Sha256) => checks.sha256 = Some(checks.sha256.unwrap_or_default()),
            None => {}
        }
        checks
    }

    pub fn update(&mut self, bytes: &[u8]) {
        if let Some(crc) = &mut self.crc {
            crc.update(bytes);
        }
        if let Some(sha256) = &mut self.sha256 {
            sha256.update(bytes);
        }
        if let Some(sha1) = &mut self.sha1 {
            sha1.update(bytes);
        }
        if let Some(md5) = &mut self.md5 {
            md5.update(bytes);
        }
    }

    /// Compares every promise with what passed. `trailer` is the value of the announced trailer.
    pub fn finish(self, trailer: Option<&str>) -> Result<Option<Verified>> {
        let sha256: Option<[u8; 32]> = self.sha256.map(|hash| hash.finalize().into());
        if self.payload_sha256.is_some() && self.payload_sha256 != sha256 {
            return Err(Code::XAmzContentSHA256Mismatch.into());
        }
        let md5: Option<[u8; 16]> = self.md5.map(|hash| hash.finalize().into());
        if self.content_md5 != md5 {
            return Err(Error::new(Code::BadDigest)
                .say("The Content-MD5 you specified did not match what we received."));
        }
        let Some(promise) = self.promise else {
            return Ok(None);
        };
        let algorithm = promise.algorithm();
        let expected = match (promise, trailer) {
            (Promise::InHeader(_, value), _) => value,
            (Promise::InTrailer(_), Some(text)) => decode(algorithm, text.as_bytes(), "trailing header")?,
            (Promise::InTrailer(_), None) => {
                return Err(
                    Error::new(Code::MalformedTrailerError).because("the announced trailer did not come")
                );
            }
        };
        let crc = self.crc.map(|crc| crc.finalize().to_be_bytes());
        let found = match algorithm {
            Algorithm::Crc32 | Algorithm::Crc32c => crc.map(|crc| crc[4..].to_vec()),
            Algorithm::Crc64Nvme => crc.map(|crc| crc.to_vec()),
            Algorithm::Sha1 => self.sha1.map(|hash| hash.finalize().to_vec()),
            Algorithm::Sha256 => sha256.map(|hash| hash.to_vec()),
        };
        match found {
            Some(found) if found == expected => {
                Ok(Some(Verified { algorithm, base64: BASE64.encode(found) }))
            }
            Some(_) | None => Err(Error::new(Code::BadDigest).say(format!(
                "The {} you specified did not match the calculated checksum.",
                algorithm.name()
            ))),
        }
    }
}

/// `Content-MD5`, if it came: base64 of 16 bytes.
pub fn content_md5(headers: &HeaderMap) -> Result<Option<[u8; 16]>> {
    let mut values = headers.get_all("content-md5").iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    let digest = BASE64.decode(value.as_bytes()).ok().and_then(|bytes| bytes.try_into().ok());
    match (digest, values.next()) {
        (Some(digest), None) => Ok(Some(digest)),
        (_, Some(_)) | (None, _) => {
            Err(Error::new(Code::InvalidDigest).say("The Content-MD5 you specified was invalid."))
        }
    }
}

fn value_header(headers: &HeaderMap) -> Result<Option<(Algorithm, Vec<u8>)>> {
    let mut found = None;
    for (name, value) in headers {
        let Some(suffix) = name.as_str().strip_prefix("x-amz-checksum-") else {
            continue;
        };
        if matches!(suffix, "type" | "algorithm" | "mode") {
            continue;
        }
        let Some(algorithm) = Algorithm::from_header(name.as_str()) else {
            return Err(unsupported(name.as_str()));
        };
        if found.is_some() {
            return Err(more_than_one());
        }
        found = Some((algorithm, decode(algorithm, value.as_bytes(), "header")?));
    }
    Ok(found)
}

fn announced_trailer(headers: &HeaderMap) -> Result<Option<Algorithm>> {
    let mut values = headers.get_all("x-amz-trailer").iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    let name = value.to_str().unwrap_or_default().trim();
    match (Algorithm::from_header(name), values.next()) {
        (Some(algorithm), None) => Ok(Some(algorithm)),
        (Some(_), Some(_)) => Err(more_than_one()),
        (None, _) => Err(unsupported("x-amz-trailer")),
    }
}

fn agrees_with_sdk_header(headers: &HeaderMap, promise: Option<&Promise>) -> Result<()> {
    for value in headers.get_all("x-amz-sdk-checksum-algorithm") {
        let Some(named) = value.to_str().ok().and_then(Algorithm::from_name) else {
            return Err(Error::new(Code::InvalidRequest)
                .say("Value for x-amz-sdk-checksum-algorithm header is invalid."));
        };
        let problem = match promise.map(Promise::algorithm) {
            Some(algorithm) if algorithm == named => continue,
            Some(_) => "Value for x-amz-sdk-checksum-algorithm header is invalid.",
            None => {
                "x-amz-sdk-checksum-algorithm specified, but no corresponding x-amz-checksum-* or \
                 x-amz-trailer headers were found."
            }
        };
        return Err(Error::new(Code::InvalidRequest).say(problem));
    }
    Ok(())
}

fn decode(algorithm: Algorithm, value: &[u8], place: &str) -> Result<Vec<u8>> {
    let bytes = BASE64.decode(value).ok().filter(|bytes| bytes.len() == algorithm.digest_len());
    bytes.ok_or_else(|| {
        Error::new(Code::InvalidRequest).say(format!("Value for {} {place} is invalid.", algorithm.header()))
    })
}

fn more_than_one() -> Error {
    Error::new(Code::InvalidRequest)
        .say("Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.")
}

fn unsupported(name: &str) -> Error {
    Error::new(Code::InvalidRequest)
        .say("The algorithm type you specified in x-amz-checksum- header is invalid.")
        .because(format!("unsupported checksum in {name}"))
}

#[cfg(test)]
mod tests;
