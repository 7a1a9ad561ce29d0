//! The wiring: the only place that knows every concrete type. It binds the listeners, builds the rooms from the
//! configuration (`generation`), spawns what runs, puts another configuration in the place of the one at work
//! (`reload`), and takes everything down again in order.

mod generation;
mod log;
mod reload;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use arc_swap::ArcSwap;
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

use crate::access_log::AccessLog;
use crate::admin::{self, NotReloaded, Phase, Readiness, Reload as _, Reloaded};
use crate::admit::Admit;
use crate::admit::quota::millis;
use crate::auth::Keyring;
use crate::body::pace::Replicas;
use crate::config::{Config, Sources};
use crate::gateway::Instruments;
use crate::ledger::Ledger;
use crate::ledger::pars::Pars;
use crate::metrics::Metrics;
use crate::server::{Draining, Server};
use crate::store::Store;
use crate::tls;
use generation::{Generation, Kept};
pub use log::Logs;
pub use reload::Reloads;
use reload::{AtWork, Requests};

/// How long a draining gateway goes on accepting, so that whoever routes to it can notice.
const NOTICE: Duration = Duration::from_secs(1);
const GAUGES_EVERY: Duration = Duration::from_mins(1);
/// A gateway that was not heard of three times is gone, and the others share its part of each limit.
const BEAT_EVERY: Duration = Duration::from_secs(1);
const CERTIFICATE_EVERY: Duration = Duration::from_secs(5);

/// A gateway that is complete, its listeners bound, and has accepted nothing yet.
pub struct Bound {
    s3: TcpListener,
    admin: TcpListener,
    kept: Kept,
    at_work: AtWork,
    heart: Heart,
    reloads: Reloads,
    requests: Requests,
    sources: Option<Sources>,
}

/// A gateway at work. Dropping it stops everything at once; `drain` stops it gently.
pub struct Running {
    s3_addr: SocketAddr,
    admin_addr: SocketAddr,
    readiness: Readiness,
    draining: Draining,
    at_work: AtWork,
    reloads: Reloads,
    stop: oneshot::Sender<()>,
    server: JoinHandle<()>,
    background: Vec<AbortOnDrop>,
}

struct AbortOnDrop(JoinHandle<()>);

impl AbortOnDrop {
    fn spawn(work: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(tokio::spawn(work))
    }
}

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Bound {
    /// With the `sources` of its configuration a gateway can read it again.
    pub async fn new(config: Config, sources: Option<Sources>, logs: Logs) -> anyhow::Result<Self> {
        let metrics = Arc::new(Metrics::new()?);
        let store = Arc::new(Store::open(&config.state, metrics.clone()).await?);
        let (live, replicas) = watch::channel(1);
        let (reloads, requests) = Reloads::new();
        let kept = Kept {
            // Each generation adds an access log of its own.
            instruments: Instruments::new(metrics.clone(), AccessLog::off()),
            readiness: Readiness::default(),
            keyring: Arc::new(Keyring::new(store.clone(), config.shared_secret())),
            admit: Arc::new(Admit::new(&Replicas::new(replicas), &metrics)),
            reloader: Arc::new(reloads.clone()),
            store: store.clone(),
            metrics,
            logs,
        };
        let (s3, admin) = (config.server.listen, config.admin.listen);
        let at_work = AtWork::new(Generation::first(&kept, config)?);
        Ok(Self {
            s3: bind("server.listen", s3).await?,
            admin: bind("admin.listen", admin).await?,
            kept,
            at_work,
            heart: Heart { store, live },
            reloads,
            requests,
            sources,
        })
    }

    pub fn store(&self) -> &Store {
        &self.kept.store
    }

    pub fn keyring(&self) -> &Keyring {
        &self.kept.keyring
    }

    pub fn s3_addr(&self) -> anyhow::Result<SocketAddr> {
        Ok(self.s3.local_addr()?)
    }

    pub fn admin_addr(&self) -> anyhow::Result<SocketAddr> {
        Ok(self.admin.local_addr()?)
    }

    /// Begins to accept.
    pub fn run(self) -> anyhow::Result<Running> {
        let (s3_addr, admin_addr) = (self.s3_addr()?, self.admin_addr()?);
        let Self { s3, admin, kept, at_work, heart, reloads, requests, sources } = self;
        let (readiness, metrics) = (kept.readiness.clone(), kept.metrics.clone());
        // Ready before the first probe is answered: both listeners are bound, so whoever connects is served.
        readiness.set(Phase::Ready);
        let background = vec![
            AbortOnDrop::spawn(admin::run(admin, at_work.back.clone())),
            AbortOnDrop::spawn(admin::run_gauges(at_work.back.clone(), GAUGES_EVERY)),
            AbortOnDrop::spawn(heart.beat_for_ever()),
            AbortOnDrop::spawn(Ledger::sweep_for_ever(at_work.ledger.subscribe())),
            AbortOnDrop::spawn(Pars::sweep_for_ever(at_work.pars.subscribe())),
            AbortOnDrop::spawn(watch_certificate(at_work.generation.clone(), metrics.clone())),
            AbortOnDrop::spawn(reload::run(kept, at_work.clone(), sources, requests)),
        ];
        let (stop, stopped) = oneshot::channel();
        let stopped = async {
            // A sender that is gone stops the server just as well.
            stopped.await.ok();
        };
        let server = Server::new(at_work.front.clone(), metrics);
        let draining = server.draining();
        let server = tokio::spawn(server.run(s3, stopped));
        Ok(Running { s3_addr, admin_addr, readiness, draining, at_work, reloads, stop, server, background })
    }
}

async fn bind(key: &str, address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("{key} = \"{address}\" cannot be bound"))
}

impl Running {
    /// Reads the configuration, binds and runs, without a log.
    pub async fn start(sources: Sources) -> anyhow::Result<Self> {
        let loaded = Config::load(&sources)?;
        Bound::new(loaded.config, Some(sources), Logs::off()).await?.run()
    }

    pub fn s3_addr(&self) -> SocketAddr {
        self.s3_addr
    }

    pub fn admin_addr(&self) -> SocketAddr {
        self.admin_addr
    }

    pub fn ledger(&self) -> Ledger {
        self.at_work.ledger.borrow().clone()
    }

    pub fn pars(&self) -> Pars {
        self.at_work.pars.borrow().clone()
    }

    /// Where reloads are asked for.
    pub fn reloads(&self) -> Reloads {
        self.reloads.clone()
    }

    /// Reads the configuration again: all of it is in force then, or the one before.
    pub async fn reload(&self) -> Result<Reloaded, NotReloaded> {
        self.reloads.reload().await
    }

    /// Not ready any more; accepts a moment longer, closing each connection after its answer; lets streams
    /// finish until the drain timeout.
    pub async fn drain(self) {
        self.readiness.set(Phase::Draining);
        self.draining.begin();
        let drain_timeout = self.at_work.front.get().drain_timeout;
        tokio::time::sleep(NOTICE.min(drain_timeout / 4)).await;
        self.stop.send(()).ok();
        if let Err(error) = self.server.await {
            tracing::error!(%error, "the server ended badly");
        }
        drop(self.background);
    }
}

/// Tells the other gateways of this one, and this one how many there are.
struct Heart {
    store: Arc<Store>,
    live: watch::Sender<usize>,
}

impl Heart {
    async fn beat_for_ever(self) {
        let replica = uuid::Uuid::new_v4().to_string();
        let mut tick = tokio::time::interval(BEAT_EVERY);
        loop {
            tick.tick().await;
            // While the store is away, what it said last holds: the others are not gone for that.
            if let Ok(live) = self.store.beat(&replica, millis(crate::now()), BEAT_EVERY * 3).await {
                self.live.send_if_modified(|known| std::mem::replace(known, live) != live);
            }
        }
    }
}

/// Takes over a certificate whose files have changed.
async fn watch_certificate(at_work: Arc<ArcSwap<Generation>>, metrics: Arc<Metrics>) {
    let mut tick = tokio::time::interval(CERTIFICATE_EVERY);
    loop {
        tick.tick().await;
        let Some(certificate) = at_work.load().certificate.clone() else { continue };
        // Where nothing else is held up by files that do not come.
        let looked = tokio::task::spawn_blocking(move || certificate.reloader.reload_if_changed()).await;
        match looked.unwrap_or_else(|panic| tls::Reload::Failed(panic.into())) {
            tls::Reload::Unchanged => {}
            tls::Reload::Reloaded => tracing::info!("the certificate was reloaded"),
            tls::Reload::Failed(error) => {
                metrics.tls_reload_failures.inc();
                tracing::error!(%error, "the changed certificate cannot be used; the old one stays");
            }
        }
    }
}
