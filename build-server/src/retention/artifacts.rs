//! How long files that builds have kept stay, and who makes room.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use build_core::Result;
use build_core::clock::Timestamp;
use build_core::event::Artifact;
use build_core::ids::StepName;

use crate::record::BuildRow;
use crate::store::{BlobKey, BlobKind, BuildFilter, Store};

/// Builds whose rows are read at a time.
const PAGE: usize = 500;

/// How long a farm keeps files of builds. The default keeps all of them for ever.
///
/// What a step says itself (`keep` in `.farmer.toml`) may be less, never more. Nothing else is ever
/// removed: the results of tests, logs and events go by rules of their own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeepArtifacts {
    /// So long after the end of their build.
    pub age: Option<Duration>,
    /// So many bytes, each content counted once: those of builds that ended first make room.
    pub bytes: Option<u64>,
}

impl KeepArtifacts {
    /// Files stay so long after the end of their build.
    #[must_use]
    pub fn age(mut self, age: Option<Duration>) -> Self {
        self.age = age;
        self
    }

    /// Files have so many bytes together.
    #[must_use]
    pub fn bytes(mut self, bytes: Option<u64>) -> Self {
        self.bytes = bytes;
        self
    }

    /// Until when the files of a step stay, unless they make room before. `None`: for ever, or the
    /// build has not ended.
    pub fn until(&self, row: &BuildRow, step: &StepName) -> Option<Timestamp> {
        let own = row.keep_us.get(step).copied().map(Duration::from_micros);
        let keep = self.age.into_iter().chain(own).min()?;
        let ended = row.finished.filter(|_| !row.is_open())?;
        Some(ended + keep)
    }

    /// Whether the time of a step's files is over.
    pub fn is_over(&self, row: &BuildRow, step: &StepName, now: Timestamp) -> bool {
        self.until(row, step).is_some_and(|until| until < now)
    }
}

/// A SHA-256.
type Hash = [u8; 32];

fn hash_of(text: &str) -> Option<Hash> {
    let mut hash = [0; 32];
    hex::decode_to_slice(text, &mut hash).ok()?;
    Some(hash)
}

/// What builds need of the contents that are stored.
struct Needs {
    stored: HashSet<Hash>,
    /// What never goes: results of tests, and files of builds that have not ended.
    for_ever: HashSet<Hash>,
    /// Files of each build that has ended and whose time is not over, with their sizes.
    ended: Vec<(Timestamp, Vec<(Hash, u64)>)>,
    /// Files whose time is over.
    over: HashSet<Hash>,
    /// Bytes of files of builds that have not ended.
    open: HashMap<Hash, u64>,
}

impl Needs {
    async fn of(store: &Store) -> Result<Self> {
        let keys = store.blobs().keys(BlobKind::Artifact).await?;
        Ok(Self {
            stored: keys.iter().filter_map(|key| hash_of(key.name())).collect(),
            for_ever: HashSet::new(),
            ended: Vec::new(),
            over: HashSet::new(),
            open: HashMap::new(),
        })
    }

    fn add(&mut self, row: &BuildRow, keep: &KeepArtifacts, now: Timestamp) {
        let results = row.runs.iter().filter_map(|run| run.results.as_ref());
        let results = results.filter_map(|results| hash_of(&results.sha256));
        self.for_ever.extend(results);
        let mut files = Vec::new();
        for kept in &row.kept {
            let stored = |file: &Artifact| {
                let hash = hash_of(&file.sha256)?;
                self.stored.contains(&hash).then_some((hash, file.size))
            };
            let stored: Vec<_> = kept.artifacts.iter().filter_map(stored).collect();
            match row.is_open() {
                true => self.open.extend(stored),
                false if keep.is_over(row, &kept.step, now) => {
                    self.over.extend(stored.iter().map(|(hash, _)| hash));
                }
                false => files.extend(stored),
            }
        }
        if !files.is_empty() {
            self.ended.push((row.finished.unwrap_or(row.queued), files));
        }
    }

    /// What is to go, so that at most `bytes` are left.
    fn superfluous(mut self, bytes: Option<u64>) -> HashSet<Hash> {
        let mut users: HashMap<Hash, (usize, u64)> = HashMap::new();
        for (hash, size) in self.ended.iter().flat_map(|(_, files)| files) {
            users.entry(*hash).or_insert((0, *size)).0 += 1;
        }
        let mut gone = self.over;
        gone.retain(|hash| !users.contains_key(hash));
        if let Some(most) = bytes {
            let of_open = self
                .open
                .iter()
                .filter(|(hash, _)| !users.contains_key(*hash));
            let mut left: u64 = users.values().map(|(_, size)| size).sum();
            left += of_open.map(|(_, size)| size).sum::<u64>();
            self.ended.sort_by_key(|(ended, _)| *ended);
            for (hash, _) in self.ended.iter().flat_map(|(_, files)| files) {
                if left <= most {
                    break;
                }
                let Some((count, size)) = users.get_mut(hash) else {
                    continue;
                };
                *count -= 1;
                if *count == 0 && !self.open.contains_key(hash) {
                    left -= *size;
                    gone.insert(*hash);
                }
            }
        }
        let needed = |hash: &Hash| self.for_ever.contains(hash) || self.open.contains_key(hash);
        gone.retain(|hash| !needed(hash));
        gone
    }
}

/// Removes files whose time is over, then the oldest ones until the rest fits; how many contents
/// went. What somebody reads, or has just stored, goes with the next sweep.
///
/// Cancel safe: the next sweep goes on.
pub(super) async fn sweep(store: &Store, keep: &KeepArtifacts, now: Timestamp) -> Result<usize> {
    let mut needs = Needs::of(store).await?;
    if needs.stored.is_empty() {
        return Ok(0);
    }
    let (every, mut before) = (BuildFilter::default(), None);
    loop {
        let page = store.records().builds(&every, before, PAGE).await?;
        for row in page.builds {
            let row = row.with_all_files(&**store.events()).await?;
            needs.add(&row, keep, now);
        }
        before = page.next;
        if before.is_none() {
            break;
        }
    }
    let mut removed = 0;
    for hash in needs.superfluous(keep.bytes) {
        let key = BlobKey::new(BlobKind::Artifact, hex::encode(hash))?;
        if store.in_use().remove(&**store.blobs(), &key).await? {
            removed += 1;
        }
    }
    Ok(removed)
}
