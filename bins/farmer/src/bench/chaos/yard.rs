//! Where a life takes place: a repository, a small disk for the farm, and what it must not touch.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use build_core::tree::remove_tree;
use farmer_cli::Failure;

use super::guest::Guest;

/// The disk of the farm, in megabytes.
const DISK: u32 = 256;
/// What is in the directory that nobody may change.
const SENTINEL: &str = "as it was\n";

/// Directories of one life.
pub(super) struct Yard {
    home: tempfile::TempDir,
}

impl Yard {
    /// Makes them, with the small disk.
    pub(super) fn open() -> Result<Self, Failure> {
        let home = tempfile::Builder::new().prefix("chaos-").tempdir();
        let home = home.map_err(|e| failed("make a directory", &e))?;
        let yard = Self { home };
        for dir in [yard.repo(), yard.data(), yard.outside()] {
            fs::create_dir(&dir).map_err(|e| failed("make a directory", &e))?;
        }
        fs::write(yard.outside().join("sentinel"), SENTINEL).map_err(|e| failed("write", &e))?;
        let size = format!("size={DISK}m,mode=0700");
        run(Command::new("mount")
            .args(["-t", "tmpfs", "-o", &size, "chaos"])
            .arg(yard.data()))
        .map_err(|text| {
            let hint =
                "as root, or with: unshare --user --map-root-user --mount farmer bench chaos";
            Failure::usage(format!("chaos needs a small disk of its own: {text}"), hint)
        })?;
        yard.git(&["init", "-q", "-b", "main"])
            .map_err(|text| Failure::usage(text, "install git"))?;
        Ok(yard)
    }

    pub(super) fn repo(&self) -> PathBuf {
        self.home.path().join("project")
    }

    pub(super) fn data(&self) -> PathBuf {
        self.home.path().join("data")
    }

    pub(super) fn outside(&self) -> PathBuf {
        self.home.path().join("outside")
    }

    /// What the farm has said.
    pub(super) fn words(&self) -> PathBuf {
        self.home.path().join("words")
    }

    fn git(&self, args: &[&str]) -> Result<String, String> {
        let name = ["-c", "user.name=Chaos", "-c", "user.email=chaos@localhost"];
        run(Command::new("git")
            .args(name)
            .args(args)
            .current_dir(self.repo()))
    }

    /// Commits a guest, and tells its commit.
    pub(super) fn commit(&self, guest: Guest) -> Result<String, String> {
        let file = self.repo().join(".farmer.toml");
        fs::write(file, guest.plan()).map_err(|e| format!("cannot write the plan: {e}"))?;
        let link = self.repo().join("outside");
        // The one before may have had it.
        let _gone = fs::remove_file(&link);
        if guest.leads_outside() {
            std::os::unix::fs::symlink(self.outside(), link)
                .map_err(|e| format!("cannot make a link: {e}"))?;
        }
        self.git(&["add", "-A"])?;
        self.git(&["commit", "-q", "--allow-empty", "-m", &guest.to_string()])?;
        Ok(self.git(&["rev-parse", "HEAD"])?.trim().to_owned())
    }

    /// Takes all room of the disk.
    pub(super) fn fill(&self) -> Result<(), String> {
        let ballast = self.ballast();
        let full = fs::write(&ballast, vec![1; (DISK as usize) << 20]);
        match full {
            Ok(()) => Err("the disk did not become full".to_owned()),
            Err(_) => Ok(()),
        }
    }

    /// Gives it back.
    pub(super) fn free(&self) {
        // Nothing was taken: there is room.
        let _ = fs::remove_file(self.ballast());
    }

    fn ballast(&self) -> PathBuf {
        self.data().join("ballast")
    }

    /// Whether the disk can be written to. False when something still writes to it.
    pub(super) fn read_only(&self, on: bool) -> bool {
        let mode = if on { "remount,ro" } else { "remount,rw" };
        run(Command::new("mount").args(["-o", mode]).arg(self.data())).is_ok()
    }

    /// What has changed outside.
    pub(super) fn harm(&self) -> Option<String> {
        let names = fs::read_dir(self.outside()).map(|entries| {
            let names = entries.flatten().map(|entry| entry.file_name());
            names.collect::<Vec<_>>()
        });
        let sentinel = fs::read_to_string(self.outside().join("sentinel"));
        let is_well = names.as_ref().is_ok_and(|names| names.len() == 1)
            && sentinel.is_ok_and(|text| text == SENTINEL);
        (!is_well).then(|| format!("the directory outside was changed: {names:?}"))
    }

    /// Machines and what is left of them.
    pub(super) fn machines(&self) -> Vec<PathBuf> {
        entries(&self.data().join("machines/local"))
    }

    /// Machines that were kept ready and given to nobody.
    pub(super) fn spares(&self) -> Vec<PathBuf> {
        let is_spare = |dir: &PathBuf| {
            let name = dir.file_name().unwrap_or_default().to_string_lossy();
            let is_whole = dir.join("buildlet.json").exists() && !name.starts_with('.');
            is_whole && !dir.join("lease.json").exists()
        };
        let machines = self.machines();
        machines.into_iter().filter(is_spare).collect()
    }

    /// Small files of machines and of the farm.
    pub(super) fn small_files(&self) -> Vec<PathBuf> {
        let machines = self.machines();
        let small = |path: &PathBuf| {
            path.is_file() && path.metadata().is_ok_and(|about| about.len() < 4096)
        };
        let files = machines.iter().flat_map(|dir| entries(dir)).filter(small);
        files.collect()
    }

    /// Stored contents that can be made again.
    pub(super) fn derived(&self) -> Vec<PathBuf> {
        let kinds = ["source", "cache"].map(|kind| self.data().join("blobs").join(kind));
        let files = kinds
            .iter()
            .flat_map(|dir| entries(dir))
            .filter(|path| path.is_file());
        files.collect()
    }
}

impl Drop for Yard {
    fn drop(&mut self) {
        // What is still open goes with its process; a disk that was never mounted is not there.
        let _ = run(Command::new("umount").arg("-l").arg(self.data()));
        let _ = remove_tree(self.home.path());
    }
}

/// In the order of their names, so that a seed draws the same one.
fn entries(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let mut paths: Vec<_> = entries.map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

fn failed(what: &str, error: &std::io::Error) -> Failure {
    Failure::usage(
        format!("cannot {what} for chaos: {error}"),
        "see that $TMPDIR can be written to",
    )
}

/// The output of a program that must exit with 0.
pub(super) fn run(command: &mut Command) -> Result<String, String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command
        .output()
        .map_err(|e| format!("cannot run {program}: {e}"))?;
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match output.status.success() {
        true => Ok(said(&output.stdout)),
        false => Err(format!(
            "{program}: {}: {}",
            output.status,
            said(&output.stderr).trim()
        )),
    }
}
