//! The farm of a life: the program itself, as a process.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use build_core::plant::ProcessPlant;

use super::clock::SHIFT;
use super::yard::Yard;
use super::{PLACES, PLANT};

/// Until a farm has said its address, on a machine that is busy.
const START: Duration = Duration::from_secs(60);
/// Until a page is answered, with silent clients in its way: longer than one of them may hold a place.
const ANSWER: Duration = Duration::from_secs(30);
/// Until a farm that was told to stop has ended. Two seconds are promised; this is for a machine
/// that does other things as well, and less than a command may take that does not want to end.
const STOP: Duration = Duration::from_secs(4);
/// Connections that the farm of a life takes at a time: fewer silent clients fill it.
const CONNECTIONS: &str = "512";
/// How often something is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// Words of a program that was ended by its own fault.
const FATAL: [&str; 3] = ["panicked at", "overflowed its stack", "fatal runtime error"];

/// A farm that was started.
pub(super) struct Farm {
    child: Child,
    address: SocketAddr,
}

/// How a start went.
pub(super) enum Started {
    Runs(Farm),
    /// It ended by itself.
    Ended(ExitStatus),
}

/// How `farmer` is called.
pub(super) struct Program {
    path: PathBuf,
    plant: Option<ProcessPlant>,
}

impl Program {
    pub(super) fn this(plant: Option<ProcessPlant>) -> Result<Self, String> {
        let path = std::env::current_exe()
            .map_err(|e| format!("cannot tell where this program is: {e}"))?;
        Ok(Self { path, plant })
    }

    /// A call of it on the farm of a yard.
    pub(super) fn call(&self, yard: &Yard, shift: i64) -> Command {
        let mut command = Command::new(&self.path);
        command
            .current_dir(yard.repo())
            .env("FARMER_DATA", yard.data())
            .env("FARMER_SANDBOX", "none")
            .env(SHIFT, shift.to_string())
            .stdin(Stdio::null());
        match self.plant {
            Some(plant) => command.env(PLANT, plant.to_string()),
            None => command.env_remove(PLANT),
        };
        command
    }

    /// Starts a farm.
    pub(super) fn start(&self, yard: &Yard, shift: i64) -> Result<Started, String> {
        let open = |name: &Path| File::options().create(true).append(true).open(name);
        let words = open(&yard.words())
            .map_err(|e| format!("cannot write down what the farm says: {e}"))?;
        let said = yard.words().with_extension("address");
        let address =
            File::create(&said).map_err(|e| format!("cannot write down where the farm is: {e}"))?;
        let mut child = self
            .call(yard, shift)
            .env(PLACES, CONNECTIONS)
            .args(["up", "--port", "0", "--machines", "2"])
            .stdout(address)
            .stderr(words)
            .spawn()
            .map_err(|e| format!("cannot start the farm: {e}"))?;
        let begin = Instant::now();
        loop {
            let text = fs::read_to_string(&said).unwrap_or_default();
            let port = text
                .lines()
                .next()
                .and_then(|line| line.rsplit(':').next()?.parse().ok());
            if let Some(port) = port.filter(|_| text.ends_with('\n')) {
                let address = SocketAddr::from(([127, 0, 0, 1], port));
                return Ok(Started::Runs(Farm { child, address }));
            }
            if let Ok(Some(status)) = child.try_wait() {
                return Ok(Started::Ended(status));
            }
            if begin.elapsed() > START {
                end(&mut child);
                return Err(format!("the farm did not start within {START:?}"));
            }
            std::thread::park_timeout(LOOK);
        }
    }
}

impl Farm {
    /// The body of an answer to a GET that succeeds, within a deadline.
    pub(super) fn get(&self, path: &str) -> Result<String, String> {
        let deadline = Instant::now() + ANSWER;
        let mut last = String::new();
        // A crowded door refuses, and is asked again.
        while Instant::now() < deadline {
            match self.ask(path, deadline) {
                Ok(body) => return Ok(body),
                Err(error) => last = error,
            }
            std::thread::park_timeout(LOOK);
        }
        Err(format!("{path} was not answered within {ANSWER:?}: {last}"))
    }

    fn ask(&self, path: &str, deadline: Instant) -> Result<String, String> {
        let asked = || {
            let left = deadline.saturating_duration_since(Instant::now()).max(LOOK);
            let mut stream = TcpStream::connect_timeout(&self.address, left)?;
            stream.set_read_timeout(Some(left))?;
            let host = format!("localhost:{}", self.address.port());
            write!(stream, "GET {path} HTTP/1.0\r\nHost: {host}\r\n\r\n")?;
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer)?;
            Ok(String::from_utf8_lossy(&answer).into_owned())
        };
        let answer = asked().map_err(|error: std::io::Error| error.to_string())?;
        let (head, body) = answer
            .split_once("\r\n\r\n")
            .ok_or("the answer has no end")?;
        match head.get(9..12) {
            Some("200") => Ok(body.to_owned()),
            _ => Err(head.lines().next().unwrap_or_default().to_owned()),
        }
    }

    /// A connection that says what it is given, and no more.
    pub(super) fn say(&self, bytes: &[u8]) -> Option<TcpStream> {
        let mut stream = TcpStream::connect_timeout(&self.address, ANSWER).ok()?;
        // One that was refused at once is as silent as the others.
        let _refused = stream.write_all(bytes);
        Some(stream)
    }

    /// How it ended, when it did so by itself.
    pub(super) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    pub(super) fn kill(mut self) {
        end(&mut self.child);
    }

    /// Tells it to stop, once; how long it took.
    pub(super) fn stop(mut self) -> Result<Duration, String> {
        let begin = Instant::now();
        interrupt(&self.child);
        while begin.elapsed() < STOP {
            if let Some(status) = self.ended() {
                return match status.code() {
                    Some(0 | 130) => Ok(begin.elapsed()),
                    _ => Err(format!("the farm was told to stop and ended with {status}")),
                };
            }
            std::thread::park_timeout(LOOK);
        }
        Err(format!(
            "the farm was told to stop and goes on after {STOP:?}"
        ))
    }
}

impl Drop for Farm {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

fn end(child: &mut Child) {
    // It may have ended already.
    let _ended = child.kill();
    let _reaped = child.wait();
}

fn interrupt(child: &Child) {
    if let Some(pid) = i32::try_from(child.id())
        .ok()
        .and_then(rustix::process::Pid::from_raw)
    {
        // It may have ended already, which is seen right after.
        let _gone = rustix::process::kill_process(pid, rustix::process::Signal::INT);
    }
}

/// The line of the farm's words that tells of its own fault.
pub(super) fn fatal_words(yard: &Yard) -> Option<String> {
    let words = fs::read_to_string(yard.words()).unwrap_or_default();
    let line = words
        .lines()
        .find(|line| FATAL.iter().any(|fatal| line.contains(fatal)));
    line.map(str::to_owned)
}
