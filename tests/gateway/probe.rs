//! `bucketwarden check --probe` as its user runs it: a process, in front of upstreams of every kind. Whatever the
//! upstream does, it tells the truth, shows no secret and leaves nothing behind.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{KeyPair as _, RsaKeyPair};
use bucketwarden::config::ApiKey;
use bucketwarden::dev_store::{DevStore, Settings as StoreSettings};
use bucketwarden::types::Secret;
use serde_json::Value;
use tokio::runtime::Runtime;

use crate::harness::*;
use crate::oci::{NativeKey, Propagation, Settings, StandIn};

const BUCKET: &str = "real-bucket";
const REGION: &str = "us-phoenix-1";
const KEY: (&str, &str) = ("customer-key", "customer-secret-that-nobody-sees");
const OLD_KEY: (&str, &str) = ("older-key", "older-secret-that-nobody-sees");
const PREFIX: &str = "datasets/.bucketwarden-probe-";

/// A configuration, one line of it at a time.
struct Setup {
    endpoint: String,
    dialect: &'static str,
    region: &'static str,
    bucket: &'static str,
    key: (&'static str, &'static str),
    more: String,
}

fn setup(endpoint: impl Into<String>) -> Setup {
    let endpoint = endpoint.into();
    Setup { endpoint, dialect: "oci", region: REGION, bucket: BUCKET, key: KEY, more: String::new() }
}

impl Setup {
    fn but(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    fn command(&self, folder: &tempfile::TempDir) -> Command {
        let Self { endpoint, dialect, region, bucket, key, more } = self;
        let text = format!(
            "[admin]\ntoken = \"an-admin-token-of-the-probe-0123456789abcdef\"\n\
             [auth]\nmaster_key = \"MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=\"\n\
             [upstream]\ndialect = \"{dialect}\"\nendpoint = \"{endpoint}\"\nregion = \"{region}\"\n\
             bucket = \"{bucket}\"\naccess_key_id = \"{}\"\nsecret_access_key = \"{}\"\n{more}",
            key.0, key.1
        );
        std::fs::write(folder.path().join("config.toml"), text).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_bucketwarden"));
        command.args(["check", "--probe", "--json"]).env_clear().current_dir(folder.path());
        command
    }

    fn probe(&self) -> Probed {
        let folder = tempfile::tempdir().unwrap();
        Probed::new(&self.command(&folder).output().unwrap())
    }

    /// In the background, to be ended by signals.
    fn start(&self) -> (Child, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let mut command = self.command(&folder);
        (command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap(), folder)
    }
}

/// What a run said.
struct Probed {
    exit: Option<i32>,
    stderr: String,
    probe: Value,
}

impl Probed {
    fn new(output: &Output) -> Self {
        let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
        for secret in [KEY.1, OLD_KEY.1, GATEWAY_SECRET, "AWS4-HMAC-SHA256 Credential"] {
            assert!(!stdout.contains(secret) && !stderr.contains(secret), "{stdout}{stderr}");
        }
        let document: Value = serde_json::from_str(&stdout).unwrap_or_else(|_| panic!("{stdout}{stderr}"));
        Self { exit: output.status.code(), stderr, probe: document["probe"].clone() }
    }

    /// `yes`, `no` or `not_tried`.
    fn outcome(&self, name: &str) -> &str {
        self.finding(name)["outcome"].as_str().unwrap()
    }

    fn came(&self, name: &str) -> &str {
        self.finding(name)["came"].as_str().unwrap()
    }

    fn setting(&self, name: &str) -> &str {
        self.finding(name)["setting"].as_str().unwrap_or_default()
    }

    fn finding(&self, name: &str) -> &Value {
        let mut findings = self.findings().iter();
        findings
            .find(|finding| finding["name"] == name)
            .unwrap_or_else(|| panic!("no {name}: {}", self.probe))
    }

    fn findings(&self) -> &[Value] {
        self.probe["findings"].as_array().unwrap()
    }

    /// The names of all findings with this outcome.
    fn all(&self, outcome: &str) -> Vec<&str> {
        let found = self.findings().iter().filter(|finding| finding["outcome"] == outcome);
        found.map(|finding| finding["name"].as_str().unwrap()).collect()
    }

    fn everything(&self) -> String {
        format!("{:#}\n{}", self.probe, self.stderr)
    }

    #[track_caller]
    fn assert_works(&self) -> &Self {
        assert_eq!((self.exit, &self.probe["works"]), (Some(0), &Value::Bool(true)), "{}", self.everything());
        self
    }

    #[track_caller]
    fn assert_fails(&self) -> &Self {
        assert_eq!(
            (self.exit, &self.probe["works"]),
            (Some(1), &Value::Bool(false)),
            "{}",
            self.everything()
        );
        assert!(!self.probe["reasons"].as_array().unwrap().is_empty(), "{}", self.everything());
        self
    }

    #[track_caller]
    fn assert_clean(&self) -> &Self {
        assert_eq!(self.probe["cleaned"]["clean"], true, "{}", self.everything());
        self
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn oci() -> StandIn {
    let keys = [KEY, OLD_KEY].map(|(id, secret)| (id.into(), secret.into()));
    StandIn::start_apart(Settings { keys: keys.into(), ..Settings::default() })
}

/// The bucket, seen with another client's eyes, holds neither object nor upload.
#[track_caller]
fn assert_empty(endpoint: &str) {
    let address: SocketAddr = endpoint.strip_prefix("http://").unwrap().parse().unwrap();
    let signer = Signer::new(OLD_KEY.0, OLD_KEY.1).but(|signer| signer.region = REGION.into());
    for (query, element) in [("list-type=2", "Contents"), ("uploads=", "Upload")] {
        let list = Request::get(&format!("/{BUCKET}?{query}"));
        let answer = Client::connect(address).send(&signer.sign_unsigned_payload(list));
        answer.assert_status(200);
        assert_eq!(answer.elements(element), Vec::<String>::new(), "{query}");
    }
}

/// The gateway's embedded store: S3 without aws-chunked and tags.
struct Store {
    endpoint: String,
    _runtime: Runtime,
    _folder: tempfile::TempDir,
}

impl Store {
    fn start(key: (&str, &str)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let settings = StoreSettings {
            dir: PathBuf::from(folder.path()),
            bucket: BUCKET.into(),
            region: REGION.into(),
            access_key_id: key.0.into(),
            secret: Secret::new(key.1.into()),
        };
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        runtime.spawn(DevStore::open(settings).unwrap().serve(listener, std::future::pending()));
        Self { endpoint, _runtime: runtime, _folder: folder }
    }
}

#[test]
fn an_s3_service_is_told_from_oci_and_nothing_is_left() {
    let store = Store::start(OLD_KEY);
    let probed = setup(&store.endpoint).but(|setup| (setup.dialect, setup.key) = ("s3", OLD_KEY)).probe();
    probed.assert_works().assert_clean();
    assert_eq!(probed.probe["dialect"], "s3", "{}", probed.everything());
    assert_eq!(probed.probe["settings"], serde_json::json!([]), "{}", probed.everything());
    assert_eq!(
        probed.all("no"),
        [
            "chunked.signed",
            "chunked.signed-trailer",
            "chunked.unsigned-trailer",
            "body.no-length",
            "delete-objects.bare",
            "tagging.object"
        ],
        "{}",
        probed.everything()
    );
    assert_eq!(
        probed.all("not_tried"),
        ["reach.tls", "object.sse-c", "answer.headers", "native.pars"],
        "{}",
        probed.everything()
    );
    assert!(probed.findings().len() > 55, "{}", probed.everything());
    assert_empty(&store.endpoint);
}

#[test]
fn oci_is_found_out() {
    let oci = oci();
    let probed = setup(oci.s3_endpoint()).probe();
    probed.assert_works().assert_clean();
    assert_eq!(probed.probe["dialect"], "oci", "{}", probed.everything());
    for (name, outcome, came) in [
        ("signing.key", "yes", "5 of 5"),
        ("chunked.signed", "no", "AWS chunked encoding not supported"),
        ("chunked.signed-trailer", "no", "501 NotImplemented"),
        ("chunked.unsigned-trailer", "no", "501 NotImplemented"),
        ("delete-objects.content-md5", "yes", "the object is gone"),
        ("delete-objects.sha256", "yes", "the object is gone"),
        ("delete-objects.crc32c", "yes", "the object is gone"),
        ("delete-objects.crc32", "no", "400 InvalidRequest"),
        ("delete-objects.bare", "no", "400"),
        ("condition.put-new", "yes", "412"),
        ("key.line-feed", "no", "400"),
        ("versions.list", "no", "501"),
        ("tagging.object", "no", "501"),
        ("error.shape", "yes", "Message before Code, without RequestId"),
        ("answer.headers", "yes", "opc-request-id"),
        ("load.throttled", "yes", "0 of"),
    ] {
        assert_eq!(probed.outcome(name), outcome, "{name}: {}", probed.everything());
        assert!(probed.came(name).contains(came), "{name}: {}", probed.everything());
    }
    let losses = probed.probe["losses"].to_string();
    assert!(losses.contains("ListObjectVersions does not work"), "{losses}");
    let seen = oci.control().requests();
    let strays: Vec<_> =
        seen.iter().filter(|seen| seen.method == "PUT" && !seen.path_and_query.contains(PREFIX)).collect();
    assert!(strays.is_empty(), "{strays:?}");
    assert_empty(&oci.s3_endpoint());
}

#[test]
fn a_configured_dialect_that_does_not_fit_is_named_with_the_one_that_does() {
    let oci = oci();
    let probed = setup(oci.s3_endpoint()).but(|setup| setup.dialect = "s3").probe();
    assert!(
        probed.probe["settings"].to_string().contains(r#"upstream.dialect = \"oci\""#),
        "{}",
        probed.everything()
    );
}

#[test]
fn an_oci_that_takes_aws_chunked_is_seen_to() {
    let oci = oci();
    oci.control().allow_aws_chunked(true);
    let probed = setup(oci.s3_endpoint()).probe();
    for name in ["chunked.signed", "chunked.signed-trailer", "chunked.unsigned-trailer"] {
        assert_eq!(probed.outcome(name), "yes", "{name}: {}", probed.everything());
    }
}

#[test]
fn throttling_costs_time_and_no_answer() {
    let oci = oci();
    let calm = setup(oci.s3_endpoint()).probe();
    oci.control().throttle_every(3);
    let throttled = setup(oci.s3_endpoint()).probe();
    throttled.assert_works().assert_clean();
    assert_eq!(throttled.outcome("load.throttled"), "no");
    let but_load = |probed: &Probed| -> Vec<String> {
        let names = probed.all("no").into_iter().filter(|name| *name != "load.throttled");
        names.map(str::to_owned).collect()
    };
    assert_eq!(but_load(&calm), but_load(&throttled), "{}", throttled.everything());
    oci.control().throttle_every(0);
    assert_empty(&oci.s3_endpoint());
}

#[test]
fn a_key_that_has_not_spread_is_told_from_a_wrong_secret() {
    let oci = oci();
    oci.control().propagate(KEY.0, Propagation::Nowhere);
    let probed = setup(oci.s3_endpoint()).probe();
    probed.assert_fails();
    assert_eq!(probed.outcome("signing.key"), "no");
    assert!(probed.setting("signing.key").contains("takes up to 5 minutes"), "{}", probed.everything());
    assert_eq!(probed.outcome("object.put"), "not_tried", "{}", probed.everything());
    oci.control().throttle_every(3);
    let probed = setup(oci.s3_endpoint()).probe();
    assert_eq!(
        probed.outcome("signing.key"),
        "no",
        "throttling says nothing of a key: {}",
        probed.everything()
    );
    oci.control().throttle_every(0);

    oci.control().propagate(KEY.0, Propagation::Every(2));
    let probed = setup(oci.s3_endpoint()).probe();
    probed.assert_works().assert_clean();
    assert!(
        probed.setting("signing.key").contains("has not reached every server"),
        "{}",
        probed.everything()
    );

    oci.control().propagate(KEY.0, Propagation::Everywhere);
    let probed = setup(oci.s3_endpoint()).but(|setup| setup.key.1 = "another-secret").probe();
    probed.assert_fails();
    assert_eq!(probed.setting("signing.key"), "check secret_access_key", "{}", probed.everything());
    assert_empty(&oci.s3_endpoint());
}

#[test]
fn a_key_that_is_rotated_out_is_told_from_its_successor() {
    let oci = oci();
    let previous = format!(
        "[upstream.previous]\naccess_key_id = \"{}\"\nsecret_access_key = \"{}\"\n",
        OLD_KEY.0, OLD_KEY.1
    );
    let rotating = || setup(oci.s3_endpoint()).but(|setup| setup.more.clone_from(&previous));
    for (new, old, works, setting) in [
        (Propagation::Everywhere, Propagation::Everywhere, true, "once every gateway has the new key"),
        (Propagation::Nowhere, Propagation::Everywhere, true, "keep [upstream.previous]"),
        (Propagation::Everywhere, Propagation::Nowhere, true, "remove [upstream.previous]"),
        (Propagation::Nowhere, Propagation::Nowhere, false, ""),
    ] {
        oci.control().propagate(KEY.0, new);
        oci.control().propagate(OLD_KEY.0, old);
        let probed = rotating().probe();
        assert_eq!(probed.exit, Some(i32::from(!works)), "{}", probed.everything());
        assert!(probed.setting("signing.either").contains(setting), "{}", probed.everything());
        assert_eq!(probed.outcome("signing.key") == "yes", new == Propagation::Everywhere);
        assert_eq!(probed.outcome("signing.previous") == "yes", old == Propagation::Everywhere);
    }
    oci.control().propagate(OLD_KEY.0, Propagation::Everywhere);
    assert_empty(&oci.s3_endpoint());
}

#[test]
fn a_wrong_region_is_told_from_a_wrong_key() {
    let store = Store::start(KEY);
    let s3 = |setup: &mut Setup| (setup.dialect, setup.region) = ("s3", "eu-frankfurt-1");
    let probed = setup(&store.endpoint).but(s3).probe();
    probed.assert_fails();
    assert_eq!(
        probed.setting("signing.key"),
        "upstream.region = \"us-phoenix-1\"",
        "{}",
        probed.everything()
    );
    let probed =
        setup(&store.endpoint).but(|setup| (setup.dialect, setup.key.0) = ("s3", "nobodys-key")).probe();
    probed.assert_fails();
    assert!(probed.setting("signing.key").starts_with("check access_key_id"), "{}", probed.everything());
    // OCI has one sentence for both.
    let oci = oci();
    let probed = setup(oci.s3_endpoint()).but(|setup| setup.region = "eu-frankfurt-1").probe();
    probed.assert_fails();
    assert!(probed.setting("signing.key").contains("upstream.region"), "{}", probed.everything());
}

#[test]
fn the_native_api_is_asked_by_its_own_key_whatever_the_s3_face_says() {
    let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    let public: PublicKeyX509Der<'_> = pair.public_key().as_der().unwrap();
    let private: Pkcs8V1Der<'_> = pair.as_der().unwrap();
    let pem =
        format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", base64(private.as_ref()));
    let fingerprint = ApiKey::from_pem(pem.as_bytes()).unwrap().fingerprint().to_owned();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("key.pem");
    std::fs::write(&file, &pem).unwrap();
    let (tenancy, user) = ("ocid1.tenancy.oc1..t", "ocid1.user.oc1..u");
    let oci = StandIn::start_apart(Settings {
        native_keys: vec![NativeKey {
            key_id: format!("{tenancy}/{user}/{fingerprint}"),
            public_key_der: public.as_ref().to_vec(),
        }],
        ..Settings::default()
    });
    let native = |user: &str| {
        format!(
            "namespace = \"{}\"\n[upstream.native]\ntenancy = \"{tenancy}\"\nuser = \"{user}\"\n\
             fingerprint = \"{fingerprint}\"\nkey_file = \"{}\"\nendpoint = \"{}\"\n",
            Settings::default().namespace,
            file.display(),
            oci.native_endpoint()
        )
    };
    let with_user = |user: &str| setup(oci.s3_endpoint()).but(|setup| setup.more = native(user)).probe();
    let probed = with_user(user);
    assert_eq!(probed.outcome("native.pars"), "yes", "{}", probed.everything());
    assert_eq!(probed.outcome("signing.key"), "no", "this stand-in knows no key of the S3 face");
    let probed = with_user("ocid1.user.oc1..another");
    assert_eq!(probed.outcome("native.pars"), "no", "{}", probed.everything());
    assert!(probed.setting("native.pars").contains("upstream.native.user"), "{}", probed.everything());
}

#[test]
fn a_bucket_that_is_not_there_is_named() {
    let oci = oci();
    let probed = setup(oci.s3_endpoint()).but(|setup| setup.bucket = "another-bucket").probe();
    probed.assert_fails();
    assert_eq!(probed.outcome("signing.key"), "yes", "{}", probed.everything());
    assert!(probed.setting("object.put").starts_with("upstream.bucket"), "{}", probed.everything());
    assert_eq!(probed.outcome("object.get"), "not_tried");
}

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
    origin.always(Act::reply(Reply::new(404).body("<html>Not here</html>")));
    let probed = over(&origin).probe();
    probed.assert_fails();
    assert_eq!(probed.setting("signing.key"), "check upstream.endpoint", "{}", probed.everything());
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
fn a_clock_that_is_wrong_is_blamed() {
    let origin = Origin::start();
    let skewed = Reply::error(403, "RequestTimeTooSkewed").header("date", "Wed, 01 Jan 2025 00:00:00 GMT");
    origin.always(Act::reply(skewed));
    let probed = over(&origin).probe();
    probed.assert_fails();
    assert_eq!(probed.outcome("clock.skew"), "no", "{}", probed.everything());
    assert_eq!(probed.setting("clock.skew"), "set this machine's clock");
}

fn over(origin: &Origin) -> Setup {
    setup(format!("http://{}", origin.addr)).but(|setup| {
        (setup.dialect, setup.bucket, setup.key) = ("s3", REAL_BUCKET, (GATEWAY_KEY, GATEWAY_SECRET));
    })
}

fn signal(process: &Child, name: &str) {
    Command::new("kill").args([name, &process.id().to_string()]).status().unwrap();
}

#[test]
fn a_signal_ends_the_questions_and_what_was_written_goes() {
    for (name, stalled) in [("-INT", "/multipart?"), ("-TERM", "/put-new"), ("-INT", "/list/d")] {
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
fn the_table_says_what_the_document_says() {
    let oci = oci();
    let folder = tempfile::tempdir().unwrap();
    let mut command = setup(oci.s3_endpoint()).command(&folder);
    command.output().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_bucketwarden"))
        .args(["check", "--probe"])
        .env_clear()
        .current_dir(folder.path())
        .output()
        .unwrap();
    let stdout = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{stdout}");
    for line in [
        "✓ object.put",
        "✗ chunked.signed ",
        "– reach.tls",
        "not tried: ",
        "The dialect that fits is \"oci\"",
    ] {
        assert!(stdout.contains(line), "{line}: {stdout}");
    }
    assert!(stdout.contains("Nothing is left under datasets/.bucketwarden-probe-"), "{stdout}");
    assert!(stdout.starts_with("[server]"), "the effective configuration comes first: {stdout}");
    assert!(!stdout.contains(KEY.1));
}

#[test]
fn json_without_a_probe_is_the_configuration() {
    let folder = tempfile::tempdir().unwrap();
    setup("http://127.0.0.1:1").command(&folder);
    let output = Command::new(env!("CARGO_BIN_EXE_bucketwarden"))
        .args(["check", "--json"])
        .env_clear()
        .current_dir(folder.path())
        .output()
        .unwrap();
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["configuration"]["upstream"]["bucket"], BUCKET);
    assert_eq!(document["probe"], Value::Null);
    assert!(!text(&output.stdout).contains(KEY.1));
}
