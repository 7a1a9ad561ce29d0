//! How many connections each address has open. Holds as many entries as there are connections, no more.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::config::Limit;

#[derive(Clone, Default)]
pub(super) struct Peers {
    open: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

/// One of a peer's connections, until dropped.
pub(super) struct Place {
    peers: Peers,
    /// `None` for a trusted proxy, which speaks for many.
    counted: Option<IpAddr>,
}

impl Peers {
    /// A place for one more connection, if the peer may have it.
    pub(super) fn admit(&self, peer: IpAddr, trusted: bool, most: Limit<usize>) -> Option<Place> {
        if !trusted {
            let mut open = self.open();
            let count = open.entry(peer).or_insert(0);
            if !most.allows(&count.saturating_add(1)) {
                return None;
            }
            *count += 1;
        }
        Some(Place { peers: self.clone(), counted: (!trusted).then_some(peer) })
    }

    fn open(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some(peer) = self.counted else { return };
        let mut open = self.peers.open();
        if let Some(count) = open.get_mut(&peer) {
            *count -= 1;
            if *count == 0 {
                open.remove(&peer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_has_its_share_and_leaves_nothing_behind() {
        let peers = Peers::default();
        let most = Limit::At(2);
        let peer = IpAddr::from([10, 0, 0, 1]);
        let first = peers.admit(peer, false, most).expect("the first");
        let second = peers.admit(peer, false, most).expect("the second");
        assert!(peers.admit(peer, false, most).is_none());
        assert!(peers.admit(IpAddr::from([10, 0, 0, 2]), false, most).is_some());
        assert!(peers.admit(peer, true, most).is_some(), "a trusted proxy is not counted");
        drop(first);
        let third = peers.admit(peer, false, most).expect("a place was free");
        drop((second, third));
        assert!(peers.open().is_empty());
    }
}
