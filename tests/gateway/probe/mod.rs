//! `bucketwarden check --probe` as its user runs it: a process, in front of upstreams of every kind. Whatever the
//! upstream does, it tells the truth, shows no secret and leaves nothing behind.

mod endings;
mod findings;
mod keys;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use bucketwarden::dev_store::{DevStore, Settings as StoreSettings};
use bucketwarden::types::Secret;
use serde_json::Value;
use tokio::runtime::Runtime;

use crate::harness::*;
use crate::oci::{Settings, StandIn};

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

fn over(origin: &Origin) -> Setup {
    setup(format!("http://{}", origin.addr)).but(|setup| {
        (setup.dialect, setup.bucket, setup.key) = ("s3", REAL_BUCKET, (GATEWAY_KEY, GATEWAY_SECRET));
    })
}

fn signal(process: &Child, name: &str) {
    Command::new("kill").args([name, &process.id().to_string()]).status().unwrap();
}
