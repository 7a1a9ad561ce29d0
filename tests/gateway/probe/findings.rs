//! What is found out about upstreams that work, each in its own way, and how it is told.

use super::*;

#[test]
fn an_s3_service_is_told_from_oci_and_nothing_is_left() {
    let store = Store::start(OLD_KEY);
    let probed = setup(&store.endpoint).but(|setup| (setup.dialect, setup.key) = ("s3", OLD_KEY)).probe();
    probed.assert_works().assert_clean();
    assert_eq!(probed.probe["dialect"], "s3", "{}", probed.everything());
    assert_eq!(probed.probe["settings"], serde_json::json!([]), "{}", probed.everything());
    assert_eq!(
        probed.all("no"),
        [
            "chunked.signed",
            "chunked.signed-trailer",
            "chunked.unsigned-trailer",
            "body.no-length",
            "delete-objects.bare",
            "tagging.object"
        ],
        "{}",
        probed.everything()
    );
    assert_eq!(
        probed.all("not_tried"),
        ["reach.tls", "object.sse-c", "answer.headers", "native.pars"],
        "{}",
        probed.everything()
    );
    assert!(probed.findings().len() > 55, "{}", probed.everything());
    assert_empty(&store.endpoint);
}

#[test]
fn oci_is_found_out() {
    let oci = oci();
    let probed = setup(oci.s3_endpoint()).probe();
    probed.assert_works().assert_clean();
    assert_eq!(probed.probe["dialect"], "oci", "{}", probed.everything());
    for (name, outcome, came) in [
        ("signing.key", "yes", "5 of 5"),
        ("chunked.signed", "no", "AWS chunked encoding not supported"),
        ("chunked.signed-trailer", "no", "501 NotImplemented"),
        ("chunked.unsigned-trailer", "no", "501 NotImplemented"),
        ("delete-objects.content-md5", "yes", "the object is gone"),
        ("delete-objects.sha256", "yes", "the object is gone"),
        ("delete-objects.crc32c", "yes", "the object is gone"),
        ("delete-objects.crc32", "no", "400 InvalidRequest"),
        ("delete-objects.bare", "no", "400"),
        ("condition.put-new", "yes", "412"),
        ("key.line-feed", "no", "400"),
        ("versions.list", "no", "501"),
        ("tagging.object", "no", "501"),
        ("error.shape", "yes", "Message before Code, without RequestId"),
        ("answer.headers", "yes", "opc-request-id"),
        ("load.throttled", "yes", "0 of"),
    ] {
        assert_eq!(probed.outcome(name), outcome, "{name}: {}", probed.everything());
        assert!(probed.came(name).contains(came), "{name}: {}", probed.everything());
    }
    let losses = probed.probe["losses"].to_string();
    assert!(losses.contains("ListObjectVersions does not work"), "{losses}");
    // The gateway holds clients to their conditions as far as it can see.
    assert!(losses.contains("a change between the gateway's look and the write"), "{losses}");
    assert!(!losses.contains("is not held"), "{losses}");
    let seen = oci.control().requests();
    let strays: Vec<_> =
        seen.iter().filter(|seen| seen.method == "PUT" && !seen.path_and_query.contains(PREFIX)).collect();
    assert!(strays.is_empty(), "{strays:?}");
    assert_empty(&oci.s3_endpoint());
}

#[test]
fn a_configured_dialect_that_does_not_fit_is_named_with_the_one_that_does() {
    let oci = oci();
    let probed = setup(oci.s3_endpoint()).but(|setup| setup.dialect = "s3").probe();
    assert!(
        probed.probe["settings"].to_string().contains(r#"upstream.dialect = \"oci\""#),
        "{}",
        probed.everything()
    );
}

#[test]
fn an_oci_that_takes_aws_chunked_is_seen_to() {
    let oci = oci();
    oci.control().allow_aws_chunked(true);
    let probed = setup(oci.s3_endpoint()).probe();
    for name in ["chunked.signed", "chunked.signed-trailer", "chunked.unsigned-trailer"] {
        assert_eq!(probed.outcome(name), "yes", "{name}: {}", probed.everything());
    }
}

#[test]
fn throttling_costs_time_and_no_answer() {
    let oci = oci();
    let calm = setup(oci.s3_endpoint()).probe();
    oci.control().throttle_every(3);
    let throttled = setup(oci.s3_endpoint()).probe();
    throttled.assert_works().assert_clean();
    assert_eq!(throttled.outcome("load.throttled"), "no");
    let but_load = |probed: &Probed| -> Vec<String> {
        let names = probed.all("no").into_iter().filter(|name| *name != "load.throttled");
        names.map(str::to_owned).collect()
    };
    assert_eq!(but_load(&calm), but_load(&throttled), "{}", throttled.everything());
    oci.control().throttle_every(0);
    assert_empty(&oci.s3_endpoint());
}

#[test]
fn a_bucket_that_is_not_there_is_named() {
    let oci = oci();
    let probed = setup(oci.s3_endpoint()).but(|setup| setup.bucket = "another-bucket").probe();
    probed.assert_fails();
    assert_eq!(probed.outcome("signing.key"), "yes", "{}", probed.everything());
    assert!(probed.setting("object.put").starts_with("upstream.bucket"), "{}", probed.everything());
    assert_eq!(probed.outcome("object.get"), "not_tried");
}

#[test]
fn the_table_says_what_the_document_says() {
    let oci = oci();
    let folder = tempfile::tempdir().unwrap();
    let mut command = setup(oci.s3_endpoint()).command(&folder);
    command.output().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_bucketwarden"))
        .args(["check", "--probe"])
        .env_clear()
        .current_dir(folder.path())
        .output()
        .unwrap();
    let stdout = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{stdout}");
    for line in [
        "✓ object.put",
        "✗ chunked.signed ",
        "– reach.tls",
        "not tried: ",
        "The dialect that fits is \"oci\"",
    ] {
        assert!(stdout.contains(line), "{line}: {stdout}");
    }
    assert!(stdout.contains("Nothing is left under datasets/.bucketwarden-probe-"), "{stdout}");
    assert!(stdout.starts_with("[server]"), "the effective configuration comes first: {stdout}");
    assert!(!stdout.contains(KEY.1));
}

#[test]
fn json_without_a_probe_is_the_configuration() {
    let folder = tempfile::tempdir().unwrap();
    setup("http://127.0.0.1:1").command(&folder);
    let output = Command::new(env!("CARGO_BIN_EXE_bucketwarden"))
        .args(["check", "--json"])
        .env_clear()
        .current_dir(folder.path())
        .output()
        .unwrap();
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["configuration"]["upstream"]["bucket"], BUCKET);
    assert_eq!(document["probe"], Value::Null);
    assert!(!text(&output.stdout).contains(KEY.1));
}
