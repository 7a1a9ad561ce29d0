//! One page of any listing of the in-memory S3: prefix, delimiter, marker and limit, the way S3 counts them.

use super::memory_s3::Call;
use super::text::{uri_encode, xml_escape};

/// One page of a listing.
pub(super) struct Page {
    pub(super) keys: Vec<String>,
    pub(super) prefixes: Vec<String>,
    pub(super) truncated: bool,
    pub(super) last: String,
    max: usize,
}

impl Page {
    pub(super) fn cut<'k>(call: &Call<'_>, keys: impl Iterator<Item = &'k str>, after: &str) -> Self {
        let prefix = call.arg("prefix").unwrap_or_default();
        let delimiter = call.arg("delimiter").filter(|d| !d.is_empty());
        let max = ["max-keys", "max-uploads"].iter().find_map(|n| call.arg(n)).and_then(|n| n.parse().ok());
        let max = max.unwrap_or(1000).min(1000);
        let mut page =
            Self { keys: Vec::new(), prefixes: Vec::new(), truncated: false, last: String::new(), max };
        for key in keys.filter(|key| key.starts_with(prefix) && *key > after) {
            let folded = delimiter.and_then(|d| {
                key[prefix.len()..].find(d).map(|at| key[..prefix.len() + at + d.len()].to_owned())
            });
            if let Some(common) = &folded
                && (page.prefixes.last() == Some(common) || after == common)
            {
                continue;
            }
            if page.keys.len() + page.prefixes.len() == max {
                page.truncated = max > 0;
                break;
            }
            page.last = folded.clone().unwrap_or_else(|| key.to_owned());
            match folded {
                Some(common) => page.prefixes.push(common),
                None => page.keys.push(key.to_owned()),
            }
        }
        page
    }

    pub(super) fn echo(&self, call: &Call<'_>) -> String {
        let mut xml = format!(
            "<Prefix>{}</Prefix><MaxKeys>{}</MaxKeys><IsTruncated>{}</IsTruncated>",
            shown(call, call.arg("prefix").unwrap_or_default()),
            self.max,
            self.truncated
        );
        if let Some(delimiter) = call.arg("delimiter") {
            xml.push_str(&format!("<Delimiter>{}</Delimiter>", shown(call, delimiter)));
        }
        if call.has("encoding-type") {
            xml.push_str("<EncodingType>url</EncodingType>");
        }
        xml
    }

    pub(super) fn common_prefixes(&self, call: &Call<'_>) -> String {
        let row =
            |p: &String| format!("<CommonPrefixes><Prefix>{}</Prefix></CommonPrefixes>", shown(call, p));
        self.prefixes.iter().map(row).collect()
    }
}

/// A key as a listing shows it.
pub(super) fn shown(call: &Call<'_>, key: &str) -> String {
    if call.has("encoding-type") { uri_encode(key, true) } else { xml_escape(key) }
}
