//! Checksums in the head of a plain PutObject: taken, verified, given back? The gateway verifies its clients'
//! checksums itself and sends none, so nothing hangs on these but what it could send.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use crc_fast::CrcAlgorithm;
use http::{HeaderName, Method};
use md5::Md5;
use sha1::Sha1;
use sha2::{Digest as _, Sha256};

use super::bench::{Bench, CONTENT};
use super::report::{Run, Stake, Tried, Verdict};
use crate::body::checksum::Algorithm;

pub(super) const CONTENT_MD5: HeaderName = HeaderName::from_static("content-md5");

pub(super) async fn ask(run: &mut Run, bench: &Bench) {
    run.ask("checksum.content-md5", "Content-MD5, right and wrong", Stake::Nobody, content_md5(bench)).await;
    for algorithm in Algorithm::ALL {
        let (name, tried) = match algorithm {
            Algorithm::Crc32 => ("checksum.crc32", "x-amz-checksum-crc32, right and wrong"),
            Algorithm::Crc32c => ("checksum.crc32c", "x-amz-checksum-crc32c, right and wrong"),
            Algorithm::Crc64Nvme => ("checksum.crc64nvme", "x-amz-checksum-crc64nvme, right and wrong"),
            Algorithm::Sha1 => ("checksum.sha1", "x-amz-checksum-sha1, right and wrong"),
            Algorithm::Sha256 => ("checksum.sha256", "x-amz-checksum-sha256, right and wrong"),
        };
        run.ask(name, tried, Stake::Nobody, additional(bench, name, algorithm)).await;
    }
}

/// In base64, as the headers hold it.
pub(super) fn digest(algorithm: Algorithm, bytes: &[u8]) -> String {
    let crc = |crc| crc_fast::checksum(crc, bytes).to_be_bytes();
    match algorithm {
        Algorithm::Crc32 => BASE64.encode(&crc(CrcAlgorithm::Crc32IsoHdlc)[4..]),
        Algorithm::Crc32c => BASE64.encode(&crc(CrcAlgorithm::Crc32Iscsi)[4..]),
        Algorithm::Crc64Nvme => BASE64.encode(crc(CrcAlgorithm::Crc64Nvme)),
        Algorithm::Sha1 => BASE64.encode(Sha1::digest(bytes)),
        Algorithm::Sha256 => BASE64.encode(Sha256::digest(bytes)),
    }
}

pub(super) fn md5(bytes: &[u8]) -> String {
    BASE64.encode(Md5::digest(bytes))
}

async fn content_md5(bench: &Bench) -> Tried {
    let put =
        |value: String| bench.object(Method::PUT, "md5").header(CONTENT_MD5, value).bytes(CONTENT).send();
    let right = put(md5(CONTENT)).await?;
    let wrong = put(md5(b"other")).await?;
    Ok(Verdict::is(right.ok() && !wrong.ok(), format!("right {}, wrong {}", right.names(), wrong.names())))
}

async fn additional(bench: &Bench, name: &str, algorithm: Algorithm) -> Tried {
    let put = |value: String| {
        bench.object(Method::PUT, name).header(algorithm.header(), value).bytes(CONTENT).send()
    };
    let wrong = put(digest(algorithm, b"other")).await?;
    let right = put(digest(algorithm, CONTENT)).await?;
    if !right.ok() {
        return Ok(Verdict::no(format!("refused: {}", right.says())));
    }
    let head = bench.object(Method::HEAD, name).amz("x-amz-checksum-mode", "ENABLED").send().await?;
    let kept = head.header(algorithm.header().as_str()) == Some(digest(algorithm, CONTENT).as_str());
    let kept = if kept { "comes back" } else { "does not come back" };
    let came = match (wrong.ok(), kept) {
        (true, kept) => format!("ignored: a wrong one is accepted; {kept}"),
        (false, kept) => format!("verified ({}); {kept}", wrong.code()),
    };
    Ok(Verdict::is(!wrong.ok(), came))
}
