//! SigV4 as a client does it, without any of the gateway's code: what the benches send is verified by other
//! hands than signed it.

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};
use time::OffsetDateTime;
use time::macros::format_description;

pub(crate) const REGION: &str = "us-east-1";
pub(crate) const UNSIGNED_PAYLOAD: &str = "UNSIGNED-PAYLOAD";

/// One access key at one moment.
pub(crate) struct Signer {
    access_key_id: &'static str,
    key: [u8; 32],
    /// `20130524T000000Z`
    pub(crate) amz_date: String,
}

/// What is signed. Headers are lower-case and sorted, and all of them are signed.
pub(crate) struct Signed<'a> {
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
    pub(crate) query: &'a str,
    pub(crate) headers: &'a [(&'a str, &'a str)],
    pub(crate) payload: &'a str,
}

impl Signer {
    pub(crate) fn new(access_key_id: &'static str, secret: &str, time: OffsetDateTime) -> Self {
        let format = format_description!("[year][month][day]T[hour][minute][second]Z");
        let amz_date = time.format(format).expect("a date of our time");
        let date_key = hmac(format!("AWS4{secret}").as_bytes(), &amz_date[..8]);
        Self {
            access_key_id,
            key: [REGION, "s3", "aws4_request"].into_iter().fold(date_key, |key, part| hmac(&key, part)),
            amz_date,
        }
    }

    pub(crate) fn scope(&self) -> String {
        format!("{}/{REGION}/s3/aws4_request", &self.amz_date[..8])
    }

    /// The value of an `Authorization` header.
    pub(crate) fn authorization(&self, request: &Signed<'_>) -> String {
        format!(
            "AWS4-HMAC-SHA256 Credential={}/{}, SignedHeaders={}, Signature={}",
            self.access_key_id,
            self.scope(),
            request.signed_headers(),
            self.signature(request),
        )
    }

    pub(crate) fn signature(&self, request: &Signed<'_>) -> String {
        let mut canonical = format!("{}\n{}\n{}\n", request.method, request.path, request.query);
        for (name, value) in request.headers {
            canonical.push_str(&format!("{name}:{value}\n"));
        }
        canonical.push_str(&format!("\n{}\n{}", request.signed_headers(), request.payload));
        let text = format!(
            "AWS4-HMAC-SHA256\n{}\n{}\n{}",
            self.amz_date,
            self.scope(),
            hex(&Sha256::digest(canonical).into()),
        );
        hex(&hmac(&self.key, &text))
    }
}

impl Signed<'_> {
    fn signed_headers(&self) -> String {
        let names: Vec<&str> = self.headers.iter().map(|(name, _)| *name).collect();
        names.join(";")
    }
}

fn hmac(key: &[u8], text: &str) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().into()
}

fn hex(bytes: &[u8; 32]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
