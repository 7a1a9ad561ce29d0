//! Group J: HTTP framing, smuggling, desync. Sent raw; the origin counts.

use crate::harness::*;

const SMUGGLED: &str = "GET /datasets/victim HTTP/1.1\r\nHost: x\r\n\r\n";

/// A good request's head with lines added, and this body.
fn raw(request: &Request, lines: &str, body: &str) -> Vec<u8> {
    let head = String::from_utf8(request.head_bytes()).unwrap();
    format!("{}{lines}\r\n{body}", &head[..head.len() - 2]).into_bytes()
}

/// A signed PUT without any framing of its own.
fn unframed_put(world: &World) -> Request {
    world.alice().sign_unsigned_payload(Request::new("POST", "/datasets/j")).without("content-length")
}

/// A signed GET.
fn get(world: &World) -> Request {
    world.alice().sign(Request::get("/datasets/control"))
}

#[test]
fn j01_content_length_and_transfer_encoding() {
    let world = World::new();
    let put = world
        .alice()
        .sign_unsigned_payload(Request::put("/datasets/j", ""))
        .header("connection", "keep-alive");
    let head = |lines: &str| {
        let head = String::from_utf8(put.clone().header("x-framing", "here").head_bytes()).unwrap();
        head.replace("Content-Length: 0\r\n", "").replace("x-framing: here\r\n", lines)
    };
    let chunked = format!("0\r\n\r\n{SMUGGLED}");
    for lines in [
        format!("Content-Length: {}\r\nTransfer-Encoding: chunked\r\n", chunked.len()),
        format!("Transfer-Encoding: chunked\r\nContent-Length: {}\r\n", chunked.len()),
        "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n".into(),
    ] {
        let mut client = world.client();
        client.write(format!("{}{chunked}", head(&lines)));
        let count = world.origin.count();
        if let Some(response) = client.response("PUT") {
            assert!(matches!(response.status, 400 | 411 | 501), "{}", response.everything());
            assert!(
                response.announces_close() || client.response("GET").is_none(),
                "the smuggled request was answered"
            );
        }
        assert!(world.origin.count() - count <= 1);
        assert!(world.origin.seen().iter().all(|s| !s.target().contains("victim")));
    }
}

#[test]
fn j02_content_lengths() {
    let world = World::new();
    for lines in [
        "Content-Length: 4\r\nContent-Length: 5\r\n",
        "Content-Length: 5,5\r\n",
        "Content-Length: +5\r\n",
        "Content-Length: 0x5\r\n",
        "Content-Length: 5 5\r\n",
        "Content-Length: \r\n",
        "Content-Length: -1\r\n",
        "Content-Length: 99999999999999999999\r\n",
    ] {
        let request = world.alice().sign_unsigned_payload(Request::new("DELETE", "/datasets/j"));
        let bytes = raw(&request, &format!("{lines}Connection: close\r\n"), "hello");
        let answers: Answers<'_> =
            if lines.contains("9999") { &[(400, ""), (413, "")] } else { &[(400, "")] };
        let mut client = world.client();
        if let Some(response) = client.exchange(&bytes, "DELETE") {
            assert!(answers.iter().any(|(s, _)| *s == response.status), "{lines}: {}", response.everything());
        }
    }
}

#[test]
fn j03_transfer_encodings() {
    let world = World::new();
    for lines in [
        "Transfer-Encoding : chunked\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding: chunked, identity\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
        "Transfer-Encoding: \x0bchunked\r\n",
    ] {
        let request = unframed_put(&world);
        let head = String::from_utf8(request.head_bytes()).unwrap().replace("Content-Length: 0\r\n", lines);
        let bytes = format!("{head}0\r\n\r\n{SMUGGLED}");
        let mut client = world.client();
        let response = client.exchange(bytes.as_bytes(), "POST");
        if let Some(response) = response {
            assert!(matches!(response.status, 400 | 411 | 501), "{lines}: {}", response.everything());
            assert!(client.response("GET").is_none(), "{lines}: the smuggled request was answered");
        }
    }
    assert_eq!(world.origin.count(), 0);
}

#[test]
fn j03_codings_besides_chunked() {
    let world = World::new();
    for lines in
        ["Transfer-Encoding: gzip, chunked\r\n", "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n"]
    {
        let head = String::from_utf8(unframed_put(&world).head_bytes()).unwrap();
        let bytes = format!("{}0\r\n\r\n", head.replace("Content-Length: 0\r\n", lines));
        let response = world.client().exchange(bytes.as_bytes(), "POST").unwrap();
        assert_eq!((response.status, response.code().as_str()), (501, "NotImplemented"), "{lines}");
    }
    assert_eq!(world.origin.count(), 0);
}

#[test]
fn j03_http_1_0_with_transfer_encoding() {
    let world = World::new();
    let head = String::from_utf8(unframed_put(&world).head_bytes()).unwrap();
    let head = head
        .replace("HTTP/1.1", "HTTP/1.0")
        .replace("Content-Length: 0\r\n", "Transfer-Encoding: chunked\r\n");
    let mut client = world.client();
    if let Some(response) = client.exchange(format!("{head}0\r\n\r\n{SMUGGLED}").as_bytes(), "POST") {
        assert!(matches!(response.status, 400 | 411 | 501 | 505), "{}", response.everything());
        assert!(client.response("GET").is_none());
    }
    assert_eq!(world.origin.count(), 0);
}

#[test]
fn j05_malformed_heads() {
    let world = World::new();
    let good = String::from_utf8(get(&world).head_bytes()).unwrap();
    let line_end = good.find("\r\n").unwrap();
    let with_header = |header: &str| format!("{}\r\n{header}{}", &good[..line_end], &good[line_end + 2..]);
    for bytes in [
        with_header("X-Fold: a\r\n b\r\n"),
        with_header("X-Space : a\r\n"),
        with_header("X-Nul: a\0b\r\n"),
        with_header("X-Cr: a\rb\r\n"),
        with_header("X-Lf: a\n"),
        with_header("X-Lf: a\nX-More: b\r\n"),
        good.replace("\r\n", "\n"),
        with_header("NoColon\r\n"),
        with_header(" leading: a\r\n"),
        with_header(": nameless\r\n"),
        good.replace(" HTTP/1.1", ""),
        good.replace(" HTTP/1.1", " HTTP/9.9"),
        good.replace("GET ", "GET  "),
        good.replace("GET ", "G ET "),
        good.replace("GET /", "GET \u{7f}/"),
        "GET /datasets/control\r\n\r\n".into(),
        "\u{16}\u{3}\u{1}\u{2}\u{0}\u{1}\u{0}\u{1}\r\n\r\n".into(),
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".into(),
    ] {
        world.refuses_bytes(
            0,
            &Request::get("/datasets/control"),
            bytes.as_bytes(),
            &[(400, ""), (501, ""), (505, "")],
        );
    }
}

#[test]
fn j07_a_large_refused_body_does_not_become_a_request() {
    let world = World::new();
    let mut body = Vec::with_capacity(100 << 20);
    while body.len() < 100 << 20 {
        body.extend_from_slice(SMUGGLED.as_bytes());
    }
    let forged = flip_signature(world.alice().sign_unsigned_payload(Request::put("/datasets/j", body)));
    let mut client = world.client();
    if let Some(response) = client.try_send(&forged) {
        assert_eq!(response.status, 403);
        assert!(response.announces_close());
        world.assert_in_sync(&mut client);
    }
    assert!(world.origin.seen().iter().all(|s| s.target().ends_with("/control")));
}

#[test]
fn j07_a_small_refused_body_is_read_away() {
    let world = World::new();
    let forged = flip_signature(world.alice().sign(Request::put("/datasets/j", "small")));
    let (head, body) = (forged.head_bytes(), forged.body.clone());
    let mut client = world.client();
    for _ in 0..20 {
        // The body comes a moment after the head, as from clients that write twice.
        client.write(&head);
        client.write(&body);
        let response = client.response("PUT").unwrap();
        assert_eq!(response.status, 403);
        assert!(!response.announces_close());
    }
    client.send(&get(&world)).assert_status(200);
    // One that waits to be asked is not asked; whether it sends the body all the same nobody can know.
    let waits = client.send(&forged.header("expect", "100-continue"));
    assert!(waits.announces_close());
}

#[test]
fn j09_expectations() {
    let world = World::new();
    let request = world.alice().sign(Request::put("/datasets/j", "body"));
    let refused: Answers<'_> = &[(417, ""), (417, "ExpectationFailed")];
    world.refuses(&request.clone().header("expect", "foo"), refused);
    let two = request.clone().header("expect", "100-continue").header("expect", "foo");
    world.refuses(&two, refused);
    world.accepts(&request);
}

#[test]
fn j09_a_refusal_comes_without_100_continue() {
    let world = World::new();
    let request = world.alice().sign(Request::put("/datasets/j", "body")).header("expect", "100-continue");
    for (bad, status) in
        [(flip_signature(request.clone()), 403), (request.clone().header("x-amz-acl", "x"), 403)]
    {
        let mut client = world.client();
        client.write(bad.head_bytes());
        let response = client.response("PUT").expect("the refusal");
        assert_eq!((response.status, response.interim.as_slice()), (status, [].as_slice()));
    }
    assert_eq!(world.origin.count(), 0);
    let mut client = world.client();
    client.write(request.head_bytes());
    let interim = client.wire().head().expect("100 Continue");
    assert_eq!(interim.word(1), "100");
    client.write("body");
    client.response("PUT").expect("an answer").assert_status(200);
}

#[test]
fn j09_an_answer_to_expect_without_100_continue_ends_the_connection() {
    let world = World::new();
    let mut client = world.client();
    let empty = world.alice().sign(Request::put("/datasets/j", ""));
    assert!(!client.send(&empty).announces_close());
    let response = client.send(&empty.header("expect", "100-continue"));
    response.assert_status(200);
    assert_eq!((response.interim.as_slice(), response.announces_close()), ([].as_slice(), true));
}

#[test]
fn j11_bodies_where_none_belongs() {
    let world = World::new();
    for method in ["GET", "HEAD", "DELETE"] {
        let target = if method == "DELETE" { "/datasets/gone" } else { "/datasets/control" };
        let request = world.alice().sign_unsigned_payload(Request::new(method, target));
        let request = request.body(SMUGGLED);
        let mut client = world.client();
        let Some(response) = client.try_send(&request) else {
            continue;
        };
        assert!(response.status < 500, "{}", response.everything());
        if !response.announces_close() {
            world.assert_in_sync(&mut client);
        }
    }
    assert!(world.origin.seen().iter().all(|s| !s.target().contains("victim")));
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let world = World::new();
    let mut bytes = get(&world).bytes();
    bytes.extend(world.alice().sign(Request::new("HEAD", "/datasets/control")).bytes());
    bytes.extend(get(&world).bytes());
    let mut client = world.client();
    client.write(bytes);
    for method in ["GET", "HEAD", "GET"] {
        let response = client.response(method).expect("an answer");
        assert_eq!((response.status, response.body.is_empty()), (200, method == "HEAD"));
    }
}
