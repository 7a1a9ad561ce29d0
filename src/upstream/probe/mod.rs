//! What the upstream in hand really does. In: the configuration, and a token that stops the run. Out: a finding
//! for each question that was put to it, what they come to, and that nothing was left behind.
//!
//! It speaks to the upstream as the gateway does, with the gateway's keys and over the same kind of connection, but
//! also as clients would who were there without a gateway. Every question is bounded in time and has objects of
//! its own, all of them under one prefix that no user's keys can have; one answer never hides another, unless
//! nothing can come of asking on. It never prints, and no secret is in what it returns.
//!
//! `report` has how questions are put, `bench` and `ask` what they are put with; the questions are in the other
//! files, `clean` comes last.

mod answer;
mod ask;
mod batch;
mod bench;
mod checksums;
mod chunks;
mod clean;
mod conclusion;
mod conditions;
mod listings;
mod multipart;
mod objects;
mod pars;
mod payloads;
mod reach;
mod report;
mod signing;
mod ways;

use tokio_util::sync::CancellationToken;

pub use clean::Cleaned;
pub use conclusion::Conclusion;
pub use report::{Finding, Outcome, Report, Stake};

use crate::config::Config;
use bench::Bench;
use report::Run;
use ways::Signs;

pub struct Probe<'a> {
    config: &'a Config,
    bench: Bench,
}

impl<'a> Probe<'a> {
    /// Once `stop` is cancelled, `run` asks nothing more and cleans up.
    pub fn new(config: &'a Config, stop: CancellationToken) -> anyhow::Result<Self> {
        Ok(Self { config, bench: Bench::new(config, stop)? })
    }

    pub async fn run(&self) -> Report {
        let (bench, upstream) = (&self.bench, &self.config.upstream);
        let mut run = Run::default();
        reach::ask(&mut run, upstream).await;
        signing::ask(&mut run, bench).await;
        listings::ask(&mut run, bench).await;
        objects::ask(&mut run, bench).await;
        payloads::ask(&mut run, bench).await;
        checksums::ask(&mut run, bench).await;
        conditions::ask(&mut run, bench, upstream.dialect).await;
        batch::ask(&mut run, bench).await;
        multipart::ask(&mut run, bench).await;
        let signs: Signs = ways::ask(&mut run, bench).await;
        pars::ask(&mut run, bench, upstream).await;
        let cleaned = clean::clean(bench).await;
        let conclusion = conclusion::conclude(&run.findings, upstream.dialect, &bench.seen().clone(), &signs);
        Report { findings: run.findings, conclusion, cleaned, stopped: run.stopped }
    }

    /// Keys that may be there while a run is under way: for whoever ends it without waiting.
    pub fn written(&self) -> Vec<String> {
        self.bench.litter().keys.iter().cloned().collect()
    }
}
