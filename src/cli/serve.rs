//! `bucketwarden serve`: the gateway as configured, until a signal ends it.

use std::path::PathBuf;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{Failure, load, log, runtime};
use crate::app::{Bound, Running};

pub(super) fn run(config: Option<PathBuf>) -> Result<(), Failure> {
    let loaded = load(config)?;
    let (access_log, _guard) = log::start(&loaded.config.log)?;
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    runtime()?.block_on(async {
        let signals = Signals::new()?;
        let running = Bound::new(&loaded.config, access_log).await?.run()?;
        tracing::info!(s3 = %running.s3_addr(), admin = %running.admin_addr(), "ready");
        signals.end(running).await;
        Ok(())
    })
}

/// The signals that end a gateway, and the one that must not. They are caught before anything is bound.
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

    /// The next one that ends a gateway.
    async fn next(&mut self) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                _ = self.hang_up.recv() => {
                    tracing::warn!("SIGHUP: reload is not built yet; the configuration stays as it is");
                }
            }
        }
    }

    /// Drains at the first signal; a second one does not wait. Whether it drained.
    pub(super) async fn end(mut self, running: Running) -> bool {
        self.next().await;
        tracing::info!("draining");
        tokio::select! {
            () = running.drain() => {
                tracing::info!("drained");
                true
            }
            () = self.next() => {
                tracing::warn!("stopped without draining");
                false
            }
        }
    }
}
