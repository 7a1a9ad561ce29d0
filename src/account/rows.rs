//! What is written down of a user: the rows of the account, as a store keeps them.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Milliseconds since 1970.
pub type Millis = u64;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        pub struct $name(pub [u8; 16]);

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({:032x})", stringify!($name), u128::from_be_bytes(self.0))
            }
        }
    };
}

id! {
    /// An object, by 128 bits of a keyed hash of its real key.
    ObjectId
}
id! {
    /// A multipart upload, by 128 bits of a keyed hash of its real key and the upstream's id of it.
    UploadKey
}
id! {
    /// A write under way.
    LeaseId
}

/// The sums. `hour` and `day` count the places in the two windows.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Account {
    pub used: u64,
    pub reserved: u64,
    pub hour: u64,
    pub day: u64,
    /// Open multipart uploads, those being created included.
    pub open_uploads: u64,
    /// The last stamp given to a hold.
    pub stamp: u64,
    /// The number of the last recount; rows that it has seen carry it.
    pub recount: u32,
    /// A recount is taking in the listing: what is deleted meanwhile leaves a mark.
    pub counting: bool,
    /// When the recount under way last took a step; 0 while none is.
    pub recount_at: Millis,
    /// A recount has finished: the sums are true.
    pub counted: bool,
    /// When that was.
    pub counted_at: Millis,
    /// Which life of the store the account was last written in.
    pub life: u64,
    pub written_at: Millis,
}

/// An object that is there; or, during a recount, one that was deleted since it began (`present` is false).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Object {
    pub size: u64,
    pub present: bool,
    /// The last recount that saw or touched it.
    pub seen: u32,
}

/// The writes under way to one object, and what is not known of those that have ended.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Hold {
    pub writers: Vec<Writer>,
    /// Ended, but only a HEAD can tell what is there.
    pub unsettled: Vec<LeaseId>,
    /// Completions of unknown outcome, each to be asked about its upload first.
    pub completions: Vec<LeaseId>,
    /// Writes overlapped, or an outcome is unknown: a HEAD is due when the last writer has ended.
    pub contested: bool,
    /// While contested: what may be there at most, whatever the writers still send.
    pub floor: u64,
    /// Not to be looked at before: an answer that was lost may still be followed by its effect.
    pub look_at: Millis,
    /// New with every begin and end: a HEAD that was sent before the last of them proves nothing.
    pub stamp: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Writer {
    pub lease: LeaseId,
    pub size: u64,
}

/// An open multipart upload; or, during a recount, one that ended since it began (`open` is false).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "a row: what is known of it, each by itself")]
pub struct Upload {
    pub target: Target,
    /// The upstream's id.
    pub upload_id: String,
    pub begun_at: Millis,
    /// Its place in the windows.
    pub place: Option<Millis>,
    /// How many parts it has, those under way included.
    pub parts: u32,
    /// What they hold of `reserved`.
    pub total: u64,
    /// Changes with every part.
    pub stamp: u32,
    pub open: bool,
    /// It has ended since the recount began, and is open again only on a client's word.
    pub ended: bool,
    /// Known from a client's word alone: it goes again if nothing bears it out.
    pub assumed: bool,
    /// Writes under way that complete or abort it.
    pub ending: u32,
    /// An abort found it gone or ended it, while other writes were about to end it too.
    #[serde(default)]
    pub gone: bool,
    pub seen: u32,
}

/// A part of an open upload. While writes to it overlap, `floor` is the most it may be.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Part {
    pub size: u64,
    /// The upstream has it, be it empty.
    pub stored: bool,
    pub floor: u64,
    pub writers: Vec<Writer>,
    /// Which of several sizes it has is not known.
    pub contested: bool,
    pub seen: u32,
}

/// An object of the real bucket, by name and by hash.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Target {
    pub id: ObjectId,
    pub key: String,
}

/// A write under way, or one whose outcome is not known. Whoever finds it expired finds out.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Lease {
    pub kind: Kind,
    pub begun_at: Millis,
    pub expires_at: Millis,
    /// The place in the windows that it holds.
    pub place: Option<Millis>,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Kind {
    /// `PutObject`, `CopyObject`.
    Put {
        target: Target,
        size: u64,
    },
    /// `DeleteObject`, `DeleteObjects`.
    Delete {
        targets: Vec<Target>,
    },
    Create {
        target: Target,
    },
    Part {
        upload: UploadKey,
        number: u16,
        size: u64,
    },
    Complete {
        target: Target,
        upload: UploadKey,
        /// The sum of the parts named.
        size: u64,
        /// The upload's stamp when that sum was certain; `None` if it never was.
        stamp: Option<u32>,
    },
    Abort {
        upload: UploadKey,
    },
    /// It is known what became of the write, but not what is there now.
    Look {
        targets: Vec<Target>,
    },
}

impl Hold {
    /// What the object may come to hold at most, while `base` is what the ledger has of it.
    pub(super) fn most(&self, base: u64) -> u64 {
        let sent = self.writers.iter().map(|writer| writer.size).max().unwrap_or(0);
        base.max(sent).max(if self.contested { self.floor } else { 0 })
    }

    pub(super) fn is_idle(&self) -> bool {
        self.writers.is_empty() && !self.contested
    }
}

impl Part {
    pub(super) fn most(&self) -> u64 {
        let sent = self.writers.iter().map(|writer| writer.size).max().unwrap_or(0);
        self.size.max(sent).max(if self.contested { self.floor } else { 0 })
    }
}
