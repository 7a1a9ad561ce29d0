//! The tables of pre-authenticated requests: by id, by user and by when they are due. One transaction makes each
//! change whole.

use std::ops::Bound;

use redb::{ReadableTable, Table, TableDefinition, WriteTransaction};

use super::people::{Owned, owned};
use super::tables::{Bytes, Done, Stop, unwritable};
use super::{Embedded, user_id};
use crate::account::Millis;
use crate::metrics::StateOperation;
use crate::store::{MAX_PARS, PAGE, ParId, ParRecord, Result, rows};
use crate::types::UserId;

/// When it is due, and which one.
type Due = (Millis, &'static str);

const PARS: TableDefinition<'_, &str, Bytes> = TableDefinition::new("pars");
const PARS_OF: TableDefinition<'_, Owned, ()> = TableDefinition::new("pars_of");
const PARS_DUE: TableDefinition<'_, Due, ()> = TableDefinition::new("pars_due");

pub(super) struct Pars<'tx> {
    rows: Table<'tx, &'static str, Bytes>,
    by_user: Table<'tx, Owned, ()>,
    due: Table<'tx, Due, ()>,
}

impl<'tx> Pars<'tx> {
    pub(super) fn open(tx: &'tx WriteTransaction) -> Result<Self, redb::TableError> {
        Ok(Self {
            rows: tx.open_table(PARS)?,
            by_user: tx.open_table(PARS_OF)?,
            due: tx.open_table(PARS_DUE)?,
        })
    }

    fn add(&mut self, id: &ParId, record: &ParRecord) -> Done<bool> {
        if owned(&self.by_user, &record.user)?.len() >= MAX_PARS {
            return Ok(false);
        }
        if self.rows.get(id.as_str())?.is_some() {
            return Err(Stop::Row("a PAR of this id is there already".to_owned()));
        }
        self.by_user.insert((record.user.as_str(), id.as_str()), ())?;
        self.put(id, record)?;
        Ok(true)
    }

    fn replace(&mut self, id: &ParId, before: &ParRecord, after: &ParRecord) -> Done<bool> {
        let is = find(&self.rows, id.as_str())?;
        if is.as_ref() != Some(before) {
            return Ok(is.as_ref() == Some(after));
        }
        self.due.remove((before.due, id.as_str()))?;
        self.put(id, after)?;
        Ok(true)
    }

    fn remove(&mut self, id: &ParId) -> Done<bool> {
        let Some(record) = find(&self.rows, id.as_str())? else { return Ok(false) };
        self.rows.remove(id.as_str())?;
        self.by_user.remove((record.user.as_str(), id.as_str()))?;
        self.due.remove((record.due, id.as_str()))?;
        Ok(true)
    }

    fn put(&mut self, id: &ParId, record: &ParRecord) -> Done {
        self.rows.insert(id.as_str(), rows::to_json(record).map_err(unwritable)?.as_slice())?;
        self.due.insert((record.due, id.as_str()), ())?;
        Ok(())
    }
}

impl Embedded {
    pub async fn par(&self, id: &ParId) -> Result<Option<ParRecord>> {
        let id = id.clone();
        self.read(StateOperation::Other, move |tx| find(&tx.open_table(PARS)?, id.as_str())).await
    }

    pub async fn pars_of(&self, user: &UserId) -> Result<Vec<(ParId, ParRecord)>> {
        let user = user.clone();
        self.read(StateOperation::Other, move |tx| {
            all(&tx.open_table(PARS)?, owned(&tx.open_table(PARS_OF)?, &user)?)
        })
        .await
    }

    pub async fn pars_due(&self, now: Millis) -> Result<Vec<(ParId, ParRecord)>> {
        self.read(StateOperation::Other, move |tx| {
            let due = tx.open_table(PARS_DUE)?;
            let mut ids = Vec::new();
            for row in due.range(..(now.saturating_add(1), ""))?.take(PAGE) {
                ids.push(row?.0.value().1.to_owned());
            }
            all(&tx.open_table(PARS)?, ids)
        })
        .await
    }

    pub async fn par_owners(&self, after: Option<&UserId>) -> Result<Vec<UserId>> {
        let mut last = after.map(|user| user.as_str().to_owned());
        self.read(StateOperation::Other, move |tx| {
            let pars_of = tx.open_table(PARS_OF)?;
            let mut found = Vec::new();
            while found.len() < PAGE {
                // Nothing of a user comes after this: ids are digits and letters.
                let first =
                    last.as_ref().map_or(Bound::Unbounded, |user| Bound::Excluded((user.as_str(), "~")));
                let Some(row) = pars_of.range::<(&str, &str)>((first, Bound::Unbounded))?.next() else {
                    break;
                };
                let owner = row?.0.value().0.to_owned();
                found.push(user_id(&owner)?);
                last = Some(owner);
            }
            Ok(found)
        })
        .await
    }

    pub async fn add_par(&self, id: &ParId, record: &ParRecord) -> Result<bool> {
        let (id, record) = (id.clone(), record.clone());
        self.change_pars(move |pars| pars.add(&id, &record)).await
    }

    pub async fn replace_par(&self, id: &ParId, before: &ParRecord, after: &ParRecord) -> Result<bool> {
        let (id, before, after) = (id.clone(), before.clone(), after.clone());
        self.change_pars(move |pars| pars.replace(&id, &before, &after)).await
    }

    pub async fn remove_par(&self, _user: &UserId, id: &ParId) -> Result<bool> {
        let id = id.clone();
        self.change_pars(move |pars| pars.remove(&id)).await
    }

    async fn change_pars<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Pars<'_>) -> Done<T> + Send + 'static,
    ) -> Result<T> {
        let _timed = self.metrics.state(StateOperation::Other);
        self.writer.write(move |tables| work(&mut tables.pars)).await
    }
}

fn find(pars: &impl ReadableTable<&'static str, Bytes>, id: &str) -> Done<Option<ParRecord>> {
    Ok(pars.get(id)?.map(|row| rows::from_json(row.value())).transpose()?)
}

fn all(pars: &impl ReadableTable<&'static str, Bytes>, ids: Vec<String>) -> Done<Vec<(ParId, ParRecord)>> {
    let mut found = Vec::new();
    for id in ids {
        let record =
            find(pars, &id)?.ok_or_else(|| Stop::Row(format!("PAR {id} is listed and not there")))?;
        found.push((ParId::parse(&id).ok_or_else(|| Stop::Row(format!("`{id}` is no PAR id")))?, record));
    }
    Ok(found)
}
