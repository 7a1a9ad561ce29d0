//! What a scripted origin can do: answers that talk too much, and every way to give them badly.

use std::io;
use std::thread;
use std::time::Duration;

use super::origin::{GATEWAY_KEY, NAMESPACE, REAL_BUCKET};
use super::wire::Wire;

/// The bytes of an answer's body.
#[derive(Clone, Debug)]
pub enum Content {
    Bytes(Vec<u8>),
    /// So many bytes of a fixed pattern, never held in memory.
    Pattern(u64),
}

impl Content {
    pub fn len(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => u64::try_from(bytes.len()).expect("a length fits"),
            Self::Pattern(n) => *n,
        }
    }
}

#[derive(Clone, Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub content: Content,
    /// No body on the wire, as for HEAD; `content` still gives the length.
    pub headless: bool,
}

impl Reply {
    pub fn new(status: u16) -> Self {
        Self { status, headers: Vec::new(), content: Content::Bytes(Vec::new()), headless: false }
    }

    pub fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    pub fn body(mut self, body: impl AsRef<[u8]>) -> Self {
        self.content = Content::Bytes(body.as_ref().to_vec());
        self
    }

    pub fn xml(status: u16, body: &str) -> Self {
        let body = format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n{body}");
        Self::new(status).header("content-type", "application/xml").body(body)
    }

    /// An error the way real services word it: full of names a client must not see.
    pub fn error(status: u16, code: &str) -> Self {
        Self::xml(
            status,
            &format!(
                "<Error><Code>{code}</Code><Message>{code} on {REAL_BUCKET} in namespace {NAMESPACE} for \
                 {GATEWAY_KEY}</Message><BucketName>{REAL_BUCKET}</BucketName>\
                 <Resource>/{REAL_BUCKET}/datasets/alice/secret-path</Resource>\
                 <Key>datasets/alice/secret-path</Key><AWSAccessKeyId>{GATEWAY_KEY}</AWSAccessKeyId>\
                 <Endpoint>{NAMESPACE}.compat.objectstorage.test</Endpoint><RequestId>UPSTREAM-REQUEST</RequestId>\
                 <HostId>{NAMESPACE}/{REAL_BUCKET}</HostId></Error>"
            ),
        )
    }

    /// An error as OCI words it: other order, other elements.
    pub fn oci_error(status: u16, code: &str) -> Self {
        Self::xml(
            status,
            &format!(
                "<Error><Message>The bucket named '{REAL_BUCKET}' in namespace '{NAMESPACE}'</Message>\
                 <Code>{code}</Code><RequestId>oci-{NAMESPACE}</RequestId></Error>"
            ),
        )
    }
}

/// How a connection ends early.
#[derive(Clone, Copy, Debug)]
pub enum Cut {
    Close,
    Reset,
    /// Silence until the gateway goes.
    Stall,
}

/// How much of a request body the origin reads before it answers.
#[derive(Clone, Copy, Debug)]
pub(super) enum Intake {
    Whole,
    Bytes(usize),
}

#[derive(Clone, Debug)]
pub(super) enum Answer {
    Serve,
    Reply(Reply),
    Raw(Vec<u8>),
    /// Does what was asked, and says nothing.
    Unsaid,
    Nothing(Cut),
}

/// What the origin does with a request.
#[derive(Clone, Debug)]
pub struct Act {
    pub(super) intake: Intake,
    pub(super) sends_continue: bool,
    pub(super) continue_after: Duration,
    pub(super) answer: Answer,
    pub(super) pause: Duration,
    pub(super) cut: Option<(u64, Cut)>,
    pub(super) trickle: Option<(usize, Duration)>,
    pub(super) then_close: bool,
}

impl Act {
    pub fn serve() -> Self {
        Self {
            intake: Intake::Whole,
            sends_continue: true,
            continue_after: Duration::ZERO,
            answer: Answer::Serve,
            pause: Duration::ZERO,
            cut: None,
            trickle: None,
            then_close: false,
        }
    }

    pub fn reply(reply: Reply) -> Self {
        Self { answer: Answer::Reply(reply), ..Self::serve() }
    }

    pub fn error(status: u16, code: &str) -> Self {
        Self::reply(Reply::error(status, code))
    }

    /// Bytes that need not be HTTP, then the end.
    pub fn raw(bytes: impl AsRef<[u8]>) -> Self {
        Self { answer: Answer::Raw(bytes.as_ref().to_vec()), ..Self::serve() }
    }

    /// No answer at all.
    pub fn silence() -> Self {
        Self { answer: Answer::Nothing(Cut::Stall), ..Self::serve() }
    }

    pub fn hang_up(cut: Cut) -> Self {
        Self { answer: Answer::Nothing(cut), ..Self::serve() }
    }

    /// Does what was asked and hangs up.
    pub fn unsaid() -> Self {
        Self { answer: Answer::Unsaid, ..Self::serve() }
    }

    /// Answers after so many bytes of the body, without asking for them first (no `100 Continue`).
    pub fn early(mut self, bytes: usize) -> Self {
        self.intake = Intake::Bytes(bytes);
        self.sends_continue = false;
        self
    }

    /// Like `early`, but says `100 Continue` first.
    pub fn early_after_continue(mut self, bytes: usize) -> Self {
        self.intake = Intake::Bytes(bytes);
        self
    }

    /// Ignores `Expect: 100-continue` and waits for the body.
    pub fn without_continue(mut self) -> Self {
        self.sends_continue = false;
        self
    }

    /// Says `100 Continue`, but only after a pause.
    pub fn continue_after(mut self, pause: Duration) -> Self {
        self.continue_after = pause;
        self
    }

    pub fn after(mut self, pause: Duration) -> Self {
        self.pause = pause;
        self
    }

    /// Stops after so many bytes of the answer's body.
    pub fn cut_after(mut self, bytes: u64, cut: Cut) -> Self {
        self.cut = Some((bytes, cut));
        self
    }

    pub fn trickle(mut self, piece: usize, pause: Duration) -> Self {
        self.trickle = Some((piece, pause));
        self
    }

    /// Closes after the answer without having said so: leaves a stale connection in the pool.
    pub fn then_close(mut self) -> Self {
        self.then_close = true;
        self
    }
}

/// Writes head and body as the act says; `Ok(false)` when it was cut.
pub(super) fn send(wire: &mut Wire, reply: &Reply, headless: bool, act: &Act) -> io::Result<bool> {
    let mut head = format!("HTTP/1.1 {} Whatever\r\n", reply.status);
    let noise = [("server", "LeakyS3"), ("x-amz-id-2", REAL_BUCKET), ("opc-request-id", NAMESPACE)];
    let noise = noise.map(|(n, v)| (n.to_owned(), v.to_owned()));
    for (name, value) in noise.iter().chain(&reply.headers) {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    let framed = reply.headers.iter().any(|(n, _)| n == "content-length" || n == "transfer-encoding");
    if !framed && reply.status != 204 && reply.status != 304 {
        head.push_str(&format!("content-length: {}\r\n", reply.content.len()));
    }
    head.push_str("\r\n");
    wire.write(head.as_bytes())?;
    if headless {
        return Ok(true);
    }
    let end = act.cut.map_or(reply.content.len(), |(at, _)| at.min(reply.content.len()));
    let (piece, pause) = act.trickle.unwrap_or((256 << 10, Duration::ZERO));
    let piece = u64::try_from(piece).expect("a length fits");
    let mut at = 0;
    while at < end {
        let next = (at + piece).min(end);
        wire.write(&slice(&reply.content, at, next))?;
        at = next;
        thread::sleep(pause);
    }
    Ok(act.cut.is_none())
}

/// The byte at an offset of `Content::Pattern`.
pub fn pattern_byte(offset: u64) -> u8 {
    u8::try_from(offset % 251).expect("below 251")
}

fn slice(content: &Content, from: u64, to: u64) -> Vec<u8> {
    match content {
        Content::Bytes(bytes) => {
            let at = |n: u64| usize::try_from(n).expect("a length fits");
            bytes[at(from)..at(to)].to_vec()
        }
        Content::Pattern(_) => (from..to).map(pattern_byte).collect(),
    }
}
