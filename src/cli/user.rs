//! `bucketwarden user`: who there is, their tier, role and own limits.

use anyhow::{anyhow, bail};
use clap::{Args, Subcommand};
use http::{Method, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::admin::{AdminApi, Gateway, Refused, user_path};
use super::table::{pretty, table};
use super::{Failure, runtime};
use crate::config::{Limit, LimitKey};

#[derive(Subcommand)]
pub(super) enum Command {
    /// Makes a user.
    Add(Change),
    /// All users.
    List {
        /// Print the gateway's JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        gateway: Gateway,
    },
    /// One user.
    Show {
        user: String,
        /// Print the gateway's JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        gateway: Gateway,
    },
    /// Changes tier, role or own limits of a user.
    Set(Change),
    /// Lets nobody in as this user.
    Disable(One),
    /// Lets the user in again.
    Enable(One),
    /// Removes a user. What they have stored stays.
    Remove(One),
}

#[derive(Args)]
pub(super) struct One {
    user: String,
    #[command(flatten)]
    gateway: Gateway,
}

#[derive(Args)]
pub(super) struct Change {
    user: String,
    #[arg(long)]
    tier: Option<String>,
    /// `user` or `service`
    #[arg(long)]
    role: Option<String>,
    #[arg(long = "limit", value_name = "NAME=VALUE", value_parser = limit, help = LIMIT_HELP)]
    limits: Vec<(String, Value)>,
    /// A limit that is to be the tier's again
    #[arg(long = "reset-limit", value_name = "NAME")]
    resets: Vec<String>,
    #[command(flatten)]
    gateway: Gateway,
}

#[derive(Serialize, Deserialize)]
struct Shown {
    user_id: String,
    tier: String,
    role: String,
    enabled: bool,
    limits: Map<String, Value>,
    created_at: Option<String>,
}

const LIMIT_HELP: &str = "A limit of the user's own, as in [tiers]: max_storage=10GiB, uploads_per_day=unlimited; any number of times";
const USERS: &str = "/api/v1/admin/users";

pub(super) fn run(command: &Command) -> Result<(), Failure> {
    let (Command::Add(Change { gateway, .. })
    | Command::Set(Change { gateway, .. })
    | Command::List { gateway, .. }
    | Command::Show { gateway, .. }
    | Command::Disable(One { gateway, .. })
    | Command::Enable(One { gateway, .. })
    | Command::Remove(One { gateway, .. })) = command;
    let api = gateway.connect()?;
    let text = runtime()?.block_on(told(&api, command))?;
    print!("{text}");
    Ok(())
}

async fn told(api: &AdminApi, command: &Command) -> anyhow::Result<String> {
    let change = async |user: &str, document: Value| -> anyhow::Result<String> {
        let user: Shown = api.ask(Method::PUT, &user_path(USERS, user)?, Some(&document)).await?;
        Ok(rows(&[user]))
    };
    match command {
        Command::List { json, .. } => {
            let users: Vec<Shown> = api.list(USERS, "users").await?;
            Ok(if *json { pretty(&json!({ "users": users }))? } else { rows(&users) })
        }
        Command::Show { user, json, .. } => {
            let user = find(api, user).await?.ok_or_else(|| anyhow!("there is no user {user}"))?;
            if *json { pretty(&user) } else { Ok(rows(&[user])) }
        }
        Command::Add(wanted) => match find(api, &wanted.user).await? {
            Some(_) => bail!("there is a user {} already; `user set` changes them", wanted.user),
            None => change(&wanted.user, wanted.document()).await,
        },
        Command::Set(wanted) => {
            must_exist(api, &wanted.user).await?;
            change(&wanted.user, wanted.document()).await
        }
        Command::Disable(One { user, .. }) => {
            must_exist(api, user).await?;
            change(user, json!({ "enabled": false })).await
        }
        Command::Enable(One { user, .. }) => {
            must_exist(api, user).await?;
            change(user, json!({ "enabled": true })).await
        }
        Command::Remove(One { user, .. }) => {
            api.send(Method::DELETE, &user_path(USERS, user)?, None).await?;
            Ok(format!("{user} is removed; what they have stored stays\n"))
        }
    }
}

async fn find(api: &AdminApi, user: &str) -> anyhow::Result<Option<Shown>> {
    match api.get(&user_path(USERS, user)?).await {
        Ok(user) => Ok(Some(user)),
        Err(error) => match error.downcast_ref::<Refused>() {
            Some(refused) if refused.status == StatusCode::NOT_FOUND => Ok(None),
            Some(_) | None => Err(error),
        },
    }
}

/// A change makes a user who is not there: a slip of the finger must not.
async fn must_exist(api: &AdminApi, user: &str) -> anyhow::Result<()> {
    match find(api, user).await? {
        Some(_) => Ok(()),
        None => bail!("there is no user {user}; `user add` makes one"),
    }
}

impl Change {
    fn document(&self) -> Value {
        let mut document = Map::new();
        for (name, value) in [("tier", &self.tier), ("role", &self.role)] {
            if let Some(value) = value {
                document.insert(name.to_owned(), value.as_str().into());
            }
        }
        let resets = self.resets.iter().map(|name| (name.clone(), Value::Null));
        let limits: Map<String, Value> = self.limits.iter().cloned().chain(resets).collect();
        if !limits.is_empty() {
            document.insert("limits".to_owned(), limits.into());
        }
        document.into()
    }
}

fn limit(text: &str) -> Result<(String, Value), String> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE")?;
    let value = value.parse::<u64>().map_or_else(|_| value.into(), Value::from);
    Ok((name.to_owned(), value))
}

/// As a configuration would have it.
fn written(name: &str, value: &Value) -> String {
    let size = value.as_u64().and_then(|number| LimitKey::from_name(name)?.text(Limit::At(number)));
    match (size, value) {
        (Some(size), _) => size,
        (None, Value::String(text)) => text.clone(),
        (None, other) => other.to_string(),
    }
}

fn rows(users: &[Shown]) -> String {
    let row = |user: &Shown| {
        let limits: Vec<String> =
            user.limits.iter().map(|(name, value)| format!("{name}={}", written(name, value))).collect();
        let state = if user.enabled { "enabled" } else { "disabled" };
        let own = if limits.is_empty() { "-".to_owned() } else { limits.join(" ") };
        vec![user.user_id.clone(), user.tier.clone(), user.role.clone(), state.to_owned(), own]
    };
    table(&["USER", "TIER", "ROLE", "STATE", "OWN LIMITS"], &users.iter().map(row).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_become_a_document() {
        let change = Change {
            user: "alice".into(),
            tier: Some("premium".into()),
            role: None,
            limits: ["max_storage=10GiB", "uploads_per_hour=7", "burst=unlimited"]
                .map(|text| limit(text).expect("a limit"))
                .into(),
            resets: vec!["max_file_size".into()],
            gateway: Gateway::at("http://127.0.0.1:1"),
        };
        assert_eq!(
            change.document(),
            json!({"tier": "premium", "limits": {"max_storage": "10GiB", "uploads_per_hour": 7,
                   "burst": "unlimited", "max_file_size": null}})
        );
        assert!(limit("max_storage").is_err());
    }

    #[test]
    fn own_limits_are_shown() {
        let user = |limits: Value| Shown {
            user_id: "alice".into(),
            tier: "default".into(),
            role: "user".into(),
            enabled: false,
            limits: limits.as_object().cloned().expect("an object"),
            created_at: None,
        };
        let text = rows(&[
            user(json!({"burst": "unlimited", "max_storage": 1 << 30, "uploads_per_day": 1024})),
            user(json!({})),
        ]);
        assert!(text.contains("burst=unlimited max_storage=1GiB uploads_per_day=1024"), "{text}");
        assert!(text.lines().all(|line| line.starts_with("USER") || line.contains("disabled")), "{text}");
    }
}
