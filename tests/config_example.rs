//! `config.toml.example` is true: it loads, every default it shows is the built-in one, and every key there
//! is stands in it.

use std::path::Path;

use bucketwarden::config::{ApiKey, Config};

const EXAMPLE: &str = include_str!("../config.toml.example");
const SECRET: &str = "dp3xT0pS3cr3tV4lue-dp3xT0pS3cr3tV4lue";

/// A folder with every file that the example names.
fn folder() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let api_key = rcgen::KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048);
    let pair = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate");
    std::fs::create_dir(dir.path().join("secrets")).expect("a folder");
    for (name, content) in [
        ("secrets/admin_token", SECRET.to_owned()),
        ("secrets/upstream_secret", SECRET.to_owned()),
        ("secrets/master_key", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n".to_owned()),
        ("secrets/oci_api_key.pem", api_key.expect("a key").serialize_pem()),
        ("tls.crt", pair.cert.pem()),
        ("tls.key", pair.signing_key.serialize_pem()),
    ] {
        std::fs::write(dir.path().join(name), content).expect("a file");
    }
    dir
}

/// With the fingerprint of the folder's key in the place of the example's.
fn load(text: &str, dir: &Path) -> Config {
    let key = ApiKey::read(&dir.join("secrets/oci_api_key.pem")).expect("a key");
    let text = text.replace("00:11:22:33:44:55:66:77:88:99:aa:bb:cc:dd:ee:ff", key.fingerprint());
    Config::from_toml(&text, dir).map_err(|problems| problems.to_string()).expect("it loads").config
}

/// The example with its commented-out sections and keys brought to life. `keep` says which keys.
fn uncommented(keep: impl Fn(&str) -> bool) -> String {
    let line = |line: &str| match line.strip_prefix("# ") {
        Some(code) if code.starts_with('[') => code.to_owned(),
        Some(code) => match code.split_once(" = ") {
            Some((key, _)) if is_key(key) && keep(key) => code.replace("\"…\"", &format!("\"{SECRET}\"")),
            Some(_) | None => line.to_owned(),
        },
        None => line.to_owned(),
    };
    EXAMPLE.lines().map(line).collect::<Vec<_>>().join("\n")
}

fn is_key(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

#[test]
fn the_example_loads_and_shows_the_defaults() {
    let dir = folder();
    let minimal = r#"
        [admin]
        token_file = "secrets/admin_token"
        [upstream]
        namespace = "your-oci-namespace"
        region = "us-phoenix-1"
        bucket = "aiserve-storage"
        access_key_id = "0123456789abcdef"
        secret_access_key_file = "secrets/upstream_secret"
        [auth]
        master_key_file = "secrets/master_key"
    "#;
    assert_eq!(load(EXAMPLE, dir.path()), load(minimal, dir.path()));
}

#[test]
fn the_example_is_warned_of_what_it_names_and_is_not_built() {
    let loaded = Config::from_toml(EXAMPLE, folder().path()).expect("it loads");
    let expected = ["server.proxy_protocol", "[telemetry]"];
    let warned: Vec<_> = loaded.warnings.iter().filter_map(|line| Some(line.split_once(": ")?.0)).collect();
    assert_eq!(warned, expected);
}

#[test]
fn the_optional_parts_load_too_and_show_their_defaults() {
    let dir = folder();
    // Of several ways to say one thing, one.
    let others = ["token", "master_key", "jwks_file", "public_key_file", "hs256_secret"];
    let config = load(&one_secret(&uncommented(|key| !others.contains(&key))), dir.path());
    assert!(config.server.tls.is_some() && config.upstream.previous.is_some());
    assert_eq!(config.buckets.len(), 4);
    assert_eq!(config.users[0].access_keys.len(), 1);

    // The same without the lines that show a default.
    let shown = [
        "audience",
        "user_claim",
        "tier_claim",
        "jobs_claim",
        "auto_provision",
        "max_expiry",
        "tier",
        "role",
    ];
    let bare = uncommented(|key| !others.contains(&key) && !shown.contains(&key));
    assert_eq!(load(&one_secret(&bare), dir.path()), config);
}

/// The upstream's own secret stands in a file; its commented-out direct form stays out.
fn one_secret(text: &str) -> String {
    text.replacen(&format!("secret_access_key = \"{SECRET}\""), "", 1)
}

#[test]
fn every_key_stands_in_the_example() {
    // A repeated section header is another item of the array; the text is no valid TOML any more, and
    // need not be: only headers and names count here.
    let mut section = String::new();
    let mut shown = Vec::new();
    for line in uncommented(|_| true).lines() {
        if let Some(header) = line.strip_prefix("[[") {
            section = format!("{}[]", header.split("]]").next().expect("a header"));
        } else if let Some(header) = line.strip_prefix('[') {
            section = header.split(']').next().expect("a header").to_owned();
        } else if let Some((key, _)) = line.split_once(" = ")
            && is_key(key)
        {
            shown.push(format!("{section}.{key}"));
        }
    }
    for key in Config::keys() {
        let key = key.replace("tiers.*", "tiers.default").replace("users[].access_keys", "users.access_keys");
        assert!(shown.contains(&key), "{key} is not in config.toml.example");
    }
}
