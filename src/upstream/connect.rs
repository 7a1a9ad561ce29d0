//! Connections to the upstream: TCP without delay, TLS where the endpoint says https, reads that adapt. Name
//! resolution, TCP and TLS together must be done within the connect timeout.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use tokio::net::TcpStream;
use tower_service::Service;

use crate::io::{Adaptive, Budget};

type Stream = TokioIo<MaybeHttpsStream<TokioIo<TcpStream>>>;
type Connecting = Pin<Box<dyn Future<Output = Result<TokioIo<Adaptive<Stream>>, Cause>> + Send>>;
/// What the kernel may hold of an upload, beyond what is on its way: what it took looks sent, and an upstream
/// that reads slowly would look like one that does not read.
const MAX_UNSENT: u32 = 128 * 1024;

type Cause = Box<dyn std::error::Error + Send + Sync>;

#[derive(Clone)]
pub(super) struct Connector {
    https: HttpsConnector<HttpConnector>,
    timeout: Duration,
    budget: Budget,
}

impl Connector {
    pub(super) fn new(tls: ClientConfig, connect_timeout: Duration) -> Self {
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_nodelay(true);
        // Shared out among a name's addresses, so that a dead one leaves time for the next.
        http.set_connect_timeout(Some(connect_timeout));
        let https = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(http);
        Self { https, timeout: connect_timeout, budget: Budget::default() }
    }
}

impl Service<Uri> for Connector {
    type Response = TokioIo<Adaptive<Stream>>;
    type Error = Cause;
    type Future = Connecting;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Cause>> {
        self.https.poll_ready(cx)
    }

    fn call(&mut self, uri: Uri) -> Connecting {
        let connecting = tokio::time::timeout(self.timeout, self.https.call(uri));
        let budget = self.budget.clone();
        Box::pin(async move {
            let stream = connecting.await??;
            socket2::SockRef::from(tcp(&stream)).set_tcp_notsent_lowat(MAX_UNSENT)?;
            Ok(TokioIo::new(Adaptive::new(TokioIo::new(stream), budget)))
        })
    }
}

fn tcp(stream: &MaybeHttpsStream<TokioIo<TcpStream>>) -> &TcpStream {
    match stream {
        MaybeHttpsStream::Http(tcp) => tcp.inner(),
        MaybeHttpsStream::Https(tls) => tls.inner().get_ref().0.inner().inner(),
    }
}

impl Connection for Adaptive<Stream> {
    fn connected(&self) -> Connected {
        self.get_ref().inner().connected()
    }
}
