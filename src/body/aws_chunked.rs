//! `aws-chunked`: payload cut into chunks inside the HTTP body, each chunk signed or not, a checksum trailer
//! behind the last one or not. Takes pieces cut anywhere, gives slices of them; copies nothing but chunk
//! headers and trailers, which are short.
//!
//! Strict, because two readings of one framing are a hole: exact CRLF, hex size, exact signature field, nothing
//! after the end. Bytes of a signed chunk may leave before its signature is checked, but never its last ones.
//! At most one trailer is known beside its signature, so a flood of them ends at the first stranger.
//! Follows <https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming.html>.

use bytes::{Buf, Bytes};
use sha2::{Digest, Sha256};

use super::checksum::Algorithm;
use super::count;
use crate::error::{Code, Error, Result};
use crate::sigv4::chunk::{ChunkSigner, Signature};

const MAX_CHUNK_HEADER: usize = 1024;
const MAX_TRAILER_LINE: usize = 8 * 1024;
const TRAILER_SIGNATURE: &str = "x-amz-trailer-signature";

/// Decodes one body. After an error it is of no more use.
pub struct Decoder {
    chain: Option<Chain>,
    /// A trailer block with its own signature follows the last chunk.
    signed_trailer: bool,
    announced: Option<Algorithm>,
    state: State,
    line: Vec<u8>,
    /// Payload bytes still to come, by `x-amz-decoded-content-length`.
    due: u64,
    trailer: Option<String>,
}

struct Chain {
    signer: ChunkSigner,
    hash: Sha256,
    claimed: Signature,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Header,
    Data {
        left: u64,
    },
    DataEnd,
    Trailer,
    /// The trailer signature came: only the final CRLF may follow.
    TrailerSigned,
    End,
}

impl Decoder {
    /// `STREAMING-AWS4-HMAC-SHA256-PAYLOAD`
    pub fn signed(signer: ChunkSigner, length: u64) -> Self {
        let chain = Chain { signer, hash: Sha256::new(), claimed: [0; 64] };
        Self { chain: Some(chain), ..Self::unsigned(None, length) }
    }

    /// `STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER`
    pub fn signed_with_trailer(signer: ChunkSigner, announced: Option<Algorithm>, length: u64) -> Self {
        Self { announced, signed_trailer: true, ..Self::signed(signer, length) }
    }

    /// `STREAMING-UNSIGNED-PAYLOAD-TRAILER`
    pub fn unsigned(announced: Option<Algorithm>, length: u64) -> Self {
        Self {
            chain: None,
            signed_trailer: false,
            announced,
            state: State::Header,
            line: Vec::new(),
            due: length,
            trailer: None,
        }
    }

    /// Takes from `input` up to the next slice of payload. `None`: `input` is used up.
    pub fn decode(&mut self, input: &mut Bytes) -> Result<Option<Bytes>> {
        while !input.is_empty() {
            match self.state {
                State::Header => {
                    if self.take_line(input, MAX_CHUNK_HEADER, Code::IncompleteBody)? {
                        self.chunk_header()?;
                        self.line.clear();
                    }
                }
                State::Data { left } => return self.data(left, input).map(Some),
                State::DataEnd => {
                    if self.take_line(input, 2, Code::IncompleteBody)? {
                        if self.line != b"\r\n" {
                            return Err(framing("no CRLF after a chunk"));
                        }
                        self.state = State::Header;
                        self.line.clear();
                    }
                }
                State::Trailer | State::TrailerSigned => {
                    // minio-go ends a trailer with LF CRLF: a bare LF ends no line.
                    if self.take_line(input, MAX_TRAILER_LINE, Code::MalformedTrailerError)?
                        && self.line.ends_with(b"\r\n")
                    {
                        let line = std::mem::take(&mut self.line);
                        self.trailer_line(&line)?;
                    }
                }
                State::End => return Err(framing("bytes after the end")),
            }
        }
        Ok(None)
    }

    /// The body has ended: was it whole? Gives the value of the announced trailer.
    pub fn finish(&mut self) -> Result<Option<String>> {
        match self.state {
            State::End => Ok(self.trailer.take()),
            State::Header | State::Data { .. } | State::DataEnd | State::Trailer | State::TrailerSigned => {
                Err(framing("the body ended before its final CRLF"))
            }
        }
    }

    /// Moves bytes into `line` up to and with the next LF; true once it is there.
    fn take_line(&mut self, input: &mut Bytes, limit: usize, too_long: Code) -> Result<bool> {
        let room = limit - self.line.len();
        let window = &input[..input.len().min(room)];
        let (taken, whole) = match memchr::memchr(b'\n', window) {
            Some(at) => (at + 1, true),
            None => (window.len(), false),
        };
        self.line.extend_from_slice(&window[..taken]);
        input.advance(taken);
        if self.line.len() == limit && !self.line.ends_with(b"\r\n") {
            return Err(Error::new(too_long).because("an endless line in aws-chunked framing"));
        }
        Ok(whole)
    }

    fn chunk_header(&mut self) -> Result<()> {
        let line = self.line.strip_suffix(b"\r\n").ok_or_else(|| framing("bare LF in a chunk header"))?;
        let size = match &mut self.chain {
            None => line,
            Some(chain) => {
                let at = memchr::memchr(b';', line).ok_or_else(|| framing("no chunk signature"))?;
                let claimed = line[at..].strip_prefix(b";chunk-signature=").and_then(signature);
                chain.claimed = claimed.ok_or_else(|| framing("malformed chunk signature"))?;
                &line[..at]
            }
        };
        let size = hex_size(size).ok_or_else(|| framing("malformed chunk size"))?;
        self.due = self.due.checked_sub(size).ok_or_else(|| framing("more payload than was declared"))?;
        if size > 0 {
            self.state = State::Data { left: size };
            return Ok(());
        }
        if self.due > 0 {
            return Err(framing("less payload than was declared"));
        }
        self.verify_chunk()?;
        self.state = State::Trailer;
        Ok(())
    }

    fn data(&mut self, left: u64, input: &mut Bytes) -> Result<Bytes> {
        let taken = usize::try_from(left).unwrap_or(usize::MAX).min(input.len());
        let slice = input.split_to(taken);
        if let Some(chain) = &mut self.chain {
            chain.hash.update(&slice);
        }
        let left = left - count(&slice);
        if left == 0 {
            self.verify_chunk()?;
            self.state = State::DataEnd;
        } else {
            self.state = State::Data { left };
        }
        Ok(slice)
    }

    fn verify_chunk(&mut self) -> Result<()> {
        let Some(chain) = &mut self.chain else {
            return Ok(());
        };
        let hash = chain.hash.finalize_reset().into();
        if chain.signer.verify_chunk(&hash, &chain.claimed) {
            Ok(())
        } else {
            Err(Error::new(Code::SignatureDoesNotMatch).because("chunk signature"))
        }
    }

    fn trailer_line(&mut self, line: &[u8]) -> Result<()> {
        let line = line.strip_suffix(b"\r\n").unwrap_or(line);
        if line.is_empty() {
            return self.trailers_end();
        }
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let (name, value) = std::str::from_utf8(line)
            .ok()
            .and_then(|line| line.split_once(':'))
            .filter(|(_, value)| !value.contains(char::is_control))
            .ok_or_else(|| trailer("malformed trailer"))?;
        let value = value.trim();
        let is_checksum =
            self.announced.is_some_and(|algorithm| algorithm.header().as_str().eq_ignore_ascii_case(name));
        if self.state == State::TrailerSigned {
            Err(trailer("a trailer after the trailer signature"))
        } else if is_checksum && self.trailer.is_none() {
            self.trailer = Some(value.to_owned());
            Ok(())
        } else if self.signed_trailer && name.eq_ignore_ascii_case(TRAILER_SIGNATURE) {
            self.verify_trailer(value)
        } else {
            Err(trailer("a trailer that was not announced, or twice"))
        }
    }

    fn verify_trailer(&mut self, claimed: &str) -> Result<()> {
        let claimed = signature(claimed.as_bytes()).ok_or_else(|| trailer("malformed trailer signature"))?;
        let mut hash = Sha256::new();
        if let (Some(algorithm), Some(value)) = (self.announced, &self.trailer) {
            hash.update(format!("{}:{value}\n", algorithm.header()));
        }
        let verified = self
            .chain
            .as_mut()
            .is_some_and(|chain| chain.signer.verify_trailer(&hash.finalize().into(), &claimed));
        self.state = State::TrailerSigned;
        if verified {
            Ok(())
        } else {
            Err(Error::new(Code::SignatureDoesNotMatch).because("trailer signature"))
        }
    }

    fn trailers_end(&mut self) -> Result<()> {
        if self.announced.is_some() && self.trailer.is_none() {
            return Err(trailer("the announced trailer did not come"));
        }
        if self.signed_trailer && self.trailer.is_some() && self.state != State::TrailerSigned {
            return Err(trailer("the trailer signature did not come"));
        }
        self.state = State::End;
        Ok(())
    }
}

/// 1 to 16 hex digits.
fn hex_size(text: &[u8]) -> Option<u64> {
    if !(1..=16).contains(&text.len()) {
        return None;
    }
    text.iter().try_fold(0, |size: u64, &digit| {
        char::from(digit).to_digit(16).map(|digit| size << 4 | u64::from(digit))
    })
}

fn signature(text: &[u8]) -> Option<Signature> {
    text.try_into().ok().filter(|text: &Signature| text.iter().all(u8::is_ascii_hexdigit))
}

fn framing(why: &'static str) -> Error {
    Error::new(Code::IncompleteBody).because(why)
}

fn trailer(why: &'static str) -> Error {
    Error::new(Code::MalformedTrailerError).because(why)
}

#[cfg(test)]
mod tests;
