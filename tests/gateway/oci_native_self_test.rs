//! The stand-in's part of OCI's own API against itself: signatures that are wrong in one thing, pre-authenticated
//! requests from their making to their end.

use std::time::{Duration, SystemTime};

use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair};
use serde_json::{Value, json};
use sha2::Digest as _;

use crate::harness::{Client, HOST, Request, Response, Signer, base64, uri_encode};
use crate::oci::{NativeKey, Settings, StandIn};

const KEY_ID: &str =
    "ocid1.tenancy.oc1..aa/ocid1.user.oc1..bb/20:3b:97:13:55:1c:5b:0d:d3:37:d8:50:4e:c5:3a:34";
const PARS: &str = "/n/axtestns0001/b/real-bucket/p/";
const GENERIC: &str = "date (request-target) host";
const WITH_BODY: &str = "date (request-target) host content-length content-type x-content-sha256";

struct World {
    oci: StandIn,
    key: RsaKeyPair,
}

impl World {
    fn new() -> Self {
        let key = RsaKeyPair::generate(KeySize::Rsa2048).expect("a key");
        let public: PublicKeyX509Der<'_> = key.public_key().as_der().expect("a public key");
        let known = NativeKey { key_id: KEY_ID.into(), public_key_der: public.as_ref().to_vec() };
        let keys = vec![("key".into(), "secret".into())];
        let oci = StandIn::start_apart(Settings { keys, native_keys: vec![known], ..Settings::default() });
        Self { oci, key }
    }

    fn call(&self, request: &Request) -> Response {
        let addr = self.oci.native_endpoint().strip_prefix("http://").unwrap().parse().unwrap();
        Client::connect(addr).send(request)
    }

    fn authorization(&self, request: &Request, signed: &str) -> String {
        let line = |name: &str| match name {
            "(request-target)" => format!("{name}: {} {}", request.method.to_lowercase(), request.target),
            _ => format!("{name}: {}", request.get_header(name).unwrap_or_default()),
        };
        let text = signed.split(' ').map(line).collect::<Vec<_>>().join("\n");
        let mut signature = vec![0; self.key.public_modulus_len()];
        self.key
            .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), text.as_bytes(), &mut signature)
            .expect("it signs");
        let signature = base64(&signature);
        format!(
            "Signature version=\"1\",headers=\"{signed}\",keyId=\"{KEY_ID}\",algorithm=\"rsa-sha256\",\
             signature=\"{signature}\""
        )
    }

    fn signed(&self, request: Request, signed: &str) -> Request {
        let authorization = self.authorization(&request, signed);
        request.header("authorization", authorization)
    }

    fn get(&self, target: &str) -> Response {
        self.call(&self.signed(dated(Request::get(target)), GENERIC))
    }

    fn create(&self, wanted: &Value) -> Response {
        self.call(&self.signed(creation(wanted), WITH_BODY))
    }

    /// What creation tells: the PAR, and the target of its URL.
    fn par(&self, object: &str, access: &str) -> (Value, String) {
        let made = self.create(&wanted(object, access));
        let told: Value = serde_json::from_slice(&made.assert_status(200).body).expect("JSON");
        let target = told["accessUri"].as_str().expect("an accessUri").to_owned();
        (told, target)
    }

    #[track_caller]
    fn refuses(&self, request: &Request, status: u16, code: &str) {
        let answer = self.call(request);
        let told: Value = serde_json::from_slice(&answer.body).expect("JSON");
        assert_eq!((answer.status, told["code"].as_str()), (status, Some(code)), "{}", answer.everything());
        assert!(told["message"].as_str().is_some_and(|text| !text.is_empty()), "{told}");
        assert!(answer.header("opc-request-id").is_some());
    }

    fn put(&self, key: &str, body: &str) {
        let addr = self.oci.s3_endpoint().strip_prefix("http://").unwrap().parse().unwrap();
        let signer = Signer::new("key", "secret").but(|signer| signer.region = "us-phoenix-1".into());
        let put = signer.sign(Request::put(&format!("/real-bucket/{key}"), body));
        Client::connect(addr).send(&put).assert_status(200);
    }
}

fn http_date(time: SystemTime) -> String {
    httpdate::fmt_http_date(time)
}

fn dated(request: Request) -> Request {
    request.header("host", HOST).header("date", http_date(bucketwarden::now()))
}

fn creation(wanted: &Value) -> Request {
    let body = wanted.to_string();
    dated(Request::post(PARS, &body))
        .header("content-type", "application/json")
        .header("content-length", body.len().to_string())
        .header("x-content-sha256", base64(&sha2::Sha256::digest(&body)))
}

fn wanted(object: &str, access: &str) -> Value {
    json!({ "name": "a wish", "accessType": access, "timeExpires": "2099-01-01T00:00:00Z", "objectName": object })
}

#[test]
fn signatures_are_verified() {
    let world = World::new();
    let get = || dated(Request::get(PARS));
    let right = world.signed(get(), GENERIC);
    world.call(&right).assert_status(200);
    world.call(&world.signed(get(), "(request-target) host date")).assert_status(200);
    let stale = || http_date(bucketwarden::now() - Duration::from_mins(6));
    let early = http_date(bucketwarden::now() + Duration::from_mins(6));
    let edited =
        |from: &str, to: &str| right.clone().edit("authorization", |text| text.replacen(from, to, 1));
    for wrong in [
        get(),
        world.signed(get(), "date host"),
        world.signed(get(), "date (request-target)"),
        world.signed(get(), "(request-target) host"),
        world.signed(get().set("date", stale()), GENERIC),
        world.signed(get().set("date", early), GENERIC),
        world.signed(get().set("date", "2026-01-01T00:00:00Z"), GENERIC),
        right.clone().set("host", "elsewhere.example.com"),
        right.clone().query("limit=1"),
        Request { method: "DELETE".into(), ..right.clone() },
        Request { target: PARS.replace("/p/", "%2Fp/"), ..right.clone() },
        edited("version=\"1\"", "version=\"2\""),
        edited("rsa-sha256", "hmac-sha256"),
        edited("ocid1.user.oc1..bb", "ocid1.user.oc1..cc"),
        edited("date (request-target)", "(request-target) date"),
    ] {
        world.refuses(&wrong, 401, "NotAuthenticated");
    }
    let x_date = Request::get(PARS).header("host", HOST).header("x-date", http_date(bucketwarden::now()));
    world.call(&world.signed(x_date, "x-date (request-target) host")).assert_status(200);
}

#[test]
fn bodies_are_signed_too() {
    let world = World::new();
    let post = || creation(&wanted("a", "ObjectRead"));
    let right = world.signed(post(), WITH_BODY);
    let other = wanted("b", "ObjectRead").to_string();
    for wrong in [
        world.signed(post(), GENERIC),
        world.signed(post(), &WITH_BODY.replace(" content-type", "")),
        world.signed(post(), &WITH_BODY.replace(" x-content-sha256", "")),
        right.clone().body(&other),
        right.clone().body(&other).set("x-content-sha256", base64(&sha2::Sha256::digest(&other))),
        right.clone().set("content-type", "text/plain"),
        world.signed(post().without("x-content-sha256"), WITH_BODY),
    ] {
        world.refuses(&wrong, 401, "NotAuthenticated");
    }
    assert!(world.oci.control().pars().is_empty());
    world.call(&right).assert_status(200);
}

#[test]
fn a_par_is_good_for_its_object_until_it_ends() {
    let world = World::new();
    world.put("a/b%20c", "hello");
    world.put("a/other", "secret");
    let (told, target) = world.par("a/b c", "ObjectRead");
    let id = told["id"].as_str().unwrap();
    assert!(['+', '/', '=', ':'].iter().all(|c| id.contains(*c)) && id.ends_with(":a/b c"), "{id}");
    let get = |target: &str| world.call(&Request::get(target));
    assert_eq!(get(&target).text(), "hello");
    assert_eq!(get(&target.replace("%2F", "/")).text(), "hello");
    let part = world.call(&Request::get(&target).header("range", "bytes=1-2"));
    assert_eq!((part.status, part.text().as_str()), (206, "el"));
    assert_eq!(world.call(&Request::new("HEAD", &target)).header("content-length"), Some("5"));

    let other = target.replace(&uri_encode("a/b c", false), "a%2Fother");
    for wrong in [
        Request::get(&other),
        Request::put(&target, "x"),
        Request::delete(&target),
        Request::get(&target.replacen("/p/", "/p/x", 1)),
        Request::get(&target.replace("real-bucket", "another")),
    ] {
        world.refuses(&wrong, 404, "BucketNotFound");
    }
    let delete = || dated(Request::delete(&format!("{PARS}{}", uri_encode(id, false))));
    assert_eq!(world.call(&world.signed(delete(), GENERIC)).status, 204);
    world.refuses(&Request::get(&target), 404, "BucketNotFound");
    world.refuses(&world.signed(delete(), GENERIC), 404, "NotAuthorizedOrNotFound");

    let (told, target) = world.par("a/b c", "ObjectRead");
    world.oci.control().expire_par(told["id"].as_str().unwrap());
    world.refuses(&Request::get(&target), 404, "BucketNotFound");
}

#[test]
fn a_par_to_write_writes_alone() {
    let world = World::new();
    let (_, target) = world.par("up", "ObjectWrite");
    assert_eq!(world.call(&Request::put(&target, "written")).status, 200);
    world.refuses(&Request::get(&target), 404, "BucketNotFound");
    let (_, both) = world.par("up", "ObjectReadWrite");
    assert_eq!(world.call(&Request::get(&both)).text(), "written");
    let (_, none) = world.par("none", "ObjectRead");
    world.refuses(&Request::get(&none), 404, "ObjectNotFound");
}

#[test]
fn pars_are_listed_without_their_urls() {
    let world = World::new();
    for object in ["a/1", "b/1", "a/2", "a/3"] {
        world.par(object, "ObjectRead");
    }
    let list = |query: &str| {
        let answer = world.get(&format!("{PARS}?{query}"));
        let told: Vec<Value> = serde_json::from_slice(&answer.assert_status(200).body).expect("a list");
        assert!(told.iter().all(|par| par.get("accessUri").is_none()), "{told:?}");
        let names: Vec<_> = told.iter().map(|par| par["objectName"].as_str().unwrap().to_owned()).collect();
        (names, answer.header("opc-next-page").map(str::to_owned))
    };
    assert_eq!(list("objectNamePrefix=b/"), (vec!["b/1".to_owned()], None));
    let (first, next) = list("objectNamePrefix=a/&limit=2");
    assert_eq!(first, ["a/1", "a/2"]);
    let (second, end) = list(&format!("objectNamePrefix=a/&limit=2&page={}", next.expect("another page")));
    assert_eq!((second, end), (vec!["a/3".to_owned()], None));

    let id = world.oci.control().pars()[0].id.clone();
    let one = world.get(&format!("{PARS}{}", uri_encode(&id, false)));
    let told: Value = serde_json::from_slice(&one.assert_status(200).body).expect("JSON");
    assert_eq!((told["id"].as_str(), told.get("accessUri")), (Some(id.as_str()), None));
}

#[test]
fn wishes_are_checked() {
    let world = World::new();
    let but = |name: &str, value: Value| {
        let mut wish = wanted("a", "ObjectRead");
        wish[name] = value;
        world.signed(creation(&wish), WITH_BODY)
    };
    for wrong in [
        but("accessType", "AnyObjectRead".into()),
        but("accessType", "Read".into()),
        but("timeExpires", "2001-01-01T00:00:00Z".into()),
        but("timeExpires", "tomorrow".into()),
        but("objectName", Value::Null),
        but("name", "".into()),
        but("bucketListingAction", "ListObjects".into()),
        but("objectName", "k".repeat(4000).into()),
        but("unheardOf", 1.into()),
    ] {
        world.refuses(&wrong, 400, "InvalidParameter");
    }
    for (target, code) in [
        ("/n/another/b/real-bucket/p/", "NamespaceNotFound"),
        ("/n/axtestns0001/b/another/p/", "BucketNotFound"),
        ("/n/axtestns0001/b/real-bucket/o/", "NotFound"),
    ] {
        world.refuses(&world.signed(dated(Request::get(target)), GENERIC), 404, code);
    }
}
