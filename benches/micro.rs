//! What one head, one MiB of a body, one listing costs, without sockets: `cargo bench --bench micro`. Inputs
//! are those of boto3. Signing keys are cached, as they are in all but the first request of a day.

#![allow(clippy::unwrap_used, reason = "a bench that cannot set up its input has nothing to measure")]
#![allow(
    clippy::format_push_string,
    clippy::format_collect,
    reason = "short texts, made before the clock runs"
)]

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use bucketwarden::admit::{Admit, UserLimits};
use bucketwarden::auth::{Authenticator, Keyring};
use bucketwarden::body::pace::{Pacer, Replicas};
use bucketwarden::body::plan::UploadPlan;
use bucketwarden::body::upload::{GateState, upload};
use bucketwarden::config::{self, Config, PrefixTemplate};
use bucketwarden::dialect::Dialect;
use bucketwarden::error::{Code, Error};
use bucketwarden::keymap::{Scope, Window};
use bucketwarden::metrics::Metrics;
use bucketwarden::s3::operation::{self, Operation, Target};
use bucketwarden::s3::query::Query;
use bucketwarden::s3::uri::{self, PlusMeaning};
use bucketwarden::s3::xml;
use bucketwarden::sigv4::Payload;
use bucketwarden::sigv4::chunk::ChunkSigner;
use bucketwarden::sigv4::verify::{Head, claimed};
use bucketwarden::store::Store;
use bucketwarden::types::{BucketName, ClientKey, Secret, UserId};
use bucketwarden::upstream::headers;
use bucketwarden::{access, sigv4};
use bytes::Bytes;
use divan::counter::BytesCount;
use divan::{Bencher, black_box};
use futures_util::FutureExt as _;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use http_body::{Body, Frame, SizeHint};
use sha2::{Digest as _, Sha256};
use sign::{REGION, Signed, Signer, UNSIGNED_PAYLOAD};
use tempfile::TempDir;

#[path = "end_to_end/sign.rs"]
mod sign;

const ACCESS_KEY: &str = "ALICEKEY0001EXAMPLE0";
const SECRET: &str = "dp3xT0pS3cr3tV4lue-dp3xT0pS3cr3tV4lue-40";
const HOST: &str = "s3.platform.example:8080";
const PATH: &str = "/datasets/imagenet-1k/train/shard-000042%20of%20001024.tar";
const USER_AGENT: &str = "Boto3/1.40.61 md/Botocore#1.40.61 ua/2.1 os/linux#6.8.0 md/arch#x86_64 lang/python#3.12.3 \
     md/pyimpl#CPython m/Z,b,D,e cfg/retry-mode#legacy Botocore/1.40.61";
const MIB: usize = 1 << 20;

fn main() {
    divan::main();
}

fn config() -> Config {
    let text = format!(
        r#"
        [upstream]
        dialect = "s3"
        endpoint = "http://127.0.0.1:9000"
        bucket = "platform-storage"
        access_key_id = "UPSTREAMKEY0001"
        secret_access_key = "{SECRET}"
        [[users]]
        id = "5f0c2a7e-6f0f-4c39-9d5e-0d6a4b8f7c21"
        access_keys = [{{ id = "{ACCESS_KEY}", secret = "{SECRET}" }}]
        "#
    );
    let loaded = Config::from_toml(&text, std::path::Path::new("."));
    loaded.map_err(|problems| problems.to_string()).unwrap().config
}

/// A head as hyper gives it.
struct Request {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    now: SystemTime,
}

impl Request {
    /// `signed` is in order; what a client adds after signing comes on top.
    fn new(method: Method, path: &str, signed: &[(&'static str, &str)]) -> Self {
        let now = time::OffsetDateTime::now_utc();
        let key = Signer::new(ACCESS_KEY, SECRET, now);
        let find = |name: &str| signed.iter().find(|(n, _)| *n == name).map(|(_, value)| *value);
        let mut all: Vec<(&'static str, &str)> = signed.to_vec();
        all.push(("x-amz-date", &key.amz_date));
        all.sort_unstable();
        let authorization = key.authorization(&Signed {
            method: method.as_str(),
            path,
            query: "",
            headers: &all,
            payload: find("x-amz-content-sha256").unwrap(),
        });
        all.extend([
            ("accept-encoding", "identity"),
            ("user-agent", USER_AGENT),
            ("amz-sdk-invocation-id", "b3b6f4a5-9f3e-4c0c-8d2c-2b1f0a9e7d61"),
            ("amz-sdk-request", "attempt=1"),
            ("authorization", &authorization),
        ]);
        Self { method, uri: path.parse().unwrap(), headers: header_map(&all), now: now.into() }
    }

    fn get() -> Self {
        let signed =
            [("host", HOST), ("x-amz-checksum-mode", "ENABLED"), ("x-amz-content-sha256", UNSIGNED_PAYLOAD)];
        Self::new(Method::GET, PATH, &signed)
    }

    fn put() -> Self {
        let signed = [
            ("content-encoding", "aws-chunked"),
            ("content-type", "application/x-tar"),
            ("host", HOST),
            ("x-amz-content-sha256", "STREAMING-UNSIGNED-PAYLOAD-TRAILER"),
            ("x-amz-decoded-content-length", "1048576"),
            ("x-amz-meta-source", "imagenet mirror, 2024-11"),
            ("x-amz-sdk-checksum-algorithm", "CRC32"),
            ("x-amz-trailer", "x-amz-checksum-crc32"),
        ];
        let mut request = Self::new(Method::PUT, PATH, &signed);
        let sent = header_map(&[("transfer-encoding", "chunked"), ("expect", "100-continue")]);
        request.headers.extend(sent);
        request
    }

    /// A presigned GET, opened by a browser.
    fn presigned() -> Self {
        let now = time::OffsetDateTime::now_utc();
        let key = Signer::new(ACCESS_KEY, SECRET, now);
        let query = format!(
            "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential={ACCESS_KEY}%2F{}&X-Amz-Date={}&X-Amz-Expires=3600\
             &X-Amz-SignedHeaders=host",
            key.scope().replace('/', "%2F"),
            key.amz_date,
        );
        let signature = key.signature(&Signed {
            method: "GET",
            path: PATH,
            query: &query,
            headers: &[("host", HOST)],
            payload: UNSIGNED_PAYLOAD,
        });
        let headers = [
            ("host", HOST),
            ("accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
            ("accept-language", "en-GB,en;q=0.5"),
            ("accept-encoding", "gzip, deflate, br, zstd"),
            ("user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:143.0) Gecko/20100101 Firefox/143.0"),
        ];
        Self {
            method: Method::GET,
            uri: format!("{PATH}?{query}&X-Amz-Signature={signature}").parse().unwrap(),
            headers: header_map(&headers),
            now: now.into(),
        }
    }

    fn query(&self) -> Query<'_> {
        Query::parse(self.uri.query().unwrap_or("")).unwrap()
    }

    fn head<'a>(&'a self, query: &'a Query<'a>) -> Head<'a> {
        Head { method: self.method.as_str(), raw_path: self.uri.path(), query, headers: &self.headers }
    }
}

fn header_map(lines: &[(&'static str, &str)]) -> HeaderMap {
    let header =
        |(name, value): &(&'static str, &str)| (HeaderName::from_static(name), value.parse().unwrap());
    lines.iter().map(header).collect()
}

/// With the store that it asks for keys that are not the configuration's.
fn authenticator(config: &Config) -> (Authenticator, TempDir) {
    let folder = TempDir::new().unwrap();
    let state = config::State::Redb(folder.path().join("state.redb"));
    let store = Store::open(&state, Arc::new(Metrics::new().unwrap())).now_or_never().unwrap().unwrap();
    let keyring = Keyring::new(Arc::new(store), config.shared_secret());
    (Authenticator::new(config, Arc::new(keyring)).unwrap(), folder)
}

fn verify(bencher: Bencher, request: &Request) {
    let (authenticator, _folder) = authenticator(&config());
    let authenticate = || {
        let query = request.query();
        let head = request.head(&query);
        authenticator.authenticate(head, &claimed(head).unwrap(), request.now).now_or_never().unwrap()
    };
    authenticate().unwrap();
    bencher.bench_local(authenticate);
}

#[divan::bench]
fn verify_get(bencher: Bencher) {
    verify(bencher, &Request::get());
}

#[divan::bench]
fn verify_put(bencher: Bencher) {
    verify(bencher, &Request::put());
}

#[divan::bench]
fn verify_presigned_url(bencher: Bencher) {
    verify(bencher, &Request::presigned());
}

fn upstream_signer() -> sigv4::sign::Signer {
    let secret = Secret::new(SECRET.to_owned());
    sigv4::sign::Signer::new("UPSTREAMKEY0001".to_owned(), secret, REGION.to_owned())
}

const UPSTREAM_HOST: &str = "namespace.compat.objectstorage.us-phoenix-1.oraclecloud.com";

#[divan::bench]
fn resign_get(bencher: Bencher) {
    let signer = upstream_signer();
    let now = bucketwarden::now();
    let path = "/platform-storage/datasets/5f0c2a7e-6f0f-4c39-9d5e-0d6a4b8f7c21/imagenet-1k/train/shard-000042%20of%20001024.tar";
    bencher
        .with_inputs(|| header_map(&[("host", UPSTREAM_HOST), ("range", "bytes=0-8388607")]))
        .bench_local_values(|mut headers| {
            signer.sign("GET", black_box(path), "", &mut headers, now);
            headers
        });
}

/// All that happens to the head of a GET between hyper's server and hyper's client.
#[divan::bench]
fn get_head_parse_verify_authorise_map_resign(bencher: Bencher) {
    let config = config();
    let (authenticator, _folder) = authenticator(&config);
    let signer = upstream_signer();
    let mut buckets = access::Bucket::all(&config.buckets).into_iter();
    let (_, bucket) = buckets.find(|(name, _)| name.as_str() == "datasets").unwrap();
    let request = Request::get();
    bencher.bench_local(|| upstream_head(&request, &authenticator, &bucket, &signer));
}

fn upstream_head(
    request: &Request,
    authenticator: &Authenticator,
    bucket: &access::Bucket,
    signer: &sigv4::sign::Signer,
) -> (Uri, HeaderMap) {
    let target = Target::parse(request.uri.path(), None).unwrap();
    let parsed = operation::Request::new(&request.method, target, request.query(), false).unwrap();
    let head = request.head(&parsed.query);
    let admitted = authenticator
        .authenticate(head, &claimed(head).unwrap(), request.now)
        .now_or_never()
        .unwrap()
        .unwrap();
    let grant = bucket.authorise(&admitted.caller, parsed.operation.access(), &[]).unwrap();
    let upstream = grant.target(parsed.key()).unwrap();
    let mut path = "/platform-storage/".to_owned();
    uri::push_path(&mut path, upstream.key.as_str());
    let mut headers = headers::to_upstream(Dialect::Oci, Operation::GetObject, &request.headers).unwrap();
    headers.insert("host", HeaderValue::from_static(UPSTREAM_HOST));
    signer.sign("GET", &path, "", &mut headers, request.now);
    (path.parse().unwrap(), headers)
}

/// A user within wide limits, known from the request before.
fn admit() -> (Admit, UserId, UserLimits) {
    let metrics = Arc::new(Metrics::new().unwrap());
    let admit = Admit::new(&Replicas::one(), &metrics);
    let most = Some(u64::from(u32::MAX));
    let overrides = [("requests_per_second".to_owned(), most), ("burst".to_owned(), most)];
    let limits = UserLimits::new(&config::Tier::shipped_default(), &overrides.into());
    (admit, UserId::parse("5f0c2a7e-6f0f-4c39-9d5e-0d6a4b8f7c21").unwrap(), limits)
}

#[divan::bench]
fn concurrency_permit(bencher: Bencher) {
    let (admit, ..) = admit();
    bencher.bench_local(|| admit.enter(config::Limit::At(1024)).unwrap());
}

/// Places among the user's requests, and the request rate.
#[divan::bench]
fn admit_known_user(bencher: Bencher) {
    let (admit, user, limits) = admit();
    bencher.with_inputs(|| admit.enter(config::Limit::At(1024)).unwrap()).bench_local_values(|permit| {
        admit.admit(&permit, black_box(&user), &limits).unwrap();
        permit
    });
}

#[divan::bench]
fn check_peer(bencher: Bencher) {
    let (admit, ..) = admit();
    let (failing, other) = (std::net::Ipv4Addr::LOCALHOST.into(), std::net::Ipv4Addr::BROADCAST.into());
    admit.peer_failed(failing, Some(ACCESS_KEY));
    bencher.bench_local(|| {
        admit.check_peer(black_box(other), Some(ACCESS_KEY)).unwrap();
        admit.peer_succeeded(black_box(other), ACCESS_KEY);
    });
}

#[divan::bench]
fn pace_poll_unlimited(bencher: Bencher) {
    let (admit, user, limits) = admit();
    let mut pacer: Pacer = admit.download_pacer(&user, &limits);
    let mut context = Context::from_waker(futures_util::task::noop_waker_ref());
    let read = Bytes::from(vec![0; 64 * 1024]);
    bencher.bench_local(|| {
        assert!(pacer.poll_held(&mut context).is_ready());
        pacer.hold(black_box(read.clone()))
    });
}

/// A body that comes in reads of 64 KiB, each ready at once.
struct Reads(Bytes);

impl Body for Reads {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let size = self.0.len().min(64 * 1024);
        let read = self.0.split_to(size);
        Poll::Ready((!read.is_empty()).then_some(Ok(Frame::data(read))))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::new()
    }
}

/// Streams 1 MiB through the upload path as a gateway does.
fn decode(bencher: Bencher, headers: &HeaderMap, wire: &Bytes, payload: impl Fn() -> Payload) {
    let stream = || {
        let plan = UploadPlan::from_head(headers, payload()).unwrap();
        let (mut body, handle) = upload(Reads(wire.clone()), plan, Duration::from_secs(30), GateState::Open);
        let mut context = Context::from_waker(futures_util::task::noop_waker_ref());
        while let Poll::Ready(Some(frame)) = Pin::new(&mut body).poll_frame(&mut context) {
            black_box(frame.unwrap());
        }
        assert!(handle.is_complete() && handle.received() == u64::try_from(MIB).unwrap());
    };
    bencher.counter(BytesCount::new(MIB)).bench_local(stream);
}

fn data() -> Vec<u8> {
    (0_u8..=250).cycle().take(MIB).collect()
}

const SEED: &str = "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9";
const DATE: &str = "20130524T000000Z";
const SCOPE: &str = "20130524/us-east-1/s3/aws4_request";

#[divan::bench]
fn upload_mib_signed_chunks(bencher: Bencher) {
    let chunk_signer = || ChunkSigner::new([7; 32], DATE, SCOPE, SEED);
    let (mut chain, mut wire) = (chunk_signer(), Vec::new());
    for chunk in data().chunks(64 * 1024).chain([&[][..]]) {
        let signature = chain.sign_chunk(&Sha256::digest(chunk).into());
        let signature = std::str::from_utf8(&signature).unwrap();
        wire.extend_from_slice(format!("{:x};chunk-signature={signature}\r\n", chunk.len()).as_bytes());
        wire.extend_from_slice(chunk);
        wire.extend_from_slice(b"\r\n");
    }
    let headers = header_map(&[("x-amz-decoded-content-length", "1048576")]);
    decode(bencher, &headers, &wire.into(), || Payload::SignedChunks {
        signer: chunk_signer(),
        trailer: false,
    });
}

#[divan::bench]
fn upload_mib_unsigned_chunks_crc32(bencher: Bencher) {
    let data = data();
    let mut wire = format!("{MIB:x}\r\n").into_bytes();
    wire.extend_from_slice(&data);
    let crc = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32IsoHdlc, &data);
    let crc = base64::Engine::encode(
        &base64::engine::general_purpose::STANDARD,
        u32::try_from(crc).unwrap().to_be_bytes(),
    );
    wire.extend_from_slice(format!("\r\n0\r\nx-amz-checksum-crc32:{crc}\r\n\r\n").as_bytes());
    let headers =
        header_map(&[("x-amz-decoded-content-length", "1048576"), ("x-amz-trailer", "x-amz-checksum-crc32")]);
    decode(bencher, &headers, &wire.into(), || Payload::UnsignedChunks);
}

#[divan::bench]
fn upload_mib_plain(bencher: Bencher) {
    let headers = header_map(&[("content-length", "1048576")]);
    decode(bencher, &headers, &data().into(), || Payload::Unsigned);
}

#[divan::bench]
fn upload_mib_sha256(bencher: Bencher) {
    let data = data();
    let hash = Sha256::digest(&data).into();
    let headers = header_map(&[("content-length", "1048576")]);
    decode(bencher, &headers, &data.into(), || Payload::Sha256(hash));
}

fn scope() -> Scope {
    let template = PrefixTemplate::parse("datasets/{user_id}/").unwrap();
    let user = UserId::parse("5f0c2a7e-6f0f-4c39-9d5e-0d6a4b8f7c21").unwrap();
    let window = Window::of_user(&template, &user, config::Access::ReadWrite, true);
    Scope::new(template.render(&user), vec![window])
}

/// A page of `ListObjectsV2` as an upstream answers it to `encoding-type=url`.
fn page_of_1000(scope: &Scope) -> String {
    let mut page = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<ListBucketResult xmlns=\"{}\"><Name>platform-storage</Name>\
         <Prefix>{}</Prefix><KeyCount>1000</KeyCount><MaxKeys>1000</MaxKeys><EncodingType>url</EncodingType>\
         <IsTruncated>true</IsTruncated><NextContinuationToken>1VJhQ8hZk9rK0pFQn8ZyqQwI2m3cX</NextContinuationToken>",
        xml::S3_NAMESPACE,
        uri::encode_path(&scope.extend("")),
    );
    for i in 0..1000 {
        page.push_str(&format!(
            "<Contents><Key>{}imagenet-1k/train/shard-{i:06}%20of%20001024.tar</Key>\
             <LastModified>2025-03-14T15:09:26.535Z</LastModified>\
             <ETag>&quot;9b2cf535f27731c974343645a39{i:05}&quot;</ETag><ChecksumAlgorithm>CRC64NVME</ChecksumAlgorithm>\
             <ChecksumType>FULL_OBJECT</ChecksumType><Size>{}</Size><StorageClass>STANDARD</StorageClass></Contents>",
            uri::encode_path(&scope.extend("")),
            1_048_576 + i,
        ));
    }
    page.push_str("</ListBucketResult>");
    page
}

#[divan::bench(args = [true, false])]
fn list_rewrite_1000_keys(bencher: Bencher, url: bool) {
    let scope = scope();
    let page = page_of_1000(&scope);
    let view = xml::ListView {
        bucket: "datasets",
        prefix: "",
        delimiter: None,
        max: 1000,
        url,
        owner: None,
        plus: PlusMeaning::Space,
        unmap: &|key| scope.unmap(key),
        until: None,
    };
    let v2 = xml::ListPage::V2 { start_after: None, continuation_token: None };
    bencher.counter(BytesCount::of_str(&page)).bench_local(|| {
        let mut portion = xml::read_portion(black_box(&page), &view, &v2).unwrap();
        let next = portion.next.take();
        xml::write_listing(&view, &v2, &[portion], next.as_ref())
    });
}

#[divan::bench]
fn map_key(bencher: Bencher) {
    let scope = scope();
    let key = ClientKey::new("imagenet-1k/train/shard-000042 of 001024.tar".to_owned()).unwrap();
    bencher.bench_local(|| scope.map(black_box(&key)).unwrap());
}

#[divan::bench]
fn unmap_key(bencher: Bencher) {
    let scope = scope();
    let key = scope.extend("imagenet-1k/train/shard-000042 of 001024.tar");
    bencher.bench_local(|| scope.unmap(black_box(&key)).unwrap().to_owned());
}

#[divan::bench]
fn parse_target(bencher: Bencher) {
    bencher.bench_local(|| {
        let target = Target::parse(black_box(PATH), None).unwrap();
        assert!(target.bucket.as_ref().map(BucketName::as_str) == Some("datasets"));
        target
    });
}

#[divan::bench]
fn error_document(bencher: Bencher) {
    bencher.bench_local(|| {
        let error = Error::new(Code::SignatureDoesNotMatch)
            .detail("AWSAccessKeyId", ACCESS_KEY)
            .detail("SignatureProvided", SEED);
        xml::write_error(&error, black_box(PATH), "0199A1B2C3D4E5F60718293A4B5C6D7E")
    });
}
