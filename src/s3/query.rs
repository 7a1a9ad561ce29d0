//! The query string of a request: split and decoded once, in order, borrowed where nothing was encoded.
//! `+` is a space, as S3 reads it. What the signature covers is the raw text, which stays at hand.

use std::borrow::Cow;

use crate::error::{Code, Error, Result};
use crate::s3::uri;

/// More pairs than any S3 operation has, presigned ones included.
pub const MAX_PAIRS: usize = 64;

/// Decoded parameters. A parameter without `=` has an empty value.
#[derive(Debug, Default)]
pub struct Query<'a> {
    raw: &'a str,
    pairs: Vec<(Cow<'a, str>, Cow<'a, str>)>,
}

impl<'a> Query<'a> {
    pub fn parse(raw: &'a str) -> Result<Self> {
        let mut pairs = Vec::new();
        for pair in raw.split('&').filter(|pair| !pair.is_empty()) {
            if pairs.len() == MAX_PAIRS {
                return Err(Error::new(Code::InvalidArgument).say("Too many query parameters"));
            }
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let decode = |text| uri::decode_query(text).map_err(|_| Error::new(Code::InvalidURI));
            pairs.push((decode(name)?, decode(value)?));
        }
        Ok(Self { raw, pairs })
    }

    pub fn raw(&self) -> &'a str {
        self.raw
    }

    /// The value of the first parameter of that name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter().find_map(|(n, value)| (n == name).then_some(value))
    }

    pub fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.pairs.iter().map(|(name, value)| (name.as_ref(), value.as_ref()))
    }
}

/// A number as S3 writes one: digits, and no sign.
pub fn number<N: std::str::FromStr>(text: &str) -> Option<N> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_decoded_once_and_kept_in_order() {
        let query = Query::parse("prefix=a%2Bb+c%2520&uploads&&x=&x=2&e=%C3%A9").expect("valid");
        let pairs: Vec<_> = query.iter().collect();
        assert_eq!(pairs, [("prefix", "a+b c%20"), ("uploads", ""), ("x", ""), ("x", "2"), ("e", "é")]);
        assert_eq!(query.get("x"), Some(""));
        assert!(query.has("uploads") && !query.has("upload"));
    }

    #[test]
    fn bad_escapes_and_floods_are_refused() {
        for bad in ["a=%zz", "a=%2", "%=1", "a=%ff", "a=%c0%af"] {
            assert_eq!(Query::parse(bad).expect_err(bad).code, Code::InvalidURI);
        }
        let flood = vec!["a=b"; MAX_PAIRS + 1].join("&");
        assert_eq!(Query::parse(&flood).expect_err("flood").code, Code::InvalidArgument);
    }
}
