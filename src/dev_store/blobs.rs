//! Bytes in files. In: pieces of a body. Out: a blob under a random name, deleted again unless it is kept;
//! and response bodies that read blobs in pieces, one piece ahead of the client.
//! A blob never changes once it is kept. Deleting one that a download still needs is put off until that
//! download ends. Names come from the random generator alone, never from a key.

use std::collections::{HashMap, VecDeque};
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use anyhow::Context as _;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use serde::{Deserialize, Serialize};
use tokio::task::JoinHandle;

/// How much one trip to the disk reads. A stalled download holds two of these.
const PIECE: u64 = 256 << 10;

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(super) struct BlobId(u128);

impl BlobId {
    pub(super) fn random() -> io::Result<Self> {
        let mut bytes = [0; 16];
        aws_lc_rs::rand::fill(&mut bytes).map_err(io::Error::other)?;
        Ok(Self(u128::from_be_bytes(bytes)))
    }

    pub(super) fn number(self) -> u128 {
        self.0
    }
}

impl From<BlobId> for String {
    fn from(id: BlobId) -> Self {
        format!("{:032x}", id.0)
    }
}

impl TryFrom<String> for BlobId {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let whole = text.len() == 32 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        let number = u128::from_str_radix(&text, 16).ok().filter(|_| whole);
        number.map(Self).ok_or("a blob id is 32 hex digits")
    }
}

/// Downloads that still need a blob, and whether it is to be deleted after them.
#[derive(Default)]
struct Use {
    readers: usize,
    doomed: bool,
}

pub(super) struct Blobs {
    dir: PathBuf,
    in_use: Mutex<HashMap<BlobId, Use>>,
}

impl Blobs {
    /// Creates the folder and its 256 shelves.
    pub(super) fn open(dir: &Path) -> anyhow::Result<Self> {
        for shelf in 0..=255_u8 {
            let path = dir.join(format!("{shelf:02x}"));
            let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&path);
            made.with_context(|| format!("cannot create {}", path.display()))?;
        }
        Ok(Self { dir: dir.to_owned(), in_use: Mutex::default() })
    }

    pub(super) fn path(&self, id: BlobId) -> PathBuf {
        let name = String::from(id);
        let (start, rest) = name.split_at(2);
        self.dir.join(start).join(rest)
    }

    /// Every blob on disk and its size.
    pub(super) fn sizes(&self) -> io::Result<HashMap<BlobId, u64>> {
        let mut sizes = HashMap::new();
        for folder in fs::read_dir(&self.dir)? {
            let folder = folder?;
            for file in fs::read_dir(folder.path())? {
                let file = file?;
                let names = [folder.file_name(), file.file_name()];
                let name = names.map(|name| name.to_string_lossy().into_owned()).concat();
                // A file whose name is not ours is none of ours.
                if let Ok(id) = BlobId::try_from(name) {
                    sizes.insert(id, file.metadata()?.len());
                }
            }
        }
        Ok(sizes)
    }

    /// Deletes blobs that no row names any more, now or when their last reader is done.
    pub(super) fn doom(&self, ids: Vec<BlobId>) {
        let mut free = Vec::new();
        {
            let mut in_use = self.in_use.lock().unwrap_or_else(PoisonError::into_inner);
            for id in ids {
                match in_use.get_mut(&id) {
                    Some(entry) => entry.doomed = true,
                    None => free.push(id),
                }
            }
        }
        self.remove(free);
    }

    fn remove(&self, ids: Vec<BlobId>) {
        for id in ids {
            if let Err(error) = fs::remove_file(self.path(id)) {
                tracing::warn!(%error, "a blob could not be removed");
            }
        }
    }

    /// Keeps blobs readable until the pin is dropped. Look again after pinning that they are still named.
    pub(super) fn pin(self: &Arc<Self>, ids: Vec<BlobId>) -> Pinned {
        let mut in_use = self.in_use.lock().unwrap_or_else(PoisonError::into_inner);
        for id in &ids {
            in_use.entry(*id).or_default().readers += 1;
        }
        drop(in_use);
        Pinned { blobs: Arc::clone(self), ids }
    }

    pub(super) fn create(self: &Arc<Self>) -> io::Result<NewBlob> {
        let id = BlobId::random()?;
        let file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(self.path(id))?;
        Ok(NewBlob { id, file, blobs: Arc::clone(self), kept: false })
    }
}

pub(super) struct Pinned {
    blobs: Arc<Blobs>,
    ids: Vec<BlobId>,
}

impl Drop for Pinned {
    fn drop(&mut self) {
        let mut doomed = Vec::new();
        {
            let mut in_use = self.blobs.in_use.lock().unwrap_or_else(PoisonError::into_inner);
            for id in &self.ids {
                if let Some(entry) = in_use.get_mut(id) {
                    entry.readers -= 1;
                    if entry.readers == 0 {
                        doomed.extend(entry.doomed.then_some(*id));
                        in_use.remove(id);
                    }
                }
            }
        }
        self.blobs.remove(doomed);
    }
}

/// A blob that no row names yet: gone when dropped, unless kept. It is written, but not synced: a sync for every
/// blob would cost more than all else, so only rows are synced, and the start after a crash drops those whose
/// bytes did not reach the disk (`Database::drop_torn`).
pub(super) struct NewBlob {
    pub(super) id: BlobId,
    file: File,
    blobs: Arc<Blobs>,
    kept: bool,
}

impl NewBlob {
    pub(super) fn write(&mut self, piece: &[u8]) -> io::Result<()> {
        self.file.write_all(piece)
    }

    pub(super) fn file(&self) -> &File {
        &self.file
    }

    pub(super) fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for NewBlob {
    fn drop(&mut self) {
        if !self.kept {
            self.blobs.remove(vec![self.id]);
        }
    }
}

/// A stretch of one blob.
#[derive(Clone, Copy)]
pub(super) struct Segment {
    pub(super) blob: BlobId,
    pub(super) start: u64,
    pub(super) len: u64,
}

/// Reads segments one after the other. Blocks.
pub(super) struct Reader {
    blobs: Arc<Blobs>,
    segments: VecDeque<Segment>,
    open: Option<File>,
    /// Held, not read: keeps the segments' blobs from being deleted.
    _pinned: Option<Pinned>,
}

impl Reader {
    pub(super) fn new(blobs: Arc<Blobs>, segments: VecDeque<Segment>, pinned: Option<Pinned>) -> Self {
        Self { blobs, segments, open: None, _pinned: pinned }
    }

    /// The next bytes; empty at the end. A first call opens the first file, which then stays readable.
    pub(super) fn next_piece(&mut self) -> io::Result<Bytes> {
        while let Some(segment) = self.segments.front_mut() {
            if segment.len == 0 {
                self.segments.pop_front();
                self.open = None;
                continue;
            }
            let file = match &mut self.open {
                Some(file) => file,
                closed @ None => {
                    let mut file = File::open(self.blobs.path(segment.blob))?;
                    if segment.start > 0 {
                        file.seek(SeekFrom::Start(segment.start))?;
                    }
                    closed.insert(file)
                }
            };
            let wanted = segment.len.min(PIECE);
            let mut piece = Vec::with_capacity(usize::try_from(wanted).map_err(io::Error::other)?);
            let got = u64::try_from(file.take(wanted).read_to_end(&mut piece)?).map_err(io::Error::other)?;
            if got < wanted {
                return Err(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    "a blob is shorter than its row says",
                ));
            }
            segment.len -= got;
            return Ok(piece.into());
        }
        Ok(Bytes::new())
    }
}

enum Ahead {
    /// The reader rests; this piece is ready.
    Ready(Bytes),
    /// The next piece is being read.
    Reading(JoinHandle<io::Result<(Reader, Bytes)>>),
    Done,
}

/// A response body: exactly `left` bytes, read one piece ahead.
pub(super) struct BlobBody {
    left: u64,
    reader: Option<Reader>,
    ahead: Ahead,
}

impl BlobBody {
    /// `first` is what the reader gave already.
    pub(super) fn new(len: u64, first: Bytes, reader: Reader) -> Self {
        Self { left: len, reader: Some(reader), ahead: Ahead::Ready(first) }
    }
}

impl Body for BlobBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let piece = match std::mem::replace(&mut self.ahead, Ahead::Done) {
            Ahead::Done => return Poll::Ready(None),
            Ahead::Ready(piece) => piece,
            Ahead::Reading(mut reading) => match Pin::new(&mut reading).poll(cx) {
                Poll::Pending => {
                    self.ahead = Ahead::Reading(reading);
                    return Poll::Pending;
                }
                Poll::Ready(read) => {
                    let (reader, piece) = read.map_err(io::Error::other)??;
                    self.reader = Some(reader);
                    piece
                }
            },
        };
        if piece.is_empty() {
            return Poll::Ready(None);
        }
        self.left = self.left.saturating_sub(u64::try_from(piece.len()).map_err(io::Error::other)?);
        if self.left > 0
            && let Some(mut reader) = self.reader.take()
        {
            self.ahead = Ahead::Reading(tokio::task::spawn_blocking(move || {
                let piece = reader.next_piece()?;
                Ok((reader, piece))
            }));
        }
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
