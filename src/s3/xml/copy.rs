//! The results of `CopyObject` and `UploadPartCopy`. In: the upstream's answer, which may be an `<Error>` in a
//! 200. Out: a value, and the client's document.
//!
//! Follows <https://docs.aws.amazon.com/AmazonS3/latest/API/API_CopyObject.html>.

use super::error::{Answer, read_error};
use super::multipart::{Checksums, read_checksum, write_checksums};
use super::read::{Flaw, Reader};
use super::write::Writer;
use crate::error::Result;

/// What was copied; it names the root.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Copied {
    Object,
    Part,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CopyResult {
    pub etag: String,
    pub last_modified: String,
    pub checksums: Checksums,
}

/// Takes either root for either copy: some servers answer a part's copy with an object's result.
pub fn parse_copy_result(body: &str) -> Result<Answer<CopyResult>> {
    read_copy_result(body).map_err(Flaw::of_upstream)
}

pub fn write_copy_result(copied: Copied, result: &CopyResult) -> String {
    let root = match copied {
        Copied::Object => "CopyObjectResult",
        Copied::Part => "CopyPartResult",
    };
    let mut out = Writer::s3(root);
    out.leaf("LastModified", &result.last_modified);
    out.leaf("ETag", &result.etag);
    write_checksums(&mut out, &result.checksums);
    out.finish(root)
}

fn read_copy_result(body: &str) -> Result<Answer<CopyResult>, Flaw> {
    let mut reader = match Reader::open(body)? {
        (reader, "CopyObjectResult" | "CopyPartResult") => reader,
        (mut reader, "Error") => return read_error(&mut reader).map(Answer::Failed),
        _ => return Err(Flaw("the root is another document's")),
    };
    let (mut etag, mut last_modified, mut checksums) = (None, None, Vec::new());
    while let Some(element) = reader.child()? {
        match element {
            "ETag" => etag = Some(reader.text()?.into_owned()),
            "LastModified" => last_modified = Some(reader.text()?.into_owned()),
            other => read_checksum(&mut reader, other, &mut checksums)?,
        }
    }
    reader.finish()?;
    match (etag, last_modified) {
        (Some(etag), Some(last_modified)) => Ok(Answer::Done(CopyResult { etag, last_modified, checksums })),
        (None, _) | (_, None) => Err(Flaw("a copy without ETag or LastModified")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Code;

    #[test]
    fn done_failed_or_unusable() {
        let body = "<CopyObjectResult xmlns=\"x\"><ETag>&quot;e&quot;</ETag><LastModified>2024-01-01T00:00:00.000Z</LastModified>\
            <ChecksumCRC32>AA==</ChecksumCRC32><Source>REAL</Source></CopyObjectResult>";
        let Answer::Done(result) = parse_copy_result(body).unwrap() else { panic!("it was done") };
        let xml = write_copy_result(Copied::Part, &result);
        assert!(xml.ends_with(
            "<LastModified>2024-01-01T00:00:00.000Z</LastModified><ETag>&quot;e&quot;</ETag>\
             <ChecksumCRC32>AA==</ChecksumCRC32></CopyPartResult>"
        ));
        assert_eq!(parse_copy_result(&xml).unwrap(), Answer::Done(result));
        let late = parse_copy_result("  <Error><Message>m</Message><Code>SlowDown</Code></Error>").unwrap();
        assert!(matches!(late, Answer::Failed(error) if error.code == "SlowDown"));
        for bad in ["", "<CopyObjectResult/>", "<html/>"] {
            assert_eq!(parse_copy_result(bad).unwrap_err().code, Code::BadGateway, "{bad}");
        }
    }
}
