//! The `OpenAPI` document of the admin listener, made from the table of routes: a route that nobody has described does
//! not compile. In: the table, and for each route what it takes and answers. Out: one document (version 3.1,
//! <https://spec.openapis.org/oas/v3.1.0>), made once; the shapes it refers to are in `schemas`.

mod schemas;

use std::sync::LazyLock;

use serde_json::{Map, Value, json};

use super::routes::{Entry, Needs, ROUTES, Route};

pub(super) static DOCUMENT: LazyLock<Value> = LazyLock::new(|| {
    let mut paths = Map::new();
    for entry in ROUTES {
        let path = paths.entry(entry.path).or_insert_with(|| json!({}));
        path[entry.method.as_str().to_lowercase()] = operation(entry);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Bucketwarden admin API",
            "version": env!("CARGO_PKG_VERSION"),
            "summary": "Users, their access keys, training jobs and quotas.",
        },
        "security": [],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "admin_token": { "type": "http", "scheme": "bearer", "description": "admin.token of the configuration" },
            },
            "schemas": schemas::all(),
        },
    })
});

/// What a route is about.
struct Description {
    summary: &'static str,
    /// The shape of the body that it takes.
    takes: Option<&'static str>,
    answers: Vec<Answer>,
    /// Whether it is a list, which comes in pages.
    pages: bool,
}

struct Answer {
    status: u16,
    what: &'static str,
    /// The shape, if it is JSON.
    shape: Option<&'static str>,
    media: &'static str,
}

const fn answer(status: u16, what: &'static str, shape: &'static str) -> Answer {
    Answer { status, what, shape: Some(shape), media: "application/json" }
}

const fn text(status: u16, what: &'static str) -> Answer {
    Answer { status, what, shape: None, media: "text/plain" }
}

const fn nothing(status: u16, what: &'static str) -> Answer {
    Answer { status, what, shape: None, media: "" }
}

const BAD: Answer = answer(400, "The request is not what was expected.", "error");
const NO_USER: Answer = answer(404, "There is no such user.", "error");
const NO_KEY: Answer = answer(404, "The user has no such access key.", "error");
const NO_JOB: Answer = answer(404, "The job is nobody's.", "error");
const OF_THE_FILE: Answer = answer(409, "The configuration file has the say over this user.", "error");

fn describe(route: Route) -> Description {
    let one = |summary, takes, answers| Description { summary, takes, answers, pages: false };
    let list = |summary, answers| Description { summary, takes: None, answers, pages: true };
    match route {
        Route::Alive => one("Whether the gateway lives", None, vec![text(200, "It does.")]),
        Route::Ready => one(
            "Whether the gateway takes requests",
            None,
            vec![text(200, "It does."), text(503, "It is starting, draining, or without its state store.")],
        ),
        Route::Metrics => one("Metrics, as Prometheus reads them", None, vec![text(200, "All of them.")]),
        Route::ListUsers => list("All users", vec![answer(200, "A page of them.", "users"), BAD]),
        Route::GetUser => one("One user", None, vec![answer(200, "The user.", "user"), BAD, NO_USER]),
        Route::PutUser => one(
            "Makes a user, or changes what is given",
            Some("user_change"),
            vec![
                answer(200, "The user after it.", "user"),
                answer(201, "The new user.", "user"),
                BAD,
                OF_THE_FILE,
            ],
        ),
        Route::DeleteUser => one(
            "Removes a user with all access keys, sessions and jobs; objects stay",
            None,
            vec![nothing(204, "The user is removed."), BAD, NO_USER, OF_THE_FILE],
        ),
        Route::ListKeys => {
            list("The access keys of a user", vec![answer(200, "A page of them.", "keys"), BAD, NO_USER])
        }
        Route::CreateKey => one(
            "Makes an access key; its secret is told this once",
            None,
            vec![
                answer(201, "The key with its secret.", "new_key"),
                BAD,
                answer(403, "Id and secret cannot be chosen.", "error"),
                NO_USER,
                answer(409, "The user has as many as may be, or is the configuration file's.", "error"),
            ],
        ),
        Route::SetKey => one(
            "Enables or disables an access key",
            Some("key_change"),
            vec![answer(200, "The key after it.", "key"), BAD, NO_KEY, OF_THE_FILE],
        ),
        Route::DeleteKey => one(
            "Revokes an access key",
            None,
            vec![nothing(204, "The key is revoked."), BAD, NO_KEY, OF_THE_FILE],
        ),
        Route::ListJobs => {
            list("All training jobs that have an owner", vec![answer(200, "A page of them.", "jobs"), BAD])
        }
        Route::GetJob => one("Whose a job is", None, vec![answer(200, "The job.", "job"), BAD, NO_JOB]),
        Route::PutJob => one(
            "Gives a job to a user, who may read its logs then",
            Some("job_change"),
            vec![
                answer(200, "It had an owner before.", "job"),
                answer(201, "It had none.", "job"),
                BAD,
                NO_USER,
                answer(409, "The user has as many jobs as may be.", "error"),
            ],
        ),
        Route::DeleteJob => {
            one("Makes a job nobody's", None, vec![nothing(204, "It is nobody's."), BAD, NO_JOB])
        }
        Route::ListQuotas => {
            list("What all users have and may", vec![answer(200, "A page of them.", "quotas"), BAD])
        }
        Route::GetQuota => {
            one("What a user has and may", None, vec![answer(200, "The quota.", "quota"), BAD, NO_USER])
        }
        Route::Reconcile => one(
            "Recounts users from the bucket itself",
            Some("reconcile"),
            vec![
                Answer {
                    status: 200,
                    what: "Its progress, one JSON document a line.",
                    shape: Some("reconcile_line"),
                    media: "application/x-ndjson",
                },
                BAD,
                NO_USER,
            ],
        ),
        Route::Explain => one(
            "Why a request was refused",
            None,
            vec![
                answer(200, "What was held against it.", "refusal"),
                answer(404, "No refusal is kept under this id.", "error"),
            ],
        ),
        Route::Reload => one(
            "Reads the configuration again; what is under way ends as it began",
            None,
            vec![
                answer(200, "It is in force.", "reloaded"),
                answer(
                    409,
                    "It is wrong, or needs a restart: every problem is listed. Nothing changed.",
                    "error",
                ),
                answer(501, "The gateway was started without one that could be read again.", "error"),
            ],
        ),
        Route::OpenApi => one("This document", None, vec![answer(200, "It.", "document")]),
    }
}

fn operation(entry: &Entry) -> Value {
    let Description { summary, takes, answers, pages } = describe(entry.route);
    let mut responses: Map<String, Value> = answers.iter().map(response).collect();
    if entry.needs == Needs::Token {
        for refusal in [
            answer(401, "The admin token is missing or wrong.", "error"),
            answer(403, "The configuration has no admin token.", "error"),
            answer(503, "The state store is not available.", "error"),
        ] {
            let (status, document) = response(&refusal);
            responses.entry(status).or_insert(document);
        }
    }
    let mut operation = json!({
        "operationId": format!("{:?}", entry.route),
        "summary": summary,
        "parameters": parameters(entry.path, pages),
        "responses": responses,
    });
    if entry.needs == Needs::Token {
        operation["security"] = json!([{ "admin_token": [] }]);
    }
    if let Some(shape) = takes {
        operation["requestBody"] =
            json!({ "content": { "application/json": { "schema": reference(shape) } } });
    }
    operation
}

fn response(answer: &Answer) -> (String, Value) {
    let mut document = json!({ "description": answer.what });
    if !answer.media.is_empty() {
        let schema = answer.shape.map_or_else(|| json!({ "type": "string" }), reference);
        document["content"] = json!({ answer.media: { "schema": schema } });
    }
    (answer.status.to_string(), document)
}

fn reference(shape: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{shape}") })
}

fn parameters(path: &str, pages: bool) -> Vec<Value> {
    let names = path.split('/').filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}'));
    let in_path = names
        .map(|name| json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } }));
    let limit = json!({ "type": "integer", "minimum": 1, "maximum": crate::store::PAGE });
    let of_pages = [("limit", limit), ("after", json!({ "type": "string" }))];
    let of_pages = of_pages.into_iter().filter(|_| pages);
    in_path
        .chain(of_pages.map(|(name, schema)| json!({ "name": name, "in": "query", "schema": schema })))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Every value that stands under a key of this name.
    fn all<'v>(value: &'v Value, name: &str, found: &mut Vec<&'v Value>) {
        match value {
            Value::Object(map) => {
                found.extend(map.get(name));
                map.values().for_each(|value| all(value, name, found));
            }
            Value::Array(items) => items.iter().for_each(|value| all(value, name, found)),
            _ => {}
        }
    }

    #[test]
    fn every_route_is_described() {
        for entry in ROUTES {
            let operation = &DOCUMENT["paths"][entry.path][entry.method.as_str().to_lowercase()];
            assert!(operation["summary"].as_str().is_some_and(|text| !text.is_empty()), "{}", entry.path);
            assert_eq!(operation["security"].is_array(), entry.needs == Needs::Token, "{}", entry.path);
            let responses = operation["responses"].as_object().expect("responses");
            assert!(responses.keys().any(|status| status.starts_with('2')));
            let parameters = operation["parameters"].as_array().expect("parameters");
            let in_path = parameters.iter().filter(|parameter| parameter["in"] == "path").count();
            assert_eq!(in_path, entry.path.matches('{').count(), "{}", entry.path);
        }
        let mut ids = Vec::new();
        all(&DOCUMENT, "operationId", &mut ids);
        let names: BTreeSet<_> = ids.iter().filter_map(|id| id.as_str()).collect();
        assert_eq!((ids.len(), names.len()), (ROUTES.len(), ROUTES.len()));
    }

    #[test]
    fn every_shape_is_there_and_is_used() {
        let mut references = Vec::new();
        all(&DOCUMENT, "$ref", &mut references);
        let used: BTreeSet<&str> = references
            .iter()
            .filter_map(|reference| reference.as_str()?.strip_prefix("#/components/schemas/"))
            .collect();
        assert_eq!(references.iter().filter(|reference| reference.is_string()).count(), references.len());
        let shapes = DOCUMENT["components"]["schemas"].as_object().expect("schemas");
        assert_eq!(used, shapes.keys().map(String::as_str).collect());
    }
}
