//! Where log lines go: to standard output, through one writer thread, in the configured format. Other crates
//! are heard at `warn` and above only; what they log below that may hold what must not be logged. The level may change
//! while the process runs, and whether there is an access log; the format stays.

use anyhow::Context as _;
use tracing::level_filters::LevelFilter;
use tracing_appender::non_blocking::{NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer as _, Registry, reload};

use crate::access_log::AccessLog;
use crate::config;

/// Lines waiting for the terminal or pipe; more are lost.
const QUEUE: usize = 32 * 1024;

/// The log of this process, if it has one.
#[derive(Clone)]
pub struct Logs(Option<Open>);

#[derive(Clone)]
struct Open {
    writer: NonBlocking,
    level: reload::Handle<Targets, Registry>,
}

impl Logs {
    /// The guard writes what is queued when it goes.
    pub fn start(config: &config::Log) -> anyhow::Result<(Self, WorkerGuard)> {
        let (writer, guard) =
            NonBlockingBuilder::default().lossy(true).buffered_lines_limit(QUEUE).finish(std::io::stdout());
        let (filter, level) = reload::Layer::new(filter(config));
        let layer = tracing_subscriber::fmt::layer().with_writer(writer.clone());
        let layer = match config.format {
            config::LogFormat::Json => layer.json().flatten_event(true).boxed(),
            config::LogFormat::Text => layer.with_ansi(false).boxed(),
        };
        tracing_subscriber::registry().with(layer.with_filter(filter)).try_init()?;
        Ok((Self(Some(Open { writer, level })), guard))
    }

    /// Nobody listens.
    pub fn off() -> Self {
        Self(None)
    }

    pub(super) fn access_log(&self, config: &config::Log) -> AccessLog {
        let shown = config.access && LevelFilter::from_level(config.level.into()) >= LevelFilter::INFO;
        match &self.0 {
            Some(Open { writer, .. }) if shown => AccessLog::new(writer.clone(), config.format),
            Some(_) | None => AccessLog::off(),
        }
    }

    pub(super) fn set_level(&self, config: &config::Log) -> anyhow::Result<()> {
        match &self.0 {
            Some(Open { level, .. }) => level.reload(filter(config)).context("log.level"),
            None => Ok(()),
        }
    }
}

fn filter(config: &config::Log) -> Targets {
    let level = LevelFilter::from_level(config.level.into());
    Targets::new()
        .with_default(level.min(LevelFilter::WARN))
        .with_target("bucketwarden", level)
        .with_target("audit", level)
        // Logs every refusal as an error; whoever made the request hears of it anyway.
        .with_target("s3s", LevelFilter::OFF)
}
