//! Upstreams that are slow or of their own mind about `Expect`: what must not cost an upload its life.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::thread;
use std::time::{Duration, Instant};

use crate::harness::*;

const MIB: usize = 1 << 20;

fn put_big(world: &World, length: usize) -> Request {
    world.alice().sign_unsigned_payload(Request::put("/datasets/upload", vec![7; length]))
}

#[test]
fn an_upstream_that_refuses_expect_gets_the_body_without() {
    let world = World::new();
    world.origin.when(
        |seen| seen.header("expect").is_some(),
        Act::reply(Reply::error(417, "ExpectationFailed")).early(0),
    );
    world.accepts(&put_big(&world, 2 * MIB));
    assert_eq!(world.origin.object("datasets/alice/upload").unwrap().len(), 2 * MIB);
    let asked = |seen: &Seen| seen.header("expect").is_some();
    assert_eq!(world.origin.seen().iter().map(asked).collect::<Vec<_>>(), [true, false]);
    // The connection that was refused on is given up, not kept waiting for a body.
    world.origin.wait_for("its end", |seen| seen[0].gone);

    world.accepts(&put_big(&world, 2 * MIB));
    assert_eq!(world.origin.last().header("expect"), None, "it was asked again");
    assert_eq!(world.origin.count(), 3);
}

#[test]
fn a_late_100_continue_proves_that_expect_is_known() {
    let world = World::new();
    world.origin.next(Act::serve().continue_after(Duration::from_millis(1500)));
    world.accepts(&put_big(&world, 2 * MIB));
    assert_eq!(world.origin.last().header("expect"), Some("100-continue"));
    world.accepts(&put_big(&world, 2 * MIB));
    assert_eq!(world.origin.last().header("expect"), Some("100-continue"), "asking ended");
}

#[test]
fn a_late_refusal_does_not_end_the_asking() {
    let world = World::new();
    let late = Act::error(503, "SlowDown").early(0).after(Duration::from_millis(1500));
    world.origin.next(late);
    let request = put_big(&world, 2 * MIB);
    world.assert_refusal(&request, &world.call(&request), SLOW_DOWN);
    world.accepts(&request);
    assert_eq!(world.origin.last().header("expect"), Some("100-continue"), "asking ended");
}

/// An upstream with a small receive buffer that takes one upload at this rate, and says yes.
fn slow_reader(bytes_per_second: usize) -> SocketAddr {
    const PIECE: usize = 16 << 10;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    socket2::SockRef::from(&listener).set_recv_buffer_size(PIECE).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let mut stream = listener.accept().unwrap().0;
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            stream.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).unwrap().to_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
        let mut left: usize = length.parse().unwrap();
        stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").unwrap();
        let pause =
            Duration::from_secs(1) * u32::try_from(PIECE).unwrap() / u32::try_from(bytes_per_second).unwrap();
        let mut piece = vec![0; PIECE];
        while left > 0 {
            match stream.read(&mut piece) {
                Ok(0) | Err(_) => return,
                Ok(read) => left -= read,
            }
            thread::sleep(pause);
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\nETag: \"e\"\r\nContent-Length: 0\r\n\r\n").unwrap();
    });
    address
}

#[test]
fn r07_a_slow_upstream_that_keeps_reading_is_waited_for() {
    let world = World::with(&Settings {
        upstream: "first_byte_timeout = \"2s\"\nidle_timeout = \"2s\"",
        upstream_at: Some(slow_reader(MIB)),
        ..Settings::default()
    });
    // Megabytes in a kernel's buffer would be some seconds' worth of reading after the last byte left the gateway.
    world.accepts(&put_big(&world, 8 * MIB));
}

#[test]
fn r07_a_handshake_that_never_ends_is_no_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let world = World::with(&Settings {
        upstream: "connect_timeout = \"300ms\"",
        upstream_at: Some(listener.local_addr().unwrap()),
        upstream_tls: true,
        ..Settings::default()
    });
    for request in [
        world.alice().sign(Request::get("/datasets/control")),
        world.alice().sign(Request::put("/datasets/f", "body")),
    ] {
        let start = Instant::now();
        let response = world.call(&request);
        world.assert_refusal(&request, &response, &[(503, "ServiceUnavailable")]);
        assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    }
}

#[test]
fn r08_writes_without_a_body_survive_a_stale_connection() {
    let world = World::new();
    let copy = Request::new("PUT", "/datasets/copy").header("x-amz-copy-source", "datasets/control");
    let once = |request: Request| request.header("if-none-match", "*");
    let delete = Request::delete("/datasets/f");
    for (request, tries) in [
        (copy.clone(), 2),
        (Request::put("/datasets/empty", ""), 2),
        (delete.clone(), 2),
        (once(copy), 1),
        (once(Request::put("/datasets/empty", "")), 1),
        (delete.header("if-match", "\"e\""), 1),
    ] {
        let before = world.origin.count();
        let first = std::sync::atomic::AtomicBool::new(true);
        let first_write = move |seen: &Seen| {
            seen.method() != "HEAD" && first.swap(false, std::sync::atomic::Ordering::Relaxed)
        };
        world.origin.when(first_write, Act::hang_up(Cut::Close));
        let request = world.alice().sign(request);
        let response = world.call(&request);
        let writes = world.origin.seen()[before..].iter().filter(|seen| seen.method() != "HEAD").count();
        assert_eq!(writes, tries, "{} {}", request.method, request.target);
        assert_eq!(response.status < 300, tries == 2, "{}", response.everything());
        world.origin.behave();
    }
}
