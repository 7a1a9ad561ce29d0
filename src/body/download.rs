//! The body of every answer the gateway gives: nothing, bytes at hand, or an upstream's stream passed on
//! without a copy. It counts what it handed over and tells its `End` exactly once how it ended; permits and
//! settlements ride in that `End`. A stream that stops short, runs over or falls silent ends in `Err`, so
//! that the client sees a broken transfer and never a clean short one.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::count;
use super::pace::Pacer;
use super::patience::{Exhausted, Patience};

type Cause = Box<dyn std::error::Error + Send + Sync>;

/// How a body ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// Every byte was handed over.
    Complete,
    /// The upstream failed.
    Failed,
    /// Nobody wanted the rest: the client went away.
    Dropped,
}

/// Rides in a body and hears of its end once.
pub trait End {
    fn end(self, outcome: Outcome, bytes: u64);
}

impl<F: FnOnce(Outcome, u64)> End for F {
    fn end(self, outcome: Outcome, bytes: u64) {
        self(outcome, bytes);
    }
}

/// Why a stream broke.
#[derive(Debug, thiserror::Error)]
pub enum DownloadError {
    #[error("the upstream's body failed")]
    Upstream(#[source] Cause),
    #[error("the upstream's body is not as long as it said")]
    Length,
    #[error("the upstream fell silent")]
    Silent,
}

/// An answer's body.
pub struct Download<B, E: End> {
    content: Content<B>,
    /// Bytes still to hand over, where the length is known.
    due: Option<u64>,
    bytes: u64,
    end: Option<E>,
}

enum Content<B> {
    Whole(Bytes),
    Stream(B, Patience, Pacer),
    Ended,
}

impl<B, E: End> Download<B, E> {
    /// No body: HEAD, 204, 304.
    pub fn empty(end: E) -> Self {
        Self { content: Content::Ended, due: Some(0), bytes: 0, end: Some(end) }
    }

    /// A body at hand.
    pub fn whole(bytes: Bytes, end: E) -> Self {
        Self { due: Some(count(&bytes)), content: Content::Whole(bytes), bytes: 0, end: Some(end) }
    }

    fn finish(&mut self, outcome: Outcome) {
        self.content = Content::Ended;
        if let Some(end) = self.end.take() {
            end.end(outcome, self.bytes);
        }
    }

    fn hand_over(&mut self, passed: u64) -> Result<(), DownloadError> {
        if let Some(due) = &mut self.due {
            *due = due.checked_sub(passed).ok_or(DownloadError::Length)?;
        }
        self.bytes += passed;
        if self.due == Some(0) {
            // hyper asks no more of a body whose Content-Length is full.
            self.finish(Outcome::Complete);
        }
        Ok(())
    }
}

impl<B, E> Download<B, E>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<Cause>,
    E: End,
{
    /// An upstream's body; its length is what its exact size hint says now.
    pub fn stream(inner: B, idle: Duration, end: E) -> Self {
        let due = inner.size_hint().exact();
        let content = Content::Stream(inner, Patience::new(idle), Pacer::default());
        Self { content, due, bytes: 0, end: Some(end) }
    }

    /// The same stream within its user's bandwidth; a body at hand is not worth it.
    #[must_use]
    pub fn paced(mut self, pacer: Pacer) -> Self {
        if let Content::Stream(_, _, none) = &mut self.content {
            *none = pacer;
        }
        self
    }

    fn poll_content(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, DownloadError>>> {
        let (inner, patience, pacer) = match &mut self.content {
            Content::Ended => return Poll::Ready(None),
            Content::Whole(bytes) => {
                let bytes = std::mem::take(bytes);
                return Poll::Ready(Some(self.hand_over(count(&bytes)).map(|()| Frame::data(bytes))));
            }
            Content::Stream(inner, patience, pacer) => (inner, patience, pacer),
        };
        loop {
            if let Some(data) = ready!(pacer.poll_held(cx)) {
                return Poll::Ready(Some(self.hand_over(count(&data)).map(|()| Frame::data(data))));
            }
            let Poll::Ready(frame) = Pin::new(&mut *inner).poll_frame(cx) else {
                return patience.poll_exhausted(cx).map(|_| Some(Err(DownloadError::Silent)));
            };
            let frame = match frame {
                Some(Ok(frame)) => frame,
                Some(Err(error)) => return Poll::Ready(Some(Err(DownloadError::Upstream(error.into())))),
                None if self.due.is_some_and(|due| due > 0) => {
                    return Poll::Ready(Some(Err(DownloadError::Length)));
                }
                None => return Poll::Ready(None),
            };
            if let Err(Exhausted) = patience.progress(frame.data_ref().map_or(0, |data| count(data))) {
                return Poll::Ready(Some(Err(DownloadError::Silent)));
            }
            match frame.into_data().map(|data| pacer.hold(data)) {
                Ok(None) => {}
                Ok(Some(data)) => {
                    return Poll::Ready(Some(self.hand_over(count(&data)).map(|()| Frame::data(data))));
                }
                Err(other) => return Poll::Ready(Some(Ok(other))),
            }
        }
    }
}

impl<B, E> Body for Download<B, E>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<Cause>,
    E: End + Unpin,
{
    type Data = Bytes;
    type Error = DownloadError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, DownloadError>>> {
        let this = self.get_mut();
        let polled = this.poll_content(cx);
        match &polled {
            Poll::Ready(Some(Err(_))) => this.finish(Outcome::Failed),
            Poll::Ready(None) => this.finish(Outcome::Complete),
            Poll::Ready(Some(Ok(_))) | Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.content, Content::Ended) || self.due == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        self.due.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

impl<B, E: End> Drop for Download<B, E> {
    fn drop(&mut self) {
        // An empty body is complete without ever being polled.
        self.finish(if self.due == Some(0) { Outcome::Complete } else { Outcome::Dropped });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use http_body_util::{BodyExt, Full};

    use super::*;
    use crate::body::kit::{IDLE, Script, Step};

    /// What a body told its end.
    type Told = Arc<Mutex<Vec<(Outcome, u64)>>>;

    fn told() -> (Told, impl FnOnce(Outcome, u64) + Unpin) {
        let told = Told::default();
        let end = told.clone();
        (told, move |outcome, bytes| {
            end.lock().unwrap().push((outcome, bytes));
        })
    }

    fn pieces(parts: &[&'static str]) -> Script {
        Script::of(parts.iter().map(|&part| Bytes::from(part)))
    }

    #[tokio::test]
    async fn a_download_tells_its_end_once() {
        // A known length: complete with the last frame, without a poll to `None`.
        let (seen, end) = told();
        let mut body = Download::stream(Full::new(Bytes::from("abc")), IDLE, end);
        assert_eq!(body.size_hint().exact(), Some(3));
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "abc");
        assert!(body.is_end_stream());
        assert_eq!(*seen.lock().unwrap(), [(Outcome::Complete, 3)]);
        drop(body);
        assert_eq!(seen.lock().unwrap().len(), 1);

        // An unknown length: complete at `None`.
        let (seen, end) = told();
        let mut body = Download::stream(pieces(&["ab", "c"]), IDLE, end);
        while body.frame().await.is_some() {
            assert!(seen.lock().unwrap().is_empty());
        }
        assert_eq!(*seen.lock().unwrap(), [(Outcome::Complete, 3)]);

        // The client goes away.
        let (seen, end) = told();
        let mut body = Download::stream(pieces(&["ab", "c"]), IDLE, end);
        body.frame().await;
        drop(body);
        assert_eq!(*seen.lock().unwrap(), [(Outcome::Dropped, 2)]);

        // The upstream breaks.
        let (seen, end) = told();
        let mut body = Download::stream(Script::new([Step::Data("ab".into()), Step::Fail]), IDLE, end);
        body.frame().await;
        assert!(matches!(body.frame().await, Some(Err(DownloadError::Upstream(_)))));
        assert_eq!(*seen.lock().unwrap(), [(Outcome::Failed, 2)]);
    }

    #[tokio::test]
    async fn bodies_at_hand_tell_their_end_too() {
        let (seen, end) = told();
        let mut body = Download::<Script, _>::whole("abc".into(), end);
        assert_eq!(body.size_hint().exact(), Some(3));
        body.frame().await;
        assert!(body.is_end_stream() && body.frame().await.is_none());
        assert_eq!(*seen.lock().unwrap(), [(Outcome::Complete, 3)]);

        let (seen, end) = told();
        drop(Download::<Script, _>::whole("abc".into(), end));
        assert_eq!(*seen.lock().unwrap(), [(Outcome::Dropped, 0)]);

        assert!(Download::<Script, _>::whole(Bytes::new(), told().1).is_end_stream());
        let (seen, end) = told();
        let body = Download::<Script, _>::empty(end);
        assert!(body.is_end_stream());
        drop(body);
        assert_eq!(*seen.lock().unwrap(), [(Outcome::Complete, 0)]);
    }

    /// Says a length and sends what it likes.
    struct Liar(u64, Script);

    impl Body for Liar {
        type Data = Bytes;
        type Error = std::io::Error;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
            Pin::new(&mut self.1).poll_frame(cx)
        }

        fn size_hint(&self) -> SizeHint {
            SizeHint::with_exact(self.0)
        }
    }

    #[tokio::test]
    async fn a_wrong_length_is_never_a_clean_end() {
        for (length, parts) in [(4, &["ab", "c"][..]), (2, &["abc"])] {
            let (seen, end) = told();
            let mut body = Download::stream(Liar(length, pieces(parts)), IDLE, end);
            let last = loop {
                match body.frame().await {
                    Some(Ok(_)) => {}
                    last => break last,
                }
            };
            assert!(matches!(last, Some(Err(DownloadError::Length))));
            assert_eq!(seen.lock().unwrap()[0].0, Outcome::Failed);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_upstream_times_out_but_a_slow_client_may_take_its_time() {
        let (seen, end) = told();
        let steps = [Step::Data("ab".into()), Step::Data("cd".into()), Step::Stall];
        let mut body = Download::stream(Script::new(steps), IDLE, end);
        body.frame().await;
        tokio::time::sleep(IDLE * 10).await;
        assert!(body.frame().await.unwrap().is_ok());
        let start = tokio::time::Instant::now();
        assert!(matches!(body.frame().await, Some(Err(DownloadError::Silent))));
        assert_eq!(start.elapsed(), IDLE);
        assert_eq!(*seen.lock().unwrap(), [(Outcome::Failed, 4)]);
    }
}
