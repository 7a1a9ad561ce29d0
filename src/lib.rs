//! Bucketwarden: a streaming S3 gateway that gives every user of a platform a private corner of one bucket.
//! This page is the map. *The head is judged, the body only flows.*
//!
//! # The life of a request
//!
//! 1. [`server`] accepts a connection, within its limits, and times what the client does.
//! 2. [`gateway`] opens a record of the request, which tells metrics and access log how it ended, and walks
//!    the head through rooms that do not know each other. Each returns a value that only it can make:
//!    - **parse**, [`s3::operation`]: method, path and query become one closed `Operation` with bucket and key;
//!    - **authenticate**, [`auth`] on [`sigv4::verify`]: a `Caller` and a `VerifiedPayload`;
//!    - **authorise**, [`access`]: a `Grant`, which holds the caller's scope in the real bucket: the windows through
//!      which they see it;
//!    - **map**, [`keymap`]: an `UpstreamTarget`, the real key. This file alone adds and removes prefixes.
//!
//!    A caller who is known needs a place and a turn within their limits ([`admit`]); a write reserves in its user's
//!    [`account`] what it may add ([`ledger`], kept by the [`store`]) before a byte of it is asked for.
//! 3. The operation's family in `gateway` (`object`, `listing`, `copy`, `multipart`, `batch`, `local`) builds
//!    the upstream call. A body is wrapped, never held: [`body::upload`] decodes it, checks it, and keeps its
//!    last slice back until everything promised about it was found true.
//! 4. [`upstream`] signs the call with the gateway's own key, sends it, retries what may be retried, and turns
//!    refusals into errors that a client may see.
//!    A write runs detached from its client to its settlement: what became of it is in the account, durably, before
//!    the client hears of it.
//! 5. Documents are written anew with virtual names ([`s3::xml`]), headers pass an allow-list
//!    ([`upstream::headers`]), and the answer's body streams through [`body::download`].
//!
//! What a request holds at most of an object: three reads, of 64 KiB each, or of 256 KiB while a stream has
//! proven fast ([`io`]): one being filled, one on its way (held back, for an upload), one being written.
//!
//! # The floors
//!
//! Imports go to lower floors only; `tests/architecture.rs` has this as data.
//!
//! | floor | rooms |
//! |---|---|
//! | 0 | [`types`], [`error`] |
//! | 1 | [`s3`], [`sigv4`], [`account`], [`dialect`]: pure, no async, no I/O, no clock |
//! | 2 | [`config`], [`tls`], [`metrics`], [`access_log`], [`refusals`], [`body`], [`io`] |
//! | 3 | [`store`]: alone talks to disk or Redis |
//! | 4 | [`auth`], [`access`], [`keymap`], [`admit`] |
//! | 5 | [`upstream`] |
//! | 6 | [`gateway`], [`ledger`] |
//! | 7 | [`server`], [`api`], [`admin`], [`dev_store`] |
//! | 8 | [`cli`], [`app`] |
//!
//! # Where do I look for…
//!
//! | … | there |
//! |---|---|
//! | an error code, its status and text | [`error`] |
//! | which operations exist | [`s3::operation`] |
//! | what is covered by a signature | [`sigv4::canonical`] |
//! | bearer tokens; temporary keys and what they are made of | [`auth::jwt`]; [`auth::sts`], [`auth::session`] |
//! | who is let in, and whether they still are who they were | `gateway::door` |
//! | who may do what, whose job it is | [`access`] |
//! | a listing over several windows | `gateway::listing::runs` |
//! | what OCI does otherwise than other services | [`dialect`] |
//! | which headers cross | [`upstream::headers`] |
//! | what an upstream's error becomes | `upstream::errors` |
//! | when a call goes again; how many wait at a time; by which of the gateway's keys | `upstream::delivery`, `upstream::concurrency`, `upstream::keys` |
//! | what a write does to its user's account | [`account`] |
//! | recounts, expired leases, abandoned uploads | [`ledger`] |
//! | pre-authenticated requests: OCI's own API, the record of them, their end | [`upstream::native`], [`ledger::pars`] |
//! | access keys: made, sealed, looked up | `auth::keyring` |
//! | users, keys and jobs at rest | `store::embedded::people`, `store::redis::people` |
//! | what an operator changed | the log target `audit`, `admin::audit` |
//! | a user's tier and limits | `admit::tiers` |
//! | what a refused upload is told | `admit::refusal` |
//! | the calls of `/api/v1`, of the admin API | [`api`], `gateway::platform`, `admin::routes` |
//! | page tokens and upload ids | `gateway::token` |
//! | limits on load: concurrency, rates, bandwidth | [`admit`], [`body::pace`] |
//! | time limits of clients, of the upstream | `server::connection`, `upstream::watch` |
//! | what becomes of a refusal, and why it was one | `gateway::refused`, [`refusals`] |
//! | what a reload changes, keeps, and refuses to change | `app::reload`, `config::change` |
//! | configuration keys, defaults, checks | [`config`], `config.toml.example` |
//! | what an upstream in hand really does | [`upstream::probe`] |
//! | the store behind `bucketwarden dev` | [`dev_store`] |

pub mod access;
pub mod access_log;
pub mod account;
pub mod admin;
pub mod admit;
pub mod api;
pub mod app;
pub mod auth;
pub mod body;
pub mod cli;
pub mod config;
pub mod dev_store;
pub mod dialect;
pub mod error;
pub mod gateway;
pub mod io;
pub mod keymap;
pub mod ledger;
pub mod metrics;
pub mod refusals;
pub mod s3;
pub mod server;
pub mod sigv4;
pub mod store;
pub mod tls;
pub mod types;
pub mod upstream;

/// The commit this was built from.
pub const COMMIT: &str = env!("BUCKETWARDEN_COMMIT");

/// The wall clock, read once per request and at the edges.
#[expect(clippy::disallowed_methods, reason = "the one place that reads it")]
pub fn now() -> std::time::SystemTime {
    std::time::SystemTime::now()
}
