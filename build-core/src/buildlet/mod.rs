//! A machine that runs commands: the seam between whoever builds and whatever machine.

mod address;
mod attached;
mod basic_auth;
mod debug_line;
mod env;
mod exec;
mod exec_form;
mod exec_status;
mod file_mode;
mod form;
mod kept_tree;
mod ls;
mod paths;
mod process_state;
mod routes;
mod terminal_modes;
#[cfg(feature = "io")]
mod wire;

use std::pin::Pin;

use async_trait::async_trait;
use bytes::Bytes;
use futures::{Stream, StreamExt};
use serde::{Deserialize, Serialize};

pub use address::{base_url, go_tls_name, tls_name};
pub use attached::{
    ATTACHED_PROTOCOL, FromCommand, INPUT_WINDOW, MAX_FRAME_BYTES, ToCommand, Window,
};
pub use basic_auth::{GO_USER, basic_auth, has_password, parse_basic_auth};
pub use debug_line::{debug_line, go_quote, is_secret};
pub use env::{EnvStyle, Environment, apply_path, windows_compiler_path};
pub use exec::{Exec, ExecEvent, ExecOutcome, ExecOutput, ExecStream, Program};
pub use exec_form::{exec_form, parse_exec};
pub use exec_status::{ExecReport, ExecState, LeaseReport};
pub use file_mode::FileMode;
#[cfg(any(test, feature = "testing"))]
pub use form::fuzz_form;
pub use form::{Form, MAX_FORM_BYTES, Params, parse_bool};
pub use kept_tree::KeptTree;
#[cfg(any(test, feature = "testing"))]
pub use ls::fuzz_ls;
pub use ls::{LsRecord, MAX_LINE_BYTES};
pub use paths::{PathStyle, WirePath, clean, is_dir_of_2020, is_entry_of_2020};
pub use process_state::{signal_name, signal_number};
pub use routes::{COORDINATOR_VERSION, NOT_GET, Route, VERSION, header, param, trailer};
pub use terminal_modes::TerminalModes;
#[cfg(feature = "io")]
pub use wire::Wire;

use crate::error::{Error, ErrorKind, Result};
use crate::ids::ExecId;
use crate::name::Name;

/// Bytes on their way, in pieces. The stream ends after the first error.
pub type ByteStream = Pin<Box<dyn Stream<Item = Result<Bytes>> + Send>>;

/// What a buildlet says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Status {
    /// Version of the protocol; 25 in December 2020.
    #[serde(rename = "Version")]
    pub version: u32,
    /// Whether [`Buildlet::start`] and [`Buildlet::attach`] are known.
    #[serde(
        rename = "Detached",
        default,
        skip_serializing_if = "std::ops::Not::not"
    )]
    pub detached: bool,
    /// Whether it lives by a lease, or would by the first one that is taken.
    #[serde(
        rename = "Leasable",
        default,
        skip_serializing_if = "std::ops::Not::not"
    )]
    pub leasable: bool,
    /// Whether somebody holds it by a lease.
    #[serde(rename = "Leased", default, skip_serializing_if = "std::ops::Not::not")]
    pub leased: bool,
    /// The system, in Go's words: `linux`.
    #[serde(rename = "OS", default, skip_serializing_if = "String::is_empty")]
    pub os: String,
    /// The processor, in Go's words: `amd64`.
    #[serde(rename = "Arch", default, skip_serializing_if = "String::is_empty")]
    pub arch: String,
    /// Process id of the buildlet.
    #[serde(rename = "Pid", default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// Free bytes on the disk of the work directory.
    #[serde(rename = "DiskFree", default, skip_serializing_if = "Option::is_none")]
    pub disk_free_bytes: Option<u64>,
}

/// What to list, for [`Buildlet::list_dir`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListDir {
    /// The directory, below the work directory; empty for it.
    pub dir: String,
    /// Lists directories below it too.
    pub recursive: bool,
    /// Adds the SHA-1 of each regular file.
    pub digest: bool,
    /// Directories to leave out, relative to `dir`.
    pub skip: Vec<String>,
}

/// One line of a listing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DirEntry {
    /// Mode as text, such as `-rw-r--r--`; more than ten characters for odd files.
    pub mode: String,
    /// Path relative to the listed directory; directories end in `/`.
    pub name: Name,
    /// Size in bytes, of regular files.
    pub size: Option<u64>,
    /// Time of the last change, RFC 3339 to the second, of regular files.
    pub modified: Option<String>,
    /// SHA-1 in lower-case hex, when it was asked for.
    pub digest: Option<String>,
}

impl DirEntry {
    /// Whether it is a directory.
    pub fn is_dir(&self) -> bool {
        self.mode.starts_with('d')
    }
}

/// What is known of a command that was started detached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ExecStatus {
    /// Which one.
    pub id: ExecId,
    /// Process id of its first process.
    pub pid: Option<u32>,
    /// How it ended; `None` while it runs.
    pub outcome: Option<ExecOutcome>,
    /// Bytes of output so far.
    pub output_bytes: u64,
}

impl ExecStatus {
    /// What is known of command `id`.
    pub fn new(
        id: ExecId,
        pid: Option<u32>,
        outcome: Option<ExecOutcome>,
        output_bytes: u64,
    ) -> Self {
        Self {
            id,
            pid,
            outcome,
            output_bytes,
        }
    }
}

/// A machine that takes files, runs commands and gives files back.
///
/// Paths are relative to the machine's work directory, use `/`, and cannot leave it.
/// An error is always the machine's or the connection's; what a command did is an
/// [`ExecOutcome`]. Facts of the protocol: `docs/protocol/buildlet.md`.
#[async_trait]
pub trait Buildlet: Send + Sync {
    /// A name for people.
    fn name(&self) -> String;

    /// Asks for a sign of life.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] or [`ErrorKind::TimedOut`] when there is none.
    async fn status(&self) -> Result<Status>;

    /// The absolute path of the work directory on the machine.
    async fn work_dir(&self) -> Result<String>;

    /// Writes one file, with its permission bits, replacing what was there.
    async fn put(&self, path: &str, mode: u32, contents: ByteStream) -> Result<()>;

    /// Unpacks a gzip-compressed tar stream into `dir`, which is made when missing.
    async fn put_tar(&self, tgz: ByteStream, dir: &str) -> Result<()>;

    /// Lets the machine fetch a gzip-compressed tar stream from `url` and unpack it into `dir`,
    /// which is made when missing. The URL may carry a permission: it is not shown.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] when the machine cannot, which is the default; otherwise as
    /// [`Buildlet::put_tar`], and when there is nothing to fetch.
    async fn fetch_tar(&self, url: &str, dir: &str) -> Result<()> {
        let _nothing = (url, dir);
        let text = format!("{} does not fetch archives by itself", self.name());
        Err(Error::new(ErrorKind::Unsupported, text))
    }

    /// Packs `dir` as a gzip-compressed tar stream (several gzip members).
    async fn get_tar(&self, dir: &str) -> Result<ByteStream>;

    /// Packs these files, and nothing else, as [`Buildlet::get_tar`] does: their paths are below
    /// `dir`, and so are the names in the archive.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] when the machine packs whole directories only, which is the
    /// default; otherwise as [`Buildlet::get_tar`].
    async fn get_files(&self, dir: &str, paths: &[Name]) -> Result<ByteStream> {
        let _nothing = (dir, paths);
        let text = format!("{} packs whole directories only", self.name());
        Err(Error::new(ErrorKind::Unsupported, text))
    }

    /// Lists a directory.
    async fn list_dir(&self, what: &ListDir) -> Result<Vec<DirEntry>>;

    /// Removes files and directories with everything in them; missing ones are fine.
    async fn remove_all(&self, paths: &[String]) -> Result<()>;

    /// Runs a command and streams its output. The command is ended when the stream is dropped.
    async fn stream(&self, exec: Exec) -> Result<ExecStream>;

    /// Starts a command that goes on when the connection ends. The id in `exec` makes it
    /// idempotent: a second start with the same id starts nothing and tells the status.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] when the machine cannot; [`ErrorKind::Invalid`] without an id.
    async fn start(&self, exec: Exec) -> Result<ExecStatus>;

    /// The output of a started command from byte `offset` on, until it has ended.
    /// Dropping the stream does not end the command.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when the machine knows no such command.
    async fn attach(&self, id: &ExecId, offset: u64) -> Result<ExecStream>;

    /// What is known of a started command.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when the machine knows no such command.
    async fn exec_status(&self, id: &ExecId) -> Result<ExecStatus>;

    /// What is known of all commands that were started and not forgotten.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] when the machine cannot tell, which is the default.
    async fn started(&self) -> Result<Vec<ExecStatus>> {
        let text = format!("{} does not list its commands", self.name());
        Err(Error::new(ErrorKind::Unsupported, text))
    }

    /// Ends a started command with everything it started. Fine when it has ended.
    async fn kill(&self, id: &ExecId) -> Result<()>;

    /// System and processor, in Go's words: `linux` and `amd64`.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] when the machine does not tell, else as [`Buildlet::status`].
    async fn platform(&self) -> Result<(String, String)> {
        let status = self.status().await?;
        if status.os.is_empty() || status.arch.is_empty() {
            let text = format!("{} does not tell its system", self.name());
            return Err(Error::new(ErrorKind::Unsupported, text));
        }
        Ok((status.os, status.arch))
    }

    /// The absolute path of a tree that the machine keeps beside its work directory, for builds to
    /// come; `None` when it does not have it, or not as it was. `sha256` is that of its archive, in
    /// lower-case hex. Whoever asks has it for a day at least.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] when the machine keeps no trees, which is the default.
    async fn kept_tree(&self, sha256: &str) -> Result<Option<String>> {
        let _nothing = sha256;
        Err(keeps_no_trees(&self.name()))
    }

    /// Lets the machine keep the tree in a gzip-compressed tar stream, and tells its path. It is there
    /// whole, or not at all: also when the machine dies meanwhile.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] when the archive is not the one with this SHA-256;
    /// [`ErrorKind::Unsupported`] when the machine keeps no trees, which is the default.
    async fn keep_tree(&self, sha256: &str, tgz: ByteStream) -> Result<String> {
        let _nothing = (sha256, tgz);
        Err(keeps_no_trees(&self.name()))
    }

    /// The same with an archive that the machine fetches from `url`, which is not shown.
    ///
    /// # Errors
    /// As [`Buildlet::keep_tree`], and when there is nothing to fetch.
    async fn keep_tree_from(&self, sha256: &str, url: &str) -> Result<String> {
        let _nothing = (sha256, url);
        Err(keeps_no_trees(&self.name()))
    }

    /// A connection of its own to the machine, for whoever passes on the requests of others.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] when the machine does not speak the protocol;
    /// [`ErrorKind::Unavailable`] when it cannot be reached.
    #[cfg(feature = "io")]
    async fn connect(&self) -> Result<Wire> {
        let text = format!("{} cannot be reached by a connection", self.name());
        Err(Error::new(ErrorKind::Unsupported, text))
    }

    /// Ends the buildlet; the machine goes back to where it came from.
    async fn close(&self) -> Result<()>;

    /// Runs a command to its end and keeps the end of its output, [`ExecOutput::KEPT_BYTES`] at most.
    ///
    /// # Errors
    /// The stream's errors; a command that fails is not one.
    async fn exec(&self, exec: Exec) -> Result<ExecOutput> {
        let mut stream = self.stream(exec).await?;
        let mut kept = ExecOutput::default();
        while let Some(event) = stream.next().await {
            match event? {
                ExecEvent::Output(bytes) => kept.push(&bytes),
                ExecEvent::Ended(outcome) => return Ok(kept.ended(outcome)),
            }
        }
        Err(Error::new(
            ErrorKind::Unavailable,
            format!("{}: output ended before the command did", self.name()),
        ))
    }
}

fn keeps_no_trees(name: &str) -> Error {
    let text = format!("{name} keeps no trees beside its work directory");
    Error::new(ErrorKind::Unsupported, text)
}
