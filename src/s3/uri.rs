//! Percent-encoding, both ways, once each. In: text or an escaped piece of a URI (or of a listing with
//! `encoding-type=url`). Out: the other form, borrowed when nothing had to change.
//!
//! Encoding is `UriEncode` of SigV4: unreserved characters `A-Za-z0-9-._~` stay, every other byte becomes
//! `%XX` in upper case. Decoding is strict: a broken escape or text that is no UTF-8 is an error, never a
//! guess. Nothing here normalises: no dot segments, no merged slashes.
//!
//! Follows <https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html>.

use std::borrow::Cow;

use memchr::{memchr, memchr2};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

const QUERY: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
const PATH: &AsciiSet = &QUERY.remove(b'/');

/// Why an escaped text has no meaning.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BadEscape {
    /// A `%` that two hex digits do not follow.
    Escape,
    /// The bytes that came out are no UTF-8.
    Utf8,
}

impl std::fmt::Display for BadEscape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Escape => "a percent sign without two hex digits",
            Self::Utf8 => "escaped bytes that are not UTF-8",
        })
    }
}

impl std::error::Error for BadEscape {}

/// What a `+` stands for in escaped text: a form-encoder's space, or itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PlusMeaning {
    Space,
    Literal,
}

/// For a key in a path: `/` stays.
pub fn encode_path(text: &str) -> Cow<'_, str> {
    if text.bytes().all(|byte| byte == b'/' || is_unreserved(byte)) {
        return text.into();
    }
    utf8_percent_encode(text, PATH).into()
}

/// For a name or value in a query, and for canonical queries: `/` is escaped too.
pub fn encode_query(text: &str) -> Cow<'_, str> {
    if text.bytes().all(is_unreserved) {
        return text.into();
    }
    utf8_percent_encode(text, QUERY).into()
}

/// Most names and values are plain, and the encoder asks more of each byte than this.
fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// [`encode_path`] onto the end of a text that is being built.
pub fn push_path(out: &mut String, text: &str) {
    out.push_str(&encode_path(text));
}

/// [`encode_query`] onto the end of a text that is being built.
pub fn push_query(out: &mut String, text: &str) {
    out.push_str(&encode_query(text));
}

/// A path, or a piece of one: `+` is itself.
pub fn decode_path(escaped: &str) -> Result<Cow<'_, str>, BadEscape> {
    decode(escaped, PlusMeaning::Literal)
}

/// A name or value of a query or form: `+` is a space.
pub fn decode_query(escaped: &str) -> Result<Cow<'_, str>, BadEscape> {
    decode(escaped, PlusMeaning::Space)
}

/// The general form, for listings of servers that differ in what `+` means.
pub fn decode(escaped: &str, plus: PlusMeaning) -> Result<Cow<'_, str>, BadEscape> {
    let bytes = escaped.as_bytes();
    let next = |from: usize| match plus {
        PlusMeaning::Space => memchr2(b'%', b'+', &bytes[from..]),
        PlusMeaning::Literal => memchr(b'%', &bytes[from..]),
    };
    let Some(mut found) = next(0) else {
        return Ok(Cow::Borrowed(escaped));
    };
    let mut out = Vec::with_capacity(bytes.len());
    let mut from = 0;
    loop {
        let at = from + found;
        out.extend_from_slice(&bytes[from..at]);
        if bytes[at] == b'+' {
            out.push(b' ');
            from = at + 1;
        } else {
            let [high, low] = bytes.get(at + 1..at + 3).ok_or(BadEscape::Escape)? else {
                return Err(BadEscape::Escape);
            };
            out.push(hex(*high)? << 4 | hex(*low)?);
            from = at + 3;
        }
        match next(from) {
            Some(offset) => found = offset,
            None => break,
        }
    }
    out.extend_from_slice(&bytes[from..]);
    String::from_utf8(out).map(Cow::Owned).map_err(|_| BadEscape::Utf8)
}

fn hex(digit: u8) -> Result<u8, BadEscape> {
    match digit {
        b'0'..=b'9' => Ok(digit - b'0'),
        b'a'..=b'f' => Ok(digit - b'a' + 10),
        b'A'..=b'F' => Ok(digit - b'A' + 10),
        _ => Err(BadEscape::Escape),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn unreserved_text_is_borrowed_both_ways() {
        let plain = "datasets/ds-1/data_v2.~csv";
        assert!(matches!(encode_path(plain), Cow::Borrowed(_)));
        assert!(matches!(decode_path(plain), Ok(Cow::Borrowed(_))));
        assert!(matches!(decode_query(plain), Ok(Cow::Borrowed(_))));
        assert!(matches!(decode_path("a+b"), Ok(Cow::Borrowed("a+b"))));
    }

    #[test]
    fn the_slash_is_what_tells_path_from_query() {
        assert_eq!(encode_path("a b/c+d%é*"), "a%20b/c%2Bd%25%C3%A9%2A");
        assert_eq!(encode_query("a b/c+d=&~"), "a%20b%2Fc%2Bd%3D%26~");
    }

    #[test]
    fn a_plus_is_a_space_in_queries_only() {
        assert_eq!(decode_path("a+b%2B%20").as_deref(), Ok("a+b+ "));
        assert_eq!(decode_query("a+b%2B%20").as_deref(), Ok("a b+ "));
    }

    #[test]
    fn decoding_is_done_once_and_in_either_case() {
        assert_eq!(decode_path("%2fa%2F%2525%e2%82%ac").as_deref(), Ok("/a/%25€"));
    }

    #[test]
    fn broken_escapes_are_errors() {
        for bad in ["%", "%2", "a%zz", "%-1", "%+1", "%%41", "%2é"] {
            assert_eq!(decode_path(bad), Err(BadEscape::Escape), "{bad}");
        }
        for bad in ["%ff", "%c0%ae%c0%ae", "%ed%a0%80", "é%a9"] {
            assert_eq!(decode_path(bad), Err(BadEscape::Utf8), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn what_was_encoded_decodes_to_itself(text in any::<String>()) {
            let (path, query) = (encode_path(&text), encode_query(&text));
            prop_assert_eq!(decode_path(&path).unwrap(), text.as_str());
            prop_assert_eq!(decode_query(&path).unwrap(), text.as_str());
            prop_assert_eq!(decode_query(&query).unwrap(), text.as_str());
        }

        #[test]
        fn encoded_text_is_unreserved_characters_and_escapes(text in any::<String>()) {
            let legal = |c: char| c.is_ascii_alphanumeric() || "-._~%".contains(c);
            prop_assert!(encode_query(&text).chars().all(legal));
            prop_assert!(encode_path(&text).chars().all(|c| c == '/' || legal(c)));
        }

        #[test]
        fn decoding_never_panics(text in "[%+a-f0-9zé/]{0,24}") {
            prop_assert!(decode_path(&text).map_or(true, |out| out.len() <= text.len()));
            prop_assert!(decode_query(&text).map_or(true, |out| out.len() <= text.len()));
        }
    }
}
