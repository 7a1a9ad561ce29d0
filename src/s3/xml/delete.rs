//! `DeleteObjects`: the client's list of keys and the upstream's result for each. In: the client's `<Delete>`,
//! the upstream's `<DeleteResult>`. Out: values, and the same documents with real or virtual keys. What the
//! client's document says and is not known here is refused, because ignoring it could delete more than was
//! asked for. The upstream is never asked to be quiet: the ledger needs every key's result.
//!
//! Follows <https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteObjects.html>.

use super::read::{Flaw, Reader};
use super::write::Writer;
use crate::error::Result;

const MAX_OBJECTS: usize = 1000;

/// Elements that make a deletion conditional.
const CONDITIONS: [&str; 3] = ["ETag", "LastModifiedTime", "Size"];

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Delete {
    pub quiet: bool,
    pub objects: Vec<DeleteObject>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DeleteObject {
    pub key: String,
    pub version_id: Option<String>,
    /// Element and value, as the client gave them.
    pub conditions: Vec<(&'static str, String)>,
}

/// What became of one key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DeleteResult {
    pub key: String,
    pub version_id: Option<String>,
    pub outcome: DeleteOutcome,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DeleteOutcome {
    Deleted {
        /// A delete marker was made, or was what got deleted.
        marker: bool,
        marker_version_id: Option<String>,
    },
    Failed {
        code: String,
        message: String,
    },
}

pub fn parse_delete(body: &str) -> Result<Delete> {
    read_delete(body).map_err(Flaw::of_client)
}

pub fn parse_delete_result(body: &str) -> Result<Vec<DeleteResult>> {
    read_result(body).map_err(Flaw::of_upstream)
}

/// For the upstream: each object under its real key.
pub fn write_delete<'a>(objects: impl IntoIterator<Item = (&'a str, &'a DeleteObject)>) -> String {
    let mut out = Writer::s3("Delete");
    for (key, object) in objects {
        out.open("Object");
        out.leaf("Key", key);
        out.optional("VersionId", object.version_id.as_deref());
        for (condition, value) in &object.conditions {
            out.leaf(condition, value);
        }
        out.close("Object");
    }
    out.finish("Delete")
}

/// For the client: the keys are its own. A quiet client hears of failures only.
pub fn write_delete_result<'a>(results: impl IntoIterator<Item = &'a DeleteResult>, quiet: bool) -> String {
    let mut out = Writer::s3("DeleteResult");
    for result in results {
        match &result.outcome {
            DeleteOutcome::Deleted { .. } if quiet => {}
            DeleteOutcome::Deleted { marker, marker_version_id } => {
                out.open("Deleted");
                out.leaf("Key", &result.key);
                out.optional("VersionId", result.version_id.as_deref());
                if *marker {
                    out.flag("DeleteMarker", true);
                }
                out.optional("DeleteMarkerVersionId", marker_version_id.as_deref());
                out.close("Deleted");
            }
            DeleteOutcome::Failed { code, message } => {
                out.open("Error");
                out.leaf("Key", &result.key);
                out.optional("VersionId", result.version_id.as_deref());
                out.leaf("Code", code);
                out.leaf("Message", message);
                out.close("Error");
            }
        }
    }
    out.finish("DeleteResult")
}

fn read_delete(body: &str) -> Result<Delete, Flaw> {
    let mut reader = Reader::open_as(body, "Delete")?;
    let mut delete = Delete { quiet: false, objects: Vec::new() };
    while let Some(element) = reader.child()? {
        match element {
            "Object" if delete.objects.len() == MAX_OBJECTS => return Err(Flaw("more than 1000 objects")),
            "Object" => delete.objects.push(read_object(&mut reader)?),
            "Quiet" => delete.quiet = read_flag(&mut reader)?,
            _ => return Err(Flaw("an element that Delete does not have")),
        }
    }
    reader.finish()?;
    if delete.objects.is_empty() { Err(Flaw("no objects")) } else { Ok(delete) }
}

fn read_object(reader: &mut Reader<'_>) -> Result<DeleteObject, Flaw> {
    let (mut key, mut version_id, mut conditions) = (None, None, Vec::new());
    while let Some(element) = reader.child()? {
        match element {
            "Key" if key.is_some() => return Err(Flaw("an object with two keys")),
            "Key" => key = Some(reader.text()?.into_owned()),
            "VersionId" => version_id = non_empty(reader)?,
            other => {
                let known = CONDITIONS.into_iter().find(|condition| *condition == other);
                let condition = known.ok_or(Flaw("an element that Object does not have"))?;
                if conditions.len() == CONDITIONS.len() {
                    return Err(Flaw("a condition given twice"));
                }
                conditions.push((condition, reader.text()?.into_owned()));
            }
        }
    }
    let key = key.filter(|key: &String| !key.is_empty()).ok_or(Flaw("an object without a key"))?;
    Ok(DeleteObject { key, version_id, conditions })
}

fn read_result(body: &str) -> Result<Vec<DeleteResult>, Flaw> {
    let mut reader = Reader::open_as(body, "DeleteResult")?;
    let mut results = Vec::new();
    while let Some(element) = reader.child()? {
        match element {
            "Deleted" | "Error" if results.len() == MAX_OBJECTS => {
                return Err(Flaw("more results than objects"));
            }
            "Deleted" => results.push(read_one(&mut reader, false)?),
            "Error" => results.push(read_one(&mut reader, true)?),
            _ => reader.skip()?,
        }
    }
    reader.finish()?;
    Ok(results)
}

fn read_one(reader: &mut Reader<'_>, failed: bool) -> Result<DeleteResult, Flaw> {
    let (mut key, mut version_id, mut marker, mut marker_version_id) = (None, None, false, None);
    let (mut code, mut message) = (None, String::new());
    while let Some(element) = reader.child()? {
        match element {
            "Key" => key = Some(reader.text()?.into_owned()),
            "VersionId" => version_id = non_empty(reader)?,
            "DeleteMarker" => marker = read_flag(reader)?,
            "DeleteMarkerVersionId" => marker_version_id = non_empty(reader)?,
            "Code" => code = Some(reader.text()?.into_owned()),
            "Message" => message = reader.text()?.into_owned(),
            _ => reader.skip()?,
        }
    }
    let key = key.ok_or(Flaw("a result without a key"))?;
    let outcome = if failed {
        DeleteOutcome::Failed { code: code.ok_or(Flaw("an error without a code"))?, message }
    } else {
        DeleteOutcome::Deleted { marker, marker_version_id }
    };
    Ok(DeleteResult { key, version_id, outcome })
}

fn non_empty(reader: &mut Reader<'_>) -> Result<Option<String>, Flaw> {
    let text = reader.text()?;
    Ok((!text.is_empty()).then(|| text.into_owned()))
}

fn read_flag(reader: &mut Reader<'_>) -> Result<bool, Flaw> {
    match reader.text()?.trim() {
        "true" | "1" => Ok(true),
        "false" | "0" | "" => Ok(false),
        other if other.eq_ignore_ascii_case("true") => Ok(true),
        other if other.eq_ignore_ascii_case("false") => Ok(false),
        _ => Err(Flaw("neither true nor false")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Code;
    use proptest::prelude::*;

    fn refused(body: &str) -> Code {
        parse_delete(body).expect_err(body).code
    }

    #[test]
    fn what_clients_send() {
        let body = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Delete xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\n\
            <Object><Key> a&amp;b&#13; </Key></Object>\n <Quiet>true</Quiet>\
            <Object><VersionId>v1</VersionId><Key>b</Key><ETag>\"e\"</ETag></Object><Object><Key>c</Key><VersionId/></Object></Delete>";
        let delete = parse_delete(body).unwrap();
        assert!(delete.quiet);
        let plain = |key: &str| DeleteObject { key: key.into(), version_id: None, conditions: Vec::new() };
        let conditional = DeleteObject {
            version_id: Some("v1".into()),
            conditions: vec![("ETag", "\"e\"".into())],
            ..plain("b")
        };
        assert_eq!(delete.objects, [plain(" a&b\r "), conditional, plain("c")]);
    }

    #[test]
    fn limits_and_shapes() {
        let many =
            |count: usize| format!("<Delete>{}</Delete>", "<Object><Key>k</Key></Object>".repeat(count));
        assert_eq!(parse_delete(&many(1000)).unwrap().objects.len(), 1000);
        assert_eq!(refused(&many(1001)), Code::MalformedXML);
        for bad in [
            "",
            "<Delete/>",
            "<Delete><Quiet>true</Quiet></Delete>",
            "<Delete><Object/></Delete>",
            "<Delete><Object><Key/></Object></Delete>",
            "<Foo><Object><Key>k</Key></Object></Foo>",
            "<Delete><Object><VersionId>v</VersionId></Object></Delete>",
            "<Delete><Object><Key>a</Key><Key>b</Key></Object></Delete>",
            "<Delete><Object><Key>a</Key><Surprise/></Object></Delete>",
            "<Delete><Object><Key>a</Key></Object><Quiet>maybe</Quiet></Delete>",
            "<Delete><Object><Key>a<b/></Key></Object></Delete>",
            "<Delete><Object><Key>a</Key></Object>",
            "<!DOCTYPE Delete [<!ENTITY a \"b\">]><Delete><Object><Key>&a;</Key></Object></Delete>",
        ] {
            assert_eq!(refused(bad), Code::MalformedXML, "{bad}");
        }
    }

    #[test]
    fn results_of_the_upstream() {
        let body = "<DeleteResult xmlns=\"x\"><Error><Message>m</Message><Code>AccessDenied</Code><Key>b</Key></Error>\
            <Deleted><Key>a</Key><DeleteMarker>true</DeleteMarker><DeleteMarkerVersionId>d</DeleteMarkerVersionId><New/></Deleted></DeleteResult>";
        let results = parse_delete_result(body).unwrap();
        assert_eq!(results.len(), 2);
        let loud = write_delete_result(&results, false);
        assert_eq!(parse_delete_result(&loud).unwrap(), results);
        assert!(
            loud.contains("<Deleted><Key>a</Key><DeleteMarker>true</DeleteMarker><DeleteMarkerVersionId>d<")
        );
        let quiet = write_delete_result(&results, true);
        assert!(quiet.contains("<Error><Key>b</Key><Code>AccessDenied</Code><Message>m</Message></Error>"));
        assert!(!quiet.contains("Deleted>"));
        assert_eq!(parse_delete_result("<Oops/>").unwrap_err().code, Code::BadGateway);
    }

    proptest! {
        #[test]
        fn what_was_written_is_parsed(
            objects in prop::collection::vec(("[^\0]{1,20}", prop::option::of("[a-z\"&<]{1,8}")), 1..20)
        ) {
            let objects: Vec<_> = objects
                .into_iter()
                .map(|(key, version_id)| DeleteObject { key, version_id, conditions: vec![("Size", "3".into())] })
                .collect();
            let written = write_delete(objects.iter().map(|object| (object.key.as_str(), object)));
            prop_assert_eq!(parse_delete(&written).unwrap(), Delete { quiet: false, objects });
        }
    }
}
