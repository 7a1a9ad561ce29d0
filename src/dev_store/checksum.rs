//! The five additional checksums of S3 (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity.html>).
//! In: headers and bytes. Out: verified values, and for an object made of parts either the
//! checksum of its parts' checksums (composite) or, for CRCs, the one the whole object would have.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use crc_fast::CrcAlgorithm;
use http::HeaderMap;
use serde::{Deserialize, Serialize};
use sha1::Digest;

use crate::error::{Code, Error, Result};

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) enum Algorithm {
    Crc32,
    Crc32c,
    Crc64Nvme,
    Sha1,
    Sha256,
}

impl Algorithm {
    const ALL: [Self; 5] = [Self::Crc32, Self::Crc32c, Self::Crc64Nvme, Self::Sha1, Self::Sha256];

    pub(super) fn header(self) -> &'static str {
        match self {
            Self::Crc32 => "x-amz-checksum-crc32",
            Self::Crc32c => "x-amz-checksum-crc32c",
            Self::Crc64Nvme => "x-amz-checksum-crc64nvme",
            Self::Sha1 => "x-amz-checksum-sha1",
            Self::Sha256 => "x-amz-checksum-sha256",
        }
    }

    /// The name as it stands in `x-amz-checksum-algorithm` and in lists.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Crc32 => "CRC32",
            Self::Crc32c => "CRC32C",
            Self::Crc64Nvme => "CRC64NVME",
            Self::Sha1 => "SHA1",
            Self::Sha256 => "SHA256",
        }
    }

    pub(super) fn from_name(name: &str) -> Result<Self> {
        let found = Self::ALL.into_iter().find(|algorithm| algorithm.name().eq_ignore_ascii_case(name));
        found.ok_or_else(|| {
            Error::new(Code::InvalidRequest).say("Checksum algorithm provided is unsupported.")
        })
    }

    fn digest_len(self) -> usize {
        match self {
            Self::Crc32 | Self::Crc32c => 4,
            Self::Crc64Nvme => 8,
            Self::Sha1 => 20,
            Self::Sha256 => 32,
        }
    }

    fn crc(self) -> Option<CrcAlgorithm> {
        match self {
            Self::Crc32 => Some(CrcAlgorithm::Crc32IsoHdlc),
            Self::Crc32c => Some(CrcAlgorithm::Crc32Iscsi),
            Self::Crc64Nvme => Some(CrcAlgorithm::Crc64Nvme),
            Self::Sha1 | Self::Sha256 => None,
        }
    }

    /// What S3 makes of an upload in parts when the client does not say.
    pub(super) fn default_kind(self) -> Kind {
        match self {
            Self::Crc64Nvme => Kind::FullObject,
            Self::Crc32 | Self::Crc32c | Self::Sha1 | Self::Sha256 => Kind::Composite,
        }
    }

    /// CRC64NVME exists only whole, SHA only composite.
    pub(super) fn allows(self, kind: Kind) -> bool {
        match self {
            Self::Crc64Nvme => kind == Kind::FullObject,
            Self::Crc32 | Self::Crc32c => true,
            Self::Sha1 | Self::Sha256 => kind == Kind::Composite,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) enum Kind {
    FullObject,
    Composite,
}

impl Kind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::FullObject => "FULL_OBJECT",
            Self::Composite => "COMPOSITE",
        }
    }

    pub(super) fn from_name(name: &str) -> Result<Self> {
        match name {
            "FULL_OBJECT" => Ok(Self::FullObject),
            "COMPOSITE" => Ok(Self::Composite),
            _ => {
                Err(Error::new(Code::InvalidRequest).say("Value for x-amz-checksum-type header is invalid."))
            }
        }
    }
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Checksum {
    pub(super) algorithm: Algorithm,
    /// Base64, and `-N` after it for a composite of N parts.
    pub(super) value: String,
    pub(super) kind: Kind,
}

/// The one checksum that a request's headers carry.
pub(super) fn stated(headers: &HeaderMap) -> Result<Option<(Algorithm, String)>> {
    let mut found = None;
    for algorithm in Algorithm::ALL {
        let Some(value) = headers.get(algorithm.header()) else {
            continue;
        };
        if found.is_some() {
            return Err(Error::new(Code::InvalidRequest).say("Expecting a single x-amz-checksum- header"));
        }
        let text = value.to_str().ok().filter(|text| is_digest(algorithm, text));
        let Some(text) = text else {
            let text = format!("Value for {} header is invalid.", algorithm.header());
            return Err(Error::new(Code::InvalidRequest).say(text));
        };
        found = Some((algorithm, text.to_owned()));
    }
    Ok(found)
}

/// Also lets `-N` pass, which `CompleteMultipartUpload` may state.
fn is_digest(algorithm: Algorithm, text: &str) -> bool {
    let digits = text.split_once('-').map_or(text, |(digits, _)| digits);
    STANDARD.decode(digits).is_ok_and(|digest| digest.len() == algorithm.digest_len())
}

/// The algorithm that a request names without giving a value.
pub(super) fn named(headers: &HeaderMap) -> Result<Option<Algorithm>> {
    let name =
        headers.get("x-amz-checksum-algorithm").or_else(|| headers.get("x-amz-sdk-checksum-algorithm"));
    name.map(|name| Algorithm::from_name(name.to_str().unwrap_or_default())).transpose()
}

pub(super) enum Hasher {
    Crc(Algorithm, Box<crc_fast::Digest>),
    Sha1(Box<sha1::Sha1>),
    Sha256(Box<sha2::Sha256>),
}

impl Hasher {
    pub(super) fn new(algorithm: Algorithm) -> Self {
        match (algorithm, algorithm.crc()) {
            (_, Some(crc)) => Self::Crc(algorithm, Box::new(crc_fast::Digest::new(crc))),
            (Algorithm::Sha1, None) => Self::Sha1(Box::default()),
            (_, None) => Self::Sha256(Box::default()),
        }
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Crc(_, crc) => crc.update(bytes),
            Self::Sha1(sha) => sha.update(bytes),
            Self::Sha256(sha) => sha.update(bytes),
        }
    }

    pub(super) fn finish(self) -> Checksum {
        let (algorithm, value) = match self {
            Self::Crc(algorithm, crc) => (algorithm, crc_text(algorithm, crc.finalize())),
            Self::Sha1(sha) => (Algorithm::Sha1, STANDARD.encode(sha.finalize())),
            Self::Sha256(sha) => (Algorithm::Sha256, STANDARD.encode(sha.finalize())),
        };
        Checksum { algorithm, value, kind: Kind::FullObject }
    }
}

fn crc_text(algorithm: Algorithm, crc: u64) -> String {
    let bytes = crc.to_be_bytes();
    STANDARD.encode(&bytes[bytes.len() - algorithm.digest_len()..])
}

fn crc_number(text: &str) -> Option<u64> {
    let bytes = STANDARD.decode(text).ok()?;
    bytes.iter().try_fold(0_u64, |number, &byte| Some(number.checked_mul(256)? | u64::from(byte)))
}

/// The checksum of an object made of `parts` (value and size each); `None` if a part has none.
pub(super) fn of_parts(
    algorithm: Algorithm,
    kind: Kind,
    parts: &[(Option<&Checksum>, u64)],
) -> Option<Checksum> {
    let values = parts.iter().map(|(sum, size)| {
        let sum = sum.filter(|sum| sum.algorithm == algorithm)?;
        Some((sum.value.as_str(), *size))
    });
    let values: Vec<(&str, u64)> = values.collect::<Option<_>>()?;
    let value = match (kind, algorithm.crc()) {
        (Kind::FullObject, Some(crc)) => {
            let mut whole = 0; // the CRC of no bytes
            for (text, size) in values {
                whole = crc_fast::checksum_combine(crc, whole, crc_number(text)?, size);
            }
            crc_text(algorithm, whole)
        }
        (Kind::FullObject, None) => return None,
        (Kind::Composite, _) => {
            let mut hasher = Hasher::new(algorithm);
            for (text, _) in &values {
                hasher.update(&STANDARD.decode(text).ok()?);
            }
            format!("{}-{}", hasher.finish().value, values.len())
        }
    };
    Some(Checksum { algorithm, value, kind })
}
