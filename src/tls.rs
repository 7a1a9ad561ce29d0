//! TLS on both sides: 1.2 and 1.3 with aws-lc-rs, HTTP/1.1 only.
//! Server: in, two PEM files; out, a `rustls` configuration whose certificate a [`Reloader`] swaps when the
//! files change. A pair that does not parse or match never replaces one that does.
//! Client: the system's roots (Mozilla's where there are none), plus those of a file.
//! The reloader is polled, since watches miss the symlink swaps by which orchestrators rotate secrets.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context;
use arc_swap::ArcSwap;
use rustls::RootCertStore;
use rustls::client::ClientConfig;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert, ServerConfig};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

/// A server's TLS on a pair of PEM files, ready for `TlsAcceptor::from`, and what keeps it current.
pub fn server_config(cert: &Path, key: &Path) -> anyhow::Result<(Arc<ServerConfig>, Reloader)> {
    let files = Files::read(cert, key);
    let seen = Mutex::new(files.fingerprint());
    let current = Arc::new(Current(ArcSwap::from_pointee(files.pair(cert, key)?)));
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13, &TLS12])
        .context("TLS versions")?
        .with_no_client_auth()
        .with_cert_resolver(current.clone());
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok((Arc::new(config), Reloader { cert: cert.to_owned(), key: key.to_owned(), current, seen }))
}

/// A client's TLS: the roots it trusts are the system's and those in `ca_file` (PEM). The connector adds ALPN.
pub fn client_config(ca_file: Option<&Path>) -> anyhow::Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    // A broken entry in the system's store is not ours to mend; none at all is a minimal container.
    let (added, _) = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if added == 0 {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    if let Some(path) = ca_file {
        let pem = std::fs::read(path).with_context(|| format!("reading {}", path.display()))?;
        for root in certificates(&pem).with_context(|| format!("certificates in {}", path.display()))? {
            roots.add(root).with_context(|| format!("a certificate in {}", path.display()))?;
        }
    }
    Ok(ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13, &TLS12])
        .context("TLS versions")?
        .with_root_certificates(roots)
        .with_no_client_auth())
}

/// What a look at the files led to.
#[derive(Debug)]
pub enum Reload {
    Unchanged,
    /// New connections get the new certificate.
    Reloaded,
    /// The files changed to something unusable; the old certificate stays. Said once per change.
    Failed(anyhow::Error),
}

/// Looks after one pair of files.
#[derive(Debug)]
pub struct Reloader {
    cert: PathBuf,
    key: PathBuf,
    current: Arc<Current>,
    seen: Mutex<Fingerprint>,
}

impl Reloader {
    /// Reads both small files whole: an unchanged time or size proves nothing. Blocks for that long.
    pub fn reload_if_changed(&self) -> Reload {
        let files = Files::read(&self.cert, &self.key);
        let fingerprint = files.fingerprint();
        // Held to the end, so that two callers never swap in opposite order.
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if *seen == fingerprint {
            return Reload::Unchanged;
        }
        *seen = fingerprint;
        match files.pair(&self.cert, &self.key) {
            Ok(pair) => {
                self.current.0.store(Arc::new(pair));
                Reload::Reloaded
            }
            Err(error) => Reload::Failed(error),
        }
    }
}

struct Current(ArcSwap<CertifiedKey>);

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}

impl fmt::Debug for Current {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Current(…)")
    }
}

/// Digests of both contents, `None` where there was nothing to read.
type Fingerprint = [Option<[u8; 32]>; 2];

struct Files {
    cert: std::io::Result<Zeroizing<Vec<u8>>>,
    key: std::io::Result<Zeroizing<Vec<u8>>>,
}

impl Files {
    fn read(cert: &Path, key: &Path) -> Self {
        let read = |path| std::fs::read(path).map(Zeroizing::new);
        Self { cert: read(cert), key: read(key) }
    }

    fn fingerprint(&self) -> Fingerprint {
        [&self.cert, &self.key].map(|file| file.as_ref().ok().map(|bytes| Sha256::digest(bytes).into()))
    }

    fn pair(self, cert: &Path, key: &Path) -> anyhow::Result<CertifiedKey> {
        let cert_pem = self.cert.with_context(|| format!("reading {}", cert.display()))?;
        let key_pem = self.key.with_context(|| format!("reading {}", key.display()))?;
        let chain = certificates(&cert_pem).with_context(|| format!("certificates in {}", cert.display()))?;
        // The parser's own error could quote the file.
        let private_key = PrivateKeyDer::from_pem_slice(&key_pem)
            .map_err(|_| anyhow::anyhow!("{} holds no private key in PEM", key.display()))?;
        CertifiedKey::from_der(chain, private_key, &provider())
            .with_context(|| format!("{} and {} as a pair", cert.display(), key.display()))
    }
}

fn certificates(pem: &[u8]) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let chain = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|_| anyhow::anyhow!("not in PEM"))?;
    anyhow::ensure!(!chain.is_empty(), "there are none");
    Ok(chain)
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use rustls::pki_types::ServerName;
    use tokio_rustls::{TlsAcceptor, TlsConnector};

    use super::*;

    struct Pair {
        cert: String,
        key: String,
    }

    fn pair() -> Pair {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        Pair { cert: made.cert.pem(), key: made.signing_key.serialize_pem() }
    }

    struct Folder {
        dir: tempfile::TempDir,
        cert: PathBuf,
        key: PathBuf,
    }

    fn folder(pair: &Pair) -> Folder {
        let dir = tempfile::tempdir().unwrap();
        let (cert, key) = (dir.path().join("tls.crt"), dir.path().join("tls.key"));
        fs::write(&cert, &pair.cert).unwrap();
        fs::write(&key, &pair.key).unwrap();
        Folder { dir, cert, key }
    }

    /// Whether a client that trusts only `root` completes a handshake, and with which protocol.
    async fn handshake(server: Arc<ServerConfig>, root: &Pair) -> Option<Vec<u8>> {
        let dir = tempfile::tempdir().unwrap();
        let ca = dir.path().join("ca.pem");
        fs::write(&ca, &root.cert).unwrap();
        let mut client = client_config(Some(&ca)).unwrap();
        client.alpn_protocols = vec![b"http/1.1".to_vec()];
        let client = TlsConnector::from(Arc::new(client));
        let (near, far) = tokio::io::duplex(16 << 10);
        let accept = tokio::spawn(async move { TlsAcceptor::from(server).accept(far).await.is_ok() });
        let stream = client.connect(ServerName::try_from("localhost").unwrap(), near).await.ok()?;
        assert!(accept.await.unwrap());
        stream.get_ref().1.alpn_protocol().map(<[u8]>::to_vec)
    }

    #[tokio::test]
    async fn rotation_reaches_new_connections() {
        let (old, new) = (pair(), pair());
        let files = folder(&old);
        let (server, reloader) = server_config(&files.cert, &files.key).unwrap();
        assert_eq!(handshake(server.clone(), &old).await, Some(b"http/1.1".to_vec()));
        assert!(matches!(reloader.reload_if_changed(), Reload::Unchanged));

        fs::write(&files.cert, &new.cert).unwrap();
        fs::write(&files.key, &new.key).unwrap();
        assert!(matches!(reloader.reload_if_changed(), Reload::Reloaded));
        assert!(matches!(reloader.reload_if_changed(), Reload::Unchanged));
        assert!(handshake(server.clone(), &new).await.is_some());
        assert!(handshake(server, &old).await.is_none());
    }

    #[tokio::test]
    async fn an_unusable_pair_fails_once_and_changes_nothing() {
        let (old, new) = (pair(), pair());
        let files = folder(&old);
        let (server, reloader) = server_config(&files.cert, &files.key).unwrap();
        let fails_once = || {
            assert!(matches!(reloader.reload_if_changed(), Reload::Failed(_)));
            assert!(matches!(reloader.reload_if_changed(), Reload::Unchanged));
        };

        fs::write(&files.cert, &new.cert).unwrap();
        fails_once(); // the key is still the old one
        fs::write(&files.key, "garbage").unwrap();
        fails_once();
        fs::write(&files.key, "").unwrap();
        fails_once();
        fs::remove_file(&files.key).unwrap();
        fails_once();
        assert!(handshake(server.clone(), &old).await.is_some());

        fs::write(&files.key, &new.key).unwrap();
        assert!(matches!(reloader.reload_if_changed(), Reload::Reloaded));
        assert!(handshake(server, &new).await.is_some());
    }

    #[test]
    fn what_cannot_serve_does_not_start() {
        let (one, two) = (pair(), pair());
        let files = folder(&Pair { cert: one.cert.clone(), key: two.key });
        let mismatched = server_config(&files.cert, &files.key).map(|_| ()).unwrap_err();
        assert!(format!("{mismatched:#}").contains("as a pair"), "{mismatched:#}");
        assert!(server_config(&files.cert, &files.dir.path().join("none")).is_err());
        fs::write(&files.cert, "").unwrap();
        assert!(server_config(&files.cert, &files.key).is_err());
    }

    #[test]
    fn a_file_of_roots_must_hold_some() {
        assert!(client_config(None).is_ok());
        let files = folder(&pair());
        assert!(client_config(Some(&files.cert)).is_ok());
        assert!(client_config(Some(&files.key)).is_err());
        assert!(client_config(Some(&files.dir.path().join("none"))).is_err());
    }

    #[test]
    fn errors_never_quote_a_key() {
        let one = pair();
        let files = folder(&Pair { cert: one.cert, key: "hunter2hunter2".to_owned() });
        let error = server_config(&files.cert, &files.key).map(|_| ()).unwrap_err();
        assert!(!format!("{error:?} {error:#}").contains("hunter2"));
    }
}
