//! Group I: quotas and accounting through the whole gateway. The origin is the bucket; what it lists is the truth.

use std::time::Duration;

use crate::harness::*;

const SMALL: &str = "max_storage = 100\nmax_file_size = 60\nuploads_per_hour = 1000\nuploads_per_day = 1000";

fn put(world: &World, key: &str, size: usize) -> Response {
    world.call(&world.alice().sign(Request::put(&format!("/datasets/{key}"), "x".repeat(size))))
}

fn delete(world: &World, key: &str) {
    world.accepts(&world.alice().sign(Request::delete(&format!("/datasets/{key}"))));
}

/// `used` and `reserved`. The control object that every world has counts.
fn sums(world: &World) -> (u64, u64) {
    let account = world.account("alice");
    (account.used - control(), account.reserved)
}

fn control() -> u64 {
    u64::try_from(control_body("alice").len()).unwrap()
}

/// A world in which alice has room for so many bytes besides the control object.
fn world(room: u64) -> World {
    World::with_limits(&SMALL.replace("max_storage = 100", &format!("max_storage = {}", room + control())))
}

#[test]
fn i03_refusals_in_the_contracts_words() {
    let world = world(100);
    assert_eq!(put(&world, "a", 60).status, 200);
    let count = world.origin.count();
    let used = 60 + control();
    let limit = 100 + control();
    for (size, code, message) in [
        (
            61,
            "EntityTooLarge",
            "Upload denied: file size 61 bytes exceeds maximum allowed 60 bytes".to_owned(),
        ),
        (
            41,
            "QuotaExceeded",
            format!(
                "Upload denied: storage quota exceeded: current {used} + upload 41 > limit {limit} bytes"
            ),
        ),
    ] {
        let response = put(&world, "b", size);
        assert_eq!((response.status, response.code().as_str()), (429, code));
        assert_eq!(response.element("Message").as_deref(), Some(message.as_str()));
        assert_eq!(response.element("Quota").as_deref(), Some("Check /api/v1/quota for current limits"));
    }
    assert_eq!(world.origin.count(), count, "a refusal asks the upstream nothing");
    assert_eq!(put(&world, "b", 40).status, 200);
    assert_eq!(sums(&world), (100, 0));
}

#[test]
fn i03_a_refused_upload_is_not_asked_for() {
    let world = world(100);
    let request = world.alice().sign(Request::put("/datasets/big", "x".repeat(61)));
    let request = request.header("expect", "100-continue");
    let mut client = world.client();
    client.write(request.head_bytes());
    let (head, informational) = client.response_head().unwrap();
    assert_eq!((head.word(1), informational.len()), ("429", 0));
}

#[test]
fn i08_overwrites_move_the_usage_by_the_difference_and_deletes_give_back() {
    let world = world(100);
    for (size, used) in [(50, 50), (60, 60), (10, 10), (10, 10)] {
        assert_eq!(put(&world, "a", size).status, 200);
        assert_eq!(sums(&world), (used, 0));
    }
    delete(&world, "a");
    delete(&world, "a");
    delete(&world, "never");
    assert_eq!(sums(&world), (0, 0));
}

#[test]
fn i07_a_write_that_fails_leaves_nothing() {
    let world = world(100);
    let alice = world.alice();
    let wrong = Request::put("/datasets/a", "body").header("content-md5", base64(&md5(b"other")));
    world.refuses_upload(&alice.sign(wrong), &[(400, "BadDigest")]);
    world.origin.next(Act::error(403, "AccessDenied"));
    assert_eq!(put(&world, "a", 50).status, 403);
    let account = world.account("alice");
    assert_eq!((sums(&world), account.hour, account.day), ((0, 0), 0, 0));
    // Cut in the middle.
    let mut client = world.client();
    let request = alice.sign(Request::put("/datasets/a", "x".repeat(50)));
    client.write(request.head_bytes());
    client.write(&request.body[..20]);
    eventually(Duration::from_secs(5), "the bytes are held", || sums(&world) == (0, 50));
    client.hang_up();
    eventually(Duration::from_secs(5), "the bytes are given back", || sums(&world) == (0, 0));
    assert_eq!(world.account("alice").hour, 0);
}

#[test]
fn i07_an_answer_that_is_lost_keeps_its_bytes_until_somebody_looks() {
    let world = World::with(&Settings {
        limits: Some("max_storage = 1000"),
        quota: "reservation_lease = \"1s\"",
        ..Settings::default()
    });
    // The upstream takes all of it and hangs up: it did not store it.
    world.origin.next(Act::hang_up(Cut::Close));
    assert_eq!(put(&world, "lost", 50).status, 502);
    assert_eq!(sums(&world), (0, 50));
    eventually(Duration::from_secs(10), "somebody looked", || sums(&world) == (0, 0));
    assert_eq!(world.account("alice").hour, 0);
}

#[test]
fn i07_a_refusal_after_a_lost_answer_says_nothing_of_the_first_try() {
    let world = World::with(&Settings {
        limits: Some("max_storage = 1000"),
        quota: "reservation_lease = \"1s\"",
        ..Settings::default()
    });
    put(&world, "a", 40);
    let alice = world.alice();
    let copy = Request::new("PUT", "/datasets/b").header("x-amz-copy-source", "datasets/a");
    // As often as it is tried again.
    let busy = vec![Act::error(503, "SlowDown"); 5];
    let mut inside = Reply::error(503, "SlowDown");
    inside.status = 200;
    for (request, refusals, used) in [
        (copy.clone(), busy.clone(), 80),
        (Request::delete("/datasets/b"), busy.clone(), 40),
        (copy.clone(), vec![Act::reply(inside)], 80),
        (Request::delete("/datasets/b"), vec![Act::error(412, "PreconditionFailed")], 40),
        (copy, vec![Act::error(403, "AccessDenied")], 80),
        (Request::put("/datasets/a", ""), busy, 40),
    ] {
        let method = if request.method == "PUT" { "PUT" } else { "DELETE" };
        world.origin.next_of(method, Act::unsaid());
        for refusal in refusals {
            world.origin.next_of(method, refusal);
        }
        let response = world.call(&alice.sign(request));
        assert!(response.status >= 400, "{}", response.everything());
        eventually(Duration::from_secs(10), "somebody looked", || sums(&world) == (used, 0));
    }
}

#[test]
fn i12_copies_count_what_they_make() {
    let world = world(100);
    let alice = world.alice();
    put(&world, "a", 40);
    let copy = |from: &str, to: &str| {
        let request = Request::new("PUT", &format!("/datasets/{to}"));
        world.call(&alice.sign(request.header("x-amz-copy-source", format!("datasets/{from}"))))
    };
    assert_eq!(copy("a", "b").status, 200);
    assert_eq!(sums(&world), (80, 0));
    let refused = copy("a", "c");
    assert_eq!((refused.status, refused.code().as_str()), (429, "QuotaExceeded"));
    put(&world, "a", 10);
    assert_eq!(copy("a", "b").status, 200);
    assert_eq!(sums(&world), (20, 0));
    assert_eq!(copy("none", "c").status, 404);
    assert_eq!(sums(&world), (20, 0));
}

/// Answers a request whose upstream PUTs each find that the object `a` has another size, in turn.
fn overwritten_meanwhile(world: &World, request: &Request, sizes: &[usize]) -> Response {
    let puts = |world: &World| world.origin.seen().iter().filter(|seen| seen.method() == "PUT").count();
    let before = puts(world);
    world.origin.when(|seen| seen.method() == "PUT", Act::serve().after(Duration::from_millis(300)));
    let response = std::thread::scope(|scope| {
        let answer = scope.spawn(|| world.call(request));
        for (index, size) in sizes.iter().enumerate() {
            let tries = before + index + 1;
            world.origin.wait_for("a try to copy", |seen| {
                seen.iter().filter(|seen| seen.method() == "PUT").count() == tries
            });
            world.origin.seed("datasets/alice/a", "y".repeat(*size));
        }
        answer.join().unwrap()
    });
    world.origin.behave();
    response
}

#[test]
fn i12_a_source_that_is_overwritten_meanwhile_is_looked_at_again() {
    let world = world(100);
    put(&world, "a", 10);
    let copy =
        world.alice().sign(Request::new("PUT", "/datasets/b").header("x-amz-copy-source", "datasets/a"));
    // Each try finds the source changed since it was looked at.
    let busy = overwritten_meanwhile(&world, &copy, &[40, 41, 42]);
    assert_eq!((busy.status, busy.code().as_str()), (503, "SlowDown"));
    assert!(busy.header("retry-after").is_some());
    assert_eq!((world.origin.object("datasets/alice/b"), sums(&world)), (None, (10, 0)));
    // Larger than a file may be, and only seen so at the second look.
    let refused = overwritten_meanwhile(&world, &copy, &[61]);
    assert_eq!(refused.code(), "EntityTooLarge");
    assert_eq!((world.origin.object("datasets/alice/b"), sums(&world)), (None, (10, 0)));
    world.origin.seed("datasets/alice/a", "y".repeat(10));
    assert_eq!(overwritten_meanwhile(&world, &copy, &[50]).status, 200);
    assert_eq!(sums(&world), (60, 0));
    assert_eq!(world.account("alice").hour, 2);
}

#[test]
fn i12_what_a_copy_made_is_looked_at_where_the_upstream_knows_no_condition() {
    let world = world(100);
    put(&world, "a", 10);
    world.origin.be_blind();
    let alice = world.alice();
    let copy = Request::new("PUT", "/datasets/b").header("x-amz-copy-source", "datasets/a");
    assert_eq!(overwritten_meanwhile(&world, &alice.sign(copy), &[50]).status, 200);
    eventually(Duration::from_secs(5), "somebody looked", || sums(&world) == (60, 0));
    // So it is with parts, at the latest when they become an object.
    put(&world, "a", 10);
    delete(&world, "b");
    let created = world.accepts(&alice.sign(Request::post("/datasets/m?uploads", "")));
    let id = created.element("UploadId").unwrap();
    let part = Request::new("PUT", &format!("/datasets/m?partNumber=1&uploadId={id}"))
        .header("x-amz-copy-source", "datasets/a");
    let etag = overwritten_meanwhile(&world, &alice.sign(part), &[50]).element("ETag").unwrap();
    let body = format!(
        "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{}</ETag></Part></CompleteMultipartUpload>",
        xml_escape(&etag)
    );
    world.accepts(&alice.sign(Request::post(&format!("/datasets/m?uploadId={id}"), body)));
    eventually(Duration::from_secs(5), "somebody looked", || sums(&world) == (60, 0));
}

#[test]
fn i14_parts_hold_their_bytes_until_the_upload_ends() {
    let world = world(100);
    let alice = world.alice();
    let created = world.accepts(&alice.sign(Request::post("/datasets/m?uploads", "")));
    let id = created.element("UploadId").unwrap();
    let part = |number: u32, size: usize| {
        let target = format!("/datasets/m?partNumber={number}&uploadId={id}");
        world.call(&alice.sign(Request::put(&target, "p".repeat(size))))
    };
    assert_eq!(part(1, 30).status, 200);
    assert_eq!(part(1, 20).status, 200);
    assert_eq!(sums(&world), (0, 20));
    let refused = part(2, 41);
    assert_eq!(refused.code(), "EntityTooLarge");
    assert!(refused.text().contains("file size 61 bytes"), "{}", refused.text());
    assert_eq!(part(2, 30).status, 200);
    let etag = part(3, 10).header("etag").unwrap().to_owned();
    assert_eq!(sums(&world), (0, 60));
    let body = format!(
        "<CompleteMultipartUpload><Part><PartNumber>3</PartNumber><ETag>{etag}</ETag></Part></CompleteMultipartUpload>"
    );
    world.accepts(&alice.sign(Request::post(&format!("/datasets/m?uploadId={id}"), body)));
    assert_eq!(sums(&world), (10, 0));
    assert_eq!(world.account("alice").hour, 1);
    let created = world.accepts(&alice.sign(Request::post("/datasets/n?uploads", "")));
    let id = created.element("UploadId").unwrap();
    world.accepts(&alice.sign(Request::delete(&format!("/datasets/n?uploadId={id}"))));
    let account = world.account("alice");
    assert_eq!((account.hour, account.open_uploads), (1, 0));
}

#[test]
fn i14_an_abort_during_a_completion_frees_nothing_of_the_object() {
    let world = world(100);
    let alice = world.alice();
    let created = world.accepts(&alice.sign(Request::post("/datasets/m?uploads", "")));
    let id = created.element("UploadId").unwrap();
    let part = Request::put(&format!("/datasets/m?partNumber=1&uploadId={id}"), "p".repeat(60));
    let etag = world.accepts(&alice.sign(part)).header("etag").unwrap().to_owned();
    let body = format!(
        "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{etag}</ETag></Part></CompleteMultipartUpload>"
    );
    let complete = alice.sign(Request::post(&format!("/datasets/m?uploadId={id}"), body));
    // The upstream acts at once, and takes its time to say so.
    world.origin.next(Act::serve().trickle(100, Duration::from_millis(500)));
    std::thread::scope(|scope| {
        let completing = scope.spawn(|| world.call(&complete));
        eventually(Duration::from_secs(10), "the object is there", || {
            world.origin.object("datasets/alice/m").is_some()
        });
        let abort = world.call(&alice.sign(Request::delete(&format!("/datasets/m?uploadId={id}"))));
        assert_eq!((abort.status, abort.code().as_str()), (404, "NoSuchUpload"));
        assert_eq!(put(&world, "b", 60).code(), "QuotaExceeded");
        assert_eq!((sums(&world), world.account("alice").hour), ((0, 60), 1));
        completing.join().unwrap().assert_status(200);
    });
    assert_eq!((sums(&world), world.account("alice").hour), ((60, 0), 1));
    assert_eq!(world.account("alice").open_uploads, 0);
}

#[test]
fn i14_only_so_many_uploads_are_open() {
    let world = World::with_limits("max_open_multipart_uploads = 1");
    let alice = world.alice();
    world.accepts(&alice.sign(Request::post("/datasets/m?uploads", "")));
    let refused = world.call(&alice.sign(Request::post("/datasets/n?uploads", "")));
    assert_eq!((refused.status, refused.code().as_str()), (429, "TooManyUploads"));
    assert!(refused.text().contains("Upload denied: open multipart upload limit reached: 1/1 uploads"));
}

#[test]
fn i17_uploads_of_an_hour_and_a_day() {
    for (limits, message) in [
        ("uploads_per_hour = 2", "Upload denied: hourly upload limit reached: 2/2 uploads"),
        ("uploads_per_day = 2", "Upload denied: daily upload limit reached: 2/2 uploads"),
    ] {
        let world = World::with_limits(limits);
        let signed_wrong = flip_signature(world.alice().sign(Request::put("/datasets/a", "x")));
        world.refuses(&signed_wrong, WRONG_SIGNATURE);
        assert_eq!(put(&world, "a", 1).status, 200);
        assert_eq!(put(&world, "a", 1).status, 200);
        let refused = put(&world, "a", 1);
        assert_eq!((refused.status, refused.code().as_str()), (429, "TooManyUploads"));
        assert_eq!(refused.element("Message").as_deref(), Some(message));
        let seconds: u64 = refused.header("retry-after").unwrap().parse().unwrap();
        assert!((3500..=86400).contains(&seconds), "{seconds}");
        // Bob has places of his own.
        world.accepts(&world.bob().sign(Request::put("/datasets/a", "x")));
    }
}

#[test]
fn refusals_as_s3_has_them() {
    let world = World::with(&Settings {
        limits: Some("max_storage = 1000\nmax_file_size = 500\nuploads_per_hour = 1"),
        quota: "refusal_status = \"s3\"",
        ..Settings::default()
    });
    let large = put(&world, "a", 501);
    assert_eq!((large.status, large.code().as_str()), (400, "EntityTooLarge"));
    assert_eq!(put(&world, "a", 500).status, 200);
    assert_eq!((put(&world, "b", 500).status, put(&world, "b", 500).code().as_str()), (403, "QuotaExceeded"));
    let many = put(&world, "b", 1);
    assert_eq!((many.status, many.code().as_str()), (503, "SlowDown"));
    assert!(many.header("retry-after").is_some());
}

#[test]
fn i01_parallel_uploads_fill_the_room_and_no_more() {
    let world = world(100);
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let uploads: Vec<_> = (0..20)
            .map(|n| {
                scope.spawn({
                    let world = &world;
                    move || put(world, &format!("p{n}"), 20).status
                })
            })
            .collect();
        uploads.into_iter().map(|upload| upload.join().unwrap()).collect()
    });
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 5, "{statuses:?}");
    assert_eq!(statuses.iter().filter(|status| **status == 429).count(), 15, "{statuses:?}");
    assert_eq!(sums(&world), (100, 0));
}

#[test]
fn writes_to_one_key_at_once_end_with_what_is_there() {
    let world = world(100);
    for _ in 0..5 {
        std::thread::scope(|scope| {
            for size in [10, 30, 50, 20] {
                let world = &world;
                scope.spawn(move || put(world, "one", size));
            }
        });
        let stored = || {
            let key = "datasets/alice/one";
            u64::try_from(world.origin.object(key).unwrap().len()).unwrap()
        };
        eventually(Duration::from_secs(5), "the ledger has what is there", || sums(&world) == (stored(), 0));
    }
}

#[test]
fn i10_batch_deletes_give_back_what_was_deleted() {
    let world = world(100);
    put(&world, "a", 10);
    put(&world, "locked", 20);
    let body = "<Delete><Object><Key>a</Key></Object><Object><Key>locked</Key></Object><Object><Key>no</Key></Object></Delete>";
    let request =
        Request::post("/datasets?delete", body).header("content-md5", base64(&md5(body.as_bytes())));
    world.accepts(&world.alice().sign(request));
    assert_eq!(sums(&world), (20, 0));
}

#[test]
fn logs_count_nothing_but_their_file_size() {
    let world = world(100);
    let svc = world.svc();
    let before = world.account("svc");
    world.accepts(&svc.sign(Request::put("/logs/job1/output.log", "x".repeat(60))));
    world.accepts(&svc.sign(Request::put("/logs/job1/more.log", "x".repeat(60))));
    let large = world.call(&svc.sign(Request::put("/logs/job1/large.log", "x".repeat(61))));
    assert_eq!((large.status, large.code().as_str()), (429, "EntityTooLarge"));
    assert_eq!(world.account("svc"), before);
}

#[test]
fn the_quota_is_told_to_its_user() {
    let world = world(100);
    put(&world, "a", 50);
    let get = |signer: &Signer, target: &str| world.call(&signer.sign(Request::get(target)));
    let quota = get(&world.alice(), "/api/v1/quota");
    assert_eq!(quota.status, 200, "{}", quota.everything());
    let document: serde_json::Value = serde_json::from_str(&quota.text()).unwrap();
    assert_eq!(document["user_id"], "alice");
    assert_eq!(document["storage"]["used_bytes"], 50 + control());
    assert_eq!(document["storage"]["limit_bytes"], 100 + control());
    assert_eq!(document["rate_limits"]["uploads_last_hour"], 1);
    assert_eq!(document["file_size"]["max_bytes"], 60);
    assert_eq!(get(&world.alice(), "/api/v1/quota/check?size=50").text(), r#"{"allowed":true}"#);
    let refused = get(&world.alice(), "/api/v1/quota/check?size=51");
    assert_eq!(refused.status, 429);
    assert!(
        refused.text().starts_with(r#"{"error":"Upload denied: storage quota exceeded"#),
        "{}",
        refused.text()
    );
    let usage: serde_json::Value =
        serde_json::from_str(&get(&world.alice(), "/api/v1/usage").text()).unwrap();
    assert_eq!(usage["datasets_bytes"], 50 + control());
    assert_eq!(usage["objects"], 2);
    // I26: whoever asks gets their own.
    let bobs: serde_json::Value =
        serde_json::from_str(&get(&world.bob(), "/api/v1/quota?user=alice").text()).unwrap();
    assert_eq!(bobs["user_id"], "bob");
    assert_eq!(get(&world.bob(), "/api/v1/quota/alice").status, 404);
    let nobody = world.call(&Request::get("/api/v1/quota").header("host", HOST));
    assert_eq!(nobody.status, 401, "{}", nobody.everything());
}

#[test]
fn what_was_written_past_the_gateway_is_counted_at_the_next_recount() {
    let world = world(100);
    world.origin.seed("datasets/alice/past", "x".repeat(30));
    assert_eq!(sums(&world), (0, 0));
    world.recount("alice");
    assert_eq!(sums(&world), (30, 0));
    assert_eq!(put(&world, "a", 60).status, 200);
    assert_eq!(put(&world, "b", 11).code(), "QuotaExceeded");
}

#[test]
fn a_recount_that_failed_stands_in_nobodys_way() {
    let world = world(100);
    world.origin.seed("datasets/alice/past", "x".repeat(30));
    world.origin.next(Act::error(403, "AccessDenied"));
    assert!(world.try_recount("alice").is_err());
    world.recount("alice");
    assert_eq!(sums(&world), (30, 0));
}

/// A copy goes on without its client, and so does the place that it takes among its user's requests.
#[test]
fn a_copy_whose_client_left_keeps_its_place() {
    let world = World::with_limits("max_concurrent_requests = 1");
    let copy = Request::new("PUT", "/datasets/copy").header("x-amz-copy-source", "datasets/control");
    let copy = world.alice().sign(copy);
    let is_put = |seen: &Seen| seen.method() == "PUT";
    world.origin.when(is_put, Act::serve().after(Duration::from_secs(3)));
    let mut client = world.client();
    client.write(copy.bytes());
    world.origin.wait_for("the copy", move |seen| seen.iter().any(is_put));
    drop(client);
    let get = world.alice().sign(Request::get("/datasets/control"));
    let refused = world.call(&get);
    assert_eq!((refused.status, refused.code().as_str()), (503, "SlowDown"));
    eventually(Duration::from_secs(10), "the place is free", || world.call(&get).status == 200);
    assert_eq!(world.origin.object("datasets/alice/copy").unwrap(), control_body("alice").as_bytes());
}

#[test]
fn lengths_beyond_counting_are_refused_as_too_large() {
    let world = World::with_limits("max_storage = \"unlimited\"\nmax_file_size = \"unlimited\"");
    let check = |size: u64| {
        let request = Request::get(&format!("/api/v1/quota/check?size={size}"));
        world.call(&world.alice().sign(request))
    };
    check(1 << 40).assert_status(200);
    for size in [(1 << 50) + 1, u64::MAX] {
        let refused = check(size);
        assert_eq!(refused.status, 429, "{}", refused.everything());
        assert!(refused.text().contains("exceeds maximum allowed 1125899906842624 bytes"));
    }
}
