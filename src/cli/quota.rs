//! `bucketwarden quota`: what one user, or every user, has and may.

use clap::Args;
use serde_json::json;

use super::admin::{Gateway, user_path};
use super::table::{pretty, size, table};
use super::{Failure, runtime};
use crate::api::quota::Quota;

#[derive(Args)]
pub(super) struct Arguments {
    /// The user; without one, all of them
    user: Option<String>,
    /// Print the gateway's JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    gateway: Gateway,
}

const QUOTA: &str = "/api/v1/admin/quota";

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let api = arguments.gateway.connect()?;
    let text = runtime()?.block_on(async {
        if let Some(user) = &arguments.user {
            let quota: Quota = api.get(&user_path(QUOTA, user)?).await?;
            return if arguments.json { pretty(&quota) } else { Ok(rows(&[quota])) };
        }
        let quotas: Vec<Quota> = api.list(QUOTA, "users").await?;
        if arguments.json { pretty(&json!({ "users": quotas })) } else { Ok(rows(&quotas)) }
    })?;
    print!("{text}");
    Ok(())
}

fn rows(quotas: &[Quota]) -> String {
    const HEADER: [&str; 8] =
        ["USER", "TIER", "USED", "RESERVED", "LIMIT", "USED %", "LAST HOUR", "LAST DAY"];
    let of = |count: u64, limit: Option<u64>| {
        format!("{count}/{}", limit.map_or_else(|| "unlimited".to_owned(), |limit| limit.to_string()))
    };
    let row = |quota: &Quota| {
        let (storage, rate) = (&quota.storage, &quota.rate_limits);
        vec![
            quota.user_id.clone(),
            quota.tier.clone(),
            size(storage.used_bytes),
            size(storage.reserved_bytes),
            storage.limit_bytes.map_or_else(|| "unlimited".to_owned(), size),
            storage.used_pct.map_or_else(|| "-".to_owned(), |percent| format!("{percent:.1}")),
            of(rate.uploads_last_hour, rate.hourly_limit),
            of(rate.uploads_last_day, rate.daily_limit),
        ]
    };
    table(&HEADER, &quotas.iter().map(row).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_per_user() {
        let quota = |text| serde_json::from_str::<Quota>(text).expect("a document");
        let quotas = [
            quota(
                r#"{"user_id":"alice","tier":"default",
                "storage":{"used_bytes":52428800000,"reserved_bytes":0,"limit_bytes":107374182400,"used_pct":48.8},
                "file_size":{"max_bytes":10737418240},
                "rate_limits":{"uploads_last_hour":12,"hourly_limit":50,"uploads_last_day":87,"daily_limit":500}}"#,
            ),
            quota(
                r#"{"user_id":"bob","tier":"premium",
                "storage":{"used_bytes":1,"reserved_bytes":2048,"limit_bytes":null,"used_pct":null},
                "file_size":{"max_bytes":null},
                "rate_limits":{"uploads_last_hour":0,"hourly_limit":null,"uploads_last_day":0,"daily_limit":null}}"#,
            ),
        ];
        let expected = "\
USER      TIER      USED  RESERVED      LIMIT  USED %    LAST HOUR     LAST DAY
alice  default  48.8 GiB       0 B  100.0 GiB    48.8        12/50       87/500
bob    premium       1 B   2.0 KiB  unlimited       -  0/unlimited  0/unlimited
";
        assert_eq!(rows(&quotas), expected);
    }
}
