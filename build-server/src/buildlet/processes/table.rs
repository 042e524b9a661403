//! What `/proc` says of the processes of the machine.

use std::collections::HashMap;
use std::fs;
use std::io;

/// One line of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) pid: i32,
    pub(crate) parent: i32,
    pub(crate) group: i32,
    pub(crate) zombie: bool,
    /// In clock ticks since the start of the system: with the pid it names a process for good.
    pub(crate) started: u64,
}

impl Process {
    /// Reads the line of one process; `None` when there is no such process.
    pub(crate) fn of(pid: i32) -> Option<Self> {
        parse_stat(&fs::read(format!("/proc/{pid}/stat")).ok()?)
    }

    /// Pages of the process's own in bytes; 0 when it has ended. Pages of files are left out, and
    /// what it shares with other processes is [`Process::shared_memory_bytes`].
    pub(crate) fn memory_bytes(self) -> u64 {
        let statm = fs::read_to_string(format!("/proc/{}/statm", self.pid)).unwrap_or_default();
        let mut pages = statm
            .split(' ')
            .skip(1)
            .map(|field| field.trim().parse().unwrap_or(0u64));
        let (resident, shared) = (pages.next().unwrap_or(0), pages.next().unwrap_or(0));
        resident.saturating_sub(shared) * rustix::param::page_size() as u64
    }

    /// The part of this process of the memory that it has in common with others and that no disk
    /// backs; 0 when it has ended.
    pub(crate) fn shared_memory_bytes(self) -> u64 {
        // Few processes have any, and the sum of the parts takes a walk of all pages.
        let all = kilobytes(self.pid, "status", "RssShmem:").unwrap_or(0);
        if all == 0 {
            return 0;
        }
        kilobytes(self.pid, "smaps_rollup", "Pss_Shmem:").unwrap_or(all) * 1024
    }

    /// The device and the used bytes of the file system that it sees at `/dev/shm`; `None` too
    /// when that may not be read.
    pub(crate) fn files_in_memory(self) -> Option<(rustix::fs::Dev, u64)> {
        files_in_memory(&format!("/proc/{}/root", self.pid))
    }

    /// The value of a variable in the environment the process was started with; `None` too when
    /// it may not be read.
    pub(crate) fn start_env(self, name: &str) -> Option<String> {
        start_env(self.pid, name)
    }
}

/// Those of a process that sees `root` as its root.
pub(super) fn files_in_memory(root: &str) -> Option<(rustix::fs::Dev, u64)> {
    let place = format!("{root}/dev/shm");
    let device = rustix::fs::stat(&place).ok()?.st_dev;
    let used = rustix::fs::statvfs(&place).ok()?;
    let blocks = used.f_blocks.saturating_sub(used.f_bfree);
    Some((device, blocks.saturating_mul(used.f_frsize)))
}

/// A line of one of the tables in `/proc/PID`.
fn kilobytes(pid: i32, table: &str, name: &str) -> Option<u64> {
    let table = fs::read_to_string(format!("/proc/{pid}/{table}")).ok()?;
    let line = table.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

fn start_env(pid: i32, name: &str) -> Option<String> {
    let environ = fs::read(format!("/proc/{pid}/environ")).ok()?;
    let value = environ
        .split(|&b| b == 0)
        .find_map(|entry| entry.strip_prefix(name.as_bytes())?.strip_prefix(b"="))?;
    Some(String::from_utf8_lossy(value).into_owned())
}

fn pids() -> io::Result<impl Iterator<Item = i32>> {
    let entries = fs::read_dir("/proc")?;
    Ok(entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()))
}

/// The values of a variable in the environments that living processes were started with.
#[cfg(feature = "coordinator")]
pub(crate) fn start_envs(name: &str) -> io::Result<Vec<String>> {
    Ok(pids()?.filter_map(|pid| start_env(pid, name)).collect())
}

/// The processes of one moment; those that start and end meanwhile may be in it or not.
#[derive(Debug)]
pub(crate) struct Table(Vec<Process>);

impl Table {
    pub(crate) fn read() -> io::Result<Self> {
        Ok(Self(pids()?.filter_map(Process::of).collect()))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Process> {
        self.0.iter()
    }

    /// Those processes and all that descend from them.
    pub(crate) fn with_descendants(&self, roots: impl IntoIterator<Item = i32>) -> Vec<Process> {
        let mut children: HashMap<i32, Vec<&Process>> = HashMap::new();
        for process in &self.0 {
            children.entry(process.parent).or_default().push(process);
        }
        let mut found: HashMap<i32, Process> = HashMap::new();
        let mut next: Vec<&Process> = Vec::new();
        let roots: std::collections::HashSet<i32> = roots.into_iter().collect();
        next.extend(self.0.iter().filter(|process| roots.contains(&process.pid)));
        while let Some(process) = next.pop() {
            if found.insert(process.pid, *process).is_none() {
                next.extend(children.get(&process.pid).into_iter().flatten());
            }
        }
        found.into_values().collect()
    }
}

/// `pid (name) state ppid pgrp …`, where the name may hold anything, blanks and `)` included.
fn parse_stat(line: &[u8]) -> Option<Process> {
    let name_end = line.iter().rposition(|&b| b == b')')?;
    let pid = std::str::from_utf8(&line[..line.iter().position(|&b| b == b' ')?]).ok()?;
    let rest = std::str::from_utf8(line.get(name_end + 1..)?).ok()?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    Some(Process {
        pid: pid.parse().ok()?,
        zombie: matches!(*fields.first()?, "Z" | "X" | "x"),
        parent: fields.get(1)?.parse().ok()?,
        group: fields.get(2)?.parse().ok()?,
        started: fields.get(19)?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_blanks_and_parentheses_does_not_confuse() {
        let line = b"71 (a) b) (c) S 1 70 69 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 999 1000 5 18\n";
        let expected = Process {
            pid: 71,
            parent: 1,
            group: 70,
            zombie: false,
            started: 999,
        };
        assert_eq!(parse_stat(line), Some(expected));
        assert_eq!(parse_stat(b"71 (a"), None);
        assert_eq!(parse_stat(b""), None);
    }

    #[test]
    fn this_process_is_in_the_table_and_below_its_parent() {
        let me = Process::of(std::process::id().cast_signed()).unwrap();
        let table = Table::read().unwrap();
        assert!(table.iter().any(|process| process.pid == me.pid));
        let family = table.with_descendants([me.parent]);
        assert!(family.iter().any(|process| process.pid == me.pid));
        assert!(me.memory_bytes() > 0);
        assert_eq!(me.start_env("NO_SUCH_VARIABLE"), None);
    }
}
