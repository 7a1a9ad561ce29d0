//! `bucketwarden serve`: the gateway as configured, until a signal ends it. `SIGHUP` reads the configuration again.

use std::path::PathBuf;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{Failure, runtime, sources};
use crate::app::{Bound, Logs, Reloads, Running};
use crate::config::Config;

/// For what still goes on when a gateway has drained: reading a file may take for ever, where its share is away.
const LAST: Duration = Duration::from_secs(1);

pub(super) fn run(config: Option<PathBuf>) -> Result<(), Failure> {
    let sources = sources(config)?;
    let loaded = Config::load(&sources)?;
    let (logs, _guard) = Logs::start(&loaded.config.log)?;
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    let runtime = runtime()?;
    let served = runtime.block_on(async {
        let signals = Signals::new()?;
        let running = Bound::new(loaded.config, Some(sources), logs).await?.run()?;
        tracing::info!(s3 = %running.s3_addr(), admin = %running.admin_addr(), "ready");
        signals.end(running).await;
        Ok(())
    });
    runtime.shutdown_timeout(LAST);
    served
}

/// The signals that end a gateway, and the one that reloads it. They are caught before anything is bound.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    pub(super) fn new() -> anyhow::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    /// The next one that ends a gateway. Reloads are asked for, and not waited for.
    async fn next(&mut self, reloads: &Reloads) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                _ = self.hang_up.recv() => {
                    tracing::info!("SIGHUP: reading the configuration again");
                    reloads.ask();
                }
            }
        }
    }

    /// Drains at the first signal; a second one does not wait. Whether it drained.
    pub(super) async fn end(mut self, running: Running) -> bool {
        let reloads = running.reloads();
        self.next(&reloads).await;
        tracing::info!("draining");
        tokio::select! {
            () = running.drain() => {
                tracing::info!("drained");
                true
            }
            () = self.next(&reloads) => {
                tracing::warn!("stopped without draining");
                false
            }
        }
    }
}
