//! How many forms are waited for at a time, of everybody and of each address. Nobody is let in before a form is read,
//! so whoever sends one takes no place among the requests meanwhile, and these here are few. In: an address. Out: a
//! place, free again when it is dropped.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::peers::network;
use crate::error::{Code, Error, Result};
use crate::metrics::{Metrics, Throttle};

const MOST: usize = 64;
const MOST_OF_AN_ADDRESS: usize = 8;
/// A form is there soon, or given up on.
const RETRY_AFTER: Duration = Duration::from_secs(1);

pub(super) struct Forms {
    by_address: Arc<Mutex<HashMap<IpAddr, usize>>>,
    metrics: Arc<Metrics>,
}

pub struct FormPlace {
    by_address: Arc<Mutex<HashMap<IpAddr, usize>>>,
    network: IpAddr,
}

impl Forms {
    pub(super) fn new(metrics: Arc<Metrics>) -> Self {
        Self { by_address: Arc::default(), metrics }
    }

    pub(super) fn enter(&self, ip: IpAddr) -> Result<FormPlace> {
        let network = network(ip);
        let mut by_address = lock(&self.by_address);
        // At most as many entries as places.
        let all: usize = by_address.values().sum();
        let theirs = by_address.get(&network).copied().unwrap_or(0);
        if all >= MOST || theirs >= MOST_OF_AN_ADDRESS {
            self.metrics.throttled(Throttle::InFlight);
            return Err(Error::new(Code::SlowDown).retry_after(RETRY_AFTER));
        }
        by_address.insert(network, theirs + 1);
        Ok(FormPlace { by_address: self.by_address.clone(), network })
    }
}

impl Drop for FormPlace {
    fn drop(&mut self) {
        let mut by_address = lock(&self.by_address);
        if let Some(theirs) = by_address.get_mut(&self.network) {
            *theirs -= 1;
            if *theirs == 0 {
                by_address.remove(&self.network);
            }
        }
    }
}

fn lock(by_address: &Mutex<HashMap<IpAddr, usize>>) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
    by_address.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_forms_of_an_address_and_not_many_in_all() {
        let forms = Forms::new(Arc::new(Metrics::new().expect("metrics")));
        let entered = |address: u8| {
            let mut places = Vec::new();
            while let Ok(place) = forms.enter(IpAddr::from([192, 0, 2, address])) {
                places.push(place);
            }
            places
        };
        let mut all: Vec<_> = (0..20).map(entered).collect();
        assert_eq!(all.iter().map(Vec::len).sum::<usize>(), MOST);
        assert_eq!(all[0].len(), MOST_OF_AN_ADDRESS);
        assert!(entered(99).is_empty());
        all.clear();
        assert!(lock(&forms.by_address).is_empty());
        assert_eq!(entered(99).len(), MOST_OF_AN_ADDRESS);
    }
}
