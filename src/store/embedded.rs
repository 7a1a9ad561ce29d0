use super::{Result, UserChange, UserRecord};
use crate::account::{Account, LeaseId, Millis, ObjectId, Reply, Step, Upload, UploadKey};
use crate::metrics::Metrics;
use crate::types::UserId;
use std::sync::Arc;
use std::time::Duration;

pub struct Embedded {}
impl Embedded {
    pub fn is_up(&self) -> bool {
        todo!()
    }
    pub fn life(&self) -> u64 {
        todo!()
    }
    pub async fn step(&self, _user: &UserId, _step: Step, _now: Millis) -> Result<Reply> {
        todo!()
    }
    pub async fn expired(&self, _now: Millis) -> Result<Vec<(UserId, LeaseId)>> {
        todo!()
    }
    pub async fn orphaned(&self) -> Result<Vec<(UserId, LeaseId)>> {
        todo!()
    }
    pub async fn upload(&self, _user: &UserId, _upload: UploadKey) -> Result<Option<Upload>> {
        todo!()
    }
    pub async fn uploads(&self, _user: &UserId) -> Result<Vec<(UploadKey, Upload)>> {
        todo!()
    }
    pub async fn objects(
        &self,
        _user: &UserId,
        _after: Option<super::Cursor>,
    ) -> Result<(Vec<ObjectId>, Option<super::Cursor>)> {
        todo!()
    }
    pub async fn account(&self, _user: &UserId) -> Result<Option<Account>> {
        todo!()
    }
    pub async fn users(&self, _after: Option<&UserId>) -> Result<Vec<UserId>> {
        todo!()
    }
    pub async fn user(&self, _user: &UserId) -> Result<Option<UserRecord>> {
        todo!()
    }
    pub async fn change_user(
        &self,
        _user: &UserId,
        _change: &UserChange,
        _now: Millis,
    ) -> Result<(UserRecord, bool)> {
        todo!()
    }
    pub async fn remove_user(&self, _user: &UserId) -> Result<bool> {
        todo!()
    }
    pub async fn beat(&self, _replica: &str, _now: Millis, _ttl: Duration) -> Result<usize> {
        todo!()
    }
}
impl Embedded {
    pub fn open(_path: &std::path::Path, _metrics: Arc<Metrics>) -> anyhow::Result<Self> {
        todo!()
    }
}
