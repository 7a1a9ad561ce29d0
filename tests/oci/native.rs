//! The part of OCI's own API that makes pre-authenticated requests, and the URLs that it makes. Whoever calls the first
//! signs; whoever knows one of the second needs no more, until it expires or is deleted.

use std::sync::Arc;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use http_body_util::BodyExt;
use serde_json::json;
use time::OffsetDateTime;

use super::answer::request_id;
use super::control::Control;
use super::par::{Par, Wanted};
use super::serve::{Request, Response, response, whole};
use super::store::Store;
use super::text::{query_pairs, uri_decode, uri_encode};
use super::{Settings, rsa};

const PAGE: usize = 100;
const MAX_PAGE: usize = 1000;
/// Of the URL of a PAR.
const MAX_URL: usize = 3500;

pub(super) struct Native {
    settings: Arc<Settings>,
    control: Arc<Control>,
    store: Arc<Store>,
}

/// Status, code and message of a refusal.
type Refused = (u16, &'static str, String);

impl Native {
    pub(super) fn new(settings: Arc<Settings>, control: Arc<Control>, store: Arc<Store>) -> Self {
        Self { settings, control, store }
    }

    pub(super) async fn answer(self: Arc<Self>, request: Request) -> Response {
        let (head, body) = request.into_parts();
        let answered = match whole(body).await {
            Some(body) if head.uri.path().starts_with("/p/") => self.through_par(&head, body).await,
            Some(body) => self.manage(&head, &body),
            None => Err((400, "InvalidParameter", "The body was cut short.".into())),
        };
        let mut answer = answered.unwrap_or_else(|(status, code, message)| {
            json_response(status, &json!({ "code": code, "message": message }))
        });
        let headers = answer.headers_mut();
        headers.insert("opc-request-id", request_id());
        headers.insert("x-api-id", HeaderValue::from_static("native"));
        headers.insert("access-control-allow-origin", HeaderValue::from_static("*"));
        if let Some(id) = head.headers.get("opc-client-request-id") {
            headers.insert("opc-client-request-id", id.clone());
        }
        answer
    }

    /// `/n/{namespace}/b/{bucket}/p/{parId}`
    fn manage(&self, head: &Parts, body: &Bytes) -> Result<Response, Refused> {
        rsa::verify(head, body, &self.settings.native_keys, bucketwarden::now()).map_err(|why| {
            tracing::debug!(why, "not authenticated");
            let text =
                "The required information to complete authentication was not provided or was incorrect.";
            (401, "NotAuthenticated", text.to_owned())
        })?;
        let segments: Vec<&str> = head.uri.path().split('/').skip(1).collect();
        let ["n", namespace, "b", bucket, "p", id] = segments[..] else {
            return Err((404, "NotFound", "There is nothing at this path.".into()));
        };
        self.check_place(namespace, bucket)?;
        let id = uri_decode(id).ok_or((400, "InvalidParameter", "parId is no text.".into()))?;
        match (&head.method, id.as_str()) {
            (&Method::POST, "") => self.create(head, body),
            (&Method::GET, "") => self.list(head),
            (&Method::GET, id) => Ok(json_response(200, &self.control.par(id).ok_or_else(no_par)?.summary())),
            (&Method::DELETE, id) if !id.is_empty() => {
                self.control.delete_par(id).ok_or_else(no_par)?;
                Ok(empty(204))
            }
            _ => Err((405, "MethodNotAllowed", "This resource does not have this method.".into())),
        }
    }

    fn check_place(&self, namespace: &str, bucket: &str) -> Result<(), Refused> {
        if namespace != self.settings.namespace {
            let text = "You do not have authorization to perform this request, or the requested resource could \
                        not be found.";
            return Err((404, "NamespaceNotFound", text.into()));
        }
        if bucket == self.settings.bucket { Ok(()) } else { Err(no_bucket(namespace, bucket)) }
    }

    fn create(&self, head: &Parts, body: &[u8]) -> Result<Response, Refused> {
        let invalid = |text: String| (400, "InvalidParameter", text);
        if head.headers.get("content-type").is_none_or(|kind| kind != "application/json") {
            return Err(invalid("The body is not application/json.".into()));
        }
        let wanted: Wanted = serde_json::from_slice(body).map_err(|error| invalid(error.to_string()))?;
        let par = Par::made(wanted, OffsetDateTime::from(bucketwarden::now())).map_err(invalid)?;
        let (namespace, bucket) = (&self.settings.namespace, &self.settings.bucket);
        let object = uri_encode(&par.object_name, false);
        let uri = format!("/p/{}/n/{namespace}/b/{bucket}/o/{object}", par.token);
        if uri.len() > MAX_URL {
            return Err(invalid("The URL would be too long.".into()));
        }
        let told = par.with_access_uri(&uri);
        self.control.add_par(par);
        Ok(json_response(200, &told))
    }

    /// A page of summaries; the token of the next is how many came before.
    fn list(&self, head: &Parts) -> Result<Response, Refused> {
        let invalid = |name: &str| (400, "InvalidParameter", format!("{name} is not valid."));
        let pairs = query_pairs(head.uri.query().unwrap_or_default()).unwrap_or_default();
        let value = |name: &str| pairs.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str());
        let number = |name: &str, usual: usize| match value(name) {
            Some(text) => text.parse().map_err(|_| invalid(name)),
            None => Ok(usual),
        };
        let limit = number("limit", PAGE)?;
        if !(1..=MAX_PAGE).contains(&limit) {
            return Err(invalid("limit"));
        }
        let (skipped, prefix) = (number("page", 0)?, value("objectNamePrefix").unwrap_or_default());
        let mut found = self.control.pars();
        found.retain(|par| par.object_name.starts_with(prefix));
        let page: Vec<_> = found.iter().skip(skipped).take(limit).map(Par::summary).collect();
        let shown = skipped + page.len();
        let mut answer = json_response(200, &page.into());
        if shown < found.len() {
            answer.headers_mut().insert("opc-next-page", shown.into());
        }
        Ok(answer)
    }

    /// `/p/{token}/n/{namespace}/b/{bucket}/o/{object}`
    async fn through_par(&self, head: &Parts, body: Bytes) -> Result<Response, Refused> {
        let mut segments = head.uri.path().splitn(9, '/').skip(2);
        let mut next = || segments.next().unwrap_or_default();
        let (token, n, namespace, b, bucket, o, object) =
            (next(), next(), next(), next(), next(), next(), next());
        if (n, b, o) != ("n", "b", "o") {
            return Err((404, "NotFound", "There is nothing at this path.".into()));
        }
        let now = OffsetDateTime::from(bucketwarden::now());
        let par = self.control.pars().into_iter().find(|par| par.token == token && par.time_expires > now);
        let par = par.ok_or_else(|| no_bucket(namespace, bucket))?;
        self.check_place(namespace, bucket)?;
        let allowed = match head.method {
            Method::GET | Method::HEAD => par.reads(),
            Method::PUT => par.writes(),
            _ => false,
        };
        if !allowed || uri_decode(object).as_deref() != Some(&par.object_name) {
            return Err(no_bucket(namespace, bucket));
        }
        let path = format!("/{bucket}/{}", par.object_name);
        let kept = ["range", "if-match", "if-none-match", "content-type"].map(HeaderName::from_static);
        let value = |name: HeaderName| head.headers.get(&name).cloned().map(|value| (name, value));
        let kept: HeaderMap = kept.into_iter().filter_map(value).collect();
        let answer = self.store.send(head.method.clone(), &path, &[], &kept, body).await;
        if answer.status().as_u16() == 404 {
            let text = format!("The object '{}' was not found in the bucket '{bucket}'", par.object_name);
            return Err((404, "ObjectNotFound", text));
        }
        Ok(answer.map(BodyExt::boxed))
    }
}

fn no_par() -> Refused {
    (404, "NotAuthorizedOrNotFound", "Authorization failed or requested resource not found.".into())
}

fn no_bucket(namespace: &str, bucket: &str) -> Refused {
    let text = format!(
        "Either the bucket named '{bucket}' does not exist in the namespace '{namespace}' or you are not \
         authorized to access it"
    );
    (404, "BucketNotFound", text)
}

fn json_response(status: u16, document: &serde_json::Value) -> Response {
    response(status, "application/json", document.to_string())
}

fn empty(status: u16) -> Response {
    let mut answer = response(status, "application/json", Bytes::new());
    answer.headers_mut().remove("content-type");
    answer
}
