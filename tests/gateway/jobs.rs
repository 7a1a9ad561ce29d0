//! Jobs: `logs/<job>/` is its owner's to read and the service users' to write; to everybody else it is not there.

use std::time::Duration;

use crate::harness::*;

const OUT: &str = "logs/training/job1/out.log";

/// Job `job1` is alice's, `job10` is bob's, and both have logs.
fn world() -> World {
    let world = World::new();
    world.assign("job1", "alice");
    world.assign("job10", "bob");
    world.origin.seed(OUT, "alice's run");
    world.origin.seed("logs/training/job1/sub/err.log", "alice's errors");
    world.origin.seed("logs/training/job10/out.log", "bob's run");
    world.origin.seed("logs/training/job1-x/out.log", "nobody's run");
    world.origin.seed("logs/training/loose", "not a job's");
    world
}

fn log(method: &str, key: &str) -> Request {
    Request::new(method, &object("logs", key))
}

fn names(page: &Response) -> Vec<String> {
    let mut names = page.elements("Key");
    names.extend(elements_within(&page.text(), "CommonPrefixes", "Prefix"));
    names
}

#[test]
fn g13_the_owner_reads_and_nobody_else() {
    let world = world();
    let (alice, bob) = (world.alice(), world.bob());
    assert_eq!(world.accepts(&alice.sign(log("GET", "job1/out.log"))).text(), "alice's run");
    let part = world.accepts(&alice.sign(log("GET", "job1/out.log").header("range", "bytes=0-4")));
    assert_eq!((part.status, part.text().as_str()), (206, "alice"));
    world.accepts(&alice.sign(log("HEAD", "job1/sub/err.log")));
    world.accepts(&alice.presign(log("GET", "job1/out.log"), "60"));
    assert_eq!(world.accepts(&bob.sign(log("GET", "job10/out.log"))).text(), "bob's run");
    // Foreign, unknown, missing in one's own, and no job at all: alike.
    world.refuses_after(1, &alice.sign(log("GET", "job1/none")), NO_SUCH_KEY);
    for key in [
        "job10/out.log",
        "job10/none",
        "job99/out.log",
        "job1-x/out.log",
        "job1",
        "job10",
        "loose",
        "/job1/x",
    ] {
        for method in ["GET", "HEAD"] {
            world.refuses(&alice.sign(log(method, key)), NO_SUCH_KEY);
        }
        for header in ["if-none-match", "if-match"] {
            world.refuses(&alice.sign(log("GET", key).header(header, "*")), NO_SUCH_KEY);
        }
    }
}

#[test]
fn g13_nobody_but_services_writes() {
    let world = world();
    let before = world.origin.inventory();
    for who in [world.alice(), world.bob()] {
        for key in ["job1/out.log", "job1/new", "job99/new"] {
            world.refuses(&who.sign(Request::put(&object("logs", key), "x")), ACCESS_DENIED);
            world.refuses(&who.sign(log("DELETE", key)), ACCESS_DENIED);
            world.refuses(&who.sign(log("POST", key).query("uploads")), ACCESS_DENIED);
            let copy = log("PUT", key).header("x-amz-copy-source", "datasets/control");
            world.refuses(&who.sign(copy), ACCESS_DENIED);
        }
        let body = "<Delete><Object><Key>job1/out.log</Key></Object></Delete>";
        let delete = Request::post("/logs?delete", body).header("content-md5", base64(&md5(body.as_bytes())));
        world.refuses(&who.sign(delete), ACCESS_DENIED);
    }
    assert_eq!(world.origin.inventory(), before);
    let svc = world.svc();
    world.accepts(&svc.sign(Request::put("/logs/job1/out.log", "more")));
    assert_eq!(world.accepts(&world.alice().sign(log("GET", "job1/out.log"))).text(), "more");
    world.accepts(&svc.sign(log("DELETE", "job10/out.log")));
    world.refuses_after(1, &world.bob().sign(log("GET", "job10/out.log")), NO_SUCH_KEY);
}

#[test]
fn h05_copies_read_their_source_by_the_same_rule() {
    let world = world();
    let alice = world.alice();
    let copy = |source: &str| Request::new("PUT", "/datasets/kept.log").header("x-amz-copy-source", source);
    world.accepts(&alice.sign(copy("logs/job1/out.log")));
    assert_eq!(world.origin.object("datasets/alice/kept.log").unwrap(), b"alice's run");
    for source in ["logs/job10/out.log", "logs/job99/out.log", "logs/job1-x/out.log", "logs/loose"] {
        world.refuses(&alice.sign(copy(source)), NO_SUCH_KEY);
    }
    let created = world.accepts(&alice.sign(Request::post("/datasets/big?uploads", "")));
    let id = uri_encode(&created.element("UploadId").unwrap(), false);
    let part = |source: &str| {
        let target = format!("/datasets/big?partNumber=1&uploadId={id}");
        Request::new("PUT", &target).header("x-amz-copy-source", source)
    };
    world.accepts(&alice.sign(part("logs/job1/out.log")));
    world.refuses(&alice.sign(part("logs/job10/out.log")), NO_SUCH_KEY);
}

#[test]
fn a_listing_shows_exactly_the_callers_jobs() {
    let world = world();
    let list = |who: &Signer, query: &str| {
        let page = world.accepts(&who.sign(Request::get(&format!("/logs?{query}"))));
        assert_eq!(page.element("Name").as_deref(), Some("logs"));
        names(&page)
    };
    for (query, shown) in [
        ("list-type=2", vec!["job1/out.log", "job1/sub/err.log"]),
        ("", vec!["job1/out.log", "job1/sub/err.log"]),
        ("versions", vec!["job1/out.log", "job1/sub/err.log"]),
        ("list-type=2&delimiter=/", vec!["job1/"]),
        ("delimiter=/&prefix=job1", vec!["job1/"]),
        ("list-type=2&delimiter=/&prefix=job1/", vec!["job1/out.log", "job1/sub/"]),
        ("list-type=2&prefix=job1/s", vec!["job1/sub/err.log"]),
        ("list-type=2&prefix=job10", vec![]),
        ("list-type=2&prefix=job10/", vec![]),
        ("list-type=2&prefix=loose", vec![]),
        ("list-type=2&start-after=job1/out.log", vec!["job1/sub/err.log"]),
        ("list-type=2&start-after=job10", vec![]),
    ] {
        assert_eq!(list(&world.alice(), query), shown, "{query}");
    }
    assert_eq!(list(&world.bob(), "list-type=2"), ["job10/out.log"]);
    assert!(list(&world.bobby(), "list-type=2").is_empty());
    let all = ["job1-x/out.log", "job1/out.log", "job1/sub/err.log", "job10/out.log", "loose"];
    assert_eq!(list(&world.svc(), "list-type=2"), all);
}

#[test]
fn h09_uploads_under_jobs_are_the_services() {
    let world = world();
    for job in ["job1", "job10"] {
        world.accepts(&world.svc().sign(Request::post(&format!("/logs/{job}/big?uploads"), "")));
    }
    let list = |who: &Signer| world.accepts(&who.sign(Request::get("/logs?uploads"))).elements("Key");
    for owner in [world.alice(), world.bob()] {
        assert!(list(&owner).is_empty(), "who cannot write has none, and sees none");
    }
    assert_eq!(list(&world.svc()), ["job1/big", "job10/big"]);
}

#[test]
fn a_job_assigned_anew_is_the_new_owners_within_five_seconds() {
    let world = world();
    let reads = |who: &Signer| world.call(&who.sign(log("GET", "job1/out.log"))).status == 200;
    let lists = |who: &Signer| {
        !names(&world.accepts(&who.sign(Request::get("/logs?list-type=2&prefix=job1")))).is_empty()
    };
    let (alice, bobby) = (world.alice(), world.bobby());
    assert!(reads(&alice) && lists(&alice) && !reads(&bobby) && !lists(&bobby));
    world.assign("job1", "bobby");
    eventually(Duration::from_secs(6), "the job changes hands", || {
        !reads(&alice) && !lists(&alice) && reads(&bobby) && lists(&bobby)
    });
}

#[test]
fn a_page_over_many_jobs_asks_no_more_than_it_must() {
    let world = World::new();
    // Most of them without logs.
    for n in 0..300 {
        world.assign(&format!("run{n:04}"), "alice");
        if n % 10 == 0 {
            world.origin.seed(&format!("logs/training/run{n:04}/out.log"), "x");
        }
    }
    let list = |query: &str| {
        let before = world.origin.count();
        let page = world.accepts(&world.alice().sign(Request::get(&format!("/logs?list-type=2&{query}"))));
        (page, world.origin.count() - before)
    };
    let (page, asked) = list("delimiter=/&max-keys=3");
    assert_eq!(names(&page), ["run0000/", "run0010/", "run0020/"]);
    assert_eq!(page.element("IsTruncated").as_deref(), Some("true"));
    assert!(asked <= 31 + 8, "asked {asked} times");
    let token = uri_encode(&page.element("NextContinuationToken").unwrap(), false);
    let (page, _) = list(&format!("delimiter=/&max-keys=3&continuation-token={token}"));
    assert_eq!(names(&page), ["run0030/", "run0040/", "run0050/"]);
    let (page, asked) = list("");
    assert_eq!((names(&page).len(), page.element("IsTruncated").as_deref()), (30, Some("false")));
    assert_eq!(asked, 300);
    let (page, asked) = list("prefix=run0200/");
    assert_eq!((names(&page).len(), asked), (1, 1));
}

#[test]
fn r12_while_the_store_is_away_jobs_are_neither_granted_nor_denied() {
    // Nobody listens there.
    let world = World::with(&Settings { state: Some("redis://127.0.0.1:1"), ..Settings::default() });
    world.origin.seed(OUT, "alice's run");
    let alice = world.alice();
    let unavailable: Answers<'_> = &[(503, "ServiceUnavailable")];
    for key in ["job1/out.log", "job10/out.log"] {
        world.refuses(&alice.sign(log("GET", key)), unavailable);
        world.refuses(&alice.sign(log("HEAD", key)), unavailable);
    }
    for query in ["list-type=2", "delimiter=/", "uploads", "list-type=2&prefix=job1/"] {
        world.refuses(&alice.sign(Request::get(&format!("/logs?{query}"))), unavailable);
    }
    // What asks for no jobs goes on.
    world.accepts(&alice.sign(Request::get("/datasets/control")));
    world.accepts(&alice.sign(Request::new("HEAD", "/logs")));
    world.refuses(&alice.sign(log("GET", "loose")), NO_SUCH_KEY);
    assert_eq!(world.accepts(&world.svc().sign(log("GET", "job1/out.log"))).text(), "alice's run");
}
