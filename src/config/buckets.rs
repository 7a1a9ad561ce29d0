//! `[[buckets]]`: what clients see, and where it lies in the real bucket. In: the entries, or none. Out: at
//! least one [`Bucket`]; names differ, and no key of the real bucket lies under two of them.

use super::model::{Access, Bucket, BucketKind};
use super::prefix::{PrefixTemplate, is_prefix, overlap};
use super::section::Section;
use crate::types::BucketName;

pub(super) fn read(root: &Section) -> Vec<Bucket> {
    let Some(sections) = root.sections("buckets") else {
        return shipped();
    };
    if sections.is_empty() {
        root.problem("buckets", "expected at least one bucket");
    }
    let mut buckets: Vec<Bucket> = Vec::new();
    let mut prefixes: Vec<(usize, String)> = Vec::new();
    for (index, s) in sections.iter().enumerate() {
        let bucket = bucket(s);
        let prefix = bucket.as_ref().and_then(|bucket| prefix_text(&bucket.kind));
        if let Some(prefix) = prefix {
            for (other, _) in prefixes.iter().filter(|(_, other)| overlap(&prefix, other)) {
                let expected =
                    format!("expected a prefix that neither contains nor lies in buckets[{other}].prefix");
                s.problem("prefix", expected);
            }
            prefixes.push((index, prefix));
        }
        let Some(bucket) = bucket else { continue };
        if buckets.iter().any(|other| other.name == bucket.name) {
            s.problem("name", "expected each bucket's name once");
        }
        if bucket.kind == BucketKind::PlatformView
            && buckets.iter().any(|other| other.kind == BucketKind::PlatformView)
        {
            s.problem("view", "expected one platform view at most");
        }
        buckets.push(bucket);
    }
    buckets
}

/// The three buckets of a gateway whose file names none.
fn shipped() -> Vec<Bucket> {
    let name = |text: &str| BucketName::parse(text).expect("a shipped name is legal");
    let user = |text: &str| {
        let prefix =
            PrefixTemplate::parse(&format!("{text}/{{user_id}}/")).expect("a shipped prefix is legal");
        Bucket {
            name: name(text),
            kind: BucketKind::User { prefix },
            access: Access::ReadWrite,
            counts_towards_quota: true,
        }
    };
    let logs = Bucket {
        name: name("logs"),
        kind: BucketKind::Job { prefix: "logs/training/".to_owned() },
        access: Access::ReadOnly,
        counts_towards_quota: false,
    };
    vec![user("datasets"), user("models"), logs]
}

fn bucket(s: &Section) -> Option<Bucket> {
    let expected = "a bucket's name: 3 to 63 of a-z, 0-9, . and -, not \"api\" or \"console\"";
    let name = s.required("name", expected, |value| BucketName::parse(value.text()?));
    let view = s.optional("view", "\"platform\"", |value| (value.text()? == "platform").then_some(()));
    if s.says("view") {
        for key in ["prefix", "scope", "access", "counts_towards_quota"].into_iter().filter(|key| s.says(key))
        {
            s.problem(key, "expected nothing here: a platform view takes it from the other buckets");
        }
        view?;
        let kind = BucketKind::PlatformView;
        return Some(Bucket { name: name?, kind, access: Access::ReadWrite, counts_towards_quota: true });
    }
    let job = s.or("scope", "\"user\" or \"job\"", false, |value| match value.text()? {
        "user" => Some(false),
        "job" => Some(true),
        _ => None,
    });
    let usual = if job { Access::ReadOnly } else { Access::ReadWrite };
    let access = s.or("access", "\"read-write\" or \"read-only\"", usual, |value| match value.text()? {
        "read-write" => Some(Access::ReadWrite),
        "read-only" => Some(Access::ReadOnly),
        _ => None,
    });
    let counts_towards_quota = s.flag("counts_towards_quota", !job);
    if job && counts_towards_quota {
        s.problem("counts_towards_quota", "expected false: what lies under a job is in no one user's prefix");
    }
    let kind = if job {
        let expected = "whole segments ending in /, without {user_id}, such as \"logs/training/\"";
        s.required("prefix", expected, |value| {
            let text = value.text().filter(|text| is_prefix(text) && !text.contains('{'))?;
            Some(BucketKind::Job { prefix: text.to_owned() })
        })
    } else {
        let expected = "whole segments ending in /, one of them {user_id}, such as \"datasets/{user_id}/\"";
        s.required("prefix", expected, |value| {
            Some(BucketKind::User { prefix: PrefixTemplate::parse(value.text()?)? })
        })
    };
    Some(Bucket { name: name?, kind: kind?, access, counts_towards_quota })
}

fn prefix_text(kind: &BucketKind) -> Option<String> {
    match kind {
        BucketKind::User { prefix } => Some(prefix.text()),
        BucketKind::Job { prefix } => Some(prefix.clone()),
        BucketKind::PlatformView => None,
    }
}
