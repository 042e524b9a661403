//! A git repository and nothing else: commits, branches and tags, from any URL.

use std::collections::BTreeMap;

use super::git::refs_mutation;
use super::remote::{GitRemote, RemoteRef};
use super::{HostReader, Progress, Step, SyncError, Target};
use crate::pb::{GitMutation, GitRepo, Mutation};
use crate::{GitHash, View};

/// Commits written at a time.
const BATCH: usize = 1000;

/// Keeps the corpus in step with a git repository.
///
/// Commits go into the log as those of a plain repository; branches and tags as refs of a
/// project that is named after the URL ([`Target::git_project`]). A tag is said to point at its
/// commit. Rewound branches and deleted refs are noticed by every comparison; commits that no
/// ref reaches any more stay in the log.
#[derive(Debug)]
pub struct PlainGit<R> {
    name: String,
    project: String,
    remote: R,
    plan: Option<Plan>,
    progress: Progress,
}

/// What one comparison found to do.
#[derive(Debug)]
struct Plan {
    /// Not written yet, the last first.
    commits: Vec<GitHash>,
    /// Where refs are to point when all commits are written.
    wanted: BTreeMap<String, GitHash>,
    refs_written: bool,
}

impl<R: GitRemote> PlainGit<R> {
    /// The repository behind `remote`.
    pub fn new(remote: R) -> Self {
        Self {
            name: format!("git:{}", remote.url()),
            project: Target::git_project(remote.url()),
            remote,
            plan: None,
            progress: Progress::default(),
        }
    }

    /// The project under which its refs are found in a view.
    pub fn project(&self) -> &str {
        &self.project
    }

    fn plan(&mut self, view: &View) -> Result<Plan, SyncError> {
        self.progress.what = "refs";
        self.progress.requests += 1;
        let listed = self.remote.list()?;
        let here = known_refs(view, &self.project);
        // Listed beside the tag itself, so that it need not be fetched to be compared.
        let mut wanted: BTreeMap<String, GitHash> = BTreeMap::new();
        let mut changed: Vec<RemoteRef> = Vec::new();
        let peeled: BTreeMap<&str, GitHash> = listed
            .iter()
            .filter_map(|one| Some((one.name.strip_suffix("^{}")?, one.hash)))
            .collect();
        for one in listed.iter().filter(|one| !one.name.ends_with("^{}")) {
            let target = peeled.get(one.name.as_str()).copied().unwrap_or(one.hash);
            if here.get(&one.name) == Some(&target) {
                wanted.insert(one.name.clone(), target);
            } else {
                changed.push(one.clone());
            }
        }
        let listed: std::collections::BTreeSet<&str> =
            listed.iter().map(|one| one.name.as_str()).collect();
        let gone: Vec<String> = here
            .keys()
            .filter(|name| !listed.contains(name.as_str()))
            .cloned()
            .collect();
        // First, because a name may have become a folder of names.
        self.remote.forget(&gone)?;
        if !changed.is_empty() {
            self.progress.what = "objects";
            self.progress.requests += 1;
            let lost = self.remote.fetch(&changed)?;
            changed.retain(|one| !lost.contains(one));
        }
        let mut tips = Vec::new();
        for one in changed {
            // A ref may point at a file or a folder: those are no part of a history.
            if let Some(commit) = self.remote.peel(one.hash)? {
                tips.push(commit);
                wanted.insert(one.name, commit);
            }
        }
        // What a log written by others left out.
        let git = view.git();
        tips.extend(git.commits().filter(|c| !c.is_known()).map(|c| c.hash()));
        let is_known = |hash| git.try_commit(hash).is_some_and(|commit| commit.is_known());
        let mut commits = self.remote.walk(&tips, &is_known)?;
        commits.reverse();
        self.progress.what = "commits";
        self.progress.done = 0;
        self.progress.total = Some(commits.len() as u64);
        Ok(Plan {
            commits,
            wanted,
            refs_written: false,
        })
    }

    /// The next commits of the plan as mutations.
    fn commits(&mut self) -> Result<Vec<Mutation>, SyncError> {
        let Some(plan) = &mut self.plan else {
            return Ok(Vec::new());
        };
        let from = plan.commits.len().saturating_sub(BATCH);
        let mut batch: Vec<(GitHash, GitHash)> =
            plan.commits[from..].iter().map(|&id| (id, id)).collect();
        batch.reverse();
        let read = self.remote.read(&batch)?;
        plan.commits.truncate(from);
        self.progress.done += batch.len() as u64;
        let repo = GitRepo {
            go_repo: self.project.clone(),
        };
        let mutation = |commit| Mutation {
            git: Some(GitMutation {
                repo: Some(repo.clone()),
                commit: Some(commit),
            }),
            ..Mutation::default()
        };
        Ok(read.into_iter().map(mutation).collect())
    }
}

/// Where the refs of a project point as a view has it; not those of changes.
pub(super) fn known_refs(view: &View, project: &str) -> BTreeMap<String, GitHash> {
    let (host, name) = project.split_once('/').unwrap_or((project, ""));
    let Ok(project) = view.gerrit().project(host, name) else {
        return BTreeMap::new();
    };
    let refs = project.refs();
    refs.map(|found| (found.name().to_owned(), found.hash()))
        .collect()
}

impl<R: GitRemote> HostReader for PlainGit<R> {
    fn name(&self) -> &str {
        &self.name
    }

    fn step(&mut self, view: &View) -> Result<Step, SyncError> {
        let plan = match self.plan.take() {
            Some(plan) => plan,
            None => self.plan(view)?,
        };
        let plan = self.plan.insert(plan);
        if !plan.commits.is_empty() {
            return Ok(Step::Write(self.commits()?));
        }
        if !std::mem::replace(&mut plan.refs_written, true) {
            let here = known_refs(view, &self.project);
            if let Some(refs) = refs_mutation(self.project.clone(), &here, &plan.wanted) {
                return Ok(Step::Write(vec![refs]));
            }
        }
        self.plan = None;
        Ok(Step::Done)
    }

    fn restart(&mut self, _expected: bool) {
        self.plan = None;
    }

    fn progress(&self) -> Progress {
        self.progress.clone()
    }
}
