//! `bucketwarden dev`: the whole gateway on one data folder, with an embedded S3 store as its upstream. The
//! first start writes `gateway.toml` there, an ordinary configuration with fresh secrets; later starts read it. Its
//! two users live in the state store (`users`). The store listens on a port of its own, so that the gateway signs and streams for real.

mod tokens;
mod users;

use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use clap::Args;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use super::serve::Signals;
use super::{Failure, environment, is_loopback, runtime};
use crate::admit::quota::millis;
use crate::app::{Bound, Logs};
use crate::config::{Config, Loaded, Sources};
use crate::dev_store::{DevStore, Settings};
use users::{Key, Users};

#[derive(Args)]
pub(super) struct Arguments {
    /// Where clients connect
    #[arg(long, default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Health, metrics, admin
    #[arg(long, default_value = "127.0.0.1:9090")]
    admin_listen: SocketAddr,
    /// The folder that holds everything; delete it to begin anew
    #[arg(long, default_value = "./bucketwarden-data")]
    data: PathBuf,
}

/// Not `us-east-1`: for that one region boto3 and the aws CLI presign URLs with the signature version of 2006.
const REGION: &str = "us-phoenix-1";
const BUCKET: &str = "bucketwarden-dev";

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    for (flag, address) in [("--listen", arguments.listen), ("--admin-listen", arguments.admin_listen)] {
        if !is_loopback(address) {
            return Err(Failure::Usage(format!(
                "{flag} {address}: `dev` is for this machine only and listens on loopback addresses; use `serve` for others"
            )));
        }
    }
    let file = first_start(&arguments.data)?;
    runtime()?.block_on(async {
        let signals = Signals::new()?;
        let store_listener =
            TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0)).await.context("embedded store")?;
        let loaded = load(arguments, file, store_listener.local_addr().context("embedded store")?)?;
        let (logs, _guard) = Logs::start(&loaded.config.log)?;
        let store = DevStore::open(Settings {
            dir: arguments.data.join("store"),
            bucket: loaded.config.upstream.bucket.clone(),
            region: loaded.config.upstream.region.clone(),
            access_key_id: loaded.config.upstream.access_key_id.clone(),
            secret: loaded.config.upstream.secret_access_key.clone(),
        })?;
        let (stop_store, stopped) = oneshot::channel::<()>();
        let store = tokio::spawn(store.serve(store_listener, async {
            // A sender that is gone stops the store just as well.
            stopped.await.ok();
        }));
        // Without sources: the addresses are of this start, so there is nothing to read again.
        let bound = Bound::new(loaded.config.clone(), None, logs).await?;
        let users = Users::ready(&loaded.config, &bound, millis(crate::now())).await?;
        let env = dev_env(&loaded.config, &users, bound.s3_addr()?, bound.admin_addr()?)?;
        write_private(&arguments.data.join("dev.env"), &env)?;
        print!("{}", block(&env, &arguments.data));
        if signals.end(bound.run()?).await {
            drop(stop_store);
            store.await.context("embedded store")?;
        }
        Ok(())
    })
}

/// The configuration of the folder, made at the first start.
fn first_start(data: &Path) -> anyhow::Result<PathBuf> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(data)
        .with_context(|| format!("{}", data.display()))?;
    // Absolute: where the configuration is read, paths are relative to the data folder.
    let file = fs::canonicalize(data)?.join("gateway.toml");
    if !file.exists() {
        write_private(&file, &fresh_configuration()?)?;
    }
    Ok(file)
}

fn fresh_configuration() -> anyhow::Result<String> {
    Ok(format!(
        r#"# The gateway of `bucketwarden dev`, made at its first start. Edit it as any config.toml; the two listen
# addresses and the upstream's endpoint are set at every start.

[admin]
token = "{admin_token}"

[upstream]
dialect = "s3"
endpoint = "http://127.0.0.1:1"
region = "{REGION}"
bucket = "{BUCKET}"
access_key_id = "{upstream_id}"
secret_access_key = "{upstream_secret}"

[auth]
master_key = "{master_key}"

{issuer}
[log]
format = "text"
"#,
        admin_token = random_secret()?,
        upstream_id = random_key_id()?,
        upstream_secret = random_secret()?,
        master_key = STANDARD.encode(random::<32>()?),
        issuer = tokens::section(&random_secret()?),
    ))
}

fn load(arguments: &Arguments, file: PathBuf, store: SocketAddr) -> Result<Loaded, Failure> {
    let ours = [
        ("BUCKETWARDEN_SERVER__LISTEN", arguments.listen.to_string()),
        ("BUCKETWARDEN_ADMIN__LISTEN", arguments.admin_listen.to_string()),
        ("BUCKETWARDEN_UPSTREAM__ENDPOINT", format!("http://{store}")),
    ];
    let mut env = environment();
    // The platform's variables speak of a real bucket, which has no part in this.
    env.retain(|(name, _)| name.starts_with("BUCKETWARDEN_") && !ours.iter().any(|(ours, _)| ours == name));
    env.extend(ours.map(|(name, value)| (name.to_owned(), value)));
    Ok(Config::load(&Sources { file: Some(file), env, working_dir: arguments.data.clone() })?)
}

/// What a shell needs to be alice, and some of bob.
fn dev_env(config: &Config, users: &Users, s3: SocketAddr, admin: SocketAddr) -> anyhow::Result<String> {
    let endpoint = match (&config.server.public_url, &config.server.tls) {
        (Some(url), _) => url.to_string().trim_end_matches('/').to_owned(),
        (None, Some(_)) => format!("https://{s3}"),
        (None, None) => format!("http://{s3}"),
    };
    let token = config.admin.token.as_ref().map_or("", |token| token.expose());
    let key = |names: [&'static str; 2], key: &Option<Key>| {
        let key = key.as_ref().map(|(id, secret)| [id.as_str().to_owned(), secret.expose().to_owned()]);
        key.map(|values| names.into_iter().zip(values)).into_iter().flatten()
    };
    let now = crate::now();
    let token_of = |name: &'static str, user: &str| -> anyhow::Result<Option<(&'static str, String)>> {
        Ok(tokens::token(config, user, now)?.map(|token| (name, token)))
    };
    let region = &config.upstream.region;
    let variables = [("AWS_ENDPOINT_URL", endpoint), ("AWS_REGION", region.clone())]
        .into_iter()
        .chain([("AWS_DEFAULT_REGION", region.clone())])
        .chain(key(["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"], &users.alice))
        .chain(key(["BOB_ACCESS_KEY_ID", "BOB_SECRET_ACCESS_KEY"], &users.bob))
        .chain(token_of("ALICE_TOKEN", "alice")?)
        .chain(token_of("BOB_TOKEN", "bob")?)
        .chain([
            ("BUCKETWARDEN_ADMIN_URL", format!("http://{admin}")),
            ("BUCKETWARDEN_ADMIN_TOKEN", token.to_owned()),
        ]);
    let mut env = String::new();
    for (name, value) in variables {
        writeln!(env, "export {name}={value}")?;
    }
    for (user, key) in [("alice", &users.alice), ("bob", &users.bob)] {
        if key.is_none() {
            writeln!(env, "# {user} has no access key that works; see `bucketwarden key list {user}`")?;
        }
    }
    Ok(env)
}

fn block(env: &str, data: &Path) -> String {
    format!(
        "Bucketwarden is ready. Paste this, or run: . {}\n\n{env}\n\
         Then: aws s3 cp README.md s3://datasets/first/README.md && aws s3 ls --recursive s3://datasets\n",
        data.join("dev.env").display()
    )
}

/// Writes a file that only its owner can read, whole or not at all.
fn write_private(path: &Path, text: &str) -> anyhow::Result<()> {
    let fresh = path.with_extension("new");
    let write = || -> std::io::Result<()> {
        let mut options = fs::OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
        std::io::Write::write_all(&mut file, text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&fresh, path)
    };
    write().with_context(|| format!("{} cannot be written", path.display()))
}

fn random<const N: usize>() -> anyhow::Result<[u8; N]> {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| anyhow::anyhow!("the system gives no random numbers"))?;
    Ok(bytes)
}

/// As long as AWS's: 20 characters.
fn random_key_id() -> anyhow::Result<String> {
    const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let letters = random::<18>()?.map(|byte| char::from(ALPHABET[usize::from(byte % 32)]));
    Ok(["BW"].into_iter().map(str::to_owned).chain(letters.map(String::from)).collect())
}

/// 256 bits; no character of it needs quoting in a shell.
fn random_secret() -> anyhow::Result<String> {
    Ok(URL_SAFE_NO_PAD.encode(random::<32>()?))
}
