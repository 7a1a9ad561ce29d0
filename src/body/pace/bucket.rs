//! Bytes that may flow by now, as arithmetic: filled at a rate, to a brim; time is passed in. Whole bytes times
//! nanoseconds, so that nothing is rounded at any rate. A general limiter counts in cells of whole nanoseconds,
//! and takes none back: a stream that ends before it has used what it was granted must not cost its user that.

use std::time::Duration;

use tokio::time::Instant;

/// What is granted at a time while much flows: a read of a fast stream, so that frames go out whole.
const LARGEST_GRANT: u64 = 256 * 1024;
/// What is granted at a time while little flows: less would be more head than body.
const SMALLEST_GRANT: u64 = 1024;
/// Grants in a second, between the two: each stream gets its turn often, and no timer runs for a few bytes.
const MOST_GRANTS_PER_SECOND: u64 = 100;
/// However little flows, it flows visibly, and a grant is small beside what flows in ten seconds.
const LEAST_GRANTS_PER_SECOND: u64 = 4;
/// Beside a grant, a bucket holds a 20th of a second's bytes: enough for timers that wake some milliseconds late,
/// on a machine that has other things to do. Both are all that passes at once after a pause: six hundredths of a
/// second, or half a percent of ten seconds, at most rates.
const SPARE_PER_SECOND: u64 = 20;

const SECOND: u128 = 1_000_000_000;

pub(super) struct Bucket {
    /// Bytes per second.
    rate: u64,
    /// Byte-nanoseconds.
    level: u128,
    at: Instant,
}

impl Bucket {
    /// A full one.
    pub(super) fn new(rate: u64, now: Instant) -> Self {
        let mut bucket = Self { rate: rate.max(1), level: 0, at: now };
        bucket.level = bucket.brim();
        bucket
    }

    pub(super) fn rate(&self) -> u64 {
        self.rate
    }

    /// Bytes of one grant.
    pub(super) fn grant(&self) -> u64 {
        (self.rate / MOST_GRANTS_PER_SECOND)
            .clamp(SMALLEST_GRANT, LARGEST_GRANT)
            .min(self.rate / LEAST_GRANTS_PER_SECOND)
            .max(1)
    }

    fn brim(&self) -> u128 {
        u128::from(self.grant() + self.rate / SPARE_PER_SECOND) * SECOND
    }

    fn fill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.at).as_nanos();
        self.at = self.at.max(now);
        let flowed = passed.saturating_mul(u128::from(self.rate));
        self.level = self.level.saturating_add(flowed).min(self.brim());
    }

    /// One grant, or how long until there is one.
    pub(super) fn take(&mut self, now: Instant) -> Result<u64, Duration> {
        self.fill(now);
        let grant = u128::from(self.grant()) * SECOND;
        if let Some(left) = self.level.checked_sub(grant) {
            self.level = left;
            return Ok(self.grant());
        }
        let nanos = (grant - self.level).div_ceil(u128::from(self.rate));
        // A grant is at most what flows in a second.
        Err(Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)))
    }

    /// What was granted and not used.
    pub(super) fn give_back(&mut self, bytes: u64) {
        self.level = (self.level + u128::from(bytes) * SECOND).min(self.brim());
    }

    pub(super) fn set_rate(&mut self, rate: u64, now: Instant) {
        self.fill(now);
        self.rate = rate.max(1);
        self.level = self.level.min(self.brim());
    }

    /// Whether it is what a new one would be.
    pub(super) fn is_full(&mut self, now: Instant) -> bool {
        self.fill(now);
        self.level == self.brim()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What flows in ten seconds if somebody always waits, looking when told and some time later.
    fn flows(rate: u64, late: Duration) -> u64 {
        let start = Instant::now();
        let mut bucket = Bucket::new(rate, start);
        let (mut now, mut bytes) = (start, 0);
        while now - start < Duration::from_secs(10) {
            match bucket.take(now) {
                Ok(granted) => bytes += granted,
                Err(wait) => now += wait + late,
            }
        }
        bytes
    }

    #[test]
    fn every_rate_flows_as_set_even_if_timers_are_late() {
        for rate in [1, 3, 1000, 10_007, 1 << 20, 100 << 20, 700_000_000, 5 << 30] {
            for late in [0, 1, 20] {
                let bytes = flows(rate, Duration::from_millis(late));
                let (least, most) = (rate * 950 / 100, rate * 1050 / 100 + 1);
                assert!((least..=most).contains(&bytes), "{rate} {late}: {bytes}");
            }
        }
    }

    #[test]
    fn no_rate_is_too_high() {
        let start = Instant::now();
        let mut bucket = Bucket::new(u64::MAX, start);
        for seconds in [0, 1, 100_000_000] {
            assert_eq!(bucket.take(start + Duration::from_secs(seconds)), Ok(LARGEST_GRANT));
        }
        bucket.give_back(u64::MAX);
        bucket.set_rate(0, start);
        assert_eq!(bucket.rate(), 1, "and none too low");
    }

    #[test]
    fn a_pause_fills_it_to_the_brim_and_no_further() {
        let start = Instant::now();
        let mut bucket = Bucket::new(1 << 20, start);
        while bucket.take(start).is_ok() {}
        assert!(!bucket.is_full(start));
        let later = start + Duration::from_hours(1);
        assert!(bucket.is_full(later));
        let mut bytes = 0;
        while let Ok(granted) = bucket.take(later) {
            bytes += granted;
        }
        assert!(bytes <= (1 << 20) / 16, "{bytes}");
        bucket.give_back(u64::MAX);
        assert!(bucket.is_full(later), "what comes back fills it no further either");
    }

    #[test]
    fn another_rate_holds_from_now_on() {
        let start = Instant::now();
        let mut bucket = Bucket::new(1 << 20, start);
        bucket.set_rate(1 << 10, start);
        assert!(bucket.is_full(start), "cut to the new brim");
        while bucket.take(start).is_ok() {}
        assert!(bucket.take(start).is_err_and(|wait| wait <= Duration::from_secs(1)));
    }
}
