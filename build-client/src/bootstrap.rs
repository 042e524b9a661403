//! Bootstrap tarballs: a Go toolchain that only has to build the next one, for machines that
//! have none.

use std::fmt;
use std::io::{self, BufWriter, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::str::FromStr;

use build_core::bootstrap_trim::keep;
use build_core::tarutil::{GzipOptions, Pack};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use crate::{Error, ErrorKind, Result};

/// System and processor that a toolchain runs on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    os: String,
    arch: String,
}

impl FromStr for Target {
    type Err = Error;

    /// Reads `GOOS/GOARCH`.
    fn from_str(text: &str) -> Result<Self> {
        let word = |word: &str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_alphanumeric());
        match text.split('/').collect::<Vec<_>>()[..] {
            [os, arch] if word(os) && word(arch) => Ok(Self {
                os: os.to_owned(),
                arch: arch.to_owned(),
            }),
            _ => Err(
                Error::new(ErrorKind::Invalid, format!("{text:?} is not GOOS/GOARCH"))
                    .with_hint("for example linux/arm64"),
            ),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.os, self.arch)
    }
}

/// A tarball to make from a Go tree.
#[derive(Clone, Debug)]
pub struct Bootstrap {
    goroot: PathBuf,
    target: Target,
    output: PathBuf,
}

/// A tarball that was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Made {
    /// Where it is.
    pub file: PathBuf,
    /// Its size.
    pub bytes: u64,
    /// Its hash, in hex.
    pub sha256: String,
    /// Files and directories in it.
    pub entries: u64,
}

impl Bootstrap {
    /// The tarball `gobootstrap-GOOS-GOARCH.tar.gz` beside the tree at `goroot`.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] when there is no tree.
    pub fn new(goroot: &Path, target: Target) -> Result<Self> {
        let missing = |error| {
            Error::caused_by(
                ErrorKind::Invalid,
                format!("no Go tree at {}", goroot.display()),
                error,
            )
        };
        let goroot = std::fs::canonicalize(goroot).map_err(missing)?;
        let beside = goroot.parent().unwrap_or(&goroot);
        let output = beside.join(format!("gobootstrap-{target}.tar.gz"));
        Ok(Self {
            goroot,
            target,
            output,
        })
    }

    /// Writes it to this file.
    #[must_use]
    pub fn output(self, file: impl Into<PathBuf>) -> Self {
        Self {
            output: file.into(),
            ..self
        }
    }

    /// The toolchain that [`Bootstrap::build`] makes.
    #[must_use]
    pub fn tree(&self) -> PathBuf {
        let beside = self.goroot.parent().unwrap_or(&self.goroot);
        beside.join(format!("go-{}-bootstrap", self.target))
    }

    /// Builds the toolchain with the tree's `src/bootstrap.bash`, anew.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] when it cannot be started, [`ErrorKind::Invalid`] when it
    /// fails.
    pub fn build(&self, output: Stdio) -> Result<()> {
        let src = self.goroot.join("src");
        let script = src.join("bootstrap.bash");
        let tree = self.tree();
        match std::fs::remove_dir_all(&tree) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                let text = format!("removing {}", tree.display());
                return Err(Error::caused_by(ErrorKind::Unavailable, text, error));
            }
            _ => {}
        }
        let status = Command::new(&script)
            .current_dir(&src)
            .env("GOOS", &self.target.os)
            .env("GOARCH", &self.target.arch)
            .stdin(Stdio::null())
            .stdout(output)
            .status()
            .map_err(|error| {
                Error::caused_by(
                    ErrorKind::Unavailable,
                    format!("starting {}", script.display()),
                    error,
                )
            })?;
        // The script packs everything too; nobody needs that.
        let mut unwanted = tree.into_os_string();
        unwanted.push(".tbz");
        let _was_not_made = std::fs::remove_file(unwanted);
        if status.success() {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Invalid,
            format!("{}: {status}", script.display()),
        ))
    }

    /// Packs what of the toolchain a bootstrap needs. Equal trees make equal bytes, on any
    /// machine: entries are sorted, times and owners are 0. The file appears when it is whole.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] without a toolchain or without its `bin/go`,
    /// [`ErrorKind::Unavailable`] when files cannot be read or written.
    pub fn pack(&self) -> Result<Made> {
        let tree = self.tree();
        let failed = |what: &str, error: Box<dyn std::error::Error + Send + Sync>| {
            Error::caused_by(
                ErrorKind::Unavailable,
                format!("{what} {}", self.output.display()),
                error,
            )
        };
        if !["go", "go.exe"]
            .iter()
            .any(|name| tree.join("bin").join(name).is_file())
        {
            return Err(Error::new(
                ErrorKind::NotFound,
                format!("{} has no bin/go", tree.display()),
            )
            .with_hint("build it first: without -skip_build"));
        }
        let root: OwnedFd = std::fs::File::open(&tree)
            .map_err(|e| failed("reading for", e.into()))?
            .into();
        let dir = self
            .output
            .parent()
            .filter(|dir| !dir.as_os_str().is_empty())
            .unwrap_or_else(|| Path::new("."));
        let file = tempfile::Builder::new()
            .prefix(".gobootstrap")
            .tempfile_in(dir)
            .map_err(|e| failed("writing", e.into()))?;
        let mut out = Counted {
            inner: BufWriter::new(file),
            bytes: 0,
            hash: Sha256::new(),
        };
        let regular = |path: &[u8]| {
            let path = std::str::from_utf8(path).unwrap_or_default();
            std::fs::symlink_metadata(tree.join(path.trim_end_matches('/')))
                .is_ok_and(|meta| meta.is_file() || meta.is_dir())
                && keep(path)
        };
        let packed = Pack::beneath(root)
            .deterministic()
            .filter(regular)
            .write_gz(&mut out, &GzipOptions::default())
            .map_err(|e| failed("writing", e.into()))?;
        let file = out
            .inner
            .into_inner()
            .map_err(|e| failed("writing", e.into_error().into()))?;
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
        file.as_file()
            .set_permissions(mode)
            .and_then(|()| file.as_file().sync_all())
            .map_err(|e| failed("writing", e.into()))?;
        file.persist(&self.output)
            .map_err(|e| failed("writing", e.into()))?;
        Ok(Made {
            file: self.output.clone(),
            bytes: out.bytes,
            sha256: hex::encode(out.hash.finalize()),
            entries: packed.entries,
        })
    }
}

/// A writer that counts and hashes what goes through it.
struct Counted<W> {
    inner: W,
    bytes: u64,
    hash: Sha256,
}

impl<W: Write> Write for Counted<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.inner.write(bytes)?;
        self.bytes += n as u64;
        self.hash.update(&bytes[..n]);
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_two_words() {
        assert_eq!(
            "linux/arm64".parse::<Target>().unwrap().to_string(),
            "linux-arm64"
        );
        for bad in [
            "linux-amd64",
            "linux",
            "/amd64",
            "a/b/c",
            "../x",
            "linux/a b",
        ] {
            assert!(bad.parse::<Target>().is_err(), "{bad}");
        }
    }
}
