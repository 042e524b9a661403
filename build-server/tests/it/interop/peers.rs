//! The Go programs, built once for each state of their sources.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use sha2::{Digest as _, Sha256};

/// Their sources; other crates include this file.
fn sources() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    let roots = own
        .ancestors()
        .map(|root| root.join("build-server/tests/go2020"));
    let found = roots.into_iter().find(|sources| sources.is_dir());
    found.expect("the sources of the Go peers are in this repository")
}

/// Programs of the Go project itself, as tests/go2020/programs names them.
const PROGRAMS: [&str; 3] = [
    "golang.org/x/build/cmd/buildlet",
    "golang.org/x/build/cmd/coordinator",
    "golang.org/x/build/cmd/gomote",
];

/// The directory of the programs of `tests/go2020`; `None` without Go.
pub(crate) fn go2020() -> Option<&'static Path> {
    static BUILT: OnceLock<Option<PathBuf>> = OnceLock::new();
    BUILT.get_or_init(build).as_deref()
}

fn build() -> Option<PathBuf> {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("go2020-{}", digest()));
    let done = dir.join("done");
    if done.exists() {
        return Some(dir);
    }
    let built = Command::new("go")
        .arg("build")
        .arg("-o")
        .arg(format!("{}/", dir.display()))
        .arg("./...")
        .args(PROGRAMS)
        .current_dir(sources())
        .env("GOFLAGS", "-mod=readonly")
        .stdin(Stdio::null())
        .output();
    let trouble = match built {
        Ok(output) if output.status.success() => {
            std::fs::write(done, "").unwrap();
            return Some(dir);
        }
        Ok(output) => String::from_utf8_lossy(&output.stderr).into_owned(),
        Err(error) => format!("go: {error}"),
    };
    let in_ci = std::env::var_os("CI").is_some_and(|value| value == "true");
    assert!(!in_ci, "the Go peers cannot be built: {trouble}");
    eprintln!("SKIPPED: no test against the Go peers, they cannot be built: {trouble}");
    None
}

/// Of all that the programs are made of.
fn digest() -> String {
    let mut files = vec![];
    let mut dirs = vec![sources()];
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path);
            } else {
                files.push(path);
            }
        }
    }
    files.sort();
    let mut hash = Sha256::new();
    for file in files {
        hash.update(std::fs::read(file).unwrap());
    }
    hex::encode(&hash.finalize()[..8])
}
