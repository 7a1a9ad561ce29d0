//! Sizes, durations and limits as people write them, both ways. In: text or numbers. Out: bytes,
//! [`Duration`]s, [`Limit`]s, or `None` where the text is neither.

use std::fmt;
use std::time::Duration;

/// The longest duration any key takes: no timer can overflow with it.
pub(super) const MAX_DURATION: Duration = Duration::from_hours(366 * 24);

/// The largest size any key takes, in bytes: sums of a few still fit 64 bits.
pub(super) const MAX_SIZE: u64 = 1 << 62;

/// A bound that may be absent. `"unlimited"` in the file, `null` in JSON.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Limit<T = u64> {
    Unlimited,
    At(T),
}

impl<T: PartialOrd> Limit<T> {
    /// Whether `value` is within the limit.
    pub fn allows(&self, value: &T) -> bool {
        match self {
            Self::Unlimited => true,
            Self::At(max) => value <= max,
        }
    }
}

impl<T> Limit<T> {
    pub fn at(self) -> Option<T> {
        match self {
            Self::Unlimited => None,
            Self::At(max) => Some(max),
        }
    }
}

impl Limit<usize> {
    /// The largest count any key takes; what counts as it does is far from counting so far.
    pub(super) const MOST: usize = 1 << 24;
}

impl<T: fmt::Display> fmt::Display for Limit<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unlimited => f.write_str("unlimited"),
            Self::At(max) => max.fmt(f),
        }
    }
}

const BINARY: [(&str, u64); 6] = [
    ("EiB", 1 << 60),
    ("PiB", 1 << 50),
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
];
const DECIMAL: [(&str, u64); 6] = [
    ("EB", 1_000_000_000_000_000_000),
    ("PB", 1_000_000_000_000_000),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("KB", 1_000),
];

/// `10GiB`, `10 GB`, `4096`, `4096 B`: whole numbers, units in any case.
pub fn parse_size(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok()?;
    let unit = unit.trim_start();
    let factor = if unit.is_empty() || unit.eq_ignore_ascii_case("B") {
        1
    } else {
        BINARY.iter().chain(&DECIMAL).find(|(name, _)| unit.eq_ignore_ascii_case(name))?.1
    };
    number.checked_mul(factor).filter(|&bytes| bytes <= MAX_SIZE)
}

/// The shortest exact text: the largest binary unit that divides, else plain bytes.
pub fn format_size(bytes: u64) -> String {
    match BINARY.iter().find(|(_, factor)| bytes >= *factor && bytes.is_multiple_of(*factor)) {
        Some((unit, factor)) => format!("{}{unit}", bytes / factor),
        None => bytes.to_string(),
    }
}

/// `30s`, `15m`, `24h`, `7d`, `1h 30m`, `250ms`.
pub fn parse_duration(text: &str) -> Option<Duration> {
    humantime::parse_duration(text.trim()).ok().filter(|span| *span <= MAX_DURATION)
}

/// One unit where one is exact (`24h`, not `1day`), else several.
pub fn format_duration(span: Duration) -> String {
    if span.subsec_nanos() != 0 || span.is_zero() {
        return humantime::format_duration(span).to_string();
    }
    let secs = span.as_secs();
    let day = 86_400;
    match secs {
        _ if secs > day && secs.is_multiple_of(day) => format!("{}d", secs / day),
        _ if secs.is_multiple_of(3_600) => format!("{}h", secs / 3_600),
        _ if secs > 300 && secs.is_multiple_of(60) => format!("{}m", secs / 60),
        _ => format!("{secs}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_as_people_write_them() {
        for (text, bytes) in [
            ("0", 0),
            ("4096", 4096),
            ("4096 B", 4096),
            ("10GiB", 10 << 30),
            ("10 GiB", 10 << 30),
            ("10gib", 10 << 30),
            ("10GB", 10_000_000_000),
            ("1TiB", 1 << 40),
            ("4EiB", 1 << 62),
        ] {
            assert_eq!(parse_size(text), Some(bytes), "{text}");
        }
        for text in
            ["", "GiB", "-1", "1.5GiB", "1G", "1 Gi B", "99999999999999999999", "5EiB", "1e9", "unlimited"]
        {
            assert_eq!(parse_size(text), None, "{text}");
        }
    }

    #[test]
    fn texts_are_exact_and_read_back() {
        for (bytes, text) in
            [(0, "0"), (1000, "1000"), (1 << 40, "1TiB"), (100 << 30, "100GiB"), (1536, "1536")]
        {
            assert_eq!(format_size(bytes), text);
            assert_eq!(parse_size(text), Some(bytes));
        }
        for text in ["3s", "10s", "60s", "300s", "15m", "1h", "12h", "24h", "7d", "250ms", "90s"] {
            assert_eq!(format_duration(parse_duration(text).unwrap()), text);
        }
    }

    #[test]
    fn durations_need_a_unit_and_an_end() {
        for text in ["", "10", "10 parsecs", "-1s", "10000000y"] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }

    #[test]
    fn a_limit_includes_its_bound() {
        assert!(Limit::At(5).allows(&5));
        assert!(!Limit::At(5).allows(&6));
        assert!(Limit::Unlimited.allows(&u64::MAX));
    }
}
