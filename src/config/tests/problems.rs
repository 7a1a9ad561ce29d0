//! Every problem at once, and nothing secret ever printed.

use super::*;

#[test]
fn every_problem_shows_at_once_with_its_line() {
    let problems = Config::from_toml(
        r#"[server]
listen = "nowhere"
max_connections = 0
header_timeout = "0s"
colour = "blue"
public_url = "https://x.example.com/path"
[server.tls]
cert = "missing.crt"
[admin]
token = "short"
[upstream]
dialect = "azure"
region = 5
[auth]
master_key = "AAEC"
regions = ["us-east-1", ""]
[quota]
refusal_status = 503
[[users]]
id = "a/b"
tier = "gold"
[logs]
"#,
        Path::new("/base"),
    )
    .unwrap_err();
    let text = problems.to_string();
    for line in [
        "config:2:10: server.listen: expected an address",
        "config:3:19: server.max_connections: ",
        "config:4:18: server.header_timeout: ",
        "config:5:10: server.colour: unknown key; expected one of listen, ",
        "config:6:14: server.public_url: ",
        "config:7:1: server.tls.key: missing",
        "config:8:8: server.tls.cert: expected a readable PEM file",
        "config:10:9: admin.token: expected at least 32 printable characters",
        "config:12:11: upstream.dialect: ",
        "config:13:10: upstream.region: ",
        "upstream.bucket: missing",
        "upstream.access_key_id: missing",
        "upstream.secret_access_key: missing",
        "config:15:14: auth.master_key: ",
        "config:16:25: auth.regions[1]: ",
        "config:18:18: quota.refusal_status: expected 429 or \"s3\"",
        "config:20:6: users[0].id: ",
        "config:21:8: users[0].tier: expected one of default, premium",
        "config:22:1: logs: unknown key",
    ] {
        assert!(text.contains(line), "{line}\n--- in ---\n{text}");
    }
    assert_eq!(text.lines().count(), problems.iter().count());
}

#[test]
fn what_is_no_toml_is_said_without_its_line() {
    let text = format!("[admin]\ntoken = \"{SECRET}\n[server]\nlisten = \"nowhere\"\nlisten = = 5\n");
    let problems = Config::from_toml(&text, Path::new("/base")).unwrap_err().to_string();
    assert!(problems.contains("config:2:"), "{problems}");
    assert!(problems.contains("config:4:10: server.listen"), "{problems}");
    assert!(!problems.contains(SECRET) && !problems.contains("missing"), "{problems}");
}

#[test]
fn no_value_ever_shows_in_a_problem() {
    let lines = [
        "[server]\nlisten = \"S\"",
        "[admin]\ntoken = \"S\"",
        "[admin]\ntoken_file = \"S\"",
        "[auth]\nmaster_key = \"S\"",
        "[state]\nurl = \"S\"",
        "[state]\nurl = [\"S\"]",
        "[log]\nlevel = \"S\"",
        "[telemetry]\notlp_endpoint = \"http://u:S@h\"",
        "[[users]]\nid = \"u1\"\naccess_keys = [{ id = \"a b\", secret = \"S\" }]",
        "[[users]]\nid = \"u1\"\naccess_keys = [\"S\"]",
        "[[auth.jwt]]\nissuer = \"i\"\nhs256_secret = \"S",
    ];
    for line in lines {
        let problems = toml(&line.replace('S', SECRET)).unwrap_err();
        assert!(!format!("{problems} {problems:?}").contains(SECRET), "{problems}");
    }
}

#[test]
fn secrets_never_print() {
    let config = good(&format!(
        r#"previous = {{ access_key_id = "OLD", secret_access_key = "{SECRET}-previous" }}
[admin]
token = "{TOKEN}"
[auth]
master_key = "{MASTER_KEY}"
[[auth.jwt]]
issuer = "https://login.example.com/"
hs256_secret = "{SECRET}-and-more-of-it"
[state]
url = "rediss://user:{SECRET}@cache:6379/0"
[[users]]
id = "alice"
access_keys = [{{ id = "AKALICE", secret = "{SECRET}-alice" }}]
"#
    ));
    let (debug, masked) = (format!("{config:?}"), config.to_masked_toml());
    for text in [&debug, &masked] {
        for secret in [SECRET, TOKEN, MASTER_KEY, "[0, 1, 2, 3"] {
            assert!(!text.contains(secret), "{text}");
        }
    }
    let table: toml::Table = masked.parse().unwrap();
    assert_eq!(table["admin"]["token"].as_str(), Some("********"));
    assert_eq!(table["state"]["url"].as_str(), Some("rediss://********@cache:6379/0"));
    assert_eq!(table["users"][0]["access_keys"][0]["id"].as_str(), Some("AKALICE"));
}

#[test]
fn the_masked_text_reads_back_to_the_same() {
    let config = good(
        "[tiers.premium]\nrequests_per_second = \"unlimited\"\n[server]\ntrusted_proxies = [\"10.0.0.0/8\"]\n",
    );
    let text = config.to_masked_toml().replace("\"********\"", &format!("\"{SECRET}\""));
    assert_eq!(Config::from_toml(&text, Path::new("/base")).unwrap_or_else(|p| panic!("{p}")).config, config);
}

/// A file that gives `key` a value that nothing takes.
fn nonsense(key: &str) -> String {
    let (head, rest) = key.split_once('.').map_or((key, None), |(head, rest)| (head, Some(rest)));
    let inner = rest.map_or_else(|| "1.5".to_owned(), |rest| format!("{{ {} }}", nonsense(rest)));
    match head.strip_suffix("[]") {
        Some(array) => format!("{array} = [{inner}]"),
        None => format!("{head} = {inner}"),
    }
}

#[test]
fn every_key_is_read() {
    for key in Config::keys() {
        let key = key.replace("tiers.*", "tiers.default");
        let list = matches!(key.as_str(), "server.trusted_proxies" | "auth.regions");
        let shape = if list { format!("{key}[]") } else { key.clone() };
        let problems = Config::from_toml(&nonsense(&shape), Path::new("/base")).unwrap_err();
        let path = shape.replace("[]", "[0]");
        assert!(
            problems.iter().any(|p| p.key == path && p.position.is_some()),
            "{path} is ignored:\n{problems}"
        );
    }
}
