//! Files and directories that only their owner may read, whatever the umask, and small files
//! that are there whole or not at all.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use tempfile::NamedTempFile;

/// Makes `dir` and what is missing above it, each with mode 0700; what is there stays as it is.
///
/// # Errors
/// Those of the file system.
pub(crate) fn create_dir_all(dir: &Path) -> io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    if let Some(above) = dir.parent().filter(|above| !above.as_os_str().is_empty()) {
        create_dir_all(above)?;
    }
    match DirBuilder::new().mode(0o700).create(dir) {
        // Somebody else made it meanwhile.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && dir.is_dir() => Ok(()),
        // A umask can only take rights away, the owner's too.
        Ok(()) => std::fs::set_permissions(dir, Permissions::from_mode(0o700)),
        Err(error) => Err(error),
    }
}

/// Opens a file to read and write, made when it is missing; its mode is 0600 from then on.
///
/// # Errors
/// Those of the file system.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    let file = options.mode(0o600).open(path)?;
    if file.metadata()?.permissions().mode() & 0o777 != 0o600 {
        file.set_permissions(Permissions::from_mode(0o600))?;
    }
    Ok(file)
}

/// Writes a small file of mode 0600: readers, and the next start after a power cut, see what was
/// there before or all of `contents`.
///
/// # Errors
/// Those of the file system; then nothing has changed.
pub(crate) fn write(path: &Path, contents: &[u8]) -> io::Result<()> {
    let file = beside(path, contents)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    File::open(directory_of(path))?.sync_all()
}

/// As [`write`], for what is of no harm when it is lost: the disk is not waited for.
///
/// # Errors
/// Those of the file system; then nothing has changed.
pub(crate) fn write_soon(path: &Path, contents: &[u8]) -> io::Result<()> {
    let file = beside(path, contents)?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}

/// A new file beside `path`; its mode is 0600, as of all such files.
fn beside(path: &Path, contents: &[u8]) -> io::Result<NamedTempFile> {
    let mut file = tempfile::Builder::new()
        .prefix(".new-")
        .tempfile_in(directory_of(path))?;
    file.write_all(contents)?;
    Ok(file)
}

fn directory_of(path: &Path) -> &Path {
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty());
    dir.unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        path.metadata().unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn modes_do_not_depend_on_the_umask_and_small_files_are_replaced_whole() {
        let top = tempfile::tempdir().unwrap();
        let dir = top.path().join("a/b");
        create_dir_all(&dir).unwrap();
        create_dir_all(&dir).unwrap();
        assert_eq!((mode(&dir), mode(&top.path().join("a"))), (0o700, 0o700));
        let path = dir.join("x");
        std::fs::write(&path, "old and longer").unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        open(&path).unwrap();
        assert_eq!(mode(&path), 0o600);
        write(&path, b"new").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
        assert_eq!(mode(&path), 0o600);
        assert_eq!(
            dir.read_dir().unwrap().count(),
            1,
            "nothing is left beside it"
        );
        assert!(create_dir_all(&path).is_err(), "a file is no directory");
    }
}
