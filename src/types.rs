//! The newtypes every room speaks in. In: text from a client, a file or a clock. Out: values that are
//! valid by construction: who (`UserId`, `AccessKeyId`, `JobId`, `Caller`), with what (`Secret`), on which bucket and
//! key (`BucketName`, `ClientKey`, `UpstreamKey`), in which request (`RequestId`).
//! Nothing here does I/O or knows a config; nothing here prints a secret.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// The longest key S3 stores, in UTF-8 bytes; the prefix that the gateway adds counts.
pub const MAX_KEY_BYTES: usize = 1024;

/// A user: one safe path segment, `[A-Za-z0-9][A-Za-z0-9._-]{0,63}`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct UserId(Arc<str>);

impl UserId {
    pub fn parse(text: &str) -> Option<Self> {
        is_safe_segment(text, 64).then(|| Self(text.into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether a text can stand as one segment of a path everywhere, and is never `.` or `..`.
fn is_safe_segment(text: &str, longest: usize) -> bool {
    let mut bytes = text.bytes();
    let first_ok = bytes.next().is_some_and(|b| b.is_ascii_alphanumeric());
    let rest_ok = bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
    first_ok && rest_ok && text.len() <= longest
}

/// What an access key may do beyond its own scope.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// A person: their own datasets and models, the logs of their own jobs.
    #[default]
    User,
    /// A platform process: every job's logs, and its own scope elsewhere.
    Service,
}

/// An authenticated user, as authorisation and the logs need to know them.
#[derive(Clone, Debug)]
pub struct Caller {
    pub user: UserId,
    pub role: Role,
    pub way: WayIn,
    /// Jobs that the caller's own token says are theirs, besides those that the store knows of.
    pub jobs: Arc<[JobId]>,
    /// When the credentials end by themselves: those of temporary keys and tokens. Nothing that such a caller makes
    /// may outlive them.
    pub expires: Option<SystemTime>,
}

/// A training job's name, the first segment of its logs' keys: `[A-Za-z0-9][A-Za-z0-9._-]{0,127}`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct JobId(Arc<str>);

impl JobId {
    pub fn parse(text: &str) -> Option<Self> {
        is_safe_segment(text, 128).then(|| Self(text.into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Caller {
    /// Whether they signed with temporary keys: no other keys can be made with those.
    pub fn is_temporary(&self) -> bool {
        self.way == WayIn::Sts
    }

    pub fn is_bearer(&self) -> bool {
        self.way == WayIn::Jwt
    }
}

/// How a caller proved who they are; the `auth` field of logs and metrics.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum WayIn {
    SigV4Header,
    SigV4Presigned,
    /// A bearer token.
    Jwt,
    /// Temporary keys, in a header or in a presigned URL of their holder's.
    Sts,
}

impl WayIn {
    pub fn label(self) -> &'static str {
        match self {
            Self::SigV4Header => "sigv4",
            Self::SigV4Presigned => "presigned",
            Self::Jwt => "jwt",
            Self::Sts => "sts",
        }
    }
}

/// The public half of an access key: printable ASCII without `/`, `,`, `=` or space, 3 to 128 characters,
/// so that it can stand in a credential scope.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct AccessKeyId(Arc<str>);

impl AccessKeyId {
    pub fn parse(text: &str) -> Option<Self> {
        let legal = |b: u8| b.is_ascii_graphic() && !matches!(b, b'/' | b',' | b'=');
        ((3..=128).contains(&text.len()) && text.bytes().all(legal)).then(|| Self(text.into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::borrow::Borrow<str> for AccessKeyId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// A secret: never printed, compared in constant time, wiped when the last owner lets go.
#[derive(Clone)]
pub struct Secret(Arc<Zeroizing<String>>);

impl Secret {
    pub fn new(text: String) -> Self {
        Self(Arc::new(Zeroizing::new(text)))
    }

    /// The clear text. Every caller of this is a place to look at in a review.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.expose().as_bytes().ct_eq(other.expose().as_bytes()).into()
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// A bucket as clients name it: S3's rule for names, and not one of the gateway's own routes.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct BucketName(Arc<str>);

impl BucketName {
    /// Names that are routes of the gateway and so never buckets.
    pub const RESERVED: [&'static str; 2] = ["api", "console"];

    /// 3 to 63 of `[a-z0-9.-]`, first and last alphanumeric, no `..`
    /// (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html>).
    pub fn parse(text: &str) -> Option<Self> {
        let alnum = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        let bytes = text.as_bytes();
        let legal = (3..=63).contains(&bytes.len())
            && bytes.iter().all(|&b| alnum(b) || matches!(b, b'.' | b'-'))
            && alnum(bytes[0])
            && alnum(bytes[bytes.len() - 1])
            && !text.contains("..");
        (legal && !Self::RESERVED.contains(&text)).then(|| Self(text.into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for BucketName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A key as the client knows it, decoded once. Byte-faithful: nothing is normalised.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct ClientKey(String);

/// Why a text is no key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KeyProblem {
    Empty,
    /// A `.` or `..` segment, which some servers and file systems would walk.
    DotSegment,
    Nul,
    TooLong,
}

impl ClientKey {
    pub fn new(text: String) -> Result<Self, KeyProblem> {
        if text.is_empty() {
            return Err(KeyProblem::Empty);
        }
        if text.len() > MAX_KEY_BYTES {
            return Err(KeyProblem::TooLong);
        }
        if text.contains('\0') {
            return Err(KeyProblem::Nul);
        }
        // A backslash separates too: some upstreams fold it into a slash.
        if text.split(['/', '\\']).any(|segment| matches!(segment, "." | "..")) {
            return Err(KeyProblem::DotSegment);
        }
        Ok(Self(text))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A key in the real bucket. Only `keymap` makes one, so every one of these lies in somebody's scope.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct UpstreamKey(String);

impl UpstreamKey {
    /// For `keymap` alone, which answers for the scope.
    pub fn mapped(text: String) -> Self {
        Self(text)
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Names one request in answers, logs and explanations: 128 bits, time first, 32 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct RequestId([u8; 32]);

impl RequestId {
    pub fn new() -> Self {
        let mut text = [0; 32];
        uuid::Uuid::now_v7().simple().encode_upper(&mut text);
        Self(text)
    }

    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("hex digits are UTF-8")
    }
}

impl Default for RequestId {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_ids_are_one_safe_segment() {
        for good in ["a", "alice", "123e4567-e89b-12d3-a456-426614174000", "A.b_c-9", &"x".repeat(64)] {
            assert!(UserId::parse(good).is_some(), "{good}");
        }
        for bad in
            ["", ".", "..", ".a", "-a", "_a", "a/b", "a%2Fb", "a b", "a\\b", "é", "a\0", &"x".repeat(65)]
        {
            assert!(UserId::parse(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn bucket_names_follow_s3_and_spare_the_routes() {
        for good in ["datasets", "a-b.c", "123"] {
            assert!(BucketName::parse(good).is_some(), "{good}");
        }
        for bad in ["", "ab", "api", "console", "Data", "-ab", "ab-", "a..b", "a_b", "a/b", &"x".repeat(64)] {
            assert!(BucketName::parse(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn keys_keep_their_bytes_and_refuse_what_a_path_would_walk() {
        for good in
            ["a", "a//b", "/", "/a", "a/", "...", "a/.../b", "..a", "a..", "\u{1}", "e\u{301}", "*~'\"+%20 "]
        {
            assert_eq!(ClientKey::new(good.into()).map(|k| k.0), Ok(good.to_owned()));
        }
        for bad in ["..", ".", "a/..", "../a", "a/./b", "a\\..\\b", "./"] {
            assert_eq!(ClientKey::new(bad.into()), Err(KeyProblem::DotSegment), "{bad}");
        }
        assert_eq!(ClientKey::new(String::new()), Err(KeyProblem::Empty));
        assert_eq!(ClientKey::new("a\0b".into()), Err(KeyProblem::Nul));
        assert_eq!(ClientKey::new("x".repeat(1025)), Err(KeyProblem::TooLong));
    }

    #[test]
    fn secrets_do_not_print() {
        let secret = Secret::new("hunter2".into());
        assert_eq!(format!("{secret:?}"), "Secret(…)");
        assert_eq!(secret, Secret::new("hunter2".into()));
        assert_ne!(secret, Secret::new("hunter3".into()));
    }
}
