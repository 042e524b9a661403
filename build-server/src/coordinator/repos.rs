//! Which repositories there are, whatever they are called: each has an id that is drawn once.
//!
//! The id is found by where the repository lies, in a memo. What happens to it, a move and another
//! name, are events of `repo/ID`. No two repositories of a farm have one name, so rows that go by
//! name never mix `a/server` and `b/server`.

use std::collections::HashMap;
use std::sync::Arc;

use build_core::clock::Clock;
use build_core::event::{Batch, Memo, MemoKey, NewEvent, Principal, RepoEvent, StreamId, Version};
use build_core::ids::{RepoId, RepoName, WishKey};
use build_core::repository::{RepoState, longer_names};
use build_core::work::WorkItem;
use build_core::{Error, ErrorKind, Result};
use tokio::sync::Mutex;

use crate::run::draw;
use crate::source::without_passwords;
use crate::store::Ledger;

/// Of each place the id of the repository there.
const ORIGINS: &str = "repo/";
/// Of each name the id of the repository that is called so.
const NAMES: &str = "repo-name/";

/// The repositories of a farm.
pub(super) struct Repos {
    ledger: Ledger,
    clock: Arc<dyn Clock>,
    /// By where they lie. Held while a new one is written down, so that it is one.
    known: Mutex<HashMap<String, (RepoId, RepoName)>>,
}

impl Repos {
    pub(super) fn new(ledger: Ledger, clock: Arc<dyn Clock>) -> Self {
        Self {
            ledger,
            clock,
            known: Mutex::default(),
        }
    }

    /// Says of an item which repository it is of, unless somebody has.
    pub(super) async fn identify(&self, mut item: WorkItem) -> Result<WorkItem> {
        if item.repo_id.is_some() {
            return Ok(item);
        }
        let origin = without_passwords(&item.origin);
        let mut known = self.known.lock().await;
        let (id, name) = match known.get(&origin) {
            Some(known) => known.clone(),
            None => {
                let found = match self.at(&memo_of(ORIGINS, &origin)?).await? {
                    Some(id) => (id.clone(), self.state(&id).await?.name().clone()),
                    None => self.add(&item.repo, &origin).await?,
                };
                known.insert(origin, found.clone());
                found
            }
        };
        item.repo_id = Some(id);
        item.repo = name;
        Ok(item)
    }

    /// Every repository, in order of name.
    pub(super) async fn all(&self) -> Result<Vec<RepoState>> {
        let memos = self.ledger.events().memos(&MemoKey::new(NAMES)?).await?;
        let mut ids: Vec<RepoId> = memos.iter().map(id_in).collect::<Result<_>>()?;
        ids.sort_unstable();
        ids.dedup();
        let mut all = Vec::with_capacity(ids.len());
        for id in ids {
            all.push(self.state(&id).await?);
        }
        all.sort_by(|a, b| a.name().cmp(b.name()));
        Ok(all)
    }

    /// A repository lies somewhere else from now on.
    pub(super) async fn moved(&self, id: &RepoId, origin: &str, by: Principal) -> Result<()> {
        let origin = without_passwords(origin);
        if origin.trim().is_empty() {
            let text = format!("repository {id} cannot lie nowhere");
            return Err(Error::new(ErrorKind::Invalid, text));
        }
        let memo = memo_of(ORIGINS, &origin)?;
        self.change(id, RepoEvent::Moved { origin }, memo, by).await
    }

    /// A repository is called something else from now on; no other one may be called so.
    pub(super) async fn named(&self, id: &RepoId, name: RepoName, by: Principal) -> Result<()> {
        let memo = memo_of(NAMES, name.as_str())?;
        if let Some(other) = self.at(&memo).await?
            && other != *id
        {
            let text = format!("repository {other} is called {name}");
            let error = Error::new(ErrorKind::Conflict, text);
            return Err(error.with_hint("choose a name that no other repository has"));
        }
        self.change(id, RepoEvent::Named { name }, memo, by).await
    }

    async fn change(
        &self,
        id: &RepoId,
        event: RepoEvent,
        memo: MemoKey,
        by: Principal,
    ) -> Result<()> {
        let mut known = self.known.lock().await;
        let stream = StreamId::from(id.clone());
        let heads = self
            .ledger
            .events()
            .heads(std::slice::from_ref(&stream))
            .await?;
        let version = heads.first().map(|head| head.version).unwrap_or_default();
        if version == Version(0) {
            let error = Error::new(ErrorKind::NotFound, format!("there is no repository {id}"));
            return Err(error.with_hint("list them with GET /api/v1/repos"));
        }
        let batch = Batch {
            expects: vec![(stream.clone(), version)],
            events: vec![NewEvent::new(stream, self.clock.now(), by, &event)?],
            memos: vec![Memo::set(memo, id.to_string())],
            ..Batch::default()
        };
        self.ledger.append(batch).await?;
        known.clear();
        Ok(())
    }

    /// Writes down a repository that was never seen.
    async fn add(&self, name: &RepoName, origin: &str) -> Result<(RepoId, RepoName)> {
        let id = RepoId::from_bits(u128::from(draw()?) << 64 | u128::from(draw()?));
        let name = self.free_name(name, origin, &id).await?;
        let stream = StreamId::from(id.clone());
        let found = RepoEvent::Found {
            name: name.clone(),
            origin: origin.to_owned(),
        };
        let (at, by) = (self.clock.now(), Principal::farm());
        let batch = Batch {
            expects: vec![(stream.clone(), Version(0))],
            events: vec![NewEvent::new(stream, at, by, &found)?],
            memos: vec![
                Memo::set(memo_of(ORIGINS, origin)?, id.to_string()),
                Memo::set(memo_of(NAMES, name.as_str())?, id.to_string()),
            ],
            ..Batch::default()
        };
        self.ledger.append(batch).await?;
        Ok((id, name))
    }

    /// The shortest name that no other repository has.
    async fn free_name(&self, name: &RepoName, origin: &str, id: &RepoId) -> Result<RepoName> {
        let longer = longer_names(origin).into_iter().map(RepoName::new);
        // What is no name is left out.
        let longer = longer.filter_map(Result::ok);
        for name in std::iter::once(name.clone()).chain(longer) {
            if self.at(&memo_of(NAMES, name.as_str())?).await?.is_none() {
                return Ok(name);
            }
        }
        RepoName::new(id)
    }

    async fn at(&self, key: &MemoKey) -> Result<Option<RepoId>> {
        let memos = self.ledger.events().memos(key).await?;
        let memo = memos.iter().find(|memo| memo.key == *key);
        memo.map(id_in).transpose()
    }

    async fn state(&self, id: &RepoId) -> Result<RepoState> {
        let stream = StreamId::from(id.clone());
        let events = self.ledger.events();
        RepoState::of(&events.read_stream(&stream, Version(0), usize::MAX).await?)
    }
}

/// Origins and names may hold anything and are not part of the key.
fn memo_of(prefix: &str, of: &str) -> Result<MemoKey> {
    MemoKey::new(format!("{prefix}{}", WishKey::of(&[of.as_bytes()])))
}

fn id_in(memo: &Memo) -> Result<RepoId> {
    let value = memo.value.as_deref().unwrap_or_default();
    RepoId::new(String::from_utf8_lossy(value)).map_err(|error| {
        let text = format!("read memo {}", memo.key);
        Error::caused_by(ErrorKind::Corrupt, text, error)
    })
}

#[cfg(test)]
mod tests {
    use build_core::clock::SystemClock;
    use build_core::ids::CommitHash;

    use super::*;
    use crate::store::Store;

    fn item(name: &str, origin: &str) -> WorkItem {
        let commit = CommitHash::new("0".repeat(40)).unwrap();
        WorkItem::new(RepoName::new(name).unwrap(), origin, commit)
    }

    #[tokio::test]
    async fn repositories_of_one_name_are_told_apart_and_stay_what_they_are() {
        let store = Store::memory();
        let ledger = store.ledger();
        let repos = || Repos::new(ledger.clone(), Arc::new(SystemClock));
        let first = repos();
        let a = first
            .identify(item("server", "https://x.org/a/server"))
            .await
            .unwrap();
        let b = first
            .identify(item("server", "https://ann:pw@x.org/b/server"))
            .await
            .unwrap();
        assert_eq!((a.repo.as_str(), b.repo.as_str()), ("server", "b/server"));
        assert_ne!(a.repo_id, b.repo_id);

        // Another process finds the same, and so does somebody else with another password.
        let later = repos();
        let again = later
            .identify(item("server", "https://bob:no@x.org/b/server"))
            .await
            .unwrap();
        assert_eq!((&again.repo_id, &again.repo), (&b.repo_id, &b.repo));

        let id = a.repo_id.clone().unwrap();
        let ann = || Principal::person("ann");
        later
            .moved(&id, "https://y.org/front", ann())
            .await
            .unwrap();
        let moved = later
            .identify(item("front", "https://y.org/front"))
            .await
            .unwrap();
        assert_eq!(
            (&moved.repo_id, moved.repo.as_str()),
            (&a.repo_id, "server")
        );

        let taken = RepoName::new("b/server").unwrap();
        let refused = later.named(&id, taken, ann()).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Conflict);
        later
            .named(&id, RepoName::new("front").unwrap(), ann())
            .await
            .unwrap();
        let named = later
            .identify(item("x", "https://x.org/a/server"))
            .await
            .unwrap();
        assert_eq!(named.repo.as_str(), "front");

        let all = later.all().await.unwrap();
        let names: Vec<&str> = all.iter().map(|repo| repo.name().as_str()).collect();
        assert_eq!(names, ["b/server", "front"]);
        let unknown = later
            .moved(&RepoId::from_bits(1), "/x", ann())
            .await
            .unwrap_err();
        assert_eq!(unknown.kind(), ErrorKind::NotFound);
        let text = format!(
            "{:?}",
            store
                .events()
                .read(
                    &build_core::event::KindSet::all(),
                    build_core::event::Seq(0),
                    99
                )
                .await
                .unwrap()
        );
        assert!(!text.contains("pw"), "{text}");
    }
}
