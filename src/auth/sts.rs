//! `AssumeRoleWithWebIdentity`: a token is exchanged for temporary keys. In: the parameters of a call, from the query
//! and the form alike. Out: what is asked for, well-formed, or the `Fault`; and the XML of both answers. What would
//! narrow the keys' rights is refused, since nobody here could keep that promise. Pure: nothing is verified here.
//!
//! Follows <https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRoleWithWebIdentity.html>.

use std::borrow::Cow;
use std::fmt;
use std::time::{Duration, SystemTime};

use http::StatusCode;

use super::jwt::{Identity, Refusal};
use super::session::Session;
use crate::config;
use crate::s3::query::{self, Query};
use crate::s3::xml::Writer;
use crate::sigv4::scope::format_iso;
use crate::types::RequestId;

const ACTION: &str = "AssumeRoleWithWebIdentity";
const VERSION: &str = "2011-06-15";
const NAMESPACE: &str = "https://sts.amazonaws.com/doc/2011-06-15/";
/// The longest token that is taken here, in characters.
pub const MAX_TOKEN: usize = 20_000;
const SHORTEST: Duration = Duration::from_mins(15);

/// A refusal as STS says it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fault {
    pub code: &'static str,
    pub status: StatusCode,
    message: Cow<'static, str>,
    /// Seconds.
    pub retry_after: Option<u64>,
}

impl Fault {
    pub fn new(code: &'static str, status: StatusCode, message: impl Into<Cow<'static, str>>) -> Self {
        Self { code, status, message: message.into(), retry_after: None }
    }

    pub fn message(&self) -> &str {
        &self.message
    }

    fn bad(code: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(code, StatusCode::BAD_REQUEST, message)
    }

    fn validation(message: impl Into<Cow<'static, str>>) -> Self {
        Self::bad("ValidationError", message)
    }

    pub fn rejected() -> Self {
        Self::new(
            "IDPRejectedClaim",
            StatusCode::FORBIDDEN,
            "The identity in the token is not accepted here.",
        )
    }

    pub fn throttled(retry_after: Option<u64>) -> Self {
        let fault = Self::new("Throttling", StatusCode::TOO_MANY_REQUESTS, "Rate exceeded");
        Self { retry_after, ..fault }
    }

    pub fn unavailable() -> Self {
        let status = StatusCode::SERVICE_UNAVAILABLE;
        Self::new("ServiceUnavailable", status, "The service is not available. Please try again.")
    }

    pub fn document(&self, request_id: RequestId) -> String {
        let mut out = Writer::document("ErrorResponse", Some(NAMESPACE), 512);
        out.open("Error");
        out.leaf("Type", if self.status.is_server_error() { "Receiver" } else { "Sender" });
        out.leaf("Code", self.code);
        out.leaf("Message", &self.message);
        out.close("Error");
        out.leaf("RequestId", request_id.as_str());
        out.finish("ErrorResponse")
    }
}

/// Whatever is wrong with a token before its signature is true, the answer is one and the same.
impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Invalid(_) => {
                Self::bad("InvalidIdentityToken", "The web identity token could not be validated.")
            }
            Refusal::Expired => Self::bad("ExpiredTokenException", "The web identity token has expired."),
            Refusal::Claim(_) => Self::rejected(),
            Refusal::Unreachable => Self::bad(
                "IDPCommunicationError",
                "The identity provider could not be reached. Please try again.",
            ),
        }
    }
}

/// A call, well-formed.
pub struct AssumeRole<'a> {
    pub token: &'a str,
    pub duration: Duration,
    role: Role<'a>,
    session_name: &'a str,
}

impl fmt::Debug for AssumeRole<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AssumeRole").field("duration", &self.duration).finish_non_exhaustive()
    }
}

/// The parts of `arn:aws:iam::123456789012:role/path/name`. No roles are kept: any will do.
struct Role<'a> {
    partition: &'a str,
    account: &'a str,
    name: &'a str,
}

/// The parameters of a call, each of which is given once, here or there.
struct Parameters<'a>([&'a Query<'a>; 2]);

impl<'a> Parameters<'a> {
    fn iter(&self) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.0.into_iter().flat_map(Query::iter)
    }

    fn get(&self, name: &'static str) -> Result<Option<&'a str>, Fault> {
        let mut values = self.iter().filter(|(given, _)| *given == name).map(|(_, value)| value);
        match (values.next(), values.next()) {
            (value, None) => Ok(value),
            (_, Some(_)) => Err(Fault::validation(format!("{name} is given more than once"))),
        }
    }

    fn required(&self, name: &'static str) -> Result<&'a str, Fault> {
        self.get(name)?.ok_or_else(|| Fault::validation(format!("{name} is required")))
    }
}

impl<'a> AssumeRole<'a> {
    pub fn parse(
        in_query: &'a Query<'a>,
        in_form: &'a Query<'a>,
        config: &config::Sts,
    ) -> Result<Self, Fault> {
        let given = Parameters([in_query, in_form]);
        match (given.get("Action")?, given.get("Version")?) {
            (None, _) => return Err(Fault::bad("MissingAction", "Action is required")),
            (Some(ACTION), Some(VERSION)) => {}
            (Some(_), _) => {
                let only = format!("The one operation here is {ACTION} of version {VERSION}");
                return Err(Fault::bad("InvalidAction", only));
            }
        }
        if given.iter().any(|(name, _)| name == "Policy" || name.starts_with("PolicyArns")) {
            return Err(Fault::validation(
                "Session policies are not supported: the keys have all rights of their user",
            ));
        }
        if given.get("ProviderId")?.is_some() {
            return Err(Fault::validation("ProviderId is not for OpenID Connect tokens"));
        }
        let role = Role::parse(given.required("RoleArn")?).ok_or_else(|| {
            Fault::validation("RoleArn is no ARN of a role: arn:aws:iam::123456789012:role/name")
        })?;
        let session_name = given.required("RoleSessionName")?;
        if !(2..=64).contains(&session_name.len()) || !session_name.bytes().all(is_name) {
            return Err(Fault::validation(
                "RoleSessionName is no name: 2 to 64 of letters, digits and _+=,.@-",
            ));
        }
        let token = given.required("WebIdentityToken")?;
        if !(4..=MAX_TOKEN).contains(&token.len()) {
            return Err(Fault::validation("WebIdentityToken has not 4 to 20000 characters"));
        }
        let duration = match given.get("DurationSeconds")? {
            None => config.default_duration,
            Some(text) => query::number(text)
                .map(Duration::from_secs)
                .filter(|duration| (SHORTEST..=config.max_duration).contains(duration))
                .ok_or_else(|| {
                    let most = config.max_duration.as_secs();
                    Fault::validation(format!("DurationSeconds is no number from 900 to {most}"))
                })?,
        };
        Ok(Self { token, duration, role, session_name })
    }

    /// AWS's answer.
    pub fn document(
        &self,
        identity: &Identity,
        session: &Session,
        expires: SystemTime,
        request_id: RequestId,
    ) -> String {
        let Role { partition, account, name } = self.role;
        let arn = format!("arn:{partition}:sts::{account}:assumed-role/{name}/{}", self.session_name);
        let mut out = Writer::document("AssumeRoleWithWebIdentityResponse", Some(NAMESPACE), 2048);
        out.open("AssumeRoleWithWebIdentityResult");
        out.leaf("SubjectFromWebIdentityToken", identity.user.as_str());
        out.leaf("Audience", &identity.audience);
        out.leaf("Provider", &identity.issuer);
        out.open("AssumedRoleUser");
        out.leaf("Arn", &arn);
        out.leaf("AssumedRoleId", &format!("{}:{}", session.access_key_id.as_str(), self.session_name));
        out.close("AssumedRoleUser");
        out.open("Credentials");
        out.leaf("AccessKeyId", session.access_key_id.as_str());
        out.leaf("SecretAccessKey", session.secret.expose());
        out.leaf("SessionToken", session.token.expose());
        out.leaf("Expiration", &format_iso(expires));
        out.close("Credentials");
        out.close("AssumeRoleWithWebIdentityResult");
        out.open("ResponseMetadata");
        out.leaf("RequestId", request_id.as_str());
        out.close("ResponseMetadata");
        out.finish("AssumeRoleWithWebIdentityResponse")
    }
}

impl<'a> Role<'a> {
    fn parse(arn: &'a str) -> Option<Self> {
        let mut parts = arn.strip_prefix("arn:")?.splitn(5, ':');
        let (partition, service, region) = (parts.next()?, parts.next()?, parts.next()?);
        let (account, role) = (parts.next()?, parts.next()?.strip_prefix("role/")?);
        let name = role.rsplit('/').next()?;
        let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        let legal = (20..=2048).contains(&arn.len())
            && !partition.is_empty()
            && plain(partition)
            && (service, region) == ("iam", "")
            && (account.is_empty() || account.len() == 12)
            && account.bytes().all(|byte| byte.is_ascii_digit())
            && (1..=64).contains(&name.len())
            && role.bytes().all(|byte| is_name(byte) || byte == b'/');
        legal.then_some(Self { partition, account, name })
    }
}

fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"_+=,.@-".contains(&byte)
}
