//! OCI's native API, where the configuration has a key for it: a signed list of pre-authenticated requests, which
//! makes nothing. Independent of the S3 face, whose keys and clock it does not share.

use http::StatusCode;

use super::bench::Bench;
use super::report::{Cut, Run, Stake, Tried, Verdict};
use crate::config;
use crate::upstream::native::{Failure, Native};

pub(super) async fn ask(run: &mut Run, bench: &Bench, upstream: &config::Upstream) {
    run.unblock();
    let pars_are_for = Stake::Clients("pre-authenticated requests cannot be made");
    run.ask(
        "native.pars",
        "a signed list of pre-authenticated requests",
        pars_are_for,
        list(bench, upstream),
    )
    .await;
}

async fn list(bench: &Bench, upstream: &config::Upstream) -> Tried {
    let native = Native::new(upstream).map_err(|error| Cut::Step(format!("{error:#}")))?;
    let native = native.ok_or_else(|| Cut::Step("[upstream.native] is not configured".to_owned()))?;
    let key = bench.key("never-put");
    let listed = tokio::select! {
        listed = native.pars_named("bucketwarden probe", &key) => listed,
        () = bench.limits().stop.cancelled_owned() => return Err(Cut::Stopped),
    };
    Ok(match listed {
        Ok(_) => Verdict::yes("signed, and answered"),
        Err(failure) => {
            let verdict = Verdict::no(super::answer::reason(&failure));
            match failure {
                Failure::Refused(StatusCode::UNAUTHORIZED, _) => verdict
                    .setting("check upstream.native.user, .tenancy, .fingerprint and this machine's clock"),
                Failure::Refused(StatusCode::NOT_FOUND | StatusCode::FORBIDDEN, _) => verdict.setting(
                    "let upstream.native.user manage the bucket's pre-authenticated requests (PAR_MANAGE)",
                ),
                Failure::Refused(..) | Failure::Unreachable(_) | Failure::Lost(_) => verdict,
            }
        }
    })
}
