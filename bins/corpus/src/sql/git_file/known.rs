//! Which commits a file has already, asked while a history is walked.

use std::cell::RefCell;
use std::collections::HashSet;

use maintner_core::GitHash;
use sqlx::sqlite::SqliteConnection;
use tokio::runtime::Handle;

/// Answers from the rows, and remembers which of them were met.
pub(super) struct Known<'d> {
    runtime: &'d Handle,
    db: RefCell<&'d mut SqliteConnection>,
    met: RefCell<HashSet<String>>,
    failed: RefCell<Option<sqlx::Error>>,
}

impl<'d> Known<'d> {
    pub(super) fn new(runtime: &'d Handle, db: &'d mut SqliteConnection) -> Self {
        Self {
            runtime,
            db: RefCell::new(db),
            met: RefCell::default(),
            failed: RefCell::default(),
        }
    }

    /// Whether the commit is there. After an error everything is, so that the walk ends.
    pub(super) fn has(&self, hash: GitHash) -> bool {
        if self.failed.borrow().is_some() {
            return true;
        }
        let hash = hash.to_string();
        let mut db = self.db.borrow_mut();
        let found = sqlx::query("SELECT 1 FROM commits WHERE hash = ?").bind(&hash);
        match self.runtime.block_on(found.fetch_optional(&mut **db)) {
            Ok(None) => false,
            Ok(Some(_)) => {
                self.met.borrow_mut().insert(hash);
                true
            }
            Err(error) => {
                *self.failed.borrow_mut() = Some(error);
                true
            }
        }
    }

    /// The commits at which the walk ended: tips that were there, and parents of new commits.
    pub(super) fn met(self) -> Result<HashSet<String>, sqlx::Error> {
        match self.failed.into_inner() {
            Some(error) => Err(error),
            None => Ok(self.met.into_inner()),
        }
    }
}
