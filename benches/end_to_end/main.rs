//! What the gateway costs, measured from outside: `cargo bench --bench end_to_end`. Clients send a signed load
//! to a fast origin directly, through the gateway, and through nginx as a plain proxy where there is one, in
//! turn, so that all of them meet the same machine. Every party is a process of its own, so that the kernel
//! keeps their accounts apart. Numbers are medians over the rounds; ratios are medians of each round's ratio.
//!
//! `--slow-clients N` measures memory instead; `--smoke` does a little of everything, quickly, and is also
//! what `cargo test --all-targets` runs. `BUCKETWARDEN_BIN` names another program than the one just built.

#![allow(
    clippy::as_conversions,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "statistics are made of rounded numbers"
)]
#![allow(
    clippy::format_push_string,
    clippy::format_collect,
    reason = "short texts, made before the clock runs"
)]

mod http;
mod load;
mod origin;
mod process;
mod sign;
mod size;
mod slow;
mod table;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::{Parser, ValueEnum as _};
use load::{Method, Tally};
use process::{Gateway, Nginx, Role, Variant, cpu_seconds, memory_kib, reset_peak_memory};
use size::{GIB, KIB, MIB, Size};
use slow::Habit;

#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    role: Option<Other>,
    /// How often each cell is measured
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// How long a cell is measured, at least
    #[arg(long, default_value_t = 2000)]
    millis: u64,
    /// Only cells whose name ("GET 1KiB x32") holds this; may be given several times
    #[arg(long)]
    only: Vec<String>,
    /// Leave nginx out
    #[arg(long)]
    without_nginx: bool,
    /// Measure memory with this many slow clients of each kind
    #[arg(long, value_name = "N")]
    slow_clients: Option<usize>,
    /// Tiny and quick; any failed request is an error
    #[arg(long)]
    smoke: bool,
    /// What `cargo bench` says
    #[arg(long, hide = true)]
    bench: bool,
}

/// What the child processes are.
#[derive(clap::Subcommand)]
enum Other {
    #[command(hide = true)]
    Origin(origin::Arguments),
    #[command(hide = true)]
    Load(load::Arguments),
    #[command(hide = true)]
    Slow(slow::Arguments),
}

fn main() -> ExitCode {
    let mut arguments = Arguments::parse();
    let done = match &arguments.role {
        Some(Other::Origin(arguments)) => origin::run(arguments).map_err(Into::into),
        Some(Other::Load(arguments)) => load::run(arguments).map_err(Into::into),
        Some(Other::Slow(arguments)) => slow::run(arguments).map_err(Into::into),
        None => {
            arguments.smoke |= !arguments.bench;
            measure(&arguments)
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("Error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn measure(arguments: &Arguments) -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    println!("Load average before: {}\n", load_average());
    if arguments.smoke {
        load_cells(arguments, dir.path(), &smoke_cells())?;
        slow_clients(dir.path(), 8, Duration::from_millis(200))?;
    } else if let Some(clients) = arguments.slow_clients {
        slow_clients(dir.path(), clients, Duration::from_secs(10))?;
    } else {
        load_cells(arguments, dir.path(), &all_cells())?;
    }
    println!("\nLoad average after: {}", load_average());
    Ok(())
}

fn load_average() -> String {
    std::fs::read_to_string("/proc/loadavg")
        .map_or_else(|_| "unknown".to_owned(), |text| text.trim().to_owned())
}

/// One kind of load.
#[derive(Clone, Copy)]
pub(crate) struct Cell {
    pub(crate) method: Method,
    pub(crate) size: Size,
    pub(crate) connections: usize,
    /// Measured with this gateway too, besides the one that is as shipped.
    also: Option<Variant>,
}

impl Cell {
    fn new(method: Method, size: Size, connections: usize) -> Self {
        let also = match (method, size, connections) {
            (Method::Get, KIB, 32) => Some(Variant::Logging),
            (Method::Put, KIB, _) => Some(Variant::Uncounted),
            (Method::Get | Method::Put, _, _) => None,
        };
        Self { method, size, connections, also }
    }

    pub(crate) fn name(self) -> String {
        format!("{} {} x{}", self.method.name(), self.size, self.connections)
    }
}

fn all_cells() -> Vec<Cell> {
    let mut cells = Vec::new();
    for method in [Method::Get, Method::Put] {
        for size in [KIB, MIB, GIB] {
            let connections: &[usize] = if size == GIB { &[1] } else { &[1, 32, 256] };
            cells.extend(connections.iter().map(|&connections| Cell::new(method, size, connections)));
        }
    }
    cells
}

fn smoke_cells() -> Vec<Cell> {
    let shapes = [(KIB, 1), (KIB, 32), (MIB, 4), (Size(16 * MIB.0), 1)];
    let methods = [Method::Get, Method::Put].into_iter();
    methods
        .flat_map(|method| shapes.map(|(size, connections)| Cell::new(method, size, connections)))
        .collect()
}

/// Where the load goes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Way {
    Direct,
    Gateway(Variant),
    Nginx,
}

/// One cell, one way, one round.
#[derive(Clone)]
pub(crate) struct Sample {
    pub(crate) tally: Tally,
    /// Of whoever stands in the middle; of the origin, where nobody does.
    pub(crate) cpu_seconds: f64,
    pub(crate) peak_kib: f64,
}

pub(crate) type Samples = BTreeMap<(usize, Way), Vec<Sample>>;

fn load_cells(arguments: &Arguments, dir: &Path, cells: &[Cell]) -> anyhow::Result<()> {
    let wanted =
        |name: &str| arguments.only.is_empty() || arguments.only.iter().any(|only| name.contains(only));
    let cells: Vec<Cell> = cells.iter().copied().filter(|cell| wanted(&cell.name())).collect();
    let (rounds, millis) = if arguments.smoke { (1, 200) } else { (arguments.rounds, arguments.millis) };
    let mut origin = Role::start(&["origin"])?;
    let upstream: SocketAddr = origin.hear()?.parse()?;
    let variants = [Variant::Silent, Variant::Logging, Variant::Uncounted];
    let gateways = variants.map(|variant| Ok((variant, Gateway::start(dir, upstream, variant)?)));
    let gateways = gateways.into_iter().collect::<anyhow::Result<Vec<_>>>()?;
    let nginx = if arguments.without_nginx { None } else { Nginx::start(dir, upstream)? };
    let mut ways = vec![(Way::Direct, upstream, vec![origin.id()])];
    ways.extend(
        gateways.iter().map(|(variant, gateway)| (Way::Gateway(*variant), gateway.address, gateway.ids())),
    );
    ways.extend(nginx.iter().map(|nginx| (Way::Nginx, nginx.address, nginx.ids())));
    let mut samples = Samples::new();
    for round in 0..rounds {
        for (i, cell) in cells.iter().enumerate() {
            eprintln!("round {} of {rounds}: {}", round + 1, cell.name());
            for (way, address, ids) in &ways {
                let of_all = matches!(way, Way::Direct | Way::Gateway(Variant::Silent) | Way::Nginx);
                if !of_all && *way != cell.also.map_or(Way::Direct, Way::Gateway) {
                    continue;
                }
                let sample = run_load(*cell, *address, ids, millis)
                    .with_context(|| format!("{}, {way:?}", cell.name()))?;
                samples.entry((i, *way)).or_default().push(sample);
            }
        }
    }
    print!("{}", table::render(&cells, &samples));
    let failures: Vec<String> = samples
        .iter()
        .flat_map(|((cell, way), samples)| samples.iter().map(move |sample| (cell, way, &sample.tally)))
        .filter_map(|(cell, way, tally)| {
            let first = tally.first_failure.as_ref()?;
            Some(format!("{}, {way:?}: {} failed: {first}", cells[*cell].name(), tally.failures))
        })
        .collect();
    anyhow::ensure!(failures.is_empty(), "requests failed:\n{}", failures.join("\n"));
    Ok(())
}

fn run_load(cell: Cell, address: SocketAddr, ids: &[u32], millis: u64) -> anyhow::Result<Sample> {
    let mut load = Role::start(&[
        "load",
        "--to",
        &address.to_string(),
        "--method",
        &cell.method.name().to_lowercase(),
        "--size",
        &cell.size.to_string(),
        "--connections",
        &cell.connections.to_string(),
        "--millis",
        &millis.to_string(),
    ])?;
    load.hear_ready()?;
    reset_peak_memory(ids)?;
    let before = cpu_seconds(ids)?;
    load.say_go()?;
    let tally = serde_json::from_str(&load.hear()?)?;
    Ok(Sample { tally, cpu_seconds: cpu_seconds(ids)? - before, peak_kib: memory_kib(ids, "VmHWM")? })
}

/// What a thousand slow clients may cost: this, and this for each.
const MEMORY_AT_REST_KIB: f64 = 64.0 * 1024.0;
const MEMORY_PER_CLIENT_KIB: f64 = 256.0;

fn slow_clients(dir: &Path, clients: usize, watch: Duration) -> anyhow::Result<()> {
    println!(
        "| {clients} slow clients | idle MiB | RSS MiB | peak MiB | peak KiB per client | allowed MiB | |"
    );
    println!("|---|---|---|---|---|---|---|");
    for habit in Habit::value_variants() {
        let mut origin = Role::start(&["origin", "--send-buffer", "131072"])?;
        let upstream: SocketAddr = origin.hear()?.parse()?;
        let gateway = Gateway::start(dir, upstream, Variant::Silent)?;
        let ids = gateway.ids();
        let idle = memory_kib(&ids, "VmRSS")?;
        let name = habit.to_possible_value().context("a habit has a name")?;
        let mut slow = Role::start(&[
            "slow",
            "--to",
            &gateway.address.to_string(),
            "--habit",
            name.get_name(),
            "--clients",
            &clients.to_string(),
        ])?;
        slow.hear_ready()?;
        let mut resident = idle;
        let until = Instant::now() + watch;
        while Instant::now() < until {
            std::thread::sleep(watch / 20);
            resident = memory_kib(&ids, "VmRSS")?.max(resident);
        }
        let peak = memory_kib(&ids, "VmHWM")?;
        let allowed = MEMORY_AT_REST_KIB + MEMORY_PER_CLIENT_KIB * clients as f64;
        println!(
            "| {} | {:.1} | {:.1} | {:.1} | {:.0} | {:.0} | {} |",
            habit.says(),
            idle / 1024.0,
            resident / 1024.0,
            peak / 1024.0,
            (peak - idle) / clients as f64,
            allowed / 1024.0,
            if peak <= allowed { "kept" } else { "broken" },
        );
    }
    Ok(())
}
