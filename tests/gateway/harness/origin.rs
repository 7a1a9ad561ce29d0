//! The upstream S3 of these tests: a raw TCP server that records the exact bytes of every request and answers as
//! scripted. Unscripted it is a small in-memory S3 (`memory_s3`) that checks the gateway's signature first.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use super::memory_s3::MemoryS3;
use super::script::{Act, Answer, Content, Cut, Intake, Reply, send};
use super::signer::{Request, Signer};
use super::wire::{End, Framing, Wire};

pub const REAL_BUCKET: &str = "real-bucket-x9";
pub const NAMESPACE: &str = "nsleak";
pub const GATEWAY_KEY: &str = "GWAKLEAK";
pub const GATEWAY_SECRET: &str = "gateway-secret-that-nobody-sees";

/// The longest a test waits for something to happen upstream.
const DEADLINE: Duration = Duration::from_secs(8);

/// One request as it came over the wire, filled in while it comes.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Which connection it came on.
    pub connection: usize,
    pub request: Request,
    /// The head, byte for byte.
    pub head: Vec<u8>,
    /// How the body ended; none while it is still coming.
    pub end: Option<End>,
    /// The gateway closed the connection while this request was unanswered.
    pub gone: bool,
    /// The whole scripted answer was written.
    pub answered: bool,
}

impl Seen {
    pub fn method(&self) -> &str {
        &self.request.method
    }

    pub fn target(&self) -> &str {
        &self.request.target
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.request.get_header(name)
    }

    pub fn body(&self) -> &[u8] {
        &self.request.body
    }

    /// A request that the origin could commit: every byte of its body came.
    pub fn is_complete(&self) -> bool {
        self.end == Some(End::Clean)
    }
}

type When = Box<dyn Fn(&Seen) -> bool + Send>;

struct Rule {
    when: When,
    act: Act,
    left: Option<usize>,
}

struct Inner {
    seen: Vec<Seen>,
    rules: Vec<Rule>,
    store: MemoryS3,
    connections: usize,
    /// How many of them nobody wants to hear of any more.
    forgotten: usize,
}

struct Shared {
    inner: Mutex<Inner>,
    changed: Condvar,
    verifier: Signer,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn note(&self, id: usize, change: impl FnOnce(&mut Seen)) {
        change(&mut self.lock().seen[id]);
        self.changed.notify_all();
    }
}

#[derive(Clone)]
pub struct Origin {
    pub addr: SocketAddr,
    shared: Arc<Shared>,
}

impl Origin {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let addr = listener.local_addr().expect("it is bound");
        let shared = Arc::new(Shared {
            inner: Mutex::new(Inner {
                seen: Vec::new(),
                rules: Vec::new(),
                store: MemoryS3::default(),
                connections: 0,
                forgotten: 0,
            }),
            changed: Condvar::new(),
            verifier: Signer::new(GATEWAY_KEY, GATEWAY_SECRET),
        });
        let origin = Self { addr, shared };
        let own = origin.clone();
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let origin = own.clone();
                let connection = {
                    let mut inner = origin.shared.lock();
                    inner.connections += 1;
                    inner.connections
                };
                thread::spawn(move || origin.converse(stream, connection));
            }
        });
        origin
    }

    /// Does `act` with the next request.
    pub fn next(&self, act: Act) {
        self.rule(|_| true, act, Some(1));
    }

    /// Does `act` with the next `times` requests.
    pub fn next_times(&self, times: usize, act: Act) {
        self.rule(|_| true, act, Some(times));
    }

    /// Does `act` with the next request of a method.
    pub fn next_of(&self, method: &'static str, act: Act) {
        self.rule(move |seen| seen.method() == method, act, Some(1));
    }

    /// Does `act` with every request from now on.
    pub fn always(&self, act: Act) {
        self.rule(|_| true, act, None);
    }

    /// Does `act` with every request of a kind.
    pub fn when(&self, when: impl Fn(&Seen) -> bool + Send + 'static, act: Act) {
        self.rule(when, act, None);
    }

    fn rule(&self, when: impl Fn(&Seen) -> bool + Send + 'static, act: Act, left: Option<usize>) {
        self.shared.lock().rules.push(Rule { when: Box::new(when), act, left });
    }

    pub fn behave(&self) {
        self.shared.lock().rules.clear();
    }

    /// From now on copies heed no condition on their source.
    pub fn be_blind(&self) {
        self.shared.lock().store.is_blind = true;
    }

    /// Puts an object past the gateway, by its real key.
    pub fn seed(&self, key: &str, body: impl AsRef<[u8]>) {
        self.shared.lock().store.seed(key, Content::Bytes(body.as_ref().to_vec()));
    }

    /// Begins a multipart upload past the gateway.
    pub fn seed_upload(&self, key: &str) {
        self.shared.lock().store.seed_upload(key);
    }

    /// As if nothing had ever been put.
    pub fn empty(&self) {
        self.shared.lock().store = MemoryS3::default();
    }

    pub fn seed_pattern(&self, key: &str, length: u64) {
        self.shared.lock().store.seed(key, Content::Pattern(length));
    }

    /// The body of an object, by its real key.
    pub fn object(&self, key: &str) -> Option<Vec<u8>> {
        self.shared.lock().store.bytes_of(key)
    }

    pub fn stored_header(&self, key: &str, name: &str) -> Option<String> {
        self.shared.lock().store.header_of(key, name)
    }

    /// Every key with its entity tag.
    pub fn inventory(&self) -> Vec<(String, String)> {
        self.shared.lock().store.inventory()
    }

    pub fn open_uploads(&self) -> Vec<String> {
        self.shared.lock().store.open_uploads()
    }

    /// As if nothing had been asked yet.
    pub fn forget(&self) {
        let mut inner = self.shared.lock();
        inner.seen.clear();
        inner.forgotten = inner.connections;
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.shared.lock().seen.clone()
    }

    pub fn count(&self) -> usize {
        self.shared.lock().seen.len()
    }

    pub fn connections(&self) -> usize {
        let inner = self.shared.lock();
        inner.connections - inner.forgotten
    }

    pub fn last(&self) -> Seen {
        self.seen().pop().expect("a request reached the origin")
    }

    pub fn last_of(&self, method: &str) -> Seen {
        self.seen().into_iter().rfind(|s| s.method() == method).expect("such a request reached the origin")
    }

    /// Waits until what was seen satisfies `done`.
    pub fn wait_for(&self, what: &str, done: impl Fn(&[Seen]) -> bool) {
        self.wait_within(DEADLINE, what, done);
    }

    pub fn wait_within(&self, limit: Duration, what: &str, done: impl Fn(&[Seen]) -> bool) {
        let deadline = Instant::now() + limit;
        let mut inner = self.shared.lock();
        while !done(&inner.seen) {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "{what} did not happen in {limit:?}; seen: {:#?}", brief(&inner.seen));
            inner = self
                .shared
                .changed
                .wait_timeout(inner, left)
                .map_or_else(|e| e.into_inner().0, |(guard, _)| guard);
        }
    }

    fn converse(&self, stream: TcpStream, connection: usize) {
        let mut wire = Wire::new(stream);
        wire.stream().set_read_timeout(None).expect("a timeout can be unset");
        while let Some(head) = wire.head() {
            let mut request = Request::new(head.word(0), head.word(1));
            request.headers.clone_from(&head.headers);
            let framing = head.request_framing();
            let seen =
                Seen { connection, request, head: head.raw.clone(), end: None, gone: false, answered: false };
            let (id, act) = self.admit(seen);
            let expects = head.get("expect").is_some();
            if expects {
                thread::sleep(act.continue_after);
            }
            if expects && act.sends_continue && wire.write(b"HTTP/1.1 100 Continue\r\n\r\n").is_err() {
                return self.shared.note(id, |s| s.gone = true);
            }
            let whole = self.take_body(&mut wire, framing, id, &act);
            if !whole && matches!(act.intake, Intake::Whole) {
                return self.shared.note(id, |s| s.gone = true);
            }
            thread::sleep(act.pause);
            if !self.answer(&mut wire, id, &act) {
                return self.finish(wire, id, &act);
            }
            self.shared.note(id, |s| s.answered = true);
            if !whole {
                // The answer came early: linger, so that the gateway can read it, and see what it still sends.
                let received =
                    u64::try_from(self.shared.lock().seen[id].body().len()).expect("a length fits");
                let rest = match framing {
                    Framing::Length(n) => Framing::Length(n.saturating_sub(received)),
                    other => other,
                };
                let end = wire.body(rest, &mut |_| true);
                return self.shared.note(id, |s| {
                    s.end = Some(end);
                    s.gone = end == End::Broken;
                });
            }
            if act.then_close {
                return;
            }
        }
    }

    fn admit(&self, seen: Seen) -> (usize, Act) {
        let mut inner = self.shared.lock();
        let position = inner.rules.iter().position(|rule| (rule.when)(&seen));
        let act = position.map(|at| {
            let rule = &mut inner.rules[at];
            let act = rule.act.clone();
            if let Some(left) = &mut rule.left {
                *left -= 1;
                if *left == 0 {
                    inner.rules.remove(at);
                }
            }
            act
        });
        inner.seen.push(seen);
        let id = inner.seen.len() - 1;
        drop(inner);
        self.shared.changed.notify_all();
        (id, act.unwrap_or_else(Act::serve))
    }

    /// Reads as much body as the act wants; says whether that was all of it.
    fn take_body(&self, wire: &mut Wire, framing: Framing, id: usize, act: &Act) -> bool {
        if matches!(act.intake, Intake::Bytes(0)) {
            return matches!(framing, Framing::Length(0));
        }
        let limit = match act.intake {
            Intake::Whole => usize::MAX,
            Intake::Bytes(n) => n,
        };
        let mut enough = false;
        let end = wire.body(framing, &mut |piece| {
            let mut length = 0;
            self.shared.note(id, |s| {
                s.request.body.extend_from_slice(piece);
                length = s.request.body.len();
            });
            enough = length >= limit;
            !enough
        });
        if !enough {
            self.shared.note(id, |s| s.end = Some(end));
        }
        !enough && end == End::Clean
    }

    /// Writes the answer; false when the conversation ends here.
    fn answer(&self, wire: &mut Wire, id: usize, act: &Act) -> bool {
        let reply = match &act.answer {
            Answer::Nothing(_) => return false,
            Answer::Raw(bytes) => {
                let sent = wire.write(bytes).is_ok();
                self.shared.note(id, |s| s.answered = sent);
                return false;
            }
            Answer::Reply(reply) => reply.clone(),
            Answer::Serve | Answer::Unsaid => {
                let mut inner = self.shared.lock();
                let request = inner.seen[id].request.clone();
                match self.shared.verifier.fault_in(&request) {
                    Some(fault) => Reply::error(403, "SignatureDoesNotMatch").header("x-test-fault", fault),
                    None => inner.store.answer(&request),
                }
            }
        };
        if matches!(act.answer, Answer::Unsaid) {
            return false;
        }
        let headless = reply.headless || self.shared.lock().seen[id].method() == "HEAD";
        let sent = send(wire, &reply, headless, act);
        if sent.is_err() {
            self.shared.note(id, |s| s.gone = true);
        }
        sent.is_ok_and(|all| all)
    }

    /// The scripted way to end a conversation without a whole answer.
    fn finish(&self, mut wire: Wire, id: usize, act: &Act) {
        let cut = match (&act.answer, act.cut) {
            (Answer::Nothing(cut), _) => *cut,
            (_, Some((_, cut))) => cut,
            _ => Cut::Close,
        };
        match cut {
            Cut::Close => {}
            Cut::Reset => wire.reset(),
            Cut::Stall => {
                if matches!(act.intake, Intake::Bytes(1..)) {
                    // Not reading is the point: the gateway's writes must come to rest.
                    thread::park();
                }
                wire.body(Framing::UntilClose, &mut |_| true);
                self.shared.note(id, |s| s.gone = true);
            }
        }
    }
}

/// Requests without their bodies, for a readable failure.
fn brief(seen: &[Seen]) -> Vec<String> {
    let line = |s: &Seen| {
        let (n, end) = (s.body().len(), s.end);
        format!("{} {} body {n} end {end:?} gone {} answered {}", s.method(), s.target(), s.gone, s.answered)
    };
    seen.iter().map(line).collect()
}
