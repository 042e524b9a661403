//! The directory of a pool, with one directory for each machine: `machines/HOST_TYPE/m1`.
//!
//! The number of a machine that is gone is given to the next one: many tools write down where
//! something was made, and make it again in another place.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use build_core::ids::HostType;
use build_core::tree::remove_tree;
use build_core::{Error, ErrorKind, Result};

use super::keeper::is_locked;
use super::machine::Binding;
use crate::spread::{forget_unnamed, spread_below};

/// Directories on their way out are called so, and something random.
const TRASH: &str = ".trash-";

/// Those that could not be deleted are called so.
const ASIDE: &str = ".aside-";
/// Tries to delete a directory in this process. One that ends with the process is followed by
/// another one at the next start; then a process of its own has to do it.
const TRIES: u32 = 2;

/// Directories that outlive their machines are below it.
const WARM: &str = ".warm";

/// Where machines are.
pub(super) struct Place {
    wanted: Option<PathBuf>,
    host_type: HostType,
    made: OnceLock<Made>,
}

struct Made {
    dir: PathBuf,
    /// Deletes it, when nobody has named a place.
    _own: Option<tempfile::TempDir>,
}

impl Place {
    /// Below `wanted`, or in a directory of its own. Nothing is made yet.
    pub(super) fn new(wanted: Option<PathBuf>, host_type: &HostType) -> Self {
        Self {
            wanted,
            host_type: host_type.clone(),
            made: OnceLock::new(),
        }
    }

    /// The directory, made when it is first asked for.
    fn dir(&self) -> Result<&Path> {
        if let Some(made) = self.made.get() {
            return Ok(&made.dir);
        }
        let made = self
            .make()
            .map_err(|e| Error::from(e).while_doing("make the directory of local machines"))?;
        // Of two that were made at the same time the first one stays; both are the same place,
        // or the other one deletes itself.
        Ok(&self.made.get_or_init(|| made).dir)
    }

    fn make(&self) -> io::Result<Made> {
        let (parent, own) = match &self.wanted {
            Some(dir) => (dir.clone(), None),
            None => {
                let own = tempfile::Builder::new().prefix("farmer-").tempdir()?;
                (own.path().to_owned(), Some(own))
            }
        };
        let dir = parent.join("machines").join(self.host_type.as_str());
        DirBuilder::new().recursive(true).mode(0o700).create(&dir)?;
        // A directory that was there before may have been open to others.
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o700))?;
        spread_below(&dir);
        forget_unnamed(&dir)?;
        Ok(Made {
            dir: dir.canonicalize()?,
            _own: own,
        })
    }

    /// The path of the machine of a number.
    pub(super) fn machine(&self, number: u64) -> Result<PathBuf> {
        Ok(self.dir()?.join(format!("m{number}")))
    }

    /// Where directories of builds that have ended are kept for later ones.
    pub(super) fn warm(&self) -> Result<PathBuf> {
        Ok(self.dir()?.join(WARM))
    }

    /// Every machine's directory.
    pub(super) fn machines(&self) -> Result<Vec<PathBuf>> {
        self.entries(|name| !name.starts_with('.'))
    }

    /// What a deletion has left.
    pub(super) fn trash(&self) -> Result<Vec<PathBuf>> {
        self.entries(|name| name.starts_with(TRASH))
    }

    /// What could not be deleted, and is left alone.
    pub(super) fn aside(&self) -> Result<Vec<PathBuf>> {
        self.entries(|name| name.starts_with(ASIDE))
    }

    fn entries(&self, wanted: impl Fn(&str) -> bool) -> Result<Vec<PathBuf>> {
        entries(self.dir()?, wanted)
    }

    /// The directory that was given to a lease.
    pub(super) fn find(&self, wanted: &Binding) -> Result<Option<PathBuf>> {
        let mut unknown = None;
        for dir in self.machines()? {
            match Binding::read(&dir) {
                Ok(binding) if binding.as_ref() == Some(wanted) => return Ok(Some(dir)),
                Ok(_) => {}
                // Of one that lives nobody can tell whose it is, until its lease has expired.
                Err(error) if is_locked(&dir) => unknown = Some((dir, error)),
                Err(_) => {}
            }
        }
        match unknown {
            None => Ok(None),
            Some((dir, error)) => {
                let text = format!("cannot tell whose the machine in {} is", dir.display());
                Err(Error::caused_by(ErrorKind::Unavailable, text, error))
            }
        }
    }

    /// Renames a machine's directory away, so that nobody finds it any more; `None` when there
    /// is none.
    pub(super) fn discard(&self, dir: &Path) -> io::Result<Option<PathBuf>> {
        let random = random_hex().map_err(io::Error::other)?;
        let trash = dir.with_file_name(format!("{TRASH}{random}"));
        match fs::rename(dir, &trash) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            renamed => renamed.map(|()| Some(trash)),
        }
    }
}

/// What is in a directory; nothing when there is none.
pub(super) fn entries(dir: &Path, wanted: impl Fn(&str) -> bool) -> Result<Vec<PathBuf>> {
    let listed = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        listed => listed?,
    };
    let mut found = Vec::new();
    for entry in listed {
        let entry = entry?;
        // Names that are no text are not ours.
        if entry.file_name().to_str().is_some_and(&wanted) {
            found.push(entry.path());
        }
    }
    Ok(found)
}

/// The name of a machine.
pub(super) fn name_of(dir: &Path) -> String {
    dir.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

fn random_hex() -> Result<String> {
    let mut bytes = [0; 6];
    let filled = getrandom::fill(&mut bytes);
    filled.map_err(|e| Error::caused_by(ErrorKind::Unavailable, "no random numbers", e))?;
    Ok(hex::encode(bytes))
}

/// Deletes a directory, read-only parts included. One that was begun twice and is still there may
/// have ended this process each time: another program deletes it, and when that fails too it is set
/// aside, so that it never stops a start.
pub(super) fn delete(dir: &Path) {
    let deleted = match begun(dir) {
        None => remove_tree(dir),
        Some((_, TRIES..)) => delete_outside(dir),
        Some((name, tries)) => {
            // In its name, so that whoever comes after this process sees it.
            let noted = dir.with_file_name(format!("{name}.{}", tries + 1));
            fs::rename(dir, &noted).and_then(|()| remove_tree(&noted))
        }
    };
    match deleted {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(%error, dir = %dir.display(), "cannot delete a machine's directory");
        }
        _ => {}
    }
}

/// The name of a directory on its way out, and how often it was begun to delete it.
fn begun(dir: &Path) -> Option<(String, u32)> {
    let name = name_of(dir);
    let random = name.strip_prefix(TRASH)?;
    Some(match random.rsplit_once('.') {
        Some((random, tries)) => (format!("{TRASH}{random}"), tries.parse().ok()?),
        None => (name, 0),
    })
}

fn delete_outside(dir: &Path) -> io::Result<()> {
    let ran = Command::new("rm").args(["-rf", "--"]).arg(dir).output()?;
    if ran.status.success() && fs::symlink_metadata(dir).is_err() {
        return Ok(());
    }
    let name = name_of(dir).replacen(TRASH, ASIDE, 1);
    let aside = dir.with_file_name(name);
    fs::rename(dir, &aside)?;
    let said = String::from_utf8_lossy(&ran.stderr);
    let first = said.lines().next().unwrap_or_default();
    let text = format!("it is set aside as {}: {first}", aside.display());
    Err(io::Error::other(text))
}

#[cfg(test)]
mod tests {
    use build_core::ids::{LeaseId, Nonce};

    use super::*;

    #[test]
    fn a_discarded_machine_is_found_by_nobody_but_the_trash() {
        let data = tempfile::tempdir().unwrap();
        let place = Place::new(
            Some(data.path().to_owned()),
            &HostType::new("local").unwrap(),
        );
        let dir = place.machine(1).unwrap();
        fs::create_dir(&dir).unwrap();
        let binding = Binding::new(&LeaseId::from_bits(1), &Nonce::new("n1").unwrap());
        binding.write(&dir).unwrap();
        assert_eq!(place.find(&binding).unwrap(), Some(dir.clone()));
        let other = Binding::new(&LeaseId::from_bits(1), &Nonce::new("n2").unwrap());
        assert_eq!(
            place.find(&other).unwrap(),
            None,
            "another nonce is another holder"
        );

        let trash = place.discard(&dir).unwrap().unwrap();
        assert_eq!(
            (place.machines().unwrap(), place.trash().unwrap()),
            (vec![], vec![trash.clone()])
        );
        assert_eq!(place.discard(&dir).unwrap(), None);
        delete(&trash);
        assert!(place.trash().unwrap().is_empty());
    }

    #[test]
    fn a_deletion_that_ended_its_process_twice_is_done_by_another_one() {
        let data = tempfile::tempdir().unwrap();
        let host = HostType::new("local").unwrap();
        let place = Place::new(Some(data.path().to_owned()), &host);
        let dir = place.dir().unwrap().to_owned();
        for name in [".trash-a", ".trash-b.1", ".trash-c.2", ".trash-d.7"] {
            fs::create_dir_all(dir.join(name).join("work")).unwrap();
            assert_eq!(begun(&dir.join(name)).unwrap().0, name[..8]);
        }
        for trash in place.trash().unwrap() {
            delete(&trash);
        }
        assert!(place.trash().unwrap().is_empty());
        // What nobody can delete is named and left alone. Not even root removes what is no file.
        let stuck = dir.join(".trash-e.2");
        delete(&stuck);
        assert!(place.aside().unwrap().is_empty(), "it is gone already");
        fs::create_dir(&stuck).unwrap();
        assert_eq!(begun(&stuck), Some((".trash-e".into(), 2)));
        assert_eq!(begun(&dir.join("m1f00")), None);
        assert_eq!(begun(&dir.join(".trash-e.x")), None);
    }

    #[test]
    fn a_torn_file_of_one_machine_hides_no_other() {
        let data = tempfile::tempdir().unwrap();
        let host = HostType::new("local").unwrap();
        let place = Place::new(Some(data.path().to_owned()), &host);
        let (torn, whole) = (place.machine(1).unwrap(), place.machine(2).unwrap());
        let binding = Binding::new(&LeaseId::from_bits(1), &Nonce::new("n1").unwrap());
        for dir in [&torn, &whole] {
            fs::create_dir(dir).unwrap();
            binding.write(dir).unwrap();
        }
        let text = fs::read(torn.join("lease.json")).unwrap();
        for cut in 0..text.len() {
            fs::write(torn.join("lease.json"), &text[..cut]).unwrap();
            assert_eq!(place.find(&binding).unwrap(), Some(whole.clone()));
        }
        delete(&whole);
        assert_eq!(place.find(&binding).unwrap(), None, "nothing lives there");
        let lock = fs::File::create(torn.join("lock")).unwrap();
        lock.lock().unwrap();
        let error = place.find(&binding).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "it may be that one");
    }

    #[test]
    fn read_only_trees_are_deleted_too() {
        let data = tempfile::tempdir().unwrap();
        let tree = data.path().join("tree");
        fs::create_dir_all(tree.join("pkg/mod")).unwrap();
        fs::write(tree.join("pkg/mod/file"), "x").unwrap();
        for dir in ["pkg/mod", "pkg"] {
            fs::set_permissions(tree.join(dir), fs::Permissions::from_mode(0o500)).unwrap();
        }
        delete(&tree);
        assert!(!tree.exists());
    }
}
