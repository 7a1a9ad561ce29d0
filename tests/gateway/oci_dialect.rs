//! The gateway in front of the OCI stand-in: what clients send by default arrives in the form that OCI accepts, what
//! OCI refuses for reasons of its own is lived with, and nothing of either shows.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::ScopedJoinHandle;
use std::time::Duration;

use crate::harness::*;
use crate::oci::{Propagation, Seen, Settings as Oci, StandIn};

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;
const BIG: usize = 2 * MIB;
const OLD: (&str, &str) = ("GWAKOLD", "the-older-secret-that-nobody-sees");
const NEW: (&str, &str) = ("GWAKNEW", "the-newer-secret-that-nobody-sees");
const UNAVAILABLE: Answers<'_> = &[(503, "ServiceUnavailable")];

/// A gateway, and the OCI that it speaks to.
struct Cloud {
    world: World,
    oci: StandIn,
}

impl Cloud {
    fn new() -> Self {
        Self::with("")
    }

    /// With more lines in `[upstream]`.
    fn with(upstream: &str) -> Self {
        let key = |(id, secret): (&str, &str)| (id.to_owned(), secret.to_owned());
        let oci = StandIn::start_apart(Oci {
            namespace: NAMESPACE.into(),
            bucket: REAL_BUCKET.into(),
            keys: vec![key((GATEWAY_KEY, GATEWAY_SECRET)), key(OLD)],
            ..Oci::default()
        });
        let at = oci.s3_endpoint().strip_prefix("http://").unwrap().parse().unwrap();
        let world = World::with(&Settings {
            dialect: Some("oci"),
            upstream_at: Some(at),
            upstream,
            ..Settings::default()
        });
        Self { world, oci }
    }

    fn rotating() -> Self {
        Self::with(&format!(
            "[upstream.previous]\naccess_key_id = \"{}\"\nsecret_access_key = \"{}\"",
            OLD.0, OLD.1
        ))
    }

    fn accepts(&self, request: Request) -> Response {
        self.world.accepts(&self.world.alice().sign(request))
    }

    #[track_caller]
    fn refuses(&self, request: Request, answers: Answers<'_>) -> Response {
        let request = self.world.alice().sign(request);
        let response = self.world.call(&request);
        self.world.assert_refusal(&request, &response, answers);
        response
    }

    /// What came to OCI for clients since `forget`. The gateway itself looks for abandoned uploads now and then.
    fn requests(&self) -> Vec<Seen> {
        let mut requests = self.oci.control().requests();
        requests.retain(|seen| !seen.path_and_query.contains("?uploads"));
        requests
    }

    /// Method and status of each.
    fn seen(&self) -> Vec<(String, u16)> {
        self.requests().into_iter().map(|seen| (seen.method, seen.status)).collect()
    }

    /// The keys that signed them.
    fn keys(&self) -> Vec<String> {
        self.requests().into_iter().filter_map(|seen| seen.access_key).collect()
    }

    fn sums(&self) -> (u64, u64) {
        let account = self.world.account("alice");
        (account.used, account.reserved)
    }
}

fn length(size: usize) -> u64 {
    u64::try_from(size).expect("a length fits")
}

fn put(key: &str, size: usize) -> Request {
    Request::put(&format!("/datasets/{key}"), vec![b'x'; size])
}

fn get(key: &str) -> Request {
    Request::get(&format!("/datasets/{key}"))
}

fn head(key: &str) -> Request {
    Request::new("HEAD", &format!("/datasets/{key}"))
}

fn delete_list(keys: &[&str]) -> Request {
    let objects: String = keys.iter().map(|key| format!("<Object><Key>{key}</Key></Object>")).collect();
    let body = format!("<Delete>{objects}</Delete>");
    // What SDKs send by default, and OCI refuses.
    let crc32 = checksum("crc32", body.as_bytes());
    Request::post("/datasets?delete", &body).header("x-amz-checksum-crc32", crc32)
}

#[test]
fn what_sdks_send_by_default_arrives_in_ocis_form() {
    let cloud = Cloud::new();
    let body = vec![b'x'; 100_000];
    for algorithm in CHECKSUMS {
        let trailer = format!("x-amz-checksum-{algorithm}");
        let how = Chunked::unsigned(64 * KIB).trailer(&trailer, checksum(algorithm, &body));
        let request = put("chunked", 100_000)
            .header("x-amz-sdk-checksum-algorithm", algorithm.to_ascii_uppercase())
            .header("x-amz-acl", "private")
            .header("x-amz-storage-class", "STANDARD");
        let answer = cloud.world.accepts(&cloud.world.alice().sign_chunked(request, &how));
        assert_eq!(answer.header(&trailer), Some(checksum(algorithm, &body).as_str()));
        let direct = put("plain", 3).header(&trailer, checksum(algorithm, b"xxx"));
        cloud.accepts(direct);
    }
    assert_eq!(cloud.accepts(get("chunked").header("x-amz-checksum-mode", "ENABLED")).body.len(), 100_000);
    cloud.accepts(delete_list(&["chunked", "plain"]));
    cloud.refuses(get("chunked"), NO_SUCH_KEY);
    for seen in cloud.oci.control().requests() {
        let foreign = |name: &&str| {
            name.starts_with("x-amz-") && !matches!(*name, "x-amz-date" | "x-amz-content-sha256")
        };
        let names: Vec<&str> = seen.headers.keys().map(http::HeaderName::as_str).filter(foreign).collect();
        assert!(names.is_empty(), "{} carries {names:?}", seen.path_and_query);
        assert_eq!(seen.headers["x-amz-content-sha256"], UNSIGNED);
        assert!(!seen.headers.contains_key("transfer-encoding"));
    }
    assert_eq!(cloud.sums(), (0, 0));
}

#[test]
fn what_oci_does_not_have_is_answered_here() {
    let cloud = Cloud::new();
    cloud.accepts(put("a", 3));
    cloud.oci.control().forget_requests();
    cloud.refuses(Request::get("/datasets?versions"), NOT_IMPLEMENTED);
    cloud.refuses(Request::get("/datasets/a?tagging"), NOT_IMPLEMENTED);
    cloud.refuses(put("a?tagging", 3), NOT_IMPLEMENTED);
    let versioning = cloud.accepts(Request::get("/datasets?versioning"));
    assert!(!versioning.text().contains("Status"), "{}", versioning.text());
    cloud.accepts(Request::get("/datasets?location"));
    cloud.accepts(Request::get("/datasets?acl"));
    cloud.refuses(put("a%0Ab", 3), INVALID_URI);
    cloud.refuses(get("a%0Db"), INVALID_URI);
    let mixed = "<Delete><Object><Key>none</Key></Object><Object><Key>a&#10;b</Key></Object></Delete>";
    let answer = cloud.accepts(
        Request::post("/datasets?delete", mixed).header("content-md5", base64(&md5(mixed.as_bytes()))),
    );
    assert_eq!(answer.elements("Code"), ["InvalidURI"]);
    assert_eq!(cloud.seen(), [("POST".to_owned(), 200)], "only the list of deletes was OCI's business");
}

#[test]
fn ocis_ways_of_saying_things_do_not_show() {
    let cloud = Cloud::new();
    cloud.accepts(put("a", 3));
    for request in [get("a"), head("a"), get("none"), Request::get("/datasets?list-type=2")] {
        let answer = cloud.world.call(&cloud.world.alice().sign(request));
        for name in ["opc-request-id", "opc-client-info", "x-api-id", "access-control-allow-origin"] {
            assert_eq!(answer.header(name), None, "{}", answer.everything());
        }
        assert_eq!(
            answer.head.headers.iter().filter(|(name, _)| name.starts_with("access-control-")).count(),
            0
        );
    }
    let missing = cloud.refuses(get("none"), NO_SUCH_KEY).text();
    assert!(missing.find("<Code>") < missing.find("<Message>"), "{missing}");
}

#[test]
fn conditions_hold_where_oci_honours_them_and_where_nobody_says_so() {
    let cloud = Cloud::new();
    let etag = cloud.accepts(put("a", 3).header("if-none-match", "*")).header("etag").unwrap().to_owned();
    cloud.refuses(put("a", 4).header("if-none-match", "*"), PRECONDITION_FAILED);
    cloud.refuses(put("a", 4).header("if-none-match", etag.as_str()), NOT_IMPLEMENTED);
    cloud.refuses(put("a", 4).header("if-match", "\"another\""), PRECONDITION_FAILED);
    cloud.refuses(put("b", 4).header("if-match", etag.as_str()), NO_SUCH_KEY);
    cloud.refuses(Request::delete("/datasets/a").header("if-match", "\"another\""), PRECONDITION_FAILED);
    assert_eq!(cloud.sums(), (3, 0));
    cloud.accepts(put("a", 4).header("if-match", etag.trim_matches('"')));
    let etag = cloud.accepts(head("a")).header("etag").unwrap().to_owned();
    // Lists and parts have no one object to be held to.
    cloud.accepts(delete_list(&["b"]).header("if-match", "\"another\""));
    cloud.accepts(Request::post("/datasets/a?uploads", "").header("if-match", "\"another\""));
    cloud.accepts(Request::delete("/datasets/a").header("if-match", etag));
    assert_eq!(cloud.sums(), (0, 0));
}

#[test]
fn what_is_there_is_not_overwritten_where_nobody_says_that_a_condition_is_known() {
    let world = World::with(&Settings { dialect: Some("oci"), ..Settings::default() });
    let alice = world.alice();
    let new = |request: Request| alice.sign(request.header("if-none-match", "*"));
    let copy = |to: &str| {
        new(Request::put(&format!("/datasets/{to}"), "").header("x-amz-copy-source", "datasets/control"))
    };
    world.accepts(&copy("copied"));
    world.refuses_after(1, &copy("copied"), PRECONDITION_FAILED);
    let completion = |key: &str| {
        let created = world.accepts(&alice.sign(Request::post(&format!("/datasets/{key}?uploads"), "")));
        let id = created.element("UploadId").expect("an id");
        let part = Request::put(&format!("/datasets/{key}?partNumber=1&uploadId={id}"), "the newer");
        let etag = world.accepts(&alice.sign(part)).header("etag").expect("an ETag").to_owned();
        let part = format!("<Part><PartNumber>1</PartNumber><ETag>{etag}</ETag></Part>");
        let parts = format!("<CompleteMultipartUpload>{part}</CompleteMultipartUpload>");
        new(Request::post(&format!("/datasets/{key}?uploadId={id}"), &parts))
    };
    world.accepts(&completion("completed"));
    // An upstream that does not know the condition of a completion.
    let request = completion("copied");
    world.assert_refusal(&request, &world.call(&request), PRECONDITION_FAILED);
    assert_ne!(world.origin.object("datasets/alice/copied").as_deref(), Some(&b"the newer"[..]));
}

#[test]
fn whatever_can_go_again_survives_being_throttled() {
    let cloud = Cloud::new();
    cloud.accepts(put("a", 3));
    let big = |key: &str| cloud.world.alice().sign_unsigned_payload(put(key, BIG));
    for request in [
        get("a"),
        head("a"),
        Request::get("/datasets?list-type=2"),
        Request::put("/datasets/c", "").header("x-amz-copy-source", "datasets/a"),
        put("empty", 0),
        delete_list(&["c"]),
        Request::delete("/datasets/empty"),
    ] {
        cloud.oci.control().throttle_next(2);
        cloud.accepts(request);
    }
    cloud.oci.control().throttle_next(2);
    cloud.world.accepts(&big("big"));
    assert_eq!(cloud.sums(), (3 + length(BIG), 0));
    // Nothing else was throttled lately, but that was: a small body waits, too, until OCI wants it.
    cloud.oci.control().throttle_next(2);
    cloud.accepts(put("small", 3));

    let calm = Cloud::new();
    calm.oci.control().throttle_next(1);
    let refused = calm.refuses(put("small", 3), SLOW_DOWN);
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert_eq!(calm.sums(), (0, 0));
}

#[test]
fn an_oci_that_goes_on_throttling_is_a_slow_down() {
    let cloud = Cloud::new();
    cloud.oci.control().throttle_every(1);
    for request in [get("a"), put("a", 3), head("a"), delete_list(&["a"])] {
        cloud.oci.control().forget_requests();
        cloud.refuses(request, SLOW_DOWN);
        assert!(cloud.seen().len() <= 5, "{:?}", cloud.seen());
    }
    assert_eq!(cloud.sums(), (0, 0));
    assert!(cloud.world.metric("bucketwarden_throttled_total") >= 4.0);
}

#[test]
fn fewer_calls_at_a_time_go_to_an_oci_that_throttles() {
    let cloud = Cloud::new();
    let limit = || cloud.world.metric("bucketwarden_upstream_concurrency_limit");
    let usual = limit();
    cloud.accepts(put("a", 3));
    cloud.oci.control().throttle_every(3);
    let done: usize = std::thread::scope(|scope| {
        let clients = (0..8).map(|_| {
            scope.spawn(|| {
                let mut client = cloud.world.client();
                let get = || client.send(&cloud.world.alice().sign(get("a")));
                std::iter::repeat_with(get).take(20).filter(|answer| answer.status == 200).count()
            })
        });
        let clients: Vec<_> = clients.collect();
        clients.into_iter().map(|client| client.join().unwrap()).sum()
    });
    // A third is refused each time, and each goes again up to four times: one in 243 is left.
    assert!(done >= 150, "{done} of 160");
    let strained = limit();
    assert!(strained < usual && strained >= 4.0, "{strained} of {usual}");
    cloud.oci.control().throttle_every(0);
    for _ in 0..64 {
        cloud.accepts(get("a"));
    }
    assert!(limit() >= strained);
}

#[test]
fn a_key_that_only_some_of_oci_knows_is_tried_again() {
    let cloud = Cloud::new();
    cloud.accepts(put("a", 3));
    cloud.oci.control().propagate(GATEWAY_KEY, Propagation::Every(2));
    for request in [get("a"), head("a"), Request::get("/datasets"), delete_list(&["b"]), put("empty", 0)] {
        cloud.accepts(request);
    }
    // After the first miss, bodies wait until OCI wants them.
    cloud.accepts(put("small", 3));
    cloud.world.accepts(&cloud.world.alice().sign_unsigned_payload(put("big", BIG)));
    assert!(cloud.world.metric("bucketwarden_upstream_key_refusals_total") >= 7.0);
}

#[test]
fn a_key_is_known_by_what_is_not_there_too() {
    let cloud = Cloud::new();
    cloud.oci.control().propagate(GATEWAY_KEY, Propagation::Every(2));
    // More misses than a key that is lost for good would have, and as many answers between.
    for _ in 0..110 {
        cloud.refuses(get("never-put"), NO_SUCH_KEY);
    }
    assert!(cloud.world.metric("bucketwarden_upstream_key_refusals_total") >= 110.0);
}

#[test]
fn a_key_that_oci_does_not_know_is_the_gateways_fault() {
    let cloud = Cloud::new();
    cloud.oci.control().propagate(GATEWAY_KEY, Propagation::Nowhere);
    for request in [get("a"), head("a"), put("a", 3), put("big", BIG), delete_list(&["a"])] {
        cloud.oci.control().forget_requests();
        cloud.refuses(request, UNAVAILABLE);
        assert!((1..=4).contains(&cloud.seen().len()), "{:?}", cloud.seen());
    }
    assert_eq!(cloud.sums(), (0, 0));
    // Once it has been missed a hundred times in a row, it is not tried in vain any more.
    for _ in 0..25 {
        cloud.refuses(get("a"), UNAVAILABLE);
    }
    cloud.oci.control().forget_requests();
    cloud.refuses(get("a"), UNAVAILABLE);
    assert_eq!(cloud.seen().len(), 1);
    cloud.oci.control().propagate(GATEWAY_KEY, Propagation::Everywhere);
    cloud.accepts(put("a", 3));
}

#[test]
fn while_a_key_is_rotated_out_no_client_notices() {
    let cloud = Cloud::rotating();
    let control = cloud.oci.control();
    control.propagate(GATEWAY_KEY, Propagation::Nowhere);
    for round in 0..2 {
        cloud.accepts(put("a", 3));
        cloud.accepts(get("a"));
        cloud.accepts(head("a"));
        cloud.accepts(put(&format!("big{round}"), BIG));
        cloud.accepts(delete_list(&["a"]));
    }
    assert!(cloud.world.metric("bucketwarden_upstream_key_refusals_total") >= 1.0);

    let cloud = Cloud::rotating();
    let control = cloud.oci.control();
    control.propagate(GATEWAY_KEY, Propagation::Every(2));
    for round in 0..5 {
        cloud.accepts(put("a", 3));
        cloud.accepts(get("a"));
        cloud.accepts(put(&format!("big{round}"), BIG));
    }
}

/// As an operator does it: the new key beside the old one, then alone; then the old one is deleted.
#[test]
fn a_key_is_exchanged_by_reloads_under_load() {
    let cloud = Cloud::new();
    let control = cloud.oci.control();
    control.add_key(NEW.0, NEW.1);
    control.propagate(NEW.0, Propagation::Every(3));
    let (over, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
    let ask = |number: usize| {
        let (mut client, alice) = (cloud.world.client(), cloud.world.alice());
        while !over.load(Ordering::Relaxed) {
            let key = format!("load{number}");
            for request in [put(&key, 100), get(&key), head(&key), get_list()] {
                client.send(&alice.sign(request)).assert_status(200);
                answered.fetch_add(1, Ordering::Relaxed);
            }
        }
    };
    std::thread::scope(|scope| {
        let ask = &ask;
        let clients: Vec<_> = (0..3).map(|number| scope.spawn(move || ask(number))).collect();
        let goes_on = |what: &str| {
            let before = answered.load(Ordering::Relaxed);
            eventually(Duration::from_secs(20), what, || {
                answered.load(Ordering::Relaxed) >= before + 24
                    || clients.iter().any(ScopedJoinHandle::is_finished)
            });
        };
        goes_on("load by the old key");
        let lines = |(id, secret): (&str, &str)| {
            format!("access_key_id = \"{id}\"\nsecret_access_key = \"{secret}\"\n")
        };
        let old = lines((GATEWAY_KEY, GATEWAY_SECRET));
        cloud.world.edit(&old, &lines(NEW));
        cloud.world.reload_with("[auth]\n", &format!("[upstream.previous]\n{old}[auth]\n"));
        goes_on("load while the new key comes");
        control.propagate(NEW.0, Propagation::Everywhere);
        cloud.world.reload_with(&format!("[upstream.previous]\n{old}"), "");
        let generations = || cloud.world.series("bucketwarden_config_generations");
        eventually(Duration::from_secs(5), "the old key is in no use", || generations() == 1);
        control.remove_key(GATEWAY_KEY);
        control.forget_requests();
        goes_on("load by the new key");
        over.store(true, Ordering::Relaxed);
        assert!(clients.into_iter().all(|client| client.join().is_ok()), "a client noticed");
    });
    assert_eq!(cloud.keys().iter().filter(|key| *key != NEW.0).count(), 0);
    assert_eq!(cloud.sums(), (300, 0));
}

#[test]
fn the_newer_key_is_preferred_and_the_older_one_may_go() {
    let cloud = Cloud::rotating();
    cloud.accepts(get_list());
    assert_eq!(cloud.keys(), [GATEWAY_KEY]);
    cloud.oci.control().forget_requests();
    cloud.accepts(put("a", 3));
    assert_eq!(cloud.keys(), [OLD.0], "uploads keep to the key that has proven itself");

    cloud.oci.control().remove_key(OLD.0);
    cloud.oci.control().forget_requests();
    cloud.accepts(put("big", BIG));
    assert_eq!(cloud.keys(), [OLD.0, GATEWAY_KEY]);
    cloud.accepts(put("small", 3));
    cloud.accepts(get("small"));
    assert_eq!(cloud.keys()[2..], [GATEWAY_KEY, GATEWAY_KEY]);
}

fn get_list() -> Request {
    Request::get("/datasets?list-type=2")
}

#[test]
fn many_uploads_through_throttling_and_a_rotation_leave_the_account_exact() {
    let cloud = Cloud::rotating();
    cloud.oci.control().propagate(GATEWAY_KEY, Propagation::Every(3));
    cloud.oci.control().throttle_every(4);
    let stored: u64 = std::thread::scope(|scope| {
        let clients = (0..6).map(|client| {
            let cloud = &cloud;
            scope.spawn(move || {
                let mut stored = 0;
                for number in 0..15_usize {
                    let size = 1 + number * 300 * KIB;
                    let request = put(&format!("{client}/{number}"), size);
                    let answer = cloud.world.call(&cloud.world.alice().sign_unsigned_payload(request));
                    assert!(matches!(answer.status, 200 | 503), "{}", answer.everything());
                    if answer.status == 200 {
                        stored += length(size);
                    }
                }
                stored
            })
        });
        let clients: Vec<_> = clients.collect();
        clients.into_iter().map(|client| client.join().unwrap()).sum()
    });
    assert!(stored > 0);
    cloud.oci.control().throttle_every(0);
    eventually(Duration::from_secs(10), "the settlement of all", || cloud.sums() == (stored, 0));
    cloud.world.recount("alice");
    assert_eq!(cloud.sums(), (stored, 0));
}

#[test]
fn uploads_that_wait_for_their_clients_keep_no_places() {
    let cloud = Cloud::new();
    cloud.accepts(put("a", 3));
    // Down to the least that there can be.
    cloud.oci.control().throttle_every(1);
    cloud.refuses(get("a"), SLOW_DOWN);
    cloud.oci.control().throttle_every(0);
    assert!(cloud.world.metric("bucketwarden_upstream_concurrency_limit") < 5.0);
    let slow_upload = |n: usize| {
        let mut client = cloud.world.client();
        client.write(cloud.world.alice().sign_unsigned_payload(put(&format!("slow{n}"), KIB)).head_bytes());
        client
    };
    let _slow: Vec<Client> = (0..32).map(slow_upload).collect();
    eventually(Duration::from_secs(8), "reservations", || cloud.sums().1 == length(32 * KIB));
    let began = std::time::Instant::now();
    cloud.accepts(get("a"));
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
}
