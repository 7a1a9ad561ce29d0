//! Listings: documents shaped as AWS, `MinIO` and OCI answer, and arbitrary names through every combination of
//! an upstream and a client that encode or do not.

use super::*;
use crate::error::Code;
use crate::s3::uri;
use crate::s3::xml::read::Reader;
use proptest::prelude::*;

const SCOPE: &str = "datasets/alice/";

fn unmap(real: &str) -> Option<&str> {
    real.strip_prefix(SCOPE)
}

/// A page of a single portion, as the gateway makes most of them.
fn rewrite(upstream: &str, view: &ListView<'_>, page: &ListPage<'_>) -> Result<Page> {
    let mut portion = read_portion(upstream, view, page)?;
    let next = portion.next.take().map(|next| match next {
        Next::Token(token) => Next::Token(format!("sealed-{}", token.len())),
        after @ Next::After { .. } => after,
    });
    let saw = portion.saw;
    Ok(Page { xml: write_listing(view, page, &[portion], next.as_ref()), saw })
}

#[derive(Debug)]
struct Page {
    xml: String,
    saw: Evidence,
}

fn view(url: bool, plus: PlusMeaning) -> ListView<'static> {
    ListView {
        bucket: "datasets",
        prefix: "a b/",
        delimiter: Some("/"),
        max: 1000,
        url,
        owner: None,
        plus,
        unmap: &unmap,
        until: None,
    }
}

const V2: ListPage<'static> = ListPage::V2 { start_after: Some("a +"), continuation_token: Some("mine") };
const ALICE: Owner<'static> = Owner { id: "alice", name: "alice" };

/// All texts of an element, in order.
fn all(xml: &str, element: &str) -> Vec<String> {
    fn walk(reader: &mut Reader<'_>, wanted: &str, out: &mut Vec<String>) {
        const PARENTS: [&str; 7] =
            ["Contents", "CommonPrefixes", "Upload", "Version", "DeleteMarker", "Owner", "Initiator"];
        while let Some(element) = reader.child().unwrap() {
            if PARENTS.contains(&element) {
                walk(reader, wanted, out);
            } else if element == wanted {
                out.push(reader.text().unwrap().into_owned());
            } else {
                reader.skip().unwrap();
            }
        }
    }
    let mut out = Vec::new();
    let mut reader = Reader::open(xml).unwrap().0;
    walk(&mut reader, element, &mut out);
    reader.finish().unwrap();
    out
}

#[test]
fn v2_as_aws_answers() {
    let upstream = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
        <Name>REAL</Name><Prefix>datasets/alice/a+b/</Prefix><StartAfter>datasets/alice/a+%2B</StartAfter>\
        <ContinuationToken>theirs</ContinuationToken><NextContinuationToken>1ueGc&amp;</NextContinuationToken><KeyCount>2</KeyCount>\
        <MaxKeys>1000</MaxKeys><Delimiter>/</Delimiter><EncodingType>url</EncodingType><IsTruncated>true</IsTruncated>\
        <Contents><Key>datasets/alice/a+b/c%2B</Key><LastModified>2024-01-02T03:04:05.000Z</LastModified><ETag>&quot;e&quot;</ETag>\
        <ChecksumAlgorithm>CRC32</ChecksumAlgorithm><Size>5</Size><Owner><ID>REAL</ID></Owner><StorageClass>GLACIER</StorageClass>\
        <RestoreStatus><IsRestoreInProgress>true</IsRestoreInProgress><X>REAL</X></RestoreStatus><Secret>REAL</Secret></Contents>\
        <CommonPrefixes><Prefix>datasets/alice/a+b/d/</Prefix></CommonPrefixes></ListBucketResult>";
    let page = rewrite(upstream, &view(false, PlusMeaning::Space), &V2).unwrap();
    assert_eq!(
        page.xml,
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
         <Name>datasets</Name><Prefix>a b/</Prefix><ContinuationToken>mine</ContinuationToken><StartAfter>a +</StartAfter>\
         <MaxKeys>1000</MaxKeys><Delimiter>/</Delimiter><Contents><Key>a b/c+</Key>\
         <LastModified>2024-01-02T03:04:05.000Z</LastModified><ETag>&quot;e&quot;</ETag><ChecksumAlgorithm>CRC32</ChecksumAlgorithm>\
         <Size>5</Size><StorageClass>GLACIER</StorageClass><RestoreStatus><IsRestoreInProgress>true</IsRestoreInProgress>\
         </RestoreStatus></Contents><CommonPrefixes><Prefix>a b/d/</Prefix></CommonPrefixes><KeyCount>2</KeyCount>\
         <NextContinuationToken>sealed-6</NextContinuationToken><IsTruncated>true</IsTruncated></ListBucketResult>"
    );
    assert_eq!(page.saw, Evidence { plus: true, percent20: false, percent2b: true });
    assert_eq!(page.saw.plus_means(), Some(PlusMeaning::Space));

    let encoded = rewrite(upstream, &view(true, PlusMeaning::Space), &V2).unwrap().xml;
    assert!(
        encoded.contains("<Prefix>a%20b/</Prefix>") && encoded.contains("<StartAfter>a%20%2B</StartAfter>")
    );
    assert!(
        encoded.contains("<EncodingType>url</EncodingType>") && encoded.contains("<Key>a%20b/c%2B</Key>")
    );
}

#[test]
fn v1_has_owners_and_a_next_marker() {
    let upstream = "<s3:ListBucketResult xmlns:s3='x'><s3:IsTruncated>true</s3:IsTruncated><s3:Contents><s3:Size>1</s3:Size>\
        <s3:Key>datasets/alice/k</s3:Key></s3:Contents><s3:NextMarker>datasets/alice/z &amp; y</s3:NextMarker></s3:ListBucketResult>";
    let view = ListView { owner: Some(ALICE), ..view(false, PlusMeaning::Space) };
    let xml = rewrite(upstream, &view, &ListPage::V1 { marker: "m" }).unwrap().xml;
    assert_eq!(all(&xml, "DisplayName"), ["alice"]);
    assert_eq!(all(&xml, "Marker"), ["m"]);
    assert_eq!(all(&xml, "NextMarker"), ["z & y"]);
    assert!(all(&xml, "KeyCount").is_empty());
}

#[test]
fn versions_and_uploads() {
    let upstream = "<ListVersionsResult><NextKeyMarker>datasets/alice/b</NextKeyMarker><NextVersionIdMarker>v2</NextVersionIdMarker>\
        <IsTruncated>true</IsTruncated><Version><Key>datasets/alice/a</Key><VersionId>v1</VersionId><IsLatest>true</IsLatest></Version>\
        <DeleteMarker><Key>datasets/alice/b</Key><VersionId>v2</VersionId><Owner><ID>REAL</ID></Owner></DeleteMarker></ListVersionsResult>";
    let view = ListView { owner: Some(ALICE), ..view(false, PlusMeaning::Space) };
    let page = ListPage::Versions { key_marker: "k", version_id_marker: Some("v") };
    let xml = rewrite(upstream, &view, &page).unwrap().xml;
    assert_eq!(
        (all(&xml, "Key"), all(&xml, "VersionId")),
        (vec!["a".into(), "b".into()], vec!["v1".into(), "v2".into()])
    );
    assert_eq!((all(&xml, "NextKeyMarker"), all(&xml, "KeyMarker")), (vec!["b".into()], vec!["k".into()]));

    let upstream = "<ListMultipartUploadsResult><Bucket>REAL</Bucket><NextKeyMarker>datasets/alice/u</NextKeyMarker>\
        <NextUploadIdMarker>id</NextUploadIdMarker><IsTruncated>true</IsTruncated><Upload><UploadId>id</UploadId><Key>datasets/alice/u</Key>\
        <Initiator><ID>REAL</ID></Initiator><StorageClass>STANDARD</StorageClass><Initiated>t</Initiated></Upload></ListMultipartUploadsResult>";
    let seal = |key: &str, id: &str| format!("{key}:{id}");
    let page = ListPage::Uploads { key_marker: "", upload_id_marker: None, upload_id: &seal };
    let xml = rewrite(upstream, &view, &page).unwrap().xml;
    assert_eq!(all(&xml, "UploadId"), ["u:id"]);
    assert_eq!(all(&xml, "NextUploadIdMarker"), ["u:id"]);
    assert_eq!(all(&xml, "ID"), ["alice", "alice"]);
    assert!(!xml.contains("REAL"));
    let none = upstream.replace(">datasets/alice/u</NextKeyMarker>", "></NextKeyMarker>");
    let xml = rewrite(&none, &view, &page).unwrap().xml;
    assert_eq!(
        (all(&xml, "NextKeyMarker"), all(&xml, "NextUploadIdMarker")),
        (vec!["u".into()], vec!["u:id".into()])
    );
    let whole = upstream.replace(">true<", ">false<");
    assert!(all(&rewrite(&whole, &view, &page).unwrap().xml, "NextKeyMarker").is_empty());
}

#[test]
fn empty_pages_echo_the_question() {
    let seal = |_: &str, id: &str| id.to_owned();
    let view = ListView { max: 0, ..view(true, PlusMeaning::Space) };
    let uploads = ListPage::Uploads { key_marker: "k", upload_id_marker: None, upload_id: &seal };
    let versions = ListPage::Versions { key_marker: "k", version_id_marker: None };
    let empty = |page: &ListPage<'_>| write_listing(&view, page, &[], None);
    for xml in [&V2, &V1, &versions, &uploads].map(empty) {
        assert_eq!(all(&xml, "Prefix"), ["a%20b/"]);
        assert_eq!(all(&xml, "IsTruncated"), ["false"]);
    }
    assert_eq!(all(&empty(&V2), "KeyCount"), ["0"]);
}

#[test]
fn a_name_outside_the_scope_fails_the_page() {
    let strangers = ["datasets/bob/k", "datasets/alice", "datasets/alicex/k", "", "%64atasets/alice/k"];
    let lists = ["<Contents><Key>@</Key></Contents>", "<CommonPrefixes><Prefix>@</Prefix></CommonPrefixes>"];
    for (stranger, list) in strangers.iter().flat_map(|stranger| lists.map(|list| (stranger, list))) {
        let upstream = format!("<ListBucketResult>{}</ListBucketResult>", list.replace('@', stranger));
        let error = rewrite(&upstream, &view(false, PlusMeaning::Space), &V2);
        let outcome =
            error.map(|page| page.xml).map_err(|error| (error.code, error.message().contains(SCOPE)));
        assert_eq!(outcome, Err((Code::BadGateway, false)), "{upstream}");
    }
}

#[test]
fn pages_that_cannot_be_trusted() {
    let contents = "<Contents><Key>datasets/alice/k</Key></Contents>";
    for inside in [
        "<IsTruncated>true</IsTruncated>",
        "<IsTruncated>perhaps</IsTruncated>",
        "<Contents><Size>1</Size></Contents>",
        "<Contents><Key>datasets/alice/k</Key><Key>datasets/alice/l</Key></Contents>",
        "<EncodingType>url</EncodingType><Contents><Key>datasets/alice/%zz</Key></Contents>",
        "<EncodingType>url</EncodingType><Contents><Key>datasets/alice/%ff</Key></Contents>",
        "<Contents><EncodingType>url</EncodingType><Key>datasets/alice/a%20</Key></Contents>",
        "<EncodingType><![CDATA[url]]></EncodingType>",
        "<Contents><Key>datasets/alice/<b/></Key></Contents>",
        &contents.repeat(10_001),
    ] {
        let upstream = format!("<ListBucketResult>{inside}</ListBucketResult>");
        let outcome = rewrite(&upstream, &view(false, PlusMeaning::Space), &V2);
        assert_eq!(outcome.unwrap_err().code, Code::BadGateway, "{inside:.80}");
    }
    let whole = rewrite("<Error><Code>X</Code></Error>", &view(false, PlusMeaning::Space), &V2);
    assert_eq!(whole.unwrap_err().code, Code::BadGateway);
}

/// A page as an upstream would write it.
fn upstream_page(names: &[String], encode: Option<PlusMeaning>, encoding_first: bool) -> String {
    let mut out = Writer::s3(OBJECTS);
    let encoding = |out: &mut Writer| {
        if encode.is_some() {
            out.leaf("EncodingType", "url");
        }
    };
    if encoding_first {
        encoding(&mut out);
    }
    for name in names {
        let real = format!("{SCOPE}{name}");
        out.open("Contents");
        match encode {
            None => out.leaf("Key", &real),
            Some(PlusMeaning::Literal) => out.leaf("Key", &uri::encode_path(&real).replace("%2B", "+")),
            Some(PlusMeaning::Space) => out.leaf("Key", &uri::encode_query(&real).replace("%20", "+")),
        }
        out.leaf("ETag", "\"e\"");
        out.close("Contents");
    }
    if !encoding_first {
        encoding(&mut out);
    }
    out.flag("IsTruncated", false);
    out.finish(OBJECTS)
}

/// A key is never empty; an entry without a name is the scope's own folder marker.
fn any_name() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>().prop_filter("a name", |name| !name.is_empty()),
        "[ +%&<>\"'=\r\n\t\u{1}\u{1f}\u{7f}é😀/a20bB]{1,12}"
    ]
}

fn any_plus() -> impl Strategy<Value = PlusMeaning> {
    prop_oneof![Just(PlusMeaning::Space), Just(PlusMeaning::Literal)]
}

proptest! {
    #[test]
    fn names_come_out_as_they_went_in(
        names in prop::collection::vec(any_name(), 0..8),
        (encode, plus, encoding_first, url) in (any::<bool>(), any_plus(), any::<bool>(), any::<bool>()),
    ) {
        let upstream = upstream_page(&names, encode.then_some(plus), encoding_first);
        let view = ListView { prefix: "", delimiter: None, ..view(url, plus) };
        let page = rewrite(&upstream, &view, &V2).unwrap();
        let shown = all(&page.xml, "Key");
        // Clients differ in what they make of a plus; with us they need not.
        for habit in [PlusMeaning::Space, PlusMeaning::Literal] {
            let read = |name: &String| if url { uri::decode(name, habit).unwrap().into_owned() } else { name.clone() };
            prop_assert_eq!(&shown.iter().map(read).collect::<Vec<_>>(), &names);
        }
        if !names.iter().any(|name| name.contains("alice")) {
            for hidden in ["datasets/alice", "datasets%2Falice", "datasets%2falice", "alice"] {
                prop_assert!(!page.xml.contains(hidden));
            }
        }
        prop_assert!(page.saw.plus_means().is_none_or(|proved| proved == plus));
    }

    #[test]
    fn one_stranger_fails_the_whole_page(
        names in prop::collection::vec(any_name(), 0..4),
        stranger in "(datasets/(bob|alicex|alice)|models/alice/|)[a-z%]{0,4}",
        encode: bool,
    ) {
        prop_assume!(!stranger.starts_with(SCOPE));
        let upstream = upstream_page(&names, encode.then_some(PlusMeaning::Space), true);
        let mut writer = Writer::document("Contents", None, 64);
        writer.leaf("Key", &if encode { uri::encode_path(&stranger).into_owned() } else { stranger });
        let entry = writer.finish("Contents").split_once('\n').unwrap().1.to_owned();
        let poisoned = upstream.replace("<IsTruncated>", &format!("{entry}<IsTruncated>"));
        let outcome = rewrite(&poisoned, &view(false, PlusMeaning::Space), &V2);
        prop_assert_eq!(outcome.unwrap_err().code, Code::BadGateway);
    }
}

const V1: ListPage<'static> = ListPage::V1 { marker: "" };

fn v1(page: &str, delimiter: Option<&'static str>) -> String {
    let upstream = format!("<ListBucketResult>{page}</ListBucketResult>");
    let view = ListView { delimiter, ..view(false, PlusMeaning::Space) };
    rewrite(&upstream, &view, &V1).unwrap().xml
}

#[test]
fn a_truncated_page_of_v1_tells_how_to_go_on() {
    let page = "<IsTruncated>true</IsTruncated><Contents><Key>datasets/alice/a b/b</Key></Contents>\
        <CommonPrefixes><Prefix>datasets/alice/a b/c/</Prefix></CommonPrefixes>\
        <CommonPrefixes><Prefix>datasets/alice/a b/a/</Prefix></CommonPrefixes>";
    assert_eq!(all(&v1(page, Some("/")), "NextMarker"), ["a b/c/"]);
    assert!(all(&v1(page, None), "NextMarker").is_empty());
    assert!(all(&v1(&page.replace("true", "false"), Some("/")), "NextMarker").is_empty());
    // Some server's own token is no key of the client's, and is not shown.
    for token in ["e12f2f6e001cba8293f5db42287620f6", "datasets/bob/k", "datasets/alice"] {
        let page = format!("<NextMarker>{token}</NextMarker>{page}");
        assert_eq!(all(&v1(&page, Some("/")), "NextMarker"), ["a b/c/"]);
        assert!(all(&v1(&page, None), "NextMarker").is_empty());
    }
    let key = format!("<NextMarker>datasets/alice/a b/b</NextMarker>{page}");
    assert_eq!(all(&v1(&key, Some("/")), "NextMarker"), ["a b/b"]);
}

#[test]
fn the_scopes_own_folder_marker_is_not_listed() {
    let page = "<Contents><Key>datasets/alice/</Key><Size>0</Size></Contents>\
        <Contents><Key>datasets/alice/k</Key></Contents>";
    assert_eq!(all(&v1(page, None), "Key"), ["k"]);
    let upstream = format!("<ListBucketResult>{page}</ListBucketResult>");
    let page = rewrite(&upstream, &view(false, PlusMeaning::Space), &V2).unwrap();
    assert_eq!((all(&page.xml, "Key"), all(&page.xml, "KeyCount")), (vec!["k".into()], vec!["1".into()]));
    assert!(!page.xml.contains("<Size>"));
}

#[test]
fn a_key_that_ends_like_the_encoding_is_only_a_key() {
    let page = "<Contents><Key>datasets/alice/EncodingType>url</Key></Contents>";
    assert_eq!(all(&v1(page, None), "Key"), ["EncodingType>url"]);
    let prefixed =
        "<s3:EncodingType>url</s3:EncodingType><Contents><Key>datasets/alice/a%2Bb</Key></Contents>";
    assert_eq!(all(&v1(prefixed, None), "Key"), ["a+b"]);
}
