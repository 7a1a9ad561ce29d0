//! Which operation a request asks for, and what is refused.

use super::*;

fn parse(method: &str, uri: &str, host_bucket: Option<&str>, copy: bool) -> Result<(Operation, String)> {
    let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
    let method = Method::from_bytes(method.as_bytes()).expect("a method");
    let request = Request::new(&method, Target::parse(path, host_bucket)?, Query::parse(query)?, copy)?;
    let bucket = request.target.bucket.map(|b| b.as_str().to_owned()).unwrap_or_default();
    let key = request.target.key.map(|k| k.as_str().to_owned()).unwrap_or_default();
    Ok((request.operation, format!("{bucket}|{key}")))
}

#[test]
fn a_table_of_real_urls() {
    use Operation as Op;
    for (line, operation, place) in [
        ("GET /", Op::ListBuckets, "|"),
        ("GET /?x-id=ListBuckets", Op::ListBuckets, "|"),
        ("HEAD /datasets", Op::HeadBucket, "datasets|"),
        ("HEAD /datasets/", Op::HeadBucket, "datasets|"),
        ("PUT /datasets/", Op::CreateBucket, "datasets|"),
        ("GET /datasets?location", Op::GetBucketLocation, "datasets|"),
        ("GET /datasets/?location=", Op::GetBucketLocation, "datasets|"),
        ("GET /datasets?versioning", Op::GetBucketVersioning, "datasets|"),
        ("GET /datasets?policy", Op::GetBucketSetting(Setting::Policy), "datasets|"),
        ("GET /datasets?object-lock=", Op::GetBucketSetting(Setting::ObjectLock), "datasets|"),
        ("GET /datasets?prefix=a%2F&delimiter=%2F", Op::ListObjects, "datasets|"),
        ("GET /datasets?list-type=2&prefix=&encoding-type=url", Op::ListObjectsV2, "datasets|"),
        ("GET /datasets?versions&prefix=x", Op::ListObjectVersions, "datasets|"),
        ("GET /datasets?uploads&prefix=x", Op::ListMultipartUploads, "datasets|"),
        ("POST /datasets?delete", Op::DeleteObjects, "datasets|"),
        ("POST /datasets?delete=", Op::DeleteObjects, "datasets|"),
        ("GET /%64atasets/x", Op::GetObject, "datasets|x"),
        ("GET /datasets/a//b?versionId=1&response-content-type=x", Op::GetObject, "datasets|a//b"),
        ("GET /datasets//x", Op::GetObject, "datasets|/x"),
        ("GET /datasets//", Op::GetObject, "datasets|/"),
        ("GET /datasets/a%2Fb%2520c+d", Op::GetObject, "datasets|a/b%20c+d"),
        ("GET /datasets/k?partNumber=2", Op::GetObject, "datasets|k"),
        ("HEAD /datasets/k", Op::HeadObject, "datasets|k"),
        ("PUT /datasets/k?x-id=PutObject", Op::PutObject, "datasets|k"),
        ("DELETE /datasets/k?versionId=null", Op::DeleteObject, "datasets|k"),
        ("GET /datasets/k?acl", Op::GetObjectAcl, "datasets|k"),
        ("GET /datasets/k?attributes", Op::GetObjectAttributes, "datasets|k"),
        ("POST /datasets/k?restore", Op::RestoreObject, "datasets|k"),
        ("POST /datasets/k?uploads", Op::CreateMultipartUpload, "datasets|k"),
        ("POST /datasets/k?uploads=", Op::CreateMultipartUpload, "datasets|k"),
        ("PUT /datasets/k?partNumber=1&uploadId=u", Op::UploadPart, "datasets|k"),
        ("POST /datasets/k?uploadId=u", Op::CompleteMultipartUpload, "datasets|k"),
        ("DELETE /datasets/k?uploadId=u", Op::AbortMultipartUpload, "datasets|k"),
        ("GET /datasets/k?uploadId=u&max-parts=3", Op::ListParts, "datasets|k"),
    ] {
        let (method, uri) = line.split_once(' ').expect("method and URL");
        assert_eq!(parse(method, uri, None, false).expect(line), (operation, place.to_owned()), "{line}");
    }
}

#[test]
fn copies_are_told_by_their_header() {
    assert_eq!(parse("PUT", "/datasets/k", None, true).expect("copy").0, Operation::CopyObject);
    let part = "/datasets/k?partNumber=1&uploadId=u";
    assert_eq!(parse("PUT", part, None, true).expect("copy").0, Operation::UploadPartCopy);
}

#[test]
fn a_host_may_name_the_bucket() {
    let at = |uri| parse("GET", uri, Some("models"), false).expect(uri);
    assert_eq!(at("/"), (Operation::ListObjects, "models|".into()));
    assert_eq!(at("/datasets/x"), (Operation::GetObject, "models|datasets/x".into()));
    assert_eq!(at("//"), (Operation::GetObject, "models|/".into()));
}

#[test]
fn what_is_not_in_the_table_goes_no_further() {
    for (line, code) in [
        ("PATCH /datasets/k", Code::MethodNotAllowed),
        ("TRACE /", Code::MethodNotAllowed),
        ("FOO /datasets", Code::MethodNotAllowed),
        ("OPTIONS /datasets/k", Code::AccessForbidden),
        ("DELETE /datasets", Code::NotImplemented),
        ("PUT /datasets?policy", Code::NotImplemented),
        ("DELETE /datasets?lifecycle", Code::NotImplemented),
        ("POST /datasets", Code::NotImplemented),
        ("POST /", Code::NotImplemented),
        ("GET /datasets/k?torrent", Code::NotImplemented),
        ("GET /datasets/k?tagging", Code::NotImplemented),
        ("PUT /datasets/k?tagging", Code::NotImplemented),
        ("PUT /datasets/k?retention", Code::NotImplemented),
        ("POST /datasets/k?select&select-type=2", Code::NotImplemented),
        ("GET /datasets?inventory", Code::NotImplemented),
        ("GET /datasets/k?acl&tagging", Code::InvalidArgument),
        ("PUT /datasets/k?partNumber=1", Code::InvalidArgument),
        ("DELETE /datasets/k?partNumber=1", Code::InvalidArgument),
        ("PUT /datasets/k?versionId=v", Code::InvalidArgument),
        ("GET /datasets/k?versionId=", Code::InvalidArgument),
        ("DELETE /datasets/k?versionId=", Code::InvalidArgument),
        ("PUT /datasets/k?uploadId=u", Code::InvalidArgument),
        ("GET /datasets?list-type=3", Code::InvalidArgument),
        ("GET //datasets/x", Code::InvalidBucketName),
        ("GET /datasets%2Fbob/x", Code::InvalidBucketName),
        ("GET /api/v1/quota", Code::NoSuchBucket),
        ("GET /datasets/../x", Code::InvalidURI),
        ("GET /datasets/a/%2e%2e/x", Code::InvalidURI),
        ("GET /datasets/..%2fx", Code::InvalidURI),
        ("GET /datasets/..%5cx", Code::InvalidURI),
        ("GET /datasets/%zz", Code::InvalidURI),
        ("GET /datasets/%ff", Code::InvalidURI),
        ("GET /datasets/%c0%ae", Code::InvalidURI),
        ("GET /datasets/a%00", Code::InvalidURI),
    ] {
        let (method, uri) = line.split_once(' ').expect("method and URL");
        assert_eq!(parse(method, uri, None, false).expect_err(line).code, code, "{line}");
    }
}

#[test]
fn names_are_unique() {
    let names: std::collections::HashSet<_> = Operation::ALL.iter().map(|op| op.name()).collect();
    assert_eq!(names.len(), Operation::ALL.len());
}
