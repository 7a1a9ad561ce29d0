//! May this caller do this here? In: who, which operation on what, the bucket as configured, and the caller's jobs
//! as far as they matter ([`jobs`]). Out: a `Grant`, which only this file makes and which alone leads to a place in
//! the real bucket; or the refusal.
//!
//! A bucket shows a caller one window for each part that it is made of: their own prefix, each of their own jobs; all
//! jobs to a service user. What lies in no window does not exist to who reads, and is refused to who writes.

mod jobs;

use crate::config::{self, Access as Rule, BucketKind};
use crate::error::{Code, Error, Result};
use crate::keymap::{Scope, UpstreamTarget, Window};
use crate::s3::operation::Access;
use crate::types::{BucketName, Caller, ClientKey, JobId, Role};

pub use jobs::{Asked, Jobs};

/// A bucket that clients see: the parts of the real one that it is made of.
#[derive(Debug)]
pub struct Bucket {
    parts: Vec<config::Bucket>,
    /// Keys are the platform's full paths, and not what comes after the one part's prefix.
    is_platform_view: bool,
}

/// What of a bucket a request is about.
#[derive(Clone, Copy, Debug)]
pub enum About<'a> {
    /// The bucket itself.
    Bucket,
    /// One object, or one upload of it.
    Key(&'a str),
    /// Objects that a document names.
    Keys,
    /// The names that begin so.
    Prefix(&'a str),
}

/// Leave to do one kind of thing in one scope.
#[derive(Debug)]
pub struct Grant {
    scope: Scope,
    access: Access,
}

impl Grant {
    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    /// Where a key of the granted bucket lies.
    pub fn target(&self, key: &ClientKey) -> Result<UpstreamTarget> {
        let Some((target, window)) = self.scope.map(key)? else { return Err(self.nothing_there()) };
        match (self.access, window.access) {
            (Access::Write, Rule::ReadOnly) => Err(Code::AccessDenied.into()),
            (Access::Write, Rule::ReadWrite) | (Access::Bucket | Access::List | Access::Read, _) => {
                Ok(target)
            }
        }
    }

    /// Whether what lies there counts towards the caller's quota.
    pub fn counts(&self, target: &UpstreamTarget) -> bool {
        self.scope.window(target.key.as_str()).is_none_or(|window| window.counts_towards_quota)
    }

    /// The answer where there is nothing, and where there is something that is not the caller's: the same.
    fn nothing_there(&self) -> Error {
        match self.access {
            Access::Write => Code::AccessDenied.into(),
            Access::Bucket | Access::List | Access::Read => Code::NoSuchKey.into(),
        }
    }
}

impl Bucket {
    /// The configured buckets by their names, in order.
    pub fn all(buckets: &[config::Bucket]) -> Vec<(BucketName, Self)> {
        let bucket = |bucket: &config::Bucket| match bucket.kind {
            BucketKind::User { .. } | BucketKind::Job { .. } => {
                Self { parts: vec![bucket.clone()], is_platform_view: false }
            }
            BucketKind::PlatformView => Self::platform_view(buckets),
        };
        buckets.iter().map(|configured| (configured.name.clone(), bucket(configured))).collect()
    }

    /// All that the other buckets show, under the platform's own names.
    pub fn platform_view(buckets: &[config::Bucket]) -> Self {
        let parts = buckets.iter().filter(|bucket| bucket.kind != BucketKind::PlatformView);
        Self { parts: parts.cloned().collect(), is_platform_view: true }
    }

    pub fn parts(&self) -> &[config::Bucket] {
        &self.parts
    }

    /// `jobs`: the caller's own, as far as [`Bucket::jobs_asked`] asks for them.
    pub fn authorise(&self, caller: &Caller, access: Access, jobs: &[JobId]) -> Result<Grant> {
        let windows = self.parts.iter().flat_map(|part| windows(part, caller, jobs)).collect();
        let scope = Scope::new(self.base(caller), windows);
        if access == Access::Write && !scope.is_writable() {
            return Err(Code::AccessDenied.into());
        }
        Ok(Grant { scope, access })
    }

    /// Which of the caller's jobs must be known to judge a request. Nobody's for most, so that a store that is away
    /// stops only who asks for jobs.
    pub fn jobs_asked(&self, caller: &Caller, access: Access, about: About<'_>) -> Asked {
        let base = self.base(caller);
        let asked = self.parts.iter().map(|part| match (&part.kind, caller.role) {
            (BucketKind::Job { prefix }, Role::User) => match (access, part.access) {
                // Refused, whosever it is.
                (Access::Write, Rule::ReadOnly) => Asked::None,
                (Access::Write, Rule::ReadWrite) | (Access::Bucket | Access::List | Access::Read, _) => {
                    jobs_under(prefix, &base, about)
                }
            },
            (BucketKind::User { .. } | BucketKind::PlatformView, _)
            | (BucketKind::Job { .. }, Role::Service) => Asked::None,
        });
        asked.reduce(Asked::and).unwrap_or(Asked::None)
    }

    /// The key by which this bucket knows what lies there in the real one, whether or not the caller may see it. The
    /// platform view knows of nothing that has no name in another bucket.
    pub fn key_of<'p>(&self, caller: &Caller, path: &'p str) -> Option<&'p str> {
        let scope = (!self.is_platform_view).then(|| Scope::new(self.base(caller), Vec::new()))?;
        scope.relative(path)
    }

    /// What the keys' names leave out.
    fn base(&self, caller: &Caller) -> String {
        match self.parts.first().map(|part| &part.kind) {
            Some(BucketKind::User { prefix }) if !self.is_platform_view => prefix.render(&caller.user),
            Some(BucketKind::Job { prefix }) if !self.is_platform_view => prefix.clone(),
            Some(BucketKind::User { .. } | BucketKind::Job { .. } | BucketKind::PlatformView) | None => {
                String::new()
            }
        }
    }
}

/// What a part of a bucket shows a caller.
fn windows(part: &config::Bucket, caller: &Caller, jobs: &[JobId]) -> Vec<Window> {
    match (&part.kind, caller.role) {
        (BucketKind::User { prefix }, Role::User | Role::Service) => {
            vec![Window::of_user(prefix, &caller.user, part.access, part.counts_towards_quota)]
        }
        (BucketKind::Job { prefix }, Role::Service) => vec![Window::of_all_jobs(prefix, Rule::ReadWrite)],
        (BucketKind::Job { prefix }, Role::User) => {
            jobs.iter().map(|job| Window::of_job(prefix, job, part.access)).collect()
        }
        (BucketKind::PlatformView, Role::User | Role::Service) => Vec::new(),
    }
}

/// The jobs under `prefix` that a request for something in the bucket at `base` may touch.
fn jobs_under(prefix: &str, base: &str, about: About<'_>) -> Asked {
    // `None` if that is in no job.
    let job_in = |name: &str| {
        let (job, _) = name.strip_prefix(prefix)?.split_once('/')?;
        JobId::parse(job)
    };
    match about {
        About::Bucket => Asked::None,
        About::Keys => Asked::All,
        About::Key(key) => job_in(&[base, key].concat()).map_or(Asked::None, Asked::One),
        About::Prefix(text) => {
            let name = [base, text].concat();
            match name.strip_prefix(prefix) {
                Some(rest) if rest.contains('/') => job_in(&name).map_or(Asked::None, Asked::One),
                Some(_) => Asked::All,
                None if prefix.starts_with(&name) => Asked::All,
                None => Asked::None,
            }
        }
    }
}

#[cfg(test)]
mod tests;
