//! Control groups of Linux (version 2): memory and processes of a command, counted and bounded by
//! the kernel.
//!
//! Only who was *delegated* a group may make others below it: a service of systemd with
//! `Delegate=yes`, or a container that may. The farm moves itself into `farm` there, since a group
//! that hands controllers on holds no processes of its own; each machine has a group beside it, and
//! in that each command one:
//!
//! ```text
//! delegated/  farm/           the farm and its buildlets
//!             m1f00c0de/      a machine
//!                 1/ 2/       its commands, with memory.max and pids.max
//! ```
//!
//! A command enters its group before anything of it runs: its launcher does.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::fs::{Access, access};
use rustix::io::Errno;

use super::sandbox::Bounds;

/// The groups of this process, one line for each hierarchy.
const OWN: &str = "/proc/self/cgroup";
/// What is mounted where.
const MOUNTS: &str = "/proc/self/mountinfo";
/// The group of a farm and its buildlets.
const FARM: &str = "farm";
/// Hands both controllers on.
const HAND_ON: &str = "+memory +pids";
/// Files that are written to in a delegated group.
const WRITTEN: [&str; 2] = ["cgroup.procs", "cgroup.subtree_control"];
/// Looks whether the last process of a group is gone, and the pause between two of them.
const LOOKS: u32 = 50;
const PAUSE: Duration = Duration::from_millis(2);

/// A group below which others may be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delegated {
    dir: PathBuf,
}

impl Delegated {
    /// The group of this process, if it was delegated. Nothing is changed.
    ///
    /// # Errors
    /// Why there is none, as a part of a sentence.
    pub fn find() -> Result<Self, String> {
        let read = |path: &str| {
            let text = fs::read_to_string(path);
            text.map_err(|error| format!("{path} cannot be read: {error}"))
        };
        let dir = own_dir(&read(OWN)?, &read(MOUNTS)?)?;
        Self::at(&dir)
    }

    /// The group whose files are in `dir`.
    fn at(dir: &Path) -> Result<Self, String> {
        // An earlier process of the same service may have moved this one.
        let above = dir.parent().filter(|_| dir.ends_with(FARM));
        let dir = match above.filter(|above| hands_on(above)) {
            Some(above) => above,
            None => dir,
        };
        if !has_both(&dir.join("cgroup.controllers")) {
            let shown = dir.display();
            return Err(format!(
                "the control group {shown} has no controllers for memory and processes"
            ));
        }
        let may_write = |path: &Path| access(path, Access::WRITE_OK).is_ok();
        if !may_write(dir) || !WRITTEN.iter().all(|name| may_write(&dir.join(name))) {
            let shown = dir.display();
            return Err(format!(
                "the control group {shown} is not delegated to this user (systemd: Delegate=yes)"
            ));
        }
        Ok(Self {
            dir: dir.to_owned(),
        })
    }

    /// Moves this process aside and hands the controllers on; once it is done, again is nothing.
    ///
    /// # Errors
    /// Why that cannot be, as a part of a sentence; then everything is as it was.
    pub fn enter(&self) -> Result<(), String> {
        if hands_on(&self.dir) {
            return Ok(());
        }
        let farm = self.dir.join(FARM);
        let moved = make_dir(&farm).and_then(|()| join(&farm));
        moved.map_err(|error| format!("{} cannot be entered: {error}", farm.display()))?;
        let Err(error) = hand_on(&self.dir) else {
            return Ok(());
        };
        // What matters is told below; a farm in a group of its own works as well.
        let _back = join(&self.dir).and_then(|()| fs::remove_dir(&farm));
        let shown = self.dir.display();
        Err(match Errno::from_io_error(&error) {
            Some(Errno::BUSY) => format!(
                "other programs are in the control group {shown}: run the farm as a service of its own"
            ),
            _ => format!("the controllers of {shown} cannot be handed on: {error}"),
        })
    }

    /// The group of a machine; it is made with its first command.
    pub fn machine(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Removes the group of a machine on which nothing runs any more.
    pub fn forget(&self, name: &str) {
        let dir = self.machine(name);
        let commands = fs::read_dir(&dir).into_iter().flatten().flatten();
        for command in commands.filter(|entry| entry.path().is_dir()) {
            // One that still has processes stays, and the machine's with it.
            let _in_use = fs::remove_dir(command.path());
        }
        let _in_use = fs::remove_dir(dir);
    }
}

/// Where the files of this process's group are.
fn own_dir(own: &str, mounts: &str) -> Result<PathBuf, String> {
    let missing = || "the system has no control groups of version 2".to_owned();
    let group = own.lines().find_map(|line| line.strip_prefix("0::"));
    let group = group.ok_or_else(missing)?;
    let mounted = mounts.lines().find_map(mounted).ok_or_else(missing)?;
    let (root, point) = mounted;
    let below = Path::new(group).strip_prefix(root);
    let below = below.map_err(|_| format!("the control group {group} is not shown here"))?;
    Ok(Path::new(point).join(below))
}

/// The root and the place of a mount of control groups.
fn mounted(line: &str) -> Option<(&str, &str)> {
    let (before, after) = line.split_once(" - ")?;
    let mut fields = before.split(' ').skip(3);
    let (root, point) = (fields.next()?, fields.next()?);
    after.starts_with("cgroup2 ").then_some((root, point))
}

fn has_both(list: &Path) -> bool {
    let text = fs::read_to_string(list).unwrap_or_default();
    let has = |wanted: &str| text.split_whitespace().any(|name| name == wanted);
    has("memory") && has("pids")
}

fn hands_on(dir: &Path) -> bool {
    has_both(&dir.join("cgroup.subtree_control"))
}

fn hand_on(dir: &Path) -> io::Result<()> {
    fs::write(dir.join("cgroup.subtree_control"), HAND_ON)
}

fn make_dir(dir: &Path) -> io::Result<()> {
    match fs::create_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made,
    }
}

/// Moves this process into a group.
///
/// # Errors
/// The system's.
pub(crate) fn join(group: &Path) -> io::Result<()> {
    fs::write(group.join("cgroup.procs"), "0")
}

/// The group of one command.
#[derive(Debug)]
pub(crate) struct Group {
    dir: PathBuf,
    bounds: Bounds,
}

impl Group {
    /// Makes a group in that of a machine, which is made when it is not there.
    ///
    /// # Errors
    /// The system's: nothing may be run then.
    pub(crate) fn make(machine: &Path, bounds: Bounds) -> io::Result<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        make_dir(machine)?;
        if !hands_on(machine) {
            hand_on(machine)?;
        }
        let dir = loop {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let dir = machine.join(number.to_string());
            match fs::create_dir(&dir) {
                // Of an earlier process of this buildlet.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                made => break made.map(|()| dir)?,
            }
        };
        let group = Self { dir, bounds };
        group.bound().inspect_err(|_| drop(group.remove()))?;
        Ok(group)
    }

    fn bound(&self) -> io::Result<()> {
        if let Some(bytes) = self.bounds.memory_bytes {
            fs::write(self.dir.join("memory.max"), bytes.to_string())?;
            // Kernels without swap, and old ones, do not have them.
            for (name, value) in [("memory.swap.max", "0"), ("memory.oom.group", "1")] {
                let _missing = fs::write(self.dir.join(name), value);
            }
        }
        if let Some(most) = self.bounds.processes {
            fs::write(self.dir.join("pids.max"), most.to_string())?;
        }
        Ok(())
    }

    /// What a launcher has to enter.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Which bound the command has met, if any.
    pub(crate) fn met(&self) -> Option<String> {
        let count = |file: &str, key: &str| {
            let text = fs::read_to_string(self.dir.join(file)).unwrap_or_default();
            let mut lines = text.lines().filter_map(|line| line.split_once(' '));
            let found = lines.find(|(name, _)| *name == key);
            found.is_some_and(|(_, count)| count.trim() != "0")
        };
        let Bounds {
            memory_bytes,
            processes,
            ..
        } = self.bounds;
        if let Some(most) = memory_bytes.filter(|_| count("memory.events", "oom_kill")) {
            return Some(format!("memory of {most} bytes"));
        }
        let most = processes.filter(|_| count("pids.events", "max"))?;
        Some(format!("{most} processes"))
    }

    /// Ends every process in it, and removes it once they are gone; waits a moment for that.
    pub(crate) async fn end(&self) {
        // Before Linux 5.14 there is no such file: then they were ended one by one.
        let _missing = fs::write(self.dir.join("cgroup.kill"), "1");
        for _ in 0..LOOKS {
            if self.remove().is_ok() {
                return;
            }
            tokio::time::sleep(PAUSE).await;
        }
        tracing::debug!(group = %self.dir.display(), "the group of a command is still in use");
    }

    /// Removes it when nothing runs in it any more.
    ///
    /// # Errors
    /// It is in use.
    pub(crate) fn remove(&self) -> io::Result<()> {
        match fs::remove_dir(&self.dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = "42 32 0:39 / /sys/fs/cgroup/unified rw,nosuid - cgroup2 cgroup2 rw";

    /// A directory with the files that the kernel would show in a group.
    fn group(dir: &Path, controllers: &str, handed_on: &str) {
        fs::create_dir_all(dir).unwrap();
        fs::write(dir.join("cgroup.controllers"), controllers).unwrap();
        fs::write(dir.join("cgroup.subtree_control"), handed_on).unwrap();
        fs::write(dir.join("cgroup.procs"), "").unwrap();
    }

    fn text(path: &Path) -> String {
        fs::read_to_string(path).unwrap()
    }

    #[test]
    fn the_own_group_is_found_where_it_is_mounted() {
        let own = "4:memory:/x\n0::/user.slice/farm.service\n";
        assert_eq!(
            own_dir(own, LINE).unwrap(),
            Path::new("/sys/fs/cgroup/unified/user.slice/farm.service")
        );
        let inner = "1 1 0:1 /user.slice /cg rw - cgroup2 x rw";
        assert_eq!(own_dir(own, inner).unwrap(), Path::new("/cg/farm.service"));
        for (own, mounts, says) in [
            ("4:memory:/x\n", LINE, "no control groups of version 2"),
            (own, "1 1 0:1 / /x rw - tmpfs x rw", "no control groups"),
            (own, "1 1 0:1 /other /cg rw - cgroup2 x rw", "not shown"),
        ] {
            assert!(own_dir(own, mounts).unwrap_err().contains(says), "{says}");
        }
    }

    #[test]
    fn only_a_delegated_group_with_both_controllers_is_taken() {
        let dir = tempfile::tempdir().unwrap();
        let own = dir.path().join("service");
        group(&own, "cpu memory", "");
        let why = Delegated::at(&own).unwrap_err();
        assert!(why.contains("no controllers for memory"), "{why}");
        group(&own, "cpu memory pids", "");
        let delegated = Delegated::at(&own).unwrap();
        delegated.enter().unwrap();
        assert_eq!(text(&own.join("farm/cgroup.procs")), "0");
        assert_eq!(text(&own.join("cgroup.subtree_control")), HAND_ON);
        // The kernel shows it without signs; whoever is in it already goes on from there.
        group(&own, "cpu memory pids", "memory pids");
        group(&own.join("farm"), "memory pids", "");
        assert_eq!(Delegated::at(&own.join("farm")).unwrap(), delegated);
        fs::remove_file(own.join("farm/cgroup.procs")).unwrap();
        delegated.enter().unwrap();
        assert!(!own.join("farm/cgroup.procs").exists(), "moved once");
        fs::remove_file(own.join("cgroup.procs")).unwrap();
        let why = Delegated::at(&own).unwrap_err();
        assert!(why.contains("not delegated to this user"), "{why}");
    }

    #[tokio::test]
    async fn a_command_has_a_group_with_its_bounds_that_goes_with_it() {
        let dir = tempfile::tempdir().unwrap();
        group(dir.path(), "memory pids", "memory pids");
        let delegated = Delegated::at(dir.path()).unwrap();
        let machine = delegated.machine("m1");
        let bounds = Bounds::default().with_memory(1 << 20).with_processes(7);
        let made = Group::make(&machine, bounds).unwrap();
        assert_eq!(text(&machine.join("cgroup.subtree_control")), HAND_ON);
        assert_eq!(text(&made.dir().join("memory.max")), "1048576");
        assert_eq!(text(&made.dir().join("pids.max")), "7");
        assert_eq!(text(&made.dir().join("memory.oom.group")), "1");
        let other = Group::make(&machine, Bounds::default()).unwrap();
        assert!(!other.dir().join("memory.max").exists());
        assert_ne!(other.dir(), made.dir());
        assert_eq!(made.met(), None);
        let events = |file: &str, text: &str| fs::write(made.dir().join(file), text).unwrap();
        events("pids.events", "max 3\n");
        assert_eq!(made.met().as_deref(), Some("7 processes"));
        events("memory.events", "low 0\nmax 9\noom_kill 0\n");
        assert_eq!(made.met().as_deref(), Some("7 processes"));
        events("memory.events", "low 0\nmax 9\noom_kill 1\n");
        assert_eq!(made.met().as_deref(), Some("memory of 1048576 bytes"));
        // The kernel removes such files with their directory.
        for entry in fs::read_dir(made.dir()).unwrap() {
            fs::remove_file(entry.unwrap().path()).unwrap();
        }
        fs::remove_file(machine.join("cgroup.subtree_control")).unwrap();
        assert!(made.remove().is_ok() && !made.dir().exists());
        made.end().await;
        delegated.forget("m1");
        assert!(!machine.exists());
    }
}
