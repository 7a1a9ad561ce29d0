//! `ClientKey` ↔ `UpstreamKey`: the only file that adds or removes a prefix. A `Scope` is the part of the real
//! bucket that one caller sees as one bucket; it always ends in `/`, so a scope is whole segments and `bob`
//! is never a prefix of `bobby`. Unmapping fails closed: a key outside the scope has no client name.

use std::borrow::Cow;

use crate::config::PrefixTemplate;
use crate::error::{Code, Error, Result};
use crate::s3::uri;
use crate::types::{ClientKey, MAX_KEY_BYTES, UpstreamKey, UserId};

/// Where one virtual bucket of one caller lies in the real bucket.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Scope {
    prefix: String,
}

/// A place in the real bucket, in somebody's scope: what `upstream` may be asked about.
#[derive(Clone, Debug)]
pub struct UpstreamTarget {
    pub key: UpstreamKey,
}

impl Scope {
    /// The scope of a user in a bucket, from its prefix template (`datasets/{user_id}/`).
    pub fn of_user(template: &PrefixTemplate, user: &UserId) -> Self {
        Self::new(template.render(user))
    }

    /// A scope that is the same for everyone who may use it.
    pub fn shared(prefix: &str) -> Self {
        Self::new(prefix.to_owned())
    }

    fn new(prefix: String) -> Self {
        assert!(prefix.ends_with('/') && prefix.len() > 1, "the configuration admits only whole segments");
        Self { prefix }
    }

    /// What every key of this scope begins with.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    pub fn map(&self, key: &ClientKey) -> Result<UpstreamTarget> {
        let length = self.prefix.len() + key.as_str().len();
        if length > MAX_KEY_BYTES {
            return Err(Error::new(Code::KeyTooLongError)
                .detail("Size", key.as_str().len().to_string())
                .detail("MaxSizeAllowed", (MAX_KEY_BYTES - self.prefix.len()).to_string()));
        }
        Ok(UpstreamTarget { key: UpstreamKey::mapped(self.extend(key.as_str())) })
    }

    /// Maps what need not be a key: a listing's prefix or marker. Whatever it holds, the result stays inside.
    pub fn extend(&self, text: &str) -> String {
        [&self.prefix, text].concat()
    }

    /// The client's name of a key, or of a common prefix, in the real bucket.
    pub fn unmap<'k>(&self, upstream_key: &'k str) -> Option<&'k str> {
        upstream_key.strip_prefix(self.prefix.as_str())
    }
}

/// A key that the real bucket lists, or the ledger wrote down when it was mapped: it is real already.
pub fn listed(key: String) -> UpstreamKey {
    UpstreamKey::mapped(key)
}

/// The platform's own URI of an object, as it is shown to the object's owner.
pub struct UriScheme {
    pub scheme: String,
    pub bucket: String,
}

impl UriScheme {
    pub fn uri(&self, target: &UpstreamTarget) -> String {
        let key = uri::encode_path(target.key.as_str());
        [&self.scheme, "://", &self.bucket, "/", &key].concat()
    }

    /// The path in the real bucket that a URI names, decoded once; nobody's yet.
    pub fn path_of<'u>(&self, uri: &'u str) -> Result<Cow<'u, str>> {
        let rest =
            uri.strip_prefix(&self.scheme).and_then(|rest| rest.strip_prefix("://")).ok_or_else(|| {
                Error::new(Code::InvalidArgument)
                    .say(format!("Expected a URI that begins with {}://.", self.scheme))
            })?;
        let path = rest.strip_prefix(&self.bucket).and_then(|rest| rest.strip_prefix('/'));
        uri::decode_path(path.ok_or(Code::NoSuchKey)?).map_err(|_| Code::InvalidURI.into())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn scope(user: &str) -> Scope {
        let template = PrefixTemplate::parse("datasets/{user_id}/").expect("a template");
        Scope::of_user(&template, &UserId::parse(user).expect("an id"))
    }

    proptest! {
        #[test]
        fn unmapping_undoes_mapping_and_nothing_leaves_the_scope(
            user in "[A-Za-z0-9][A-Za-z0-9._-]{0,63}",
            key in "\\PC{1,200}",
        ) {
            let scope = scope(&user);
            let Ok(key) = ClientKey::new(key) else { return Ok(()) };
            if let Ok(target) = scope.map(&key) {
                let own = format!("datasets/{user}/");
                prop_assert!(target.key.as_str().starts_with(&own));
                prop_assert_eq!(scope.unmap(target.key.as_str()), Some(key.as_str()));
            }
        }

        #[test]
        fn two_users_or_keys_never_meet(
            users in prop::array::uniform2("[ab][ab._-]{0,3}"),
            keys in prop::array::uniform2("[ab/._-]{1,6}"),
        ) {
            let map = |i: usize| {
                let key = ClientKey::new(keys[i].clone()).ok()?;
                Some(scope(&users[i]).map(&key).ok()?.key.as_str().to_owned())
            };
            if let (Some(one), Some(other)) = (map(0), map(1)) {
                prop_assert_eq!(one == other, users[0] == users[1] && keys[0] == keys[1]);
                if users[0] != users[1] {
                    prop_assert_eq!(scope(&users[0]).unmap(&other), None);
                }
            }
        }
    }

    #[test]
    fn uris_name_paths_of_this_bucket_only() {
        let scheme = UriScheme { scheme: "darkstorage".into(), bucket: "platform".into() };
        let path = |uri| scheme.path_of(uri).map(Cow::into_owned).map_err(|error| error.code);
        let key = ClientKey::new("a b/100%/é".into()).expect("a key");
        let uri = scheme.uri(&scope("bob").map(&key).expect("a target"));
        assert_eq!(path(&uri).as_deref(), Ok("datasets/bob/a b/100%/é"));
        assert_eq!(path("darkstorage://platform/a%2520b").as_deref(), Ok("a%20b"));
        for other in
            ["darkstorage://platforms/a", "darkstorage://other/a", "darkstorage://platform", "darkstorage://"]
        {
            assert_eq!(path(other), Err(Code::NoSuchKey), "{other}");
        }
        for bad in ["", "platform/a", "s3://platform/a", "darkstorage:/platform/a"] {
            assert_eq!(path(bad), Err(Code::InvalidArgument), "{bad}");
        }
        assert_eq!(path("darkstorage://platform/%zz"), Err(Code::InvalidURI));
    }

    #[test]
    fn siblings_do_not_see_each_other() {
        assert_eq!(scope("bob").unmap("datasets/bobby/x"), None);
        assert_eq!(scope("bob").unmap("datasets/bob"), None);
        assert_eq!(scope("bob").unmap("models/bob/x"), None);
        assert_eq!(scope("bob").unmap("datasets/bob/"), Some(""));
    }

    #[test]
    fn the_prefix_counts_towards_the_key_limit() {
        let scope = scope("bob");
        let longest = MAX_KEY_BYTES - scope.prefix().len();
        let key = |length| ClientKey::new("k".repeat(length)).expect("a key");
        assert!(scope.map(&key(longest)).is_ok());
        assert_eq!(scope.map(&key(longest + 1)).expect_err("too long").code, Code::KeyTooLongError);
    }
}
