//! Contract rows of objects and buckets that no threat row names: what the gateway answers itself, what it passes
//! through, and the headers it adds.

use crate::harness::*;

const TARGET: &str = "/datasets/dir/data.csv";

/// A world where alice has put `0123456789` with every header S3 keeps.
fn world() -> World {
    let world = World::new();
    let request = Request::put(TARGET, "0123456789")
        .header("content-type", "text/csv")
        .header("content-disposition", "inline")
        .header("content-language", "de")
        .header("cache-control", "max-age=5")
        .header("expires", "Wed, 21 Oct 2026 07:28:00 GMT")
        .header("x-amz-meta-color", "blue");
    world.accepts(&world.alice().sign(request));
    world
}

#[test]
fn answers_carry_the_platforms_uri() {
    let world = world();
    let alice = world.alice();
    for request in [Request::put(TARGET, "0123456789"), Request::get(TARGET), Request::new("HEAD", TARGET)] {
        let response = world.accepts(&alice.sign(request));
        assert_eq!(
            response.header("x-bucketwarden-uri"),
            Some("darkstorage://platform/datasets/alice/dir/data.csv")
        );
        assert!(response.header("x-amz-request-id").is_some_and(|id| id != "UPSTREAM-REQUEST"));
    }
    let missing = world.refuses_after(1, &alice.sign(Request::get("/datasets/none")), NO_SUCH_KEY);
    assert_eq!(missing.header("x-bucketwarden-uri"), None);
    assert_eq!(missing.element("Resource").as_deref(), Some("/datasets/none"));
}

#[test]
fn metadata_comes_back_as_put() {
    let world = world();
    for method in ["GET", "HEAD"] {
        let response = world.accepts(&world.alice().sign(Request::new(method, TARGET)));
        for (name, value) in [
            ("content-type", "text/csv"),
            ("content-disposition", "inline"),
            ("content-language", "de"),
            ("cache-control", "max-age=5"),
            ("expires", "Wed, 21 Oct 2026 07:28:00 GMT"),
            ("x-amz-meta-color", "blue"),
            ("content-length", "10"),
            ("accept-ranges", "bytes"),
            ("last-modified", LAST_MODIFIED),
        ] {
            assert_eq!(response.header(name), Some(value), "{method} {name}");
        }
        let etag = format!("\"{}\"", hex(&md5(b"0123456789")));
        assert_eq!(response.header("etag"), Some(etag.as_str()));
    }
}

#[test]
fn ranges_pass_through() {
    let world = world();
    for (range, content_range, body) in [
        ("bytes=0-3", "bytes 0-3/10", "0123"),
        ("bytes=8-", "bytes 8-9/10", "89"),
        ("bytes=-2", "bytes 8-9/10", "89"),
    ] {
        let response = world.accepts(&world.alice().sign(Request::get(TARGET).header("range", range)));
        assert_eq!((response.status, response.text().as_str()), (206, body));
        assert_eq!(response.header("content-range"), Some(content_range));
    }
    let beyond = world.alice().sign(Request::get(TARGET).header("range", "bytes=10-"));
    world.refuses_after(1, &beyond, &[(416, "InvalidRange")]);
}

#[test]
fn conditions_pass_through() {
    let world = world();
    let alice = world.alice();
    let etag = format!("\"{}\"", hex(&md5(b"0123456789")));
    let with =
        |method: &str, name: &str, value: &str| alice.sign(Request::new(method, TARGET).header(name, value));
    for method in ["GET", "HEAD"] {
        world.accepts(&with(method, "if-match", &etag));
        world.accepts(&with(method, "if-none-match", "\"other\""));
        world.refuses_after(1, &with(method, "if-match", "\"other\""), PRECONDITION_FAILED);
        world.refuses_after(
            1,
            &with(method, "if-unmodified-since", "Tue, 01 Sep 2020 10:00:00 GMT"),
            PRECONDITION_FAILED,
        );
        for (name, value) in [("if-none-match", etag.as_str()), ("if-modified-since", LAST_MODIFIED)] {
            let response = world.call(&with(method, name, value));
            assert_eq!((response.status, response.body.len()), (304, 0), "{method} {name}");
            assert_eq!(response.header("etag"), Some(etag.as_str()));
        }
    }
    let create_only = alice.sign(Request::put(TARGET, "other").header("if-none-match", "*"));
    world.refuses_after(1, &create_only, PRECONDITION_FAILED);
    let replace = alice.sign(Request::put(TARGET, "other").header("if-match", "\"other\""));
    world.refuses_after(1, &replace, PRECONDITION_FAILED);
    world.accepts(&alice.sign(Request::put(TARGET, "0123456789").header("if-match", etag)));
}

#[test]
fn a_range_of_a_version_that_is_gone_is_answered_whole() {
    let world = world();
    let alice = world.alice();
    let etag = format!("\"{}\"", hex(&md5(b"0123456789")));
    let resume =
        |known: &str| alice.sign(Request::get(TARGET).header("range", "bytes=5-").header("if-range", known));
    for known in [etag.as_str(), LAST_MODIFIED] {
        let response = world.accepts(&resume(known));
        assert_eq!((response.status, response.text().as_str()), (206, "56789"), "{known}");
    }
    // The origin does not know If-Range; the gateway sees that the part is another version's, and asks again.
    for known in ["\"other\"", "Tue, 01 Sep 2020 10:00:00 GMT"] {
        let response = world.accepts(&resume(known));
        assert_eq!((response.status, response.text().as_str()), (200, "0123456789"), "{known}");
        assert_eq!(response.header("content-range"), None);
    }
}

#[test]
fn a_conditional_delete_of_what_is_not_there_fails() {
    let world = world();
    let alice = world.alice();
    let missing = |request: Request| {
        world.origin.next(Act::error(404, "NoSuchKey"));
        world.call(&alice.sign(request))
    };
    assert_eq!(missing(Request::delete("/datasets/none")).status, 204);
    let conditional = missing(Request::delete("/datasets/none").header("if-match", "*"));
    assert_eq!((conditional.status, conditional.code().as_str()), (404, "NoSuchKey"));
}

#[test]
fn an_upload_is_answered_with_one_checksum() {
    let world = world();
    let crc32 = checksum("crc32", b"body");
    let request = Request::put("/datasets/sum", "body").header("x-amz-checksum-crc32", crc32.as_str());
    world.origin.next(Act::reply(
        Reply::new(200).header("etag", "\"e\"").header("x-amz-checksum-crc64nvme", "AAAAAAAAAAA="),
    ));
    let response = world.accepts(&world.alice().sign(request));
    assert_eq!(response.header("x-amz-checksum-crc32"), Some(crc32.as_str()));
    assert_eq!(response.header("x-amz-checksum-crc64nvme"), None);
}

#[test]
fn response_overrides_pass_through() {
    let world = world();
    let request =
        Request::get(&format!("{TARGET}?response-content-type=text%2Fplain&response-cache-control=no-store"));
    let response = world.accepts(&world.alice().sign(request));
    assert_eq!(response.header("content-type"), Some("text/plain"));
    assert_eq!(response.header("cache-control"), Some("no-store"));
}

#[test]
fn h23_conditions_do_not_tell_what_may_not_be_read() {
    let world = world();
    world.origin.seed("logs/training/job10/out.log", "bob's run");
    for (name, value) in [
        ("if-none-match", "*"),
        ("if-match", "\"x\""),
        ("if-modified-since", LAST_MODIFIED),
        ("range", "bytes=0-1"),
    ] {
        for method in ["GET", "HEAD"] {
            let request = Request::new(method, "/logs/job10/out.log").header(name, value);
            world.refuses(&world.alice().sign(request), NO_SUCH_KEY);
        }
    }
}

#[test]
fn h24_header_injection_and_fat_metadata() {
    let world = world();
    let alice = world.alice();
    for value in ["x%0d%0aSet-Cookie:a=b", "x%0aSet-Cookie:a", "x%00"] {
        let request = Request::get(&format!("{TARGET}?response-content-disposition={value}"));
        let response = world.refuses(
            &alice.sign(request),
            &[(400, "InvalidArgument"), (400, "InvalidRequest"), (400, "InvalidURI")],
        );
        assert_eq!(response.header("set-cookie"), None);
    }
    let fat = |n: usize| Request::put("/datasets/fat", "x").header("x-amz-meta-a", "v".repeat(n));
    world.refuses(&alice.sign(fat(2100)), &[(400, "MetadataTooLarge")]);
    world.accepts(&alice.sign(fat(2000)));
    for byte in ["\0", "\r", "\u{1}"] {
        let request =
            alice.sign(Request::put("/datasets/fat", "x").header("x-amz-meta-a", format!("v{byte}v")));
        world.refuses_bytes(0, &request, &request.bytes(), &[(400, "")]);
    }
}

#[test]
fn head_errors_carry_their_code() {
    let world = world();
    let response =
        world.refuses_after(1, &world.alice().sign(Request::new("HEAD", "/datasets/none")), NO_SUCH_KEY);
    assert_eq!(response.header("x-amz-error-code"), Some("NoSuchKey"));
    assert_eq!(response.body, b"");
    let nowhere = world.refuses(&world.alice().sign(Request::new("HEAD", "/nobucket")), NO_SUCH_BUCKET);
    assert_eq!(nowhere.header("x-amz-error-code"), Some("NoSuchBucket"));
    let forged = flip_signature(world.alice().sign(Request::new("HEAD", TARGET)));
    world.refuses(&forged, WRONG_SIGNATURE);
}

#[test]
fn virtual_hosted_style() {
    let world = world();
    let host = format!("datasets.{HOST}");
    let at = |method: &str, target: &str| {
        world.alice().sign(Request::new(method, target).header("host", host.as_str()))
    };
    assert_eq!(world.accepts(&at("GET", "/dir/data.csv")).text(), "0123456789");
    let listed = world.accepts(&at("GET", "/?list-type=2&prefix=dir/"));
    assert_eq!(listed.elements("Key"), ["dir/data.csv"]);
    world.accepts(&at("HEAD", "/"));
    world.accepts(&at("PUT", "/api/v1/quota"));
    assert!(world.origin.object("datasets/alice/api/v1/quota").is_some());
    let port = world.alice().sign(Request::get("/dir/data.csv").header("host", format!("{host}:8080")));
    world.accepts(&port);
    // Host names know no case, and may be written with the dot that ends them.
    let upper = host.to_uppercase();
    for host in [upper.clone(), format!("{host}."), format!("{upper}.:8080")] {
        world.accepts(&world.alice().sign(Request::get("/dir/data.csv").header("host", host)));
    }
    let nowhere = world.alice().sign(Request::get("/x").header("host", format!("nobucket.{HOST}")));
    world.refuses(&nowhere, NO_SUCH_BUCKET);
    let presigned = world.alice().presign(Request::get("/dir/data.csv").header("host", host.as_str()), "60");
    world.accepts(&presigned);
}

#[test]
fn answers_made_by_the_gateway() {
    let world = world();
    let alice = world.alice();
    let count = world.origin.count();
    let get = |target: &str| world.accepts(&alice.sign(Request::get(target)));
    let mut names = get("/").elements("Name");
    names.sort();
    assert_eq!(names, ["datasets", "logs", "models"]);
    assert!(get("/datasets?location").text().contains("LocationConstraint"));
    assert!(get("/datasets?versioning").text().contains("VersioningConfiguration"));
    assert!(get("/datasets?acl").text().contains("FULL_CONTROL"));
    world.accepts(&alice.sign(Request::new("HEAD", "/datasets")));
    let private = Request::new("PUT", "/datasets?acl").header("x-amz-acl", "private");
    world.accepts(&alice.sign(private));
    for acl in ["public-read", "authenticated-read", "log-delivery-write"] {
        let open = Request::new("PUT", "/datasets?acl").header("x-amz-acl", acl);
        world.refuses(&alice.sign(open), NOT_IMPLEMENTED);
    }
    let upstream = world.origin.seen()[count..].iter().map(|s| s.target().to_owned()).collect::<Vec<_>>();
    let expected =
        |t: &String| t.ends_with("/control") || t.ends_with("?versioning") || t.ends_with("?versioning=");
    assert!(upstream.iter().all(expected), "{upstream:?}");
}

#[test]
fn object_acls_are_private() {
    let world = world();
    let acl = world.accepts(&world.alice().sign(Request::get(&format!("{TARGET}?acl"))));
    assert!(acl.text().contains("FULL_CONTROL") && !acl.text().contains("AllUsers"));
    let open = Request::new("PUT", &format!("{TARGET}?acl")).header("x-amz-acl", "public-read");
    world.refuses(&world.alice().sign(open), NOT_IMPLEMENTED);
}

#[test]
fn there_is_none_has_its_own_code() {
    let world = World::new();
    for (name, code) in [
        ("policy", "NoSuchBucketPolicy"),
        ("lifecycle", "NoSuchLifecycleConfiguration"),
        ("cors", "NoSuchCORSConfiguration"),
        ("website", "NoSuchWebsiteConfiguration"),
        ("encryption", "ServerSideEncryptionConfigurationNotFoundError"),
        ("tagging", "NoSuchTagSet"),
        ("object-lock", "ObjectLockConfigurationNotFoundError"),
        ("replication", "ReplicationConfigurationNotFoundError"),
        ("publicAccessBlock", "NoSuchPublicAccessBlockConfiguration"),
        ("ownershipControls", "OwnershipControlsNotFoundError"),
    ] {
        let target = format!("/datasets?{name}");
        world.refuses(&world.alice().sign(Request::get(&target)), &[(404, code)]);
        for method in ["PUT", "DELETE"] {
            world.refuses(&world.alice().sign(Request::new(method, &target)), NOT_IMPLEMENTED);
        }
    }
}

#[test]
fn what_is_not_built_is_501() {
    let world = world();
    let object =
        |method: &str, query: &str| world.alice().sign(Request::new(method, &format!("{TARGET}?{query}")));
    for (method, query) in [
        ("PUT", "tagging"),
        ("GET", "tagging"),
        ("DELETE", "tagging"),
        ("GET", "torrent"),
        ("PUT", "legal-hold"),
        ("GET", "legal-hold"),
        ("PUT", "retention"),
        ("GET", "retention"),
        ("POST", "select&select-type=2"),
    ] {
        world.refuses(&object(method, query), NOT_IMPLEMENTED);
    }
    let form =
        Request::post("/datasets", "--x\r\n").header("content-type", "multipart/form-data; boundary=x");
    world.refuses(&world.alice().sign(form), NOT_IMPLEMENTED);
}

#[test]
fn reserved_names_are_no_buckets() {
    let world = World::new();
    for path in ["/console", "/console/index.html"] {
        let response = world.call(&world.alice().sign(Request::get(path)));
        assert!(matches!(response.status, 400..=501), "{}", response.everything());
    }
    assert_eq!(world.origin.count(), 0);
}

#[test]
fn one_connection_serves_many_requests() {
    let world = world();
    let mut client = world.client();
    for n in 0..20 {
        let body = format!("body {n}");
        client.send(&world.alice().sign(Request::put("/datasets/many", &body))).assert_status(200);
        let get = client.send(&world.alice().sign(Request::get("/datasets/many")));
        assert_eq!(get.text(), body);
    }
    assert!(world.origin.connections() <= 3, "{} connections upstream", world.origin.connections());
}

#[test]
fn deletes_of_nothing_are_204() {
    let world = World::new();
    world.accepts(&world.alice().sign(Request::delete("/datasets/none"))).assert_status(204);
}

#[test]
fn restore_is_passed_on() {
    let world = world();
    let body = "<RestoreRequest><Days>1</Days></RestoreRequest>";
    let request = Request::post(&format!("{TARGET}?restore"), body)
        .header("content-md5", base64(&md5(body.as_bytes())));
    world.accepts(&world.alice().sign(request)).assert_status(202);
    assert!(world.origin.last_of("POST").target().contains("/datasets/alice/dir/data.csv?restore"));
}
