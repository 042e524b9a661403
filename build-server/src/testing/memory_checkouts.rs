//! Repositories without git: the twin of whoever reads and packs commits.

use async_trait::async_trait;
use build_core::buildlet::ByteStream;
use build_core::ids::CommitHash;
use build_core::name::Name;
use build_core::recipe::Tree;
use build_core::work::WorkItem;
use build_core::{Error, ErrorKind, Result};

use super::MemoryRepository;
use crate::source::Checkouts;

/// [`Checkouts`] of repositories in memory.
#[derive(Clone, Default)]
pub struct MemoryCheckouts(Vec<MemoryRepository>);

impl MemoryCheckouts {
    /// Knows this repository too.
    #[must_use]
    pub fn with(mut self, repository: &MemoryRepository) -> Self {
        self.0.push(repository.clone());
        self
    }

    fn find(&self, origin: &str) -> Result<&MemoryRepository> {
        let mut all = self.0.iter();
        all.find(|known| known.origin() == origin).ok_or_else(|| {
            let text = format!("no repository {origin:?} in memory");
            Error::new(ErrorKind::NotFound, text)
        })
    }
}

#[async_trait]
impl Checkouts for MemoryCheckouts {
    async fn tree(&self, item: &WorkItem) -> Result<Box<dyn Tree>> {
        let tree = self.find(&item.origin)?.tree(&item.commit)?;
        Ok(Box::new(tree))
    }

    async fn pack(&self, item: &WorkItem, _depth: u32) -> Result<ByteStream> {
        let packed = self.find(&item.origin)?.pack(&item.commit)?;
        Ok(build_client::once(packed))
    }

    async fn changed_since(&self, item: &WorkItem, base: &CommitHash) -> Result<Option<Vec<Name>>> {
        self.find(&item.origin)?.changed_since(&item.commit, base)
    }

    async fn resolve(&self, origin: &str, rev: Option<&str>) -> Result<WorkItem> {
        self.find(origin)?.resolve(rev)
    }

    async fn history(&self, item: &WorkItem, limit: usize) -> Result<Option<Vec<CommitHash>>> {
        let line = self.find(&item.origin)?.line(&item.commit, limit);
        Ok(Some(line.into_iter().map(|item| item.commit).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two_branches() -> (MemoryRepository, MemoryCheckouts, [WorkItem; 3]) {
        let repository = MemoryRepository::new("acme/server");
        repository.write("a", "1");
        repository.write(b"caf\xe9".to_vec(), "1");
        let first = repository.commit("first");
        repository.write("a", "2");
        let second = repository.commit("second");
        repository.branch("side");
        repository.remove("a");
        let side = repository.commit("side");
        let checkouts = MemoryCheckouts::default().with(&repository);
        (repository, checkouts, [first, second, side])
    }

    #[tokio::test]
    async fn it_keeps_the_contract_of_sources() {
        let (repository, ..) = two_branches();
        super::super::source(&repository).await.unwrap();
        let changed = build_core::work::WorkSource::changed(&repository);
        tokio::time::timeout(super::super::SOON, changed)
            .await
            .unwrap();
    }

    #[tokio::test]
    async fn commits_are_found_compared_and_packed() {
        let (repository, checkouts, [first, second, side]) = two_branches();
        let origin = repository.origin();
        assert_eq!(checkouts.resolve(&origin, None).await.unwrap(), side);
        assert_eq!(
            checkouts.resolve(&origin, Some("main")).await.unwrap(),
            second
        );
        let by_hash = checkouts.resolve(&origin, Some(first.commit.as_str()));
        assert_eq!(by_hash.await.unwrap(), first);
        assert!(checkouts.resolve(&origin, Some("none")).await.is_err());
        assert!(checkouts.resolve("elsewhere", None).await.is_err());

        let since = |item: &WorkItem, base: &WorkItem| {
            let (item, base) = (item.clone(), base.commit.clone());
            let checkouts = checkouts.clone();
            async move { checkouts.changed_since(&item, &base).await.unwrap() }
        };
        assert_eq!(since(&side, &first).await, Some(vec![Name::from("a")]));
        assert_eq!(since(&first, &side).await, None);
        let history = checkouts.history(&side, 2).await.unwrap().unwrap();
        assert_eq!(history, [side.commit.clone(), second.commit.clone()]);

        let tree = checkouts.tree(&second).await.unwrap();
        assert_eq!(tree.read("a", 9).await.unwrap(), Some(b"2".to_vec()));
        let packed = checkouts.pack(&second, 1).await.unwrap();
        let machine = build_client::testing::FakeBuildlet::new("m").unwrap();
        let on = build_core::buildlet::Buildlet::put_tar(&machine, packed, "src");
        on.await.unwrap();
        assert_eq!(std::fs::read(machine.root().join("src/a")).unwrap(), b"2");
        assert_eq!(machine.root().join("src").read_dir().unwrap().count(), 2);
    }
}
