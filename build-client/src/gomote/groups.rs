//! Groups of machines: a directory for each, a file for each member, as newer programs of Go
//! have them (docs/protocol/gomote.md).

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;

use super::Folder;
use crate::{Error, ErrorKind, Result};

const END: &str = ".instances";

/// The groups of a folder.
#[derive(Clone, Debug)]
pub struct Groups(PathBuf);

impl Groups {
    /// Those of a folder.
    #[must_use]
    pub fn of(folder: &Folder) -> Self {
        Self(folder.path().join("groups"))
    }

    fn dir(&self, group: &str) -> Result<PathBuf> {
        check(group, "group")?;
        Ok(self.0.join(format!("{group}{END}")))
    }

    /// All groups, by name.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn list(&self) -> Result<Vec<String>> {
        let names = names_in(&self.0)
            .map_err(|e| self.failed(e))?
            .unwrap_or_default();
        let names = names.iter().filter_map(|name| name.strip_suffix(END));
        Ok(names.map(str::to_owned).collect())
    }

    /// The members of a group; `None` when there is no such group.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn members(&self, group: &str) -> Result<Option<BTreeSet<String>>> {
        names_in(&self.dir(group)?).map_err(|e| self.failed(e))
    }

    /// Makes a group.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`] when there is one.
    pub fn create(&self, group: &str) -> Result<()> {
        let dir = self.dir(group)?;
        std::fs::create_dir_all(&self.0).map_err(|e| self.failed(e))?;
        std::fs::create_dir(dir).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => Error::new(
                ErrorKind::Conflict,
                format!("group {group:?} exists already"),
            ),
            _ => self.failed(error),
        })
    }

    /// Removes a group; its machines live on.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when there is none.
    pub fn destroy(&self, group: &str) -> Result<()> {
        let dir = self.dir(group)?;
        let dying = self.0.join(format!("{group}.deleting"));
        let removed = std::fs::rename(&dir, &dying).and_then(|()| std::fs::remove_dir_all(&dying));
        removed.map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => missing(group),
            _ => self.failed(error),
        })
    }

    /// Adds a machine to a group.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when there is no such group.
    pub fn add(&self, group: &str, name: &str) -> Result<()> {
        check(name, "machine")?;
        let dir = self.dir(group)?;
        if !dir.is_dir() {
            return Err(missing(group));
        }
        std::fs::write(dir.join(name), "").map_err(|e| self.failed(e))
    }

    /// Takes a machine out of a group; fine when it is in none.
    ///
    /// # Errors
    /// When the file cannot be removed.
    pub fn remove(&self, group: &str, name: &str) -> Result<()> {
        check(name, "machine")?;
        match std::fs::remove_file(self.dir(group)?.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(self.failed(error)),
            _ => Ok(()),
        }
    }

    /// Takes a machine out of every group: it is no more.
    ///
    /// # Errors
    /// As [`Groups::list`] and [`Groups::remove`].
    pub fn forget(&self, name: &str) -> Result<()> {
        self.list()?
            .iter()
            .try_for_each(|group| self.remove(group, name))
    }

    /// The groups that a machine is in.
    ///
    /// # Errors
    /// As [`Groups::list`].
    pub fn of_machine(&self, name: &str) -> Result<Vec<String>> {
        let mut found = Vec::new();
        for group in self.list()? {
            if self
                .members(&group)?
                .is_some_and(|members| members.contains(name))
            {
                found.push(group);
            }
        }
        Ok(found)
    }

    fn failed(&self, error: io::Error) -> Error {
        Error::from(error).while_doing(format!("groups in {}", self.0.display()))
    }
}

/// That there is no such group.
#[must_use]
pub fn missing(group: &str) -> Error {
    Error::new(ErrorKind::NotFound, format!("there is no group {group:?}"))
        .with_hint(format!("make it with: gomote group create {group}"))
}

/// Names become files: they stay in their directory.
fn check(name: &str, what: &str) -> Result<()> {
    match name.is_empty() || name.starts_with('.') || name.contains(['/', '\\', '\0']) {
        true => Err(Error::new(
            ErrorKind::Invalid,
            format!("{name:?} cannot be the name of a {what}"),
        )),
        false => Ok(()),
    }
}

fn names_in(dir: &std::path::Path) -> io::Result<Option<BTreeSet<String>>> {
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut names = BTreeSet::new();
    for entry in entries {
        // Names are ASCII: what is none of ours is passed over.
        if let Ok(name) = entry?.file_name().into_string()
            && !name.starts_with('.')
        {
            names.insert(name);
        }
    }
    Ok(Some(names))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_directories_of_names() {
        let dir = tempfile::tempdir().unwrap();
        let groups = Groups::of(&Folder::new(dir.path()));
        assert!(groups.list().unwrap().is_empty());
        groups.create("g").unwrap();
        assert_eq!(groups.create("g").unwrap_err().kind(), ErrorKind::Conflict);
        groups.add("g", "user-a-x-0").unwrap();
        groups.add("g", "user-a-x-1").unwrap();
        assert!(dir.path().join("groups/g.instances/user-a-x-0").exists());
        assert_eq!(groups.of_machine("user-a-x-1").unwrap(), ["g"]);
        groups.forget("user-a-x-0").unwrap();
        let left: Vec<_> = groups.members("g").unwrap().unwrap().into_iter().collect();
        assert_eq!(left, ["user-a-x-1"]);
        groups.destroy("g").unwrap();
        assert_eq!(groups.members("g").unwrap(), None);
        assert_eq!(groups.destroy("g").unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(
            groups.add("g", "x").unwrap_err().kind(),
            ErrorKind::NotFound
        );
        for bad in ["", "..", "a/b", ".x"] {
            assert!(
                groups.create(bad).is_err() && groups.add("g", bad).is_err(),
                "{bad}"
            );
        }
    }
}
