use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::Duration;

use async_trait::async_trait;
use build_core::buildlet::Buildlet;
use build_core::pool::{FilesHere, Lease, LeaseRecord, ToolCache};
use build_core::{Error, ErrorKind, Result};
use tokio::sync::Mutex;

use super::Shared;
use super::machine::Machine;

/// A buildlet process that somebody holds.
pub(super) struct LocalLease {
    record: LeaseRecord,
    machine: Arc<Machine>,
    pool: Weak<Shared>,
    released: Mutex<bool>,
}

impl LocalLease {
    pub(super) fn new(record: LeaseRecord, machine: Arc<Machine>, pool: Weak<Shared>) -> Self {
        Self {
            record,
            machine,
            pool,
            released: Mutex::new(false),
        }
    }

    pub(super) fn machine(&self) -> &Arc<Machine> {
        &self.machine
    }
}

#[async_trait]
impl Lease for LocalLease {
    fn record(&self) -> &LeaseRecord {
        &self.record
    }

    fn buildlet(&self) -> &dyn Buildlet {
        self.machine.client()
    }

    async fn renew(&self, ttl: Duration) -> Result<()> {
        if !self.machine.is_alive() {
            let context = format!("machine {} has ended", self.record.machine);
            return Err(Error::new(ErrorKind::NotFound, context));
        }
        self.machine.renew(ttl).await
    }

    async fn release(&self) -> Result<()> {
        self.release_keeping(&[]).await
    }

    async fn files_here(&self) -> Result<Option<FilesHere>> {
        match self.pool.upgrade() {
            Some(pool) => pool.files(&self.machine).await.map(Some),
            None => Ok(None),
        }
    }

    fn sees_our_files(&self) -> bool {
        true
    }

    async fn warm_tools(&self) -> Vec<ToolCache> {
        match self.pool.upgrade() {
            Some(pool) => pool.warm_tools().await,
            None => Vec::new(),
        }
    }

    async fn release_keeping(&self, moves: &[(PathBuf, PathBuf)]) -> Result<()> {
        let mut released = self.released.lock().await;
        if *released {
            return Ok(());
        }
        let Some(pool) = self.pool.upgrade() else {
            let context = format!("the pool of lease {} is gone", self.record.lease);
            return Err(Error::new(ErrorKind::Unavailable, context));
        };
        pool.end_keeping(&self.machine, moves).await?;
        pool.table().released(&self.record.lease);
        pool.wake.notify_one();
        *released = true;
        Ok(())
    }

    fn let_go(&self) {
        self.machine.ask_to_end();
    }
}
