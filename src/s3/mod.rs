//! What S3 requests and documents mean. Pure: no async, no I/O, no clock, no config.

pub mod operation;
pub mod query;
pub mod uri;
pub mod xml;
