//! Upstreams that cannot be used, and runs that do not come to their end: what was written goes all the same.

use std::net::TcpListener;

use super::*;

#[test]
fn a_host_that_nobody_answers_at_ends_the_questions() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let probed = setup(format!("http://127.0.0.1:{port}")).probe();
    probed.assert_fails();
    assert_eq!(probed.all("no"), ["reach.tcp"], "{}", probed.everything());
    assert_eq!(probed.all("yes"), ["reach.dns"], "{}", probed.everything());
    assert!(probed.came("reach.tcp").contains("refused"), "{}", probed.everything());
    assert!(probed.stderr.contains("cannot be reached"), "{}", probed.stderr);
}

#[test]
fn a_server_that_is_no_s3_service_is_told() {
    let origin = Origin::start();
    let page = "<html>Not here</html>";
    let length = page.len();
    origin.always(Act::raw(format!("HTTP/1.1 404 Not Found\r\nContent-Length: {length}\r\n\r\n{page}")));
    let probed = over(&origin).probe();
    probed.assert_fails();
    assert_eq!(probed.setting("signing.key"), "check upstream.endpoint", "{}", probed.everything());
    // Who lets nobody in has shown no dialect.
    assert_eq!(probed.probe["dialect"], Value::Null, "{}", probed.everything());
    assert!(origin.seen().iter().all(|seen| seen.method() == "GET"));
}

#[test]
fn a_certificate_of_nobody_known_gets_no_signed_request() {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (cert, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    std::fs::write(&cert, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let (server, _) = bucketwarden::tls::server_config(&cert, &key).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
    let port = listener.local_addr().unwrap().port();
    let connections = runtime.spawn(async move {
        let acceptor = tokio_rustls::TlsAcceptor::from(server);
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            assert!(acceptor.accept(stream).await.is_err(), "the handshake came to its end");
        }
    });
    let probed = setup(format!("https://localhost:{port}")).probe();
    probed.assert_fails();
    assert_eq!(probed.outcome("reach.tls"), "no", "{}", probed.everything());
    assert!(probed.setting("reach.tls").starts_with("upstream.ca_file"), "{}", probed.everything());
    assert_eq!(probed.outcome("signing.key"), "not_tried");
    assert!(!connections.is_finished());
}

#[test]
fn a_signal_ends_the_questions_and_what_was_written_goes() {
    for (name, stalled) in [("-INT", "/multipart?"), ("-TERM", "/put-new"), ("-HUP", "/list/d")] {
        let origin = Origin::start();
        let is_stalled = move |seen: &Seen| seen.method() == "PUT" && seen.target().contains(stalled);
        origin.when(is_stalled, Act::silence());
        let (process, _folder) = over(&origin).start();
        origin.wait_for("the upload that hangs", |seen| seen.iter().any(is_stalled));
        assert!(!origin.inventory().is_empty(), "{stalled}: nothing was written before");
        signal(&process, name);
        let probed = Probed::new(&process.wait_with_output().unwrap());
        assert_eq!(
            (probed.exit, &probed.probe["stopped"]),
            (Some(1), &Value::Bool(true)),
            "{}",
            probed.everything()
        );
        probed.assert_clean();
        assert_eq!(origin.inventory(), [], "{stalled}");
        assert_eq!(origin.open_uploads(), Vec::<String>::new(), "{stalled}");
        let may_come = probed.probe["cleaned"]["may_come"].to_string();
        assert!(may_come.contains(stalled.trim_end_matches('?')), "{may_come}");
    }
}

#[test]
fn a_second_signal_does_not_wait_and_says_what_may_be_left() {
    let origin = Origin::start();
    let hangs = |seen: &Seen| seen.method() == "PUT" && seen.target().contains("/put-new");
    origin.when(hangs, Act::silence());
    let deletes = |seen: &Seen| seen.method() == "DELETE" && seen.target().contains("/list/a");
    origin.when(deletes, Act::silence());
    let (process, _folder) = over(&origin).start();
    origin.wait_for("the upload that hangs", |seen| seen.iter().any(hangs));
    signal(&process, "-INT");
    origin.wait_for("the deletion that hangs", |seen| seen.iter().any(deletes));
    signal(&process, "-INT");
    let output = process.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let stderr = text(&output.stderr);
    assert!(stderr.contains("may be left") && stderr.contains("/list/a"), "{stderr}");
}

#[test]
fn what_cannot_be_removed_is_named() {
    let origin = Origin::start();
    origin.when(
        |seen| seen.method() == "DELETE" && seen.target().ends_with("/object"),
        Act::error(403, "AccessDenied"),
    );
    let probed = over(&origin).probe();
    assert_eq!(probed.exit, Some(1), "{}", probed.everything());
    let left: Vec<&str> =
        probed.probe["cleaned"]["left"].as_array().unwrap().iter().map(|key| key.as_str().unwrap()).collect();
    let stored = origin.inventory();
    assert_eq!(
        left,
        stored.iter().map(|(key, _)| key.as_str()).collect::<Vec<_>>(),
        "{}",
        probed.everything()
    );
    assert!(left.len() == 1 && left[0].ends_with("/object"), "{left:?}");
}

#[test]
fn an_upstream_that_goes_silent_costs_answers_and_not_the_run() {
    let origin = Origin::start();
    origin.when(|seen| seen.method() == "GET" && seen.header("range").is_some(), Act::hang_up(Cut::Close));
    let probed = over(&origin).probe();
    probed.assert_fails().assert_clean();
    assert_eq!(probed.outcome("object.range"), "no", "{}", probed.everything());
    assert_eq!(probed.outcome("object.delete"), "yes", "{}", probed.everything());
    assert_eq!(probed.probe["reasons"].as_array().unwrap().len(), 1, "{}", probed.everything());
}

#[test]
fn an_upstream_that_lists_what_it_was_not_asked_for_loses_nothing() {
    let origin = Origin::start();
    let foreign = "datasets/alice/control";
    origin.seed(foreign, "control");
    let page = format!(
        "<ListBucketResult><IsTruncated>false</IsTruncated><Contents><Key>{foreign}</Key>\
         <Size>7</Size></Contents></ListBucketResult>"
    );
    origin.when(
        |seen| seen.method() == "GET" && seen.target().contains("list-type=2"),
        Act::reply(Reply::xml(200, &page)),
    );
    let probed = over(&origin).probe();
    probed.assert_fails();
    assert_eq!(origin.object(foreign).as_deref(), Some(&b"control"[..]), "{}", probed.everything());
    assert!(!probed.probe["cleaned"].to_string().contains(foreign), "{}", probed.everything());
}
