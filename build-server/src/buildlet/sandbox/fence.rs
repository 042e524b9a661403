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
    /// The most processes of a command, where they can be counted; `None`: as the system says.
    pub processes: Option<u64>,
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

    /// The same for one command that asks for more: never for less.
    #[must_use]
    pub fn tightened(mut self, sandbox: Sandbox, network: Network) -> Self {
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
