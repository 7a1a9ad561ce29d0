//! The admin listener over real sockets and a real store.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::*;

const GET: &[u8] = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n";

async fn answer_to(stream: &mut TcpStream) -> String {
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("open");
    let mut answer = vec![0; 1024];
    let read = stream.read(&mut answer).await.expect("an answer");
    String::from_utf8_lossy(&answer[..read]).into_owned()
}

/// Asks and asks and reads nothing, until not a byte more is taken.
async fn clog(stream: &mut TcpStream) {
    let asks = GET.repeat(1000);
    while tokio::time::timeout(Duration::from_millis(100), stream.write_all(&asks)).await.is_ok() {}
}

#[tokio::test]
async fn clients_that_do_not_read_lose_their_places() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    let metrics = Arc::new(Metrics::new().expect("metrics"));
    let server = tokio::spawn(run(listener, metrics, Readiness::default()));
    let mut clogged = Vec::new();
    for _ in 0..MAX_CONNECTIONS {
        let mut stream = TcpStream::connect(address).await.expect("it listens");
        clog(&mut stream).await;
        clogged.push(stream);
    }
    tokio::time::pause();
    let mut probe = TcpStream::connect(address).await.expect("it listens");
    let answer = tokio::time::timeout(MAX_AGE * 5, answer_to(&mut probe)).await;
    assert!(answer.expect("a place was given back").starts_with("HTTP/1.1 200"));
    // A scraper keeps its connection from one request to the next.
    assert!(answer_to(&mut probe).await.starts_with("HTTP/1.1 200"));
    server.abort();
}
