//! Gateways as processes of their own, killed with -9 in the middle of their work, and several that share a Redis.
//! What holds afterwards: what was acknowledged is there, `reserved` is 0, and `used` is what the bucket lists.
//! `BUCKETWARDEN_KILLS=100` kills more often.

use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use serde_json::Value;

use crate::harness::*;
use crate::redis_server::Server as Redis;

const TOKEN: &str = "an-admin-token-of-processes-0123456789abcdef";
/// Milliseconds that fifty uploads take, about.
const MIDDLE: u64 = 1000;
const SETTLED: Duration = Duration::from_secs(30);

fn alice() -> Signer {
    Signer::new("AKALICE", "the-secret-of-alice-0123456789")
}

/// Where the gateway of a test keeps the objects.
struct Upstream {
    endpoint: String,
    region: &'static str,
    bucket: &'static str,
    key: (String, String),
}

/// One `bucketwarden serve`; gone with the test.
struct Gateway {
    folder: tempfile::TempDir,
    arguments: Vec<String>,
    process: Child,
    s3: SocketAddr,
    admin: SocketAddr,
}

impl Gateway {
    fn serve(upstream: &Upstream, limits: &str, state: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let Signer { id, secret, .. } = alice();
        let Upstream { endpoint, region, bucket, key } = upstream;
        let text = format!(
            "[server]\nlisten = \"127.0.0.1:0\"\npublic_url = \"http://{HOST}\"\n\
             [admin]\nlisten = \"127.0.0.1:0\"\ntoken = \"{TOKEN}\"\n\
             [upstream]\ndialect = \"s3\"\nendpoint = \"{endpoint}\"\nregion = \"{region}\"\n\
             bucket = \"{bucket}\"\naccess_key_id = \"{}\"\nsecret_access_key = \"{}\"\nidle_timeout = \"5s\"\n\
             [auth]\nmaster_key = \"MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=\"\n\
             [state]\nurl = \"{state}\"\n[quota]\nreservation_lease = \"1s\"\n\
             [tiers.default]\nrequests_per_second = \"unlimited\"\nmax_concurrent_requests = \"unlimited\"\n{limits}\n\
             [log]\nlevel = \"info\"\naccess = false\n\
             [[users]]\nid = \"alice\"\naccess_keys = [{{ id = \"{id}\", secret = \"{secret}\" }}]\n",
            key.0, key.1
        );
        std::fs::write(folder.path().join("config.toml"), text).unwrap();
        Self::start(folder, &["serve"])
    }

    fn start(folder: tempfile::TempDir, arguments: &[&str]) -> Self {
        let arguments: Vec<String> = arguments.iter().map(|&word| word.to_owned()).collect();
        let (process, s3, admin) = spawn(&folder, &arguments);
        Self { folder, arguments, process, s3, admin }
    }

    fn start_again(&mut self) {
        (self.process, self.s3, self.admin) = spawn(&self.folder, &self.arguments);
    }

    fn send(&self, request: &Request) -> Option<Response> {
        Client::try_connect(self.s3)?.try_send(request)
    }

    /// 0 where there was no answer.
    fn put(&self, key: &str, body: &[u8]) -> u16 {
        self.send(&alice().sign(Request::put(&format!("/datasets/{key}"), body)))
            .map_or(0, |answer| answer.status)
    }

    fn json(&self, path: &str) -> Option<Value> {
        let answer = self.send(&alice().sign(Request::get(path)))?;
        serde_json::from_str(&answer.text()).ok()
    }

    /// `used` and `reserved`, as the admin API has them.
    fn sums(&self) -> Option<(u64, u64)> {
        let request = Request::get("/api/v1/admin/quota/alice")
            .header("host", HOST)
            .header("authorization", format!("Bearer {TOKEN}"));
        let answer = Client::try_connect(self.admin)?.try_send(&request)?;
        let document: Value = serde_json::from_str(&answer.text()).ok()?;
        let storage = &document["storage"];
        Some((storage["used_bytes"].as_u64()?, storage["reserved_bytes"].as_u64()?))
    }

    /// What the bucket lists.
    fn listed(&self) -> Option<u64> {
        self.json("/api/v1/usage")?["total_bytes"].as_u64()
    }

    /// By itself, and soon: also a user whose first count was cut short.
    fn takes_writes_again(&self, round: &str) {
        eventually(Duration::from_secs(15), round, || self.put("after", b"x") == 200);
    }

    fn comes_to_rest(&self, round: &str) {
        let mut last = None;
        let told = std::time::Instant::now();
        while told.elapsed() < SETTLED {
            let (sums, listed) = (self.sums(), self.listed());
            if sums.is_some() && sums == listed.map(|bytes| (bytes, 0)) {
                return;
            }
            last = Some((sums, listed));
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("{round}: used and reserved, and what is listed: {last:?}");
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // It may be gone already.
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

fn spawn(folder: &tempfile::TempDir, arguments: &[String]) -> (Child, SocketAddr, SocketAddr) {
    let mut process = Command::new(env!("CARGO_BIN_EXE_bucketwarden"))
        .args(arguments)
        .env_clear()
        .current_dir(folder.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
    let ready = lines.by_ref().map_while(Result::ok).find(|line| line.contains("\"ready\""));
    // Read on, so that it can write on.
    std::thread::spawn(move || lines.for_each(drop));
    let ready: Value = serde_json::from_str(&ready.expect("it starts")).unwrap();
    let address =
        |name: &str| ready["fields"][name].as_str().or(ready[name].as_str()).unwrap().parse().unwrap();
    (process, address("s3"), address("admin"))
}

fn kills() -> usize {
    std::env::var("BUCKETWARDEN_KILLS").ok().and_then(|count| count.parse().ok()).unwrap_or(10)
}

/// Numbers that nobody chose, told where they matter.
struct Chance(u64);

impl Chance {
    fn new() -> Self {
        let now = bucketwarden::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        Self(u64::from(now.subsec_nanos()) | 1)
    }

    fn below(&mut self, most: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % most
    }
}

/// How the uploads ended while something was killed.
#[derive(Default)]
struct Ended {
    /// The keys of those that were acknowledged.
    done: Vec<String>,
    failed: usize,
}

/// Fifty uploads at once, and a kill in the middle of them.
fn fifty_uploads(gateway: &Gateway, round: usize, chance: &mut Chance, kill: impl FnOnce()) -> Ended {
    let sizes: Vec<usize> = (0..50).map(|_| usize::try_from(chance.below(200_000)).unwrap()).collect();
    let when = Duration::from_millis(chance.below(MIDDLE));
    let ended = Mutex::new(Ended::default());
    std::thread::scope(|scope| {
        for (n, size) in sizes.into_iter().enumerate() {
            let ended = &ended;
            scope.spawn(move || {
                // Some keys are written by many rounds, some by two writers of one.
                let key = format!("k{}", if n % 5 == 0 { round % 3 } else { n + 50 * (round % 2) });
                let status = gateway.put(&key, &vec![b'x'; size]);
                let mut ended = ended.lock().unwrap();
                if status == 200 { ended.done.push(key) } else { ended.failed += 1 }
            });
        }
        std::thread::sleep(when);
        kill();
    });
    ended.into_inner().unwrap()
}

/// A kill that always came before the uploads, or after them, would have shown nothing.
#[derive(Default)]
struct Tally {
    done: usize,
    failed: usize,
}

impl Tally {
    fn add(&mut self, ended: &Ended) {
        self.done += ended.done.len();
        self.failed += ended.failed;
    }

    fn says_that_kills_came_in_the_middle(&self) {
        assert!(self.done > 0 && self.failed > 0, "{} done, {} failed", self.done, self.failed);
    }
}

#[test]
fn r14_a_gateway_that_is_killed_loses_no_acknowledged_upload_and_heals_its_leases() {
    let origin = Origin::start();
    let mut gateway = over(&origin, "", "redb:./state.redb");
    let (mut chance, mut tally) = (Chance::new(), Tally::default());
    for round in 0..kills() {
        let told = format!("round {round}, chance {}", chance.0);
        let id = gateway.process.id().to_string();
        let ended = fifty_uploads(&gateway, round, &mut chance, || {
            Command::new("kill").args(["-9", &id]).status().unwrap();
        });
        tally.add(&ended);
        gateway.process.wait().unwrap();
        for key in &ended.done {
            assert!(origin.object(&format!("datasets/alice/{key}")).is_some(), "{told}: {key} is gone");
        }
        gateway.start_again();
        gateway.takes_writes_again(&told);
        gateway.comes_to_rest(&told);
    }
    tally.says_that_kills_came_in_the_middle();
}

#[test]
fn r14_what_the_upstream_does_after_its_gateway_was_killed_is_counted() {
    let origin = Origin::start();
    let mut gateway = over(&origin, "", "redb:./state.redb");
    gateway.takes_writes_again("at first");
    assert_eq!(gateway.put("source", &[b'x'; 900]), 200);
    gateway.comes_to_rest("before");
    let before = gateway.sums().unwrap().0;
    let copies = |seen: &Seen| seen.method() == "PUT" && seen.target().contains("/late");
    // The upstream takes longer than a lease.
    origin.when(copies, Act::serve().after(Duration::from_secs(5)));
    let (s3, id) = (gateway.s3, gateway.process.id().to_string());
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let copy = Request::new("PUT", "/datasets/late").header("x-amz-copy-source", "datasets/source");
            let answer = Client::connect(s3).try_send(&alice().sign(copy));
            assert!(answer.is_none_or(|answer| answer.status != 200), "it was killed before");
        });
        origin.wait_for("the copy is asked for", |seen| seen.iter().any(copies));
        Command::new("kill").args(["-9", &id]).status().unwrap();
    });
    gateway.process.wait().unwrap();
    gateway.start_again();
    let mut looks = 0;
    while origin.object("datasets/alice/late").is_none() {
        if let Some(sums) = gateway.sums()
            && origin.object("datasets/alice/late").is_none()
        {
            assert_eq!(sums, (before, 900));
            looks += 1;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(looks > 0);
    gateway.comes_to_rest("after it came");
    assert_eq!(gateway.sums(), Some((before + 900, 0)));
}

#[test]
fn r12_a_redis_that_is_killed_and_comes_back() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let mut redis = runtime.block_on(Redis::start_with(&["--appendfsync", "always"]));
    let origin = Origin::start();
    let gateway = over(&origin, "", &format!("redis://{}", redis.address()));
    let (mut chance, mut tally) = (Chance::new(), Tally::default());
    for round in 0..kills() {
        let told = format!("round {round}, chance {}", chance.0);
        let ended = fifty_uploads(&gateway, round, &mut chance, || redis.kill());
        tally.add(&ended);
        for key in &ended.done {
            assert!(origin.object(&format!("datasets/alice/{key}")).is_some(), "{told}: {key} is gone");
        }
        // Lost: writes are refused within a second, reads go on.
        let began = std::time::Instant::now();
        assert_eq!(gateway.put("while-it-is-away", b"x"), 503, "{told}");
        assert!(began.elapsed() < Duration::from_secs(2), "{told}: {:?}", began.elapsed());
        let list = gateway.send(&alice().sign(Request::get("/datasets?list-type=2"))).unwrap();
        assert_eq!(list.status, 200, "{told}");
        runtime.block_on(redis.start_again());
        gateway.takes_writes_again(&told);
        gateway.comes_to_rest(&told);
    }
    tally.says_that_kills_came_in_the_middle();
}

#[test]
fn r01_an_upstream_that_is_killed_and_comes_back() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let folder = tempfile::tempdir().unwrap();
    let mut upstream = Dev::start(&folder, port);
    let behind = Upstream {
        endpoint: format!("http://127.0.0.1:{port}"),
        region: "us-east-1",
        bucket: "datasets",
        key: upstream.alice(),
    };
    let gateway = Gateway::serve(&behind, UNLIMITED_UPLOADS, "redb:./state.redb");
    let (mut chance, mut tally) = (Chance::new(), Tally::default());
    for round in 0..kills() {
        let told = format!("round {round}, chance {}", chance.0);
        let ended = fifty_uploads(&gateway, round, &mut chance, || upstream.kill());
        tally.add(&ended);
        upstream = Dev::start(&folder, port);
        for key in &ended.done {
            let head = alice().sign(Request::new("HEAD", &format!("/datasets/{key}")));
            assert_eq!(gateway.send(&head).map(|answer| answer.status), Some(200), "{told}: {key}");
        }
        gateway.takes_writes_again(&told);
        gateway.comes_to_rest(&told);
    }
    tally.says_that_kills_came_in_the_middle();
}

#[test]
fn i01_three_gateways_hold_one_user_to_one_limit() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let redis = runtime.block_on(Redis::start());
    for (limits, fit) in [
        ("max_storage = 400\nuploads_per_hour = 1000\nuploads_per_day = 1000", 40),
        ("max_storage = 4000\nuploads_per_hour = 31\nuploads_per_day = 1000", 30),
    ] {
        redis.cli(&["FLUSHALL"]);
        let origin = Origin::start();
        let state = format!("redis://{}", redis.address());
        let gateways: Vec<Gateway> = (0..3).map(|_| over(&origin, limits, &state)).collect();
        // Seen for the first time, and counted.
        eventually(SETTLED, "the first write", || gateways[0].put("first", b"") == 200);
        let over = AtomicBool::new(false);
        let accepted = Mutex::new(0);
        std::thread::scope(|scope| {
            let watch = scope.spawn(|| {
                let mut samples = 0;
                while !over.load(Ordering::Relaxed) {
                    if let Some((used, reserved)) = gateways[samples % 3].sums() {
                        assert!(used + reserved <= 400 * 10, "{used} + {reserved}");
                        if limits.contains("max_storage = 400\n") {
                            assert!(used + reserved <= 400, "{used} + {reserved}");
                        }
                        samples += 1;
                    }
                }
                samples
            });
            let uploads: Vec<_> = (0..100)
                .map(|n| {
                    let (gateway, accepted) = (&gateways[n % 3], &accepted);
                    scope.spawn(move || {
                        loop {
                            match gateway.put(&format!("k{n}"), b"ten bytes!") {
                                200 => break *accepted.lock().unwrap() += 1,
                                429 => break,
                                // The store was too busy to say: ask again.
                                503 => std::thread::sleep(Duration::from_millis(20)),
                                other => panic!("{other}"),
                            }
                        }
                    })
                })
                .collect();
            for upload in uploads {
                upload.join().unwrap();
            }
            over.store(true, Ordering::Relaxed);
            assert!(watch.join().unwrap() > 0);
        });
        assert_eq!(*accepted.lock().unwrap(), fit, "{limits}");
        gateways[2].comes_to_rest(limits);
        assert_eq!(gateways[1].sums(), Some((fit * 10, 0)));
    }
}

const UNLIMITED_UPLOADS: &str = "uploads_per_hour = \"unlimited\"\nuploads_per_day = \"unlimited\"";

fn over(origin: &Origin, limits: &str, state: &str) -> Gateway {
    let limits = if limits.is_empty() { UNLIMITED_UPLOADS } else { limits };
    let behind = Upstream {
        endpoint: format!("http://{}", origin.addr),
        region: "us-phoenix-1",
        bucket: REAL_BUCKET,
        key: (GATEWAY_KEY.to_owned(), GATEWAY_SECRET.to_owned()),
    };
    Gateway::serve(&behind, limits, state)
}

/// `bucketwarden dev` as somebody's upstream: a real S3 store that can be killed.
struct Dev {
    process: Child,
    folder: std::path::PathBuf,
}

impl Dev {
    fn start(folder: &tempfile::TempDir, port: u16) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_bucketwarden"))
            .args(["dev", "--listen", &format!("127.0.0.1:{port}"), "--admin-listen", "127.0.0.1:0"])
            .env_clear()
            .env("BUCKETWARDEN_LOG__ACCESS", "false")
            .env("BUCKETWARDEN_TIERS__DEFAULT__UPLOADS_PER_HOUR", "unlimited")
            .env("BUCKETWARDEN_TIERS__DEFAULT__UPLOADS_PER_DAY", "unlimited")
            .env("BUCKETWARDEN_TIERS__DEFAULT__REQUESTS_PER_SECOND", "unlimited")
            .env("BUCKETWARDEN_TIERS__DEFAULT__MAX_CONCURRENT_REQUESTS", "unlimited")
            .current_dir(folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let ready = lines.by_ref().map_while(Result::ok).find(|line| line.contains("Bucketwarden is ready"));
        ready.expect("it starts");
        std::thread::spawn(move || lines.for_each(drop));
        Self { process, folder: folder.path().to_owned() }
    }

    fn alice(&self) -> (String, String) {
        let text = std::fs::read_to_string(self.folder.join("bucketwarden-data/dev.env")).unwrap();
        let value = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(&format!("export {name}=")));
            line.unwrap().to_owned()
        };
        (value("AWS_ACCESS_KEY_ID"), value("AWS_SECRET_ACCESS_KEY"))
    }

    fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        // It may be gone already.
        self.process.kill().ok();
        self.process.wait().ok();
    }
}
