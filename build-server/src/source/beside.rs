//! What a commit may name as another repository.

use std::path::{Component, Path, PathBuf};

use build_core::work::WorkItem;
use build_core::{Error, ErrorKind, Result};

use super::origin::Origin;

/// How a commit names another repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Named {
    /// By its name in the farm.
    Name(String),
    /// By where it is: a path or a URL.
    At(String),
}

impl Named {
    /// Reads what a commit of `item`'s repository says. Directories of this machine are for
    /// repositories of this machine alone: whoever else could read them does not write here.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] when it may not be named so.
    pub(crate) fn of(item: &WorkItem, repo: &str) -> Result<Self> {
        let from = Origin::parse(&item.origin)?;
        let refused = |what: &str| {
            let text = format!("{repo} is {what} of the farm's machine");
            Err(Error::new(ErrorKind::Invalid, text).with_hint(
                "only a repository on that machine may name it: give a git URL, or its name in the farm",
            ))
        };
        if repo.starts_with("./") || repo.starts_with("../") {
            return match from {
                Origin::Local(path) => Ok(Self::At(beside(&path, repo)?)),
                Origin::Remote(_) => refused("a directory"),
            };
        }
        match Origin::parse(repo)? {
            Origin::Local(_) if !repo.starts_with('/') => Ok(Self::Name(repo.to_owned())),
            origin if origin.is_here() && !from.is_here() => refused("a directory"),
            _ => Ok(Self::At(repo.to_owned())),
        }
    }
}

/// A path from the top of a repository, without its `..`.
fn beside(top: &Path, relative: &str) -> Result<String> {
    let top = std::path::absolute(top)?;
    let mut place = PathBuf::new();
    for part in top.join(relative).components() {
        match part {
            Component::ParentDir => drop(place.pop()),
            Component::CurDir => {}
            other => place.push(other),
        }
    }
    let text = || {
        let text = format!("{} is no text", place.display());
        Error::new(ErrorKind::Invalid, text)
    };
    place.to_str().map(str::to_owned).ok_or_else(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use build_core::ids::{CommitHash, RepoName};

    #[test]
    fn directories_are_named_by_repositories_of_the_machine_alone() {
        let item = |origin: &str| {
            let commit = CommitHash::new("0".repeat(40)).unwrap();
            WorkItem::new(RepoName::new("r").unwrap(), origin, commit)
        };
        let here = item("/home/me/project");
        let away = item("https://h/project");
        let at = |text: &str| Named::At(text.to_owned());
        assert_eq!(Named::of(&here, "../tools").unwrap(), at("/home/me/tools"));
        assert_eq!(Named::of(&here, "file:///x").unwrap(), at("file:///x"));
        assert_eq!(Named::of(&away, "https://h/x").unwrap(), at("https://h/x"));
        assert_eq!(
            Named::of(&away, "team/x").unwrap(),
            Named::Name("team/x".into())
        );
        for repo in ["../tools", "file:///x", "/etc"] {
            let error = Named::of(&away, repo).unwrap_err();
            assert_eq!(
                error.to_string(),
                format!("{repo} is a directory of the farm's machine")
            );
        }
        assert!(Named::of(&here, "--upload-pack=x").is_err());
    }
}
