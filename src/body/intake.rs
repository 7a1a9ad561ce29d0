//! A client's body made payload: framing undone, bytes counted against the declared length, every promise
//! summed up. Pure: pieces in, payload slices out, a verdict at the end.

use bytes::Bytes;

use super::aws_chunked::Decoder;
use super::checksum::{Checks, Verified};
use super::count;
use crate::error::{Code, Error, Result};

pub(super) struct Intake {
    framing: Framing,
    checks: Checks,
}

pub(super) enum Framing {
    /// The body is the payload. `None`: of a length that only its end tells.
    Plain {
        due: Option<u64>,
    },
    AwsChunked(Box<Decoder>),
}

impl Intake {
    pub(super) fn new(framing: Framing, checks: Checks) -> Self {
        Self { framing, checks }
    }

    /// Takes the next slice of payload from `input`. `None`: `input` is used up.
    pub(super) fn next(&mut self, input: &mut Bytes) -> Result<Option<Bytes>> {
        let slice = match &mut self.framing {
            Framing::AwsChunked(decoder) => decoder.decode(input)?,
            Framing::Plain { due } => {
                if let Some(due) = due {
                    *due = due
                        .checked_sub(count(input))
                        .ok_or_else(|| incomplete("more bytes than declared"))?;
                }
                Some(std::mem::take(input)).filter(|slice| !slice.is_empty())
            }
        };
        if let Some(slice) = &slice {
            self.checks.update(slice);
        }
        Ok(slice)
    }

    /// The body has ended: is it whole, and is it what was promised?
    pub(super) fn finish(&mut self) -> Result<Option<Verified>> {
        let trailer = match &mut self.framing {
            Framing::AwsChunked(decoder) => decoder.finish()?,
            Framing::Plain { due: Some(1..) } => return Err(incomplete("fewer bytes than declared")),
            Framing::Plain { due: Some(0) | None } => None,
        };
        std::mem::take(&mut self.checks).finish(trailer.as_deref())
    }
}

fn incomplete(why: &'static str) -> Error {
    Error::new(Code::IncompleteBody).because(why)
}
