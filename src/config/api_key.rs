//! An OCI API key: the RSA key that signs calls of OCI's native API. In: a PEM file, PKCS#8 or PKCS#1, not encrypted.
//! Out: the key pair, and the fingerprint by which OCI knows it. What is wrong is said without quoting the file.
//! Follows <https://docs.oracle.com/en-us/iaas/Content/API/Concepts/apisigningkey.htm>.

use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
use aws_lc_rs::rsa::KeyPair;
use aws_lc_rs::signature::KeyPair as _;
use md5::{Digest as _, Md5};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use zeroize::Zeroizing;

/// A PEM of 8,192 bits is 6 KiB.
const MAX_FILE: u64 = 64 * 1024;

pub struct ApiKey {
    pair: KeyPair,
    fingerprint: String,
}

impl ApiKey {
    /// What was expected, if it is something else.
    pub fn read(path: &Path) -> Result<Self, String> {
        let unreadable = |error: std::io::Error| format!("expected a readable file: {}", error.kind());
        let mut pem = Zeroizing::new(Vec::new());
        File::open(path).map_err(unreadable)?.take(MAX_FILE).read_to_end(&mut pem).map_err(unreadable)?;
        Self::from_pem(&pem)
    }

    pub fn from_pem(pem: &[u8]) -> Result<Self, String> {
        // PKCS#8 says so in its label, PKCS#1 in its `Proc-Type`.
        if memchr::memmem::find(pem, b"ENCRYPTED").is_some() {
            return Err("expected a private key without a passphrase; this one is encrypted".to_owned());
        }
        let der = PrivateKeyDer::from_pem_slice(pem)
            .map_err(|_| "expected a PEM file with a private key".to_owned())?;
        let pair = match &der {
            PrivateKeyDer::Pkcs8(der) => KeyPair::from_pkcs8(der.secret_pkcs8_der()),
            PrivateKeyDer::Pkcs1(der) => KeyPair::from_der(der.secret_pkcs1_der()),
            _ => return Err("expected an RSA private key".to_owned()),
        };
        let pair = pair.map_err(|_| "expected an RSA private key of 2048 to 8192 bits".to_owned())?;
        let public = pair.public_key().as_der().map_err(|_| "expected an RSA private key".to_owned())?;
        Ok(Self { fingerprint: fingerprint(&public), pair })
    }

    /// 16 hex pairs, as OCI shows them.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    pub fn pair(&self) -> &KeyPair {
        &self.pair
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ApiKey({})", self.fingerprint)
    }
}

/// OCI's: MD5 of the public key, a DER `SubjectPublicKeyInfo`.
fn fingerprint(public: &PublicKeyX509Der<'_>) -> String {
    let pairs = Md5::digest(public.as_ref());
    pairs.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":")
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// What the openssl program makes.
    fn openssl(arguments: &[&str]) -> Vec<u8> {
        let made = Command::new("openssl").args(arguments).output().expect("openssl runs");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        made.stdout
    }

    #[test]
    fn keys_are_read_in_both_forms_and_known_by_the_fingerprint_that_openssl_computes() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name).to_str().expect("a path").to_owned();
        let (pkcs8, pkcs1, public) = (at("pkcs8"), at("pkcs1"), at("public"));
        openssl(&["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", &pkcs8]);
        openssl(&["rsa", "-in", &pkcs8, "-traditional", "-out", &pkcs1]);
        openssl(&["rsa", "-in", &pkcs8, "-pubout", "-outform", "DER", "-out", &public]);
        let shown = String::from_utf8(openssl(&["md5", "-c", &public])).expect("text");
        let expected = shown.trim().rsplit_once(' ').expect("a digest").1;
        // OCI's own console ends the file that it makes with a label.
        let labelled = [openssl(&["pkey", "-in", &pkcs8]), b"OCI_API_KEY\n".to_vec()].concat();
        std::fs::write(at("labelled"), labelled).expect("a file");
        for form in [pkcs8, pkcs1, at("labelled")] {
            let key = ApiKey::read(Path::new(&form)).expect("a key");
            assert_eq!(key.fingerprint(), expected, "{form}");
            assert_eq!(format!("{key:?}"), format!("ApiKey({expected})"));
        }
    }

    #[test]
    fn what_cannot_sign_says_why() {
        let pem = |arguments: &[&str]| ApiKey::from_pem(&openssl(arguments)).expect_err("no key of ours");
        let rsa = |bits: &'static str| ["genrsa", "-traditional", bits];
        assert!(pem(&rsa("1024")).contains("2048"));
        for encrypted in [
            &["genrsa", "-traditional", "-aes128", "-passout", "pass:hunter2", "2048"][..],
            &["genrsa", "-aes128", "-passout", "pass:hunter2", "2048"],
        ] {
            assert!(pem(encrypted).contains("encrypted"));
        }
        assert!(pem(&["genpkey", "-algorithm", "ED25519"]).contains("RSA"));
        assert!(pem(&["ecparam", "-genkey", "-noout", "-name", "prime256v1"]).contains("RSA"));
        for text in ["", "hunter2", "-----BEGIN PRIVATE KEY-----\nhunter2\n-----END PRIVATE KEY-----\n"] {
            let problem = ApiKey::from_pem(text.as_bytes()).expect_err("no key");
            assert!(problem.contains("private key") && !problem.contains("hunter2"), "{problem}");
        }
    }
}
