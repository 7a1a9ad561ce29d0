//! How commands speak to a running gateway: its admin API, under `--admin-url`, with the admin token from the
//! environment, for a flag would show it to everybody on the machine. Out: documents, or an error that says
//! what to do about it.

use std::error::Error;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use bytes::Bytes;
use clap::Args;
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::Failure;
use crate::tls;
use crate::types::UserId;

/// For the head of an answer, and for a document.
const TIMEOUT: Duration = Duration::from_secs(30);
/// The largest document that is believed: a page of a list.
const MAX_DOCUMENT: usize = 16 << 20;
/// Items of one page.
const PAGE: usize = 1000;
const ADMIN_URL_HELP: &str = "The gateway's admin listener; the token comes from BUCKETWARDEN_ADMIN_TOKEN";
const TOKEN: &str = "BUCKETWARDEN_ADMIN_TOKEN";

#[derive(Args)]
pub(super) struct Gateway {
    #[arg(long, env = "BUCKETWARDEN_ADMIN_URL", default_value = "http://127.0.0.1:9090", help = ADMIN_URL_HELP)]
    admin_url: String,
}

pub(super) struct AdminApi {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    url: String,
    authorization: HeaderValue,
}

/// What the gateway said to a request that it refused.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) status: StatusCode,
    text: String,
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.status {
            StatusCode::UNAUTHORIZED => {
                write!(f, "the gateway refuses the token in {TOKEN}: it is not its admin.token")
            }
            _ => f.write_str(&self.text),
        }
    }
}

impl Error for Refused {}

impl Gateway {
    #[cfg(test)]
    pub(super) fn at(url: &str) -> Self {
        Self { admin_url: url.to_owned() }
    }

    pub(super) fn connect(&self) -> Result<AdminApi, Failure> {
        let token = std::env::var(TOKEN).ok().filter(|token| !token.is_empty());
        let token = token.ok_or_else(|| {
            Failure::Usage(format!("{TOKEN} is not set: it must hold the gateway's admin.token"))
        })?;
        let mut authorization = HeaderValue::try_from(format!("Bearer {token}"))
            .map_err(|_| Failure::Usage(format!("{TOKEN} holds characters that no token has")))?;
        authorization.set_sensitive(true);
        let url = self.admin_url.trim_end_matches('/').to_owned();
        let parsed = url.parse::<Uri>().ok().filter(|url| url.authority().is_some());
        if !parsed.is_some_and(|url| matches!(url.scheme_str(), Some("http" | "https"))) {
            return Err(Failure::Usage(format!(
                "--admin-url {url}: expected http:// or https:// and a host"
            )));
        }
        let https = HttpsConnectorBuilder::new()
            .with_tls_config(tls::client_config(None)?)
            .https_or_http()
            .enable_http1()
            .build();
        Ok(AdminApi { client: Client::builder(TokioExecutor::new()).build(https), url, authorization })
    }
}

impl AdminApi {
    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        self.ask(Method::GET, path, None).await
    }

    /// A document for a document.
    pub(super) async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        document: Option<&Value>,
    ) -> anyhow::Result<T> {
        let answer = self.send(method, path, document).await?;
        let document = tokio::time::timeout(TIMEOUT, read(answer)).await;
        let document = document.context("the gateway did not finish its answer in time")??;
        serde_json::from_slice(&document).context("the gateway's answer is none that is known")
    }

    /// All of a list, page by page; `name` is what it is called in each.
    pub(super) async fn list<T: DeserializeOwned>(&self, path: &str, name: &str) -> anyhow::Result<Vec<T>> {
        let (mut all, mut after) = (Vec::new(), String::new());
        loop {
            let mut page: Value = self.get(&format!("{path}?limit={PAGE}&after={after}")).await?;
            let Some(Value::Array(items)) = page.get_mut(name).map(Value::take) else {
                bail!("the gateway's answer is no list of {name}");
            };
            for item in items {
                all.push(serde_json::from_value(item).context("the gateway's answer is none that is known")?);
            }
            match page.get("next").and_then(Value::as_str) {
                Some(next) if next > after.as_str() => next.clone_into(&mut after),
                Some(_) => bail!("the gateway's list does not end"),
                None => return Ok(all),
            }
        }
    }

    /// An answer that is a success; its body is still to come.
    pub(super) async fn send(
        &self,
        method: Method,
        path: &str,
        document: Option<&Value>,
    ) -> anyhow::Result<Response<Incoming>> {
        let url = format!("{}{path}", self.url);
        let request = Request::builder()
            .method(method)
            .uri(&url)
            .header(header::AUTHORIZATION, self.authorization.clone())
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::from(document.map(Value::to_string).unwrap_or_default()))
            .with_context(|| format!("{url} is no URL"))?;
        let answer = tokio::time::timeout(TIMEOUT, self.client.request(request)).await;
        let answer = answer
            .with_context(|| format!("no answer from {} in time", self.url))?
            .map_err(|error| anyhow!("no gateway at {}: {}", self.url, innermost(&error)))?;
        let status = answer.status();
        if status.is_success() {
            return Ok(answer);
        }
        let document = tokio::time::timeout(TIMEOUT, read(answer)).await;
        let said = document.ok().and_then(Result::ok).and_then(|text| said(&text));
        let text =
            said.unwrap_or_else(|| format!("{} answers {status}: is it the admin listener?", self.url));
        Err(Refused { status, text }.into())
    }
}

/// The path of one user's resource.
pub(super) fn user_path(list: &str, user: &str) -> anyhow::Result<String> {
    match UserId::parse(user) {
        Some(user) => Ok(format!("{list}/{user}")),
        None => {
            bail!("{user:?} is no user id: 1 to 64 of A-Z, a-z, 0-9, . _ and -, the first a letter or digit")
        }
    }
}

/// What an error document says.
fn said(document: &[u8]) -> Option<String> {
    let document: Value = serde_json::from_slice(document).ok()?;
    Some(document.get("error")?.as_str()?.to_owned())
}

async fn read(answer: Response<Incoming>) -> anyhow::Result<Vec<u8>> {
    let (mut body, mut document) = (answer.into_body(), Vec::new());
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.context("the gateway's answer broke off")?.into_data() else { continue };
        if data.len() > MAX_DOCUMENT - document.len() {
            bail!("the gateway's answer is too long");
        }
        document.extend_from_slice(&data);
    }
    Ok(document)
}

/// What really went wrong: `connection refused`, and not that a client had an error.
fn innermost(error: &hyper_util::client::legacy::Error) -> String {
    let mut cause: &dyn Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}
