//! The connection to Redis, one for all users: made, watched and made anew by a task of its own. In: calls with a
//! deadline. Out: answers, or what kind of trouble there is. A loss is logged once, and so is its end; the
//! gauge and [`Link::is_up`] follow.
//!
//! With each connection comes the store's life: made of the epoch, a random value that is there as long as the
//! data are, and of the run and replication ids of the servers. It changes when a server restarts, when a
//! replica takes over, and when the data are gone; whoever wrote shortly before may have lost something then.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use redis::aio::{ConnectionLike as _, MultiplexedConnection};
use redis::cluster_async::ClusterConnection;
use redis::cluster_routing::{MultipleNodeRoutingInfo, RoutingInfo};
use redis::{Cmd, ErrorKind, RedisError, ServerErrorKind, Value};
use sha2::{Digest, Sha256};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_util::task::AbortOnDropHandle;
use tracing::{info, warn};

use super::address::Address;
use super::script::{Call, Script, bytes};
use crate::metrics::Metrics;

/// What one step may take in all.
pub(super) const DEADLINE: Duration = Duration::from_millis(250);
/// A connection with its handshakes, or one look at whether the servers are there.
const CONNECT: Duration = Duration::from_secs(1);
const LOOK_EVERY: Duration = Duration::from_secs(1);
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);
const EPOCH: &str = "bw:epoch";

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    /// The connection broke: what was sent may have been carried out.
    #[error("the connection broke")]
    Broken,
    /// Redis did not answer in time.
    #[error("no answer in time")]
    Silent,
    /// Redis answered, with a refusal.
    #[error("refused: {0}")]
    Refused(String),
    /// Redis answered something that makes no sense here.
    #[error("not understood: {0}")]
    Strange(&'static str),
}

pub(super) struct Link {
    shared: Arc<Shared>,
    _keeper: AbortOnDropHandle<()>,
}

struct Shared {
    address: Address,
    metrics: Arc<Metrics>,
    current: watch::Sender<Option<Connected>>,
    /// Somebody had no answer.
    doubt: Notify,
    up: AtomicBool,
    life: AtomicU64,
    /// The loss that lasts is in the log.
    told: AtomicBool,
    settings_checked: AtomicBool,
}

#[derive(Clone)]
struct Connected {
    connection: Connection,
    number: u64,
    life: u64,
}

#[derive(Clone)]
enum Connection {
    One(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl Link {
    /// Waits a little for the first connection, so that a Redis that is there is up at once.
    pub(super) async fn open(address: Address, metrics: Arc<Metrics>) -> Self {
        metrics.state_available.set(0);
        let shared = Arc::new(Shared {
            address,
            metrics,
            current: watch::Sender::new(None),
            doubt: Notify::new(),
            up: AtomicBool::new(false),
            life: AtomicU64::new(0),
            told: AtomicBool::new(false),
            settings_checked: AtomicBool::new(false),
        });
        let mut first = shared.current.subscribe();
        let keeper = AbortOnDropHandle::new(tokio::spawn(shared.clone().keep()));
        drop(timeout(CONNECT, first.wait_for(Option::is_some)).await);
        Self { shared, _keeper: keeper }
    }

    pub(super) fn is_up(&self) -> bool {
        self.shared.up.load(Ordering::Relaxed)
    }

    pub(super) fn life(&self) -> u64 {
        self.shared.life.load(Ordering::Relaxed)
    }

    /// Calls a script. Also answers in which life of the store.
    pub(super) async fn call(
        &self,
        script: &Script,
        call: &Call,
        deadline: Instant,
    ) -> Result<(Value, u64), Trouble> {
        let [by_digest, by_text] = script.calls(call);
        match self.ask(by_digest, deadline).await {
            Err(Failure::NoScript) => {}
            answer => return answer.map_err(Failure::into_trouble),
        }
        self.ask(by_text, deadline).await.map_err(Failure::into_trouble)
    }

    pub(super) async fn command(&self, command: Cmd, deadline: Instant) -> Result<Value, Trouble> {
        self.ask(command, deadline).await.map(|(value, _)| value).map_err(Failure::into_trouble)
    }

    async fn ask(&self, command: Cmd, deadline: Instant) -> Result<(Value, u64), Failure> {
        let mut connected = self.connected(deadline).await?;
        match timeout_at(deadline, connected.connection.ask(&command)).await {
            Ok(Ok(value)) => Ok((value, connected.life)),
            Ok(Err(error)) => {
                let failure = Failure::of(&error);
                if matches!(failure, Failure::Trouble(Trouble::Broken)) {
                    self.shared.lost(connected.number, &error.to_string());
                }
                Err(failure)
            }
            Err(_) => {
                self.shared.doubt.notify_one();
                Err(Failure::Trouble(Trouble::Silent))
            }
        }
    }

    async fn connected(&self, deadline: Instant) -> Result<Connected, Failure> {
        let mut current = self.shared.current.subscribe();
        match timeout_at(deadline, current.wait_for(Option::is_some)).await {
            Ok(Ok(connected)) => connected.clone().ok_or(Failure::Trouble(Trouble::Silent)),
            Ok(Err(_)) | Err(_) => Err(Failure::Trouble(Trouble::Silent)),
        }
    }
}

enum Failure {
    NoScript,
    Trouble(Trouble),
}

impl Failure {
    fn of(error: &RedisError) -> Self {
        Self::Trouble(match error.kind() {
            ErrorKind::Server(ServerErrorKind::NoScript) => return Self::NoScript,
            // This server has no say any more, or not yet: another one may.
            ErrorKind::Server(
                ServerErrorKind::BusyLoading
                | ServerErrorKind::MasterDown
                | ServerErrorKind::ReadOnly
                | ServerErrorKind::ClusterDown
                | ServerErrorKind::Moved
                | ServerErrorKind::Ask
                | ServerErrorKind::TryAgain,
            ) => Trouble::Broken,
            ErrorKind::Server(_) | ErrorKind::Extension => Trouble::Refused(error.to_string()),
            _ => Trouble::Broken,
        })
    }

    fn into_trouble(self) -> Trouble {
        match self {
            Self::NoScript => Trouble::Strange("a script's text is no script"),
            Self::Trouble(trouble) => trouble,
        }
    }
}

impl Shared {
    /// The keeper's whole life: connect, look now and then, connect again.
    async fn keep(self: Arc<Self>) {
        let mut pause = FIRST_PAUSE;
        for number in 0.. {
            match timeout(CONNECT, self.connect(number)).await {
                Ok(Ok(connected)) => {
                    pause = FIRST_PAUSE;
                    self.is_back(&connected);
                    self.watch(connected).await;
                }
                Ok(Err(error)) => self.is_down(&error.to_string()),
                Err(_) => self.is_down("no answer"),
            }
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn connect(&self, number: u64) -> Result<Connected, RedisError> {
        let mut connection = match &self.address {
            Address::One(client) => {
                let mut one = client.get_multiplexed_async_connection().await?;
                let info: String = redis::cmd("INFO").arg("cluster").query_async(&mut one).await?;
                if field(&info, "cluster_enabled") == Some("1") {
                    Connection::Cluster(Address::cluster(client)?.get_async_connection().await?)
                } else {
                    // Whoever calls has a deadline.
                    one.set_response_timeout(CONNECT);
                    Connection::One(one)
                }
            }
            Address::Cluster(client) => Connection::Cluster(client.get_async_connection().await?),
        };
        let life = connection.life().await?;
        if !self.settings_checked.load(Ordering::Relaxed) {
            connection.check_settings().await?;
            self.settings_checked.store(true, Ordering::Relaxed);
        }
        Ok(Connected { connection, number, life })
    }

    /// Returns when the connection is no good any more.
    async fn watch(&self, mut connected: Connected) {
        loop {
            drop(timeout(LOOK_EVERY, self.doubt.notified()).await);
            if self.current.borrow().as_ref().is_none_or(|current| current.number != connected.number) {
                return;
            }
            match timeout(DEADLINE, connected.connection.life()).await {
                Ok(Ok(life)) if life == connected.life => {}
                Ok(Ok(life)) => {
                    connected.life = life;
                    self.is_back(&connected);
                }
                Ok(Err(error)) => return self.lost(connected.number, &error.to_string()),
                Err(_) => return self.lost(connected.number, "no answer"),
            }
        }
    }

    fn is_back(&self, connected: &Connected) {
        let before = self.life.swap(connected.life, Ordering::Relaxed);
        if before != 0 && before != connected.life {
            warn!(
                "the state store restarted, or was replaced or emptied: users with recent writes are recounted"
            );
        }
        self.current.send_replace(Some(connected.clone()));
        self.told.store(false, Ordering::Relaxed);
        if !self.up.swap(true, Ordering::Relaxed) {
            self.metrics.state_available.set(1);
            info!("the state store is available");
        }
    }

    /// Takes a connection away, and wakes the keeper.
    fn lost(&self, number: u64, why: &str) {
        let was_current = self.current.send_if_modified(|current| {
            let is_it = current.as_ref().is_some_and(|current| current.number == number);
            if is_it {
                *current = None;
            }
            is_it
        });
        if was_current {
            self.is_down(why);
            self.doubt.notify_one();
        }
    }

    fn is_down(&self, why: &str) {
        self.up.store(false, Ordering::Relaxed);
        self.metrics.state_available.set(0);
        if !self.told.swap(true, Ordering::Relaxed) {
            warn!(reason = why, "the state store is not available: writes are refused until it is");
        }
    }
}

impl Connection {
    async fn ask(&mut self, command: &Cmd) -> Result<Value, RedisError> {
        match self {
            Self::One(connection) => connection.req_packed_command(command).await?.extract_error(),
            Self::Cluster(connection) => connection.req_packed_command(command).await?.extract_error(),
        }
    }

    /// One answer of each server that holds data.
    async fn ask_each(&mut self, command: &Cmd) -> Result<Vec<Value>, RedisError> {
        match self {
            Self::One(_) => Ok(vec![self.ask(command).await?]),
            Self::Cluster(connection) => {
                let all = RoutingInfo::MultiNode((MultipleNodeRoutingInfo::AllMasters, None));
                let by_node = connection.route_command(command.clone(), all).await?.extract_error()?;
                Ok(match by_node {
                    Value::Map(pairs) => pairs.into_iter().map(|(_, answer)| answer).collect(),
                    one => vec![one],
                })
            }
        }
    }

    async fn life(&mut self) -> Result<u64, RedisError> {
        let random = uuid::Uuid::new_v4().simple().to_string();
        self.ask(redis::cmd("SET").arg(EPOCH).arg(random).arg("NX")).await?;
        let epoch = self.ask(redis::cmd("GET").arg(EPOCH)).await?;
        let mut parts = BTreeSet::from([bytes(epoch).ok().flatten().unwrap_or_default()]);
        for (section, name) in [("server", "run_id"), ("replication", "master_replid")] {
            for answer in self.ask_each(redis::cmd("INFO").arg(section)).await? {
                let info: String = redis::from_redis_value(answer)?;
                parts.insert(field(&info, name).unwrap_or_default().as_bytes().to_vec());
            }
        }
        let digest = parts.iter().fold(Sha256::new(), |digest, part| {
            digest.chain_update(part.len().to_be_bytes()).chain_update(part)
        });
        let digest: [u8; 32] = digest.finalize().into();
        let life = digest.iter().take(8).fold(0, |life, byte| life << 8 | u64::from(*byte));
        Ok(life.max(1))
    }

    /// Warns of settings under which Redis may lose or drop what it was told.
    async fn check_settings(&mut self) -> Result<(), RedisError> {
        for (name, wanted) in [("appendonly", "yes"), ("maxmemory-policy", "noeviction")] {
            let answers = match self.ask_each(redis::cmd("CONFIG").arg("GET").arg(name)).await {
                Ok(answers) => answers,
                Err(error) if matches!(error.kind(), ErrorKind::Server(_) | ErrorKind::Extension) => {
                    warn!(
                        setting = name,
                        wanted, "the state store does not tell its settings: this one could not be checked"
                    );
                    continue;
                }
                Err(error) => return Err(error),
            };
            let is =
                |answer| redis::from_redis_value::<Vec<String>>(answer).ok().and_then(|mut pair| pair.pop());
            for value in answers.into_iter().filter_map(is).filter(|value| value != wanted) {
                warn!(setting = name, value, wanted, "the state store may lose what it was told");
            }
        }
        Ok(())
    }
}

/// A line `name:value` of what INFO answers.
fn field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
}
