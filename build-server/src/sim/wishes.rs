//! Sources that want commits built, share what others want, and change their mind.

use std::collections::BTreeMap;

use build_core::dispatch::Input;
use build_core::event::{BranchId, Principal, Recorded, StreamId, WishEvent};
use build_core::ids::{BuildId, BuilderName, WishKey};
use build_core::wish::Wish;

use super::happenings::Happening;
use super::workload;
use super::world::{Held, World};

/// Wishes come in this much less often than builds that are asked for by name.
const BUILDS_FOR_A_WISH: u32 = 3;
/// How long a wish may last before it is withdrawn, in milliseconds.
const LONGEST_WISH: u64 = 60 * 60 * 1000;

/// What a source wants.
pub(super) struct Wanted {
    wish: Wish,
    drawn: BuildId,
}

/// What the log says of a wish.
#[derive(Default)]
pub(super) struct Told {
    builds: Vec<BuildId>,
    withdrawn: bool,
}

impl World {
    pub(super) fn want(&mut self) -> Held {
        if !self.is_busy() {
            return Ok(());
        }
        let next = self.next_arrival() * BUILDS_FOR_A_WISH;
        self.plan(next, Happening::Want);
        let now = self.now();
        // Now and then what somebody else wants already.
        let shared = self.rng.chance(300);
        let other = self.wishes.values().next_back().filter(|_| shared);
        let other = other.map(|wanted| wanted.wish.item.clone());
        let item = other.unwrap_or_else(|| workload::item(&mut self.rng, now));
        let key = WishKey::of(&[b"sim", &self.rng.bits().to_be_bytes()]);
        let tip_of = self.rng.chance(500).then(|| BranchId {
            repo: item.repo.clone(),
            branch: "main".into(),
        });
        let builder = BuilderName::new("sim").expect("a plain word");
        let mut wish = Wish::new(key, item, vec![builder], Principal::farm());
        wish.tip_of = tip_of;
        let drawn = BuildId::from_bits(self.rng.bits());
        self.wishes.insert(key, Wanted { wish, drawn });
        if self.rng.chance(300) {
            let after = self.between(1, LONGEST_WISH);
            self.plan(after, Happening::Withdraw(key));
        }
        self.ask(key)
    }

    fn ask(&mut self, key: WishKey) -> Held {
        let Some(Wanted { wish, drawn }) = self.wishes.get(&key) else {
            return Ok(());
        };
        let (wish, drawn) = (Box::new(wish.clone()), vec![drawn.clone()]);
        self.tell(Input::Ask { wish, drawn })
    }

    /// Sources say again what they want, as far as it is not in the log.
    pub(super) fn ask_again(&mut self) -> Held {
        let is_new = |key: &&WishKey| self.log.head(&StreamId::from(**key)).version.0 == 0;
        let missing: Vec<WishKey> = self.wishes.keys().filter(is_new).copied().collect();
        missing.into_iter().try_for_each(|key| self.ask(key))
    }

    pub(super) fn withdraw(&mut self, key: WishKey) -> Held {
        let by = Principal::person("ann");
        self.tell(Input::Withdraw { key, by })
    }

    /// Keeps what the log says of wishes.
    pub(super) fn note_wish(&mut self, recorded: &Recorded) {
        let StreamId::Wish(key) = recorded.stream else {
            return;
        };
        let told = self.wishes_told.entry(key).or_default();
        match recorded.read() {
            Some(WishEvent::Asked { builds, .. }) => {
                told.builds = builds.into_iter().map(|wished| wished.build).collect();
            }
            Some(WishEvent::Withdrawn { .. }) => told.withdrawn = true,
            _ => {}
        }
    }

    /// Nothing is begun for a build of which every wish was withdrawn.
    pub(super) fn check_wanted(&self, build: &BuildId) -> Held {
        let mut wanting = self
            .wishes_told
            .values()
            .filter(|told| told.builds.contains(build))
            .peekable();
        if wanting.peek().is_some() && wanting.all(|told| told.withdrawn) {
            return Err(format!(
                "{build} is built, and every wish for it was withdrawn"
            ));
        }
        Ok(())
    }

    pub(super) fn all_wishes_are_over(&self) -> bool {
        let head = |key: &WishKey| self.log.head(&StreamId::from(*key));
        let is_over = |key| head(key).version.0 > 0 && !head(key).is_open;
        let all = self.wishes.keys().chain(self.wishes_told.keys());
        all.into_iter().all(is_over)
    }
}

/// What the world knows of wishes.
pub(super) type Wishes = BTreeMap<WishKey, Wanted>;
