//! Access keys and jobs by command, and what `dev` makes of its users.

use std::fs;
use std::process::Command;

use tempfile::TempDir;

use crate::{Gateway, SECRET, admin, dev_env, stderr, stdout, variable};

/// A request that a client of the aws family would sign, as curl sends it.
fn list_buckets(env: &[(String, String)], key: &str, secret: &str) -> u16 {
    let output = Command::new("curl")
        .args(["--silent", "--output", "/dev/null", "--write-out", "%{http_code}"])
        .args(["--aws-sigv4", &format!("aws:amz:{}:s3", variable(env, "AWS_REGION"))])
        .args(["--header", "x-amz-content-sha256: UNSIGNED-PAYLOAD", "--user", &format!("{key}:{secret}")])
        .arg(variable(env, "AWS_ENDPOINT_URL"))
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap().parse().unwrap()
}

#[test]
fn keys_are_made_disabled_and_revoked() {
    let folder = TempDir::new().unwrap();
    let mut gateway = Gateway::dev(folder.path());
    let env = dev_env(folder.path());
    let run = |arguments: &[&str]| admin(folder.path(), &env, arguments);
    let json = |arguments: &[&str]| -> serde_json::Value {
        serde_json::from_str(&stdout(&run(&[arguments, &["--json"]].concat()))).unwrap()
    };
    let alices = variable(&env, "AWS_ACCESS_KEY_ID");
    assert_eq!(list_buckets(&env, &alices, &variable(&env, "AWS_SECRET_ACCESS_KEY")), 200);

    let made = json(&["key", "create", "alice"]);
    let line = gateway.wait_for("CreateKey");
    assert!(line.contains("audit") && line.contains("admin") && line.contains("users/alice/keys"), "{line}");
    let text = |name: &str| made[name].as_str().unwrap().to_owned();
    let (id, secret) = (text("access_key_id"), text("secret_access_key"));
    assert_eq!(list_buckets(&env, &id, &secret), 200);
    assert_eq!(list_buckets(&env, &id, &variable(&env, "AWS_SECRET_ACCESS_KEY")), 403);
    let listed = stdout(&run(&["key", "list", "alice"]));
    assert!(
        listed.starts_with("ACCESS KEY ID") && listed.contains(&id) && listed.contains(&alices),
        "{listed}"
    );
    assert!(!listed.contains(&secret), "{listed}");
    assert_eq!(json(&["key", "list", "alice"])["keys"].as_array().unwrap().len(), 2);
    let shown = stdout(&run(&["key", "create", "bob"]));
    assert!(shown.contains("SECRET ACCESS KEY") && shown.contains("not shown again"), "{shown}");

    assert!(stdout(&run(&["key", "disable", "alice", &id])).contains("disabled"));
    assert_eq!(list_buckets(&env, &id, &secret), 403);
    assert!(stdout(&run(&["key", "enable", "alice", &id])).contains("enabled"));
    assert_eq!(list_buckets(&env, &id, &secret), 200);
    assert!(stdout(&run(&["key", "revoke", "alice", &id])).contains("revoked"));
    assert_eq!(list_buckets(&env, &id, &secret), 403);

    for (arguments, part) in [
        (&["key", "revoke", "alice", &id][..], "has no access key"),
        (&["key", "disable", "bob", &alices], "has no access key"),
        (&["key", "create", "carl"], "no user carl"),
        (&["key", "list", ".."], "no user id"),
        (&["key", "revoke", "alice", "a/../b"], "no access key id"),
    ] {
        let refused = run(arguments);
        assert_eq!(refused.status.code(), Some(1), "{arguments:?}");
        assert!(stderr(&refused).contains(part), "{}", stderr(&refused));
    }
    // What the state file holds of a secret is sealed.
    let state = fs::read(folder.path().join("bucketwarden-data/state.redb")).unwrap();
    let holds = |text: &str| state.windows(text.len()).any(|bytes| bytes == text.as_bytes());
    assert!(holds(&alices) && !holds(&variable(&env, "AWS_SECRET_ACCESS_KEY")));
}

#[test]
fn jobs_are_assigned_listed_and_removed() {
    let folder = TempDir::new().unwrap();
    let _gateway = Gateway::dev(folder.path());
    let env = dev_env(folder.path());
    let run = |arguments: &[&str]| admin(folder.path(), &env, arguments);
    assert!(stdout(&run(&["job", "assign", "job1", "alice"])).contains("alice"));
    stdout(&run(&["job", "assign", "job10", "bob"]));
    stdout(&run(&["job", "assign", "job1", "bob"]));
    let table = stdout(&run(&["job", "list"]));
    assert!(table.starts_with("JOB") && table.contains("job10"), "{table}");
    let listed: serde_json::Value =
        serde_json::from_str(&stdout(&run(&["job", "list", "--user", "bob", "--json"]))).unwrap();
    assert_eq!(
        listed["jobs"],
        serde_json::json!([{"job_id": "job1", "user_id": "bob"}, {"job_id": "job10", "user_id": "bob"}])
    );
    stdout(&run(&["job", "remove", "job1"]));
    for (arguments, part) in [
        (&["job", "remove", "job1"][..], "nobody's"),
        (&["job", "assign", "job1", "carl"], "no user carl"),
        (&["job", "assign", "job 1", "alice"], "no job id"),
        (&["job", "assign", "job1", ".."], "no user id"),
    ] {
        let refused = run(arguments);
        assert_eq!(refused.status.code(), Some(1), "{arguments:?}");
        assert!(stderr(&refused).contains(part), "{}", stderr(&refused));
    }
}

#[test]
fn dev_keeps_what_was_made_of_its_users() {
    let folder = TempDir::new().unwrap();
    let mut gateway = Gateway::dev(folder.path());
    let env = dev_env(folder.path());
    let run = |arguments: &[&str]| stdout(&admin(folder.path(), &env, arguments));
    run(&["key", "create", "alice"]);
    run(&["key", "revoke", "bob", &variable(&env, "BOB_ACCESS_KEY_ID")]);
    run(&["user", "set", "alice", "--tier", "premium"]);
    gateway.signal("-TERM");
    gateway.exit_code();

    let mut gateway = Gateway::dev(folder.path());
    let again = dev_env(folder.path());
    assert_eq!(variable(&again, "AWS_ACCESS_KEY_ID"), variable(&env, "AWS_ACCESS_KEY_ID"));
    assert_ne!(variable(&again, "BOB_ACCESS_KEY_ID"), variable(&env, "BOB_ACCESS_KEY_ID"));
    let run = |arguments: &[&str]| stdout(&admin(folder.path(), &again, arguments));
    assert!(run(&["user", "show", "alice"]).contains("premium"));
    run(&["user", "remove", "bob"]);
    gateway.signal("-TERM");
    gateway.exit_code();

    let _gateway = Gateway::dev(folder.path());
    let text = fs::read_to_string(folder.path().join("bucketwarden-data/dev.env")).unwrap();
    assert!(
        !text.contains("BOB_ACCESS_KEY_ID") && text.contains("# bob has no access key that works"),
        "{text}"
    );
}

#[test]
fn dev_takes_a_folder_whose_users_are_in_its_configuration() {
    let folder = TempDir::new().unwrap();
    let mut first = Gateway::dev(folder.path());
    first.signal("-TERM");
    first.exit_code();
    let data = folder.path().join("bucketwarden-data");
    fs::remove_file(data.join("state.redb")).unwrap();
    let mut text = fs::read_to_string(data.join("gateway.toml")).unwrap();
    for (user, tier) in [("alice", "default"), ("bob", "premium")] {
        let keys = format!("[{{ id = \"AK{user}\", secret = \"{SECRET}\" }}]");
        let lines = ["[[users]]", &format!("id = \"{user}\""), &format!("tier = \"{tier}\"")];
        text.extend([&lines.join("\n"), "\naccess_keys = ", &keys, "\n"]);
    }
    fs::write(data.join("gateway.toml"), text).unwrap();
    let _gateway = Gateway::dev(folder.path());
    let env = dev_env(folder.path());
    assert_eq!(variable(&env, "AWS_ACCESS_KEY_ID"), "AKalice");
    assert_eq!(variable(&env, "BOB_SECRET_ACCESS_KEY"), SECRET);
    assert_eq!(list_buckets(&env, "AKalice", SECRET), 200);
    let refused = admin(folder.path(), &env, &["key", "create", "alice"]);
    assert!(stderr(&refused).contains("configuration file"), "{}", stderr(&refused));
}
