//! HTTP for the store. In: a listener. Out: to requests that `auth` admits, answers of the `s3s` service with
//! what it leaves out added: request ids, a few statuses, and XML in which every name can stand. Ends soon
//! after it is told to.

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s::{Body, HttpRequest, HttpResponse, S3Error, StdError};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::DevStore;
use super::auth::Auth;
use super::headers;
use super::service::{Service, Status};
use crate::types::RequestId;

/// How long requests in flight may take once the shutdown has begun.
const DRAIN: Duration = Duration::from_secs(2);
const HEAD_TIMEOUT: Duration = Duration::from_mins(10);
const AFTER_ACCEPT_ERROR: Duration = Duration::from_millis(50);

pub(super) async fn run(dev: DevStore, listener: TcpListener, shutdown: impl Future<Output = ()>) {
    let DevStore { settings, store } = dev;
    let mut builder = S3ServiceBuilder::new(Service(Arc::clone(&store)));
    builder.set_route(Service(store));
    let service = builder.build();
    let auth = Arc::new(Auth::new(settings.access_key_id, settings.secret, settings.region));

    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    if let Err(error) = stream.set_nodelay(true) {
                        tracing::debug!(%error, "no TCP_NODELAY");
                    }
                    let (auth, service) = (Arc::clone(&auth), service.clone());
                    let answer = service_fn(move |request| answer(Arc::clone(&auth), service.clone(), request));
                    let connection = http1::Builder::new()
                        .timer(TokioTimer::new())
                        .header_read_timeout(HEAD_TIMEOUT)
                        .serve_connection(TokioIo::new(stream), answer);
                    let connection = graceful.watch(connection);
                    connections.spawn(async move {
                        if let Err(error) = connection.await {
                            tracing::debug!(%error, "a connection to the dev store broke");
                        }
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "the dev store cannot accept");
                    tokio::time::sleep(AFTER_ACCEPT_ERROR).await;
                }
            }
        }
    }
    drop(listener);
    if tokio::time::timeout(DRAIN, graceful.shutdown()).await.is_err() {
        tracing::debug!("dropping connections to the dev store that are still busy");
    }
    connections.shutdown().await;
}

async fn answer(
    auth: Arc<Auth>,
    service: S3Service,
    request: http::Request<hyper::body::Incoming>,
) -> Result<HttpResponse, Infallible> {
    let request: HttpRequest = request.map(Body::from);
    let answered = match auth.admit(request, crate::now()) {
        Ok(request) => service.call(request).await.map_err(StdError::from),
        Err(refused) => S3Error::from(refused).to_http_response().map_err(StdError::from),
    };
    let mut response = answered.unwrap_or_else(|error| internal_error(&error));
    if let Some(Status(status)) = response.extensions().get() {
        *response.status_mut() = *status;
    }
    spell_controls(&mut response);
    headers::set(response.headers_mut(), "x-amz-request-id", RequestId::new().as_str());
    Ok(response)
}

/// An answer that `s3s` could not put into HTTP.
fn internal_error(error: &StdError) -> HttpResponse {
    tracing::error!(%error, "the dev store could not write an answer");
    let mut response = HttpResponse::new(Body::empty());
    *response.status_mut() = http::StatusCode::INTERNAL_SERVER_ERROR;
    response
}

/// S3 writes characters that XML 1.0 does not have as references (`&#x1;`); `s3s` would write them raw.
/// Outside of text no answer has control characters, so this can be done on the finished XML.
fn spell_controls(response: &mut HttpResponse) {
    let is_xml =
        response.headers().get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes() == b"application/xml");
    let Some(xml) = response.body().bytes().filter(|_| is_xml) else {
        return;
    };
    if let Some(spelled) = spelled(&xml) {
        *response.body_mut() = Body::from(spelled);
    }
}

fn spelled(xml: &Bytes) -> Option<String> {
    let illegal = |c: char| matches!(c, '\0'..='\u{8}' | '\u{b}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}');
    let text = std::str::from_utf8(xml).ok()?;
    if !text.contains(illegal) {
        return None;
    }
    let mut out = String::with_capacity(text.len() + 64);
    for c in text.chars() {
        if illegal(c) {
            out.extend(["&#x", format!("{:x}", u32::from(c)).as_str(), ";"]);
        } else {
            out.push(c);
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_that_xml_lacks_become_references() {
        assert_eq!(spelled(&Bytes::from_static(b"<a>\tb\n</a>")), None);
        let raw = Bytes::from("<a>\u{1}\r\u{1f}\u{fffe}é</a>");
        assert_eq!(spelled(&raw).as_deref(), Some("<a>&#x1;&#xd;&#x1f;&#xfffe;é</a>"));
    }
}
