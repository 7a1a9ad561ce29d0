//! The rows of the store in redb: objects, layouts of objects made of parts, open uploads and their parts.
//! In: closures over a transaction. Out: their results, once durable. Writes of many requests share one
//! commit (and so one fsync); a closure must refuse before it writes, because its neighbours commit anyway.
//! Blobs are kept or doomed only after the commit that says so, and even if nobody waits for the answer.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::thread;

use anyhow::Context;
use redb::{ReadTransaction, ReadableDatabase, ReadableTable, TableDefinition, WriteTransaction};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use super::blobs::{BlobId, Blobs, NewBlob};
use super::checksum::{Algorithm, Checksum, Kind};
use super::headers::Value;
use crate::error::{Code, Error, Result};

/// Key to `Object`.
pub(super) const OBJECTS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("objects");
/// Layout id to `Vec<LayoutPart>`: apart from the object's row, so that listings need not read it.
pub(super) const LAYOUTS: TableDefinition<'_, u128, &[u8]> = TableDefinition::new("layouts");
/// Key and upload id to `Upload`; ids are in order of time.
pub(super) const UPLOADS: TableDefinition<'_, (&[u8], &str), &[u8]> = TableDefinition::new("uploads");
/// Upload id and part number to `Part`.
pub(super) const PARTS: TableDefinition<'_, (&str, u16), &[u8]> = TableDefinition::new("parts");
/// Facts about the folder itself.
const FACTS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("facts");
/// While the folder is closed in good order: the boot of the machine in which that happened. After another
/// boot it proves nothing, because blobs are not synced.
const CLEAN: &str = "clean";

const CACHE_BYTES: usize = 64 << 20;
/// Writes that may share a commit; bounds how long the first of them waits.
const MAX_BATCH: usize = 256;

/// What a client said about an object besides its bytes.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(super) struct Attributes {
    /// Headers that come back as they were given, lower-case names.
    pub(super) headers: Vec<(String, Value)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) storage_class: Option<String>,
    /// The MD5 of the SSE-C key, in base64. The key itself is not kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) sse_c: Option<String>,
}

impl Attributes {
    pub(super) fn storage_class(&self) -> &str {
        self.storage_class.as_deref().unwrap_or("STANDARD")
    }

    pub(super) fn archived(&self) -> bool {
        matches!(self.storage_class(), "GLACIER" | "DEEP_ARCHIVE")
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Content {
    Blob(BlobId),
    /// The id of a row in `LAYOUTS`.
    Parts(BlobId),
}

#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Object {
    pub(super) size: u64,
    pub(super) etag: String,
    /// Whole seconds since 1970, as S3 tells times.
    pub(super) modified: i64,
    pub(super) content: Content,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) checksum: Option<Checksum>,
    /// Until when a restored archive may be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) restored_until: Option<i64>,
    pub(super) attributes: Attributes,
}

#[derive(Clone, Serialize, Deserialize)]
pub(super) struct LayoutPart {
    pub(super) blob: BlobId,
    pub(super) size: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) checksum: Option<Checksum>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct Upload {
    pub(super) initiated: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) checksum: Option<(Algorithm, Kind)>,
    pub(super) attributes: Attributes,
}

#[derive(Serialize, Deserialize)]
pub(super) struct Part {
    pub(super) blob: BlobId,
    pub(super) size: u64,
    pub(super) etag: String,
    pub(super) modified: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) checksum: Option<Checksum>,
}

/// Why a transaction's closure ended early.
pub(super) enum Stop {
    /// The request's own fault; nothing was written for it.
    Refused(Error),
    /// The database failed; the whole batch is rolled back.
    Broken(redb::Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Refused(error)
    }
}

impl From<Code> for Stop {
    fn from(code: Code) -> Self {
        Self::Refused(code.into())
    }
}

impl From<Stop> for Error {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::Refused(error) => error,
            Stop::Broken(error) => Self::new(Code::InternalError).because(error),
        }
    }
}

macro_rules! broken {
    ($($error:ty),*) => {
        $(impl From<$error> for Stop {
            fn from(error: $error) -> Self {
                Self::Broken(error.into())
            }
        })*
    };
}
broken!(redb::TableError, redb::StorageError, redb::TransactionError, redb::CommitError);

pub(super) type Step<T> = Result<T, Stop>;

/// What must happen to blobs once a write is durable.
#[derive(Default)]
pub(super) struct Effects {
    pub(super) keep: Option<NewBlob>,
    pub(super) doom: Vec<BlobId>,
}

pub(super) fn encode(row: &impl Serialize) -> Step<Vec<u8>> {
    serde_json::to_vec(row).map_err(|error| Error::new(Code::InternalError).because(error).into())
}

pub(super) fn decode<T: DeserializeOwned>(row: &[u8]) -> Step<T> {
    serde_json::from_slice(row).map_err(|error| Error::new(Code::InternalError).because(error).into())
}

pub(super) fn find_object(
    table: &impl ReadableTable<&'static [u8], &'static [u8]>,
    key: &str,
) -> Step<Option<Object>> {
    table.get(key.as_bytes())?.map(|row| decode(row.value())).transpose()
}

/// The parts of an object that was uploaded in parts.
pub(super) fn find_layout(
    table: &impl ReadableTable<u128, &'static [u8]>,
    object: &Object,
) -> Step<Option<Vec<LayoutPart>>> {
    match object.content {
        Content::Blob(_) => Ok(None),
        Content::Parts(id) => match table.get(id.number())? {
            Some(row) => decode(row.value()).map(Some),
            None => Err(Error::new(Code::InternalError).because("an object without its layout").into()),
        },
    }
}

/// Puts `object` (if any) under `key`, removes what was there, and names the blobs that nobody needs now.
pub(super) fn replace_object(tx: &WriteTransaction, key: &str, object: Option<&Object>) -> Step<Vec<BlobId>> {
    let mut objects = tx.open_table(OBJECTS)?;
    let before = find_object(&objects, key)?;
    match object {
        Some(object) => drop(objects.insert(key.as_bytes(), encode(object)?.as_slice())?),
        None => drop(objects.remove(key.as_bytes())?),
    }
    match before {
        Some(Object { content: Content::Blob(blob), .. }) => Ok(vec![blob]),
        Some(before) => {
            let mut layouts = tx.open_table(LAYOUTS)?;
            let parts = find_layout(&layouts, &before)?.unwrap_or_default();
            if let Content::Parts(id) = before.content {
                layouts.remove(id.number())?;
            }
            Ok(parts.into_iter().map(|part| part.blob).collect())
        }
        None => Ok(Vec::new()),
    }
}

/// The store is a service of its own, so it has its own clock: this one.
pub(super) fn now() -> i64 {
    time::OffsetDateTime::now_utc().unix_timestamp()
}

/// Runs what may wait for the disk where waiting is allowed.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(Error::new(Code::InternalError).because(error)),
    }
}

/// The opened file, before the writer thread starts.
pub(super) struct Database(redb::Database);

impl Database {
    pub(super) fn open(path: &Path) -> anyhow::Result<Self> {
        // redb would create the file readable for everyone.
        let made = fs::OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path);
        made.with_context(|| format!("cannot create {}", path.display()))?;
        let opened = redb::Builder::new().set_cache_size(CACHE_BYTES).create(path);
        let db = match opened {
            Err(redb::DatabaseError::DatabaseAlreadyOpen) => anyhow::bail!(
                "another process is using {}: stop it, or choose another data folder",
                path.display()
            ),
            other => other.with_context(|| format!("cannot open {}", path.display()))?,
        };
        let tx = db.begin_write()?;
        tx.open_table(OBJECTS)?;
        tx.open_table(LAYOUTS)?;
        tx.open_table(UPLOADS)?;
        tx.open_table(PARTS)?;
        tx.open_table(FACTS)?;
        tx.commit()?;
        Ok(Self(db))
    }

    /// Whether the last run ended in good order; the mark is gone until this one does.
    pub(super) fn take_clean_mark(&self) -> anyhow::Result<bool> {
        let tx = self.0.begin_write()?;
        let was_clean = tx
            .open_table(FACTS)?
            .remove(CLEAN)?
            .is_some_and(|boot| Some(boot.value()) == boot_id().as_deref());
        tx.commit()?;
        Ok(was_clean)
    }

    fn set_clean_mark(&self) -> Step<()> {
        let tx = self.0.begin_write()?;
        if let Some(boot) = boot_id() {
            tx.open_table(FACTS)?.insert(CLEAN, boot.as_slice())?;
        }
        Ok(tx.commit()?)
    }

    /// Drops rows whose bytes are not all there, given the blobs that are and their sizes. Says how many rows
    /// went, and which blobs the others need. Reads everything; only for the start after a crash.
    pub(super) fn drop_torn(&self, there: &HashMap<BlobId, u64>) -> Result<(usize, HashSet<BlobId>)> {
        let drop_torn = || -> Step<_> {
            let tx = self.0.begin_write()?;
            let mut needed = HashSet::new();
            let mut need_whole = |blobs: &[(BlobId, u64)]| {
                let whole = blobs.iter().all(|(blob, size)| there.get(blob) == Some(size));
                if whole {
                    needed.extend(blobs.iter().map(|(blob, _)| *blob));
                }
                whole
            };
            let mut torn_keys = Vec::new();
            let mut torn_parts = Vec::new();
            {
                let (objects, layouts) = (tx.open_table(OBJECTS)?, tx.open_table(LAYOUTS)?);
                for row in objects.iter()? {
                    let (key, row) = row?;
                    let object: Object = decode(row.value())?;
                    let blobs = match (object.content, find_layout(&layouts, &object)?) {
                        (Content::Blob(blob), _) => vec![(blob, object.size)],
                        (Content::Parts(_), parts) => {
                            parts.unwrap_or_default().into_iter().map(|part| (part.blob, part.size)).collect()
                        }
                    };
                    if !need_whole(&blobs) {
                        torn_keys.push(String::from_utf8_lossy(key.value()).into_owned());
                    }
                }
                for row in tx.open_table(PARTS)?.iter()? {
                    let (key, row) = row?;
                    let part: Part = decode(row.value())?;
                    if !need_whole(&[(part.blob, part.size)]) {
                        let (id, number) = key.value();
                        torn_parts.push((id.to_owned(), number));
                    }
                }
            }
            for key in &torn_keys {
                tracing::warn!(key, "dropped an object that the last run could not write to disk whole");
                replace_object(&tx, key, None)?;
            }
            for (id, number) in &torn_parts {
                tx.open_table(PARTS)?.remove((id.as_str(), *number))?;
            }
            tx.commit()?;
            Ok((torn_keys.len() + torn_parts.len(), needed))
        };
        drop_torn().map_err(Error::from)
    }
}

/// `None` where the system does not say; then every start looks for damage.
fn boot_id() -> Option<Vec<u8>> {
    fs::read("/proc/sys/kernel/random/boot_id").ok()
}

type Settle = Box<dyn FnOnce(bool) + Send>;
type Job = Box<dyn FnOnce(&WriteTransaction) -> Result<Settle, redb::Error> + Send>;

/// The running database: readers anywhere, one writer thread.
pub(super) struct Meta {
    db: Arc<Database>,
    jobs: Option<mpsc::Sender<Job>>,
    writer: Option<thread::JoinHandle<()>>,
    blobs: Arc<Blobs>,
}

impl Meta {
    pub(super) fn start(db: Database, blobs: Arc<Blobs>) -> anyhow::Result<Self> {
        let db = Arc::new(db);
        let (jobs, queue) = mpsc::channel();
        let of_writer = Arc::clone(&db);
        let writer = thread::Builder::new().name("dev-store-meta".into()).spawn(move || {
            write_batches(&of_writer, &queue);
            if let Err(stop) = of_writer.set_clean_mark() {
                tracing::warn!(error = %Error::from(stop), "the next start will look for leftover blobs");
            }
        })?;
        Ok(Self { db, jobs: Some(jobs), writer: Some(writer), blobs })
    }

    /// Reads from one consistent state. Blocks; call it within `blocking`.
    pub(super) fn read<T>(&self, read: impl FnOnce(&ReadTransaction) -> Step<T>) -> Result<T> {
        let run = || -> Step<T> {
            let tx = self.db.0.begin_read()?;
            read(&tx)
        };
        run().map_err(Error::from)
    }

    /// Runs `write` and answers when it is on disk.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        write: impl FnOnce(&WriteTransaction) -> Step<(T, Effects)> + Send + 'static,
    ) -> Result<T> {
        let (answer, answered) = oneshot::channel::<Result<T>>();
        let blobs = Arc::clone(&self.blobs);
        // A requester that went away does not wait for its answer; that is no error.
        let reply = move |result: Result<T>| drop(answer.send(result));
        let job: Job = Box::new(move |tx| match write(tx) {
            Ok((value, effects)) => Ok(Box::new(move |committed| {
                if !committed {
                    return reply(Err(Code::InternalError.into()));
                }
                if let Some(blob) = effects.keep {
                    blob.keep();
                }
                blobs.doom(effects.doom);
                reply(Ok(value));
            })),
            Err(Stop::Refused(error)) => Ok(Box::new(move |_| reply(Err(error)))),
            Err(Stop::Broken(error)) => {
                reply(Err(Code::InternalError.into()));
                Err(error)
            }
        });
        let sent = self.jobs.as_ref().is_some_and(|jobs| jobs.send(job).is_ok());
        if !sent {
            return Err(Error::new(Code::InternalError).because("the writer thread has ended"));
        }
        answered.await.unwrap_or_else(|error| Err(Error::new(Code::InternalError).because(error)))
    }
}

impl Drop for Meta {
    fn drop(&mut self) {
        self.jobs = None; // ends the writer's queue
        if let Some(writer) = self.writer.take()
            && writer.join().is_err()
        {
            tracing::error!("the writer thread of the dev store panicked");
        }
    }
}

fn write_batches(db: &Database, queue: &mpsc::Receiver<Job>) {
    while let Ok(first) = queue.recv() {
        let jobs = std::iter::once(first).chain(queue.try_iter().take(MAX_BATCH - 1));
        let mut settled = Vec::new();
        let committed = commit_batch(db, jobs, &mut settled);
        if let Err(Stop::Broken(error)) = &committed {
            tracing::error!(%error, "a metadata write failed");
        }
        for settle in settled {
            settle(committed.is_ok());
        }
    }
}

fn commit_batch(db: &Database, jobs: impl Iterator<Item = Job>, settled: &mut Vec<Settle>) -> Step<()> {
    let tx = db.0.begin_write()?;
    for job in jobs {
        settled.push(job(&tx).map_err(Stop::Broken)?);
    }
    Ok(tx.commit()?)
}
