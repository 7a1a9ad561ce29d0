//! `/healthz` (alive), `/readyz` (503 while starting, draining or without state store), `/metrics`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use http::StatusCode;

use super::answer::{Answer, text, whole};
use crate::metrics::Metrics;
use crate::store::Store;

/// Where the gateway stands in its life.
#[derive(Clone, Default)]
pub struct Readiness(Arc<AtomicU8>);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    Starting,
    Ready,
    Draining,
}

impl Readiness {
    pub fn set(&self, phase: Phase) {
        let number = match phase {
            Phase::Starting => 0,
            Phase::Ready => 1,
            Phase::Draining => 2,
        };
        self.0.store(number, Ordering::Release);
    }

    pub fn phase(&self) -> Phase {
        match self.0.load(Ordering::Acquire) {
            0 => Phase::Starting,
            1 => Phase::Ready,
            _ => Phase::Draining,
        }
    }
}

pub(super) fn alive() -> Answer {
    text(StatusCode::OK, "ok\n")
}

pub(super) fn ready(readiness: &Readiness, store: &Store) -> Answer {
    let (status, word) = verdict(readiness.phase(), store.is_up());
    text(status, format!("{word} ({})\n", store.kind()))
}

fn verdict(phase: Phase, store_is_up: bool) -> (StatusCode, &'static str) {
    match (phase, store_is_up) {
        (Phase::Starting, _) => (StatusCode::SERVICE_UNAVAILABLE, "starting"),
        (Phase::Draining, _) => (StatusCode::SERVICE_UNAVAILABLE, "draining"),
        (Phase::Ready, false) => (StatusCode::SERVICE_UNAVAILABLE, "without state store"),
        (Phase::Ready, true) => (StatusCode::OK, "ready"),
    }
}

pub(super) fn metrics(metrics: &Metrics) -> Answer {
    match metrics.text() {
        Ok(exposition) => whole(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", exposition),
        Err(error) => {
            tracing::error!(%error, "metrics cannot be written");
            text(StatusCode::INTERNAL_SERVER_ERROR, "metrics cannot be written\n")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_running_gateway_with_its_store_is_ready() {
        for (phase, store_is_up, status) in [
            (Phase::Starting, true, 503),
            (Phase::Starting, false, 503),
            (Phase::Ready, true, 200),
            (Phase::Ready, false, 503),
            (Phase::Draining, true, 503),
            (Phase::Draining, false, 503),
        ] {
            assert_eq!(verdict(phase, store_is_up).0, status, "{phase:?}, store up: {store_is_up}");
            let readiness = Readiness::default();
            readiness.set(phase);
            assert_eq!(readiness.phase(), phase);
        }
        assert_eq!(Readiness::default().phase(), Phase::Starting);
    }
}
