//! What a user may: the limits of the user's tier, and what the user's record says otherwise. Also the limits of
//! a record as people write them, in JSON: names and values are those of `[tiers.*]`, and `config` judges them.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::account;
use crate::config::{Limit, LimitKey, Tier};
use crate::store::LimitName;

/// A user's limits as they hold: all keys of a tier.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UserLimits(Tier);

/// Limits that cannot be taken, and what was expected of each.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}")]
pub struct BadLimits(String);

impl UserLimits {
    /// The tier's limits, but for those that the user's record has (`None` there is unlimited). A name that this
    /// version does not know limits nothing.
    pub fn new(tier: &Tier, overrides: &BTreeMap<LimitName, Option<u64>>) -> Self {
        let mut limits = tier.clone();
        for (name, value) in overrides {
            if let Some(key) = LimitKey::from_name(name) {
                *limits.limit_mut(key) = key.from_stored(*value);
            }
        }
        if limits.requests_per_second == Limit::Unlimited {
            limits.burst = Limit::Unlimited;
        }
        Self(limits)
    }

    pub fn get(&self, key: LimitKey) -> Limit {
        self.0.limit(key)
    }
}

/// They are named and read as a tier's.
impl std::ops::Deref for UserLimits {
    type Target = Tier;

    fn deref(&self) -> &Tier {
        &self.0
    }
}

impl From<&UserLimits> for account::Limits {
    fn from(limits: &UserLimits) -> Self {
        Self {
            storage: limits.max_storage.at(),
            file_size: limits.max_file_size.at(),
            uploads_per_hour: limits.uploads_per_hour.at(),
            uploads_per_day: limits.uploads_per_day.at(),
            open_uploads: limits.max_open_multipart_uploads.at(),
        }
    }
}

/// Limits as a `UserChange` has them: `None` falls back to the tier, `Some(None)` is unlimited.
pub type LimitChanges = BTreeMap<LimitName, Option<Option<u64>>>;

/// Reads what a record's limits are to become: `null` falls back to the tier.
pub fn from_json(limits: &Map<String, Value>) -> Result<LimitChanges, BadLimits> {
    let mut read = LimitChanges::new();
    let mut problems = Vec::new();
    for (name, value) in limits {
        match one_from_json(name, value) {
            Ok(limit) => drop(read.insert(name.clone(), limit.map(Limit::at))),
            Err(expected) => problems.push(format!("limits.{name}: {expected}")),
        }
    }
    if problems.is_empty() { Ok(read) } else { Err(BadLimits(problems.join("; "))) }
}

fn one_from_json(name: &str, value: &Value) -> Result<Option<Limit>, String> {
    let Some(key) = LimitKey::from_name(name) else {
        let names: Vec<_> = LimitKey::ALL.iter().map(|key| key.name()).collect();
        return Err(format!("unknown limit; expected one of {}", names.join(", ")));
    };
    let limit = match value {
        Value::Null => return Ok(None),
        Value::Number(number) => number.as_u64().and_then(|number| key.from_number(number)),
        Value::String(text) => key.from_text(text),
        Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    };
    limit.map(Some).ok_or_else(|| format!("expected {}, or null to fall back to the tier", key.expected()))
}

/// A record's limits as JSON: plain numbers, or `"unlimited"`.
pub fn to_json(overrides: &BTreeMap<LimitName, Option<u64>>) -> Map<String, Value> {
    let one = |(name, value): (&LimitName, &Option<u64>)| {
        let limit = LimitKey::from_name(name)?.from_stored(*value);
        Some((name.clone(), limit.at().map_or_else(|| limit.to_string().into(), Value::from)))
    };
    overrides.iter().filter_map(one).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn overrides(pairs: &[(&str, Option<u64>)]) -> BTreeMap<LimitName, Option<u64>> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect()
    }

    fn read(json: &Value) -> Result<LimitChanges, String> {
        from_json(json.as_object().unwrap()).map_err(|bad| bad.to_string())
    }

    #[test]
    fn a_record_says_what_differs_from_the_tier() {
        let tier = Tier::shipped_default();
        assert_eq!(*UserLimits::new(&tier, &BTreeMap::new()), tier);
        let limits = UserLimits::new(
            &tier,
            &overrides(&[
                ("max_storage", Some(5)),
                ("uploads_per_day", None),
                ("burst", Some(0)),
                ("later", None),
            ]),
        );
        assert_eq!(limits.max_storage, Limit::At(5));
        assert_eq!(limits.uploads_per_day, Limit::Unlimited);
        assert_eq!(limits.burst, Limit::At(1));
        assert_eq!(limits.max_file_size, tier.max_file_size);
        let account = account::Limits::from(&limits);
        assert_eq!((account.storage, account.uploads_per_day), (Some(5), None));
        assert_eq!((account.uploads_per_hour, account.open_uploads), (Some(50), Some(100)));
        assert_eq!(account.file_size, Some(10 << 30));

        let limits = UserLimits::new(&tier, &overrides(&[("requests_per_second", None), ("burst", Some(7))]));
        assert_eq!(limits.burst, Limit::Unlimited);
    }

    #[test]
    fn values_come_in_the_forms_of_the_file() {
        for (name, value, read_as) in [
            ("max_storage", json!("10GiB"), Some(Some(Some(10 << 30)))),
            ("max_storage", json!("10 GB"), Some(Some(Some(10_000_000_000)))),
            ("max_storage", json!(4096), Some(Some(Some(4096)))),
            ("max_storage", json!("4096"), Some(Some(Some(4096)))),
            ("max_storage", json!(0), Some(Some(Some(0)))),
            ("max_storage", json!("unlimited"), Some(Some(None))),
            ("max_storage", json!(null), Some(None)),
            ("max_storage", json!(-1), None),
            ("max_storage", json!(1.5), None),
            ("max_storage", json!("1.5GiB"), None),
            ("max_storage", json!(1_u64 << 63), None),
            ("max_storage", json!(true), None),
            ("max_storage", json!([1]), None),
            ("max_file_size", json!("0"), Some(Some(Some(0)))),
            ("uploads_per_hour", json!(0), Some(Some(Some(0)))),
            ("uploads_per_hour", json!("5"), None),
            ("uploads_per_hour", json!("5KiB"), None),
            ("uploads_per_day", json!(u32::MAX), Some(Some(Some(u64::from(u32::MAX))))),
            ("uploads_per_day", json!(1_u64 << 32), None),
            ("requests_per_second", json!(0), None),
            ("requests_per_second", json!("unlimited"), Some(Some(None))),
            ("burst", json!(0), None),
            ("burst", json!(1), Some(Some(Some(1)))),
            ("upload_rate", json!("1MiB"), Some(Some(Some(1 << 20)))),
            ("upload_rate", json!(0), None),
            ("download_rate", json!("0"), None),
            ("max_concurrent_requests", json!(0), None),
            ("max_open_multipart_uploads", json!(0), Some(Some(Some(0)))),
            ("max_storages", json!(1), None),
        ] {
            let got = read(&json!({ name: value }));
            let expected = read_as.map(|value| BTreeMap::from([(name.to_owned(), value)]));
            assert_eq!(got.clone().ok(), expected, "{name} {value}: {got:?}");
        }
    }

    #[test]
    fn every_problem_is_told_at_once() {
        let problems = read(&json!({ "burst": 0, "colour": 1, "max_storage": "5 stones" })).unwrap_err();
        assert_eq!(
            problems,
            "limits.burst: expected a whole number from 1 to 4294967295, or \"unlimited\", or null to fall back to \
             the tier; limits.colour: unknown limit; expected one of max_storage, max_file_size, uploads_per_hour, \
             uploads_per_day, requests_per_second, burst, upload_rate, download_rate, max_concurrent_requests, \
             max_open_multipart_uploads; limits.max_storage: expected a size of at least 0, such as \"10GiB\", or \
             \"unlimited\", or null to fall back to the tier"
        );
    }

    #[test]
    fn what_is_shown_can_be_sent_back() {
        let stored = overrides(&[
            ("max_storage", Some(10 << 30)),
            ("max_file_size", Some(1000)),
            ("download_rate", None),
            ("uploads_per_hour", Some(7)),
        ]);
        let shown = to_json(&stored);
        assert_eq!(
            Value::from(shown.clone()),
            json!({ "max_storage": 10_737_418_240_u64, "max_file_size": 1000, "download_rate": "unlimited", "uploads_per_hour": 7 })
        );
        let read: BTreeMap<_, _> =
            from_json(&shown).unwrap().into_iter().map(|(name, value)| (name, value.unwrap())).collect();
        assert_eq!(read, stored);
    }
}
