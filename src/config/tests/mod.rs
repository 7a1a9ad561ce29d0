//! The configuration as a whole, section by section; who is believed and what is said in modules of their own.

mod native;
mod problems;
mod sources;

use std::fs;
use std::net::SocketAddr;
use std::time::Duration;

use super::*;
use crate::dialect::Dialect;
use crate::types::Role;

const SECRET: &str = "dp3xT0pS3cr3tV4lue";
const TOKEN: &str = "q8Zk2vN5rT7wXy1aB3cD6eF9gH0jK4mL";
const MASTER_KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const UPSTREAM: &str = r#"
[upstream]
namespace = "ns1"
region = "us-phoenix-1"
bucket = "real"
access_key_id = "AK1"
secret_access_key = "dp3xT0pS3cr3tV4lue"
"#;

/// A minimal file with more lines after it.
fn toml(more: &str) -> Result<Loaded, Problems> {
    Config::from_toml(&format!("{UPSTREAM}{more}"), Path::new("/base"))
}

fn good(more: &str) -> Config {
    toml(more).unwrap_or_else(|problems| panic!("{problems}")).config
}

/// The keys with a problem.
fn bad(more: &str) -> Vec<String> {
    toml(more).unwrap_err().iter().map(|problem| problem.key.clone()).collect()
}

fn env(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// Loads from a folder with these files and variables.
fn load(file: Option<&str>, dot_env: Option<&str>, variables: &[(&str, &str)]) -> Result<Loaded, Problems> {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("etc")).unwrap();
    fs::write(dir.path().join("secret"), format!("{SECRET}\n")).unwrap();
    fs::write(dir.path().join("etc/secret"), format!("etc-{SECRET}\r\n")).unwrap();
    if let Some(text) = file {
        fs::write(dir.path().join("etc/config.toml"), text).unwrap();
    }
    if let Some(text) = dot_env {
        fs::write(dir.path().join(".env.local"), text).unwrap();
    }
    Config::load(&Sources {
        file: file.map(|_| PathBuf::from("etc/config.toml")),
        env: env(variables),
        working_dir: dir.path().to_owned(),
    })
}

const OCI: [(&str, &str); 5] = [
    ("OCI_STORAGE_NAMESPACE", "envns"),
    ("OCI_STORAGE_REGION", "us-ashburn-1"),
    ("OCI_STORAGE_BUCKET", "envbucket"),
    ("OCI_ACCESS_KEY_ID", "ENVAK"),
    ("OCI_SECRET_ACCESS_KEY", SECRET),
];

#[test]
fn a_minimal_file_has_every_default() {
    let config = good("");
    assert_eq!(config.server.listen, SocketAddr::from(([0, 0, 0, 0], 8080)));
    assert_eq!(config.admin.listen, SocketAddr::from(([127, 0, 0, 1], 9090)));
    assert_eq!(
        config.upstream.endpoint,
        "https://ns1.compat.objectstorage.us-phoenix-1.oci.customer-oci.com/"
    );
    assert_eq!(config.auth.regions, ["us-phoenix-1", "us-east-1"]);
    assert_eq!(config.tiers, Tier::shipped());
    assert_eq!(config.uri.bucket, "real");
    assert_eq!(config.state, State::Redb("/base/state.redb".into()));
    let names: Vec<_> = config.buckets.iter().map(|bucket| bucket.name.as_str()).collect();
    assert_eq!(names, ["datasets", "models", "logs"]);
}

#[test]
fn endpoints_follow_the_dialect() {
    let upstream = |lines: &str| {
        let text = format!(
            "[upstream]\nbucket = \"b\"\naccess_key_id = \"AKI\"\nsecret_access_key = \"abcdefgh\"\n{lines}"
        );
        Config::from_toml(&text, Path::new("/base")).map(|loaded| loaded.config.upstream)
    };
    let derived = "https://ns1.compat.objectstorage.us-phoenix-1.oci.customer-oci.com/";
    let native =
        upstream("namespace = \"ns1\"\nendpoint = \"https://objectstorage.us-phoenix-1.oraclecloud.com\"")
            .unwrap();
    assert_eq!(native.endpoint, derived);
    assert_eq!(native.region, "us-phoenix-1");
    let with_path = "endpoint = \"https://objectstorage.us-phoenix-1.oraclecloud.com/n/ns1/b/x/o\"";
    assert_eq!(upstream(with_path).unwrap().endpoint, derived);
    let other_region = format!("region = \"us-ashburn-1\"\n{with_path}");
    assert!(upstream(&other_region).unwrap_err().to_string().contains("another region"));
    let s3_face = "endpoint = \"https://ns1.compat.objectstorage.us-phoenix-1.oci.customer-oci.com\"";
    for endpoint in [with_path, s3_face] {
        let refused = upstream(&format!("namespace = \"ns2\"\n{endpoint}")).unwrap_err().to_string();
        assert!(refused.contains("another namespace"), "{refused}");
        assert_eq!(upstream(&format!("namespace = \"ns1\"\n{endpoint}")).unwrap().endpoint, derived);
    }
    let overridden = upstream("region = \"us-phoenix-1\"\nendpoint = \"http://127.0.0.1:9000\"").unwrap();
    assert_eq!(overridden.endpoint, "http://127.0.0.1:9000/");

    let s3 = upstream("dialect = \"s3\"\nendpoint = \"https://s3.example.com\"").unwrap();
    assert_eq!((s3.dialect, s3.region.as_str()), (Dialect::S3, "us-east-1"));
    assert!(upstream("dialect = \"s3\"").unwrap_err().to_string().contains("upstream.endpoint: missing"));
    assert!(upstream(&format!("dialect = \"s3\"\n{with_path}")).is_err());
    let in_host = "endpoint = \"https://vhcompat.objectstorage.us-phoenix-1.oci.customer-oci.com\"";
    assert!(upstream(in_host).unwrap_err().to_string().contains("expected a path-style endpoint"));
    assert!(upstream("dialect = \"s3\"\nendpoint = \"https://s3.example.com/bucket\"").is_err());
}

#[test]
fn tiers_stand_on_the_shipped_default() {
    let config = good(
        "[tiers.default]\nburst = 9\n[tiers.premium]\nmax_storage = \"unlimited\"\n[tiers.lab]\nrequests_per_second = \"unlimited\"\nburst = 5\n",
    );
    let shipped = Tier::shipped_default();
    assert_eq!(config.tiers["premium"], Tier { max_storage: Limit::Unlimited, ..shipped.clone() });
    let lab = Tier { requests_per_second: Limit::Unlimited, burst: Limit::Unlimited, ..shipped };
    assert_eq!(config.tiers["lab"], lab);
    assert_eq!(
        bad("[tiers.Gold]\nburst = 0\nmax_storage = -1\nupload_rate = \"fast\"\n"),
        ["tiers.Gold", "tiers.Gold.max_storage", "tiers.Gold.burst", "tiers.Gold.upload_rate"]
    );
}

#[test]
fn buckets_never_share_a_key() {
    let config = good(
        "[[buckets]]\nname = \"runs\"\nprefix = \"runs/\"\nscope = \"job\"\n[[buckets]]\nname = \"whole\"\nview = \"platform\"\n",
    );
    assert_eq!(config.buckets[0].access, Access::ReadOnly);
    assert!(!config.buckets[0].counts_towards_quota);
    assert_eq!(config.buckets[1].kind, BucketKind::PlatformView);
    let bucket = |name: &str, rest: &str| format!("[[buckets]]\nname = \"{name}\"\n{rest}\n");
    let user = "prefix = \"data/{user_id}/\"";
    assert_eq!(
        bad(&(bucket("one", user) + &bucket("two", "prefix = \"data/\"\nscope = \"job\""))),
        ["buckets[1].prefix"]
    );
    assert_eq!(
        bad(&(bucket("one", user) + &bucket("one", "prefix = \"other/{user_id}/\""))),
        ["buckets[1].name"]
    );
    for rest in ["", "prefix = \"data/\"", "prefix = \"/{user_id}/\"", "prefix = \"{user_id}/../\""] {
        assert_eq!(bad(&bucket("one", rest)), ["buckets[0].prefix"], "{rest}");
    }
    assert_eq!(bad(&bucket("api", user)), ["buckets[0].name"]);
    assert_eq!(bad(&bucket("one", &format!("{user}\nscope = \"job\""))), ["buckets[0].prefix"]);
    assert_eq!(bad(&bucket("one", &format!("{user}\nview = \"platform\""))), ["buckets[0].prefix"]);
    assert_eq!(bad("buckets = 5"), ["upstream.buckets"]);
}

#[test]
fn users_and_keys_are_one_each() {
    let user = |id: &str, key: &str, secret: &str| {
        format!(
            "[[users]]\nid = \"{id}\"\nrole = \"service\"\naccess_keys = [{{ id = \"{key}\", secret = \"{secret}\" }}]\n"
        )
    };
    let config = good(&user("alice", "AK1", SECRET));
    assert_eq!((config.users[0].role, config.users[0].tier.as_str()), (Role::Service, "default"));
    assert_eq!(config.users[0].access_keys[0].secret.expose(), SECRET);
    assert_eq!(bad(&(user("alice", "AK1", SECRET) + &user("alice", "AK2", SECRET))), ["users[1].id"]);
    assert_eq!(
        bad(&(user("alice", "AK1", SECRET) + &user("bob", "AK1", SECRET))),
        ["users[1].access_keys[0].id"]
    );
    assert_eq!(bad(&user("alice", "AK1", "short")), ["users[0].access_keys[0].secret"]);
    assert_eq!(bad(&user("alice", "AK1", "…")), ["users[0].access_keys[0].secret"]);
}

#[test]
fn issuers_have_one_source_of_keys() {
    let issuer = |rest: &str| format!("[[auth.jwt]]\nissuer = \"i\"\n{rest}\n");
    assert_eq!(good(&issuer("jwks_url = \"http://127.0.0.1:1/jwks\"")).auth.jwt[0].user_claim, "sub");
    assert_eq!(bad(&issuer("")), ["auth.jwt[0]"]);
    assert_eq!(
        bad(&issuer("jwks_url = \"https://x/j\"\nhs256_secret = \"0123456789abcdef\"")),
        ["auth.jwt[0]"]
    );
    assert_eq!(bad(&issuer("jwks_url = \"http://login.example.com/j\"")), ["auth.jwt[0].jwks_url"]);
    let ed25519 = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n-----END PUBLIC KEY-----\n";
    let file = tempfile::NamedTempFile::new().unwrap();
    for (key, right, wrong) in
        [("jwks_file", "{\"keys\":[]}", "<html>"), ("public_key_file", ed25519, "-----BEGIN PUBLIC KEY-----")]
    {
        let said = issuer(&format!("{key} = \"{}\"", file.path().display()));
        fs::write(file.path(), right).unwrap();
        good(&said);
        fs::write(file.path(), wrong).unwrap();
        assert_eq!(bad(&said), [format!("auth.jwt[0].{key}")]);
    }
    assert_eq!(
        bad("[auth.sts]\nmax_duration = \"13h\"\ndefault_duration = \"1m\""),
        ["auth.sts.max_duration", "auth.sts.default_duration"]
    );
    assert_eq!(good("[auth.sts]\nmax_duration = \"30m\"").auth.sts.default_duration, Duration::from_mins(30));
}

#[test]
fn warnings_name_what_has_no_effect() {
    let quiet = toml(&format!("[auth]\nmaster_key = \"{MASTER_KEY}\"\n[admin]\ntoken = \"\"\n"));
    assert_eq!(quiet.unwrap().warnings, Vec::<String>::new());
    let loud = toml(
        "endpoint = \"http://storage.example.com\"\n[admin]\ntoken = \"q8Zk2vN5rT7wXy1aB3cD6eF9gH0jK4mL\"\n[quota]\nrefusal_status = \"s3\"\n[tiers.default]\nburst = 5\n[state]\nurl = \"redis://cache\"\n[metrics]\nper_user_top = 3\n[telemetry]\notlp_endpoint = \"http://127.0.0.1:4318\"\n",
    );
    assert_eq!(warned_of(&loud.unwrap()), ["[telemetry]", "upstream.endpoint", "auth.master_key"]);
}

#[test]
fn what_asks_for_a_default_is_warned_of_too() {
    let given = toml(
        "[server]\nproxy_protocol = false\n[auth]\nmaster_key_file = \"\"\n[auth.sts]\nenabled = true\n[tiers.default]\nburst = 200\n[quota]\n[state]\nurl = \"redb:./state.redb\"\n[metrics]\nper_user_top = 0\n[[buckets]]\nname = \"whole\"\nview = \"platform\"\n",
    );
    let expected = ["server.proxy_protocol", "auth.master_key"];
    assert_eq!(warned_of(&given.unwrap()), expected);
    let from_env = load(Some(UPSTREAM), None, &[("BUCKETWARDEN_SERVER__PROXY_PROTOCOL", "false")]).unwrap();
    assert_eq!(warned_of(&from_env), ["server.proxy_protocol", "auth.master_key"]);
    let file = format!("{UPSTREAM}[admin]\ntoken = \"\"\ntoken_file = \"secret\"\n");
    let in_a_file = load(Some(&file), None, &[("BUCKETWARDEN_ADMIN__TOKEN", TOKEN)]).unwrap();
    assert_eq!(warned_of(&in_a_file), ["auth.master_key"]);
}

/// What stands before the first `: ` of each warning.
fn warned_of(loaded: &Loaded) -> Vec<&str> {
    assert!(loaded.warnings.iter().all(|line| !line.contains('\n')));
    loaded.warnings.iter().map(|line| line.split_once(": ").expect("a name").0).collect()
}

#[test]
fn every_limit_can_be_unlimited() {
    let limits = "[server]\nmax_connections = \"unlimited\"\nmax_connections_per_peer = \"unlimited\"\nmax_in_flight = \"unlimited\"\n";
    let config = good(limits);
    assert_eq!(config.server.max_connections, Limit::Unlimited);
    assert_eq!(config.server.max_in_flight, Limit::Unlimited);
    assert_eq!(config.server.max_connections_per_peer, Limit::Unlimited);
    let masked = config.to_masked_toml();
    assert!(masked.contains("max_in_flight = \"unlimited\""), "{masked}");
    assert_eq!(bad("[server]\nmax_in_flight = 0\n"), ["server.max_in_flight"]);
}

#[test]
fn an_empty_value_says_nothing() {
    let empty = "[server]\nlisten = \"\"\nmax_in_flight = \"\"\nheader_timeout = \"\"\nproxy_protocol = \"\"\n[tiers.default]\nburst = \"\"\nmax_storage = \"\"\n[quota]\nrefusal_status = \"\"\n[log]\nformat = \"\"\nlevel = \"\"\n[uri]\nscheme = \"\"\n[metrics]\nper_user_top = \"\"\n[auth.sts]\nmax_duration = \"\"\n";
    assert_eq!(good(empty), good(""));
}

#[test]
fn an_endpoint_without_a_scheme_is_https() {
    let s3 = |lines: &str| good(&format!("dialect = \"s3\"\n{lines}")).upstream.endpoint;
    assert_eq!(s3("endpoint = \"s3.example.com:9000\""), "https://s3.example.com:9000/");
    let native = ("OCI_STORAGE_ENDPOINT", "objectstorage.us-phoenix-1.oraclecloud.com");
    let env = [native, OCI[0], OCI[2], OCI[3], OCI[4]];
    let upstream = load(None, None, &env).unwrap_or_else(|p| panic!("{p}")).config.upstream;
    assert_eq!(upstream.endpoint, "https://envns.compat.objectstorage.us-phoenix-1.oci.customer-oci.com/");
    assert_eq!(upstream.region, "us-phoenix-1");
}

#[test]
fn regions_are_named_as_their_services_like() {
    let region = |dialect: &str, name: &str| {
        let text = UPSTREAM.replace("us-phoenix-1", name);
        let text = format!("{text}dialect = \"{dialect}\"\nendpoint = \"https://s3.example.com\"\n");
        Config::from_toml(&text, Path::new("/base")).map(|loaded| loaded.config.upstream.region)
    };
    for name in ["RegionOne", "us_east", "default", "us-east-1"] {
        assert_eq!(region("s3", name).unwrap(), name);
    }
    for name in ["a/b", "a b", "é", &"r".repeat(65)] {
        assert!(region("s3", name).is_err(), "{name}");
    }
    assert!(region("oci", "RegionOne").is_err());
    assert_eq!(good("[auth]\nregions = [\"RegionOne\"]\n").auth.regions, ["RegionOne"]);
}

#[test]
fn tls_files_are_read_and_matched() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["one", "two"] {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        fs::write(dir.path().join(format!("{name}.crt")), made.cert.pem()).unwrap();
        fs::write(dir.path().join(format!("{name}.key")), made.signing_key.serialize_pem()).unwrap();
    }
    let load = |cert: &str, key: &str| {
        let text =
            format!("{UPSTREAM}ca_file = \"{cert}\"\n[server.tls]\ncert = \"{cert}\"\nkey = \"{key}\"\n");
        Config::from_toml(&text, dir.path())
    };
    assert_eq!(
        load("one.crt", "one.key").unwrap().config.server.tls.unwrap().key,
        dir.path().join("one.key")
    );
    let keys = |cert, key| load(cert, key).unwrap_err().iter().map(|p| p.key.clone()).collect::<Vec<_>>();
    assert_eq!(keys("one.crt", "two.key"), ["server.tls.key"]);
    assert_eq!(keys("one.key", "one.crt"), ["server.tls.cert", "server.tls.key", "upstream.ca_file"]);
}
