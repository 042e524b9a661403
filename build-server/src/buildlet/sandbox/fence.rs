//! What a command may reach, as data.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use build_core::plan::{Network, Sandbox};
use serde::{Deserialize, Serialize};

/// How strictly commands are kept apart from their machine; higher levels include the lower ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Level {
    /// Not at all.
    #[default]
    None,
    /// Landlock, a filter of system calls, no new privileges.
    User,
    /// In namespaces of their own.
    Namespaces,
}

impl Level {
    /// Its name in configurations.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::User => "user",
            Self::Namespaces => "namespaces",
        }
    }

    /// The lowest level that can give a command such a network.
    pub fn of_network(network: Network) -> Self {
        match network {
            Network::Open => Self::None,
            Network::Closed => Self::User,
            _ => Self::Namespaces,
        }
    }

    /// The lowest level that is what a configuration asks for; `None` when it asks for the highest
    /// that there is, or for one that is none of these.
    pub fn wanted(sandbox: Sandbox) -> Option<Self> {
        match sandbox {
            Sandbox::None => Some(Self::None),
            Sandbox::User => Some(Self::User),
            Sandbox::Namespaces => Some(Self::Namespaces),
            _ => None,
        }
    }
}

impl std::fmt::Display for Level {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How much a command may take; `None` is no bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Bounds {
    /// Bytes of memory of all its processes.
    pub memory_bytes: Option<u64>,
    /// Processes.
    pub processes: Option<u64>,
    /// Bytes on the disk in the directory of its machine.
    pub disk_bytes: Option<u64>,
    /// Files and directories there.
    pub files: Option<u64>,
}

impl Bounds {
    /// The same with so much memory.
    #[must_use]
    pub fn with_memory(self, bytes: u64) -> Self {
        let memory_bytes = Some(bytes);
        Self {
            memory_bytes,
            ..self
        }
    }

    /// The same with so many processes.
    #[must_use]
    pub fn with_processes(self, most: u64) -> Self {
        let processes = Some(most);
        Self { processes, ..self }
    }

    /// The same with so much of the disk.
    #[must_use]
    pub fn with_disk(self, bytes: u64) -> Self {
        let disk_bytes = Some(bytes);
        Self { disk_bytes, ..self }
    }

    /// The same with so many files.
    #[must_use]
    pub fn with_files(self, most: u64) -> Self {
        let files = Some(most);
        Self { files, ..self }
    }

    /// What holds where both do.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        let least = |a: Option<u64>, b: Option<u64>| match (a, b) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        Self {
            memory_bytes: least(self.memory_bytes, other.memory_bytes),
            processes: least(self.processes, other.processes),
            disk_bytes: least(self.disk_bytes, other.disk_bytes),
            files: least(self.files, other.files),
        }
    }
}

/// What the commands of one machine may reach. Paths are absolute and lead through no links.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Fence {
    /// How strictly.
    pub level: Level,
    /// Which network.
    pub network: Network,
    /// Directories of which nothing is seen but what the lists below name.
    pub hidden: Vec<PathBuf>,
    /// What may be read there.
    pub readable: Vec<PathBuf>,
    /// Directories that may be written to: the machine's own.
    pub writable: Vec<PathBuf>,
    /// Caches that are shared with other machines, and written to.
    pub shared: Vec<PathBuf>,
    /// Tools and caches that are written to in layers of the machine's own, below `layers`; where
    /// there can be none, they are read.
    pub layered: Vec<PathBuf>,
    /// Where the layers are.
    pub layers: PathBuf,
    /// What is seen as `/tmp` and `/var/tmp` in namespaces.
    pub tmp: PathBuf,
    /// The most processes of a command, where the kernel counts them; `None`: as the system says.
    pub processes: Option<u64>,
    /// What every command may take at most; one may ask for less.
    pub bounds: Bounds,
    /// The control group of the machine, in which each command gets one; `None` where there is none.
    pub groups: Option<PathBuf>,
    /// The control group of one command, which its launcher enters before all else.
    pub group: Option<PathBuf>,
}

impl Fence {
    /// The name of its file in the state directory of a buildlet.
    pub const FILE: &str = "sandbox.json";

    /// Reads what holds for the buildlet whose state is in `state_dir`.
    ///
    /// # Errors
    /// It is not there or cannot be read: nothing may be run then.
    pub fn read(state_dir: &Path) -> io::Result<Self> {
        let text = fs::read(state_dir.join(Self::FILE))?;
        Ok(serde_json::from_slice(&text)?)
    }

    /// The same for one command that asks for more: never for less. One that asks for namespaces
    /// writes to caches in layers, for nobody vouches for what it leaves there.
    #[must_use]
    pub fn tightened(mut self, sandbox: Sandbox, network: Network) -> Self {
        if Level::wanted(sandbox) == Some(Level::Namespaces) {
            self.layered.append(&mut self.shared);
            let layered = &self.layered;
            // What is read alone would lie over the layer.
            (self.readable).retain(|path| !layered.iter().any(|layer| path.starts_with(layer)));
        }
        self.network = self.network.max(network);
        let level = Level::wanted(sandbox).unwrap_or_default();
        self.level = self.level.max(level).max(Level::of_network(self.network));
        self
    }

    /// Writes what holds for the buildlet whose state is in `state_dir`, from now on.
    ///
    /// # Errors
    /// The file cannot be written, or a path is no text.
    pub fn write(&self, state_dir: &Path) -> io::Result<()> {
        use std::io::Write as _;
        use std::os::unix::fs::OpenOptionsExt as _;
        let new = state_dir.join("sandbox.json.new");
        let mut file = fs::OpenOptions::new();
        let mut file = file
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&new)?;
        file.write_all(&serde_json::to_vec(self)?)?;
        fs::rename(new, state_dir.join(Self::FILE))
    }

    /// Whether a path is hidden, or below something that is.
    #[cfg(target_os = "linux")]
    pub(super) fn hides(&self, path: &Path) -> bool {
        self.hidden.iter().any(|hidden| path.starts_with(hidden))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_may_ask_for_more_and_never_for_less() {
        let paths = |names: &[&str]| names.iter().map(PathBuf::from).collect::<Vec<_>>();
        let fence = Fence {
            level: Level::User,
            readable: paths(&["/t", "/c/in"]),
            shared: paths(&["/c"]),
            layered: paths(&["/l"]),
            ..Fence::default()
        };
        let same = fence.clone().tightened(Sandbox::None, Network::Open);
        assert_eq!(same, fence);
        let more = fence.tightened(Sandbox::Namespaces, Network::Closed);
        let asked = (more.level, more.network);
        assert_eq!(asked, (Level::Namespaces, Network::Closed));
        assert_eq!(more.layered, paths(&["/l", "/c"]));
        assert_eq!((more.shared, more.readable), (vec![], paths(&["/t"])));
    }

    #[test]
    fn of_two_bounds_the_lower_one_holds() {
        let farm = Bounds::default().with_memory(100).with_files(5);
        let step = Bounds::default().with_memory(500).with_processes(3);
        let both = farm.and(step);
        assert_eq!(both, step.and(farm));
        assert_eq!(both, farm.with_processes(3));
    }
}
