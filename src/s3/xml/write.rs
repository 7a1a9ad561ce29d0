//! The writing half. In: element names that the program chose and text that anybody may have chosen. Out: a
//! document as AWS writes it: `& < > "` as entities, and what a parser would change (CR, LF, tab) or
//! XML 1.0 cannot hold (`&#x1;`) as numeric references, so that a key is read back as it was put.

use std::fmt::Write;

use memchr::memchr_iter;

use super::read::{Escaped, Flaw};
use crate::s3::uri;

pub const S3_NAMESPACE: &str = "http://s3.amazonaws.com/doc/2006-03-01/";

pub struct Writer {
    out: String,
}

impl Writer {
    /// Declaration and root tag.
    pub fn document(root: &'static str, namespace: Option<&'static str>, capacity: usize) -> Self {
        let mut out = String::with_capacity(capacity);
        out.push_str("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<");
        out.push_str(root);
        if let Some(namespace) = namespace {
            out.push_str(" xmlns=\"");
            out.push_str(namespace);
            out.push('"');
        }
        out.push('>');
        Self { out }
    }

    /// A part of a document; see [`Writer::into_text`].
    pub(super) fn fragment(capacity: usize) -> Self {
        Self { out: String::with_capacity(capacity) }
    }

    /// What was written, without an end.
    pub(super) fn into_text(self) -> String {
        self.out
    }

    /// What another writer wrote.
    pub(super) fn written(&mut self, fragment: &str) {
        self.out.push_str(fragment);
    }

    /// A document of S3, with room for a small answer.
    pub fn s3(root: &'static str) -> Self {
        Self::document(root, Some(S3_NAMESPACE), 1024)
    }

    /// A place to come back to: see [`Writer::take_back`].
    pub(super) fn place(&self) -> usize {
        self.out.len()
    }

    /// Unwrites what was written since `place`.
    pub(super) fn take_back(&mut self, place: usize) {
        self.out.truncate(place);
    }

    pub fn open(&mut self, element: &'static str) {
        self.out.push('<');
        self.out.push_str(element);
        self.out.push('>');
    }

    pub fn close(&mut self, element: &'static str) {
        self.out.push_str("</");
        self.out.push_str(element);
        self.out.push('>');
    }

    pub fn leaf(&mut self, element: &'static str, text: &str) {
        self.open(element);
        self.text(text);
        self.close(element);
    }

    pub fn text(&mut self, text: &str) {
        push_text(&mut self.out, text);
    }

    /// Nothing where there is nothing.
    pub fn optional(&mut self, element: &'static str, text: Option<&str>) {
        if let Some(text) = text {
            self.leaf(element, text);
        }
    }

    pub fn number(&mut self, element: &'static str, number: u64) {
        self.open(element);
        self.out.push_str(&number.to_string());
        self.close(element);
    }

    pub fn flag(&mut self, element: &'static str, flag: bool) {
        self.leaf(element, if flag { "true" } else { "false" });
    }

    /// A key or part of one, percent-encoded if the client asked for `encoding-type=url`. A space becomes
    /// `%20`, which both kinds of client decode, and not AWS's `+`.
    pub fn name(&mut self, element: &'static str, name: &str, url: bool) {
        self.open(element);
        if url {
            uri::push_path(&mut self.out, name);
        } else {
            push_text(&mut self.out, name);
        }
        self.close(element);
    }

    /// Text of another document, taken apart and escaped anew.
    pub(super) fn copied(&mut self, element: &'static str, text: &Escaped<'_>) -> Result<(), Flaw> {
        self.open(element);
        if is_canonical(text.as_written()) {
            self.out.push_str(text.as_written());
        } else {
            text.pieces(|piece| push_text(&mut self.out, piece))?;
        }
        self.close(element);
        Ok(())
    }

    /// For tags that carry attributes, which only the program writes.
    pub(super) fn verbatim(&mut self, markup: &'static str) {
        self.out.push_str(markup);
    }

    pub fn finish(mut self, root: &'static str) -> String {
        self.close(root);
        self.out
    }
}

/// Whether taking this escaped text apart and escaping it anew would give the same: most text is plain, and an
/// `ETag` has its quotes as we would write them.
fn is_canonical(escaped: &str) -> bool {
    const ENTITIES: [&str; 4] = ["&quot;", "&amp;", "&lt;", "&gt;"];
    let bytes = escaped.as_bytes();
    is_plain(bytes, plainness)
        || is_plain(bytes, plainness_but_ampersand)
            && memchr_iter(b'&', bytes)
                .all(|at| ENTITIES.iter().any(|entity| escaped[at..].starts_with(entity)))
}

/// Zero for a byte that is, or may begin, a character that text cannot hold as it is. Minima and not
/// conditions: the compiler then looks at sixteen bytes at once.
fn plainness(b: u8) -> u8 {
    plainness_but_ampersand(b).min(b ^ b'&')
}

fn plainness_but_ampersand(b: u8) -> u8 {
    b.saturating_sub(0x1F).min(b ^ b'<').min(b ^ b'>').min(b ^ b'"').min(b ^ 0xEF)
}

fn is_plain(bytes: &[u8], plainness: impl Fn(u8) -> u8) -> bool {
    let Some(tail) = bytes.last_chunk::<16>() else {
        return bytes.iter().all(|&b| plainness(b) != 0);
    };
    let mut lowest = [u8::MAX; 16];
    // The last chunk overlaps the one before it, so that none is short.
    for chunk in bytes.as_chunks().0.iter().chain([tail]) {
        for (lowest, &byte) in lowest.iter_mut().zip(chunk) {
            *lowest = (*lowest).min(plainness(byte));
        }
    }
    !lowest.contains(&0)
}

/// Escapes `text` onto the end of `out`.
pub(super) fn push_text(out: &mut String, text: &str) {
    if is_plain(text.as_bytes(), plainness) {
        out.push_str(text);
        return;
    }
    let mut written = 0;
    for (at, character) in text.char_indices() {
        let entity = match character {
            '&' => "&amp;",
            '<' => "&lt;",
            '>' => "&gt;",
            '"' => "&quot;",
            '\0'..'\u{20}' | '\u{fffe}' | '\u{ffff}' => "",
            _ => continue,
        };
        out.push_str(&text[written..at]);
        written = at + character.len_utf8();
        if entity.is_empty() {
            write!(out, "&#x{:X};", u32::from(character)).expect("a String takes everything");
        } else {
            out.push_str(entity);
        }
    }
    out.push_str(&text[written..]);
}

#[cfg(test)]
mod tests {
    use super::super::read::Reader;
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn escapes_as_aws_does() {
        let mut writer = Writer::s3("R");
        writer.leaf("K", " a&b<c>\"d\"'e\u{1}\r\n\té\u{ffff}\u{fffd} ");
        writer.number("N", 7);
        writer.optional("O", None);
        assert_eq!(
            writer.finish("R"),
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<R xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
             <K> a&amp;b&lt;c&gt;&quot;d&quot;'e&#x1;&#xD;&#xA;&#x9;é&#xFFFF;\u{fffd} </K><N>7</N></R>"
        );
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(text in any::<String>(), url: bool) {
            let mut writer = Writer::s3("R");
            writer.name("K", &text, url);
            let out = writer.finish("R");
            let mut reader = Reader::open_as(&out, "R").unwrap();
            prop_assert_eq!(reader.child().unwrap(), Some("K"));
            let read = reader.text().unwrap();
            let read = if url { uri::decode_path(&read).unwrap() } else { read };
            prop_assert_eq!(read, text);
        }
    }
}
