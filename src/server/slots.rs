//! How many connections are open, and the wait for a place among them. One waits at a time: the acceptor, with the
//! newest client; those after it wait in the kernel's queue. The limit is asked for at every look, since it may change.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

use crate::config::Limit;

#[derive(Default)]
pub(super) struct Slots {
    taken: AtomicUsize,
    changed: Notify,
}

/// A place among the connections, until dropped.
pub(super) struct Slot(Arc<Slots>);

impl Slots {
    pub(super) fn are_full(&self, most: Limit<usize>) -> bool {
        !most.allows(&self.taken.load(Ordering::Relaxed).saturating_add(1))
    }

    /// The next place.
    pub(super) async fn take(self: &Arc<Self>, most: impl Fn() -> Limit<usize>) -> Slot {
        while self.are_full(most()) {
            self.changed.notified().await;
        }
        self.taken.fetch_add(1, Ordering::Relaxed);
        Slot(self.clone())
    }

    /// The limit is another one.
    pub(super) fn look_again(&self) {
        // Is kept for the one who waits, if nobody does right now.
        self.changed.notify_one();
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Ordering::Relaxed);
        self.0.look_again();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn a_place_is_free_when_one_leaves_or_the_limit_grows() {
        let (slots, most) = (Arc::<Slots>::default(), AtomicUsize::new(2));
        let take = || slots.take(|| Limit::At(most.load(Ordering::Relaxed)));
        let first = take().await;
        let second = take().await;
        assert!(take().now_or_never().is_none());
        let waiting = async { tokio::join!(take(), async { drop(first) }).0 };
        let third = waiting.await;

        most.store(3, Ordering::Relaxed);
        slots.look_again();
        let fourth = take().await;
        assert!(take().now_or_never().is_none());
        // A lower limit takes nobody's place away, and is kept once they have left.
        most.store(1, Ordering::Relaxed);
        drop((second, third));
        assert!(take().now_or_never().is_none());
        drop(fourth);
        assert!(take().now_or_never().is_some());
    }
}
