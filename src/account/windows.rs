//! The sliding hour and day: which uploads were admitted when. A place is a millisecond at which so many
//! uploads were admitted; it leaves a window when the window has passed. Where a limit is very high, or absent,
//! places are rounded up to a coarser grain, so that a user's rows stay few; rounded up, never down: a place
//! may leave a little late and never early.

use super::rows::Millis;
use super::view::{Rows, View};

pub const HOUR: Millis = 60 * 60 * 1000;
pub const DAY: Millis = 24 * HOUR;

/// Up to this limit every upload has its own millisecond.
const EXACT_UP_TO: u64 = 10_000;
const COARSE: Millis = 10_000;
const COARSEST: Millis = 60_000;

/// The place of an upload admitted now.
pub(super) fn place(now: Millis, hourly: Option<u64>, daily: Option<u64>) -> Millis {
    let grain = match hourly.into_iter().chain(daily).min() {
        Some(limit) if limit <= EXACT_UP_TO => 1,
        Some(_) => COARSE,
        None => COARSEST,
    };
    now.div_ceil(grain) * grain
}

/// The last place that has left a window by now.
pub(super) fn left(now: Millis, window: Millis) -> Option<Millis> {
    now.checked_sub(window)
}

impl View {
    /// Drops what has left the windows.
    pub(super) fn trim(&mut self, now: Millis) {
        self.account.hour -= trim(&mut self.hour, left(now, HOUR));
        self.account.day -= trim(&mut self.day, left(now, DAY));
    }

    pub(super) fn take_place(&mut self, place: Millis) {
        for (rows, count) in
            [(&mut self.hour, &mut self.account.hour), (&mut self.day, &mut self.account.day)]
        {
            let taken = rows.get(&place).copied().unwrap_or(0);
            rows.put(place, taken + 1);
            *count += 1;
        }
    }

    /// Gives a place back, where it has not left by itself.
    pub(super) fn give_place_back(&mut self, place: Millis) {
        for (rows, count) in
            [(&mut self.hour, &mut self.account.hour), (&mut self.day, &mut self.account.day)]
        {
            match rows.get(&place).copied() {
                None => continue,
                Some(0 | 1) => drop(rows.remove(&place)),
                Some(taken) => rows.put(place, taken - 1),
            }
            *count -= 1;
        }
    }
}

/// How long until the oldest place leaves; the whole window if no place is known.
pub(super) fn until_one_leaves(rows: &Rows<Millis, u64>, now: Millis, window: Millis) -> Millis {
    let oldest = rows.iter().next().map_or(now, |(place, _)| *place);
    (oldest + window).saturating_sub(now).max(1)
}

fn trim(rows: &mut Rows<Millis, u64>, left: Option<Millis>) -> u64 {
    let Some(left) = left else { return 0 };
    let gone: Vec<Millis> = rows.iter().map(|(place, _)| *place).take_while(|place| *place <= left).collect();
    gone.iter().filter_map(|place| rows.remove(place)).sum()
}
