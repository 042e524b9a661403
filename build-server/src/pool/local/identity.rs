//! Which tools builds see on this machine: a name that is another one when they are others.

use std::ffi::OsStr;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use sha2::{Digest as _, Sha256};

use super::home::Tools;

/// What package managers write to whenever something is installed: headers and libraries too.
const PACKAGES: &[&str] = &[
    "/etc/os-release",
    "/var/lib/dpkg/status",
    "/lib/apk/db/installed",
    "/var/lib/rpm",
    "/usr/lib/sysimage/rpm/rpmdb.sqlite",
    "/var/lib/pacman/local",
    "/nix/var/nix/profiles",
    "/run/current-system",
    "/usr/include",
    "/usr/local/include",
    "/usr/local/lib",
    "/opt",
];
/// What rustup writes to, below its home, when its programs become others.
const RUSTUP: &[&str] = &["settings.toml", "toolchains", "update-hashes"];

/// Names the environment that builds get, every program on its `PATH`, and what is installed.
/// Blocking: some thousand files are looked at, none is read.
pub(super) fn of(tools: &Tools) -> String {
    let mut hash = Sha256::new();
    hash.update(format!("{tools:?}"));
    for dir in std::env::split_paths(tools.variable("PATH").unwrap_or_default()) {
        add(&mut hash, &dir);
        let mut programs: Vec<_> = dir.read_dir().into_iter().flatten().flatten().collect();
        programs.sort_by_key(std::fs::DirEntry::file_name);
        for program in programs {
            add(&mut hash, &program.path());
        }
    }
    for path in PACKAGES {
        add(&mut hash, Path::new(path));
    }
    if let Some(home) = tools.cache("RUSTUP_HOME") {
        for name in RUSTUP {
            add(&mut hash, &home.join(name));
        }
    }
    hex::encode(hash.finalize())
}

/// Adds what is at a path, or where a link leads to.
fn add(hash: &mut Sha256, path: &Path) {
    let named: &OsStr = path.as_os_str();
    hash.update(named.as_encoded_bytes());
    let stamp = |about: Metadata| {
        [
            about.size(),
            about.mtime().cast_unsigned(),
            about.mtime_nsec().cast_unsigned(),
            about.ino(),
        ]
    };
    match path.metadata().map(stamp) {
        Ok(numbers) => numbers.iter().for_each(|n| hash.update(n.to_be_bytes())),
        Err(_) => hash.update([0]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_program_on_the_path_is_another_name() {
        let dir = tempfile::tempdir().unwrap();
        let named = || of(&Tools::of([("PATH".into(), dir.path().into())]));
        let before = named();
        assert_eq!(named(), before);
        std::fs::write(dir.path().join("cc"), "x").unwrap();
        let with = named();
        assert_ne!(with, before);
        std::fs::write(dir.path().join("cc"), "another one").unwrap();
        assert_ne!(named(), with);
        let other = Tools::of([
            ("PATH".into(), dir.path().into()),
            ("GOFLAGS".into(), "-x".into()),
        ]);
        assert_ne!(of(&other), named());
    }
}
