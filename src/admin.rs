//! The back door: `/healthz` (alive), `/readyz` (503 while starting or draining), `/metrics`. A listener of its
//! own, so that it answers while the front door is overloaded.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::metrics::Metrics;

/// For a head, and for the next one of a connection that is kept.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Connections of probes and scrapers; more are not taken until one ends.
const MAX_CONNECTIONS: usize = 64;
/// What a peer may leave unread or unacknowledged before the kernel gives it up.
const STALL: Duration = Duration::from_secs(10);
/// A connection gets no further request after this, so that no peer can keep its place for good.
const MAX_AGE: Duration = Duration::from_mins(1);
/// What the last answer of a connection gets to be read, once that time is over.
const LAST_ANSWER: Duration = Duration::from_secs(5);

/// Where the gateway stands in its life.
#[derive(Clone, Default)]
pub struct Readiness(Arc<AtomicU8>);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    Starting,
    Ready,
    Draining,
}

impl Readiness {
    pub fn set(&self, phase: Phase) {
        let number = match phase {
            Phase::Starting => 0,
            Phase::Ready => 1,
            Phase::Draining => 2,
        };
        self.0.store(number, Ordering::Release);
    }

    pub fn phase(&self) -> Phase {
        match self.0.load(Ordering::Acquire) {
            0 => Phase::Starting,
            1 => Phase::Ready,
            _ => Phase::Draining,
        }
    }
}

/// Answers until it is dropped.
pub async fn run(listener: TcpListener, metrics: Arc<Metrics>, readiness: Readiness) {
    let mut connections = JoinSet::new();
    loop {
        if connections.len() >= MAX_CONNECTIONS {
            connections.join_next().await;
        }
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "the admin listener cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        if let Err(error) = socket2::SockRef::from(&stream).set_tcp_user_timeout(Some(STALL)) {
            tracing::debug!(%error, "an admin connection broke before its first byte");
            continue;
        }
        let (metrics, readiness) = (metrics.clone(), readiness.clone());
        connections.spawn(async move {
            let service = service_fn(|request| {
                let response = answer(&request, &metrics, &readiness);
                async { Ok::<_, Infallible>(response) }
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_TIMEOUT)
                .max_header_size(16 * 1024)
                .serve_connection(TokioIo::new(stream), service);
            let mut connection = pin!(connection);
            let mut ended = tokio::time::timeout(MAX_AGE, connection.as_mut()).await;
            if ended.is_err() {
                connection.as_mut().graceful_shutdown();
                ended = tokio::time::timeout(LAST_ANSWER, connection).await;
            }
            match ended {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::debug!(%error, "an admin connection ended badly"),
                Err(_) => tracing::debug!("an admin connection was cut: its client does not read"),
            }
        });
        while connections.try_join_next().is_some() {}
    }
}

fn answer(request: &Request<Incoming>, metrics: &Metrics, readiness: &Readiness) -> Response<Full<Bytes>> {
    let known = ["/healthz", "/readyz", "/metrics"].contains(&request.uri().path());
    if known && !matches!(*request.method(), Method::GET | Method::HEAD) {
        return text(StatusCode::METHOD_NOT_ALLOWED, "method not allowed\n");
    }
    match request.uri().path() {
        "/healthz" => text(StatusCode::OK, "ok\n"),
        "/readyz" => match readiness.phase() {
            Phase::Starting => text(StatusCode::SERVICE_UNAVAILABLE, "starting\n"),
            Phase::Ready => text(StatusCode::OK, "ready\n"),
            Phase::Draining => text(StatusCode::SERVICE_UNAVAILABLE, "draining\n"),
        },
        "/metrics" => match metrics.text() {
            Ok(exposition) => {
                let mut response = Response::new(Full::from(exposition));
                let format = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
                response.headers_mut().insert(header::CONTENT_TYPE, format);
                response
            }
            Err(error) => {
                tracing::error!(%error, "metrics cannot be written");
                text(StatusCode::INTERNAL_SERVER_ERROR, "metrics cannot be written\n")
            }
        },
        _ => text(StatusCode::NOT_FOUND, "not found\n"),
    }
}

fn text(status: StatusCode, body: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

#[cfg(test)]
mod tests {
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
}
