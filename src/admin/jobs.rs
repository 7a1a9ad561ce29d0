//! `/api/v1/admin/jobs`: which user owns which training job, and so may read its logs.

use http::StatusCode;
use serde::{Deserialize, Serialize};

use super::answer::{self, Problem, Result};
use super::{Admin, audit, keys, people};
use crate::api::page::{PageId as _, Wanted};
use crate::store::{Assigned, MAX_JOBS, OwnedJob};
use crate::types::{JobId, UserId};

#[derive(Serialize)]
struct Shown<'a> {
    job_id: &'a str,
    user_id: &'a str,
}

impl<'a> Shown<'a> {
    fn new(job: &'a JobId, user: &'a UserId) -> Self {
        Self { job_id: job.as_str(), user_id: user.as_str() }
    }
}

pub(super) async fn list(admin: &Admin, query: Option<&str>) -> Result {
    let wanted: Wanted<JobId> = people::wanted(query)?;
    let stored = admin.store.jobs(wanted.after.as_ref()).await?;
    let more = stored.len() >= wanted.limit;
    let jobs: Vec<OwnedJob> = stored.into_iter().take(wanted.limit).collect();
    let next = jobs.last().filter(|_| more).map(|(job, _)| job.as_str());
    let shown: Vec<Shown<'_>> = jobs.iter().map(|(job, user)| Shown::new(job, user)).collect();
    Ok(answer::page("jobs", &shown, next))
}

pub(super) async fn get(admin: &Admin, job: &JobId) -> Result {
    let owner = admin.store.job_owner(job).await?.ok_or_else(|| no_such_job(job))?;
    Ok(answer::json(StatusCode::OK, &Shown::new(job, &owner)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Change {
    user_id: String,
}

pub(super) async fn put(admin: &Admin, job: &JobId, document: &[u8]) -> Result {
    let change: Change =
        serde_json::from_slice(document).map_err(|_| Problem::bad("Expected {\"user_id\": \"…\"}."))?;
    let user = UserId::parse(&change.user_id)
        .ok_or_else(|| Problem::bad(format!("user_id: {}", UserId::EXPECTED)))?;
    // A slip of the finger gives no job away to whoever comes by that name.
    keys::must_exist(admin, &user).await?;
    let status = match admin.store.assign_job(job, &user).await? {
        Assigned::New => StatusCode::CREATED,
        Assigned::Again => StatusCode::OK,
        Assigned::NoSuchUser => return Err(Problem::no_such_user(&user)),
        Assigned::TooMany => {
            let text = format!("{user} has {MAX_JOBS} jobs, and may have no more.");
            return Err(Problem::new(StatusCode::CONFLICT, text));
        }
    };
    Ok(audit::detail(answer::json(status, &Shown::new(job, &user)), format!("user_id: {user}")))
}

pub(super) async fn delete(admin: &Admin, job: &JobId) -> Result {
    if admin.store.remove_job(job).await? { Ok(answer::no_content()) } else { Err(no_such_job(job)) }
}

fn no_such_job(job: &JobId) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, format!("The job {job} is nobody's."))
}
