//! `[upstream.native]`: an API key that can sign, and that OCI knows by the fingerprint given.

use super::*;

/// A folder with keys, and the fingerprint of `rsa.pem`.
fn keys() -> (tempfile::TempDir, String) {
    let dir = tempfile::tempdir().unwrap();
    let rsa = aws_lc_rs::rsa::KeyPair::generate(aws_lc_rs::rsa::KeySize::Rsa2048).unwrap();
    let der = aws_lc_rs::encoding::AsDer::<aws_lc_rs::encoding::Pkcs8V1Der<'_>>::as_der(&rsa).unwrap();
    let pem = pem("PRIVATE KEY", der.as_ref());
    fs::write(dir.path().join("encrypted.pem"), pem.replace("PRIVATE", "ENCRYPTED PRIVATE")).unwrap();
    fs::write(dir.path().join("rsa.pem"), &pem).unwrap();
    let ec = rcgen::KeyPair::generate().unwrap().serialize_pem();
    fs::write(dir.path().join("ec.pem"), ec).unwrap();
    let fingerprint = ApiKey::from_pem(pem.as_bytes()).unwrap().fingerprint().to_owned();
    (dir, fingerprint)
}

fn pem(label: &str, der: &[u8]) -> String {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n")
}

fn native(dir: &tempfile::TempDir, key: &str, fingerprint: &str, more: &str) -> Result<Loaded, Problems> {
    let text = format!(
        "{UPSTREAM}[upstream.native]\ntenancy = \"ocid1.tenancy.oc1..t\"\nuser = \"ocid1.user.oc1..u\"\n\
         fingerprint = \"{fingerprint}\"\nkey_file = \"{key}\"\n{more}"
    );
    Config::from_toml(&text, dir.path())
}

#[test]
fn an_api_key_is_known_by_its_fingerprint() {
    let (dir, fingerprint) = keys();
    let loaded = native(&dir, "rsa.pem", &fingerprint.to_uppercase(), "").unwrap();
    let warned: Vec<_> = loaded.warnings.iter().filter(|line| line.contains("native")).collect();
    assert_eq!(warned, [""; 0], "it is built");
    let native_section = loaded.config.upstream.native.unwrap();
    assert_eq!(native_section.fingerprint, fingerprint);
    assert_eq!(native_section.endpoint, "https://objectstorage.us-phoenix-1.oraclecloud.com/");

    let other = "00:11:22:33:44:55:66:77:88:99:aa:bb:cc:dd:ee:ff";
    let problems = native(&dir, "rsa.pem", other, "").unwrap_err();
    assert_eq!(
        problems.iter().map(|problem| problem.key.as_str()).collect::<Vec<_>>(),
        ["upstream.native.fingerprint"]
    );
    let text = problems.to_string();
    assert!(text.contains(&fingerprint) && text.contains(other), "{text}");
}

#[test]
fn a_key_that_cannot_sign_is_a_problem_of_its_file() {
    let (dir, fingerprint) = keys();
    for (key, why) in [("ec.pem", "RSA"), ("encrypted.pem", "passphrase"), ("missing.pem", "readable file")] {
        let problems = native(&dir, key, &fingerprint, "").unwrap_err();
        let [problem] = &problems.iter().collect::<Vec<_>>()[..] else { panic!("{problems}") };
        assert_eq!(problem.key, "upstream.native.key_file");
        assert!(problem.expected.contains(why), "{problem}");
    }
}

#[test]
fn what_is_made_there_is_not_shown_to_the_network() {
    let (dir, fingerprint) = keys();
    let warned = |endpoint: &str| {
        let loaded = native(&dir, "rsa.pem", &fingerprint, &format!("endpoint = \"{endpoint}\"\n")).unwrap();
        loaded.warnings.iter().any(|line| line.starts_with("upstream.native.endpoint: "))
    };
    assert!(
        warned("http://oci.example.com")
            && !warned("http://127.0.0.1:1")
            && !warned("https://oci.example.com")
    );
}
