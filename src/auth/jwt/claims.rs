//! What a token with a true signature says of its user. In: the claims, the issuer's entry in the configuration, the
//! time. Out: an `Identity`, or which claim is in the way. Everything that must be there is; nothing that is missing
//! or of another type is taken for something.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value};

use super::{Identity, Refusal};
use crate::config::JwtIssuer;
use crate::types::{JobId, UserId};

/// How far clocks may be apart: enough for hosts that keep time.
const LEEWAY: Duration = Duration::from_secs(10);

/// Audience and issuer are the caller's to check.
pub(super) fn identity(
    entry: &JwtIssuer,
    claims: &Map<String, Value>,
    now: SystemTime,
) -> Result<Identity, Refusal> {
    let expires = time(claims, "exp")?.ok_or(Refusal::Claim("exp is missing"))?;
    if expires.checked_add(LEEWAY).is_some_and(|end| end <= now) {
        return Err(Refusal::Expired);
    }
    let latest = now + LEEWAY;
    if time(claims, "nbf")?.is_some_and(|begin| begin > latest) {
        return Err(Refusal::Claim("nbf is still to come"));
    }
    let issued = time(claims, "iat")?;
    if issued.is_some_and(|issued| issued > latest) {
        return Err(Refusal::Claim("iat is still to come"));
    }
    let user = claims.get(&entry.user_claim).and_then(Value::as_str).and_then(UserId::parse);
    Ok(Identity {
        user: user.ok_or(Refusal::Claim("the user's claim holds no user id"))?,
        jobs: jobs(claims.get(&entry.jobs_claim)),
        tier: claims.get(&entry.tier_claim).and_then(Value::as_str).map(str::to_owned),
        issued,
        expires,
        issuer: entry.issuer.clone(),
        audience: entry.audience.clone(),
        auto_provision: entry.auto_provision,
    })
}

/// One job, or a list. What is no job's name names none.
fn jobs(claim: Option<&Value>) -> Arc<[JobId]> {
    match claim {
        Some(Value::String(one)) => JobId::parse(one).into_iter().collect(),
        Some(Value::Array(many)) => many.iter().filter_map(Value::as_str).filter_map(JobId::parse).collect(),
        Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_)) | None => Arc::default(),
    }
}

/// A `NumericDate`: seconds since 1970, perhaps with a fraction.
fn time(claims: &Map<String, Value>, name: &'static str) -> Result<Option<SystemTime>, Refusal> {
    let Some(value) = claims.get(name) else {
        return Ok(None);
    };
    let seconds = value.as_f64().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    let time = seconds.and_then(|seconds| UNIX_EPOCH.checked_add(seconds));
    time.map(Some).ok_or(Refusal::Claim("a time claim holds no time"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::config::JwtKeys;
    use crate::types::Secret;

    fn issuer() -> JwtIssuer {
        JwtIssuer {
            issuer: "https://login.example.com/".to_owned(),
            audience: "bucketwarden".to_owned(),
            keys: JwtKeys::Hs256(Secret::new(String::new())),
            user_claim: "uid".to_owned(),
            tier_claim: "tier".to_owned(),
            jobs_claim: "jobs".to_owned(),
            auto_provision: true,
        }
    }

    fn read(edit: impl FnOnce(&mut Value)) -> Result<Identity, Refusal> {
        let mut claims = json!({ "exp": 1_100, "uid": "alice" });
        edit(&mut claims);
        let claims = claims.as_object().expect("an object");
        identity(&issuer(), claims, UNIX_EPOCH + Duration::from_secs(1_000))
    }

    #[test]
    fn times_hold_with_ten_seconds_of_grace() {
        assert!(read(|claims| claims["exp"] = json!(991)).is_ok());
        assert_eq!(read(|claims| claims["exp"] = json!(990)).unwrap_err(), Refusal::Expired);
        for name in ["nbf", "iat"] {
            assert!(read(|claims| claims[name] = json!(1_010)).is_ok(), "{name}");
            let early = read(|claims| claims[name] = json!(1_010.5)).unwrap_err();
            assert!(matches!(early, Refusal::Claim(_)), "{name}");
        }
        for bad in [json!(null), json!("1100"), json!(-1), json!(1e300), json!([1_100]), json!(true)] {
            for name in ["exp", "nbf", "iat"] {
                let refused = read(|claims| claims[name] = bad.clone()).unwrap_err();
                assert!(matches!(refused, Refusal::Claim(_)), "{name} {bad}");
            }
        }
    }

    #[test]
    fn only_a_user_id_is_a_user() {
        assert_eq!(read(|_| {}).unwrap().user.as_str(), "alice");
        for bad in [json!(null), json!(""), json!(" "), json!(7), json!(["alice"]), json!({}), json!("a/b")] {
            assert!(matches!(read(|claims| claims["uid"] = bad.clone()), Err(Refusal::Claim(_))), "{bad}");
        }
    }

    #[test]
    fn jobs_come_alone_or_in_a_list() {
        let names = |claim: Value| -> Vec<String> {
            let identity = read(|claims| claims["jobs"] = claim).unwrap();
            identity.jobs.iter().map(|job| job.as_str().to_owned()).collect()
        };
        assert_eq!(names(json!("job1")), ["job1"]);
        assert_eq!(names(json!(["job1", "a/b", 7, "job2"])), ["job1", "job2"]);
        assert!(names(json!({ "job1": true })).is_empty());
    }
}
