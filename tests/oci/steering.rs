//! `Control` over HTTP, for tests in other processes. `PUT /control` takes any of
//! `{"throttle_every": 3, "throttle_next": 1, "allow_aws_chunked": true, "heed_if_match": true, "add_keys":
//! {"id": "secret"}, "propagate": {"id": "everywhere" | "nowhere" | {"every": 3}}, "expire_par": "id"}`;
//! `GET /requests` and `GET /pars` tell, `DELETE /requests` forgets.

use std::collections::HashMap;
use std::sync::Arc;

use http::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::control::{Control, Propagation, Seen};
use super::par::Par;
use super::serve::{Request, Response, response, whole};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Orders {
    throttle_every: Option<u64>,
    throttle_next: Option<u64>,
    allow_aws_chunked: Option<bool>,
    heed_if_match: Option<bool>,
    #[serde(default)]
    add_keys: HashMap<String, String>,
    #[serde(default)]
    propagate: HashMap<String, Propagation>,
    expire_par: Option<String>,
}

pub(super) async fn answer(control: Arc<Control>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let body = whole(body).await.unwrap_or_default();
    let told = match (&head.method, head.uri.path()) {
        (&Method::PUT, "/control") => match serde_json::from_slice(&body) {
            Ok(orders) => {
                obey(&control, orders);
                json!({})
            }
            Err(error) => return response(400, "text/plain", error.to_string()),
        },
        (&Method::GET, "/requests") => control.requests().iter().map(told).collect(),
        (&Method::DELETE, "/requests") => {
            control.forget_requests();
            json!({})
        }
        (&Method::GET, "/pars") => control.pars().iter().map(Par::summary).collect(),
        _ => return response(404, "text/plain", "not found"),
    };
    response(200, "application/json", told.to_string())
}

fn obey(control: &Control, orders: Orders) {
    if let Some(n) = orders.throttle_every {
        control.throttle_every(n);
    }
    if let Some(n) = orders.throttle_next {
        control.throttle_next(n);
    }
    if let Some(allowed) = orders.allow_aws_chunked {
        control.allow_aws_chunked(allowed);
    }
    if let Some(heeded) = orders.heed_if_match {
        control.heed_if_match(heeded);
    }
    for (id, secret) in orders.add_keys {
        control.add_key(&id, &secret);
    }
    for (id, propagation) in orders.propagate {
        control.propagate(&id, propagation);
    }
    if let Some(id) = orders.expire_par {
        control.expire_par(&id);
    }
}

fn told(seen: &Seen) -> Value {
    let headers = seen
        .headers
        .iter()
        .map(|(name, value)| (name.to_string(), Value::from(String::from_utf8_lossy(value.as_bytes()))));
    json!({
        "method": seen.method,
        "path_and_query": seen.path_and_query,
        "headers": headers.collect::<serde_json::Map<_, _>>(),
        "access_key": seen.access_key,
        "status": seen.status,
    })
}
