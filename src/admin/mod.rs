//! The back door: `/healthz`, `/readyz`, `/metrics`, and under `/api/v1/admin/` the API of whoever holds the admin
//! token. A listener of its own, so that it answers while the front door is overloaded. In: connections of
//! probes, scrapers and operators, each of which has its place for a limited time. Out: what the table of routes
//! leads to; every refusal of the API is `{"error": "…"}`.

mod answer;
mod audit;
mod auth;
mod explain;
mod gauges;
mod health;
mod jobs;
mod keys;
mod openapi;
mod people;
mod quota;
mod reconcile;
mod reload;
mod routes;
#[cfg(test)]
mod tests;
mod users;

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use arc_swap::ArcSwap;
use http::{Request, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::account::Millis;
use crate::admit::tiers::Tiers;
use crate::auth::Keyring;
use crate::ledger::pars::Pars;
use crate::metrics::Metrics;
use crate::refusals::Refusals;
use crate::store::Store;
use crate::types::{Secret, UserId};
use answer::{Answer, Problem, Result};
pub use gauges::run as run_gauges;
pub use health::{Phase, Readiness};
pub use reconcile::{Event, Line, Progress, Reconciler, Recounted};
pub use reload::{NotReloaded, Reload, Reloaded};
use routes::{Needs, Route};

/// For a head, for the next one of a connection that is kept, and for a body.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Connections of probes and scrapers; more are not taken until one ends.
const MAX_CONNECTIONS: usize = 64;
/// What a peer may leave unread or unacknowledged before the kernel gives it up.
const STALL: Duration = Duration::from_secs(10);
/// A connection gets no further request after this, so that no peer can keep its place for good. Lines that are
/// being written go on: only who holds the token gets such an answer.
const MAX_AGE: Duration = Duration::from_mins(1);
/// What the last answer of a connection gets to be read, once that time is over.
const LAST_ANSWER: Duration = Duration::from_secs(5);
/// The largest document that a request may bring, in bytes.
const MAX_DOCUMENT: usize = 64 * 1024;
/// Questions to the store at once, for one request.
const AT_ONCE: usize = 16;

/// What the back door leads to. A reload puts another in its place.
pub struct Admin {
    pub metrics: Arc<Metrics>,
    pub readiness: Readiness,
    pub store: Arc<Store>,
    pub tiers: Arc<Tiers>,
    pub keyring: Arc<Keyring>,
    pub reconciler: Arc<dyn Reconciler>,
    pub pars: Pars,
    pub reloader: Arc<dyn Reload>,
    pub refusals: Arc<Refusals>,
    /// Without one, nobody gets past health and metrics.
    pub token: Option<Secret>,
    /// How many of the fullest users metrics name.
    pub per_user_top: usize,
}

/// Answers until it is dropped, each request by the `Admin` of the moment.
pub async fn run(listener: TcpListener, admin: Arc<ArcSwap<Admin>>) {
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
        let admin = admin.clone();
        connections.spawn(async move {
            let at_work = TaskTracker::new();
            let service = service_fn(|request| {
                let (admin, token) = (admin.load_full(), at_work.token());
                async move { Ok::<_, Infallible>(admin.answer(request, token).await) }
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
                at_work.close();
                let lines_end = at_work.wait();
                ended = tokio::select! {
                    ended = connection.as_mut() => Ok(ended),
                    () = lines_end => tokio::time::timeout(LAST_ANSWER, connection).await,
                };
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

impl Admin {
    async fn answer(self: &Arc<Self>, request: Request<Incoming>, token: TaskTrackerToken) -> Answer {
        let entry = audit::Entry::open(request.method(), request.uri().path());
        let answer = self.serve(request, token).await.unwrap_or_else(Problem::answer);
        entry.close(&answer);
        answer
    }

    async fn serve(self: &Arc<Self>, request: Request<Incoming>, token: TaskTrackerToken) -> Result {
        let (head, body) = request.into_parts();
        let path = head.uri.path();
        match routes::needs(path) {
            Needs::Nothing => {}
            Needs::Token => auth::check(self.token.as_ref(), &head.headers)?,
        }
        let (route, segments) = routes::find(&head.method, path)?;
        let query = head.uri.query();
        match route {
            Route::Alive => Ok(health::alive()),
            Route::Ready => Ok(health::ready(&self.readiness, &self.store)),
            Route::Metrics => Ok(health::metrics(&self.metrics)),
            Route::ListUsers => users::list(self, query).await,
            Route::GetUser => users::get(self, &segments.user()?).await,
            Route::PutUser => users::put(self, &segments.user()?, &read(body).await?).await,
            Route::DeleteUser => users::delete(self, &segments.user()?).await,
            Route::ListKeys => keys::list(self, &segments.user()?, query).await,
            Route::CreateKey => keys::create(self, &segments.user()?, &read(body).await?).await,
            Route::SetKey => keys::set(self, &segments.user()?, &segments.key()?, &read(body).await?).await,
            Route::DeleteKey => keys::delete(self, &segments.user()?, &segments.key()?).await,
            Route::ListJobs => jobs::list(self, query).await,
            Route::GetJob => jobs::get(self, &segments.job()?).await,
            Route::PutJob => jobs::put(self, &segments.job()?, &read(body).await?).await,
            Route::DeleteJob => jobs::delete(self, &segments.job()?).await,
            Route::ListQuotas => quota::list(self, query).await,
            Route::GetQuota => quota::get(self, &segments.user()?).await,
            Route::Reconcile => reconcile::start(self, &read(body).await?, token).await,
            Route::Explain => explain::get(self, segments.first),
            Route::Reload => reload::start(self).await,
            Route::OpenApi => Ok(answer::json(StatusCode::OK, &*openapi::DOCUMENT)),
        }
    }

    /// After a change to a user: whoever asks about them here from now on gets a new answer, and what they may have no
    /// more goes.
    fn forget(&self, user: &UserId) {
        self.tiers.forget(user);
        self.keyring.forget_user(user);
        self.pars.review(user);
    }

    #[expect(clippy::unused_self, reason = "the clock is part of what a handler is given")]
    fn now(&self) -> Millis {
        let since = crate::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Millis::try_from(since.as_millis()).unwrap_or(Millis::MAX)
    }
}

/// A small document, whole.
async fn read(mut body: Incoming) -> Result<Vec<u8>> {
    let mut document = Vec::new();
    let reading = async {
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| Problem::bad("The body ended before its time."))?;
            let Ok(data) = frame.into_data() else { continue };
            if data.len() > MAX_DOCUMENT - document.len() {
                let text = format!("The body is larger than {MAX_DOCUMENT} bytes.");
                return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, text));
            }
            document.extend_from_slice(&data);
        }
        Ok(())
    };
    match tokio::time::timeout(HEAD_TIMEOUT, reading).await {
        Ok(read) => read?,
        Err(_) => return Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "The body did not come in time.")),
    }
    Ok(document)
}
