//! The nouns of these tests: an `Origin` that records and misbehaves, a `Client` that sends any bytes, a `Signer`
//! that signs rightly or wrongly, and a `World` that holds a running gateway between them.

mod answers;
mod client;
mod issuer;
mod memory_page;
mod memory_s3;
mod origin;
mod script;
mod signer;
mod text;
mod wire;
mod world;

pub use answers::*;
pub use client::{Client, Response};
pub use issuer::{AUDIENCE, ISSUER, Manner, Provider, TokenKey, claims, claims_but, entry, key_set, seconds};
pub use memory_s3::LAST_MODIFIED;
pub use origin::{GATEWAY_KEY, GATEWAY_SECRET, NAMESPACE, Origin, REAL_BUCKET, Seen};
pub use script::{Act, Cut, Reply, pattern_byte};
pub use signer::{Chunked, HOST, Request, Signer, UNSIGNED, object};
pub use text::{
    CHECKSUMS, assert_well_formed, base64, checksum, elements, elements_within, hex, md5, uri_decode,
    uri_encode, xml_escape,
};
pub use wire::{End, Wire, find};
pub use world::{Answers, Settings, World, control_body, eventually};
