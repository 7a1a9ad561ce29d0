//! The harness against itself: a peer that is wrong about the wire would prove nothing.

use crate::harness::{
    Act, Client, Cut, End, GATEWAY_KEY, GATEWAY_SECRET, Origin, REAL_BUCKET, Reply, Request, Signer, elements,
};

fn gateway() -> Signer {
    Signer::new(GATEWAY_KEY, GATEWAY_SECRET)
}

fn at(key: &str) -> String {
    format!("/{REAL_BUCKET}/{key}")
}

#[test]
fn the_memory_s3_puts_gets_lists_and_deletes() {
    let origin = Origin::start();
    let mut client = Client::connect(origin.addr);
    client.send(&gateway().sign(Request::put(&at("a/b%20c"), "hello"))).assert_status(200);
    let get = client.send(&gateway().sign(Request::get(&at("a/b%20c")).header("range", "bytes=1-3")));
    assert_eq!((get.status, get.text().as_str()), (206, "ell"));
    origin.seed("a/d/e", "x");
    let list = client
        .send(&gateway().sign(Request::get(&format!("/{REAL_BUCKET}?list-type=2&prefix=a/&delimiter=/"))));
    assert_eq!(list.elements("Key"), ["a/b c"]);
    assert!(elements(&list.text(), "Prefix").contains(&"a/d/".to_owned()));
    client.send(&gateway().sign(Request::delete(&at("a/b%20c")))).assert_status(204);
    assert_eq!(origin.object("a/b c"), None);
    assert_eq!(origin.connections(), 1);
}

#[test]
fn the_memory_s3_pages_and_completes_uploads() {
    let origin = Origin::start();
    let mut client = Client::connect(origin.addr);
    for key in ["p/1", "p/2", "p/3"] {
        origin.seed(key, key);
    }
    let query = format!("/{REAL_BUCKET}?list-type=2&prefix=p/&max-keys=2");
    let first = client.send(&gateway().sign(Request::get(&query)));
    assert_eq!(first.elements("Key"), ["p/1", "p/2"]);
    let token = crate::harness::uri_encode(&first.element("NextContinuationToken").unwrap(), false);
    let next = client.send(&gateway().sign(Request::get(&format!("{query}&continuation-token={token}"))));
    assert_eq!(next.elements("Key"), ["p/3"]);

    let created = client.send(&gateway().sign(Request::post(&at("big?uploads"), "")));
    let id = created.element("UploadId").unwrap();
    for n in ["1", "2"] {
        let target = at(&format!("big?partNumber={n}&uploadId={id}"));
        client.send(&gateway().sign(Request::put(&target, format!("part{n}")))).assert_status(200);
    }
    let body = "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber></Part><Part><PartNumber>2</PartNumber>\
                </Part></CompleteMultipartUpload>";
    client.send(&gateway().sign(Request::post(&at(&format!("big?uploadId={id}")), body))).assert_status(200);
    assert_eq!(origin.object("big").unwrap(), b"part1part2");
}

#[test]
fn a_wrongly_signed_request_is_refused() {
    let origin = Origin::start();
    let forger = gateway().but(|s| s.secret.push('x'));
    Client::connect(origin.addr).send(&forger.sign(Request::get(&at("a")))).assert_status(403);
}

#[test]
fn scripted_faults_show_on_the_wire() {
    let origin = Origin::start();
    let get = gateway().sign(Request::get(&at("a")));
    let short = Act::reply(Reply::new(200).body("0123456789")).cut_after(4, Cut::Close);
    origin.next(short);
    let response = Client::connect(origin.addr).send(&get);
    assert_eq!((response.text().as_str(), response.end), ("0123", End::Broken));

    origin.next(Act::hang_up(Cut::Reset));
    assert!(Client::connect(origin.addr).try_send(&get).is_none());

    origin.next(Act::silence());
    let mut gone = Client::connect(origin.addr);
    gone.write(get.bytes());
    origin.wait_for("the request", |seen| seen.len() == 3);
    gone.hang_up();
    origin.wait_for("the departure", |seen| seen[2].gone);

    origin.next(Act::error(403, "AccessDenied").early(1));
    let put = gateway().sign_unsigned_payload(Request::put(&at("b"), vec![0; 8 << 20]));
    let refused = Client::connect(origin.addr).send(&put);
    assert_eq!((refused.status, refused.code().as_str()), (403, "AccessDenied"));
    assert_eq!(origin.object("b"), None);
}

#[test]
fn expect_continue_is_answered_first() {
    let origin = Origin::start();
    let put = gateway().sign(Request::put(&at("a"), "body").header("expect", "100-continue"));
    let mut client = Client::connect(origin.addr);
    client.write(put.head_bytes());
    origin.wait_for("the head", |seen| seen.len() == 1);
    client.write("body");
    let response = client.response("PUT").unwrap();
    assert_eq!((response.status, response.interim.as_slice()), (200, [100].as_slice()));
}
