//! Multipart uploads: what their parts hold of `reserved`, from the first part to completion or abort.

use super::rows::{Lease, LeaseId, Millis, Part, Upload, UploadKey, Writer};
use super::step::{Named, Outcome};
use super::view::View;

impl View {
    /// What a part holds now, and what it would hold with a writer of this size.
    pub(super) fn part_would_hold(&self, upload: &UploadKey, number: u16, size: u64) -> (u64, u64) {
        let most = self.parts.get(&(*upload, number)).map_or(0, Part::most);
        (most, most.max(size))
    }

    pub(super) fn open_part(&mut self, upload: &Named, number: u16, writer: Writer, now: Millis) {
        self.assume(upload, now);
        self.change_part(&upload.key, number, |part| part.writers.push(writer));
    }

    /// Takes in an upload that was begun past the gateway, or before anything was counted.
    fn assume(&mut self, upload: &Named, now: Millis) {
        let ended = match self.uploads.get(&upload.key) {
            Some(row) if row.open => return,
            Some(row) => row.ended,
            None => false,
        };
        self.account.open_uploads += 1;
        self.put_upload(upload, now, None);
        self.change_upload(&upload.key, |row| (row.assumed, row.ended) = (true, ended));
    }

    fn change_upload(&mut self, upload: &UploadKey, change: impl FnOnce(&mut Upload)) {
        if let Some(mut row) = self.uploads.get(upload).cloned() {
            change(&mut row);
            self.uploads.put(*upload, row);
        }
    }

    fn drop_if_nothing_bears_it_out(&mut self, upload: &UploadKey) {
        let empty = |row: &Upload| row.assumed && row.ending == 0 && row.parts == 0;
        let Some(row) = self.uploads.get(upload).filter(|row| empty(row)).cloned() else {
            return;
        };
        self.close_upload(upload);
        if !row.ended {
            // A recount may have seen it: then it is there after all.
            self.uploads.remove(upload);
        }
    }

    /// The sum of the parts' sizes, and the upload's stamp if it is certain.
    pub(super) fn size_of_parts(&self, upload: &UploadKey, numbers: &[u16]) -> (u64, Option<u32>) {
        let mut exact = true;
        let mut size = 0;
        for number in numbers {
            match self.parts.get(&(*upload, *number)) {
                Some(part) => {
                    size += part.most();
                    exact &= part.stored && !part.contested && part.writers.is_empty();
                }
                None => exact = false,
            }
        }
        (size, self.uploads.get(upload).map(|row| row.stamp).filter(|_| exact))
    }

    pub(super) fn end_create(&mut self, lease: &Lease, outcome: Outcome, now: Millis) {
        match outcome {
            Outcome::Created(named) => match self.uploads.get(&named.key).cloned() {
                // The account counted the upload when the write began.
                None => self.put_upload(&named, now, lease.place),
                // A recount has seen it before its answer came, and counted it again.
                Some(mut row) => {
                    row.place = lease.place.filter(|_| row.open);
                    self.uploads.put(named.key, row);
                    self.account.open_uploads -= 1;
                }
            },
            Outcome::Done | Outcome::Each(_) | Outcome::Failed | Outcome::Unknown | Outcome::Look => {
                self.account.open_uploads -= 1;
                if let Some(place) = lease.place {
                    self.give_place_back(place);
                }
            }
        }
    }

    /// One writer of a part has ended. An unknown outcome keeps its bytes until the upload ends.
    pub(super) fn end_part(
        &mut self,
        upload: &UploadKey,
        number: u16,
        id: LeaseId,
        size: u64,
        outcome: &Outcome,
    ) {
        let open = self.uploads.get(upload).is_some_and(|row| row.open);
        let known = self.parts.get(&(*upload, number)).is_some_and(|part| part.is_written_by(id));
        if !open || !known {
            return;
        }
        self.change_part(upload, number, |part| {
            let most = part.most();
            part.writers.retain(|writer| writer.lease != id);
            let overlaps = !part.writers.is_empty() || part.contested;
            match outcome {
                Outcome::Failed => {}
                Outcome::Done | Outcome::Created(_) | Outcome::Each(_) | Outcome::Look => {
                    if overlaps {
                        part.contest(most);
                    } else if *outcome == Outcome::Look {
                        // No HEAD tells of a part: the object that is made of it is looked at.
                        part.contest(size);
                    }
                    part.size = size;
                    part.stored = true;
                }
                Outcome::Unknown => part.contest(most),
            }
        });
        let never_was = self
            .parts
            .get(&(*upload, number))
            .is_some_and(|part| part.writers.is_empty() && !part.stored && !part.contested);
        if never_was {
            self.drop_part(upload, number);
            self.drop_if_nothing_bears_it_out(upload);
        } else if *outcome != Outcome::Failed {
            self.change_upload(upload, |row| row.assumed = false);
        }
    }

    pub(super) fn drop_part(&mut self, upload: &UploadKey, number: u16) {
        self.change_part(upload, number, |part| *part = Part::default());
        self.parts.remove(&(*upload, number));
        self.change_upload(upload, |row| row.parts -= 1);
    }

    /// A write begins that will complete or abort the upload.
    pub(super) fn begin_ending(&mut self, upload: &Named, now: Millis) {
        self.assume(upload, now);
        self.change_upload(&upload.key, |row| row.ending += 1);
    }

    /// It has not done so.
    pub(super) fn cancel_ending(&mut self, upload: &UploadKey) {
        self.change_upload(upload, |row| row.ending = row.ending.saturating_sub(1));
        if self.uploads.get(upload).is_some_and(|row| row.gone && row.ending == 0) {
            self.drop_upload(upload);
        } else {
            self.drop_if_nothing_bears_it_out(upload);
        }
    }

    /// An abort has found it gone, or ended it; the upstream may say either of what a completion has ended. So its
    /// bytes and its place are given back only when no other write is left that may have made it an object.
    pub(super) fn end_abort(&mut self, upload: &UploadKey) {
        self.change_upload(upload, |row| row.gone = true);
        self.cancel_ending(upload);
    }

    /// The upload became an object: its parts hold nothing any more.
    pub(super) fn close_upload(&mut self, upload: &UploadKey) {
        let Some(row) = self.uploads.get(upload).filter(|row| row.open).cloned() else {
            return;
        };
        for id in self.parts.keys().into_iter().filter(|(of, _)| of == upload) {
            self.parts.remove(&id);
        }
        self.reserve(row.total, 0);
        self.account.open_uploads -= 1;
        if self.account.counting {
            // The recount may have listed it before: it must not bring it back.
            let seen = self.account.recount;
            self.uploads.put(
                *upload,
                Upload { open: false, ended: true, parts: 0, total: 0, place: None, seen, ..row },
            );
        } else {
            self.uploads.remove(upload);
        }
    }

    /// The upload was aborted, and never was one.
    pub(super) fn drop_upload(&mut self, upload: &UploadKey) {
        let place = self.uploads.get(upload).and_then(|row| row.place);
        self.close_upload(upload);
        if let Some(place) = place {
            self.give_place_back(place);
        }
    }

    pub(super) fn put_upload(&mut self, named: &Named, begun_at: Millis, place: Option<Millis>) {
        let row = Upload {
            target: named.target.clone(),
            upload_id: named.upload_id.clone(),
            begun_at,
            place,
            parts: 0,
            total: 0,
            stamp: 0,
            open: true,
            ended: false,
            assumed: false,
            ending: 0,
            gone: false,
            seen: self.account.recount,
        };
        self.uploads.put(named.key, row);
    }

    /// The one place where a part changes: its upload's total and `reserved` move with it.
    pub(super) fn change_part(&mut self, upload: &UploadKey, number: u16, change: impl FnOnce(&mut Part)) {
        let id = (*upload, number);
        let known = self.parts.get(&id).cloned();
        let is_new = known.is_none();
        let mut part = known.unwrap_or_default();
        let before = part.most();
        change(&mut part);
        part.seen = self.account.recount;
        let after = part.most();
        self.parts.put(id, part);
        self.reserve(before, after);
        self.change_upload(upload, |row| {
            row.parts += u32::from(is_new);
            row.total = row.total - before + after;
            row.stamp = row.stamp.wrapping_add(1);
        });
    }
}

impl Part {
    fn is_written_by(&self, id: LeaseId) -> bool {
        self.writers.iter().any(|writer| writer.lease == id)
    }

    fn contest(&mut self, most: u64) {
        self.floor = if self.contested { self.floor.max(most) } else { most };
        self.contested = true;
    }
}
