//! What steps have changed in a `View`, as one write.

use super::hints::Hints;
use super::keys::Keys;
use super::link::Trouble;
use super::load::Loaded;
use super::script::{CHUNK, Call, number};
use crate::account::{Account, Millis, Rows, UploadKey};
use crate::store::rows::{self, Unreadable};

/// The write that saves what has changed since the account was `before`; `None` if nothing has.
pub(super) fn write(
    keys: &Keys,
    before: &Account,
    loaded: &Loaded,
    version: &[u8],
    writer: &str,
) -> Result<Option<Call>, Trouble> {
    let view = &loaded.view;
    let seen = loaded.version.clone().unwrap_or_default();
    let mut call = Call::new(vec![keys.account.clone(), keys.by(writer)], vec![seen, version.to_vec()]);

    hash(&mut call, &keys.objects, &view.objects, |id| id.0, |row| Ok(rows::object_to_bytes(row)))?;
    hash(&mut call, &keys.holds, &view.holds, |id| id.0, rows::to_json)?;
    hash(&mut call, &keys.uploads, &view.uploads, |key| key.0, rows::to_json)?;
    hash(&mut call, &keys.leases, &view.leases, |id| id.0, rows::to_json)?;
    let parts: Vec<_> = view.parts.changes().collect();
    for of_one in parts.chunk_by(|((a, _), _), ((b, _), _)| a == b) {
        let upload: &UploadKey = &of_one[0].0.0;
        let changes = of_one.iter().map(|((_, part), row)| (part.to_be_bytes(), *row));
        fields(&mut call, &keys.parts(upload), changes, rows::to_json)?;
    }
    for (id, lease) in view.leases.changes() {
        match lease {
            Some(lease) => call.command("ZADD", &keys.expiry, [number(lease.expires_at), id.0.to_vec()]),
            None => call.command("ZREM", &keys.expiry, [id.0]),
        }
    }
    places(&mut call, &keys.hour, &view.hour);
    places(&mut call, &keys.day, &view.day);
    if view.account != *before {
        call.command("HSET", &keys.account, [b"account".to_vec(), rows::to_json(&view.account)?]);
    }
    if call.commands() == 0 {
        return Ok(None);
    }
    if loaded.born.is_none() {
        call.command("HSET", &keys.account, [b"born".as_slice(), version]);
    }
    Ok(Some(call))
}

/// Notes what is most likely asked for next.
pub(super) fn hint(loaded: &Loaded, hints: &Hints) {
    for (id, lease) in loaded.view.leases.changes() {
        hints.note_lease(*id, lease);
    }
    for (key, upload) in loaded.view.uploads.changes() {
        hints.note_place(*key, upload.and_then(|row| row.place));
    }
}

fn hash<K: Ord + Copy, V>(
    call: &mut Call,
    key: &[u8],
    rows: &Rows<K, V>,
    field: impl Fn(&K) -> [u8; 16],
    encode: impl Fn(&V) -> Result<Vec<u8>, Unreadable>,
) -> Result<(), Trouble> {
    fields(call, key, rows.changes().map(|(id, row)| (field(id), row)), encode)
}

fn fields<'a, const N: usize, V: 'a>(
    call: &mut Call,
    key: &[u8],
    changes: impl Iterator<Item = ([u8; N], Option<&'a V>)>,
    encode: impl Fn(&V) -> Result<Vec<u8>, Unreadable>,
) -> Result<(), Trouble> {
    let (mut set, mut gone) = (Vec::new(), Vec::new());
    for (field, row) in changes {
        match row {
            Some(row) => set.extend([field.to_vec(), encode(row)?]),
            None => gone.push(field.to_vec()),
        }
    }
    for some in set.chunks(2 * CHUNK) {
        call.command("HSET", key, some.iter().map(Vec::as_slice));
    }
    for some in gone.chunks(CHUNK) {
        call.command("HDEL", key, some.iter().map(Vec::as_slice));
    }
    Ok(())
}

/// A place is a member by itself: it goes, and comes again with another count.
fn places(call: &mut Call, key: &[u8], rows: &Rows<Millis, u64>) {
    for (place, count) in rows.changes() {
        call.command("ZREMRANGEBYSCORE", key, [number(place), number(place)]);
        if let Some(count) = count {
            call.command("ZADD", key, [number(place), format!("{place}:{count}").into_bytes()]);
        }
    }
}
