//! Rows of one user from Redis into a `View`. In: what the steps at hand need. Out: the view, and the version of
//! the account that every row in it is of. What is needed may name more (a lease its objects, an upload its
//! place): so there are rounds, each one read, until nothing is missing. A read that finds another version than
//! the one before it starts again.

use redis::Value;
use tokio::time::Instant;

use super::Redis;
use super::hints::Hints;
use super::keys::Keys;
use super::link::Trouble;
use super::script::{CHUNK, Call, READ, bytes, list};
use crate::account::{DAY, HOUR, LeaseId, Millis, Needs, ObjectId, Step, UploadKey, View};
use crate::store::rows::{self, Unreadable};

/// What was loaded.
pub(super) struct Loaded {
    pub(super) view: View,
    /// `None` where there is no account.
    pub(super) version: Option<Vec<u8>>,
    /// The account's first version: a later account of the same user has another.
    pub(super) born: Option<Vec<u8>>,
    /// The store's life that all this was read in.
    pub(super) life: u64,
}

/// What one command of a read is about, in the order of the commands.
enum About {
    Account,
    Objects(Vec<ObjectId>),
    Holds(Vec<ObjectId>),
    Uploads(Vec<UploadKey>),
    EveryUpload,
    Parts(UploadKey, Vec<u16>),
    EveryPart(UploadKey),
    Leases(Vec<LeaseId>),
    Places(Window),
}

#[derive(Clone, Copy)]
enum Window {
    Hour,
    Day,
}

impl From<Unreadable> for Trouble {
    fn from(error: Unreadable) -> Self {
        tracing::error!(%error, "the state store holds a row that is none");
        Self::Strange("a row")
    }
}

impl Redis {
    /// Loads what the steps need, all of one version.
    pub(super) async fn load(
        &self,
        keys: &Keys,
        steps: &[(Step, Millis)],
        deadline: Instant,
    ) -> Result<Loaded, Trouble> {
        'again: loop {
            let mut loaded = Loaded { view: View::default(), version: None, born: None, life: 0 };
            let mut asked = Needs::default();
            let mut first = true;
            loop {
                let missing = minus(wanted(steps, &loaded.view, &self.hints), &asked);
                if !first && missing == Needs::default() {
                    return Ok(loaded);
                }
                let (call, about) = read(keys, &missing, steps);
                let (answer, life) = self.link.call(&READ, &call, deadline).await?;
                let answers = list(answer)?;
                if answers.len() != about.len() {
                    return Err(STRANGE);
                }
                let seen = (loaded.version.take(), loaded.life);
                for (about, answer) in about.into_iter().zip(answers) {
                    take(&mut loaded, about, answer)?;
                }
                loaded.life = life;
                if !first && seen != (loaded.version.clone(), life) {
                    continue 'again;
                }
                first = false;
                add(&mut asked, missing);
            }
        }
    }
}

/// All that the steps need, as far as is known by now.
fn wanted(steps: &[(Step, Millis)], view: &View, hints: &Hints) -> Needs {
    let mut wanted = Needs::default();
    for (step, _) in steps {
        let own = step.needs();
        for id in &own.leases {
            match view.leases.get(id) {
                Some(lease) => add(&mut wanted, step.needs_of_lease(lease)),
                // What this process wrote itself is most likely still so, and saves a round.
                None => {
                    if let Some(lease) = hints.lease(id) {
                        add(&mut wanted, step.needs_of_lease(&lease));
                    }
                }
            }
        }
        add(&mut wanted, own);
    }
    if wanted.all_uploads {
        wanted.all_parts.extend(view.uploads.iter().map(|(key, _)| *key));
        wanted.places.extend(view.uploads.iter().filter_map(|(_, row)| row.place));
    }
    for key in &wanted.uploads {
        match view.uploads.get(key) {
            Some(row) => wanted.places.extend(row.place),
            None => wanted.places.extend(hints.place(key)),
        }
    }
    wanted.parts.retain(|(upload, _)| !wanted.all_parts.contains(upload));
    wanted
}

fn add(to: &mut Needs, more: Needs) {
    to.objects.extend(more.objects);
    to.uploads.extend(more.uploads);
    to.parts.extend(more.parts);
    to.all_parts.extend(more.all_parts);
    to.all_uploads |= more.all_uploads;
    to.leases.extend(more.leases);
    to.windows |= more.windows;
    to.places.extend(more.places);
}

fn minus(mut all: Needs, asked: &Needs) -> Needs {
    all.objects.retain(|id| !asked.objects.contains(id));
    all.uploads.retain(|key| !asked.uploads.contains(key) && !asked.all_uploads);
    all.parts.retain(|id| !asked.parts.contains(id));
    all.all_parts.retain(|upload| !asked.all_parts.contains(upload));
    all.all_uploads &= !asked.all_uploads;
    all.leases.retain(|id| !asked.leases.contains(id));
    all.windows &= !asked.windows;
    all.places.retain(|place| !asked.places.contains(place));
    all
}

const NOTHING: [&[u8]; 0] = [];

/// One read: its commands, and what each is about.
fn read(keys: &Keys, needs: &Needs, steps: &[(Step, Millis)]) -> (Call, Vec<About>) {
    let mut call = Call::new(vec![keys.account.clone()], Vec::new());
    let mut about = vec![About::Account];
    call.command("HMGET", &keys.account, ["version", "born", "account"]);
    let objects: Vec<_> = needs.objects.iter().copied().collect();
    for some in objects.chunks(CHUNK) {
        call.command("HMGET", &keys.objects, some.iter().map(|id| id.0));
        call.command("HMGET", &keys.holds, some.iter().map(|id| id.0));
        about.extend([About::Objects(some.to_vec()), About::Holds(some.to_vec())]);
    }
    if needs.all_uploads {
        call.command("HGETALL", &keys.uploads, NOTHING);
        about.push(About::EveryUpload);
    }
    let uploads: Vec<_> = needs.uploads.iter().copied().collect();
    for some in uploads.chunks(CHUNK) {
        call.command("HMGET", &keys.uploads, some.iter().map(|key| key.0));
        about.push(About::Uploads(some.to_vec()));
    }
    let parts: Vec<_> = needs.parts.iter().copied().collect();
    for of_one in parts.chunk_by(|(a, _), (b, _)| a == b) {
        for some in of_one.chunks(CHUNK) {
            let upload = some[0].0;
            let numbers: Vec<_> = some.iter().map(|(_, part)| *part).collect();
            call.command("HMGET", &keys.parts(&upload), numbers.iter().map(|part| part.to_be_bytes()));
            about.push(About::Parts(upload, numbers));
        }
    }
    for upload in &needs.all_parts {
        call.command("HGETALL", &keys.parts(upload), NOTHING);
        about.push(About::EveryPart(*upload));
    }
    let leases: Vec<_> = needs.leases.iter().copied().collect();
    for some in leases.chunks(CHUNK) {
        call.command("HMGET", &keys.leases, some.iter().map(|id| id.0));
        about.push(About::Leases(some.to_vec()));
    }
    for (window, key, length) in [(Window::Hour, &keys.hour, HOUR), (Window::Day, &keys.day, DAY)] {
        let mut range = |from: String, to: String, most: Option<usize>| {
            let limit = most.map(|most| ["LIMIT".to_owned(), "0".to_owned(), most.to_string()]);
            call.command("ZRANGEBYSCORE", key, [from, to].into_iter().chain(limit.into_iter().flatten()));
            about.push(About::Places(window));
        };
        if needs.windows {
            // What has left at the latest of the steps; and for each step, one that has not.
            let now = steps.iter().map(|(_, now)| *now).max().unwrap_or(0);
            let left = now.checked_sub(length);
            if let Some(left) = left {
                range("-inf".into(), left.to_string(), None);
            }
            let from = left.map_or_else(|| "-inf".into(), |left| format!("({left}"));
            range(from, "+inf".into(), Some(steps.len()));
        }
        for place in &needs.places {
            range(place.to_string(), place.to_string(), None);
        }
    }
    (call, about)
}

/// Takes one answer into the view.
fn take(loaded: &mut Loaded, about: About, answer: Value) -> Result<(), Trouble> {
    let view = &mut loaded.view;
    match about {
        About::Account => {
            let [version, born, account] = fields(answer)?.try_into().map_err(|_| STRANGE)?;
            (loaded.version, loaded.born) = (version, born);
            if let Some(account) = account {
                view.account = rows::from_json(&account)?;
            }
        }
        About::Objects(ids) => {
            for (id, row) in pairs(ids, answer)? {
                view.objects.load(id, rows::object_from_bytes(&row)?);
            }
        }
        About::Holds(ids) => {
            for (id, row) in pairs(ids, answer)? {
                view.holds.load(id, rows::from_json(&row)?);
            }
        }
        About::Uploads(keys) => {
            for (key, row) in pairs(keys, answer)? {
                view.uploads.load(key, rows::from_json(&row)?);
            }
        }
        About::EveryUpload => {
            for (key, row) in every::<16>(answer)? {
                view.uploads.load(UploadKey(key), rows::from_json(&row)?);
            }
        }
        About::Parts(upload, numbers) => {
            for (number, row) in pairs(numbers, answer)? {
                view.parts.load((upload, number), rows::from_json(&row)?);
            }
        }
        About::EveryPart(upload) => {
            for (number, row) in every::<2>(answer)? {
                view.parts.load((upload, u16::from_be_bytes(number)), rows::from_json(&row)?);
            }
        }
        About::Leases(ids) => {
            for (id, row) in pairs(ids, answer)? {
                view.leases.load(id, rows::from_json(&row)?);
            }
        }
        About::Places(window) => {
            let rows = match window {
                Window::Hour => &mut view.hour,
                Window::Day => &mut view.day,
            };
            for row in fields(answer)?.into_iter().flatten() {
                let (place, count) = place(&row).ok_or(STRANGE)?;
                rows.load(place, count);
            }
        }
    }
    Ok(())
}

pub(super) const STRANGE: Trouble = Trouble::Strange("a row");

fn fields(answer: Value) -> Result<Vec<Option<Vec<u8>>>, Trouble> {
    list(answer)?.into_iter().map(bytes).collect()
}

/// What HMGET answers: those that are there, with what was asked for.
fn pairs<K>(keys: Vec<K>, answer: Value) -> Result<impl Iterator<Item = (K, Vec<u8>)>, Trouble> {
    let rows = fields(answer)?;
    if rows.len() == keys.len() {
        Ok(keys.into_iter().zip(rows).filter_map(|(key, row)| Some((key, row?))))
    } else {
        Err(STRANGE)
    }
}

/// A field of a hash, and its value.
pub(super) type Field<const N: usize> = ([u8; N], Vec<u8>);

/// What HGETALL and HSCAN answer: fields of a fixed length, and values.
pub(super) fn every<const N: usize>(answer: Value) -> Result<Vec<Field<N>>, Trouble> {
    let flat = fields(answer)?;
    flat.chunks(2)
        .map(|pair| match pair {
            [Some(field), Some(value)] => {
                Ok((field.as_slice().try_into().map_err(|_| STRANGE)?, value.clone()))
            }
            _ => Err(STRANGE),
        })
        .collect()
}

/// `<milliseconds>:<uploads>`
fn place(row: &[u8]) -> Option<(Millis, u64)> {
    let (place, count) = std::str::from_utf8(row).ok()?.split_once(':')?;
    Some((place.parse().ok()?, count.parse().ok()?))
}
