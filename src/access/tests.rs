//! Who may reach what: roles, kinds of bucket, and the view of all of them.

use std::sync::Arc;

use super::*;
use crate::config::PrefixTemplate;
use crate::s3::operation::Operation;
use crate::types::{UserId, WayIn};

fn caller(role: Role) -> Caller {
    let user = UserId::parse("alice").expect("id");
    Caller { user, role, way: WayIn::SigV4Header, jobs: Arc::default(), expires: None }
}

fn bucket(name: &str, kind: BucketKind, access: Rule) -> config::Bucket {
    let counts_towards_quota = matches!(kind, BucketKind::User { .. });
    config::Bucket { name: BucketName::parse(name).expect("name"), kind, access, counts_towards_quota }
}

fn own(name: &str, access: Rule) -> config::Bucket {
    let prefix = PrefixTemplate::parse(&format!("{name}/{{user_id}}/")).expect("template");
    bucket(name, BucketKind::User { prefix }, access)
}

fn logs(access: Rule) -> config::Bucket {
    bucket("logs", BucketKind::Job { prefix: "logs/training/".into() }, access)
}

/// All buckets as shipped, and the view of them.
fn buckets() -> impl Fn(&str) -> Bucket {
    let view = bucket("whole", BucketKind::PlatformView, Rule::ReadWrite);
    let configured =
        [own("datasets", Rule::ReadWrite), own("models", Rule::ReadWrite), logs(Rule::ReadOnly), view];
    move |wanted| {
        let mut all = Bucket::all(&configured).into_iter();
        all.find(|(name, _)| name.as_str() == wanted).expect("a bucket of that name").1
    }
}

fn jobs(ids: &[&str]) -> Vec<JobId> {
    ids.iter().map(|id| JobId::parse(id).expect("an id")).collect()
}

fn key(text: &str) -> ClientKey {
    ClientKey::new(text.to_owned()).expect("a key")
}

/// Where alice's access to a key leads, or the refusal.
fn reach(bucket: &Bucket, role: Role, access: Access, name: &str) -> Result<String, Code> {
    let own = jobs(&["job1"]);
    let jobs = if role == Role::Service { &[][..] } else { &own };
    let grant = bucket.authorise(&caller(role), access, jobs).map_err(|error| error.code)?;
    let target = grant.target(&key(name)).map_err(|error| error.code)?;
    Ok(target.key.as_str().to_owned())
}

#[test]
fn everyone_has_their_own_scope() {
    let buckets = buckets();
    for role in [Role::User, Role::Service] {
        for access in [Access::Read, Access::Write] {
            assert_eq!(reach(&buckets("datasets"), role, access, "bob/x"), Ok("datasets/alice/bob/x".into()));
        }
    }
}

#[test]
fn a_read_only_bucket_takes_no_writes() {
    let bucket = Bucket { parts: vec![own("datasets", Rule::ReadOnly)], is_platform_view: false };
    assert!(reach(&bucket, Role::User, Access::Read, "x").is_ok());
    for operation in Operation::ALL.into_iter().filter(|op| op.access() == Access::Write) {
        let refusal = bucket.authorise(&caller(Role::User), operation.access(), &[]).err();
        assert_eq!(refusal.map(|error| error.code), Some(Code::AccessDenied), "{operation:?}");
    }
}

#[test]
fn logs_are_written_by_services_and_read_by_the_jobs_owner() {
    let logs = buckets()("logs");
    for name in ["job1/out", "job1/", "job10/out", "job", "x/y"] {
        let real = format!("logs/training/{name}");
        for access in [Access::Read, Access::Write] {
            assert_eq!(reach(&logs, Role::Service, access, name), Ok(real.clone()), "{name}");
        }
        let expected = if name.starts_with("job1/") { Ok(real) } else { Err(Code::NoSuchKey) };
        assert_eq!(reach(&logs, Role::User, Access::Read, name), expected, "{name}");
        assert_eq!(reach(&logs, Role::User, Access::Write, name), Err(Code::AccessDenied), "{name}");
    }
}

#[test]
fn the_view_has_the_rules_of_the_buckets_that_it_shows() {
    let view = buckets()("whole");
    for name in ["datasets/alice/x", "models/alice/x"] {
        for role in [Role::User, Role::Service] {
            for access in [Access::Read, Access::Write] {
                assert_eq!(reach(&view, role, access, name), Ok(name.to_owned()));
            }
        }
    }
    for name in
        ["datasets/bob/x", "datasets/alicex/x", "datasets/alice", "logs/training/job10/out", "logs/x", "x"]
    {
        assert_eq!(reach(&view, Role::User, Access::Read, name), Err(Code::NoSuchKey), "{name}");
        assert_eq!(reach(&view, Role::User, Access::Write, name), Err(Code::AccessDenied), "{name}");
    }
    let own_log = "logs/training/job1/out";
    assert_eq!(reach(&view, Role::User, Access::Read, own_log), Ok(own_log.into()));
    assert_eq!(reach(&view, Role::User, Access::Write, own_log), Err(Code::AccessDenied));
    let any_log = "logs/training/job10/out";
    assert_eq!(reach(&view, Role::Service, Access::Write, any_log), Ok(any_log.into()));
    assert_eq!(reach(&view, Role::Service, Access::Read, "datasets/bob/x"), Err(Code::NoSuchKey));

    let grant = view.authorise(&caller(Role::User), Access::Read, &jobs(&["job1"])).expect("a grant");
    let counts = |name| grant.counts(&grant.target(&key(name)).expect("a target"));
    assert!(counts("datasets/alice/x") && !counts(own_log));
}

#[test]
fn only_requests_that_may_touch_jobs_ask_for_them() {
    let buckets = buckets();
    let asked = |bucket: &str, access, about| buckets(bucket).jobs_asked(&caller(Role::User), access, about);
    let one = |id: &str| Asked::One(jobs(&[id]).remove(0));
    for (bucket, access, about, expected) in [
        ("datasets", Access::Read, About::Key("job1/x"), Asked::None),
        ("logs", Access::Bucket, About::Bucket, Asked::None),
        ("logs", Access::Read, About::Key("job1/x"), one("job1")),
        ("logs", Access::Read, About::Key("job1"), Asked::None),
        ("logs", Access::Read, About::Key("/job1/x"), Asked::None),
        ("logs", Access::Write, About::Key("job1/x"), Asked::None),
        ("logs", Access::Write, About::Keys, Asked::None),
        ("logs", Access::List, About::Prefix(""), Asked::All),
        ("logs", Access::List, About::Prefix("jo"), Asked::All),
        ("logs", Access::List, About::Prefix("job1/o"), one("job1")),
        ("logs", Access::List, About::Prefix("-/o"), Asked::None),
        ("whole", Access::List, About::Prefix(""), Asked::All),
        ("whole", Access::List, About::Prefix("logs/tr"), Asked::All),
        ("whole", Access::List, About::Prefix("logs/training/job1/"), one("job1")),
        ("whole", Access::List, About::Prefix("datasets/"), Asked::None),
        ("whole", Access::Read, About::Key("logs/training/job1/x"), one("job1")),
        ("whole", Access::Read, About::Key("datasets/alice/x"), Asked::None),
    ] {
        assert_eq!(asked(bucket, access, about), expected, "{bucket} {access:?} {about:?}");
    }
    let service = buckets("logs").jobs_asked(&caller(Role::Service), Access::List, About::Prefix(""));
    assert_eq!(service, Asked::None);

    let both = || Bucket { parts: vec![logs(Rule::ReadOnly), logs(Rule::ReadWrite)], is_platform_view: true };
    assert_eq!(both().jobs_asked(&caller(Role::User), Access::Write, About::Keys), Asked::All);
}
