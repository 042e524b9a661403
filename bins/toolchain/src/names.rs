//! The links by which a toolchain is called: made, and taken away.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use farmer_cli::{Exit, Failure};

/// Makes `dir/name` this program. What is there and is not ours is left alone, unless `force`.
pub(crate) fn install(dir: &Path, name: &str, force: bool) -> Result<PathBuf, Failure> {
    let own = std::env::current_exe().and_then(fs::canonicalize)?;
    let link = dir.join(format!("{name}{}", std::env::consts::EXE_SUFFIX));
    let failed = |doing: &str, error: io::Error| {
        let what = format!("{doing} {}: {error}", link.display());
        Failure::because(
            Exit::Infrastructure,
            &io::Error::new(error.kind(), what),
            None,
        )
    };
    fs::create_dir_all(dir).map_err(|error| failed("make the directory of", error))?;
    if link.symlink_metadata().is_ok() {
        if !force && !is_ours(&link, &own) {
            return Err(Failure::because(
                Exit::Failed,
                &io::Error::other(format!(
                    "{} is there and is another program",
                    link.display()
                )),
                Some("--force replaces it"),
            ));
        }
        fs::remove_file(&link).map_err(|error| failed("replace", error))?;
    }
    place(&own, &link).map_err(|error| failed("make", error))?;
    Ok(link)
}

/// Takes `dir/name` away when it is ours.
pub(crate) fn remove(dir: &Path, name: &str) -> Result<(), Failure> {
    let own = std::env::current_exe().and_then(fs::canonicalize)?;
    let link = dir.join(format!("{name}{}", std::env::consts::EXE_SUFFIX));
    if link.symlink_metadata().is_ok() && is_ours(&link, &own) {
        fs::remove_file(&link)?;
    }
    Ok(())
}

/// Where links go when nothing is said: beside this program.
pub(crate) fn beside_us() -> Result<PathBuf, Failure> {
    let own = std::env::current_exe()?;
    Ok(own.parent().unwrap_or(Path::new(".")).to_owned())
}

#[cfg(unix)]
fn place(own: &Path, link: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(own, link)
}

/// A link leads to this program, or to one of its name that has gone.
#[cfg(unix)]
fn is_ours(link: &Path, own: &Path) -> bool {
    let target = fs::read_link(link);
    target.is_ok_and(|target| target == own || target.file_name() == own.file_name())
}

#[cfg(not(unix))]
fn place(own: &Path, link: &Path) -> io::Result<()> {
    fs::copy(own, link).map(drop)
}

/// A copy is this program when it is the same, byte for byte.
#[cfg(not(unix))]
fn is_ours(link: &Path, own: &Path) -> bool {
    let same_length = |a: fs::Metadata, b: fs::Metadata| a.len() == b.len();
    match (link.metadata(), own.metadata()) {
        (Ok(a), Ok(b)) if same_length(a, b) => {
            matches!((fs::read(link), fs::read(own)), (Ok(a), Ok(b)) if a == b)
        }
        _ => false,
    }
}
