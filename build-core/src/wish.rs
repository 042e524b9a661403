//! Wishes: what somebody wants built, under a key of its own, until it is or is withdrawn.
//!
//! Asking twice is asking once. Wishes for the same commit on the same builder share a build, which
//! is as urgent as the most urgent of them.

use std::collections::BTreeMap;

use crate::error::{Error, ErrorKind, Result};
use crate::event::{BranchId, Principal, Recorded, StreamId, WishEvent, WishedBuild};
use crate::ids::{BuildId, BuilderName, WishKey};
use crate::work::{Class, WorkItem};

/// Something that somebody wants built.
#[derive(Clone, Debug, PartialEq)]
pub struct Wish {
    /// Names it; see [`Wish::key_of`].
    pub key: WishKey,
    /// The commit.
    pub item: WorkItem,
    /// On which builders.
    pub builders: Vec<BuilderName>,
    /// The branch of which the commit is the newest; when a newer one comes, this one becomes an
    /// older commit.
    pub tip_of: Option<BranchId>,
    /// Who wants it.
    pub by: Principal,
    /// Whether its builds begin for it alone, also where another wish has the same build going:
    /// one more run is wanted, or what lies in a work tree.
    pub alone: bool,
}

impl Wish {
    /// A commit on some builders, wanted by somebody; it shares builds.
    pub fn new(key: WishKey, item: WorkItem, builders: Vec<BuilderName>, by: Principal) -> Self {
        Self {
            key,
            item,
            builders,
            tip_of: None,
            by,
            alone: false,
        }
    }

    /// The key of what a source has found: the same commit of the same repository, whatever
    /// branches it is on. Changes have keys of their own.
    pub fn key_of(item: &WorkItem) -> WishKey {
        let repo = match &item.repo_id {
            Some(id) => id.as_str(),
            None => &item.origin,
        };
        let (repo, commit) = (repo.as_bytes(), item.commit.as_str().as_bytes());
        if item.is_from_outside() || item.change.is_some() {
            // What it was built as there says nothing of the same commit on a branch.
            return WishKey::of(&[b"change", repo, commit]);
        }
        match &item.tag {
            // A release is built as such, whether its commit was built or not.
            Some(tag) => WishKey::of(&[b"tag", repo, commit, tag.as_bytes()]),
            None => WishKey::of(&[b"source", repo, commit]),
        }
    }
}

/// One wish, folded from its events.
#[derive(Clone, Debug, PartialEq)]
pub struct WishState {
    key: WishKey,
    by: Principal,
    item: WorkItem,
    tip_of: Option<BranchId>,
    /// Whether each of its builds has ended, and then whether that was an answer.
    builds: BTreeMap<BuildId, (WishedBuild, Option<bool>)>,
    withdrawn: bool,
    foreign: bool,
}

impl WishState {
    /// The state after the first event of a wish.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] when it is not [`WishEvent::Asked`].
    pub fn new(first: &Recorded) -> Result<Self> {
        let StreamId::Wish(key) = &first.stream else {
            return Err(bad_beginning(first));
        };
        match first.read() {
            Some(WishEvent::Asked {
                item,
                builds,
                tip_of,
            }) => Ok(Self::asked(*key, first.by.clone(), item, builds, tip_of)),
            _ => Err(bad_beginning(first)),
        }
    }

    pub(crate) fn asked(
        key: WishKey,
        by: Principal,
        item: WorkItem,
        builds: Vec<WishedBuild>,
        tip_of: Option<BranchId>,
    ) -> Self {
        let builds = builds.into_iter();
        Self {
            key,
            by,
            item,
            tip_of,
            builds: builds.map(|b| (b.build.clone(), (b, None))).collect(),
            withdrawn: false,
            foreign: false,
        }
    }

    /// Takes one more event into account.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] when it contradicts the ones before it; the state is then as it was.
    pub fn apply(&mut self, recorded: &Recorded) -> Result<()> {
        match recorded.read() {
            Some(event) => self.advance(&event),
            None => {
                self.foreign |= recorded.must;
                Ok(())
            }
        }
    }

    pub(crate) fn advance(&mut self, event: &WishEvent) -> Result<()> {
        let done = !self.is_over() && !self.foreign && self.change(event);
        done.then_some(()).ok_or_else(|| {
            let text = format!("wish {} cannot have this event now: {event:?}", self.key);
            Error::new(ErrorKind::Corrupt, text)
        })
    }

    fn change(&mut self, event: &WishEvent) -> bool {
        match event {
            WishEvent::Asked { .. } => false,
            WishEvent::Backfilled { .. } => {
                self.item.class = Class::Backfill;
                self.tip_of.take().is_some()
            }
            WishEvent::Ended { build, met } => match self.builds.get_mut(build) {
                Some((_, end @ None)) => {
                    *end = Some(*met);
                    true
                }
                _ => false,
            },
            WishEvent::Withdrawn { .. } => {
                self.withdrawn = true;
                true
            }
        }
    }

    /// Which.
    pub fn key(&self) -> WishKey {
        self.key
    }

    /// Who asked for it.
    pub fn by(&self) -> &Principal {
        &self.by
    }

    /// The commit, as urgent as it is wanted at present.
    pub fn item(&self) -> &WorkItem {
        &self.item
    }

    /// The branch of which it is the newest commit.
    pub fn tip_of(&self) -> Option<&BranchId> {
        self.tip_of.as_ref()
    }

    /// All its builds.
    pub fn builds(&self) -> impl Iterator<Item = &WishedBuild> {
        self.builds.values().map(|(build, _)| build)
    }

    /// Its builds that have not ended.
    pub fn open_builds(&self) -> impl Iterator<Item = &WishedBuild> {
        let open = self.builds.values().filter(|(_, end)| end.is_none());
        open.map(|(build, _)| build)
    }

    /// Whether it was withdrawn.
    pub fn is_withdrawn(&self) -> bool {
        self.withdrawn
    }

    /// Whether nothing more happens to it: it was withdrawn, or all its builds have ended.
    pub fn is_over(&self) -> bool {
        self.withdrawn || self.builds.values().all(|(_, end)| end.is_some())
    }
}

fn bad_beginning(first: &Recorded) -> Error {
    let text = format!(
        "the events of {} do not begin as those of a wish do",
        first.stream
    );
    Error::new(ErrorKind::Corrupt, text)
}
