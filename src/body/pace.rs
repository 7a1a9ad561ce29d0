//! Pacing: the part of a body adapter that holds data until its user's bandwidth has room. In: pieces as they
//! come, and a `Lane`, which all streams of a user in one direction share. Out: the same bytes, without a copy,
//! cut to what was granted where a piece is larger. Never an error: a stream that must wait is only slow. The
//! adapter that owns a `Pacer` asks for no more input while a piece is held, and does not count that time as
//! the peer's silence. Without a lane there is nothing: no allocation, no lock.

mod bucket;
mod lane;
#[cfg(test)]
mod tests;

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::time::{Sleep, sleep_until};

use super::count;
use lane::Turn;
pub use lane::{Lane, Replicas};

/// A stream's place on its lane.
#[derive(Default)]
pub struct Pacer(Option<Box<Stream>>);

struct Stream {
    lane: Arc<Lane>,
    held: Bytes,
    /// Granted and not used yet.
    credit: u64,
    /// The last grant.
    grant: u64,
    /// The place in the lane's queue.
    ticket: Option<u64>,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Pacer {
    pub fn new(lane: Option<Arc<Lane>>) -> Self {
        Self(lane.map(|lane| {
            Box::new(Stream { lane, held: Bytes::new(), credit: 0, grant: 0, ticket: None, sleep: None })
        }))
    }

    /// Takes a piece in, once `poll_held` has said that nothing is held; gives it right back if it need not
    /// wait.
    pub fn hold(&mut self, piece: Bytes) -> Option<Bytes> {
        match &mut self.0 {
            Some(stream) if !piece.is_empty() => {
                stream.held = piece;
                None
            }
            Some(_) | None => Some(piece),
        }
    }

    /// The next bytes of what is held, when they may go; `None` if nothing is.
    pub fn poll_held(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        match &mut self.0 {
            Some(stream) if !stream.held.is_empty() => stream.poll_release(cx).map(Some),
            Some(_) | None => Poll::Ready(None),
        }
    }
}

impl Stream {
    fn poll_release(&mut self, cx: &mut Context<'_>) -> Poll<Bytes> {
        let length = count(&self.held);
        // Whole, or at least one grant of it: what is left of the one before makes no piece of its own.
        while self.credit < length.min(self.grant.max(1)) {
            match self.lane.ask(&mut self.ticket, cx) {
                Turn::Granted(bytes) => {
                    self.grant = bytes;
                    self.credit = self.credit.saturating_add(bytes);
                }
                Turn::Due(at) => {
                    let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(at)));
                    if sleep.deadline() != at {
                        sleep.as_mut().reset(at);
                    }
                    ready!(sleep.as_mut().poll(cx));
                }
                Turn::Queued => return Poll::Pending,
            }
        }
        let passes = self.credit.min(length);
        self.credit -= passes;
        let passes = usize::try_from(passes).unwrap_or(usize::MAX).min(self.held.len());
        Poll::Ready(self.held.split_to(passes))
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.lane.leave(self.ticket, self.credit);
    }
}
