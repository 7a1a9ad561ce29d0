//! Streams of one user on one lane, with the runtime's time turned by hand: each is a task of its own, as on a
//! gateway, and takes what it gets at once.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http_body_util::BodyExt as _;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use super::*;
use crate::body::download::Download;
use crate::body::kit::{IDLE, Script, Step, headers};
use crate::body::plan::UploadPlan;
use crate::body::upload::{GateState, upload};
use crate::sigv4::Payload;

const MIB: u64 = 1 << 20;
const TEN_SECONDS: Duration = Duration::from_secs(10);

/// Pieces of the given sizes, over and over, each from the same zeroes.
fn pieces(sizes: &'static [usize]) -> impl Iterator<Item = Bytes> {
    let zeroes = Bytes::from(vec![0; 256 * 1024]);
    sizes.iter().cycle().map(move |size| zeroes.slice(..*size))
}

/// A stream that always has more to send.
struct Flow {
    passed: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl Flow {
    fn start(lane: &Arc<Lane>, sizes: &'static [usize]) -> Self {
        let passed = Arc::new(AtomicU64::new(0));
        let (counter, mut pacer) = (passed.clone(), Pacer::new(Some(lane.clone())));
        let task = tokio::spawn(async move {
            for piece in pieces(sizes) {
                let mut next = pacer.hold(piece);
                loop {
                    counter.fetch_add(next.map_or(0, |bytes| count(&bytes)), Ordering::Relaxed);
                    next = std::future::poll_fn(|cx| pacer.poll_held(cx)).await;
                    if next.is_none() {
                        break;
                    }
                }
            }
        });
        Self { passed, task }
    }

    fn passed(&self) -> u64 {
        self.passed.load(Ordering::Relaxed)
    }
}

impl Drop for Flow {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn lane(rate: u64) -> Arc<Lane> {
    Arc::new(Lane::new(Some(rate), Replicas::one()))
}

fn assert_near(bytes: u64, expected: u64, percent: u64, what: &str) {
    let off = bytes.abs_diff(expected);
    assert!(off * 100 <= expected * percent, "{what}: {bytes} instead of {expected}");
}

#[tokio::test(start_paused = true)]
async fn streams_share_the_set_rate_evenly_whatever_their_frames() {
    const SIZES: [&[usize]; 5] = [&[64 * 1024], &[256 * 1024], &[1000], &[8192, 1, 77_777], &[1024]];
    for rate in [64 << 10, MIB, 100 * MIB] {
        for streams in [1, 3, 10] {
            let lane = lane(rate);
            let sizes = SIZES.iter().cycle().copied();
            let flows: Vec<_> = sizes.take(streams).map(|sizes| Flow::start(&lane, sizes)).collect();
            sleep(TEN_SECONDS).await;
            let passed: Vec<_> = flows.iter().map(Flow::passed).collect();
            let what = format!("{rate} B/s, {streams} streams: {passed:?}");
            assert_near(passed.iter().sum(), rate * 10, 5, &what);
            let share = rate * 10 / u64::try_from(streams).unwrap();
            for bytes in &passed {
                assert_near(*bytes, share, 10, &what);
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_pause_saves_up_no_burst() {
    let lane = lane(MIB);
    let first = Flow::start(&lane, &[64 * 1024]);
    sleep(TEN_SECONDS).await;
    drop(first);
    sleep(Duration::from_mins(1)).await;
    let second = Flow::start(&lane, &[64 * 1024]);
    sleep(Duration::from_millis(1)).await;
    assert!(second.passed() <= MIB / 16, "{} at once", second.passed());
    sleep(Duration::from_millis(999)).await;
    assert!(second.passed() <= MIB + MIB / 16, "{} in a second", second.passed());
}

#[tokio::test(start_paused = true)]
async fn bytes_flow_smoothly() {
    let lane = lane(100 << 10);
    let flows = [Flow::start(&lane, &[256 * 1024]), Flow::start(&lane, &[256 * 1024])];
    sleep(Duration::from_secs(1)).await;
    let mut before = flows[0].passed();
    for _ in 0..20 {
        sleep(Duration::from_millis(250)).await;
        let now = flows[0].passed();
        assert_near(now - before, 12_800, 10, "half of a quarter of a second");
        before = now;
    }
}

#[tokio::test(start_paused = true)]
async fn small_bodies_cost_what_they_are_and_no_more() {
    let lane = lane(MIB);
    let started = Instant::now();
    let mut bytes = 0;
    // One after the other, each with an own pacer, as one request after another has.
    while started.elapsed() < TEN_SECONDS {
        let mut pacer = Pacer::new(Some(lane.clone()));
        assert!(pacer.hold(Bytes::from_static(&[0; 1000])).is_none());
        let piece = std::future::poll_fn(|cx| pacer.poll_held(cx)).await.unwrap();
        assert_eq!(piece.len(), 1000, "whole");
        bytes += 1000;
    }
    assert_near(bytes, 10 * MIB, 5, "many small bodies");
}

#[tokio::test(start_paused = true)]
async fn who_leaves_the_queue_holds_nobody_up() {
    let lane = lane(1000);
    let flow = Flow::start(&lane, &[1000]);
    let mut gone: Vec<_> = (0..3).map(|_| Flow::start(&lane, &[1000])).collect();
    sleep(Duration::from_secs(30)).await;
    // The first of the queue may be among them, or not: either way the others go on.
    gone.pop();
    sleep(Duration::from_secs(1)).await;
    drop(gone);
    let before = flow.passed();
    sleep(TEN_SECONDS).await;
    assert_near(flow.passed() - before, 10_000, 10, "alone");
}

#[tokio::test(start_paused = true)]
async fn a_new_limit_and_new_gateways_hold_for_streams_under_way() {
    let (live, receiver) = watch::channel(1);
    let lane = Arc::new(Lane::new(Some(MIB), Replicas::new(receiver)));
    let flows = [Flow::start(&lane, &[4096]), Flow::start(&lane, &[65_536])];
    let in_ten_seconds = async || {
        let total = || flows.iter().map(Flow::passed).sum::<u64>();
        let before = total();
        sleep(TEN_SECONDS).await;
        total() - before
    };
    assert_near(in_ten_seconds().await, 10 * MIB, 5, "alone");
    live.send(4).unwrap();
    assert_near(in_ten_seconds().await, 10 * MIB / 4, 5, "one of four");
    live.send(1).unwrap();
    lane.set_limit(Some(3 * MIB));
    assert_near(in_ten_seconds().await, 30 * MIB, 5, "more");
    assert!(!lane.is_idle());
}

#[tokio::test(start_paused = true)]
async fn a_lifted_limit_lets_everything_go() {
    let lane = lane(1);
    let mut pacer = Pacer::new(Some(lane.clone()));
    for _ in 0..3 {
        assert!(pacer.hold(Bytes::from_static(&[0; 1000])).is_none());
        lane.set_limit(None);
        let piece = std::future::poll_fn(|cx| pacer.poll_held(cx)).await.unwrap();
        assert_eq!(piece.len(), 1000);
    }
    drop(pacer);
    lane.set_limit(Some(1000));
    let flow = Flow::start(&lane, &[1000]);
    sleep(TEN_SECONDS).await;
    assert_near(flow.passed(), 10_000, 5, "limited again");
}

#[tokio::test(start_paused = true)]
async fn nobody_polls_in_vain() {
    let lane = lane(MIB);
    let _others = [Flow::start(&lane, &[65_536]), Flow::start(&lane, &[65_536])];
    let mut pacer = Pacer::new(Some(lane.clone()));
    let (mut polls, mut bytes) = (0_u64, 0);
    let until = Instant::now() + TEN_SECONDS;
    while Instant::now() < until {
        pacer.hold(Bytes::from(vec![0; 65_536]));
        loop {
            let next = std::future::poll_fn(|cx| {
                polls += 1;
                pacer.poll_held(cx)
            });
            let Some(piece) = next.await else { break };
            bytes += count(&piece);
        }
    }
    // Per grant: it takes its place, is woken as the first, is woken by its timer; and one poll finds it empty.
    assert!(polls <= 5 * bytes / (MIB / 100), "{polls} polls for {bytes} bytes");
}

#[tokio::test(start_paused = true)]
async fn without_a_lane_everything_passes_as_it_comes() {
    let mut pacer = Pacer::new(None);
    let piece = Bytes::from_static(b"abc");
    assert_eq!(pacer.hold(piece.clone()), Some(piece));
    assert_eq!(std::future::poll_fn(|cx| pacer.poll_held(cx)).await, None);
    pacer = Pacer::new(Some(lane(1)));
    assert_eq!(pacer.hold(Bytes::new()), Some(Bytes::new()), "nothing waits for nothing");
}

/// A download of so many bytes a second is neither silent nor short, however slow.
#[tokio::test(start_paused = true)]
async fn a_paced_download_takes_its_time_and_ends_well() {
    let ended = Arc::new(std::sync::Mutex::new(None));
    let end = ended.clone();
    let body = http_body_util::Full::new(Bytes::from(vec![7; 200_000]));
    let mut body = Download::stream(body, IDLE, move |outcome, bytes| {
        *end.lock().unwrap() = Some((outcome, bytes));
    })
    .paced(Pacer::new(Some(lane(1000))));
    let started = Instant::now();
    let mut read = 0;
    while let Some(frame) = body.frame().await {
        let data = frame.unwrap().into_data().unwrap();
        assert!(data.iter().all(|byte| *byte == 7));
        read += data.len();
        assert!(read == 200_000 || ended.lock().unwrap().is_none(), "not over before the last byte is out");
    }
    assert_eq!(read, 200_000);
    assert_eq!(*ended.lock().unwrap(), Some((crate::body::download::Outcome::Complete, 200_000)));
    assert_near(started.elapsed().as_secs(), 199, 2, "seconds");
}

/// Far slower than the client's patience and the least rate that a client may have.
#[tokio::test(start_paused = true)]
async fn a_paced_upload_blames_nobody() {
    let steps = [
        Step::Data(Bytes::from(vec![1; 50_000])),
        Step::Wait(IDLE / 2),
        Step::Data(Bytes::from(vec![2; 50_000])),
        Step::Wait(IDLE / 2),
    ];
    let plan = UploadPlan::from_head(&headers(&[("content-length", "100000")]), Payload::Unsigned).unwrap();
    let (body, handle) = upload(Script::new(steps), plan, IDLE, GateState::Open);
    let mut body = body.paced(Pacer::new(Some(lane(500))));
    let started = Instant::now();
    let mut read = 0;
    loop {
        match timeout(Duration::from_millis(10), body.frame()).await {
            Err(_) => assert!(handle.waits_for_client(), "the upstream is not to blame"),
            Ok(None) => break,
            Ok(Some(frame)) => read += frame.unwrap().into_data().unwrap().len(),
        }
    }
    assert!(handle.is_complete());
    assert_eq!(read, 100_000);
    assert_near(started.elapsed().as_secs(), 199 + 30, 10, "seconds");
}

#[tokio::test(start_paused = true)]
async fn a_silent_client_is_still_one() {
    let steps = [Step::Data(Bytes::from(vec![1; 5000])), Step::Stall];
    let plan = UploadPlan::from_head(&headers(&[("content-length", "6000")]), Payload::Unsigned).unwrap();
    let (body, handle) = upload(Script::new(steps), plan, IDLE, GateState::Open);
    let mut body = body.paced(Pacer::new(Some(lane(500))));
    let started = Instant::now();
    while body.frame().await.unwrap().is_ok() {}
    assert_eq!(handle.failure().unwrap().code, crate::error::Code::RequestTimeout);
    assert_near(started.elapsed().as_secs(), 9 + IDLE.as_secs(), 10, "seconds");
}
