//! Accounts by number, kept in a file between runs.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures::TryStreamExt as _;
use serde::{Deserialize, Serialize};

use super::{AccountInfo, Client, Error, QueryOptions};

/// How old a table may be that is asked for somebody it does not know.
const FRESH: Duration = Duration::from_secs(5 * 60);

/// The addresses of a server's accounts, by number.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountTable {
    /// When the server was asked, seconds since 1970; 0: never.
    fetched: u64,
    emails: BTreeMap<i64, String>,
}

impl AccountTable {
    /// The table in the file at `path`; an empty one when there is none, or a damaged one.
    #[must_use]
    pub fn load(path: &Path) -> Self {
        let text = std::fs::read(path).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }

    /// Keeps it in the file at `path`, whose directory is made.
    ///
    /// # Errors
    /// When the file cannot be written; an old one is then as it was.
    pub fn save(&self, path: &Path) -> std::io::Result<()> {
        let dir = path
            .parent()
            .filter(|dir| !dir.as_os_str().is_empty())
            .unwrap_or_else(|| Path::new("."));
        std::fs::create_dir_all(dir)?;
        let mut file = tempfile::NamedTempFile::new_in(dir)?;
        file.write_all(&serde_json::to_vec(self)?)?;
        file.persist(path)?;
        Ok(())
    }

    /// The address of an account: `NUMBER`, or `NUMBER@INSTANCE` as commits have it.
    #[must_use]
    pub fn email(&self, account: &str) -> Option<&str> {
        let number = account.split('@').next()?.parse().ok()?;
        self.emails.get(&number).map(String::as_str)
    }

    /// Adds an account.
    pub fn insert(&mut self, account: &AccountInfo) {
        self.emails.insert(account.number, account.email.clone());
    }

    /// Whether it is worth asking the server for `missing`, an account it does not know: not
    /// when it was asked a moment ago.
    #[must_use]
    pub fn may_learn(&self, missing: &str, now: SystemTime) -> bool {
        let age = now
            .duration_since(UNIX_EPOCH + Duration::from_secs(self.fetched))
            .unwrap_or_default();
        self.email(missing).is_none() && age >= FRESH
    }

    /// Asks the server for all its active accounts.
    ///
    /// # Errors
    /// Those of the server; the table is then as it was.
    pub async fn refresh(&mut self, gerrit: &Client, now: SystemTime) -> Result<(), Error> {
        let options = QueryOptions::new().field("DETAILS");
        let accounts: Vec<AccountInfo> =
            gerrit.accounts("is:active", &options).try_collect().await?;
        accounts.iter().for_each(|account| self.insert(account));
        self.fetched = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake_gerrit::FakeGerrit;
    use crate::gerrit::Auth;

    #[tokio::test]
    async fn a_table_is_filled_once_and_kept() {
        let server = FakeGerrit::start().unwrap();
        {
            let mut world = server.world();
            for name in ["ann", "bo", "cy"] {
                world.account(&format!("{name}@x.test"));
            }
            world.page = 2;
        }
        let gerrit = Client::new(server.url(), Auth::None).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cache/accounts");
        let mut table = AccountTable::load(&path);
        let now = SystemTime::now();
        assert!(table.may_learn("1001@i", now));
        table.refresh(&gerrit, now).await.unwrap();
        table.save(&path).unwrap();
        let again = AccountTable::load(&path);
        assert_eq!((&again, again.email("1001@i")), (&table, Some("bo@x.test")));
        assert!(!again.may_learn("9@i", now) && again.may_learn("9@i", now + FRESH));
        std::fs::write(&path, "damaged").unwrap();
        assert_eq!(AccountTable::load(&path), AccountTable::default());
    }
}
