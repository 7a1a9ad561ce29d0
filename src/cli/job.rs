//! `bucketwarden job`: which user owns which training job, and so may read `logs/<job>/`.

use anyhow::bail;
use clap::{Args, Subcommand};
use http::Method;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::admin::{AdminApi, Gateway, user_path};
use super::table::{pretty, table};
use super::{Failure, runtime};
use crate::api::page::PageId as _;
use crate::types::JobId;

#[derive(Subcommand)]
pub(super) enum Command {
    /// Gives a job to a user, and takes it from whose it was.
    Assign {
        job: String,
        user: String,
        #[command(flatten)]
        gateway: Gateway,
    },
    /// All jobs that have an owner.
    List(List),
    /// Makes a job nobody's.
    Remove {
        job: String,
        #[command(flatten)]
        gateway: Gateway,
    },
}

#[derive(Args)]
pub(super) struct List {
    /// Only those of this user
    #[arg(long)]
    user: Option<String>,
    /// Print the gateway's JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    gateway: Gateway,
}

#[derive(Serialize, Deserialize)]
struct Shown {
    job_id: String,
    user_id: String,
}

const JOBS: &str = "/api/v1/admin/jobs";

pub(super) fn run(command: &Command) -> Result<(), Failure> {
    let (Command::Assign { gateway, .. }
    | Command::List(List { gateway, .. })
    | Command::Remove { gateway, .. }) = command;
    let api = gateway.connect()?;
    let text = runtime()?.block_on(told(&api, command))?;
    print!("{text}");
    Ok(())
}

async fn told(api: &AdminApi, command: &Command) -> anyhow::Result<String> {
    match command {
        Command::Assign { job, user, .. } => {
            // Says what is wrong with the id before anybody is asked.
            user_path("", user)?;
            let document = json!({ "user_id": user });
            let job: Shown = api.ask(Method::PUT, &job_path(job)?, Some(&document)).await?;
            Ok(rows(&[job]))
        }
        Command::List(List { user, json, .. }) => {
            let mut jobs: Vec<Shown> = api.list(JOBS, "jobs").await?;
            if let Some(user) = user {
                jobs.retain(|job| job.user_id == *user);
            }
            if *json { pretty(&json!({ "jobs": jobs })) } else { Ok(rows(&jobs)) }
        }
        Command::Remove { job, .. } => {
            api.send(Method::DELETE, &job_path(job)?, None).await?;
            Ok(format!("{job} is nobody's now\n"))
        }
    }
}

fn job_path(job: &str) -> anyhow::Result<String> {
    match JobId::parse(job) {
        Some(job) => Ok(format!("{JOBS}/{job}")),
        None => bail!("{job:?} is no job id. {}", JobId::EXPECTED),
    }
}

fn rows(jobs: &[Shown]) -> String {
    let rows: Vec<_> = jobs.iter().map(|job| vec![job.job_id.clone(), job.user_id.clone()]).collect();
    table(&["JOB", "USER"], &rows)
}
