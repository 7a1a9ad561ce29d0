//! aws-chunked, where it is switched on: the payload out of its chunks, every signature and the trailer checked.
//! Follows "Signature Calculations for the Authorization Header: Transferring Payload in Multiple Chunks" and Oracle's
//! release note of July 2026.

use http::HeaderMap;

use super::payload::check_digest;
use super::refusal::Refusal;
use super::sigv4::Chain;
use super::text::{hex, sha256};

/// With a chain where chunks are signed.
pub(super) fn decode(
    headers: &HeaderMap,
    mut chain: Option<Chain>,
    has_trailer: bool,
    body: &[u8],
) -> Result<Vec<u8>, Refusal> {
    let mut rest = Rest(body);
    let mut bytes = Vec::with_capacity(body.len());
    loop {
        let line = rest.line()?;
        let (size, extension) = line.split_once(';').unwrap_or((line, ""));
        let is_hex = size.bytes().all(|byte| byte.is_ascii_hexdigit());
        let size = usize::from_str_radix(size, 16).ok().filter(|_| is_hex);
        let size = size.ok_or_else(|| incomplete("a chunk without a size"))?;
        let data = rest.take(size)?;
        if let Some(chain) = &mut chain {
            let claimed = extension.strip_prefix("chunk-signature=").unwrap_or_default();
            let hashes = format!("{}\n{}", hex(sha256(b"")), hex(sha256(data)));
            verify(chain, "AWS4-HMAC-SHA256-PAYLOAD", &hashes, claimed)?;
        } else if !extension.is_empty() {
            return Err(incomplete("a chunk with an extension"));
        }
        if size == 0 {
            break;
        }
        bytes.extend_from_slice(data);
        if !rest.line()?.is_empty() {
            return Err(incomplete("a chunk that is longer than it says"));
        }
    }
    let mut trailers = Vec::new();
    let mut line = rest.line()?;
    while !line.is_empty() {
        trailers.push(line.split_once(':').ok_or_else(|| malformed("a trailer without a value"))?);
        line = rest.line()?;
    }
    if !rest.0.is_empty() {
        return Err(incomplete("bytes after the end"));
    }
    let length = headers.get("x-amz-decoded-content-length").and_then(|value| value.to_str().ok());
    if length.and_then(|text| text.parse().ok()) != Some(bytes.len()) {
        return Err(incomplete("another length than x-amz-decoded-content-length"));
    }
    check_trailers(headers, chain, has_trailer, &trailers, &bytes)?;
    Ok(bytes)
}

fn check_trailers(
    headers: &HeaderMap,
    mut chain: Option<Chain>,
    has_trailer: bool,
    trailers: &[(&str, &str)],
    bytes: &[u8],
) -> Result<(), Refusal> {
    const SIGNATURE: &str = "x-amz-trailer-signature";
    let announced = headers.get("x-amz-trailer").and_then(|value| value.to_str().ok());
    let sums: Vec<_> = trailers.iter().filter(|(name, _)| *name != SIGNATURE).collect();
    let names: Vec<&str> = sums.iter().map(|(name, _)| *name).collect();
    if (!has_trailer && !trailers.is_empty()) || announced.into_iter().collect::<Vec<_>>() != names {
        return Err(malformed("other trailers than x-amz-trailer announces"));
    }
    if let (Some(chain), true) = (&mut chain, has_trailer) {
        let claimed = trailers.last().filter(|(name, _)| *name == SIGNATURE).map_or("", |(_, value)| *value);
        let lines: String = sums.iter().flat_map(|(name, value)| [*name, ":", *value, "\n"]).collect();
        verify(chain, "AWS4-HMAC-SHA256-TRAILER", &hex(sha256(lines.as_bytes())), claimed)?;
    } else if sums.len() != trailers.len() {
        return Err(malformed("a trailer signature where nothing is signed"));
    }
    sums.into_iter().try_for_each(|(name, value)| check_digest(name, value, bytes))
}

/// One link of the chain of signatures.
fn verify(chain: &mut Chain, kind: &str, hashes: &str, claimed: &str) -> Result<(), Refusal> {
    let text = format!("{kind}\n{}\n{}\n{}\n{hashes}", chain.stamp, chain.scope, chain.signature);
    let signature = chain.sign(&text);
    if signature != claimed {
        let text = "The chunk signature we calculated does not match the one you provided.";
        return Err(Refusal::new(403, "SignatureDoesNotMatch", text));
    }
    chain.signature = signature;
    Ok(())
}

fn incomplete(what: &str) -> Refusal {
    Refusal::new(400, "IncompleteBody", format!("The request body is not what its head announces: {what}."))
}

fn malformed(what: &str) -> Refusal {
    Refusal::new(400, "MalformedTrailerError", format!("The request contained {what}."))
}

/// What of the body is not read yet.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn line(&mut self) -> Result<&'a str, Refusal> {
        let end = memchr::memmem::find(self.0, b"\r\n").ok_or_else(|| incomplete("a line without an end"))?;
        let line = std::str::from_utf8(self.take(end)?).map_err(|_| incomplete("a line of other bytes"))?;
        self.take(2).map(|_| line)
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Refusal> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or_else(|| incomplete("an early end"))?;
        self.0 = rest;
        Ok(taken)
    }
}
