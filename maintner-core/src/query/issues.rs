//! Issues of a repository, filtered.

use super::{Issue, Repo, UnixTime};

/// Issues and pull requests of a repository in ascending order of their numbers.
///
/// Filters may be combined; tombstones are left out unless asked for.
///
/// ```
/// # let corpus = maintner_core::sample::corpus();
/// let view = corpus.view();
/// let repo = view.github().repo("golang/go")?;
/// assert_eq!(repo.issues().count(), 3);
/// assert_eq!(repo.issues().only_issues().open().count(), 1);
/// assert_eq!(repo.issues().author("gopher").closed().count(), 1);
/// # Ok::<(), maintner_core::query::NotFound>(())
/// ```
#[derive(Debug, Clone)]
pub struct Issues<'v> {
    repo: Repo<'v>,
    rows: std::slice::Iter<'v, u32>,
    tombstones: bool,
    closed: Option<bool>,
    pull_request: Option<bool>,
    /// Of each set, the issue must have one label.
    labels: Vec<Vec<i64>>,
    milestones: Option<Vec<i64>>,
    authors: Option<Vec<i64>>,
    updated_since: Option<i64>,
}

impl<'v> Issues<'v> {
    pub(super) fn new(repo: Repo<'v>) -> Self {
        Self {
            repo,
            rows: repo.rows().iter(),
            tombstones: false,
            closed: None,
            pull_request: None,
            labels: Vec::new(),
            milestones: None,
            authors: None,
            updated_since: None,
        }
    }

    /// Also numbers that the log says do not exist.
    #[must_use]
    pub fn with_tombstones(mut self) -> Self {
        self.tombstones = true;
        self
    }

    /// Open ones only.
    #[must_use]
    pub fn open(mut self) -> Self {
        self.closed = Some(false);
        self
    }

    /// Closed ones only.
    #[must_use]
    pub fn closed(mut self) -> Self {
        self.closed = Some(true);
        self
    }

    /// No pull requests.
    #[must_use]
    pub fn only_issues(mut self) -> Self {
        self.pull_request = Some(false);
        self
    }

    /// Pull requests only.
    #[must_use]
    pub fn only_pull_requests(mut self) -> Self {
        self.pull_request = Some(true);
        self
    }

    /// Those with the label of this name; of several calls, those with all labels.
    #[must_use]
    pub fn label(mut self, name: &str) -> Self {
        let named = self.repo.labels().filter(|label| label.name() == name);
        self.labels.push(named.map(|label| label.id()).collect());
        self
    }

    /// Those in the milestone of this title.
    #[must_use]
    pub fn milestone(mut self, title: &str) -> Self {
        let titled = self
            .repo
            .milestones()
            .filter(|milestone| milestone.title() == title);
        self.milestones = Some(titled.map(|milestone| milestone.id()).collect());
        self
    }

    /// Those written by the user with this login.
    #[must_use]
    pub fn author(mut self, login: &str) -> Self {
        let users = super::GitHub::new(self.repo.state()).users();
        let named = users.filter(|user| user.login() == login);
        self.authors = Some(named.map(|user| user.id()).collect());
        self
    }

    /// Those that changed at `time` or later, as GitHub sees it.
    #[must_use]
    pub fn updated_since(mut self, time: UnixTime) -> Self {
        self.updated_since = Some(time.seconds());
        self
    }

    fn wants(&self, issue: &Issue<'v>) -> bool {
        let row = issue.row();
        (self.tombstones || issue.exists())
            && self.closed.is_none_or(|closed| issue.is_closed() == closed)
            && self
                .pull_request
                .is_none_or(|wanted| issue.is_pull_request() == wanted)
            && self.updated_since.is_none_or(|since| row.updated >= since)
            && self
                .milestones
                .as_ref()
                .is_none_or(|all| all.contains(&row.milestone))
            && self
                .authors
                .as_ref()
                .is_none_or(|all| all.contains(&row.user))
            && self
                .labels
                .iter()
                .all(|any| any.iter().any(|&label| issue.has_label_id(label)))
    }
}

impl<'v> Iterator for Issues<'v> {
    type Item = Issue<'v>;

    fn next(&mut self) -> Option<Issue<'v>> {
        loop {
            let issue = Issue::new(self.repo.state(), *self.rows.next()?);
            if self.wants(&issue) {
                return Some(issue);
            }
        }
    }
}
