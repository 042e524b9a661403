//! Builds that take more than they may: output, processes, disk.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::processes::{below, buildlets, wait_until};
use crate::repo::Repo;

fn repo_with(run: &str) -> Repo {
    let repo = Repo::new();
    repo.write("run.sh", run)
        .write(
            ".farmer.toml",
            "[[step]]\nname = \"x\"\nrun = \"sh run.sh\"\n",
        )
        .commit("first");
    repo
}

#[test]
fn daemons_that_leave_their_session_and_ignore_signals_die_with_their_step() {
    let repo = repo_with(
        "setsid sh -c 'trap \"\" TERM HUP INT; (setsid sh -c \"trap : TERM; while :; do sleep 1000; done\" &) ; sleep 1000' \
         >/dev/null 2>&1 </dev/null &\necho started\n",
    );
    repo.run(&["build"]).exits(0);
    wait_until("the daemons are gone", Duration::from_secs(90), || {
        below(&repo.data()).is_empty()
    });
}

/// Peak resident memory of a process in bytes; `None` when it has ended.
fn peak_bytes(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|l| l.starts_with("VmHWM:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? * 1024)
}

#[test]
fn two_gibibytes_of_output_need_little_memory() {
    const OUTPUT: u64 = 2 << 30;
    let repo = repo_with(&format!(
        "yes 'a line of output that is a little longer than most' | head -c {OUTPUT}\n"
    ));
    let mut child = repo
        .farmer()
        .args(["build", "--quiet"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let (mut coordinator, mut buildlet) = (0, 0);
    wait_until("the build ends", Duration::from_secs(300), || {
        coordinator = coordinator.max(peak_bytes(child.id()).unwrap_or(0));
        let peaks = buildlets(&repo.data())
            .into_iter()
            .filter_map(|b| peak_bytes(b.pid));
        buildlet = peaks.fold(buildlet, u64::max);
        child.try_wait().unwrap().is_some()
    });
    assert!(child.wait().unwrap().success());
    eprintln!(
        "peak memory: coordinator {} MB, buildlet {} MB",
        coordinator / 1_000_000,
        buildlet / 1_000_000
    );
    assert!(
        coordinator <= 150_000_000,
        "coordinator: {coordinator} bytes"
    );
    // Most of these are pages of the unoptimised program, which holds every other program too.
    assert!(
        buildlet > 0 && buildlet <= 80_000_000,
        "buildlet: {buildlet} bytes"
    );
    let events = repo.run(&["log", "--events", "--json"]).exits(0).events();
    let ended = events.iter().find(|e| e["kind"] == "ended").unwrap();
    assert_eq!(ended["body"]["output_bytes"], OUTPUT);
}

/// A file system of a few megabytes, gone with the value.
struct SmallDisk<'a>(&'a Path);

impl<'a> SmallDisk<'a> {
    /// `None`, said loudly, where mounting is not allowed; in CI that is a failure.
    fn mount(place: &'a Path, megabytes: u32) -> Option<Self> {
        std::fs::create_dir_all(place).unwrap();
        let options = format!("size={megabytes}m");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "tmpfs"])
            .arg(place)
            .output();
        let mounted = mounted.is_ok_and(|output| output.status.success());
        if !mounted {
            assert!(
                std::env::var("CI").as_deref() != Ok("true"),
                "CI must be allowed to mount a tmpfs"
            );
            eprintln!("SKIPPED: mounting a tmpfs is not allowed here");
        }
        mounted.then_some(Self(place))
    }
}

impl SmallDisk<'_> {
    fn grow(&self, megabytes: u32) {
        let options = format!("remount,size={megabytes}m");
        let grown = Command::new("mount")
            .args(["-o", &options])
            .arg(self.0)
            .status();
        assert!(grown.is_ok_and(|status| status.success()));
    }
}

impl Drop for SmallDisk<'_> {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("-l").arg(self.0).status();
        assert!(
            unmounted.is_ok_and(|status| status.success()),
            "umount {}",
            self.0.display()
        );
    }
}

#[test]
fn a_full_data_disk_is_told_and_loses_nothing() {
    const OUTPUT: u64 = 200_000_000;
    let repo = repo_with(&format!("yes 'a line of output' | head -c {OUTPUT}\n"));
    let data = repo.data();
    let Some(disk) = SmallDisk::mount(&data, 48) else {
        return;
    };
    // The default floor asks for more than this disk has; here the disk itself is to be the bound.
    repo.write(
        ".farmer.toml",
        "[limits]\ndisk = 0\n[[step]]\nname = \"x\"\nrun = \"sh run.sh\"\n",
    )
    .commit("no floor");
    let said = repo.home().join("said");
    let mut child = repo
        .farmer()
        .args(["build", "--quiet"])
        .stdout(Stdio::null())
        .stderr(std::fs::File::create(&said).unwrap())
        .spawn()
        .unwrap();
    let said = || std::fs::read_to_string(&said).unwrap();
    wait_until("the full disk is told", Duration::from_secs(60), || {
        said().contains("No space left")
    });
    disk.grow(1000);
    // The machine's work directory is on the same disk: its own bound ends the step.
    assert_eq!(child.wait().unwrap().code(), Some(1), "{}", said());
    assert!(said().contains("disk quota"), "{}", said());
    let events = repo.run(&["log", "--events", "--json"]).exits(0).events();
    let kinds: Vec<_> = events.iter().map(|e| &e["kind"]).collect();
    assert!(kinds.contains(&&"finished".into()), "{events:#?}");
    repo.run(&["build", "--quiet"]).exits(0);
    wait_until("no process is left", Duration::from_secs(90), || {
        below(&data).is_empty()
    });
    drop(disk);
}
