//! One life of a farm, from its first commit to the last look at what it leaves.

use std::fmt;
use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use build_core::plant::ProcessPlant;
use farmer_cli::Failure;
use serde_json::Value;

use super::draw::Draw;
use super::farm::{Farm, Program, Started, fatal_words};
use super::fault::Fault;
use super::guest::{Guest, Verdict};
use super::yard::Yard;

/// Faults of a life.
const FAULTS: usize = 6;
/// The longest time between a commit and the fault that it meets.
const MEETING: Duration = Duration::from_millis(1500);
/// How long a disk stays full.
const FULL: Duration = Duration::from_millis(1500);
/// Silent clients by what they say: together more than the farm takes.
const SILENT: [(usize, &[u8]); 3] = [(100, b"G"), (100, b"PRI * HTTP/2.0\r\n"), (400, b"")];
/// Until machines are gone that were kept ready by a farm that was killed: long before they would
/// end by themselves.
const SWEPT: Duration = Duration::from_secs(20);
/// Until the last build has ended, after the last fault.
const SETTLE: Duration = Duration::from_secs(180);
/// Until one build has ended, with nothing in its way.
const BUILD: Duration = Duration::from_secs(90);
/// Until nothing is left of what has ended: a machine that nobody can tell any more ends with its
/// lease, which is a minute.
const CLEAN: Duration = Duration::from_secs(90);
const DAY: i64 = 24 * 3600;
const LOOK: Duration = Duration::from_millis(50);

/// Machines of the farm, and as many that are kept ready.
const MACHINES: usize = 4;

/// A farm, and what happens to it.
pub(super) struct Life {
    draw: Draw,
    program: Program,
    farm: Option<Farm>,
    silent: Vec<TcpStream>,
    /// Guests that have not come yet.
    to_come: Vec<Guest>,
    guests: Vec<(String, Guest)>,
    shift: i64,
    history: Vec<String>,
    // The last one: its disk goes when everybody has gone.
    yard: Yard,
}

/// A fault that was found, with what led to it.
pub(super) struct Found {
    what: String,
    history: Vec<String>,
    words: String,
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "FOUND: {}", self.what)?;
        writeln!(f, "  after: {}", self.history.join(", "))?;
        write!(f, "  the farm's last words:")?;
        self.words
            .lines()
            .try_for_each(|line| write!(f, "\n    {line}"))
    }
}

impl Life {
    pub(super) fn begin(seed: u64, plant: Option<ProcessPlant>) -> Result<Self, Failure> {
        let program = Program::this(plant).map_err(|text| Failure::usage(text, ""))?;
        let mut draw = Draw::new(seed);
        Ok(Self {
            to_come: draw.deal(&Guest::ALL),
            draw,
            program,
            farm: None,
            silent: Vec::new(),
            guests: Vec::new(),
            shift: 0,
            history: Vec::new(),
            yard: Yard::open()?,
        })
    }

    /// Lives it; what happened.
    pub(super) fn live(mut self) -> Result<Vec<String>, Found> {
        let lived = self.days();
        let history = std::mem::take(&mut self.history);
        lived.map(|()| history.clone()).map_err(|what| {
            let words = fs::read_to_string(self.yard.words()).unwrap_or_default();
            let lines: Vec<_> = words.lines().rev().take(12).collect();
            let words = lines.into_iter().rev().collect::<Vec<_>>().join("\n");
            Found {
                what,
                history,
                words,
            }
        })
    }

    fn days(&mut self) -> Result<(), String> {
        self.commit()?;
        self.start()?;
        // Each once at most: a few lives have met everything.
        for fault in self.draw.deal(&Fault::ALL).into_iter().take(FAULTS) {
            self.commit()?;
            pause(self.draw.time(MEETING));
            self.history.push(fault.to_string());
            self.strike(fault)?;
            self.look()?;
        }
        self.settle()?;
        self.judge()?;
        self.build_again()?;
        self.leave()
    }

    fn commit(&mut self) -> Result<(), String> {
        let guest = self.to_come.pop().unwrap_or(Guest::Plain);
        let commit = self.yard.commit(guest)?;
        let short = commit.get(..7).unwrap_or_default();
        self.history.push(format!("{guest} ({short})"));
        self.guests.push((commit, guest));
        Ok(())
    }

    fn start(&mut self) -> Result<(), String> {
        match self.program.start(&self.yard, self.shift)? {
            Started::Runs(farm) => self.farm = Some(farm),
            Started::Ended(status) => return Err(format!("the farm did not start: {status}")),
        }
        Ok(())
    }

    fn kill(&mut self) {
        if let Some(farm) = self.farm.take() {
            farm.kill();
        }
    }

    fn running(&mut self) -> Result<&mut Farm, String> {
        self.farm.as_mut().ok_or_else(|| "no farm runs".to_owned())
    }

    fn strike(&mut self, fault: Fault) -> Result<(), String> {
        match fault {
            Fault::Kill => {
                self.kill();
                self.start()
            }
            Fault::Stop => {
                self.stop()?;
                self.start()
            }
            Fault::FullDisk => {
                self.yard.fill()?;
                pause(FULL);
                self.yard.free();
                // There is room: it goes on by itself.
                self.running()?.get("/readyz").map(drop)
            }
            Fault::ReadOnlyDisk => self.read_only_disk(),
            Fault::FlippedByte => self.flip(),
            Fault::TornFiles => self.torn_files(),
            Fault::SilentClients => {
                let farm = self.farm.as_ref().ok_or("no farm runs")?;
                for (count, says) in SILENT {
                    let connected = (0..count).filter_map(|_| farm.say(says));
                    self.silent.extend(connected);
                }
                Ok(())
            }
            Fault::KilledMachine => {
                let all = processes(&self.yard.data());
                let machines: Vec<_> = all
                    .into_iter()
                    .filter(|(_, command)| command.contains(" buildlet "))
                    .collect();
                if let Some((pid, _)) = self.draw.pick(&machines) {
                    end(*pid);
                }
                Ok(())
            }
            Fault::WrongClock => {
                self.shift = if self.draw.chance(50) { DAY } else { -DAY };
                self.kill();
                self.start()
            }
        }
    }

    /// What a damaged machine is like is no reason to keep the others.
    fn torn_files(&mut self) -> Result<(), String> {
        self.kill();
        let mut spares = self.yard.spares();
        for file in self.yard.small_files() {
            if self.draw.chance(50) {
                tear(&file);
                spares.retain(|dir| !file.starts_with(dir));
            }
        }
        self.start()?;
        let begin = Instant::now();
        while spares.iter().any(|dir| dir.exists()) {
            if begin.elapsed() > SWEPT {
                spares.retain(|dir| dir.exists());
                return Err(format!(
                    "beside damaged machines these were left for {SWEPT:?}: {spares:?}"
                ));
            }
            pause(LOOK);
        }
        Ok(())
    }

    /// A farm that finds a disk that cannot be written to says so, and ends.
    fn read_only_disk(&mut self) -> Result<(), String> {
        self.stop()?;
        self.wait_for_no_process()?;
        if self.yard.read_only(true) {
            let started = self.program.start(&self.yard, self.shift);
            self.yard.read_only(false);
            match started? {
                Started::Runs(farm) => farm.kill(),
                Started::Ended(status) if status.code().is_some() => {}
                Started::Ended(status) => {
                    return Err(format!("on a read-only disk the farm ended with {status}"));
                }
            }
        }
        self.start()
    }

    fn flip(&mut self) -> Result<(), String> {
        let files = self.yard.derived();
        let Some(file) = self.draw.pick(&files).cloned() else {
            return Ok(());
        };
        // It may have been removed meanwhile.
        let Ok(mut bytes) = fs::read(&file) else {
            return Ok(());
        };
        let at = self.draw.below(bytes.len());
        if let Some(byte) = bytes.get_mut(at) {
            *byte ^= 0x20;
        }
        fs::write(&file, bytes).map_err(|e| format!("cannot flip a byte: {e}"))
    }

    fn stop(&mut self) -> Result<(), String> {
        let Some(farm) = self.farm.take() else {
            return Ok(());
        };
        let took = farm.stop()?;
        self.history
            .push(format!("stopped in {} ms", took.as_millis()));
        Ok(())
    }

    /// The farm goes on, answers, and has changed nothing outside.
    fn look(&mut self) -> Result<(), String> {
        if let Some(words) = fatal_words(&self.yard) {
            return Err(words);
        }
        if let Some(status) = self.running()?.ended() {
            return Err(format!("the farm ended by itself: {status}"));
        }
        self.running()?.get("/")?;
        match self.yard.harm() {
            Some(harm) => Err(harm),
            None => Ok(()),
        }
    }

    fn builds(&mut self) -> Result<Vec<Value>, String> {
        let body = self.running()?.get("/api/v1/builds?limit=200")?;
        let answer: Value = serde_json::from_str(&body)
            .map_err(|e| format!("the list of builds is no JSON: {e}"))?;
        let builds = answer.get("builds").and_then(Value::as_array);
        builds
            .cloned()
            .ok_or_else(|| format!("no list of builds: {answer}"))
    }

    /// Waits until every commit has a build and every build has ended.
    fn settle(&mut self) -> Result<(), String> {
        let begin = Instant::now();
        loop {
            let builds = self.builds()?;
            let is_open = |build: &&Value| {
                matches!(
                    build["state"].as_str(),
                    Some("waiting" | "queued" | "running")
                )
            };
            let missing = |(commit, _): &&(String, Guest)| {
                builds
                    .iter()
                    .all(|build| build["item"]["commit"] != **commit)
            };
            let open: Vec<_> = builds
                .iter()
                .filter(is_open)
                .map(|build| build["id"].to_string())
                .collect();
            // A farm that sees a repository for the first time builds the newest commit alone, which
            // may be the second one by then.
            let unknown: Vec<_> = self.guests.iter().skip(1).filter(missing).collect();
            if open.is_empty() && unknown.is_empty() {
                return self.look();
            }
            if begin.elapsed() > SETTLE {
                return Err(format!(
                    "after {SETTLE:?} these builds are open: {open:?}, and these commits were never built: {unknown:?}"
                ));
            }
            self.look()?;
            pause(LOOK);
        }
    }

    /// No wrong green, and each line of a log once.
    fn judge(&mut self) -> Result<(), String> {
        let guests = self.guests.clone();
        for build in self.builds()? {
            let of = |(commit, _): &&(String, Guest)| build["item"]["commit"] == **commit;
            let Some((_, guest)) = guests.iter().find(of) else {
                continue;
            };
            let (id, passed) = (
                build["id"].as_str().unwrap_or_default(),
                build["state"] == "passed",
            );
            if passed && guest.verdict() == Verdict::Fails {
                return Err(format!("{id} passed, but {guest} cannot pass"));
            }
            let log = guest.log().filter(|_| passed);
            if let Some(log) = log {
                let path = format!("/api/v1/builds/{id}/log");
                let kept = self.running()?.get(&path)?;
                if !is_whole(&kept, &log) {
                    return Err(format!("the log of {id} is {kept:?}, not {log:?}"));
                }
            }
        }
        Ok(())
    }

    /// With no fault in their way, all commits have the verdict that is theirs.
    fn build_again(&mut self) -> Result<(), String> {
        for (commit, guest) in self.guests.clone() {
            let mut command = self.program.call(&self.yard, self.shift);
            let command = command.args(["build", "--quiet", "--rev", &commit]);
            let command = command.stdout(Stdio::null()).stderr(Stdio::piped());
            let mut child = command.spawn().map_err(|e| format!("cannot build: {e}"))?;
            let begin = Instant::now();
            let status = loop {
                match child.try_wait() {
                    Ok(Some(status)) => break status,
                    _ if begin.elapsed() > BUILD => {
                        let _ended = child.kill();
                        let _reaped = child.wait();
                        return Err(format!("{guest} was not built again within {BUILD:?}"));
                    }
                    _ => pause(LOOK),
                }
            };
            let is_right = match guest.verdict() {
                Verdict::Passes => status.code() == Some(0),
                Verdict::Fails => status.code() == Some(1),
                Verdict::Any => status.code().is_some(),
            };
            if !is_right {
                let output = child.wait_with_output().map_err(|e| e.to_string())?;
                let said = String::from_utf8_lossy(&output.stderr).into_owned();
                return Err(format!(
                    "{guest} was built again, and ended with {status}: {said}"
                ));
            }
            self.look()?;
        }
        Ok(())
    }

    /// Stops at once, and leaves neither processes nor machines behind.
    fn leave(&mut self) -> Result<(), String> {
        self.silent.clear();
        self.stop()?;
        self.wait_for_no_process()?;
        self.start()?;
        let begin = Instant::now();
        loop {
            let machines = self.yard.machines();
            let is_trash = |dir: &&PathBuf| {
                dir.file_name()
                    .is_some_and(|name| name.to_string_lossy().starts_with('.'))
            };
            if machines.len() <= MACHINES && machines.iter().find(is_trash).is_none() {
                break;
            }
            if begin.elapsed() > CLEAN {
                return Err(format!(
                    "after {CLEAN:?} these machines are left: {machines:?}"
                ));
            }
            pause(LOOK);
        }
        self.look()?;
        self.stop()?;
        self.wait_for_no_process()?;
        fatal_words(&self.yard).map_or(Ok(()), Err)
    }

    fn wait_for_no_process(&self) -> Result<(), String> {
        let begin = Instant::now();
        loop {
            let left = processes(&self.yard.data());
            if left.is_empty() {
                return Ok(());
            }
            if begin.elapsed() > CLEAN {
                return Err(format!(
                    "after {CLEAN:?} these processes are left: {left:?}"
                ));
            }
            pause(LOOK);
        }
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        self.kill();
        for (pid, _) in processes(&self.yard.data()) {
            end(pid);
        }
    }
}

/// Whether what is kept is the output of one whole attempt, behind those that were lost.
fn is_whole(kept: &str, log: &str) -> bool {
    let Some(lost) = kept.strip_suffix(log) else {
        return false;
    };
    let first = log.split_inclusive('\n').next().unwrap_or_default();
    lost.split(first)
        .skip(1)
        .all(|rest| log.starts_with(&format!("{first}{rest}")))
}

fn pause(time: Duration) {
    std::thread::park_timeout(time);
}

/// Cuts a file in the middle.
fn tear(file: &Path) {
    // It may have been removed meanwhile.
    if let Ok(bytes) = fs::read(file) {
        let half = bytes.get(..bytes.len() / 2).unwrap_or_default();
        let _torn = fs::write(file, half);
    }
}

fn end(pid: i32) {
    if let Some(pid) = rustix::process::Pid::from_raw(pid) {
        // It may have ended already.
        let _gone = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    }
}

/// Processes that work in a directory or name it, but for this one and those that have ended and
/// wait for their parent.
fn processes(dir: &Path) -> Vec<(i32, String)> {
    let all = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let text = dir.to_string_lossy().into_owned();
    pids.filter_map(|pid| {
        let command = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        let command = String::from_utf8_lossy(&command).replace('\0', " ");
        let works_there =
            fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd.starts_with(dir));
        ((works_there || command.contains(&text)) && !command.is_empty()).then_some((pid, command))
    })
    .collect()
}
