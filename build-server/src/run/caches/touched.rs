//! Which files of its commit a build has changed.

use std::collections::{BTreeSet, HashSet};

use build_core::Result;
use build_core::buildlet::ListDir;
use build_core::engine::CHECKOUT_DIR;
use build_core::name::Name;
use build_core::work::WorkItem;

use super::times::Times;
use crate::run::Inner;
use crate::run::leases::Held;

impl Inner {
    /// The files of the commit that have another time than they were given: what is in a cache may
    /// be made of what the build has made of them. Directories that are cached themselves are left
    /// out: they come back as they are.
    pub(super) async fn touched(
        &self,
        held: &Held,
        item: &WorkItem,
        times: &Times,
        cached: &[String],
    ) -> Result<Vec<Name>> {
        let skip = std::iter::once(".git").chain(cached.iter().map(String::as_str));
        let all = ListDir {
            dir: CHECKOUT_DIR.to_owned(),
            recursive: true,
            skip: skip.map(str::to_owned).collect(),
            ..ListDir::default()
        };
        let listed = held.buildlet().list_dir(&all).await?;
        let others = listed.iter().filter(|entry| {
            let time = entry.modified_at();
            time.is_some_and(|time| !times.gave(entry.name.as_bytes(), time.as_seconds()))
        });
        let others: Vec<&Name> = others.map(|entry| &entry.name).collect();
        // What is no text cannot be looked up: it is taken for one of the sources.
        let odd = others.iter().filter(|name| name.as_str().is_none());
        let mut touched: Vec<Name> = odd.map(|name| (*name).clone()).collect();
        let others: HashSet<&str> = others.iter().filter_map(|name| name.as_str()).collect();
        if others.is_empty() {
            return Ok(touched);
        }
        // Most of them are what the build has made beside its sources.
        let names: BTreeSet<&str> = others.iter().map(|path| last(path)).collect();
        let names: Vec<&str> = names.into_iter().collect();
        let tree = self.checkouts.tree(item).await?;
        let found = tree.find(&names, usize::MAX).await?;
        let found = found
            .into_iter()
            .filter(|path| others.contains(path.as_str()));
        touched.extend(found.map(Name::from));
        Ok(touched)
    }
}

fn last(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}
