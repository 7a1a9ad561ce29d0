//! `bucketwarden healthcheck`: asks the local gateway's `/readyz`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use http_body_util::Empty;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;

use super::{Failure, runtime};

const TIMEOUT: Duration = Duration::from_secs(5);

/// The variable by which a container moves the listener of the gateway beside this command.
const LISTEN: &str = "BUCKETWARDEN_ADMIN__LISTEN";

pub(super) const ADMIN_URL_HELP: &str =
    "The gateway's admin listener [default: where BUCKETWARDEN_ADMIN__LISTEN says, or http://127.0.0.1:9090]";

pub(super) fn run(admin_url: Option<String>) -> Result<(), Failure> {
    let listen = || std::env::var(LISTEN).ok().filter(|text| !text.is_empty());
    let admin_url = match (admin_url, listen()) {
        (Some(url), _) => url,
        (None, Some(listen)) => local_url(&listen)?,
        (None, None) => "http://127.0.0.1:9090".to_owned(),
    };
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

/// How to reach from here what listens there.
fn local_url(listen: &str) -> anyhow::Result<String> {
    let mut address: SocketAddr =
        listen.parse().with_context(|| format!("{LISTEN} is no address and port"))?;
    if address.ip().is_unspecified() {
        address.set_ip(match address.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    Ok(format!("http://{address}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_address_is_reached_by_loopback() {
        for (listen, url) in [
            ("0.0.0.0:9191", "http://127.0.0.1:9191"),
            ("[::]:9191", "http://[::1]:9191"),
            ("10.0.0.7:9090", "http://10.0.0.7:9090"),
        ] {
            assert_eq!(local_url(listen).expect("an address"), url);
        }
        assert!(local_url("localhost").is_err());
    }
}
