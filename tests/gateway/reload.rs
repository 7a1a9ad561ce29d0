//! The configuration, read again: all of it or nothing, and nobody under way notices.

use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, ScopedJoinHandle};
use std::time::Duration;

use bucketwarden::admin::NotReloaded;

use crate::harness::*;

const SOON: Duration = Duration::from_secs(5);
const NOBODY: Answers<'_> = &[(403, "InvalidAccessKeyId")];
const NO_TOKEN: Answers<'_> = &[(401, "InvalidToken")];

fn control(user: &Signer) -> Request {
    user.sign(Request::get("/datasets/control"))
}

fn put(user: &Signer, key: &str, body: impl AsRef<[u8]>) -> Request {
    user.sign(Request::put(&format!("/datasets/{key}"), body))
}

/// Every problem, one a line.
#[track_caller]
fn refused(world: &World) -> Vec<String> {
    match world.try_reload() {
        Err(NotReloaded::Refused(problems)) => problems.lines().map(str::to_owned).collect(),
        other => panic!("expected a refusal, got {other:?}"),
    }
}

#[test]
fn users_and_keys_come_and_go() {
    let world = World::new();
    let carol = Signer::new("AKCAROL", "secret-of-carol-0123456789abcdef");
    let url = world.alice().presign(Request::get("/datasets/control"), "3600");
    world.accepts(&url);
    world.refuses(&control(&carol), NOBODY);
    let mut kept = world.client();
    kept.send(&control(&world.alice())).assert_status(200);

    world.edit("id = \"bobby\"", "id = \"carol\"");
    world.edit(
        "{ id = \"AKBOBBY\", secret = \"secret-of-bobby-",
        "{ id = \"AKCAROL\", secret = \"secret-of-carol-",
    );
    world.edit("\"AKALICE\"", "\"AKALICE2\"");
    assert_eq!(world.try_reload().expect("it is right").changed, ["users"]);

    world.origin.seed("datasets/carol/control", "control of carol");
    kept.send(&control(&carol)).assert_status(200);
    for gone in [control(&world.bobby()), control(&world.alice()), url] {
        let answer = kept.send(&gone);
        world.assert_refusal(&gone, &answer, NOBODY);
    }
    let alice = Signer::new("AKALICE2", &world.alice().secret);
    kept.send(&control(&alice)).assert_status(200);
    assert!(world.accepts(&put(&carol, "new", "object")).is_whole());
    assert_eq!(world.series("bucketwarden_config_reloads_total{result=\"success\"}"), 1);
    assert_eq!(world.series("bucketwarden_config_reloads_total{result=\"failure\"}"), 0);
}

#[test]
fn another_secret_of_the_same_key_holds_at_once() {
    let world = World::new();
    world.accepts(&control(&world.bob()));
    world.reload_with("secret-of-bob-", "another-secret-of-bob-");
    world.refuses(&control(&world.bob()), WRONG_SIGNATURE);
    let secret = format!("another-{}", world.bob().secret);
    world.accepts(&control(&Signer::new("AKBOB", &secret)));
}

#[test]
fn limits_follow_and_what_was_used_stays_used() {
    let limits =
        "requests_per_second = 1\nburst = 6\nmax_file_size = \"1KiB\"\nmax_concurrent_requests = 100";
    let world = World::with_limits(limits);
    world.accepts(&put(&world.bob(), "f", [0; 100]));
    world.reload_with("max_file_size = \"1KiB\"", "max_file_size = \"10B\"");
    let answer = world.call(&put(&world.bob(), "f", [0; 100]));
    assert_eq!((answer.status, answer.code().as_str()), (429, "EntityTooLarge"), "{}", answer.everything());
    assert!(answer.text().contains("exceeds maximum allowed 10 bytes"), "{}", answer.text());

    // The bucket of a rate that did not change is as empty as it was.
    let passed = || (0..10).filter(|_| world.call(&control(&world.alice())).status == 200).count();
    let first = passed();
    assert!((6..=8).contains(&first), "{first}");
    world.reload_with("max_file_size = \"10B\"", "max_file_size = \"20B\"");
    let more = passed();
    assert!(more <= 3, "{more} more after a reload");
    world.reload_with("burst = 6", "burst = 7");
    let new = passed();
    assert!(new >= 6, "{new} by the new limit");
}

#[test]
fn places_are_not_handed_out_twice() {
    let world = World::with(&Settings {
        server: "max_in_flight = 3",
        limits: Some("max_concurrent_requests = 2"),
        ..Settings::default()
    });
    world.origin.next_times(2, Act::silence());
    let held: Vec<Client> = (0..2)
        .map(|number| {
            let mut client = world.client();
            client.write(control(&world.alice()).bytes());
            world.origin.wait_for("the request", |seen| seen.len() == number + 1);
            client
        })
        .collect();
    let asks = |user: &Signer| world.call(&control(user)).status;
    assert_eq!((asks(&world.alice()), asks(&world.bob())), (503, 200));
    world.reload_with("[quota]\n", "[quota]\nrefusal_status = \"s3\"\n");
    assert_eq!((asks(&world.alice()), asks(&world.bob())), (503, 200), "two of alice are there still");
    world.reload_with("max_in_flight = 3", "max_in_flight = 2");
    assert_eq!((asks(&world.alice()), asks(&world.bob())), (503, 503), "two of everybody are there still");
    world.edit("max_in_flight = 2", "max_in_flight = 9");
    world.reload_with("max_concurrent_requests = 2", "max_concurrent_requests = 3");
    assert_eq!((asks(&world.alice()), asks(&world.bob())), (200, 200), "the new limits hold");
    drop(held);
    world.reload_with("max_concurrent_requests = 3", "max_concurrent_requests = 1");
    eventually(SOON, "places of requests from before are given back", || asks(&world.alice()) == 200);
}

#[test]
fn the_upstreams_key_is_exchanged() {
    let world = World::new();
    world.accepts(&control(&world.alice()));
    let secret = "the-new-secret-of-the-gateway";
    let by_the_new =
        |seen: &Seen| seen.header("authorization").is_some_and(|h| h.contains("Credential=GWNEW/"));
    world.origin.when(by_the_new, Act::reply(Reply::new(200).body("by the new key")));
    world.edit(GATEWAY_SECRET, secret);
    world.reload_with(GATEWAY_KEY, "GWNEW");
    assert_eq!(world.call(&control(&world.alice())).text(), "by the new key");
    assert_eq!(Signer::new("GWNEW", secret).fault_in(&world.origin.last().request), None);
    // The new key is not the one that the end of the test expects.
    world.origin.forget();
}

#[test]
fn a_wrong_file_changes_nothing_and_is_told_whole() {
    let world = World::with_server("drain_timeout = \"60s\"");
    world.edit("id = \"bobby\"", "id = \"carol\"");
    world.edit("drain_timeout = \"60s\"", "drain_timeout = \"soon\"\nlisen = 1");
    world.edit("prefix = \"models/{user_id}/\"", "prefix = \"datasets/{user_id}/\"");
    let (status, document) = world.operate("POST", "/api/v1/admin/reload", "");
    assert_eq!(status, 409, "{document}");
    let error = document["error"].as_str().expect("a text");
    for key in ["server.drain_timeout", "server.lisen", "buckets[1].prefix"] {
        assert!(error.contains(key), "{key} is missing in {error}");
    }
    assert!(!error.contains("secret-of-"), "{error}");
    assert_eq!(refused(&world).len(), error.lines().count());
    world.refuses_after(1, &world.bobby().sign(Request::get("/datasets/not-there")), NO_SUCH_KEY);
    assert_eq!(world.series("bucketwarden_config_reloads_total{result=\"failure\"}"), 2);
    assert_eq!(world.series("bucketwarden_config_generations"), 1);

    // A file that an editor is just writing.
    world.write("config.toml", "[server");
    assert!(!refused(&world).is_empty());
    world.accepts(&control(&world.bobby()));
}

/// As a share that is away does it: whoever opens the file waits.
#[test]
fn a_file_that_does_not_come_holds_up_nothing() {
    let world = World::new();
    let pipe = world.path(".env.local");
    assert!(Command::new("mkfifo").arg(&pipe).status().expect("mkfifo runs").success());
    let problems = refused(&world);
    assert!(problems[0].contains("could not be read within 10 seconds"), "{problems:?}");
    world.accepts(&control(&world.alice()));
    std::fs::remove_file(&pipe).expect("it is there");
    world.try_reload().expect("the next one does not wait for it");
    // Nor does the end of the world, with all that its runtime waits for.
}

#[test]
fn what_needs_a_restart_holds_up_everything_else() {
    let world = World::new();
    world.edit("id = \"bobby\"", "id = \"carol\"");
    world.edit("redb:./state.redb", "redb:./another.redb");
    world.edit("MDEyMzQ1", "MDEyMzQ2");
    world.edit("[admin]\nlisten = \"127.0.0.1:0\"", "[admin]\nlisten = \"127.0.0.1:1\"");
    let problems = refused(&world);
    assert_eq!(problems.len(), 3, "{problems:?}");
    for (problem, key) in problems.iter().zip(["admin.listen", "auth.master_key", "state.url"]) {
        let beginning = format!("config.toml: {key}: needs a restart");
        assert!(problem.starts_with(&beginning), "{problem}");
    }
    world.accepts(&control(&world.bobby()));
}

#[test]
fn an_operator_reloads_and_sees_what_changed() {
    let world = World::new();
    assert_eq!(
        world.operate("POST", "/api/v1/admin/reload", ""),
        (200, serde_json::json!({ "changed": [], "warnings": [] }))
    );
    world.edit("[quota]\n", "[quota]\nrefusal_status = \"s3\"\n");
    world.edit("prefix = \"models/{user_id}/\"", "prefix = \"shapes/{user_id}/\"");
    let (status, document) = world.operate("POST", "/api/v1/admin/reload", "");
    assert_eq!((status, &document["changed"]), (200, &serde_json::json!(["buckets", "quota"])));
    let warning = document["warnings"][0].as_str().expect("a warning");
    assert!(warning.contains("bucketwarden reconcile --all"), "{warning}");
    world.accepts(&world.alice().sign(Request::put("/models/m", "model")));
    assert_eq!(world.origin.object("shapes/alice/m").expect("it is there"), b"model");

    // Another token: the old one opened the door for the last time.
    world.edit("token = \"an-admin-token-", "token = \"another-admin-token-");
    assert_eq!(world.operate("POST", "/api/v1/admin/reload", "").0, 200);
    assert_eq!(world.operate("POST", "/api/v1/admin/reload", "").0, 401);
}

#[test]
fn many_at_once_come_one_after_the_other() {
    let world = World::new();
    world.edit("[quota]\n", "[quota]\nreservation_lease = \"30s\"\n");
    let changed = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                let (status, document) = world.operate("POST", "/api/v1/admin/reload", "");
                assert_eq!(status, 200, "{document}");
                changed.fetch_add(document["changed"].as_array().expect("a list").len(), Ordering::Relaxed);
            });
        }
    });
    assert_eq!(changed.into_inner(), 1, "one of them found it");
    assert_eq!(world.series("bucketwarden_config_reloads_total{result=\"success\"}"), 6);
    eventually(SOON, "one configuration is in use", || world.series("bucketwarden_config_generations") == 1);
}

#[test]
fn a_configuration_goes_with_its_last_request() {
    let world = World::new();
    let generations = || world.series("bucketwarden_config_generations");
    assert_eq!(generations(), 1);
    world.origin.next(Act::silence());
    let mut client = world.client();
    client.write(control(&world.alice()).bytes());
    world.origin.wait_for("the request", |seen| seen.len() == 1);
    for (old, new) in [("3s", "4s"), ("4s", "5s"), ("5s", "6s")] {
        if old == "3s" {
            world.edit("[auth]\n", "connect_timeout = \"3s\"\n[auth]\n");
        }
        world.reload_with(&format!("connect_timeout = \"{old}\""), &format!("connect_timeout = \"{new}\""));
    }
    eventually(SOON, "only the first and the last are in use", || generations() == 2);
    // The first one is in use by its own, and works: the upstream's silence is the client's to bear.
    world.origin.wait_for("nothing", |seen| !seen[0].gone);
    client.hang_up();
    eventually(SOON, "the first one goes", || generations() == 1);
    world.origin.wait_for("its upstream request ends", |seen| seen[0].gone);
}

#[test]
fn keys_of_an_issuer_are_not_fetched_again() {
    let (key, other) = (TokenKey::ed25519("a"), TokenKey::ed25519("b"));
    let provider = Provider::of(&[&key]);
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(&file, key_set(&[&key])).expect("it can be written");
    let in_file = entry("file", &format!("jwks_file = {:?}", file.path().display().to_string()));
    let auth = format!("{}{in_file}", provider.entry());
    let world = World::with(&Settings { auth: &auth, ..Settings::default() });
    let ask = |key: &TokenKey, issuer: &str| {
        let token = key.token(&claims_but("alice", |claims| claims["iss"] = issuer.into()));
        Request::get("/datasets/control").header("authorization", format!("Bearer {token}"))
    };
    world.accepts(&ask(&key, ISSUER));
    world.accepts(&ask(&key, "file"));
    world.reload_with("[quota]\n", "[quota]\nrefusal_status = \"s3\"\n");
    world.accepts(&ask(&key, ISSUER));
    assert_eq!(provider.asked(), 1);

    // Who changes a file and says so means it.
    std::fs::write(&file, key_set(&[&other])).expect("it can be written");
    world.try_reload().expect("it is right");
    world.refuses(&ask(&key, "file"), NO_TOKEN);
    world.accepts(&ask(&other, "file"));

    world.reload_with(&format!("issuer = \"{ISSUER}\""), "issuer = \"https://elsewhere.example.test/\"");
    world.refuses(&ask(&key, ISSUER), NO_TOKEN);
}

#[test]
fn a_new_certificate_is_taken_over_at_once() {
    let certificates = [0; 2].map(|_| {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate");
        (made.cert.pem(), made.signing_key.serialize_pem())
    });
    let files = tempfile::tempdir().expect("a folder");
    let path = |name: &str| files.path().join(name);
    let write = |(cert, key): &(String, String)| {
        std::fs::write(path("tls.crt"), cert).expect("it can be written");
        std::fs::write(path("tls.key"), key).expect("it can be written");
    };
    write(&certificates[0]);
    let world = World::with_server(&format!(
        "[server.tls]\ncert = {:?}\nkey = {:?}\n",
        path("tls.crt"),
        path("tls.key")
    ));
    // A handshake with whoever trusts that certificate alone.
    let is_trusted = |(cert, _): &(String, String)| {
        std::fs::write(path("root.crt"), cert).expect("it can be written");
        let config = bucketwarden::tls::client_config(Some(&path("root.crt"))).expect("a root");
        let name = "localhost".try_into().expect("a name");
        let mut tls = rustls::ClientConnection::new(config.into(), name).expect("a client");
        let mut tcp = std::net::TcpStream::connect(world.s3_addr()).expect("the gateway listens");
        while tls.is_handshaking() {
            if tls.complete_io(&mut tcp).is_err() {
                return false;
            }
        }
        true
    };
    assert!(is_trusted(&certificates[0]));
    write(&certificates[1]);
    world.try_reload().expect("it is right");
    assert!(is_trusted(&certificates[1]) && !is_trusted(&certificates[0]));

    std::fs::write(path("tls.key"), &certificates[0].1).expect("it can be written");
    let problems = refused(&world);
    assert!(problems.iter().any(|problem| problem.contains("server.tls.key")), "{problems:?}");
    assert!(is_trusted(&certificates[1]));
}

#[test]
fn the_sweeper_goes_by_the_new_settings() {
    let world = World::with(&Settings { quota: "abandoned_upload_age = \"366d\"", ..Settings::default() });
    world.origin.seed_upload("datasets/alice/abandoned");
    world.recount("alice");
    assert_eq!(world.origin.open_uploads().len(), 1);
    world.reload_with("\"366d\"", "\"1d\"");
    eventually(SOON, "an upload that is too old now is ended", || world.origin.open_uploads().is_empty());
}

/// Half of an upload is sent, a download half read, a copy half done, and clients ask all the while, each on one
/// connection: twenty reloads later everything has come to its end, and every connection stands.
#[test]
fn nothing_under_way_is_lost() {
    const RELOADS: usize = 20;
    const BIG: usize = 8 << 20;
    let world = World::with_upstream("connect_timeout = \"1s\"");
    world.origin.seed_pattern("datasets/alice/big", u64::try_from(BIG).expect("it fits"));
    world.recount("alice");
    let before = world.account("alice").used;

    let mut upload = world.client();
    let body: Vec<u8> = (0..u64::try_from(BIG).expect("it fits")).map(pattern_byte).collect();
    let request = world.alice().sign(Request::put("/datasets/upload", &body)).bytes();
    let (first, rest) = request.split_at(request.len() - BIG / 2);
    upload.write(first);
    world.origin.wait_for("half of the upload", |seen| seen.iter().any(|seen| seen.body().len() > BIG / 4));

    let mut download = world.client();
    download.write(world.alice().sign(Request::get("/datasets/big")).bytes());
    let (head, _) = download.response_head().expect("a head");
    assert_eq!(head.word(1), "200");

    world
        .origin
        .when(|seen| seen.target().ends_with("/slow-copy"), Act::serve().after(Duration::from_secs(7)));
    let mut copying = world.client();
    let copy = Request::new("PUT", "/datasets/slow-copy").header("x-amz-copy-source", "datasets/control");
    copying.write(world.alice().sign(copy).bytes());
    world.origin.wait_for("the copy", |seen| {
        seen.iter().any(|seen| seen.method() == "PUT" && seen.target().ends_with("/slow-copy"))
    });

    let (over, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
    let after_the_last = thread::scope(|scope| {
        let ask = |number: usize| {
            let mut client = world.client();
            let alice = world.alice();
            while !over.load(Ordering::Relaxed) {
                let body = format!("body {number}");
                let path = format!("/datasets/load/{number}");
                for request in [
                    control(&alice),
                    alice.sign(Request::put(&path, &body)),
                    alice.sign(Request::get("/datasets?list-type=2&prefix=load")),
                    alice.sign(Request::get(&path)),
                ] {
                    let answer = client.send(&request);
                    answer.assert_status(200);
                    assert!(answer.is_whole() && !answer.announces_close(), "{}", answer.everything());
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            }
        };
        let clients: Vec<_> = (0..4).map(|number| scope.spawn(move || ask(number))).collect();
        for number in 1..=RELOADS {
            let seconds = |n: usize| format!("connect_timeout = \"{n}s\"");
            world.reload_with(&seconds(number), &seconds(number + 1));
            // Each of them under load.
            let so_far = answered.load(Ordering::Relaxed);
            let goes_on = || answered.load(Ordering::Relaxed) >= so_far + 8;
            eventually(SOON, "requests after the reload", || {
                goes_on() || clients.iter().any(ScopedJoinHandle::is_finished)
            });
        }
        over.store(true, Ordering::Relaxed);
        clients.into_iter().map(|client| client.join().is_ok()).collect::<Vec<_>>()
    });
    assert_eq!(after_the_last, [true; 4]);

    upload.write(rest);
    upload.response("PUT").expect("an answer").assert_status(200);
    assert!(world.origin.object("datasets/alice/upload").expect("it is there") == body);
    let mut read = Vec::new();
    let end = download.wire().body(head.response_framing("GET"), &mut |piece| {
        read.extend_from_slice(piece);
        true
    });
    assert!(end == End::Clean && read == body, "{end:?} after {} bytes", read.len());
    let copied = copying.response("PUT").expect("an answer");
    assert!(copied.is_whole() && copied.text().contains("<CopyObjectResult"), "{}", copied.everything());
    for (client, what) in [(&mut upload, "upload"), (&mut download, "download"), (&mut copying, "copy")] {
        assert_eq!(client.send(&control(&world.alice())).status, 200, "the connection of the {what}");
    }

    let small = 4 * "body 0".len() + "control of alice".len();
    let sum = before + u64::try_from(BIG + small).expect("it fits");
    let account = || (world.account("alice").used, world.account("alice").reserved);
    eventually(SOON, "the ledger is settled", || account().1 == 0);
    assert_eq!(account(), (sum, 0));
    world.recount("alice");
    assert_eq!(account(), (sum, 0), "as the bucket has it");
    let success = world.series("bucketwarden_config_reloads_total{result=\"success\"}");
    assert_eq!(success, u64::try_from(RELOADS).expect("it fits"));
    eventually(SOON, "one configuration is in use", || world.series("bucketwarden_config_generations") == 1);
}
