//! Who is believed: the file, the environment, `.env.local`, secrets in files.

use super::*;

#[test]
fn the_environment_alone_is_enough() {
    let config = load(None, None, &OCI).unwrap().config;
    assert_eq!(
        config.upstream.endpoint,
        "https://envns.compat.objectstorage.us-ashburn-1.oci.customer-oci.com/"
    );
    assert_eq!(config.upstream.bucket, "envbucket");
    let nothing = load(None, None, &[]).unwrap_err().to_string();
    for name in
        ["BUCKETWARDEN_UPSTREAM__BUCKET or OCI_STORAGE_BUCKET", "upstream.namespace", "upstream.region"]
    {
        assert!(nothing.contains(name), "{nothing}");
    }
}

#[test]
fn own_variables_beat_the_file_which_beats_the_platform_which_beats_dot_env() {
    let bucket = |file: Option<&str>, dot_env: &str, variables: &[(&str, &str)]| {
        let rest = "OCI_STORAGE_NAMESPACE=n\nOCI_STORAGE_REGION=r\nOCI_ACCESS_KEY_ID=AKI\nOCI_SECRET_ACCESS_KEY='abcdefgh'\n";
        let config = load(file, Some(&format!("{rest}{dot_env}")), variables);
        config.unwrap_or_else(|problems| panic!("{problems}")).config.upstream.bucket
    };
    let file = Some("[upstream]\nbucket = \"file\"\n");
    let own = ("BUCKETWARDEN_UPSTREAM__BUCKET", "own");
    let platform = ("OCI_STORAGE_BUCKET", "platform");
    let dot_env = "OCI_STORAGE_BUCKET=dotoci\nexport BUCKETWARDEN_UPSTREAM__BUCKET=\"dotown\" # why\n";
    assert_eq!(bucket(file, dot_env, &[platform, own]), "own");
    assert_eq!(bucket(file, dot_env, &[platform]), "file");
    assert_eq!(bucket(Some("[upstream]\nbucket = \"\"\n"), dot_env, &[platform]), "platform");
    assert_eq!(bucket(None, dot_env, &[platform]), "platform");
    assert_eq!(bucket(None, dot_env, &[]), "dotown");
    assert_eq!(bucket(None, "OCI_STORAGE_BUCKET=dotoci\n", &[]), "dotoci");
    assert_eq!(bucket(file, dot_env, &[("BUCKETWARDEN_UPSTREAM__BUCKET", "")]), "file");
}

#[test]
fn variables_reach_every_depth_and_type() {
    let variables = [
        ("BUCKETWARDEN_SERVER__MAX_CONNECTIONS", "12"),
        ("BUCKETWARDEN_LOG__ACCESS", "false"),
        ("BUCKETWARDEN_TIERS__DEFAULT__BURST", "7"),
        ("BUCKETWARDEN_TIERS__PREMIUM__MAX_STORAGE", "2TiB"),
        ("BUCKETWARDEN_TIERS__DEFAULT__UPLOAD_RATE", "unlimited"),
        ("BUCKETWARDEN_QUOTA__REFUSAL_STATUS", "429"),
        ("BUCKETWARDEN_UPSTREAM__PREVIOUS__ACCESS_KEY_ID", "OLD"),
        ("BUCKETWARDEN_UPSTREAM__PREVIOUS__SECRET_ACCESS_KEY", "12345678"),
        ("BUCKETWARDEN_AUTH__STS__MAX_DURATION", "2h"),
        ("BUCKETWARDEN_ADMIN_URL", "http://elsewhere"),
        ("BUCKETWARDEN_ADMIN_TOKEN", "for the command line"),
        ("BUCKETWARDEN_PORT_8080_TCP", "tcp://10.0.0.1:8080"),
    ];
    let config = load(Some(UPSTREAM), None, &variables).unwrap_or_else(|p| panic!("{p}")).config;
    assert_eq!(config.server.max_connections, Limit::At(12));
    assert!(!config.log.access);
    assert_eq!(config.tiers["default"].burst, Limit::At(7));
    // Only a tier that the file writes stands on [tiers.default].
    assert_eq!(config.tiers["premium"], Tier { max_storage: Limit::At(2 << 40), ..Tier::shipped_premium() });
    assert_eq!(config.upstream.previous.unwrap().secret_access_key.expose(), "12345678");
    assert_eq!(config.auth.sts.max_duration, Duration::from_hours(2));
    assert_eq!(config.admin.token, None);
}

#[test]
fn unknown_variables_and_arrays_are_errors() {
    for (name, expected) in [
        ("BUCKETWARDEN_SERVER__LISTN", "LISTEN, PUBLIC_URL"),
        ("BUCKETWARDEN_SERVR__LISTEN", "SERVER, ADMIN"),
        ("BUCKETWARDEN_SERVER__TLS", "BUCKETWARDEN_SERVER__TLS__ and one of CERT, KEY"),
        ("BUCKETWARDEN_SERVER__LISTEN__PORT", "unknown variable"),
        ("BUCKETWARDEN_SERVER_LISTEN", "expected BUCKETWARDEN_SERVER__LISTEN"),
        ("BUCKETWARDEN_SERVER__TRUSTED_PROXIES", "set it in the file"),
        ("BUCKETWARDEN_USERS__0__ID", "set it in the file"),
        ("BUCKETWARDEN_AUTH__JWT__ISSUER", "set it in the file"),
    ] {
        let problems = load(Some(UPSTREAM), None, &[(name, SECRET)]).unwrap_err();
        let text = problems.to_string();
        assert_eq!(problems.iter().count(), 1, "{text}");
        assert!(text.starts_with(name) && text.contains(expected) && !text.contains(SECRET), "{text}");
    }
}

#[test]
fn secrets_come_from_files_next_to_who_names_them() {
    let file =
        UPSTREAM.replace("secret_access_key = \"dp3xT0pS3cr3tV4lue\"", "secret_access_key_file = \"secret\"");
    let secret = |file: &str, variables: &[(&str, &str)]| {
        load(Some(file), None, variables)
            .map(|loaded| loaded.config.upstream.secret_access_key.expose().to_owned())
    };
    assert_eq!(secret(&file, &[]).unwrap(), format!("etc-{SECRET}"));
    assert_eq!(
        secret(&file, &[("BUCKETWARDEN_UPSTREAM__SECRET_ACCESS_KEY_FILE", "secret")]).unwrap(),
        SECRET
    );
    // The other form of a stronger layer wins; both forms in one layer do not.
    assert_eq!(
        secret(&file, &[("BUCKETWARDEN_UPSTREAM__SECRET_ACCESS_KEY", "direct-one")]).unwrap(),
        "direct-one"
    );
    let both = secret(&format!("{file}secret_access_key = \"x\"\n"), &[]).unwrap_err().to_string();
    assert!(both.contains("not both"), "{both}");
    let missing = secret(&file.replace("\"secret\"", "\"s3cr3t-as-path\""), &[]).unwrap_err().to_string();
    assert!(missing.contains("readable file") && !missing.contains("s3cr3t-as-path"), "{missing}");
}

#[test]
fn the_file_overrules_a_native_endpoint_of_the_environment() {
    let endpoint = ("OCI_STORAGE_ENDPOINT", "https://objectstorage.us-ashburn-1.oraclecloud.com");
    let config = load(Some(UPSTREAM), None, &[endpoint]).unwrap().config;
    assert_eq!(
        config.upstream.endpoint,
        "https://ns1.compat.objectstorage.us-phoenix-1.oci.customer-oci.com/"
    );
    let alone = [endpoint, OCI[0], OCI[2], OCI[3], OCI[4]];
    assert_eq!(load(None, None, &alone).unwrap().config.upstream.region, "us-ashburn-1");
}

#[test]
fn a_missing_file_is_the_only_problem() {
    let sources =
        Sources { file: Some("none.toml".into()), env: Vec::new(), working_dir: "/nonexistent".into() };
    let problems = Config::load(&sources).unwrap_err();
    assert_eq!(problems.to_string(), "none.toml: expected a readable file: entity not found");
}
