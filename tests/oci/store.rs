//! Where the bytes are: the embedded S3 store, on a listener of its own, spoken to in plain SigV4. Both faces pass on
//! to it what they have judged.

use std::path::PathBuf;
use std::sync::Arc;

use bucketwarden::dev_store::{DevStore, Settings as StoreSettings};
use bucketwarden::types::Secret;
use bytes::Bytes;
use http::{HeaderMap, Method};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::task::JoinSet;

use super::text::uri_encode;
use super::{Settings, endpoint, listener, sigv4};

const KEY: (&str, &str) = ("stand-in", "the-stand-in's-own-secret");
/// Headers of the stand-in's caller that are not the store's.
const OWN: &[&str] = &[
    "authorization",
    "connection",
    "content-length",
    "expect",
    "host",
    "te",
    "transfer-encoding",
    "x-amz-acl",
    "x-amz-content-sha256",
    "x-amz-date",
    "x-amz-decoded-content-length",
    "x-amz-trailer",
];

pub(super) struct Store {
    client: Client<HttpConnector, Full<Bytes>>,
    endpoint: String,
    region: String,
}

impl Store {
    pub(super) async fn start(folder: PathBuf, settings: &Settings, tasks: &mut JoinSet<()>) -> Arc<Self> {
        let region = settings.region.clone();
        let opened = DevStore::open(StoreSettings {
            dir: folder,
            bucket: settings.bucket.clone(),
            region: region.clone(),
            access_key_id: KEY.0.into(),
            secret: Secret::new(KEY.1.into()),
        });
        let listener = listener().await;
        let endpoint = endpoint(&listener);
        tasks.spawn(opened.expect("a fresh folder opens").serve(listener, std::future::pending()));
        let client = Client::builder(TokioExecutor::new()).build_http();
        Arc::new(Self { client, endpoint, region })
    }

    /// What the store answers, an error too; `parameters` are not encoded yet.
    pub(super) async fn send(
        &self,
        method: Method,
        path: &str,
        parameters: &[(String, String)],
        headers: &HeaderMap,
        body: Bytes,
    ) -> http::Response<Incoming> {
        let query: Vec<String> = parameters
            .iter()
            .map(|(name, value)| format!("{}={}", uri_encode(name, false), uri_encode(value, false)))
            .collect();
        let target = format!("{}{}?{}", self.endpoint, uri_encode(path, true), query.join("&"));
        let mut request = http::Request::new(());
        *request.method_mut() = method;
        *request.uri_mut() = target.parse().expect("an encoded target");
        let (mut head, ()) = request.into_parts();
        let passed = headers.iter().filter(|(name, _)| !OWN.contains(&name.as_str()));
        head.headers.extend(passed.map(|(name, value)| (name.clone(), value.clone())));
        let host = head.uri.authority().expect("the endpoint has one").as_str();
        head.headers.insert("host", host.parse().expect("an authority"));
        head.headers.insert("content-length", body.len().into());
        sigv4::sign(&mut head, KEY.0, KEY.1, &self.region, bucketwarden::now());
        let request = http::Request::from_parts(head, Full::new(body));
        self.client.request(request).await.expect("the store is in this process, and answers")
    }
}
