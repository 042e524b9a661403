//! GitHub: repositories, their labels and milestones, users, and issues.

mod issue;
mod shared;

use rayon::prelude::*;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::chunk::{Column, Index, Lists};
use super::scan::{IssueOp, Scanned};
use super::text::{TextRef, Texts};
use super::{Anomalies, Anomaly};
use crate::mutation::IssueMutationView;

pub(crate) use issue::{
    CLOSED, CommentRow, EventRow, IssueRow, IssueState, LOCKED, MILESTONE_NONE, MILESTONE_UNKNOWN,
    NO_TIME, NOT_EXIST, PULL_REQUEST, ReviewRow,
};
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
struct Group<'a> {
    repo: u32,
    number: i32,
    ops: &'a [(u32, i32, u64, u32)],
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
        let mut shared = Vec::new();
        let mut ops = Vec::new();
        for scanned in batch {
            let repos: Vec<u32> = scanned
                .repos
                .iter()
                .map(|&(owner, name)| self.add_repo(log, owner, name))
                .collect();
            let global = |op: &IssueOp| (repos[op.repo as usize], op.number, op.position, op.len);
            ops.extend(scanned.issues.iter().map(global));
            shared.extend(scanned.shared.iter().map(|op| op.with_repo(&repos)));
        }
        // Each issue's records stay in log order.
        ops.par_sort_unstable_by_key(|&(repo, number, position, _)| {
            let issue = u64::from(repo) << 32 | u64::from(number.cast_unsigned());
            (issue, position)
        });
        let groups: Vec<Group<'_>> = ops
            .chunk_by(|a, b| (a.0, a.1) == (b.0, b.1))
            .map(|ops| Group {
                repo: ops[0].0,
                number: ops[0].1,
                ops,
            })
            .collect();
        let replayed: Vec<Replayed> = groups
            .par_iter()
            .map(|group| self.replay(log, group))
            .collect();
        let mut from_issues: Vec<SharedOp> = Vec::new();
        let mut touched = Vec::with_capacity(replayed.len());
        let mut fresh: Vec<(u32, i32, u32)> = Vec::new();
        for mut issue in replayed {
            anomalies.add(&issue.anomalies);
            from_issues.append(&mut issue.shared);
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
        from_issues.append(&mut shared);
        // Stable: within a record, what its issue says comes first.
        from_issues.sort_by_key(SharedOp::position);
        from_issues.iter().for_each(|op| self.apply_shared(log, op));
        touched
    }

    fn replay(&self, log: &Texts, group: &Group<'_>) -> Replayed {
        let row = self.find_issue(group.repo, group.number);
        let mut state = row.map(|row| self.load(row));
        let mut shared = Vec::new();
        let mut anomalies = Anomalies::default();
        for &(_, _, position, len) in group.ops {
            let (bytes, locator) = log.from(position);
            let payload = &bytes[..bytes.len().min(len as usize)];
            let issue = match IssueMutationView::of_record(payload) {
                Ok(Some(issue)) => issue,
                // Impossible: scanning saw it.
                Ok(None) => continue,
                Err(_) => {
                    anomalies.count(Anomaly::UndecodableRecord);
                    continue;
                }
            };
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
            let mut rows = self.repo_issues.get(repo).to_vec();
            rows.extend(group.iter().map(|&(_, _, row)| row));
            rows.sort_by_key(|&row| self.issues.get(row).number);
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
