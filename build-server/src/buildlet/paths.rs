//! From paths on the wire to paths on the disk.
//!
//! A path may lead through links of the work directory, absolute ones too, as long as it stays in it.
//! Where it leads is found out first, as a path without links. What then happens there is done
//! beneath a handle of the work directory that follows no link at all: one that somebody puts in the
//! way meanwhile is refused, not followed.

use std::fs;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use build_core::buildlet::{PathStyle, WirePath};
use build_core::tree::Beneath;
use rustix::fs::{Mode, OFlags};

use super::answer::Refusal;
use super::server::App;

/// A directory, not what a link to one leads to.
const DIR: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::CLOEXEC);

/// Where a path of the wire leads; it may not be there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    work_dir: PathBuf,
    /// Below the work directory, empty for itself. Without links, unless these may leave.
    relative: PathBuf,
    links_may_leave: bool,
}

/// A path of the wire leads nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outside {
    /// Its text leads out, or is no path.
    ByText,
    /// A link leads it out, or to nowhere.
    ByLink,
}

impl Outside {
    /// The answer: `refused` in the words of 2020, and more where these would not help.
    pub(crate) fn refusal(self, refused: &str, path: &str) -> Refusal {
        Refusal::bad(match self {
            Self::ByText => refused.to_owned(),
            Self::ByLink => {
                format!("{refused}: a link leads {path:?} out of the work directory")
            }
        })
    }
}

/// Resolves paths below a work directory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Places<'a> {
    work_dir: &'a Path,
    links_may_leave: bool,
}

/// Whether what a path's last component names is followed when it is a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Last {
    Followed,
    Kept,
}

impl<'a> Places<'a> {
    pub(crate) fn of(app: &'a App) -> Self {
        Self::new(&app.work_dir, app.config.links_may_leave)
    }

    pub(crate) fn new(work_dir: &'a Path, links_may_leave: bool) -> Self {
        #[cfg(feature = "sim")]
        let links_may_leave = links_may_leave
            || build_core::plant::grows(build_core::plant::ProcessPlant::FollowedLinks);
        Self {
            work_dir,
            links_may_leave,
        }
    }

    /// What a path names that must not be empty; a link is the link itself.
    pub(crate) fn entry(&self, path: &str) -> Result<Place, Outside> {
        if path.is_empty() {
            return Err(Outside::ByText);
        }
        self.place(path, Last::Kept)
    }

    /// The directory that a path leads to; empty is the work directory.
    pub(crate) fn dir(&self, path: &str) -> Result<Place, Outside> {
        self.place(path, Last::Followed)
    }

    fn place(&self, path: &str, last: Last) -> Result<Place, Outside> {
        let path = WirePath::of_dir(path, PathStyle::HERE).map_err(|_| Outside::ByText)?;
        let relative = match path.is_root() {
            true => PathBuf::new(),
            false if self.links_may_leave => PathBuf::from(path.as_str()),
            false => self.without_links(Path::new(path.as_str()), last)?,
        };
        Ok(Place {
            work_dir: self.work_dir.to_owned(),
            relative,
            links_may_leave: self.links_may_leave,
        })
    }

    /// The same place by a path that has no links now; what is missing at its end is as asked for.
    fn without_links(&self, path: &Path, last: Last) -> Result<PathBuf, Outside> {
        let mut there = path;
        let mut rest = PathBuf::new();
        if last == Last::Kept {
            (there, rest) = split(path, &rest);
        }
        loop {
            let target = self.work_dir.join(there);
            match fs::canonicalize(&target) {
                Ok(real) => {
                    let inside = real.strip_prefix(self.work_dir);
                    let inside = inside.map_err(|_| Outside::ByLink)?;
                    return Ok(joined(inside, &rest));
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    // A link to nowhere: where it will lead is anybody's guess.
                    if fs::symlink_metadata(&target).is_ok() || there.as_os_str().is_empty() {
                        return Err(Outside::ByLink);
                    }
                    (there, rest) = split(there, &rest);
                }
                // A file is on the way: there is nothing behind it, which whoever asks is told.
                Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
                    (there, rest) = split(there, &rest);
                }
                Err(_) => return Err(Outside::ByLink),
            }
        }
    }
}

/// A path without its last component, which goes in front of the rest.
fn split<'p>(path: &'p Path, rest: &Path) -> (&'p Path, PathBuf) {
    let name = Path::new(path.file_name().unwrap_or_default());
    (path.parent().unwrap_or(Path::new("")), joined(name, rest))
}

/// Joined with nothing, a path would get a slash at its end.
fn joined(path: &Path, rest: &Path) -> PathBuf {
    match rest.as_os_str().is_empty() {
        true => path.to_owned(),
        false => path.join(rest),
    }
}

impl Place {
    /// Whether it is the work directory itself.
    pub(crate) fn is_root(&self) -> bool {
        self.relative.as_os_str().is_empty()
    }

    /// The path on the disk, for messages and for commands.
    pub(crate) fn path(&self) -> PathBuf {
        joined(&self.work_dir, &self.relative)
    }

    /// Opens what is there to be read, a directory or a file.
    pub(crate) fn open(&self) -> io::Result<OwnedFd> {
        if self.links_may_leave {
            let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
            return Ok(rustix::fs::open(self.path(), flags, Mode::empty())?);
        }
        Ok(self.beneath()?.open_file(self.bytes())?.into())
    }

    /// Opens the directory, which is made with those above it if need be.
    pub(crate) fn make_dir(&self) -> io::Result<OwnedFd> {
        if self.links_may_leave {
            fs::create_dir_all(self.path())?;
            return Ok(rustix::fs::open(self.path(), DIR, Mode::empty())?);
        }
        let mut beneath = self.beneath()?;
        let made = beneath.create_dir_all(self.bytes())?;
        made.try_clone_to_owned()
    }

    /// The directory that it is in, and its name there.
    pub(crate) fn parent(&self) -> (Self, &[u8]) {
        let (above, _) = split(&self.relative, Path::new(""));
        let parent = Self {
            relative: above.to_owned(),
            ..self.clone()
        };
        let name = self.relative.file_name().unwrap_or_default();
        (parent, name.as_bytes())
    }

    fn bytes(&self) -> &[u8] {
        self.relative.as_os_str().as_bytes()
    }

    fn beneath(&self) -> io::Result<Beneath> {
        // A command may have put a link in the place of the work directory.
        let flags = DIR | OFlags::NOFOLLOW;
        let root = rustix::fs::open(&self.work_dir, flags, Mode::empty())?;
        Ok(Beneath::new(root).without_links())
    }

    /// Whether a directory is there and nothing in it.
    pub(crate) fn is_empty_dir(&self) -> bool {
        let listed = self.open().and_then(|dir| {
            let mut names = rustix::fs::Dir::read_from(dir.as_fd())?;
            Ok(names
                .all(|name| name.is_ok_and(|n| matches!(n.file_name().to_bytes(), b"." | b".."))))
        });
        listed.unwrap_or(false)
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
        let whole = work_dir.join("real").display().to_string();
        for (target, name) in [
            ("..", "up"),
            ("/nowhere/x", "dead"),
            ("real", "in"),
            (&whole, "absolute"),
            ("round", "round"),
        ] {
            std::os::unix::fs::symlink(target, work_dir.join(name)).unwrap();
        }
        fs::write(work_dir.join("file"), "x").unwrap();
        let strict = Places {
            work_dir: &work_dir,
            links_may_leave: false,
        };
        let entry = |path: &str| strict.entry(path).map(|place| place.path());
        let listed = |path: &str| strict.dir(path).map(|place| place.path());
        assert_eq!(entry("a/b"), Ok(work_dir.join("a/b")));
        assert_eq!(entry("in/x/y"), Ok(work_dir.join("real/x/y")));
        assert_eq!(entry("absolute/x"), Ok(work_dir.join("real/x")));
        assert_eq!(entry("file/x/y"), Ok(work_dir.join("file/x/y")));
        assert_eq!(listed("in"), Ok(work_dir.join("real")));
        for link in ["up", "in", "dead", "round"] {
            assert_eq!(entry(link), Ok(work_dir.join(link)), "the link itself");
        }
        for out in ["up/x", "dead/x", "round/x"] {
            assert_eq!(entry(out), Err(Outside::ByLink), "{out:?}");
        }
        for out in ["", "/x", "a/../.."] {
            assert_eq!(entry(out), Err(Outside::ByText), "{out:?}");
        }
        for out in ["up", "dead", "round", "up/w/../x"] {
            assert_eq!(listed(out), Err(Outside::ByLink), "{out:?}");
        }
        assert!(strict.dir("a/..").unwrap().is_root());
        let loose = Places {
            work_dir: &work_dir,
            links_may_leave: true,
        };
        let place = loose.entry("up/x").unwrap();
        assert_eq!(place.path(), work_dir.join("up/x"));
        place.make_dir().unwrap();
        assert!(root.join("x").is_dir());
    }

    #[test]
    fn a_link_that_takes_the_place_of_a_directory_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        let (work_dir, outside) = (root.join("w"), root.join("outside"));
        fs::create_dir_all(work_dir.join("a/b")).unwrap();
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("f"), "theirs").unwrap();
        let places = Places {
            work_dir: &work_dir,
            links_may_leave: false,
        };
        let found = [
            places.dir("a/b"),
            places.entry("a/f"),
            places.dir("a/new/x"),
        ];
        // Between the look and the work.
        fs::remove_dir_all(work_dir.join("a")).unwrap();
        std::os::unix::fs::symlink(&outside, work_dir.join("a")).unwrap();
        for place in found.map(Result::unwrap) {
            assert!(place.open().is_err(), "{place:?}");
            assert!(place.make_dir().is_err(), "{place:?}");
            assert!(place.parent().0.open().is_err(), "{place:?}");
        }
        // So is the work directory itself.
        let place = places.dir("").unwrap();
        fs::remove_dir_all(&work_dir).unwrap();
        std::os::unix::fs::symlink(&outside, &work_dir).unwrap();
        assert!(place.open().is_err() && place.make_dir().is_err());
        assert_eq!(outside.read_dir().unwrap().count(), 1);
    }
}
