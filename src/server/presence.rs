//! Whether a client is still there, without reading from it. hyper learns that a client has left by reading, and
//! reads nothing while its buffer holds bytes that it has no use for yet: a pipelined request, a stray line end.
//! The kernel knows all the same.

use std::task::{Context, Poll};

use futures_util::FutureExt as _;
use tokio::io::{AsyncRead, Interest};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use crate::io::Adaptive;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Presence {
    /// Here and silent; the task is woken when that changes.
    Silent,
    /// Here, with bytes that wait to be read. Its going wakes nobody: look again later.
    Unread,
    /// It closed or reset the connection.
    Gone,
}

pub(super) trait Watched {
    fn presence(&self, cx: &mut Context<'_>) -> Presence;
}

impl Watched for TcpStream {
    fn presence(&self, cx: &mut Context<'_>) -> Presence {
        match self.poll_read_ready(cx) {
            Poll::Pending => return Presence::Silent,
            Poll::Ready(Err(_)) => return Presence::Gone,
            Poll::Ready(Ok(())) => {}
        }
        // Readable is what both bytes and an end make a socket; only this tells them apart.
        match self.ready(Interest::READABLE).now_or_never() {
            Some(Ok(ready)) if ready.is_read_closed() => Presence::Gone,
            Some(Ok(_)) | None => Presence::Unread,
            Some(Err(_)) => Presence::Gone,
        }
    }
}

impl Watched for TlsStream<TcpStream> {
    fn presence(&self, cx: &mut Context<'_>) -> Presence {
        self.get_ref().0.presence(cx)
    }
}

impl<S: AsyncRead + Watched> Watched for Adaptive<S> {
    fn presence(&self, cx: &mut Context<'_>) -> Presence {
        self.get_ref().presence(cx)
    }
}
