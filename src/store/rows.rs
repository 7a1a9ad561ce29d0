//! How rows are written: the most numerous ones, objects, in as few bytes as may be; all others as JSON, which an
//! operator can read. In: rows and their bytes. Out: the same; bytes that are no row are an error, never a
//! default.
//!
//! An object is the number of the recount that saw it last, then its size if it is there, both as LEB128: 4 to
//! 6 bytes for most. What is not there has no size.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::account::Object;

/// Bytes in the store that are not what is written there.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unreadable {
    #[error("an object's row is torn")]
    Object,
    #[error("a row is no such JSON: {0}")]
    Json(#[from] serde_json::Error),
}

pub(super) fn object_to_bytes(object: &Object) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(8);
    push_number(&mut bytes, object.seen.into());
    if object.present {
        push_number(&mut bytes, object.size);
    }
    bytes
}

pub(super) fn object_from_bytes(mut bytes: &[u8]) -> Result<Object, Unreadable> {
    let seen = take_number(&mut bytes)?.try_into().map_err(|_| Unreadable::Object)?;
    let present = !bytes.is_empty();
    let size = if present { take_number(&mut bytes)? } else { 0 };
    if bytes.is_empty() { Ok(Object { size, present, seen }) } else { Err(Unreadable::Object) }
}

pub(super) fn to_json(row: &impl Serialize) -> Result<Vec<u8>, Unreadable> {
    Ok(serde_json::to_vec(row)?)
}

pub(super) fn from_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Unreadable> {
    Ok(serde_json::from_slice(bytes)?)
}

/// A user's id as the text that it is.
pub(super) mod as_user_id {
    use std::borrow::Cow;

    use serde::{Deserialize as _, Deserializer, Serializer, de};

    use crate::types::UserId;

    pub(in crate::store) fn serialize<S: Serializer>(user: &UserId, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(user.as_str())
    }

    pub(in crate::store) fn deserialize<'a, D: Deserializer<'a>>(from: D) -> Result<UserId, D::Error> {
        let text = Cow::<str>::deserialize(from)?;
        UserId::parse(&text).ok_or_else(|| de::Error::custom("no user id"))
    }
}

fn push_number(bytes: &mut Vec<u8>, mut number: u64) {
    loop {
        let [low, ..] = (number & 0x7f).to_le_bytes();
        number >>= 7;
        if number == 0 {
            bytes.push(low);
            return;
        }
        bytes.push(low | 0x80);
    }
}

fn take_number(bytes: &mut &[u8]) -> Result<u64, Unreadable> {
    let mut number = 0;
    for shift in (0..u64::BITS).step_by(7) {
        let (byte, rest) = bytes.split_first().ok_or(Unreadable::Object)?;
        *bytes = rest;
        let digit = u64::from(byte & 0x7f);
        // Bits that 64 have no room for are somebody else's.
        if (digit << shift) >> shift != digit {
            return Err(Unreadable::Object);
        }
        number |= digit << shift;
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err(Unreadable::Object)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn objects_come_back(size: u64, seen: u32, present: bool) {
            let object = Object { size: if present { size } else { 0 }, present, seen };
            prop_assert_eq!(object_from_bytes(&object_to_bytes(&object)).unwrap(), object);
        }

        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..20)) {
            if let Ok(object) = object_from_bytes(&bytes) {
                prop_assert!(object_to_bytes(&object).len() <= bytes.len());
            }
        }
    }

    #[test]
    fn objects_are_few_bytes_and_torn_ones_are_noticed() {
        let object = Object { size: 8 << 20, present: true, seen: 100 };
        let bytes = object_to_bytes(&object);
        assert_eq!(bytes, [100, 0x80, 0x80, 0x80, 0x04]);
        assert!(object_from_bytes(&bytes[..4]).is_err() && object_from_bytes(&[]).is_err());
        assert!(object_from_bytes(&[1, 2, 3]).is_err());
        assert!(from_json::<Object>(b"{\"size\":1}").is_err());
    }
}
