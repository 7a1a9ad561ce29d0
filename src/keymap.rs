//! `ClientKey` ↔ `UpstreamKey`: the only file that adds or removes a prefix. A `Scope` is what one caller sees of the
//! real bucket as one bucket: keys that begin with its base and lie in one of its windows. A window ends in `/`,
//! so it is whole segments and `bob` is never a prefix of `bobby`. Unmapping fails closed: a key outside the windows
//! has no client name.

use std::borrow::Cow;

use crate::config::{Access, PrefixTemplate};
use crate::error::{Code, Error, Result};
use crate::s3::uri;
use crate::types::{ClientKey, JobId, MAX_KEY_BYTES, UpstreamKey, UserId};

/// A part of the real bucket, and what holds for the keys in it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Window {
    prefix: String,
    pub access: Access,
    pub counts_towards_quota: bool,
}

/// Where one virtual bucket of one caller lies in the real bucket.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Scope {
    base: String,
    /// In the order of their prefixes; none lies in another.
    windows: Vec<Window>,
}

/// A place in the real bucket, in somebody's scope: what `upstream` may be asked about.
#[derive(Clone, Debug)]
pub struct UpstreamTarget {
    pub key: UpstreamKey,
}

impl Window {
    /// A user's own prefix, from a bucket's template (`datasets/{user_id}/`).
    pub fn of_user(
        template: &PrefixTemplate,
        user: &UserId,
        access: Access,
        counts_towards_quota: bool,
    ) -> Self {
        Self { prefix: template.render(user), access, counts_towards_quota }
    }

    /// One job under the prefix of its bucket; no quota counts it.
    pub fn of_job(prefix: &str, job: &JobId, access: Access) -> Self {
        Self { prefix: format!("{prefix}{job}/"), access, counts_towards_quota: false }
    }

    /// Every job there is or will be.
    pub fn of_all_jobs(prefix: &str, access: Access) -> Self {
        Self { prefix: prefix.to_owned(), access, counts_towards_quota: false }
    }
}

impl Scope {
    /// The bucket whose keys are named without `base`; empty, they are named in full.
    pub fn new(base: String, mut windows: Vec<Window>) -> Self {
        windows.sort_unstable_by(|a, b| a.prefix.cmp(&b.prefix));
        let whole = |window: &Window| {
            window.prefix.ends_with('/') && window.prefix.len() > 1 && window.prefix.starts_with(&base)
        };
        assert!(windows.iter().all(whole), "the configuration admits only whole segments");
        Self { base, windows }
    }

    /// Where a key lies, and under which rules; `None` if that is in no window.
    pub fn map(&self, key: &ClientKey) -> Result<Option<(UpstreamTarget, &Window)>> {
        let length = self.base.len() + key.as_str().len();
        if length > MAX_KEY_BYTES {
            return Err(Error::new(Code::KeyTooLongError)
                .detail("Size", key.as_str().len().to_string())
                .detail("MaxSizeAllowed", (MAX_KEY_BYTES - self.base.len()).to_string()));
        }
        let real = self.extend(key.as_str());
        Ok(self.window(&real).map(|window| (UpstreamTarget { key: UpstreamKey::mapped(real) }, window)))
    }

    /// The window in which a real name lies.
    pub fn window(&self, real: &str) -> Option<&Window> {
        // The last one that does not come after the name: those before it end before it begins.
        let after = self.windows.partition_point(|window| window.prefix.as_str() <= real);
        self.windows[..after].last().filter(|window| real.starts_with(&window.prefix))
    }

    /// Maps what need not be a key, such as a listing's marker. It need not lie in a window either: what is asked with
    /// it must be bound to one by its prefix.
    pub fn extend(&self, text: &str) -> String {
        [&self.base, text].concat()
    }

    /// The client's name of a key, or of a common prefix, in the real bucket.
    pub fn unmap<'k>(&self, upstream_key: &'k str) -> Option<&'k str> {
        self.window(upstream_key)?;
        self.relative(upstream_key)
    }

    /// The same whether it lies in a window or not: what the client would call it.
    pub fn relative<'k>(&self, upstream_key: &'k str) -> Option<&'k str> {
        upstream_key.strip_prefix(self.base.as_str())
    }

    /// The windows as the client names them, in order: empty for one that is the whole bucket.
    pub fn windows(&self) -> impl Iterator<Item = &str> {
        self.windows.iter().map(|window| self.name(window))
    }

    /// Those of them that may be written.
    pub fn writable_windows(&self) -> impl Iterator<Item = &str> {
        self.windows
            .iter()
            .filter(|window| window.access == Access::ReadWrite)
            .map(|window| self.name(window))
    }

    fn name<'w>(&self, window: &'w Window) -> &'w str {
        &window.prefix[self.base.len()..]
    }

    /// Whether anything here may be written.
    pub fn is_writable(&self) -> bool {
        self.windows.iter().any(|window| window.access == Access::ReadWrite)
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

    fn user(id: &str) -> UserId {
        UserId::parse(id).expect("an id")
    }

    fn own(bucket: &str, id: &str) -> Window {
        let template = PrefixTemplate::parse(&format!("{bucket}/{{user_id}}/")).expect("a template");
        Window::of_user(&template, &user(id), Access::ReadWrite, true)
    }

    fn scope(id: &str) -> Scope {
        Scope::new(format!("datasets/{id}/"), vec![own("datasets", id)])
    }

    /// The caller's corner of the whole bucket.
    fn view(id: &str, jobs: &[&str]) -> Scope {
        let job = |job: &&str| {
            Window::of_job("logs/training/", &JobId::parse(job).expect("an id"), Access::ReadOnly)
        };
        let own = ["models", "datasets"].map(|bucket| own(bucket, id));
        Scope::new(String::new(), own.into_iter().chain(jobs.iter().map(job)).collect())
    }

    fn mapped(scope: &Scope, key: &str) -> Option<String> {
        let key = ClientKey::new(key.to_owned()).expect("a key");
        let (target, _) = scope.map(&key).expect("short enough")?;
        Some(target.key.as_str().to_owned())
    }

    proptest! {
        #[test]
        fn unmapping_undoes_mapping_and_nothing_leaves_the_scope(
            user in "[A-Za-z0-9][A-Za-z0-9._-]{0,63}",
            key in "\\PC{1,200}",
        ) {
            let scope = scope(&user);
            let Ok(key) = ClientKey::new(key) else { return Ok(()) };
            if let Ok(Some((target, _))) = scope.map(&key) {
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
                Some(scope(&users[i]).map(&key).ok()??.0.key.as_str().to_owned())
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
        let (target, _) = scope("bob").map(&key).expect("short enough").expect("in its window");
        let uri = scheme.uri(&target);
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
    fn a_view_opens_its_windows_and_nothing_between_them() {
        // A name may end where another's separator stands: `-` and `.` sort before `/`.
        let view = view("bob", &["job1", "job1.x", "job1-x"]);
        for key in [
            "datasets/bob/x",
            "models/bob/",
            "logs/training/job1/out",
            "logs/training/job1-x/a",
            "logs/training/job1.x/a",
        ] {
            assert_eq!(mapped(&view, key).as_deref(), Some(key));
            assert_eq!(view.unmap(key), Some(key));
        }
        for key in [
            "datasets/bob",
            "datasets/bobby/x",
            "datasets/",
            "logs/training/job1",
            "logs/training/job10/out",
            "logs/training/job1-/out",
            "logs/training/job1.x",
            "z",
        ] {
            assert_eq!(mapped(&view, key), None, "{key}");
            assert_eq!(view.unmap(key), None, "{key}");
        }
        let windows: Vec<_> = view.windows().collect();
        assert!(windows.is_sorted() && windows.len() == 5, "{windows:?}");
    }

    #[test]
    fn the_prefix_counts_towards_the_key_limit() {
        let scope = scope("bob");
        let longest = MAX_KEY_BYTES - "datasets/bob/".len();
        let key = |length| ClientKey::new("k".repeat(length)).expect("a key");
        assert!(scope.map(&key(longest)).is_ok());
        assert_eq!(scope.map(&key(longest + 1)).expect_err("too long").code, Code::KeyTooLongError);
    }
}
