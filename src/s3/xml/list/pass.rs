//! One pass over an upstream's listing: what all kinds of page have in common. In: the upstream's text and the
//! client's view. Out: entries with virtual names, written as they are read.

use std::borrow::Cow;

use memchr::memmem;

use super::{Evidence, ListView, Next, Portion, write_common_prefix};
use crate::error::Result;
use crate::s3::uri::{self, PlusMeaning};
use crate::s3::xml::read::{Flaw, Reader};
use crate::s3::xml::write::Writer;

/// S3 gives 1,000 a page; no page of ours is longer than this, whatever the upstream says.
const MAX_ENTRIES: u64 = 10_000;

pub(in crate::s3::xml) const UNCLEAR: Flaw = Flaw("it is unclear whether names are encoded");

const UPLOAD: &[&str] = &["Initiated", "StorageClass", "ChecksumAlgorithm", "ChecksumType"];

/// Whether a page will say that its names are percent-encoded. It may say so after the names, and this look
/// ahead spares keeping them all; were it wrong, which takes a strange document, the end of the page notices.
pub(in crate::s3::xml) fn looks_encoded(upstream: &str) -> bool {
    const SAID: &str = "EncodingType>url</";
    memmem::find_iter(upstream.as_bytes(), SAID).any(|at| {
        // A key may end in these words too; it is its own tag that is closed then.
        let closed = &upstream[at + SAID.len()..];
        let name = closed.split_once(':').map_or(closed, |(_, local)| local);
        closed.starts_with("EncodingType>") || name.starts_with("EncodingType>")
    })
}

/// One pass over an upstream's page.
pub(super) struct Pass<'t, 'v> {
    pub(super) reader: Reader<'t>,
    pub(super) out: Writer,
    view: &'v ListView<'v>,
    /// Names are taken as percent-encoded, …
    encoded: bool,
    /// … and the page said so itself.
    confirmed: bool,
    saw: Evidence,
    count: u64,
    truncated: bool,
    /// The greatest name so far, in the client's terms, and the id that the last entry of that name has.
    greatest: Option<(Cow<'t, str>, Option<Cow<'t, str>>)>,
    /// Names that came and are not wanted any more.
    beyond: u64,
}

impl<'t, 'v> Pass<'t, 'v> {
    pub(super) fn begin(upstream: &'t str, view: &'v ListView<'v>, root: &'static str) -> Result<Self, Flaw> {
        let encoded = looks_encoded(upstream);
        Ok(Self {
            reader: Reader::open_as(upstream, root)?,
            out: Writer::fragment(upstream.len()),
            view,
            encoded,
            confirmed: false,
            saw: Evidence::default(),
            count: 0,
            truncated: false,
            greatest: None,
            beyond: 0,
        })
    }

    /// `next` makes the place to go on at of the greatest name and its id.
    pub(super) fn end(
        self,
        next: impl FnOnce(Option<Cow<'t, str>>, Option<Cow<'t, str>>) -> Option<Next>,
    ) -> Result<Portion, Flaw> {
        self.reader.finish()?;
        if self.encoded != self.confirmed {
            return Err(UNCLEAR);
        }
        let (last, last_id) = self.greatest.unzip();
        let mut portion = Portion {
            xml: self.out.into_text(),
            count: self.count,
            last: last.as_deref().map(str::to_owned),
            next: None,
            saw: self.saw,
        };
        if self.truncated && self.beyond == 0 {
            // A client would begin again at the first page, for ever.
            let next = next(last, last_id.flatten()).ok_or(Flaw("a truncated page that leads nowhere"))?;
            portion.next = Some(next);
        }
        Ok(portion)
    }

    /// Elements that every kind of page has.
    pub(super) fn common(&mut self, element: &str) -> Result<(), Flaw> {
        match element {
            "CommonPrefixes" => {
                while let Some(child) = self.reader.child()? {
                    if child != "Prefix" {
                        self.reader.skip()?;
                        continue;
                    }
                    self.counted()?;
                    let prefix = self.client_name()?;
                    let place = self.out.place();
                    write_common_prefix(&mut self.out, &prefix, self.view);
                    self.passed(place, prefix, None);
                }
            }
            "IsTruncated" => {
                self.truncated = match self.reader.text()?.trim() {
                    "true" => true,
                    "false" => false,
                    _ => return Err(Flaw("IsTruncated is neither true nor false")),
                }
            }
            "EncodingType" => self.confirmed = self.reader.text()? == "url",
            _ => self.reader.skip()?,
        }
        Ok(())
    }

    /// An object, version or delete marker: its key, the `fields` it has, its owner.
    pub(super) fn entry(&mut self, element: &'static str, fields: &[&'static str]) -> Result<(), Flaw> {
        self.counted()?;
        let place = self.out.place();
        self.out.open(element);
        let mut key = None;
        while let Some(child) = self.reader.child()? {
            match child {
                "Key" if key.is_some() => return Err(Flaw("an entry with two keys")),
                "Key" => {
                    let name = self.client_name()?;
                    self.out.name("Key", &name, self.view.url);
                    key = Some(name);
                }
                "RestoreStatus" => self.restore_status()?,
                other => self.known(other, fields)?,
            }
        }
        let key = key.ok_or(Flaw("an entry without a key"))?;
        if let Some(owner) = self.view.owner {
            owner.write(&mut self.out, "Owner");
        }
        self.out.close(element);
        self.passed(place, key, None);
        Ok(())
    }

    /// An entry was written at `place`; not all of them stay.
    fn passed(&mut self, place: usize, name: Cow<'t, str>, id: Option<Cow<'t, str>>) {
        let beyond = self.view.until.is_some_and(|until| *name >= *until);
        // A name that is empty is the folder marker of the scope itself, as consoles make them: no client could
        // name it.
        if beyond || name.is_empty() {
            self.out.take_back(place);
            self.count -= 1;
        }
        self.beyond += u64::from(beyond);
        if !beyond && self.greatest.as_ref().is_none_or(|(greatest, _)| *greatest <= name) {
            self.greatest = Some((name, id));
        }
    }

    pub(super) fn upload(&mut self, client_id: &dyn Fn(&str, &str) -> String) -> Result<(), Flaw> {
        self.counted()?;
        let place = self.out.place();
        self.out.open("Upload");
        let (mut key, mut id) = (None, None);
        while let Some(child) = self.reader.child()? {
            match child {
                "Key" => key = Some(self.client_name()?),
                "UploadId" => id = Some(self.reader.text()?),
                other => self.known(other, UPLOAD)?,
            }
        }
        let (Some(key), Some(id)) = (key, id) else {
            return Err(Flaw("an upload without key or id"));
        };
        self.out.name("Key", &key, self.view.url);
        self.out.leaf("UploadId", &client_id(&key, &id));
        if let Some(owner) = self.view.owner {
            owner.write(&mut self.out, "Initiator");
            owner.write(&mut self.out, "Owner");
        }
        self.out.close("Upload");
        self.passed(place, key, Some(id));
        Ok(())
    }

    fn restore_status(&mut self) -> Result<(), Flaw> {
        self.out.open("RestoreStatus");
        while let Some(child) = self.reader.child()? {
            self.known(child, &["IsRestoreInProgress", "RestoreExpiryDate"])?;
        }
        self.out.close("RestoreStatus");
        Ok(())
    }

    /// Copies the element if it is one of `fields`, drops it otherwise.
    fn known(&mut self, element: &str, fields: &[&'static str]) -> Result<(), Flaw> {
        match fields.iter().find(|field| **field == element) {
            Some(field) => self.copy(field),
            None => self.reader.skip(),
        }
    }

    pub(super) fn copy(&mut self, element: &'static str) -> Result<(), Flaw> {
        let text = self.reader.escaped()?;
        self.out.copied(element, &text)
    }

    fn counted(&mut self) -> Result<(), Flaw> {
        self.count += 1;
        if self.count > MAX_ENTRIES { Err(Flaw("more entries than a page may have")) } else { Ok(()) }
    }

    /// A key or prefix of the upstream, as the client knows it.
    pub(super) fn client_name(&mut self) -> Result<Cow<'t, str>, Flaw> {
        let name = self.reader.text()?;
        self.unmapped(name)
    }

    /// A marker: some servers write an empty one where there is none.
    pub(super) fn marker(&mut self) -> Result<Option<Cow<'t, str>>, Flaw> {
        let name = self.reader.text()?;
        if name.is_empty() { Ok(None) } else { self.unmapped(name).map(Some) }
    }

    /// A marker that need not be a key: what does not lie in the client's scope is some server's own token.
    pub(super) fn marker_or_token(&mut self) -> Result<Option<Cow<'t, str>>, Flaw> {
        let name = self.reader.text()?;
        Ok(self.unmapped(name).ok().filter(|name| !name.is_empty()))
    }

    fn unmapped(&mut self, mut name: Cow<'t, str>) -> Result<Cow<'t, str>, Flaw> {
        let view = self.view;
        if self.encoded {
            self.saw.look(&name);
            name = decoded(name, view.plus)?;
        }
        through(name, |name| {
            (view.unmap)(name).map(Cow::Borrowed).ok_or(Flaw("a name outside the caller's scope"))
        })
    }
}

pub(in crate::s3::xml) fn decoded(name: Cow<'_, str>, plus: PlusMeaning) -> Result<Cow<'_, str>, Flaw> {
    through(name, |name| uri::decode(name, plus).map_err(|_| Flaw("a name with a bad escape")))
}

/// Applies a step that mostly borrows, so that what was borrowed stays so.
fn through(
    text: Cow<'_, str>,
    step: impl Fn(&str) -> Result<Cow<'_, str>, Flaw>,
) -> Result<Cow<'_, str>, Flaw> {
    match text {
        Cow::Borrowed(text) => step(text),
        Cow::Owned(text) => step(&text).map(|out| Cow::Owned(out.into_owned())),
    }
}
