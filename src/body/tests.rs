//! Whole uploads, from a head and a wire to what leaves for the upstream.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame};
use http_body_util::{BodyExt, StreamBody};
use proptest::prelude::*;

use super::checksum::Algorithm;
use super::count;
use super::kit::{CRC32, IDLE, Script, Step, crc32, cut, headers, sha256, signed, signed_chunks, unsigned};
use super::plan::UploadPlan;
use super::upload::{GateState, Upload, UploadError, UploadHandle, upload};
use crate::error::Code;
use crate::sigv4::Payload;

fn plain(length: usize) -> UploadPlan {
    UploadPlan::from_head(&headers(&[("content-length", &length.to_string())]), Payload::Unsigned).unwrap()
}

fn open(body: Script, plan: UploadPlan) -> (Upload<Script>, UploadHandle) {
    upload(body, plan, IDLE, GateState::Open)
}

/// Reads to the end or the first error, and holds the body to its exact size hint on the way.
async fn release(mut body: Upload<Script>) -> (Vec<u8>, Option<UploadError>) {
    let length = body.size_hint().exact().unwrap();
    let mut released = Vec::new();
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => released.extend(frame.into_data().unwrap()),
            Err(error) => {
                assert!(
                    body.frame().await.is_none_or(|frame| frame.is_err()),
                    "an error must not become an end"
                );
                assert!(!body.is_end_stream());
                return (released, Some(error));
            }
        }
        assert_eq!(body.size_hint().exact(), Some(length - count(&released)));
    }
    assert!(body.is_end_stream());
    (released, None)
}

#[tokio::test]
async fn a_good_body_passes_in_every_mode() {
    let payload = b"0123456789".repeat(50);
    let length = payload.len().to_string();
    let chunks: Vec<Vec<u8>> = payload.chunks(64).map(<[u8]>::to_vec).collect();
    let crc = crc32(&payload);
    let decoded = ("x-amz-decoded-content-length", length.as_str());
    let announced = ("x-amz-trailer", CRC32);
    let trailer = Some((CRC32, crc.as_str()));
    for (pairs, payload_mode, wire, echoes) in [
        (vec![("content-length", length.as_str())], Payload::Unsigned, payload.clone(), false),
        (
            vec![("content-length", &length), (CRC32, &crc)],
            Payload::Sha256(sha256(&payload)),
            payload.clone(),
            true,
        ),
        (vec![decoded], signed_chunks(false), signed(&chunks, false, None), false),
        (vec![decoded, announced], signed_chunks(true), signed(&chunks, true, trailer), true),
        (vec![decoded], signed_chunks(true), signed(&chunks, true, None), false),
        (vec![decoded, announced], Payload::UnsignedChunks, unsigned(&chunks, trailer), true),
        (vec![decoded, (CRC32, &crc)], Payload::UnsignedChunks, unsigned(&chunks, None), true),
        // Java: a trailer announced, the header sent, and no trailer block.
        (vec![decoded, announced, (CRC32, &crc)], signed_chunks(false), signed(&chunks, false, None), true),
    ] {
        let plan = UploadPlan::from_head(&headers(&pairs), payload_mode).unwrap();
        assert_eq!((plan.length(), plan.is_empty()), (500, false));
        let (body, handle) = open(Script::of(cut(&wire, &[1, 7, 70, 300])), plan);
        assert!(!handle.polled());
        assert_eq!(release(body).await, (payload.clone(), None), "{pairs:?}");
        assert!(handle.polled() && handle.is_complete() && handle.failure().is_none());
        assert_eq!(handle.received(), 500);
        let verified = handle.verified().map(|verified| (verified.algorithm, verified.base64));
        assert_eq!(verified, echoes.then(|| (Algorithm::Crc32, crc.clone())), "{pairs:?}");
    }
}

#[tokio::test]
async fn a_bad_body_never_leaves_whole() {
    let payload = b"0123456789".repeat(50);
    let length = payload.len().to_string();
    let chunks: Vec<Vec<u8>> = payload.chunks(64).map(<[u8]>::to_vec).collect();
    let wrong = crc32(b"something else");
    let decoded = ("x-amz-decoded-content-length", length.as_str());
    let announced = ("x-amz-trailer", CRC32);
    let wrong_trailer = Some((CRC32, wrong.as_str()));
    let good = unsigned(&chunks, None);
    let no_last_chunk = good[..good.len() - 5].to_vec();
    let longer = unsigned(&[chunks.clone(), vec![b"X".to_vec()]].concat(), None);
    let mut late = signed(&chunks, false, None);
    let last_payload_byte = late.len() - 5 - 80 - 4;
    late[last_payload_byte] ^= 1;
    for (pairs, mode, wire, code) in [
        (
            vec![("content-length", length.as_str())],
            Payload::Unsigned,
            payload[..499].to_vec(),
            Code::IncompleteBody,
        ),
        (
            vec![("content-length", &length)],
            Payload::Unsigned,
            [&payload[..], b"X"].concat(),
            Code::IncompleteBody,
        ),
        (
            vec![("content-length", &length)],
            Payload::Sha256([0; 32]),
            payload.clone(),
            Code::XAmzContentSHA256Mismatch,
        ),
        (
            vec![("content-length", &length), (CRC32, &wrong)],
            Payload::Unsigned,
            payload.clone(),
            Code::BadDigest,
        ),
        (
            vec![("content-length", &length), ("content-md5", "JfnnlDI7RTiF9RgfG2JNCw==")],
            Payload::Unsigned,
            payload.clone(),
            Code::BadDigest,
        ),
        (vec![decoded], signed_chunks(false), late, Code::SignatureDoesNotMatch),
        (vec![decoded], Payload::UnsignedChunks, no_last_chunk, Code::IncompleteBody),
        (vec![decoded], Payload::UnsignedChunks, longer, Code::IncompleteBody),
        (vec![decoded], Payload::UnsignedChunks, unsigned(&chunks[..7], None), Code::IncompleteBody),
        (vec![decoded], Payload::UnsignedChunks, [&good[..], b"X"].concat(), Code::IncompleteBody),
        (vec![decoded], Payload::UnsignedChunks, payload.clone(), Code::IncompleteBody),
        (
            vec![decoded, announced],
            Payload::UnsignedChunks,
            unsigned(&chunks, wrong_trailer),
            Code::BadDigest,
        ),
        (
            vec![decoded, announced],
            signed_chunks(true),
            signed(&chunks, true, wrong_trailer),
            Code::BadDigest,
        ),
        (
            vec![decoded, announced],
            Payload::UnsignedChunks,
            unsigned(&chunks, Some((CRC32, "x"))),
            Code::InvalidRequest,
        ),
        (vec![decoded, announced], Payload::UnsignedChunks, good.clone(), Code::MalformedTrailerError),
        (
            vec![decoded, announced],
            Payload::UnsignedChunks,
            unsigned(&chunks, Some(("x-amz-checksum-crc32c", "AAAAAA=="))),
            Code::MalformedTrailerError,
        ),
    ] {
        for cuts in [&[][..], &[1, 7, 70, 300, 499, 500, 550]] {
            let plan = UploadPlan::from_head(&headers(&pairs), {
                // A signer is used up by its chain; each run needs its own.
                match &mode {
                    Payload::Unsigned => Payload::Unsigned,
                    Payload::Sha256(hash) => Payload::Sha256(*hash),
                    Payload::SignedChunks { trailer, .. } => signed_chunks(*trailer),
                    Payload::UnsignedChunks => Payload::UnsignedChunks,
                }
            });
            let (body, handle) = open(Script::of(cut(&wire, cuts)), plan.unwrap());
            let (released, error) = release(body).await;
            assert_eq!(error, Some(UploadError::Client), "{pairs:?} {code:?}");
            assert!(released.len() < payload.len(), "{pairs:?} {code:?}");
            assert!(payload.starts_with(&released));
            assert!(!handle.is_complete() && handle.verified().is_none());
            assert_eq!(handle.failure().map(|error| error.code), Some(code), "{pairs:?}");
        }
    }
}

#[tokio::test]
async fn the_last_slice_waits_for_the_end_of_the_client() {
    let (mut body, handle) =
        open(Script::new([Step::Data("ab".into()), Step::Data("cd".into()), Step::Stall]), plain(4));
    let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
    assert_eq!(first, "ab");
    let second = poll_fn(|cx| Poll::Ready(Pin::new(&mut body).poll_frame(cx))).await;
    assert!(second.is_pending());
    assert_eq!((handle.received(), handle.is_complete()), (4, false));
}

#[tokio::test]
async fn a_lost_client_is_an_incomplete_body() {
    let (body, handle) = open(Script::new([Step::Data("ab".into()), Step::Fail]), plain(4));
    assert_eq!(release(body).await, (vec![], Some(UploadError::Client)));
    assert_eq!(handle.failure().unwrap().code, Code::IncompleteBody);
}

#[tokio::test]
async fn a_closed_gate_asks_nothing_of_the_client() {
    let (body, handle) = upload(Script::bytes(b"abcd"), plain(4), IDLE, GateState::Closed);
    let reader = tokio::spawn(release(body));
    tokio::task::yield_now().await;
    assert_eq!((handle.polled(), handle.received(), reader.is_finished()), (true, 0, false));
    handle.open_gate();
    assert_eq!(reader.await.unwrap(), (b"abcd".to_vec(), None));
}

#[tokio::test]
async fn an_abort_wakes_a_waiting_body_and_lets_the_client_go() {
    for gate in [GateState::Open, GateState::Closed] {
        let (body, handle) =
            upload(Script::new([Step::Data("ab".into()), Step::Stall]), plain(4), IDLE, gate);
        let reader = tokio::spawn(release(body));
        tokio::task::yield_now().await;
        handle.abort();
        assert_eq!(reader.await.unwrap(), (vec![], Some(UploadError::Aborted)));
        assert!(handle.failure().is_none(), "not the client's fault");
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_client_times_out() {
    let steps = [Step::Wait(Duration::from_secs(29)), Step::Data("ab".into()), Step::Stall];
    let start = tokio::time::Instant::now();
    let (body, handle) = open(Script::new(steps), plain(4));
    assert_eq!(release(body).await.1, Some(UploadError::Client));
    assert_eq!(handle.failure().unwrap().code, Code::RequestTimeout);
    assert_eq!(start.elapsed().as_secs(), 59);
}

#[tokio::test(start_paused = true)]
async fn a_dripping_client_times_out_and_a_slow_one_does_not() {
    let drip = |bytes: usize| {
        (0..60).flat_map(move |_| [Step::Wait(Duration::from_secs(10)), Step::Data(vec![b'x'; bytes].into())])
    };
    let (body, handle) = open(Script::new(drip(1)), plain(60));
    assert_eq!(release(body).await.1, Some(UploadError::Client));
    assert_eq!(handle.failure().unwrap().code, Code::RequestTimeout);
    let (body, _) = open(Script::new(drip(11 * 1024)), plain(60 * 11 * 1024));
    assert_eq!(release(body).await.1, None);
}

#[tokio::test(start_paused = true)]
async fn an_upstream_that_takes_its_time_is_not_the_clients_fault() {
    let (mut body, _) = open(Script::of(["ab".into(), "cd".into(), "ef".into()]), plain(6));
    for part in ["ab", "cd", "ef"] {
        tokio::time::sleep(Duration::from_mins(10)).await;
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), part);
    }
}

#[tokio::test]
async fn http_trailers_are_no_payload() {
    let frames = [
        Ok::<_, std::io::Error>(Frame::data(Bytes::from("ab"))),
        Ok(Frame::trailers(headers(&[("a", "b")]))),
    ];
    let inner = StreamBody::new(futures_util::stream::iter(frames));
    let (mut body, handle) = upload(inner, plain(2), IDLE, GateState::Open);
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "ab");
    assert!(poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await.is_none());
    assert!(handle.is_complete());
}

proptest! {
    #[test]
    fn a_flipped_byte_under_a_trailer_checksum_is_refused(
        chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..60), 1..5),
        at: prop::sample::Index,
        flip in 1_u8..,
        cuts in prop::collection::vec(any::<usize>(), 0..10),
    ) {
        let payload = chunks.concat();
        let mut wire = unsigned(&chunks, Some((CRC32, &crc32(&payload))));
        let at = at.index(wire.len());
        wire[at] ^= flip;
        let length = payload.len().to_string();
        let head = headers(&[("x-amz-decoded-content-length", &length), ("x-amz-trailer", CRC32)]);
        let plan = UploadPlan::from_head(&head, Payload::UnsignedChunks).unwrap();
        let (body, _) = open(Script::of(cut(&wire, &cuts)), plan);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let (released, error) = runtime.block_on(release(body));
        // A few flips say the same: the case of a hex digit or of the trailer's name.
        match error {
            None => prop_assert_eq!(released, payload),
            Some(_) => prop_assert!(released.len() < payload.len()),
        }
    }
}
