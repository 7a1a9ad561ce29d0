//! One token, taken apart: a JWS in compact form. In: text that anybody may have written. Out: what it says of its
//! own making, and its claims; none of it is true before the signature is. Headers that bring or name a key of
//! their own (`jku`, `x5u`, `jwk`, `x5c`) are not looked at.
//!
//! Follows <https://www.rfc-editor.org/rfc/rfc7515> and <https://www.rfc-editor.org/rfc/rfc8725>.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::Algorithm;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Map, Value};

use super::Refusal;

pub(super) struct Token<'a> {
    pub algorithm: Algorithm,
    pub key_id: Option<String>,
    /// What is signed.
    pub message: &'a str,
    pub signature: &'a str,
    pub claims: Map<String, Value>,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    crit: Option<IgnoredAny>,
}

impl<'a> Token<'a> {
    /// `longest` bounds what is decoded; JSON is parsed to a bounded depth.
    pub(super) fn parse(text: &'a str, longest: usize) -> Result<Self, Refusal> {
        if text.len() > longest {
            return Err(Refusal::Invalid("it is too long"));
        }
        let in_three = || {
            let (message, signature) = text.rsplit_once('.')?;
            let (header, claims) = message.split_once('.')?;
            let whole = !claims.contains('.') && ![header, claims, signature].contains(&"");
            whole.then_some((header, claims, message, signature))
        };
        let (header, claims, message, signature) =
            in_three().ok_or(Refusal::Invalid("it has not three parts"))?;
        let header: Header = json(header).ok_or(Refusal::Invalid("its header cannot be read"))?;
        if header.crit.is_some() {
            return Err(Refusal::Invalid("its header asks for an extension"));
        }
        let algorithm = header.alg.parse().map_err(|_| Refusal::Invalid("its alg is none that is known"))?;
        let claims = json(claims).ok_or(Refusal::Invalid("its claims cannot be read"))?;
        Ok(Self { algorithm, key_id: header.kid, message, signature, claims })
    }

    pub(super) fn issuer(&self) -> Option<&str> {
        self.claims.get("iss")?.as_str()
    }

    /// Whether it was made for this audience, one among others or the only one.
    pub(super) fn is_for(&self, audience: &str) -> bool {
        match self.claims.get("aud") {
            Some(Value::String(only)) => only == audience,
            Some(Value::Array(many)) => many.iter().any(|one| one.as_str() == Some(audience)),
            Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_)) | None => false,
        }
    }
}

fn json<T: for<'de> Deserialize<'de>>(part: &str) -> Option<T> {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()
}
