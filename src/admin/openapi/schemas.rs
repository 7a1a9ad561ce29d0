//! The shapes of the admin API's documents, in JSON Schema.

use serde_json::{Map, Value, json};

use super::super::MAX_DOCUMENT;
use super::reference;
use crate::config::LimitKey;

/// By name.
pub(super) fn all() -> Value {
    let text = || json!({ "type": "string" });
    let number = || json!({ "type": "integer", "minimum": 0 });
    let no_or = |kind: &str| json!({ "type": [kind, "null"] });
    let time = || json!({ "type": ["string", "null"], "format": "date-time" });
    let role = || json!({ "type": "string", "enum": ["user", "service"] });
    let flag = || json!({ "type": "boolean" });
    json!({
        "error": whole(json!({ "error": text() })),
        "user": whole(json!({
            "user_id": text(), "tier": text(), "role": role(), "enabled": flag(),
            "limits": reference("limits"), "created_at": time(),
        })),
        "users": page("users", "user"),
        "user_change": part(json!({
            "tier": text(), "role": role(), "enabled": flag(), "limits": reference("limits"),
        })),
        "limits": limits(),
        "key": whole(json!({
            "access_key_id": text(), "enabled": flag(), "created_at": time(), "last_used_at": time(),
        })),
        "keys": page("keys", "key"),
        "new_key": whole(json!({ "access_key_id": text(), "secret_access_key": text(), "created_at": time() })),
        "key_change": whole(json!({ "enabled": flag() })),
        "job": whole(json!({ "job_id": text(), "user_id": text() })),
        "jobs": page("jobs", "job"),
        "job_change": whole(json!({ "user_id": text() })),
        "quota": whole(json!({
            "user_id": text(),
            "tier": text(),
            "storage": whole(json!({
                "used_bytes": number(), "reserved_bytes": number(), "limit_bytes": no_or("integer"),
                "used_pct": no_or("number"),
            })),
            "file_size": whole(json!({ "max_bytes": no_or("integer") })),
            "rate_limits": whole(json!({
                "uploads_last_hour": number(), "hourly_limit": no_or("integer"),
                "uploads_last_day": number(), "daily_limit": no_or("integer"),
            })),
        })),
        "quotas": page("users", "quota"),
        "reconcile": {
            "oneOf": [
                whole(json!({ "users": { "type": "array", "items": text() } })),
                whole(json!({ "all": { "const": true } })),
            ],
            "description": format!("At most {MAX_DOCUMENT} bytes."),
        },
        "reconcile_line": { "type": "object", "required": ["user_id", "event"],
            "properties": { "user_id": text(), "event": text() } },
        "reloaded": whole(json!({
            "changed": { "type": "array", "items": text() }, "warnings": { "type": "array", "items": text() },
        })),
        "refusal": { "type": "object", "required": ["request_id", "at", "stage", "method", "path", "code", "message"],
            "properties": { "request_id": text(), "at": text(), "stage": text(), "method": text(), "path": text(),
                "code": text(), "message": text() } },
        "document": { "type": "object", "required": ["openapi", "paths"] },
    })
}

/// An object that has all of these and nothing else.
fn whole(properties: Value) -> Value {
    let names: Vec<String> =
        properties.as_object().map(|map| map.keys().cloned().collect()).unwrap_or_default();
    let mut shape = part(properties);
    shape["required"] = names.into();
    shape
}

/// An object that has some of these and nothing else.
#[expect(clippy::needless_pass_by_value, reason = "made where it is handed over")]
fn part(properties: Value) -> Value {
    json!({ "type": "object", "additionalProperties": false, "properties": properties })
}

fn page(name: &str, item: &str) -> Value {
    whole(json!({
        name: { "type": "array", "items": reference(item) },
        "next": { "type": ["string", "null"] },
    }))
}

/// Each as `[tiers]` has it; `null` falls back to the tier.
fn limits() -> Value {
    let limit = json!({ "type": ["integer", "string", "null"], "minimum": 0 });
    let names = LimitKey::ALL.iter().map(|key| (key.name().to_owned(), limit.clone()));
    part(Value::Object(names.collect::<Map<_, _>>()))
}
