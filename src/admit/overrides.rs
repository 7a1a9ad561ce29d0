//! A user's own limits, by the names of `[tiers]` and in its value forms. In: names and JSON values. Out: the
//! values that a record keeps, or what was expected; and a tier's limits with a record's laid over them.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::config::{Limit, Tier, parse_size};
use crate::s3::query;
use crate::store::LimitName;

/// One limit of a tier.
pub struct Field {
    pub name: &'static str,
    kind: Kind,
    least: u64,
    of: fn(&mut Tier) -> &mut Limit,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Bytes,
    Number,
}

const fn field(name: &'static str, kind: Kind, least: u64, of: fn(&mut Tier) -> &mut Limit) -> Field {
    Field { name, kind, least, of }
}

/// Every limit there is, with the least it can be: as the configuration has it.
pub const FIELDS: [Field; 10] = [
    field("max_storage", Kind::Bytes, 0, |tier| &mut tier.max_storage),
    field("max_file_size", Kind::Bytes, 0, |tier| &mut tier.max_file_size),
    field("uploads_per_hour", Kind::Number, 0, |tier| &mut tier.uploads_per_hour),
    field("uploads_per_day", Kind::Number, 0, |tier| &mut tier.uploads_per_day),
    field("requests_per_second", Kind::Number, 1, |tier| &mut tier.requests_per_second),
    field("burst", Kind::Number, 1, |tier| &mut tier.burst),
    field("upload_rate", Kind::Bytes, 1, |tier| &mut tier.upload_rate),
    field("download_rate", Kind::Bytes, 1, |tier| &mut tier.download_rate),
    field("max_concurrent_requests", Kind::Number, 1, |tier| &mut tier.max_concurrent_requests),
    field("max_open_multipart_uploads", Kind::Number, 0, |tier| &mut tier.max_open_multipart_uploads),
];

impl Field {
    pub fn find(name: &str) -> Option<&'static Self> {
        FIELDS.iter().find(|field| field.name == name)
    }

    /// A value as people write it: `Some(None)` is unlimited, `None` is no value of this limit.
    pub fn parse(&self, value: &Value) -> Option<Option<u64>> {
        let number = match (value, self.kind) {
            (Value::String(text), _) if text == "unlimited" => return Some(None),
            (Value::String(text), Kind::Bytes) => parse_size(text)?,
            (Value::String(text), Kind::Number) => query::number(text)?,
            (Value::Number(number), Kind::Bytes) => parse_size(&number.as_u64()?.to_string())?,
            (Value::Number(number), Kind::Number) => number.as_u64()?,
            _ => return None,
        };
        let most = match self.kind {
            Kind::Bytes => u64::MAX,
            Kind::Number => u64::from(u32::MAX),
        };
        (self.least..=most).contains(&number).then_some(Some(number))
    }

    /// What [`Field::parse`] takes, in the configuration's words.
    pub fn expected(&self) -> String {
        let least = self.least;
        match self.kind {
            Kind::Bytes => format!("a size of at least {least}, such as \"10GiB\", or \"unlimited\""),
            Kind::Number => format!("a whole number from {least} to {}, or \"unlimited\"", u32::MAX),
        }
    }
}

/// A kept value in a form that [`Field::parse`] takes.
pub fn show(value: Option<u64>) -> Value {
    value.map_or_else(|| "unlimited".into(), Value::from)
}

/// The tier's limits, with the user's own in their place. Names that are no limits any more change nothing.
pub fn apply(tier: &Tier, own: &BTreeMap<LimitName, Option<u64>>) -> Tier {
    let mut limits = tier.clone();
    for (name, value) in own {
        if let Some(field) = Field::find(name) {
            *(field.of)(&mut limits) = value.map_or(Limit::Unlimited, Limit::At);
        }
    }
    if limits.requests_per_second == Limit::Unlimited {
        limits.burst = Limit::Unlimited;
    }
    limits
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::config::Config;

    #[test]
    fn every_limit_of_a_tier_can_be_overridden() {
        let mut of_tiers: Vec<_> =
            Config::keys().iter().filter_map(|key| Some(key.strip_prefix("tiers.*.")?.to_owned())).collect();
        of_tiers.sort();
        let mut fields: Vec<_> = FIELDS.iter().map(|field| field.name.to_owned()).collect();
        fields.sort();
        assert_eq!(fields, of_tiers);

        let tier = Tier::shipped_default();
        for (n, field) in (1000..).zip(&FIELDS) {
            let mut limits = apply(&tier, &BTreeMap::from([(field.name.to_owned(), Some(n))]));
            assert_eq!(*(field.of)(&mut limits), Limit::At(n), "{}", field.name);
            let mut back = tier.clone();
            *(field.of)(&mut limits) = *(field.of)(&mut back);
            assert_eq!(limits, tier, "{} changes more than itself", field.name);
        }
    }

    #[test]
    fn values_are_those_of_the_configuration() {
        let parse = |name, value| Field::find(name).expect("a limit").parse(&value);
        for (name, value, expected) in [
            ("max_storage", json!("10GiB"), Some(Some(10 << 30))),
            ("max_storage", json!("10GB"), Some(Some(10_000_000_000))),
            ("max_storage", json!(0), Some(Some(0))),
            ("max_storage", json!("unlimited"), Some(None)),
            ("max_storage", json!(1.5), None),
            ("max_storage", json!(-1), None),
            ("max_storage", json!(u64::MAX), None),
            ("max_storage", json!("much"), None),
            ("max_storage", json!(null), None),
            ("max_storage", json!([1]), None),
            ("upload_rate", json!(0), None),
            ("uploads_per_hour", json!(7), Some(Some(7))),
            ("uploads_per_hour", json!("7"), Some(Some(7))),
            ("uploads_per_hour", json!("7KiB"), None),
            ("uploads_per_hour", json!(1_u64 << 32), None),
            ("requests_per_second", json!(0), None),
            ("burst", json!("unlimited"), Some(None)),
            ("burst", json!(true), None),
        ] {
            assert_eq!(parse(name, value.clone()), expected, "{name} = {value}");
            if let Some(kept) = expected {
                assert_eq!(parse(name, show(kept)), Some(kept), "{name} = {value} reads back");
            }
        }
    }

    #[test]
    fn unlimited_requests_make_bursts_void() {
        let own = BTreeMap::from([("requests_per_second".to_owned(), None), ("burst".to_owned(), Some(3))]);
        assert_eq!(apply(&Tier::shipped_default(), &own).burst, Limit::Unlimited);
        let unknown = BTreeMap::from([("colour".to_owned(), Some(3))]);
        assert_eq!(apply(&Tier::shipped_default(), &unknown), Tier::shipped_default());
    }
}
