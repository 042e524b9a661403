//! The changes that wait for a try run.

use std::future::Future;
use std::pin::Pin;

use regex::Regex;
use tonic::Status;

use super::apipb::{GerritTryWorkItem, GoRelease, MajorMinor, TryVoteMessage};
use super::{Policy, releases};
use crate::View;
use crate::query::Project;

/// A change as the review server tells of it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct WaitingChange {
    /// The project without its server.
    pub project: String,
    /// The change's number.
    pub number: i32,
    /// The branch without `refs/heads/`.
    pub branch: String,
    /// The commit of the current patch set, if the server said it.
    pub commit: Option<String>,
    /// The number of the current patch set.
    pub patch_set: i32,
    /// What was said on the change, the oldest first.
    pub messages: Vec<WaitingMessage>,
}

/// Something said on a change.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct WaitingMessage {
    /// The account that said it.
    pub author_id: i64,
    /// When, as the server writes it.
    pub date: String,
    /// The patch set it was said on.
    pub patch_set: i32,
    /// The text.
    pub text: String,
}

/// A comment on a patch set as a whole.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Comment {
    /// The account that made it.
    pub author_id: i64,
    /// When, as the server writes it.
    pub date: String,
    /// The patch set.
    pub patch_set: i32,
    /// The text.
    pub text: String,
}

/// The review server cannot be asked.
pub type SearchError = Box<dyn std::error::Error + Send + Sync>;

type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, SearchError>> + Send + 'a>>;

/// The review server, as far as it must be asked which changes wait.
pub trait ChangeSearch: Send + Sync {
    /// All open changes that have the vote and no result.
    fn waiting(&self) -> Answer<'_, Vec<WaitingChange>>;

    /// The comments on the patch sets of a change as a whole.
    fn comments<'a>(&'a self, project: &'a str, number: i32) -> Answer<'a, Vec<Comment>>;
}

/// Which commits of the main project a change is to be tried with.
struct Versions {
    supported: Vec<GoRelease>,
    trunk: String,
    trunk_commit: String,
    devel: MajorMinor,
}

/// All items, by commit.
pub(super) async fn find(
    view: &View,
    policy: &Policy,
    search: &dyn ChangeSearch,
) -> Result<Vec<GerritTryWorkItem>, Status> {
    let failed = |error: SearchError| Status::unknown(error.to_string());
    let waiting = search.waiting().await.map_err(failed)?;
    let versions = versions(view, policy)?;
    let mut items = Vec::new();
    for change in waiting {
        if !is_known(view, policy, &change) {
            continue;
        }
        let comments = search.comments(&change.project, change.number).await;
        let comments = comments.map_err(failed)?;
        items.extend(item(view, policy, &versions, &change, &comments));
    }
    items.sort_by(|a, b| a.commit.cmp(&b.commit));
    Ok(items)
}

fn is_known(view: &View, policy: &Policy, change: &WaitingChange) -> bool {
    let gerrit = view.gerrit();
    let project = gerrit.project(&policy.server, &change.project);
    project.is_ok_and(|project| project.try_cl(change.number).is_some())
}

fn versions(view: &View, policy: &Policy) -> Result<Versions, Status> {
    let gerrit = view.gerrit();
    let main = gerrit
        .project(&policy.server, &policy.project)
        .map_err(|_| Status::not_found("go gerrit project not found"))?;
    let supported = releases::supported(&main, policy)?;
    let newest = supported.first().map(|newest| (newest.major, newest.minor));
    let (major, minor) = newest.unwrap_or_default();
    Ok(Versions {
        devel: MajorMinor {
            major,
            minor: minor + 1,
        },
        trunk_commit: head(&main, &policy.trunk),
        trunk: policy.trunk.clone(),
        supported,
    })
}

fn head(project: &Project<'_>, branch: &str) -> String {
    let found = project.try_ref(&format!("refs/heads/{branch}"));
    found.map_or_else(String::new, |hash| hash.to_string())
}

/// One item; nothing when its branch belongs to a release that there is not.
fn item(
    view: &View,
    policy: &Policy,
    versions: &Versions,
    change: &WaitingChange,
    comments: &[Comment],
) -> Option<GerritTryWorkItem> {
    let gerrit = view.gerrit();
    let project = gerrit.project(&policy.server, &change.project).ok()?;
    let cl = project.try_cl(change.number)?;
    let mut item = GerritTryWorkItem {
        project: change.project.clone(),
        branch: change.branch.clone(),
        change_id: cl.change_id().unwrap_or_default(),
        commit: cl.commit().hash().to_string(),
        version: cl.version(),
        try_message: messages(policy, change, comments),
        author_email: cl.commit().author().email().to_owned(),
        ..GerritTryWorkItem::default()
    };
    if let Some(commit) = &change.commit {
        item.commit.clone_from(commit);
        item.version = change.patch_set;
    }
    let mut with = |commit: &str, branch: &str, version: MajorMinor| {
        item.go_commit.push(commit.to_owned());
        item.go_branch.push(branch.to_owned());
        item.go_version.push(version);
    };
    if change.project == policy.project {
        let release = (policy.release_branch)(&change.branch);
        let version = release.map(|(major, minor)| MajorMinor {
            major: major.into(),
            minor: minor.into(),
        });
        item.go_version = vec![version.unwrap_or(versions.devel)];
    } else if let Some((major, minor)) = (policy.internal_branch)(&change.branch) {
        let wanted = |release: &&GoRelease| {
            (release.major, release.minor) == (i32::from(major), i32::from(minor))
        };
        let release = versions.supported.iter().find(wanted)?;
        let version = MajorMinor {
            major: release.major,
            minor: release.minor,
        };
        with(&release.branch_commit, &release.branch_name, version);
    } else {
        with(&versions.trunk_commit, &versions.trunk, versions.devel);
        let with_all = policy.tried_with_all.iter();
        let all = change.branch == policy.trunk
            || with_all
                .filter(|(project, _)| *project == change.project)
                .any(|(_, beginning)| change.branch.starts_with(beginning));
        for release in versions.supported.iter().filter(|_| all) {
            let version = MajorMinor {
                major: release.major,
                minor: release.minor,
            };
            with(&release.branch_commit, &release.branch_name, version);
        }
    }
    Some(item)
}

/// What voters wrote after `TRY=`, in comments made together with their votes.
fn messages(policy: &Policy, change: &WaitingChange, comments: &[Comment]) -> Vec<TryVoteMessage> {
    let line = Regex::new(r"(?m)^TRY=(.*)$").expect("the expression is valid");
    let mut found: Vec<TryVoteMessage> = Vec::new();
    for message in &change.messages {
        let first = message.text.lines().next().unwrap_or_default();
        if !first.starts_with("Patch Set ") || !first.contains(&policy.try_vote) {
            continue;
        }
        let last = found.last().map_or(0, |last| last.version);
        for comment in comments {
            let together = comment.date == message.date
                && comment.author_id == message.author_id
                && comment.patch_set == message.patch_set;
            if !together || message.patch_set < last {
                continue;
            }
            if let Some(text) = line.captures(&comment.text) {
                found.push(TryVoteMessage {
                    message: text[1].to_owned(),
                    author_id: message.author_id,
                    version: message.patch_set,
                });
            }
        }
    }
    found
}
