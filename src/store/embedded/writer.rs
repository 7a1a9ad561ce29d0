//! The one thread that writes. In: requests from any task. Out: each one's result, once it is on disk. Whatever waits
//! while a commit is under way shares the next one, and so one flush of the disk. If the storage fails, the
//! whole batch is undone, everyone in it is told so, and the file is opened anew: redb trusts nothing that it
//! has in memory then. The store counts as lost until a commit succeeds again.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use redb::{Database, ReadTransaction, ReadableDatabase as _};
use tokio::sync::{mpsc, oneshot};

use super::file;
use super::tables::{Stop, Tables};
use crate::metrics::Metrics;
use crate::store::{Result, Unavailable};

/// Requests that share a commit at most; bounds how long the first of them waits for the others: 10 ms or so. With
/// 512 callers 512 did better than 256 and 128, both in steps a second and in the slowest of them.
const MAX_BATCH: usize = 512;
/// Requests that wait for the next one; more wait to be let in.
const MAX_WAITING: usize = 1024;
/// How long anyone waits for a disk that does not answer. What was asked may still be done then.
const PATIENCE: Duration = Duration::from_secs(5);

/// Adds its answer even if it fails.
type Job = Box<dyn FnOnce(&mut Tables<'_>, &mut Vec<Answer>) -> Result<(), redb::Error> + Send>;
/// Tells the one who asked; dropped untold, it says that the store is lost.
type Answer = Box<dyn FnOnce() + Send>;
/// Opens the file that is there.
pub(super) type Reopen = Box<dyn Fn() -> anyhow::Result<Database> + Send + Sync>;

/// The open file. Readers go past the writer; `None` while it could not be opened again.
pub(super) struct Shared {
    db: RwLock<Option<Database>>,
    reopen: Reopen,
    is_up: AtomicBool,
    metrics: Arc<Metrics>,
}

pub(super) struct Writer {
    shared: Arc<Shared>,
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Writer {
    pub(super) fn start(db: Database, reopen: Reopen, metrics: Arc<Metrics>) -> anyhow::Result<Self> {
        metrics.state_available.set(1);
        let shared =
            Arc::new(Shared { db: RwLock::new(Some(db)), reopen, is_up: AtomicBool::new(true), metrics });
        let (jobs, mut queue) = mpsc::channel(MAX_WAITING);
        let of_thread = Arc::clone(&shared);
        let thread = thread::Builder::new()
            .name("state".into())
            .spawn(move || of_thread.write_batches(&mut queue))
            .context("cannot start the thread that writes the state")?;
        Ok(Self { shared, jobs: Some(jobs), thread: Some(thread) })
    }

    pub(super) fn is_up(&self) -> bool {
        self.shared.is_up.load(Ordering::Relaxed)
    }

    /// Answers when what `work` did is on disk. It is done even if nobody waits any more.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Tables<'_>) -> Result<T, Stop> + Send + 'static,
    ) -> Result<T> {
        let (answer, answered) = oneshot::channel();
        let job: Job = Box::new(move |tables, answers| {
            let (value, failure) = match work(tables) {
                Ok(value) => (Some(value), None),
                Err(Stop::Row(error)) => {
                    unusable(&error);
                    (None, None)
                }
                Err(Stop::Storage(error)) => (None, Some(error)),
            };
            answers.push(Box::new(move || {
                if let Some(value) = value {
                    // Whoever went away does not wait for the answer; that is no error.
                    drop(answer.send(value));
                }
            }));
            failure.map_or(Ok(()), Err)
        });
        let ask = async {
            self.jobs.as_ref().ok_or(Unavailable)?.send(job).await.map_err(|_| Unavailable)?;
            answered.await.map_err(|_| Unavailable)
        };
        tokio::time::timeout(PATIENCE, ask).await.map_err(|_| Unavailable)?
    }

    /// Reads from one consistent state, which is at least as new as any answer given. On a thread that may wait
    /// for the disk.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&ReadTransaction) -> Result<T, Stop> + Send + 'static,
    ) -> Result<T> {
        let shared = Arc::clone(&self.shared);
        let read = tokio::task::spawn_blocking(move || {
            let db = shared.db();
            let tx = db.as_ref().ok_or(redb::Error::DatabaseClosed).map_err(Stop::Storage)?.begin_read()?;
            work(&tx)
        });
        match read.await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(Stop::Row(error))) => Err(unusable(&error)),
            Ok(Err(Stop::Storage(error))) => {
                self.shared.set_up(Some(&error));
                // redb reads nothing any more, until a commit has failed too and the file was opened again.
                self.write(|_| Ok(())).await.and(Err(Unavailable))
            }
            Err(_) => Err(Unavailable),
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.jobs = None; // ends the queue, once it is empty
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that writes the state panicked");
        }
    }
}

impl Shared {
    fn db(&self) -> RwLockReadGuard<'_, Option<Database>> {
        self.db.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_batches(&self, queue: &mut mpsc::Receiver<Job>) {
        while let Some(first) = queue.blocking_recv() {
            if self.db().is_none() {
                self.open_again();
            }
            let jobs = std::iter::once(first)
                .chain(std::iter::from_fn(|| queue.try_recv().ok()).take(MAX_BATCH - 1));
            let mut answers = Vec::new();
            // A file that rots under redb's hands may trip one of its assertions.
            let committed = catch_unwind(AssertUnwindSafe(|| self.commit(jobs, &mut answers)));
            match committed.unwrap_or_else(|_| Err(redb::Error::Corrupted("it makes redb panic".to_owned())))
            {
                Ok(()) => {
                    self.set_up(None);
                    for answer in answers {
                        answer();
                    }
                }
                Err(error) => {
                    self.set_up(Some(&error));
                    self.open_again();
                    // Only now, untold: whoever hears that the store is lost finds it so.
                    drop(answers);
                }
            }
        }
    }

    fn commit(&self, jobs: impl Iterator<Item = Job>, answers: &mut Vec<Answer>) -> Result<(), redb::Error> {
        let db = self.db();
        let tx = file::begin_write(db.as_ref().ok_or(redb::Error::DatabaseClosed)?)?;
        {
            let mut tables = Tables::open(&tx)?;
            for job in jobs {
                job(&mut tables, answers)?;
            }
        }
        tx.commit()?;
        self.metrics.state_commits.inc();
        Ok(())
    }

    /// Closes what failed, and opens the file as the last commit left it.
    fn open_again(&self) {
        let mut db = self.db.write().unwrap_or_else(PoisonError::into_inner);
        let opened = catch_unwind(AssertUnwindSafe(|| {
            *db = None; // lets go of the file's lock
            (self.reopen)()
        }));
        match opened {
            Ok(Ok(opened)) => *db = Some(opened),
            Ok(Err(error)) => tracing::debug!(%error, "the state file cannot be opened again"),
            Err(_) => tracing::debug!("the state file cannot be opened again: it makes redb panic"),
        }
    }

    /// One line and one gauge when the store is lost, and when it is back.
    fn set_up(&self, error: Option<&redb::Error>) {
        let was_up = self.is_up.swap(error.is_none(), Ordering::Relaxed);
        self.metrics.state_available.set(i64::from(error.is_none()));
        match error {
            Some(error) if was_up => tracing::error!(%error, "the state file is lost: writes are refused"),
            None if !was_up => tracing::info!("the state file is back"),
            Some(_) | None => {}
        }
    }
}

fn unusable(error: &str) -> Unavailable {
    tracing::error!(error, "a row of the state cannot be used");
    Unavailable
}
