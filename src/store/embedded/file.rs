//! The state file: made once, whole or not at all, readable for its owner alone, and held by one process. In: a
//! path. Out: an open database that is known to be Bucketwarden's. A file that is torn, empty, or somebody
//! else's is an error: state is never begun anew where some was.
//!
//! Commits are made in two phases and record what is free in the file: a crash leaves nothing to repair, and a
//! damaged page is never taken for a commit cut short. A start verifies every page all the same (20 ms for 100,000
//! objects), because redb trusts what it reads later; opening again after the disk failed does not.

use std::fs::{self, File, OpenOptions, Permissions, TryLockError};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use redb::backends::FileBackend;
use redb::{Database, DatabaseError, ReadableDatabase as _, TableError, WriteTransaction};

use super::tables::{FACTS, Tables};

/// Memory that redb may keep pages in.
const CACHE_BYTES: usize = 16 << 20;
const OWNER_ONLY: u32 = 0o600;
const FORMAT: &str = "format";
/// Changes when rows are written in a way that this release cannot read, or the other way round.
const THIS_FORMAT: &[u8] = b"bucketwarden-state 1";

/// Opens the state file, and makes it if there is none.
pub(super) fn open_or_create(path: &Path) -> anyhow::Result<Database> {
    let folder = match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    if !folder.is_dir() {
        bail!("cannot keep state in {}: there is no folder {}", path.display(), folder.display());
    }
    if !path.try_exists().with_context(|| format!("cannot look at {}", path.display()))?
        && let Some(made) = create(path, folder)?
    {
        return Ok(made);
    }
    let db = open(path, true)?;
    add_tables(&db).with_context(|| format!("{} cannot be written", path.display()))?;
    Ok(db)
}

/// Opens the state file again that this process had open before.
pub(super) fn open_again(path: &Path) -> anyhow::Result<Database> {
    open(path, false)
}

fn open(path: &Path, verify: bool) -> anyhow::Result<Database> {
    let name = path.display();
    let mode = fs::metadata(path).with_context(|| format!("cannot open {name}"))?.permissions().mode();
    if mode & 0o777 != OWNER_ONLY {
        fs::set_permissions(path, Permissions::from_mode(OWNER_ONLY))
            .with_context(|| format!("cannot make {name} readable for its owner alone"))?;
    }
    // What was torn past recognition may trip an assertion of redb's.
    let opened = catch_unwind(|| {
        redb::Builder::new().set_cache_size(CACHE_BYTES).set_check_integrity_on_open(verify).open(path)
    });
    let db = match opened {
        Ok(Err(DatabaseError::DatabaseAlreadyOpen)) => return Err(held(path)),
        Ok(other) => other.with_context(|| format!("{name} is torn, or no state file"))?,
        Err(_) => bail!("{name} is torn"),
    };
    match format_of(&db).with_context(|| format!("{name} is torn"))? {
        None => bail!("{name} is a database, but not Bucketwarden's state"),
        Some(format) if format == THIS_FORMAT => Ok(db),
        Some(format) => bail!(
            "{name} was written by another release: it is `{}`, and this one knows `{}`",
            String::from_utf8_lossy(&format),
            String::from_utf8_lossy(THIS_FORMAT)
        ),
    }
}

/// Tables that the release which made the file did not know: reads expect all of them.
fn add_tables(db: &Database) -> anyhow::Result<()> {
    let tx = begin_write(db)?;
    Tables::open(&tx)?;
    Ok(tx.commit()?)
}

pub(super) fn begin_write(db: &Database) -> Result<WriteTransaction, redb::TransactionError> {
    let mut tx = db.begin_write()?;
    tx.set_quick_repair(true);
    Ok(tx)
}

/// Makes the file under another name, so that a crash leaves either none or a whole one. `None` if another
/// process was quicker.
fn create(path: &Path, folder: &Path) -> anyhow::Result<Option<Database>> {
    let mut unfinished = path.as_os_str().to_owned();
    unfinished.push(".unfinished");
    let unfinished = PathBuf::from(unfinished);
    let name = unfinished.display();
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(OWNER_ONLY)
        .open(&unfinished)
        .with_context(|| format!("cannot create {name}"))?;
    // Whoever holds this lock, and finds no state file then, is the one to make it.
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(held(path)),
        Err(TryLockError::Error(error)) => bail!("cannot lock {name}: {error}"),
    }
    if path.try_exists()? {
        return Ok(None);
    }
    // An earlier start may have come this far.
    file.set_len(0)?;
    let db = redb::Builder::new()
        .set_cache_size(CACHE_BYTES)
        .create_with_backend(FileBackend::new(file)?)
        .with_context(|| format!("cannot create {name}"))?;
    let tx = begin_write(&db)?;
    Tables::open(&tx)?;
    tx.open_table(FACTS)?.insert(FORMAT, THIS_FORMAT)?;
    tx.commit().with_context(|| format!("cannot write {name}"))?;
    fs::rename(&unfinished, path).with_context(|| format!("cannot create {}", path.display()))?;
    File::open(folder)?.sync_all()?;
    Ok(Some(db))
}

fn format_of(db: &Database) -> anyhow::Result<Option<Vec<u8>>> {
    let facts = match db.begin_read()?.open_table(FACTS) {
        Err(TableError::Storage(error)) => return Err(error.into()),
        // None of that name, or one of another shape.
        Err(_) => return Ok(None),
        Ok(facts) => facts,
    };
    Ok(facts.get(FORMAT)?.map(|format| format.value().to_vec()))
}

fn held(path: &Path) -> anyhow::Error {
    anyhow::anyhow!(
        "another process holds {}: one gateway at a time can use a state file; several share a Redis",
        path.display()
    )
}
