//! The commands as their user runs them: real processes, their output and their exit codes.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod keys;

use std::fs;
use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

const DEV: [&str; 5] = ["dev", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"];
const SECRET: &str = "a-secret-that-nobody-prints";

fn bucketwarden(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bucketwarden"));
    // What the caller's shell says must not change what these tests see.
    command.env_clear().current_dir(folder);
    command
}

fn run(folder: &Path, arguments: &[&str]) -> Output {
    bucketwarden(folder).args(arguments).output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// A gateway in a process of its own, ended with the test.
struct Gateway {
    process: Child,
    stdout: BufReader<ChildStdout>,
}

impl Gateway {
    fn start(folder: &Path, arguments: &[&str]) -> Self {
        let mut command = bucketwarden(folder);
        command.args(arguments);
        Self::run(command)
    }

    fn run(mut command: Command) -> Self {
        let mut process = command.stdout(Stdio::piped()).spawn().unwrap();
        let stdout = BufReader::new(process.stdout.take().unwrap());
        Self { process, stdout }
    }

    fn dev(folder: &Path) -> Self {
        Self::dev_with(folder, &[])
    }

    fn dev_with(folder: &Path, variables: &[(&str, &str)]) -> Self {
        let mut command = bucketwarden(folder);
        command.args(DEV).envs(variables.iter().copied());
        let mut gateway = Self::run(command);
        gateway.wait_for("Bucketwarden is ready");
        gateway
    }

    /// Reads lines until one holds the text.
    fn wait_for(&mut self, text: &str) -> String {
        loop {
            let mut line = String::new();
            assert_ne!(self.stdout.read_line(&mut line).unwrap(), 0, "it ended without saying {text:?}");
            if line.contains(text) {
                return line;
            }
        }
    }

    fn signal(&self, name: &str) {
        let status = Command::new("kill").args([name, &self.process.id().to_string()]).status().unwrap();
        assert!(status.success());
    }

    fn exit_code(&mut self) -> Option<i32> {
        self.process.wait().unwrap().code()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // It may be gone already.
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

fn dev_env(folder: &Path) -> Vec<(String, String)> {
    let text = fs::read_to_string(folder.join("bucketwarden-data/dev.env")).unwrap();
    let pair = |line: &str| {
        let (name, value) = line.trim_start_matches("export ").split_once('=').unwrap();
        (name.to_owned(), value.to_owned())
    };
    text.lines().map(pair).collect()
}

fn variable(env: &[(String, String)], name: &str) -> String {
    env.iter().find(|(candidate, _)| candidate == name).unwrap_or_else(|| panic!("no {name}")).1.clone()
}

fn get(url: &str, path: &str) -> String {
    get_with(url, path, "")
}

/// `headers` are whole lines.
fn get_with(url: &str, path: &str, headers: &str) -> String {
    let address: SocketAddr = url.strip_prefix("http://").unwrap().parse().unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn version_names_version_commit_and_compiler() {
    let folder = TempDir::new().unwrap();
    let output = run(folder.path(), &["version"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success());
    assert!(text.contains(env!("CARGO_PKG_VERSION")) && text.contains("rustc"), "{text}");
}

#[test]
fn dev_is_ready_soon_and_drains_on_sigterm() {
    let folder = TempDir::new().unwrap();
    let started = Instant::now();
    let mut gateway = Gateway::dev(folder.path());
    let env = dev_env(folder.path());
    let admin = variable(&env, "BUCKETWARDEN_ADMIN_URL");
    assert!(get(&admin, "/readyz").starts_with("HTTP/1.1 200"));
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    assert!(get(&admin, "/healthz").starts_with("HTTP/1.1 200"));
    let metrics = get(&admin, "/metrics");
    for name in ["bucketwarden_requests_total", "bucketwarden_build_info", "process_resident_memory_bytes"] {
        assert!(metrics.contains(name), "{name} is missing");
    }
    assert!(get(&variable(&env, "AWS_ENDPOINT_URL"), "/").starts_with("HTTP/1.1 403"));
    for name in ["AWS_REGION", "AWS_ACCESS_KEY_ID", "BOB_SECRET_ACCESS_KEY", "BUCKETWARDEN_ADMIN_TOKEN"] {
        assert!(!variable(&env, name).is_empty());
    }
    let ready = bucketwarden(folder.path()).args(["healthcheck", "--admin-url", &admin]).status().unwrap();
    assert!(ready.success());

    let by_listener = bucketwarden(folder.path())
        .arg("healthcheck")
        .env("BUCKETWARDEN_ADMIN__LISTEN", admin.trim_start_matches("http://"))
        .status()
        .unwrap();
    assert!(by_listener.success());

    gateway.signal("-TERM");
    assert_eq!(gateway.exit_code(), Some(0));
    let gone = bucketwarden(folder.path()).args(["healthcheck", "--admin-url", &admin]).status().unwrap();
    assert_eq!(gone.code(), Some(1));
}

#[test]
fn dev_keeps_its_keys_and_holds_its_folder_alone() {
    let folder = TempDir::new().unwrap();
    let mut first = Gateway::dev(folder.path());
    let keys = |folder| {
        let env = dev_env(folder);
        (variable(&env, "AWS_SECRET_ACCESS_KEY"), variable(&env, "BOB_ACCESS_KEY_ID"))
    };
    let before = keys(folder.path());
    for name in ["dev.env", "gateway.toml"] {
        let mode =
            fs::metadata(folder.path().join("bucketwarden-data").join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    let second = run(folder.path(), &DEV);
    assert_eq!(second.status.code(), Some(1));
    assert!(!stderr(&second).is_empty());

    first.signal("-TERM");
    assert_eq!(first.exit_code(), Some(0));
    let _again = Gateway::dev(folder.path());
    assert_eq!(keys(folder.path()), before);
}

#[test]
fn dev_makes_tokens_for_its_users_at_every_start() {
    let folder = TempDir::new().unwrap();
    for _ in 0..2 {
        let _gateway = Gateway::dev(folder.path());
        let env = dev_env(folder.path());
        let endpoint = variable(&env, "AWS_ENDPOINT_URL");
        for (name, tier) in [("ALICE_TOKEN", "default"), ("BOB_TOKEN", "premium")] {
            let token = variable(&env, name);
            let answer = get_with(&endpoint, "/api/v1/quota", &format!("Authorization: Bearer {token}\r\n"));
            assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
            assert!(answer.contains(&format!("\"tier\":\"{tier}\"")), "{answer}");
            let wrong = format!("Authorization: Bearer {token}x\r\n");
            assert!(get_with(&endpoint, "/api/v1/quota", &wrong).starts_with("HTTP/1.1 401"));
        }
    }
}

#[test]
fn dev_env_says_where_clients_find_the_gateway() {
    let folder = TempDir::new().unwrap();
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let (cert, key) = (folder.path().join("tls.crt"), folder.path().join("tls.key"));
    fs::write(&cert, made.cert.pem()).unwrap();
    fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let tls = [
        ("BUCKETWARDEN_SERVER__TLS__CERT", cert.to_str().unwrap()),
        ("BUCKETWARDEN_SERVER__TLS__KEY", key.to_str().unwrap()),
    ];
    let endpoint = || variable(&dev_env(folder.path()), "AWS_ENDPOINT_URL");
    let over_tls = Gateway::dev_with(folder.path(), &tls);
    assert!(endpoint().starts_with("https://127.0.0.1:"), "{}", endpoint());
    drop(over_tls);
    let public = [tls[0], tls[1], ("BUCKETWARDEN_SERVER__PUBLIC_URL", "https://localhost:8443")];
    let _public = Gateway::dev_with(folder.path(), &public);
    assert_eq!(endpoint(), "https://localhost:8443");
}

#[test]
fn sighup_reads_the_whole_configuration_again() {
    let folder = TempDir::new().unwrap();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    let user = "[[users]]\nid = \"alice\"\naccess_keys = [{ id = \"AKALICE\", secret_file = \"alice\" }]\n";
    write("alice", "the-first-secret-of-alice");
    write_configuration(folder.path(), user);
    let mut gateway = Gateway::start(folder.path(), &["serve"]);
    let ready: serde_json::Value = serde_json::from_str(&gateway.wait_for("\"ready\"")).unwrap();
    let url = |listener: &str| format!("http://{}", ready[listener].as_str().unwrap());
    let mut hang_up = |text: &str| {
        gateway.signal("-HUP");
        gateway.wait_for(text)
    };
    let changed = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap()["changed"].clone();

    assert_eq!(changed(&hang_up("was reloaded")), "");
    write("alice", "another-secret-of-alice");
    write(".env.local", "BUCKETWARDEN_METRICS__PER_USER_TOP=3\n");
    assert_eq!(changed(&hang_up("was reloaded")), "metrics, users");

    write_configuration(folder.path(), &format!("[log]\nlevel = \"debug\"\n{user}"));
    assert_eq!(changed(&hang_up("was reloaded")), "log");
    assert!(get(&url("s3"), "/datasets/f").starts_with("HTTP/1.1 403"));
    gateway.wait_for("\"refused\"");

    write(
        "config.toml",
        &format!("[server]\nlisten = \"nowhere\"\n[upstream]\nsecret_access_key = \"{SECRET}\"\n"),
    );
    gateway.signal("-HUP");
    let line = gateway.wait_for("is not reloaded");
    for part in ["ERROR", "server.listen", "upstream.bucket"] {
        assert!(line.contains(part), "{part} is missing in {line}");
    }
    assert!(!line.contains(SECRET), "{line}");
    let metrics = get(&url("admin"), "/metrics");
    for (result, count) in [("success", 3), ("failure", 1)] {
        let series = format!("bucketwarden_config_reloads_total{{result=\"{result}\"}} {count}\n");
        assert!(metrics.contains(&series), "{series} is missing");
    }
    gateway.signal("-TERM");
    assert_eq!(gateway.exit_code(), Some(0));
}

/// As when the share of a certificate is away: whoever reads the file waits.
#[test]
fn a_file_that_does_not_come_holds_up_no_end() {
    let folder = TempDir::new().unwrap();
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let cert = folder.path().join("tls.crt");
    fs::write(&cert, made.cert.pem()).unwrap();
    fs::write(folder.path().join("tls.key"), made.signing_key.serialize_pem()).unwrap();
    write_configuration(folder.path(), "[server.tls]\ncert = \"tls.crt\"\nkey = \"tls.key\"\n");
    let mut gateway = Gateway::start(folder.path(), &["serve"]);
    gateway.wait_for("\"ready\"");
    fs::remove_file(&cert).unwrap();
    assert!(Command::new("mkfifo").arg(&cert).status().unwrap().success());
    // Opens when somebody reads it, who then waits for what is never written.
    let writer = fs::OpenOptions::new().write(true).open(&cert).unwrap();
    gateway.signal("-TERM");
    gateway.wait_for("\"drained\"");
    let deadline = Instant::now() + Duration::from_secs(10);
    while gateway.process.try_wait().unwrap().is_none() {
        assert!(Instant::now() < deadline, "it goes on");
        thread::sleep(Duration::from_millis(20));
    }
    drop(writer);
    assert_eq!(gateway.exit_code(), Some(0));
}

#[test]
fn dev_notes_sighup_and_changes_nothing() {
    let folder = TempDir::new().unwrap();
    let mut gateway = Gateway::dev(folder.path());
    for _ in 0..2 {
        gateway.signal("-HUP");
        let line = gateway.wait_for("is not reloaded");
        assert!(line.contains("WARN") && line.contains("restart it"), "{line}");
    }
    gateway.signal("-TERM");
    assert_eq!(gateway.exit_code(), Some(0));
}

#[test]
fn dev_is_for_this_machine_only() {
    let folder = TempDir::new().unwrap();
    for flags in [["--listen", "0.0.0.0:0"], ["--admin-listen", "[::]:0"]] {
        let output = run(folder.path(), &["dev", flags[0], flags[1]]);
        assert_eq!(output.status.code(), Some(78));
        assert!(stderr(&output).contains("loopback"), "{}", stderr(&output));
    }
    assert!(!folder.path().join("bucketwarden-data").exists());
}

#[test]
fn a_wrong_configuration_is_told_whole_and_ends_with_78() {
    let folder = TempDir::new().unwrap();
    let text = format!(
        "[server]\nlisten = \"nowhere\"\nlisen = 1\n[upstream]\ndialect = \"s3\"\nsecret_access_key = \"{SECRET}\"\n\
         [tiers.default]\nburst = \"many\"\n"
    );
    fs::write(folder.path().join("config.toml"), text).unwrap();
    for command in ["serve", "check"] {
        let output = run(folder.path(), &[command]);
        assert_eq!(output.status.code(), Some(78), "{command}");
        let problems = stderr(&output);
        for key in ["server.listen", "lisen", "upstream.endpoint", "upstream.bucket", "burst"] {
            assert!(problems.contains(key), "{key} is missing in:\n{problems}");
        }
        assert!(!problems.contains(SECRET), "{problems}");
    }
    let missing = run(folder.path(), &["serve", "--config", "elsewhere.toml"]);
    assert_eq!(missing.status.code(), Some(78));
    assert!(stderr(&missing).contains("elsewhere.toml"));
}

fn write_configuration(folder: &Path, more: &str) {
    let text = format!(
        "[server]\nlisten = \"127.0.0.1:0\"\n[admin]\nlisten = \"127.0.0.1:0\"\n[upstream]\ndialect = \"s3\"\n\
         endpoint = \"http://127.0.0.1:1\"\nregion = \"us-east-1\"\nbucket = \"real\"\naccess_key_id = \"AKREAL\"\n\
         secret_access_key = \"{SECRET}\"\n{more}"
    );
    fs::write(folder.join("config.toml"), text).unwrap();
}

#[test]
fn check_prints_what_it_comes_to_without_secrets() {
    let folder = TempDir::new().unwrap();
    write_configuration(folder.path(), "[telemetry]\notlp_endpoint = \"http://127.0.0.1:4318\"\n");
    let output = bucketwarden(folder.path())
        .arg("check")
        .env("BUCKETWARDEN_UPSTREAM__BUCKET", "from-env")
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(text.contains("from-env") && text.contains("max_in_flight"), "{text}");
    assert!(!text.contains(SECRET), "{text}");
    assert!(stderr(&output).contains("telemetry"), "{}", stderr(&output));
}

#[test]
fn serve_starts_without_its_upstream_and_warns_of_what_is_not_built() {
    let folder = TempDir::new().unwrap();
    write_configuration(folder.path(), "[telemetry]\notlp_endpoint = \"http://127.0.0.1:4318\"\n");
    let mut gateway = Gateway::start(folder.path(), &["serve"]);
    let warning = gateway.wait_for("telemetry");
    assert!(warning.contains("WARN"), "{warning}");
    let ready = gateway.wait_for("\"ready\"");
    assert!(!ready.contains(SECRET));
    gateway.signal("-TERM");
    assert_eq!(gateway.exit_code(), Some(0));
}

/// A command that speaks to a gateway's admin API.
fn admin(folder: &Path, env: &[(String, String)], arguments: &[&str]) -> Output {
    bucketwarden(folder)
        .args(arguments)
        .env("BUCKETWARDEN_ADMIN_URL", variable(env, "BUCKETWARDEN_ADMIN_URL"))
        .env("BUCKETWARDEN_ADMIN_TOKEN", variable(env, "BUCKETWARDEN_ADMIN_TOKEN"))
        .output()
        .unwrap()
}

fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{}", stderr(output));
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[test]
fn users_are_made_changed_and_removed() {
    let folder = TempDir::new().unwrap();
    let _gateway = Gateway::dev(folder.path());
    let env = dev_env(folder.path());
    let run = |arguments: &[&str]| admin(folder.path(), &env, arguments);
    let added = run(&["user", "add", "carol", "--tier", "premium", "--limit", "max_storage=2GiB"]);
    assert!(stdout(&added).contains("premium"), "{added:?}");
    let again = run(&["user", "add", "carol"]);
    assert_eq!(again.status.code(), Some(1));
    assert!(stderr(&again).contains("already"), "{}", stderr(&again));

    let changes = ["--limit", "uploads_per_day=unlimited", "--reset-limit", "max_storage"];
    stdout(&run(&[&["user", "set", "carol"][..], &changes].concat()));
    stdout(&run(&["user", "disable", "carol"]));
    let shown: serde_json::Value =
        serde_json::from_str(&stdout(&run(&["user", "show", "carol", "--json"]))).unwrap();
    assert_eq!(shown["enabled"], false);
    assert_eq!(shown["limits"], serde_json::json!({ "uploads_per_day": "unlimited" }));
    let listed = stdout(&run(&["user", "list"]));
    for user in ["alice", "bob", "carol"] {
        assert!(listed.contains(user), "{listed}");
    }

    let wrong = run(&["user", "set", "carol", "--limit", "max_storage=lots"]);
    assert_eq!(wrong.status.code(), Some(1));
    assert!(stderr(&wrong).contains("limits.max_storage"), "{}", stderr(&wrong));
    let nobody = run(&["user", "set", "carl", "--tier", "premium"]);
    assert!(stderr(&nobody).contains("no user carl"), "{}", stderr(&nobody));
    stdout(&run(&["user", "remove", "carol"]));
    assert_eq!(run(&["user", "show", "carol"]).status.code(), Some(1));
}

#[test]
fn quota_is_a_table_or_json() {
    let folder = TempDir::new().unwrap();
    let _gateway = Gateway::dev(folder.path());
    let env = dev_env(folder.path());
    let run = |arguments: &[&str]| admin(folder.path(), &env, arguments);
    let table = stdout(&run(&["quota"]));
    assert!(table.starts_with("USER") && table.contains("100.0 GiB") && table.contains("1.0 TiB"), "{table}");
    let one: serde_json::Value = serde_json::from_str(&stdout(&run(&["quota", "bob", "--json"]))).unwrap();
    assert_eq!((&one["user_id"], &one["tier"]), (&"bob".into(), &"premium".into()));
    assert_eq!(one["storage"]["limit_bytes"], 1_u64 << 40);
    let all: serde_json::Value = serde_json::from_str(&stdout(&run(&["quota", "--json"]))).unwrap();
    assert_eq!(all["users"].as_array().unwrap().len(), 2);
    let nobody = run(&["quota", "carl"]);
    assert_eq!(nobody.status.code(), Some(1));
    assert!(stderr(&nobody).contains("no user carl"), "{}", stderr(&nobody));
}

#[test]
fn reconcile_tells_what_it_found() {
    let folder = TempDir::new().unwrap();
    let _gateway = Gateway::dev(folder.path());
    let env = dev_env(folder.path());
    let run = |arguments: &[&str]| admin(folder.path(), &env, arguments);
    assert_eq!(stdout(&run(&["reconcile", "alice"])), "alice: 0 objects, 0 B, as the ledger had it\n");
    assert_eq!(stdout(&run(&["reconcile", "--all"])).lines().count(), 2);
    let nobody = run(&["reconcile", "carl"]);
    assert_eq!(nobody.status.code(), Some(1));
    assert!(stderr(&nobody).contains("carl"), "{}", stderr(&nobody));
    let neither = run(&["reconcile"]);
    assert_eq!(neither.status.code(), Some(2), "{}", stderr(&neither));
}

#[test]
fn commands_say_why_they_cannot_reach_a_gateway() {
    let folder = TempDir::new().unwrap();
    let no_token = run(folder.path(), &["quota"]);
    assert_eq!(no_token.status.code(), Some(78));
    assert!(stderr(&no_token).contains("BUCKETWARDEN_ADMIN_TOKEN is not set"), "{}", stderr(&no_token));

    let with_token = |arguments: &[&str]| {
        let output = bucketwarden(folder.path())
            .args(arguments)
            .env("BUCKETWARDEN_ADMIN_TOKEN", SECRET)
            .output()
            .unwrap();
        assert!(!stderr(&output).contains(SECRET), "{}", stderr(&output));
        output
    };
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let nobody_there = with_token(&["quota", "--admin-url", &format!("http://{free}")]);
    assert_eq!(nobody_there.status.code(), Some(1));
    let text = stderr(&nobody_there);
    assert!(text.contains("no gateway at") && text.contains("refused"), "{text}");
    assert_eq!(with_token(&["quota", "--admin-url", "localhost"]).status.code(), Some(78));

    let _gateway = Gateway::dev(folder.path());
    let url = variable(&dev_env(folder.path()), "BUCKETWARDEN_ADMIN_URL");
    for command in [
        &["quota"][..],
        &["reconcile", "--all"],
        &["user", "list"],
        &["key", "list", "alice"],
        &["key", "create", "alice"],
        &["job", "list"],
    ] {
        let refused = with_token(&[command, &["--admin-url", &url]].concat());
        assert_eq!(refused.status.code(), Some(1), "{command:?}");
        assert!(stderr(&refused).contains("refuses the token"), "{}", stderr(&refused));
    }
    let s3 = variable(&dev_env(folder.path()), "AWS_ENDPOINT_URL");
    let wrong_door = with_token(&["quota", "--admin-url", &s3]);
    // The front door knows no admin token, and says no more than that.
    assert_eq!(wrong_door.status.code(), Some(1));
    assert!(stderr(&wrong_door).contains("refuses the token"), "{}", stderr(&wrong_door));
}
