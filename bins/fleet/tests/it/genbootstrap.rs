//! `genbootstrap`, beside the program of the Go project.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use crate::go_peer::go_program;
use crate::{Ran, program, run, write, write_program};

/// What the stand-in for bootstrap.bash makes.
const FILES: &[&str] = &[
    "VERSION",
    "api/go1.txt",
    "bin/go",
    "bin/gofmt",
    "doc/x.html",
    "misc/cgo/x",
    "misc/git/hook",
    "pkg/linux_arm64/cmd/x.a",
    "pkg/linux_arm64/fmt.a",
    "pkg/tool/linux_arm64/cgo",
    "pkg/tool/linux_arm64/compile",
    "src/cmd/cgo/main.go",
    "src/fmt/fmt.go",
    "src/fmt/fmt_test.go",
    "src/fmt/testdata/x",
    "src/x.go~",
    "src/#y.go#",
    "test/run.go",
];

const KEPT: &[&str] = &[
    "VERSION",
    "bin/",
    "bin/go",
    "misc/",
    "misc/git/",
    "misc/git/hook",
    "pkg/",
    "pkg/linux_arm64/",
    "pkg/linux_arm64/fmt.a",
    "pkg/tool/",
    "pkg/tool/linux_arm64/",
    "pkg/tool/linux_arm64/compile",
    "src/",
    "src/cmd/",
    "src/cmd/cgo/",
    "src/cmd/cgo/main.go",
    "src/fmt/",
    "src/fmt/fmt.go",
];

/// A Go tree whose bootstrap.bash makes [`FILES`].
fn goroot(dir: &Path) -> std::path::PathBuf {
    let mut script = "#!/bin/sh\nset -e\ntest \"$PWD\" = \"$(cd \"$(dirname \"$0\")\" && pwd)\"\nout=../../go-$GOOS-$GOARCH-bootstrap\nmkdir $out\ncd $out\n".to_owned();
    for file in FILES {
        script += &format!("mkdir -p \"$(dirname '{file}')\"\necho '{file}' > '{file}'\n");
    }
    script += "chmod 755 bin/go pkg/tool/linux_arm64/compile\nln -s bin/go link\n: > ../go-$GOOS-$GOARCH-bootstrap.tbz\n";
    write_program(&dir.join("go/src/bootstrap.bash"), &script);
    dir.join("go")
}

/// The entries of an archive, without a leading `./`, and the lines that `tar -v` prints.
fn listing(archive: &Path) -> (BTreeSet<String>, String) {
    let tar = |flags: &str| {
        let done = Command::new("tar")
            .arg(flags)
            .arg(archive)
            .output()
            .unwrap();
        assert!(done.status.success());
        String::from_utf8(done.stdout).unwrap()
    };
    let names = tar("tzf")
        .lines()
        .map(|name| name.trim_start_matches("./").to_owned())
        .filter(|name| !name.is_empty())
        .collect();
    (names, tar("tzvf"))
}

fn genbootstrap(goroot: &Path, args: &[&str]) -> Ran {
    run(program("genbootstrap").env("GOROOT", goroot).args(args))
}

#[test]
fn genbootstrap_trims_as_the_go_program_does() {
    let dir = tempfile::tempdir().unwrap();
    let ours = goroot(&dir.path().join("ours"));
    let done = genbootstrap(&ours, &["-json", "linux/arm64"]);
    assert_eq!(done.code, Some(0), "{}", done.err);
    let archive = dir.path().join("ours/gobootstrap-linux-arm64.tar.gz");
    let (names, lines) = listing(&archive);
    assert_eq!(names, KEPT.iter().map(|name| (*name).to_owned()).collect());
    let go = lines
        .lines()
        .find(|line| line.ends_with(" bin/go"))
        .unwrap();
    assert!(
        go.starts_with("-rwxr-xr-x 0/0") && go.contains("1970-01-01"),
        "{go}"
    );
    assert!(
        !dir.path()
            .join("ours/go-linux-arm64-bootstrap.tbz")
            .exists()
    );
    assert!(
        dir.path()
            .join("ours/go-linux-arm64-bootstrap/doc")
            .is_dir(),
        "the tree stays as it is"
    );
    let told: serde_json::Value = serde_json::from_str(&done.out).unwrap();
    assert_eq!(told["bytes"], archive.metadata().unwrap().len());

    // A second machine, another day: the same bytes.
    let again = goroot(&dir.path().join("again"));
    assert_eq!(genbootstrap(&again, &["linux/arm64"]).code, Some(0));
    let other = dir.path().join("again/gobootstrap-linux-arm64.tar.gz");
    assert_eq!(
        std::fs::read(&archive).unwrap(),
        std::fs::read(other).unwrap()
    );

    let Some(program) = go_program("genbootstrap") else {
        return;
    };
    let theirs = goroot(&dir.path().join("theirs"));
    let done = run(Command::new(program)
        .env("GOROOT", &theirs)
        .arg("linux/arm64"));
    assert_eq!(done.code, Some(0), "{}", done.err);
    let (there, _) = listing(&dir.path().join("theirs/gobootstrap-linux-arm64.tar.gz"));
    assert_eq!(names, there);
}

#[test]
fn genbootstrap_packs_what_is_there_and_uploads_it() {
    let dir = tempfile::tempdir().unwrap();
    let goroot = goroot(dir.path());
    let done = genbootstrap(&goroot, &["-skip_build", "linux/arm64"]);
    assert!(
        done.code == Some(1) && done.err.contains("has no bin/go"),
        "{}",
        done.err
    );
    write(&dir.path().join("go-linux-arm64-bootstrap/bin/go"), "go");
    let store = dir.path().join("store");
    std::fs::create_dir(&store).unwrap();
    let url = format!("file://{}", store.display());
    let done = genbootstrap(
        &goroot,
        &[
            "-skip_build",
            "-upload",
            &url,
            "-out",
            store.parent().unwrap().to_str().unwrap(),
            "linux/arm64",
        ],
    );
    assert_eq!(done.code, Some(0), "{}", done.err);
    let name = "gobootstrap-linux-arm64.tar.gz";
    assert_eq!(
        std::fs::read(store.join(name)).unwrap(),
        std::fs::read(dir.path().join(name)).unwrap()
    );
}

#[test]
fn genbootstrap_fails_clearly() {
    let dir = tempfile::tempdir().unwrap();
    let goroot = goroot(dir.path());
    for (args, code, told) in [
        (&["linux-amd64"][..], 2, "is not GOOS/GOARCH"),
        (&[], 2, "GOOS/GOARCH"),
        (
            &["-goroot", "/nowhere", "linux/arm64"],
            1,
            "no Go tree at /nowhere",
        ),
    ] {
        let done = genbootstrap(&goroot, args);
        assert_eq!(done.code, Some(code), "{args:?} {}", done.err);
        assert!(done.err.contains(told), "{args:?} {}", done.err);
    }
    let done = run(program("genbootstrap")
        .env_remove("GOROOT")
        .arg("linux/arm64"));
    assert!(
        done.code == Some(1) && done.err.contains("GOROOT not set in environment"),
        "{}",
        done.err
    );
    write_program(
        &goroot.join("src/bootstrap.bash"),
        "#!/bin/sh\necho no compiler >&2\nexit 3\n",
    );
    let done = genbootstrap(&goroot, &["linux/arm64"]);
    assert!(
        done.code == Some(1)
            && done.err.contains("no compiler")
            && done.err.contains("exit status: 3"),
        "{}",
        done.err
    );
    assert!(!dir.path().join("gobootstrap-linux-arm64.tar.gz").exists());
}
