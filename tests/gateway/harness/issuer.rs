//! An identity provider: `TokenKey`s that sign JWTs, rightly or wrongly, by nothing of `src/auth`; and a `Provider` that
//! serves them as a JWK set on loopback, or misbehaves, and counts who asks.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, UNIX_EPOCH};

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256,
    RSA_PSS_SHA256, RsaKeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

pub const ISSUER: &str = "https://login.example.test/";
pub const AUDIENCE: &str = "bucketwarden";

/// Seconds since 1970, `offset` from now.
pub fn seconds(offset: i64) -> i64 {
    let now = bucketwarden::now().duration_since(UNIX_EPOCH).expect("after 1970");
    i64::try_from(now.as_secs()).expect("before the end") + offset
}

/// What a token of this user's usually says.
pub fn claims(user: &str) -> Value {
    json!({ "iss": ISSUER, "aud": AUDIENCE, "sub": user, "iat": seconds(0), "exp": seconds(3600) })
}

/// The same, but for some.
pub fn claims_but(user: &str, edit: impl FnOnce(&mut serde_json::Map<String, Value>)) -> Value {
    let mut claims = claims(user);
    edit(claims.as_object_mut().expect("claims are an object"));
    claims
}

pub struct TokenKey {
    pub id: &'static str,
    pair: Pair,
}

enum Pair {
    Rsa(Box<RsaKeyPair>, &'static str),
    Ec(EcdsaKeyPair),
    Ed(Ed25519KeyPair),
    Hmac(Box<hmac::Key>),
}

impl TokenKey {
    pub fn rs256(id: &'static str) -> Self {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).expect("a key pair");
        Self { id, pair: Pair::Rsa(Box::new(pair), "RS256") }
    }

    pub fn ps256(id: &'static str) -> Self {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).expect("a key pair");
        Self { id, pair: Pair::Rsa(Box::new(pair), "PS256") }
    }

    pub fn es256(id: &'static str) -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key pair");
        Self { id, pair: Pair::Ec(pair) }
    }

    pub fn ed25519(id: &'static str) -> Self {
        Self { id, pair: Pair::Ed(Ed25519KeyPair::generate().expect("a key pair")) }
    }

    pub fn hs256(id: &'static str, secret: impl AsRef<[u8]>) -> Self {
        Self { id, pair: Pair::Hmac(Box::new(hmac::Key::new(hmac::HMAC_SHA256, secret.as_ref()))) }
    }

    pub fn algorithm(&self) -> &'static str {
        match &self.pair {
            Pair::Rsa(_, algorithm) => algorithm,
            Pair::Ec(_) => "ES256",
            Pair::Ed(_) => "EdDSA",
            Pair::Hmac(_) => "HS256",
        }
    }

    /// A token as it should be.
    pub fn token(&self, claims: &Value) -> String {
        self.token_with(&json!({ "alg": self.algorithm(), "kid": self.id, "typ": "JWT" }), claims)
    }

    /// With this header, whatever it says.
    pub fn token_with(&self, header: &Value, claims: &Value) -> String {
        self.token_of(header.to_string().as_bytes(), claims.to_string().as_bytes())
    }

    pub fn token_of(&self, header: &[u8], claims: &[u8]) -> String {
        let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
        let signature = self.sign(message.as_bytes());
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    fn sign(&self, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match &self.pair {
            Pair::Rsa(pair, algorithm) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                let padding: &dyn aws_lc_rs::signature::RsaEncoding =
                    if *algorithm == "PS256" { &RSA_PSS_SHA256 } else { &RSA_PKCS1_SHA256 };
                pair.sign(padding, &random, message, &mut signature).expect("it signs");
                signature
            }
            Pair::Ec(pair) => pair.sign(&random, message).expect("it signs").as_ref().to_vec(),
            Pair::Ed(pair) => pair.sign(message).as_ref().to_vec(),
            Pair::Hmac(key) => hmac::sign(key, message).as_ref().to_vec(),
        }
    }

    /// The public half, as a set shows it.
    pub fn jwk(&self) -> Value {
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let mut jwk = match &self.pair {
            Pair::Rsa(pair, _) => {
                let public = pair.public_key();
                let (n, e) = (public.modulus(), public.exponent());
                json!({
                    "kty": "RSA",
                    "n": encode(n.big_endian_without_leading_zero()),
                    "e": encode(e.big_endian_without_leading_zero()),
                })
            }
            Pair::Ec(pair) => {
                let point = &pair.public_key().as_ref()[1..];
                json!({ "kty": "EC", "crv": "P-256", "x": encode(&point[..32]), "y": encode(&point[32..]) })
            }
            Pair::Ed(pair) => {
                json!({ "kty": "OKP", "crv": "Ed25519", "x": encode(pair.public_key().as_ref()) })
            }
            Pair::Hmac(_) => {
                json!({ "kty": "oct", "k": encode(b"the secret itself, which no set should hold") })
            }
        };
        jwk["kid"] = self.id.into();
        jwk["use"] = "sig".into();
        jwk
    }

    /// An RSA public key: PEM, DER, modulus.
    pub fn rsa_public(&self) -> [Vec<u8>; 3] {
        let Pair::Rsa(pair, _) = &self.pair else { panic!("not an RSA key") };
        let der = pair.public_key().as_ref().to_vec();
        let lines: Vec<String> = STANDARD
            .encode(&der)
            .as_bytes()
            .chunks(64)
            .map(|line| String::from_utf8_lossy(line).into())
            .collect();
        let pem =
            format!("-----BEGIN RSA PUBLIC KEY-----\n{}\n-----END RSA PUBLIC KEY-----\n", lines.join("\n"));
        let modulus = pair.public_key().modulus().big_endian_without_leading_zero().to_vec();
        [pem.into_bytes(), der, modulus]
    }
}

pub fn key_set(keys: &[&TokenKey]) -> String {
    json!({ "keys": keys.iter().map(|key| key.jwk()).collect::<Vec<_>>() }).to_string()
}

/// How a provider answers.
#[derive(Clone)]
pub enum Manner {
    Serves(String),
    /// Takes the request and says nothing.
    Silent,
    /// A body without end.
    Huge,
    RedirectsTo(String),
    Fails,
}

pub struct Provider {
    addr: SocketAddr,
    manner: Arc<Mutex<Manner>>,
    asked: Arc<AtomicUsize>,
}

impl Provider {
    pub fn of(keys: &[&TokenKey]) -> Self {
        Self::start(Manner::Serves(key_set(keys)))
    }

    pub fn start(manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let addr = listener.local_addr().expect("an address");
        let (manner, asked) = (Arc::new(Mutex::new(manner)), Arc::new(AtomicUsize::new(0)));
        let provider = Self { addr, manner: manner.clone(), asked: asked.clone() };
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                asked.fetch_add(1, Ordering::SeqCst);
                let manner = manner.lock().expect("no test panics with it").clone();
                thread::spawn(move || answer(stream, &manner));
            }
        });
        provider
    }

    pub fn url(&self) -> String {
        format!("http://{}/jwks.json", self.addr)
    }

    pub fn now(&self, manner: Manner) {
        *self.manner.lock().expect("no test panics with it") = manner;
    }

    pub fn serves(&self, keys: &[&TokenKey]) {
        self.now(Manner::Serves(key_set(keys)));
    }

    /// How often it was asked.
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    /// The entry of `[[auth.jwt]]` that trusts it.
    pub fn entry(&self) -> String {
        entry(ISSUER, &format!("jwks_url = \"{}\"", self.url()))
    }
}

/// An entry of `[[auth.jwt]]`, with more lines.
pub fn entry(issuer: &str, more: &str) -> String {
    format!("[[auth.jwt]]\nissuer = \"{issuer}\"\naudience = \"{AUDIENCE}\"\n{more}\n")
}

fn answer(mut stream: TcpStream, manner: &Manner) {
    // What comes of it is for the client to find out.
    exchange(&mut stream, manner).ok();
}

fn exchange(stream: &mut TcpStream, manner: &Manner) -> std::io::Result<()> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte)? == 1 {
        head.push(byte[0]);
    }
    match manner {
        Manner::Serves(set) => write!(
            stream,
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{set}",
            set.len()
        ),
        Manner::Silent => {
            // Until the client has had enough.
            stream.set_read_timeout(Some(Duration::from_mins(1)))?;
            stream.read(&mut byte).map(drop)
        }
        Manner::Huge => {
            write!(stream, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{{\"keys\":[")?;
            loop {
                stream.write_all(&[b' '; 8192])?;
            }
        }
        Manner::RedirectsTo(url) => {
            write!(
                stream,
                "HTTP/1.1 302 Found\r\nLocation: {url}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            )
        }
        Manner::Fails => {
            write!(
                stream,
                "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            )
        }
    }
}
