//! `bucketwarden healthcheck`: asks the local gateway's `/readyz`.

use std::time::Duration;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use http_body_util::Empty;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;

use super::{Failure, runtime};

const TIMEOUT: Duration = Duration::from_secs(5);

pub(super) fn run(admin_url: &str) -> Result<(), Failure> {
    runtime()?.block_on(async {
        let url = format!("{}/readyz", admin_url.trim_end_matches('/'));
        let url: http::Uri = url.parse().with_context(|| format!("{url} is no URL"))?;
        let client: Client<_, Empty<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
        let answer = tokio::time::timeout(TIMEOUT, client.get(url.clone()));
        let answer =
            answer.await.context("no answer in time")?.with_context(|| format!("no gateway at {url}"))?;
        if !answer.status().is_success() {
            bail!("the gateway is not ready: {}", answer.status());
        }
        Ok::<_, anyhow::Error>(())
    })?;
    Ok(())
}
