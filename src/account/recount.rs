//! A recount: the bucket's own listing is the truth, applied to the account without disturbing writes in flight.
//!
//! A recount has a number. What it sees in the listing, and what any write touches while it runs, carries that
//! number. So a page that was fetched before a write ended cannot undo the write; and what carries no number
//! when every page was taken in, is not there. In order: `Begin`, `Objects` page by page, `Uploads`, `Listed`,
//! `Forget` in batches over the rows the store still has, `ForgetUploads`, `End`; `GiveUp` at any point.

use super::rows::{Millis, ObjectId, Part, Upload, UploadKey};
use super::step::Named;
use super::view::{Needs, View};

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Recount {
    /// Starts one, unless another was begun or went on after `stale_before`.
    Begin {
        stale_before: Millis,
    },
    /// Objects and sizes as the bucket lists them.
    Objects {
        number: u32,
        listed: Vec<(ObjectId, u64)>,
    },
    /// An open upload and its parts, as the bucket lists them.
    Upload {
        number: u32,
        upload: Named,
        begun_at: Millis,
        parts: Vec<(u16, u64)>,
    },
    /// Every page was taken in.
    Listed {
        number: u32,
    },
    /// Rows that the store has, seen or not.
    Forget {
        number: u32,
        objects: Vec<ObjectId>,
    },
    /// Uploads that were begun before the recount and that it did not see.
    ForgetUploads {
        number: u32,
    },
    End {
        number: u32,
        life: u64,
    },
    /// It cannot go on: the account stays as far as it was set right, and another may begin at once.
    GiveUp {
        number: u32,
    },
}

/// What a step of a recount did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counted {
    /// The recount's number, if the step belongs to the one that runs.
    pub number: Option<u32>,
    /// Bytes that the account did not know of.
    pub found: u64,
    /// Bytes that it had and that are not there.
    pub missing: u64,
}

impl Recount {
    pub(super) fn needs(&self, needs: &mut Needs) {
        match self {
            Self::Begin { .. } | Self::Listed { .. } | Self::End { .. } | Self::GiveUp { .. } => {}
            Self::Objects { listed, .. } => needs.objects.extend(listed.iter().map(|(id, _)| *id)),
            Self::Upload { upload, .. } => {
                needs.uploads.insert(upload.key);
                needs.all_parts.insert(upload.key);
            }
            Self::Forget { objects, .. } => needs.objects.extend(objects),
            Self::ForgetUploads { .. } => needs.all_uploads = true,
        }
    }

    fn number(&self) -> Option<u32> {
        match self {
            Self::Begin { .. } => None,
            Self::Objects { number, .. }
            | Self::Upload { number, .. }
            | Self::Listed { number }
            | Self::Forget { number, .. }
            | Self::ForgetUploads { number }
            | Self::End { number, .. }
            | Self::GiveUp { number } => Some(*number),
        }
    }
}

impl View {
    pub(super) fn recount(&mut self, step: Recount, now: Millis) -> Counted {
        let mut counted = Counted::default();
        if let Some(number) = step.number() {
            if number != self.account.recount || self.account.recount_at == 0 {
                return counted;
            }
            self.account.recount_at = now;
        }
        match step {
            Recount::Begin { stale_before } => {
                if self.account.recount_at > stale_before {
                    return counted;
                }
                self.account.recount = self.account.recount.wrapping_add(1);
                self.account.counting = true;
                self.account.recount_at = now;
            }
            Recount::Objects { listed, .. } => {
                for (id, size) in listed {
                    self.take_in(id, size, &mut counted);
                }
            }
            Recount::Upload { upload, begun_at, parts, .. } => {
                self.take_in_upload(&upload, begun_at, &parts, &mut counted);
            }
            Recount::Listed { .. } => self.account.counting = false,
            Recount::Forget { objects, .. } => {
                for id in objects {
                    self.forget(id, &mut counted);
                }
            }
            Recount::ForgetUploads { .. } => self.forget_uploads(&mut counted),
            Recount::End { life, .. } => {
                self.account.recount_at = 0;
                self.account.counted = true;
                self.account.counted_at = now;
                (self.account.life, self.account.written_at) = (life, now);
            }
            Recount::GiveUp { .. } => {
                self.account.recount_at = 0;
                self.account.counting = false;
            }
        }
        counted.number = Some(self.account.recount);
        counted
    }

    fn take_in(&mut self, id: ObjectId, size: u64, counted: &mut Counted) {
        let known = self.objects.get(&id);
        if known.is_some_and(|object| object.seen == self.account.recount) {
            // A write has touched it since; the listing may be older.
            return;
        }
        let busy = self.holds.get(&id).is_some_and(|hold| !hold.writers.is_empty());
        if busy && self.size(&id) != Some(size) {
            // It may be the work of a write that is not settled, whose bytes are counted where they are held: a
            // look tells when the writes have ended.
            self.change_object(id, |hold, object| hold.contest(hold.most(object.unwrap_or(0))));
            return;
        }
        counted.compare(self.size(&id).unwrap_or(0), size);
        self.change_object(id, |_, object| *object = Some(size));
    }

    fn forget(&mut self, id: ObjectId, counted: &mut Counted) {
        let seen = self.objects.get(&id).is_some_and(|object| object.seen == self.account.recount);
        if seen && self.size(&id).is_some() {
            return;
        }
        counted.compare(self.size(&id).unwrap_or(0), 0);
        self.change_object(id, |_, object| *object = None);
    }

    fn take_in_upload(
        &mut self,
        upload: &Named,
        begun_at: Millis,
        parts: &[(u16, u64)],
        counted: &mut Counted,
    ) {
        let number = self.account.recount;
        match self.uploads.get(&upload.key).cloned() {
            // It was completed or aborted since; the listing is older.
            Some(row) if !row.open => return,
            Some(mut row) => {
                row.seen = number;
                row.assumed = false;
                self.uploads.put(upload.key, row);
            }
            None => {
                self.account.open_uploads += 1;
                self.put_upload(upload, begun_at, None);
            }
        }
        let before = self.account.reserved;
        for (part, size) in parts {
            let touched = self.parts.get(&(upload.key, *part)).is_some_and(|row| row.seen == number);
            if !touched {
                self.change_part(&upload.key, *part, |row| {
                    *row = Part {
                        size: *size,
                        stored: true,
                        writers: std::mem::take(&mut row.writers),
                        ..Part::default()
                    };
                });
            }
        }
        let gone: Vec<u16> = self
            .parts
            .iter()
            .filter(|((of, _), row)| *of == upload.key && row.seen != number && row.writers.is_empty())
            .map(|((_, part), _)| *part)
            .collect();
        for part in gone {
            self.drop_part(&upload.key, part);
        }
        counted.compare(before, self.account.reserved);
    }

    fn forget_uploads(&mut self, counted: &mut Counted) {
        let number = self.account.recount;
        // One that a write is about to end is that write's to settle.
        let gone = |row: &Upload| !row.open || (row.seen != number && row.ending == 0);
        let unseen: Vec<UploadKey> =
            self.uploads.iter().filter(|(_, row)| gone(row)).map(|(key, _)| *key).collect();
        for key in unseen {
            let before = self.account.reserved;
            self.drop_upload(&key);
            self.uploads.remove(&key);
            counted.compare(before, self.account.reserved);
        }
    }
}

impl Counted {
    fn compare(&mut self, known: u64, there: u64) {
        self.found += there.saturating_sub(known);
        self.missing += known.saturating_sub(there);
    }
}
