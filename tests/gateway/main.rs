//! The gateway as a whole, in process, between a scripted origin and a raw client. Every test has its own world;
//! rows of the threat checklist keep their ids as the first word of the test's name.

#![allow(unreachable_pub, reason = "`pub` here means: for the other modules of this binary")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::format_push_string,
    clippy::format_collect,
    clippy::unused_self,
    reason = "a test that cannot go on says so by failing"
)]

mod access_keys;
mod auth_header;
mod chunked;
mod copy;
mod deputy;
mod exhaustion;
mod explain;
mod framing;
mod harness;
mod jobs;
mod jwt;
mod keys;
mod leaving;
mod listing;
mod multipart;
mod objects;
mod objects_api;
#[path = "../oci/mod.rs"]
#[allow(dead_code, unused_imports, reason = "some of it is for the process that the client tests run")]
mod oci;
mod oci_dialect;
mod oci_native_self_test;
mod oci_self_test;
mod origin_self_test;
mod par;
mod payload_modes;
mod platform_view;
mod presign_api;
mod presigned;
mod probe;
mod processes;
mod quota;
mod recursive_delete;
#[path = "../store_contract/server.rs"]
#[allow(dead_code, reason = "a cluster and a faulty link are for the contract of the stores")]
mod redis_server;
mod reload;
mod streaming;
mod sts;
mod upstream_faults;
mod upstream_pace;
mod windows;
