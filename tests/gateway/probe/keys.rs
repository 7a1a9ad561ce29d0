//! Who signs, where and when: every way for a signature to be refused is told from the others.

use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{KeyPair as _, RsaKeyPair};
use bucketwarden::config::ApiKey;

use super::*;
use crate::oci::{NativeKey, Propagation};

#[test]
fn a_key_that_has_not_spread_is_told_from_a_wrong_secret() {
    let oci = oci();
    oci.control().propagate(KEY.0, Propagation::Nowhere);
    let probed = setup(oci.s3_endpoint()).probe();
    probed.assert_fails();
    assert_eq!(probed.outcome("signing.key"), "no");
    assert!(probed.setting("signing.key").contains("takes up to 5 minutes"), "{}", probed.everything());
    assert_eq!(probed.outcome("object.put"), "not_tried", "{}", probed.everything());
    oci.control().throttle_every(3);
    let probed = setup(oci.s3_endpoint()).probe();
    assert_eq!(
        probed.outcome("signing.key"),
        "no",
        "throttling says nothing of a key: {}",
        probed.everything()
    );
    oci.control().throttle_every(0);

    oci.control().propagate(KEY.0, Propagation::Every(2));
    let probed = setup(oci.s3_endpoint()).probe();
    probed.assert_works().assert_clean();
    assert!(
        probed.setting("signing.key").contains("has not reached every server"),
        "{}",
        probed.everything()
    );

    oci.control().propagate(KEY.0, Propagation::Everywhere);
    let probed = setup(oci.s3_endpoint()).but(|setup| setup.key.1 = "another-secret").probe();
    probed.assert_fails();
    assert_eq!(probed.setting("signing.key"), "check secret_access_key", "{}", probed.everything());
    assert_empty(&oci.s3_endpoint());
}

#[test]
fn a_key_that_is_rotated_out_is_told_from_its_successor() {
    let oci = oci();
    let previous = format!(
        "[upstream.previous]\naccess_key_id = \"{}\"\nsecret_access_key = \"{}\"\n",
        OLD_KEY.0, OLD_KEY.1
    );
    let rotating = || setup(oci.s3_endpoint()).but(|setup| setup.more.clone_from(&previous));
    for (new, old, works, setting) in [
        (Propagation::Everywhere, Propagation::Everywhere, true, "once every gateway has the new key"),
        (Propagation::Nowhere, Propagation::Everywhere, true, "keep [upstream.previous]"),
        (Propagation::Everywhere, Propagation::Nowhere, true, "remove [upstream.previous]"),
        (Propagation::Nowhere, Propagation::Nowhere, false, ""),
    ] {
        oci.control().propagate(KEY.0, new);
        oci.control().propagate(OLD_KEY.0, old);
        let probed = rotating().probe();
        assert_eq!(probed.exit, Some(i32::from(!works)), "{}", probed.everything());
        assert!(probed.setting("signing.either").contains(setting), "{}", probed.everything());
        assert_eq!(probed.outcome("signing.key") == "yes", new == Propagation::Everywhere);
        assert_eq!(probed.outcome("signing.previous") == "yes", old == Propagation::Everywhere);
    }
    oci.control().propagate(OLD_KEY.0, Propagation::Everywhere);
    assert_empty(&oci.s3_endpoint());
}

#[test]
fn a_wrong_region_is_told_from_a_wrong_key() {
    let store = Store::start(KEY);
    let s3 = |setup: &mut Setup| (setup.dialect, setup.region) = ("s3", "eu-frankfurt-1");
    let probed = setup(&store.endpoint).but(s3).probe();
    probed.assert_fails();
    assert_eq!(
        probed.setting("signing.key"),
        "upstream.region = \"us-phoenix-1\"",
        "{}",
        probed.everything()
    );
    let probed =
        setup(&store.endpoint).but(|setup| (setup.dialect, setup.key.0) = ("s3", "nobodys-key")).probe();
    probed.assert_fails();
    assert!(probed.setting("signing.key").starts_with("check access_key_id"), "{}", probed.everything());
    // OCI has one sentence for both.
    let oci = oci();
    let probed = setup(oci.s3_endpoint()).but(|setup| setup.region = "eu-frankfurt-1").probe();
    probed.assert_fails();
    assert!(probed.setting("signing.key").contains("upstream.region"), "{}", probed.everything());
    // Where the region may go unnamed, that is not its name: no host and no native API would follow from it.
    let home = StandIn::start_apart(Settings {
        home_region: REGION.into(),
        keys: vec![(KEY.0.into(), KEY.1.into())],
        ..Settings::default()
    });
    let probed = setup(home.s3_endpoint()).but(|setup| setup.region = "eu-frankfurt-1").probe();
    probed.assert_fails();
    assert!(probed.came("signing.key").contains("signed for us-east-1"), "{}", probed.everything());
    let setting = probed.setting("signing.key");
    assert!(setting.starts_with("upstream.region = the tenancy's home region"), "{setting}");
}

#[test]
fn the_native_api_is_asked_by_its_own_key_whatever_the_s3_face_says() {
    let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    let public: PublicKeyX509Der<'_> = pair.public_key().as_der().unwrap();
    let private: Pkcs8V1Der<'_> = pair.as_der().unwrap();
    let pem =
        format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", base64(private.as_ref()));
    let fingerprint = ApiKey::from_pem(pem.as_bytes()).unwrap().fingerprint().to_owned();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("key.pem");
    std::fs::write(&file, &pem).unwrap();
    let (tenancy, user) = ("ocid1.tenancy.oc1..t", "ocid1.user.oc1..u");
    let oci = StandIn::start_apart(Settings {
        native_keys: vec![NativeKey {
            key_id: format!("{tenancy}/{user}/{fingerprint}"),
            public_key_der: public.as_ref().to_vec(),
        }],
        ..Settings::default()
    });
    let native = |user: &str| {
        format!(
            "namespace = \"{}\"\n[upstream.native]\ntenancy = \"{tenancy}\"\nuser = \"{user}\"\n\
             fingerprint = \"{fingerprint}\"\nkey_file = \"{}\"\nendpoint = \"{}\"\n",
            Settings::default().namespace,
            file.display(),
            oci.native_endpoint()
        )
    };
    let with_user = |user: &str| setup(oci.s3_endpoint()).but(|setup| setup.more = native(user)).probe();
    let probed = with_user(user);
    assert_eq!(probed.outcome("native.pars"), "yes", "{}", probed.everything());
    assert_eq!(probed.outcome("signing.key"), "no", "this stand-in knows no key of the S3 face");
    let probed = with_user("ocid1.user.oc1..another");
    assert_eq!(probed.outcome("native.pars"), "no", "{}", probed.everything());
    assert!(probed.setting("native.pars").contains("upstream.native.user"), "{}", probed.everything());
}

#[test]
fn a_clock_that_is_wrong_is_blamed() {
    let origin = Origin::start();
    let skewed = Reply::error(403, "RequestTimeTooSkewed").header("date", "Wed, 01 Jan 2025 00:00:00 GMT");
    origin.always(Act::reply(skewed));
    let probed = over(&origin).probe();
    probed.assert_fails();
    assert_eq!(probed.outcome("clock.skew"), "no", "{}", probed.everything());
    assert_eq!(probed.setting("clock.skew"), "set this machine's clock");
}

#[test]
fn trouble_is_no_answer_about_a_key() {
    let origin = Origin::start();
    for (status, code) in [(500, "InternalError"), (429, "TooManyRequests")] {
        origin.always(Act::error(status, code));
        let probed = over(&origin).probe();
        probed.assert_fails().assert_clean();
        assert_eq!(probed.outcome("signing.key"), "no", "{}", probed.everything());
        assert!(probed.came("signing.key").contains("nothing about the key"), "{}", probed.everything());
        assert!(origin.seen().iter().all(|seen| seen.method() == "GET"), "something was written");
        origin.behave();
    }
}
