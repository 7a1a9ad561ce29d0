//! Where an issuer's keys come from, and one look at it. In: a URL or a file of the configuration; nothing that a token
//! says. Out: a `KeySet`, or why there is none. A look takes five seconds at most, 256 KiB, no redirect, no proxy.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use http::{Request, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Empty};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

use super::keys::KeySet;
use crate::tls;

const PATIENCE: Duration = Duration::from_secs(5);
const MOST_BYTES: usize = 256 * 1024;

pub(super) enum Source {
    Url(Box<Remote>),
    JwksFile(PathBuf),
    PublicKeyFile(PathBuf),
}

pub(super) struct Remote {
    url: Uri,
    client: Client<HttpsConnector<HttpConnector>, Empty<Bytes>>,
}

impl Source {
    pub(super) async fn read(&self) -> anyhow::Result<KeySet> {
        match self {
            Self::Url(remote) => {
                let read = tokio::time::timeout(PATIENCE, remote.read());
                KeySet::from_jwks(&read.await.context("not within five seconds")??)
            }
            Self::JwksFile(path) => KeySet::from_jwks(&file(path).await?),
            Self::PublicKeyFile(path) => KeySet::from_pem(&file(path).await?),
        }
    }

    /// A file that holds no keys is a mistake that can be told at the start.
    pub(super) fn check(&self) -> anyhow::Result<()> {
        match self {
            Self::Url(_) => Ok(()),
            Self::JwksFile(path) => {
                let set = KeySet::from_jwks(&std::fs::read(path)?)?;
                anyhow::ensure!(!set.is_empty(), "no public key for signatures in the set");
                Ok(())
            }
            Self::PublicKeyFile(path) => KeySet::from_pem(&std::fs::read(path)?).map(drop),
        }
    }
}

async fn file(path: &Path) -> anyhow::Result<Vec<u8>> {
    let size = tokio::fs::metadata(path).await?.len();
    anyhow::ensure!(usize::try_from(size).is_ok_and(|size| size <= MOST_BYTES), "larger than 256 KiB");
    Ok(tokio::fs::read(path).await?)
}

impl Remote {
    pub(super) fn new(url: Uri) -> anyhow::Result<Self> {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        // Plain http is for this machine only; the configuration has seen to that.
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls::client_config(None)?)
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        let client = Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(connector);
        Ok(Self { url, client })
    }

    async fn read(&self) -> anyhow::Result<Vec<u8>> {
        let mut request = Request::new(Empty::new());
        *request.uri_mut() = self.url.clone();
        let json = header::HeaderValue::from_static("application/jwk-set+json, application/json");
        request.headers_mut().insert(header::ACCEPT, json);
        let response = self.client.request(request).await?;
        anyhow::ensure!(response.status() == StatusCode::OK, "answered {}", response.status());
        let (mut body, mut bytes) = (response.into_body(), Vec::new());
        while let Some(frame) = body.frame().await {
            if let Ok(data) = frame?.into_data() {
                anyhow::ensure!(bytes.len() + data.len() <= MOST_BYTES, "larger than 256 KiB");
                bytes.extend_from_slice(&data);
            }
        }
        Ok(bytes)
    }
}
