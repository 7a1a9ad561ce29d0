//! One call to the upstream, built header by header: whatever is not put in here does not cross.

use http::{HeaderMap, HeaderName, HeaderValue, Method, header};

use crate::s3::operation::Operation;
use crate::s3::uri;

/// One request to the upstream, complete but for signature and body.
#[derive(Clone)]
pub struct Call {
    pub(super) operation: Operation,
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) query: String,
    pub(super) headers: HeaderMap,
    pub(super) slow: bool,
}

impl Call {
    pub(super) fn new(operation: Operation, method: Method, path: String) -> Self {
        Self { operation, method, path, query: String::new(), headers: HeaderMap::new(), slow: false }
    }

    #[must_use]
    pub fn query(mut self, name: &str, value: &str) -> Self {
        if !self.query.is_empty() {
            self.query.push('&');
        }
        uri::push_query(&mut self.query, name);
        self.query.push('=');
        uri::push_query(&mut self.query, value);
        self
    }

    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// Headers that `headers` let across.
    #[must_use]
    pub fn headers(mut self, headers: HeaderMap) -> Self {
        self.headers.extend(headers);
        self
    }

    /// The same call without these headers.
    #[must_use]
    pub fn without(mut self, names: &[HeaderName]) -> Self {
        for name in names {
            self.headers.remove(name);
        }
        self
    }

    /// The upstream may take minutes over this one.
    #[must_use]
    pub fn slow(mut self) -> Self {
        self.slow = true;
        self
    }

    /// Sending it twice is as good as once. A write with a condition is not: the first may have made it false.
    pub(super) fn is_idempotent(&self) -> bool {
        match self.method {
            Method::GET | Method::HEAD => true,
            Method::PUT | Method::DELETE => {
                !self.headers.contains_key(header::IF_MATCH)
                    && !self.headers.contains_key(header::IF_NONE_MATCH)
            }
            _ => false,
        }
    }
}
