//! Pre-authenticated requests at rest: what they are made of, which are still good.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde::Deserialize;
use serde_json::json;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// What somebody asks for, as `CreatePreauthenticatedRequestDetails`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Wanted {
    name: String,
    access_type: String,
    time_expires: String,
    object_name: Option<String>,
    bucket_listing_action: Option<String>,
}

/// One that was made.
#[derive(Clone, Debug)]
pub struct Par {
    pub id: String,
    pub name: String,
    /// `ObjectRead`, `ObjectWrite` or `ObjectReadWrite`: those of whole buckets are refused here.
    pub access_type: String,
    pub object_name: String,
    pub time_created: OffsetDateTime,
    pub time_expires: OffsetDateTime,
    /// What its URL holds. Told once.
    pub(super) token: String,
}

impl Par {
    /// Or what is wrong with the wish.
    pub(super) fn made(wanted: Wanted, now: OffsetDateTime) -> Result<Self, String> {
        let object = wanted.object_name.filter(|name| !name.is_empty()).ok_or("objectName is missing")?;
        if !matches!(wanted.access_type.as_str(), "ObjectRead" | "ObjectWrite" | "ObjectReadWrite") {
            return Err("accessType is not of one object".into());
        }
        if wanted.bucket_listing_action.is_some() {
            return Err("bucketListingAction is for whole buckets".into());
        }
        if wanted.name.is_empty() {
            return Err("name is empty".into());
        }
        let expires = OffsetDateTime::parse(&wanted.time_expires, &Rfc3339);
        let expires = expires.map_err(|_| "timeExpires is no RFC 3339 time")?;
        if expires <= now {
            return Err("timeExpires is not in the future".into());
        }
        // What needs care in a URL is in every one of them: `+`, `/`, `=`, `:` and the object's name.
        let random = uuid::Uuid::new_v4().into_bytes();
        let id = format!("{}:{object}", STANDARD.encode([&[0xfb, 0xff, 0xfe], &random[..]].concat()));
        Ok(Self {
            id,
            name: wanted.name,
            access_type: wanted.access_type,
            object_name: object,
            time_created: now,
            time_expires: expires,
            token: URL_SAFE_NO_PAD.encode([random, uuid::Uuid::new_v4().into_bytes()].concat()),
        })
    }

    pub(super) fn reads(&self) -> bool {
        self.access_type != "ObjectWrite"
    }

    pub(super) fn writes(&self) -> bool {
        self.access_type != "ObjectRead"
    }

    /// With the one thing that is told when it is made and never again.
    pub(super) fn with_access_uri(&self, uri: &str) -> serde_json::Value {
        let mut told = self.summary();
        told["accessUri"] = uri.into();
        told
    }

    pub(super) fn summary(&self) -> serde_json::Value {
        let time = |time: OffsetDateTime| time.format(&Rfc3339).expect("a time formats");
        json!({
            "id": self.id,
            "name": self.name,
            "accessType": self.access_type,
            "objectName": self.object_name,
            "bucketListingAction": null,
            "timeCreated": time(self.time_created),
            "timeExpires": time(self.time_expires),
        })
    }
}
