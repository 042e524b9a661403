//! `racebuild`, with machines of this machine.

use std::path::Path;

use crate::{git, program, run, write, write_program};

const RACE: &str = "src/runtime/race";

/// A Go tree, as far as racebuild looks at it, with one commit.
fn tree(dir: &Path) -> String {
    write(
        &dir.join(RACE).join("README"),
        "runtime/race package contains the data race detector.\n",
    );
    git(dir, &["init", "-q"]);
    git(dir, &["add", "-A"]);
    git(dir, &["commit", "-qm", "first"]);
    git(dir, &["rev-parse", "HEAD"])
}

/// The platform of this machine, or the commonest one.
fn own_platform() -> &'static str {
    match std::env::consts::ARCH {
        "aarch64" => "linux/arm64",
        "powerpc64" => "linux/ppc64le",
        _ => "linux/amd64",
    }
}

#[test]
fn racebuild_builds_on_a_local_machine() {
    let Some(buildlet) = crate::buildlet() else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    // Called like the front door: PROGRAM buildlet FLAGS.
    let farmer = dir.path().join("farmer");
    write_program(
        &farmer,
        &format!("#!/bin/sh\nshift\nexec {} \"$@\"\n", buildlet.display()),
    );
    let head = tree(dir.path());
    let platform = own_platform();
    let file = format!("race_{}.syso", platform.replace('/', "_"));
    let script = dir.path().join("script");
    write(
        &script,
        &format!(
            "#!/bin/sh\nset -e\nmkdir -p go/{RACE}\necho making for $REV\nprintf '%s %s' \"$REV\" \"$GOREV\" > go/{RACE}/{file}\n"
        ),
    );
    let racebuild = || {
        let mut command = program("racebuild");
        command
            .args([
                "-rev",
                "51bfeff0",
                "-platforms",
                platform,
                "-json",
                "-goroot",
            ])
            .arg(dir.path())
            .arg("-local-program")
            .arg(&farmer)
            .arg("-script")
            .arg(&script);
        command
    };
    let done = run(&mut racebuild());
    assert_eq!(done.code, Some(0), "{}", done.err);
    assert!(
        done.err.contains(&format!("using Go revision: {head}")),
        "{}",
        done.err
    );
    assert!(done.err.contains("making for 51bfeff0"), "{}", done.err);
    let told: serde_json::Value = serde_json::from_str(&done.out).unwrap();
    assert_eq!(told["platform"], platform);
    let library = std::fs::read_to_string(dir.path().join(RACE).join(&file)).unwrap();
    assert_eq!(library, format!("51bfeff0 {head}"));
    let readme = || std::fs::read_to_string(dir.path().join(RACE).join("README")).unwrap();
    assert!(readme().ends_with(&format!(
        "\n{file} built with LLVM 51bfeff0 and Go {head}.\n"
    )));
    let before = readme();
    assert_eq!(run(&mut racebuild()).code, Some(0));
    assert_eq!(readme(), before, "a second run changes nothing");

    // With a patch and a change, and taken although its test fails.
    let patch = dir.path().join("fix.diff");
    write(&patch, "a patch\n");
    write(
        &script,
        &format!(
            "#!/bin/sh\nmkdir -p go/{RACE}\n(cat \"$LLVM_PATCH\"; echo $GOGITOP $GOSRCREF) > go/{RACE}/{file}\nexit 3\n"
        ),
    );
    let patched = |more: &[&str]| {
        let mut command = racebuild();
        command.arg("-llvm-patch").arg(&patch);
        command.args(["-cherrypick", "refs/changes/07/7/3"]);
        run(command.args(more))
    };
    let done = patched(&[]);
    assert!(done.code == Some(1) && readme() == before, "{}", done.err);
    let done = patched(&["-copyonfail"]);
    assert!(
        done.code == Some(1) && done.err.contains("exit status 3"),
        "{}",
        done.err
    );
    let library = std::fs::read_to_string(dir.path().join(RACE).join(&file)).unwrap();
    assert_eq!(library, "a patch\ncherry-pick refs/changes/07/7/3\n");
    let line = format!("\n{file} built with LLVM 51bfeff0 with patch fix.diff and Go {head}.\n");
    assert!(readme().ends_with(&line), "{}", readme());
    let done = patched(&["-checkout", "refs/heads/master"]);
    assert_eq!(done.code, Some(2), "{}", done.err);

    write(&script, "#!/bin/sh\necho broken\nexit 4\n");
    let done = run(&mut racebuild());
    assert_eq!(done.code, Some(1), "{}", done.err);
    assert!(done.err.contains("exit status 4"), "{}", done.err);
    assert_eq!(
        std::fs::read_to_string(dir.path().join(RACE).join(&file)).unwrap(),
        library
    );
}

#[test]
fn racebuild_refuses_before_anything_is_started() {
    let dir = tempfile::tempdir().unwrap();
    tree(dir.path());
    let racebuild = |more: &[&str]| {
        let mut command = program("racebuild");
        run(command.arg("-goroot").arg(dir.path()).args(more))
    };
    let done = racebuild(&["-rev", "1", "-platforms", "linux/amd64,plan9/386"]);
    assert_eq!(done.code, Some(1));
    assert!(
        done.err
            .contains("Unrecognized platforms: [\"plan9/386\"]. Supported platforms are:"),
        "{}",
        done.err
    );
    if let Some(go) = crate::go_peer::go_program("racebuild") {
        let theirs = run(std::process::Command::new(go)
            .args([
                "-rev",
                "1",
                "-platforms",
                "linux/amd64,plan9/386",
                "-goroot",
            ])
            .arg(dir.path()));
        let list = |text: &str| {
            text.lines()
                .filter(|line| line.starts_with('\t'))
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        assert_eq!(
            list(&done.err),
            list(&theirs.err),
            "the same platforms in the same order"
        );
        assert_eq!(theirs.code, Some(1));
    }
    assert_eq!(racebuild(&[]).code, Some(2));
    let done = racebuild(&["-rev", "1", "-gorev", "nosuch"]);
    assert!(
        done.code == Some(2) && done.err.contains("no Go revision \"nosuch\""),
        "{}",
        done.err
    );
    let done = racebuild(&[
        "-rev",
        "1",
        "-platforms",
        "netbsd/amd64",
        "-buildlet",
        "linux/amd64=127.0.0.1:1",
    ]);
    assert!(
        done.code == Some(2) && done.err.contains("no machine for netbsd/amd64"),
        "{}",
        done.err
    );
    let done = racebuild(&[
        "-rev",
        "1",
        "-platforms",
        "linux/amd64",
        "-attempts=1",
        "-buildlet",
        "linux/amd64=127.0.0.1:1",
    ]);
    assert!(
        done.code == Some(3) && done.err.contains("linux/amd64 failed"),
        "{:?} {}",
        done.code,
        done.err
    );
}
