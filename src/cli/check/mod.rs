//! `bucketwarden check`: what the configuration comes to and, with `--probe`, what the upstream in hand really does
//! and whether the gateway can work with it. Warnings go to standard error, so that the output is the effective
//! configuration and what was found, and nothing else.

mod print;

use std::path::PathBuf;

use anyhow::anyhow;
use clap::Args;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::table::pretty;
use super::{Failure, load, runtime};
use crate::config::Config;
use crate::upstream::probe::{Probe, Report};

#[derive(Args)]
pub(super) struct Arguments {
    /// The configuration file [default: config.toml, if there is one]
    #[arg(long)]
    config: Option<PathBuf>,
    /// Try the upstream with probe objects, which are removed again, and say what it does
    #[arg(long)]
    probe: bool,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: Arguments) -> Result<(), Failure> {
    let loaded = load(arguments.config)?;
    for warning in &loaded.warnings {
        eprintln!("warning: {warning}");
    }
    if !arguments.json {
        print!("{}", loaded.config.to_masked_toml());
    }
    let report = if arguments.probe { Some(runtime()?.block_on(probe(&loaded.config))?) } else { None };
    if arguments.json {
        print!("{}", pretty(&print::json(&loaded, report.as_ref())?)?);
    } else if let Some(report) = &report {
        print!("\n{}", print::text(report, loaded.config.upstream.dialect));
    }
    report.map_or(Ok(()), |report| verdict(&report))
}

/// The first signal ends the questions, and what was written is removed; a second one ends that too.
async fn probe(config: &Config) -> Result<Report, Failure> {
    let mut terminate = signal(SignalKind::terminate()).map_err(anyhow::Error::from)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(anyhow::Error::from)?;
    // The terminal went away.
    let mut hangup = signal(SignalKind::hangup()).map_err(anyhow::Error::from)?;
    let mut signalled = async || {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            _ = hangup.recv() => {}
        }
    };
    let stop = CancellationToken::new();
    let probe = Probe::new(config, stop.clone())?;
    let mut running = std::pin::pin!(probe.run());
    tokio::select! {
        report = &mut running => return Ok(report),
        () = signalled() => {}
    }
    eprintln!("stopping; what was written is being removed");
    stop.cancel();
    tokio::select! {
        report = &mut running => Ok(report),
        () = signalled() => {
            let written = probe.written();
            Err(anyhow!("stopped before everything was removed; may be left:\n  {}", written.join("\n  ")).into())
        }
    }
}

fn verdict(report: &Report) -> Result<(), Failure> {
    let mut reasons = report.conclusion.reasons.clone();
    if report.stopped {
        reasons.push("stopped by a signal".to_owned());
    }
    if !report.cleaned.is_clean() {
        reasons.push("not everything that was written could be removed".to_owned());
    }
    if reasons.is_empty() {
        return Ok(());
    }
    let headline = if report.conclusion.works {
        "the probe did not end as it should"
    } else {
        "the gateway cannot be shown to work with this upstream as configured"
    };
    Err(anyhow!("{headline}\n  {}", reasons.join("\n  ")).into())
}
