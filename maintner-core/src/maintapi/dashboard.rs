//! What a dashboard shows of a project.

use tonic::Status;

use super::apipb::{DashCommit, DashRepoHead, DashboardRequest, DashboardResponse, GoRelease};
use super::{Policy, releases};
use crate::View;
use crate::query::{Commit, Project};

const DEFAULT_COMMITS: usize = 30;
const DEFAULT_MIXED: usize = 500;
const MOST_COMMITS: usize = 1000;
/// Commits further back than this are not shown.
const TOO_FAR: usize = 10_000;
const MIXED: &str = "mixed";

pub(super) fn dashboard(
    view: &View,
    policy: &Policy,
    request: &DashboardRequest,
) -> Result<DashboardResponse, Status> {
    let gerrit = view.gerrit();
    let main = gerrit
        .project(&policy.server, &policy.project)
        .map_err(|_| Status::unknown("go gerrit project not found"))?;
    let repo = &request.repo;
    let name = policy.project_of(repo).ok_or_else(|| {
        let known = format!("must be empty, {:?}, or \"golang.org/*\"", policy.project);
        Status::not_found(format!("unknown repo {repo:?}; {known}"))
    })?;
    let project = gerrit
        .project(&policy.server, name)
        .map_err(|_| Status::not_found(format!("repo project {name:?} not found")))?;
    let branches: Vec<String> = main
        .refs()
        .filter_map(|found| found.name().strip_prefix("refs/heads/").map(str::to_owned))
        .collect();
    let branch = match request.branch.as_str() {
        "" => policy.trunk.as_str(),
        branch => branch,
    };
    let mixed = branch == MIXED;
    if !mixed && !branches.iter().any(|known| known == branch) {
        return Err(Status::not_found(format!("unknown branch {branch:?}")));
    }
    let (page, size) = page(request, mixed, branches.len())?;
    let shown = if mixed {
        merged(&project, &branches, size)
    } else {
        let tip = tip(&project, branch);
        let mut commits = history(tip, branch).skip(page * size);
        let before = (page > 0)
            .then(|| history(tip, branch).nth(page * size - 1))
            .flatten();
        let shown = commits.by_ref().take(size).collect();
        Shown {
            commits: shown,
            truncated: commits.next().is_some(),
            before: before.map(|(_, commit)| commit),
        }
    };
    let mut commits: Vec<DashCommit> = shown
        .commits
        .iter()
        .map(|(branch, commit)| dash_commit(commit, branch))
        .collect();
    if name != policy.project {
        let newest = tip(&main, &policy.trunk);
        let before = shown.before.map(|commit| commit.time().seconds());
        pair(&mut commits, newest, before.unwrap_or(i64::MIN));
    }
    let heads = gerrit
        .projects()
        .filter(|project| project.server() == policy.server)
        .filter_map(|project| {
            let head = tip(&project, &policy.trunk).filter(Commit::is_known)?;
            Some(DashRepoHead {
                gerrit_project: project.name().to_owned(),
                commit: Some(dash_commit(&head, "")),
            })
        });
    // The trunk counts as the release that comes next.
    let mut shown_releases = vec![GoRelease {
        branch_name: policy.trunk.clone(),
        branch_commit: main
            .try_ref(&format!("refs/heads/{}", policy.trunk))
            .map_or_else(String::new, |hash| hash.to_string()),
        ..GoRelease::default()
    }];
    shown_releases.extend(releases::supported(&main, policy)?);
    Ok(DashboardResponse {
        commits,
        repo_heads: heads.collect(),
        branches: branches.clone(),
        releases: shown_releases,
        commits_truncated: shown.truncated,
    })
}

/// The page and its size in commits.
fn page(
    request: &DashboardRequest,
    mixed: bool,
    branches: usize,
) -> Result<(usize, usize), Status> {
    let size = usize::try_from(request.max_commits)
        .map_err(|_| Status::invalid_argument("negative max commits"))?;
    let page =
        usize::try_from(request.page).map_err(|_| Status::invalid_argument("invalid page"))?;
    let size = match size {
        0 if mixed => DEFAULT_MIXED,
        0 => DEFAULT_COMMITS,
        size => size.min(MOST_COMMITS),
    };
    if page != 0 && mixed {
        let text = "branch=mixed does not support pagination";
        return Err(Status::invalid_argument(text));
    }
    if page.saturating_mul(size) >= TOO_FAR {
        return Err(Status::invalid_argument("too far back"));
    }
    if mixed && size < branches {
        let text = format!("page size too small for `mixed`: {size} < {branches}");
        return Err(Status::invalid_argument(text));
    }
    Ok((page, size))
}

struct Shown<'v, 'b> {
    commits: Vec<(&'b str, Commit<'v>)>,
    truncated: bool,
    /// The commit that follows the newest one shown, if there is a page before.
    before: Option<Commit<'v>>,
}

fn tip<'v>(project: &Project<'v>, branch: &str) -> Option<Commit<'v>> {
    let hash = project.try_ref(&format!("refs/heads/{branch}"))?;
    project.try_commit(hash)
}

/// A branch's first parents, as far as the log has them.
fn history<'v, 'b>(
    tip: Option<Commit<'v>>,
    branch: &'b str,
) -> impl Iterator<Item = (&'b str, Commit<'v>)> {
    let commits = tip.into_iter().flat_map(|tip| tip.first_parents());
    commits
        .take_while(Commit::is_known)
        .map(move |commit| (branch, commit))
}

/// The newest commits of all branches together.
fn merged<'v, 'b>(project: &Project<'v>, branches: &'b [String], size: usize) -> Shown<'v, 'b> {
    let mut commits: Vec<(&str, Commit<'_>)> = Vec::new();
    let mut truncated = false;
    for branch in branches {
        let oldest = commits.last().map(|(_, commit)| commit.time());
        let mut more = history(tip(project, branch), branch);
        let fresh: Vec<_> = more
            .by_ref()
            .take(size)
            .take_while(|(_, commit)| oldest.is_none_or(|oldest| commit.time() >= oldest))
            .collect();
        truncated |= fresh.len() == size && more.next().is_some();
        commits.extend(fresh);
        commits.sort_by_key(|(_, commit)| std::cmp::Reverse(commit.time()));
        truncated |= commits.len() > size;
        commits.truncate(size);
    }
    Shown {
        commits,
        truncated,
        before: None,
    }
}

fn dash_commit(commit: &Commit<'_>, branch: &str) -> DashCommit {
    let author = commit.author();
    DashCommit {
        commit: commit.hash().to_string(),
        author_name: author.name().to_owned(),
        author_email: author.email().to_owned(),
        commit_time_sec: commit.time().seconds(),
        title: commit.summary().into_owned(),
        branch: branch.to_owned(),
        ..DashCommit::default()
    }
}

/// Tells for each commit, the newest first, which commit of the main project was the newest at
/// its time, and which one before the next commit came (at `before` for the newest).
fn pair(commits: &mut [DashCommit], main: Option<Commit<'_>>, before: i64) {
    let Some(oldest) = commits.iter().map(|commit| commit.commit_time_sec).min() else {
        return;
    };
    let mut mains: Vec<(i64, String)> = Vec::new();
    for (_, commit) in history(main, "") {
        let time = commit.time().seconds();
        mains.push((time, commit.hash().to_string()));
        if time < oldest {
            break;
        }
    }
    // The oldest is the last one, and leaves first.
    for at in (0..commits.len()).rev() {
        let Some((_, hash)) = mains.last() else { break };
        commits[at].go_commit_at_time.clone_from(hash);
        let next = match at.checked_sub(1) {
            Some(newer) => commits[newer].commit_time_sec,
            None => before,
        };
        while mains.len() >= 2 && mains[mains.len() - 2].0 < next {
            mains.pop();
        }
        if let Some((_, hash)) = mains.last() {
            commits[at].go_commit_latest.clone_from(hash);
        }
    }
}
