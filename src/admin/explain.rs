//! Why a request was refused: `GET /api/v1/admin/explain/{request_id}`, for the id that its answer carried.

use http::StatusCode;

use super::Admin;
use super::answer::{Problem, Result, json};

pub(super) fn get(admin: &Admin, request_id: &str) -> Result {
    let found = admin.refusals.find(request_id, crate::now());
    let refusal = found.ok_or_else(|| Problem::new(StatusCode::NOT_FOUND, NOT_KEPT))?;
    Ok(json(StatusCode::OK, &refusal))
}

const NOT_KEPT: &str = "No refusal is kept under that id: only requests that authentication or authorisation refused \
                        in the last minutes are, by the gateway that refused them.";
