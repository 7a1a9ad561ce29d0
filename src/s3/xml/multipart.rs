//! Multipart uploads: initiate, complete, list parts. In: the client's list of parts and the upstream's
//! answers. Out: values, and the same documents with virtual names and the client's own upload id.
//!
//! Follows <https://docs.aws.amazon.com/AmazonS3/latest/API/API_CompleteMultipartUpload.html> and its neighbours.

use super::error::{Answer, read_error};
use super::list::Owner;
use super::read::{Flaw, Reader};
use super::write::{S3_NAMESPACE, Writer};
use crate::error::{Code, Error, Result};

pub const MAX_PARTS: u16 = 10_000;

/// The checksum elements that parts, objects and copies may have.
pub(super) const CHECKSUMS: [&str; 6] = [
    "ChecksumCRC32",
    "ChecksumCRC32C",
    "ChecksumCRC64NVME",
    "ChecksumSHA1",
    "ChecksumSHA256",
    "ChecksumType",
];

/// Element and value.
pub type Checksums = Vec<(&'static str, String)>;

/// One line of the client's `CompleteMultipartUpload`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CompletedPart {
    /// 1 to 10,000.
    pub number: u16,
    /// As the client wrote it, with or without quotes.
    pub etag: String,
    pub checksums: Checksums,
}

/// What the upstream says of a completed upload.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Completed {
    pub etag: String,
    pub checksums: Checksums,
}

/// The client's view of a `ListParts` page.
#[derive(Clone, Copy, Debug)]
pub struct PartsView<'a> {
    pub bucket: &'a str,
    pub key: &'a str,
    pub upload_id: &'a str,
    pub part_number_marker: u32,
    pub max_parts: u32,
    pub owner: Option<Owner<'a>>,
    /// The client wants `encoding-type=url`.
    pub url: bool,
}

/// The parts in strictly ascending order, at least one.
pub fn parse_complete(body: &str) -> Result<Vec<CompletedPart>> {
    let parts = read_complete(body).map_err(Flaw::of_client)?;
    if parts.windows(2).any(|pair| pair[0].number >= pair[1].number) {
        return Err(Error::new(Code::InvalidPartOrder));
    }
    Ok(parts)
}

pub fn write_complete(parts: &[CompletedPart]) -> String {
    let mut out = Writer::document("CompleteMultipartUpload", Some(S3_NAMESPACE), 128 + parts.len() * 128);
    for part in parts {
        out.open("Part");
        out.number("PartNumber", part.number.into());
        out.leaf("ETag", &part.etag);
        write_checksums(&mut out, &part.checksums);
        out.close("Part");
    }
    out.finish("CompleteMultipartUpload")
}

pub fn parse_complete_result(body: &str) -> Result<Answer<Completed>> {
    read_complete_result(body).map_err(Flaw::of_upstream)
}

pub fn write_complete_result(location: &str, bucket: &str, key: &str, completed: &Completed) -> String {
    let mut out = Writer::s3("CompleteMultipartUploadResult");
    out.leaf("Location", location);
    out.leaf("Bucket", bucket);
    out.leaf("Key", key);
    out.leaf("ETag", &completed.etag);
    write_checksums(&mut out, &completed.checksums);
    out.finish("CompleteMultipartUploadResult")
}

/// The upstream's upload id.
pub fn parse_initiate_result(body: &str) -> Result<String> {
    read_initiate_result(body).map_err(Flaw::of_upstream)
}

pub fn write_initiate_result(bucket: &str, key: &str, upload_id: &str) -> String {
    let mut out = Writer::s3("InitiateMultipartUploadResult");
    out.leaf("Bucket", bucket);
    out.leaf("Key", key);
    out.leaf("UploadId", upload_id);
    out.finish("InitiateMultipartUploadResult")
}

pub fn rewrite_parts(upstream: &str, view: &PartsView<'_>) -> Result<String> {
    parts(upstream, view).map_err(Flaw::of_upstream)
}

fn read_complete(body: &str) -> Result<Vec<CompletedPart>, Flaw> {
    let mut reader = Reader::open_as(body, "CompleteMultipartUpload")?;
    let mut parts = Vec::new();
    while let Some(element) = reader.child()? {
        if element != "Part" {
            return Err(Flaw("an element that CompleteMultipartUpload does not have"));
        }
        if parts.len() == usize::from(MAX_PARTS) {
            return Err(Flaw("more than 10000 parts"));
        }
        parts.push(read_part(&mut reader)?);
    }
    reader.finish()?;
    if parts.is_empty() { Err(Flaw("no parts")) } else { Ok(parts) }
}

fn read_part(reader: &mut Reader<'_>) -> Result<CompletedPart, Flaw> {
    let (mut number, mut etag, mut checksums) = (None, None, Vec::new());
    while let Some(element) = reader.child()? {
        match element {
            "PartNumber" => number = reader.text()?.trim().parse().ok(),
            "ETag" => etag = Some(reader.text()?.trim().to_owned()),
            other => read_checksum(reader, other, &mut checksums)?,
        }
    }
    let number =
        number.filter(|number| (1..=MAX_PARTS).contains(number)).ok_or(Flaw("no usable part number"))?;
    let etag = etag.filter(|etag| !etag.is_empty()).ok_or(Flaw("a part without an ETag"))?;
    Ok(CompletedPart { number, etag, checksums })
}

fn read_complete_result(body: &str) -> Result<Answer<Completed>, Flaw> {
    let mut reader = match Reader::open(body)? {
        (reader, "CompleteMultipartUploadResult") => reader,
        (mut reader, "Error") => return read_error(&mut reader).map(Answer::Failed),
        _ => return Err(Flaw("the root is another document's")),
    };
    let (mut etag, mut checksums) = (None, Vec::new());
    while let Some(element) = reader.child()? {
        match element {
            "ETag" => etag = Some(reader.text()?.into_owned()),
            other => read_checksum(&mut reader, other, &mut checksums)?,
        }
    }
    reader.finish()?;
    Ok(Answer::Done(Completed { etag: etag.ok_or(Flaw("no ETag"))?, checksums }))
}

fn read_initiate_result(body: &str) -> Result<String, Flaw> {
    let mut reader = Reader::open_as(body, "InitiateMultipartUploadResult")?;
    let mut id = None;
    while let Some(element) = reader.child()? {
        match element {
            "UploadId" => id = Some(reader.text()?.into_owned()),
            _ => reader.skip()?,
        }
    }
    reader.finish()?;
    id.filter(|id| !id.is_empty()).ok_or(Flaw("no upload id"))
}

/// Keeps the element if it is a checksum, drops it otherwise.
pub(super) fn read_checksum(
    reader: &mut Reader<'_>,
    element: &str,
    checksums: &mut Checksums,
) -> Result<(), Flaw> {
    match CHECKSUMS.into_iter().find(|known| *known == element) {
        Some(_) if checksums.len() == CHECKSUMS.len() => Err(Flaw("a checksum given twice")),
        Some(known) => {
            checksums.push((known, reader.text()?.into_owned()));
            Ok(())
        }
        None => reader.skip(),
    }
}

pub(super) fn write_checksums(out: &mut Writer, checksums: &Checksums) {
    for (element, value) in checksums {
        out.leaf(element, value);
    }
}

fn parts(upstream: &str, view: &PartsView<'_>) -> Result<String, Flaw> {
    const ROOT: &str = "ListPartsResult";
    const OF_PART: [&str; 4] = ["PartNumber", "LastModified", "ETag", "Size"];
    const OF_PAGE: [&str; 5] =
        ["StorageClass", "NextPartNumberMarker", "IsTruncated", "ChecksumAlgorithm", "ChecksumType"];
    let copy = |reader: &mut Reader<'_>, out: &mut Writer, element: &str, known: &[&'static str]| match known
        .iter()
        .find(|known| **known == element)
    {
        Some(known) => reader.escaped().and_then(|text| out.copied(known, &text)),
        None => reader.skip(),
    };
    // The second is what some servers, moto for one, make of it.
    let mut reader = Reader::open_as_one_of(upstream, &[ROOT, "ListPartsResponse"])?;
    let mut out = Writer::document(ROOT, Some(S3_NAMESPACE), upstream.len() + 512);
    out.leaf("Bucket", view.bucket);
    out.name("Key", view.key, view.url);
    out.leaf("UploadId", view.upload_id);
    if let Some(owner) = view.owner {
        owner.write(&mut out, "Initiator");
        owner.write(&mut out, "Owner");
    }
    out.number("PartNumberMarker", view.part_number_marker.into());
    out.number("MaxParts", view.max_parts.into());
    if view.url {
        out.leaf("EncodingType", "url");
    }
    let mut count = 0;
    while let Some(element) = reader.child()? {
        if element != "Part" {
            copy(&mut reader, &mut out, element, &OF_PAGE)?;
            continue;
        }
        if count == MAX_PARTS {
            return Err(Flaw("more than 10000 parts"));
        }
        count += 1;
        out.open("Part");
        while let Some(element) = reader.child()? {
            let known: &[_] = if element.starts_with("Checksum") { &CHECKSUMS } else { &OF_PART };
            copy(&mut reader, &mut out, element, known)?;
        }
        out.close("Part");
    }
    reader.finish()?;
    Ok(out.finish(ROOT))
}

#[cfg(test)]
mod tests {
    use super::super::error::UpstreamError;
    use super::*;

    #[test]
    fn completing() {
        let body = "<CompleteMultipartUpload xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Part><ETag>&quot;a&quot;</ETag>\
            <PartNumber>1</PartNumber></Part>\n<Part><PartNumber> 7 </PartNumber><ETag>b</ETag><ChecksumCRC32>AAAA</ChecksumCRC32></Part>\
            </CompleteMultipartUpload>";
        let parts = parse_complete(body).unwrap();
        assert_eq!(parts[0], CompletedPart { number: 1, etag: "\"a\"".into(), checksums: Vec::new() });
        let checksums = vec![("ChecksumCRC32", "AAAA".to_owned())];
        assert_eq!(parts[1], CompletedPart { number: 7, etag: "b".into(), checksums });
        assert_eq!(parse_complete(&write_complete(&parts)).unwrap(), parts);
    }

    #[test]
    fn lists_that_cannot_be_completed() {
        let part = |number: &str| format!("<Part><PartNumber>{number}</PartNumber><ETag>e</ETag></Part>");
        let complete = |parts: &[String]| {
            parse_complete(&format!("<CompleteMultipartUpload>{}</CompleteMultipartUpload>", parts.concat()))
        };
        let refused = |parts: &[String]| complete(parts).unwrap_err().code;
        for number in ["0", "10001", "-1", "x", "", "65537"] {
            assert_eq!(refused(&[part(number)]), Code::MalformedXML, "{number}");
        }
        assert_eq!(refused(&[]), Code::MalformedXML);
        assert_eq!(refused(&["<Part><PartNumber>1</PartNumber></Part>".into()]), Code::MalformedXML);
        assert_eq!(refused(&[part("2"), part("1")]), Code::InvalidPartOrder);
        assert_eq!(refused(&[part("2"), part("2")]), Code::InvalidPartOrder);
        let all: Vec<_> = (1..=10_001).map(|n: u32| part(&n.to_string())).collect();
        assert_eq!(complete(&all[..10_000]).unwrap().len(), 10_000);
        assert_eq!(refused(&all), Code::MalformedXML);
    }

    #[test]
    fn a_completion_may_fail_after_its_200() {
        let late = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n   \n \n<Error><Code>InternalError</Code><Message>m</Message></Error>";
        let failed = UpstreamError { code: "InternalError".into(), message: "m".into() };
        assert_eq!(parse_complete_result(late).unwrap(), Answer::Failed(failed));
        let done = "<?xml version=\"1.0\"?>\n\n <CompleteMultipartUploadResult xmlns=\"x\"><Location>https://REAL</Location><Bucket>REAL</Bucket>\
            <Key>datasets/alice/k</Key><ETag>&quot;e-2&quot;</ETag><ChecksumType>COMPOSITE</ChecksumType></CompleteMultipartUploadResult>";
        let Answer::Done(completed) = parse_complete_result(done).unwrap() else { panic!("it was done") };
        let xml = write_complete_result("http://gw/datasets/k", "datasets", "k", &completed);
        assert!(xml.ends_with(
            "<Location>http://gw/datasets/k</Location><Bucket>datasets</Bucket><Key>k</Key><ETag>&quot;e-2&quot;</ETag>\
             <ChecksumType>COMPOSITE</ChecksumType></CompleteMultipartUploadResult>"
        ));
        for bad in [
            "",
            "   ",
            "<CompleteMultipartUploadResult/>",
            "<Other/>",
            "<CompleteMultipartUploadResult><ETag>e",
        ] {
            assert_eq!(parse_complete_result(bad).unwrap_err().code, Code::BadGateway, "{bad}");
        }
    }

    #[test]
    fn initiating() {
        let body = "<InitiateMultipartUploadResult><UploadId>u&amp;1</UploadId><Bucket>REAL</Bucket></InitiateMultipartUploadResult>";
        assert_eq!(parse_initiate_result(body).unwrap(), "u&1");
        assert!(parse_initiate_result("<InitiateMultipartUploadResult/>").is_err());
        let xml = write_initiate_result("datasets", "a&b", "sealed");
        assert!(xml.contains("<Bucket>datasets</Bucket><Key>a&amp;b</Key><UploadId>sealed</UploadId>"));
    }

    #[test]
    fn parts_are_listed_with_virtual_names() {
        let upstream = "<ListPartsResult><Bucket>REAL</Bucket><Key>datasets/alice/k</Key><UploadId>real</UploadId>\
            <Initiator><ID>arn:REAL</ID></Initiator><Owner><ID>REAL</ID></Owner><StorageClass>STANDARD</StorageClass>\
            <PartNumberMarker>0</PartNumberMarker><NextPartNumberMarker>1</NextPartNumberMarker><MaxParts>1</MaxParts>\
            <IsTruncated>true</IsTruncated><Part><PartNumber>1</PartNumber><LastModified>t</LastModified><ETag>&quot;e&quot;</ETag>\
            <Size>5</Size><ChecksumSHA256>c</ChecksumSHA256><Host>REAL</Host></Part></ListPartsResult>";
        let owner = Some(Owner { id: "alice", name: "alice" });
        let view = PartsView {
            bucket: "datasets",
            key: "k k",
            upload_id: "sealed",
            part_number_marker: 0,
            max_parts: 1,
            owner,
            url: true,
        };
        let xml = rewrite_parts(upstream, &view).unwrap();
        // moto's name for it.
        assert_eq!(rewrite_parts(&upstream.replace("PartsResult", "PartsResponse"), &view).unwrap(), xml);
        assert!(!xml.contains("REAL") && !xml.contains("real") && !xml.contains("datasets/"), "{xml}");
        for piece in [
            "<Key>k%20k</Key><UploadId>sealed</UploadId><Initiator><ID>alice</ID>",
            "<IsTruncated>true</IsTruncated>",
            "<Part><PartNumber>1</PartNumber><LastModified>t</LastModified><ETag>&quot;e&quot;</ETag><Size>5</Size>\
             <ChecksumSHA256>c</ChecksumSHA256></Part>",
            "<NextPartNumberMarker>1</NextPartNumberMarker>",
        ] {
            assert!(xml.contains(piece), "{piece} in {xml}");
        }
    }
}
