//! What a coordinator tells.

use serde::{Deserialize, Serialize};

/// A machine of the caller.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Listed {
    /// Whose it is, with the prefix `user-`.
    #[serde(default)]
    pub user: String,
    /// What it is called.
    pub name: String,
    /// The kind of machine.
    #[serde(default)]
    pub host_type: String,
    /// The builder whose machine it is.
    #[serde(default)]
    pub builder_type: String,
    /// When it was created, RFC 3339.
    #[serde(default)]
    pub created: String,
    /// When it ends unless it is used, RFC 3339.
    #[serde(default)]
    pub expires: String,
}

/// Seconds until a time in RFC 3339; 0 when it is over, `None` when it is none.
#[must_use]
pub fn seconds_until(time: &str) -> Option<u64> {
    let time: jiff::Timestamp = time.parse().ok()?;
    let left = time.as_second() - jiff::Timestamp::now().as_second();
    Some(u64::try_from(left).unwrap_or(0))
}

/// What `ssh` needs to log in to a machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct SshTicket {
    /// A certificate, for some minutes: a line as in a file `.pub`.
    pub certificate: String,
    /// The key that the gateway shows: such a line too.
    pub host_key: String,
    /// Where it listens, on the coordinator's host.
    pub port: u16,
}

/// What happens while a machine is waited for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A sentence.
    Message(String),
    /// So many requests are served before.
    Ahead(u64),
}

/// A machine in the state in which a build failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reproduced {
    /// The machine.
    pub buildlet: Listed,
    /// Where it works, absolute.
    pub work_dir: String,
    /// Directories that were put back from caches.
    pub caches: Vec<String>,
    /// Those that the build had.
    pub caches_then: Vec<String>,
    /// What ran before in the same directory, in order; still to be run.
    pub before: Vec<Step>,
    /// What failed.
    pub failed: Step,
}

/// A command of a build.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// What the build calls it.
    pub unit: String,
    /// The program.
    pub cmd: String,
    /// Its arguments.
    pub args: Vec<String>,
    /// Where it runs.
    pub dir: String,
    /// Its environment, `NAME=value`.
    pub env: Vec<String>,
    /// Whether the program is the system's.
    pub system: bool,
}
