//! The programs of the Go project of January 2021, and one of later years, built once.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The Go program `name`; `None` without a Go toolchain, which is said, and a failure in CI.
pub(crate) fn go_program(name: &str) -> Option<PathBuf> {
    go_program_of("go", name)
}

/// The same, as the module in a folder of these tests requires it.
pub(crate) fn go_program_of(module: &str, name: &str) -> Option<PathBuf> {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{module}-programs"));
    let built = Command::new("go")
        .arg("build")
        .arg("-o")
        .arg(format!("{}/", dir.display()))
        .arg(format!("golang.org/x/build/cmd/{name}"))
        .current_dir(
            Path::new(env!("CARGO_MANIFEST_DIR"))
                .join("../tools/tests")
                .join(module),
        )
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
