//! Times and credential scopes as SigV4 writes them: `20130524T000000Z` and `20130524/us-east-1/s3/aws4_request`.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use time::format_description::BorrowedFormatItem;
use time::macros::format_description;
use time::{OffsetDateTime, PrimitiveDateTime};

const AMZ_DATE: &[BorrowedFormatItem<'_>] = format_description!("[year][month][day]T[hour][minute][second]Z");

/// Parses `20130524T000000Z`; nothing else, and nothing before 1970.
pub fn parse_amz_date(text: &str) -> Option<SystemTime> {
    if text.len() != 16 {
        return None;
    }
    let seconds = PrimitiveDateTime::parse(text, AMZ_DATE).ok()?.assume_utc().unix_timestamp();
    Some(UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).ok()?))
}

pub fn format_amz_date(time: SystemTime) -> String {
    OffsetDateTime::from(time).format(AMZ_DATE).expect("the format has no fallible part for years to 9999")
}

/// `2013-05-24T00:00:00Z`, as error details show times.
pub fn format_iso(time: SystemTime) -> String {
    const ISO: &[BorrowedFormatItem<'_>] =
        format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]Z");
    OffsetDateTime::from(time).format(ISO).expect("the format has no fallible part for years to 9999")
}

/// Access key and scope, as a client presents them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Credential<'a> {
    pub access_key_id: &'a str,
    /// `20130524`
    pub date: &'a str,
    pub region: &'a str,
    pub service: &'a str,
    pub terminal: &'a str,
    /// The four scope parts as one text.
    pub scope: &'a str,
}

impl<'a> Credential<'a> {
    /// Exactly five parts.
    pub fn parse(text: &'a str) -> Option<Self> {
        let (access_key_id, scope) = text.split_once('/')?;
        let mut parts = scope.split('/');
        let (date, region, service, terminal) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let complete = parts.next().is_none() && !access_key_id.is_empty();
        complete.then_some(Self { access_key_id, date, region, service, terminal, scope })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_round_trip_and_bad_ones_do_not_parse() {
        let time = parse_amz_date("20130524T000000Z").expect("valid");
        assert_eq!(format_amz_date(time), "20130524T000000Z");
        assert_eq!(format_iso(time), "2013-05-24T00:00:00Z");
        for bad in
            ["", "03032006", "20130524T000000", "20131324T000000Z", "20130524T250000Z", "19690524T000000Z"]
        {
            assert_eq!(parse_amz_date(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_credential_has_five_parts() {
        let credential = Credential::parse("AK/20130524/us-east-1/s3/aws4_request").expect("valid");
        assert_eq!(credential.access_key_id, "AK");
        assert_eq!(credential.scope, "20130524/us-east-1/s3/aws4_request");
        for bad in ["", "AK", "AK/d/r/s3", "AK/d/r/s3/aws4_request/x", "/d/r/s3/aws4_request"] {
            assert_eq!(Credential::parse(bad), None, "{bad}");
        }
    }
}
