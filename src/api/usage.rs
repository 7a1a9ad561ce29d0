//! `/api/v1/usage`: what the bucket itself says that a user has. In: sums by bucket, from whoever lists. Out: the
//! contract's document.

use futures_util::future::BoxFuture;
use serde_json::{Map, Value};

use crate::error::Result;
use crate::ledger::Ledger;
use crate::types::{BucketName, UserId};

/// Lists a user's counted prefixes and adds up.
pub trait Usage: Send + Sync {
    fn usage<'a>(&'a self, user: &'a UserId) -> BoxFuture<'a, Result<Totals>>;
}

impl Usage for Ledger {
    fn usage<'a>(&'a self, user: &'a UserId) -> BoxFuture<'a, Result<Totals>> {
        Box::pin(async move {
            let sums = self.measure(user).await?;
            let objects = sums.iter().map(|(_, _, objects)| objects).sum();
            Ok(Totals {
                bytes: sums.into_iter().map(|(bucket, bytes, _)| (bucket, bytes)).collect(),
                objects,
            })
        })
    }
}

#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Totals {
    /// Of each bucket that counts towards the quota.
    pub bytes: Vec<(BucketName, u64)>,
    pub objects: u64,
}

impl Totals {
    /// A user's own buckets come with their names; the platform's two are always there.
    pub(super) fn document(&self, user: &UserId) -> Value {
        let mut document = Map::new();
        document.insert("user_id".into(), user.as_str().into());
        for name in ["datasets", "models"] {
            document.insert(format!("{name}_bytes"), 0.into());
        }
        for (bucket, bytes) in &self.bytes {
            document.insert(format!("{bucket}_bytes"), (*bytes).into());
        }
        let total: u64 = self.bytes.iter().map(|(_, bytes)| bytes).sum();
        document.insert("total_bytes".into(), total.into());
        document.insert("objects".into(), self.objects.into());
        document.into()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_document_is_the_contracts() {
        let user = UserId::parse("alice").expect("an id");
        let bucket = |name| BucketName::parse(name).expect("a name");
        let totals = Totals { bytes: vec![(bucket("datasets"), 5), (bucket("models"), 7)], objects: 3 };
        assert_eq!(
            totals.document(&user),
            json!({"user_id": "alice", "datasets_bytes": 5, "models_bytes": 7, "total_bytes": 12, "objects": 3})
        );
        let totals = Totals { bytes: vec![(bucket("total"), 1), (bucket("scratch"), 2)], objects: 2 };
        assert_eq!(
            totals.document(&user),
            json!({"user_id": "alice", "datasets_bytes": 0, "models_bytes": 0, "scratch_bytes": 2,
                   "total_bytes": 3, "objects": 2})
        );
    }
}
