//! From a commit to the steps that build it.
//!
//! `Detect` (feature `config`) is the recipe of every repository: the steps of its
//! `.farmer.toml` when the commit has one, otherwise what its files say. What the owner of a farm
//! says about all of it is a `FarmToml`.

#[cfg(feature = "config")]
mod detect;
#[cfg(feature = "config")]
mod farm_toml;
#[cfg(feature = "config")]
mod farmer_toml;
#[cfg(feature = "config")]
mod host_toml;
#[cfg(feature = "config")]
mod identity_toml;
#[cfg(feature = "config")]
mod input_toml;
#[cfg(feature = "config")]
mod keys;
#[cfg(feature = "config")]
mod limits_toml;
#[cfg(feature = "config")]
mod matrix_toml;
mod nearest;
#[cfg(feature = "config")]
mod notify_toml;
mod quantity;
#[cfg(feature = "config")]
mod repo_toml;
#[cfg(feature = "config")]
mod step_toml;
#[cfg(feature = "config")]
mod when_toml;

#[cfg(feature = "config")]
pub use detect::{CiFile, CiStep, Detect, Detected, fuzz_ci_file};
#[cfg(feature = "config")]
pub use farm_toml::{FarmToml, fuzz_farm_toml};
#[cfg(feature = "config")]
pub use farmer_toml::{FILE_NAME, FarmerToml, Host, fuzz_farmer_toml};
#[cfg(feature = "config")]
pub use identity_toml::Identity;
#[cfg(feature = "config")]
pub use keys::{farm_schema, schema};
#[cfg(feature = "config")]
pub use limits_toml::StepLimits;
pub use nearest::{name_hint, nearest};
#[cfg(feature = "config")]
pub use notify_toml::{Channel, MailServer, News, Notify};
pub use quantity::{parse_duration, parse_size, show_duration, show_size};

use async_trait::async_trait;

use crate::error::Result;
use crate::ids::BuilderName;
use crate::plan::Plan;
use crate::work::{Builder, WorkItem};

/// Reads files of one commit, without a work tree.
#[async_trait]
pub trait Tree: Send + Sync {
    /// The names in a directory, `""` for the root; empty when there is none. Directories end in `/`.
    ///
    /// # Errors
    /// When the commit cannot be read.
    async fn list(&self, dir: &str) -> Result<Vec<String>>;

    /// A file's contents, `None` when there is no such file.
    ///
    /// # Errors
    /// When the commit cannot be read, or the file is larger than `max_bytes`.
    async fn read(&self, path: &str, max_bytes: u64) -> Result<Option<Vec<u8>>>;

    /// The paths of all files with one of these names, at any depth; the first `limit` in the
    /// order of directories. The default lists directory by directory, at most 2,000 of them.
    ///
    /// # Errors
    /// When the commit cannot be read.
    async fn find(&self, names: &[&str], limit: usize) -> Result<Vec<String>> {
        let mut found = Vec::new();
        let mut waiting = std::collections::VecDeque::from([String::new()]);
        let mut left = 2000;
        while let Some(dir) = waiting.pop_front() {
            for name in self.list(&dir).await? {
                let path = if dir.is_empty() {
                    name.clone()
                } else {
                    format!("{dir}/{name}")
                };
                if let Some(below) = path.strip_suffix('/') {
                    waiting.push_back(below.to_owned());
                } else if names.contains(&name.as_str()) {
                    found.push(path);
                }
            }
            left -= 1;
            if found.len() >= limit || left == 0 {
                break;
            }
        }
        found.truncate(limit);
        Ok(found)
    }
}

/// Decides what to run for a commit on a builder.
#[async_trait]
pub trait Recipe: Send + Sync {
    /// The plan for `item` on `builder`, made from the files of the commit.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Invalid`] with a hint when the configuration is wrong or nothing to run
    /// is found: the build ends as misconfigured. Other kinds are tried again.
    async fn plan(&self, item: &WorkItem, builder: &Builder, tree: &dyn Tree) -> Result<Plan>;

    /// The builders that build `item`. The default: `all` that the farm has. A build on one that
    /// is not among these ends as misconfigured, naming it.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    /// As [`Recipe::plan`].
    async fn builders(
        &self,
        item: &WorkItem,
        tree: &dyn Tree,
        all: &[BuilderName],
    ) -> Result<Vec<BuilderName>> {
        let _any = (item, tree);
        Ok(all.to_vec())
    }
}

/// The files of a commit held in memory, for tests and tools.
#[derive(Clone, Debug, Default)]
pub struct MemoryTree(std::collections::BTreeMap<String, Vec<u8>>);

impl MemoryTree {
    /// Adds a file.
    #[must_use]
    pub fn with(mut self, path: &str, contents: impl Into<Vec<u8>>) -> Self {
        self.0.insert(path.to_owned(), contents.into());
        self
    }
}

#[async_trait]
impl Tree for MemoryTree {
    async fn list(&self, dir: &str) -> Result<Vec<String>> {
        let prefix = if dir.is_empty() {
            String::new()
        } else {
            format!("{dir}/")
        };
        let names = self.0.keys().filter_map(|path| path.strip_prefix(&prefix));
        let mut entries: Vec<String> = names
            .map(|rest| match rest.split_once('/') {
                Some((sub, _)) => format!("{sub}/"),
                None => rest.to_owned(),
            })
            .collect();
        entries.dedup();
        Ok(entries)
    }

    async fn read(&self, path: &str, max_bytes: u64) -> Result<Option<Vec<u8>>> {
        match self.0.get(path) {
            Some(bytes) if bytes.len() as u64 > max_bytes => Err(crate::Error::new(
                crate::ErrorKind::Limit,
                format!("{path} is larger than {max_bytes} bytes"),
            )),
            found => Ok(found.cloned()),
        }
    }
}
