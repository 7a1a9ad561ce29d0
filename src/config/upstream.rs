//! `[upstream]`: where the real bucket is. In: the section. Out: an [`Upstream`] with its endpoint derived
//! where OCI's naming says it all. A native OCI endpoint, which speaks no S3, is recognised by its host and
//! turned into the S3 one.
//! Follows <https://docs.oracle.com/en-us/iaas/Content/Object/Tasks/s3compatibleapi.htm>.

use std::path::Path;
use std::time::Duration;

use http::Uri;

use super::api_key::ApiKey;
use super::model::{Native, PreviousKey, Upstream};
use super::raw::{Layer, Value};
use super::rules;
use super::section::Section;
use crate::dialect::{Dialect, Face, OciHost};

const ORIGIN: &str = "http:// or https:// and a host, without path, query or credentials";

pub(super) fn read(s: &Section) -> Option<Upstream> {
    let dialect = s.or("dialect", "\"oci\" or \"s3\"", Dialect::Oci, |value| Dialect::parse(value.text()?));
    let place = place(s, dialect);
    let bucket = s.required("bucket", "the name of the real bucket", rules::upstream_bucket);
    let access_key_id = access_key_id(s);
    let secret_access_key = secret_access_key(s);
    let ca_file = s.file("ca_file", rules::pem_certificates);
    let connect_timeout = s.duration("connect_timeout", Duration::from_secs(3));
    let first_byte_timeout = s.duration("first_byte_timeout", Duration::from_secs(30));
    let slow_operation_timeout = s.duration("slow_operation_timeout", Duration::from_mins(5));
    let idle_timeout = s.duration("idle_timeout", Duration::from_mins(1));
    let previous = previous(&s.section("previous"));
    let native = native(&s.section("native"), dialect, place.as_ref());

    let Place { namespace, region, endpoint } = place?;
    Some(Upstream {
        dialect,
        namespace,
        region,
        bucket: bucket?,
        endpoint,
        access_key_id: access_key_id?,
        secret_access_key: secret_access_key?,
        ca_file,
        connect_timeout,
        first_byte_timeout,
        slow_operation_timeout,
        idle_timeout,
        previous,
        native,
    })
}

struct Place {
    namespace: String,
    region: String,
    endpoint: Uri,
}

fn place(s: &Section, dialect: Dialect) -> Option<Place> {
    let namespace = s.optional("namespace", "an OCI namespace (lower-case letters, digits, -)", rules::label);
    let region = s.optional("region", "a region's name, such as us-phoenix-1", |value| match dialect {
        // It becomes part of a host name.
        Dialect::Oci => rules::label(value),
        Dialect::S3 => rules::region(value),
    });
    let endpoint = s.optional("endpoint", ORIGIN, endpoint);
    let endpoint_is_wrong = s.says("endpoint") && endpoint.is_none();
    let face = endpoint.as_ref().and_then(|(_, host)| host.as_ref()).map(|host| host.face);
    if face == Some(Face::VirtualHosted) {
        s.problem(
            "endpoint",
            "expected a path-style endpoint, https://<namespace>.compat.objectstorage.<region>.…; this one wants the bucket in the host's name",
        );
        return None;
    }
    match dialect {
        Dialect::S3 => {
            if face == Some(Face::Native) {
                s.problem(
                    "endpoint",
                    "expected an S3 endpoint; this one is OCI's native API (dialect \"oci\")",
                );
                return None;
            }
            if endpoint.is_none() && !endpoint_is_wrong {
                s.missing("endpoint", &format!("{ORIGIN}: dialect \"s3\" has none of its own"));
            }
            let region = region.unwrap_or_else(|| "us-east-1".to_owned());
            Some(Place { namespace: namespace.unwrap_or_default(), region, endpoint: endpoint?.0 })
        }
        Dialect::Oci => {
            let host = endpoint.as_ref().and_then(|(_, host)| host.as_ref());
            host_fits(s, "region", region.as_deref(), host);
            host_fits(s, "namespace", namespace.as_deref(), host);
            let region = region.or_else(|| host.map(|host| host.region.clone()));
            let namespace = namespace.or_else(|| host.and_then(|host| host.namespace.clone()));
            let native = face == Some(Face::Native);
            let derive = native || endpoint.is_none();
            if region.is_none() && !s.says("region") {
                s.missing("region", "the region of the bucket, such as us-phoenix-1");
            }
            if derive && !endpoint_is_wrong && namespace.is_none() && !s.says("namespace") {
                s.missing("namespace", "the OCI namespace of the bucket");
            }
            let region = region?;
            match endpoint {
                Some((uri, _)) if !native => {
                    Some(Place { namespace: namespace.unwrap_or_default(), region, endpoint: uri })
                }
                Some(_) | None => {
                    let namespace = namespace?;
                    let endpoint = https(&dialect.host(&namespace, &region)?);
                    Some(Place { namespace, region, endpoint })
                }
            }
        }
    }
}

/// What is said twice must be the same, unless a stronger source says otherwise than the platform's variable.
fn host_fits(s: &Section, key: &str, said: Option<&str>, host: Option<&OciHost>) {
    let named =
        host.and_then(|host| if key == "region" { Some(&host.region) } else { host.namespace.as_ref() });
    let (Some(said), Some(host), Some(named)) = (said, host, named) else {
        return;
    };
    let layer = |key| s.place(key).map(|place| place.layer);
    let overruled = layer("endpoint") <= Some(Layer::Oci) && layer(key) > layer("endpoint");
    if said != named && !(host.face == Face::Native && overruled) {
        s.problem("endpoint", format!("expected an endpoint in upstream.{key}; it names another {key}"));
    }
}

/// An origin, or a native OCI URL, whose `/n/<namespace>/…` path is allowed. A host alone is reached by https.
fn endpoint(value: &Value) -> Option<(Uri, Option<OciHost>)> {
    let text = value.text()?;
    let scheme = if text.contains("://") { "" } else { "https://" };
    let value = Value::Text([scheme, text].concat().into());
    let uri = rules::url(&value)?;
    let host = OciHost::recognise(&uri);
    match &host {
        Some(host) if host.face == Face::Native => {}
        Some(_) | None => _ = rules::origin(&value)?,
    }
    Some((uri, host))
}

fn https(host: &str) -> Uri {
    Uri::builder()
        .scheme("https")
        .authority(host)
        .path_and_query("/")
        .build()
        .expect("labels were checked, so the host is one")
}

fn access_key_id(s: &Section) -> Option<String> {
    let expected = "an access key id: 3 to 128 printable characters without space, /, comma or =";
    s.required("access_key_id", expected, |value| {
        let id = crate::types::AccessKeyId::parse(value.text()?)?;
        Some(id.as_str().to_owned())
    })
}

fn secret_access_key(s: &Section) -> Option<crate::types::Secret> {
    if !s.says_secret("secret_access_key") {
        s.missing("secret_access_key", "the secret of access_key_id, or secret_access_key_file");
    }
    s.secret("secret_access_key", rules::any_secret)
}

fn previous(s: &Section) -> Option<PreviousKey> {
    if !s.is_given() {
        return None;
    }
    let access_key_id = access_key_id(s);
    let secret_access_key = secret_access_key(s);
    Some(PreviousKey { access_key_id: access_key_id?, secret_access_key: secret_access_key? })
}

fn native(s: &Section, dialect: Dialect, place: Option<&Place>) -> Option<Native> {
    if !s.is_given() {
        return None;
    }
    if dialect == Dialect::S3 {
        s.problem("", "expected upstream.dialect = \"oci\": only OCI has pre-authenticated requests");
    }
    let ocid = |kind: &'static str| {
        move |value: &Value| value.text().filter(|text| text.starts_with(kind)).map(str::to_owned)
    };
    let tenancy = s.required("tenancy", "an OCID, ocid1.tenancy…", ocid("ocid1.tenancy"));
    let user = s.required("user", "an OCID, ocid1.user…", ocid("ocid1.user"));
    let fingerprint = s.required("fingerprint", "16 hex pairs with colons between", |value| {
        let hex = |pair: &str| pair.len() == 2 && pair.bytes().all(|b| b.is_ascii_hexdigit());
        let text = value.text()?;
        (text.split(':').count() == 16 && text.split(':').all(hex)).then(|| text.to_ascii_lowercase())
    });
    if !s.says("key_file") {
        s.missing("key_file", "the private key of the OCI API key, PEM");
    }
    let key_file = s.path("key_file");
    if let Some(path) = &key_file {
        key_fits(s, path, fingerprint.as_deref());
    }
    let max_expiry = s.duration("max_expiry", Duration::from_hours(7 * 24));
    let given = s.optional("endpoint", ORIGIN, rules::origin);
    if let Some(place) = place
        && place.namespace.is_empty()
    {
        s.problem("", "expected upstream.namespace, which names the bucket to OCI's native API");
    }
    let derived = || place.map(|place| https(&format!("objectstorage.{}.oraclecloud.com", place.region)));
    Some(Native {
        tenancy: tenancy?,
        user: user?,
        fingerprint: fingerprint?,
        key_file: key_file?,
        max_expiry,
        endpoint: given.or_else(derived)?,
    })
}

/// The key must be one that can sign, and the one that OCI knows by this fingerprint.
fn key_fits(s: &Section, path: &Path, fingerprint: Option<&str>) {
    match ApiKey::read(path) {
        Err(expected) => s.problem("key_file", expected),
        Ok(key) => {
            if let Some(said) = fingerprint.filter(|said| *said != key.fingerprint()) {
                let text =
                    format!("expected the fingerprint of key_file, {}; this is {said}", key.fingerprint());
                s.problem("fingerprint", text);
            }
        }
    }
}
