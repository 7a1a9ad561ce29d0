//! As much HTTP/1.1 as the origin and the load need: heads are found, two of their lines are read.

use std::io;

use memchr::{memchr, memmem};
use tokio::io::{AsyncRead, AsyncReadExt as _};

/// Longer than any head here.
const MAX_HEAD: usize = 16 * 1024;

/// Bytes that were read and not yet used.
pub(crate) struct Buffer {
    bytes: Box<[u8]>,
    filled: usize,
}

impl Buffer {
    pub(crate) fn new(size: usize) -> Self {
        Self { bytes: vec![0; size.max(MAX_HEAD)].into(), filled: 0 }
    }

    /// Reads until a head is whole; gives its length. `None`: the peer closed between heads.
    pub(crate) async fn head<S: AsyncRead + Unpin>(&mut self, stream: &mut S) -> io::Result<Option<usize>> {
        loop {
            if let Some(at) = memmem::find(&self.bytes[..self.filled], b"\r\n\r\n") {
                return Ok(Some(at + 4));
            }
            if self.filled >= MAX_HEAD {
                return Err(bad("an endless head"));
            }
            match stream.read(&mut self.bytes[self.filled..]).await? {
                0 if self.filled == 0 => return Ok(None),
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                read => self.filled += read,
            }
        }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.filled]
    }

    /// Reads and forgets a body of `length` bytes behind a head of `head` bytes, and the head.
    pub(crate) async fn skip<S: AsyncRead + Unpin>(
        &mut self,
        stream: &mut S,
        head: usize,
        length: u64,
    ) -> io::Result<()> {
        let at_hand = (self.filled - head).min(usize::try_from(length).unwrap_or(usize::MAX));
        self.bytes.copy_within(head + at_hand..self.filled, 0);
        self.filled -= head + at_hand;
        let mut left = length - at_hand as u64;
        while left > 0 {
            let room = usize::try_from(left).unwrap_or(usize::MAX).min(self.bytes.len());
            match stream.read(&mut self.bytes[..room]).await? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                read => left -= read as u64,
            }
        }
        Ok(())
    }
}

/// A header's value; `name` is lower-case and ends in a colon.
pub(crate) fn header<'h>(head: &'h [u8], name: &str) -> Option<&'h str> {
    let mut rest = head;
    while let Some(end) = memchr(b'\n', rest) {
        let line = rest[..end].trim_ascii();
        if line.len() > name.len() && line[..name.len()].eq_ignore_ascii_case(name.as_bytes()) {
            return std::str::from_utf8(line[name.len()..].trim_ascii()).ok();
        }
        rest = &rest[end + 1..];
    }
    None
}

pub(crate) fn content_length(head: &[u8]) -> u64 {
    header(head, "content-length:").and_then(|length| length.parse().ok()).unwrap_or(0)
}

pub(crate) fn bad(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}
