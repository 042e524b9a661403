//! By what the commands of local machines are bounded, and how that is said.

use std::fmt;

use crate::buildlet::sandbox::{Bounds, Level};

/// Who sees to a bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Keeper {
    /// The kernel, by control groups.
    Groups,
    /// The kernel, within the user namespace of a command (`RLIMIT_NPROC`).
    Namespace,
    /// The buildlet, which looks four times a second.
    Looks,
}

impl Keeper {
    /// Its words.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Groups => "control groups",
            Self::Namespace => "the limit of the user namespace",
            Self::Looks => "looking",
        }
    }
}

/// By what the commands of local machines are bounded.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Who sees to memory.
    pub memory: Keeper,
    /// Who sees to processes, at the level that is usual here.
    pub processes: Keeper,
    /// Why there are no control groups.
    pub why_no_groups: Option<String>,
    /// What each command may take at most, whatever its step says.
    pub bounds: Bounds,
}

impl Limits {
    pub(super) fn new(why_no_groups: Option<String>, level: Option<Level>, bounds: Bounds) -> Self {
        let counted = why_no_groups.is_none();
        // Root is not bound by a limit of its own.
        let is_bound = !rustix::process::geteuid().is_root();
        let apart = level == Some(Level::Namespaces) && is_bound;
        Self {
            memory: if counted {
                Keeper::Groups
            } else {
                Keeper::Looks
            },
            processes: match (counted, apart) {
                (true, _) => Keeper::Groups,
                (false, true) => Keeper::Namespace,
                (false, false) => Keeper::Looks,
            },
            why_no_groups,
            bounds,
        }
    }
}

impl fmt::Display for Limits {
    /// One line: what bounds memory, processes and the disk.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Bounds {
            disk_bytes, files, ..
        } = self.bounds;
        match self.memory == self.processes {
            true => write!(f, "memory and processes by {}", self.memory.as_str())?,
            false => write!(
                f,
                "memory by {}, processes by {}",
                self.memory.as_str(),
                self.processes.as_str()
            )?,
        }
        match (disk_bytes, files) {
            (None, None) => f.write_str(", disk by its free space"),
            (bytes, files) => {
                let bytes = bytes.map(|bytes| format!("{bytes} bytes"));
                let files = files.map(|files| format!("{files} files"));
                let both: Vec<String> = bytes.into_iter().chain(files).collect();
                write!(f, ", disk by a quota of {}", both.join(" and "))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_bounds_a_command_is_said_in_one_line() {
        let why = || Some("there are none".to_owned());
        let plain = Limits::new(why(), Some(Level::User), Bounds::default());
        assert_eq!(
            plain.to_string(),
            "memory and processes by looking, disk by its free space"
        );
        let quota = Bounds::default().with_disk(1 << 30).with_files(500);
        let counted = Limits::new(None, Some(Level::Namespaces), quota);
        assert_eq!(
            counted.to_string(),
            "memory and processes by control groups, disk by a quota of 1073741824 bytes and 500 files"
        );
        let apart = Limits::new(why(), Some(Level::Namespaces), quota.with_disk(5));
        let is_root = rustix::process::geteuid().is_root();
        let says = apart
            .to_string()
            .contains("processes by the limit of the user");
        assert_eq!(says, !is_root, "{apart}");
    }
}
