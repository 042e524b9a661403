//! Landlock and the filter of system calls: what a process does to itself, for good.

use std::fs;
use std::path::{Path, PathBuf};

use build_core::plan::Network;
use landlock::{
    ABI, Access as _, AccessFs, CompatLevel, Compatible as _, Ruleset, RulesetAttr as _,
    RulesetCreatedAttr as _, RulesetStatus, Scope, path_beneath_rules,
};

use super::calls;
use super::fence::Fence;

/// The newest rules that are known here; older kernels leave out what they do not know.
const NEWEST: ABI = ABI::V6;
/// The oldest with which builds run: before it no file can be moved to another directory.
const OLDEST: ABI = ABI::V2;

/// Devices that programs count on.
const DEVICES: [&str; 9] = [
    "/dev/null",
    "/dev/zero",
    "/dev/full",
    "/dev/random",
    "/dev/urandom",
    "/dev/tty",
    "/dev/ptmx",
    "/dev/pts",
    "/dev/shm",
];

/// Restricts this process to a fence without namespaces.
pub(super) fn as_user(fence: &Fence) -> Result<(), String> {
    let mut readable = visible(
        Path::new("/"),
        &|path| fence.hidden.iter().any(|hidden| hidden == path) || path == "/dev",
        &|path| path == "/" || fence.hidden.iter().any(|hidden| hidden.starts_with(path)),
    );
    readable.push("/dev/fd".into());
    for list in [&fence.readable, &fence.layered] {
        readable.extend(list.iter().cloned());
    }
    let mut writable: Vec<PathBuf> = DEVICES.map(PathBuf::from).into();
    for list in [&fence.writable, &fence.shared] {
        writable.extend(list.iter().cloned());
    }
    landlock(&readable, &writable)?;
    if fence.network == Network::Loopback {
        return Err("sandbox: a network of loopback alone needs the level \"namespaces\"".into());
    }
    calls::forbid(fence.network == Network::Closed)
}

/// Restricts the first process of namespaces, and with it everything there.
pub(super) fn in_namespaces(fence: &Fence) -> Result<(), String> {
    let mut writable: Vec<PathBuf> = ["/dev", "/tmp", "/var/tmp"].map(PathBuf::from).into();
    for list in [&fence.writable, &fence.shared, &fence.layered] {
        writable.extend(list.iter().cloned());
    }
    landlock(&[PathBuf::from("/")], &writable)?;
    calls::forbid(false)
}

fn landlock(readable: &[PathBuf], writable: &[PathBuf]) -> Result<(), String> {
    let apply = || {
        let status = Ruleset::default()
            .set_compatibility(CompatLevel::HardRequirement)
            .handle_access(AccessFs::from_all(OLDEST))?
            .set_compatibility(CompatLevel::BestEffort)
            .handle_access(AccessFs::from_all(NEWEST))?
            .scope(Scope::from_all(NEWEST))?
            .create()?
            .add_rules(path_beneath_rules(readable, AccessFs::from_read(NEWEST)))?
            .add_rules(path_beneath_rules(writable, AccessFs::from_all(NEWEST)))?
            .restrict_self()?;
        Ok::<_, landlock::RulesetError>(status.ruleset)
    };
    match apply() {
        Ok(RulesetStatus::NotEnforced) => Err("sandbox: this kernel has no Landlock".into()),
        Ok(_) => Ok(()),
        Err(error) => Err(format!("sandbox: Landlock: {error}")),
    }
}

/// Everything below `dir` but what is hidden, in as few directories as can be. Links are left
/// out: what they lead to is found where it is.
fn visible(
    dir: &Path,
    is_hidden: &dyn Fn(&Path) -> bool,
    has_hidden: &dyn Fn(&Path) -> bool,
) -> Vec<PathBuf> {
    if is_hidden(dir) {
        return Vec::new();
    }
    if !has_hidden(dir) {
        return vec![dir.to_owned()];
    }
    let Ok(entries) = fs::read_dir(dir) else {
        return Vec::new();
    };
    let real = entries.flatten().filter(|entry| {
        let kind = entry.file_type();
        kind.is_ok_and(|kind| !kind.is_symlink())
    });
    real.flat_map(|entry| visible(&entry.path(), is_hidden, has_hidden))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_beside_the_hidden_is_visible() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        for path in ["a/b/secret", "a/b/tool", "a/c", "d"] {
            fs::create_dir_all(root.join(path)).unwrap();
        }
        std::os::unix::fs::symlink("a/b/secret", root.join("way")).unwrap();
        let secret = root.join("a/b/secret");
        let mut seen = visible(root, &|path| path == secret, &|path| {
            secret.starts_with(path)
        });
        seen.sort();
        assert_eq!(seen, ["a/b/tool", "a/c", "d"].map(|path| root.join(path)));
    }
}
