//! The storage behind the gateway, as fast as it gets: a GET of `…/1MiB` is that many zeros from one static
//! buffer, a PUT is swallowed, a listing is empty. `…/stall-1GiB` is never read, which is what a stalled upstream
//! does.

use std::io::{self, Write as _};
use std::net::TcpListener;
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use crate::http::{Buffer, bad, content_length, header};
use crate::size::Size;

const THREADS: usize = 2;
const BLOCK: usize = 1 << 20;
/// Bodies up to this size go out in one write with their head.
const SMALL: u64 = 64 * 1024;
static ZEROS: [u8; BLOCK] = [0; BLOCK];

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Bytes that the kernel may hold for one connection
    #[arg(long)]
    send_buffer: Option<usize>,
}

/// Serves until its standard input closes.
pub(crate) fn run(arguments: &Arguments) -> io::Result<()> {
    let listener = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
    if let Some(size) = arguments.send_buffer {
        listener.set_send_buffer_size(size)?;
        listener.set_recv_buffer_size(size)?;
    }
    listener.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into())?;
    listener.listen(4096)?;
    let listener = TcpListener::from(listener);
    println!("{}", listener.local_addr()?);
    io::stdout().flush()?;
    let workers: Vec<_> = (0..THREADS).map(|_| worker()).collect();
    std::thread::spawn(move || {
        for (stream, worker) in listener.incoming().zip(workers.iter().cycle()) {
            worker.send(stream.expect("accepts")).expect("the worker runs");
        }
    });
    io::copy(&mut io::stdin(), &mut io::sink())?;
    Ok(())
}

/// A thread that serves the connections it is given.
fn worker() -> mpsc::UnboundedSender<std::net::TcpStream> {
    let (sender, mut streams) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(async {
            while let Some(stream) = streams.recv().await {
                // A connection that breaks is its client's to report.
                tokio::spawn(serve(stream));
            }
        });
    });
    sender
}

async fn serve(stream: std::net::TcpStream) -> io::Result<()> {
    stream.set_nonblocking(true)?;
    stream.set_nodelay(true)?;
    let mut stream = TcpStream::from_std(stream)?;
    let mut buffer = Buffer::new(256 * 1024);
    let mut small = (Size(0), Vec::new());
    while let Some(end) = buffer.head(&mut stream).await? {
        let head = &buffer.bytes()[..end];
        let asked = request_line(head)?;
        let length = content_length(head);
        if header(head, "expect:").is_some() {
            stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
        }
        if let Asked::Stall = asked {
            tokio::time::sleep(Duration::from_hours(1)).await;
        }
        buffer.skip(&mut stream, end, length).await?;
        let size = match asked {
            Asked::Get(size) => size,
            Asked::Head(size) => {
                stream.write_all(answer_head(size).as_bytes()).await?;
                continue;
            }
            Asked::List(document) => {
                let head = answer_head(Size(document.len() as u64));
                stream.write_all([head, document.to_owned()].concat().as_bytes()).await?;
                continue;
            }
            Asked::Put | Asked::Stall => {
                stream.write_all(answer_head(Size(0)).as_bytes()).await?;
                continue;
            }
        };
        if size.0 <= SMALL {
            if small.0 != size {
                let mut answer = answer_head(size).into_bytes();
                answer.resize(answer.len() + usize::try_from(size.0).expect("small"), 0);
                small = (size, answer);
            }
            stream.write_all(&small.1).await?;
        } else {
            stream.write_all(answer_head(size).as_bytes()).await?;
            let mut left = size.0;
            while left > 0 {
                let block = usize::try_from(left).unwrap_or(BLOCK).min(BLOCK);
                stream.write_all(&ZEROS[..block]).await?;
                left -= block as u64;
            }
        }
    }
    Ok(())
}

enum Asked {
    Get(Size),
    Head(Size),
    List(&'static str),
    Put,
    Stall,
}

/// A key's last segment names the object's size, and whether to stall.
fn request_line(head: &[u8]) -> io::Result<Asked> {
    let end = memchr::memchr(b'\r', head).ok_or_else(|| bad("no request line"))?;
    let line = std::str::from_utf8(&head[..end]).map_err(|_| bad("a request line that is no text"))?;
    let (method, rest) = line.split_once(' ').ok_or_else(|| bad("no method"))?;
    let path = rest.split(' ').next().ok_or_else(|| bad("no path"))?;
    if let Some((_, query)) = path.split_once('?') {
        return Ok(Asked::List(if query.contains("uploads") { NO_UPLOADS } else { NO_OBJECTS }));
    }
    let name = path.rsplit('/').next().unwrap_or_default();
    if name.starts_with("stall-") {
        return Ok(Asked::Stall);
    }
    let size = name.parse().map_err(|_| bad("a key without a size"))?;
    Ok(match method {
        "GET" => Asked::Get(size),
        "HEAD" => Asked::Head(size),
        _ => Asked::Put,
    })
}

const NO_OBJECTS: &str = "<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>";
const NO_UPLOADS: &str =
    "<ListMultipartUploadsResult><IsTruncated>false</IsTruncated></ListMultipartUploadsResult>";

fn answer_head(size: Size) -> String {
    format!(
        "HTTP/1.1 200 OK\r\nx-amz-id-2: 0Zr1VxQ8hZk9rK0pFQn8ZyqQwI2m3cXwHj5u\r\nx-amz-request-id: 4442587FB7D0A2F9\r\n\
         Date: Fri, 14 Mar 2025 15:09:26 GMT\r\nLast-Modified: Fri, 14 Mar 2025 15:09:26 GMT\r\n\
         ETag: \"d41d8cd98f00b204e9800998ecf8427e\"\r\nAccept-Ranges: bytes\r\n\
         Content-Type: application/octet-stream\r\nServer: origin\r\nContent-Length: {}\r\n\r\n",
        size.0,
    )
}
