//! Real Redis servers, each a process of its own on a free port of the loopback, with its data in a folder that goes
//! with it. They can be killed, started again, halted, and asked by `redis-cli`.

use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use bucketwarden::config;
use bucketwarden::types::Secret;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

pub(crate) struct Server {
    pub(crate) port: u16,
    folder: tempfile::TempDir,
    arguments: Vec<String>,
    process: Child,
}

impl Server {
    pub(crate) async fn start() -> Self {
        Self::start_with(&[]).await
    }

    pub(crate) async fn start_with(arguments: &[&str]) -> Self {
        let arguments: Vec<_> = arguments.iter().map(|&argument| argument.to_owned()).collect();
        for _ in 0..10 {
            // Somebody else may take it meanwhile; then there is another.
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let folder = tempfile::tempdir().unwrap();
            let process = spawn(port, &folder, &arguments);
            let mut server = Self { port, folder, arguments: arguments.clone(), process };
            if server.answers().await {
                return server;
            }
        }
        panic!("redis-server does not start");
    }

    pub(crate) fn address(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.port).into()
    }

    pub(crate) fn state(&self) -> config::State {
        state(self.address())
    }

    pub(crate) fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// On the same port, with the data that it left.
    pub(crate) async fn start_again(&mut self) {
        self.process = spawn(self.port, &self.folder, &self.arguments);
        assert!(self.answers().await, "it does not start again");
    }

    pub(crate) fn halt(&self) {
        self.signal("STOP");
    }

    pub(crate) fn go_on(&self) {
        self.signal("CONT");
    }

    fn signal(&self, name: &str) {
        let id = self.process.id().to_string();
        assert!(Command::new("kill").args([&format!("-{name}"), &id]).status().unwrap().success());
    }

    /// What `redis-cli` prints.
    pub(crate) fn cli(&self, arguments: &[&str]) -> String {
        let port = self.port.to_string();
        let output = Command::new("redis-cli").args(["-p", &port]).args(arguments).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// Waits until it does; false if it has ended.
    async fn answers(&mut self) -> bool {
        loop {
            if self.process.try_wait().unwrap().is_some() {
                return false;
            }
            if timeout(Duration::from_secs(5), ping(self.address())).await.is_ok_and(|pong| pong.is_some()) {
                return true;
            }
            sleep(Duration::from_millis(10)).await;
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

pub(crate) fn state(address: SocketAddr) -> config::State {
    config::State::Redis(Secret::new(format!("redis://{address}")))
}

fn spawn(port: u16, folder: &tempfile::TempDir, arguments: &[String]) -> Child {
    Command::new("redis-server")
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "yes"])
        .args(["--dir", folder.path().to_str().unwrap()])
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .expect("redis-server is installed (tests/run does it)")
}

async fn ping(address: SocketAddr) -> Option<()> {
    let mut stream = TcpStream::connect(address).await.ok()?;
    stream.write_all(b"PING\r\n").await.ok()?;
    let mut answer = [0; 5];
    stream.read_exact(&mut answer).await.ok()?;
    (answer == *b"+PONG").then_some(())
}

/// Three masters that share the slots.
pub(crate) struct Cluster(Vec<Server>);

impl Cluster {
    pub(crate) async fn start() -> Self {
        let mut servers = Vec::new();
        for _ in 0..3 {
            // They talk to each other on a port of their own.
            let bus = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
            servers.push(Server::start_with(&["--cluster-enabled", "yes", "--cluster-port", &bus]).await);
        }
        let addresses: Vec<_> = servers.iter().map(|server| server.address().to_string()).collect();
        let output = Command::new("redis-cli")
            .args(["--cluster", "create", "--cluster-yes"])
            .args(&addresses)
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        for server in &servers {
            while !server.cli(&["CLUSTER", "INFO"]).contains("cluster_state:ok") {
                sleep(Duration::from_millis(50)).await;
            }
        }
        Self(servers)
    }

    /// By one node, or by all.
    pub(crate) fn state(&self, nodes: usize) -> config::State {
        let nodes: Vec<_> = self.0[..nodes].iter().map(|server| server.address().to_string()).collect();
        config::State::Redis(Secret::new(format!("redis://{}", nodes.join(","))))
    }

    pub(crate) fn servers(&self) -> &[Server] {
        &self.0
    }
}

/// Stands between a store and its server. When told to, it takes the next answer to a write away, and the
/// connection with it.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    pub(crate) swallow: std::sync::Arc<std::sync::atomic::AtomicUsize>,
}

impl Proxy {
    pub(crate) async fn start(server: SocketAddr) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let swallow = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let left = swallow.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(server).await.unwrap();
                tokio::spawn(carry(client, server, left.clone()));
            }
        });
        Self { address, swallow }
    }
}

async fn carry(
    mut client: TcpStream,
    mut server: TcpStream,
    swallow: std::sync::Arc<std::sync::atomic::AtomicUsize>,
) {
    use std::sync::atomic::Ordering;

    let (mut asked, mut answered) = (vec![0; 64 << 10], vec![0; 64 << 10]);
    let mut write_is_under_way = false;
    loop {
        tokio::select! {
            read = client.read(&mut asked) => {
                let Ok(length @ 1..) = read else { return };
                write_is_under_way = asked[..length].windows(4).any(|word| word == b"HSET");
                if server.write_all(&asked[..length]).await.is_err() { return }
            }
            read = server.read(&mut answered) => {
                let Ok(length @ 1..) = read else { return };
                let take = |left: usize| left.checked_sub(1);
                if write_is_under_way && swallow.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take).is_ok() {
                    return;
                }
                if client.write_all(&answered[..length]).await.is_err() { return }
            }
        }
    }
}
