//! Child processes and what the kernel knows of them. A child is killed when it is dropped; those that are
//! this program again also end when their standard input closes.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};

/// Of `/proc/<pid>/stat`, on every Linux.
const TICKS_PER_SECOND: f64 = 100.0;

/// A child of this program, killed and waited for when dropped.
pub(crate) struct Process(Child);

impl Process {
    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // One that has ended by itself is just as well.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// With as many file descriptors as this user may have, and none of this program's environment that could
/// configure it.
fn command(program: &Path) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n $(ulimit -Hn); exec \"$0\" \"$@\""]).arg(program);
    command.env_clear().envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
    command
}

/// This program in another role, with a conversation over its standard streams.
pub(crate) struct Role {
    process: Process,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Role {
    pub(crate) fn start(arguments: &[&str]) -> anyhow::Result<Self> {
        let mut child = command(&std::env::current_exe()?)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        Ok(Self {
            input: child.stdin.take().context("piped")?,
            output: BufReader::new(child.stdout.take().context("piped")?),
            process: Process(child),
        })
    }

    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    pub(crate) fn hear(&mut self) -> anyhow::Result<String> {
        let mut line = String::new();
        let read = self.output.read_line(&mut line)?;
        ensure!(read > 0, "a child process ended early");
        Ok(line.trim().to_owned())
    }

    pub(crate) fn hear_ready(&mut self) -> anyhow::Result<()> {
        let word = self.hear()?;
        ensure!(word == "ready", "{word}");
        Ok(())
    }

    pub(crate) fn say_go(&mut self) -> anyhow::Result<()> {
        Ok(self.input.write_all(b"go\n")?)
    }
}

/// The gateway's own program: the one just built, or another to compare it with.
fn gateway_program() -> std::path::PathBuf {
    std::env::var_os("BUCKETWARDEN_BIN").map_or_else(|| env!("CARGO_BIN_EXE_bucketwarden").into(), Into::into)
}

pub(crate) struct Gateway {
    process: Process,
    pub(crate) address: SocketAddr,
}

/// How a gateway is configured, besides what all have in common.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Variant {
    /// As shipped, but for the access log.
    Silent,
    Logging,
    /// Its bucket does not count towards the quota: no write touches the ledger.
    Uncounted,
}

impl Gateway {
    pub(crate) fn start(dir: &Path, upstream: SocketAddr, variant: Variant) -> anyhow::Result<Self> {
        let name = format!("gateway-{variant:?}").to_lowercase();
        let access_log = variant == Variant::Logging;
        let counts = variant != Variant::Uncounted;
        let (config, log) = (dir.join(format!("{name}.toml")), dir.join(format!("{name}.log")));
        let (access_key, secret) = (crate::load::ACCESS_KEY, crate::load::SECRET);
        let text = format!(
            r#"
            [server]
            listen = "127.0.0.1:0"
            max_connections_per_peer = 8192
            max_in_flight = 8192
            [admin]
            listen = "127.0.0.1:0"
            [upstream]
            dialect = "s3"
            endpoint = "http://{upstream}"
            bucket = "bench"
            access_key_id = "UPSTREAMKEY0001"
            secret_access_key = "{secret}"
            [state]
            url = "redb:./{name}.redb"
            [tiers.default]
            max_storage = "unlimited"
            max_file_size = "unlimited"
            uploads_per_hour = "unlimited"
            uploads_per_day = "unlimited"
            requests_per_second = "unlimited"
            max_concurrent_requests = "unlimited"
            [log]
            access = {access_log}
            [[buckets]]
            name = "datasets"
            prefix = "datasets/{{user_id}}/"
            counts_towards_quota = {counts}
            [[users]]
            id = "alice"
            access_keys = [{{ id = "{access_key}", secret = "{secret}" }}]
            "#
        );
        fs::write(&config, text)?;
        let child = command(&gateway_program())
            .arg("serve")
            .arg("--config")
            .arg(&config)
            .current_dir(dir)
            .stdin(Stdio::null())
            .stdout(fs::File::create(&log)?)
            .spawn()
            .context("the gateway's program")?;
        let process = Process(child);
        let address = wait_for(|| ready_line(&log)).context("the gateway did not become ready")?;
        Ok(Self { process, address })
    }

    pub(crate) fn ids(&self) -> Vec<u32> {
        vec![self.process.id()]
    }
}

/// The S3 listener, from the line that says the gateway is ready.
fn ready_line(log: &Path) -> Option<SocketAddr> {
    let text = fs::read_to_string(log).ok()?;
    let lines = text.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let ready = lines.into_iter().find(|line| line["message"] == "ready")?;
    ready["s3"].as_str()?.parse().ok()
}

pub(crate) struct Nginx {
    process: Process,
    pub(crate) address: SocketAddr,
}

impl Nginx {
    /// A plain reverse proxy that streams, keeps connections alive, and does nothing else. `None` where there
    /// is no nginx.
    pub(crate) fn start(dir: &Path, upstream: SocketAddr) -> anyhow::Result<Option<Self>> {
        let Some(program) = find_on_path("nginx") else {
            return Ok(None);
        };
        // nginx does not tell a port that it was given: one that was free a moment ago has to do.
        let address = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let config = dir.join("nginx.conf");
        let temporary = |kind: &str| format!("{kind}_temp_path {}/nginx-{kind};", dir.display());
        let text = format!(
            "worker_processes 2; daemon off; pid {dir}/nginx.pid; error_log stderr warn;
            events {{ worker_connections 4096; }}
            http {{
                access_log off;
                {client_body} {proxy} {fastcgi} {uwsgi} {scgi}
                client_max_body_size 0;
                keepalive_requests 1000000000;
                upstream origin {{ server {upstream}; keepalive 256; keepalive_requests 1000000000; }}
                server {{
                    listen {address} backlog=4096;
                    location / {{
                        proxy_pass http://origin;
                        proxy_http_version 1.1;
                        proxy_set_header Connection \"\";
                        proxy_set_header Host $http_host;
                        proxy_buffering off;
                        proxy_request_buffering off;
                        {extra}
                    }}
                }}
            }}",
            extra = std::env::var("NGX").unwrap_or_default(),
            dir = dir.display(),
            client_body = temporary("client_body"),
            proxy = temporary("proxy"),
            fastcgi = temporary("fastcgi"),
            uwsgi = temporary("uwsgi"),
            scgi = temporary("scgi"),
        );
        fs::write(&config, text)?;
        let child =
            command(&program).arg("-p").arg(dir).arg("-c").arg(&config).stdin(Stdio::null()).spawn()?;
        let process = Process(child);
        wait_for(|| std::net::TcpStream::connect(address).ok()).context("nginx did not become ready")?;
        Ok(Some(Self { process, address }))
    }

    /// The master and its workers.
    pub(crate) fn ids(&self) -> Vec<u32> {
        let master = self.process.id();
        let children = fs::read_to_string(format!("/proc/{master}/task/{master}/children"));
        let workers = children.unwrap_or_default();
        let workers = workers.split_whitespace().filter_map(|id| id.parse().ok());
        std::iter::once(master).chain(workers).collect()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // The master takes its workers with it, but only if it is asked to.
        let asked = Command::new("kill").arg(self.process.id().to_string()).status();
        if asked.is_ok_and(|status| status.success()) {
            wait_for(|| (self.ids().len() == 1).then_some(()));
        }
    }
}

fn find_on_path(name: &str) -> Option<std::path::PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(name)).find(|file| file.is_file())
}

fn wait_for<T>(look: impl Fn() -> Option<T>) -> Option<T> {
    let until = Instant::now() + Duration::from_secs(10);
    while Instant::now() < until {
        if let Some(seen) = look() {
            return Some(seen);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    None
}

/// Seconds of processor time, user and system, of all threads that ever ran.
pub(crate) fn cpu_seconds(ids: &[u32]) -> anyhow::Result<f64> {
    let mut ticks = 0.0;
    for id in ids {
        let stat = fs::read_to_string(format!("/proc/{id}/stat"))?;
        // The program's name, in parentheses, may hold anything.
        let (_, fields) = stat.rsplit_once(") ").context("a line of /proc/<pid>/stat")?;
        let fields: Vec<&str> = fields.split(' ').collect();
        ticks += fields[11].parse::<f64>()? + fields[12].parse::<f64>()?;
    }
    Ok(ticks / TICKS_PER_SECOND)
}

/// `VmRSS` or `VmHWM`, in KiB.
pub(crate) fn memory_kib(ids: &[u32], field: &str) -> anyhow::Result<f64> {
    let mut sum = 0.0;
    for id in ids {
        let status = fs::read_to_string(format!("/proc/{id}/status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        let Some(value) = line.and_then(|line| line.split_whitespace().next()) else {
            bail!("no {field} of process {id}");
        };
        sum += value.parse::<f64>()?;
    }
    Ok(sum)
}

/// Lets `VmHWM` begin again at what is resident now.
pub(crate) fn reset_peak_memory(ids: &[u32]) -> anyhow::Result<()> {
    for id in ids {
        fs::write(format!("/proc/{id}/clear_refs"), "5")?;
    }
    Ok(())
}
