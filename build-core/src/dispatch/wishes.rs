//! Wishes: what sources want, shared, withdrawn, and overtaken by newer commits.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::outbox::Pending;
use super::{Dispatcher, beginning};
use crate::clock::Timestamp;
use crate::engine::BuildState;
use crate::event::{
    BranchId, BuildEvent, Event as _, NewEvent, Outcome, Principal, Recorded, StreamId, Version,
    WishEvent, WishedBuild,
};
use crate::ids::{BuildId, BuilderName, CommitHash, HolderId, WishKey};
use crate::schedule::{Event, WaiterId};
use crate::wish::{Wish, WishState};
use crate::work::{Class, WorkItem};

/// Wishes that are over and still known, so that somebody who asks late begins nothing again.
const REMEMBERED: usize = 10_000;

/// Every open wish, and which builds they want.
#[derive(Default)]
pub(super) struct Wishes {
    open: BTreeMap<WishKey, OpenWish>,
    of_build: BTreeMap<BuildId, BTreeSet<WishKey>>,
    /// The newest wish of each branch.
    tips: BTreeMap<BranchId, WishKey>,
    over: BTreeSet<WishKey>,
    over_in_order: VecDeque<WishKey>,
    /// Builds that have no result, by what they build.
    inputs: BTreeMap<(CommitHash, BuilderName), BuildId>,
    #[cfg(any(test, feature = "testing"))]
    lets_withdrawn_builds_go_on: bool,
}

struct OpenWish {
    state: WishState,
    version: Version,
}

impl Wishes {
    pub(super) fn begun(&mut self, state: &BuildState) {
        let (Some(item), Some(build)) = (state.item(), state.id().build()) else {
            return;
        };
        if state.outcome().is_none() && item.rerun_of.is_none() && !item.worktree {
            let inputs = (item.commit.clone(), state.builder().clone());
            self.inputs.entry(inputs).or_insert_with(|| build.clone());
        }
    }

    fn forget(&mut self, key: WishKey) {
        let Some(wish) = self.open.remove(&key) else {
            return;
        };
        for build in wish.state.open_builds() {
            self.unwanted(&build.build, key);
        }
        if let Some(branch) = wish.state.tip_of()
            && self.tips.get(branch) == Some(&key)
        {
            self.tips.remove(branch);
        }
        self.over.insert(key);
        self.over_in_order.push_back(key);
        if self.over_in_order.len() > REMEMBERED
            && let Some(oldest) = self.over_in_order.pop_front()
        {
            self.over.remove(&oldest);
        }
    }

    fn unwanted(&mut self, build: &BuildId, by: WishKey) {
        if let Some(wanting) = self.of_build.get_mut(build) {
            wanting.remove(&by);
            if wanting.is_empty() {
                self.of_build.remove(build);
            }
        }
    }

    fn insert(&mut self, state: WishState, version: Version) {
        let key = state.key();
        for build in state.open_builds() {
            self.of_build
                .entry(build.build.clone())
                .or_default()
                .insert(key);
        }
        if let Some(branch) = state.tip_of() {
            self.tips.insert(branch.clone(), key);
        }
        self.open.insert(key, OpenWish { state, version });
    }

    /// Whether a build that is wanted began for a wish.
    fn owns(&self, build: &BuildId) -> bool {
        let keys = self.of_build.get(build).into_iter().flatten();
        let wishes = keys.filter_map(|key| self.open.get(key));
        let mut wished = wishes.flat_map(|wish| wish.state.open_builds());
        wished.any(|wished| wished.owned && wished.build == *build)
    }

    /// The most urgent class that anybody wants a build for.
    fn class_of(&self, build: &BuildId) -> Option<Class> {
        let keys = self.of_build.get(build)?.iter();
        let wishes = keys.filter_map(|key| self.open.get(key));
        wishes.map(|wish| wish.state.item().class).min()
    }

    #[cfg(any(test, feature = "testing"))]
    pub(super) fn plant(&mut self, plant: Option<crate::plant::Plant>) {
        self.lets_withdrawn_builds_go_on = plant == Some(crate::plant::Plant::WithdrawnWishBuilt);
    }
}

impl Dispatcher {
    /// Whether a wish is known here: open, or over not long ago.
    pub fn knows_wish(&self, key: WishKey) -> bool {
        self.wishes.open.contains_key(&key) || self.wishes.over.contains(&key)
    }

    /// One open wish.
    pub fn wish(&self, key: WishKey) -> Option<&WishState> {
        self.wishes.open.get(&key).map(|wish| &wish.state)
    }

    /// Every open wish, in order of their keys.
    pub fn open_wishes(&self) -> impl Iterator<Item = &WishState> {
        self.wishes.open.values().map(|wish| &wish.state)
    }

    /// The open wishes for a build, in order of their keys.
    pub fn wishes_for(&self, build: &BuildId) -> impl Iterator<Item = &WishState> {
        let keys = self.wishes.of_build.get(build).into_iter().flatten();
        keys.filter_map(|key| self.wish(*key))
    }

    /// A wish and the builds that begin with it are in the log together or not at all.
    pub(super) fn ask(&mut self, wish: Wish, drawn: Vec<BuildId>, now: Timestamp) {
        if self.knows_wish(wish.key) || wish.builders.len() != drawn.len() {
            return;
        }
        let builders = wish.builders.iter().zip(drawn);
        let wished: Vec<WishedBuild> = builders
            .map(|(builder, drawn)| match self.same_build(&wish, builder) {
                Some(build) => WishedBuild {
                    builder: builder.clone(),
                    owned: self.wishes.owns(&build),
                    build,
                },
                None => WishedBuild {
                    builder: builder.clone(),
                    build: drawn,
                    owned: true,
                },
            })
            .collect();
        let newer = wish.tip_of.clone();
        let before = newer
            .as_ref()
            .and_then(|b| self.wishes.tips.get(b))
            .copied();
        let asked = WishEvent::Asked {
            item: wish.item.clone(),
            builds: wished.clone(),
            tip_of: wish.tip_of.clone(),
        };
        let (by, item) = (wish.by.clone(), wish.item.clone());
        let state = WishState::asked(wish.key, by, item, wished.clone(), wish.tip_of);
        let stream = StreamId::from(wish.key);
        let Ok(event) = NewEvent::new(stream, now, wish.by, &asked) else {
            return;
        };
        self.outbox.push(Pending {
            event: Some(event),
            version: Version(1),
            closes: state.is_over(),
            memos: Vec::new(),
        });
        match state.is_over() {
            // On no builder: there is nothing to wait for.
            true => drop(self.wishes.over.insert(wish.key)),
            false => self.wishes.insert(state, Version(1)),
        }
        for build in wished {
            match self.builds.contains_key(&HolderId::from(&build.build)) {
                false => self.begin_wished(&build, &wish.item, now),
                true => self.reclass(&build.build, now),
            }
        }
        if let (Some(tip_of), Some(older)) = (newer, before.filter(|older| *older != wish.key)) {
            self.backfill(older, tip_of, now);
        }
    }

    fn begin_wished(&mut self, wished: &WishedBuild, item: &WorkItem, now: Timestamp) {
        let (item, builder) = (item.clone(), wished.builder.clone());
        let state = BuildState::queued(&wished.build, now, item.clone(), builder.clone());
        let queued = BuildEvent::Queued { item, builder };
        let id = HolderId::from(&wished.build);
        if let Some(pending) = beginning(&id, &queued, Principal::farm(), now) {
            let mark = self.outbox.push_joined(pending);
            self.open(state, mark);
        }
    }

    /// The build of the same commit on the same builder that has no result, if it may be shared.
    fn same_build(&self, wish: &Wish, builder: &BuilderName) -> Option<BuildId> {
        let item = &wish.item;
        if wish.alone || item.worktree || item.rerun_of.is_some() {
            return None;
        }
        let inputs = (item.commit.clone(), builder.clone());
        let build = self.wishes.inputs.get(&inputs)?;
        let state = self.build(&build.into())?;
        let same = state
            .item()
            .is_some_and(|other| other.origin == item.origin && other.trust == item.trust);
        let goes_on = state.outcome().is_none() && state.canceled_by().is_none();
        (same && goes_on).then(|| build.clone())
    }

    /// A newer commit of its branch is wanted: what waits of it becomes an older commit's.
    fn backfill(&mut self, key: WishKey, tip_of: BranchId, now: Timestamp) {
        if self.record_wish(key, &WishEvent::Backfilled { tip_of }, now, false) {
            let builds = self.builds_of_wish(key);
            builds.iter().for_each(|build| self.reclass(build, now));
        }
    }

    fn builds_of_wish(&self, key: WishKey) -> Vec<BuildId> {
        let open = self.wishes.open.get(&key).into_iter();
        let builds = open.flat_map(|wish| wish.state.open_builds());
        builds.map(|wished| wished.build.clone()).collect()
    }

    /// Makes a build that waits as urgent as the most urgent wish for it.
    fn reclass(&mut self, build: &BuildId, now: Timestamp) {
        let Some(class) = self.wishes.class_of(build) else {
            return;
        };
        let id = HolderId::from(build);
        let Some(open) = self.builds.get(&id) else {
            return;
        };
        let waits = open.state.leases().next().is_none() && open.state.outcome().is_none();
        let differs = open.state.item().is_some_and(|item| item.class != class);
        if !waits || !differs || !self.record(&id, BuildEvent::Reclassed { class }, now) {
            return;
        }
        let Some(open) = self.builds.get_mut(&id) else {
            return;
        };
        // Entering again alone would keep its rank.
        let units = std::mem::take(&mut open.wants);
        let mut actions = Vec::new();
        for unit in units {
            let waiter = WaiterId {
                build: id.clone(),
                unit,
            };
            actions.extend(self.scheduler.step(Event::Leave(waiter), now));
        }
        self.carry_out(actions, now);
    }

    /// A wish and the cancelling of what only it wants are in the log together.
    pub(super) fn withdraw(&mut self, key: WishKey, by: &Principal, now: Timestamp) {
        let builds = self.builds_of_wish(key);
        let only_its = |build: &&BuildId| {
            let wanting = self.wishes.of_build.get(build);
            wanting.is_none_or(|keys| keys.len() <= 1) && self.wishes.owns(build)
        };
        let unwanted: Vec<BuildId> = builds.iter().filter(only_its).cloned().collect();
        let withdrawn = WishEvent::Withdrawn { by: by.clone() };
        if !self.record_wish(key, &withdrawn, now, false) {
            return;
        }
        #[cfg(any(test, feature = "testing"))]
        if self.wishes.lets_withdrawn_builds_go_on {
            return;
        }
        for build in unwanted {
            let cancel = BuildEvent::CancelRequested { by: by.clone() };
            self.record_as(&HolderId::from(&build), cancel, now, true);
        }
        for build in builds {
            self.reclass(&build, now);
        }
    }

    /// The end of a build is told to those who wanted it, with that end.
    pub(super) fn tell_wishes(&mut self, build: &BuildId, outcome: &Outcome, now: Timestamp) {
        let met = !matches!(outcome, Outcome::Canceled { .. });
        let keys = self.wishes.of_build.get(build).cloned().unwrap_or_default();
        for key in keys {
            let build = build.clone();
            self.record_wish(key, &WishEvent::Ended { build, met }, now, true);
        }
        self.wishes.of_build.remove(build);
        self.wishes.inputs.retain(|_, of_inputs| of_inputs != build);
    }

    fn record_wish(
        &mut self,
        key: WishKey,
        event: &WishEvent,
        now: Timestamp,
        joined: bool,
    ) -> bool {
        let Some(wish) = self.wishes.open.get_mut(&key) else {
            return false;
        };
        let by = match event {
            WishEvent::Withdrawn { by } => by.clone(),
            _ => Principal::farm(),
        };
        let Ok(encoded) = event.encode() else {
            return false;
        };
        if wish.state.advance(event).is_err() {
            return false;
        }
        wish.version = wish.version.next();
        let pending = Pending {
            event: Some(NewEvent::encoded(key.into(), now, by, encoded)),
            version: wish.version,
            closes: wish.state.is_over(),
            memos: Vec::new(),
        };
        let is_over = wish.state.is_over();
        match joined {
            true => self.outbox.push_joined(pending),
            false => self.outbox.push(pending),
        };
        if is_over {
            self.wishes.forget(key);
        }
        true
    }

    /// Takes over the wishes of an earlier process.
    pub(super) fn restore_wishes<'r>(&mut self, events: impl Iterator<Item = &'r Recorded>) {
        let mut states: BTreeMap<WishKey, (WishState, Version)> = BTreeMap::new();
        for recorded in events {
            let StreamId::Wish(key) = recorded.stream else {
                continue;
            };
            match states.get_mut(&key) {
                None => {
                    if let Ok(state) = WishState::new(recorded) {
                        states.insert(key, (state, recorded.version));
                    }
                }
                Some((state, version)) => {
                    if state.apply(recorded).is_ok() {
                        *version = recorded.version;
                    }
                }
            }
        }
        for (state, version) in states.into_values() {
            if !state.is_over() {
                self.wishes.insert(state, version);
            }
        }
    }
}
