//! Group K: denial of service, in sizes that fit a test run. What needs thousands of peers is left to the benches.

use std::net::Shutdown;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use crate::harness::*;

fn get(world: &World) -> Request {
    world.alice().sign(Request::get("/datasets/control"))
}

#[test]
fn k01_heads_that_never_end() {
    let world = World::with_server("header_timeout = \"300ms\"");
    let bytes = get(&world).bytes();
    let mut silent = world.client();
    let mut partial = world.client();
    partial.write(&bytes[..20]);
    let mut second_head = world.client();
    second_head.send(&get(&world)).assert_status(200);
    second_head.write(&bytes[..20]);
    for client in [&mut silent, &mut partial, &mut second_head] {
        let start = Instant::now();
        while let Some(head) = client.wire().head() {
            assert!(matches!(head.word(1), "408" | "400"), "{}", head.line);
        }
        assert!(start.elapsed() < Duration::from_secs(5), "kept for {:?}", start.elapsed());
    }
    // A trickle does not reset the clock.
    let mut trickle = world.client();
    let start = Instant::now();
    for byte in &bytes {
        if !trickle.write([*byte]) {
            break;
        }
        thread::sleep(Duration::from_millis(40));
        if start.elapsed() > Duration::from_secs(5) {
            break;
        }
    }
    assert!(start.elapsed() < Duration::from_secs(5), "a trickled head was waited for");
    world.accepts(&get(&world));
}

#[test]
fn k04_idle_connections_are_reaped() {
    let world = World::with_server("idle_timeout = \"1s\"");
    let mut client = world.client();
    client.send(&get(&world)).assert_status(200);
    assert!(client.closed_after() < Duration::from_secs(5));
}

#[test]
fn k04_connections_are_capped() {
    let world = World::with_server(
        "max_connections = 20\nmax_connections_per_peer = 40\nidle_timeout = \"1s\"\nheader_timeout = \"500ms\"",
    );
    let idle: Vec<Client> = (0..60).map(|_| world.client()).collect();
    eventually(Duration::from_secs(8), "a legitimate client is served", || {
        world.client().try_send(&get(&world)).is_some_and(|r| r.status == 200)
    });
    drop(idle);
    let metrics = world.admin_get("/metrics").text();
    let waited =
        metrics.lines().find_map(|l| l.strip_prefix("bucketwarden_throttled_total{limit=\"connections\"} "));
    assert!(waited.is_some_and(|n| n.parse::<u32>().is_ok_and(|n| n > 0)), "{waited:?}");
}

#[test]
fn k05_heads_too_large() {
    let world = World::new();
    let too_large: Answers<'_> = &[
        (431, ""),
        (400, "RequestHeaderSectionTooLarge"),
        (400, "MetadataTooLarge"),
        (414, ""),
        (400, "InvalidURI"),
        (400, "InvalidRequest"),
        (400, "InvalidArgument"),
        (400, "KeyTooLongError"),
    ];
    let many = (0..101).fold(get(&world), |r, n| r.header(&format!("x-h{n}"), "v"));
    world.refuses_bytes(0, &many, &many.bytes(), too_large);
    let fat = get(&world).header("x-fat", "v".repeat(64 << 10));
    world.refuses_bytes(0, &fat, &fat.bytes(), too_large);
    let long = world.alice().sign(Request::get(&format!("/datasets/{}", "k".repeat(9 << 10))));
    world.refuses_bytes(0, &long, &long.bytes(), too_large);
    let pairs: Vec<String> = (0..1000).map(|n| format!("q{n}=v")).collect();
    let wide = world.alice().sign(Request::get(&format!("/datasets?{}", pairs.join("&"))));
    world.refuses_bytes(0, &wide, &wide.bytes(), too_large);
    let roomy = (0..60).fold(get(&world), |r, n| r.header(&format!("x-h{n}"), "v".repeat(100)));
    world.accepts(&roomy);
}

#[test]
fn k10_strangers_cost_nothing_lasting() {
    let world = World::new();
    let mut client = world.client();
    client.send(&get(&world)).assert_status(200);
    world.origin.forget();
    let mut answers = Vec::new();
    for n in 0..500 {
        let stranger = world.alice().but(|s| {
            s.id = format!("AKSTRANGER{n}");
            s.secret = n.to_string();
        });
        let response = client.send(&stranger.sign(Request::get("/datasets/control")));
        answers.push((response.status, response.code()));
    }
    // After a hundred failures the address is slowed down, before anything is computed for it.
    let (verified, slowed) = answers.split_at(100);
    assert!(verified.iter().all(|answer| *answer == (403, "InvalidAccessKeyId".into())), "{verified:?}");
    assert!(slowed.iter().filter(|answer| *answer == &(503, "SlowDown".into())).count() > 300, "{slowed:?}");
    assert_eq!(world.origin.count(), 0);
    // Who has been let in from there before is not kept out with the strangers.
    client.send(&get(&world)).assert_status(200);
}

#[test]
fn k13_the_clients_request_id_is_not_believed() {
    let world = World::new();
    let request = get(&world).header("x-request-id", "mine").header("x-amz-request-id-x", "mine");
    let request = request.header("user-agent", "\u{1b}[31mred");
    let mut client = world.client();
    if let Some(response) = client.try_send(&request) {
        assert!(!response.everything().contains("mine"));
    }
}

#[test]
fn k17_overload_is_refused_quickly_and_health_stays() {
    let world = World::with_server("max_in_flight = 4");
    world.origin.always(Act::silence());
    let mut stuck: Vec<Client> = (0..4).map(|_| world.client()).collect();
    for client in &mut stuck {
        client.write(get(&world).bytes());
    }
    world.origin.wait_for("four in flight", |seen| seen.len() == 4);
    world.origin.behave();
    let start = Instant::now();
    let response = world.call(&get(&world));
    world.assert_refusal(&get(&world), &response, SLOW_DOWN);
    assert!(response.header("retry-after").is_some());
    assert!(start.elapsed() < Duration::from_secs(1));
    for path in ["/healthz", "/readyz", "/metrics"] {
        world.admin_get(path).assert_status(200);
    }
    stuck.clear();
    eventually(Duration::from_secs(5), "the places are given back", || {
        world.call(&get(&world)).status == 200
    });
}

#[test]
fn permits_are_held_until_the_body_ends() {
    let world = World::with_server("max_in_flight = 1");
    world.origin.seed_pattern("datasets/alice/big", 1 << 30);
    let mut reader = world.client();
    reader.write(world.alice().sign(Request::get("/datasets/big")).bytes());
    reader.response_head().expect("a head");
    world.call(&get(&world)).assert_status(503);
    reader.wire().stream().shutdown(Shutdown::Both).unwrap();
    eventually(Duration::from_secs(5), "the place is given back", || world.call(&get(&world)).status == 200);
}

/// Runs one ignored test of this binary in a process of its own, where memory is its own too.
fn in_its_own_process(name: &str) {
    let binary = std::env::current_exe().expect("a test binary has a path");
    let output =
        Command::new(binary).args([name, "--exact", "--ignored", "--nocapture"]).output().expect("it runs");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    let pages: usize = statm.split(' ').nth(1).and_then(|n| n.parse().ok()).expect("a number");
    pages * 4096
}

#[test]
#[cfg_attr(not(target_os = "linux"), ignore = "needs /proc")]
fn k03_stalled_readers_cost_a_bounded_window() {
    in_its_own_process("exhaustion::stalled_readers");
}

/// The origin's threads are in this process too: their stacks and one block each are part of the allowance.
#[test]
#[ignore = "runs in its own process, see k03"]
fn stalled_readers() {
    const READERS: usize = 50;
    let world = World::new();
    world.origin.seed_pattern("datasets/alice/big", 1 << 30);
    world.accepts(&get(&world));
    let before = resident_bytes();
    let mut readers: Vec<Client> = (0..READERS).map(|_| world.client()).collect();
    for reader in &mut readers {
        reader.write(world.alice().sign(Request::get("/datasets/big")).bytes());
        reader.response_head().expect("a head");
    }
    thread::sleep(Duration::from_secs(1));
    let each = resident_bytes().saturating_sub(before) / READERS;
    assert!(each < 2 << 20, "{each} bytes per stalled reader");
}

#[test]
#[cfg_attr(not(target_os = "linux"), ignore = "needs /proc")]
fn k14_stalled_writers_cost_a_bounded_window() {
    in_its_own_process("exhaustion::stalled_writers");
}

#[test]
#[ignore = "runs in its own process, see k14"]
fn stalled_writers() {
    const WRITERS: usize = 50;
    let world = World::new();
    world.accepts(&get(&world));
    world.origin.always(Act::silence().early_after_continue(1));
    let request = world
        .alice()
        .sign_unsigned_payload(Request::put("/datasets/x", "").header("content-length", "1073741824"));
    let piece = vec![7; 1 << 20];
    let before = resident_bytes();
    let mut writers: Vec<Client> = (0..WRITERS).map(|_| world.client()).collect();
    for writer in &mut writers {
        writer.write(request.bytes());
        writer.wire().stream().set_write_timeout(Some(Duration::from_millis(100))).unwrap();
        while writer.write(&piece) {}
    }
    let each = resident_bytes().saturating_sub(before) / WRITERS;
    assert!(each < 2 << 20, "{each} bytes per stalled writer");
}
