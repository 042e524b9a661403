//! Archives of Go modules.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use build_core::{Error, ErrorKind, Result};
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

/// Writes the files of `dir` as the archive of `module`, which is `PATH@VERSION`.
pub(super) fn write(to: &Path, module: &str, dir: &Path) -> Result<()> {
    if !module.contains('@') {
        let text = format!("{module:?} is not PATH@VERSION");
        return Err(Error::new(ErrorKind::Invalid, text));
    }
    if let Some(parent) = to.parent() {
        fs::create_dir_all(parent)?;
    }
    let mut zip = ZipWriter::new(File::create(to)?);
    add(&mut zip, module, dir)?;
    zip.finish().map_err(unwritten)?;
    Ok(())
}

fn add(zip: &mut ZipWriter<File>, prefix: &str, dir: &Path) -> Result<()> {
    let mut entries = fs::read_dir(dir)?.collect::<io::Result<Vec<_>>>()?;
    // The same files make the same archive.
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let name = format!("{prefix}/{}", entry.file_name().to_string_lossy());
        let kind = entry.file_type()?;
        if kind.is_dir() {
            add(zip, &name, &entry.path())?;
        } else if kind.is_file() {
            zip.start_file(name, SimpleFileOptions::default())
                .map_err(unwritten)?;
            io::copy(&mut File::open(entry.path())?, zip)?;
        }
    }
    Ok(())
}

fn unwritten(error: zip::result::ZipError) -> Error {
    Error::caused_by(
        ErrorKind::Unavailable,
        "write the archive of a module",
        error,
    )
}
