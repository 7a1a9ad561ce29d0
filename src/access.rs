//! May this caller do this here? In: who, which operation, the bucket as configured. Out: a `Grant`, which
//! only this file makes and which alone leads to a scope in the real bucket; or the refusal. A thing that one
//! may not see is refused exactly as if it did not exist.

use crate::config::{self, Access as BucketAccess, BucketKind};
use crate::error::{Code, Result};
use crate::keymap::{Scope, UpstreamTarget};
use crate::s3::operation::{Access, Operation};
use crate::types::{Caller, ClientKey, Role};

/// Leave to do one operation in one scope.
#[derive(Debug)]
pub struct Grant {
    scope: Scope,
    sees: Sees,
}

/// What of the scope a listing shows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sees {
    Everything,
    Nothing,
}

impl Grant {
    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    pub fn sees(&self) -> Sees {
        self.sees
    }

    /// Where a key of the granted bucket lies.
    pub fn target(&self, key: &ClientKey) -> Result<UpstreamTarget> {
        self.scope.map(key)
    }
}

pub fn authorise(caller: &Caller, operation: Operation, bucket: &config::Bucket) -> Result<Grant> {
    authorise_access(caller, operation.access(), bucket)
}

/// A copy reads its source under the same rules as a GET.
pub fn authorise_source(caller: &Caller, bucket: &config::Bucket) -> Result<Grant> {
    authorise_access(caller, Access::Read, bucket)
}

fn authorise_access(caller: &Caller, access: Access, bucket: &config::Bucket) -> Result<Grant> {
    match &bucket.kind {
        BucketKind::User { prefix } => {
            let scope = Scope::of_user(prefix, &caller.user);
            match (access, bucket.access) {
                (Access::Write, BucketAccess::ReadOnly) => Err(Code::AccessDenied.into()),
                (Access::Write, BucketAccess::ReadWrite)
                | (Access::Bucket | Access::List | Access::Read, _) => {
                    Ok(Grant { scope, sees: Sees::Everything })
                }
            }
        }
        BucketKind::Job { prefix } => {
            let scope = Scope::shared(prefix);
            match (caller.role, access) {
                (Role::Service, _) | (Role::User, Access::Bucket) => {
                    Ok(Grant { scope, sees: Sees::Everything })
                }
                // Jobs have no owners yet: every job is foreign, and a foreign job does not exist.
                (Role::User, Access::List) => Ok(Grant { scope, sees: Sees::Nothing }),
                (Role::User, Access::Read) => Err(Code::NoSuchKey.into()),
                (Role::User, Access::Write) => Err(Code::AccessDenied.into()),
            }
        }
        BucketKind::PlatformView => Err(Code::NoSuchBucket.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::config::PrefixTemplate;
    use crate::types::{BucketName, UserId, WayIn};

    fn caller(role: Role) -> Caller {
        let user = UserId::parse("alice").expect("id");
        Caller { user, role, way: WayIn::SigV4Header, jobs: Arc::default(), expires: None }
    }

    fn bucket(kind: BucketKind, access: BucketAccess) -> config::Bucket {
        let name = BucketName::parse("bucket").expect("name");
        config::Bucket { name, kind, access, counts_towards_quota: true }
    }

    fn own(access: BucketAccess) -> config::Bucket {
        let prefix = PrefixTemplate::parse("datasets/{user_id}/").expect("template");
        bucket(BucketKind::User { prefix }, access)
    }

    fn logs() -> config::Bucket {
        bucket(BucketKind::Job { prefix: "logs/training/".into() }, BucketAccess::ReadOnly)
    }

    fn refusal(role: Role, operation: Operation, bucket: &config::Bucket) -> Option<Code> {
        authorise(&caller(role), operation, bucket).err().map(|error| error.code)
    }

    #[test]
    fn everyone_has_their_own_scope() {
        for role in [Role::User, Role::Service] {
            let grant =
                authorise(&caller(role), Operation::PutObject, &own(BucketAccess::ReadWrite)).expect("own");
            assert_eq!(grant.scope().prefix(), "datasets/alice/");
            assert_eq!(grant.sees(), Sees::Everything);
        }
    }

    #[test]
    fn a_read_only_bucket_takes_no_writes() {
        let bucket = own(BucketAccess::ReadOnly);
        assert_eq!(refusal(Role::User, Operation::GetObject, &bucket), None);
        for operation in Operation::ALL.into_iter().filter(|op| op.access() == Access::Write) {
            assert_eq!(refusal(Role::User, operation, &bucket), Some(Code::AccessDenied), "{operation:?}");
        }
    }

    #[test]
    fn logs_are_for_services_and_foreign_jobs_do_not_exist() {
        for operation in Operation::ALL {
            assert_eq!(refusal(Role::Service, operation, &logs()), None, "{operation:?}");
            let expected = match operation.access() {
                Access::Bucket | Access::List => None,
                Access::Read => Some(Code::NoSuchKey),
                Access::Write => Some(Code::AccessDenied),
            };
            assert_eq!(refusal(Role::User, operation, &logs()), expected, "{operation:?}");
        }
        let listing = authorise(&caller(Role::User), Operation::ListObjectsV2, &logs()).expect("a listing");
        assert_eq!(listing.sees(), Sees::Nothing);
    }
}
