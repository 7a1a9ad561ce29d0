//! Bodies that are taken in whole before anything is done: control XML, under a cap, and uploads of nothing,
//! which have no tail to hold. Checked like every upload.

use std::future::poll_fn;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body::Body;

use super::checksum::Verified;
use super::count;
use super::intake::Intake;
use super::plan::{SmallPlan, UploadPlan};
use super::source::Source;
use crate::error::{Code, Result};

/// Reads a control body of at most `cap` bytes. More is refused before it is buffered.
pub async fn read_small<B>(inner: B, plan: SmallPlan, cap: usize, idle: Duration) -> Result<Bytes>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    if plan.length.is_some_and(|length| usize::try_from(length).map_or(true, |length| length > cap)) {
        return Err(Code::MaxMessageLengthExceeded.into());
    }
    let mut whole = BytesMut::new();
    drain(inner, plan.intake, idle, |slice| {
        if slice.len() > cap - whole.len() {
            return Err(Code::MaxMessageLengthExceeded.into());
        }
        whole.extend_from_slice(slice);
        Ok(())
    })
    .await?;
    Ok(whole.freeze())
}

/// Verifies an upload of length 0, chunk chain and trailer included, before the upstream hears of it.
pub async fn verify_empty<B>(inner: B, plan: UploadPlan, idle: Duration) -> Result<Option<Verified>>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    drain(inner, plan.intake, idle, |slice| {
        // The plan's length already refuses payload; this holds even for a plan that is not empty.
        if count(slice) == 0 { Ok(()) } else { Err(Code::IncompleteBody.into()) }
    })
    .await
}

async fn drain<B>(
    inner: B,
    mut intake: Intake,
    idle: Duration,
    mut take: impl FnMut(&[u8]) -> Result<()>,
) -> Result<Option<Verified>>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let mut source = Source::new(inner, idle);
    while let Some(mut data) = poll_fn(|cx| source.poll_data(cx)).await? {
        while let Some(slice) = intake.next(&mut data)? {
            take(&slice)?;
        }
    }
    intake.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::body::checksum::Algorithm;
    use crate::body::kit::{
        CRC32, IDLE, Script, Step, crc32, headers, sha256, signed, signed_chunks, unsigned,
    };
    use crate::sigv4::Payload;

    #[tokio::test]
    async fn an_empty_upload_is_seen_whole() {
        let crc = crc32(b"");
        let verify = async |pairs: &[(&str, &str)], payload, wire: &[u8]| {
            let plan = UploadPlan::from_head(&headers(pairs), payload).unwrap();
            assert!(plan.is_empty());
            verify_empty(Script::bytes(wire), plan, IDLE).await.map_err(|error| error.code)
        };
        let decoded = ("x-amz-decoded-content-length", "0");
        let announced = ("x-amz-trailer", CRC32);
        let none = [("content-length", "0")];
        assert_eq!(verify(&none, Payload::Sha256(sha256(b"")), b"").await, Ok(None));
        assert_eq!(verify(&none, Payload::Sha256([0; 32]), b"").await, Err(Code::XAmzContentSHA256Mismatch));
        assert_eq!(verify(&none, Payload::Unsigned, b"X").await, Err(Code::IncompleteBody));
        let wire = signed(&[], true, Some((CRC32, &crc)));
        let verified = verify(&[decoded, announced], signed_chunks(true), &wire).await.unwrap().unwrap();
        assert_eq!((verified.algorithm, verified.base64), (Algorithm::Crc32, crc));
        let wrong = unsigned(&[], Some((CRC32, "AAAAAQ==")));
        assert_eq!(
            verify(&[decoded, announced], Payload::UnsignedChunks, &wrong).await,
            Err(Code::BadDigest)
        );
        assert_eq!(verify(&[decoded], signed_chunks(false), b"").await, Err(Code::IncompleteBody));
        assert_eq!(
            verify(&[decoded], Payload::UnsignedChunks, b"1\r\nX\r\n0\r\n\r\n").await,
            Err(Code::IncompleteBody)
        );
    }

    #[tokio::test]
    async fn small_bodies_are_read_under_their_cap() {
        let small = |pairs: &[(&str, &str)], payload| -> SmallPlan {
            UploadPlan::for_small(&headers(pairs), payload).unwrap()
        };
        let read =
            async |plan, body, cap| read_small(body, plan, cap, IDLE).await.map_err(|error| error.code);
        let length = [("content-length", "5")];
        let chunked = [("transfer-encoding", "chunked")];
        let pieces = || Script::of(["<a".into(), "/>\n".into()]);
        assert_eq!(read(small(&length, Payload::Unsigned), pieces(), 5).await, Ok("<a/>\n".into()));
        assert_eq!(
            read(small(&length, Payload::Unsigned), Script::new([Step::Stall]), 4).await,
            Err(Code::MaxMessageLengthExceeded)
        );
        assert_eq!(read(small(&chunked, Payload::Unsigned), pieces(), 5).await, Ok("<a/>\n".into()));
        let endless = Script::new([Step::Data("<a".into()), Step::Data("/>\n".into()), Step::Stall]);
        assert_eq!(
            read(small(&chunked, Payload::Unsigned), endless, 4).await,
            Err(Code::MaxMessageLengthExceeded)
        );
        assert_eq!(read(small(&[], Payload::Unsigned), Script::of([]), 4).await, Ok(Bytes::new()));
        assert_eq!(
            read(small(&length, Payload::Sha256([0; 32])), pieces(), 5).await,
            Err(Code::XAmzContentSHA256Mismatch)
        );
        assert_eq!(
            read(small(&length, Payload::Unsigned), Script::bytes(b"<a/>"), 5).await,
            Err(Code::IncompleteBody)
        );
    }
}
