//! What a buildlet is told when it is made.

use std::path::PathBuf;
use std::time::Duration;

use build_core::ids::Nonce;
use build_core::tarutil;
use sha2::{Digest as _, Sha256};

use super::sandbox::Launcher;

/// What kept trees may take of the disk.
const KEEP_BYTES: u64 = 20 << 30;

/// How a buildlet behaves. The defaults are the safe ones.
#[derive(Clone, Debug)]
pub struct Config {
    pub(crate) work_dir: PathBuf,
    pub(crate) state_dir: PathBuf,
    pub(crate) keep_dir: PathBuf,
    pub(crate) keep_bytes: u64,
    pub(crate) env: Vec<String>,
    pub(crate) password: Option<Secret>,
    pub(crate) lease: Option<LeaseTerms>,
    pub(crate) adopt_orphans: bool,
    pub(crate) go_cache: Option<String>,
    pub(crate) links_may_leave: bool,
    pub(crate) fetch_anywhere: bool,
    pub(crate) archives: tarutil::Policy,
    pub(crate) ssh: Option<SshAccess>,
    pub(crate) sandbox: Option<Launcher>,
}

/// The lease a buildlet lives by: without renewal it ends itself.
#[derive(Clone, Debug)]
pub(crate) struct LeaseTerms {
    /// `None`: whoever asks first has it.
    pub(crate) nonce: Option<Secret>,
    pub(crate) ttl: Duration,
}

/// Where `/connect-ssh` leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SshAccess {
    port: u16,
}

impl SshAccess {
    /// The ssh server of this machine, at `port`. Its users' `authorized_keys` are extended by
    /// whoever may use the buildlet: meant for machines that exist for builds alone.
    pub fn at_port(port: u16) -> Self {
        Self { port }
    }

    pub(crate) fn port(self) -> u16 {
        self.port
    }
}

/// Text that is never shown.
#[derive(Clone)]
pub(crate) struct Secret(String);

impl Secret {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }

    /// What may be written down of it: its SHA-256 in hex.
    pub(crate) fn sha256(&self) -> String {
        hex::encode(Sha256::digest(&self.0))
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("(secret)")
    }
}

impl Config {
    /// A buildlet that works in `work_dir`, which must exist, and keeps its lock, its description
    /// and the output of detached commands in `state_dir`, which is made when missing.
    pub fn new(work_dir: impl Into<PathBuf>, state_dir: impl Into<PathBuf>) -> Self {
        let state_dir = state_dir.into();
        Self {
            work_dir: work_dir.into(),
            keep_dir: state_dir.join("trees"),
            keep_bytes: KEEP_BYTES,
            state_dir,
            env: Vec::new(),
            go_cache: None,
            password: None,
            lease: None,
            adopt_orphans: false,
            links_may_leave: false,
            fetch_anywhere: false,
            archives: tarutil::Policy::trees(),
            ssh: None,
            sandbox: None,
        }
    }

    /// The environment that commands start from, `NAME=value`. Default: empty.
    #[must_use]
    pub fn env(self, env: impl IntoIterator<Item = String>) -> Self {
        Self {
            env: env.into_iter().collect(),
            ..self
        }
    }

    /// Where trees are kept for builds to come, toolchains above all: made when missing, for this user
    /// alone, and never emptied as the work directory is. Several buildlets may share it. Default:
    /// `trees` in the state directory.
    #[must_use]
    pub fn keep_dir(self, dir: Option<PathBuf>) -> Self {
        Self {
            keep_dir: dir.unwrap_or(self.keep_dir),
            ..self
        }
    }

    /// What they may take of the disk, in bytes: beyond it those go that nobody has asked for in a day,
    /// the longest unused first. Those that nobody has asked for in a month go anyway. Default 20 GiB.
    #[must_use]
    pub fn keep_bytes(self, bytes: Option<u64>) -> Self {
        Self {
            keep_bytes: bytes.unwrap_or(self.keep_bytes),
            ..self
        }
    }

    /// The password that every request must show. Default: none is needed.
    #[must_use]
    pub fn password(self, password: Option<String>) -> Self {
        Self {
            password: password.map(Secret::new),
            ..self
        }
    }

    /// Ends everything, and itself, when nobody has renewed the lease with this nonce for `ttl`.
    /// Default: it lives until it is stopped.
    #[must_use]
    pub fn lease(self, nonce: &Nonce, ttl: Duration) -> Self {
        let terms = LeaseTerms {
            nonce: Some(Secret::new(nonce.as_str())),
            ttl,
        };
        Self {
            lease: Some(terms),
            ..self
        }
    }

    /// Lives until somebody takes a lease (`POST /lease` with a nonce of their own), and from then
    /// on by it, as with [`Config::lease`]. Default: no lease can be taken.
    #[must_use]
    pub fn leasable(self) -> Self {
        let terms = LeaseTerms {
            nonce: None,
            ttl: Duration::ZERO,
        };
        Self {
            lease: Some(terms),
            ..self
        }
    }

    /// Whether the process becomes child subreaper, so that no descendant of a command escapes.
    /// The process must then start no other children. Default: no, as befits a library; the
    /// program does.
    #[must_use]
    pub fn adopt_orphans(self, adopt: bool) -> Self {
        Self {
            adopt_orphans: adopt,
            ..self
        }
    }

    /// The `GOCACHE` of commands, shared with others. Default: `gocache` in the work directory.
    #[must_use]
    pub fn go_cache(self, dir: Option<String>) -> Self {
        Self {
            go_cache: dir,
            ..self
        }
    }

    /// Whether paths of requests may lead out of the work directory through symbolic links. Default:
    /// no; that such links exist is another matter.
    #[must_use]
    pub fn links_may_leave(self, may: bool) -> Self {
        Self {
            links_may_leave: may,
            ..self
        }
    }

    /// Whether `/writetgz?url` may download from link-local addresses, where clouds keep their
    /// metadata and credentials. Default: no.
    #[must_use]
    pub fn fetch_anywhere(self, may: bool) -> Self {
        Self {
            fetch_anywhere: may,
            ..self
        }
    }

    /// What archives may contain. Default: links that point anywhere and are not
    /// followed out, generous bounds.
    #[must_use]
    pub fn archives(self, policy: tarutil::Policy) -> Self {
        Self {
            archives: policy,
            ..self
        }
    }

    /// Starts every command through `launcher`, behind the fence that stands in the state directory
    /// ([`Fence::FILE`](super::sandbox::Fence::FILE)); without that file nothing is started. Default:
    /// commands may do what this process may.
    #[must_use]
    pub fn sandbox(self, launcher: Option<Launcher>) -> Self {
        Self {
            sandbox: launcher,
            ..self
        }
    }

    /// Allows `/connect-ssh`. Default: refused.
    #[must_use]
    pub fn ssh(self, access: Option<SshAccess>) -> Self {
        Self {
            ssh: access,
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_shown() {
        let secret = Secret::new("pw");
        assert_eq!(secret.reveal(), "pw");
        let known = "30c952fab122c3f9759f02a6d95c3758b246b4fee239957b2d4fee46e26170c4";
        assert_eq!(secret.sha256(), known);
        assert_eq!(format!("{secret:?}"), "(secret)");
    }
}
