//! GitHub: repositories, their labels and milestones, users, and issues.

mod issue;
mod shared;

use std::hint::black_box;
use std::ops::Range;

use hashbrown::HashMap;
use rayon::prelude::*;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::chunk::{Column, Index, Lists, with_fresh};
use super::scan::{IssueOp, Scanned};
use super::text::{TextRef, Texts};
use super::{Anomalies, Anomaly};
use crate::mutation::IssueMutationView;

pub(crate) use issue::{
    CLOSED, CommentRow, EventRow, IssueRow, IssueState, LOCKED, MILESTONE_NONE, MILESTONE_UNKNOWN,
    NO_TIME, NOT_EXIST, PULL_REQUEST, ReviewRow,
};
use shared::SharedBatch;
pub(crate) use shared::{Accounts, Label, Milestone, SharedOp, SharedSink};

/// A repository.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct RepoRow {
    pub(crate) owner: TextRef,
    pub(crate) name: TextRef,
}

/// Everything known about GitHub.
#[derive(Debug, Clone, Default)]
pub(crate) struct GitHub {
    pub(crate) repos: Column<RepoRow>,
    /// Issue rows of each repository, by number.
    pub(crate) repo_issues: Lists<u32>,
    pub(crate) users: Accounts,
    pub(crate) teams: Accounts,
    pub(crate) labels: Column<Label>,
    pub(crate) label_index: Index,
    pub(crate) milestones: Column<Milestone>,
    pub(crate) milestone_index: Index,
    pub(crate) issues: Column<IssueRow>,
    pub(crate) issue_index: Index,
    pub(crate) issue_labels: Lists<i64>,
    pub(crate) assignees: Lists<i64>,
    pub(crate) comments: Lists<CommentRow>,
    pub(crate) events: Lists<EventRow>,
    pub(crate) reviews: Lists<ReviewRow>,
}

/// All records of one batch about one issue.
struct Group {
    repo: u32,
    number: i32,
    /// Which of the batch's records.
    records: Range<usize>,
}

/// Places and lengths of a batch's records about issues, those of an issue together and in log
/// order, and the issues, ascending.
#[derive(Default)]
struct Groups {
    records: Vec<(u64, u32)>,
    groups: Vec<Group>,
}

impl Groups {
    /// Each operation comes with the row of its repository.
    fn of<'a>(ops: impl Iterator<Item = (u32, &'a IssueOp)> + Clone) -> Self {
        let mut numbers: HashMap<(u32, i32), usize> = HashMap::new();
        let mut groups: Vec<Group> = Vec::new();
        let mut places: Vec<usize> = Vec::new();
        for (repo, op) in ops.clone() {
            let place = *numbers.entry((repo, op.number)).or_insert_with(|| {
                groups.push(Group {
                    repo,
                    number: op.number,
                    records: 0..0,
                });
                groups.len() - 1
            });
            groups[place].records.end += 1;
            places.push(place);
        }
        let mut next = 0;
        for group in &mut groups {
            let count = group.records.end;
            group.records = next..next;
            next += count;
        }
        let mut records = vec![(0, 0); next];
        for (place, (_, op)) in places.into_iter().zip(ops) {
            let end = &mut groups[place].records.end;
            records[*end] = (op.position, op.len);
            *end += 1;
        }
        groups.sort_unstable_by_key(|group| (group.repo, group.number.cast_unsigned()));
        Self { records, groups }
    }
}

/// An issue after its group was applied, and what the group says about shared objects.
struct Replayed {
    repo: u32,
    number: i32,
    row: Option<u32>,
    state: Option<IssueState>,
    shared: Vec<SharedOp>,
    anomalies: Anomalies,
}

impl GitHub {
    /// Has what every walk over issues goes through read from the disk.
    pub(crate) fn prefetch(&self) {
        self.issues.prefetch();
        self.comments.prefetch_lengths();
    }

    pub(crate) fn find_repo(&self, log: &Texts, owner: &str, name: &str) -> Option<u32> {
        (0..self.repos.len()).find(|&row| {
            let repo = self.repos.get(row);
            log.bytes(repo.name) == name.as_bytes() && log.bytes(repo.owner) == owner.as_bytes()
        })
    }

    pub(crate) fn find_issue(&self, repo: u32, number: i32) -> Option<u32> {
        let key = issue_hash(&self.issue_index, repo, number);
        self.issue_index.find(key, |row| {
            let issue = self.issues.get(row);
            (issue.repo, issue.number) == (repo, number)
        })
    }

    fn add_repo(&mut self, log: &Texts, owner: TextRef, name: TextRef) -> u32 {
        self.find_repo(log, log.str(owner), log.str(name))
            .unwrap_or_else(|| {
                let row = self.repos.push(RepoRow { owner, name });
                self.repo_issues.set(row, &[]);
                row
            })
    }

    /// Adds a batch: the records of each issue are replayed on its present state, all issues
    /// in parallel; then the results are stored. Returns the rows of the issues touched.
    pub(crate) fn absorb(
        &mut self,
        log: &Texts,
        batch: &[Scanned],
        anomalies: &mut Anomalies,
    ) -> Vec<u32> {
        let mut repos: Vec<Vec<u32>> = Vec::with_capacity(batch.len());
        for scanned in batch {
            let rows = scanned.repos.iter();
            repos.push(
                rows.map(|&(owner, name)| self.add_repo(log, owner, name))
                    .collect(),
            );
        }
        let pieces = || batch.iter().zip(&repos);
        let ops = pieces().flat_map(|(scanned, repos)| {
            let ops = scanned.issues.iter();
            ops.map(|op| (repos[op.repo as usize], op))
        });
        let Groups { records, groups } = Groups::of(ops);
        let replayed: Vec<Replayed> = groups
            .par_iter()
            .map(|group| self.replay(log, group, &records[group.records.clone()]))
            .collect();
        let mut shared = SharedBatch::default();
        let mut touched = Vec::with_capacity(replayed.len());
        let mut fresh: Vec<(u32, i32, u32)> = Vec::new();
        for issue in replayed {
            anomalies.add(&issue.anomalies);
            issue.shared.iter().for_each(|op| shared.add(op));
            let Some(state) = issue.state else { continue };
            let row = issue.row.unwrap_or_else(|| {
                let row = self.add_issue(issue.repo, issue.number);
                fresh.push((issue.repo, issue.number, row));
                row
            });
            self.store(row, &state);
            touched.push(row);
        }
        self.list_fresh(&fresh);
        // Within a record, what its issue says comes first.
        for (scanned, repos) in pieces() {
            let ops = scanned.shared.iter();
            ops.for_each(|op| shared.add(&op.with_repo(repos)));
        }
        self.apply_shared(log, &shared);
        touched
    }

    fn replay(&self, log: &Texts, group: &Group, records: &[(u64, u32)]) -> Replayed {
        let row = self.find_issue(group.repo, group.number);
        let mut state = row.map(|row| self.load(row));
        let mut shared = Vec::new();
        let mut anomalies = Anomalies::default();
        // They lie all over the batch, so each is a cache miss: together these overlap.
        let first = |&(position, _): &(u64, u32)| log.from(position).0.first();
        black_box(
            records
                .iter()
                .filter_map(first)
                .fold(0, |sum, byte| sum ^ byte),
        );
        let mut issue = IssueMutationView::default();
        for &(position, len) in records {
            let (bytes, locator) = log.from(position);
            let payload = &bytes[..bytes.len().min(len as usize)];
            match issue.read_record(payload) {
                Ok(true) => {}
                // Impossible: scanning saw it.
                Ok(false) => continue,
                Err(_) => {
                    anomalies.count(Anomaly::UndecodableRecord);
                    continue;
                }
            }
            if state.is_none() && issue.created().is_none() && !issue.not_exist() {
                anomalies.count(Anomaly::NoCreation);
                continue;
            }
            let state = state.get_or_insert_with(|| IssueState::new(group.repo, group.number));
            let mut sink = SharedSink::new(locator, position, &mut shared);
            state.apply(&issue, &locator, &mut sink);
            (0..sink.skipped()).for_each(|_| anomalies.count(Anomaly::ZeroId));
        }
        if let Some(state) = &mut state {
            state.sort();
        }
        Replayed {
            repo: group.repo,
            number: group.number,
            row,
            state,
            shared,
            anomalies,
        }
    }

    fn load(&self, row: u32) -> IssueState {
        IssueState {
            issue: self.issues.get(row),
            labels: self.issue_labels.get(row).to_vec(),
            assignees: self.assignees.get(row).to_vec(),
            comments: self.comments.get(row).to_vec(),
            events: self.events.get(row).to_vec(),
            reviews: self.reviews.get(row).to_vec(),
        }
    }

    fn store(&mut self, row: u32, state: &IssueState) {
        self.issues.set(row, state.issue);
        self.issue_labels.set(row, &state.labels);
        self.assignees.set(row, &state.assignees);
        self.comments.set(row, &state.comments);
        self.events.set(row, &state.events);
        self.reviews.set(row, &state.reviews);
    }

    fn add_issue(&mut self, repo: u32, number: i32) -> u32 {
        let row = self.issues.push(IssueRow::new(repo, number));
        let key = issue_hash(&self.issue_index, repo, number);
        self.issue_index.insert(key, row);
        row
    }

    /// Puts new issues (sorted by repository and number) into the lists of their repositories.
    fn list_fresh(&mut self, fresh: &[(u32, i32, u32)]) {
        for group in fresh.chunk_by(|a, b| a.0 == b.0) {
            let repo = group[0].0;
            let fresh = group.iter().map(|&(_, number, row)| (number, row));
            let number = |row| self.issues.get(row).number;
            let rows = with_fresh(self.repo_issues.get(repo), fresh, number);
            self.repo_issues.set(repo, &rows);
        }
    }
}

fn issue_hash(index: &Index, repo: u32, number: i32) -> u64 {
    index.hash_pair(repo, number.cast_unsigned())
}

/// The hash of an object that GitHub numbers within a repository.
fn id_hash(index: &Index, repo: u32, id: i64) -> u64 {
    index.hash_pair(repo, id.cast_unsigned())
}
