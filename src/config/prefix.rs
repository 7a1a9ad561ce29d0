//! Where a bucket lies in the real one. In: the `prefix` of a `[[buckets]]` entry. Out: a template that
//! gives each user one prefix, whole segments only; and whether two entries could ever share a key.

use crate::types::UserId;

const MARK: &str = "{user_id}";

/// A user's prefix with the user left out: `datasets/{user_id}/`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PrefixTemplate {
    before: String,
    after: String,
}

impl PrefixTemplate {
    /// Whole segments, `{user_id}` exactly one of them, ending in `/`.
    pub fn parse(text: &str) -> Option<Self> {
        let (before, after) = text.split_once(MARK)?;
        let whole = (before.is_empty() || before.ends_with('/')) && after.starts_with('/');
        (whole && !after.contains(MARK) && is_prefix(text))
            .then(|| Self { before: before.to_owned(), after: after.to_owned() })
    }

    /// What stands before the user id: empty, or ending in `/`.
    pub fn before(&self) -> &str {
        &self.before
    }

    /// What stands after the user id: starts and ends in `/`.
    pub fn after(&self) -> &str {
        &self.after
    }

    /// This user's prefix, ending in `/`.
    pub fn render(&self, user: &UserId) -> String {
        format!("{}{user}{}", self.before, self.after)
    }

    pub fn text(&self) -> String {
        format!("{}{MARK}{}", self.before, self.after)
    }
}

/// A prefix of whole, plain segments that ends in `/`. Braces stand only as the user's mark.
pub(super) fn is_prefix(text: &str) -> bool {
    let Some(body) = text.strip_suffix('/') else {
        return false;
    };
    let plain = |segment: &str| {
        !matches!(segment, "" | "." | "..")
            && (segment == MARK
                || segment.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'{' | b'}' | b'\\' | b'%')))
    };
    text.len() <= 512 && body.split('/').all(plain)
}

/// Whether a key could lie under both: one prefix contains the other for some user.
pub(super) fn overlap(a: &str, b: &str) -> bool {
    // A mark stands for any segment that some user could be called.
    let could_be = |mark: &str, segment: &str| mark == MARK && UserId::parse(segment).is_some();
    let segments = |text: &str| text.trim_end_matches('/').split('/').map(str::to_owned).collect::<Vec<_>>();
    segments(a).iter().zip(&segments(b)).all(|(a, b)| a == b || could_be(a, b) || could_be(b, a))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_user_is_one_whole_segment() {
        let template = PrefixTemplate::parse("datasets/{user_id}/v1/").unwrap();
        assert_eq!(template.render(&UserId::parse("alice").unwrap()), "datasets/alice/v1/");
        assert_eq!(template.text(), "datasets/{user_id}/v1/");
        assert!(PrefixTemplate::parse("{user_id}/").is_some());
        for bad in [
            "",
            "/",
            "datasets/",
            "datasets/{user_id}",
            "datasets/u-{user_id}/",
            "datasets/{user_id}x/",
            "{user_id}/{user_id}/",
            "/datasets/{user_id}/",
            "a//{user_id}/",
            "../{user_id}/",
            "a/./{user_id}/",
            "a\\{user_id}/",
            "{job_id}/{user_id}/",
            "a b/{user_id}/",
        ] {
            assert_eq!(PrefixTemplate::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn prefixes_overlap_if_some_user_makes_them() {
        for (a, b, shared) in [
            ("datasets/{user_id}/", "models/{user_id}/", false),
            ("datasets/{user_id}/", "datasets/{user_id}/", true),
            ("datasets/{user_id}/", "datasets/", true),
            ("datasets/{user_id}/", "datasets2/{user_id}/", false),
            ("{user_id}/a/", "{user_id}/b/", false),
            ("{user_id}/", "logs/training/", true),
            ("{user_id}/", "_logs/training/", false),
            ("datasets/{user_id}/", "{user_id}/datasets/", true),
        ] {
            assert_eq!(overlap(a, b), shared, "{a} {b}");
            assert_eq!(overlap(b, a), shared, "{b} {a}");
        }
    }
}
