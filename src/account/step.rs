//! The steps of a write, and what each needs to know. Here it begins: it is admitted, and what it may add is
//! reserved; `settle` has its end. Each step is taken whole or not at all.

use super::recount::Recount;
use super::rows::{Account, Kind, Lease, LeaseId, Millis, ObjectId, Target, UploadKey, Writer};
use super::view::{Needs, View};
use super::windows::{self, DAY, HOUR};

/// What a user may; `None` is unlimited.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Limits {
    /// Bytes.
    pub storage: Option<u64>,
    /// Bytes.
    pub file_size: Option<u64>,
    pub uploads_per_hour: Option<u64>,
    pub uploads_per_day: Option<u64>,
    pub open_uploads: Option<u64>,
}

/// A write that asks to be admitted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Write {
    /// `PutObject`, `CopyObject`.
    Put {
        target: Target,
        size: u64,
    },
    /// `DeleteObject`, `DeleteObjects`. Never refused.
    Delete {
        targets: Vec<Target>,
    },
    Create {
        target: Target,
    },
    /// Names its upload fully: one that was begun past the gateway is taken in here.
    Part {
        upload: Named,
        number: u16,
        size: u64,
    },
    /// The parts that the object is to be made of. Adds nothing to what they hold, and is never refused.
    Complete {
        upload: Named,
        parts: Vec<u16>,
    },
    Abort {
        upload: Named,
    },
}

/// A multipart upload by all its names.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Named {
    pub key: UploadKey,
    pub target: Target,
    pub upload_id: String,
}

/// What became of a write.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// The upstream did it.
    Done,
    /// The upstream began this upload.
    Created(Named),
    /// Of a delete of several, in their order.
    Each(Vec<Outcome>),
    /// The upstream did not do it, and never will.
    Failed,
    /// The answer was lost. Whoever looks, after a while, finds out.
    Unknown,
    /// It was done, but only a look tells what is there now.
    Look,
}

/// What a look at the bucket showed.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Found {
    /// By object: the stamp that the look was asked for with, and the size, if the object is there.
    pub objects: Vec<(ObjectId, u64, Option<u64>)>,
    /// The upload that the lease is about is no more.
    pub upload_is_gone: bool,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    Begin {
        lease: LeaseId,
        write: Write,
        limits: Limits,
        expires_at: Millis,
        /// The store's present life; see [`Account::life`].
        life: u64,
    },
    Settle {
        lease: LeaseId,
        outcome: Outcome,
        /// When to look, if that is needed and not possible at once.
        look_at: Millis,
    },
    Resolve {
        lease: LeaseId,
        found: Found,
    },
    Renew {
        leases: Vec<LeaseId>,
        expires_at: Millis,
    },
    /// The owner of the lease is gone, or its outcome is unknown: says what to look at, if the lease has
    /// expired by now, and keeps others from looking until `look_at`. One whose owner is known to be dead is taken
    /// before: what it asked for may still come until the lease would have expired.
    Expire {
        lease: LeaseId,
        orphaned: bool,
        look_at: Millis,
    },
    Recount(Recount),
    /// Changes nothing but what has left the windows.
    Usage,
    /// Whether a new object of this size would be admitted now. Holds nothing for it.
    Check {
        size: u64,
        limits: Limits,
    },
}

/// Why a write is not admitted: the numbers of the message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    FileSize {
        size: u64,
        max: u64,
    },
    /// `used` includes what is reserved.
    Storage {
        used: u64,
        adds: u64,
        max: u64,
    },
    Hourly {
        count: u64,
        max: u64,
        retry_after: Millis,
    },
    Daily {
        count: u64,
        max: u64,
        retry_after: Millis,
    },
    OpenUploads {
        count: u64,
        max: u64,
    },
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Begun {
    Admitted,
    Refused(Refusal),
    /// The account's sums are not known, or not to be trusted: a recount comes first.
    NotCounted,
}

/// What is to be looked at in the bucket before the write is settled; nothing, if both are empty.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Settled {
    pub objects: Vec<(Target, u64)>,
    /// Whether this upload is still there.
    pub upload: Option<UploadKey>,
    /// The lease was not there any more: somebody else took it for dead. The user must be recounted.
    pub lost: bool,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Reply {
    Begun(Begun),
    Settled(Settled),
    /// Whether everything was still as it was when the look was asked for.
    Resolved(bool),
    Renewed,
    Recount(super::recount::Counted),
    Usage(Account),
}

impl Step {
    /// The rows to load. What a lease names is known only once it is loaded: see [`Step::needs_of_lease`].
    pub fn needs(&self) -> Needs {
        let mut needs = Needs::default();
        match self {
            Self::Begin { write, .. } => write.needs(&mut needs),
            Self::Settle { lease, outcome, .. } => {
                needs.leases.insert(*lease);
                if let Outcome::Created(named) = outcome {
                    needs.uploads.insert(named.key);
                }
            }
            Self::Resolve { lease, .. } | Self::Expire { lease, .. } => drop(needs.leases.insert(*lease)),
            Self::Renew { leases, .. } => needs.leases.extend(leases),
            Self::Recount(recount) => recount.needs(&mut needs),
            Self::Usage | Self::Check { .. } => needs.windows = true,
        }
        needs
    }

    /// The further rows to load for a lease that this step is about.
    pub fn needs_of_lease(&self, lease: &Lease) -> Needs {
        let mut needs = Needs::default();
        if matches!(self, Self::Renew { .. }) {
            return needs;
        }
        needs.places.extend(lease.place);
        match &lease.kind {
            Kind::Put { target, .. } | Kind::Create { target } => drop(needs.objects.insert(target.id)),
            Kind::Delete { targets } | Kind::Look { targets } => {
                needs.objects.extend(targets.iter().map(|target| target.id));
            }
            Kind::Part { upload, number, .. } => {
                needs.uploads.insert(*upload);
                needs.parts.insert((*upload, *number));
            }
            Kind::Complete { target, upload, .. } => {
                needs.objects.insert(target.id);
                needs.uploads.insert(*upload);
                needs.all_parts.insert(*upload);
            }
            Kind::Abort { upload } => {
                needs.uploads.insert(*upload);
                needs.all_parts.insert(*upload);
            }
        }
        needs
    }
}

impl Write {
    fn needs(&self, needs: &mut Needs) {
        match self {
            Self::Put { target, .. } => {
                needs.objects.insert(target.id);
                needs.windows = true;
            }
            Self::Delete { targets } => needs.objects.extend(targets.iter().map(|target| target.id)),
            Self::Create { .. } => needs.windows = true,
            Self::Part { upload, number, .. } => {
                needs.uploads.insert(upload.key);
                needs.parts.insert((upload.key, *number));
            }
            Self::Complete { upload, parts } => {
                needs.objects.insert(upload.target.id);
                needs.uploads.insert(upload.key);
                needs.parts.extend(parts.iter().map(|number| (upload.key, *number)));
            }
            Self::Abort { upload } => drop(needs.uploads.insert(upload.key)),
        }
    }
}

impl View {
    /// Takes a step whose rows are loaded.
    pub fn step(&mut self, step: Step, now: Millis) -> Reply {
        match step {
            Step::Begin { lease, write, limits, expires_at, life } => {
                Reply::Begun(self.begin(lease, write, &limits, expires_at, life, now))
            }
            Step::Settle { lease, outcome, look_at } => {
                Reply::Settled(self.settle(lease, outcome, look_at, now))
            }
            Step::Resolve { lease, found } => Reply::Resolved(self.resolve(lease, &found, now)),
            Step::Renew { leases, expires_at } => {
                for id in leases {
                    if let Some(mut lease) = self.leases.get(&id).cloned() {
                        // That of a slow operation was given long enough.
                        lease.expires_at = lease.expires_at.max(expires_at);
                        self.leases.put(id, lease);
                    }
                }
                Reply::Renewed
            }
            Step::Expire { lease, orphaned, look_at } => {
                Reply::Settled(self.expire(lease, orphaned, look_at, now))
            }
            Step::Recount(recount) => Reply::Recount(self.recount(recount, now)),
            Step::Usage => {
                self.trim(now);
                Reply::Usage(self.account)
            }
            Step::Check { size, limits } => Reply::Begun(self.check(size, &limits, now)),
        }
    }

    fn begin(
        &mut self,
        id: LeaseId,
        write: Write,
        limits: &Limits,
        expires_at: Millis,
        life: u64,
        now: Millis,
    ) -> Begun {
        if self.account.life != life {
            // Another life of the store may have lost what was written just before it ended.
            self.account.counted &= now.saturating_sub(self.account.written_at) > HOUR;
        }
        if !self.account.counted {
            return Begun::NotCounted;
        }
        let (kind, takes_place) = match self.admit(id, write, limits, now) {
            Ok(admitted) => admitted,
            Err(refusal) => return Begun::Refused(refusal),
        };
        let place = takes_place.then(|| windows::place(now, limits.uploads_per_hour, limits.uploads_per_day));
        if let Some(place) = place {
            self.take_place(place);
        }
        self.leases.put(id, Lease { kind, begun_at: now, expires_at, place });
        (self.account.life, self.account.written_at) = (life, now);
        Begun::Admitted
    }

    fn check(&mut self, size: u64, limits: &Limits, now: Millis) -> Begun {
        if !self.account.counted {
            return Begun::NotCounted;
        }
        let checked = file_size(limits, size)
            .and_then(|()| self.storage(limits, size))
            .and_then(|()| self.uploads(limits, now));
        checked.map_or_else(Begun::Refused, |()| Begun::Admitted)
    }

    /// Reserves what the write needs. Also says whether it takes a place in the windows.
    fn admit(
        &mut self,
        id: LeaseId,
        write: Write,
        limits: &Limits,
        now: Millis,
    ) -> Result<(Kind, bool), Refusal> {
        match write {
            Write::Put { target, size } => {
                file_size(limits, size)?;
                let base = self.size(&target.id).unwrap_or(0);
                let mut hold = self.holds.get(&target.id).cloned().unwrap_or_default();
                let before = hold.most(base);
                let writer = Writer { lease: id, size };
                hold.writers.push(writer);
                self.storage(limits, hold.most(base) - before)?;
                self.uploads(limits, now)?;
                self.open_hold(&target, writer);
                Ok((Kind::Put { target, size }, true))
            }
            Write::Delete { targets } => {
                for target in &targets {
                    self.open_hold(target, Writer { lease: id, size: 0 });
                }
                Ok((Kind::Delete { targets }, false))
            }
            Write::Create { target } => {
                self.storage(limits, 0)?;
                self.uploads(limits, now)?;
                let count = self.account.open_uploads;
                match limits.open_uploads {
                    Some(max) if count >= max => return Err(Refusal::OpenUploads { count, max }),
                    Some(_) | None => self.account.open_uploads += 1,
                }
                Ok((Kind::Create { target }, true))
            }
            Write::Part { upload, number, size } => {
                let (before, after) = self.part_would_hold(&upload.key, number, size);
                let total = self.uploads.get(&upload.key).map_or(0, |row| row.total);
                file_size(limits, (total - before).saturating_add(after))?;
                self.storage(limits, after - before)?;
                self.open_part(&upload, number, Writer { lease: id, size }, now);
                Ok((Kind::Part { upload: upload.key, number, size }, false))
            }
            Write::Complete { upload, parts } => {
                let (size, stamp) = self.size_of_parts(&upload.key, &parts);
                self.begin_ending(&upload, now);
                // The parts hold its bytes: the writer needs none of its own.
                self.open_hold(&upload.target, Writer { lease: id, size: 0 });
                Ok((Kind::Complete { target: upload.target, upload: upload.key, size, stamp }, false))
            }
            Write::Abort { upload } => {
                self.begin_ending(&upload, now);
                Ok((Kind::Abort { upload: upload.key }, false))
            }
        }
    }

    fn storage(&self, limits: &Limits, adds: u64) -> Result<(), Refusal> {
        let used = self.account.used + self.account.reserved;
        match limits.storage {
            Some(max) if used + adds > max => Err(Refusal::Storage { used, adds, max }),
            Some(_) | None => Ok(()),
        }
    }

    fn uploads(&mut self, limits: &Limits, now: Millis) -> Result<(), Refusal> {
        self.trim(now);
        let (hour, day) = (self.account.hour, self.account.day);
        match (limits.uploads_per_hour, limits.uploads_per_day) {
            (Some(max), _) if hour >= max => {
                let retry_after = windows::until_one_leaves(&self.hour, now, HOUR);
                Err(Refusal::Hourly { count: hour, max, retry_after })
            }
            (_, Some(max)) if day >= max => {
                let retry_after = windows::until_one_leaves(&self.day, now, DAY);
                Err(Refusal::Daily { count: day, max, retry_after })
            }
            _ => Ok(()),
        }
    }

    fn open_hold(&mut self, target: &Target, writer: Writer) {
        self.change_object(target.id, |hold, _| hold.writers.push(writer));
    }
}

/// A client may say any length. This is more than any S3 service takes as one object, 1 PiB, and few enough that sums of
/// them can be counted.
const LARGEST: u64 = 1 << 50;

fn file_size(limits: &Limits, size: u64) -> Result<(), Refusal> {
    let max = limits.file_size.map_or(LARGEST, |max| max.min(LARGEST));
    if size > max { Err(Refusal::FileSize { size, max }) } else { Ok(()) }
}
