//! What tests steer and see: throttling, keys and how far they have spread, what requests came.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use http::HeaderMap;
use http::request::Parts;
use serde::Deserialize;
use time::OffsetDateTime;

use super::par::Par;

/// How far a customer secret key has spread among OCI's front ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Propagation {
    Everywhere,
    Nowhere,
    /// Only each n-th request meets a front end that knows it.
    Every(u64),
}

/// One S3 request as it came, and what it was answered.
#[derive(Clone, Debug)]
pub struct Seen {
    pub method: String,
    pub path_and_query: String,
    pub headers: HeaderMap,
    /// As its signature claims.
    pub access_key: Option<String>,
    /// 0 while it is unanswered.
    pub status: u16,
}

#[derive(Default)]
pub struct Control {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    keys: HashMap<String, Key>,
    throttle_every: u64,
    throttle_next: u64,
    /// S3 requests since `throttle_every` was set.
    since: u64,
    chunked: bool,
    if_match: bool,
    seen: Vec<Seen>,
    pars: Vec<Par>,
}

struct Key {
    secret: String,
    propagation: Propagation,
    /// Requests that asked for it since `propagate`.
    asked: u64,
}

impl Control {
    pub(super) fn new(keys: Vec<(String, String)>) -> Self {
        let control = Self::default();
        for (id, secret) in keys {
            control.add_key(&id, &secret);
        }
        control
    }

    /// Every n-th S3 request from now on is one too many; 0: none.
    pub fn throttle_every(&self, n: u64) {
        let mut state = self.lock();
        (state.throttle_every, state.since) = (n, 0);
    }

    /// The next n S3 requests are too many.
    pub fn throttle_next(&self, n: u64) {
        self.lock().throttle_next = n;
    }

    pub fn propagate(&self, access_key: &str, propagation: Propagation) {
        let mut state = self.lock();
        let key = state.keys.get_mut(access_key).expect("a key that was added");
        (key.propagation, key.asked) = (propagation, 0);
    }

    /// Whether this region has the release of July 2026 that takes aws-chunked.
    pub fn allow_aws_chunked(&self, allowed: bool) {
        self.lock().chunked = allowed;
    }

    /// Whether a write heeds `If-Match`: known of OCI's own API, said of its S3 face by nobody.
    pub fn heed_if_match(&self, heeded: bool) {
        self.lock().if_match = heeded;
    }

    /// A new key, known everywhere at once unless `propagate` says otherwise.
    pub fn add_key(&self, id: &str, secret: &str) {
        let key = Key { secret: secret.to_owned(), propagation: Propagation::Everywhere, asked: 0 };
        self.lock().keys.insert(id.to_owned(), key);
    }

    pub fn remove_key(&self, id: &str) {
        self.lock().keys.remove(id);
    }

    /// The S3 requests so far, in the order of their arrival.
    pub fn requests(&self) -> Vec<Seen> {
        self.lock().seen.clone()
    }

    pub fn forget_requests(&self) {
        self.lock().seen.clear();
    }

    /// The pre-authenticated requests that there are, expired ones too, in the order of their making.
    pub fn pars(&self) -> Vec<Par> {
        self.lock().pars.clone()
    }

    /// Lets one expire now.
    pub fn expire_par(&self, id: &str) {
        let mut state = self.lock();
        let par = state.pars.iter_mut().find(|par| par.id == id).expect("a PAR that is there");
        par.time_expires = OffsetDateTime::UNIX_EPOCH;
    }

    pub(super) fn par(&self, id: &str) -> Option<Par> {
        self.lock().pars.iter().find(|par| par.id == id).cloned()
    }

    pub(super) fn add_par(&self, par: Par) {
        self.lock().pars.push(par);
    }

    /// As its maker would; `None` if there is none.
    pub fn delete_par(&self, id: &str) -> Option<Par> {
        let mut state = self.lock();
        let place = state.pars.iter().position(|par| par.id == id)?;
        Some(state.pars.remove(place))
    }

    /// Notes a request; the number is for `answered`.
    pub(super) fn arrived(&self, head: &Parts, access_key: Option<String>) -> usize {
        let mut state = self.lock();
        state.seen.push(Seen {
            method: head.method.to_string(),
            path_and_query: head.uri.path_and_query().map(ToString::to_string).unwrap_or_default(),
            headers: head.headers.clone(),
            access_key,
            status: 0,
        });
        state.seen.len() - 1
    }

    pub(super) fn answered(&self, number: usize, status: u16) {
        if let Some(seen) = self.lock().seen.get_mut(number) {
            seen.status = status;
        }
    }

    /// Whether this request is one too many.
    pub(super) fn throttles(&self) -> bool {
        let mut state = self.lock();
        state.since += 1;
        let every = state.throttle_every > 0 && state.since.is_multiple_of(state.throttle_every);
        let next = state.throttle_next > 0;
        state.throttle_next = state.throttle_next.saturating_sub(1);
        every || next
    }

    /// The secret, where this request's front end knows the key.
    pub(super) fn secret(&self, access_key: &str) -> Option<String> {
        let mut state = self.lock();
        let key = state.keys.get_mut(access_key)?;
        key.asked += 1;
        let known = match key.propagation {
            Propagation::Everywhere => true,
            Propagation::Nowhere => false,
            Propagation::Every(n) => key.asked.is_multiple_of(n),
        };
        known.then(|| key.secret.clone())
    }

    pub(super) fn heeds_if_match(&self) -> bool {
        self.lock().if_match
    }

    pub(super) fn takes_aws_chunked(&self) -> bool {
        self.lock().chunked
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
