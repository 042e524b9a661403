//! Wishes: asked for once, shared, overtaken, withdrawn.

use super::*;
use crate::event::{BranchId, WishEvent};

fn item(class: Class) -> WorkItem {
    let commit = CommitHash::new("0".repeat(40)).unwrap();
    let mut item = WorkItem::new(RepoName::new("r").unwrap(), "/r", commit);
    item.class = class;
    item
}

fn wish(key: u128, class: Class) -> Wish {
    let builder = BuilderName::new("local").unwrap();
    let key = WishKey::from_bits(key);
    Wish::new(key, item(class), vec![builder], Principal::person("ann"))
}

fn tip(key: u128, commit: u8) -> Wish {
    let mut wish = wish(key, Class::DefaultTip);
    wish.item.commit = CommitHash::new(format!("{commit:040x}")).unwrap();
    wish.tip_of = Some(BranchId {
        repo: wish.item.repo.clone(),
        branch: "main".into(),
    });
    wish
}

impl Farm {
    pub(super) fn ask(&mut self, wish: Wish, build: u64) {
        let (wish, drawn) = (Box::new(wish), vec![BuildId::from_bits(build)]);
        self.tell(Input::Ask { wish, drawn });
    }

    /// As whoever asks does: what was ever asked for is not asked for again.
    pub(super) fn ask_new(&mut self, wish: Wish, build: u64) {
        if !self.heads.contains_key(&StreamId::from(wish.key)) {
            self.ask(wish, build);
        }
    }

    fn withdraw(&mut self, key: u128) {
        let key = WishKey::from_bits(key);
        let by = Principal::person("ann");
        self.tell(Input::Withdraw { key, by });
    }

    /// The kinds of the events of a wish, in order.
    fn told_of(&self, key: u128) -> Vec<&str> {
        let stream = StreamId::from(WishKey::from_bits(key));
        let own = self.stored.iter().filter(|e| e.stream == stream);
        own.map(|e| e.kind.as_str()).collect()
    }

    fn outcomes(&self) -> Vec<(String, String)> {
        let ends = self.log.iter().filter_map(|r| match &r.event {
            BuildEvent::Finished { outcome } => Some((r.build.to_string(), outcome.to_string())),
            _ => None,
        });
        ends.collect()
    }
}

#[test]
fn asking_twice_is_one_build_and_its_end_is_the_wishs() {
    let mut farm = Farm::new(1, vec![step("test", &[])]);
    farm.ask(wish(1, Class::DefaultTip), 1);
    farm.ask(wish(1, Class::DefaultTip), 2);
    assert_eq!(farm.appends, [2], "the wish and its build in one commit");
    farm.run();
    farm.ask(wish(1, Class::DefaultTip), 3);
    assert_eq!(farm.outcomes().len(), 1);
    assert_eq!(farm.told_of(1), ["asked", "ended"]);
    let stream = StreamId::from(WishKey::from_bits(1));
    assert!(!farm.heads[&stream].is_open);
    assert!(farm.dispatcher.wish(WishKey::from_bits(1)).is_none());
}

#[test]
fn two_wishes_share_a_build_as_urgent_as_the_more_urgent_one() {
    let mut farm = Farm::new(0, vec![step("test", &[])]);
    farm.ask(wish(1, Class::Backfill), 1);
    farm.run();
    farm.ask(wish(2, Class::Try), 2);
    let class = |farm: &Farm| {
        let state = farm.dispatcher.build(&build().into()).unwrap();
        state.item().unwrap().class
    };
    assert_eq!(class(&farm), Class::Try);
    // A build that is less urgent waits behind it.
    farm.submit_as(BuildId::from_bits(9), Class::BranchTip);
    farm.run();
    farm.tell(Input::Machines(machines(1)));
    farm.run();
    let order: Vec<_> = farm.outcomes().into_iter().map(|(id, _)| id).collect();
    assert_eq!(order, ["B000000001", "B000000009"]);
    assert_eq!(farm.told_of(1), ["asked", "ended"]);
    assert_eq!(farm.told_of(2), ["asked", "ended"]);
}

#[test]
fn withdrawing_cancels_what_only_that_wish_wants() {
    let mut farm = Farm::new(0, vec![step("test", &[])]);
    farm.ask(wish(1, Class::Try), 1);
    farm.ask(wish(2, Class::Backfill), 2);
    let mut other = tip(3, 7);
    other.tip_of = None;
    farm.ask(other, 3);
    let appends = farm.appends.len();
    farm.withdraw(3);
    assert_eq!(farm.appends.len(), appends + 1, "one commit for both");
    farm.withdraw(1);
    farm.tell(Input::Machines(machines(2)));
    farm.run();
    let ends = farm.outcomes();
    let end = |id: &str| {
        ends.iter()
            .find(|(build, _)| build == id)
            .unwrap()
            .1
            .clone()
    };
    assert_eq!(end("B000000003"), "canceled by ann");
    assert_eq!(end("B000000001"), "passed", "somebody else wants it");
    assert_eq!(farm.told_of(1), ["asked", "withdrawn"]);
    assert_eq!(farm.told_of(2), ["asked", "ended"]);
    farm.withdraw(2);
    assert_eq!(farm.told_of(2), ["asked", "ended"], "it is over");
}

#[test]
fn a_build_that_was_canceled_leaves_its_wish_unmet() {
    let mut farm = Farm::new(0, vec![step("test", &[])]);
    farm.ask(wish(1, Class::Try), 1);
    farm.tell(Input::Cancel {
        build: build().into(),
        by: "me".into(),
    });
    farm.run();
    let mut told = farm.stored.iter().rev();
    let last = told.find_map(Recorded::read::<WishEvent>);
    let ended = WishEvent::Ended {
        build: build(),
        met: false,
    };
    assert_eq!(last, Some(ended));
}

#[test]
fn a_newer_tip_makes_the_one_that_waits_an_older_commit() {
    let mut farm = Farm::new(0, vec![step("test", &[])]);
    farm.ask(tip(1, 1), 1);
    farm.run();
    farm.ask(tip(2, 2), 2);
    farm.run();
    assert_eq!(farm.told_of(1), ["asked", "backfilled"]);
    farm.submit_as(BuildId::from_bits(9), Class::BranchTip);
    farm.run();
    farm.tell(Input::Machines(machines(1)));
    farm.run();
    let order: Vec<_> = farm.outcomes().into_iter().map(|(id, _)| id).collect();
    assert_eq!(order, ["B000000002", "B000000009", "B000000001"]);
}

#[test]
fn a_crash_at_any_append_keeps_wishes_and_their_builds_together() {
    let story = |farm: &mut Farm| {
        farm.ask_new(tip(1, 1), 1);
        farm.ask_new(wish(2, Class::Try), 2);
        farm.ask_new(tip(3, 3), 3);
        farm.withdraw(1);
        farm.run();
    };
    let mut whole = Farm::new(1, vec![step("test", &[])]);
    story(&mut whole);
    assert!(whole.dispatcher.is_durable());
    for length in 0..=whole.appends.len() {
        let mut again = Farm::new(1, vec![step("test", &[])]);
        let end = length.checked_sub(1).map_or(0, |n| whole.appends[n]);
        again.take_log(&whole, end);
        again.crash();
        story(&mut again);
        again.run();
        for key in 1..=3 {
            let told = again.told_of(key);
            let is_end = |kind: &&&str| matches!(**kind, "ended" | "withdrawn");
            assert_eq!(told.iter().filter(is_end).count(), 1, "{length}: {told:?}");
        }
        assert_eq!(again.outcomes().len(), 3, "{length}: each has one build");
    }
}
