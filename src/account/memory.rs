//! The plainest store: maps. It loads for each step exactly what the step says it needs, as the real ones do;
//! these are held against it in `tests/store_contract`, which takes this file in as it is.

use std::collections::BTreeMap;

use super::{
    Account, DAY, HOUR, Hold, Lease, LeaseId, Millis, Needs, Object, ObjectId, Part, Reply, Rows, Step,
    Upload, UploadKey, View,
};

#[derive(Clone, Debug, Default)]
pub(crate) struct Memory {
    pub(crate) account: Account,
    pub(crate) objects: BTreeMap<ObjectId, Object>,
    pub(crate) holds: BTreeMap<ObjectId, Hold>,
    pub(crate) uploads: BTreeMap<UploadKey, Upload>,
    pub(crate) parts: BTreeMap<(UploadKey, u16), Part>,
    pub(crate) leases: BTreeMap<LeaseId, Lease>,
    hour: BTreeMap<Millis, u64>,
    day: BTreeMap<Millis, u64>,
}

impl Memory {
    pub(crate) fn step(&mut self, step: Step, now: Millis) -> Reply {
        let mut view = View { account: self.account, ..View::default() };
        let needs = step.needs();
        self.load(&needs, &mut view, now);
        for id in &needs.leases {
            if let Some(lease) = self.leases.get(id) {
                self.load(&step.needs_of_lease(lease), &mut view, now);
            }
        }
        let reply = view.step(step, now);
        self.save(&view);
        reply
    }

    fn load(&self, needs: &Needs, view: &mut View, now: Millis) {
        for id in &needs.objects {
            load_from(&mut view.objects, &self.objects, id);
            load_from(&mut view.holds, &self.holds, id);
        }
        let mut places = needs.places.clone();
        for (key, row) in
            self.uploads.iter().filter(|(key, _)| needs.all_uploads || needs.uploads.contains(key))
        {
            view.uploads.load(*key, row.clone());
            places.extend(row.place);
        }
        for id in &needs.parts {
            load_from(&mut view.parts, &self.parts, id);
        }
        for (id, row) in &self.parts {
            if needs.all_parts.contains(&id.0) || needs.all_uploads {
                view.parts.load(*id, row.clone());
            }
        }
        for id in &needs.leases {
            load_from(&mut view.leases, &self.leases, id);
        }
        for (mine, rows, window) in [(&self.hour, &mut view.hour, HOUR), (&self.day, &mut view.day, DAY)] {
            for place in &places {
                load_from(rows, mine, place);
            }
            if needs.windows {
                let left = mine.iter().take_while(|(place, _)| **place + window <= now).count();
                for (place, count) in mine.iter().take(left + 1) {
                    rows.load(*place, *count);
                }
            }
        }
    }

    fn save(&mut self, view: &View) {
        self.account = view.account;
        save_to(&view.objects, &mut self.objects);
        save_to(&view.holds, &mut self.holds);
        save_to(&view.uploads, &mut self.uploads);
        save_to(&view.parts, &mut self.parts);
        save_to(&view.leases, &mut self.leases);
        save_to(&view.hour, &mut self.hour);
        save_to(&view.day, &mut self.day);
    }
}

fn load_from<K: Ord + Copy, V: Clone>(rows: &mut Rows<K, V>, map: &BTreeMap<K, V>, key: &K) {
    if let Some(row) = map.get(key) {
        rows.load(*key, row.clone());
    }
}

fn save_to<K: Ord + Copy, V: Clone>(rows: &Rows<K, V>, map: &mut BTreeMap<K, V>) {
    for (key, row) in rows.changes() {
        match row {
            Some(row) => drop(map.insert(*key, row.clone())),
            None => drop(map.remove(key)),
        }
    }
}
