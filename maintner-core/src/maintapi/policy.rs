//! What is particular to one project.

use super::version::{parse_internal_branch, parse_release_branch, parse_tag};

/// What is particular to one project: where its changes are, how it names releases. Default:
/// the Go project.
///
/// ```
/// use maintner_core::maintapi::Policy;
/// let policy = Policy { server: "review.example.org".into(), ..Policy::default() };
/// assert_eq!(policy.project, "go");
/// ```
#[derive(Debug, Clone)]
pub struct Policy {
    /// The Gerrit server.
    pub server: String,
    /// The main project on it, which releases are made of.
    pub project: String,
    /// Its development branch.
    pub trunk: String,
    /// What comes before the name of a project in the import path of its module.
    pub import_prefix: String,
    /// Modules that are named in another way, and their projects.
    pub import_paths: Vec<(String, String)>,
    /// Releases that are supported at a time.
    pub supported: usize,
    /// The version of a tag that names a release.
    pub tag: fn(&str) -> Option<(u16, u16, u16)>,
    /// The version of a branch that releases are made on.
    pub release_branch: fn(&str) -> Option<(u16, u16)>,
    /// The version of a branch that belongs to one release.
    pub internal_branch: fn(&str) -> Option<(u16, u16)>,
    /// The vote that asks for a try run.
    pub try_vote: String,
    /// Projects other than the main one whose branches with this beginning are tried with all
    /// supported releases, as their trunk is.
    pub tried_with_all: Vec<(String, String)>,
}

impl Default for Policy {
    fn default() -> Self {
        let text = str::to_owned;
        Self {
            server: text("go.googlesource.com"),
            project: text("go"),
            trunk: text("master"),
            import_prefix: text("golang.org/x/"),
            import_paths: vec![
                (text("golang.org/dl"), text("dl")),
                (text("golang.org/toolchain"), text("toolchain")),
            ],
            supported: 2,
            tag: parse_tag,
            release_branch: parse_release_branch,
            internal_branch: parse_internal_branch,
            try_vote: text("Run-TryBot+1"),
            tried_with_all: vec![(text("tools"), text("gopls-release-branch."))],
        }
    }
}

impl Policy {
    /// The project of a module.
    pub(super) fn project_of<'a>(&'a self, import_path: &'a str) -> Option<&'a str> {
        if import_path.is_empty() || import_path == self.project {
            return Some(&self.project);
        }
        let named = self
            .import_paths
            .iter()
            .find(|(path, _)| path == import_path);
        if let Some((_, project)) = named {
            return Some(project);
        }
        let name = import_path.strip_prefix(&self.import_prefix)?;
        (!name.is_empty() && !name.contains('/')).then_some(name)
    }
}
