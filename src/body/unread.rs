//! A request's body until somebody reads it. An answer that comes before the body was read leaves bytes on the
//! connection that are no request: a few are read away, so that the connection can go on; for more the client
//! is told that the connection ends, and loses no request that it sends on it next.
//!
//! A final answer to `Expect: 100-continue` that no `100` came before ends the connection too. RFC 9110 §10.1.1
//! allows it without, and hyper sends none when there is no content, but the AWS CLI's botocore keeps what it
//! made of such an answer for the next request on the connection, and then reads that one's answer to no end.

use std::time::Duration;

use http::{HeaderMap, header};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;

use super::count;

/// What is read away at most, and for how long.
const MOST: u64 = 64 * 1024;
const PATIENCE: Duration = Duration::from_millis(500);

pub struct Unread {
    state: State,
    /// The client waits to be asked for it.
    waits: bool,
    /// There is nothing to ask for.
    is_empty: bool,
}

enum State {
    Waiting(Incoming),
    /// Somebody reads it, or gave up on it.
    Taken,
    ReadWhole,
}

impl Unread {
    pub fn new(body: Incoming, headers: &HeaderMap) -> Self {
        let is_empty = body.is_end_stream();
        Self { state: State::Waiting(body), waits: headers.contains_key(header::EXPECT), is_empty }
    }

    /// The body. Whoever takes it, once, says when it was read whole.
    pub fn take(&mut self) -> Incoming {
        match std::mem::replace(&mut self.state, State::Taken) {
            State::Waiting(body) => body,
            State::Taken | State::ReadWhole => unreachable!("each request reads its body once"),
        }
    }

    pub fn was_read_whole(&mut self) {
        self.state = State::ReadWhole;
    }

    /// Makes the connection fit for its next request; `false` if it cannot be.
    pub async fn clear(self) -> bool {
        if self.waits && self.is_empty {
            return false;
        }
        let mut body = match self.state {
            State::Waiting(body) if !body.is_end_stream() => body,
            State::Waiting(_) | State::ReadWhole => return true,
            State::Taken => return false,
        };
        if self.waits || body.size_hint().lower() > MOST {
            return false;
        }
        let read_away = async {
            let mut left = MOST;
            while let Some(frame) = body.frame().await {
                let read = frame.ok()?.data_ref().map_or(0, |data| count(data));
                left = left.checked_sub(read)?;
            }
            Some(())
        };
        matches!(tokio::time::timeout(PATIENCE, read_away).await, Ok(Some(())))
    }
}
