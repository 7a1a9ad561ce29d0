//! Connections to the upstream: TCP without delay, TLS where the endpoint says https, reads that adapt.

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
type Cause = Box<dyn std::error::Error + Send + Sync>;

#[derive(Clone)]
pub(super) struct Connector {
    https: HttpsConnector<HttpConnector>,
    budget: Budget,
}

impl Connector {
    pub(super) fn new(tls: ClientConfig, connect_timeout: Duration) -> Self {
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_nodelay(true);
        http.set_connect_timeout(Some(connect_timeout));
        let https = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(http);
        Self { https, budget: Budget::default() }
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
        let connecting = self.https.call(uri);
        let budget = self.budget.clone();
        Box::pin(async move { Ok(TokioIo::new(Adaptive::new(TokioIo::new(connecting.await?), budget))) })
    }
}

impl Connection for Adaptive<Stream> {
    fn connected(&self) -> Connected {
        self.get_ref().inner().connected()
    }
}
