//! `bucketwarden key`: the access keys of a user. A secret is printed once, by the command that makes the key.

use clap::{Args, Subcommand};
use http::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::admin::{AdminApi, Gateway, user_path};
use super::table::{pretty, table};
use super::{Failure, runtime};
use crate::api::page::PageId as _;
use crate::types::AccessKeyId;

#[derive(Subcommand)]
pub(super) enum Command {
    /// Makes an access key, and prints its secret this once.
    Create(Of),
    /// A user's access keys.
    List(Of),
    /// Lets nobody in with this key.
    Disable(One),
    /// Lets the key in again.
    Enable(One),
    /// Ends the key for good.
    Revoke(One),
}

#[derive(Args)]
pub(super) struct Of {
    user: String,
    /// Print the gateway's JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    gateway: Gateway,
}

#[derive(Args)]
pub(super) struct One {
    user: String,
    #[arg(value_name = "ACCESS_KEY_ID")]
    key: String,
    #[command(flatten)]
    gateway: Gateway,
}

#[derive(Serialize, Deserialize)]
struct Made {
    access_key_id: String,
    secret_access_key: String,
    created_at: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct Shown {
    access_key_id: String,
    enabled: bool,
    created_at: Option<String>,
    last_used_at: Option<String>,
}

pub(super) fn run(command: &Command) -> Result<(), Failure> {
    let (Command::Create(Of { gateway, .. })
    | Command::List(Of { gateway, .. })
    | Command::Disable(One { gateway, .. })
    | Command::Enable(One { gateway, .. })
    | Command::Revoke(One { gateway, .. })) = command;
    let api = gateway.connect()?;
    let text = runtime()?.block_on(told(&api, command))?;
    print!("{text}");
    Ok(())
}

async fn told(api: &AdminApi, command: &Command) -> anyhow::Result<String> {
    match command {
        Command::Create(Of { user, json, .. }) => {
            let made: Made = api.ask(Method::POST, &keys_path(user)?, None).await?;
            if *json {
                return pretty(&made);
            }
            let row = vec![made.access_key_id, made.secret_access_key];
            let table = table(&["ACCESS KEY ID", "SECRET ACCESS KEY"], &[row]);
            Ok(format!("{table}Keep the secret: it is not shown again.\n"))
        }
        Command::List(Of { user, json, .. }) => {
            let keys: Vec<Shown> = api.list(&keys_path(user)?, "keys").await?;
            if *json { pretty(&json!({ "keys": keys })) } else { Ok(rows(&keys)) }
        }
        Command::Disable(one) => set(api, one, false).await,
        Command::Enable(one) => set(api, one, true).await,
        Command::Revoke(one) => {
            api.send(Method::DELETE, &key_path(one)?, None).await?;
            Ok(format!("{} is revoked\n", one.key))
        }
    }
}

async fn set(api: &AdminApi, one: &One, enabled: bool) -> anyhow::Result<String> {
    let change: Value = json!({ "enabled": enabled });
    let key: Shown = api.ask(Method::PATCH, &key_path(one)?, Some(&change)).await?;
    Ok(rows(&[key]))
}

fn keys_path(user: &str) -> anyhow::Result<String> {
    Ok(user_path("/api/v1/admin/users", user)? + "/keys")
}

fn key_path(one: &One) -> anyhow::Result<String> {
    // What stands in a path must not be anything else of it.
    let plain = one.key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~+".contains(&byte));
    match AccessKeyId::parse(&one.key).filter(|_| plain) {
        Some(key) => Ok(format!("{}/{}", keys_path(&one.user)?, key.as_str())),
        None => anyhow::bail!("{:?} is no access key id. {}", one.key, AccessKeyId::EXPECTED),
    }
}

fn rows(keys: &[Shown]) -> String {
    let row = |key: &Shown| {
        let state = if key.enabled { "enabled" } else { "disabled" };
        let time = |time: &Option<String>| time.clone().unwrap_or_else(|| "-".to_owned());
        vec![key.access_key_id.clone(), state.to_owned(), time(&key.created_at), time(&key.last_used_at)]
    };
    table(&["ACCESS KEY ID", "STATE", "CREATED", "LAST USED"], &keys.iter().map(row).collect::<Vec<_>>())
}
