//! The samples as a markdown table.

use std::fmt::Write as _;

use crate::process::Variant;
use crate::size::{GIB, MIB};
use crate::{Cell, Sample, Samples, Way};

pub(crate) fn render(cells: &[Cell], samples: &Samples) -> String {
    let mut out = String::from(
        "| load | way | requests/s | MB/s | p50 ms | p99 ms | CPU µs/request | CPU s/GiB | peak MiB \
         | rate ÷ direct | CPU ÷ nginx |\n|---|---|---|---|---|---|---|---|---|---|---|\n",
    );
    for ((cell, way), rounds) in samples {
        let (direct, nginx) = (samples.get(&(*cell, Way::Direct)), samples.get(&(*cell, Way::Nginx)));
        line(&mut out, cells[*cell], *way, rounds, direct, nginx).expect("a String takes everything");
    }
    out
}

fn line(
    out: &mut String,
    cell: Cell,
    way: Way,
    rounds: &[Sample],
    direct: Option<&Vec<Sample>>,
    nginx: Option<&Vec<Sample>>,
) -> std::fmt::Result {
    let size = cell.size.0 as f64;
    let of = |value: &dyn Fn(&Sample) -> f64| median(rounds.iter().map(value).collect());
    let versus = |other: Option<&Vec<Sample>>, value: &dyn Fn(&Sample) -> f64| {
        let ratios = rounds.iter().zip(other?).map(|(own, other)| value(own) / value(other));
        Some(median(ratios.collect()))
    };
    let ratio = |ratio: Option<f64>| ratio.map_or_else(|| "–".to_owned(), |ratio| format!("{ratio:.2}"));
    let name = match way {
        Way::Direct => "direct (origin's CPU)",
        Way::Gateway(Variant::Silent) => "**gateway**",
        Way::Gateway(Variant::Logging) => "gateway, access log on",
        Way::Gateway(Variant::Uncounted) => "gateway, without the ledger",
        Way::Nginx => "nginx",
    };
    let cpu_per_gib = if cell.size.0 < MIB.0 {
        "–".to_owned()
    } else {
        format!("{:.3}", of(&cpu_per_request) * GIB.0 as f64 / size)
    };
    let (to_direct, to_nginx) = match way {
        Way::Direct => (None, None),
        Way::Gateway(_) => (versus(direct, &rate), versus(nginx, &cpu_per_request)),
        Way::Nginx => (versus(direct, &rate), None),
    };
    writeln!(
        out,
        "| {} | {name} | {:.*} | {:.1} | {:.3} | {:.3} | {:.1} | {cpu_per_gib} | {:.1} | {} | {} |",
        cell.name(),
        usize::from(cell.size.0 > MIB.0),
        of(&rate),
        of(&rate) * size / 1e6,
        of(&|sample| sample.tally.p50_micros / 1e3),
        of(&|sample| sample.tally.p99_micros / 1e3),
        of(&cpu_per_request) * 1e6,
        of(&|sample| sample.peak_kib / 1024.0),
        ratio(to_direct),
        ratio(to_nginx),
    )
}

fn rate(sample: &Sample) -> f64 {
    sample.tally.requests as f64 / sample.tally.seconds
}

fn cpu_per_request(sample: &Sample) -> f64 {
    sample.cpu_seconds / sample.tally.requests as f64
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
