//! Listings as the gateway reads them for itself: real keys and sizes, nothing for a client. In: pages of
//! `ListObjectsV2`, `ListObjectVersions`, `ListMultipartUploads` and `ListParts`, asked for without
//! `encoding-type`, so that every name is plain. Out: what a recount or a cleaning needs of them, and how to
//! go on.

use super::read::{Flaw, Reader};
use crate::error::Result;

/// Entries of a page, and the token or marker of the next one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Page<T, N> {
    pub entries: Vec<T>,
    pub next: Option<N>,
}

/// An open multipart upload: key, upload id, and when it was begun, as the upstream writes it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OpenUpload {
    pub key: String,
    pub upload_id: String,
    pub initiated: String,
}

/// Keys and sizes.
pub fn read_objects(body: &str) -> Result<Page<(String, u64), String>> {
    objects(body).map_err(Flaw::of_upstream)
}

/// The next page begins after this key and upload id.
pub fn read_uploads(body: &str) -> Result<Page<OpenUpload, (String, String)>> {
    uploads(body).map_err(Flaw::of_upstream)
}

/// Numbers and sizes; the next page begins after this number.
pub fn read_parts(body: &str) -> Result<Page<(u16, u64), u32>> {
    parts(body).map_err(Flaw::of_upstream)
}

/// Keys and ids of versions and delete markers; one page of them.
pub fn read_versions(body: &str) -> Result<Vec<(String, String)>> {
    versions(body).map_err(Flaw::of_upstream)
}

fn objects(body: &str) -> Result<Page<(String, u64), String>, Flaw> {
    let mut reader = Reader::open_as(body, "ListBucketResult")?;
    let (mut entries, mut token, mut truncated) = (Vec::new(), None, false);
    while let Some(element) = reader.child()? {
        match element {
            "Contents" => {
                let (mut key, mut size) = (None, None);
                while let Some(element) = reader.child()? {
                    match element {
                        "Key" => key = Some(reader.text()?.into_owned()),
                        "Size" => size = number(&mut reader)?,
                        _ => reader.skip()?,
                    }
                }
                entries.push(key.zip(size).ok_or(Flaw("an object without key or size"))?);
            }
            "NextContinuationToken" => token = Some(reader.text()?.into_owned()),
            "IsTruncated" => truncated = reader.text()?.trim() == "true",
            _ => reader.skip()?,
        }
    }
    reader.finish()?;
    let next = token.filter(|token| truncated && !token.is_empty());
    if truncated && next.is_none() {
        return Err(Flaw("a truncated page without a token"));
    }
    Ok(Page { entries, next })
}

fn uploads(body: &str) -> Result<Page<OpenUpload, (String, String)>, Flaw> {
    let mut reader = Reader::open_as(body, "ListMultipartUploadsResult")?;
    let (mut entries, mut truncated) = (Vec::new(), false);
    let (mut next_key, mut next_id) = (None, None);
    while let Some(element) = reader.child()? {
        match element {
            "Upload" => {
                let (mut key, mut id, mut initiated) = (None, None, String::new());
                while let Some(element) = reader.child()? {
                    match element {
                        "Key" => key = Some(reader.text()?.into_owned()),
                        "UploadId" => id = Some(reader.text()?.into_owned()),
                        "Initiated" => initiated = reader.text()?.into_owned(),
                        _ => reader.skip()?,
                    }
                }
                let (key, upload_id) = key.zip(id).ok_or(Flaw("an upload without key or id"))?;
                entries.push(OpenUpload { key, upload_id, initiated });
            }
            "NextKeyMarker" => next_key = Some(reader.text()?.into_owned()),
            "NextUploadIdMarker" => next_id = Some(reader.text()?.into_owned()),
            "IsTruncated" => truncated = reader.text()?.trim() == "true",
            _ => reader.skip()?,
        }
    }
    reader.finish()?;
    let last = entries.last().map(|upload| (upload.key.clone(), upload.upload_id.clone()));
    // Not every server says where to go on; the last entry does as well.
    let told = next_key.filter(|key| !key.is_empty()).zip(next_id);
    let next = if truncated { told.or(last) } else { None };
    if truncated && next.is_none() {
        return Err(Flaw("a truncated page without entries"));
    }
    Ok(Page { entries, next })
}

fn versions(body: &str) -> Result<Vec<(String, String)>, Flaw> {
    let mut reader = Reader::open_as_one_of(body, &["ListVersionsResult", "ListObjectVersionsResult"])?;
    let mut versions = Vec::new();
    while let Some(element) = reader.child()? {
        if !matches!(element, "Version" | "DeleteMarker") {
            reader.skip()?;
            continue;
        }
        let (mut key, mut id) = (None, None);
        while let Some(element) = reader.child()? {
            match element {
                "Key" => key = Some(reader.text()?.into_owned()),
                "VersionId" => id = Some(reader.text()?.into_owned()),
                _ => reader.skip()?,
            }
        }
        versions.push(key.zip(id).ok_or(Flaw("a version without key or id"))?);
    }
    reader.finish()?;
    Ok(versions)
}

fn parts(body: &str) -> Result<Page<(u16, u64), u32>, Flaw> {
    let mut reader = Reader::open_as_one_of(body, &["ListPartsResult", "ListPartsResponse"])?;
    let (mut entries, mut truncated) = (Vec::new(), false);
    while let Some(element) = reader.child()? {
        match element {
            "Part" => {
                let (mut part, mut size) = (None, None);
                while let Some(element) = reader.child()? {
                    match element {
                        "PartNumber" => part = number(&mut reader)?,
                        "Size" => size = number(&mut reader)?,
                        _ => reader.skip()?,
                    }
                }
                let part = part.and_then(|part| u16::try_from(part).ok());
                entries.push(part.zip(size).ok_or(Flaw("a part without number or size"))?);
            }
            "IsTruncated" => truncated = reader.text()?.trim() == "true",
            _ => reader.skip()?,
        }
    }
    reader.finish()?;
    let next = entries.last().map(|(number, _)| u32::from(*number)).filter(|_| truncated);
    Ok(Page { entries, next })
}

fn number(reader: &mut Reader<'_>) -> Result<Option<u64>, Flaw> {
    Ok(reader.text()?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_and_how_to_go_on() {
        let page = "<ListBucketResult><IsTruncated>true</IsTruncated><Contents><Key>a&amp;b</Key><Size>5</Size></Contents>\
            <Contents><Size>0</Size><Key>c</Key></Contents><NextContinuationToken>t</NextContinuationToken></ListBucketResult>";
        let read = read_objects(page).unwrap();
        assert_eq!(read.entries, [("a&b".to_owned(), 5), ("c".to_owned(), 0)]);
        assert_eq!(read.next.as_deref(), Some("t"));
        assert_eq!(read_objects(&page.replace("true", "false")).unwrap().next, None);
        for bad in [
            "<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>",
            "<ListBucketResult><Contents><Key>a</Key></Contents></ListBucketResult>",
            "<ListBucketResult><Contents><Key>a</Key><Size>x</Size></Contents></ListBucketResult>",
            "<Error><Code>x</Code></Error>",
        ] {
            assert!(read_objects(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn uploads_and_parts() {
        let page = "<ListMultipartUploadsResult><IsTruncated>true</IsTruncated><Upload><Key>k</Key><UploadId>u</UploadId>\
            <Initiated>2026-01-01T00:00:00.000Z</Initiated></Upload></ListMultipartUploadsResult>";
        let read = read_uploads(page).unwrap();
        assert_eq!(read.entries[0].upload_id, "u");
        assert_eq!(read.next, Some(("k".to_owned(), "u".to_owned())));
        let page = "<ListPartsResult><Part><PartNumber>7</PartNumber><Size>9</Size></Part><IsTruncated>true</IsTruncated></ListPartsResult>";
        assert_eq!(read_parts(page).unwrap(), Page { entries: vec![(7, 9)], next: Some(7) });
        assert!(
            read_parts(
                "<ListPartsResult><Part><PartNumber>70000</PartNumber><Size>9</Size></Part></ListPartsResult>"
            )
            .is_err()
        );
    }
}
