//! The corridor: one straight line from a request's head to its answer, through rooms that do not know each
//! other. Parse, authenticate, authorise and map, then the one function of the operation's family, which
//! builds the upstream call and rewrites what comes back. The body is wrapped, never held. Errors become
//! answers in one place, here; what a request did is told once, by its `Record`.

mod admission;
mod answer;
mod batch;
mod condition;
mod copy;
mod door;
mod json_api;
mod keep_alive;
mod listing;
mod local;
mod multipart;
mod object;
mod platform;
mod presigned;
mod refused;
mod settle;
mod sts;
mod token;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use futures_util::FutureExt as _;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, Response, Uri, header};
use hyper::body::Incoming;

use crate::access::{self, About, Grant, Jobs};
use crate::admit::Admit;
use crate::admit::tiers::{Standing, Tiers};
use crate::auth::{Authenticator, Proof};
use crate::body::download::Download;
use crate::body::plan::UploadPlan;
use crate::body::small;
use crate::body::unread::Unread;
use crate::body::upload::UploadHandle;
use crate::config::{Config, Limit, RefusalStatus};
use crate::dialect::Answers;
use crate::error::{Code, Error, Result};
use crate::keymap::UriScheme;
use crate::ledger::Ledger;
use crate::ledger::pars::Pars;
use crate::metrics::Throttle;
use crate::refusals::Stage;
use crate::s3::operation::{self, Access, BodyKind, Operation, Target};
use crate::s3::query::Query;
use crate::s3::uri;
use crate::sigv4::verify::{Head, VerifiedPayload};
use crate::types::{BucketName, Caller, ClientKey, RequestId};
use crate::upstream::{self, Call, Upstream};
use answer::{Answer, Content, Stream};
pub use json_api::{ApiCall, JsonApi};
use platform::Visit;
pub use settle::Instruments;
use settle::Record;
use token::{Context, Tokens};

/// The body of every answer.
pub type ResponseBody = Download<Stream, Record>;

/// What one configuration makes of requests. A reload puts another in its place; requests end with the one they
/// began with.
pub struct Gateway {
    authenticator: Arc<Authenticator>,
    buckets: HashMap<BucketName, access::Bucket>,
    /// In the order of the configuration, as `ListBuckets` shows them.
    bucket_names: Vec<BucketName>,
    /// Shared with operations that outlive their client.
    upstream: Arc<Upstream>,
    slow_operation_timeout: Duration,
    jobs: Jobs,
    ledger: Ledger,
    pars: Pars,
    tiers: Arc<Tiers>,
    api: Arc<dyn JsonApi>,
    refusal_status: RefusalStatus,
    tokens: Tokens,
    uri_scheme: Option<UriScheme>,
    public_url: Option<Uri>,
    virtual_host_suffix: Option<String>,
    region: String,
    body_idle_timeout: Duration,
    max_in_flight: Limit<usize>,
    admit: Arc<Admit>,
    instruments: Instruments,
    plus: listing::PlusHabit,
}

/// Where a request came from.
#[derive(Clone, Copy, Debug)]
pub struct Peer {
    pub ip: IpAddr,
    pub tls: bool,
}

/// A request that is known to be somebody's and allowed: what the operations work on.
struct Ask<'a> {
    parts: &'a Parts,
    /// The client's headers, and those that a presigned URL carries in its query.
    headers: &'a HeaderMap,
    request: &'a operation::Request<'a>,
    caller: &'a Caller,
    grant: Grant,
    standing: Arc<Standing>,
    /// What is written under this key counts towards the quota.
    counts: bool,
    peer: Peer,
    request_id: RequestId,
    now: SystemTime,
}

impl Ask<'_> {
    fn bucket(&self) -> &BucketName {
        self.request.bucket()
    }

    fn key(&self) -> &ClientKey {
        self.request.key()
    }

    fn param(&self, name: &str) -> Option<&str> {
        self.request.query.get(name)
    }

    /// Binds a token to this caller, bucket and whatever else it must not be used for.
    fn context(&self, parts: &[&str]) -> Context {
        Context::new(&self.caller.user, self.bucket(), parts)
    }
}

impl Gateway {
    #[expect(clippy::too_many_arguments, reason = "every room has its own")]
    pub fn new(
        config: &Config,
        instruments: Instruments,
        authenticator: Arc<Authenticator>,
        upstream: Arc<Upstream>,
        ledger: Ledger,
        pars: Pars,
        tiers: Arc<Tiers>,
        admit: Arc<Admit>,
        api: Arc<dyn JsonApi>,
    ) -> Self {
        let tokens = Tokens::new(config.shared_secret());
        let uri_scheme = config
            .uri
            .enabled
            .then(|| UriScheme { scheme: config.uri.scheme.clone(), bucket: config.uri.bucket.clone() });
        Self {
            authenticator,
            bucket_names: config.buckets.iter().map(|bucket| bucket.name.clone()).collect(),
            buckets: access::Bucket::all(&config.buckets).into_iter().collect(),
            upstream,
            slow_operation_timeout: config.upstream.slow_operation_timeout,
            jobs: Jobs::new(ledger.store().clone()),
            ledger,
            pars,
            tiers,
            api,
            refusal_status: config.quota.refusal_status,
            tokens,
            uri_scheme,
            public_url: config.server.public_url.clone(),
            virtual_host_suffix: config.server.virtual_host_suffix.clone(),
            region: config.upstream.region.clone(),
            body_idle_timeout: config.server.body_idle_timeout,
            max_in_flight: config.server.max_in_flight,
            admit,
            instruments,
            plus: listing::PlusHabit::default(),
        }
    }

    /// Answers one request. Dropping the future, as hyper does when the client goes, cancels what is under way.
    pub async fn handle(&self, request: Request<Incoming>, peer: Peer) -> Response<ResponseBody> {
        let now = crate::now();
        let (parts, body) = request.into_parts();
        let mut record =
            Record::open(self.instruments.clone(), peer.ip, parts.headers.get(header::USER_AGENT).cloned());
        let mut body = Unread::new(body, &parts.headers);
        let served = std::panic::AssertUnwindSafe(self.serve(&parts, &mut body, peer, now, &mut record));
        let answer = served
            .catch_unwind()
            .await
            .unwrap_or_else(|_| Err(Error::new(Code::InternalError).because("a handler panicked")));
        if record.upload.as_ref().is_some_and(UploadHandle::is_complete) {
            body.was_read_whole();
        }
        let goes_on = body.clear().await;
        let answer = match answer {
            Ok(answer) => {
                record.answered(answer.status);
                answer
            }
            Err(error) => self.refuse(&error, &parts, now, &mut record),
        };
        let mut response = respond(answer, self.upstream.idle_timeout(), record);
        if !goes_on {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }

    async fn serve(
        &self,
        parts: &Parts,
        body: &mut Unread,
        peer: Peer,
        now: SystemTime,
        record: &mut Record,
    ) -> Result<Answer> {
        record.permit = Some(self.admit.enter(self.max_in_flight)?);
        check_http(parts)?;
        if self.is_api(parts) {
            return self.serve_api(parts, body, peer, now, record).await;
        }
        if self.is_sts(parts) {
            return Ok(self.serve_sts(parts, body, peer, now, record).await);
        }
        let query = Query::parse(parts.uri.query().unwrap_or(""))?;
        let target = Target::parse(parts.uri.path(), self.host_bucket(parts).as_deref())?;
        record.bucket.clone_from(&target.bucket);
        record.key.clone_from(&target.key);
        let headers = presigned::headers(&parts.headers, &query)?;
        let is_copy = headers.contains_key("x-amz-copy-source");
        let request = operation::Request::new(&parts.method, target, query, is_copy)?;
        record.operation = Some(request.operation);

        let head = Head {
            method: parts.method.as_str(),
            raw_path: parts.uri.path(),
            query: &request.query,
            headers: &parts.headers,
        };
        record.stage = Some(Stage::Authentication);
        let (payload, Proof { life, origin }) = self.let_in(head, peer, now, record).await?;
        let standing = self.recognise(life, request.operation.access(), now, record).await?;
        record.stage = Some(Stage::Authorisation);
        self.make_room(&standing, record)?;
        let caller = record.caller.clone().expect("who was let in is known");

        let Some(bucket) = &request.target.bucket else {
            return Ok(self.list_buckets(&caller));
        };
        if request.operation == Operation::CreateBucket {
            return Err(if self.buckets.contains_key(bucket) {
                Code::BucketAlreadyOwnedByYou.into()
            } else {
                Code::AccessDenied.into()
            });
        }
        let is_presigned = presigned::is_presigned(&request.query);
        let visit = Visit { parts, standing, origin, is_presigned, peer, now };
        let ask = self.ask(&request, &headers, &caller, &visit, record).await?;
        self.dispatch(ask, payload, body, record).await
    }

    /// The request of a caller who may make it.
    async fn ask<'a>(
        &self,
        request: &'a operation::Request<'a>,
        headers: &'a HeaderMap,
        caller: &'a Caller,
        visit: &Visit<'a>,
        record: &mut Record,
    ) -> Result<Ask<'a>> {
        record.stage = Some(Stage::Authorisation);
        let bucket = self.buckets.get(request.bucket()).ok_or(Code::NoSuchBucket)?;
        let grant = self.grant(caller, bucket, request.operation.access(), about(request)).await?;
        let target = request.target.key.as_ref().map(|key| grant.target(key)).transpose()?;
        record.stage = None;
        let dialect = self.upstream.dialect();
        if dialect.answers(request.operation) == Answers::NotImplemented {
            return Err(Code::NotImplemented.into());
        }
        if let Some(key) = &request.target.key {
            self.check_name(key)?;
        }
        upstream::headers::refuse_unimplemented(dialect, request.operation, headers)?;
        Ok(Ask {
            parts: visit.parts,
            headers,
            request,
            caller,
            standing: visit.standing.clone(),
            counts: target.is_none_or(|target| grant.counts(&target)),
            grant,
            peer: visit.peer,
            request_id: record.id,
            now: visit.now,
        })
    }

    /// Refuses a key that no object of the upstream can have.
    fn check_name(&self, key: &ClientKey) -> Result<()> {
        if self.upstream.dialect().can_name(key.as_str()) {
            return Ok(());
        }
        Err(Error::new(Code::InvalidURI).say("A key cannot contain a line feed or a carriage return."))
    }

    async fn dispatch(
        &self,
        ask: Ask<'_>,
        payload: VerifiedPayload,
        body: &mut Unread,
        record: &mut Record,
    ) -> Result<Answer> {
        // Boxed, as all below: a request's future is moved about before it runs, and would be as large as the largest of
        // these.
        if self.is_uncertain(&ask) {
            Box::pin(self.look_at_condition(&ask, record)).await?;
        }
        match ask.request.operation {
            Operation::ListBuckets | Operation::CreateBucket => {
                unreachable!("answered before a bucket is needed")
            }
            Operation::HeadBucket => Ok(self.head_bucket()),
            Operation::GetBucketLocation => Ok(self.bucket_location()),
            Operation::GetBucketVersioning => Box::pin(self.bucket_versioning(&ask, record)).await,
            Operation::GetBucketSetting(setting) => local::absent_setting(setting),
            Operation::GetBucketAcl => Ok(local::private_acl(ask.caller)),
            Operation::PutBucketAcl => {
                let document = self.read_document(&ask, payload, body, record).await?;
                local::accept_private_acl(&ask, &document)
            }
            Operation::GetObjectAcl => Box::pin(self.object_acl(ask, record)).await,
            Operation::PutObjectAcl => {
                let document = self.read_document(&ask, payload, body, record).await?;
                Box::pin(self.put_object_acl(ask, &document, record)).await
            }
            Operation::ListObjects | Operation::ListObjectsV2 => {
                Box::pin(self.list_objects(ask, record)).await
            }
            Operation::ListObjectVersions => Box::pin(self.list_versions(ask, record)).await,
            Operation::ListMultipartUploads => Box::pin(self.list_uploads(ask, record)).await,
            Operation::GetObject | Operation::HeadObject => Box::pin(self.get_object(ask, record)).await,
            Operation::GetObjectAttributes => Box::pin(self.object_attributes(ask, record)).await,
            Operation::PutObject | Operation::UploadPart => {
                Box::pin(self.upload(ask, payload, body, record)).await
            }
            Operation::DeleteObject => Box::pin(self.delete_object(ask, record)).await,
            Operation::DeleteObjects => {
                let document = self.read_document(&ask, payload, body, record).await?;
                Box::pin(self.delete_objects(ask, &document, record)).await
            }
            Operation::RestoreObject => {
                let document = self.read_document(&ask, payload, body, record).await?;
                Box::pin(self.restore_object(ask, &document, record)).await
            }
            Operation::CopyObject | Operation::UploadPartCopy => Box::pin(self.copy(ask, record)).await,
            Operation::CreateMultipartUpload => Box::pin(self.create_upload(ask, record)).await,
            Operation::CompleteMultipartUpload => {
                let document = self.read_document(&ask, payload, body, record).await?;
                Box::pin(self.complete_upload(ask, &document, record)).await
            }
            Operation::AbortMultipartUpload => Box::pin(self.abort_upload(ask, record)).await,
            Operation::ListParts => Box::pin(self.list_parts(ask, record)).await,
        }
    }

    /// Leave to do something in a bucket, with the caller's jobs looked up where they matter.
    async fn grant(
        &self,
        caller: &Caller,
        bucket: &access::Bucket,
        access: Access,
        about: About<'_>,
    ) -> Result<Grant> {
        let jobs = self.jobs.of(caller, bucket.jobs_asked(caller, access, about)).await?;
        bucket.authorise(caller, access, &jobs)
    }

    /// The bucket that a virtual-hosted `Host` names: `<bucket>.<virtual_host_suffix>`.
    /// Host names know no case and may end in the root's dot; bucket names are lower case.
    fn host_bucket(&self, parts: &Parts) -> Option<String> {
        let suffix = self.virtual_host_suffix.as_deref()?;
        let host = parts.headers.get(header::HOST)?.to_str().ok()?;
        let host = host.rsplit_once(':').map_or(host, |(name, _)| name);
        let host = host.strip_suffix('.').unwrap_or(host);
        let at = host.len().checked_sub(suffix.len())?;
        let (bucket, rest) = (host.get(..at)?, host.get(at..)?);
        let bucket = rest.eq_ignore_ascii_case(suffix).then(|| bucket.strip_suffix('.'))??;
        Some(bucket.to_ascii_lowercase())
    }

    /// A small body, whole, verified, and bounded by what its operation may need.
    async fn read_document(
        &self,
        ask: &Ask<'_>,
        payload: VerifiedPayload,
        body: &mut Unread,
        record: &mut Record,
    ) -> Result<String> {
        let BodyKind::Document(cap) = ask.request.operation.body() else {
            return Ok(String::new());
        };
        let headers = ask.headers;
        let plan = match ask.request.operation {
            Operation::CompleteMultipartUpload => UploadPlan::for_complete(headers, payload.into_inner())?,
            _ => UploadPlan::for_small(headers, payload.into_inner())?,
        };
        let document = small::read_small(body.take(), plan, cap, self.body_idle_timeout).await?;
        body.was_read_whole();
        record.document_bytes = u64::try_from(document.len()).expect("a length fits");
        String::from_utf8(document.into()).map_err(|_| Code::MalformedXML.into())
    }

    /// Sends a bodyless call and notes how long the upstream took.
    async fn forward(&self, call: Call, ask: &Ask<'_>, record: &mut Record) -> Result<Response<Incoming>> {
        let started = Instant::now();
        let answered = self.upstream.send(call, ask.now).await;
        self.note_upstream(started, &answered, record);
        answered
    }

    fn note_upstream<T>(&self, started: Instant, answered: &Result<T>, record: &mut Record) {
        record.upstream = Some(started.elapsed());
        if answered.as_ref().is_err_and(|error| error.code == Code::SlowDown) {
            self.instruments.metrics.throttled(Throttle::Upstream);
        }
    }

    /// `x-bucketwarden-uri`: the platform's name of an object, for its owner.
    fn platform_uri_header(&self, ask: &Ask<'_>) -> HeaderMap {
        let mut headers = HeaderMap::new();
        if let (Some(scheme), Ok(target)) = (&self.uri_scheme, ask.grant.target(ask.key())) {
            let uri =
                HeaderValue::try_from(scheme.uri(&target)).expect("percent-encoded text is printable ASCII");
            headers.insert("x-bucketwarden-uri", uri);
        }
        headers
    }

    /// From now on requests that end early are the gateway's doing.
    pub fn give_up(&self) {
        self.instruments.give_up();
    }

    /// Waits for operations that go on without their clients, also those of configurations before.
    pub async fn finish(&self) {
        self.ledger.finish().await;
        self.pars.finish().await;
    }

    /// The URL at which this caller's client finds an object, for `Location` elements.
    fn location(&self, ask: &Ask<'_>) -> String {
        let key = uri::encode_path(ask.key().as_str());
        if let Some(url) = &self.public_url {
            return format!("{}/{}/{key}", url.to_string().trim_end_matches('/'), ask.bucket());
        }
        let host =
            ask.parts.headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
        let scheme = if ask.peer.tls { "https" } else { "http" };
        match self.host_bucket(ask.parts) {
            Some(_) => format!("{scheme}://{host}/{key}"),
            None => format!("{scheme}://{host}/{}/{key}", ask.bucket()),
        }
    }
}

/// What a request is about, as far as authorisation needs to know before it.
fn about<'a>(request: &'a operation::Request<'_>) -> About<'a> {
    match (request.operation.access(), &request.target.key) {
        (Access::Bucket, _) => About::Bucket,
        (Access::List, _) => About::Prefix(request.query.get("prefix").unwrap_or("")),
        (Access::Read | Access::Write, Some(key)) => About::Key(key.as_str()),
        (Access::Read | Access::Write, None) => About::Keys,
    }
}

/// What hyper lets through and S3 does not.
fn check_http(parts: &Parts) -> Result<()> {
    let bad = |text: &'static str| Err(Error::new(Code::InvalidRequest).say(text));
    let mut hosts = parts.headers.get_all(header::HOST).iter();
    match (hosts.next(), hosts.next()) {
        (Some(host), None) => {
            let foreign = parts
                .uri
                .authority()
                .is_some_and(|authority| authority.as_str().as_bytes() != host.as_bytes());
            if foreign {
                return bad("The request names another host than its Host header.");
            }
        }
        (None, _) => return bad("Missing required header for this request: Host"),
        (Some(_), Some(_)) => return bad("More than one Host header."),
    }
    if parts.method == Method::CONNECT {
        return Err(Code::MethodNotAllowed.into());
    }
    let mut codings = parts.headers.get_all(header::TRANSFER_ENCODING).iter();
    if codings.any(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"chunked")) {
        return Err(Error::new(Code::NotImplemented).say("The only transfer coding supported is chunked."));
    }
    let mut expectations = parts.headers.get_all(header::EXPECT).iter();
    if expectations.any(|expect| !expect.as_bytes().eq_ignore_ascii_case(b"100-continue")) {
        return Err(Code::ExpectationFailed.into());
    }
    Ok(())
}

/// The one place where an answer becomes a response.
fn respond(mut answer: Answer, stream_idle: Duration, mut record: Record) -> Response<ResponseBody> {
    answer.headers.insert("x-amz-request-id", HeaderValue::from_str(record.id.as_str()).expect("hex digits"));
    answer.headers.insert(header::SERVER, HeaderValue::from_static("Bucketwarden"));
    let body = match answer.content {
        Content::Empty => Download::empty(record),
        Content::Document(document) => Download::whole(document, record),
        Content::Stream(stream) => {
            let idle = match &stream {
                Stream::Upstream(_) => stream_idle,
                Stream::Trickle(_) => keep_alive::SILENCE,
            };
            let pacer = std::mem::take(&mut record.download_pacer);
            Download::stream(stream, idle, record).paced(pacer)
        }
    };
    let mut response = Response::new(body);
    *response.status_mut() = answer.status;
    *response.headers_mut() = answer.headers;
    response
}
