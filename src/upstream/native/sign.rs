//! OCI's request signature, version 1: RSASSA-PKCS1-v1_5 with SHA-256 over the request target, the date and the host,
//! and over the body's length, type and digest where there is a body. In: what goes on the wire, byte by byte. Out:
//! the headers that were signed, and `Authorization`.
//! Follows <https://docs.oracle.com/en-us/iaas/Content/API/Concepts/signingrequests.htm>
//! (draft-cavage-http-signatures-08).

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::RSA_PKCS1_SHA256;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use sha2::{Digest as _, Sha256};

use crate::config::ApiKey;

const REQUEST_TARGET: &str = "(request-target)";
const CONTENT_SHA256: &str = "x-content-sha256";

pub(super) struct Signer {
    key: ApiKey,
    /// `<tenancy>/<user>/<fingerprint>`.
    key_id: String,
}

/// One request, as it goes on the wire.
#[derive(Clone, Copy)]
pub(super) struct Head<'a> {
    pub(super) method: &'a Method,
    /// Path and query.
    pub(super) target: &'a str,
    pub(super) host: &'a str,
    pub(super) date: &'a str,
    /// JSON.
    pub(super) body: Option<&'a [u8]>,
}

impl Signer {
    pub(super) fn new(key: ApiKey, tenancy: &str, user: &str) -> Self {
        let key_id = format!("{tenancy}/{user}/{}", key.fingerprint());
        Self { key, key_id }
    }

    /// All headers of the request.
    pub(super) fn headers(&self, head: Head<'_>) -> HeaderMap {
        let signed = signed(head);
        let names = signed.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(" ");
        let signature = STANDARD.encode(self.sign(signing_string(&signed).as_bytes()));
        let authorization = format!(
            "Signature version=\"1\",headers=\"{names}\",keyId=\"{}\",algorithm=\"rsa-sha256\",signature=\"{signature}\"",
            self.key_id
        );
        let value =
            |text: &str| HeaderValue::from_str(text).expect("ids, hosts, paths and dates are printable");
        let mut headers = HeaderMap::new();
        for (name, text) in &signed {
            if *name != REQUEST_TARGET {
                headers.insert(HeaderName::from_static(name), value(text));
            }
        }
        headers.insert(header::AUTHORIZATION, value(&authorization));
        headers
    }

    fn sign(&self, text: &[u8]) -> Vec<u8> {
        let pair = self.key.pair();
        let mut signature = vec![0; pair.public_modulus_len()];
        pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), text, &mut signature)
            .expect("a checked key of 2048 bits or more signs any digest");
        signature
    }
}

/// What is signed, in the order in which OCI documents it.
fn signed(head: Head<'_>) -> Vec<(&'static str, String)> {
    let Head { method, target, host, date, body } = head;
    let mut signed = vec![
        (header::DATE.as_str(), date.to_owned()),
        (REQUEST_TARGET, format!("{} {target}", method.as_str().to_ascii_lowercase())),
        (header::HOST.as_str(), host.to_owned()),
    ];
    if let Some(body) = body {
        signed.push((header::CONTENT_LENGTH.as_str(), body.len().to_string()));
        signed.push((header::CONTENT_TYPE.as_str(), "application/json".to_owned()));
        signed.push((CONTENT_SHA256, STANDARD.encode(Sha256::digest(body))));
    }
    signed
}

fn signing_string(signed: &[(&str, String)]) -> String {
    signed.iter().map(|(name, value)| format!("{name}: {value}")).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::config::ApiKey;

    // The requests of Oracle's page, whose date names the wrong day of the week.
    const DATE: &str = "Thu, 05 Jan 2014 21:31:40 GMT";
    const HOST: &str = "iaas.us-phoenix-1.oraclecloud.com";
    const TENANCY: &str = "ocid1.tenancy.oc1..aaaaaaaaba3pv6wkcr4jqae5f15p2b2m2yt2j6rx32uzr4h25vqstifsfdsq";
    const USER: &str = "ocid1.user.oc1..aaaaaaaat5nvwcna5j6aqzjcaty5eqbb6qt2jvpkanghtgdaqedqw3rynjq";
    const INSTANCES: &str = "/20160918/instances?availabilityDomain=Pjwf%3A%20PHX-AD-1&compartmentId=ocid1.compartment.oc1..aaaaaaaam3we6vgnherjq5q2idnccdflvjsnog7mlr6rtdb25gilchfeyjxa&displayName=TeamXInstances&volumeId=ocid1.volume.oc1.phx.abyhqljrgvttnlx73nmrwfaux7kcvzfs3s66izvxf2h4lgvyndsdsnoiwr5q";
    const BODY: &str = r#"{
    "compartmentId": "ocid1.compartment.oc1..aaaaaaaam3we6vgnherjq5q2idnccdflvjsnog7mlr6rtdb25gilchfeyjxa",
    "instanceId": "ocid1.instance.oc1.phx.abuw4ljrlsfiqw6vzzxb43vyypt4pkodawglp3wqxjqofakrwvou52gb6s5a",
    "volumeId": "ocid1.volume.oc1.phx.abyhqljrgvttnlx73nmrwfaux7kcvzfs3s66izvxf2h4lgvyndsdsnoiwr5q"
}"#;

    fn get() -> Head<'static> {
        Head { method: &Method::GET, target: INSTANCES, host: HOST, date: DATE, body: None }
    }

    fn post() -> Head<'static> {
        let target = "/20160918/volumeAttachments";
        Head { method: &Method::POST, target, host: HOST, date: DATE, body: Some(BODY.as_bytes()) }
    }

    // Written out by hand from the page.
    fn by_hand(head: &Head<'_>) -> String {
        let generic = |target: &str| format!("date: {DATE}\n(request-target): {target}\nhost: {HOST}");
        match head.body {
            None => generic(&format!("get {INSTANCES}")),
            Some(_) => [
                generic("post /20160918/volumeAttachments").as_str(),
                "content-length: 316",
                "content-type: application/json",
                "x-content-sha256: V9Z20UJTvkvpJ50flBzKE32+6m2zJjweHpDMX/U4Uy0=",
            ]
            .join("\n"),
        }
    }

    #[test]
    fn signing_strings_are_those_of_the_documentation() {
        for head in [get(), post()] {
            assert_eq!(signing_string(&signed(head)), by_hand(&head));
        }
    }

    #[test]
    fn openssl_verifies_what_is_signed() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name).to_str().expect("a path").to_owned();
        let openssl = |arguments: &[&str]| {
            let ran = Command::new("openssl").args(arguments).output().expect("openssl runs");
            (ran.status.success(), String::from_utf8_lossy(&ran.stdout).into_owned())
        };
        let (private, public) = (at("private"), at("public"));
        assert!(openssl(&["genrsa", "-out", &private, "2048"]).0);
        assert!(openssl(&["rsa", "-in", &private, "-pubout", "-out", &public]).0);
        let key = ApiKey::read(private.as_ref()).expect("a key");
        let key_id = format!("{TENANCY}/{USER}/{}", key.fingerprint());
        let signer = Signer::new(key, TENANCY, USER);
        for (head, names) in [
            (get(), "date (request-target) host"),
            (post(), "date (request-target) host content-length content-type x-content-sha256"),
        ] {
            let headers = signer.headers(head);
            let authorization = headers["authorization"].to_str().expect("text");
            let start = format!(
                "Signature version=\"1\",headers=\"{names}\",keyId=\"{key_id}\",algorithm=\"rsa-sha256\",signature=\""
            );
            let signature = authorization.strip_prefix(&start).and_then(|rest| rest.strip_suffix('"'));
            let signature = STANDARD.decode(signature.expect("the documented form")).expect("base64");
            std::fs::write(at("signature"), signature).expect("a file");
            for (text, verified) in [(by_hand(&head), true), (by_hand(&head) + "\n", false)] {
                std::fs::write(at("text"), text).expect("a file");
                let (signature, text) = (at("signature"), at("text"));
                let ran = openssl(&["dgst", "-sha256", "-verify", &public, "-signature", &signature, &text]);
                assert_eq!(ran.0, verified, "{}", ran.1);
            }
            // What is signed is what is sent.
            let sent = |name: &str| headers.get(name).map(|value| value.to_str().expect("text").to_owned());
            for name in names.split(' ').filter(|name| *name != REQUEST_TARGET) {
                assert!(by_hand(&head).contains(&format!("{name}: {}", sent(name).expect("sent"))), "{name}");
            }
        }
    }
}
