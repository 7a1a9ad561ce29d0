//! Which training job is whose.

use crate::types::{JobId, UserId};

/// Jobs that one user may have: all of them are asked for at once.
pub const MAX_JOBS: usize = 10_000;

/// A job and its owner.
pub type OwnedJob = (JobId, UserId);

/// What became of a job that was to be somebody's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Assigned {
    /// It was nobody's before.
    New,
    /// It had an owner, who may be the same.
    Again,
    /// The user was removed, and nobody of the id has come since.
    NoSuchUser,
    /// The user has [`MAX_JOBS`].
    TooMany,
}
