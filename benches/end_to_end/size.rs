//! Object sizes, as they are named in keys and in the table.

use std::fmt;
use std::str::FromStr;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Size(pub(crate) u64);

pub(crate) const KIB: Size = Size(1 << 10);
pub(crate) const MIB: Size = Size(1 << 20);
pub(crate) const GIB: Size = Size(1 << 30);

const UNITS: [(&str, Size); 3] = [("GiB", GIB), ("MiB", MIB), ("KiB", KIB)];

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = UNITS.iter().find(|(_, unit)| self.0.is_multiple_of(unit.0));
        match whole {
            Some((name, unit)) => write!(f, "{}{name}", self.0 / unit.0),
            None => write!(f, "{}", self.0),
        }
    }
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (number, unit) = UNITS
            .iter()
            .find_map(|(name, unit)| Some((text.strip_suffix(name)?, unit.0)))
            .unwrap_or((text, 1));
        let number: u64 = number.parse().map_err(|_| format!("{text} is no size"))?;
        Ok(Self(number * unit))
    }
}
