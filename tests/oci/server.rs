//! The OCI stand-in as a process of its own, for clients that are no Rust test. Its first line says where it listens:
//! `{"s3": "http://…", "s3_tls": "https://…", "native": "http://…", "control": "http://…"}`.

#![allow(unreachable_pub, reason = "`pub` here means: for whoever includes the stand-in")]
#![allow(clippy::expect_used, clippy::panic, reason = "a stand-in that cannot go on says so by ending")]

#[path = "mod.rs"]
#[allow(dead_code, unused_imports, reason = "some of it is for tests that run it in their own process")]
mod oci;

use std::path::PathBuf;
use std::sync::Arc;

use clap::Parser;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, SubjectPublicKeyInfoDer};

use oci::{NativeKey, Settings, StandIn};

#[derive(Parser)]
struct Arguments {
    /// Where its objects lie; by default in a temporary folder
    #[arg(long)]
    folder: Option<PathBuf>,
    #[arg(long)]
    namespace: String,
    #[arg(long)]
    bucket: String,
    #[arg(long)]
    region: String,
    #[arg(long)]
    home_region: String,
    /// A customer secret key, `id:secret`
    #[arg(long = "secret-key", value_parser = pair::<':'>)]
    secret_keys: Vec<(String, String)>,
    /// An API signing key, `tenancy/user/fingerprint=public.pem`
    #[arg(long = "api-key", value_parser = pair::<'='>)]
    api_keys: Vec<(String, String)>,
    /// A certificate chain; with it the S3 face speaks TLS too, on a port of its own
    #[arg(long, requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    #[arg(long, requires = "tls_cert")]
    tls_key: Option<PathBuf>,
}

fn pair<const SEPARATOR: char>(text: &str) -> Result<(String, String), String> {
    let (left, right) = text.split_once(SEPARATOR).ok_or(format!("no {SEPARATOR} in it"))?;
    Ok((left.to_owned(), right.to_owned()))
}

#[tokio::main]
async fn main() {
    let arguments = Arguments::parse();
    let tls = arguments.tls_cert.as_ref().zip(arguments.tls_key.as_ref());
    let tls = tls.map(|(cert, key)| server_config(cert, key));
    let native_keys = arguments.api_keys.into_iter().map(|(key_id, file)| {
        let key = SubjectPublicKeyInfoDer::from_pem_file(file).expect("a public key");
        NativeKey { key_id, public_key_der: key.to_vec() }
    });
    let mut stand_in = StandIn::start(Settings {
        namespace: arguments.namespace,
        bucket: arguments.bucket,
        region: arguments.region,
        home_region: arguments.home_region,
        keys: arguments.secret_keys,
        native_keys: native_keys.collect(),
        folder: arguments.folder,
    })
    .await;
    let s3_tls = match tls {
        Some(config) => Some(stand_in.speak_tls(config).await),
        None => None,
    };
    let control = stand_in.be_steered().await;
    let (s3, native) = (stand_in.s3_endpoint(), stand_in.native_endpoint());
    println!("{}", serde_json::json!({ "s3": s3, "s3_tls": s3_tls, "native": native, "control": control }));
    std::future::pending::<()>().await;
}

fn server_config(cert: &PathBuf, key: &PathBuf) -> Arc<ServerConfig> {
    let chain = CertificateDer::pem_file_iter(cert).expect("a certificate file");
    let chain = chain.collect::<Result<Vec<_>, _>>().expect("certificates");
    let key = PrivateKeyDer::from_pem_file(key).expect("a private key");
    let config = ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key);
    Arc::new(config.expect("a key that fits the certificate"))
}
