//! A Gerrit project, over git: branches, tags, patch sets, and the meta commits in which a
//! server keeps votes, messages and states (NoteDb).

mod refs;

use std::collections::{BTreeSet, HashSet};

use self::refs::{KnownRefs, is_of_interest};
use super::remote::{GitRemote, RemoteRef};
use super::{HostReader, Progress, Step, SyncError};
use crate::pb::{GerritMutation, GitCommit, GitRef, Mutation};
use crate::{GitHash, View};

/// Refs fetched and written at a time, as the Go program does.
const BATCH: usize = 250;
/// Commits read and written at a time.
const COMMITS: usize = 1000;

/// Keeps the corpus in step with a Gerrit project.
///
/// Refs follow their commits: a reader of the log never sees a ref without what it points at.
/// Changes and patch sets that the server no longer has are written as deleted refs, which
/// readers of the Go project pass over.
#[derive(Debug)]
pub struct Gerrit<R> {
    name: String,
    project: String,
    remote: R,
    plan: Option<Plan>,
    /// Commits that are known to other projects, and reached from what was written of this one.
    shared: HashSet<GitHash>,
    progress: Progress,
}

/// What one comparison found to do.
#[derive(Debug)]
struct Plan {
    deleted: Vec<String>,
    /// Not looked at yet, the last first.
    changed: Vec<RemoteRef>,
    /// Of the present batch: commits not written yet (and the names under which they go), the
    /// last first.
    commits: Vec<(GitHash, GitHash)>,
    /// Of the present batch.
    refs: Vec<RemoteRef>,
}

impl<R: GitRemote> Gerrit<R> {
    /// The project of this name, `host/project`, behind `remote`.
    pub fn new(project: &str, remote: R) -> Self {
        Self {
            name: format!("gerrit:{project}"),
            project: project.to_owned(),
            remote,
            plan: None,
            shared: HashSet::new(),
            progress: Progress::default(),
        }
    }

    /// Where a project of this name is, unless somebody says otherwise.
    pub fn url(project: &str) -> String {
        format!("https://{project}")
    }

    fn plan(&mut self, view: &View) -> Result<Plan, SyncError> {
        self.progress.what = "refs";
        self.progress.requests += 1;
        let listed = self.remote.list()?;
        let known = KnownRefs::of(view, &self.project);
        let names: HashSet<&str> = listed.iter().map(|one| one.name.as_str()).collect();
        let deleted: BTreeSet<String> = known
            .names()
            .filter(|name| !names.contains(name.as_str()))
            .collect();
        let changed = listed
            .iter()
            .filter(|one| is_of_interest(&one.name) && known.get(&one.name) != Some(one.hash));
        let mut changed: Vec<RemoteRef> = changed.cloned().collect();
        self.progress.done = 0;
        self.progress.total = Some(changed.len() as u64);
        changed.reverse();
        let deleted: Vec<String> = deleted.into_iter().collect();
        self.remote.forget(&deleted)?;
        Ok(Plan {
            deleted,
            changed,
            commits: Vec::new(),
            refs: Vec::new(),
        })
    }

    /// Fetches the next refs, and finds the commits that the log lacks for them.
    fn begin_batch(&mut self, view: &View, plan: &mut Plan) -> Result<(), SyncError> {
        let from = plan.changed.len().saturating_sub(BATCH);
        let mut batch = plan.changed.split_off(from);
        batch.reverse();
        self.progress.what = "refs";
        self.progress.done += batch.len() as u64;
        self.progress.requests += 1;
        let lost = self.remote.fetch(&batch)?;
        let peeled = |name: &str| name.strip_suffix("^{}").map(str::to_owned);
        batch.retain(|one| {
            let tag = peeled(&one.name).unwrap_or_else(|| one.name.clone());
            !lost.iter().any(|gone| gone.name == tag)
        });
        let mut tips = Vec::new();
        let mut tags = Vec::new();
        let mut kept = Vec::new();
        for one in batch {
            // Refs to files and folders are no part of a history; Go passes over them too.
            let Some(commit) = self.remote.peel(one.hash)? else {
                continue;
            };
            tips.push(commit);
            if commit != one.hash && !is_known(view, one.hash) {
                tags.push((commit, one.hash));
            }
            kept.push(one);
        }
        let git = view.git();
        // What a log written by others left out.
        tips.extend(git.commits().filter(|c| !c.is_known()).map(|c| c.hash()));
        let found = self.find(view, &tips)?;
        plan.commits = found.into_iter().map(|id| (id, id)).chain(tags).collect();
        plan.commits.reverse();
        plan.refs = kept;
        Ok(())
    }

    /// The commits that the project lacks in the log. Those that came with another project count
    /// only where this one's refs reach them already.
    fn find(&mut self, view: &View, tips: &[GitHash]) -> Result<Vec<GitHash>, SyncError> {
        let own = own_commit(view, &self.project);
        let foreign = std::cell::Cell::new(false);
        let found = self.remote.walk(tips, &|hash| {
            let known = own(hash) || self.shared.contains(&hash);
            foreign.set(foreign.get() || (!known && is_known(view, hash)));
            known
        })?;
        if !foreign.get() || !self.shared.is_empty() {
            return Ok(found);
        }
        let reached: Vec<GitHash> = KnownRefs::of(view, &self.project).hashes().collect();
        self.shared = self
            .remote
            .walk(&reached, &|_| false)?
            .into_iter()
            .collect();
        let shared = &self.shared;
        self.remote
            .walk(tips, &|hash| own(hash) || shared.contains(&hash))
    }

    fn mutation(&self, change: GerritMutation) -> Mutation {
        Mutation {
            gerrit: Some(GerritMutation {
                project: self.project.clone(),
                ..change
            }),
            ..Mutation::default()
        }
    }

    fn of_commit(&self, commit: GitCommit) -> Mutation {
        self.mutation(GerritMutation {
            commits: vec![commit],
            ..GerritMutation::default()
        })
    }

    fn next(&mut self, view: &View, plan: &mut Plan) -> Result<Step, SyncError> {
        if !plan.deleted.is_empty() {
            let deleted_refs = std::mem::take(&mut plan.deleted);
            return Ok(Step::Write(vec![self.mutation(GerritMutation {
                deleted_refs,
                ..GerritMutation::default()
            })]));
        }
        if !plan.commits.is_empty() {
            let from = plan.commits.len().saturating_sub(COMMITS);
            let mut batch = plan.commits.split_off(from);
            batch.reverse();
            let read = self.remote.read(&batch)?;
            let read = read.into_iter().map(|commit| self.of_commit(commit));
            return Ok(Step::Write(read.collect()));
        }
        if !plan.refs.is_empty() {
            let refs = std::mem::take(&mut plan.refs).into_iter();
            let refs = refs.map(|one| GitRef {
                r#ref: one.name,
                sha1: one.hash.to_string(),
            });
            return Ok(Step::Write(vec![self.mutation(GerritMutation {
                refs: refs.collect(),
                ..GerritMutation::default()
            })]));
        }
        if plan.changed.is_empty() {
            return Ok(Step::Done);
        }
        self.begin_batch(view, plan)?;
        Ok(Step::Again)
    }
}

fn is_known(view: &View, hash: GitHash) -> bool {
    let found = view.git().try_commit(hash);
    found.is_some_and(|commit| commit.is_known())
}

/// Whether a commit is known as one of this project's.
fn own_commit<'v>(view: &'v View, project: &str) -> impl Fn(GitHash) -> bool + use<'v> {
    let (host, name) = project.split_once('/').unwrap_or((project, ""));
    let project = view.gerrit().project(host, name).ok();
    move |hash| {
        let commit = project.and_then(|project| project.try_commit(hash));
        commit.is_some_and(|commit| commit.is_known())
    }
}

impl<R: GitRemote> HostReader for Gerrit<R> {
    fn name(&self) -> &str {
        &self.name
    }

    fn step(&mut self, view: &View) -> Result<Step, SyncError> {
        let mut plan = match self.plan.take() {
            Some(plan) => plan,
            None => self.plan(view)?,
        };
        let step = self.next(view, &mut plan)?;
        if step != Step::Done {
            self.plan = Some(plan);
        }
        Ok(step)
    }

    fn restart(&mut self, _expected: bool) {
        self.plan = None;
    }

    fn progress(&self) -> Progress {
        self.progress.clone()
    }
}
