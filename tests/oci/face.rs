//! The S3 Compatibility API: from a request to its answer. What is wrong with a head is told after its body was read,
//! so that no peer loses the answer under what it still has to send; but a peer that asks first is told at once.

use std::sync::Arc;

use http::Method;
use http::request::Parts;
use hyper::body::Incoming;

use super::answer::{Tags, dressed, sign_off};
use super::control::Control;
use super::operation::{Named, Operation};
use super::payload::{self, Form};
use super::refusal::Refusal;
use super::serve::{Request, Response, whole};
use super::sigv4::{self, Chain};
use super::store::Store;
use super::text::{query_pairs, uri_decode};
use super::{Settings, headers};

const MAX_KEY: usize = 1024;

pub(super) struct Face {
    settings: Arc<Settings>,
    control: Arc<Control>,
    store: Arc<Store>,
    tags: Tags,
}

/// A head that nothing is wrong with.
struct Admitted {
    operation: Operation,
    parameters: Vec<(String, String)>,
    form: Form,
    chain: Chain,
}

impl Face {
    pub(super) fn new(settings: Arc<Settings>, control: Arc<Control>, store: Arc<Store>) -> Self {
        Self { settings, control, store, tags: Tags::default() }
    }

    pub(super) async fn answer(self: Arc<Self>, request: Request) -> Response {
        let (head, body) = request.into_parts();
        let number = self.control.arrived(&head, sigv4::claimed_key(&head));
        let judged = match self.admit(&head) {
            Ok(admitted) => self.carry_out(&head, admitted, body).await,
            Err(refusal) => {
                if !head.headers.contains_key("expect") {
                    // Cut short or not, it is refused.
                    whole(body).await;
                }
                Err(refusal)
            }
        };
        let mut response = judged.unwrap_or_else(|refusal| refusal.response());
        sign_off(response.headers_mut());
        self.control.answered(number, response.status().as_u16());
        response
    }

    fn admit(&self, head: &Parts) -> Result<Admitted, Refusal> {
        if self.control.throttles() {
            return Err(Refusal::new(429, "TooManyRequests", "rate-limit exceeded"));
        }
        let presented = sigv4::presented(head)?;
        self.check_region(&presented.region)?;
        let secret = self.control.secret(&presented.access_key).ok_or_else(Refusal::unknown_key)?;
        let chain = presented.verify(head, &secret, bucketwarden::now())?;

        let (bucket, key) = place(head.uri.path())?;
        let mut parameters = query_pairs(head.uri.query().unwrap_or_default())
            .ok_or_else(|| Refusal::new(400, "InvalidURI", "Couldn't parse the specified URI."))?;
        parameters.retain(|(name, _)| !name.starts_with("X-Amz-") && name != "x-id");
        let named = Named {
            method: &head.method,
            bucket: &bucket,
            key: &key,
            parameters: &parameters,
            has_copy_source: head.headers.contains_key("x-amz-copy-source"),
        };
        let operation = named.operation()?;
        self.check_bucket(operation, &bucket)?;
        check_key(&key)?;
        let form =
            payload::form(operation, &presented.payload, &head.headers, self.control.takes_aws_chunked())?;
        headers::check(operation, &head.headers, matches!(form, Form::Chunked { .. }))?;
        payload::demand_length(&head.method, &head.headers, &form)?;
        Ok(Admitted { operation, parameters, form, chain })
    }

    /// There is one, and the key's policy allows no other.
    fn check_bucket(&self, operation: Operation, bucket: &str) -> Result<(), Refusal> {
        match operation {
            Operation::ListBuckets => Ok(()),
            Operation::CreateBucket if bucket == self.settings.bucket => {
                let text =
                    "Your previous request to create the named bucket succeeded and you already own it.";
                Err(Refusal::new(409, "BucketAlreadyOwnedByYou", text))
            }
            Operation::CreateBucket => Err(Refusal::new(403, "AccessDenied", "Access Denied")),
            _ if bucket == self.settings.bucket => Ok(()),
            _ => Err(Refusal::new(404, "NoSuchBucket", "The specified bucket does not exist.")),
        }
    }

    /// A scope that names no region, or the first one that there was, means the home region.
    fn check_region(&self, region: &str) -> Result<(), Refusal> {
        let means_home =
            matches!(region, "" | "us-east-1") && self.settings.region == self.settings.home_region;
        if region == self.settings.region || means_home { Ok(()) } else { Err(Refusal::unknown_key()) }
    }

    async fn carry_out(&self, head: &Parts, admitted: Admitted, body: Incoming) -> Result<Response, Refusal> {
        let Admitted { operation, parameters, form, chain } = admitted;
        let body = whole(body).await.ok_or_else(|| {
            let text = "You did not provide the number of bytes specified by the Content-Length HTTP header";
            Refusal::new(400, "IncompleteBody", text)
        })?;
        let bytes = payload::opened(&form, &head.headers, chain, body)?;
        let mut passed = head.headers.clone();
        self.tags.reveal(&mut passed);
        if !matches!(head.method, Method::GET | Method::HEAD) && !self.control.heeds_if_match() {
            passed.remove("if-match");
        }
        if operation == Operation::DeleteObjects {
            // The store wants a digest too, and OCI's are verified.
            for name in headers::DIGESTS {
                passed.remove(name);
            }
            let md5 = super::text::base64(super::text::md5(&bytes));
            passed.insert("content-md5", md5.parse().expect("base64 is a value"));
        }
        let path = uri_decode(head.uri.path()).expect("it was decoded before");
        let answer = self.store.send(head.method.clone(), &path, &parameters, &passed, bytes).await;
        dressed(operation, &self.tags, answer).await
    }
}

/// Bucket and key of a path-style request.
fn place(path: &str) -> Result<(String, String), Refusal> {
    let path = uri_decode(path)
        .ok_or_else(|| Refusal::new(400, "InvalidURI", "Couldn't parse the specified URI."))?;
    let path = path.strip_prefix('/').unwrap_or(&path);
    let (bucket, key) = path.split_once('/').unwrap_or((path, ""));
    Ok((bucket.to_owned(), key.to_owned()))
}

fn check_key(key: &str) -> Result<(), Refusal> {
    if key.contains(['\n', '\r', '\0']) {
        return Err(Refusal::invalid_argument(
            "Object names cannot contain line feeds, carriage returns or NUL.",
        ));
    }
    if key.len() > MAX_KEY {
        return Err(Refusal::new(400, "KeyTooLongError", "Your key is too long."));
    }
    Ok(())
}
