//! The limits of `[tiers.*]` by name: what each is counted in, what it may be, and how it is written. One table
//! for the file, for the environment and for whoever else takes a limit from people, such as the admin API.

use super::model::Tier;
use super::units::{Limit, MAX_SIZE, format_size, parse_size};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Unit {
    /// Bytes, or bytes per second.
    Bytes,
    /// Requests or uploads.
    Count,
}

macro_rules! limits {
    ($($name:ident $field:ident $unit:ident from $least:literal;)*) => {
        /// A key of `[tiers.*]`.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
        pub enum LimitKey { $($name),* }

        impl LimitKey {
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// The key as it stands in the file.
            pub fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($field)),* }
            }

            fn unit(self) -> Unit {
                match self { $(Self::$name => Unit::$unit),* }
            }

            /// Zero where it means "none may", one where it would mean nothing.
            pub fn least(self) -> u64 {
                match self { $(Self::$name => $least),* }
            }
        }

        impl Tier {
            pub fn limit(&self, key: LimitKey) -> Limit {
                match key { $(LimitKey::$name => self.$field),* }
            }

            pub fn limit_mut(&mut self, key: LimitKey) -> &mut Limit {
                match key { $(LimitKey::$name => &mut self.$field),* }
            }
        }
    };
}

limits! {
    MaxStorage max_storage Bytes from 0;
    MaxFileSize max_file_size Bytes from 0;
    UploadsPerHour uploads_per_hour Count from 0;
    UploadsPerDay uploads_per_day Count from 0;
    RequestsPerSecond requests_per_second Count from 1;
    Burst burst Count from 1;
    UploadRate upload_rate Bytes from 1;
    DownloadRate download_rate Bytes from 1;
    MaxConcurrentRequests max_concurrent_requests Count from 1;
    MaxOpenMultipartUploads max_open_multipart_uploads Count from 0;
}

impl LimitKey {
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|key| key.name() == name)
    }

    fn most(self) -> u64 {
        match self.unit() {
            Unit::Bytes => MAX_SIZE,
            Unit::Count => u64::from(u32::MAX),
        }
    }

    /// What a value must be, as a phrase.
    pub fn expected(self) -> String {
        let least = self.least();
        match self.unit() {
            Unit::Bytes => format!("a size of at least {least}, such as \"10GiB\", or \"unlimited\""),
            Unit::Count => format!("a whole number from {least} to {}, or \"unlimited\"", self.most()),
        }
    }

    /// A value written as a number.
    pub fn from_number(self, number: u64) -> Option<Limit> {
        (self.least()..=self.most()).contains(&number).then_some(Limit::At(number))
    }

    /// A value written as text: a size, or `unlimited`.
    pub fn from_text(self, text: &str) -> Option<Limit> {
        match (text, self.unit()) {
            ("unlimited", _) => Some(Limit::Unlimited),
            (_, Unit::Bytes) => self.from_number(parse_size(text)?),
            (_, Unit::Count) => None,
        }
    }

    /// A value that was right when it was stored. What is too little by now is the least that may be.
    pub fn from_stored(self, value: Option<u64>) -> Limit {
        value.map_or(Limit::Unlimited, |number| Limit::At(number.max(self.least())))
    }

    /// The shortest exact way to write a value; `None` where that is the plain number.
    pub fn text(self, limit: Limit) -> Option<String> {
        match (limit, self.unit()) {
            (Limit::Unlimited, _) => Some(limit.to_string()),
            (Limit::At(_), Unit::Count) => None,
            (Limit::At(bytes), Unit::Bytes) => Some(format_size(bytes)).filter(|text| text.ends_with('B')),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_limit_has_its_own_place_in_a_tier() {
        let mut tier = Tier::shipped_default();
        for (number, &key) in (1_000..).zip(LimitKey::ALL) {
            assert_eq!(LimitKey::from_name(key.name()), Some(key));
            *tier.limit_mut(key) = Limit::At(number);
        }
        for (number, &key) in (1_000..).zip(LimitKey::ALL) {
            assert_eq!(tier.limit(key), Limit::At(number), "{key:?}");
        }
        assert_eq!((tier.max_storage, tier.burst), (Limit::At(1_000), Limit::At(1_005)));
        assert_eq!(LimitKey::from_name("max_storages"), None);
    }

    #[test]
    fn what_is_written_reads_back() {
        for &key in LimitKey::ALL {
            for limit in [Limit::Unlimited, Limit::At(1), Limit::At(1 << 30), Limit::At((1 << 30) + 1)] {
                let read = match key.text(limit) {
                    Some(text) => key.from_text(&text),
                    None => key.from_number(limit.at().unwrap()),
                };
                assert_eq!(read, Some(limit), "{key:?}");
            }
        }
        assert_eq!(LimitKey::MaxStorage.text(Limit::At(10 << 30)).as_deref(), Some("10GiB"));
        assert_eq!(LimitKey::UploadRate.from_stored(Some(0)), Limit::At(1));
        assert_eq!(LimitKey::MaxStorage.from_stored(Some(0)), Limit::At(0));
    }
}
