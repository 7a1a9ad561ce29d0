//! The refusals that rows name by a short word, and requests bent out of shape in the ways that rows share.

use super::signer::Request;
use super::world::{Answers, World};
use super::{End, find};

pub const ACCESS_DENIED: Answers<'_> = &[(403, "AccessDenied")];
pub const BAD_AUTHORIZATION: Answers<'_> = &[(400, "AuthorizationHeaderMalformed"), (400, "InvalidArgument")];
pub const BAD_DIGEST: Answers<'_> = &[(400, "BadDigest")];
pub const BAD_QUERY_AUTH: Answers<'_> = &[(400, "AuthorizationQueryParametersError")];
pub const INCOMPLETE_BODY: Answers<'_> = &[(400, "IncompleteBody")];
pub const INVALID_ARGUMENT: Answers<'_> = &[(400, "InvalidArgument")];
pub const INVALID_DIGEST: Answers<'_> = &[(400, "InvalidDigest")];
pub const INVALID_REQUEST: Answers<'_> = &[(400, "InvalidRequest")];
pub const INVALID_URI: Answers<'_> = &[(400, "InvalidURI")];
pub const MALFORMED_HEADER: Answers<'_> = &[(400, "AuthorizationHeaderMalformed")];
pub const MALFORMED_XML: Answers<'_> = &[(400, "MalformedXML")];
pub const NOT_IMPLEMENTED: Answers<'_> = &[(501, "NotImplemented")];
pub const NO_SUCH_BUCKET: Answers<'_> = &[(404, "NoSuchBucket")];
pub const NO_SUCH_KEY: Answers<'_> = &[(404, "NoSuchKey")];
pub const NO_SUCH_UPLOAD: Answers<'_> = &[(404, "NoSuchUpload")];
pub const PRECONDITION_FAILED: Answers<'_> = &[(412, "PreconditionFailed")];
pub const SLOW_DOWN: Answers<'_> = &[(503, "SlowDown")];
pub const SKEWED: Answers<'_> = &[(403, "RequestTimeTooSkewed")];
pub const WRONG_HASH: Answers<'_> = &[(400, "XAmzContentSHA256Mismatch")];
pub const WRONG_SIGNATURE: Answers<'_> = &[(403, "SignatureDoesNotMatch")];

/// The request with one nibble of its signature flipped, in the header or in the query.
pub fn flip_signature(request: Request) -> Request {
    let mut request = request.edit("authorization", |value| flip_after(value, "Signature="));
    request.target = flip_after(&request.target, "X-Amz-Signature=");
    request
}

/// The body with one nibble of its n-th chunk signature flipped.
pub fn flip_chunk_signature(request: Request, n: usize) -> Request {
    let marker = b"chunk-signature=";
    let mut body = request.body.clone();
    let mut at = 0;
    for _ in 0..=n {
        at += find(&body[at..], marker).expect("so many chunks") + marker.len();
    }
    body[at] = other_nibble(body[at]);
    request.body(body)
}

fn flip_after(text: &str, marker: &str) -> String {
    let Some(at) = text.find(marker) else {
        return text.to_owned();
    };
    let mut bytes = text.as_bytes().to_vec();
    let at = at + marker.len();
    bytes[at] = other_nibble(bytes[at]);
    String::from_utf8(bytes).expect("ASCII stays ASCII")
}

fn other_nibble(nibble: u8) -> u8 {
    if nibble == b'0' { b'1' } else { b'0' }
}

impl World {
    /// A refused upload: at most one upstream request, and none that the upstream could commit.
    #[track_caller]
    pub fn refuses_upload(&self, request: &Request, answers: Answers<'_>) {
        let before = self.origin.count();
        self.refuses_after(1, request, answers);
        self.assert_nothing_committable(before);
    }

    /// No request with a body since then came whole.
    #[track_caller]
    pub fn assert_nothing_committable(&self, since: usize) {
        let writes = |s: &crate::harness::Seen| matches!(s.method(), "PUT" | "POST");
        self.origin.wait_for("the end of every upload", |seen| {
            seen[since..].iter().filter(|s| writes(s)).all(|s| s.end.is_some() || s.gone)
        });
        for seen in self.origin.seen()[since..].iter().filter(|s| writes(s)) {
            assert_ne!(
                seen.end,
                Some(End::Clean),
                "the upstream could commit {} {}",
                seen.method(),
                seen.target()
            );
        }
    }
}
