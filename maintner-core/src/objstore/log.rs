//! The log in a store: reading its manifest, taking it over, adding to it.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use bytes::Bytes;

use super::manifest::Stored;
use super::{Held, Lease, Manifest, Object, ObjectError, Objects};
use crate::log::{Segment, SegmentName, Sha224Hex};

/// How long a writer is believed to be there after it last said so.
const LEASE: Duration = Duration::from_secs(60);
/// Manifests kept before the newest: who reads an older one while it is replaced finds it.
const KEPT: u64 = 2;

/// Who a writer is.
#[derive(Debug, Clone)]
pub struct Owner {
    name: String,
    nonce: u64,
    lease: Duration,
    takeover: bool,
}

impl Owner {
    /// A writer with this name, for people: a host's, for example.
    pub fn new(name: &str) -> Self {
        let mut nonce = [0; 8];
        // Two writers of one name without a source of chance would still be told apart by who
        // makes the next manifest.
        let _ = getrandom::fill(&mut nonce);
        Self {
            name: name.to_owned(),
            nonce: u64::from_le_bytes(nonce),
            lease: LEASE,
            takeover: false,
        }
    }

    /// How long others keep away after it was last heard of. Default: 60 s.
    #[must_use]
    pub fn lease(mut self, lease: Duration) -> Self {
        self.lease = lease;
        self
    }

    /// Takes the log also from a writer that was heard of a moment ago.
    #[must_use]
    pub fn take_over(mut self, yes: bool) -> Self {
        self.takeover = yes;
        self
    }

    /// A chosen number instead of a random one, for simulations.
    #[must_use]
    pub fn nonce(mut self, nonce: u64) -> Self {
        self.nonce = nonce;
        self
    }

    /// How often it must be heard of.
    pub fn renewal(&self) -> Duration {
        self.lease / 3
    }

    fn held(&self, now: SystemTime) -> Held {
        Held::new(&self.name, self.nonce, now, self.lease)
    }
}

/// What [`ObjectLog::push`] did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pushed {
    /// Objects written.
    pub objects: usize,
    /// Their bytes.
    pub bytes: u64,
}

/// Which complete segments are in the store, for those who say where they are.
#[derive(Debug, Clone, Default)]
pub struct Uploaded {
    names: Arc<RwLock<HashSet<String>>>,
}

impl Uploaded {
    /// Whether the object of this name is in the store for good.
    pub fn has(&self, name: &str) -> bool {
        self.names
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .contains(name)
    }
}

/// A log in an object store.
#[derive(Debug)]
pub struct ObjectLog<S> {
    pub(super) store: S,
    pub(super) owner: Owner,
    pub(super) manifest: Manifest,
    /// Whether the newest manifest is ours.
    acquired: bool,
    uploaded: Uploaded,
    lease: Lease,
}

impl<S: Objects> ObjectLog<S> {
    /// Reads what the store has: its newest manifest, or, where a Go daemon wrote, its objects.
    ///
    /// # Errors
    /// When the store cannot be read, or a segment is missing.
    pub async fn open(store: S, owner: Owner) -> Result<Self, ObjectError> {
        let mut log = Self {
            store,
            owner,
            manifest: Manifest::default(),
            acquired: false,
            uploaded: Uploaded::default(),
            lease: Lease::default(),
        };
        log.read().await?;
        Ok(log)
    }

    /// What the store has as far as it is known.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// What of the log is in the store, kept up to date.
    pub fn uploaded(&self) -> Uploaded {
        self.uploaded.clone()
    }

    /// Until when this one is the only writer, kept up to date: past that time nothing should be
    /// appended, see [`LeasedLog`](super::LeasedLog).
    pub fn lease(&self) -> Lease {
        self.lease.clone()
    }

    fn note_lease(&self) {
        let held = self.manifest.held.as_ref().filter(|_| self.acquired);
        self.lease.set(held.map(Held::until));
    }

    /// How often [`push`](Self::push) must be called so that others keep away.
    pub fn renewal(&self) -> Duration {
        self.owner.renewal()
    }

    /// Whether nobody else may have taken the log, by the clock: past that time a writer should
    /// not show anybody what it appends, as it may have to take it back.
    pub fn may_write(&self, now: SystemTime) -> bool {
        let held = self.manifest.held.as_ref();
        self.acquired && held.is_some_and(|held| now < held.until())
    }

    /// Becomes the writer.
    ///
    /// # Errors
    /// [`ObjectError::Fenced`] when another one was heard of within its lease, or was faster.
    pub async fn acquire(&mut self, now: SystemTime) -> Result<(), ObjectError> {
        self.read().await?;
        let mine = self.owner.held(now);
        if let Some(held) = self.manifest.held.clone()
            && !held.is(&mine)
            && now < held.until()
            && !self.owner.takeover
        {
            return Err(ObjectError::Fenced { by: held });
        }
        let next = Manifest {
            number: self.manifest.number + 1,
            epoch: self.manifest.epoch + 1,
            held: Some(mine),
            segments: self.manifest.segments.clone(),
        };
        self.commit(next).await?;
        self.acquired = true;
        self.note_lease();
        Ok(())
    }

    /// Copies what is new of the log's segments to the store, and says again who writes it.
    /// What fails half-way is in no manifest, and is done again the next time.
    ///
    /// # Errors
    /// [`ObjectError::Fenced`] when another writer has taken the log: this one must stop.
    /// [`ObjectError::Diverged`] when the segments do not continue those of the store.
    pub async fn push(
        &mut self,
        segments: &[Segment],
        now: SystemTime,
    ) -> Result<Pushed, ObjectError> {
        if !self.acquired {
            self.acquire(now).await?;
        }
        let mut done = Pushed::default();
        let mut stored = self.manifest.segments.clone();
        let local = segments.iter().filter(|segment| !segment.is_empty());
        let mut replaced = Vec::new();
        for (number, segment) in (0u32..).zip(local) {
            let old = stored.get(number as usize).cloned();
            if let (Some(old), Some(sha224)) = (&old, segment.name().sha224())
                && old.sha224 == sha224
            {
                continue;
            }
            let bytes = segment.load()?;
            let new = Stored {
                size: bytes.len() as u64,
                sha224: Sha224Hex::of(&bytes),
            };
            if old.as_ref() == Some(&new) {
                continue;
            }
            if let Some(old) = &old {
                if !begins_with(&bytes, old) {
                    return Err(ObjectError::Diverged { number });
                }
                replaced.push(old.name(number));
            }
            self.store.put(&new.name(number), bytes).await?;
            done.objects += 1;
            done.bytes += new.size;
            match stored.get_mut(number as usize) {
                Some(place) => *place = new,
                None => stored.push(new),
            }
        }
        let next = Manifest {
            number: self.manifest.number + 1,
            epoch: self.manifest.epoch,
            held: Some(self.owner.held(now)),
            segments: stored,
        };
        self.commit(next).await?;
        self.note_lease();
        for name in replaced {
            // Left behind it is in no manifest, and the next clean-up finds it.
            self.store.delete(&name).await?;
        }
        Ok(done)
    }

    /// Lets others write at once.
    ///
    /// # Errors
    /// Those of the store; the lease then runs out by itself.
    pub async fn release(&mut self, now: SystemTime) -> Result<(), ObjectError> {
        if !std::mem::take(&mut self.acquired) {
            return Ok(());
        }
        self.note_lease();
        let next = Manifest {
            number: self.manifest.number + 1,
            held: Some(self.owner.held(now).given_up()),
            ..self.manifest.clone()
        };
        self.commit(next).await
    }

    /// Removes objects of segments that no manifest names: remains of writers that were fenced
    /// or ended. Only for the writer. Returns how many there were.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn clean_up(&self) -> Result<usize, ObjectError> {
        if !self.acquired {
            return Ok(0);
        }
        let wanted: HashSet<String> = self.manifest.objects().collect();
        let mut removed = 0;
        for object in self.store.list().await? {
            let segment = SegmentName::parse(&object.name).and_then(|name| name.sha224());
            if segment.is_some() && !wanted.contains(&object.name) {
                self.store.delete(&object.name).await?;
                removed += 1;
            }
        }
        Ok(removed)
    }

    /// Makes the next manifest, unless somebody else made it, and removes old ones.
    async fn commit(&mut self, mut next: Manifest) -> Result<(), ObjectError> {
        let ours = loop {
            let name = Manifest::name(next.number);
            let json =
                Bytes::from(serde_json::to_vec(&next).expect("numbers and texts always serialise"));
            if self.store.create(&name, json).await? {
                break true;
            }
            // The answer to an earlier attempt may have been lost: what is there may be ours, of
            // another time and with fewer segments. The next number is then the one to take.
            let there = self.load_manifest(next.number).await?;
            let is_ours = |there: &Manifest| {
                let held = there.held.as_ref().zip(next.held.as_ref());
                there.epoch == next.epoch && held.is_some_and(|(theirs, mine)| theirs.is(mine))
            };
            if !there.as_ref().is_some_and(is_ours) {
                break false;
            }
            next.number += 1;
        };
        // An old number may have been removed, and so be free for a writer that slept.
        let numbers = self.manifests().await?;
        let newest = numbers.last().copied().unwrap_or(0);
        if !ours || newest > next.number {
            self.acquired = false;
            self.note_lease();
            return Err(self.fenced(newest).await?);
        }
        self.manifest = next;
        self.show();
        let old = |number: &&u64| **number + KEPT <= newest;
        for number in numbers.iter().filter(old) {
            self.store.delete(&Manifest::name(*number)).await?;
        }
        Ok(())
    }

    async fn fenced(&mut self, newest: u64) -> Result<ObjectError, ObjectError> {
        let by = match self.load_manifest(newest).await? {
            Some(manifest) => manifest.held,
            None => None,
        };
        let by =
            by.unwrap_or_else(|| Held::new("somebody", 0, SystemTime::UNIX_EPOCH, Duration::ZERO));
        Ok(ObjectError::Fenced { by })
    }

    fn show(&self) {
        let names = self.manifest.objects().collect();
        *self
            .uploaded
            .names
            .write()
            .unwrap_or_else(PoisonError::into_inner) = names;
    }

    /// The numbers of all manifests, ascending.
    async fn manifests(&self) -> Result<Vec<u64>, ObjectError> {
        let all = self.store.list().await?;
        let mut numbers: Vec<u64> = all
            .iter()
            .filter_map(|object| Manifest::parse_name(&object.name))
            .collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    async fn load_manifest(&self, number: u64) -> Result<Option<Manifest>, ObjectError> {
        let name = Manifest::name(number);
        let Some(json) = self.store.get(&name).await? else {
            return Ok(None);
        };
        let parsed = serde_json::from_slice(&json);
        let manifest: Manifest = parsed.map_err(|source| ObjectError::Manifest { name, source })?;
        Ok(Some(Manifest { number, ..manifest }))
    }

    /// Reads the newest manifest, and what was uploaded since by somebody who writes none.
    async fn read(&mut self) -> Result<(), ObjectError> {
        let objects = self.store.list().await?;
        let newest = objects
            .iter()
            .filter_map(|object| Manifest::parse_name(&object.name))
            .max();
        let manifest = match newest {
            Some(number) => match self.load_manifest(number).await? {
                Some(manifest) => manifest,
                // Removed as an old one between the two requests.
                None => return Box::pin(self.read()).await,
            },
            None => Manifest::default(),
        };
        self.manifest = self.adopt(manifest, &objects).await?;
        self.show();
        Ok(())
    }

    /// Adds what is in the store beyond the manifest: an upload whose writer ended before it
    /// was listed, or everything that a Go daemon wrote. Only what continues counts.
    async fn adopt(
        &self,
        mut manifest: Manifest,
        objects: &[Object],
    ) -> Result<Manifest, ObjectError> {
        let by_number = segments(objects);
        let listed = manifest.segments.len();
        if let Some(last) = listed.checked_sub(1)
            && let Some(longer) = self.longer(&manifest, last, &by_number).await?
        {
            manifest.segments[last] = longer;
        }
        if manifest.number == 0 {
            let max = by_number.keys().max().copied().unwrap_or(0);
            let missing = (0..max).find(|number| !by_number.contains_key(number));
            if let Some(missing) = missing {
                return Err(ObjectError::Missing { missing, max });
            }
        }
        for number in u32::try_from(listed).unwrap_or(u32::MAX).. {
            let Some(found) = by_number.get(&number) else {
                break;
            };
            // The daemon's rule: the one that was written last.
            let Some((_, stored)) = found.iter().max_by_key(|(modified, _)| *modified) else {
                break;
            };
            let bytes = self.store.get(&stored.name(number)).await?;
            if bytes.is_none_or(|bytes| Sha224Hex::of(&bytes) != stored.sha224) {
                // A torn upload: whoever has the content will repeat it.
                break;
            }
            manifest.segments.push(stored.clone());
        }
        Ok(manifest)
    }

    /// A whole object that continues the last segment of the manifest.
    async fn longer(
        &self,
        manifest: &Manifest,
        last: usize,
        by_number: &BTreeMap<u32, Vec<(i64, Stored)>>,
    ) -> Result<Option<Stored>, ObjectError> {
        let number = u32::try_from(last).unwrap_or(u32::MAX);
        let known = &manifest.segments[last];
        let mut found: Vec<&Stored> = by_number
            .get(&number)
            .into_iter()
            .flatten()
            .map(|(_, stored)| stored)
            .filter(|stored| stored.size > known.size)
            .collect();
        found.sort_by_key(|stored| std::cmp::Reverse(stored.size));
        for stored in found {
            if let Some(bytes) = self.store.get(&stored.name(number)).await?
                && Sha224Hex::of(&bytes) == stored.sha224
                && begins_with(&bytes, known)
            {
                return Ok(Some(stored.clone()));
            }
        }
        Ok(None)
    }
}

/// Whether these are the bytes of a segment and perhaps more.
pub(super) fn begins_with(bytes: &[u8], stored: &Stored) -> bool {
    let len = usize::try_from(stored.size).unwrap_or(usize::MAX);
    bytes
        .get(..len)
        .is_some_and(|beginning| Sha224Hex::of(beginning) == stored.sha224)
}

/// The objects that are segments, by number, each with its time.
fn segments(objects: &[Object]) -> BTreeMap<u32, Vec<(i64, Stored)>> {
    let mut all: BTreeMap<u32, Vec<(i64, Stored)>> = BTreeMap::new();
    for object in objects {
        if let Some(SegmentName::Frozen { number, sha224 }) = SegmentName::parse(&object.name) {
            let stored = Stored {
                size: object.size,
                sha224,
            };
            all.entry(number)
                .or_default()
                .push((object.modified, stored));
        }
    }
    all
}
