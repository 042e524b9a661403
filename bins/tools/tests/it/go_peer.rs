//! The programs of the Go project of January 2021, built once.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The Go program `name`; `None` without a Go toolchain, which is said, and a failure in CI.
pub(crate) fn go_program(name: &str) -> Option<PathBuf> {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("go-programs");
    let built = Command::new("go")
        .arg("build")
        .arg("-o")
        .arg(format!("{}/", dir.display()))
        .arg(format!("golang.org/x/build/cmd/{name}"))
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../tools/tests/go"))
        .env("GOFLAGS", "-mod=readonly")
        .stdin(Stdio::null())
        .output();
    let trouble = match built {
        Ok(output) if output.status.success() => return Some(dir.join(name)),
        Ok(output) => String::from_utf8_lossy(&output.stderr).into_owned(),
        Err(error) => format!("go: {error}"),
    };
    let in_ci = std::env::var_os("CI").is_some_and(|value| value == "true");
    assert!(!in_ci, "the Go program {name} cannot be built: {trouble}");
    eprintln!("SKIPPED: no test against the Go program {name}, it cannot be built: {trouble}");
    None
}
