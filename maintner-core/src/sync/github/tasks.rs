//! What is to be asked, in order.

use std::collections::HashSet;

use super::diff::Repo;
use super::machine::Asked;
use crate::pb::GithubReview;

/// A list that is read page by page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Page(pub(super) u32);

/// One thing to do. Those without a request need only the view.
#[derive(Debug)]
pub(super) enum Task {
    Labels(Page),
    Milestones(Page),
    /// Issues by time of change, as far as the notes say; `sweep`: all of them.
    Issues,
    Sweep(super::keyset::Keyset, HashSet<i32>),
    /// Whether it is time to list all issues: known only after GitHub told its clock.
    Consider,
    /// After all issues were listed: numbers in between that were not.
    Missing,
    Comments,
    Events(Page),
    CodeComments,
    /// Heads of open pull requests, what changed last first.
    Pulls(Page),
    /// Which comments of these issues were minimised.
    Minimized(Asked),
    /// Which issues are to be asked about for that.
    FindMinimized,
    /// One issue, of which it is not known whether it is still there.
    Check {
        number: i32,
        /// Where a redirection led.
        place: Option<String>,
    },
    /// All comments of one issue, to find those that are gone.
    IssueComments {
        number: i32,
        page: Page,
        seen: HashSet<i64>,
    },
    /// Whether a comment that a list lacks is really gone.
    Confirm {
        number: i32,
        comment: i64,
    },
    IssueEvents {
        number: i32,
        page: Page,
    },
    Reviews {
        number: i32,
        page: Page,
        found: Vec<GithubReview>,
    },
    /// Events of all open issues: lists of events that changed while they were read may have
    /// had gaps.
    OpenEvents,
    /// Counts that do not match, changes that need a second look.
    Doubts,
    /// Pull requests whose reviews are older than their last change.
    StaleReviews,
    /// Says of each issue up to when it is known.
    Settle,
}

impl Task {
    /// One word for people.
    pub(super) fn what(&self) -> &'static str {
        match self {
            Self::Labels(_) => "labels",
            Self::Milestones(_) => "milestones",
            Self::Issues
            | Self::Consider
            | Self::Sweep(..)
            | Self::Missing
            | Self::Check { .. } => "issues",
            Self::Comments
            | Self::IssueComments { .. }
            | Self::Confirm { .. }
            | Self::Minimized(_)
            | Self::FindMinimized => "comments",
            Self::Pulls(_) => "heads",
            Self::Events(_) | Self::IssueEvents { .. } | Self::OpenEvents => "events",
            Self::CodeComments => "comments on code",
            Self::Reviews { .. } | Self::StaleReviews => "reviews",
            Self::Doubts | Self::Settle => "the end",
        }
    }

    /// Under which name an answer's tag is kept; only lists that are asked for every time.
    pub(super) fn slot(&self) -> Option<String> {
        match self {
            Self::Labels(page) => Some(format!("labels/{}", page.0)),
            Self::Milestones(page) => Some(format!("milestones/{}", page.0)),
            Self::Issues => Some("issues".into()),
            Self::Comments => Some("comments".into()),
            Self::CodeComments => Some("code-comments".into()),
            Self::Events(Page(1)) => Some("events".into()),
            Self::Pulls(Page(1)) => Some("pulls".into()),
            _ => None,
        }
    }
}

/// Where a repository is found.
pub(super) fn base(repo: &Repo, moved_to: Option<&str>) -> String {
    match moved_to {
        Some(place) => place.to_owned(),
        None => format!("/repos/{}/{}", repo.owner, repo.name),
    }
}
