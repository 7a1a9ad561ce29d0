//! The S3 service behind `bucketwarden dev`: one bucket on a data folder, on its own listener, with SigV4
//! checked, so that the gateway in front of it signs, streams and recovers as it would against a real cloud.
//! In: HTTP requests of the gateway. Out: what S3 answers for the operations a gateway forwards; anything
//! else is 501. Nothing of the gateway is known here, and no key ever becomes a file name.
//!
//! `server` speaks HTTP; `auth` checks signatures; the `s3s` crate tells operations apart and parses queries
//! and XML; `service` answers with `objects`, `read`, `multipart` and `listing`; `headers` keeps what was said
//! about an object; `intake` turns a request body into a verified blob; `meta` keeps rows in redb, `blobs`
//! keeps bytes in files.
//!
//! It is for development: SSE-C keys are checked but nothing is encrypted, and there are no versions.

use std::fs;
use std::future::Future;
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use tokio::net::TcpListener;

use crate::types::Secret;

mod auth;
mod blobs;
mod checksum;
mod conditions;
mod headers;
mod intake;
mod listing;
mod lists;
mod meta;
mod multi_delete;
mod multipart;
mod objects;
mod read;
mod server;
mod service;
#[cfg(test)]
mod tests;

/// Where the store lives and whom it believes.
pub struct Settings {
    pub dir: PathBuf,
    pub bucket: String,
    pub region: String,
    pub access_key_id: String,
    pub secret: Secret,
}

/// An open data folder. While this lives, no other process can open it.
pub struct DevStore {
    settings: Settings,
    store: Arc<Store>,
}

/// What every operation needs.
struct Store {
    bucket: String,
    region: String,
    meta: meta::Meta,
    blobs: Arc<blobs::Blobs>,
}

impl DevStore {
    /// Creates what is missing. After a crash, removes blobs without an object and objects without their bytes.
    pub fn open(settings: Settings) -> anyhow::Result<Self> {
        let dir = &settings.dir;
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .with_context(|| format!("cannot create the data folder {}", dir.display()))?;
        let meta = meta::Database::open(&dir.join("meta.redb"))?;
        write_readme(dir).with_context(|| format!("cannot write to the data folder {}", dir.display()))?;
        let clean = meta.take_clean_mark()?;
        let blobs = Arc::new(blobs::Blobs::open(&dir.join("blobs"))?);
        if !clean {
            let there = blobs.sizes().context("cannot read the blobs folder")?;
            let (torn, needed) = meta.drop_torn(&there)?;
            let orphans: Vec<_> = there.into_keys().filter(|id| !needed.contains(id)).collect();
            if torn + orphans.len() > 0 {
                tracing::info!(
                    torn,
                    orphans = orphans.len(),
                    "cleaned up after a run that did not end in good order"
                );
            }
            blobs.doom(orphans);
        }
        let store = Store {
            bucket: settings.bucket.clone(),
            region: settings.region.clone(),
            meta: meta::Meta::start(meta, Arc::clone(&blobs))?,
            blobs,
        };
        Ok(Self { settings, store: Arc::new(store) })
    }

    /// Serves until `shutdown` resolves; then requests in flight get a short while to end.
    pub async fn serve(self, listener: TcpListener, shutdown: impl Future<Output = ()>) {
        server::run(self, listener, shutdown).await;
    }
}

const README: &str = "\
The S3 store of `bucketwarden dev`.

meta.redb    names, metadata and open multipart uploads (a redb database)
blobs/       the bytes of objects and parts, under random names; meta.redb says which belong to what

An acknowledged object survives a crash of the process. One of the last half minute may be lost (never damaged)
when the machine loses power. SSE-C keys are checked, but nothing here is encrypted.

Stop the process before you copy this folder, and copy it whole. Deleting the folder deletes all objects.
";

fn write_readme(dir: &Path) -> io::Result<()> {
    let path = dir.join("README.txt");
    match fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(mut file) => io::Write::write_all(&mut file, README.as_bytes()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}
