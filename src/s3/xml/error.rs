//! The error document, both ways. In: what an upstream said went wrong, which is never shown as it is, and
//! the gateway's own `Error`. Out: code and message of the one, AWS's document for the other. Reading forgives
//! everything: element order (OCI puts `Message` first), unknown elements, HTML from a proxy on the way.

use super::read::{Flaw, Reader};
use super::write::Writer;
use crate::error::Error;

/// What an upstream's `<Error>` says. Its message may name the real bucket: for the log, not for clients.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UpstreamError {
    pub code: String,
    pub message: String,
}

/// An answer that is only known to have succeeded once its body is read: S3 sends status 200 before a long
/// copy or completion has finished.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer<T> {
    Done(T),
    Failed(UpstreamError),
}

/// `None` if this is no S3 error document.
pub fn parse_error(body: &[u8]) -> Option<UpstreamError> {
    let text = std::str::from_utf8(body).ok()?;
    match Reader::open(text).ok()? {
        (mut reader, "Error") => read_error(&mut reader).ok(),
        _ => None,
    }
}

/// Inside `<Error>`.
pub(super) fn read_error(reader: &mut Reader<'_>) -> Result<UpstreamError, Flaw> {
    let (mut code, mut message) = (None, String::new());
    while let Some(element) = reader.child()? {
        match element {
            "Code" => code = Some(reader.text()?.into_owned()),
            "Message" => message = reader.text()?.into_owned(),
            _ => reader.skip()?,
        }
    }
    Ok(UpstreamError { code: code.ok_or(Flaw("an error without a code"))?, message })
}

/// `resource` is the path as the client sent it.
pub fn write_error(error: &Error, resource: &str, request_id: &str) -> String {
    let mut out = Writer::document("Error", None, 512);
    out.leaf("Code", error.code.as_str());
    out.leaf("Message", error.message());
    for (element, value) in error.details() {
        out.leaf(element, value);
    }
    out.leaf("Resource", resource);
    out.leaf("RequestId", request_id);
    out.finish("Error")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Code;

    fn parsed(text: &str) -> Option<(String, String)> {
        parse_error(text.as_bytes()).map(|error| (error.code, error.message))
    }

    #[test]
    fn any_order_and_any_company() {
        let expected = Some(("NoSuchKey".to_owned(), "a & b".to_owned()));
        let oci = "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Error><Message>a &amp; b</Message><Code>NoSuchKey</Code></Error>";
        assert_eq!(parsed(oci), expected);
        let aws = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error xmlns=\"x\"><Code>NoSuchKey</Code><Message>a &amp; b</Message>\
                   <BucketName>REAL</BucketName><Extra><Nested/></Extra><HostId>h</HostId></Error>";
        assert_eq!(parsed(aws), expected);
        assert_eq!(parsed("<Error><Code>X</Code></Error>"), Some(("X".into(), String::new())));
    }

    #[test]
    fn what_is_no_error_document_is_none() {
        for other in [
            "",
            "<html><head><title>502</title></head><body>nginx<br></body></html>",
            "{\"code\":\"X\"}",
            "<Error><Message>m</Message></Error>",
            "<Error><Code>X",
            "<!DOCTYPE x><Error><Code>X</Code></Error>",
        ] {
            assert_eq!(parsed(other), None, "{other}");
        }
        assert_eq!(parse_error(b"<Error><Code>\xff</Code></Error>"), None);
    }

    #[test]
    fn written_as_aws_writes_it_without_the_cause() {
        let error = Error::new(Code::AccessDenied).detail("HeadersNotSigned", "x-amz-a & b").because("REAL");
        assert_eq!(
            write_error(&error, "/datasets/<x>", "ID"),
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>AccessDenied</Code><Message>Access Denied</Message>\
             <HeadersNotSigned>x-amz-a &amp; b</HeadersNotSigned><Resource>/datasets/&lt;x&gt;</Resource>\
             <RequestId>ID</RequestId></Error>"
        );
    }
}
