//! Searches the logs that [`fetchlogs`](crate::fetchlogs) keeps, or any others.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use build_core::log_failures::{LogFailure, failures_of};

use crate::{Error, ErrorKind, Result};

/// Largest log that is read.
const LARGEST: u64 = 256 << 20;
/// Directories that are gone down, at most.
const DEEPEST: usize = 32;

/// Which logs are looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Period {
    /// From this time on, `YYYY-MM-DDTHH:MM:SS`; empty: all.
    pub since: String,
    /// Before this time; empty: all.
    pub before: String,
}

/// A log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFile {
    /// Where it is.
    pub path: PathBuf,
    /// The name that is shown: what is below the directory that was searched.
    pub name: String,
    /// The hash of its contents, when it is a link to a log that has it as name.
    pub hash: Option<String>,
}

/// A log's contents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogText {
    /// All of it; bytes that are not UTF-8 are replaced.
    pub text: String,
    /// The failures in it.
    pub failures: Vec<LogFailure>,
}

/// The logs below the directory `rev` that `fetchlogs` keeps, newest first.
///
/// # Errors
/// When it cannot be read.
pub fn newest_first(rev: &Path) -> Result<Vec<PathBuf>> {
    let named = |error: io::Error| Error::from(error).while_doing(rev.display().to_string());
    let mut dirs = Vec::new();
    for entry in fs::read_dir(rev).map_err(named)? {
        let entry = entry.map_err(named)?;
        if entry.file_type().map_err(named)?.is_dir() {
            dirs.push(entry.path());
        }
    }
    dirs.sort_unstable_by(|a, b| b.cmp(a));
    Ok(dirs)
}

/// The logs at and below `path`; names are shown without `strip` at their begin. Files whose name
/// begins with a point are none.
///
/// # Errors
/// When something cannot be read.
pub fn logs_below(path: &Path, strip: Option<&Path>) -> Result<Vec<LogFile>> {
    let mut found = Vec::new();
    gather(path, strip, DEEPEST, &mut found)?;
    Ok(found)
}

fn gather(path: &Path, strip: Option<&Path>, left: usize, found: &mut Vec<LogFile>) -> Result<()> {
    let named = |error: io::Error| Error::from(error).while_doing(path.display().to_string());
    // A link to a log is a log, one to a directory is not gone through.
    if fs::symlink_metadata(path).map_err(named)?.is_dir() {
        if left == 0 {
            let text = format!("{}: too many directories in each other", path.display());
            return Err(Error::new(ErrorKind::Limit, text));
        }
        let entries = fs::read_dir(path).map_err(named)?;
        let mut paths = entries
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<io::Result<Vec<_>>>()
            .map_err(named)?;
        paths.sort_unstable();
        for path in paths {
            gather(&path, strip, left - 1, found)?;
        }
        return Ok(());
    }
    let is_hidden = |name: &std::ffi::OsStr| name.as_encoded_bytes().starts_with(b".");
    if path.file_name().is_some_and(is_hidden) {
        return Ok(());
    }
    let shown = strip.and_then(|strip| path.strip_prefix(strip).ok());
    let target = fs::read_link(path).ok();
    found.push(LogFile {
        path: path.to_owned(),
        name: shown.unwrap_or(path).display().to_string(),
        hash: target.and_then(|target| Some(target.file_name()?.to_str()?.to_owned())),
    });
    Ok(())
}

impl LogFile {
    /// The builder: the last part of the name.
    #[must_use]
    pub fn builder(&self) -> &str {
        self.name.rsplit('/').next().unwrap_or_default()
    }

    /// The revisions in the name of its directory; `None` when that is of another form.
    #[must_use]
    pub fn revisions(&self) -> Option<&str> {
        self.commit().map(|(_, revisions)| revisions)
    }

    /// Whether it is of a commit in this time.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] when its directory does not say the time of a commit.
    pub fn is_within(&self, period: &Period) -> Result<bool> {
        if period.since.is_empty() && period.before.is_empty() {
            return Ok(true);
        }
        let (time, _) = self.commit().ok_or_else(|| {
            let text = format!("timestamp not found in rev dir name: {:?}", self.dir());
            Error::new(ErrorKind::Invalid, text)
        })?;
        let early = time < period.since.as_str();
        Ok(!early && (period.before.is_empty() || time < period.before.as_str()))
    }

    fn dir(&self) -> &str {
        let mut parts = self.name.rsplit('/');
        parts.nth(1).unwrap_or_default()
    }

    /// Time and revisions: `2020-12-23T10:00:00-0123abc` or `…-0123abc-4567def`.
    fn commit(&self) -> Option<(&str, &str)> {
        const FORM: &[u8] = b"0000-00-00T00:00:00-";
        let (time, revisions) = self.dir().split_at_checked(FORM.len())?;
        let fits = time.bytes().zip(FORM).all(|(is, form)| match form {
            b'0' => is.is_ascii_digit(),
            form => is == *form,
        });
        let is_hex = |part: &str| {
            !part.is_empty() && part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        };
        let parts: Vec<&str> = revisions.split('-').collect();
        let fits = fits && parts.len() <= 2 && parts.into_iter().all(is_hex);
        fits.then(|| (&time[..time.len() - 1], revisions))
    }

    /// Reads it.
    ///
    /// # Errors
    /// When it cannot be read, or is larger than any log.
    pub fn read(&self) -> Result<String> {
        let named = |error: io::Error| Error::from(error).while_doing(self.name.clone());
        if fs::metadata(&self.path).map_err(named)?.len() > LARGEST {
            let text = format!("{}: larger than any log", self.name);
            return Err(Error::new(ErrorKind::Limit, text));
        }
        let bytes = fs::read(&self.path).map_err(named)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

impl LogText {
    /// The failures of a log.
    #[must_use]
    pub fn of(text: String) -> Self {
        Self {
            failures: failures_of(&text),
            text,
        }
    }
}

/// A time of a flag as directories write it: a day, or a day and a time.
///
/// # Errors
/// [`ErrorKind::Invalid`] with the forms that are understood.
pub fn time_of(text: &str) -> Result<String> {
    let day = jiff::civil::Date::strptime("%Y-%m-%d", text).map(|day| day.at(0, 0, 0, 0));
    let time = day.or_else(|_| jiff::civil::DateTime::strptime("%Y-%m-%dT%H:%M:%S", text));
    match time {
        Ok(time) => Ok(time.strftime("%Y-%m-%dT%H:%M:%S").to_string()),
        Err(_) => {
            let text = format!("{text:?} is no time");
            Err(Error::new(ErrorKind::Invalid, text)
                .with_hint("write 2020-12-31 or 2020-12-31T23:59:59"))
        }
    }
}
