//! How many connections each address has open. Holds as many entries as there are connections, no more.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

#[derive(Clone)]
pub(super) struct Peers {
    open: Arc<Mutex<HashMap<IpAddr, usize>>>,
    most: usize,
}

/// One of a peer's connections, until dropped.
pub(super) struct Place {
    peers: Peers,
    /// `None` for a trusted proxy, which speaks for many.
    counted: Option<IpAddr>,
}

impl Peers {
    pub(super) fn new(most: usize) -> Self {
        Self { open: Arc::default(), most }
    }

    /// A place for one more connection, if the peer may have it.
    pub(super) fn admit(&self, peer: IpAddr, trusted: bool) -> Option<Place> {
        if !trusted {
            let mut open = self.open();
            let count = open.entry(peer).or_insert(0);
            if *count >= self.most {
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
        let peers = Peers::new(2);
        let peer = IpAddr::from([10, 0, 0, 1]);
        let first = peers.admit(peer, false).expect("the first");
        let second = peers.admit(peer, false).expect("the second");
        assert!(peers.admit(peer, false).is_none());
        assert!(peers.admit(IpAddr::from([10, 0, 0, 2]), false).is_some());
        assert!(peers.admit(peer, true).is_some(), "a trusted proxy is not counted");
        drop(first);
        let third = peers.admit(peer, false).expect("a place was free");
        drop((second, third));
        assert!(peers.open().is_empty());
    }
}
