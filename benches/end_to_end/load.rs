//! The clients: keep-alive connections, each sending its one signed request again and again. Signing costs
//! them nothing that way, and the gateway as much as ever. They connect and send one request first; the clock
//! runs from a word on standard input until every connection has ended the request that was under way.

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use time::OffsetDateTime;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::http::{Buffer, bad, content_length};
use crate::sign::{Signed, Signer, UNSIGNED_PAYLOAD};
use crate::size::{KIB, Size};

pub(crate) const ACCESS_KEY: &str = "ALICEKEY0001EXAMPLE0";
pub(crate) const SECRET: &str = "dp3xT0pS3cr3tV4lue-dp3xT0pS3cr3tV4lue-40";
const HOST: &str = "s3.platform.example";
const BLOCK: usize = 256 * 1024;
static ZEROS: [u8; BLOCK] = [0; BLOCK];

#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub(crate) enum Method {
    Get,
    Put,
}

impl Method {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Put => "PUT",
        }
    }
}

#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[arg(long)]
    to: SocketAddr,
    #[arg(long)]
    method: Method,
    #[arg(long)]
    size: Size,
    #[arg(long)]
    connections: usize,
    #[arg(long)]
    millis: u64,
}

/// What all connections of a run came to, as it goes over standard output.
#[derive(Clone, Default, Debug, serde::Serialize, serde::Deserialize)]
pub(crate) struct Tally {
    pub(crate) requests: u64,
    pub(crate) failures: u64,
    pub(crate) first_failure: Option<String>,
    pub(crate) seconds: f64,
    pub(crate) p50_micros: f64,
    pub(crate) p99_micros: f64,
}

pub(crate) fn run(arguments: &Arguments) -> io::Result<()> {
    let threads = arguments.connections.min(2);
    let (ready, go) = (Barrier::new(threads + 1), Barrier::new(threads + 1));
    let (ready, go) = (&ready, &go);
    let (ends, seconds) = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads)
            .map(|thread| {
                let connections = (thread..arguments.connections).step_by(threads);
                scope.spawn(move || drive(arguments, connections, ready, go))
            })
            .collect();
        ready.wait();
        println!("ready");
        io::stdin().read_line(&mut String::new()).expect("a word");
        go.wait();
        let started = Instant::now();
        let joined = threads.into_iter().flat_map(|thread| thread.join().expect("no panic"));
        let ends: Vec<End> = joined.collect();
        (ends, started.elapsed().as_secs_f64())
    });
    let tally = serde_json::to_string(&tally(ends, seconds))?;
    println!("{tally}");
    io::stdout().flush()?;
    // The connections stay open until the gateway's processor time has been read.
    io::stdin().read_line(&mut String::new())?;
    std::process::exit(0)
}

fn tally(ends: Vec<End>, seconds: f64) -> Tally {
    let first_failure = ends.iter().find_map(|end| end.failure.clone());
    let failures = ends.iter().filter(|end| end.failure.is_some()).count() as u64;
    let mut micros: Vec<f64> = ends.into_iter().flat_map(|end| end.micros).collect();
    micros.sort_unstable_by(f64::total_cmp);
    let quantile = |q: f64| {
        let at = (micros.len() as f64 * q) as usize;
        micros.get(at).copied().unwrap_or_default()
    };
    Tally {
        requests: micros.len() as u64,
        failures,
        first_failure,
        seconds,
        p50_micros: quantile(0.5),
        p99_micros: quantile(0.99),
    }
}

/// How one connection ended: what its requests took, and why it stopped before its time.
#[derive(Default)]
struct End {
    micros: Vec<f64>,
    failure: Option<String>,
}

/// One thread's connections.
fn drive(
    arguments: &Arguments,
    connections: impl Iterator<Item = usize>,
    ready: &Barrier,
    go: &Barrier,
) -> Vec<End> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let warm: Vec<_> = connections
        .map(|i| runtime.spawn(Client::warm(arguments.to, arguments.method, arguments.size, i)))
        .collect();
    let warm: Vec<_> = runtime.block_on(async {
        let mut clients = Vec::new();
        for client in warm {
            clients.push(client.await.expect("no panic"));
        }
        clients
    });
    ready.wait();
    go.wait();
    let until = Instant::now() + Duration::from_millis(arguments.millis);
    let tasks: Vec<_> = warm
        .into_iter()
        .map(|client| {
            runtime.spawn(async move {
                match client {
                    Ok(client) => client.work(until).await,
                    Err(error) => End { failure: Some(error.to_string()), ..End::default() },
                }
            })
        })
        .collect();
    let ends = runtime.block_on(async {
        let mut ends = Vec::new();
        for task in tasks {
            ends.push(task.await.expect("no panic"));
        }
        ends
    });
    // Lets go of nothing: see `run`.
    std::mem::forget(runtime);
    ends
}

pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    buffer: Buffer,
    method: Method,
    size: Size,
    /// The head, and a small body behind it.
    request: Vec<u8>,
}

impl Client {
    pub(crate) async fn connect(to: SocketAddr, method: Method, key: &str, size: Size) -> io::Result<Self> {
        let stream = TcpStream::connect(to).await?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            buffer: Buffer::new(BLOCK.min(usize::try_from(size.0).unwrap_or(BLOCK) + 4096)),
            method,
            size,
            request: request(method, key, size),
        })
    }

    /// Connected, and one small request old.
    async fn warm(to: SocketAddr, method: Method, size: Size, number: usize) -> io::Result<Self> {
        let mut client = Self::connect(to, method, &format!("load/{number}/{KIB}"), KIB).await?;
        client.exchange().await?;
        client.buffer = Buffer::new(BLOCK.min(usize::try_from(size.0).unwrap_or(BLOCK) + 4096));
        client.size = size;
        client.request = request(method, &format!("load/{number}/{size}"), size);
        Ok(client)
    }

    async fn work(mut self, until: Instant) -> End {
        let mut end = End::default();
        while Instant::now() < until {
            let started = Instant::now();
            if let Err(error) = self.exchange().await {
                end.failure = Some(error.to_string());
                return end;
            }
            end.micros.push(started.elapsed().as_secs_f64() * 1e6);
        }
        std::mem::forget(self.stream);
        end
    }

    pub(crate) async fn send_head(&mut self) -> io::Result<()> {
        self.stream.write_all(&self.request).await
    }

    async fn exchange(&mut self) -> io::Result<()> {
        self.stream.write_all(&self.request).await?;
        if self.method == Method::Put && self.size.0 > BLOCK as u64 {
            let mut left = self.size.0;
            while left > 0 {
                let block = usize::try_from(left).unwrap_or(BLOCK).min(BLOCK);
                self.stream.write_all(&ZEROS[..block]).await?;
                left -= block as u64;
            }
        }
        let end = self.buffer.head(&mut self.stream).await?;
        let end = end.ok_or_else(|| bad("closed instead of answered"))?;
        let head = &self.buffer.bytes()[..end];
        if !head.starts_with(b"HTTP/1.1 200") {
            let text = String::from_utf8_lossy(self.buffer.bytes()).into_owned();
            return Err(io::Error::other(text));
        }
        let length = content_length(head);
        let expected = match self.method {
            Method::Get => self.size.0,
            Method::Put => 0,
        };
        if length != expected {
            return Err(bad("an answer of another length"));
        }
        self.buffer.skip(&mut self.stream, end, length).await
    }
}

fn request(method: Method, key: &str, size: Size) -> Vec<u8> {
    let signer = Signer::new(ACCESS_KEY, SECRET, OffsetDateTime::now_utc());
    let path = format!("/datasets/{key}");
    let mut headers =
        vec![("host", HOST), ("x-amz-content-sha256", UNSIGNED_PAYLOAD), ("x-amz-date", &signer.amz_date)];
    match method {
        Method::Get => headers.insert(1, ("x-amz-checksum-mode", "ENABLED")),
        Method::Put => headers.insert(0, ("content-type", "application/octet-stream")),
    }
    let authorization = signer.authorization(&Signed {
        method: method.name(),
        path: &path,
        query: "",
        headers: &headers,
        payload: UNSIGNED_PAYLOAD,
    });
    let mut text = format!("{} {path} HTTP/1.1\r\n", method.name());
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str(&format!(
        "user-agent: Boto3/1.40.61 md/Botocore#1.40.61 ua/2.1 os/linux#6.8.0 lang/python#3.12.3 Botocore/1.40.61\r\n\
         accept-encoding: identity\r\namz-sdk-invocation-id: b3b6f4a5-9f3e-4c0c-8d2c-2b1f0a9e7d61\r\n\
         amz-sdk-request: attempt=1\r\nauthorization: {authorization}\r\n",
    ));
    if method == Method::Put {
        text.push_str(&format!("content-length: {}\r\n", size.0));
    }
    text.push_str("\r\n");
    let mut request = text.into_bytes();
    if method == Method::Put && size.0 <= BLOCK as u64 {
        request.resize(request.len() + usize::try_from(size.0).expect("small"), 0);
    }
    request
}
