//! A call on its way: tried, judged, and tried again where that costs nobody anything. In: a call and its body. Out: the
//! upstream's success, or the last failure as a client may see it. Each try waits for a place (`concurrency`), is signed
//! anew by the key of the moment (`keys`), and what comes back teaches both; `failure` and `retry` say what may follow.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

use http::{HeaderValue, Method, Response, StatusCode, header};
use hyper::body::Incoming;

use super::body::UpstreamBody;
use super::call::Call;
use super::concurrency::Place;
use super::errors::{Reason, Refused};
use super::failure::{Failure, can_be_sent_again};
use super::keys::Key;
use super::retry::Tries;
use super::{Upstream, document, watch};
use crate::body::upload::UploadHandle;
use crate::error::Result;

impl Upstream {
    pub(super) async fn deliver(
        &self,
        call: &Call,
        body: UpstreamBody,
        upload: Option<&UploadHandle>,
        now: SystemTime,
    ) -> Result<Response<Incoming>> {
        self.budget.deposit();
        let began = Instant::now();
        let mut tries = Tries::new(self.keys.choose(upload.is_some()));
        let mut to_send = body.again();
        loop {
            let place = self.concurrency.enter().await.map_err(|error| tries.end(error))?;
            let answer = self.attempt(call, to_send, upload, &tries, place, now + began.elapsed()).await;
            let failure = match answer {
                Ok(mut response) => {
                    if tries.is_after_a_lost_answer() {
                        response.extensions_mut().insert(AfterALostAnswer);
                    }
                    return Ok(response);
                }
                Err(failure) => failure,
            };
            // First, so that what `pause` sees of an upload stays so: the connection that was refused may still be
            // there, and would go on to take what the client sends.
            to_send = body.again();
            let Some(pause) = self.pause(&failure, call, &body, upload, &mut tries) else {
                if let Some(handle) = upload {
                    handle.abort();
                }
                return Err(tries.end(failure.into_error()));
            };
            tries.may_have_acted(failure.may_have_acted(&body));
            tokio::time::sleep(pause).await;
        }
    }

    /// How long to wait before the next try, if there may be one.
    fn pause<'a>(
        &'a self,
        failure: &Failure,
        call: &Call,
        body: &UpstreamBody,
        upload: Option<&UploadHandle>,
        tries: &mut Tries<'a>,
    ) -> Option<Duration> {
        match failure {
            Failure::ExpectRefused(_) => std::mem::take(&mut tries.may_ask).then_some(Duration::ZERO),
            Failure::Refused(Refused { reason: Reason::Throttled { retry_after }, .. })
                if can_be_sent_again(upload) =>
            {
                tries.after_throttle(*retry_after)
            }
            Failure::Refused(Refused { reason: Reason::KeyMissed, .. }) if can_be_sent_again(upload) => {
                tries.after_miss(self.keys.other(tries.key))
            }
            failure if failure.allows_another_try(call, body, upload) => tries.after_failure(&self.budget),
            _ => None,
        }
    }

    async fn attempt(
        &self,
        call: &Call,
        body: UpstreamBody,
        upload: Option<&UploadHandle>,
        tries: &Tries<'_>,
        mut place: Place<'_>,
        now: SystemTime,
    ) -> Result<Response<Incoming>, Failure> {
        let mut request = self.request(call, body, &tries.key.signer, now);
        if let Some(handle) = upload {
            let knows_expect = !self.ignores_expect.load(Ordering::Relaxed);
            if tries.may_ask && knows_expect && !handle.gate_is_open() {
                request.headers_mut().insert(header::EXPECT, HeaderValue::from_static("100-continue"));
                let (gate, ignores_expect) = (handle.clone(), self.ignores_expect.clone());
                hyper::ext::on_informational(&mut request, move |answer| {
                    if answer.status() == StatusCode::CONTINUE {
                        // However late: it does know.
                        ignores_expect.store(false, Ordering::Relaxed);
                        gate.open_gate();
                    }
                });
            } else {
                handle.open_gate();
            }
        }
        let limit =
            if call.slow { self.config.slow_operation_timeout } else { self.config.first_byte_timeout };
        let answer = place.hold(self.client.request(request), upload);
        let answered = match upload {
            None => tokio::time::timeout(limit, answer).await.map_err(|_| Failure::TimedOut)?,
            Some(handle) => {
                let watch = watch::Watch::new(handle, limit, self.config.idle_timeout, &self.ignores_expect);
                watch.until(answer).await.ok_or(Failure::TimedOut)?
            }
        };
        match answered {
            Ok(response) => {
                let judged = self.judge(call, response, upload).await;
                self.learn(&judged, place, tries.key);
                judged
            }
            Err(error) => Err(match upload.and_then(UploadHandle::failure) {
                Some(fault) => Failure::Client(fault),
                None => Failure::Transport(error),
            }),
        }
    }

    /// What an answer says about the upstream's load, and about the key that the call was signed with.
    fn learn(&self, judged: &Result<Response<Incoming>, Failure>, place: Place<'_>, key: &Key) {
        match judged {
            Ok(_) => {
                self.keys.known(key);
                place.answered();
            }
            Err(Failure::Refused(Refused { reason: Reason::Throttled { .. }, .. })) => place.throttled(),
            Err(Failure::Refused(Refused { reason: Reason::KeyMissed, .. })) => {
                self.metrics.upstream.key_missed(key.name);
                self.keys.missed(key);
                place.answered();
            }
            Err(failure) => {
                if matches!(failure, Failure::Refused(refused) if refused.shows_key_known()) {
                    self.keys.known(key);
                }
                place.answered();
            }
        }
    }

    /// Takes a success as it is; reads a refusal, and lets go of an upload that the upstream did not wait for.
    async fn judge(
        &self,
        call: &Call,
        response: Response<Incoming>,
        upload: Option<&UploadHandle>,
    ) -> Result<Response<Incoming>, Failure> {
        let status = response.status();
        self.metrics.upstream_response(call.operation, status.as_u16());
        let early = upload.is_some_and(|handle| !handle.is_complete());
        let unchanged =
            status == StatusCode::NOT_MODIFIED && matches!(call.method, Method::GET | Method::HEAD);
        if (status.is_success() && !early) || unchanged {
            return Ok(response);
        }
        if status == StatusCode::EXPECTATION_FAILED && upload.is_some_and(|handle| !handle.gate_is_open()) {
            tracing::info!("the upstream refuses Expect: 100-continue; it is not asked again");
            self.ignores_expect.store(true, Ordering::Relaxed);
            let refused = Refused::read(self.config.dialect, call, status, response.headers(), b"");
            return Err(Failure::ExpectRefused(refused.error));
        }
        if early {
            // However late, it did not wait for the body.
            self.ignores_expect.store(false, Ordering::Relaxed);
        }
        let (parts, body) = response.into_parts();
        let document = document::read_error(body, self.config.idle_timeout).await;
        let refused = Refused::read(self.config.dialect, call, status, &parts.headers, &document);
        if let Some(handle) = upload
            && (refused.reason == Reason::Call || handle.received() > 0)
        {
            // Only now: stopping the upload closes the connection that the refusal comes on.
            handle.abort();
            if let Some(fault) = handle.failure() {
                return Err(Failure::Client(fault));
            }
        }
        Err(Failure::Refused(refused))
    }
}

/// Marks a success that came after a try whose answer was lost.
#[derive(Clone, Copy)]
struct AfterALostAnswer;

/// Whether an earlier try of the call may have been carried out: what this answer refuses in its document may be done.
pub fn is_after_a_lost_answer(response: &Response<Incoming>) -> bool {
    response.extensions().get::<AfterALostAnswer>().is_some()
}
