//! The rooms that one configuration is made into. In: the configuration, and what is kept from one to the next
//! (`Kept`). Out: a `Generation`, complete and at work nowhere yet. One that follows another shares with it what is
//! known and under way, so that nothing is counted anew: see `renewed` of each room. Building may fail, and touches
//! nothing.

use std::sync::Arc;

use tokio_rustls::TlsAcceptor;

use super::log::Logs;
use crate::admin::{Admin, Readiness, Reload};
use crate::admit::Admit;
use crate::admit::quota::{Ids, Quota};
use crate::admit::tiers::Tiers;
use crate::api::Api;
use crate::auth::{Authenticator, Keyring};
use crate::config::{Config, TlsFiles};
use crate::gateway::{Gateway, Instruments};
use crate::ledger::Ledger;
use crate::ledger::pars::Pars;
use crate::metrics::Metrics;
use crate::server::Front;
use crate::store::Store;
use crate::tls::{self, Reloader};
use crate::upstream::Upstream;
use crate::upstream::native::Native;

/// What lives as long as the process.
#[derive(Clone)]
pub(super) struct Kept {
    pub(super) metrics: Arc<Metrics>,
    pub(super) instruments: Instruments,
    pub(super) readiness: Readiness,
    pub(super) store: Arc<Store>,
    pub(super) keyring: Arc<Keyring>,
    pub(super) admit: Arc<Admit>,
    pub(super) reloader: Arc<dyn Reload>,
    pub(super) logs: Logs,
}

pub(super) struct Generation {
    pub(super) config: Config,
    rooms: Rooms,
    pub(super) certificate: Option<Arc<Certificate>>,
    pub(super) front: Arc<Front>,
    pub(super) back: Arc<Admin>,
}

/// Those that the next generation is made from.
struct Rooms {
    upstream: Arc<Upstream>,
    authenticator: Arc<Authenticator>,
    tiers: Arc<Tiers>,
    ledger: Ledger,
    pars: Pars,
}

/// The front door's certificate, and what keeps it current.
pub(super) struct Certificate {
    files: TlsFiles,
    acceptor: TlsAcceptor,
    pub(super) reloader: Reloader,
}

impl Generation {
    pub(super) fn first(kept: &Kept, config: Config) -> anyhow::Result<Self> {
        let Kept { metrics, store, keyring, .. } = kept;
        let upstream = Arc::new(Upstream::new(&config.upstream, metrics.clone())?);
        let ids = Ids::new(config.shared_secret());
        let quota = Quota::new(store.clone(), ids, config.quota.reservation_lease, metrics.clone());
        let tiers = Arc::new(Tiers::new(&config, store.clone()));
        let native = Native::new(&config.upstream)?;
        let rooms = Rooms {
            authenticator: Arc::new(Authenticator::new(&config, keyring.clone())?),
            ledger: Ledger::new(quota, upstream.clone(), &config, metrics.clone()),
            pars: Pars::new(store.clone(), tiers.clone(), native, metrics.clone()),
            tiers,
            upstream,
        };
        Self::assemble(kept, config, rooms, None)
    }

    pub(super) fn next(&self, kept: &Kept, config: Config) -> anyhow::Result<Self> {
        let authenticator = Arc::new(self.rooms.authenticator.renewed(&config)?);
        let upstream = Arc::new(self.rooms.upstream.renewed(&config.upstream)?);
        let tiers = Arc::new(self.rooms.tiers.renewed(&config));
        let rooms = Rooms {
            authenticator,
            ledger: self.rooms.ledger.renewed(upstream.clone(), &config),
            pars: self.rooms.pars.renewed(tiers.clone(), Native::new(&config.upstream)?),
            tiers,
            upstream,
        };
        Self::assemble(kept, config, rooms, self.certificate.clone())
    }

    fn assemble(
        kept: &Kept,
        config: Config,
        rooms: Rooms,
        before: Option<Arc<Certificate>>,
    ) -> anyhow::Result<Self> {
        let Rooms { upstream, authenticator, tiers, ledger, pars } = &rooms;
        let certificate = certificate(config.server.tls.as_ref(), before)?;
        let api = Api::new(
            kept.store.clone(),
            tiers.clone(),
            kept.keyring.clone(),
            Arc::new(ledger.clone()),
            config.quota.refusal_status,
        );
        let gateway = Gateway::new(
            &config,
            kept.instruments.with_access_log(kept.logs.access_log(&config.log)),
            authenticator.clone(),
            upstream.clone(),
            ledger.clone(),
            pars.clone(),
            tiers.clone(),
            kept.admit.clone(),
            Arc::new(api),
        );
        let acceptor = certificate.as_ref().map(|certificate| certificate.acceptor.clone());
        let front = Arc::new(Front::new(&config.server, Arc::new(gateway), acceptor));
        let back = Arc::new(Admin {
            metrics: kept.metrics.clone(),
            readiness: kept.readiness.clone(),
            store: kept.store.clone(),
            tiers: tiers.clone(),
            keyring: kept.keyring.clone(),
            reconciler: Arc::new(ledger.clone()),
            pars: pars.clone(),
            reloader: kept.reloader.clone(),
            refusals: kept.instruments.refusals.clone(),
            token: config.admin.token.clone(),
            per_user_top: config.metrics.per_user_top,
        });
        Ok(Self { config, rooms, certificate, front, back })
    }

    pub(super) fn ledger(&self) -> &Ledger {
        &self.rooms.ledger
    }

    pub(super) fn pars(&self) -> &Pars {
        &self.rooms.pars
    }
}

/// The one before, with the sessions that clients resume, if it is of the same files.
fn certificate(
    files: Option<&TlsFiles>,
    before: Option<Arc<Certificate>>,
) -> anyhow::Result<Option<Arc<Certificate>>> {
    let Some(files) = files else { return Ok(None) };
    if let Some(same) = before.filter(|before| before.files == *files) {
        return Ok(Some(same));
    }
    let (config, reloader) = tls::server_config(&files.cert, &files.key)?;
    let (files, acceptor) = (files.clone(), TlsAcceptor::from(config));
    Ok(Some(Arc::new(Certificate { files, acceptor, reloader })))
}
