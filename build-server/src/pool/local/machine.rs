//! One local machine: a directory, and the buildlet process that lives in it.
//!
//! ```text
//! machines/local/m1/   lock, buildlet.json, spool/: the buildlet's own state
//!   work/  home/        what builds see
//!   nonce               the buildlet's lease is renewed with it; for the pool's eyes only
//!   lease.json          whom the machine was given to; absent while it is a spare
//!   buildlet.log        what the process itself has to say
//! ```

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use build_client::HttpBuildlet;
use build_client::transport::UnixDial;
use build_core::buildlet::Buildlet as _;
use build_core::ids::{LeaseId, Nonce};
use build_core::{Error, ErrorKind, Result};
use process_wrap::tokio::{CommandWrap, ProcessSession};
use rustix::process::{Pid, Signal};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tokio::time::{Instant, sleep};

use super::home::Tools;
use crate::buildlet::Description;
use crate::spread::create_apart;
use crate::store::private;

/// The variable in which a buildlet is told the nonce of its lease; commands do not see it.
const LEASE_NONCE: &str = "FARMER_LEASE_NONCE";
/// The same for the password of each request: builds of the same user may reach the socket.
const PASSWORD: &str = "META_password";
/// How long a new buildlet may take until it answers.
const START_LIMIT: Duration = Duration::from_secs(10);
/// Between two looks whether it answers, or has ended.
const LOOK: Duration = Duration::from_millis(2);
/// A buildlet that is asked to end gives its commands three seconds, and is gone some time after.
const END_LIMIT: Duration = Duration::from_secs(7);
/// How directories of sockets begin.
const SHORT_DIR: &str = "farmer-";
/// Longest path of a unix socket, the final zero left out.
const SOCKET_PATH_BYTES: usize = 107;

/// A buildlet process and its directory.
pub(super) struct Machine {
    name: String,
    dir: PathBuf,
    nonce: Nonce,
    description: Description,
    client: HttpBuildlet,
}

/// Contents of `lease.json`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Binding {
    pub(super) lease: LeaseId,
    pub(super) nonce_sha256: String,
}

impl Binding {
    pub(super) fn new(lease: &LeaseId, nonce: &Nonce) -> Self {
        let nonce_sha256 = hex::encode(Sha256::digest(nonce.as_str()));
        Self {
            lease: lease.clone(),
            nonce_sha256,
        }
    }

    /// Writes down that the machine in `dir` was given away; it is on the disk on return.
    pub(super) fn write(&self, dir: &Path) -> io::Result<()> {
        private::write(&dir.join("lease.json"), &serde_json::to_vec(self)?)
    }

    /// Whom the machine in `dir` was given to.
    pub(super) fn read(dir: &Path) -> io::Result<Option<Self>> {
        match fs::read(dir.join("lease.json")) {
            Ok(text) => Ok(Some(serde_json::from_slice(&text)?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// How machines are started.
pub(super) struct Recipe {
    pub(super) program: PathBuf,
    pub(super) called: Option<OsString>,
    pub(super) arguments: Vec<OsString>,
    pub(super) tools: Tools,
    pub(super) ttl: Duration,
}

impl Recipe {
    /// Starts a machine in `dir`, which is made, and waits until it answers.
    ///
    /// Not cancel safe: a process that was started ends by itself when its lease expires.
    ///
    /// # Errors
    /// The process ended or did not answer; it is ended then.
    pub(super) async fn start(&self, dir: &Path) -> Result<Machine> {
        let failed = |error: io::Error| {
            Error::from(error).while_doing(format!("start a machine in {}", dir.display()))
        };
        let nonce = self.prepare(dir).map_err(failed)?;
        let socket = socket_path(dir).map_err(failed)?;
        let mut child = CommandWrap::from(self.command(dir, &socket, &nonce).map_err(failed)?);
        let mut child = child.wrap(ProcessSession).spawn().map_err(failed)?;
        let begin = Instant::now();
        loop {
            if let Some(status) = child.try_wait().map_err(failed)? {
                return Err(last_words(dir, &format!("it ended with {status}")));
            }
            if let Some(machine) = Machine::find(dir, nonce.clone()).map_err(failed)?
                && machine.client.status().await.is_ok()
            {
                return Ok(machine);
            }
            if begin.elapsed() > START_LIMIT {
                // The error tells that it did not answer; that it cannot be killed adds nothing.
                let _ = child.start_kill();
                return Err(last_words(dir, "it does not answer"));
            }
            sleep(LOOK).await;
        }
    }

    fn prepare(&self, dir: &Path) -> io::Result<Nonce> {
        create_apart(dir)?;
        fs::create_dir(dir.join("work"))?;
        fs::create_dir(dir.join("tmp"))?;
        self.tools.furnish(&dir.join("home"))?;
        let nonce = random_nonce()?;
        // No process outlives a power cut, so the disk is not waited for.
        private::write_soon(&dir.join("nonce"), nonce.as_str().as_bytes())?;
        Ok(nonce)
    }

    fn command(
        &self,
        dir: &Path,
        socket: &Path,
        nonce: &Nonce,
    ) -> io::Result<tokio::process::Command> {
        let log = private_file(&dir.join("buildlet.log"))?;
        let flag = |name: &str, path: &Path| {
            let mut flag = OsString::from(name);
            flag.push(path);
            flag
        };
        let mut command = tokio::process::Command::new(&self.program);
        command.arg0(self.called.as_deref().unwrap_or(self.program.as_os_str()));
        command
            .args(&self.arguments)
            .arg(flag("--listen=unix:", socket))
            .arg(flag("--workdir=", &dir.join("work")))
            .arg(flag("--state-dir=", dir))
            .arg(format!("--lease-ttl={}s", self.ttl.as_secs().max(1)))
            .args(self.tools.go_cache().map(|dir| flag("--go-cache=", dir)))
            .arg("--halt=false")
            .arg("--sandbox")
            .env_clear()
            .envs(self.tools.env(&dir.join("home")))
            .env(LEASE_NONCE, nonce.as_str())
            .env(PASSWORD, nonce.as_str())
            .current_dir(dir)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        #[cfg(feature = "sim")]
        for plant in build_core::plant::ProcessPlant::ALL {
            if build_core::plant::grows(plant) {
                command.env("FARMER_PLANT", plant.as_str());
            }
        }
        Ok(command)
    }
}

impl Machine {
    /// The machine in `dir`, if its process runs; it need not answer yet.
    pub(super) fn find(dir: &Path, nonce: Nonce) -> io::Result<Option<Self>> {
        let Some(description) = Description::read(dir)?.filter(Description::is_alive) else {
            return Ok(None);
        };
        let Some(socket) = description
            .listens
            .iter()
            .find_map(|place| place.strip_prefix("unix:"))
        else {
            return Ok(None);
        };
        let name = super::place::name_of(dir);
        let client = HttpBuildlet::builder(UnixDial::new(socket))
            .name(&name)
            .password(nonce.as_str())
            .build();
        Ok(Some(Self {
            name,
            dir: dir.to_owned(),
            nonce,
            client,
            description,
        }))
    }

    /// The machine that an earlier process has started in `dir`.
    pub(super) fn find_again(dir: &Path) -> io::Result<Option<Self>> {
        match fs::read_to_string(dir.join("nonce")) {
            Ok(text) => Self::find(dir, Nonce::new(text).map_err(io::Error::other)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(super) fn client(&self) -> &HttpBuildlet {
        &self.client
    }

    pub(super) fn is_alive(&self) -> bool {
        self.description.is_alive()
    }

    /// Writes down whose it is from now on.
    pub(super) fn bind(&self, binding: &Binding) -> io::Result<()> {
        binding.write(&self.dir)
    }

    pub(super) async fn renew(&self, ttl: Duration) -> Result<()> {
        self.client.renew_lease(&self.nonce, ttl).await
    }

    /// Asks the process to end, without waiting for it.
    pub(super) fn ask_to_end(&self) {
        self.signal(Signal::TERM);
    }

    /// Ends the process with everything it has started, and waits until it is gone.
    ///
    /// # Errors
    /// It cannot be killed.
    pub(super) async fn end(&self) -> Result<()> {
        self.client
            .mark_broken(Error::new(ErrorKind::Canceled, "given back"));
        for signal in [Signal::TERM, Signal::KILL] {
            self.signal(signal);
            let begin = Instant::now();
            while self.is_alive() && begin.elapsed() < END_LIMIT {
                sleep(LOOK).await;
            }
        }
        self.remove_socket();
        if self.is_alive() {
            let context = format!(
                "process {} of machine {} cannot be ended",
                self.description.pid, self.name
            );
            return Err(Error::new(ErrorKind::Unavailable, context));
        }
        Ok(())
    }

    /// A socket that is not in the machine's directory has one of its own.
    fn remove_socket(&self) {
        let socket = self
            .description
            .listens
            .iter()
            .find_map(|place| place.strip_prefix("unix:"));
        let Some(socket) = socket
            .map(Path::new)
            .filter(|socket| !socket.starts_with(&self.dir))
        else {
            return;
        };
        // Builds can write the description: nothing goes but a socket and an empty directory.
        let is_socket =
            fs::symlink_metadata(socket).is_ok_and(|found| found.file_type().is_socket());
        if is_socket {
            // The process may have removed it.
            let _ = fs::remove_file(socket);
        }
        if let Some(own) = socket
            .parent()
            .filter(|own| super::place::name_of(own).starts_with(SHORT_DIR))
        {
            // If it is not empty it is not ours.
            let _ = fs::remove_dir(own);
        }
    }

    fn signal(&self, signal: Signal) {
        // The pid is that of the process only while it lives; between the look and the signal
        // it could end, but its number is not given to another one so soon.
        if let Some(pid) =
            Pid::from_raw(self.description.pid.cast_signed()).filter(|_| self.is_alive())
        {
            // It has ended meanwhile: that is what is wanted.
            let _ = rustix::process::kill_process(pid, signal);
        }
    }
}

/// Where the socket of the machine in `dir` is: in it, or in a directory of its own where that
/// path would be too long for a socket.
fn socket_path(dir: &Path) -> io::Result<PathBuf> {
    let inside = dir.join("s");
    if inside.as_os_str().len() <= SOCKET_PATH_BYTES {
        return Ok(inside);
    }
    let short = tempfile::Builder::new().prefix(SHORT_DIR).tempdir()?;
    Ok(short.keep().join("s"))
}

fn private_file(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
}

fn random_nonce() -> io::Result<Nonce> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    Nonce::new(hex::encode(bytes)).map_err(io::Error::other)
}

/// An error with the end of what the process had to say.
fn last_words(dir: &Path, what: &str) -> Error {
    let log = fs::read_to_string(dir.join("buildlet.log")).unwrap_or_default();
    let last: Vec<&str> = log.lines().rev().take(3).collect();
    let said = last.into_iter().rev().collect::<Vec<_>>().join(" | ");
    Error::new(
        ErrorKind::Unavailable,
        format!(
            "buildlet in {} did not start: {what}: {said}",
            dir.display()
        ),
    )
}
