//! Group G: paths, keys and prefixes. One key names one object whatever the operation, and no key leaves its scope.

use crate::harness::*;

/// Names that clients really use, and some they should not.
const CORPUS: [&str; 36] = [
    "=",
    "!",
    "(",
    ")",
    ":",
    "@",
    "*",
    "%",
    "~",
    "#",
    "?",
    ";",
    "&",
    "+",
    "a space",
    "é",
    "e\u{301}",
    "😀",
    "'",
    "\"",
    "<",
    ">",
    "$",
    ",",
    "[x]",
    "{x}",
    "|",
    "^",
    "`",
    "100%.txt",
    "100%25.txt",
    "a//b",
    "trailing/",
    "/leading",
    "a/datasets/alice/b",
    "..a/b..",
];

fn upstream_path(key: &str) -> String {
    format!("/{REAL_BUCKET}/datasets/alice/{}", uri_encode(key, true))
}

#[test]
fn g01_dot_segments() {
    let world = World::new();
    let alice = world.alice();
    for path in [
        "/datasets/../models/x",
        "/datasets/%2e%2e/models/x",
        "/datasets/..%2fmodels/x",
        "/datasets/.%2e/models/x",
        "/datasets/..%5Cmodels",
        "/datasets/x%5c..%5cy",
        "/datasets/./x",
        "/datasets/x/..",
        "/datasets/x/.",
        "/datasets/..",
        "/datasets/%2E%2E%2F%2E%2E%2Fbob/control",
    ] {
        for method in ["GET", "PUT", "DELETE", "HEAD"] {
            world.refuses(&alice.sign(Request::new(method, path)), INVALID_URI);
        }
    }
    world.accepts(&alice.sign(Request::put("/datasets/.../x..y/..z", "dots are fine")));
}

#[test]
fn g03_slashes_are_bytes() {
    let world = World::new();
    let alice = world.alice();
    let keys = ["a/b", "a//b", "/x", "x/", "x", "//", "/"];
    for key in keys {
        world.accepts(&alice.sign(Request::put(&object("datasets", key), key)));
        assert_eq!(world.origin.last().target(), upstream_path(key));
    }
    for key in keys {
        assert_eq!(world.accepts(&alice.sign(Request::get(&object("datasets", key)))).text(), key);
        assert_eq!(world.origin.object(&format!("datasets/alice/{key}")).unwrap(), key.as_bytes());
    }
}

#[test]
fn g04_buckets_are_one_plain_segment() {
    let world = World::new();
    let alice = world.alice();
    let nowhere: Answers<'_> = &[(400, "InvalidBucketName"), (404, "NoSuchBucket"), (400, "InvalidURI")];
    for path in
        ["//datasets/x", "/datasets%2Fbob/control", "/DATASETS/control", "/datasets%00/x", "/api%2Fv1/x"]
    {
        world.refuses(&alice.sign(Request::get(path)), nowhere);
    }
    let decoded_once = alice.sign(Request::get("/%64atasets/control"));
    assert_eq!(world.accepts(&decoded_once).text(), "control of alice");
}

#[test]
fn g05_every_operation_names_the_same_object() {
    let mut world = World::new();
    world.expect_names(&["a/datasets/alice/b"]);
    let alice = world.alice();
    for key in CORPUS {
        let target = object("datasets", key);
        let real = format!("datasets/alice/{key}");
        world.accepts(&alice.sign(Request::put(&target, key)));
        assert_eq!(world.origin.last().target(), upstream_path(key), "PUT of {key:?}");
        assert_eq!(world.origin.object(&real).unwrap(), key.as_bytes(), "{key:?}");
        assert_eq!(world.accepts(&alice.sign(Request::get(&target))).text(), key, "GET of {key:?}");
        assert_eq!(world.origin.last().target(), upstream_path(key), "GET of {key:?}");
        world.accepts(&alice.sign(Request::new("HEAD", &target)));
        world.accepts(&alice.presign(Request::get(&target), "60"));

        let copy = object("datasets", &format!("copies/{key}"));
        let source = format!("datasets/{}", uri_encode(key, true));
        world.accepts(&alice.sign(Request::new("PUT", &copy).header("x-amz-copy-source", source)));
        assert_eq!(
            world.origin.object(&format!("datasets/alice/copies/{key}")).unwrap(),
            key.as_bytes(),
            "{key:?}"
        );
    }
    for query in ["list-type=2", "list-type=2&encoding-type=url", "max-keys=1000", "encoding-type=url"] {
        let listed = world.accepts(&alice.sign(Request::get(&format!("/datasets?{query}"))));
        let decode = |key: String| {
            if query.contains("url") { uri_decode(&key) } else { key }
        };
        let names: Vec<String> = listed.elements("Key").into_iter().map(decode).collect();
        for key in CORPUS {
            assert!(names.iter().any(|name| name == key), "{key:?} is not in the list by {query}");
        }
    }
    let rows: String =
        CORPUS[..18].iter().map(|k| format!("<Object><Key>{}</Key></Object>", xml_escape(k))).collect();
    let body = format!("<Delete>{rows}</Delete>");
    let request =
        Request::post("/datasets?delete", &body).header("content-md5", base64(&md5(body.as_bytes())));
    assert_eq!(world.accepts(&alice.sign(request)).elements("Key"), CORPUS[..18]);
    for key in &CORPUS[18..] {
        world.accepts(&alice.sign(Request::delete(&object("datasets", key))));
    }
    for key in CORPUS {
        assert_eq!(world.origin.object(&format!("datasets/alice/{key}")), None, "{key:?} survives");
        let upload =
            world.accepts(&alice.sign(Request::post(&format!("{}?uploads", object("datasets", key)), "")));
        assert_eq!(upload.element("Key").as_deref(), Some(key), "upload of {key:?}");
    }
}

#[test]
fn g07_bad_escapes() {
    let world = World::new();
    for path in [
        "/datasets/%zz",
        "/datasets/%2",
        "/datasets/%",
        "/datasets/%ff",
        "/datasets/%c0%ae%c0%af",
        "/datasets/a%00b",
    ] {
        world.refuses(&world.alice().sign(Request::get(path)), INVALID_URI);
        world.refuses(&world.alice().sign(Request::put(path, "x")), INVALID_URI);
    }
}

#[test]
fn g07_control_characters_keep_their_names() {
    let world = World::new();
    let alice = world.alice();
    let target = object("datasets", "bell\u{7}");
    world.accepts(&alice.sign(Request::put(&target, "ding")));
    assert_eq!(world.accepts(&alice.sign(Request::get(&target))).text(), "ding");
    let listed =
        world.accepts(&alice.sign(Request::get("/datasets?list-type=2&encoding-type=url&prefix=bell")));
    assert_eq!(listed.elements("Key"), ["bell%07"]);
}

#[test]
fn keys_count_1024_bytes_with_their_prefix() {
    let world = World::new();
    let alice = world.alice();
    let room = 1024 - "datasets/alice/".len();
    let longest = object("datasets", &"k".repeat(room));
    world.accepts(&alice.sign(Request::put(&longest, "fits")));
    let too_long = object("datasets", &"k".repeat(room + 1));
    for method in ["GET", "PUT", "DELETE"] {
        world.refuses(&alice.sign(Request::new(method, &too_long)), &[(400, "KeyTooLongError")]);
    }
    let wide = object("datasets", &"é".repeat(room / 2 + 1));
    world.refuses(&alice.sign(Request::put(&wide, "x")), &[(400, "KeyTooLongError")]);
}

#[test]
fn g10_a_sibling_whose_name_begins_with_mine() {
    let world = World::new();
    world.origin.seed("datasets/bobby/secret", "bobby's");
    world.origin.seed("datasets/bob/own", "bob's");
    for query in
        ["list-type=2", "list-type=2&delimiter=/", "prefix=", "list-type=2&prefix=by", "versions", "uploads"]
    {
        let listed = world.accepts(&world.bob().sign(Request::get(&format!("/datasets?{query}"))));
        assert!(!listed.text().contains("secret") && !listed.text().contains("by/"), "{}", listed.text());
    }
    for key in ["by/secret", "bobby/secret", "datasets/bobby/secret"] {
        world.refuses_after(1, &world.bob().sign(Request::get(&object("datasets", key))), NO_SUCH_KEY);
    }
    assert_eq!(world.accepts(&world.bobby().sign(Request::get("/datasets/secret"))).text(), "bobby's");
}

#[test]
fn g12_another_users_name_is_only_a_folder() {
    let world = World::new();
    let alice = world.alice();
    world.refuses_after(1, &alice.sign(Request::get("/datasets/bob/control")), NO_SUCH_KEY);
    world.accepts(&alice.sign(Request::put("/datasets/bob/control", "alice's own")));
    assert_eq!(world.origin.object("datasets/bob/control").unwrap(), b"control of bob");
    assert_eq!(world.origin.object("datasets/alice/bob/control").unwrap(), b"alice's own");
    world.accepts(&alice.sign(Request::delete("/datasets/bob/control")));
    assert_eq!(world.origin.object("datasets/bob/control").unwrap(), b"control of bob");
}

#[test]
fn g13_logs_of_foreign_jobs() {
    let world = World::new();
    world.origin.seed("logs/training/job10/out.log", "bob's run");
    let alice = world.alice();
    let mut answers = Vec::new();
    for key in ["job10/out.log", "job99/out.log", "training/job10/x", "job1/x", "loose"] {
        let request = alice.sign(Request::get(&object("logs", key)));
        let response = world.refuses(&request, NO_SUCH_KEY);
        let neutral = |name: &str| response.element(name).unwrap().replace(key, "KEY");
        answers.push((response.status, neutral("Code"), neutral("Message")));
        world.refuses(&alice.sign(Request::new("HEAD", &object("logs", key))), NO_SUCH_KEY);
        world.refuses(&alice.sign(Request::put(&object("logs", key), "x")), ACCESS_DENIED);
        world.refuses(&alice.sign(Request::delete(&object("logs", key))), ACCESS_DENIED);
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "missing and foreign jobs differ: {answers:?}");
    for path in ["/logs/..", "/logs/job1%2f..%2fjob10/out.log"] {
        world.refuses(&alice.sign(Request::get(path)), INVALID_URI);
    }
    for query in ["list-type=2", "list-type=2&prefix=job10/", "prefix=job10", "list-type=2&delimiter=/"] {
        let listed = world.accepts(&alice.sign(Request::get(&format!("/logs?{query}"))));
        assert_eq!((listed.elements("Key"), listed.elements("CommonPrefixes")), (vec![], vec![]), "{query}");
    }
}

#[test]
fn g13_the_service_user_works_under_every_job() {
    let world = World::new();
    let svc = world.svc();
    world.accepts(&svc.sign(Request::put("/logs/job10/out.log", "line")));
    assert_eq!(world.origin.object("logs/training/job10/out.log").unwrap(), b"line");
    assert_eq!(world.accepts(&svc.sign(Request::get("/logs/job10/out.log"))).text(), "line");
    let listed = world.accepts(&svc.sign(Request::get("/logs?list-type=2&prefix=job10/")));
    assert_eq!(listed.elements("Key"), ["job10/out.log"]);
    world.accepts(&svc.sign(Request::delete("/logs/job10/out.log")));
    // Elsewhere it has its own scope only.
    world.refuses_after(1, &svc.sign(Request::get("/datasets/control")), NO_SUCH_KEY);
    let own = world.accepts(&svc.sign(Request::get("/datasets?list-type=2")));
    assert_eq!(own.elements("Key"), Vec::<String>::new());
}

#[test]
fn g15_buckets_are_not_made_or_removed_upstream() {
    let world = World::new();
    let alice = world.alice();
    world.refuses(&alice.sign(Request::put("/datasets", "")), &[(409, "BucketAlreadyOwnedByYou")]);
    world.refuses(&alice.sign(Request::put("/newbucket", "")), ACCESS_DENIED);
    world.refuses(&alice.sign(Request::put(&format!("/{REAL_BUCKET}"), "")), ACCESS_DENIED);
    world.refuses(
        &alice.sign(Request::delete("/datasets")),
        &[(501, "NotImplemented"), (403, "AccessDenied")],
    );
    for request in
        [Request::get("/newbucket"), Request::get(&format!("/{REAL_BUCKET}/datasets/alice/control"))]
    {
        world.refuses(&alice.sign(request), NO_SUCH_BUCKET);
    }
    let buckets = world.accepts(&alice.sign(Request::get("/")));
    let mut names = buckets.elements("Name");
    names.sort();
    assert_eq!(names, ["datasets", "logs", "models"]);
    assert!(world.origin.seen().iter().all(|s| s.target().ends_with("/datasets/alice/control")));
}

#[test]
fn g17_methods_s3_does_not_know() {
    let world = World::new();
    let alice = world.alice();
    let unknown: Answers<'_> = &[(405, "MethodNotAllowed")];
    for method in ["TRACE", "PATCH", "FOO"] {
        world.refuses(&alice.sign(Request::new(method, "/datasets/control")), unknown);
    }
    world.refuses(&Request::new("CONNECT", "example.com:443"), &[(405, ""), (400, "")]);
    let preflight = Request::new("OPTIONS", "/datasets/control")
        .header("origin", "https://evil.example")
        .header("access-control-request-method", "GET");
    let response = world.refuses(&preflight, &[(403, "AccessForbidden")]);
    assert_eq!(response.header("access-control-allow-origin"), None);
}
