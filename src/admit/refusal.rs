//! What a refused upload is told: one text for both surfaces, and code and status as `quota.refusal_status`
//! says. In: the account's refusal, with its numbers. Out: an `Error` that S3 callers get as XML and all others
//! as JSON.

use std::time::Duration;

use http::StatusCode;

use crate::account::Refusal;
use crate::config::RefusalStatus;
use crate::error::{Code, Error};

const WHERE_LIMITS_ARE: &str = "Check /api/v1/quota for current limits";

impl Refusal {
    /// The sentence of the contract.
    pub fn message(&self) -> String {
        match self {
            Self::FileSize { size, max } => {
                format!("Upload denied: file size {size} bytes exceeds maximum allowed {max} bytes")
            }
            Self::Storage { used, adds, max } => format!(
                "Upload denied: storage quota exceeded: current {used} + upload {adds} > limit {max} bytes"
            ),
            Self::Hourly { count, max, .. } => {
                format!("Upload denied: hourly upload limit reached: {count}/{max} uploads")
            }
            Self::Daily { count, max, .. } => {
                format!("Upload denied: daily upload limit reached: {count}/{max} uploads")
            }
            Self::OpenUploads { count, max } => {
                format!("Upload denied: open multipart upload limit reached: {count}/{max} uploads")
            }
        }
    }

    /// Until the oldest place leaves its window: whole seconds, and never too early.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Hourly { retry_after, .. } | Self::Daily { retry_after, .. } => {
                Some(Duration::from_secs(retry_after.div_ceil(1000)))
            }
            Self::FileSize { .. } | Self::Storage { .. } | Self::OpenUploads { .. } => None,
        }
    }

    pub fn to_error(&self, mode: RefusalStatus) -> Error {
        let code = match (self, mode) {
            (Self::FileSize { .. }, _) => Code::EntityTooLarge,
            (Self::Storage { .. }, _) => Code::QuotaExceeded,
            (_, RefusalStatus::Status429) => Code::TooManyUploads,
            (_, RefusalStatus::S3) => Code::SlowDown,
        };
        let status = match mode {
            RefusalStatus::Status429 => StatusCode::TOO_MANY_REQUESTS,
            RefusalStatus::S3 => code.status(),
        };
        let error =
            Error::new(code).with_status(status).say(self.message()).detail(Error::QUOTA, WHERE_LIMITS_ARE);
        match self.retry_after() {
            Some(wait) => error.retry_after(wait),
            None => error,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::s3::xml;

    #[test]
    fn refusals_read_as_the_contract_has_them() {
        let storage = Refusal::Storage { used: 107_374_182_300, adds: 200, max: 107_374_182_400 };
        let hourly = Refusal::Hourly { count: 50, max: 50, retry_after: 1001 };
        let daily = Refusal::Daily { count: 501, max: 500, retry_after: 1 };
        let (by_default, s3) = (RefusalStatus::Status429, RefusalStatus::S3);
        for (refusal, mode, status, code, retry_after, message) in [
            (
                Refusal::FileSize { size: 11, max: 10 },
                by_default,
                429,
                "EntityTooLarge",
                None,
                "Upload denied: file size 11 bytes exceeds maximum allowed 10 bytes",
            ),
            (
                Refusal::FileSize { size: 11, max: 10 },
                s3,
                400,
                "EntityTooLarge",
                None,
                "Upload denied: file size 11 bytes exceeds maximum allowed 10 bytes",
            ),
            (
                storage,
                by_default,
                429,
                "QuotaExceeded",
                None,
                "Upload denied: storage quota exceeded: current 107374182300 + upload 200 > limit 107374182400 bytes",
            ),
            (
                storage,
                s3,
                403,
                "QuotaExceeded",
                None,
                "Upload denied: storage quota exceeded: current 107374182300 + upload 200 > limit 107374182400 bytes",
            ),
            (
                hourly,
                by_default,
                429,
                "TooManyUploads",
                Some(2),
                "Upload denied: hourly upload limit reached: 50/50 uploads",
            ),
            (
                hourly,
                s3,
                503,
                "SlowDown",
                Some(2),
                "Upload denied: hourly upload limit reached: 50/50 uploads",
            ),
            (
                daily,
                by_default,
                429,
                "TooManyUploads",
                Some(1),
                "Upload denied: daily upload limit reached: 501/500 uploads",
            ),
            (
                daily,
                s3,
                503,
                "SlowDown",
                Some(1),
                "Upload denied: daily upload limit reached: 501/500 uploads",
            ),
            (
                Refusal::OpenUploads { count: 100, max: 100 },
                by_default,
                429,
                "TooManyUploads",
                None,
                "Upload denied: open multipart upload limit reached: 100/100 uploads",
            ),
            (
                Refusal::OpenUploads { count: 100, max: 100 },
                s3,
                503,
                "SlowDown",
                None,
                "Upload denied: open multipart upload limit reached: 100/100 uploads",
            ),
        ] {
            let error = refusal.to_error(mode);
            assert_eq!(error.status(), status, "{refusal:?}");
            assert_eq!(error.code.as_str(), code, "{refusal:?}");
            assert_eq!(error.message(), message);
            assert_eq!(error.retry_after_secs(), retry_after, "{refusal:?}");
        }
    }

    #[test]
    fn both_surfaces_say_where_the_limits_are() {
        let error = Refusal::FileSize { size: 2, max: 1 }.to_error(RefusalStatus::Status429);
        let document = xml::write_error(&error, "/datasets/x", "ID");
        assert!(document.contains("<Quota>Check /api/v1/quota for current limits</Quota>"), "{document}");
        assert_eq!(
            error.to_json(),
            "{\"error\":\"Upload denied: file size 2 bytes exceeds maximum allowed 1 bytes\",\
             \"quota\":\"Check /api/v1/quota for current limits\"}"
        );
    }
}
