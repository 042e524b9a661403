//! The second half of loading: scanned pieces become the next state of the corpus.

use std::sync::Arc;

use hashbrown::HashSet;

use super::Anomalies;
use super::commits::{CommitBatch, Commits};
use super::gerrit::{Gerrit, GerritBatch};
use super::github::GitHub;
use super::intern::{NameBatch, Names};
use super::scan::Scanned;
use super::text::Texts;

/// One version of the corpus. Cloning shares everything.
#[derive(Debug, Clone, Default)]
pub(crate) struct State {
    pub(crate) log: Texts,
    /// Where each segment begins.
    pub(crate) segments: Arc<Vec<u64>>,
    /// Everything before this position was applied.
    pub(crate) position: u64,
    /// The first state that this process published, from which later positions are reached
    /// sooner than from the beginning.
    pub(crate) origin: Option<Arc<State>>,
    /// Counts published versions.
    pub(crate) generation: u64,
    pub(crate) records: u64,
    pub(crate) anomalies: Anomalies,
    pub(crate) names: Names,
    pub(crate) commits: Commits,
    pub(crate) github: GitHub,
    pub(crate) gerrit: Gerrit,
}

/// What one load or update touched, and what it has to finish before it is visible.
#[derive(Debug)]
pub(crate) struct Round {
    names: NameBatch,
    commits: CommitBatch,
    gerrit: GerritBatch,
    issues: HashSet<u32>,
}

/// Rows that a round touched, ascending.
#[derive(Debug, Clone, Default)]
pub(crate) struct Touched {
    pub(crate) issues: Vec<u32>,
    pub(crate) cls: Vec<u32>,
    pub(crate) refs: Vec<u32>,
    pub(crate) commits: Vec<u32>,
}

impl Touched {
    pub(crate) fn merge(&mut self, other: &Self) {
        let merge = |mine: &mut Vec<u32>, theirs: &[u32]| {
            mine.extend_from_slice(theirs);
            mine.sort_unstable();
            mine.dedup();
        };
        merge(&mut self.issues, &other.issues);
        merge(&mut self.cls, &other.cls);
        merge(&mut self.refs, &other.refs);
        merge(&mut self.commits, &other.commits);
    }
}

impl Round {
    /// The beginning of a round on top of `state`. Changes left unfinished by earlier rounds are
    /// tried again when this one may have brought what they lack.
    pub(crate) fn on(state: &State) -> Self {
        Self {
            names: NameBatch::starting(&state.names),
            commits: CommitBatch::starting(&state.commits),
            gerrit: GerritBatch::default(),
            issues: HashSet::new(),
        }
    }
}

/// The parts of the state that commits and refs change, each with what its round keeps.
struct History<'s> {
    log: &'s Texts,
    names: (&'s mut Names, &'s mut NameBatch),
    commits: (&'s mut Commits, &'s mut CommitBatch),
    gerrit: (&'s mut Gerrit, &'s mut GerritBatch),
}

impl History<'_> {
    fn absorb(&mut self, batch: &[Scanned], anomalies: &mut Anomalies) {
        let log = self.log;
        let (names, fresh) = (&mut *self.names.0, &mut *self.names.1);
        let (commits, round) = (&mut *self.commits.0, &mut *self.commits.1);
        let (gerrit, changes) = (&mut *self.gerrit.0, &mut *self.gerrit.1);
        for scanned in batch {
            let rows = scanned.names.iter();
            let rows: Vec<u32> = rows.map(|&name| names.intern(log, name, fresh)).collect();
            let projects = scanned.projects.iter();
            let projects: Vec<u32> = projects
                .map(|&name| gerrit.add_project(log, name))
                .collect();
            let rows = commits.absorb(scanned, &rows, &projects, round);
            gerrit.absorb(log, scanned, &projects, &rows, changes, anomalies);
        }
        gerrit.finish(log, commits, changes);
    }
}

impl State {
    /// Applies scanned pieces, which follow each other in the log: what they say about GitHub
    /// beside what they say about git and Gerrit, which have nothing in common.
    pub(crate) fn absorb(&mut self, batch: &[Scanned], round: &mut Round) {
        for scanned in batch {
            self.records += scanned.records;
            self.anomalies.add(&scanned.anomalies);
            self.position = scanned.end;
        }
        let log = &self.log;
        let mut history = History {
            log,
            names: (&mut self.names, &mut round.names),
            commits: (&mut self.commits, &mut round.commits),
            gerrit: (&mut self.gerrit, &mut round.gerrit),
        };
        let github = &mut self.github;
        let issues = &mut round.issues;
        let (mut of_issues, mut of_refs) = (Anomalies::default(), Anomalies::default());
        rayon::join(
            || history.absorb(batch, &mut of_refs),
            || issues.extend(github.absorb(log, batch, &mut of_issues)),
        );
        self.anomalies.add(&of_refs);
        self.anomalies.add(&of_issues);
    }

    /// Completes what needs the whole round.
    pub(crate) fn complete(&mut self, mut round: Round) -> Touched {
        if round.commits.disturbed {
            round.gerrit.dirty.extend(self.gerrit.unfinished());
        }
        self.gerrit
            .finish(&self.log, &self.commits, &mut round.gerrit);
        self.gerrit.list_fresh(&mut round.gerrit);
        for _ in &round.gerrit.dirty {
            self.anomalies.count(super::Anomaly::BrokenMeta);
        }
        self.commits.settle(&round.commits);
        let sorted = |rows: HashSet<u32>| {
            let mut rows: Vec<u32> = rows.into_iter().collect();
            rows.sort_unstable();
            rows
        };
        let mut commits = round.commits.filled;
        commits.sort_unstable();
        commits.dedup();
        Touched {
            issues: sorted(round.issues),
            cls: sorted(round.gerrit.touched_cls),
            refs: sorted(round.gerrit.touched_refs),
            commits,
        }
    }
}
