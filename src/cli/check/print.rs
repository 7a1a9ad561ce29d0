//! A probe's report for people, as a table and what it comes to, and for programs, as JSON whose names stay.

use anyhow::Context as _;
use serde_json::{Value, json};

use crate::config::Loaded;
use crate::dialect::Dialect;
use crate::upstream::probe::{Finding, Outcome, Report, Stake};

pub(super) fn text(report: &Report, configured: Dialect) -> String {
    let width = |cell: fn(&Finding) -> &str| {
        report.findings.iter().map(|finding| cell(finding).chars().count()).max().unwrap_or(0)
    };
    let (names, tries) = (width(|finding| finding.name), width(|finding| finding.tried));
    let mut out = String::new();
    for finding in &report.findings {
        let mark = match finding.outcome {
            Outcome::Yes => "✓",
            Outcome::No => "✗",
            Outcome::NotTried => "–",
        };
        let not = if finding.outcome == Outcome::NotTried { "not tried: " } else { "" };
        let Finding { name, tried, came, .. } = finding;
        out.extend([format!("{mark} {name:names$}  {tried:tries$}  {not}{came}").trim_end(), "\n"]);
        if let Some(setting) = &finding.setting {
            out.extend(["  ", &" ".repeat(names), "  → ", setting, "\n"]);
        }
    }
    let conclusion = &report.conclusion;
    out.push('\n');
    if let Some(fits) = conclusion.dialect {
        let (fits, configured) = (fits.name(), configured.name());
        out.extend(["The dialect that fits is \"", fits, "\"; configured is \"", configured, "\".\n"]);
    }
    let (met, needed) = conclusion.met;
    out.extend([format!("Of {needed} things that the gateway needs, {met} are there.\n")]);
    list(&mut out, "Missing:", &conclusion.reasons);
    list(&mut out, "Clients lose:", &conclusion.losses);
    list(&mut out, "Settings to use:", &conclusion.settings);
    let cleaned = &report.cleaned;
    if cleaned.is_clean() {
        out.extend(["Nothing is left under ", &cleaned.prefix, "\n"]);
    }
    if let Some(reason) = &cleaned.unverified {
        out.extend(["It could not be seen what is left: ", reason, "\n"]);
    }
    list(&mut out, "Left behind:", &cleaned.left);
    list(&mut out, "Not there, but the upstream never said what became of them:", &cleaned.may_come);
    if conclusion.works {
        out.push_str("The gateway can work with this upstream as configured.\n");
    }
    out
}

fn list(out: &mut String, headline: &str, lines: &[String]) {
    if !lines.is_empty() {
        out.extend([headline, "\n"]);
        out.extend(lines.iter().flat_map(|line| ["  ", line, "\n"]));
    }
}

pub(super) fn json(loaded: &Loaded, report: Option<&Report>) -> anyhow::Result<Value> {
    let configuration: toml::Table =
        loaded.config.to_masked_toml().parse().context("the effective configuration is no TOML")?;
    let mut document = json!({ "configuration": configuration, "warnings": loaded.warnings });
    if let Some(report) = report {
        document["probe"] = probe(report);
    }
    Ok(document)
}

fn probe(report: &Report) -> Value {
    let (conclusion, cleaned) = (&report.conclusion, &report.cleaned);
    json!({
        "works": conclusion.works,
        "needed": conclusion.met.1,
        "met": conclusion.met.0,
        "reasons": conclusion.reasons,
        "stopped": report.stopped,
        "dialect": conclusion.dialect.map(Dialect::name),
        "losses": conclusion.losses,
        "settings": conclusion.settings,
        "findings": report.findings.iter().map(finding).collect::<Vec<_>>(),
        "cleaned": {
            "clean": cleaned.is_clean(),
            "prefix": cleaned.prefix,
            "left": cleaned.left,
            "may_come": cleaned.may_come,
            "unverified": cleaned.unverified,
        },
    })
}

fn finding(finding: &Finding) -> Value {
    let loss = match finding.stake {
        Stake::Clients(loss) => Some(loss),
        Stake::Gateway | Stake::Nobody => None,
    };
    json!({
        "name": finding.name,
        "tried": finding.tried,
        "outcome": match finding.outcome {
            Outcome::Yes => "yes",
            Outcome::No => "no",
            Outcome::NotTried => "not_tried",
        },
        "came": finding.came,
        "needed": finding.stake == Stake::Gateway,
        "loss": loss,
        "setting": finding.setting,
    })
}
