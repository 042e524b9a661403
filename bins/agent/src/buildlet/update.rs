//! A machine that keeps its program equal to the one that its coordinator has.
//!
//! What the coordinator offers is fetched beside the program, checked by its SHA-256, and tried: it
//! must register at the coordinator before it takes the place of the one that runs. One that does
//! not is remembered in a file `PROGRAM.refused` and not fetched again; the old one goes on.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use build_client::reverse::CoordinatorDial;
use build_client::transport::Dial as _;
use build_core::h1::io::{Body as _, Client};
use build_core::h1::{Limits, RequestHead};
use build_server::buildlet::{ARCH, OS};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use tokio::time::{Instant, sleep, timeout};

/// Says to a program that it is tried: it registers, and ends.
pub(super) const TRIAL: &str = "FARMER_UPDATE_TRIAL";
/// For the list of programs.
const LIST: Duration = Duration::from_secs(30);
/// For a program.
const FETCH: Duration = Duration::from_secs(600);
/// For a new program to register.
const REGISTERS: Duration = Duration::from_secs(90);
/// Read at a time.
const PIECE: usize = 64 * 1024;
const POLL: Duration = Duration::from_millis(50);
/// After something went wrong.
const PAUSE: Duration = Duration::from_secs(600);
/// Largest list and program.
const LIST_BYTES: u64 = 1 << 20;
const PROGRAM_BYTES: u64 = 1 << 30;

/// Keeps one program equal to that of a coordinator.
pub(super) struct Updater {
    /// Under which the coordinator has it: `farmer.linux-amd64`.
    file: String,
    program: PathBuf,
    sum: String,
    dial: Arc<CoordinatorDial>,
    /// When it is looked again at the earliest.
    next: Option<Instant>,
}

#[derive(Deserialize)]
struct List {
    programs: Vec<Offered>,
}

#[derive(Deserialize)]
struct Offered {
    file: String,
    bytes: u64,
    sha256: String,
}

impl Updater {
    /// For the program that runs, which the coordinator calls `name`.
    pub(super) fn new(name: &str, dial: Arc<CoordinatorDial>) -> io::Result<Self> {
        let program = std::env::current_exe()?;
        let sum = sum_of(&program)?;
        Ok(Self {
            file: format!("{name}.{OS}-{ARCH}"),
            program,
            sum,
            dial,
            next: None,
        })
    }

    /// Becomes the program that the coordinator has, if that is another one; comes back when
    /// there is nothing to do, or it did not work.
    pub(super) async fn look(&mut self) {
        if self.next.is_some_and(|next| Instant::now() < next) {
            return;
        }
        self.next = None;
        match self.update().await {
            Ok(()) => {}
            Err(Trouble::Away(error)) => tracing::debug!(%error, "no list of programs"),
            Err(Trouble::Failed(error)) => {
                self.next = Some(Instant::now() + PAUSE);
                tracing::warn!(%error, "not updated, the program goes on as it is");
            }
        }
    }

    async fn update(&self) -> Result<(), Trouble> {
        let mut list = Vec::new();
        let listed = timeout(LIST, self.get("/programs", LIST_BYTES, &mut list));
        match listed.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(Trouble::Away(error)),
            Err(_) => return Err(Trouble::Away(io::ErrorKind::TimedOut.into())),
        }
        let list: List = serde_json::from_slice(&list).map_err(io::Error::other)?;
        let offered = list.programs.into_iter().find(|p| p.file == self.file);
        let Some(offered) = offered else {
            return Ok(());
        };
        if offered.sha256 == self.sum || self.is_refused(&offered.sha256) {
            return Ok(());
        }
        tracing::info!(
            sha256 = offered.sha256,
            "the coordinator has another program"
        );
        let new = self.beside("new");
        let fetched = self.fetch(&offered, &new).await;
        let tried = match fetched {
            Ok(()) => self.is_good(&new).await,
            Err(error) => Err(error),
        };
        match tried {
            Ok(true) => self.take(&new),
            Ok(false) => {
                self.refuse(&offered.sha256)?;
                remove(&new);
                let text = "the new program does not register, and is not tried again";
                Err(io::Error::other(text).into())
            }
            Err(error) => {
                remove(&new);
                Err(error.into())
            }
        }
    }

    /// A file beside the program.
    fn beside(&self, what: &str) -> PathBuf {
        let mut name = self.program.as_os_str().to_owned();
        name.push(".");
        name.push(what);
        name.into()
    }

    fn is_refused(&self, sum: &str) -> bool {
        let text = fs::read_to_string(self.beside("refused")).unwrap_or_default();
        text.lines().any(|line| line == sum)
    }

    fn refuse(&self, sum: &str) -> io::Result<()> {
        let path = self.beside("refused");
        let mut file = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)?;
        writeln!(file, "{sum}")
    }

    /// Asks the coordinator; what is answered goes to `to`.
    async fn get(&self, path: &str, most: u64, to: &mut impl io::Write) -> io::Result<()> {
        let stream = self.dial.dial().await?;
        let mut client = Client::new(stream, Limits::default());
        let head = RequestHead::new("GET", path).with("Host", self.dial.authority());
        let mut response = client.send(&head, None).await.map_err(io::Error::from)?;
        if response.status() != 200 {
            let text = format!("GET {path}: status {}", response.status());
            return Err(io::Error::other(text));
        }
        let mut bytes = 0;
        while let Some(piece) = response.chunk().await.map_err(io::Error::from)? {
            bytes += piece.len() as u64;
            if bytes > most {
                let text = format!("GET {path}: more than {most} bytes");
                return Err(io::Error::other(text));
            }
            to.write_all(&piece)?;
        }
        Ok(())
    }

    async fn fetch(&self, offered: &Offered, new: &Path) -> io::Result<()> {
        if offered.bytes > PROGRAM_BYTES {
            return Err(io::Error::other("the new program is too large"));
        }
        remove(new);
        let file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(new)?;
        let mut summed = Summed {
            file,
            hash: Sha256::new(),
        };
        let path = format!("/programs/{}", offered.file);
        let fetched = timeout(FETCH, self.get(&path, offered.bytes, &mut summed));
        match fetched.await {
            Ok(fetched) => fetched?,
            Err(_) => return Err(io::ErrorKind::TimedOut.into()),
        }
        summed.file.sync_all()?;
        let sum = hex::encode(summed.hash.finalize());
        if sum != offered.sha256 {
            let text = format!(
                "the new program has the SHA-256 {sum}, and {} was promised",
                offered.sha256
            );
            return Err(io::Error::other(text));
        }
        fs::set_permissions(new, fs::Permissions::from_mode(0o755))
    }

    /// Whether the new program registers at the coordinator.
    async fn is_good(&self, new: &Path) -> io::Result<bool> {
        let mut command = Command::new(new);
        command
            .args(arguments())
            .env(TRIAL, "1")
            .stdin(Stdio::null());
        let mut child = match command.spawn() {
            Ok(child) => child,
            Err(error) => {
                tracing::warn!(%error, "the new program does not start");
                return Ok(false);
            }
        };
        let end = Instant::now() + REGISTERS;
        loop {
            if let Some(status) = child.try_wait()? {
                return Ok(status.success());
            }
            if Instant::now() >= end {
                // It may have ended by itself.
                let _ = child.kill();
                child.wait()?;
                return Ok(false);
            }
            sleep(POLL).await;
        }
    }

    /// Puts the new program in the place of this one and becomes it; the old one stays beside it.
    fn take(&self, new: &Path) -> Result<(), Trouble> {
        let old = self.beside("old");
        remove(&old);
        fs::hard_link(&self.program, &old).or_else(|_| fs::copy(&self.program, &old).map(drop))?;
        fs::rename(new, &self.program)?;
        tracing::info!(program = %self.program.display(), "updated, begins anew");
        // It comes back only when that cannot be.
        let error = Command::new(&self.program).args(arguments()).exec();
        fs::rename(&old, &self.program)?;
        Err(error.into())
    }
}

/// What this process was started with.
fn arguments() -> impl Iterator<Item = OsString> {
    std::env::args_os().skip(1)
}

/// Removes a file, if it is there.
fn remove(path: &Path) {
    if let Err(error) = fs::remove_file(path)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::debug!(%error, file = %path.display(), "not removed");
    }
}

fn sum_of(path: &Path) -> io::Result<String> {
    let (mut file, mut hash) = (fs::File::open(path)?, Sha256::new());
    let mut piece = vec![0; PIECE];
    loop {
        match file.read(&mut piece)? {
            0 => return Ok(hex::encode(hash.finalize())),
            count => hash.update(&piece[..count]),
        }
    }
}

/// A file whose sum is known as it is written.
struct Summed {
    file: fs::File,
    hash: Sha256,
}

impl io::Write for Summed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.file.write(bytes)?;
        self.hash.update(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Why it was not updated.
enum Trouble {
    /// The coordinator did not answer, or has no programs: nothing to tell.
    Away(io::Error),
    Failed(io::Error),
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::Failed(error)
    }
}
