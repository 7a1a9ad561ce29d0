//! `bucketwarden explain`: why a request was refused, by the id that its answer carried.

use std::fmt::Write as _;

use clap::Args;
use serde_json::{Map, Value};

use super::admin::Gateway;
use super::table::pretty;
use super::{Failure, runtime};
use crate::s3::uri;

#[derive(Args)]
pub(super) struct Arguments {
    /// The `x-amz-request-id` of the answer
    request_id: String,
    /// Print the gateway's JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    gateway: Gateway,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let api = arguments.gateway.connect()?;
    let path = format!("/api/v1/admin/explain/{}", uri::encode_query(&arguments.request_id));
    let refusal: Map<String, Value> = runtime()?.block_on(api.get(&path))?;
    print!("{}", if arguments.json { pretty(&refusal)? } else { lines(&refusal) });
    Ok(())
}

/// A line for each thing known; what has lines of its own stands below its name.
fn lines(document: &Map<String, Value>) -> String {
    let mut text = String::new();
    for (name, value) in document {
        match value {
            Value::Null => {}
            Value::Object(inner) => text.push_str(&lines(inner)),
            Value::String(several) if several.contains('\n') => {
                text.push_str(name);
                text.push_str(":\n");
                for line in several.lines() {
                    writeln!(text, "    {}", line.escape_debug()).expect("a string takes all");
                }
            }
            Value::String(one) => {
                writeln!(text, "{name}: {}", one.escape_debug()).expect("a string takes all");
            }
            Value::Bool(_) | Value::Number(_) | Value::Array(_) => {
                writeln!(text, "{name}: {value}").expect("a string takes all");
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_is_shown_line_by_line() {
        let document = serde_json::json!({
            "code": "SignatureDoesNotMatch",
            "cause": null,
            "path": "/a\u{1b}[31m",
            "signature": { "canonical_request": "GET\n/a", "unsigned_headers": ["x-amz-acl"] },
        });
        let expected = "code: SignatureDoesNotMatch\npath: /a\\u{1b}[31m\ncanonical_request:\n    GET\n    /a\n\
                        unsigned_headers: [\"x-amz-acl\"]\n";
        assert_eq!(lines(document.as_object().expect("an object")), expected);
    }
}
