//! The reading half: a pull reader over a document that is whole in memory. In: text from a client or an
//! upstream. Out: the local names of child elements one by one, and exact text: nothing is trimmed or
//! normalised. Strict where leniency is an attack surface: one root, tags that match, at most `MAX_DEPTH`
//! levels, no document type and so no entities but the five predefined ones and character references.
//! Attributes are checked and dropped; no S3 document needs one to be understood.
//!
//! It is its own and no library's because a listing of 1,000 keys is some 17,000 markup events, and a
//! general reader spends more on them than the whole rewrite may take. The tests hold it against quick-xml.

use std::borrow::Cow;
use std::mem::take;

use memchr::memchr;

use super::write::push_text;
use crate::error::{Code, Error};

/// The deepest S3 document has five levels.
const MAX_DEPTH: usize = 16;
const MAX_ATTRIBUTES: usize = 64;

/// Why a document is refused. Whose document it is decides what the client is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Flaw(pub(super) &'static str);

impl Flaw {
    pub(super) fn of_client(self) -> Error {
        Error::new(Code::MalformedXML).because(self.0)
    }

    pub(super) fn of_upstream(self) -> Error {
        Error::new(Code::BadGateway).because(format!("document from the upstream: {}", self.0))
    }
}

#[derive(Clone, Copy, PartialEq)]
enum NameByte {
    No,
    Yes,
    Colon,
}

/// What a byte is in a name.
const NAME_BYTES: [NameByte; 256] = {
    let mut table = [NameByte::No; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = match byte {
            0x3A => NameByte::Colon,
            0x30..=0x39 | 0x41..=0x5A | 0x61..=0x7A | 0x5F | 0x2D | 0x2E | 0x80.. => NameByte::Yes,
            _ => NameByte::No,
        };
        byte += 1;
    }
    table
};

const EARLY_END: Flaw = Flaw("it ends early");

/// Stands inside one element at a time. After [`Reader::child`] gave a name, exactly one of `text`, `skip` or
/// a loop over `child` until `None` leaves that element again.
pub(super) struct Reader<'a> {
    text: &'a str,
    at: usize,
    /// Qualified names of the elements we are in.
    open: Vec<&'a str>,
    /// The element entered last was written `<like-this/>`.
    empty: bool,
}

impl<'a> Reader<'a> {
    /// Enters the root, whatever its name; returns that name.
    pub(super) fn open(text: &'a str) -> Result<(Self, &'a str), Flaw> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut reader = Self { text, at: 0, open: Vec::with_capacity(MAX_DEPTH), empty: false };
        match reader.next_tag()? {
            None => Err(EARLY_END),
            Some(b'/') => Err(Flaw("an end tag without a start")),
            Some(_) => {
                let root = reader.enter()?;
                Ok((reader, root))
            }
        }
    }

    /// Enters a root that must have this name.
    pub(super) fn open_as(text: &'a str, root: &str) -> Result<Self, Flaw> {
        Self::open_as_one_of(text, &[root])
    }

    /// Enters a root that servers call by different names.
    pub(super) fn open_as_one_of(text: &'a str, roots: &[&str]) -> Result<Self, Flaw> {
        let (reader, found) = Self::open(text)?;
        if roots.contains(&found) { Ok(reader) } else { Err(Flaw("the root is another document's")) }
    }

    /// After the root was left: nothing but white space and comments may follow.
    pub(super) fn finish(mut self) -> Result<(), Flaw> {
        match self.next_tag()? {
            None if self.open.is_empty() => Ok(()),
            None => Err(EARLY_END),
            Some(_) => Err(Flaw("something follows the root")),
        }
    }

    /// Enters the next child and returns its local name, or leaves this element and returns `None`.
    pub(super) fn child(&mut self) -> Result<Option<&'a str>, Flaw> {
        if take(&mut self.empty) {
            self.open.pop();
            return Ok(None);
        }
        match self.next_tag()? {
            None => Err(EARLY_END),
            Some(b'/') => self.leave().map(|()| None),
            Some(_) => self.enter().map(Some),
        }
    }

    /// The text of this element, which may hold no other; leaves it.
    pub(super) fn text(&mut self) -> Result<Cow<'a, str>, Flaw> {
        self.escaped()?.decode()
    }

    /// As [`Reader::text`], with its references still to be resolved.
    pub(super) fn escaped(&mut self) -> Result<Escaped<'a>, Flaw> {
        if take(&mut self.empty) {
            self.open.pop();
            return Ok(Escaped(Cow::Borrowed("")));
        }
        let run = self.run()?;
        if self.rest().starts_with(b"</") {
            self.leave()?;
            return Ok(Escaped(Cow::Borrowed(run)));
        }
        let mut all = run.to_owned();
        loop {
            match self.rest() {
                [b'<', b'/', ..] => break,
                [b'<', b'?', ..] => self.past("?>").map(drop)?,
                [b'<', b'!', b'-', b'-', ..] => self.comment()?,
                rest if rest.starts_with(b"<![CDATA[") => push_text(&mut all, self.character_data()?),
                _ => return Err(Flaw("an element where text belongs")),
            }
            all.push_str(self.run()?);
        }
        self.leave()?;
        Ok(Escaped(Cow::Owned(all)))
    }

    /// Leaves this element, whatever it holds.
    pub(super) fn skip(&mut self) -> Result<(), Flaw> {
        let depth = self.open.len();
        while self.open.len() >= depth {
            if take(&mut self.empty) {
                self.open.pop();
                continue;
            }
            self.run()?;
            match self.rest() {
                [b'<', b'/', ..] => self.leave()?,
                [b'<', b'?', ..] => self.past("?>").map(drop)?,
                [b'<', b'!', b'-', b'-', ..] => self.comment()?,
                rest if rest.starts_with(b"<![CDATA[") => self.character_data().map(drop)?,
                [b'<', b'!', ..] => return Err(Flaw("a declaration inside the document")),
                _ => self.enter().map(drop)?,
            }
        }
        Ok(())
    }

    fn rest(&self) -> &'a [u8] {
        &self.text.as_bytes()[self.at..]
    }

    /// Over white space, comments and instructions to the next tag; returns the byte after its `<`.
    fn next_tag(&mut self) -> Result<Option<u8>, Flaw> {
        loop {
            self.white_space();
            match self.rest() {
                // The usual case first.
                [b'<', next, ..] if !matches!(next, b'?' | b'!') => return Ok(Some(*next)),
                [] => return Ok(None),
                [b'<', b'?', ..] => self.past("?>").map(drop)?,
                [b'<', b'!', b'-', b'-', ..] => self.comment()?,
                [b'<', _, ..] => return Err(Flaw("a document type, or character data between elements")),
                [b'<'] => return Err(EARLY_END),
                _ => return Err(Flaw("text between elements")),
            }
        }
    }

    /// The text up to the next `<`.
    fn run(&mut self) -> Result<&'a str, Flaw> {
        let length = memchr(b'<', self.rest()).ok_or(EARLY_END)?;
        let run = &self.text[self.at..self.at + length];
        self.at += length;
        Ok(run)
    }

    /// Over a start tag.
    fn enter(&mut self) -> Result<&'a str, Flaw> {
        if self.open.len() == MAX_DEPTH {
            return Err(Flaw("it is nested too deeply"));
        }
        self.at += 1;
        let (name, local) = self.name()?;
        for _ in 0..=MAX_ATTRIBUTES {
            let spaced = self.white_space();
            match self.rest() {
                [b'>', ..] => self.at += 1,
                [b'/', b'>', ..] => {
                    self.at += 2;
                    self.empty = true;
                }
                _ if spaced => {
                    self.attribute()?;
                    continue;
                }
                _ => return Err(Flaw("a start tag that is none")),
            }
            self.open.push(name);
            return Ok(&name[local..]);
        }
        Err(Flaw("too many attributes"))
    }

    /// Over an end tag, which must close the element that was opened last.
    fn leave(&mut self) -> Result<(), Flaw> {
        let name = self.open.pop().ok_or(Flaw("an end tag without a start"))?;
        if !self.rest()[2..].starts_with(name.as_bytes()) {
            return Err(Flaw("an end tag that closes another element"));
        }
        self.at += 2 + name.len();
        self.white_space();
        self.byte(b'>')
    }

    fn attribute(&mut self) -> Result<(), Flaw> {
        self.name()?;
        self.white_space();
        self.byte(b'=')?;
        self.white_space();
        let quote = match self.rest() {
            [b'"', ..] => "\"",
            [b'\'', ..] => "'",
            _ => return Err(Flaw("an attribute without quotes")),
        };
        self.at += 1;
        if self.past(quote)?.contains('<') {
            return Err(Flaw("a tag inside an attribute"));
        }
        Ok(())
    }

    /// Over a qualified name; returns it and where in it the local name begins.
    fn name(&mut self) -> Result<(&'a str, usize), Flaw> {
        let (mut length, mut local) = (0, 0);
        for &byte in self.rest() {
            match NAME_BYTES[usize::from(byte)] {
                NameByte::Yes => length += 1,
                NameByte::No => break,
                NameByte::Colon => {
                    length += 1;
                    local = length;
                }
            }
        }
        let name = &self.text[self.at..self.at + length];
        if local == length || name.as_bytes()[0].is_ascii_digit() || matches!(name.as_bytes()[0], b'-' | b'.')
        {
            return Err(Flaw("a name that is none"));
        }
        self.at += length;
        Ok((name, local))
    }

    fn comment(&mut self) -> Result<(), Flaw> {
        self.at += "<!--".len();
        self.past("-->").map(drop)
    }

    fn character_data(&mut self) -> Result<&'a str, Flaw> {
        self.at += "<![CDATA[".len();
        self.past("]]>")
    }

    /// What stands before the next `end`; moves behind it.
    fn past(&mut self, end: &str) -> Result<&'a str, Flaw> {
        let length = self.text[self.at..].find(end).ok_or(EARLY_END)?;
        let before = &self.text[self.at..self.at + length];
        self.at += length + end.len();
        Ok(before)
    }

    fn byte(&mut self, wanted: u8) -> Result<(), Flaw> {
        if self.rest().first() != Some(&wanted) {
            return Err(Flaw("a tag that is none"));
        }
        self.at += 1;
        Ok(())
    }

    fn white_space(&mut self) -> bool {
        let from = self.at;
        while let [b' ' | b'\t' | b'\r' | b'\n', ..] = self.rest() {
            self.at += 1;
        }
        self.at > from
    }
}

/// Text as it stood in a document, references and all.
pub(super) struct Escaped<'a>(Cow<'a, str>);

impl<'a> Escaped<'a> {
    pub(super) fn decode(self) -> Result<Cow<'a, str>, Flaw> {
        if memchr(b'&', self.0.as_bytes()).is_none() {
            return Ok(self.0);
        }
        let mut out = String::with_capacity(self.0.len());
        self.pieces(|piece| out.push_str(piece))?;
        Ok(Cow::Owned(out))
    }

    pub(super) fn as_written(&self) -> &str {
        &self.0
    }

    /// The decoded text, piece by piece: what needs no copy makes none.
    pub(super) fn pieces(&self, mut take: impl FnMut(&str)) -> Result<(), Flaw> {
        let mut rest: &str = &self.0;
        while let Some(at) = memchr(b'&', rest.as_bytes()) {
            take(&rest[..at]);
            let (character, length) = reference(&rest[at..])?;
            take(character.encode_utf8(&mut [0; 4]));
            rest = &rest[at + length..];
        }
        take(rest);
        Ok(())
    }
}

/// The reference at the start of a text: what it stands for, and its length. Characters that XML 1.0 cannot
/// hold are taken as well: S3 writes them so.
fn reference(text: &str) -> Result<(char, usize), Flaw> {
    const BAD: Flaw = Flaw("a reference to nothing known");
    let end = text.bytes().take(16).position(|b| b == b';').ok_or(BAD)?;
    let character = match &text[1..end] {
        "amp" => '&',
        "lt" => '<',
        "gt" => '>',
        "quot" => '"',
        "apos" => '\'',
        other => {
            let number = other.strip_prefix('#').ok_or(BAD)?;
            let (digits, radix) = number.strip_prefix('x').map_or((number, 10), |hex| (hex, 16));
            // `from_str_radix` would take a sign.
            if !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
                return Err(BAD);
            }
            u32::from_str_radix(digits, radix).ok().and_then(char::from_u32).ok_or(BAD)?
        }
    };
    Ok((character, end + 1))
}

#[cfg(test)]
mod tests;
