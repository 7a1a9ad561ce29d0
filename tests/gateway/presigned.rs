//! Group B: SigV4 in the query.

use time::Duration;

use crate::harness::*;

#[test]
fn a_url_made_with_the_checksum_of_no_body_takes_a_body() {
    // As the JavaScript SDK presigns a PUT by default.
    let world = World::new();
    let target =
        "/datasets/js?x-amz-checksum-crc32=AAAAAA%3D%3D&x-amz-sdk-checksum-algorithm=CRC32&x-id=PutObject";
    world.accepts(&world.alice().presign(Request::put(target, "hello"), "60"));
    assert_eq!(world.origin.object("datasets/alice/js").unwrap(), b"hello");
}

fn control() -> Request {
    Request::get("/datasets/control")
}

/// The request without one query parameter.
fn without_parameter(mut request: Request, name: &str) -> Request {
    let (path, query) = request.target.split_once('?').expect("a query");
    let left: Vec<&str> = query.split('&').filter(|p| !p.starts_with(&format!("{name}="))).collect();
    request.target = format!("{path}?{}", left.join("&"));
    request
}

fn edited(mut request: Request, from: &str, to: &str) -> Request {
    assert!(request.target.contains(from), "{from} is in {}", request.target);
    request.target = request.target.replace(from, to);
    request
}

#[test]
fn presigned_urls_get_put_head_and_delete() {
    let world = World::new();
    let alice = world.alice();
    assert_eq!(world.accepts(&alice.presign(control(), "600")).text(), "control of alice");
    world.accepts(&alice.presign(Request::put("/datasets/b/new", "body"), "600"));
    assert_eq!(world.origin.object("datasets/alice/b/new").unwrap(), b"body");
    let head = world.accepts(&alice.presign(Request::new("HEAD", "/datasets/b/new"), "600"));
    assert_eq!(head.header("content-length"), Some("4"));
    let listed = world.accepts(&alice.presign(Request::get("/datasets?list-type=2&prefix=b/"), "600"));
    assert_eq!(listed.elements("Key"), ["b/new"]);
    world.accepts(&alice.presign(Request::delete("/datasets/b/new"), "600"));
    assert_eq!(world.origin.object("datasets/alice/b/new"), None);
    let downloaded = control().query("response-content-disposition=attachment");
    let response = world.accepts(&alice.presign(downloaded, "600"));
    assert_eq!(response.header("content-disposition"), Some("attachment"));
}

#[test]
fn b01_expired() {
    let world = World::new();
    let old = world.alice().later(Duration::hours(-1));
    let response = world.refuses(&old.presign(control(), "60"), ACCESS_DENIED);
    assert_eq!(response.element("Message").as_deref(), Some("Request has expired"));
    world.accepts(&old.presign(control(), "7200"));
}

#[test]
fn b02_expires_out_of_range() {
    let world = World::new();
    for expires in ["604801", "-3", "abc", "", "0", "+60", "1.5", "18446744073709551616"] {
        world.refuses(&world.alice().presign(control(), expires), BAD_QUERY_AUTH);
    }
    world
        .refuses(&without_parameter(world.alice().presign(control(), "60"), "X-Amz-Expires"), BAD_QUERY_AUTH);
    world.accepts(&world.alice().presign(control(), "604800"));
}

#[test]
fn b03_not_valid_yet() {
    let world = World::new();
    let early = world.alice().later(Duration::minutes(20));
    let response = world.refuses(&early.presign(control(), "600"), ACCESS_DENIED);
    assert_eq!(response.element("Message").as_deref(), Some("Request is not valid yet"));
}

#[test]
fn b04_tampered() {
    let world = World::new();
    let alice = world.alice();
    let good = alice.presign(control(), "600");
    world.accepts(&good);
    world.refuses(&edited(good.clone(), "/datasets/control", "/datasets/contro1"), WRONG_SIGNATURE);
    world.refuses(&edited(good.clone(), "/datasets/control", "/models/control"), WRONG_SIGNATURE);
    world.refuses(&edited(good.clone(), "X-Amz-Expires=600", "X-Amz-Expires=601"), WRONG_SIGNATURE);
    for method in ["PUT", "DELETE", "HEAD"] {
        world.refuses(&Request { method: method.into(), ..good.clone() }, WRONG_SIGNATURE);
    }
    world.refuses(&flip_signature(good), WRONG_SIGNATURE);
    world.refuses(&alice.but(|s| s.secret = "a guess".into()).presign(control(), "600"), WRONG_SIGNATURE);
}

#[test]
fn b05_malformed_parameters() {
    let world = World::new();
    let alice = world.alice();
    for wrong in [
        alice.but(|s| s.algorithm = "AWS4-HMAC-SHA1".into()),
        alice.but(|s| s.terminal = "aws_request".into()),
        alice.but(|s| s.service = "ec2".into()),
        alice.but(|s| s.region = "eu-x".into()),
        alice.but(|s| s.region = "us-east-1/more".into()),
        alice.but(|s| s.scope_day = Some("20200101".into())),
    ] {
        world.refuses(&wrong.presign(control(), "600"), BAD_QUERY_AUTH);
    }
    let good = alice.presign(control(), "600");
    for name in ["Algorithm", "Credential", "Date", "Expires", "SignedHeaders", "Signature"] {
        world.refuses(&without_parameter(good.clone(), &format!("X-Amz-{name}")), BAD_QUERY_AUTH);
    }
}

#[test]
fn b06_parameters_added_after_signing() {
    let world = World::new();
    for pair in ["versionId=null", "partNumber=2", "response-content-type=text/html", "x=y"] {
        world.refuses(&world.alice().presign(control(), "600").query(pair), WRONG_SIGNATURE);
    }
}

#[test]
fn b07_two_mechanisms() {
    let world = World::new();
    let good = world.alice().presign(control(), "600");
    let header = world.alice().sign(good.clone()).get_header("authorization").unwrap().to_owned();
    for value in [header.as_str(), "garbage", "Bearer x"] {
        world.refuses(&good.clone().header("authorization", value), INVALID_ARGUMENT);
    }
}

#[test]
fn b08_sigv2_query() {
    let world = World::new();
    let request = Request::get("/datasets/control?AWSAccessKeyId=AKALICE&Signature=c2ln&Expires=2000000000");
    world.refuses(&request, INVALID_REQUEST);
}
