//! Which processes belong to a command, and how they are ended.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};
use tokio::time::Instant;

use super::table::files_in_memory;
use super::{Known, MARK, Process, Processes, Table};

/// How long to look for the end of processes that were killed: longer only takes one that waits
/// for a device, and that cannot be ended at all.
const KILL_PATIENCE: Duration = Duration::from_secs(10);
/// First and longest pause between two looks at the table.
const FIRST_PAUSE: Duration = Duration::from_millis(2);
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// How processes are asked to end before they are killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Grace {
    /// SIGTERM, and so long until SIGKILL.
    Wait(Duration),
    /// SIGKILL at once.
    None,
}

/// What came of ending processes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct EndReport {
    /// Processes that still ran when the patience was over.
    pub(crate) left: Vec<i32>,
}

/// Whose processes are looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whose {
    /// A command, by its first process.
    Command(i32),
    /// No running command: leftovers of ended ones.
    Nobody,
    /// Leftovers of an earlier process of this buildlet: they are not below this one.
    Earlier,
}

impl Processes {
    /// Ends what an earlier process of this buildlet has left behind when it was killed.
    pub(crate) async fn end_earlier(&self, grace: Grace) -> EndReport {
        self.end(Whose::Earlier, grace).await
    }

    /// Ends what ended commands have left behind.
    pub(crate) async fn end_strays(&self, grace: Grace) -> EndReport {
        self.end(Whose::Nobody, grace).await
    }

    /// Whether there may be strays; cheap, and `true` when in doubt.
    pub(crate) fn may_have_strays(&self) -> bool {
        self.0.adopts && self.known().is_empty() && self.may_have_children()
    }

    pub(super) async fn end(&self, whose: Whose, grace: Grace) -> EndReport {
        if let Grace::Wait(time) = grace
            && self
                .signal_until_gone(whose, &[Signal::TERM, Signal::CONT], false, time)
                .await
                .is_empty()
        {
            return EndReport::default();
        }
        let left = self
            .signal_until_gone(whose, &[Signal::KILL], true, KILL_PATIENCE)
            .await;
        if !left.is_empty() {
            tracing::warn!(pids = ?left, "processes could not be ended");
        }
        EndReport { left }
    }

    /// Sends the signals, each to whoever has not got them yet (or to all, with `again`), until
    /// there is nobody or the time is over. Returns who is left.
    async fn signal_until_gone(
        &self,
        whose: Whose,
        signals: &'static [Signal],
        again: bool,
        time: Duration,
    ) -> Vec<i32> {
        let deadline = Instant::now() + time;
        let mut told: HashMap<i32, u64> = HashMap::new();
        let mut pause = FIRST_PAUSE;
        loop {
            let members = match self.look(whose).await {
                Ok(members) => members,
                Err(error) => {
                    tracing::warn!(%error, "cannot read /proc: only the process group is ended");
                    return signal_group(whose, signals, deadline).await;
                }
            };
            if members.is_empty() || Instant::now() >= deadline {
                return members.iter().map(|process| process.pid).collect();
            }
            for process in members {
                if again || told.insert(process.pid, process.started) != Some(process.started) {
                    signals.iter().for_each(|signal| send(process, *signal));
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// The living processes of a command, or of nobody.
    async fn look(&self, whose: Whose) -> io::Result<Vec<Process>> {
        if whose != Whose::Earlier && !self.may_have_children() {
            return Ok(Vec::new());
        }
        let this = self.clone();
        let looking = move || this.look_blocking(whose);
        let looked = self
            .0
            .supervisor
            .spawn_blocking("look at /proc", looking)
            .await;
        looked.unwrap_or_else(|error| Err(io::Error::other(error)))
    }

    fn look_blocking(&self, whose: Whose) -> io::Result<Vec<Process>> {
        let table = Table::read()?;
        self.reap_orphans(&table);
        let mut members = self.members(&table, whose);
        members.retain(|process| !process.zombie && process.pid != self.0.me);
        Ok(members)
    }

    /// The members of a command's tree: how many, and their memory in bytes.
    pub(super) fn measure(&self, root: i32) -> io::Result<(usize, u64)> {
        let members = self.look_blocking(Whose::Command(root))?;
        let own: u64 = members.iter().map(|process| process.memory_bytes()).sum();
        Ok((members.len(), own + common_bytes(&members)))
    }

    fn members(&self, table: &Table, whose: Whose) -> Vec<Process> {
        let known = self.known();
        let owners = Owners::new(self, &known, whose == Whose::Earlier);
        let mine = table
            .iter()
            .filter(|process| owners.of(process) == Some(whose));
        let mut members = table.with_descendants(mine.map(|process| process.pid));
        if !matches!(whose, Whose::Command(_)) {
            members.retain(|process| !known.contains_key(&process.pid));
        }
        members
    }
}

/// What the members of a tree have in memory together: pages that they share, or, where they have
/// a `/dev/shm` that nobody else sees, the files in it. Those files may be mapped too, so the
/// larger of both counts.
fn common_bytes(members: &[Process]) -> u64 {
    let shared = members.iter().map(|p| p.shared_memory_bytes()).sum();
    let ours = files_in_memory("").map(|(device, _)| device);
    let files: BTreeMap<rustix::fs::Dev, u64> = members
        .iter()
        .filter_map(|process| process.files_in_memory())
        .filter(|(device, _)| Some(*device) != ours)
        .collect();
    files.values().sum::<u64>().max(shared)
}

/// Tells whose a process is when its parent does not tell it.
struct Owners<'k> {
    processes: &'k Processes,
    known: &'k HashMap<i32, Known>,
    roots_by_id: HashMap<&'k str, i32>,
    /// The one command that runs, when it is one.
    only: Option<i32>,
    earlier: bool,
}

impl<'k> Owners<'k> {
    fn new(processes: &'k Processes, known: &'k HashMap<i32, Known>, earlier: bool) -> Self {
        let roots_by_id = known
            .iter()
            .map(|(pid, known)| (&*known.id, *pid))
            .collect();
        let only = known.keys().copied().next().filter(|_| known.len() == 1);
        Self {
            processes,
            known,
            roots_by_id,
            only,
            earlier,
        }
    }

    /// `None` when it is its parent's, or not of this buildlet.
    fn of(&self, process: &Process) -> Option<Whose> {
        if let Some(first) = self.known.get(&process.pid) {
            // The number of a first process that was reaped may be in use again.
            return (!first.reaped).then_some(Whose::Command(process.pid));
        }
        let shared = &self.processes.0;
        let is_child = process.parent == shared.me;
        if shared.adopts && !is_child && !self.earlier {
            return None;
        }
        if is_child && self.known.contains_key(&process.group) {
            return Some(Whose::Command(process.group));
        }
        let mark = process.start_env(MARK);
        match mark.as_deref().and_then(|mark| self.processes.marked(mark)) {
            Some(id) => Some(self.of_id(id)),
            None if shared.adopts && is_child => self.of_unmarked(),
            None => None,
        }
    }

    fn of_id(&self, id: &str) -> Whose {
        match self.roots_by_id.get(id) {
            Some(root) => Whose::Command(*root),
            None if self.earlier => Whose::Earlier,
            None => Whose::Nobody,
        }
    }

    /// An orphan that has dropped its mark is of the only command; of several it could be any,
    /// so it ends when none of them is left.
    fn of_unmarked(&self) -> Option<Whose> {
        match self.only {
            Some(root) => Some(Whose::Command(root)),
            None => self.known.is_empty().then_some(Whose::Nobody),
        }
    }
}

/// What can be done where `/proc` cannot be read: the process group of the command is signalled,
/// unseen. Returns the first process unless the group is surely gone: SIGKILL leaves nobody.
async fn signal_group(whose: Whose, signals: &[Signal], deadline: Instant) -> Vec<i32> {
    let Whose::Command(root) = whose else {
        return Vec::new();
    };
    let Some(group) = Pid::from_raw(root) else {
        return Vec::new();
    };
    for signal in signals {
        // A group that has ended already is what is wanted.
        let _ = rustix::process::kill_process_group(group, *signal);
    }
    if signals.contains(&Signal::KILL) {
        return Vec::new();
    }
    while rustix::process::test_kill_process_group(group).is_ok() {
        if Instant::now() >= deadline || has_ended(group) {
            return vec![root];
        }
        tokio::time::sleep(FIRST_PAUSE).await;
    }
    Vec::new()
}

/// Whether a child has ended; it is not taken off.
fn has_ended(child: Pid) -> bool {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    !matches!(
        rustix::process::waitid(WaitId::Pid(child), options),
        Ok(None)
    )
}

/// Sends a signal to just this process, not to a later one with its number.
#[cfg(target_os = "linux")]
fn send(process: Process, signal: Signal) {
    use rustix::process::{PidfdFlags, pidfd_open, pidfd_send_signal};
    let Some(pid) = Pid::from_raw(process.pid) else {
        return;
    };
    let Ok(handle) = pidfd_open(pid, PidfdFlags::empty()) else {
        return;
    };
    if Process::of(process.pid).is_some_and(|now| now.started == process.started) {
        // It may be ending right now, or belong to another user by set-user-ID: the next look
        // at the table tells whether it is gone.
        let _ = pidfd_send_signal(&handle, signal);
    }
}

/// Sends a signal to this process. Without handles a later process could get the number between
/// the look and the signal; systems hand numbers out in turn, so this takes a whole round of them.
#[cfg(not(target_os = "linux"))]
fn send(process: Process, signal: Signal) {
    if let Some(pid) = Pid::from_raw(process.pid)
        && Process::of(process.pid).is_some_and(|now| now.started == process.started)
    {
        // It may be ending right now: the next look at the table tells whether it is gone.
        let _ = rustix::process::kill_process(pid, signal);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::CommandExt as _;
    use std::process::{Child, Command, Stdio};

    use super::*;

    /// A group of one that has said that it is ready.
    fn group(line: &str) -> Child {
        let mut shell = Command::new("/bin/sh");
        let shell = shell.args(["-c", line]).process_group(0);
        let mut child = shell.stdout(Stdio::piped()).spawn().unwrap();
        let mut ready = [0; 2];
        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut ready).unwrap();
        child
    }

    #[tokio::test]
    async fn without_a_table_a_group_is_asked_and_then_killed() {
        let soon = || Instant::now() + Duration::from_millis(50);
        for line in [
            "trap '' TERM; echo .; while :; do sleep 1; done",
            "echo .; exec sleep 1000",
        ] {
            let mut child = group(line);
            let whose = Whose::Command(child.id().cast_signed());
            let left = signal_group(whose, &[Signal::TERM, Signal::CONT], soon()).await;
            assert_eq!(left, [child.id().cast_signed()], "{line}");
            let left = signal_group(whose, &[Signal::KILL], soon()).await;
            assert!(left.is_empty(), "{line}");
            assert!(!child.wait().unwrap().success(), "{line}");
        }
    }
}
