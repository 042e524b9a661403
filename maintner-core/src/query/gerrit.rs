//! Gerrit projects and their refs.

use std::fmt;

use super::{Cl, Cls, Commit, NotFound};
use crate::GitHash;
use crate::corpus::apply::State;

/// Everything from Gerrit servers.
#[derive(Debug, Clone, Copy)]
pub struct Gerrit<'v> {
    state: &'v State,
}

impl<'v> Gerrit<'v> {
    pub(crate) fn new(state: &'v State) -> Self {
        Self { state }
    }

    /// A project of a server. The server may be given as host, as URL, or as the `-review` host
    /// of googlesource.com.
    ///
    /// ```
    /// # let corpus = maintner_core::sample::corpus();
    /// let view = corpus.view();
    /// let project = view.gerrit().project("https://go-review.googlesource.com", "go")?;
    /// assert_eq!(project.to_string(), "go.googlesource.com/go");
    /// # Ok::<(), maintner_core::query::NotFound>(())
    /// ```
    ///
    /// # Errors
    /// [`NotFound`].
    pub fn project(&self, server: &str, name: &str) -> Result<Project<'v>, NotFound> {
        let full = format!("{}/{name}", normalize_server(server));
        let row = self.state.gerrit.find_project(&self.state.log, &full);
        let row = row.ok_or_else(|| NotFound::new("Gerrit project", full))?;
        Ok(Project {
            state: self.state,
            row,
        })
    }

    /// All projects, by name.
    ///
    /// ```
    /// # let corpus = maintner_core::sample::corpus();
    /// let view = corpus.view();
    /// assert_eq!(view.gerrit().projects().next().map(|project| project.name()), Some("go"));
    /// ```
    pub fn projects(&self) -> impl Iterator<Item = Project<'v>> + use<'v> {
        let state = self.state;
        let mut projects: Vec<_> = (0..state.gerrit.projects.len())
            .map(|row| Project { state, row })
            .collect();
        projects.sort_by_key(Project::full_name);
        projects.into_iter()
    }

    /// All complete changes with this Change-Id: there is one on each branch it was picked to.
    ///
    /// ```
    /// # let corpus = maintner_core::sample::corpus();
    /// let view = corpus.view();
    /// let id = "I0123456789012345678901234567890123456789";
    /// assert_eq!(view.gerrit().cls_with_change_id(id).count(), 1);
    /// ```
    pub fn cls_with_change_id(&self, id: &str) -> impl Iterator<Item = Cl<'v>> {
        let wanted = id.to_owned();
        self.projects()
            .flat_map(|project| project.cls())
            .filter(move |cl| cl.change_id().as_deref() == Some(&*wanted))
    }
}

/// Host of a server however it is named.
fn normalize_server(server: &str) -> String {
    let host = server.split_once("://").map_or(server, |(_, rest)| rest);
    let host = host.split('/').next().unwrap_or_default();
    match host.strip_suffix("-review.googlesource.com") {
        Some(name) => format!("{name}.googlesource.com"),
        None => host.to_owned(),
    }
}

/// A project.
#[derive(Clone, Copy)]
pub struct Project<'v> {
    state: &'v State,
    row: u32,
}

impl fmt::Display for Project<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.full_name())
    }
}

impl fmt::Debug for Project<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Project({self})")
    }
}

impl<'v> Project<'v> {
    pub(super) fn new(state: &'v State, row: u32) -> Self {
        Self { state, row }
    }

    /// `host/project`.
    pub fn full_name(&self) -> &'v str {
        self.state
            .log
            .str(self.state.gerrit.projects.get(self.row).name)
    }

    /// The host.
    pub fn server(&self) -> &'v str {
        self.full_name()
            .split_once('/')
            .map_or("", |(server, _)| server)
    }

    /// The name without the host.
    pub fn name(&self) -> &'v str {
        self.full_name()
            .split_once('/')
            .map_or("", |(_, name)| name)
    }

    /// The change with this number.
    ///
    /// ```
    /// # let corpus = maintner_core::sample::corpus();
    /// let view = corpus.view();
    /// let cl = view.gerrit().project("go.googlesource.com", "go")?.cl(14700)?;
    /// assert_eq!(cl.subject(), "cmd/go: build more slowly");
    /// # Ok::<(), maintner_core::query::NotFound>(())
    /// ```
    ///
    /// # Errors
    /// [`NotFound`], also while the log lacks its commit or its meta commits.
    pub fn cl(&self, number: i32) -> Result<Cl<'v>, NotFound> {
        self.try_cl(number)
            .ok_or_else(|| NotFound::new("change", format!("{self}/{number}")))
    }

    /// The change with this number, if it is complete.
    ///
    /// ```
    /// # let corpus = maintner_core::sample::corpus();
    /// let view = corpus.view();
    /// let project = view.gerrit().project("go.googlesource.com", "go")?;
    /// assert!(project.try_cl(1).is_none());
    /// # Ok::<(), maintner_core::query::NotFound>(())
    /// ```
    pub fn try_cl(&self, number: i32) -> Option<Cl<'v>> {
        Cl::complete(self.state, self.state.gerrit.find_cl(self.row, number)?)
    }

    /// All complete changes, by number; see [`Cls`] for filters.
    ///
    /// ```
    /// # let corpus = maintner_core::sample::corpus();
    /// let view = corpus.view();
    /// let project = view.gerrit().project("go.googlesource.com", "go")?;
    /// assert!(project.cls().open().map(|cl| cl.number()).eq([14700]));
    /// # Ok::<(), maintner_core::query::NotFound>(())
    /// ```
    pub fn cls(&self) -> Cls<'v> {
        Cls::new(self.state, self.state.gerrit.project_cls.get(self.row))
    }

    /// What a branch, tag or other ref points at.
    ///
    /// ```
    /// # let corpus = maintner_core::sample::corpus();
    /// let view = corpus.view();
    /// let project = view.gerrit().project("go.googlesource.com", "go")?;
    /// assert_eq!(project.try_ref("refs/heads/master"), Some(maintner_core::sample::BASE));
    /// # Ok::<(), maintner_core::query::NotFound>(())
    /// ```
    pub fn try_ref(&self, name: &str) -> Option<GitHash> {
        let row = self
            .state
            .gerrit
            .find_ref(&self.state.log, self.row, name.as_bytes())?;
        Ref::existing(self.state, row).map(|found| found.hash())
    }

    /// All refs that belong to no change, by name.
    ///
    /// ```
    /// # let corpus = maintner_core::sample::corpus();
    /// let view = corpus.view();
    /// let project = view.gerrit().project("go.googlesource.com", "go")?;
    /// assert!(project.refs().map(|found| found.name()).eq(["refs/heads/master"]));
    /// # Ok::<(), maintner_core::query::NotFound>(())
    /// ```
    pub fn refs(&self) -> impl Iterator<Item = Ref<'v>> + use<'v> {
        let (state, project) = (self.state, self.row);
        let rows = 0..state.gerrit.refs.len();
        let mut refs: Vec<_> = rows
            .filter(|&row| state.gerrit.refs.get(row).project == project)
            .filter_map(|row| Ref::existing(state, row))
            .collect();
        refs.sort_by_key(Ref::name);
        refs.into_iter()
    }

    /// A commit, if it is one of this project's.
    ///
    /// ```
    /// # let corpus = maintner_core::sample::corpus();
    /// let view = corpus.view();
    /// let project = view.gerrit().project("go.googlesource.com", "go")?;
    /// assert!(project.try_commit(maintner_core::sample::TIP).is_some());
    /// # Ok::<(), maintner_core::query::NotFound>(())
    /// ```
    pub fn try_commit(&self, hash: GitHash) -> Option<Commit<'v>> {
        let row = self.state.commits.find(hash)?;
        let project = self.state.commits.rows.get(row).project;
        (project == self.row + 1).then(|| Commit::new(self.state, row))
    }

    /// Grows whenever a vote on one of the project's changes may have changed.
    pub fn label_changes(&self) -> u64 {
        self.state.gerrit.projects.get(self.row).label_changes
    }
}

/// A branch, tag or other ref that belongs to no change.
#[derive(Clone, Copy)]
pub struct Ref<'v> {
    state: &'v State,
    row: u32,
}

impl fmt::Debug for Ref<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ref({} {})", self.name(), self.hash())
    }
}

impl<'v> Ref<'v> {
    /// Nothing for deleted refs.
    pub(crate) fn existing(state: &'v State, row: u32) -> Option<Self> {
        (state.gerrit.refs.get(row).target != 0).then_some(Self { state, row })
    }

    /// The project it belongs to.
    pub fn project(&self) -> Project<'v> {
        Project {
            state: self.state,
            row: self.state.gerrit.refs.get(self.row).project,
        }
    }

    /// Full name, for example `refs/heads/master`.
    pub fn name(&self) -> &'v str {
        self.state
            .log
            .str(self.state.gerrit.refs.get(self.row).name)
    }

    /// The hash it points at: that of the tag object for annotated tags.
    pub fn hash(&self) -> GitHash {
        self.commit().hash()
    }

    /// The commit it points at.
    pub fn commit(&self) -> Commit<'v> {
        let target = self.state.gerrit.refs.get(self.row).target;
        Commit::new(self.state, target.saturating_sub(1))
    }
}

#[cfg(test)]
mod tests {
    use super::normalize_server;

    #[test]
    fn servers() {
        for (given, wanted) in [
            ("foo", "foo"),
            ("http://foo", "foo"),
            ("http://foo/", "foo"),
            ("go-review.googlesource.com", "go.googlesource.com"),
            (
                "https://go-review.googlesource.com/q",
                "go.googlesource.com",
            ),
        ] {
            assert_eq!(normalize_server(given), wanted);
        }
    }
}
