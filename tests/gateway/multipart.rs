//! Group H, multipart uploads and batch deletes: only the caller's own exist.

use crate::harness::*;

const KEY: &str = "/datasets/h/big";

/// Starts an upload and gives its id as a client sees it, ready for a query.
fn create(world: &World, who: &Signer) -> String {
    let created = world.accepts(&who.sign(Request::post(&format!("{KEY}?uploads"), "")));
    uri_encode(&created.element("UploadId").expect("an id"), false)
}

fn part(number: u32, id: &str, body: &str) -> Request {
    Request::put(&format!("{KEY}?partNumber={number}&uploadId={id}"), body)
}

fn complete(id: &str, etags: &[String]) -> Request {
    let rows: String = (1..)
        .zip(etags)
        .map(|(n, etag)| {
            format!("<Part><PartNumber>{n}</PartNumber><ETag>{}</ETag></Part>", xml_escape(etag))
        })
        .collect();
    Request::post(
        &format!("{KEY}?uploadId={id}"),
        format!("<CompleteMultipartUpload>{rows}</CompleteMultipartUpload>"),
    )
}

fn delete_body(keys: &[&str]) -> String {
    let rows: String =
        keys.iter().map(|k| format!("<Object><Key>{}</Key></Object>", xml_escape(k))).collect();
    format!("<Delete xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">{rows}</Delete>")
}

fn delete_many(body: &str) -> Request {
    Request::post("/datasets?delete", body).header("content-md5", base64(&md5(body.as_bytes())))
}

#[test]
fn h22_an_upload_from_start_to_end_shows_virtual_names() {
    let world = World::new();
    let alice = world.alice();
    let created = world.accepts(&alice.sign(Request::post(&format!("{KEY}?uploads"), "")));
    assert_eq!(created.element("Bucket").as_deref(), Some("datasets"));
    assert_eq!(created.element("Key").as_deref(), Some("h/big"));
    let id = uri_encode(&created.element("UploadId").unwrap(), false);
    let etags: Vec<String> = [(1, "one"), (2, "two")]
        .map(|(n, body)| world.accepts(&alice.sign(part(n, &id, body))).header("etag").unwrap().to_owned())
        .to_vec();
    let parts = world.accepts(&alice.sign(Request::get(&format!("{KEY}?uploadId={id}"))));
    assert_eq!(parts.elements("PartNumber"), ["1", "2"]);
    assert_eq!(parts.element("Bucket").as_deref(), Some("datasets"));
    assert_eq!(parts.element("Key").as_deref(), Some("h/big"));
    assert_eq!(uri_encode(&parts.element("UploadId").unwrap(), false), id);
    let done = world.accepts(&alice.sign(complete(&id, &etags)));
    assert_eq!(done.element("Bucket").as_deref(), Some("datasets"));
    assert_eq!(done.element("Key").as_deref(), Some("h/big"));
    assert_eq!(done.element("Location").unwrap().trim(), format!("http://{HOST}/datasets/h/big"));
    assert_eq!(world.origin.object("datasets/alice/h/big").unwrap(), b"onetwo");
    world.refuses_after(1, &alice.sign(complete(&id, &etags)), NO_SUCH_UPLOAD);
}

#[test]
fn h05_part_copies() {
    let world = World::new();
    let alice = world.alice();
    let id = create(&world, &alice);
    let from = |source: &str| part(1, &id, "").header("x-amz-copy-source", source);
    let copied = world.accepts(&alice.sign(from("datasets/control")));
    assert!(copied.text().contains("<CopyPartResult"), "{}", copied.text());
    let etag = copied.element("ETag").unwrap();
    for source in ["real-bucket-x9/datasets/bob/control", "datasets/../bob/control", "logs/job10/x"] {
        let answers =
            &[(404, "NoSuchBucket"), (400, "InvalidURI"), (400, "InvalidArgument"), (404, "NoSuchKey")];
        world.refuses(&alice.sign(from(source)), answers);
    }
    world.refuses_after(1, &alice.sign(from("datasets/bob/control")), NO_SUCH_KEY);
    world.accepts(&alice.sign(complete(&id, &[etag])));
    assert_eq!(world.origin.object("datasets/alice/h/big").unwrap(), b"control of alice");
}

#[test]
fn ranges_of_part_copies_lie_within_their_source() {
    let world = World::new();
    let alice = world.alice();
    let id = create(&world, &alice);
    let copy = |range: &str| {
        let request = part(1, &id, "").header("x-amz-copy-source", "datasets/control");
        alice.sign(request.header("x-amz-copy-source-range", range))
    };
    for outside in ["bytes=0-16", "bytes=16-16", "bytes=0-18446744073709551615"] {
        world.refuses_after(1, &copy(outside), INVALID_ARGUMENT);
    }
    assert_eq!(world.account("alice").reserved, 0);
    world.accepts(&copy("bytes=0-15"));
    assert_eq!(world.account("alice").reserved, 16);
}

#[test]
fn h06_another_users_upload_does_not_exist() {
    let world = World::new();
    let (alice, bob) = (world.alice(), world.bob());
    let foreign = create(&world, &bob);
    let own = create(&world, &alice);
    let count = world.origin.count();
    for id in [foreign.as_str(), "guess", "upload-1", ""] {
        for request in [
            part(1, id, "x"),
            part(1, id, "").header("x-amz-copy-source", "datasets/control"),
            Request::get(&format!("{KEY}?uploadId={id}")),
            complete(id, &["x".into()]),
            Request::delete(&format!("{KEY}?uploadId={id}")),
        ] {
            world.refuses(&alice.sign(request), NO_SUCH_UPLOAD);
        }
    }
    // The right id under another key or bucket is not that upload either.
    for target in ["/datasets/h/other", "/models/h/big"] {
        let request = Request::put(&format!("{target}?partNumber=1&uploadId={own}"), "x");
        world.refuses(&alice.sign(request), NO_SUCH_UPLOAD);
    }
    let controls = world.origin.seen()[count..].iter().filter(|s| !s.target().ends_with("/control")).count();
    assert_eq!(controls, 0);
    assert_eq!(world.origin.open_uploads(), ["datasets/bob/h/big", "datasets/alice/h/big"]);
    world.accepts(&bob.sign(part(1, &foreign, "still there")));
    world.accepts(&alice.sign(Request::delete(&format!("{KEY}?uploadId={own}"))));
    assert_eq!(world.origin.open_uploads(), ["datasets/bob/h/big"]);
}

#[test]
fn h09_only_own_uploads_are_listed() {
    let world = World::new();
    let (alice, bob) = (world.alice(), world.bob());
    create(&world, &bob);
    let own = create(&world, &alice);
    for query in [
        "uploads",
        "uploads&encoding-type=url",
        "uploads&prefix=h/",
        "uploads&key-marker=a",
        "uploads&max-uploads=1",
    ] {
        let listed = world.accepts(&alice.sign(Request::get(&format!("/datasets?{query}"))));
        let keys: Vec<String> = listed.elements("Key").iter().map(|k| uri_decode(k)).collect();
        assert_eq!(keys, ["h/big"], "{query}: {}", listed.text());
        assert_eq!(listed.element("Bucket").as_deref(), Some("datasets"));
        assert_eq!(uri_encode(&listed.element("UploadId").unwrap(), false), own);
    }
    for marker in ["zzz", "..%2Fbob", "%00"] {
        let request = alice.sign(Request::get(&format!("/datasets?uploads&key-marker={marker}")));
        let listed = world.call(&request);
        assert!(listed.status < 500, "{}", listed.everything());
        let beyond = listed.elements("UploadId").iter().all(|id| uri_encode(id, false) == own);
        assert!(beyond, "{marker}: {}", listed.text());
        world.assert_nothing_leaked(&request, &listed);
    }
    let past = world.accepts(&alice.sign(Request::get("/datasets?uploads&key-marker=zzz")));
    assert_eq!(past.elements("UploadId"), Vec::<String>::new());
    let after =
        world.accepts(&alice.sign(Request::get(&format!("{KEY}?uploadId={own}&part-number-marker=9999"))));
    assert_eq!(after.elements("PartNumber"), Vec::<String>::new());
}

#[test]
fn h06_part_numbers_out_of_range() {
    let world = World::new();
    let alice = world.alice();
    let id = create(&world, &alice);
    for number in ["0", "10001", "-1", "abc", ""] {
        let target = format!("{KEY}?partNumber={number}&uploadId={id}");
        world.refuses(&alice.sign(Request::put(&target, "x")), INVALID_ARGUMENT);
    }
    world.accepts(&alice.sign(part(10_000, &id, "the last")));
}

#[test]
fn complete_bodies_are_read_strictly() {
    let world = World::new();
    let alice = world.alice();
    let id = create(&world, &alice);
    let target = format!("{KEY}?uploadId={id}");
    for body in [
        "",
        "<CompleteMultipartUpload></CompleteMultipartUpload>",
        "<Wrong><Part><PartNumber>1</PartNumber><ETag>x</ETag></Part></Wrong>",
        "<CompleteMultipartUpload><Part><PartNumber>one</PartNumber><ETag>x</ETag></Part></CompleteMultipartUpload>",
        "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber>",
        "not xml",
    ] {
        world.refuses(
            &alice.sign(Request::post(&target, body)),
            &[(400, "MalformedXML"), (400, "InvalidRequest"), (400, "InvalidPart")],
        );
    }
    let unordered = "<CompleteMultipartUpload><Part><PartNumber>2</PartNumber><ETag>x</ETag></Part>\
                     <Part><PartNumber>1</PartNumber><ETag>x</ETag></Part></CompleteMultipartUpload>";
    world.refuses_after(
        1,
        &alice.sign(Request::post(&target, unordered)),
        &[(400, "InvalidPartOrder"), (400, "InvalidPart")],
    );
    assert_eq!(world.origin.open_uploads(), ["datasets/alice/h/big"]);
}

#[test]
fn h10_batch_deletes_stay_in_their_scope() {
    let world = World::new();
    let alice = world.alice();
    world.origin.seed("datasets/alice/a", "a");
    world.origin.seed("datasets/alice/b&c", "b");
    world.origin.seed("datasets/alice/locked", "l");
    let body = delete_body(&["../bob/control", "a", "bob/control", "b&c", "locked", "./x"]);
    let response = world.accepts(&alice.sign(delete_many(&body)));
    assert_well_formed(&response.text());
    let deleted: Vec<String> = elements_within(&response.text(), "Deleted", "Key");
    assert_eq!(deleted, ["a", "bob/control", "b&c"]);
    let mut failed = elements_within(&response.text(), "Error", "Key");
    failed.sort();
    assert_eq!(failed, ["../bob/control", "./x", "locked"]);
    assert_eq!(world.origin.object("datasets/bob/control").unwrap(), b"control of bob");
    assert_eq!(world.origin.object("datasets/alice/a"), None);
    let upstream = world.origin.last_of("POST");
    assert_eq!(upstream.header("content-md5").unwrap(), base64(&md5(upstream.body())));
}

#[test]
fn h10_a_key_that_the_upstream_says_nothing_of_was_not_deleted() {
    let world = World::new();
    let body = "<Delete><Quiet>true</Quiet><Object><Key>a</Key></Object><Object><Key>b</Key></Object>\
                <Object><Key>c</Key></Object></Delete>";
    let result = "<DeleteResult><Deleted><Key>datasets/alice/b</Key></Deleted>\
                  <Deleted><Key>datasets/bob/control</Key></Deleted>\
                  <Error><Key>datasets/alice/c</Key><Code>NoSuchKey</Code><Message>m</Message></Error></DeleteResult>";
    world.origin.next(Act::reply(Reply::xml(200, result)));
    let response = world.accepts(&world.alice().sign(delete_many(body)));
    assert_eq!(response.elements("Key"), ["a"], "{}", response.text());
    assert_eq!(response.elements("Code"), ["InternalError"]);
    // Not quiet: what is not there was deleted with success.
    world.origin.next(Act::reply(Reply::xml(200, result)));
    let loud = body.replace("<Quiet>true</Quiet>", "");
    let response = world.accepts(&world.alice().sign(delete_many(&loud)));
    assert_eq!(elements_within(&response.text(), "Deleted", "Key"), ["b", "c"]);
}

#[test]
fn h10_quiet_deletes_list_only_errors() {
    let world = World::new();
    world.origin.seed("datasets/alice/a", "a");
    let body =
        "<Delete><Quiet>true</Quiet><Object><Key>a</Key></Object><Object><Key>locked</Key></Object></Delete>";
    let response = world.accepts(&world.alice().sign(delete_many(body)));
    assert_eq!(response.elements("Key"), ["locked"]);
    assert_eq!(world.origin.object("datasets/alice/a"), None);
}

#[test]
fn h13_batch_deletes_that_are_refused_whole() {
    let world = World::new();
    let alice = world.alice();
    let many: Vec<String> = (0..1001).map(|n| format!("k{n}")).collect();
    let names: Vec<&str> = many.iter().map(String::as_str).collect();
    world.refuses(&alice.sign(delete_many(&delete_body(&names))), MALFORMED_XML);
    world.accepts(&alice.sign(delete_many(&delete_body(&names[..1000]))));
    world.refuses(&alice.sign(delete_many(&delete_body(&[]))), MALFORMED_XML);
    for body in [
        "<Delete><Object></Object></Delete>",
        "<Other><Object><Key>a</Key></Object></Other>",
        "not xml",
        "",
        "<Delete>",
    ] {
        world.refuses(&alice.sign(delete_many(body)), MALFORMED_XML);
    }
    let body = delete_body(&["control"]);
    world.refuses(&alice.sign(Request::post("/datasets?delete", &body)), INVALID_REQUEST);
    let wrong = Request::post("/datasets?delete", &body).header("content-md5", base64(&md5(b"other")));
    world.refuses(&alice.sign(wrong), BAD_DIGEST);
    let checked =
        Request::post("/datasets?delete", &body).header("x-amz-checksum-crc32", checksum("crc32", b"other"));
    world.refuses(&alice.sign(checked), BAD_DIGEST);
    let by_checksum = delete_body(&["gone"]);
    let value = checksum("crc32", by_checksum.as_bytes());
    world.accepts(
        &alice.sign(Request::post("/datasets?delete", &by_checksum).header("x-amz-checksum-crc32", value)),
    );
}

#[test]
fn k07_doctypes_and_entities() {
    let world = World::new();
    let alice = world.alice();
    let laughs = "<!DOCTYPE d [<!ENTITY a \"ha\"><!ENTITY b \"&a;&a;&a;&a;\">]>";
    let external = "<!DOCTYPE d [<!ENTITY a SYSTEM \"file:///etc/passwd\">]>";
    let id = create(&world, &alice);
    for doctype in [laughs, external] {
        let delete = format!("{doctype}<Delete><Object><Key>&a;</Key></Object></Delete>");
        world.refuses(&alice.sign(delete_many(&delete)), MALFORMED_XML);
        let complete = format!(
            "{doctype}<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>&a;</ETag></Part>\
             </CompleteMultipartUpload>"
        );
        world.refuses(&alice.sign(Request::post(&format!("{KEY}?uploadId={id}"), complete)), MALFORMED_XML);
    }
}

#[test]
fn k09_control_bodies_are_bounded() {
    let world = World::new();
    let alice = world.alice();
    let id = create(&world, &alice);
    let answers: Answers<'_> =
        &[(400, "MaxMessageLengthExceeded"), (413, ""), (400, "MalformedXML"), (400, "EntityTooLarge")];
    let huge = format!("<Delete><!--{}--></Delete>", "x".repeat(4 << 20));
    world.refuses(&alice.sign(delete_many(&huge)), answers);
    world.refuses(&alice.sign(Request::post(&format!("{KEY}?uploadId={id}"), &huge)), answers);
    let chunked = delete_many("").without("content-md5").header("x-amz-content-sha256", UNSIGNED);
    let wire = format!("{:x}\r\n{huge}\r\n0\r\n\r\n", huge.len());
    let chunked = alice.sign(chunked.header("x-amz-checksum-crc32", checksum("crc32", huge.as_bytes())));
    world.refuses(&chunked.header("transfer-encoding", "chunked").body(wire), answers);
}
