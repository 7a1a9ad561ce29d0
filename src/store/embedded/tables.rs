//! The tables of the state file, and a step taken on them. In: one write transaction, whose tables are opened once
//! for the whole batch. A step reads everything it needs before it writes anything: what cannot be read fails
//! that step alone, what cannot be written fails the batch.
//!
//! A user's rows lie together, under a number of four bytes that the user's first account row is given: ids are up
//! to 64 bytes, and an object's row would be mostly its owner's name.

use std::panic::{AssertUnwindSafe, catch_unwind};

use redb::{ReadableTable, Table, TableDefinition, WriteTransaction};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::pars::Pars;
use super::people::People;
use crate::account::{Account, DAY, HOUR, Lease, Millis, Needs, Reply, Rows, Step, UploadKey, View};
use crate::store::rows::{self, Unreadable};
use crate::types::UserId;

pub(super) type Bytes = &'static [u8];
/// A user's number and an id of the user's.
pub(super) type Of = (u32, &'static [u8; 16]);
type OfPart = (u32, &'static [u8; 16], u16);
type Place = (u32, u8, Millis);

/// What the file is; see `file`.
pub(super) const FACTS: TableDefinition<'_, &str, Bytes> = TableDefinition::new("facts");
/// By user: the number, in four bytes, and the account.
pub(super) const ACCOUNTS: TableDefinition<'_, &str, Bytes> = TableDefinition::new("accounts");
/// By number: the user.
pub(super) const NUMBERS: TableDefinition<'_, u32, &str> = TableDefinition::new("numbers");
pub(super) const OBJECTS: TableDefinition<'_, Of, Bytes> = TableDefinition::new("objects");
const HOLDS: TableDefinition<'_, Of, Bytes> = TableDefinition::new("holds");
pub(super) const UPLOADS: TableDefinition<'_, Of, Bytes> = TableDefinition::new("uploads");
const PARTS: TableDefinition<'_, OfPart, Bytes> = TableDefinition::new("parts");
/// When the lease expires, in eight bytes, and the lease. Few enough to look through: writes under way.
pub(super) const LEASES: TableDefinition<'_, Of, Bytes> = TableDefinition::new("leases");
/// How many uploads took this place, in this window.
const PLACES: TableDefinition<'_, Place, u64> = TableDefinition::new("places");
const WINDOWS: [(u8, Millis); 2] = [(0, HOUR), (1, DAY)];

pub(super) const FIRST_ID: [u8; 16] = [0; 16];
pub(super) const LAST_ID: [u8; 16] = [0xff; 16];

/// Why a request to the store fails.
#[derive(Debug, thiserror::Error)]
pub(super) enum Stop {
    /// This one alone: a row is not what it should be, or the sums do not add up. Nothing was written.
    #[error("{0}")]
    Row(String),
    /// The storage: everything in this transaction is undone.
    #[error(transparent)]
    Storage(redb::Error),
}

impl From<Unreadable> for Stop {
    fn from(unreadable: Unreadable) -> Self {
        Self::Row(unreadable.to_string())
    }
}

macro_rules! storage {
    ($($error:ty),*) => {
        $(impl From<$error> for Stop {
            fn from(error: $error) -> Self {
                Self::Storage(error.into())
            }
        })*
    };
}
storage!(redb::TableError, redb::StorageError, redb::TransactionError, redb::CommitError);

pub(super) type Done<T = ()> = Result<T, Stop>;

pub(super) struct Tables<'tx> {
    accounts: Table<'tx, &'static str, Bytes>,
    numbers: Table<'tx, u32, &'static str>,
    objects: Table<'tx, Of, Bytes>,
    holds: Table<'tx, Of, Bytes>,
    uploads: Table<'tx, Of, Bytes>,
    parts: Table<'tx, OfPart, Bytes>,
    leases: Table<'tx, Of, Bytes>,
    places: Table<'tx, Place, u64>,
    pub(super) people: People<'tx>,
    pub(super) pars: Pars<'tx>,
}

impl<'tx> Tables<'tx> {
    /// Opens them all, and makes those that are not there.
    pub(super) fn open(tx: &'tx WriteTransaction) -> Result<Self, redb::TableError> {
        Ok(Self {
            accounts: tx.open_table(ACCOUNTS)?,
            numbers: tx.open_table(NUMBERS)?,
            objects: tx.open_table(OBJECTS)?,
            holds: tx.open_table(HOLDS)?,
            uploads: tx.open_table(UPLOADS)?,
            parts: tx.open_table(PARTS)?,
            leases: tx.open_table(LEASES)?,
            places: tx.open_table(PLACES)?,
            people: People::open(tx)?,
            pars: Pars::open(tx)?,
        })
    }

    pub(super) fn step(&mut self, user: &UserId, step: Step, now: Millis) -> Done<Reply> {
        let known = find_account(&self.accounts, user)?;
        let mut view =
            View { account: known.map_or_else(Account::default, |(_, account)| account), ..View::default() };
        if let Some((number, _)) = known {
            let needs = step.needs();
            self.load(number, &needs, &mut view, now)?;
            for id in &needs.leases {
                let Some(lease) = view.leases.get(id) else { continue };
                let needs = step.needs_of_lease(lease);
                self.load(number, &needs, &mut view, now)?;
            }
        }
        let before = view.account;
        // Sums that do not add up overflow, which panics: this user's trouble, and not that of the others here.
        let taken = catch_unwind(AssertUnwindSafe(|| view.step(step, now)));
        let reply = taken.map_err(|_| Stop::Row(format!("the account of {user} does not add up")))?;
        self.save(user, known.map(|(number, _)| number), before, &view)?;
        Ok(reply)
    }

    fn load(&self, user: u32, needs: &Needs, view: &mut View, now: Millis) -> Done {
        for id in &needs.objects {
            if let Some(row) = self.objects.get((user, &id.0))? {
                view.objects.load(*id, rows::object_from_bytes(row.value())?);
            }
            load_json(&self.holds, (user, &id.0), *id, &mut view.holds)?;
        }
        for key in &needs.uploads {
            load_json(&self.uploads, (user, &key.0), *key, &mut view.uploads)?;
        }
        if needs.all_uploads {
            for row in self.uploads.range((user, &FIRST_ID)..=(user, &LAST_ID))? {
                let (key, row) = row?;
                view.uploads.load(UploadKey(*key.value().1), rows::from_json(row.value())?);
            }
        }
        for (key, part) in &needs.parts {
            load_json(&self.parts, (user, &key.0, *part), (*key, *part), &mut view.parts)?;
        }
        if needs.all_uploads {
            self.load_parts(user, &FIRST_ID, &LAST_ID, view)?;
        } else {
            for key in &needs.all_parts {
                self.load_parts(user, &key.0, &key.0, view)?;
            }
        }
        for id in &needs.leases {
            if let Some(row) = self.leases.get((user, &id.0))? {
                view.leases.load(*id, lease_from_bytes(row.value())?.1);
            }
        }
        self.load_places(user, needs, view, now)
    }

    fn load_parts(&self, user: u32, first: &[u8; 16], last: &[u8; 16], view: &mut View) -> Done {
        for row in self.parts.range((user, first, 0)..=(user, last, u16::MAX))? {
            let (key, row) = row?;
            let (_, upload, part) = key.value();
            view.parts.load((UploadKey(*upload), part), rows::from_json(row.value())?);
        }
        Ok(())
    }

    fn load_places(&self, user: u32, needs: &Needs, view: &mut View, now: Millis) -> Done {
        let mut places = needs.places.clone();
        places.extend(view.uploads.iter().filter_map(|(_, upload)| upload.place));
        for ((window, length), loaded) in WINDOWS.into_iter().zip([&mut view.hour, &mut view.day]) {
            for place in &places {
                if let Some(count) = self.places.get((user, window, *place))? {
                    loaded.load(*place, count.value());
                }
            }
            if needs.windows {
                // All that have left, and the first that has not.
                for row in self.places.range((user, window, 0)..=(user, window, Millis::MAX))? {
                    let (key, count) = row?;
                    let (.., place) = key.value();
                    loaded.load(place, count.value());
                    if place.saturating_add(length) > now {
                        break;
                    }
                }
            }
        }
        Ok(())
    }

    fn save(&mut self, user: &UserId, number: Option<u32>, before: Account, view: &View) -> Done {
        let rows_changed = view.objects.changes().next().is_some()
            || view.holds.changes().next().is_some()
            || view.uploads.changes().next().is_some()
            || view.parts.changes().next().is_some()
            || view.leases.changes().next().is_some()
            || view.hour.changes().next().is_some()
            || view.day.changes().next().is_some();
        if !rows_changed && view.account == before {
            return Ok(());
        }
        let of = match number {
            Some(number) => number,
            None => self.new_number(user)?,
        };
        let mut row = of.to_le_bytes().to_vec();
        row.extend(rows::to_json(&view.account).map_err(unwritable)?);
        self.accounts.insert(user.as_str(), row.as_slice())?;
        for (id, object) in view.objects.changes() {
            put(&mut self.objects, (of, &id.0), object.map(rows::object_to_bytes))?;
        }
        for (id, hold) in view.holds.changes() {
            put(&mut self.holds, (of, &id.0), json(hold)?)?;
        }
        for (key, upload) in view.uploads.changes() {
            put(&mut self.uploads, (of, &key.0), json(upload)?)?;
        }
        for ((key, part), row) in view.parts.changes() {
            put(&mut self.parts, (of, &key.0, *part), json(row)?)?;
        }
        for (id, lease) in view.leases.changes() {
            put(&mut self.leases, (of, &id.0), lease.map(lease_to_bytes).transpose().map_err(unwritable)?)?;
        }
        for ((window, _), changed) in WINDOWS.into_iter().zip([&view.hour, &view.day]) {
            for (place, count) in changed.changes() {
                match count {
                    Some(count) => drop(self.places.insert((of, window, *place), *count)?),
                    None => drop(self.places.remove((of, window, *place))?),
                }
            }
        }
        Ok(())
    }

    fn new_number(&mut self, user: &UserId) -> Done<u32> {
        let last = self.numbers.last()?.map_or(0, |(number, _)| number.value());
        let number = last.checked_add(1).ok_or_else(|| Stop::Row("there are no numbers left".to_owned()))?;
        self.numbers.insert(number, user.as_str())?;
        Ok(number)
    }
}

/// A user's number and account.
pub(super) fn find_account(
    accounts: &impl ReadableTable<&'static str, Bytes>,
    user: &UserId,
) -> Done<Option<(u32, Account)>> {
    let Some(row) = accounts.get(user.as_str())? else { return Ok(None) };
    let torn = || Stop::Row(format!("the account of {user} is torn"));
    let (number, account) = row.value().split_first_chunk().ok_or_else(torn)?;
    Ok(Some((u32::from_le_bytes(*number), rows::from_json(account)?)))
}

/// When it expires, which can be known without reading the rest.
pub(super) fn expiry(lease: &[u8]) -> Done<Millis> {
    let torn = || Stop::Row("a lease is torn".to_owned());
    Ok(u64::from_le_bytes(*lease.first_chunk().ok_or_else(torn)?))
}

fn lease_from_bytes(bytes: &[u8]) -> Done<(Millis, Lease)> {
    let expires_at = expiry(bytes)?;
    Ok((expires_at, rows::from_json(bytes.get(8..).unwrap_or_default())?))
}

fn lease_to_bytes(lease: &Lease) -> Result<Vec<u8>, Unreadable> {
    let mut bytes = lease.expires_at.to_le_bytes().to_vec();
    bytes.extend(rows::to_json(lease)?);
    Ok(bytes)
}

fn json(row: Option<&impl Serialize>) -> Done<Option<Vec<u8>>> {
    row.map(rows::to_json).transpose().map_err(unwritable)
}

/// Fails the batch: other rows of the step may be written already.
pub(super) fn unwritable(row: Unreadable) -> Stop {
    Stop::Storage(redb::Error::Io(std::io::Error::other(row)))
}

fn load_json<'k, K: redb::Key + 'static, I: Ord + Copy, R: DeserializeOwned>(
    table: &Table<'_, K, Bytes>,
    key: impl std::borrow::Borrow<K::SelfType<'k>>,
    id: I,
    rows: &mut Rows<I, R>,
) -> Done {
    if let Some(row) = table.get(key)? {
        rows.load(id, rows::from_json(row.value())?);
    }
    Ok(())
}

fn put<'k, K: redb::Key + 'static>(
    table: &mut Table<'_, K, Bytes>,
    key: impl std::borrow::Borrow<K::SelfType<'k>>,
    row: Option<Vec<u8>>,
) -> Done {
    match row {
        Some(row) => drop(table.insert(key, row.as_slice())?),
        None => drop(table.remove(key)?),
    }
    Ok(())
}
