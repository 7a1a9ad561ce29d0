//! One user's account, as arithmetic: what is stored, what is held for writes under way, which uploads count
//! in the last hour and day, and how each step changes that. Pure: rows in, rows out, time passed in. The
//! stores load the rows a step needs (`Step::needs`), take the step, and save what it changed, all as one.
//!
//! The rules, for every user at every instant:
//! - `used` is the sum of the objects; `reserved` is what writes under way may still add to it, and every part
//!   of an open multipart upload; a write is admitted only if `used + reserved` stays within the limit.
//! - What a key may come to hold is the largest of what it holds and what writers are sending to it, so writes
//!   that overlap can end in any order. When the last of them ends, a HEAD tells which one is there.
//! - Every write under way has a lease, which outlives the process; an outcome that nobody heard of keeps its
//!   bytes reserved until a HEAD decides.

mod recount;
mod rows;
mod settle;
mod step;
mod uploads;
mod view;
mod windows;

pub use recount::{Counted, Recount};
pub use rows::{
    Account, Hold, Kind, Lease, LeaseId, Millis, Object, ObjectId, Part, Target, Upload, UploadKey, Writer,
};
pub use step::{Begun, Found, Limits, Named, Outcome, Refusal, Reply, Settled, Step, Write};
pub use view::{Needs, Rows, View};
pub use windows::{DAY, HOUR};

#[cfg(test)]
mod memory;
#[cfg(test)]
mod tests;
