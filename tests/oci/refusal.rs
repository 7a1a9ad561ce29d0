//! A refusal as OCI's S3 face writes it: `Message` before `Code`, and nothing else.

use quick_xml::escape::escape;

use super::serve::{Response, response};

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Refusal {
    pub(super) status: u16,
    pub(super) code: String,
    pub(super) message: String,
}

impl Refusal {
    pub(super) fn new(status: u16, code: &str, message: impl Into<String>) -> Self {
        Self { status, code: code.into(), message: message.into() }
    }

    pub(super) fn not_implemented() -> Self {
        Self::new(501, "NotImplemented", "The s3 command you requested is not implemented.")
    }

    /// A header that OCI has no use for.
    pub(super) fn header(name: &str) -> Self {
        let text = format!("A header you provided implies functionality that is not implemented: {name}");
        Self::new(501, "NotImplemented", text)
    }

    pub(super) fn invalid_argument(message: impl Into<String>) -> Self {
        Self::new(400, "InvalidArgument", message)
    }

    pub(super) fn invalid_request(message: impl Into<String>) -> Self {
        Self::new(400, "InvalidRequest", message)
    }

    /// What a key gets that OCI does not know (yet), and a request that is signed for another region.
    pub(super) fn unknown_key() -> Self {
        let text = "The secret key required to complete authentication could not be found. The region must be \
                    specified if this is not the home region for the tenancy.";
        Self::new(403, "SignatureDoesNotMatch", text)
    }

    pub(super) fn response(&self) -> Response {
        let (message, code) = (escape(&self.message), escape(&self.code));
        let xml = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Error><Message>{message}</Message><Code>{code}</Code></Error>"
        );
        response(self.status, "application/xml", xml)
    }
}
