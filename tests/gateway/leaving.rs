//! Who leaves, and when that is noticed: clients with bytes of theirs still unread, and the gateway itself.

use std::io::Write as _;
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::harness::*;

/// What "at once" means on a busy machine.
const AT_ONCE: Duration = Duration::from_secs(1);

/// A certificate for `localhost`, in files that `[server.tls]` can name.
struct Certificate {
    folder: tempfile::TempDir,
}

impl Certificate {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        std::fs::write(folder.path().join("tls.crt"), made.cert.pem()).unwrap();
        std::fs::write(folder.path().join("tls.key"), made.signing_key.serialize_pem()).unwrap();
        Self { folder }
    }

    /// Lines for the end of `[server]`.
    fn settings(&self) -> String {
        let path = |name: &str| self.folder.path().join(name).display().to_string();
        format!("[server.tls]\ncert = {:?}\nkey = {:?}\n", path("tls.crt"), path("tls.key"))
    }

    fn connect(&self, world: &World) -> rustls::StreamOwned<rustls::ClientConnection, TcpStream> {
        let config = bucketwarden::tls::client_config(Some(&self.folder.path().join("tls.crt"))).unwrap();
        let name = "localhost".try_into().unwrap();
        let connection = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
        rustls::StreamOwned::new(connection, TcpStream::connect(world.s3_addr()).unwrap())
    }
}

/// Requests that the origin leaves unanswered, and that mean nothing without their client. A write that the
/// upstream has all of is another matter: it goes on to its settlement.
fn requests(world: &World) -> [Request; 2] {
    let get = |target: &str| world.alice().sign(Request::get(target));
    [get("/datasets/control"), get("/datasets?list-type=2")]
}

#[test]
fn r03_an_upload_that_was_sent_whole_is_settled_without_its_client() {
    let world = World::new();
    world.origin.next(Act::serve().after(Duration::from_millis(500)));
    let mut client = world.client();
    client.write(world.alice().sign(Request::put("/datasets/upload", "whole")).bytes());
    world.origin.wait_for("the upload", |seen| seen.len() == 1 && seen[0].is_complete());
    client.hang_up();
    let before = world.account("alice").used;
    let settled = || {
        let account = world.account("alice");
        (account.used, account.reserved) == (before + 5, 0)
    };
    eventually(Duration::from_secs(5), "the ledger has the object", settled);
    assert_eq!(world.origin.object("datasets/alice/upload").unwrap(), b"whole");
}

fn gone(world: &World, number: usize) {
    world.origin.wait_within(AT_ONCE, "the end of the upstream request", |seen| seen[number].gone);
}

#[test]
fn uploads_that_leave_while_they_are_admitted_hold_nothing() {
    let world = World::new();
    let request = world.alice().sign_unsigned_payload(Request::put("/datasets/left", "12345"));
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..50 {
                    let mut client = world.client();
                    client.write(request.head_bytes());
                    client.hang_up();
                }
            });
        }
    });
    // Much sooner than their leases end.
    eventually(Duration::from_secs(5), "nothing is reserved", || {
        world.metric("bucketwarden_in_flight_requests") < 1.0 && world.account("alice").reserved == 0
    });
}

#[test]
fn r05_a_client_who_leaves_with_bytes_unread_is_noticed() {
    let world = World::new();
    world.origin.always(Act::silence());
    let mut number = 0;
    for request in requests(&world) {
        let next = world.alice().sign(Request::get("/datasets/control")).bytes();
        for unread in [b"\r\n".to_vec(), next.clone(), next.repeat(200)] {
            for at_once in [true, false] {
                let mut client = world.client();
                let mut bytes = request.bytes();
                if at_once {
                    bytes.extend(&unread);
                }
                client.write(bytes);
                world.origin.wait_for("the request", |seen| seen.len() == number + 1);
                if !at_once {
                    client.write(&unread);
                }
                client.hang_up();
                gone(&world, number);
                number += 1;
            }
        }
    }
}

#[test]
fn r05_a_client_who_leaves_over_tls_is_noticed() {
    let certificate = Certificate::new();
    let world = World::with_server(&certificate.settings());
    world.origin.always(Act::silence());
    for (number, request) in requests(&world).into_iter().enumerate() {
        let mut client = certificate.connect(&world);
        client.write_all(&[request.bytes(), b"\r\n".to_vec()].concat()).unwrap();
        world.origin.wait_for("the request", |seen| seen.len() == number + 1);
        drop(client);
        gone(&world, number);
    }
}

#[test]
fn a_client_who_stays_with_bytes_unread_is_served() {
    let world = World::new();
    let mut client = world.client();
    let get = world.alice().sign(Request::get("/datasets/control"));
    // Longer than the looks at the client are apart.
    world.origin.next_times(2, Act::serve().after(Duration::from_millis(600)));
    client.write([get.bytes(), get.bytes(), b"\r\n".to_vec()].concat());
    for _ in 0..2 {
        assert_eq!(client.response("GET").expect("an answer").text(), "control of alice");
    }
}

#[test]
fn r24_a_draining_gateway_closes_each_connection_after_its_answer() {
    let mut world = World::with_server("drain_timeout = \"8s\"");
    let get = world.alice().sign(Request::get("/datasets/control"));
    let mut kept = world.client();
    assert!(!kept.send(&get).announces_close());
    let drained = world.start_drain();
    eventually(AT_ONCE, "readiness goes", || world.admin_get("/readyz").status == 503);
    // Still within the notice: nothing is lost, and nothing more comes on this connection.
    let answer = kept.send(&get);
    answer.assert_status(200);
    assert!(answer.announces_close(), "{}", answer.everything());
    assert!(world.call(&get).announces_close(), "on a new connection too");
    world.finish(drained, Duration::from_secs(10));
}

#[test]
fn r24_a_silent_handshake_does_not_hold_the_drain() {
    let certificate = Certificate::new();
    let mut world = World::with_server(&format!("drain_timeout = \"30s\"\n{}", certificate.settings()));
    let silent = TcpStream::connect(world.s3_addr()).unwrap();
    // Accepted in order: when this one is served, the silent one is in its handshake.
    let mut client = certificate.connect(&world);
    client.write_all(&world.alice().sign(Request::get("/datasets/control")).bytes()).unwrap();
    world.origin.wait_for("the request", |seen| seen.len() == 1);
    drop(client);
    let start = Instant::now();
    let drained = world.start_drain();
    world.finish(drained, Duration::from_secs(20));
    assert!(start.elapsed() < Duration::from_secs(6), "{:?}", start.elapsed());
    drop(silent);
}
