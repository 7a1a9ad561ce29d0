//! Bodies on their way through. Upwards: `plan` reads from the head how a body is framed and what it
//! promises; `intake` decodes (`aws_chunked`) and checks (`checksum`) it piece by piece; `upload` streams it
//! upstream and holds the tail until every promise is kept; `small` reads control XML whole, under a cap;
//! `unread` is a body that nobody has asked for yet.
//! Downwards: `download` passes an answer on and tells once how it ended.
//! `pace` holds either back while the user's bandwidth has no room.
//! Nothing here copies payload, and no number from a client sizes a buffer.

pub mod aws_chunked;
pub mod checksum;
pub mod download;
mod intake;
pub mod pace;
mod patience;
pub mod plan;
pub mod small;
mod source;
pub mod unread;
pub mod upload;

/// The length of a slice in the type that lengths on the wire have.
fn count(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).expect("no slice is longer than 2^64")
}

#[cfg(test)]
mod kit;
#[cfg(test)]
mod tests;
