//! From paths on the wire to paths on the disk.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use build_core::buildlet::{PathStyle, WirePath};

use super::server::App;

/// Where a path of the wire leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// The work directory itself.
    Root,
    /// Something below it, that may not be there.
    Below(PathBuf),
}

/// A path of the wire leads nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Outside;

/// Resolves paths below a work directory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Places<'a> {
    work_dir: &'a Path,
    links_may_leave: bool,
}

impl<'a> Places<'a> {
    pub(crate) fn of(app: &'a App) -> Self {
        Self {
            work_dir: &app.work_dir,
            links_may_leave: app.config.links_may_leave,
        }
    }

    /// Where a path leads that must not be empty.
    pub(crate) fn place(&self, path: &str) -> Result<Place, Outside> {
        if path.is_empty() {
            Err(Outside)
        } else {
            self.dir(path)
        }
    }

    /// Where a directory's path leads; empty is the work directory.
    pub(crate) fn dir(&self, path: &str) -> Result<Place, Outside> {
        let path = WirePath::of_dir(path, PathStyle::HERE).map_err(|_| Outside)?;
        if path.is_root() {
            return Ok(Place::Root);
        }
        let target = self.work_dir.join(path.as_str());
        if !self.links_may_leave && self.leaves(&target).unwrap_or(true) {
            return Err(Outside);
        }
        Ok(Place::Below(target))
    }

    /// A path that must lead below the work directory.
    pub(crate) fn below(&self, path: &str) -> Result<PathBuf, Outside> {
        match self.place(path)? {
            Place::Root => Err(Outside),
            Place::Below(target) => Ok(target),
        }
    }

    /// A directory's path on the disk.
    pub(crate) fn dir_path(&self, path: &str) -> Result<PathBuf, Outside> {
        Ok(match self.dir(path)? {
            Place::Root => self.work_dir.to_owned(),
            Place::Below(target) => target,
        })
    }

    /// Whether links on the way lead out. The last component may be a link: it is not followed
    /// by who asks. Commands could change the way after this look, but they may do anything
    /// their user may: this protects from accidents.
    fn leaves(&self, target: &Path) -> io::Result<bool> {
        let mut there = target.parent();
        while let Some(dir) = there {
            match fs::canonicalize(dir) {
                Ok(real) => return Ok(!real.starts_with(self.work_dir)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    if fs::symlink_metadata(dir).is_ok() {
                        // A link to nowhere: where it will lead is anybody's guess.
                        return Ok(true);
                    }
                    there = dir.parent();
                }
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_must_not_lead_out() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        let work_dir = root.join("w");
        fs::create_dir_all(work_dir.join("real")).unwrap();
        for (target, name) in [("..", "up"), ("/nowhere/x", "dead"), ("real", "in")] {
            std::os::unix::fs::symlink(target, work_dir.join(name)).unwrap();
        }
        let strict = Places {
            work_dir: &work_dir,
            links_may_leave: false,
        };
        assert_eq!(strict.below("a/b"), Ok(work_dir.join("a/b")));
        assert_eq!(strict.below("in/x"), Ok(work_dir.join("in/x")));
        assert_eq!(strict.below("up"), Ok(work_dir.join("up")));
        assert_eq!(strict.below("up/x"), Err(Outside));
        assert_eq!(strict.below("dead/x"), Err(Outside));
        let loose = Places {
            work_dir: &work_dir,
            links_may_leave: true,
        };
        assert_eq!(loose.below("up/x"), Ok(work_dir.join("up/x")));
        assert_eq!(strict.dir("a/.."), Ok(Place::Root));
        assert_eq!(strict.place(""), Err(Outside));
    }
}
