//! One for each store: a place of its own that is empty, where a store can be opened again and again.

use std::any::Any;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bucketwarden::config;
use bucketwarden::metrics::Metrics;
use bucketwarden::store::Store;

use crate::server::Server;

pub(crate) struct Place {
    pub(crate) state: config::State,
    /// What goes when the place does.
    _keep: Box<dyn Any + Send + Sync>,
}

impl Place {
    pub(crate) fn new(state: config::State, keep: impl Any + Send + Sync) -> Self {
        Self { state, _keep: Box::new(keep) }
    }

    pub(crate) async fn open(&self) -> Store {
        self.open_with(Arc::new(Metrics::new().unwrap())).await
    }

    pub(crate) async fn open_with(&self, metrics: Arc<Metrics>) -> Store {
        Store::open(&self.state, metrics).await.unwrap()
    }

    /// The file, if the store is one.
    pub(crate) fn path(&self) -> &Path {
        match &self.state {
            config::State::Redb(path) => path,
            config::State::Redis(_) => panic!("no file"),
        }
    }
}

pub(crate) async fn embedded() -> Place {
    let folder = tempfile::tempdir().unwrap();
    let path: PathBuf = folder.path().join("state.redb");
    Place::new(config::State::Redb(path), folder)
}

pub(crate) async fn redis() -> Place {
    let server = Server::start().await;
    Place::new(server.state(), server)
}
