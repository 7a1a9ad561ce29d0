//! The rows that a step reads and writes: loaded by a store before the step, saved after it.

use std::collections::{BTreeMap, BTreeSet};

use super::rows::{Account, Hold, Lease, LeaseId, Millis, Object, ObjectId, Part, Upload, UploadKey};

/// Which rows a step must have before it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Needs {
    /// Each with its hold.
    pub objects: BTreeSet<ObjectId>,
    /// Each with its place in the windows.
    pub uploads: BTreeSet<UploadKey>,
    pub parts: BTreeSet<(UploadKey, u16)>,
    /// Uploads of which every part is needed.
    pub all_parts: BTreeSet<UploadKey>,
    /// Every upload of the user, with its parts and its place.
    pub all_uploads: bool,
    /// Each with the rows that its kind names.
    pub leases: BTreeSet<LeaseId>,
    /// What has left the windows by now, and the oldest places that have not.
    pub windows: bool,
    /// Single places in the windows.
    pub places: BTreeSet<Millis>,
}

/// Rows of one kind: as they are, and which of them have changed.
#[derive(Debug)]
pub struct Rows<K, V> {
    rows: BTreeMap<K, V>,
    changed: BTreeSet<K>,
}

impl<K, V> Default for Rows<K, V> {
    fn default() -> Self {
        Self { rows: BTreeMap::new(), changed: BTreeSet::new() }
    }
}

impl<K: Ord + Copy, V> Rows<K, V> {
    /// Takes a row as the store has it, unless a step has changed it since.
    pub fn load(&mut self, key: K, row: V) {
        if !self.changed.contains(&key) {
            self.rows.insert(key, row);
        }
    }

    pub fn get(&self, key: &K) -> Option<&V> {
        self.rows.get(key)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.rows.iter()
    }

    /// What the store must write: a row, or `None` where it must go.
    pub fn changes(&self) -> impl Iterator<Item = (&K, Option<&V>)> {
        self.changed.iter().map(|key| (key, self.rows.get(key)))
    }

    pub(super) fn keys(&self) -> Vec<K> {
        self.rows.keys().copied().collect()
    }

    pub(super) fn put(&mut self, key: K, row: V) {
        self.rows.insert(key, row);
        self.changed.insert(key);
    }

    pub(super) fn remove(&mut self, key: &K) -> Option<V> {
        let row = self.rows.remove(key);
        if row.is_some() {
            self.changed.insert(*key);
        }
        row
    }
}

/// A user's account, as far as it was loaded.
#[derive(Debug, Default)]
pub struct View {
    pub account: Account,
    pub objects: Rows<ObjectId, Object>,
    pub holds: Rows<ObjectId, Hold>,
    pub uploads: Rows<UploadKey, Upload>,
    pub parts: Rows<(UploadKey, u16), Part>,
    pub leases: Rows<LeaseId, Lease>,
    /// How many uploads were admitted at which time.
    pub hour: Rows<Millis, u64>,
    pub day: Rows<Millis, u64>,
}

impl View {
    /// What the ledger has of an object: its size, or `None` if it is not there.
    pub(super) fn size(&self, id: &ObjectId) -> Option<u64> {
        self.objects.get(id).filter(|object| object.present).map(|object| object.size)
    }

    /// The one place where an object or the writes to it change: `used` and `reserved` move with them.
    pub(super) fn change_object<R>(
        &mut self,
        id: ObjectId,
        change: impl FnOnce(&mut Hold, &mut Option<u64>) -> R,
    ) -> R {
        let before = self.size(&id);
        let mut size = before;
        let mut hold = self.holds.get(&id).cloned().unwrap_or_default();
        let (base, most) = (before.unwrap_or(0), hold.most(before.unwrap_or(0)));
        let result = change(&mut hold, &mut size);
        self.account.stamp += 1;
        hold.stamp = self.account.stamp;

        let new_base = size.unwrap_or(0);
        self.account.used = self.account.used - base + new_base;
        self.reserve(most - base, hold.most(new_base) - new_base);
        if hold.is_idle() {
            self.holds.remove(&id);
        } else {
            self.holds.put(id, hold);
        }
        let seen = self.account.recount;
        match size {
            Some(size) => self.objects.put(id, Object { size, present: true, seen }),
            // The recount may have listed it before: it must not bring it back.
            None if self.account.counting => {
                self.objects.put(id, Object { size: 0, present: false, seen });
            }
            None => drop(self.objects.remove(&id)),
        }
        result
    }

    /// Replaces what something held of `reserved`.
    pub(super) fn reserve(&mut self, before: u64, after: u64) {
        self.account.reserved = self.account.reserved - before + after;
    }
}
