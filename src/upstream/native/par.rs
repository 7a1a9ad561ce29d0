//! Pre-authenticated requests: URLs of OCI's own, which whoever holds them can use until they expire. In: an object of
//! the real bucket, what may be done with it, and until when. Out: OCI's id and the URL, which OCI tells once.
//! Follows <https://docs.oracle.com/en-us/iaas/Content/Object/Tasks/usingpreauthenticatedrequests.htm>.

use std::time::SystemTime;

use bytes::Bytes;
use http::{Method, StatusCode};
use serde::{Deserialize, Serialize};

use super::{Failure, Native};
use crate::s3::uri;
use crate::sigv4::scope::format_iso;

/// PARs of one page of a list.
const PAGE: usize = 100;
/// Pages looked through for a name: PARs on one object and on those whose names begin with its name.
const MAX_PAGES: usize = 100;

/// What a PAR lets its holder do with one object.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub enum Access {
    #[serde(rename = "ObjectRead")]
    Read,
    #[serde(rename = "ObjectWrite")]
    Write,
}

/// A PAR that was made. No `Debug`: the URL is a secret.
pub struct Par {
    /// Holds the object's real name.
    pub id: String,
    pub url: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Wanted<'a> {
    name: &'a str,
    object_name: &'a str,
    access_type: Access,
    time_expires: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Made {
    id: String,
    access_uri: String,
}

#[derive(Deserialize)]
struct Listed {
    id: String,
    name: String,
}

impl Native {
    pub async fn create_par(
        &self,
        name: &str,
        object: &str,
        access: Access,
        expires: SystemTime,
    ) -> Result<Par, Failure> {
        let time_expires = format_iso(expires);
        let wanted = Wanted { name, object_name: object, access_type: access, time_expires };
        let body = Bytes::from(serde_json::to_vec(&wanted).expect("text is JSON"));
        let answer = self.call(&Method::POST, "/p/", Some(&body)).await?;
        let made: Made = read(&answer.body)?;
        if !made.access_uri.starts_with("/p/") || !made.access_uri.bytes().all(|byte| byte.is_ascii_graphic())
        {
            return Err(Failure::Lost("the access URI of a PAR is none".into()));
        }
        Ok(Par { id: made.id, url: [self.origin.as_str(), &made.access_uri].concat() })
    }

    /// One that is not there is deleted. To who may not ask OCI says the same as of what is not there: so who is told
    /// that must be one who may ask.
    pub async fn delete_par(&self, id: &str) -> Result<(), Failure> {
        let target = ["/p/", &uri::encode_query(id)].concat();
        match self.call(&Method::DELETE, &target, None).await {
            Ok(_) => Ok(()),
            Err(Failure::Refused(StatusCode::NOT_FOUND, _)) => {
                self.call(&Method::GET, "/p/?limit=1", None).await.map(drop)
            }
            Err(failure) => Err(failure),
        }
    }

    /// The ids of the PARs on an object that have this name: names need not be unique to OCI.
    pub async fn pars_named(&self, name: &str, object: &str) -> Result<Vec<String>, Failure> {
        let first = format!("/p/?objectNamePrefix={}&limit={PAGE}", uri::encode_query(object));
        let mut target = first.clone();
        let mut found = Vec::new();
        for _ in 0..MAX_PAGES {
            let answer = self.call(&Method::GET, &target, None).await?;
            let page: Vec<Listed> = read(&answer.body)?;
            found.extend(page.into_iter().filter(|par| par.name == name).map(|par| par.id));
            let Some(next) = answer.headers.get("opc-next-page") else { return Ok(found) };
            let next = next.to_str().map_err(|error| Failure::Lost(error.into()))?;
            target = format!("{first}&page={}", uri::encode_query(next));
        }
        Err(Failure::Lost(format!("a list of PARs has more than {MAX_PAGES} pages").into()))
    }
}

fn read<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Failure> {
    serde_json::from_slice(body).map_err(|error| Failure::Lost(error.into()))
}
