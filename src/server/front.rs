//! The front door as one configuration has it, and which of them is in force. In: the configuration and the gateway that
//! was built of it. Out: the one in force: asked once for a connection's limits, and once for each request. Another one
//! in its place closes no connection and meets no request that has begun.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};
use http::HeaderMap;
use ipnet::IpNet;
use tokio_rustls::TlsAcceptor;

use super::connection::Timeouts;
use super::slots::Slots;
use crate::config::{self, Limit};
use crate::gateway::Gateway;

pub struct Front {
    pub gateway: Arc<Gateway>,
    pub(super) tls: Option<TlsAcceptor>,
    /// Of connections that are opened under it.
    pub(super) timeouts: Timeouts,
    pub(super) max_connections: Limit<usize>,
    pub(super) max_connections_per_peer: Limit<usize>,
    pub drain_timeout: std::time::Duration,
    trusted_proxies: Vec<IpNet>,
}

/// The front door in force.
#[derive(Clone)]
pub struct InForce {
    front: Arc<ArcSwap<Front>>,
    pub(super) slots: Arc<Slots>,
}

impl Front {
    pub fn new(config: &config::Server, gateway: Arc<Gateway>, tls: Option<TlsAcceptor>) -> Self {
        Self {
            gateway,
            tls,
            timeouts: Timeouts { header: config.header_timeout, idle: config.idle_timeout },
            max_connections: config.max_connections,
            max_connections_per_peer: config.max_connections_per_peer,
            drain_timeout: config.drain_timeout,
            trusted_proxies: config.trusted_proxies.clone(),
        }
    }

    pub(super) fn trusts(&self, peer: IpAddr) -> bool {
        self.trusted_proxies.iter().any(|network| network.contains(&peer))
    }

    /// Who sent the request: the last address in `X-Forwarded-For` that no trusted proxy wrote about itself.
    /// From anyone but a trusted proxy the header is just text.
    pub(super) fn client_ip(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        if self.trusted_proxies.is_empty() || !self.trusts(peer) {
            return peer;
        }
        let lines = headers.get_all("x-forwarded-for").iter().rev();
        let hops = lines.filter_map(|line| line.to_str().ok()).flat_map(|line| line.rsplit(','));
        let mut client = peer;
        for hop in hops {
            let Some(address) = hop_address(hop.trim()) else {
                break;
            };
            client = address.to_canonical();
            if !self.trusts(client) {
                break;
            }
        }
        client
    }
}

impl InForce {
    pub fn new(front: Arc<Front>) -> Self {
        Self { front: Arc::new(ArcSwap::new(front)), slots: Arc::default() }
    }

    pub fn set(&self, front: Arc<Front>) {
        self.front.store(front);
        self.slots.look_again();
    }

    /// For a look, not for keeping.
    pub fn get(&self) -> Guard<Arc<Front>> {
        self.front.load()
    }

    /// For as long as a request takes.
    pub(super) fn hold(&self) -> Arc<Front> {
        self.front.load_full()
    }
}

/// An entry of `X-Forwarded-For`: an address, from some proxies with its port, and an IPv6 one in brackets.
fn hop_address(hop: &str) -> Option<IpAddr> {
    let bare = || hop.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    let with_port = || hop.parse::<SocketAddr>().ok().map(|address| address.ip());
    hop.parse().ok().or_else(with_port).or_else(bare)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forwarded_addresses_may_have_ports() {
        let v6 = IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1]);
        for (hop, address) in [
            ("1.2.3.4", Some(IpAddr::from([1, 2, 3, 4]))),
            ("1.2.3.4:555", Some(IpAddr::from([1, 2, 3, 4]))),
            ("2001:db8::1", Some(v6)),
            ("[2001:db8::1]", Some(v6)),
            ("[2001:db8::1]:44", Some(v6)),
            ("unknown", None),
            ("1.2.3.4:", None),
            ("[1.2.3.4", None),
            ("", None),
        ] {
            assert_eq!(hop_address(hop), address, "{hop}");
        }
    }
}
