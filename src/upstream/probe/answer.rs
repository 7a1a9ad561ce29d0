//! An answer of the upstream as the probe's questions look at it, and what of it a reader is told.

use std::borrow::Cow;
use std::time::Duration;

use http::{HeaderMap, Method, StatusCode};

use crate::dialect::{Dialect, Refusal};
use crate::error::down_to_the_root;
use crate::s3::xml::{self, UpstreamError};

/// The most that is quoted of an upstream's message, in characters.
const MAX_QUOTED: usize = 160;

pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
    /// `100 Continue` came after so long.
    pub(super) continued: Option<Duration>,
}

impl Answer {
    pub(super) fn ok(&self) -> bool {
        self.status.is_success() && self.error().is_none()
    }

    pub(super) fn error(&self) -> Option<UpstreamError> {
        xml::parse_error(&self.body)
    }

    /// The S3 code of a refusal; empty if it named none, as in the answer to a HEAD.
    pub(super) fn code(&self) -> String {
        self.error().map(|error| error.code).unwrap_or_default()
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    pub(super) fn text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.body)
    }

    /// For a reader: `200`, or `403 AccessDenied: …`.
    pub(super) fn says(&self) -> String {
        let status = self.status.as_u16();
        match self.error() {
            Some(error) => format!("{status} {}: {}", quoted(&error.code), quoted(&error.message)),
            None => status.to_string(),
        }
    }

    /// The same without the message: where a refusal is what was hoped for.
    pub(super) fn names(&self) -> String {
        let status = self.status.as_u16();
        self.error().map_or_else(|| status.to_string(), |error| format!("{status} {}", quoted(&error.code)))
    }

    /// In any dialect: which one it is, is to be found out.
    pub(super) fn throttles(&self) -> bool {
        self.is(Dialect::throttles)
    }

    pub(super) fn misses_key(&self, method: &Method) -> bool {
        self.is(|dialect, refusal| dialect.misses_key(refusal, method == Method::HEAD))
    }

    fn is(&self, said: impl Fn(Dialect, Refusal<'_>) -> bool) -> bool {
        let error = self.error();
        let (code, message) = error.as_ref().map_or(("", ""), |error| (&error.code, &error.message));
        let refusal = Refusal { status: self.status.as_u16(), code, message };
        Dialect::ALL.into_iter().any(|dialect| said(dialect, refusal))
    }
}

/// An upstream's text as one line of a table may hold it.
pub(super) fn quoted(text: &str) -> String {
    let mut quoted: String = text.chars().take(MAX_QUOTED).flat_map(char::escape_debug).collect();
    if text.chars().nth(MAX_QUOTED).is_some() {
        quoted.push('…');
    }
    quoted.replace("\\\"", "\"").replace("\\'", "'")
}

/// Why no answer came, down to the root.
pub(super) fn reason(error: &dyn std::error::Error) -> String {
    quoted(&down_to_the_root(error))
}
