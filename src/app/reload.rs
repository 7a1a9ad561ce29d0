//! The configuration, read again. In: a request for it, from `SIGHUP` or the admin API. Out: another generation in the
//! place of the one at work, or every problem, and nothing changed. Everything that can fail comes before anything
//! changes; then the doors and the background work are given the new one, which cannot fail. Requests that have begun
//! keep the one they began with. One task does it, so two never meet, and no caller's leaving stops it half-way.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use arc_swap::ArcSwap;
use futures_util::future::BoxFuture;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot, watch};

use super::generation::{Generation, Kept};
use crate::admin::{Admin, NotReloaded, Reload, Reloaded};
use crate::config::{Config, Sources};
use crate::ledger::Ledger;
use crate::ledger::pars::Pars;
use crate::server::InForce;
use crate::tls;

/// Requests that wait for the one under way.
const WAITING: usize = 8;

/// For reading all files. One of them may be a pipe that nobody writes to, or on a share that is away.
const PATIENCE: Duration = Duration::from_secs(10);

type Outcome = Result<Reloaded, NotReloaded>;

/// Where reloads are asked for.
#[derive(Clone)]
pub struct Reloads(mpsc::Sender<oneshot::Sender<Outcome>>);

pub(super) type Requests = mpsc::Receiver<oneshot::Sender<Outcome>>;

impl Reloads {
    pub(super) fn new() -> (Self, Requests) {
        let (sender, requests) = mpsc::channel(WAITING);
        (Self(sender), requests)
    }

    /// Asks and does not wait. The log tells what came of it.
    pub fn ask(&self) {
        // Where so many wait, one of them will read what stands there now.
        self.0.try_send(oneshot::channel().0).ok();
    }
}

impl Reload for Reloads {
    fn reload(&self) -> BoxFuture<'_, Outcome> {
        Box::pin(async {
            let (tell, told) = oneshot::channel();
            self.0.send(tell).await.map_err(|_| NotReloaded::Ending)?;
            told.await.unwrap_or(Err(NotReloaded::Ending))
        })
    }
}

/// The generation at work, wherever it is.
#[derive(Clone)]
pub(super) struct AtWork {
    pub(super) front: InForce,
    pub(super) back: Arc<ArcSwap<Admin>>,
    pub(super) generation: Arc<ArcSwap<Generation>>,
    pub(super) ledger: watch::Sender<Ledger>,
    pub(super) pars: watch::Sender<Pars>,
}

impl AtWork {
    pub(super) fn new(generation: Generation) -> Self {
        Self {
            front: InForce::new(generation.front.clone()),
            back: Arc::new(ArcSwap::new(generation.back.clone())),
            ledger: watch::Sender::new(generation.ledger().clone()),
            pars: watch::Sender::new(generation.pars().clone()),
            generation: Arc::new(ArcSwap::from_pointee(generation)),
        }
    }

    fn set(&self, generation: Generation) {
        self.front.set(generation.front.clone());
        self.back.store(generation.back.clone());
        self.ledger.send_replace(generation.ledger().clone());
        self.pars.send_replace(generation.pars().clone());
        self.generation.store(Arc::new(generation));
    }
}

/// Serves requests for ever. Without `sources` there is nothing to read.
pub(super) async fn run(kept: Kept, at_work: AtWork, sources: Option<Sources>, mut requests: Requests) {
    while let Some(answer) = requests.recv().await {
        let outcome = match &sources {
            None => Err(NotReloaded::NoSource),
            Some(sources) => {
                let outcome = reload(&kept, &at_work, sources.clone()).await;
                kept.metrics.config_reload(outcome.is_ok());
                outcome
            }
        };
        match &outcome {
            Ok(Reloaded { changed, warnings }) => {
                for warning in warnings {
                    tracing::warn!("{warning}");
                }
                tracing::info!(changed = changed.join(", "), "the configuration was reloaded");
            }
            Err(NotReloaded::Refused(problems)) => {
                tracing::error!(problems, "the configuration is not reloaded: the one before stays");
            }
            Err(refused @ (NotReloaded::NoSource | NotReloaded::Ending)) => {
                tracing::warn!("the configuration is not reloaded: {refused}");
            }
        }
        // Who asked may have left.
        answer.send(outcome).ok();
    }
}

async fn reload(kept: &Kept, at_work: &AtWork, sources: Sources) -> Outcome {
    let (kept, before) = (kept.clone(), at_work.generation.load_full());
    let logs = kept.logs.clone();
    let (tell, told) = oneshot::channel();
    let runtime = Handle::current();
    // Files are read, and roots of trust: that takes its time, and may take for ever. So it has a thread of its own,
    // which the runtime does not wait for when it ends.
    let building = thread::Builder::new().name("reload".into()).spawn(move || {
        let _entered = runtime.enter();
        tell.send(build(&kept, &before, &sources)).ok();
    });
    building.map_err(|error| NotReloaded::Refused(format!("it could not be built: {error}")))?;
    let (generation, reloaded) = match tokio::time::timeout(PATIENCE, told).await {
        Ok(Ok(built)) => built?,
        Ok(Err(_)) => return Err(NotReloaded::Refused("it could not be built: see standard error".into())),
        Err(_) => {
            let text =
                format!("a file that it names could not be read within {} seconds", PATIENCE.as_secs());
            return Err(NotReloaded::Refused(text));
        }
    };
    if let Err(error) = logs.set_level(&generation.config.log) {
        tracing::error!(error = format!("{error:#}"), "the log goes on as it was");
    }
    at_work.set(generation);
    Ok(reloaded)
}

/// Everything that may fail.
fn build(kept: &Kept, before: &Generation, sources: &Sources) -> Result<(Generation, Reloaded), NotReloaded> {
    let loaded = Config::load(sources).map_err(|problems| NotReloaded::Refused(problems.to_string()))?;
    let source = sources.file.as_ref().map_or("environment".into(), |file| file.to_string_lossy());
    let fits = before.config.may_become(&loaded.config, &source);
    fits.map_err(|problems| NotReloaded::Refused(problems.to_string()))?;
    let (mut warnings, changed) = (loaded.warnings, before.config.changes(&loaded.config));
    if !before.config.counts_like(&loaded.config) {
        warnings.push(COUNTS_CHANGED.to_owned());
    }
    let refused = |error: anyhow::Error| NotReloaded::Refused(format!("{error:#}"));
    let generation = before.next(kept, loaded.config).map_err(refused)?;
    // Last, because it takes effect by itself: new connections get what the files hold now.
    if let Some(certificate) = &generation.certificate
        && let tls::Reload::Failed(error) = certificate.reloader.reload_if_changed()
    {
        return Err(refused(error.context("server.tls")));
    }
    Ok((generation, Reloaded { changed, warnings }))
}

const COUNTS_CHANGED: &str = "buckets: other prefixes count towards quotas now; accounts are right again when their users have been recounted, which `bucketwarden reconcile --all` does at once";
