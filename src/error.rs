//! Every error a client can see. One table (`codes!`) says, for each S3 code, its HTTP status, its public
//! text and who is to blame; `Error` adds what only this occurrence knows: a better text, extra elements,
//! and a private cause that goes to the log and never to the client.
//!
//! Follows <https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html>.

use std::borrow::Cow;
use std::fmt::{self, Write as _};
use std::time::Duration;

use http::StatusCode;

/// Whose fault an error is: what an operator looks at first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Blame {
    Client,
    Gateway,
    Upstream,
}

macro_rules! codes {
    ($($name:ident $status:literal $blame:ident $text:literal;)*) => {
        /// A code of the S3 error table.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        pub enum Code { $($name),* }

        impl Code {
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// The code as it stands in `<Code>` and in logs.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => stringify!($name)),* }
            }

            pub fn status(self) -> StatusCode {
                let number: u16 = match self { $(Self::$name => $status),* };
                StatusCode::from_u16(number).expect("the table holds valid statuses")
            }

            pub fn blame(self) -> Blame {
                match self { $(Self::$name => Blame::$blame),* }
            }

            fn text(self) -> &'static str {
                match self { $(Self::$name => $text),* }
            }

            /// The code that an upstream's `<Code>` names, if the table has it.
            pub fn from_name(name: &str) -> Option<Self> {
                match name { $(stringify!($name) => Some(Self::$name),)* _ => None }
            }
        }
    };
}

codes! {
    // Who are you, and may you?
    AccessDenied 403 Client "Access Denied";
    AccessForbidden 403 Client "CORSResponse: CORS is not enabled for this bucket.";
    AuthorizationHeaderMalformed 400 Client "The authorization header that you provided is not valid.";
    AuthorizationQueryParametersError 400 Client "Error parsing the authorization query parameters.";
    ExpiredToken 400 Client "The provided token has expired.";
    InvalidAccessKeyId 403 Client "The AWS Access Key Id you provided does not exist in our records.";
    InvalidToken 401 Client "The provided token is malformed or otherwise not valid.";
    RequestTimeTooSkewed 403 Client "The difference between the request time and the server's time is too large.";
    SignatureDoesNotMatch 403 Client "The request signature we calculated does not match the signature you provided. Check your key and signing method.";

    // The shape of a request
    InvalidArgument 400 Client "Invalid Argument";
    InvalidBucketName 400 Client "The specified bucket is not valid.";
    InvalidRequest 400 Client "Invalid Request";
    InvalidURI 400 Client "Couldn't parse the specified URI.";
    KeyTooLongError 400 Client "Your key is too long";
    MetadataTooLarge 400 Client "Your metadata headers exceed the maximum allowed metadata size";
    MethodNotAllowed 405 Client "The specified method is not allowed against this resource.";
    MissingContentLength 411 Client "You must provide the Content-Length HTTP header.";
    NotImplemented 501 Client "A header or query you provided implies functionality that is not implemented.";
    RequestHeaderSectionTooLarge 400 Client "Your request header section exceeds the maximum allowed size.";
    UnexpectedContent 400 Client "This request does not support content";
    ExpectationFailed 417 Client "The only expectation supported is 100-continue.";

    // The body
    BadDigest 400 Client "The Content-MD5 or checksum value that you specified did not match what the server received.";
    EntityTooLarge 400 Client "Your proposed upload exceeds the maximum allowed object size.";
    EntityTooSmall 400 Client "Your proposed upload is smaller than the minimum allowed object size.";
    IncompleteBody 400 Client "You did not provide the number of bytes specified by the Content-Length HTTP header.";
    InvalidDigest 400 Client "The Content-MD5 or checksum value that you specified is not valid.";
    MalformedTrailerError 400 Client "The request contained trailing data that was not well-formed or did not conform to our published schema.";
    MalformedXML 400 Client "The XML you provided was not well-formed or did not validate against our published schema";
    MaxMessageLengthExceeded 400 Client "Your request was too big.";
    RequestTimeout 400 Client "Your socket connection to the server was not read from or written to within the timeout period.";
    XAmzContentSHA256Mismatch 400 Client "The provided 'x-amz-content-sha256' header does not match what was computed.";

    // Buckets, objects, uploads
    BucketAlreadyOwnedByYou 409 Client "Your previous request to create the named bucket succeeded and you already own it.";
    BucketNotEmpty 409 Client "The bucket you tried to delete is not empty";
    ConditionalRequestConflict 409 Client "A conflicting conditional operation is currently in progress against this resource. Try again.";
    InvalidObjectState 403 Client "The operation is not valid for the object's storage class";
    InvalidPart 400 Client "One or more of the specified parts could not be found. The part might not have been uploaded, or the specified entity tag might not have matched the part's entity tag.";
    InvalidPartNumber 416 Client "The requested partnumber is not satisfiable";
    InvalidPartOrder 400 Client "The list of parts was not in ascending order. Parts list must be specified in order by part number.";
    InvalidRange 416 Client "The requested range is not satisfiable";
    InvalidStorageClass 400 Client "The storage class you specified is not valid";
    NoSuchBucket 404 Client "The specified bucket does not exist";
    NoSuchKey 404 Client "The specified key does not exist.";
    NoSuchUpload 404 Client "The specified multipart upload does not exist. The upload ID might be invalid, or the multipart upload might have been aborted or completed.";
    NoSuchVersion 404 Client "The version ID specified in the request does not match an existing version.";
    OperationAborted 409 Client "A conflicting conditional operation is currently in progress against this resource. Try again.";
    PreconditionFailed 412 Client "At least one of the preconditions you specified did not hold.";
    RestoreAlreadyInProgress 409 Client "Object restore is already in progress";

    // S3's "there is none" for bucket settings that nobody made
    NoSuchBucketPolicy 404 Client "The bucket policy does not exist";
    NoSuchCORSConfiguration 404 Client "The CORS configuration does not exist";
    NoSuchLifecycleConfiguration 404 Client "The lifecycle configuration does not exist";
    NoSuchPublicAccessBlockConfiguration 404 Client "The public access block configuration was not found";
    NoSuchTagSet 404 Client "The TagSet does not exist";
    NoSuchWebsiteConfiguration 404 Client "The specified bucket does not have a website configuration";
    ObjectLockConfigurationNotFoundError 404 Client "Object Lock configuration does not exist for this bucket";
    OwnershipControlsNotFoundError 404 Client "The bucket ownership controls were not found";
    ReplicationConfigurationNotFoundError 404 Client "The replication configuration was not found";
    ServerSideEncryptionConfigurationNotFoundError 404 Client "The server side encryption configuration was not found";

    // Limits of the caller; `quota.refusal_status` may give them another status
    QuotaExceeded 403 Client "Upload denied: storage quota exceeded";
    TooManyUploads 429 Client "Upload denied: upload limit reached";

    // Load and faults
    InternalError 500 Gateway "We encountered an internal error. Please try again.";
    BadGateway 502 Upstream "The storage behind this gateway gave no usable answer. Please try again.";
    ServiceUnavailable 503 Upstream "Service is unable to handle request.";
    GatewayTimeout 504 Upstream "The storage behind this gateway did not answer in time. Please try again.";
    SlowDown 503 Client "Please reduce your request rate.";
}

/// An error on its way to a client.
#[derive(Debug)]
pub struct Error {
    pub code: Code,
    /// Instead of the code's own.
    status: Option<StatusCode>,
    message: Option<Cow<'static, str>>,
    /// Elements after `Message`, as AWS adds them to some codes (`Region`, `HeadersNotSigned`, …).
    details: Vec<(&'static str, String)>,
    retry_after: Option<Duration>,
    /// Of a call that was tried before, and that try's answer was lost.
    may_have_acted: bool,
    cause: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// The detail that says where a caller finds the limits that refused them.
    pub const QUOTA: &'static str = "Quota";

    pub fn new(code: Code) -> Self {
        Self {
            code,
            status: None,
            message: None,
            details: Vec::new(),
            retry_after: None,
            may_have_acted: false,
            cause: None,
        }
    }

    /// Replaces the table's status.
    #[must_use]
    pub fn with_status(mut self, status: StatusCode) -> Self {
        self.status = Some(status);
        self
    }

    /// Replaces the table's text. What is said here reaches the client.
    #[must_use]
    pub fn say(mut self, message: impl Into<Cow<'static, str>>) -> Self {
        self.message = Some(message.into());
        self
    }

    /// Adds an element to the XML answer.
    #[must_use]
    pub fn detail(mut self, element: &'static str, value: impl Into<String>) -> Self {
        self.details.push((element, value.into()));
        self
    }

    /// Keeps the reason for the log; the client never sees it.
    #[must_use]
    pub fn because(mut self, cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.cause = Some(cause.into());
        self
    }

    #[must_use]
    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// Says that an earlier try of the same call may have done what this one was refused.
    #[must_use]
    pub fn after_a_lost_answer(mut self) -> Self {
        self.may_have_acted = true;
        self
    }

    pub fn is_after_a_lost_answer(&self) -> bool {
        self.may_have_acted
    }

    /// Whether it was given another status than its code has.
    pub fn has_own_status(&self) -> bool {
        self.status.is_some()
    }

    pub fn status(&self) -> StatusCode {
        self.status.unwrap_or_else(|| self.code.status())
    }

    pub fn message(&self) -> &str {
        self.message.as_deref().unwrap_or_else(|| self.code.text())
    }

    pub fn details(&self) -> &[(&'static str, String)] {
        &self.details
    }

    /// The document for callers who speak JSON: `error`, and of the details what they can use.
    pub fn to_json(&self) -> String {
        let mut document = serde_json::json!({ "error": self.message() });
        for (element, value) in self.details.iter().filter(|(element, _)| *element == Self::QUOTA) {
            document[element.to_lowercase()] = value.as_str().into();
        }
        document.to_string()
    }

    pub fn retry_after_secs(&self) -> Option<u64> {
        self.retry_after.map(|wait| wait.as_secs().max(1))
    }

    pub fn cause(&self) -> Option<&(dyn std::error::Error + Send + Sync + 'static)> {
        self.cause.as_deref()
    }
}

impl From<Code> for Error {
    fn from(code: Code) -> Self {
        Self::new(code)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = OneLine(f);
        write!(line, "{}: {}", self.code.as_str(), self.message())?;
        match &self.cause {
            Some(cause) => write!(line, " ({})", down_to_the_root(cause.as_ref())),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Error {}

/// Errors go to the log and quote others: whatever these said must not begin a line of its own.
struct OneLine<'a, 'f>(&'a mut fmt::Formatter<'f>);

impl fmt::Write for OneLine<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for piece in text.split_inclusive(char::is_control) {
            let plain = piece.trim_end_matches(char::is_control);
            self.0.write_str(plain)?;
            for control in piece[plain.len()..].chars() {
                write!(self.0, "{}", control.escape_debug())?;
            }
        }
        Ok(())
    }
}

/// What an error says, and all that it came of, each once: the root of it is what somebody can mend.
pub fn down_to_the_root(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let said = cause.to_string();
        if !text.contains(&said) {
            text = [text.as_str(), ": ", &said].concat();
        }
        source = cause.source();
    }
    text
}

pub type Result<T, E = Error> = std::result::Result<T, E>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_an_error_with_a_text() {
        for &code in Code::ALL {
            assert!(code.status().is_client_error() || code.status().is_server_error(), "{code:?}");
            assert!(!code.text().is_empty(), "{code:?}");
            assert_eq!(Code::from_name(code.as_str()), Some(code));
        }
    }

    #[test]
    fn the_cause_is_for_the_log_only() {
        let error = Error::new(Code::BadGateway).because("connect to 10.0.0.7 refused");
        assert!(!error.message().contains("10.0.0.7"));
        assert!(error.to_string().contains("10.0.0.7"));
    }

    #[test]
    fn the_log_has_the_root_of_it() {
        let cause = anyhow::anyhow!("refused").context("connect").context("connect: a client's error");
        let error = Error::new(Code::ServiceUnavailable).say("later").because(cause);
        assert_eq!(error.to_string(), "ServiceUnavailable: later (connect: a client's error: refused)");
    }

    #[test]
    fn json_holds_the_text_and_where_limits_are() {
        let error = Error::new(Code::InvalidArgument).say("a \"b\"").because("c");
        assert_eq!(error.to_json(), r#"{"error":"a \"b\""}"#);
        let error = error.detail("Region", "x").detail(Error::QUOTA, "there");
        assert_eq!(error.to_json(), r#"{"error":"a \"b\"","quota":"there"}"#);
        assert_eq!(error.with_status(StatusCode::CONFLICT).status(), 409);
    }

    #[test]
    fn an_error_is_one_line_of_the_log() {
        let error = Error::new(Code::InvalidArgument).say("a\nb").because("c\r\n\u{1b}[31md é");
        assert_eq!(error.to_string(), "InvalidArgument: a\\nb (c\\r\\n\\u{1b}[31md é)");
    }
}
