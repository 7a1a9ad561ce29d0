//! The operations as the `s3s` crate hands them over: paths, queries and XML parsed. In: requests that `auth`
//! admitted, and their headers from there. Out: answers of `objects`, `multipart`, `lists`; `read` and
//! `multi_delete` get their requests raw, and say why. Operations that are not here answer 501.

use std::borrow::Cow;
use std::sync::Arc;

use http::{Extensions, HeaderMap, Method, StatusCode, Uri};
use percent_encoding::percent_decode_str;
use s3s::dto::{
    AbortMultipartUploadInput, AbortMultipartUploadOutput, Bucket, CompleteMultipartUploadInput,
    CompleteMultipartUploadOutput, CopyObjectInput, CopyObjectOutput, CopyObjectResult, CopyPartResult,
    CopySource, CreateMultipartUploadInput, CreateMultipartUploadOutput, DeleteObjectInput,
    DeleteObjectOutput, ETag, GetBucketLocationInput, GetBucketLocationOutput, GetBucketVersioningInput,
    GetBucketVersioningOutput, HeadBucketInput, HeadBucketOutput, ListBucketsInput, ListBucketsOutput,
    ListMultipartUploadsInput, ListMultipartUploadsOutput, ListObjectVersionsInput, ListObjectVersionsOutput,
    ListObjectsInput, ListObjectsOutput, ListObjectsV2Input, ListObjectsV2Output, ListPartsInput,
    ListPartsOutput, Part, PutObjectInput, PutObjectOutput, RestoreObjectInput, RestoreObjectOutput,
    UploadPartCopyInput, UploadPartCopyOutput, UploadPartInput, UploadPartOutput,
};
use s3s::route::S3Route;
use s3s::{Body, S3, S3Error, S3ErrorCode, S3Request, S3Response, S3Result};

use super::auth::Admitted;
use super::checksum::{Algorithm, Checksum};
use super::multipart::Named;
use super::read::Ask;
use super::{Store, lists, multi_delete, multipart, objects, read};
use crate::error::{Code, Error, Result};

#[derive(Clone)]
pub(super) struct Service(pub(super) Arc<Store>);

/// A status that `s3s` cannot express; `server` applies it.
#[derive(Clone, Copy)]
pub(super) struct Status(pub(super) StatusCode);

impl From<Error> for S3Error {
    fn from(error: Error) -> Self {
        if error.code == Code::InternalError {
            tracing::error!(%error, "the dev store failed");
        }
        let code =
            S3ErrorCode::from_bytes(error.code.as_str().as_bytes()).unwrap_or(S3ErrorCode::InternalError);
        let mut out = S3Error::with_message(code, error.message().to_owned());
        out.set_status_code(error.status());
        out
    }
}

impl Service {
    fn check_bucket(&self, name: &str) -> Result<()> {
        if name == self.0.bucket { Ok(()) } else { Err(Code::NoSuchBucket.into()) }
    }

    /// The headers of a request for the one bucket.
    fn admit<'req, T>(&self, req: &'req S3Request<T>, bucket: &str) -> Result<&'req HeaderMap> {
        let headers = Admitted::headers(&req.extensions)?;
        self.check_bucket(bucket).map(|()| headers)
    }

    /// The key of a copy's source.
    fn source_key(&self, source: &CopySource) -> Result<String> {
        match source {
            CopySource::Bucket { bucket, key, version_id } => {
                self.check_bucket(bucket)?;
                read::check_version(version_id.as_deref())?;
                if key.is_empty() { Err(Code::InvalidArgument.into()) } else { Ok(key.as_ref().to_owned()) }
            }
            CopySource::AccessPoint { .. } | CopySource::Outpost { .. } => Err(Code::NotImplemented.into()),
        }
    }
}

fn etag(text: &str) -> ETag {
    ETag::Strong(text.to_owned())
}

/// The value of a checksum, if it is of this algorithm.
fn sum_of(sum: Option<&Checksum>, algorithm: Algorithm) -> Option<String> {
    sum.filter(|sum| sum.algorithm == algorithm).map(|sum| sum.value.clone())
}

#[async_trait::async_trait]
impl S3 for Service {
    async fn list_buckets(
        &self,
        req: S3Request<ListBucketsInput>,
    ) -> S3Result<S3Response<ListBucketsOutput>> {
        Admitted::headers(&req.extensions)?;
        let bucket = Bucket {
            name: Some(self.0.bucket.clone()),
            bucket_region: Some(self.0.region.clone()),
            creation_date: Some(lists::timestamp(0)),
        };
        let output = ListBucketsOutput {
            buckets: Some(vec![bucket]),
            owner: Some(lists::owner()),
            ..Default::default()
        };
        Ok(S3Response::new(output))
    }

    async fn head_bucket(&self, req: S3Request<HeadBucketInput>) -> S3Result<S3Response<HeadBucketOutput>> {
        self.admit(&req, &req.input.bucket)?;
        let output = HeadBucketOutput { bucket_region: Some(self.0.region.clone()), ..Default::default() };
        Ok(S3Response::new(output))
    }

    async fn get_bucket_location(
        &self,
        req: S3Request<GetBucketLocationInput>,
    ) -> S3Result<S3Response<GetBucketLocationOutput>> {
        self.admit(&req, &req.input.bucket)?;
        // The first region has no name, as in S3.
        let region = Some(self.0.region.clone()).filter(|region| region != "us-east-1");
        Ok(S3Response::new(GetBucketLocationOutput { location_constraint: region.map(Into::into) }))
    }

    async fn get_bucket_versioning(
        &self,
        req: S3Request<GetBucketVersioningInput>,
    ) -> S3Result<S3Response<GetBucketVersioningOutput>> {
        self.admit(&req, &req.input.bucket)?;
        Ok(S3Response::new(GetBucketVersioningOutput::default()))
    }

    async fn put_object(&self, req: S3Request<PutObjectInput>) -> S3Result<S3Response<PutObjectOutput>> {
        let headers = self.admit(&req, &req.input.bucket)?.clone();
        let headers = objects::put(&self.0, req.input.key, headers, req.input.body).await?;
        Ok(S3Response::with_headers(PutObjectOutput::default(), headers))
    }

    async fn delete_object(
        &self,
        req: S3Request<DeleteObjectInput>,
    ) -> S3Result<S3Response<DeleteObjectOutput>> {
        let headers = self.admit(&req, &req.input.bucket)?.clone();
        objects::delete(&self.0, req.input.key, req.input.version_id.as_deref(), headers).await?;
        Ok(S3Response::new(DeleteObjectOutput::default()))
    }

    async fn copy_object(&self, req: S3Request<CopyObjectInput>) -> S3Result<S3Response<CopyObjectOutput>> {
        let headers = self.admit(&req, &req.input.bucket)?.clone();
        let from = self.source_key(&req.input.copy_source)?;
        let copied = objects::copy(&self.0, from, req.input.key, headers).await?;
        let sum = copied.checksum.as_ref();
        let result = CopyObjectResult {
            e_tag: Some(etag(&copied.etag)),
            last_modified: Some(lists::timestamp(copied.modified)),
            checksum_crc32: sum_of(sum, Algorithm::Crc32),
            checksum_crc32c: sum_of(sum, Algorithm::Crc32c),
            checksum_crc64nvme: sum_of(sum, Algorithm::Crc64Nvme),
            checksum_sha1: sum_of(sum, Algorithm::Sha1),
            checksum_sha256: sum_of(sum, Algorithm::Sha256),
            checksum_type: sum.map(|sum| sum.kind.name().to_owned().into()),
        };
        let output = CopyObjectOutput { copy_object_result: Some(result), ..Default::default() };
        Ok(S3Response::with_headers(output, copied.headers))
    }

    async fn restore_object(
        &self,
        req: S3Request<RestoreObjectInput>,
    ) -> S3Result<S3Response<RestoreObjectOutput>> {
        self.admit(&req, &req.input.bucket)?;
        let input = req.input;
        let days = input.restore_request.and_then(|request| request.days).unwrap_or(1);
        let again = objects::restore(&self.0, input.key, input.version_id.as_deref(), days.into()).await?;
        let mut response = S3Response::new(RestoreObjectOutput::default());
        if !again {
            response.extensions.insert(Status(StatusCode::ACCEPTED));
        }
        Ok(response)
    }

    async fn create_multipart_upload(
        &self,
        req: S3Request<CreateMultipartUploadInput>,
    ) -> S3Result<S3Response<CreateMultipartUploadOutput>> {
        let headers = self.admit(&req, &req.input.bucket)?.clone();
        let (bucket, key) = (req.input.bucket, req.input.key);
        let created = multipart::create(&self.0, key.clone(), &headers).await?;
        let output = CreateMultipartUploadOutput {
            bucket: Some(bucket),
            key: Some(key),
            upload_id: Some(created.id),
            ..Default::default()
        };
        Ok(S3Response::with_headers(output, created.headers))
    }

    async fn upload_part(&self, req: S3Request<UploadPartInput>) -> S3Result<S3Response<UploadPartOutput>> {
        let headers = self.admit(&req, &req.input.bucket)?.clone();
        let input = req.input;
        let place = (input.key, input.upload_id, input.part_number);
        let headers = multipart::put_part(&self.0, place, &headers, input.body).await?;
        Ok(S3Response::with_headers(UploadPartOutput::default(), headers))
    }

    async fn upload_part_copy(
        &self,
        req: S3Request<UploadPartCopyInput>,
    ) -> S3Result<S3Response<UploadPartCopyOutput>> {
        let headers = self.admit(&req, &req.input.bucket)?.clone();
        let input = req.input;
        let from = self.source_key(&input.copy_source)?;
        let place = (input.key, input.upload_id, input.part_number);
        let copied = multipart::copy_part(&self.0, place, from, &headers).await?;
        let sum = copied.checksum.as_ref();
        let result = CopyPartResult {
            e_tag: Some(etag(&copied.etag)),
            last_modified: Some(lists::timestamp(copied.modified)),
            checksum_crc32: sum_of(sum, Algorithm::Crc32),
            checksum_crc32c: sum_of(sum, Algorithm::Crc32c),
            checksum_crc64nvme: sum_of(sum, Algorithm::Crc64Nvme),
            checksum_sha1: sum_of(sum, Algorithm::Sha1),
            checksum_sha256: sum_of(sum, Algorithm::Sha256),
        };
        let output = UploadPartCopyOutput { copy_part_result: Some(result), ..Default::default() };
        Ok(S3Response::with_headers(output, copied.headers))
    }

    async fn list_parts(&self, req: S3Request<ListPartsInput>) -> S3Result<S3Response<ListPartsOutput>> {
        self.admit(&req, &req.input.bucket)?;
        let input = req.input;
        let (max_parts, max) = lists::page_size(input.max_parts, "max-parts")?;
        let marker = input.part_number_marker.unwrap_or(0);
        let after = u16::try_from(marker.clamp(0, 10_000)).map_err(super::intake::disk)?;
        let (key, id) = (input.key, input.upload_id);
        let listed = multipart::list_parts(&self.0, key.clone(), id.clone(), after, max).await?;
        let parts = listed.found.iter().map(|(number, part)| {
            let sum = part.checksum.as_ref();
            Part {
                part_number: Some((*number).into()),
                e_tag: Some(etag(&part.etag)),
                size: Some(lists::signed(part.size)),
                last_modified: Some(lists::timestamp(part.modified)),
                checksum_crc32: sum_of(sum, Algorithm::Crc32),
                checksum_crc32c: sum_of(sum, Algorithm::Crc32c),
                checksum_crc64nvme: sum_of(sum, Algorithm::Crc64Nvme),
                checksum_sha1: sum_of(sum, Algorithm::Sha1),
                checksum_sha256: sum_of(sum, Algorithm::Sha256),
            }
        });
        let output = ListPartsOutput {
            bucket: Some(input.bucket),
            key: Some(key),
            upload_id: Some(id),
            max_parts: Some(max_parts),
            part_number_marker: Some(marker),
            next_part_number_marker: listed.found.last().map(|(number, _)| (*number).into()),
            is_truncated: Some(listed.truncated),
            parts: Some(parts.collect()),
            owner: Some(lists::owner()),
            storage_class: Some(listed.upload.attributes.storage_class().to_owned().into()),
            checksum_algorithm: listed
                .upload
                .checksum
                .map(|(algorithm, _)| algorithm.name().to_owned().into()),
            checksum_type: listed.upload.checksum.map(|(_, kind)| kind.name().to_owned().into()),
            ..Default::default()
        };
        Ok(S3Response::new(output))
    }

    async fn complete_multipart_upload(
        &self,
        req: S3Request<CompleteMultipartUploadInput>,
    ) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
        let headers = self.admit(&req, &req.input.bucket)?.clone();
        let input = req.input;
        let parts = input.multipart_upload.and_then(|upload| upload.parts).unwrap_or_default();
        let named = parts.into_iter().map(|part| {
            let sums = [
                part.checksum_crc32,
                part.checksum_crc32c,
                part.checksum_crc64nvme,
                part.checksum_sha1,
                part.checksum_sha256,
            ];
            let number = part.part_number.ok_or(Code::MalformedXML)?;
            let etag = part.e_tag.ok_or(Code::MalformedXML)?.into_value();
            Ok(Named { number, etag, checksum: sums.into_iter().flatten().next() })
        });
        let named = named.collect::<Result<Vec<_>>>()?;
        let key = input.key;
        let done = multipart::complete(&self.0, key.clone(), input.upload_id, headers, named).await?;
        let sum = done.checksum.as_ref();
        let output = CompleteMultipartUploadOutput {
            location: Some(format!("/{}/{}", input.bucket, super::listing::spell(&key, true))),
            bucket: Some(input.bucket),
            key: Some(key),
            e_tag: Some(etag(&done.etag)),
            checksum_crc32: sum_of(sum, Algorithm::Crc32),
            checksum_crc32c: sum_of(sum, Algorithm::Crc32c),
            checksum_crc64nvme: sum_of(sum, Algorithm::Crc64Nvme),
            checksum_sha1: sum_of(sum, Algorithm::Sha1),
            checksum_sha256: sum_of(sum, Algorithm::Sha256),
            checksum_type: sum.map(|sum| sum.kind.name().to_owned().into()),
            ..Default::default()
        };
        Ok(S3Response::new(output))
    }

    async fn abort_multipart_upload(
        &self,
        req: S3Request<AbortMultipartUploadInput>,
    ) -> S3Result<S3Response<AbortMultipartUploadOutput>> {
        self.admit(&req, &req.input.bucket)?;
        multipart::abort(&self.0, req.input.key, req.input.upload_id).await?;
        Ok(S3Response::new(AbortMultipartUploadOutput::default()))
    }

    async fn list_multipart_uploads(
        &self,
        req: S3Request<ListMultipartUploadsInput>,
    ) -> S3Result<S3Response<ListMultipartUploadsOutput>> {
        self.admit(&req, &req.input.bucket)?;
        Ok(S3Response::new(lists::uploads(&self.0, req.input).await?))
    }

    async fn list_objects(
        &self,
        req: S3Request<ListObjectsInput>,
    ) -> S3Result<S3Response<ListObjectsOutput>> {
        self.admit(&req, &req.input.bucket)?;
        Ok(S3Response::new(lists::v1(&self.0, req.input).await?))
    }

    async fn list_objects_v2(
        &self,
        req: S3Request<ListObjectsV2Input>,
    ) -> S3Result<S3Response<ListObjectsV2Output>> {
        self.admit(&req, &req.input.bucket)?;
        Ok(S3Response::new(lists::v2(&self.0, req.input).await?))
    }

    async fn list_object_versions(
        &self,
        req: S3Request<ListObjectVersionsInput>,
    ) -> S3Result<S3Response<ListObjectVersionsOutput>> {
        self.admit(&req, &req.input.bucket)?;
        Ok(S3Response::new(lists::versions(&self.0, req.input).await?))
    }
}

/// Bucket and key of a path, decoded once.
fn split_path(uri: &Uri) -> Option<(String, String)> {
    let path = percent_decode_str(uri.path().strip_prefix('/')?).decode_utf8().ok()?;
    let (bucket, key) = path.split_once('/').unwrap_or((&path, ""));
    Some((bucket.to_owned(), key.to_owned()))
}

/// Query names and values; `+` is a space here, as in a form.
fn query(uri: &Uri) -> impl Iterator<Item = (String, String)> + '_ {
    let text = |part: &str| {
        let part: Cow<'_, str> = if part.contains('+') { part.replace('+', " ").into() } else { part.into() };
        percent_decode_str(&part).decode_utf8_lossy().into_owned()
    };
    uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty()).map(move |pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (text(name), text(value))
    })
}

/// The operations whose requests `s3s` hands over as they are.
#[async_trait::async_trait]
impl S3Route for Service {
    fn is_match(&self, method: &Method, uri: &Uri, _: &HeaderMap, _: &mut Extensions) -> bool {
        let Some((bucket, key)) = split_path(uri) else {
            return false;
        };
        if *method == Method::POST {
            return key.is_empty() && !bucket.is_empty() && query(uri).any(|(name, _)| name == "delete");
        }
        (*method == Method::GET || *method == Method::HEAD)
            && !key.is_empty()
            && query(uri).all(|(name, _)| read::is_plain_query(&name))
    }

    /// `s3s` asks for credentials of its own here; `call` asks for what `auth` admitted.
    async fn check_access(&self, _: &mut S3Request<Body>) -> S3Result<()> {
        Ok(())
    }

    async fn call(&self, req: S3Request<Body>) -> S3Result<S3Response<Body>> {
        let (bucket, key) = split_path(&req.uri).ok_or_else(|| Error::new(Code::InvalidURI))?;
        let headers = self.admit(&req, &bucket)?.clone();
        if req.method == Method::POST {
            let xml = multi_delete::run(&self.0, &headers, req.input).await?;
            let mut response = S3Response::new(Body::from(xml));
            super::headers::set(&mut response.headers, "content-type", "application/xml");
            return Ok(response);
        }
        let ask = Ask { method: req.method, key, query: query(&req.uri).collect(), headers };
        Ok(read::answer(Arc::clone(&self.0), ask).await?)
    }
}
