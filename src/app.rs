//! The wiring: the only file that knows every concrete type. It binds the listeners, builds the rooms from the
//! configuration, spawns what runs, and takes it down again in order.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use crate::access_log::AccessLog;
use crate::admin::{self, Admin, Phase, Readiness};
use crate::admit::Admit;
use crate::admit::quota::{Ids, Quota, millis};
use crate::admit::tiers::Tiers;
use crate::api::Api;
use crate::auth::{Authenticator, Keyring};
use crate::body::pace::Replicas;
use crate::config::Config;
use crate::gateway::{self, Instruments};
use crate::ledger::Ledger;
use crate::ledger::pars::Pars;
use crate::metrics::Metrics;
use crate::server::{Draining, Server};
use crate::store::Store;
use crate::tls::{self, Reload, Reloader};
use crate::upstream::Upstream;
use crate::upstream::native::Native;

/// How long a draining gateway goes on accepting, so that whoever routes to it can notice.
const NOTICE: Duration = Duration::from_secs(1);
const GAUGES_EVERY: Duration = Duration::from_mins(1);
/// A gateway that was not heard of three times is gone, and the others share its part of each limit.
const BEAT_EVERY: Duration = Duration::from_secs(1);
const TLS_RELOAD_EVERY: Duration = Duration::from_secs(5);

/// A gateway that is complete, its listeners bound, and has accepted nothing yet.
pub struct Bound {
    s3: TcpListener,
    admin: TcpListener,
    server: Server,
    ledger: Ledger,
    pars: Pars,
    heart: Heart,
    reloader: Option<Reloader>,
    metrics: Arc<Metrics>,
    back_door: Arc<Admin>,
    per_user_top: usize,
    drain_timeout: Duration,
}

/// A gateway at work. Dropping it stops everything at once; `drain` stops it gently.
pub struct Running {
    s3_addr: SocketAddr,
    admin_addr: SocketAddr,
    readiness: Readiness,
    draining: Draining,
    ledger: Ledger,
    pars: Pars,
    drain_timeout: Duration,
    stop: oneshot::Sender<()>,
    server: JoinHandle<()>,
    background: Vec<AbortOnDrop>,
}

struct AbortOnDrop(JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Bound {
    pub async fn new(config: &Config, access_log: AccessLog) -> anyhow::Result<Self> {
        let metrics = Arc::new(Metrics::new()?);
        let instruments = Instruments::new(metrics.clone(), access_log);
        let store = Arc::new(Store::open(&config.state, metrics.clone()).await?);
        let tiers = Arc::new(Tiers::new(config, store.clone()));
        let keyring = Arc::new(Keyring::new(store.clone(), config.shared_secret()));
        let upstream = Arc::new(Upstream::new(&config.upstream, metrics.clone())?);
        let quota = Quota::new(
            store.clone(),
            Ids::new(config.shared_secret()),
            config.quota.reservation_lease,
            metrics.clone(),
        );
        let ledger = Ledger::new(quota, upstream.clone(), config, metrics.clone());
        let pars = Pars::new(store.clone(), tiers.clone(), Native::new(&config.upstream)?, metrics.clone());
        let back_door = Arc::new(Admin {
            metrics: metrics.clone(),
            readiness: Readiness::default(),
            store: store.clone(),
            tiers: tiers.clone(),
            keyring: keyring.clone(),
            reconciler: Arc::new(ledger.clone()),
            pars: pars.clone(),
            refusals: instruments.refusals.clone(),
            token: config.admin.token.clone(),
        });
        let (live, replicas) = watch::channel(1);
        let admission = Admit::new(config.server.max_in_flight, &Replicas::new(replicas), &metrics);
        let api = Api::new(
            store.clone(),
            tiers.clone(),
            keyring.clone(),
            Arc::new(ledger.clone()),
            config.quota.refusal_status,
        );
        let gateway = gateway::Gateway::new(
            config,
            instruments,
            Authenticator::new(config, keyring.clone())?,
            upstream,
            ledger.clone(),
            pars.clone(),
            tiers,
            admission,
            Arc::new(api),
        );
        let gateway = Arc::new(gateway);
        let (tls, reloader) = match &config.server.tls {
            None => (None, None),
            Some(files) => {
                let (server_config, reloader) = tls::server_config(&files.cert, &files.key)?;
                (Some(TlsAcceptor::from(server_config)), Some(reloader))
            }
        };
        let server = Server::new(&config.server, gateway, metrics.clone(), tls);
        let s3 = bind("server.listen", config.server.listen).await?;
        let admin = bind("admin.listen", config.admin.listen).await?;
        Ok(Self {
            s3,
            admin,
            server,
            ledger,
            pars,
            heart: Heart { store, live },
            reloader,
            metrics,
            back_door,
            per_user_top: config.metrics.per_user_top,
            drain_timeout: config.server.drain_timeout,
        })
    }

    pub fn store(&self) -> &Store {
        &self.back_door.store
    }

    pub fn keyring(&self) -> &Keyring {
        &self.back_door.keyring
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
        // Ready before the first probe is answered: both listeners are bound, so whoever connects is served.
        let readiness = self.back_door.readiness.clone();
        readiness.set(Phase::Ready);
        let gauges = admin::run_gauges(
            self.back_door.store.clone(),
            self.back_door.tiers.clone(),
            self.metrics.clone(),
            self.per_user_top,
            GAUGES_EVERY,
        );
        let admin = admin::run(self.admin, self.back_door);
        let mut background = vec![AbortOnDrop(tokio::spawn(admin)), AbortOnDrop(tokio::spawn(gauges))];
        background.push(AbortOnDrop(tokio::spawn(self.heart.beat_for_ever())));
        let ledger = self.ledger;
        background.push(AbortOnDrop(tokio::spawn(ledger.clone().sweep_for_ever())));
        background.push(AbortOnDrop(tokio::spawn(self.pars.clone().sweep_for_ever())));
        if let Some(reloader) = self.reloader {
            background.push(AbortOnDrop(tokio::spawn(reload_certificate(reloader, self.metrics))));
        }
        let (stop, stopped) = oneshot::channel();
        let stopped = async {
            // A sender that is gone stops the server just as well.
            stopped.await.ok();
        };
        let draining = self.server.draining();
        let server = tokio::spawn(self.server.run(self.s3, stopped, self.drain_timeout));
        Ok(Running {
            s3_addr,
            admin_addr,
            readiness,
            draining,
            ledger,
            pars: self.pars,
            drain_timeout: self.drain_timeout,
            stop,
            server,
            background,
        })
    }
}

async fn bind(key: &str, address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("{key} = \"{address}\" cannot be bound"))
}

impl Running {
    /// Binds and runs, without an access log.
    pub async fn start(config: &Config) -> anyhow::Result<Self> {
        Bound::new(config, AccessLog::off()).await?.run()
    }

    pub fn s3_addr(&self) -> SocketAddr {
        self.s3_addr
    }

    pub fn admin_addr(&self) -> SocketAddr {
        self.admin_addr
    }

    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    pub fn pars(&self) -> &Pars {
        &self.pars
    }

    /// Not ready any more; accepts a moment longer, closing each connection after its answer; lets streams
    /// finish until the drain timeout.
    pub async fn drain(self) {
        self.readiness.set(Phase::Draining);
        self.draining.begin();
        tokio::time::sleep(NOTICE.min(self.drain_timeout / 4)).await;
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

async fn reload_certificate(reloader: Reloader, metrics: Arc<Metrics>) {
    let mut tick = tokio::time::interval(TLS_RELOAD_EVERY);
    loop {
        tick.tick().await;
        match reloader.reload_if_changed() {
            Reload::Unchanged => {}
            Reload::Reloaded => tracing::info!("the certificate was reloaded"),
            Reload::Failed(error) => {
                metrics.tls_reload_failures.inc();
                tracing::error!(%error, "the changed certificate cannot be used; the old one stays");
            }
        }
    }
}
