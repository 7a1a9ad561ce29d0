//! The client against a server that answers what it is told to.

use std::collections::VecDeque;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::UNIX_EPOCH;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::*;
use crate::config::Config;

const OBJECT: &str = "datasets/alice/a b";

/// Says these answers, one after the other, and keeps what it was asked.
struct Scripted {
    native: Native,
    seen: Arc<Mutex<Vec<(Method, String, String)>>>,
    _server: JoinSet<()>,
}

type Script = Vec<(u16, &'static [(&'static str, &'static str)], String)>;

impl Scripted {
    async fn new(script: Script) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let native = native(&format!("http://{}", listener.local_addr().expect("bound")));
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (script, kept) = (Arc::new(Mutex::new(VecDeque::from(script))), seen.clone());
        let mut server = JoinSet::new();
        server.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.expect("a connection");
                let (script, seen) = (script.clone(), kept.clone());
                let answer = service_fn(move |request: Request<Incoming>| {
                    let (script, seen) = (script.clone(), seen.clone());
                    async move {
                        let (parts, body) = request.into_parts();
                        let body = read_whole(body, 4096, PATIENCE).await.expect("a body");
                        let body = String::from_utf8(body).expect("text");
                        assert!(parts.headers.contains_key("authorization"));
                        seen.lock().expect("not poisoned").push((parts.method, parts.uri.to_string(), body));
                        let next = script.lock().expect("not poisoned").pop_front();
                        let Some((status, headers, body)) = next else {
                            return Err("the script has ended");
                        };
                        let mut response = http::Response::builder().status(status);
                        for (name, value) in headers {
                            response = response.header(*name, *value);
                        }
                        Ok(response.body(Full::new(Bytes::from(body))).expect("a response"))
                    }
                });
                // A connection that ends early is part of some scripts.
                connections.spawn(async move {
                    http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await.ok();
                });
            }
        });
        Self { native, seen, _server: server }
    }

    async fn create(&self) -> Result<Par, Failure> {
        let expires = UNIX_EPOCH + Duration::from_hours(500_001);
        self.native.create_par("bucketwarden-1", OBJECT, Access::Read, expires).await
    }

    fn seen(&self) -> Vec<(Method, String, String)> {
        self.seen.lock().expect("not poisoned").clone()
    }

    fn methods(&self) -> Vec<Method> {
        self.seen().into_iter().map(|(method, ..)| method).collect()
    }
}

fn native(endpoint: &str) -> Native {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("key.pem");
    let made = Command::new("openssl").args(["genrsa", "-out"]).arg(&file).arg("2048").output();
    assert!(made.expect("openssl runs").status.success());
    let key = ApiKey::read(&file).expect("a key");
    let text = format!(
        "[upstream]\nnamespace = \"ns1\"\nregion = \"us-phoenix-1\"\nbucket = \"real\"\naccess_key_id = \"AKREAL\"\n\
         secret_access_key = \"a-secret-of-the-gateway\"\n[upstream.native]\ntenancy = \"ocid1.tenancy.oc1..t\"\n\
         user = \"ocid1.user.oc1..u\"\nfingerprint = \"{}\"\nkey_file = \"key.pem\"\nendpoint = \"{endpoint}\"\n",
        key.fingerprint()
    );
    let config = Config::from_toml(&text, folder.path()).expect("a configuration").config;
    Native::new(&config.upstream).expect("a client").expect("one is configured")
}

fn ok(body: &str) -> (u16, &'static [(&'static str, &'static str)], String) {
    (200, &[], body.to_owned())
}

fn refused(status: u16) -> (u16, &'static [(&'static str, &'static str)], String) {
    (status, &[], r#"{"code":"SomeCode","message":"about ns1"}"#.to_owned())
}

const MADE: &str =
    r#"{"id":"x+/:datasets/alice/a b","name":"n","accessUri":"/p/token/n/ns1/b/real/o/x","more":1}"#;

#[tokio::test]
async fn a_par_is_made_and_deleted_by_the_id_that_oci_gave_it() {
    let oci = Scripted::new(vec![ok(MADE), (204, &[], String::new())]).await;
    let par = oci.create().await.expect("made");
    assert_eq!(par.url, format!("{}/p/token/n/ns1/b/real/o/x", oci.native.origin));
    oci.native.delete_par(&par.id).await.expect("deleted");
    let [(post, to, body), (delete, from, _)] = oci.seen().try_into().expect("two calls");
    assert_eq!((post, to.as_str()), (Method::POST, "/n/ns1/b/real/p/"));
    let wanted = r#"{"name":"bucketwarden-1","objectName":"datasets/alice/a b","accessType":"ObjectRead","timeExpires":"2027-01-15T09:00:00Z"}"#;
    assert_eq!(body, wanted);
    let path = "/n/ns1/b/real/p/x%2B%2F%3Adatasets%2Falice%2Fa%20b";
    assert_eq!((delete, from.as_str()), (Method::DELETE, path));
}

#[tokio::test]
async fn what_may_have_been_made_is_not_made_again() {
    for (script, methods, may_have_acted) in [
        (vec![refused(429), refused(429), ok(MADE)], 3, None),
        (vec![refused(429), refused(429), refused(429), ok(MADE)], 3, Some(false)),
        (vec![refused(500), ok(MADE)], 1, Some(true)),
        (vec![refused(503), ok(MADE)], 1, Some(true)),
        (vec![refused(400), ok(MADE)], 1, Some(false)),
        (vec![(307, &[("location", "http://127.0.0.1:1/")][..], String::new()), ok(MADE)], 1, Some(false)),
        // The connection ends without an answer.
        (vec![], 1, Some(true)),
        (vec![ok("{}"), ok(MADE)], 1, Some(true)),
        (vec![ok(&MADE.replace("/p/", "http://elsewhere/p/"))], 1, Some(true)),
        (vec![ok(&" ".repeat(MAX_ANSWER + 1)), ok(MADE)], 1, Some(true)),
    ] {
        let oci = Scripted::new(script).await;
        let failure = oci.create().await.err();
        assert_eq!(oci.methods(), vec![Method::POST; methods]);
        assert_eq!(failure.as_ref().map(Failure::may_have_acted), may_have_acted, "{failure:?}");
        if let Some(failure) = failure {
            let error = Error::from(failure);
            assert_eq!(error.status(), StatusCode::SERVICE_UNAVAILABLE);
            assert!(!error.message().contains("ns1") && !error.message().contains("SomeCode"), "{error}");
        }
    }
    let nobody = native("http://127.0.0.1:1");
    let made = nobody.create_par("n", OBJECT, Access::Write, UNIX_EPOCH).await;
    assert!(matches!(made, Err(Failure::Unreachable(_))));
}

#[tokio::test]
async fn what_is_not_there_is_deleted_for_who_may_ask() {
    let delete = async |script| {
        let oci = Scripted::new(script).await;
        let deleted = oci.native.delete_par("x").await;
        (deleted.is_ok(), oci.methods())
    };
    let (first, again) = (Method::DELETE, Method::GET);
    assert_eq!(delete(vec![refused(404), ok("[]")]).await, (true, vec![first.clone(), again.clone()]));
    assert_eq!(delete(vec![refused(404), refused(404)]).await, (false, vec![first.clone(), again]));
    assert_eq!(delete(vec![refused(503), (204, &[], String::new())]).await, (true, vec![first.clone(); 2]));
    assert_eq!(delete(vec![refused(409)]).await, (false, vec![first]));
}

#[tokio::test]
async fn pars_are_found_by_name_on_every_page() {
    let list = |ids: &[(&str, &str)]| {
        let pars: Vec<_> = ids
            .iter()
            .map(|(id, name)| serde_json::json!({ "id": id, "name": name, "objectName": "o" }))
            .collect();
        serde_json::Value::from(pars).to_string()
    };
    let first = list(&[("1", "mine"), ("2", "other")]);
    let script =
        vec![(200, &[("opc-next-page", "a/b=")][..], first), ok(&list(&[("3", "mine"), ("4", "mine2")]))];
    let oci = Scripted::new(script).await;
    let found = oci.native.pars_named("mine", OBJECT).await.expect("a list");
    assert_eq!(found, ["1", "3"]);
    let targets: Vec<_> = oci.seen().into_iter().map(|(_, target, _)| target).collect();
    let page = "/n/ns1/b/real/p/?objectNamePrefix=datasets%2Falice%2Fa%20b&limit=100";
    assert_eq!(targets, [page.to_owned(), format!("{page}&page=a%2Fb%3D")]);
    assert!(Scripted::new(vec![ok("{}")]).await.native.pars_named("mine", OBJECT).await.is_err());
}
