//! Documents that the gateway makes itself, and the small bodies that clients send about them: buckets,
//! location, versioning, ACL, object attributes, restore. In: names and values. Out: AWS's shapes. What a
//! client's document asks beyond these is refused, not ignored.
//!
//! Follows <https://docs.aws.amazon.com/AmazonS3/latest/API/API_Operations_Amazon_Simple_Storage_Service.html>.

use super::list::Owner;
use super::multipart::{Checksums, write_checksums};
use super::read::{Flaw, Reader};
use super::write::Writer;
use crate::error::Result;

/// `(name, creation date)` of each bucket.
pub fn write_buckets<'a>(owner: Owner<'_>, buckets: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    const ROOT: &str = "ListAllMyBucketsResult";
    let mut out = Writer::s3(ROOT);
    owner.write(&mut out, "Owner");
    out.open("Buckets");
    for (name, created) in buckets {
        out.open("Bucket");
        out.leaf("Name", name);
        out.leaf("CreationDate", created);
        out.close("Bucket");
    }
    out.close("Buckets");
    out.finish(ROOT)
}

/// S3's first region has no name here.
pub fn write_location(region: &str) -> String {
    let mut out = Writer::s3("LocationConstraint");
    if region != "us-east-1" {
        out.text(region);
    }
    out.finish("LocationConstraint")
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Versioning {
    Enabled,
    Suspended,
}

/// `None`: never enabled.
pub fn write_versioning(status: Option<Versioning>) -> String {
    let mut out = Writer::s3("VersioningConfiguration");
    match status {
        Some(Versioning::Enabled) => out.leaf("Status", "Enabled"),
        Some(Versioning::Suspended) => out.leaf("Status", "Suspended"),
        None => {}
    }
    out.finish("VersioningConfiguration")
}

pub fn parse_versioning(body: &str) -> Result<Option<Versioning>> {
    read_versioning(body).map_err(Flaw::of_upstream)
}

fn read_versioning(body: &str) -> Result<Option<Versioning>, Flaw> {
    // The second is what some servers, moto for one, make of it.
    let roots = ["VersioningConfiguration", "GetBucketVersioningResponse"];
    let mut reader = Reader::open_as_one_of(body, &roots)?;
    let mut status = None;
    while let Some(element) = reader.child()? {
        if element != "Status" {
            reader.skip()?;
            continue;
        }
        status = match reader.text()?.trim() {
            "Enabled" => Some(Versioning::Enabled),
            "Suspended" => Some(Versioning::Suspended),
            "" | "Disabled" | "Off" => None,
            _ => return Err(Flaw("an unknown versioning status")),
        };
    }
    reader.finish()?;
    Ok(status)
}

/// The one ACL there is: private.
pub fn write_acl(owner: Owner<'_>) -> String {
    let mut out = Writer::s3("AccessControlPolicy");
    owner.write(&mut out, "Owner");
    out.open("AccessControlList");
    out.open("Grant");
    out.verbatim(
        "<Grantee xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" xsi:type=\"CanonicalUser\">",
    );
    out.leaf("ID", owner.id);
    out.leaf("DisplayName", owner.name);
    out.close("Grantee");
    out.leaf("Permission", "FULL_CONTROL");
    out.close("Grant");
    out.close("AccessControlList");
    out.finish("AccessControlPolicy")
}

/// Whether a client's ACL grants the owner everything and nobody else anything.
pub fn is_private_acl(body: &str, owner_id: &str) -> bool {
    let read = || -> Result<bool, Flaw> {
        let mut reader = Reader::open_as(body, "AccessControlPolicy")?;
        let (mut private, mut grants) = (true, 0);
        while let Some(element) = reader.child()? {
            match element {
                "Owner" => private &= names(&mut reader, owner_id)?,
                "AccessControlList" => {
                    while let Some(element) = reader.child()? {
                        grants += 1;
                        private &= element == "Grant" && is_owners_grant(&mut reader, owner_id)?;
                        if !private {
                            return Ok(false);
                        }
                    }
                }
                _ => return Ok(false),
            }
        }
        reader.finish()?;
        Ok(private && grants > 0)
    };
    read().unwrap_or(false)
}

fn is_owners_grant(reader: &mut Reader<'_>, owner_id: &str) -> Result<bool, Flaw> {
    let (mut whom, mut what) = (false, false);
    while let Some(element) = reader.child()? {
        match element {
            "Grantee" => whom = names(reader, owner_id)?,
            "Permission" => what = reader.text()? == "FULL_CONTROL",
            _ => return Err(Flaw("an element that Grant does not have")),
        }
    }
    Ok(whom && what)
}

/// Whether an `Owner` or `Grantee` is this one, and by id: not a group, not an address.
fn names(reader: &mut Reader<'_>, owner_id: &str) -> Result<bool, Flaw> {
    let (mut found, mut only) = (false, true);
    while let Some(element) = reader.child()? {
        match element {
            "ID" => {
                let same = reader.text()? == owner_id;
                found = true;
                only &= same;
            }
            "DisplayName" | "Type" => reader.skip()?,
            _ => return Err(Flaw("a grantee that is no user")),
        }
    }
    Ok(found && only)
}

/// What `GetObjectAttributes` was asked for and is known.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ObjectAttributes {
    /// With or without its quotes; the document has none.
    pub etag: Option<String>,
    pub checksums: Checksums,
    pub storage_class: Option<String>,
    pub object_size: Option<u64>,
}

pub fn write_object_attributes(attributes: &ObjectAttributes) -> String {
    const ROOT: &str = "GetObjectAttributesResponse";
    let mut out = Writer::s3(ROOT);
    out.optional("ETag", attributes.etag.as_deref().map(|etag| etag.trim_matches('"')));
    if !attributes.checksums.is_empty() {
        out.open("Checksum");
        write_checksums(&mut out, &attributes.checksums);
        out.close("Checksum");
    }
    out.optional("StorageClass", attributes.storage_class.as_deref());
    if let Some(size) = attributes.object_size {
        out.number("ObjectSize", size);
    }
    out.finish(ROOT)
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RestoreRequest {
    pub days: u32,
    /// One of `TIERS`.
    pub tier: Option<&'static str>,
}

const TIERS: [&str; 3] = ["Standard", "Bulk", "Expedited"];

pub fn parse_restore(body: &str) -> Result<RestoreRequest> {
    read_restore(body).map_err(Flaw::of_client)
}

pub fn write_restore(request: &RestoreRequest) -> String {
    let mut out = Writer::s3("RestoreRequest");
    out.number("Days", request.days.into());
    if let Some(tier) = request.tier {
        out.open("GlacierJobParameters");
        out.leaf("Tier", tier);
        out.close("GlacierJobParameters");
    }
    out.finish("RestoreRequest")
}

fn read_restore(body: &str) -> Result<RestoreRequest, Flaw> {
    fn tier(reader: &mut Reader<'_>) -> Result<Option<&'static str>, Flaw> {
        let text = reader.text()?;
        let known = TIERS.into_iter().find(|tier| *tier == text.trim());
        known.map(Some).ok_or(Flaw("an unknown tier"))
    }
    let mut reader = Reader::open_as(body, "RestoreRequest")?;
    let mut request = RestoreRequest { days: 0, tier: None };
    while let Some(element) = reader.child()? {
        match element {
            "Days" => request.days = reader.text()?.trim().parse().unwrap_or(0),
            "Tier" => request.tier = tier(&mut reader)?,
            "GlacierJobParameters" => {
                while let Some(element) = reader.child()? {
                    if element != "Tier" {
                        return Err(Flaw("an element that GlacierJobParameters does not have"));
                    }
                    request.tier = tier(&mut reader)?;
                }
            }
            _ => return Err(Flaw("a restore that is more than days and tier")),
        }
    }
    reader.finish()?;
    if request.days == 0 { Err(Flaw("no usable number of days")) } else { Ok(request) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Code;

    const ALICE: Owner<'_> = Owner { id: "alice", name: "Alice & Co" };

    #[test]
    fn documents_have_the_shape_of_aws() {
        let body = |xml: String| xml.split_once("/2006-03-01/\">").unwrap().1.to_owned();
        assert_eq!(
            body(write_buckets(ALICE, [("datasets", "2024-01-01T00:00:00.000Z")])),
            "<Owner><ID>alice</ID><DisplayName>Alice &amp; Co</DisplayName></Owner><Buckets><Bucket><Name>datasets</Name>\
             <CreationDate>2024-01-01T00:00:00.000Z</CreationDate></Bucket></Buckets></ListAllMyBucketsResult>"
        );
        assert_eq!(body(write_location("us-east-1")), "</LocationConstraint>");
        assert_eq!(body(write_location("eu-west-1")), "eu-west-1</LocationConstraint>");
        for status in [None, Some(Versioning::Enabled), Some(Versioning::Suspended)] {
            assert_eq!(parse_versioning(&write_versioning(status)).unwrap(), status);
        }
        // moto's name for it.
        assert_eq!(parse_versioning("<GetBucketVersioningResponse/>").unwrap(), None);
        let attributes = ObjectAttributes {
            etag: Some("\"e\"".into()),
            checksums: vec![("ChecksumCRC32", "AA==".into())],
            storage_class: None,
            object_size: Some(5),
        };
        assert_eq!(
            body(write_object_attributes(&attributes)),
            "<ETag>e</ETag><Checksum><ChecksumCRC32>AA==</ChecksumCRC32></Checksum><ObjectSize>5</ObjectSize>\
             </GetObjectAttributesResponse>"
        );
    }

    #[test]
    fn only_the_owners_full_control_is_private() {
        let ours = write_acl(ALICE);
        assert!(is_private_acl(&ours, "alice"));
        assert!(!is_private_acl(&ours, "bob"));
        assert!(!is_private_acl(&ours.replace("FULL_CONTROL", "READ"), "alice"));
        let group = "<Grant><Grantee><URI>http://acs.amazonaws.com/groups/global/AllUsers</URI></Grantee>\
            <Permission>READ</Permission></Grant></AccessControlList>";
        assert!(!is_private_acl(&ours.replace("</AccessControlList>", group), "alice"));
        let second = "</DisplayName><ID>bob</ID></Grantee>";
        assert!(!is_private_acl(&ours.replace("</DisplayName></Grantee>", second), "alice"));
        for other in [
            "",
            "<AccessControlPolicy/>",
            "<AccessControlPolicy><X/></AccessControlPolicy>",
            "<!DOCTYPE x><x/>",
        ] {
            assert!(!is_private_acl(other, "alice"), "{other}");
        }
    }

    #[test]
    fn restores() {
        let body = "<RestoreRequest xmlns=\"x\"><Days>3</Days><GlacierJobParameters><Tier>Bulk</Tier></GlacierJobParameters></RestoreRequest>";
        let request = parse_restore(body).unwrap();
        assert_eq!(request, RestoreRequest { days: 3, tier: Some("Bulk") });
        assert_eq!(parse_restore(&write_restore(&request)).unwrap(), request);
        for bad in [
            "",
            "<RestoreRequest/>",
            "<RestoreRequest><Days>0</Days></RestoreRequest>",
            "<RestoreRequest><Days>x</Days></RestoreRequest>",
            "<RestoreRequest><Days>1</Days><Tier>Fast</Tier></RestoreRequest>",
            "<RestoreRequest><Days>1</Days><OutputLocation/></RestoreRequest>",
        ] {
            assert_eq!(parse_restore(bad).unwrap_err().code, Code::MalformedXML, "{bad}");
        }
    }
}
