//! How a write ends: settled by the upstream's answer, or expired when nobody is there to hear one, and resolved by
//! a look at the bucket where the answer says too little.
//!
//! A key is contested when writes to it overlapped or an outcome is unknown; it is looked at when its last
//! writer has ended. An unknown completion is first asked whether its upload is still there: until that is known its
//! parts hold the bytes, then the key does.

use super::rows::{Hold, Kind, Lease, LeaseId, Millis, ObjectId, Target, UploadKey};
use super::step::{Found, Outcome, Settled};
use super::view::View;

/// A writer that ends: whether it completes an upload, and when to look if that cannot be now.
#[derive(Clone, Copy)]
struct Ending {
    lease: LeaseId,
    completes: bool,
    look_at: Millis,
    now: Millis,
}

impl View {
    pub(super) fn settle(&mut self, id: LeaseId, outcome: Outcome, look_at: Millis, now: Millis) -> Settled {
        let Some(lease) = self.leases.remove(&id) else {
            return Settled { lost: true, ..Settled::default() };
        };
        let unknown = outcome == Outcome::Unknown;
        let ending = Ending { lease: id, completes: false, look_at, now };
        let mut settled = Settled::default();
        match &lease.kind {
            Kind::Put { target, size } => {
                if outcome == Outcome::Failed {
                    self.give_back(&lease);
                }
                let due = self.end_writer(ending, target, &outcome, Some(*size));
                settled.objects.extend(due);
            }
            Kind::Delete { targets } => {
                for (index, target) in targets.iter().enumerate() {
                    let own = match &outcome {
                        Outcome::Each(each) => each.get(index).unwrap_or(&Outcome::Unknown),
                        whole => whole,
                    };
                    settled.objects.extend(self.end_writer(ending, target, own, None));
                }
            }
            Kind::Create { .. } => self.end_create(&lease, outcome, now),
            Kind::Part { upload, number, size } => self.end_part(upload, *number, id, *size, &outcome),
            Kind::Complete { target, upload, size, stamp } => {
                let row = self.uploads.get(upload);
                let certain = row.is_some_and(|row| Some(row.stamp) == *stamp);
                let total = row.map_or(0, |row| row.total);
                let (outcome, becomes) = match outcome {
                    Outcome::Done if certain => (Outcome::Done, Some(*size)),
                    // No more than all parts together, until a look tells.
                    Outcome::Done | Outcome::Look => (Outcome::Look, Some(total.max(*size))),
                    // While nobody knows, the parts go on holding the bytes.
                    Outcome::Unknown => (Outcome::Unknown, None),
                    Outcome::Failed | Outcome::Created(_) | Outcome::Each(_) => (Outcome::Failed, None),
                };
                match outcome {
                    Outcome::Done | Outcome::Look => self.close_upload(upload),
                    Outcome::Failed | Outcome::Created(_) | Outcome::Each(_) => self.cancel_ending(upload),
                    Outcome::Unknown => {}
                }
                let due = self.end_writer(Ending { completes: true, ..ending }, target, &outcome, becomes);
                settled.objects.extend(due);
            }
            Kind::Abort { upload } => match outcome {
                Outcome::Done => self.end_abort(upload),
                Outcome::Unknown => self.leases.put(id, Lease { expires_at: look_at, ..lease.clone() }),
                Outcome::Created(_) | Outcome::Each(_) | Outcome::Failed | Outcome::Look => {
                    self.cancel_ending(upload);
                }
            },
            // Settled before: what is left is a look.
            Kind::Look { .. } => {}
        }
        let unsettled = |target: &&Target| {
            self.holds
                .get(&target.id)
                .is_some_and(|hold| hold.unsettled.contains(&id) || hold.completions.contains(&id))
        };
        let left: Vec<Target> = lease.targets().filter(unsettled).cloned().collect();
        if unknown && !left.is_empty() {
            self.leases.put(id, Lease { expires_at: look_at, ..lease });
        } else if !left.is_empty() {
            let kind = Kind::Look { targets: left };
            self.leases.put(id, Lease { kind, expires_at: look_at, place: None, ..lease });
        }
        settled
    }

    /// One writer of an object has ended. Says if it is time to look at what is there.
    fn end_writer(
        &mut self,
        ending: Ending,
        target: &Target,
        outcome: &Outcome,
        becomes: Option<u64>,
    ) -> Option<(Target, u64)> {
        let Ending { lease: id, completes, look_at, now } = ending;
        let look = self.change_object(target.id, |hold, size| {
            let most = hold.most(size.unwrap_or(0)).max(becomes.unwrap_or(0));
            hold.writers.retain(|writer| writer.lease != id);
            let alone = hold.writers.is_empty() && !hold.contested;
            let effective = match outcome {
                Outcome::Failed => false,
                Outcome::Done | Outcome::Created(_) | Outcome::Each(_) => true,
                Outcome::Look => {
                    hold.contest(most);
                    true
                }
                Outcome::Unknown => {
                    hold.contest(most);
                    hold.look_at = hold.look_at.max(look_at);
                    let waiting = if completes { &mut hold.completions } else { &mut hold.unsettled };
                    waiting.push(id);
                    false
                }
            };
            if effective {
                if !alone {
                    hold.contest(most);
                }
                *size = becomes;
            }
            let look = hold.can_be_looked_at() && hold.look_at <= now;
            // One that is awaited must not take this one's effect for its own.
            let awaited = effective && !hold.unsettled.is_empty();
            if (look || awaited) && !hold.unsettled.contains(&id) {
                hold.unsettled.push(id);
            }
            look
        });
        look.then(|| (target.clone(), self.stamp(&target.id)))
    }

    fn is_writer(&self, id: LeaseId, target: &Target) -> bool {
        self.holds.get(&target.id).is_some_and(|hold| hold.writers.iter().any(|writer| writer.lease == id))
    }

    fn stamp(&self, id: &ObjectId) -> u64 {
        self.holds.get(id).map_or(0, |hold| hold.stamp)
    }

    fn give_back(&mut self, lease: &Lease) {
        if let Some(place) = lease.place {
            self.give_place_back(place);
        }
    }

    pub(super) fn resolve(&mut self, id: LeaseId, found: &Found, now: Millis) -> bool {
        let Some(lease) = self.leases.get(&id).cloned() else {
            return true;
        };
        let mut all = true;
        for (object, stamp, there) in &found.objects {
            let unchanged =
                self.holds.get(object).is_some_and(|hold| hold.stamp == *stamp && hold.can_be_looked_at());
            if !unchanged {
                all &= !self.holds.get(object).is_some_and(|hold| hold.unsettled.contains(&id));
                continue;
            }
            if !self.is_decisive(id, &lease.kind, object, *there, now) {
                all = false;
                continue;
            }
            self.change_object(*object, |hold, size| {
                *hold = Hold::default();
                *size = *there;
            });
        }
        if let Kind::Complete { target, .. } = &lease.kind {
            all &= found.upload_is_gone || !self.may_come(&target.id, now);
        }
        if all {
            self.leases.remove(&id);
            match &lease.kind {
                Kind::Put { target, size } => {
                    let there = found.objects.iter().find(|(object, ..)| *object == target.id);
                    if there.is_some_and(|(_, _, there)| *there != Some(*size)) {
                        self.give_back(&lease);
                    }
                }
                Kind::Complete { target, upload, .. } => {
                    self.resolve_completion(id, &lease, target, *upload, found.upload_is_gone, now);
                }
                Kind::Abort { upload } if found.upload_is_gone => self.end_abort(upload),
                Kind::Abort { upload } => self.cancel_ending(upload),
                Kind::Delete { .. } | Kind::Create { .. } | Kind::Part { .. } | Kind::Look { .. } => {}
            }
        }
        self.account.written_at = now;
        all
    }

    /// What a lost write may still do to the object, it does before this is over.
    fn may_come(&self, id: &ObjectId, now: Millis) -> bool {
        self.holds.get(id).is_some_and(|hold| hold.look_at > now)
    }

    /// Whether what a look found will stay: nothing may come any more, or it was this write's effect that came, and
    /// no other is awaited.
    fn is_decisive(
        &self,
        id: LeaseId,
        kind: &Kind,
        object: &ObjectId,
        there: Option<u64>,
        now: Millis,
    ) -> bool {
        let came = match kind {
            Kind::Put { size, .. } => there == Some(*size),
            Kind::Delete { .. } => there.is_none(),
            Kind::Create { .. }
            | Kind::Part { .. }
            | Kind::Complete { .. }
            | Kind::Abort { .. }
            | Kind::Look { .. } => false,
        };
        let alone = self.holds.get(object).is_some_and(|hold| hold.unsettled == [id]);
        // What looks as before may be as before.
        !self.may_come(object, now) || (came && alone && self.size(object) != there)
    }

    /// The upload of an unknown completion is gone, and what its parts held is the object's to hold; or it is not, and
    /// nothing was completed. Either way a look at the object is left to do.
    fn resolve_completion(
        &mut self,
        id: LeaseId,
        lease: &Lease,
        target: &Target,
        upload: UploadKey,
        gone: bool,
        now: Millis,
    ) {
        let total = self.uploads.get(&upload).map_or(0, |row| row.total);
        if gone {
            self.close_upload(&upload);
        } else {
            self.cancel_ending(&upload);
        }
        self.change_object(target.id, |hold, size| {
            hold.contest(hold.most(size.unwrap_or(0)).max(if gone { total } else { 0 }));
            hold.completions.retain(|waiting| *waiting != id);
            if hold.completions.is_empty() && hold.unsettled.is_empty() {
                hold.look_at = 0;
            }
            hold.unsettled.push(id);
        });
        let kind = Kind::Look { targets: vec![target.clone()] };
        self.leases.put(id, Lease { kind, expires_at: now, place: None, ..lease.clone() });
    }

    pub(super) fn expire(&mut self, id: LeaseId, orphaned: bool, look_at: Millis, now: Millis) -> Settled {
        let mut settled = Settled::default();
        let due = |lease: &Lease| orphaned || lease.expires_at <= now;
        let Some(lease) = self.leases.get(&id).cloned().filter(due) else {
            return settled;
        };
        let ending = Ending { lease: id, completes: false, look_at: lease.expires_at, now };
        match &lease.kind {
            Kind::Put { .. } | Kind::Delete { .. } | Kind::Look { .. } => {
                for target in lease.targets() {
                    if self.is_writer(id, target) {
                        self.end_writer(ending, target, &Outcome::Unknown, None);
                    }
                    let hold = self.holds.get(&target.id);
                    if hold.is_some_and(|hold| hold.unsettled.contains(&id) && hold.can_be_looked_at()) {
                        settled.objects.push((target.clone(), self.stamp(&target.id)));
                    }
                }
            }
            Kind::Complete { target, upload, .. } => {
                if self.is_writer(id, target) {
                    self.end_writer(Ending { completes: true, ..ending }, target, &Outcome::Unknown, None);
                }
                settled.upload = Some(*upload);
            }
            Kind::Create { .. } => self.end_create(&lease, Outcome::Failed, now),
            Kind::Part { upload, number, size } => {
                self.end_part(upload, *number, id, *size, &Outcome::Unknown);
            }
            Kind::Abort { upload } => settled.upload = Some(*upload),
        }
        if settled.objects.is_empty() && settled.upload.is_none() {
            self.leases.remove(&id);
        } else {
            self.leases.put(id, Lease { expires_at: look_at, ..lease });
        }
        settled
    }
}

impl Hold {
    fn can_be_looked_at(&self) -> bool {
        self.contested && self.writers.is_empty() && self.completions.is_empty()
    }

    pub(super) fn contest(&mut self, most: u64) {
        self.floor = if self.contested { self.floor.max(most) } else { most };
        self.contested = true;
    }
}

impl Lease {
    /// The objects that it writes.
    pub fn targets(&self) -> impl Iterator<Item = &Target> {
        let targets = match &self.kind {
            Kind::Put { target, .. } | Kind::Complete { target, .. } => std::slice::from_ref(target),
            Kind::Delete { targets } | Kind::Look { targets } => targets.as_slice(),
            Kind::Create { .. } | Kind::Part { .. } | Kind::Abort { .. } => &[],
        };
        targets.iter()
    }
}
