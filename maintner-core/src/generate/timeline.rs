//! The simulated time in which everything happens.

use std::collections::{BTreeMap, BTreeSet};

use super::change::Change;
use super::faults::Fault;
use super::gerrit::Gerrit;
use super::github::{GitHub, Issue};
use super::profile::Counts;
use super::{EPOCH, World};
use crate::Result;
use crate::pb::{GithubIssueMutation, Mutation, StringChange};

const SECONDS_PER_ISSUE: u64 = 4_200;
const SECONDS_PER_CHANGE: u64 = 3_600;
/// Refs of a project are logged together after so many seconds.
const GERRIT_CYCLE: u64 = 400;

/// What is to happen at some time.
enum Task {
    BeginIssue(u64),
    Issue(Box<Issue>),
    BeginChange(u64),
    Change(Box<Change>),
    Publish(usize),
}

/// Tasks by time; the second number keeps the order of equal times.
#[derive(Default)]
struct Agenda {
    tasks: BTreeMap<(u64, u64), Task>,
    planned: u64,
    publishing: BTreeSet<usize>,
}

impl Agenda {
    fn plan(&mut self, time: u64, task: Task) {
        self.tasks.insert((time, self.planned), task);
        self.planned += 1;
    }

    fn plan_publish(&mut self, time: u64, project: usize) {
        if self.publishing.insert(project) {
            self.plan(time + GERRIT_CYCLE, Task::Publish(project));
        }
    }
}

/// Lets everything happen.
pub(super) fn run(world: &mut World, counts: Counts) -> Result<()> {
    let mut github = GitHub::new(world, counts.repos)?;
    let mut gerrit = Gerrit::new(world, counts.projects, counts.history)?;
    gerrit.import_changes(world, counts.imported, EPOCH)?;
    let mut agenda = Agenda::default();
    agenda.plan(EPOCH, Task::BeginIssue(0));
    agenda.plan(EPOCH, Task::BeginChange(counts.imported));
    while let Some(((time, _), task)) = agenda.tasks.pop_first() {
        if world.out.is_full() {
            break;
        }
        match task {
            Task::BeginIssue(index) => {
                at_middle(world, index, counts)?;
                if let Some(issue) = github.begin(world, index, time)? {
                    agenda.plan(time + 900, Task::Issue(issue));
                }
                if index + 1 < counts.issues {
                    agenda.plan(
                        EPOCH + (index + 1) * SECONDS_PER_ISSUE,
                        Task::BeginIssue(index + 1),
                    );
                }
            }
            Task::Issue(mut issue) => {
                if let Some(delay) = github.go_on(world, &mut issue, time)? {
                    agenda.plan(time + delay, Task::Issue(issue));
                }
            }
            Task::BeginChange(index) => {
                agenda.plan(time, Task::Change(gerrit.begin(world, index)));
                if index + 1 < counts.changes {
                    let next = EPOCH + (index + 1 - counts.imported) * SECONDS_PER_CHANGE;
                    agenda.plan(next, Task::BeginChange(index + 1));
                }
            }
            Task::Change(mut change) => {
                let delay = gerrit.go_on(world, &mut change, time)?;
                agenda.plan_publish(time, change.project());
                if let Some(delay) = delay {
                    agenda.plan(time + delay, Task::Change(change));
                }
            }
            Task::Publish(project) => {
                agenda.publishing.remove(&project);
                gerrit.publish(world, project)?;
            }
        }
    }
    gerrit.publish_all(world)
}

/// Faults that strike once, half way.
fn at_middle(world: &mut World, index: u64, counts: Counts) -> Result<()> {
    if index != counts.issues / 2 {
        return Ok(());
    }
    world.forked = world.has(Fault::Fork);
    if world.has(Fault::Huge) {
        let huge = GithubIssueMutation {
            owner: "golang".to_owned(),
            repo: "go".to_owned(),
            number: 1,
            body_change: Some(StringChange {
                val: "huge ".repeat(17 << 18),
            }),
            ..Default::default()
        };
        world.put(
            "huge",
            Mutation {
                github_issue: Some(huge),
                ..Default::default()
            },
        )?;
    }
    Ok(())
}
