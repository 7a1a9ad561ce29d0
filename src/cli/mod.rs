//! The command line: what `bucketwarden --help` shows, and how each command ends the process. A configuration
//! that is wrong ends it with 78 (`EX_CONFIG`) and every problem listed; whatever else fails, with 1.

mod admin;
mod check;
mod dev;
mod explain;
mod healthcheck;
mod job;
mod key;
mod quota;
mod reconcile;
mod serve;
mod table;
mod user;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::config::{Config, Loaded, Problems, Sources};

/// A streaming S3 gateway that gives every user of a platform a private, metered corner of one bucket.
#[derive(Parser)]
#[command(name = "bucketwarden", version, disable_version_flag = true)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// The whole gateway with nothing else to install: embedded storage, two users, ready to try.
    Dev(dev::Arguments),
    /// The gateway as configured.
    Serve {
        /// The configuration file [default: config.toml, if there is one]
        #[arg(long)]
        config: Option<PathBuf>,
    },
    /// Validates the configuration and prints what it comes to, secrets masked; tries the upstream if asked to.
    Check(check::Arguments),
    /// Users, their tier and own limits.
    #[command(subcommand)]
    User(user::Command),
    /// Access keys of a user.
    #[command(subcommand)]
    Key(key::Command),
    /// Which user owns which training job.
    #[command(subcommand)]
    Job(job::Command),
    /// Usage and limits.
    Quota(quota::Arguments),
    /// Why a request was refused, by the id that its answer carried.
    Explain(explain::Arguments),
    /// Recounts storage from the bucket itself.
    Reconcile(reconcile::Arguments),
    /// Exits with 0 when the local gateway is ready.
    Healthcheck {
        #[arg(long, env = "BUCKETWARDEN_ADMIN_URL", help = healthcheck::ADMIN_URL_HELP)]
        admin_url: Option<String>,
    },
    /// Version, commit, compiler.
    Version,
}

/// Why a command did not do what it was told.
enum Failure {
    Config(Problems),
    /// A wrong flag, in the same class as a wrong configuration.
    Usage(String),
    Other(anyhow::Error),
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Other(error)
    }
}

impl From<Problems> for Failure {
    fn from(problems: Problems) -> Self {
        Self::Config(problems)
    }
}

const EX_CONFIG: u8 = 78;

pub fn run(arguments: Arguments) -> ExitCode {
    let done = match arguments.command {
        Command::Dev(arguments) => dev::run(&arguments),
        Command::Serve { config } => serve::run(config),
        Command::Check(arguments) => check::run(arguments),
        Command::User(command) => user::run(&command),
        Command::Key(command) => key::run(&command),
        Command::Job(command) => job::run(&command),
        Command::Quota(arguments) => quota::run(&arguments),
        Command::Explain(arguments) => explain::run(&arguments),
        Command::Reconcile(arguments) => reconcile::run(&arguments),
        Command::Healthcheck { admin_url } => healthcheck::run(admin_url),
        Command::Version => {
            println!("bucketwarden {} ({})", env!("CARGO_PKG_VERSION"), crate::COMMIT);
            println!("{}", env!("BUCKETWARDEN_RUSTC"));
            Ok(())
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Config(problems)) => {
            eprintln!("The configuration is wrong:\n{problems}");
            ExitCode::from(EX_CONFIG)
        }
        Err(Failure::Usage(text)) => {
            eprintln!("{text}");
            ExitCode::from(EX_CONFIG)
        }
        Err(Failure::Other(error)) => {
            eprintln!("Error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Loads what `sources` has.
fn load(file: Option<PathBuf>) -> Result<Loaded, Failure> {
    Ok(Config::load(&sources(file)?)?)
}

/// What `--config` names, or `config.toml` where there is one, or the environment alone.
fn sources(file: Option<PathBuf>) -> anyhow::Result<Sources> {
    let default = || Path::new("config.toml").exists().then(|| PathBuf::from("config.toml"));
    Ok(Sources { file: file.or_else(default), env: environment(), working_dir: std::env::current_dir()? })
}

/// The variables that are text; others cannot be ours.
fn environment() -> Vec<(String, String)> {
    let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
        Some((name.into_string().ok()?, value.into_string().ok()?))
    };
    std::env::vars_os().filter_map(text).collect()
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().enable_all().build()?)
}

fn is_loopback(address: SocketAddr) -> bool {
    address.ip().is_loopback()
}
