//! The modification times of the files of a checkout: written down, and given to the next one.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, statat, utimensat};
use serde::{Deserialize, Serialize};

/// Deepest directory that is looked into.
const MAX_DEPTH: usize = 256;

/// Seconds and nanoseconds since 1970.
pub(super) type Time = (i64, i64);

/// By path below the checkout; the paths of directories end in `/`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Times(BTreeMap<String, Time>);

/// The time of what is at a path, and not of what it may point to.
pub(super) fn time_of(path: &Path) -> io::Result<Time> {
    let about = statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW)?;
    Ok((about.st_mtime, about.st_mtime_nsec as i64))
}

pub(super) fn set_time(path: &Path, (seconds, nanos): Time) -> io::Result<()> {
    let at = Timespec {
        tv_sec: seconds,
        tv_nsec: nanos as _,
    };
    let times = Timestamps {
        last_access: at,
        last_modification: at,
    };
    Ok(utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)?)
}

impl Times {
    /// Of everything below `top` but git's own and what is in `left_out`. `None` when a name is no
    /// text, or directories are nested too deeply.
    pub(super) fn of(top: &Path, left_out: &[&str]) -> io::Result<Option<Self>> {
        let mut times = BTreeMap::new();
        let mut waiting = vec![(String::new(), 0)];
        while let Some((dir, depth)) = waiting.pop() {
            if depth > MAX_DEPTH {
                return Ok(None);
            }
            for entry in top.join(&dir).read_dir()? {
                let entry = entry?;
                let Ok(name) = entry.file_name().into_string() else {
                    return Ok(None);
                };
                let path = format!("{dir}{name}");
                if name == ".git" || left_out.contains(&path.as_str()) {
                    continue;
                }
                let time = time_of(&entry.path())?;
                match entry.file_type()?.is_dir() {
                    true => {
                        waiting.push((format!("{path}/"), depth + 1));
                        times.insert(format!("{path}/"), time);
                    }
                    false => drop(times.insert(path, time)),
                }
            }
        }
        Ok(Some(Self(times)))
    }

    /// The files and links.
    pub(super) fn files(&self) -> impl Iterator<Item = &str> {
        let all = self.0.keys().map(String::as_str);
        all.filter(|path| !path.ends_with('/'))
    }

    /// Gives the files of a checkout these times, but `fresh` to those that are not among them or
    /// that `is_new` names. Directories come last: nothing in them changes afterwards.
    pub(super) fn give(
        &self,
        top: &Path,
        now: &mut Self,
        fresh: Time,
        is_new: impl Fn(&str) -> bool,
    ) -> io::Result<()> {
        let (dirs, files): (Vec<_>, Vec<_>) =
            now.0.iter_mut().partition(|(path, _)| path.ends_with('/'));
        for (path, time) in files.into_iter().chain(dirs.into_iter().rev()) {
            let wanted = match self.0.get(path) {
                Some(old) if !is_new(path) => *old,
                _ => fresh,
            };
            if *time != wanted {
                set_time(&top.join(path), wanted)?;
                *time = wanted;
            }
        }
        Ok(())
    }

    /// Whether the files of a checkout still have these times; the first that has not.
    pub(super) fn first_changed(&self, top: &Path) -> Option<&str> {
        let mut files = self.0.iter().filter(|(path, _)| !path.ends_with('/'));
        let changed = files.find(|(path, time)| time_of(&top.join(path)).ok() != Some(**time));
        changed.map(|(path, _)| path.as_str())
    }

    #[cfg(test)]
    pub(super) fn named(paths: &[&str]) -> Self {
        Self(
            paths
                .iter()
                .map(|path| ((*path).to_owned(), (1, 0)))
                .collect(),
        )
    }
}
