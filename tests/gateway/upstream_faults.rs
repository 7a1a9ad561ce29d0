//! What the upstream does wrong, and what a client sees of it: S3's own errors and nothing leaked (H19, R07, R08).

use std::time::{Duration, Instant};

use crate::harness::*;

const LOST: Answers<'_> = &[
    (500, "InternalError"),
    (502, "BadGateway"),
    (502, "InternalError"),
    (503, "ServiceUnavailable"),
    (504, "GatewayTimeout"),
];

fn get(world: &World) -> Request {
    world.alice().sign(Request::get("/datasets/control"))
}

fn put(world: &World) -> Request {
    world.alice().sign(Request::put("/datasets/f", "body"))
}

/// Calls and checks the error answer; gives how many requests the origin saw for it.
#[track_caller]
fn faulty(world: &World, request: &Request, answers: Answers<'_>) -> usize {
    let before = world.origin.count();
    let response = world.call(request);
    world.assert_refusal(request, &response, answers);
    world.origin.count() - before
}

#[test]
fn h19_upstream_errors_are_reworded() {
    let world = World::new();
    for (status, code) in [
        (404, "NoSuchKey"),
        (412, "PreconditionFailed"),
        (416, "InvalidRange"),
        (400, "EntityTooLarge"),
        (409, "OperationAborted"),
        (403, "InvalidObjectState"),
    ] {
        for make in [Reply::error, Reply::oci_error] {
            for request in
                [get(&world), put(&world), world.alice().sign(Request::get("/datasets?list-type=2"))]
            {
                world.origin.next(Act::reply(make(status, code)));
                assert_eq!(faulty(&world, &request, &[(status, code)]), 1);
            }
        }
    }
}

#[test]
fn h19_codes_nobody_knows_become_known_ones() {
    let world = World::new();
    for status in [400, 403, 404, 409, 418] {
        world.origin.next(Act::error(status, "NamespaceNotFoundOfNsleak"));
        let response = world.call(&get(&world));
        assert!(response.status >= 400 && !response.code().is_empty(), "{}", response.everything());
        world.assert_nothing_leaked(&get(&world), &response);
        assert!(!response.text().contains("Nsleak"));
    }
}

#[test]
fn h19_the_gateways_own_credentials_refused() {
    let world = World::new();
    for code in [
        "SignatureDoesNotMatch",
        "InvalidAccessKeyId",
        "RequestTimeTooSkewed",
        "AuthorizationHeaderMalformed",
    ] {
        let status = if code == "AuthorizationHeaderMalformed" { 400 } else { 403 };
        world.origin.always(Act::error(status, code));
        faulty(&world, &get(&world), &[(503, "ServiceUnavailable")]);
        world.origin.behave();
    }
    world.origin.next(Act::error(404, "NoSuchBucket"));
    let response = world.call(&get(&world));
    assert!(response.status >= 500 || response.code() == "NoSuchBucket", "{}", response.everything());
    world.assert_nothing_leaked(&get(&world), &response);
}

#[test]
fn h19_heads_have_no_body_to_name_a_code() {
    let world = World::new();
    let head = world.alice().sign(Request::new("HEAD", "/datasets/control"));
    for (status, code) in [(404, "NoSuchKey"), (412, "PreconditionFailed")] {
        world.origin.next(Act::reply(Reply::new(status)));
        faulty(&world, &head, &[(status, code)]);
    }
    world.origin.next(Act::reply(Reply::new(403)));
    let response = world.call(&head);
    assert!(matches!(response.status, 403 | 503), "{}", response.everything());
}

#[test]
fn answers_that_are_no_s3() {
    let world = World::new();
    let html = "<html><body>nginx at real-bucket-x9</body></html>";
    for request in [get(&world), put(&world), world.alice().sign(Request::get("/datasets?list-type=2"))] {
        world.origin.always(Act::reply(Reply::new(500).header("content-type", "text/html").body(html)));
        faulty(&world, &request, LOST);
        world.origin.behave();
        world.origin.always(Act::raw("this is not HTTP\r\n\r\n"));
        faulty(&world, &request, LOST);
        world.origin.behave();
        world.origin.always(Act::raw("HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n"));
        faulty(&world, &request, LOST);
        world.origin.behave();
    }
    for body in [
        "<html></html>",
        "not xml",
        "",
        "<ListBucketResult><Name>real-bucket-x9",
        "<Error><Code>InternalError</Code></Error>",
    ] {
        world.origin.always(Act::reply(Reply::xml(200, body)));
        faulty(&world, &world.alice().sign(Request::get("/datasets?list-type=2")), LOST);
        world.origin.behave();
    }
}

#[test]
fn listings_of_foreign_keys_fail_closed() {
    let world = World::new();
    let row = |key: &str| {
        format!(
            "<ListBucketResult><Name>real-bucket-x9</Name><Contents><Key>{key}</Key><Size>1</Size></Contents></ListBucketResult>"
        )
    };
    for key in ["datasets/bob/secret", "datasets/alicea", "secret", "datasets/alic", "models/alice/secret"] {
        world.origin.always(Act::reply(Reply::xml(200, &row(key))));
        let request = world.alice().sign(Request::get("/datasets?list-type=2"));
        let response = world.call(&request);
        assert!(
            !response.text().contains("secret") && !response.text().contains("alicea"),
            "{}",
            response.text()
        );
        world.assert_nothing_leaked(&request, &response);
        world.origin.behave();
    }
}

#[test]
fn r08_throttling_becomes_slow_down() {
    let world = World::new();
    for reply in [
        Reply::error(503, "SlowDown"),
        Reply::oci_error(429, "TooManyRequests"),
        Reply::new(503),
        Reply::new(429),
    ] {
        for request in
            [get(&world), put(&world), world.alice().sign(Request::new("HEAD", "/datasets/control"))]
        {
            world.origin.always(Act::reply(reply.clone()));
            let before = world.origin.count();
            let response = world.call(&request);
            world.assert_refusal(&request, &response, SLOW_DOWN);
            let wait = response.header("retry-after").expect("Retry-After");
            assert!(wait.parse::<u32>().is_ok_and(|n| n >= 1), "{wait}");
            // What was refused so was not begun, and may go again a little more often than what was lost.
            assert!(world.origin.count() - before <= 5);
            world.origin.behave();
        }
    }
}

#[test]
fn r08_bodyless_requests_are_tried_again_at_most_twice() {
    let world = World::new();
    for failure in [
        Act::hang_up(Cut::Reset),
        Act::hang_up(Cut::Close),
        Act::error(500, "InternalError"),
        Act::error(502, "x"),
    ] {
        world.origin.always(failure.clone());
        for request in [get(&world), world.alice().sign(Request::new("HEAD", "/datasets/control"))] {
            let tries = faulty(&world, &request, LOST);
            assert!((1..=3).contains(&tries), "{tries} tries of {failure:?}");
        }
        world.origin.behave();
    }
    world.origin.next(Act::hang_up(Cut::Reset));
    world.accepts(&get(&world));
    world.origin.next_times(2, Act::hang_up(Cut::Reset));
    world.accepts(&get(&world));
}

#[test]
fn r08_bodies_are_never_sent_twice() {
    let world = World::new();
    for failure in [
        Act::hang_up(Cut::Reset),
        Act::hang_up(Cut::Close),
        Act::error(500, "InternalError"),
        Act::error(503, "x"),
    ] {
        world.origin.always(failure);
        let answers: Vec<(u16, &str)> = LOST.iter().chain(SLOW_DOWN).copied().collect();
        assert_eq!(faulty(&world, &put(&world), &answers), 1);
        world.origin.behave();
    }
}

#[test]
fn a_body_that_comes_between_two_tries_arrives_whole() {
    let world = World::new();
    let body = vec![b'x'; 100_000];
    let request = world.alice().sign(Request::put("/datasets/f", &body));
    let usual = world.metric("bucketwarden_upstream_concurrency_limit");
    // Without a word about the connection, which goes on to take what is said to be left of the body.
    let busy = Reply::oci_error(429, "TooManyRequests").header("retry-after", "1");
    world.origin.next(Act::reply(busy).early(0));
    let mut client = world.client();
    client.write(request.head_bytes());
    eventually(Duration::from_secs(8), "throttling", || {
        world.metric("bucketwarden_upstream_concurrency_limit") < usual
    });
    client.write(&body);
    client.response("PUT").expect("an answer").assert_status(200);
    assert_eq!(world.origin.object("datasets/alice/f").expect("an object").len(), body.len());
    world.origin.wait_for("the end of the first try", |seen| seen[0].gone);
}

#[test]
fn r08_refusals_are_not_tried_again() {
    let world = World::new();
    for (status, code) in [(404, "NoSuchKey"), (412, "PreconditionFailed"), (400, "InvalidArgument")] {
        world.origin.always(Act::error(status, code));
        assert_eq!(faulty(&world, &get(&world), &[(status, code)]), 1);
        world.origin.behave();
    }
}

#[test]
fn a_stale_pooled_connection_is_replaced() {
    let world = World::new();
    for round in 0..5 {
        world.origin.next(Act::serve().then_close());
        world.accepts(&get(&world));
        let stale = world.origin.last().connection;
        // The origin's end is closed, the gateway may not have noticed.
        world.accepts(&get(&world));
        assert_ne!(world.origin.last().connection, stale);
        let body = format!("round {round}");
        world.accepts(&world.alice().sign(Request::put("/datasets/f", &body)));
        assert_eq!(world.origin.object("datasets/alice/f").unwrap(), body.as_bytes());
    }
}

#[test]
fn r07_an_upstream_that_never_answers() {
    let world = World::with_upstream("first_byte_timeout = \"300ms\"");
    world.origin.when(|s| !s.target().ends_with("/datasets/bob/control"), Act::silence());
    for request in [get(&world), put(&world), world.alice().sign(Request::get("/datasets?list-type=2"))] {
        let start = Instant::now();
        faulty(
            &world,
            &request,
            &[(504, "GatewayTimeout"), (503, "ServiceUnavailable"), (504, "InternalError")],
        );
        assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    }
    world.origin.wait_for("every connection is dropped", |seen| seen.iter().all(|s| s.gone));
    // Others are served meanwhile.
    world.accepts(&world.bob().sign(Request::get("/datasets/control")));
}

#[test]
fn r07_an_upstream_that_stalls_mid_body() {
    let world = World::with_upstream("idle_timeout = \"300ms\"");
    world.origin.seed_pattern("datasets/alice/big", 1 << 20);
    world.origin.next(Act::serve().cut_after(1000, Cut::Stall));
    let response = world.client().try_send(&world.alice().sign(Request::get("/datasets/big")));
    assert!(response.is_none_or(|r| !r.is_whole()));
    world.origin.wait_for("the connection is dropped", |seen| seen[0].gone);
}

#[test]
fn r07_a_slow_upstream_is_not_a_stalled_one() {
    let world = World::with_upstream("idle_timeout = \"400ms\"\nfirst_byte_timeout = \"2s\"");
    world.origin.seed("datasets/alice/slow", "slowly but surely");
    world.origin.next(Act::serve().trickle(1, Duration::from_millis(50)));
    assert_eq!(
        world.accepts(&world.alice().sign(Request::get("/datasets/slow"))).text(),
        "slowly but surely"
    );
}

#[test]
fn r07_a_slow_complete_may_take_longer_than_a_first_byte() {
    let world = World::with_upstream("first_byte_timeout = \"300ms\"\nslow_operation_timeout = \"10s\"");
    world.origin.when(|seen| seen.method() == "PUT", Act::serve().after(Duration::from_millis(900)));
    let copy = Request::new("PUT", "/datasets/copy").header("x-amz-copy-source", "datasets/control");
    assert!(world.accepts(&world.alice().sign(copy)).element("ETag").is_some());
}

#[test]
fn an_upstream_that_is_not_there() {
    let world = World::new();
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = nobody.local_addr().unwrap();
    drop(nobody);
    let lonely = World::with(&Settings { upstream_at: Some(addr), ..Settings::default() });
    let start = Instant::now();
    let response = lonely.call(&get(&world));
    lonely.assert_refusal(&get(&world), &response, LOST);
    assert!(start.elapsed() < Duration::from_secs(10));
    // It is no part of readiness.
    lonely.admin_get("/readyz").assert_status(200);
}
