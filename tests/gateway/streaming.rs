//! Bodies flow and never rest: backpressure, cancellation both ways, ends that are what they seem (R01 to R07, R26).

use std::thread;
use std::time::{Duration, Instant};

use crate::harness::*;

const MIB: usize = 1 << 20;
/// What "at once" means on a busy machine.
const AT_ONCE: Duration = Duration::from_secs(1);

/// A world with an object that alice can read and that nobody could hold.
fn world_with_a_big_object(length: u64) -> World {
    let world = World::new();
    world.origin.seed_pattern("datasets/alice/big", length);
    world
}

fn get_big(world: &World) -> Request {
    world.alice().sign(Request::get("/datasets/big"))
}

fn put_big(world: &World, length: usize) -> Request {
    world.alice().sign_unsigned_payload(Request::put("/datasets/upload", vec![7; length]))
}

#[test]
fn large_bodies_arrive_unchanged_both_ways() {
    let world = world_with_a_big_object(4 << 20);
    let body: Vec<u8> = (0..4 << 20).map(pattern_byte).collect();
    assert!(world.accepts(&get_big(&world)).body == body);
    world.accepts(&world.alice().sign(Request::put("/datasets/upload", &body)));
    assert!(world.origin.object("datasets/alice/upload").unwrap() == body);
}

#[test]
fn the_first_bytes_come_before_the_last_are_there() {
    let world = world_with_a_big_object(1 << 20);
    world.origin.next(Act::serve().cut_after(100_000, Cut::Stall));
    let mut client = world.client();
    client.write(get_big(&world).bytes());
    let (head, _) = client.response_head().expect("a head");
    let mut got = 0;
    client.wire().body(head.response_framing("GET"), &mut |piece| {
        got += piece.len();
        got < 100_000
    });
    assert_eq!(got, 100_000);
}

#[test]
fn r05_a_reader_who_leaves_ends_the_upstream_request() {
    let world = world_with_a_big_object(4 << 30);
    let mut client = world.client();
    client.write(get_big(&world).bytes());
    client.response_head().expect("a head");
    client.hang_up();
    world.origin.wait_within(AT_ONCE, "the end of the upstream request", |seen| seen[0].gone);
}

#[test]
fn r05_a_client_who_leaves_before_the_answer_ends_the_upstream_request() {
    let world = World::new();
    world.origin.next(Act::silence());
    let mut client = world.client();
    client.write(world.alice().sign(Request::get("/datasets/control")).bytes());
    world.origin.wait_for("the request", |seen| seen.len() == 1);
    client.hang_up();
    world.origin.wait_within(AT_ONCE, "the end of the upstream request", |seen| seen[0].gone);
}

#[test]
fn r03_a_client_who_leaves_mid_put_leaves_a_short_body() {
    let world = World::new();
    let request = put_big(&world, 4 * MIB);
    let bytes = request.bytes();
    let mut client = world.client();
    client.write(&bytes[..bytes.len() / 2]);
    world.origin.wait_for("half the body", |seen| seen.first().is_some_and(|s| s.body().len() > MIB));
    client.hang_up();
    world.origin.wait_within(AT_ONCE, "a short end", |seen| seen[0].end == Some(End::Broken));
    assert_eq!(world.origin.object("datasets/alice/upload"), None);
}

#[test]
fn r03_a_client_who_leaves_inside_a_chunked_put() {
    let world = World::new();
    let request = Request::put("/datasets/upload", vec![7; 4 * MIB]);
    let bytes = world.alice().sign_chunked(request, &Chunked::signed(64 << 10)).bytes();
    let mut client = world.client();
    client.write(&bytes[..bytes.len() / 2]);
    world.origin.wait_for("some of the body", |seen| seen.first().is_some_and(|s| s.body().len() > MIB));
    client.hang_up();
    world.origin.wait_within(AT_ONCE, "a short end", |seen| seen[0].end == Some(End::Broken));
}

#[test]
fn r06_an_upstream_that_dies_mid_get_never_looks_like_an_end() {
    let world = world_with_a_big_object(1 << 20);
    for cut in [Cut::Close, Cut::Reset] {
        for at in [0, 1, 500_000, (1 << 20) - 1] {
            world.origin.next(Act::serve().cut_after(at, cut));
            if let Some(response) = world.client().try_send(&get_big(&world)) {
                let clean_error = response.status >= 500 && response.is_whole();
                assert!(clean_error || !response.is_whole(), "{cut:?} at {at} looks like an end");
            }
        }
    }
}

#[test]
fn r06_an_upstream_that_dies_in_a_listing() {
    let world = World::new();
    for cut in [Cut::Close, Cut::Reset] {
        world.origin.always(Act::serve().cut_after(60, cut));
        let response = world.client().try_send(&world.alice().sign(Request::get("/datasets?list-type=2")));
        world.origin.behave();
        if let Some(response) = response {
            let clean_error = response.status >= 500 && response.is_whole();
            assert!(
                clean_error || !response.is_whole(),
                "a cut list passed as whole: {}",
                response.everything()
            );
        }
    }
}

#[test]
fn r01_an_upstream_that_resets_mid_put() {
    let world = World::new();
    world.origin.seed("datasets/alice/upload", "old");
    world.origin.next(Act::hang_up(Cut::Reset).early_after_continue(2 * MIB));
    let request = put_big(&world, 4 * MIB);
    if let Some(response) = world.client().try_send(&request) {
        assert!(matches!(response.status, 500 | 502 | 503), "{}", response.everything());
        world.assert_nothing_leaked(&request, &response);
    }
    assert_eq!(world.origin.object("datasets/alice/upload").unwrap(), b"old");
    assert_eq!(world.origin.count(), 1, "the body was sent again");
}

#[test]
fn r26_a_slow_upstream_slows_the_client() {
    let world = World::new();
    world.origin.next(Act::silence().early_after_continue(1));
    let request = put_big(&world, 64 * MIB);
    let mut client = world.client();
    client.wire().stream().set_write_timeout(Some(Duration::from_millis(700))).unwrap();
    let mut bytes = request.bytes();
    let body = bytes.split_off(bytes.len() - request.body.len());
    client.write(bytes);
    let mut sent = 0;
    while sent < body.len() {
        match std::io::Write::write(&mut client.wire().stream(), &body[sent..]) {
            Ok(n) => sent += n,
            Err(_) => break,
        }
    }
    assert!(sent < 24 * MIB, "{sent} bytes went nowhere");
}

#[test]
fn r26_a_slow_client_slows_the_upstream() {
    let world = world_with_a_big_object(1 << 30);
    let mut client = world.client();
    client.write(get_big(&world).bytes());
    client.response_head().expect("a head");
    // The origin's writes block: the answer cannot have been written whole.
    thread::sleep(Duration::from_millis(500));
    let seen = world.origin.last();
    assert!(!seen.answered && !seen.gone);
    client.hang_up();
    world.origin.wait_within(AT_ONCE, "the end of the upstream request", |seen| seen[0].gone);
}

#[test]
fn the_tail_is_held_until_the_body_is_verified() {
    let world = World::new();
    let request = world.alice().sign(Request::put("/datasets/upload", vec![7; 2 * MIB]));
    let bytes = request.bytes();
    let mut client = world.client();
    client.write(&bytes[..bytes.len() - 1]);
    world.origin.wait_for("most of the body", |seen| seen.first().is_some_and(|s| s.body().len() > MIB));
    let seen = world.origin.last();
    assert!(!seen.is_complete() && seen.body().len() < 2 * MIB);
    client.write(&bytes[bytes.len() - 1..]);
    client.response("PUT").expect("an answer").assert_status(200);
    assert!(world.origin.last().is_complete());
}

#[test]
fn large_puts_ask_the_upstream_first() {
    let world = World::new();
    world.accepts(&put_big(&world, 2 * MIB));
    assert_eq!(world.origin.last().header("expect"), Some("100-continue"));
    world.accepts(&put_big(&world, 1000));
    assert_eq!(world.origin.last().header("expect"), None);
}

#[test]
fn an_upstreams_refusal_of_a_large_put_is_never_lost() {
    let world = World::new();
    for _ in 0..5 {
        world.origin.next(Act::error(412, "PreconditionFailed").early(0));
        let request = put_big(&world, 2 * MIB);
        let response = world.call(&request);
        world.assert_refusal(&request, &response, PRECONDITION_FAILED);
    }
    assert!(world.origin.seen().iter().all(|s| s.body().is_empty()));
}

#[test]
fn an_early_refusal_mid_body_reaches_the_client() {
    let world = World::new();
    world.origin.next(Act::error(400, "EntityTooLarge").early_after_continue(MIB));
    let request = put_big(&world, 8 * MIB);
    let response = world.call(&request);
    world.assert_refusal(&request, &response, &[(400, "EntityTooLarge")]);
    world.origin.wait_within(AT_ONCE * 3, "the end of the upload", |seen| seen[0].end == Some(End::Broken));
}

#[test]
fn an_upstream_that_never_says_100_is_waited_for_once() {
    let world = World::new();
    world.origin.always(Act::serve().without_continue());
    world.accepts(&put_big(&world, 2 * MIB));
    assert_eq!(world.origin.last().header("expect"), Some("100-continue"));
    let start = Instant::now();
    world.accepts(&put_big(&world, 2 * MIB));
    assert_eq!(world.origin.last().header("expect"), None, "it was asked again");
    assert!(start.elapsed() < Duration::from_secs(5));
}

#[test]
fn a_body_longer_than_announced_is_cut_by_its_framing() {
    let world = World::new();
    let mut client = world.client();
    let get = world.alice().sign(Request::get("/datasets/control"));
    let mut bytes = world
        .alice()
        .sign(Request::put("/datasets/upload", "four").header("connection", "keep-alive"))
        .bytes();
    bytes.extend(get.bytes());
    client.write(bytes);
    client.response("PUT").expect("an answer").assert_status(200);
    assert_eq!(client.response("GET").expect("an answer").text(), "control of alice");
    assert_eq!(world.origin.object("datasets/alice/upload").unwrap(), b"four");
}

#[test]
fn k02_a_body_that_stops_coming() {
    let world = World::with_server("body_idle_timeout = \"300ms\"");
    let request = put_big(&world, 4 * MIB);
    let bytes = request.bytes();
    let mut client = world.client();
    client.write(&bytes[..bytes.len() / 2]);
    if let Some(response) = client.response("PUT") {
        world.assert_refusal(&request, &response, &[(400, "RequestTimeout")]);
    }
    world.origin.wait_for("a short end", |seen| seen.iter().all(|s| s.end == Some(End::Broken)));
    // A body that keeps coming is not idle, however long it takes.
    let mut slow = world.client();
    let request = world.alice().sign(Request::put("/datasets/slow", "slowly but surely"));
    slow.write(request.head_bytes());
    for byte in &request.body {
        slow.write([*byte]);
        thread::sleep(Duration::from_millis(60));
    }
    slow.response("PUT").expect("an answer").assert_status(200);
}

#[test]
fn k02_a_small_body_that_never_comes() {
    let world = World::with_server("body_idle_timeout = \"300ms\"");
    let request = world.alice().sign(Request::put("/datasets/slow", "body"));
    let mut client = world.client();
    client.write(request.head_bytes());
    if let Some(response) = client.response("PUT") {
        world.assert_refusal(&request, &response, &[(400, "RequestTimeout")]);
    }
    world.assert_nothing_committable(0);
}

#[test]
fn k03_a_reader_who_never_reads_is_cut_off() {
    let world = World::with_server("idle_timeout = \"1s\"");
    world.origin.seed_pattern("datasets/alice/big", 1 << 30);
    let mut client = world.client();
    client.write(get_big(&world).bytes());
    client.response_head().expect("a head");
    world.origin.wait_within(Duration::from_secs(5), "the release of the upstream", |seen| seen[0].gone);
}

#[test]
fn r24_draining_finishes_what_is_in_flight() {
    let mut world = World::with_server("drain_timeout = \"5s\"");
    let request = put_big(&world, 2 * MIB);
    let bytes = request.bytes();
    let mut uploads: Vec<Client> = (0..10).map(|_| world.client()).collect();
    for client in &mut uploads {
        client.write(&bytes[..MIB]);
    }
    world.origin.wait_for("every upload", |seen| seen.len() == 10);
    let drained = world.start_drain();
    eventually(Duration::from_secs(3), "readiness goes", || world.admin_get("/readyz").status == 503);
    let refused = || std::net::TcpStream::connect(world.s3_addr()).is_err();
    eventually(Duration::from_secs(5), "accepting ends", refused);
    for client in &mut uploads {
        client.write(&bytes[MIB..]);
        let response = client.response("PUT").expect("an answer");
        response.assert_status(200);
        assert!(response.announces_close(), "{}", response.everything());
    }
    world.finish(drained, Duration::from_secs(10));
    assert!(world.origin.object("datasets/alice/upload").is_some());
}

#[test]
fn r24_the_drain_ends_at_its_deadline() {
    let mut world = World::with_server("drain_timeout = \"500ms\"");
    let bytes = put_big(&world, 2 * MIB).bytes();
    let mut stuck = world.client();
    stuck.write(&bytes[..MIB]);
    world.origin.wait_for("the upload", |seen| seen.len() == 1);
    let drained = world.start_drain();
    world.finish(drained, Duration::from_secs(8));
    world.origin.wait_for("a short end", |seen| seen[0].end == Some(End::Broken));
}
