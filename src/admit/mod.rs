//! May this request run now? In: a request that begins; its peer; then its user and the user's limits. Out: a
//! `Permit`, and `Pacer`s for the bodies, or 503 `SlowDown` with the time to come back. In this order: places among
//! all requests (`concurrency`), failures of the peer (`peers`), then, once it is known whose it is, places among
//! the user's requests and the user's request rate (`rate`); temporary keys have limits of their own (`forms`,
//! `mints`). `bandwidth` only slows. Nothing of this waits, knows an operation or touches the store. Beside it, what
//! does ask the store: who a user is to the limits (`tiers`), and the bytes and places of uploads (`quota`), with what a
//! refused upload is told (`refusal`).

mod bandwidth;
mod concurrency;
mod forms;
mod limits;
mod mints;
mod peers;
pub mod quota;
mod rate;
pub mod refusal;
pub mod tiers;

use std::net::IpAddr;
use std::sync::Arc;

use crate::body::pace::{Pacer, Replicas};
use crate::config::Limit;
use crate::error::Result;
use crate::metrics::Metrics;
use crate::types::UserId;
pub use concurrency::Permit;
pub use forms::FormPlace;
pub use limits::{BadLimits, LimitChanges, UserLimits, from_json, to_json};

pub struct Admit {
    concurrency: concurrency::Concurrency,
    peers: peers::Peers,
    forms: forms::Forms,
    requests: rate::RequestRate,
    bandwidth: bandwidth::Bandwidth,
    mints: mints::Mints,
}

impl Admit {
    /// Limits come with each question, for they change; what was given out under them stays. Users' limits are shared
    /// with the other `replicas`.
    pub fn new(replicas: &Replicas, metrics: &Arc<Metrics>) -> Self {
        Self {
            concurrency: concurrency::Concurrency::new(replicas.clone(), metrics.clone()),
            peers: peers::Peers::new(metrics.clone()),
            forms: forms::Forms::new(metrics.clone()),
            requests: rate::RequestRate::new(replicas.clone(), metrics.clone()),
            bandwidth: bandwidth::Bandwidth::new(replicas.clone()),
            mints: mints::Mints::new(replicas.clone()),
        }
    }

    /// A place among all requests, before anything else is done; `max_in_flight` is this gateway's own. The permit lives
    /// as long as the answer's body, and whatever of the request outlives it.
    pub fn enter(&self, max_in_flight: Limit<usize>) -> Result<Permit> {
        self.concurrency.enter(max_in_flight)
    }

    /// A place among the forms that are waited for, which is not one among the requests.
    pub fn enter_form(&self, ip: IpAddr) -> Result<FormPlace> {
        self.forms.enter(ip)
    }

    /// Whether the caller's claim may be verified: not, for a moment, if the address keeps failing.
    pub fn check_peer(&self, ip: IpAddr, access_key_id: Option<&str>) -> Result<()> {
        self.peers.check(ip, access_key_id)
    }

    /// The caller claimed nothing, or wrongly.
    pub fn peer_failed(&self, ip: IpAddr, access_key_id: Option<&str>) {
        self.peers.failed(ip, access_key_id);
    }

    /// The caller is who it claimed to be.
    pub fn peer_succeeded(&self, ip: IpAddr, access_key_id: &str) {
        self.peers.succeeded(ip, access_key_id);
    }

    /// A place among the user's requests, and one of the user's requests of this second.
    pub fn admit(&self, permit: &Permit, user: &UserId, limits: &UserLimits) -> Result<()> {
        self.concurrency.admit(permit, user, limits.max_concurrent_requests)?;
        self.requests.check(user, limits)
    }

    /// One more set of temporary keys for the user.
    pub fn mint(&self, user: &UserId) -> Result<()> {
        self.mints.check(user)
    }

    /// Paces a body that the user sends.
    pub fn upload_pacer(&self, user: &UserId, limits: &UserLimits) -> Pacer {
        self.bandwidth.upload(user, limits)
    }

    /// Paces a body that the user is sent.
    pub fn download_pacer(&self, user: &UserId, limits: &UserLimits) -> Pacer {
        self.bandwidth.download(user, limits)
    }
}

#[cfg(test)]
mod kit {
    use tokio::sync::watch;

    use super::*;
    use crate::config::Tier;

    pub(super) fn user(name: &str) -> UserId {
        UserId::parse(name).unwrap()
    }

    pub(super) fn limits(overrides: &[(&str, Option<u64>)]) -> UserLimits {
        let overrides = overrides.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect();
        UserLimits::new(&Tier::shipped_default(), &overrides)
    }

    pub(super) fn gateways(live: usize) -> (watch::Sender<usize>, Replicas) {
        let (sender, receiver) = watch::channel(live);
        (sender, Replicas::new(receiver))
    }

    /// What `throttled_total` says of a limit.
    pub(super) fn throttled(metrics: &Metrics, limit: &str) -> u64 {
        let text = String::from_utf8(metrics.text().unwrap()).unwrap();
        let series = format!("bucketwarden_throttled_total{{limit=\"{limit}\"}} ");
        text.lines().find_map(|line| line.strip_prefix(&series)).unwrap().parse().unwrap()
    }
}

#[cfg(test)]
mod tests {
    use super::kit::{limits, throttled, user};
    use super::*;

    #[test]
    fn a_refused_request_gives_its_places_back_with_its_permit() {
        let metrics = Arc::new(Metrics::new().unwrap());
        let admit = Admit::new(&Replicas::one(), &metrics);
        let enter = || admit.enter(Limit::At(2));
        let limits = limits(&[
            ("max_concurrent_requests", Some(1)),
            ("requests_per_second", Some(1)),
            ("burst", Some(2)),
        ]);
        let ask = || {
            let permit = enter()?;
            admit.admit(&permit, &user("alice"), &limits).map(|()| permit)
        };
        let first = ask().unwrap();
        assert!(ask().is_err(), "one at a time");
        drop(first);
        drop(ask().unwrap());
        assert!(ask().is_err(), "the burst is used up: the one that had no place did not count");
        assert_eq!((throttled(&metrics, "concurrency"), throttled(&metrics, "request_rate")), (1, 1));
        let both = (enter().unwrap(), enter().unwrap());
        assert!(enter().is_err());
        drop(both);
    }
}
