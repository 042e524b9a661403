//! Where readers keep how far they are.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use build_core::Result;
use build_core::event::{Memo, MemoKey};

/// A place for memos.
#[async_trait]
pub trait Memos: Send + Sync + 'static {
    /// Every memo whose key begins with one of these.
    ///
    /// # Errors
    /// When they cannot be read.
    async fn load(&self, prefixes: &[MemoKey]) -> Result<Vec<Memo>>;

    /// Writes memos, all of them or none; durable on return.
    ///
    /// When the future is dropped they are written or not.
    ///
    /// # Errors
    /// When they cannot be written; they are then written or not.
    async fn save(&self, memos: Vec<Memo>) -> Result<()>;
}

/// Memos that are forgotten with the process.
#[derive(Debug, Default)]
pub struct MemoryMemos(Mutex<BTreeMap<MemoKey, Memo>>);

impl MemoryMemos {
    pub(super) fn with<R>(&self, act: impl FnOnce(&mut BTreeMap<MemoKey, Memo>) -> R) -> R {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The memos among `all` that begin with one of the prefixes.
pub(super) fn matching(all: &BTreeMap<MemoKey, Memo>, prefixes: &[MemoKey]) -> Vec<Memo> {
    let wanted = |memo: &&Memo| prefixes.iter().any(|prefix| memo.key.begins_with(prefix));
    all.values().filter(wanted).cloned().collect()
}

/// Puts memos among `all`.
pub(super) fn put(all: &mut BTreeMap<MemoKey, Memo>, memos: Vec<Memo>) {
    for memo in memos {
        match memo.value {
            Some(_) => all.insert(memo.key.clone(), memo),
            None => all.remove(&memo.key),
        };
    }
}

#[async_trait]
impl Memos for MemoryMemos {
    async fn load(&self, prefixes: &[MemoKey]) -> Result<Vec<Memo>> {
        Ok(self.with(|all| matching(all, prefixes)))
    }

    async fn save(&self, memos: Vec<Memo>) -> Result<()> {
        self.with(|all| put(all, memos));
        Ok(())
    }
}
