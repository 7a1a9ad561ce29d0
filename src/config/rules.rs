//! What values look like, one function per kind: hosts, addresses, URLs, names, secrets, PEM files.
//! Pure but for the PEM checks, which read the file they are given.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use base64::Engine;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use http::Uri;
use jsonwebtoken::DecodingKey;
use jsonwebtoken::jwk::JwkSet;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use super::model::MasterKey;
use super::raw::Value;
use crate::dialect::is_label;

pub(super) fn text(value: &Value) -> Option<String> {
    value.text().filter(|text| !text.is_empty()).map(str::to_owned)
}

pub(super) fn address(value: &Value) -> Option<SocketAddr> {
    value.text()?.parse().ok()
}

/// A CIDR, or one address.
pub(super) fn network(value: &Value) -> Option<ipnet::IpNet> {
    let text = value.text()?;
    text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(ipnet::IpNet::from))
}

/// `http` or `https`, an authority without credentials, and no path or query.
pub(super) fn origin(value: &Value) -> Option<Uri> {
    let uri = url(value)?;
    (uri.path() == "/" && uri.query().is_none()).then_some(uri)
}

/// `http` or `https` with an authority, no credentials in it, and a real port if any.
pub(super) fn url(value: &Value) -> Option<Uri> {
    let text = value.text()?;
    let uri: Uri = text.parse().ok()?;
    let authority = uri.authority()?;
    let http = matches!(uri.scheme_str(), Some("http" | "https"));
    let host_alone = !authority.host().is_empty() && authority.as_str() == authority.host();
    let with_port = !authority.host().is_empty() && authority.port_u16().is_some_and(|port| port > 0);
    let plain = !authority.as_str().contains('@') && !text.contains('#');
    (http && plain && (host_alone || with_port)).then_some(uri)
}

/// Whether a URL's host is this machine: what is sent there in the clear stays here.
pub(super) fn is_loopback(uri: &Uri) -> bool {
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// A DNS name (`localhost` too) that is no address; returned in lower case.
pub(super) fn host_name(value: &Value) -> Option<String> {
    let name = value.text()?.to_ascii_lowercase();
    let labels = name.split('.').collect::<Vec<_>>();
    let fits = name.len() <= 253 && name.parse::<IpAddr>().is_err();
    (fits && labels.iter().all(|label| is_label(label))).then_some(name)
}

pub(super) fn label(value: &Value) -> Option<String> {
    value.text().filter(|text| is_label(text)).map(str::to_owned)
}

/// A region as S3 services name theirs, which not all follow AWS: `us-east-1`, `RegionOne`.
pub(super) fn region(value: &Value) -> Option<String> {
    let text = value.text()?;
    let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
    ((1..=64).contains(&text.len()) && text.bytes().all(legal)).then(|| text.to_owned())
}

/// A bucket of the upstream: S3's and OCI's letters, never a path.
pub(super) fn upstream_bucket(value: &Value) -> Option<String> {
    let text = value.text()?;
    let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    ((1..=256).contains(&text.len()) && text.bytes().all(legal) && !matches!(text, "." | ".."))
        .then(|| text.to_owned())
}

/// A URI scheme (RFC 3986 §3.1), in lower case.
pub(super) fn scheme(value: &Value) -> Option<String> {
    let text = value.text()?;
    let legal = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'+' | b'-' | b'.');
    (text.starts_with(|c: char| c.is_ascii_lowercase()) && text.bytes().all(legal)).then(|| text.to_owned())
}

/// A tier's name: `[a-z0-9][a-z0-9_-]{0,31}`, so that it can stand in a variable and a metric label.
pub(super) fn is_tier_name(text: &str) -> bool {
    let legal = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'-');
    (1..=32).contains(&text.len()) && text.bytes().all(legal) && !text.starts_with(['_', '-'])
}

/// Any secret that is not a placeholder.
pub(super) fn any_secret(text: &str) -> Result<(), &'static str> {
    if is_placeholder(text) { Err("a real secret, not a placeholder") } else { Ok(()) }
}

/// A secret key of a user's access key.
pub(super) fn user_secret(text: &str) -> Result<(), &'static str> {
    if text.chars().count() < 8 || is_placeholder(text) {
        return Err("at least 8 characters, and no placeholder");
    }
    Ok(())
}

pub(super) fn admin_token(text: &str) -> Result<(), &'static str> {
    let printable = text.bytes().all(|b| b.is_ascii_graphic());
    let example = text.to_ascii_lowercase().contains("example");
    if text.chars().count() < 32 || !printable || example || is_placeholder(text) {
        return Err("at least 32 printable characters, and no placeholder");
    }
    Ok(())
}

pub(super) fn hs256_secret(text: &str) -> Result<(), &'static str> {
    if text.len() < 16 || is_placeholder(text) {
        return Err("at least 16 characters, and no placeholder");
    }
    Ok(())
}

pub(super) fn master_key(text: &str) -> Result<(), &'static str> {
    match decode_master_key(text) {
        Some(key) if key.expose().iter().any(|byte| *byte != key.expose()[0]) => Ok(()),
        Some(_) | None => Err("32 random bytes in base64, as `openssl rand -base64 32` makes them"),
    }
}

pub(super) fn decode_master_key(text: &str) -> Option<MasterKey> {
    let config = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let bytes = GeneralPurpose::new(&base64::alphabet::STANDARD, config).decode(text).ok()?;
    Some(MasterKey::new(bytes.try_into().ok()?))
}

/// What people leave in a copied example: dots, "changeme", "your-…", one character over and over.
fn is_placeholder(text: &str) -> bool {
    let lower = text.to_lowercase();
    let words = ["…", "...", "changeme", "change-me", "change_me", "placeholder", "your-", "your_"];
    let mut chars = text.chars();
    let first = chars.next();
    let repeated = chars.all(|c| Some(c) == first);
    repeated
        || words.iter().any(|word| lower.contains(word))
        || (lower.starts_with('<') && lower.ends_with('>'))
}

/// At least one certificate in PEM.
pub(super) fn pem_certificates(path: &Path) -> Result<(), String> {
    certificates(path).map(|_| ())
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let wrong = |_| "expected a readable PEM file of certificates".to_owned();
    let chain: Vec<_> =
        CertificateDer::pem_file_iter(path).map_err(wrong)?.collect::<Result<_, _>>().map_err(wrong)?;
    if chain.is_empty() { Err("expected at least one certificate in PEM".to_owned()) } else { Ok(chain) }
}

pub(super) fn pem_private_key(path: &Path) -> Result<(), String> {
    private_key(path).map(|_| ())
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, String> {
    PrivateKeyDer::from_pem_file(path)
        .map_err(|_| "expected a readable PEM file with a private key".to_owned())
}

/// Whether a certificate and a key belong together. Files that do not parse are another check's matter.
pub(super) fn pem_pair(cert: &Path, key: &Path) -> Result<(), String> {
    let (Ok(chain), Ok(key)) = (certificates(cert), private_key(key)) else {
        return Ok(());
    };
    CertifiedKey::from_der(chain, key, &rustls::crypto::aws_lc_rs::default_provider())
        .map(|_| ())
        .map_err(|error| format!("expected the private key of server.tls.cert ({error})"))
}

/// A JWK set; which of its keys are of use is for those who use them.
pub(super) fn jwk_set(path: &Path) -> Result<(), String> {
    readable(path)?;
    let set = std::fs::read(path).ok().and_then(|json| serde_json::from_slice::<JwkSet>(&json).ok());
    set.map(drop).ok_or_else(|| "expected a JWK set".to_owned())
}

/// RSA, EC or Ed25519.
pub(super) fn public_key(path: &Path) -> Result<(), String> {
    readable(path)?;
    let pem = std::fs::read_to_string(path).unwrap_or_default();
    let kinds = [DecodingKey::from_rsa_pem, DecodingKey::from_ec_pem, DecodingKey::from_ed_pem];
    let is_key = pem.contains("PUBLIC KEY-----") && kinds.iter().any(|read| read(pem.as_bytes()).is_ok());
    if is_key { Ok(()) } else { Err("expected a public key in PEM".to_owned()) }
}

/// A file that can be read and holds something.
pub(super) fn readable(path: &Path) -> Result<(), String> {
    match std::fs::read(path) {
        Ok(bytes) if bytes.is_empty() => Err("expected a file that is not empty".to_owned()),
        Ok(_) => Ok(()),
        Err(error) => Err(format!("expected a readable file: {}", error.kind())),
    }
}

#[cfg(test)]
mod tests {
    use zeroize::Zeroizing;

    use super::*;

    fn said(text: &str) -> Value {
        Value::Text(Zeroizing::new(text.to_owned()))
    }

    #[test]
    fn origins_have_no_path_and_no_credentials() {
        for good in
            ["https://s3.example.com", "https://s3.example.com/", "http://127.0.0.1:9000", "http://[::1]:1"]
        {
            assert!(origin(&said(good)).is_some(), "{good}");
        }
        for bad in [
            "",
            "s3.example.com",
            "ftp://x.y",
            "https://h/p",
            "https://h/?q",
            "https://u:p@h",
            "https://h#f",
            "http://h:99999",
            "http://h:",
            "http://h:0",
            "/",
        ] {
            assert!(origin(&said(bad)).is_none(), "{bad}");
        }
    }

    #[test]
    fn host_names_are_names() {
        assert_eq!(host_name(&said("S3.Example.com")), Some("s3.example.com".to_owned()));
        for bad in
            ["", ".example.com", "example.com.", "*.example.com", "127.0.0.1", "a_b.c", "https://x.y", "x:80"]
        {
            assert_eq!(host_name(&said(bad)), None, "{bad}");
        }
    }

    #[test]
    fn placeholders_are_no_secrets() {
        let good = "q8Zk2vN5rT7wXy1aB3cD6eF9gH0jK4mL";
        assert_eq!(admin_token(good), Ok(()));
        for bad in [
            "…",
            "short",
            &"x".repeat(40),
            "changeme-changeme-changeme-changeme",
            "your-admin-token-of-32-characters-or-more",
            "this-is-an-example-token-of-32-characters",
            "<put a token of 32 characters in here>",
        ] {
            assert!(admin_token(bad).is_err(), "{bad}");
        }
        assert!(user_secret("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY").is_ok());
        assert!(user_secret("…").is_err());
    }

    #[test]
    fn master_keys_are_32_bytes() {
        assert!(master_key("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=").is_ok());
        assert!(master_key("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8").is_ok());
        for bad in ["", "…", "AAEC", "not base64 at all", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="] {
            assert!(master_key(bad).is_err(), "{bad}");
        }
    }
}
