//! Group H, copies: the source is a read like any other.

use std::time::Duration;

use crate::harness::*;

const PRECONDITION_FAILED: Answers<'_> = &[(412, "PreconditionFailed")];

/// What an upstream's own failure may be called.
const FAILED: [&str; 3] = ["InternalError", "ServiceUnavailable", "BadGateway"];

fn copy_from(source: &str) -> Request {
    Request::new("PUT", "/datasets/h/copy").header("x-amz-copy-source", source)
}

#[test]
fn h01_sources_outside_the_scope() {
    let world = World::new();
    world.origin.seed("models/bob/x", "bob's");
    let alice = world.alice();
    let answers: Answers<'_> = &[
        (400, "InvalidURI"),
        (400, "InvalidArgument"),
        (400, "InvalidRequest"),
        (403, "AccessDenied"),
        (400, "InvalidBucketName"),
        (404, "NoSuchBucket"),
        (404, "NoSuchKey"),
        (501, "NotImplemented"),
    ];
    for source in [
        "datasets/../../models/bob/x",
        "/datasets/%2e%2e/%2e%2e/models/bob/x",
        "datasets/..%2f..%2fmodels/bob/x",
        "real-bucket-x9/models/bob/x",
        "/real-bucket-x9/models/bob/x",
        "nobucket/x",
        "arn:aws:s3:us-east-1:123456789012:accesspoint/ap/object/x",
        "arn:aws:s3:::real-bucket-x9/models/bob/x",
        "logs/job10/out.log",
        "datasets/%zz",
        "datasets/%ff",
        "datasets/a%00b",
        "https://s3.bucketwarden.test/datasets/control",
    ] {
        world.refuses(&alice.sign(copy_from(source)), answers);
    }
    // A name that only looks like another's is the caller's own, and not there.
    world.refuses_after(1, &alice.sign(copy_from("models/bob/x")), NO_SUCH_KEY);
    world.accepts(&alice.sign(copy_from("datasets/control")));
    world.accepts(&world.bob().sign(copy_from("/models/x")));
}

#[test]
fn h02_sources_without_a_key() {
    let world = World::new();
    for source in ["", "/", "datasets", "datasets/", "/datasets/", "?", "datasets?versionId=x"] {
        world.refuses(&world.alice().sign(copy_from(source)), INVALID_ARGUMENT);
    }
    assert_eq!(world.origin.object("datasets/alice/h/copy"), None);
}

#[test]
fn copies_map_their_source_and_answer_virtually() {
    let world = World::new();
    let alice = world.alice();
    world.origin.seed("datasets/alice/dir/a b+c%.bin", "content");
    for source in [
        "datasets/dir/a%20b%2Bc%25.bin",
        "/datasets/dir/a%20b%2Bc%25.bin",
        "datasets%2Fdir%2Fa%20b%2Bc%25.bin",
    ] {
        let request = Request::new("PUT", "/models/m").header("x-amz-copy-source", source);
        let response = world.accepts(&alice.sign(request));
        assert!(response.element("ETag").is_some(), "{}", response.text());
        assert_eq!(response.header("x-bucketwarden-uri"), Some("darkstorage://platform/models/alice/m"));
        let upstream = world.origin.last_of("PUT");
        let sent = uri_decode(upstream.header("x-amz-copy-source").unwrap());
        assert_eq!(sent.trim_start_matches('/'), "real-bucket-x9/datasets/alice/dir/a b+c%.bin");
        assert_eq!(world.origin.object("models/alice/m").unwrap(), b"content");
    }
}

#[test]
fn copy_conditions_and_directives_cross() {
    let world = World::new();
    let etag = control_etag();
    let request = copy_from("datasets/control")
        .header("x-amz-copy-source-if-match", &etag)
        .header("x-amz-metadata-directive", "REPLACE")
        .header("x-amz-meta-a", "b")
        .header("content-type", "text/x");
    world.accepts(&world.alice().sign(request));
    let upstream = world.origin.last_of("PUT");
    assert_eq!(upstream.header("x-amz-copy-source-if-match"), Some(etag.as_str()));
    assert_eq!(world.origin.stored_header("datasets/alice/h/copy", "x-amz-meta-a").as_deref(), Some("b"));
    assert_eq!(
        world.origin.stored_header("datasets/alice/h/copy", "content-type").as_deref(),
        Some("text/x")
    );
}

fn control_etag() -> String {
    format!("\"{}\"", hex(&md5(control_body("alice").as_bytes())))
}

#[test]
fn a_copy_is_of_what_the_gateway_has_seen() {
    let world = World::new();
    let alice = world.alice();
    let other = format!("\"x\", {}", control_etag());
    for wanted in [None, Some("*"), Some(other.as_str()), Some(control_etag().trim_matches('"'))] {
        let request = copy_from("datasets/control");
        world.origin.behave();
        // What the origin's own HEAD makes of a list is not the point.
        world.origin.when(
            |seen| seen.method() == "HEAD",
            Act::reply(Reply::new(200).header("etag", control_etag()).header("content-length", "16")),
        );
        let request = match wanted {
            Some(wanted) => request.header("x-amz-copy-source-if-match", wanted),
            None => request,
        };
        world.accepts(&alice.sign(request));
        let sent = world.origin.last_of("PUT");
        assert_eq!(sent.header("x-amz-copy-source-if-match"), Some(control_etag().as_str()), "{wanted:?}");
    }
    // The origin's HEAD still knows of no condition: the gateway does.
    let wrong = copy_from("datasets/control").header("x-amz-copy-source-if-match", "\"x\"");
    world.refuses_after(1, &alice.sign(wrong), PRECONDITION_FAILED);
}

#[test]
fn a_clients_own_conditions_stay_its_own() {
    let world = World::new();
    let alice = world.alice();
    for (name, value) in [
        ("x-amz-copy-source-if-match", "\"x\"".to_owned()),
        ("x-amz-copy-source-if-none-match", control_etag()),
        ("x-amz-copy-source-if-unmodified-since", "Tue, 01 Sep 2020 10:00:00 GMT".to_owned()),
    ] {
        let request = copy_from("datasets/control").header(name, value);
        world.refuses_after(1, &alice.sign(request), PRECONDITION_FAILED);
    }
    world.origin.when(is_put, Act::error(412, "PreconditionFailed"));
    let request = alice.sign(copy_from("datasets/control").header("if-none-match", "*"));
    world.refuses_after(3, &request, PRECONDITION_FAILED);
    assert_eq!(world.origin.seen().iter().filter(|seen| is_put(seen)).count(), 1);
}

#[test]
fn a_missing_source_is_no_such_key() {
    let world = World::new();
    world.refuses_after(1, &world.alice().sign(copy_from("datasets/not-there")), NO_SUCH_KEY);
}

/// Reads the head and says how many white-space bytes came before the document.
fn patient_answer(world: &World, request: &Request) -> Response {
    let mut client = world.client();
    client.write(request.bytes());
    client.response(&request.method).expect("an answer")
}

#[test]
fn long_copies_keep_the_client_alive() {
    let world = World::new();
    let request = world.alice().sign(copy_from("datasets/control"));
    world.origin.when(is_put, Act::serve().after(Duration::from_secs(12)));
    let response = patient_answer(&world, &request);
    response.assert_status(200);
    assert!(response.is_whole());
    let text = response.text();
    assert!(text.contains("<CopyObjectResult"), "{text}");
    assert!(text.starts_with("<?xml") || text.starts_with(char::is_whitespace), "{text:?}");
    assert_well_formed(text.trim_start());
    world.assert_nothing_leaked(&request, &response);
}

/// The copy itself: before it, a HEAD tells the size of the source.
fn is_put(seen: &Seen) -> bool {
    seen.method() == "PUT"
}

#[test]
fn long_copies_that_fail_say_so_in_the_body() {
    let world = World::new();
    let request = world.alice().sign(copy_from("datasets/control"));
    world.origin.when(is_put, Act::error(500, "InternalError").after(Duration::from_secs(12)));
    let response = patient_answer(&world, &request);
    assert!(response.is_whole());
    assert!(FAILED.contains(&response.code().as_str()), "{}", response.everything());
    world.assert_nothing_leaked(&request, &response);
}

#[test]
fn a_200_that_holds_an_error_is_an_error() {
    let world = World::new();
    let request = world.alice().sign(copy_from("datasets/control"));
    let mut inside = Reply::error(500, "InternalError");
    inside.status = 200;
    world.origin.when(is_put, Act::reply(inside));
    let response = world.call(&request);
    assert!(FAILED.contains(&response.code().as_str()), "{}", response.everything());
    assert_eq!(response.header("x-bucketwarden-uri"), None);
    world.assert_nothing_leaked(&request, &response);
}
