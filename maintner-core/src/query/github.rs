//! Repositories, their labels and milestones, and users.

use std::fmt;

use super::{Issue, Issues, NotFound};
use crate::corpus::apply::State;

/// Everything from GitHub.
#[derive(Debug, Clone, Copy)]
pub struct GitHub<'v> {
    state: &'v State,
}

impl<'v> GitHub<'v> {
    pub(crate) fn new(state: &'v State) -> Self {
        Self { state }
    }

    /// The repository `owner/name`, exactly as the log spells it.
    ///
    /// ```
    /// # let corpus = maintner_core::sample::corpus();
    /// let view = corpus.view();
    /// let repo = view.github().repo("golang/go")?;
    /// assert_eq!((repo.owner(), repo.name()), ("golang", "go"));
    /// assert!(view.github().repo("golang/gone").is_err());
    /// # Ok::<(), maintner_core::query::NotFound>(())
    /// ```
    ///
    /// # Errors
    /// [`NotFound`].
    pub fn repo(&self, full_name: &str) -> Result<Repo<'v>, NotFound> {
        let (owner, name) = full_name.split_once('/').unwrap_or(("", full_name));
        self.try_repo(owner, name)
            .ok_or_else(|| NotFound::new("GitHub repository", full_name))
    }

    /// The repository of an owner.
    ///
    /// ```
    /// # let corpus = maintner_core::sample::corpus();
    /// assert!(corpus.view().github().try_repo("golang", "go").is_some());
    /// ```
    pub fn try_repo(&self, owner: &str, name: &str) -> Option<Repo<'v>> {
        let row = self.state.github.find_repo(&self.state.log, owner, name)?;
        Some(Repo {
            state: self.state,
            row,
        })
    }

    /// All repositories, by owner, then name.
    ///
    /// ```
    /// # let corpus = maintner_core::sample::corpus();
    /// let view = corpus.view();
    /// let names: Vec<String> = view.github().repos().map(|repo| repo.to_string()).collect();
    /// assert_eq!(names, ["golang/go"]);
    /// ```
    pub fn repos(&self) -> impl Iterator<Item = Repo<'v>> + use<'v> {
        let state = self.state;
        let mut repos: Vec<_> = (0..state.github.repos.len())
            .map(|row| Repo { state, row })
            .collect();
        repos.sort_by_key(|repo| (repo.owner(), repo.name()));
        repos.into_iter()
    }

    /// The user with this id.
    ///
    /// ```
    /// # let corpus = maintner_core::sample::corpus();
    /// let view = corpus.view();
    /// assert_eq!(view.github().try_user(100).map(|user| user.login()), Some("gopher"));
    /// ```
    pub fn try_user(&self, id: i64) -> Option<User<'v>> {
        self.state.github.users.find(id)?;
        Some(User {
            state: self.state,
            id,
        })
    }

    /// All users whose login is known, in order of appearance in the log.
    ///
    /// ```
    /// # let corpus = maintner_core::sample::corpus();
    /// assert_eq!(corpus.view().github().users().count(), 2);
    /// ```
    pub fn users(&self) -> impl Iterator<Item = User<'v>> + use<'v> {
        let state = self.state;
        state.github.users.rows.iter().map(move |account| User {
            state,
            id: account.id,
        })
    }

    /// The short name of a team; teams appear in review requests.
    ///
    /// ```
    /// # let corpus = maintner_core::sample::corpus();
    /// assert_eq!(corpus.view().github().try_team(7), None);
    /// ```
    pub fn try_team(&self, id: i64) -> Option<&'v str> {
        let team = self.state.github.teams.find(id)?;
        Some(self.state.log.str(team.name))
    }
}

/// A repository.
#[derive(Clone, Copy)]
pub struct Repo<'v> {
    state: &'v State,
    row: u32,
}

impl fmt::Display for Repo<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.owner(), self.name())
    }
}

impl fmt::Debug for Repo<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Repo({self})")
    }
}

impl<'v> Repo<'v> {
    pub(super) fn new(state: &'v State, row: u32) -> Self {
        Self { state, row }
    }

    pub(super) fn state(&self) -> &'v State {
        self.state
    }

    pub(super) fn rows(&self) -> &'v [u32] {
        self.state.github.repo_issues.get(self.row)
    }

    /// Account or organisation.
    pub fn owner(&self) -> &'v str {
        self.state
            .log
            .str(self.state.github.repos.get(self.row).owner)
    }

    /// Name without the owner.
    pub fn name(&self) -> &'v str {
        self.state
            .log
            .str(self.state.github.repos.get(self.row).name)
    }

    /// The issue or pull request with this number.
    ///
    /// ```
    /// # let corpus = maintner_core::sample::corpus();
    /// let view = corpus.view();
    /// let issue = view.github().repo("golang/go")?.issue(3)?;
    /// assert_eq!(issue.title(), "cmd/go: builds too fast");
    /// # Ok::<(), maintner_core::query::NotFound>(())
    /// ```
    ///
    /// # Errors
    /// [`NotFound`]; tombstones are found.
    pub fn issue(&self, number: i32) -> Result<Issue<'v>, NotFound> {
        self.try_issue(number)
            .ok_or_else(|| NotFound::new("issue", format!("{self}#{number}")))
    }

    /// The issue or pull request with this number, if the log ever named it.
    ///
    /// ```
    /// # let corpus = maintner_core::sample::corpus();
    /// let view = corpus.view();
    /// let repo = view.github().repo("golang/go")?;
    /// assert!(repo.try_issue(99).is_none());
    /// assert!(repo.try_issue(7).is_some_and(|issue| !issue.exists()), "a tombstone");
    /// # Ok::<(), maintner_core::query::NotFound>(())
    /// ```
    pub fn try_issue(&self, number: i32) -> Option<Issue<'v>> {
        let row = self.state.github.find_issue(self.row, number)?;
        Some(Issue::new(self.state, row))
    }

    /// The issues and pull requests, by number; see [`Issues`] for filters.
    ///
    /// ```
    /// # let corpus = maintner_core::sample::corpus();
    /// let view = corpus.view();
    /// let open = view.github().repo("golang/go")?.issues().open().label("NeedsFix");
    /// assert!(open.map(|issue| issue.number()).eq([3]));
    /// # Ok::<(), maintner_core::query::NotFound>(())
    /// ```
    pub fn issues(&self) -> Issues<'v> {
        Issues::new(*self)
    }

    /// All labels, by id.
    ///
    /// ```
    /// # let corpus = maintner_core::sample::corpus();
    /// let view = corpus.view();
    /// let names: Vec<&str> =
    ///     view.github().repo("golang/go")?.labels().map(|label| label.name()).collect();
    /// assert_eq!(names, ["NeedsFix", "Performance"]);
    /// # Ok::<(), maintner_core::query::NotFound>(())
    /// ```
    pub fn labels(&self) -> impl Iterator<Item = Label<'v>> + use<'v> {
        let (state, repo) = (self.state, self.row);
        let rows = 0..state.github.labels.len();
        let mut labels: Vec<_> = rows
            .filter(|&row| state.github.labels.get(row).repo == repo)
            .map(|row| Label { state, row })
            .collect();
        labels.sort_by_key(Label::id);
        labels.into_iter()
    }

    /// All milestones, by id.
    ///
    /// ```
    /// # let corpus = maintner_core::sample::corpus();
    /// let view = corpus.view();
    /// let milestone = view.github().repo("golang/go")?.milestones().next();
    /// assert_eq!(milestone.map(|milestone| milestone.title()), Some("Go1.16"));
    /// # Ok::<(), maintner_core::query::NotFound>(())
    /// ```
    pub fn milestones(&self) -> impl Iterator<Item = Milestone<'v>> + use<'v> {
        let (state, repo) = (self.state, self.row);
        let rows = 0..state.github.milestones.len();
        let mut milestones: Vec<_> = rows
            .filter(|&row| state.github.milestones.get(row).repo == repo)
            .map(|row| Milestone { state, row })
            .collect();
        milestones.sort_by_key(Milestone::id);
        milestones.into_iter()
    }
}

/// A label of a repository.
#[derive(Debug, Clone, Copy)]
pub struct Label<'v> {
    state: &'v State,
    row: u32,
}

impl<'v> Label<'v> {
    pub(super) fn new(state: &'v State, row: u32) -> Self {
        Self { state, row }
    }

    /// GitHub's id.
    pub fn id(&self) -> i64 {
        self.state.github.labels.get(self.row).id
    }

    /// Its present name.
    pub fn name(&self) -> &'v str {
        self.state
            .log
            .str(self.state.github.labels.get(self.row).name)
    }
}

/// A milestone of a repository.
#[derive(Debug, Clone, Copy)]
pub struct Milestone<'v> {
    state: &'v State,
    row: u32,
}

impl<'v> Milestone<'v> {
    pub(super) fn new(state: &'v State, row: u32) -> Self {
        Self { state, row }
    }

    /// GitHub's id.
    pub fn id(&self) -> i64 {
        self.state.github.milestones.get(self.row).id
    }

    /// Number within the repository.
    pub fn number(&self) -> i64 {
        self.state.github.milestones.get(self.row).number
    }

    /// Its present title.
    pub fn title(&self) -> &'v str {
        self.state
            .log
            .str(self.state.github.milestones.get(self.row).title)
    }

    /// Whether it is closed.
    pub fn is_closed(&self) -> bool {
        self.state.github.milestones.get(self.row).closed != 0
    }
}

/// A user; known by id even where the log never says the login.
#[derive(Clone, Copy)]
pub struct User<'v> {
    state: &'v State,
    id: i64,
}

impl fmt::Debug for User<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "User({} {})", self.id, self.login())
    }
}

impl PartialEq for User<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl<'v> User<'v> {
    /// Nobody for id 0.
    pub(super) fn stored(state: &'v State, id: i64) -> Option<Self> {
        (id != 0).then_some(Self { state, id })
    }

    /// GitHub's id.
    pub fn id(&self) -> i64 {
        self.id
    }

    /// The last known login; empty for users that appear in events only.
    pub fn login(&self) -> &'v str {
        let account = self.state.github.users.find(self.id);
        account.map_or("", |account| self.state.log.str(account.name))
    }
}
