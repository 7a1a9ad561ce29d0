//! An upstream's document, read whole: an XML answer, or the error that explains a refusal. Both are bounded in bytes,
//! and in how long they may pause.

use std::time::Duration;

use http::Response;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;

use crate::error::{Code, Error, Result};

/// A page of 1,000 keys of 1,024 bytes, each percent-encoded, is 3 MiB; with every other element, below this.
const MAX_DOCUMENT: usize = 8 << 20;

/// How long the upstream may pause within a document. A slow copy sends white space more often than this.
const DOCUMENT_PATIENCE: Duration = Duration::from_mins(1);

/// An error document longer than this is no S3 error.
const MAX_ERROR: usize = 64 * 1024;
const ERROR_PATIENCE: Duration = Duration::from_secs(5);

/// Reads an XML answer whole.
pub async fn read_document(response: Response<Incoming>) -> Result<String> {
    let document = read_whole(response.into_body(), MAX_DOCUMENT, DOCUMENT_PATIENCE).await?;
    String::from_utf8(document).map_err(|error| Error::new(Code::BadGateway).because(error))
}

/// Reads the document of a refusal. What cannot be read of it changes the refusal's text, not its meaning.
pub(super) async fn read_error(body: Incoming, idle_timeout: Duration) -> Vec<u8> {
    read_whole(body, MAX_ERROR, ERROR_PATIENCE.min(idle_timeout)).await.unwrap_or_default()
}

/// At most `cap` bytes, none of them more than `patience` after the one before.
pub(super) async fn read_whole(body: Incoming, cap: usize, patience: Duration) -> Result<Vec<u8>> {
    let mut body = http_body_util::Limited::new(body, cap);
    let mut whole = Vec::new();
    loop {
        let frame = tokio::time::timeout(patience, body.frame()).await.map_err(|_| Code::GatewayTimeout)?;
        match frame {
            Some(Ok(frame)) => whole.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data)),
            Some(Err(error)) => return Err(Error::new(Code::BadGateway).because(error)),
            None => return Ok(whole),
        }
    }
}
