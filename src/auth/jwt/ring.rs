//! An issuer's keys as they are known now. In: the id of the key that a token names. Out: the set to look it up in.
//! Read once for however many ask, again after ten minutes, and again when a token names a key that is not there
//! (keys rotate), though such a look that was in vain is not repeated for half a minute. While the source is away, what
//! it said last goes on being true for a day. A look goes on when the one who asked for it has left.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::Refusal;
use super::keys::KeySet;
use super::source::Source;

/// A key that the issuer has taken back is refused after as long.
const FRESH: Duration = Duration::from_mins(10);
/// Between two looks for keys that nobody has; and after a look that failed.
const COOL_DOWN: Duration = Duration::from_secs(30);
/// After a look that failed when there are no keys at all: tokens are refused until the next one.
const RETRY: Duration = Duration::from_secs(5);
/// For a look, with the one before it. A file may take for ever, where its share is away: it is then read once, however
/// many ask, and none of them waits for longer.
const PATIENCE: Duration = Duration::from_secs(10);
/// An issuer may be away for as long.
const STALE: Duration = Duration::from_hours(24);

#[derive(Clone)]
pub(super) enum Ring {
    /// A secret of the configuration.
    Fixed(Arc<KeySet>),
    Read(Arc<Reader>),
}

pub(super) struct Reader {
    issuer: String,
    source: Source,
    state: Mutex<State>,
    /// One look at a time.
    looking: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct State {
    keys: Option<Known>,
    failed: Option<Instant>,
    /// When a look did not find what it was for.
    missed: Option<Instant>,
}

struct Known {
    set: Arc<KeySet>,
    since: Instant,
}

/// What to do for a token.
#[derive(Debug)]
enum Decision {
    Use(Arc<KeySet>),
    Look,
    /// Use this; it is old, and the source was away: somebody looks, and nobody waits for it.
    LookBehind(Arc<KeySet>),
    Away,
}

impl Ring {
    pub(super) async fn keys(&self, key_id: Option<&str>) -> Result<Arc<KeySet>, Refusal> {
        match self {
            Self::Fixed(set) => Ok(set.clone()),
            Self::Read(reader) => reader.keys(key_id).await,
        }
    }
}

impl Reader {
    pub(super) fn new(issuer: String, source: Source) -> Arc<Self> {
        Arc::new(Self { issuer, source, state: Mutex::default(), looking: tokio::sync::Mutex::default() })
    }

    async fn keys(self: &Arc<Self>, key_id: Option<&str>) -> Result<Arc<KeySet>, Refusal> {
        let decision = self.state().decide(key_id, Instant::now());
        match decision {
            Decision::Use(set) => Ok(set),
            Decision::Away => Err(Refusal::Unreachable),
            Decision::LookBehind(set) => {
                if self.looking.try_lock().is_ok() {
                    tokio::spawn(self.clone().look(key_id.map(str::to_owned)));
                }
                Ok(set)
            }
            Decision::Look => {
                // In a task of its own: it must not end with the request that began it.
                let looking = tokio::spawn(self.clone().look(key_id.map(str::to_owned)));
                let looked = tokio::time::timeout(PATIENCE, looking).await;
                let known = self.state().keys.as_ref().map(|known| known.set.clone());
                known.filter(|_| matches!(looked, Ok(Ok(())))).ok_or(Refusal::Unreachable)
            }
        }
    }

    async fn look(self: Arc<Self>, key_id: Option<String>) {
        let Ok(_alone) = tokio::time::timeout(PATIENCE, self.looking.lock()).await else { return };
        // Whoever had the turn before may have found it.
        if matches!(self.state().decide(key_id.as_deref(), Instant::now()), Decision::Use(_) | Decision::Away)
        {
            return;
        }
        let read = self.source.read().await;
        let (mut state, now) = (self.state(), Instant::now());
        match read {
            Ok(set) => {
                if set.is_empty() {
                    tracing::warn!(issuer = self.issuer, "the issuer has no public key for signatures");
                }
                let found = set.knows(key_id.as_deref());
                *state = State {
                    keys: Some(Known { set: Arc::new(set), since: now }),
                    failed: None,
                    missed: if found { state.missed } else { Some(now) },
                };
            }
            Err(error) => {
                state.failed = Some(now);
                if state.keys.as_ref().is_some_and(|known| now.duration_since(known.since) > STALE) {
                    state.keys = None;
                }
                tracing::warn!(
                    issuer = self.issuer,
                    error = format!("{error:#}"),
                    "the issuer's keys cannot be read"
                );
            }
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn decide(&self, key_id: Option<&str>, now: Instant) -> Decision {
        let within =
            |since: Option<Instant>, time| since.is_some_and(|since| now.duration_since(since) < time);
        let known = self.keys.as_ref().filter(|known| now.duration_since(known.since) <= STALE);
        let Some(known) = known else {
            return if within(self.failed, RETRY) { Decision::Away } else { Decision::Look };
        };
        let set = known.set.clone();
        let failed_lately = within(self.failed, COOL_DOWN);
        if now.duration_since(known.since) < FRESH {
            let in_vain = failed_lately || within(self.missed, COOL_DOWN);
            return if set.knows(key_id) || in_vain { Decision::Use(set) } else { Decision::Look };
        }
        match self.failed {
            Some(_) if failed_lately => Decision::Use(set),
            Some(_) => Decision::LookBehind(set),
            None => Decision::Look,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use futures_util::future::join_all;
    use tokio::time::advance;

    use super::*;

    /// Ed25519 keys of these names; which points they are does not matter here.
    fn write(path: &Path, names: &[&str]) {
        let key = |name: &&str| {
            format!("{{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"AAAA\",\"kid\":\"{name}\"}}")
        };
        let keys: Vec<String> = names.iter().map(key).collect();
        fs::write(path, format!("{{\"keys\":[{}]}}", keys.join(","))).expect("a file");
    }

    struct Issuer {
        reader: Arc<Reader>,
        path: tempfile::TempPath,
    }

    impl Issuer {
        fn of(names: &[&str]) -> Self {
            let path = tempfile::NamedTempFile::new().expect("a file").into_temp_path();
            write(&path, names);
            let source = Source::JwksFile(path.to_path_buf());
            Self { reader: Reader::new("https://login.example.com/".to_owned(), source), path }
        }

        /// Whether the key is among those in use, or nothing is known.
        async fn has(&self, name: &str) -> Option<bool> {
            self.reader.keys(Some(name)).await.ok().map(|set| set.knows(Some(name)))
        }

        fn breaks(&self) {
            fs::write(&self.path, "nothing").expect("a file");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn e14_a_key_that_was_taken_back_is_gone_after_ten_minutes() {
        let issuer = Issuer::of(&["a", "b"]);
        assert_eq!(issuer.has("a").await, Some(true));
        write(&issuer.path, &["b"]);
        advance(FRESH.saturating_sub(Duration::from_secs(1))).await;
        assert_eq!(issuer.has("a").await, Some(true));
        advance(Duration::from_secs(1)).await;
        assert_eq!(issuer.has("a").await, Some(false));
        assert_eq!(issuer.has("b").await, Some(true));
    }

    #[tokio::test(start_paused = true)]
    async fn an_issuer_that_takes_all_its_keys_back_is_believed() {
        let issuer = Issuer::of(&["a"]);
        assert_eq!(issuer.has("a").await, Some(true));
        write(&issuer.path, &[]);
        advance(FRESH).await;
        assert_eq!(issuer.has("a").await, Some(false));
        issuer.breaks();
        advance(FRESH).await;
        assert_eq!(issuer.has("a").await, Some(false), "there is nothing else to go on with");
    }

    #[tokio::test(start_paused = true)]
    async fn e12_a_look_in_vain_is_not_repeated_at_once() {
        let issuer = Issuer::of(&["a"]);
        assert_eq!(issuer.has("a").await, Some(true));
        let all = join_all((0..100).map(|n| {
            let issuer = &issuer;
            async move { issuer.has(&format!("x{n}")).await }
        }));
        assert!(all.await.into_iter().all(|has| has == Some(false)));
        write(&issuer.path, &["a", "b"]);
        assert_eq!(issuer.has("b").await, Some(false), "the last look was in vain");
        advance(COOL_DOWN).await;
        assert_eq!(issuer.has("b").await, Some(true));
        // One that was not in vain may be followed by another.
        write(&issuer.path, &["a", "b", "c"]);
        assert_eq!(issuer.has("c").await, Some(true));
    }

    #[tokio::test(start_paused = true)]
    async fn keys_are_believed_for_a_day_while_their_source_is_away() {
        let issuer = Issuer::of(&["a"]);
        assert_eq!(issuer.has("a").await, Some(true));
        issuer.breaks();
        advance(FRESH).await;
        assert_eq!(issuer.has("a").await, Some(true));
        advance(STALE.saturating_sub(FRESH)).await;
        assert_eq!(issuer.has("a").await, Some(true));
        advance(Duration::from_secs(1)).await;
        assert_eq!(issuer.has("a").await, None);
        advance(RETRY).await;
        write(&issuer.path, &["a"]);
        assert_eq!(issuer.has("a").await, Some(true));
    }

    #[tokio::test(start_paused = true)]
    async fn a_source_that_comes_back_is_heard() {
        let issuer = Issuer::of(&["a"]);
        assert_eq!(issuer.has("a").await, Some(true));
        issuer.breaks();
        advance(FRESH).await;
        assert_eq!(issuer.has("a").await, Some(true));
        write(&issuer.path, &["b"]);
        assert_eq!(issuer.has("a").await, Some(true), "not asked again yet");
        advance(COOL_DOWN).await;
        assert_eq!(issuer.has("a").await, Some(true), "nobody waits for a source that was away");
        let heard = async {
            while issuer.has("b").await != Some(true) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_mins(1), heard).await.expect("the look behind");
        assert_eq!(issuer.has("a").await, Some(false));
    }

    #[tokio::test(start_paused = true)]
    async fn without_keys_the_source_is_asked_again_soon() {
        let issuer = Issuer::of(&["a"]);
        issuer.breaks();
        assert_eq!(issuer.has("a").await, None);
        write(&issuer.path, &["a"]);
        assert_eq!(issuer.has("a").await, None);
        advance(RETRY).await;
        assert_eq!(issuer.has("a").await, Some(true));
    }
}
