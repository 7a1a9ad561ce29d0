//! What the findings come to: can the gateway work with this upstream, which dialect fits it, and what do clients
//! lose. Pure.

use super::bench::Seen;
use super::report::{Finding, Outcome, Stake};
use super::ways::Signs;
use crate::dialect::Dialect;

#[derive(Debug)]
pub struct Conclusion {
    pub works: bool,
    /// How much of what the gateway needs is there, of how much.
    pub met: (usize, usize),
    /// Why it does not work.
    pub reasons: Vec<String>,
    /// The dialect that the upstream speaks; `None` if it said too little.
    pub dialect: Option<Dialect>,
    pub losses: Vec<String>,
    pub settings: Vec<String>,
}

pub(super) fn conclude(findings: &[Finding], configured: Dialect, seen: &Seen, signs: &Signs) -> Conclusion {
    let needed = || findings.iter().filter(|finding| finding.stake == Stake::Gateway);
    let mut reasons: Vec<String> = needed()
        .filter(|finding| finding.outcome == Outcome::No)
        .map(|finding| format!("{}: {}", finding.name, finding.came))
        .collect();
    let untried: Vec<&Finding> = needed().filter(|finding| finding.outcome == Outcome::NotTried).collect();
    if let Some(first) = untried.first() {
        reasons.push(format!("{} needed answers are missing: {}", untried.len(), first.came));
    }
    let met = needed().filter(|finding| finding.outcome == Outcome::Yes).count();
    let losses = findings.iter().filter_map(|finding| match finding.stake {
        Stake::Clients(loss) if finding.outcome == Outcome::No => Some(format!("{loss} ({})", finding.name)),
        Stake::Clients(_) | Stake::Gateway | Stake::Nobody => None,
    });
    let let_in =
        findings.iter().any(|finding| finding.name == "signing.key" && finding.outcome == Outcome::Yes);
    let dialect = dialect(seen, signs, let_in);
    let mut settings: Vec<String> = findings.iter().filter_map(|finding| finding.setting.clone()).collect();
    if let Some(fits) = dialect.filter(|fits| *fits != configured) {
        settings.push(format!("upstream.dialect = \"{}\"", fits.name()));
    }
    Conclusion {
        works: reasons.is_empty(),
        met: (met, needed().count()),
        reasons,
        dialect,
        losses: losses.collect(),
        settings,
    }
}

/// OCI names its requests in a header of its own, and writes its errors the other way round. That a service is not OCI
/// is shown by what it does for whom it lets in.
fn dialect(seen: &Seen, signs: &Signs, let_in: bool) -> Option<Dialect> {
    let names_requests_so = seen.headers.contains_key("opc-request-id");
    if names_requests_so || signs.message_before_code {
        Some(Dialect::Oci)
    } else {
        let_in.then_some(Dialect::S3)
    }
}
