//! A stand-in for OCI Object Storage, as strict as Oracle's pages and the reports of its users: what OCI refuses is
//! refused here in its words, and what no gateway should send it is refused too, so that a test which passes says
//! something. Written apart from `src/`; only the bytes lie in the gateway's own embedded store, behind it.
//!
//! `face` is the S3 Compatibility API: `sigv4` verifies, `operation` and `headers` say what OCI has, `payload` checks
//! the body, `store` passes the rest on, `answer` dresses what comes back as OCI does. `native` is the part of OCI's
//! own API that makes pre-authenticated requests: `rsa` verifies, `par` keeps and serves them. Tests steer and watch
//! through `control`, other processes through `steering`.
//!
//! It follows "Amazon S3 Compatibility API Support", "Using Pre-Authenticated Requests" and "Request Signatures" of
//! Oracle's documentation; where these are silent, published reports; where both are, Amazon's.

mod answer;
mod chunked;
mod control;
mod face;
mod headers;
mod native;
mod operation;
mod par;
mod payload;
mod refusal;
mod rsa;
mod serve;
mod sigv4;
mod steering;
mod store;
mod text;

use std::path::PathBuf;
use std::sync::Arc;

use rustls::ServerConfig;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

pub use control::{Control, Propagation, Seen};
pub use par::Par;

/// Who it is, and whom it knows.
pub struct Settings {
    pub namespace: String,
    pub bucket: String,
    pub region: String,
    /// Scopes that name no region, or `us-east-1`, are good here alone.
    pub home_region: String,
    /// Customer secret keys: id and secret.
    pub keys: Vec<(String, String)>,
    pub native_keys: Vec<NativeKey>,
    /// Where objects lie, if not in a temporary folder.
    pub folder: Option<PathBuf>,
}

/// The public half of an API signing key.
#[derive(Clone)]
pub struct NativeKey {
    /// `<tenancy OCID>/<user OCID>/<fingerprint>`
    pub key_id: String,
    /// A `SubjectPublicKeyInfo`.
    pub public_key_der: Vec<u8>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            namespace: "axtestns0001".into(),
            bucket: "real-bucket".into(),
            region: "us-phoenix-1".into(),
            home_region: "us-ashburn-1".into(),
            keys: Vec::new(),
            native_keys: Vec::new(),
            folder: None,
        }
    }
}

/// A running stand-in; it ends, and its objects are gone, when this is dropped.
pub struct StandIn {
    s3_endpoint: String,
    native_endpoint: String,
    control: Arc<Control>,
    /// What it runs on, where that is its own.
    runtime: Option<Runtime>,
    face: Arc<face::Face>,
    tasks: JoinSet<()>,
    _folder: Option<tempfile::TempDir>,
}

impl StandIn {
    /// On the runtime of the caller, who must not block it.
    pub async fn start(settings: Settings) -> Self {
        let folder = settings.folder.is_none().then(|| tempfile::tempdir().expect("a temporary folder"));
        let path = folder.as_ref().map(|folder| folder.path().to_owned()).or_else(|| settings.folder.clone());
        let control = Arc::new(Control::new(settings.keys.clone()));
        let mut tasks = JoinSet::new();
        let store = store::Store::start(path.expect("one of the two"), &settings, &mut tasks).await;
        let settings = Arc::new(settings);
        let (s3, api) = (listener().await, listener().await);
        let (s3_endpoint, native_endpoint) = (endpoint(&s3), endpoint(&api));
        let native = native::Native::new(Arc::clone(&settings), Arc::clone(&control), Arc::clone(&store));
        let native = Arc::new(native);
        let face = Arc::new(face::Face::new(settings, Arc::clone(&control), store));
        tasks.spawn(serve::accept(api, None, move |request| Arc::clone(&native).answer(request)));
        let mut started =
            Self { s3_endpoint, native_endpoint, control, runtime: None, face, tasks, _folder: folder };
        started.serve_s3(s3, None);
        started
    }

    /// On threads of its own, for callers that block.
    pub fn start_apart(settings: Settings) -> Self {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(2).enable_all().build().expect("a runtime starts");
        let started = runtime.block_on(Self::start(settings));
        Self { runtime: Some(runtime), ..started }
    }

    /// `http://127.0.0.1:<port>`, path style.
    pub fn s3_endpoint(&self) -> String {
        self.s3_endpoint.clone()
    }

    /// `http://127.0.0.1:<port>`: where `/n/…` is asked for, and where `accessUri` leads.
    pub fn native_endpoint(&self) -> String {
        self.native_endpoint.clone()
    }

    pub fn control(&self) -> &Control {
        &self.control
    }

    /// The S3 face over TLS too; where.
    pub async fn speak_tls(&mut self, config: Arc<ServerConfig>) -> String {
        let listener = listener().await;
        let endpoint = endpoint(&listener).replacen("http", "https", 1);
        self.serve_s3(listener, Some(config));
        endpoint
    }

    /// Listens for orders (`steering`); where.
    pub async fn be_steered(&mut self) -> String {
        let listener = listener().await;
        let endpoint = endpoint(&listener);
        let control = Arc::clone(&self.control);
        let answer = move |request| steering::answer(Arc::clone(&control), request);
        self.tasks.spawn(serve::accept(listener, None, answer));
        endpoint
    }

    fn serve_s3(&mut self, listener: TcpListener, tls: Option<Arc<ServerConfig>>) {
        let face = Arc::clone(&self.face);
        self.tasks.spawn(serve::accept(listener, tls, move |request| Arc::clone(&face).answer(request)));
    }
}

async fn listener() -> TcpListener {
    TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0)).await.expect("a port is free")
}

fn endpoint(listener: &TcpListener) -> String {
    format!("http://{}", listener.local_addr().expect("it is bound"))
}
