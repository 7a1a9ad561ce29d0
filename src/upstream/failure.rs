//! What went wrong with one try of a call, and whether another may follow: only where the first cannot have been carried
//! out, or where twice is as good as once.

use http::Method;
use hyper_util::client::legacy::Error as ClientError;

use super::body::UpstreamBody;
use super::call::Call;
use super::errors::{Reason, Refused};
use crate::body::upload::UploadHandle;
use crate::error::{Code, Error};

/// What went wrong with one try.
pub(super) enum Failure {
    /// No connection, or one that broke before anything of the body was taken.
    Transport(ClientError),
    TimedOut,
    Refused(Refused),
    /// The upstream does not want to be asked, and has got nothing of the body.
    ExpectRefused(Error),
    /// The client's own fault, found in its body.
    Client(Error),
}

impl Failure {
    /// Whether the upstream may have done all the same what it was asked. Of an upload that may go again it has got
    /// nothing.
    pub(super) fn may_have_acted(&self, body: &UpstreamBody) -> bool {
        match self {
            Self::TimedOut => true,
            Self::Transport(error) => !error.is_connect() && !matches!(body, UpstreamBody::Upload(_)),
            Self::Refused(refused) => matches!(refused.status.as_u16(), 500 | 502 | 504),
            Self::ExpectRefused(_) | Self::Client(_) => false,
        }
    }

    /// Without a body, an idempotent call may go again whatever became of it; with one, only if nothing of the
    /// body was taken and the upstream gave no answer. A write that the upstream answered, with whatever failure, is
    /// left to the client: it may have been minutes in the making.
    pub(super) fn allows_another_try(
        &self,
        call: &Call,
        body: &UpstreamBody,
        upload: Option<&UploadHandle>,
    ) -> bool {
        match self {
            // A refusal to begin has rules of its own.
            Self::Refused(Refused { reason: Reason::Throttled { .. } | Reason::KeyMissed, .. })
            | Self::Client(_)
            | Self::TimedOut
            | Self::ExpectRefused(_) => false,
            Self::Transport(error) => match body {
                UpstreamBody::Upload(_) => can_be_sent_again(upload),
                UpstreamBody::Empty | UpstreamBody::Document(_) => {
                    error.is_connect() || (call.is_idempotent() && body.length() == 0)
                }
            },
            Self::Refused(Refused { status, reason: Reason::Call, .. }) => {
                let passing = matches!(status.as_u16(), 500 | 502 | 503 | 504);
                passing && call.is_idempotent() && call.method != Method::PUT && body.length() == 0
            }
        }
    }

    pub(super) fn into_error(self) -> Error {
        match self {
            Self::Refused(Refused { error, .. }) | Self::ExpectRefused(error) | Self::Client(error) => error,
            Self::TimedOut => Error::new(Code::GatewayTimeout),
            Self::Transport(error) if error.is_connect() => {
                Error::new(Code::ServiceUnavailable).because(error)
            }
            Self::Transport(error) => Error::new(Code::BadGateway).because(error),
        }
    }
}

/// Nothing of the body is lost to another try; a call without an upload keeps its body.
pub(super) fn can_be_sent_again(upload: Option<&UploadHandle>) -> bool {
    upload.is_none_or(|handle| handle.received() == 0 && handle.failure().is_none())
}
