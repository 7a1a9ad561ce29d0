//! The front door: accepts connections, within their limits, and gives their requests to the gateway. Clients
//! speak HTTP/1.1, over TLS if there is a certificate. What is refused here is refused without an answer:
//! there is no request yet.

mod busy;
mod connection;
mod front;
mod peers;
mod presence;
mod slots;

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::{HeaderValue, header};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use prometheus::IntGauge;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use crate::gateway::Peer;
use crate::io::{self, Adaptive, Budget};
use crate::metrics::{Metrics, Throttle};
use busy::{Busy, Guarded};
use connection::{ClientStream, Timeouts};
pub use front::{Front, InForce};
use peers::Peers;
use presence::Watched;
use slots::Slot;

/// Heads above this are answered 431: S3 takes 8 KiB of headers, and signed URLs are long.
const MAX_HEAD: usize = 32 * 1024;
const MAX_HEADERS: usize = 100;
const TLS_HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// What the kernel may hold of an answer, beyond what is on its way.
const MAX_UNSENT: u32 = 128 * 1024;
/// After an accept that failed for want of file descriptors, before the next.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

pub struct Server {
    front: InForce,
    metrics: Arc<Metrics>,
    peers: Peers,
    budget: Budget,
    draining: Draining,
    /// Cancelled when accepting ends.
    stopped: CancellationToken,
}

/// Whether the gateway is on its way out: every answer then asks its client to come back on another connection,
/// so that no request is on its way here when the connections are closed.
#[derive(Clone, Default)]
pub struct Draining(Arc<AtomicBool>);

impl Draining {
    pub fn begin(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn has_begun(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl Server {
    pub fn new(front: InForce, metrics: Arc<Metrics>) -> Self {
        Self {
            front,
            metrics,
            peers: Peers::default(),
            budget: Budget::default(),
            draining: Draining::default(),
            stopped: CancellationToken::new(),
        }
    }

    pub fn draining(&self) -> Draining {
        self.draining.clone()
    }

    /// Accepts until `stop`, then lets what is under way finish.
    pub async fn run(self, listener: TcpListener, stop: impl Future<Output = ()>) {
        let server = Arc::new(self);
        let graceful = GracefulShutdown::new();
        let mut connections = tokio::task::JoinSet::new();
        let accepting = async {
            loop {
                let (stream, peer) = match listener.accept().await {
                    Ok((stream, address)) => (stream, address.ip().to_canonical()),
                    Err(error) => {
                        tracing::warn!(%error, "cannot accept a connection");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                        continue;
                    }
                };
                let place = {
                    let front = server.front.get();
                    server.peers.admit(peer, front.trusts(peer), front.max_connections_per_peer)
                };
                let Some(place) = place else {
                    server.metrics.throttled(Throttle::ConnectionsPerPeer);
                    continue;
                };
                let slot = server.slot().await;
                let watcher = graceful.watcher();
                let server = server.clone();
                connections.spawn(async move {
                    let _held = (slot, place, Open::new(&server.metrics.connections));
                    server.connect(stream, peer, watcher).await;
                });
                // Finished connections leave nothing behind but this.
                while connections.try_join_next().is_some() {}
            }
        };
        tokio::select! {
            () = accepting => {}
            () = stop => {}
        }
        drop(listener);
        server.stopped.cancel();
        let front = server.front.hold();
        let finished = async {
            graceful.shutdown().await;
            front.gateway.finish().await;
        };
        if tokio::time::timeout(front.drain_timeout, finished).await.is_err() {
            let connections = connections.len();
            front.gateway.give_up();
            tracing::warn!(connections, "the drain timeout has passed; closing what is left");
        }
        connections.shutdown().await;
    }

    /// A place among the connections. At the limit the newest client waits here, and those after it in the
    /// kernel's queue.
    async fn slot(&self) -> Slot {
        let (slots, most) = (&self.front.slots, || self.front.get().max_connections);
        if slots.are_full(most()) {
            self.metrics.throttled(Throttle::Connections);
        }
        slots.take(most).await
    }

    async fn connect(
        self: Arc<Self>,
        stream: TcpStream,
        peer: IpAddr,
        watcher: hyper_util::server::graceful::Watcher,
    ) {
        let (timeouts, tls) = {
            let front = self.front.get();
            (front.timeouts, front.tls.clone())
        };
        if let Err(error) = prepare(&stream, timeouts) {
            tracing::debug!(%error, "a connection broke before its first byte");
            return;
        }
        let Some(tls) = tls else {
            return self.serve(stream, peer, timeouts, false, watcher).await;
        };
        // Before its handshake a client has asked for nothing: a drain does not wait for it.
        let handshake = self.stopped.run_until_cancelled(tls.accept(stream));
        match tokio::time::timeout(TLS_HANDSHAKE_TIMEOUT, handshake).await {
            Ok(Some(Ok(stream))) => self.serve(stream, peer, timeouts, true, watcher).await,
            Ok(Some(Err(error))) => tracing::debug!(%error, "TLS handshake failed"),
            Ok(None) => tracing::debug!("TLS handshake given up: the gateway drains"),
            Err(_) => tracing::debug!("TLS handshake timed out"),
        }
    }

    async fn serve<S>(
        &self,
        stream: S,
        peer: IpAddr,
        timeouts: Timeouts,
        tls: bool,
        watcher: hyper_util::server::graceful::Watcher,
    ) where
        S: AsyncRead + AsyncWrite + Watched + Unpin + Send + 'static,
    {
        let busy = Busy::new();
        let stream = Adaptive::new(stream, self.budget.clone());
        let stream = ClientStream::new(stream, timeouts, busy.clone());
        let service = service_fn(|request: http::Request<hyper::body::Incoming>| {
            let (busy, front) = (busy.begin(), self.front.hold());
            async move {
                let peer = Peer { ip: front.client_ip(peer, request.headers()), tls };
                let mut response = front.gateway.handle(request, peer).await;
                if self.draining.has_begun() {
                    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
                }
                Ok::<_, Infallible>(response.map(|body| Guarded { body, busy }))
            }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(None)
            .max_headers(MAX_HEADERS)
            .max_header_size(MAX_HEAD)
            .max_buf_size(io::LARGE)
            .serve_connection(TokioIo::new(stream), service);
        if let Err(error) = watcher.watch(connection).await {
            tracing::debug!(%error, "a connection ended badly");
        }
    }
}

fn prepare(stream: &TcpStream, timeouts: Timeouts) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = socket2::SockRef::from(stream);
    // Without it a socket counts as unwritable until a third of a buffer of megabytes has drained, and a slow
    // reader looks like one that does not read.
    socket.set_tcp_notsent_lowat(MAX_UNSENT)?;
    // A client that vanished without a word, while bytes for it are under way.
    socket.set_tcp_user_timeout(Some(timeouts.idle))?;
    // The kernel counts keep-alive in whole seconds.
    let keep_alive = timeouts.idle.max(Duration::from_secs(1));
    socket.set_tcp_keepalive(&socket2::TcpKeepalive::new().with_time(keep_alive))
}

/// Counts an open connection.
struct Open(IntGauge);

impl Open {
    fn new(gauge: &IntGauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.dec();
    }
}
