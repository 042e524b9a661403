//! The repositories of a project: where they are, and what is done with them.
//!
//! ```
//! # #[cfg(feature = "config")] {
//! use build_core::repos::Repos;
//!
//! let repos = Repos::go2020();
//! let net = repos.by_import_path("golang.org/x/net").expect("there");
//! assert_eq!((net.project.as_str(), net.github.as_str()), ("net", "golang/net"));
//! assert_eq!(repos.on_dashboard().count(), 22);
//! # }
//! ```

use std::collections::BTreeMap;

use crate::{Error, ErrorKind, Result};

/// One repository. Empty members are not there.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Repo {
    /// Its name on the review server.
    pub project: String,
    /// What programs import it by.
    pub import_path: String,
    /// Whether it is copied to GitHub.
    pub mirrored: bool,
    /// Where to: `org/name`.
    pub github: String,
    /// Whether the coordinator can build it.
    pub buildable: bool,
    /// Whether the dashboard has a page for it.
    pub on_dashboard: bool,
    /// For the site.
    pub description: String,
    /// Whether the site sends readers to the package site.
    pub pkg_site: bool,
}

/// A table of repositories.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Repos {
    all: BTreeMap<String, Repo>,
    by_import_path: BTreeMap<String, String>,
}

impl Repos {
    /// Puts a table together.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] naming a repository without what it needs, or the two that have
    /// the same project or import path.
    pub fn new(repos: Vec<Repo>) -> Result<Self> {
        let mut table = Self::default();
        let invalid = |said| Error::new(ErrorKind::Invalid, said);
        for repo in repos {
            if let Some(missing) = repo.missing() {
                return Err(invalid(format!(
                    "repository {:?} has no {missing}",
                    repo.project
                )));
            }
            if table.all.contains_key(&repo.project) {
                return Err(invalid(format!(
                    "repository {:?} is there twice",
                    repo.project
                )));
            }
            if !repo.import_path.is_empty() {
                let entry = (repo.import_path.clone(), repo.project.clone());
                if let Some(other) = table.by_import_path.insert(entry.0, entry.1) {
                    return Err(invalid(format!(
                        "repositories {other:?} and {:?} have the import path {:?}",
                        repo.project, repo.import_path
                    )));
                }
            }
            table.all.insert(repo.project.clone(), repo);
        }
        Ok(table)
    }

    /// Reads `[[repo]]` tables.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] with the place where the text is wrong; see [`Repos::new`].
    #[cfg(feature = "config")]
    pub fn from_toml(text: &str) -> Result<Self> {
        #[derive(serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        struct File {
            #[serde(default, rename = "repo")]
            repos: Vec<Repo>,
        }
        let file: File = toml::from_str(text)
            .map_err(|e| Error::caused_by(ErrorKind::Invalid, "read repositories", e))?;
        Self::new(file.repos)
    }

    /// The Go project's of 2020-12-23.
    #[cfg(feature = "config")]
    #[must_use]
    pub fn go2020() -> Self {
        Self::from_toml(include_str!("go2020.toml")).expect("the tests read the preset")
    }

    /// One by its name on the review server.
    #[must_use]
    pub fn by_project(&self, project: &str) -> Option<&Repo> {
        self.all.get(project)
    }

    /// One by what programs import it by.
    #[must_use]
    pub fn by_import_path(&self, import_path: &str) -> Option<&Repo> {
        self.by_project(self.by_import_path.get(import_path)?)
    }

    /// All, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Repo> {
        self.all.values()
    }

    /// Those with a page on the dashboard, in its order.
    pub fn on_dashboard(&self) -> impl Iterator<Item = &Repo> {
        self.iter().filter(|repo| repo.on_dashboard)
    }
}

impl Repo {
    /// Whether the coordinator builds it beside the main repository.
    #[must_use]
    pub fn is_subrepo(&self) -> bool {
        self.buildable && !self.import_path.is_empty()
    }

    fn missing(&self) -> Option<&'static str> {
        match () {
            () if self.project.is_empty() => Some("project"),
            () if self.mirrored && self.github.is_empty() => Some("github, which mirrored needs"),
            () if self.on_dashboard && !self.buildable => {
                Some("buildable, which on_dashboard needs")
            }
            () => None,
        }
    }
}

#[cfg(all(test, feature = "config"))]
mod tests {
    use super::*;

    #[test]
    fn repositories_are_found_by_both_names() {
        let repos = Repos::go2020();
        assert_eq!(repos.iter().count(), 41);
        assert_eq!(repos.iter().filter(|repo| repo.buildable).count(), 31);
        assert_eq!(repos.iter().filter(|repo| repo.mirrored).count(), 39);
        assert_eq!(repos.on_dashboard().count(), 22);
        let protobuf = repos.by_import_path("google.golang.org/protobuf").unwrap();
        assert_eq!(protobuf.github, "protocolbuffers/protobuf-go");
        assert!(repos.by_project("net").unwrap().is_subrepo());
        assert!(!repos.by_project("vscode-go").unwrap().is_subrepo());
        assert!(repos.by_import_path("").is_none());
    }

    #[test]
    fn a_bad_table_is_refused_with_names() {
        let say = |text: &str| Repos::from_toml(text).unwrap_err().chain();
        let both = "[[repo]]\nproject = \"a\"\nimport_path = \"x\"\n[[repo]]\nproject = \"b\"\nimport_path = \"x\"\n";
        assert_eq!(
            say(both),
            "repositories \"a\" and \"b\" have the import path \"x\""
        );
        let twice = "[[repo]]\nproject = \"a\"\n[[repo]]\nproject = \"a\"\n";
        assert_eq!(say(twice), "repository \"a\" is there twice");
        assert!(say("[[repo]]\nproject = \"a\"\nmirrored = true\n").contains("no github"));
        assert!(say("[[repo]]\nproject = \"a\"\non_dashboard = true\n").contains("no buildable"));
        assert!(say("[[repo]]\n").contains("no project"));
    }
}
