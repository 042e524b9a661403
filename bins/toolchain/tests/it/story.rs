//! A mirror, a home, and the program under any name.

use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::{Command, Output};

use build_client::testing::{Mirror, go_archive};
use build_client::toolchain::Platform;

pub(crate) struct Story {
    pub(crate) mirror: Mirror,
    pub(crate) home: tempfile::TempDir,
}

impl Story {
    pub(crate) fn new() -> Self {
        Self {
            mirror: Mirror::start().unwrap(),
            home: tempfile::tempdir().unwrap(),
        }
    }

    /// Serves the archive of a Go version for this machine.
    pub(crate) fn put(&self, name: &str, bytes: usize) {
        let archive = go_archive(name, bytes).unwrap();
        self.mirror.put_archive(&archive_name(name), archive);
    }

    /// The program under this name.
    pub(crate) fn program(&self, name: &str) -> Command {
        let link = self.home.path().join(name);
        if !link.exists() {
            symlink(env!("CARGO_BIN_EXE_farmer-toolchain"), &link).unwrap();
        }
        let mut command = Command::new(link);
        command.env("HOME", self.home.path());
        command.env("FARMER_MIRROR_GO", self.mirror.url());
        for name in [
            "FARMER_SDK",
            "FARMER_TOOLCHAINS",
            "HTTP_PROXY",
            "http_proxy",
            "GOROOT_BOOTSTRAP",
            "GOTOOLCHAIN",
        ] {
            command.env_remove(name);
        }
        command
    }

    pub(crate) fn run(&self, name: &str, args: &[&str]) -> Output {
        self.program(name).args(args).output().unwrap()
    }

    pub(crate) fn root(&self, name: &str) -> PathBuf {
        self.home.path().join("sdk").join(name)
    }
}

/// What Go calls the archive of a version for this machine.
pub(crate) fn archive_name(name: &str) -> String {
    let platform = Platform::here().to_string().replace('/', "-");
    format!("{name}.{platform}.tar.gz")
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
