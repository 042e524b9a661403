//! GitHub kept in step, against a GitHub in memory with faults.

use std::collections::BTreeSet;

use maintner_core::query::{Issue, Repo};
use maintner_core::source::MemoryLog;
use maintner_core::sync::github::{Machine, Next};
use maintner_core::sync::{SyncError, Writer};
use maintner_core::{Corpus, Options, View};
use serde_json::json;

use crate::fake_github::{FakeGitHub, Fault, START, iso};

const NAME: &str = "octo/re.po-x";

/// A corpus, a machine with its notes, and the server that they are about.
pub(crate) struct Life {
    pub(crate) server: FakeGitHub,
    pub(crate) writer: Writer,
    log: MemoryLog,
    machine: Machine,
    notes: Option<Vec<u8>>,
    /// Notes from some time ago.
    older: Option<Vec<u8>>,
    /// Breaks something once, on purpose: drops a page (false), or writes one twice (true).
    pub(crate) planted: Option<bool>,
    saved: usize,
    pub(crate) written: usize,
    pub(crate) waited: u64,
}

fn machine(notes: Option<&[u8]>) -> Machine {
    let (owner, repo) = NAME.split_once('/').unwrap();
    Machine::new(owner, repo, notes).with_minimized(false)
}

impl Life {
    pub(crate) fn new(server: FakeGitHub) -> Self {
        let log = MemoryLog::new();
        let corpus = Corpus::load(log.clone(), Options::default().workers(1)).unwrap();
        Self {
            server,
            writer: Writer::new(log.clone(), corpus),
            log,
            machine: machine(None),
            notes: None,
            older: None,
            planted: None,
            saved: 0,
            written: 0,
            waited: 0,
        }
    }

    pub(crate) fn view(&self) -> View {
        self.writer.view()
    }

    /// The program is started again: only the log and the notes are left.
    pub(crate) fn restart(&mut self) {
        let corpus = Corpus::load(self.log.clone(), Options::default().workers(1)).unwrap();
        self.writer = Writer::new(self.log.clone(), corpus);
        self.machine = machine(self.notes.as_deref());
    }

    /// The notes are lost, or those of some time ago.
    pub(crate) fn old_notes(&mut self, lost: bool) {
        self.notes = self.older.take().filter(|_| !lost);
    }

    pub(crate) fn log(&self) -> &MemoryLog {
        &self.log
    }

    pub(crate) fn begin(&mut self, expected: bool) {
        self.machine.restart(expected);
    }

    /// One step; false at the end of a comparison.
    pub(crate) fn step(&mut self, fault: Fault) -> Result<bool, SyncError> {
        let view = self.view();
        match self.machine.next(&view, self.server.now)? {
            Next::Write(mutations) => {
                self.written += mutations.len();
                let has = |m: &maintner_core::pb::Mutation| {
                    let issue = m.github_issue.as_ref();
                    issue.is_some_and(|issue| !issue.event.is_empty())
                };
                match self.planted.take_if(|_| mutations.iter().any(has)) {
                    Some(false) => return Ok(true),
                    Some(true) => self.writer.write(&mutations)?,
                    None => {}
                }
                self.writer.write(&mutations)?;
            }
            Next::Save(notes) => {
                if self.saved.is_multiple_of(7) {
                    self.older.clone_from(&self.notes);
                }
                self.saved += 1;
                self.notes = Some(notes);
            }
            Next::Wait(pause) => {
                self.waited += pause.as_secs();
                self.server.now += pause.as_secs().cast_signed();
            }
            Next::Done => return Ok(false),
            Next::Request(request) => {
                let answer = self.server.send(&request, fault);
                self.machine.answer(&view, self.server.now, answer)?;
            }
        }
        Ok(true)
    }

    /// A whole comparison; how many mutations it wrote.
    pub(crate) fn compare(&mut self) -> usize {
        let before = self.written;
        self.begin(false);
        while self.step(Fault::None).unwrap() {}
        self.written - before
    }

    fn repo<'v>(&self, view: &'v View) -> Repo<'v> {
        view.github().repo(NAME).unwrap()
    }

    /// Compares everything that the server has with what the corpus has.
    pub(crate) fn assert_in_step(&self) {
        let view = self.view();
        let repo = self.repo(&view);
        let all = || repo.issues().with_tombstones();
        let highest = all().last().map_or(0, |issue| issue.number());
        for (&number, there) in &self.server.issues {
            let exists = !there.deleted && there.moved.is_none();
            // What was gone before anybody saw it, and has no successor, left no trace at all.
            if number > highest && !exists {
                continue;
            }
            let here = repo
                .try_issue(number)
                .unwrap_or_else(|| panic!("#{number} is missing"));
            assert_eq!(here.exists(), exists, "#{number}");
            if exists {
                self.assert_same(&here);
            }
        }
        assert!(all().all(|issue| self.server.issues.contains_key(&issue.number())));
        let labels: BTreeSet<(i64, String)> = repo
            .labels()
            .map(|l| (l.id(), l.name().to_owned()))
            .collect();
        assert_eq!(labels, self.server.labels.iter().cloned().collect());
    }

    fn assert_same(&self, here: &Issue<'_>) {
        let number = here.number();
        let there = &self.server.issues[&number];
        assert_eq!(here.title(), there.json["title"], "#{number}");
        assert_eq!(here.body(), there.json["body"].as_str().unwrap_or_default());
        assert_eq!(here.is_closed(), there.json["state"] == "closed");
        assert_eq!(here.is_pull_request(), there.pull);
        assert_eq!(
            here.updated().unwrap().seconds(),
            there.updated,
            "#{number}"
        );
        let comments: BTreeSet<(i64, &str)> = here.comments().map(|c| (c.id(), c.body())).collect();
        let wanted = self.server.comments.iter().filter(|c| c.number == number);
        let wanted: BTreeSet<(i64, &str)> = wanted
            .map(|c| (c.id, c.json["body"].as_str().unwrap()))
            .collect();
        assert_eq!(comments, wanted, "comments of #{number}");
        let events = here.events().map(|e| e.id());
        // Heads and minimised comments are told elsewhere.
        let events: BTreeSet<i64> = events.filter(|id| *id > -(1 << 61)).collect();
        let wanted = self
            .server
            .events
            .iter()
            .filter(|e| e.number == number)
            .map(|e| e.id);
        let code = self
            .server
            .code_comments
            .iter()
            .filter(|c| c.number == number);
        let wanted: BTreeSet<i64> = wanted.chain(code.map(|c| -c.id)).collect();
        assert_eq!(events, wanted, "events of #{number}");
        let reviews: BTreeSet<i64> = here.reviews().map(|r| r.id()).collect();
        let wanted = self.server.reviews.iter().filter(|r| r.number == number);
        assert_eq!(
            reviews,
            wanted.map(|r| r.id).collect(),
            "reviews of #{number}"
        );
        let of = [
            &self.server.comments,
            &self.server.events,
            &self.server.reviews,
        ]
        .map(Vec::len);
        assert!(
            of.iter().sum::<usize>() == 0 || here.comments_as_of().is_some(),
            "#{number}"
        );
    }
}

/// A repository with a bit of everything.
pub(crate) fn lively(issues: i32) -> FakeGitHub {
    let mut server = FakeGitHub::new(NAME);
    server.labels = vec![(1, "NeedsFix".into()), (2, "Testing".into())];
    server.milestones = vec![(10, 1, "Go1.17".into(), "open".into())];
    for n in 1..=issues {
        server.now += 60;
        let number = server.open(n % 12 == 0);
        if n % 3 == 0 {
            server.now += 1;
            server.comment(number, &format!("comment on {n}"));
        }
        if n % 2 == 0 {
            server.now += 1;
            server.event(number, "labeled", &json!({"label": {"name": "NeedsFix"}}));
            let labels = &mut server.issues.get_mut(&number).unwrap().json["labels"];
            *labels = json!([{"id": 1, "name": "NeedsFix"}]);
        }
        if n % 24 == 0 {
            server.review(number, "APPROVED");
            server.code_comment(number, "why?");
        }
    }
    server.now += 60;
    server
}

#[test]
fn check_14_a_first_comparison_and_a_second_with_nothing_new() {
    let mut life = Life::new(lively(250));
    life.compare();
    life.assert_in_step();
    let mut log = Vec::new();
    crate::sync_github::each_mutation(&life.log, |mutation| log.push(mutation));
    let labels = log
        .iter()
        .position(|m| m.github.as_ref().is_some_and(|g| !g.labels.is_empty()));
    let milestones = log
        .iter()
        .position(|m| m.github.as_ref().is_some_and(|g| !g.milestones.is_empty()));
    let creations: Vec<usize> = (0..log.len())
        .filter(|&at| {
            log[at]
                .github_issue
                .as_ref()
                .is_some_and(|issue| issue.created.is_some())
        })
        .collect();
    assert_eq!(creations.len(), 250);
    assert!(labels.unwrap() < creations[0] && milestones.unwrap() < creations[0]);

    life.compare();
    life.server.calls.clear();
    life.server.unchanged = 0;
    assert_eq!(life.compare(), 0);
    let calls = (life.server.total_calls(), life.server.unchanged);
    assert_eq!(
        calls,
        (0, 7),
        "one question for each list: {:?}",
        life.server.calls
    );
    life.restart();
    assert_eq!(life.compare(), 0);
}

pub(crate) fn each_mutation(log: &MemoryLog, mut take: impl FnMut(maintner_core::pb::Mutation)) {
    use maintner_core::log::{LogPosition, LogReader};
    use maintner_core::source::MutationSource as _;
    use prost::Message as _;
    let mut reader = LogReader::new(log.segments().unwrap(), LogPosition::START).unwrap();
    while let Some((_, payload)) = reader.next_record().unwrap() {
        take(maintner_core::pb::Mutation::decode(payload).unwrap());
    }
}

/// Nothing is said twice: no comment, event or review is in the log again with the same content.
pub(crate) fn assert_nothing_twice(log: &MemoryLog) {
    let mut seen = BTreeSet::new();
    each_mutation(log, |mutation| {
        let Some(issue) = mutation.github_issue else {
            return;
        };
        let said = |kind: &str, id: i64, text: String| format!("{kind} {id} {text}");
        let comments = issue
            .comment
            .iter()
            .map(|c| said("comment", c.id, format!("{c:?}")));
        let events = issue
            .event
            .iter()
            .map(|e| said("event", e.id, format!("{e:?}")));
        let reviews = issue
            .review
            .iter()
            .map(|r| said("review", r.id, format!("{r:?}")));
        for one in comments.chain(events).chain(reviews) {
            assert!(seen.insert(one.clone()), "twice: {one}");
        }
        if issue.created.is_some() {
            assert!(
                seen.insert(format!("issue {}", issue.number)),
                "#{}",
                issue.number
            );
        }
    });
}

#[test]
fn check_15_killed_at_any_request_nothing_is_missing_and_nothing_twice() {
    let mut probe = Life::new(lively(105));
    probe.begin(false);
    let mut steps = 0;
    while probe.step(Fault::None).unwrap() {
        steps += 1;
    }
    assert!(steps > 30, "{steps}");
    for kill in 0..steps {
        let mut life = Life::new(lively(105));
        life.begin(false);
        for _ in 0..kill {
            life.step(Fault::None).unwrap();
        }
        life.restart();
        life.compare();
        life.assert_in_step();
        assert_nothing_twice(&life.log);
    }
}

#[test]
fn every_fault_at_every_request_only_costs_time() {
    let faults = [
        Fault::Cut,
        Fault::Status502,
        Fault::Truncated,
        Fault::UsedUp,
        Fault::RetryAfter,
        Fault::Secondary,
        Fault::TooMany,
        Fault::Repeated,
    ];
    for (skew, fault) in faults.into_iter().enumerate() {
        let mut life = Life::new(lively(150));
        life.begin(false);
        let mut at = 0;
        loop {
            at += 1;
            // Every third request fails, several times in a row now and then.
            let now = if at % 3 == 0 || (at / 7) % 5 == skew {
                fault
            } else {
                Fault::None
            };
            let now = if at > 400 { Fault::None } else { now };
            if !life.step(now).unwrap() {
                break;
            }
            assert!(at < 3000, "{fault:?} never ends");
        }
        life.compare();
        life.assert_in_step();
        assert_nothing_twice(&life.log);
        let pauses = !matches!(fault, Fault::Repeated);
        assert_eq!(
            life.waited > 0,
            pauses,
            "{fault:?} waited {} s",
            life.waited
        );
    }
}

#[test]
fn edits_while_pages_are_read_lose_nothing() {
    for when in 0..40 {
        let mut life = Life::new(lively(240));
        life.begin(false);
        let mut at = 0;
        while life.step(Fault::None).unwrap() {
            at += 1;
            if at == when {
                // Things of early and late pages move to the end of every list.
                for number in [3, 60, 150, 237] {
                    life.server.comment(number, "meanwhile");
                    life.server.event(number, "closed", &json!({}));
                    life.server.issues.get_mut(&number).unwrap().json["state"] = "closed".into();
                }
                let first = life.server.comments[0].id;
                life.server.edit_comment(first, "edited meanwhile");
                life.server.delete(100);
                life.server.open(true);
            }
        }
        life.server.now += 4000;
        life.compare();
        life.server.now += 4000;
        life.compare();
        // Deleted issues leave no trace in lists: the week's listing finds them.
        life.server.now += 8 * 86_400;
        life.compare();
        life.assert_in_step();
        assert_nothing_twice(&life.log);
    }
}

#[test]
fn an_issue_of_many_pages_and_an_old_comment_edited_late() {
    let mut server = FakeGitHub::new(NAME);
    let number = server.open(true);
    let mut ids = Vec::new();
    for n in 0..230 {
        server.now += 10;
        ids.push(server.comment(number, &format!("comment {n}")));
        server.event(number, "mentioned", &json!({}));
        server.review(number, "COMMENTED");
    }
    server.edit_comment(ids[99], "edited");
    let mut life = Life::new(server);
    life.compare();
    life.assert_in_step();
    let view = life.view();
    let issue = life.repo(&view).issue(number).unwrap();
    assert_eq!(
        (
            issue.comments().count(),
            issue.events().count(),
            issue.reviews().count()
        ),
        (230, 230, 230)
    );
    // A review that is dismissed later is said again, with its new state.
    life.server.now += 100;
    life.server.reviews[5].json["state"] = "DISMISSED".into();
    life.server.touch(number);
    life.compare();
    let view = life.view();
    let issue = life.repo(&view).issue(number).unwrap();
    let dismissed = issue
        .reviews()
        .filter(|review| review.review_state() == "DISMISSED");
    assert_eq!(dismissed.count(), 1);
}

#[test]
fn what_is_gone_is_noticed() {
    let mut life = Life::new(lively(120));
    life.compare();
    life.server.now += 1000;
    let comment = life.server.comments[7].id;
    life.server.delete_comment(comment);
    life.server.labels[0].1 = "NeedsMoreFix".into();
    life.server.milestones[0].3 = "closed".into();
    life.compare();
    life.assert_in_step();
    let view = life.view();
    assert!(life.repo(&view).milestones().next().unwrap().is_closed());

    // Deleted and moved issues leave no trace in lists: a hint tells, or the week's listing.
    life.server.now += 1000;
    life.server.delete(8);
    life.server.transfer(9);
    life.compare();
    let view = life.view();
    assert!(
        life.repo(&view).issue(8).unwrap().exists(),
        "nobody said so"
    );
    life.machine.hint(8);
    life.compare();
    let view = life.view();
    assert!(!life.repo(&view).issue(8).unwrap().exists());
    life.server.now += 8 * 86_400;
    assert!(life.compare() > 0);
    life.assert_in_step();
    life.server.now += 4000;
    assert_eq!(life.compare(), 0);
}

#[test]
fn numbers_that_never_were_become_tombstones_once() {
    let mut server = lively(60);
    for number in [5, 17, 44] {
        server.issues.get_mut(&number).unwrap().deleted = true;
    }
    server.transfer(30);
    let mut life = Life::new(server);
    life.compare();
    life.assert_in_step();
    assert_eq!(life.server.calls["one issue"], 5, "four and a redirection");
    life.server.calls.clear();
    life.compare();
    assert!(!life.server.calls.contains_key("one issue"));
}

#[test]
fn a_renamed_repository_is_read_on_under_its_number() {
    let mut life = Life::new(lively(20));
    life.compare();
    life.server.renamed = true;
    life.server.now += 100;
    life.server.comment(3, "after the move");
    life.compare();
    life.assert_in_step();
    assert_eq!(life.machine.moved_to(), Some("/repositories/1000"));
    life.restart();
    assert_eq!(
        life.machine.moved_to(),
        Some("/repositories/1000"),
        "remembered"
    );
    assert_eq!(life.compare(), 0);
}

#[test]
fn events_that_come_late_are_read_later() {
    let mut life = Life::new(lively(20));
    life.compare();
    life.server.now += 1000;
    life.server.touch(3);
    let late = {
        // The issue shows the change, the event is not there yet.
        life.server.issues.get_mut(&3).unwrap().json["state"] = "closed".into();
        life.compare();
        let id = life
            .server
            .event(3, "closed", &json!({"commit_id": "ab", "commit_url": null}));
        let at = life.server.events.len() - 1;
        life.server.events[at].created -= 900;
        life.server.events[at].json["created_at"] = iso(life.server.events[at].created).into();
        id
    };
    let due = life.machine.due().unwrap().as_secs();
    assert!(due <= 60, "{due} s");
    life.server.now += 61;
    life.compare();
    let view = life.view();
    assert!(
        life.repo(&view)
            .issue(3)
            .unwrap()
            .events()
            .any(|event| event.id() == late)
    );
}

#[test]
fn check_17_what_is_not_understood_is_kept() {
    let mut server = lively(1);
    server.event(
        1,
        "spun_around",
        &json!({"speed": {"rpm": 5}, "axis": "z", "lock_reason": "spam"}),
    );
    server.issues.get_mut(&1).unwrap().pull = true;
    server.issues.get_mut(&1).unwrap().json["pull_request"] = json!({});
    server.review(1, "APPROVED");
    let mut life = Life::new(server);
    life.compare();
    let view = life.view();
    let issue = life.repo(&view).issue(1).unwrap();
    let event = issue
        .events()
        .find(|event| event.event_type() == "spun_around")
        .unwrap();
    assert_eq!(
        event.stored().other_json(),
        br#"{"axis":"z","speed":{"rpm":5}}"#
    );
    let review = issue.reviews().next().unwrap();
    assert_eq!(
        review.stored().other_json(),
        br#"{"random_key":"some random value"}"#
    );
}

#[test]
fn what_cannot_be_read_is_said_and_ends() {
    let mut life = Life::new(FakeGitHub::new("other/place"));
    life.begin(false);
    let error = loop {
        match life.step(Fault::None) {
            Ok(more) => assert!(more),
            Err(error) => break error,
        }
    };
    assert!(
        error.is_lasting() && error.to_string().contains(NAME),
        "{error}"
    );
    // Troubles that do not end are reported after some tries.
    let mut life = Life::new(lively(3));
    life.begin(false);
    let error = (0..100)
        .find_map(|_| life.step(Fault::Truncated).err())
        .unwrap();
    assert!(
        !error.is_lasting() && life.waited < 300,
        "{error}: {} s",
        life.waited
    );
}

#[test]
fn a_first_comparison_takes_no_more_calls_than_listing_does() {
    let mut server = FakeGitHub::new(NAME);
    // More in the soak.
    let issues = std::env::var("MAINTNER_SYNC_ISSUES").map_or(10_000, |n| n.parse().unwrap());
    for n in 1..=issues {
        server.now += 40;
        let number = server.open(n % 10 == 0);
        for _ in 0..n % 4 {
            server.now += 1;
            server.comment(number, "c");
        }
        for _ in 0..n % 5 {
            server.event(number, "mentioned", &json!({}));
        }
    }
    server.now = START + 200 * 86_400;
    let listing = |things: usize| things.div_ceil(100) as u64;
    let needed = listing(issues as usize)
        + listing(server.comments.len())
        + listing(server.events.len())
        + issues as u64 / 10;
    let mut life = Life::new(server);
    life.compare();
    let calls = life.server.total_calls();
    assert!(
        calls as f64 <= 1.05 * needed as f64,
        "{calls} calls, {needed} needed: {:?}",
        life.server.calls
    );
    let view = life.view();
    let repo = life.repo(&view);
    assert_eq!(repo.issues().count(), issues as usize);
    assert_eq!(
        repo.issues()
            .map(|issue| issue.comments().count())
            .sum::<usize>(),
        life.server.comments.len()
    );
    assert_eq!(
        repo.issues()
            .map(|issue| issue.events().count())
            .sum::<usize>(),
        life.server.events.len()
    );
    assert!(
        repo.issues()
            .all(|issue| issue.events_as_of() > issue.updated())
    );
}

/// A server with so many pull requests, each with a head and some comments.
fn with_heads(count: i32) -> FakeGitHub {
    let mut server = FakeGitHub::new(NAME);
    for n in 1..=count {
        server.now += 60;
        let number = server.open(true);
        server.heads.insert(number, format!("{n:040x}"));
        for _ in 0..3 {
            server.comment(number, "c");
        }
    }
    server
}

/// Which of these heads lead to their pull request.
fn heads_found(life: &Life) -> usize {
    let view = life.view();
    let changes = maintner_core::review_of::ByCommit::of(&view);
    let heads = life.server.heads.iter();
    heads
        .filter(|(number, head)| {
            let change = changes.change(&view, head.parse().unwrap());
            change.is_some_and(|change| change.number == **number)
        })
        .count()
}

#[test]
fn heads_that_nobody_reviewed_lead_to_their_pull_request_wherever_it_was_killed() {
    // Killed after every step of the first comparison in turn.
    for steps in [6, 10, 14, 18, 22, 26] {
        let mut life = Life::new(with_heads(130));
        life.begin(false);
        for _ in 0..steps {
            life.step(Fault::None).unwrap();
        }
        life.restart();
        life.compare();
        life.compare();
        assert_eq!(heads_found(&life), 130, "killed after {steps} steps");
    }
    let mut life = Life::new(with_heads(130));
    life.compare();
    // The tag of the first page stands for a reading that was finished.
    life.compare();
    let written = life.written;
    life.server.calls.clear();
    life.compare();
    assert!(!life.server.calls.contains_key("pulls"), "nothing is new");
    assert_eq!(life.written, written, "and nothing is written twice");
    // A push: the old head still leads there, as builds of it may be looked at.
    let old = life.server.heads.insert(7, "f".repeat(40)).unwrap();
    life.server.now += 60;
    life.server.issues.get_mut(&7).unwrap().updated = life.server.now;
    life.compare();
    assert_eq!(heads_found(&life), 130);
    let view = life.view();
    let changes = maintner_core::review_of::ByCommit::of(&view);
    assert_eq!(
        changes.change(&view, old.parse().unwrap()).unwrap().number,
        7
    );
}

#[test]
fn minimised_comments_are_seen_and_seen_again_when_they_are_shown() {
    let mut server = with_heads(120);
    let long = server.open(false);
    for _ in 0..230 {
        server.comment(long, "c");
    }
    let (first, last) = (server.comments[0].id, server.comments.last().unwrap().id);
    let hide = |server: &mut FakeGitHub, id: i64, why: &str| {
        server.minimized.as_mut().unwrap().insert(id, why.into());
    };
    hide(&mut server, first, "spam");
    hide(&mut server, last, "outdated");
    let mut life = Life::new(server);
    // Without credentials nobody asks.
    life.compare();
    assert!(!life.server.calls.contains_key("graphql"));
    life.machine = machine(life.notes.as_deref()).with_minimized(true);
    let shown = |life: &Life| {
        let view = life.view();
        let repo = life.repo(&view);
        let issues = repo.issues();
        issues
            .flat_map(|issue| issue.minimized_comments())
            .collect::<Vec<_>>()
    };
    for _ in 0..4 {
        life.compare();
    }
    assert_eq!(
        shown(&life),
        [(first, "spam".to_owned()), (last, "outdated".to_owned())]
    );
    let view = life.view();
    let issue = life.repo(&view).issue(1).unwrap();
    assert_eq!(issue.minimized(first).as_deref(), Some("spam"));
    assert_eq!(issue.minimized(first + 1), None);
    drop(view);
    // Nothing else of the issue changes, so it is found in its turn.
    life.server.minimized.as_mut().unwrap().clear();
    let written = life.written;
    for _ in 0..4 {
        life.compare();
    }
    assert!(shown(&life).is_empty());
    assert_eq!(life.written, written + 2, "each is said once");
    life.restart();
    assert!(shown(&life).is_empty());
    // Whoever is not let in there goes on without.
    life.server.minimized = None;
    life.machine = machine(life.notes.as_deref()).with_minimized(true);
    life.server.calls.clear();
    life.compare();
    life.compare();
    assert_eq!(life.server.calls["graphql"], 1);
    life.assert_in_step();
}
