//! Where log lines go: to standard output, through one writer thread, in the configured format. Other crates
//! are heard at `warn` and above only; what they log below that may hold what must not be logged.

use tracing::level_filters::LevelFilter;
use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::access_log::AccessLog;
use crate::config;

/// Lines waiting for the terminal or pipe; more are lost.
const QUEUE: usize = 32 * 1024;

/// The guard writes what is queued when it goes.
pub(super) fn start(config: &config::Log) -> anyhow::Result<(AccessLog, WorkerGuard)> {
    let (writer, guard) =
        NonBlockingBuilder::default().lossy(true).buffered_lines_limit(QUEUE).finish(std::io::stdout());
    let level = LevelFilter::from_level(config.level.into());
    let filter = Targets::new()
        .with_default(level.min(LevelFilter::WARN))
        .with_target("bucketwarden", level)
        .with_target("audit", level)
        // Logs every refusal as an error; whoever made the request hears of it anyway.
        .with_target("s3s", LevelFilter::OFF);
    let layer = tracing_subscriber::fmt::layer().with_writer(writer.clone());
    let layer = match config.format {
        config::LogFormat::Json => layer.json().flatten_event(true).boxed(),
        config::LogFormat::Text => layer.with_ansi(false).boxed(),
    };
    tracing_subscriber::registry().with(layer.with_filter(filter)).try_init()?;
    let shows_access = config.access && level >= LevelFilter::INFO;
    let access_log = if shows_access { AccessLog::new(writer, config.format) } else { AccessLog::off() };
    Ok((access_log, guard))
}
