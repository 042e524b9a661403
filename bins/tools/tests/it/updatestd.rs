//! `updatestd`, with the real Go command, a module proxy in a folder, and a Gerrit in memory.

use std::path::Path;
use std::process::{Command, Stdio};

use build_client::fake_gerrit::FakeGerrit;

use crate::{Ran, program, run, write, write_program};

const OLD: &str = "v0.0.0-20200101000000-aaaaaaaaaaaa";
const NEW: &str = "v0.0.0-20200202000000-bbbbbbbbbbbb";
const HEAD: &str = "bbbbbbbbbbbb0000000000000000000000000000";

fn has_go() -> bool {
    let has = Command::new("go")
        .arg("version")
        .stdout(Stdio::null())
        .status()
        .is_ok_and(|s| s.success());
    let in_ci = std::env::var_os("CI").is_some_and(|value| value == "true");
    assert!(has || !in_ci, "there is no go command");
    if !has {
        eprintln!("SKIPPED: updatestd needs the go command");
    }
    has
}

/// A version of a module, as a proxy serves it.
fn publish(proxy: &Path, module: &str, version: &str, source: &str) {
    let dir = proxy.join(module).join("@v");
    let file = |name: &str| dir.join(format!("{version}.{name}"));
    let (time, hash) = version
        .strip_prefix("v0.0.0-")
        .unwrap()
        .split_once('-')
        .unwrap();
    let time = format!("{}-{}-{}T00:00:00Z", &time[..4], &time[4..6], &time[6..8]);
    let info = format!("{{\"Version\":\"{version}\",\"Time\":\"{time}\"}}");
    write(&file("info"), &info);
    // A revision is a name of the version too.
    write(&dir.join(format!("{hash}{}.info", "0".repeat(28))), &info);
    let go_mod = format!("module {module}\n\ngo 1.14\n");
    write(&file("mod"), &go_mod);
    let name = module.rsplit('/').next().unwrap();
    let root = proxy.join("tree").join(format!("{module}@{version}"));
    write(&root.join("go.mod"), &go_mod);
    write(
        &root.join(format!("{name}.go")),
        &format!("package {name}\n\n{source}\n"),
    );
    let zipped = Command::new("python3")
        .args([
            "-c",
            "import os, sys, zipfile\nwith zipfile.ZipFile(sys.argv[1] + '.zip', 'w') as z:\n  for d, _, files in os.walk(sys.argv[2]):\n    for f in files:\n      z.write(os.path.join(d, f), os.path.relpath(os.path.join(d, f), sys.argv[2]))",
        ])
        .arg(file("tmp"))
        .arg(proxy.join("tree"))
        .status()
        .unwrap();
    assert!(zipped.success());
    std::fs::rename(format!("{}.zip", file("tmp").display()), file("zip")).unwrap();
    std::fs::remove_dir_all(proxy.join("tree")).unwrap();
}

/// A Go tree with two modules, and the programs beside it.
fn tree(dir: &Path) {
    let goroot = dir.join("goroot");
    write(
        &goroot.join("src/internal/goversion/goversion.go"),
        "package goversion\n\nconst Version = 16\n",
    );
    let module = |name: &str| {
        format!(
            "module example.test/{name}\n\ngo 1.14\n\nrequire (\n\tgolang.org/x/net {OLD}\n\texample.test/other {OLD}\n)\n"
        )
    };
    let uses = "import (\n\t_ \"example.test/other\"\n\t_ \"golang.org/x/net\"\n)\n";
    write(&goroot.join("src/go.mod"), &module("std"));
    write(
        &goroot.join("src/std.go"),
        &format!("package std\n\n//go:generate bundle -o bundled.txt net\n\n{uses}"),
    );
    write(
        &goroot.join("src/cmd/go.mod"),
        "module example.test/cmd\n\ngo 1.14\n",
    );
    write(&goroot.join("src/cmd/cmd.go"), "package cmd\n");
    let go = String::from_utf8(
        Command::new("go")
            .args(["env", "GOROOT"])
            .output()
            .unwrap()
            .stdout,
    )
    .unwrap();
    write_program(
        &goroot.join("bin/go"),
        &format!("#!/bin/sh\nexec {}/bin/go \"$@\"\n", go.trim()),
    );
    for (version, text) in [(OLD, "const V = 1"), (NEW, "const V = 2")] {
        publish(&dir.join("proxy"), "golang.org/x/net", version, text);
    }
    publish(&dir.join("proxy"), "example.test/other", OLD, "");
    // As in the repository: everything is pinned and vendored.
    for args in [["mod", "tidy"], ["mod", "vendor"]] {
        let done = Command::new("go")
            .args(args)
            .current_dir(goroot.join("src"))
            .envs(go_env(dir))
            .output()
            .unwrap();
        assert!(
            done.status.success(),
            "{}",
            String::from_utf8_lossy(&done.stderr)
        );
    }
    // The program bundle, as far as anybody can tell: its build information is right.
    let tools = dir.join("tools");
    write(
        &tools.join("go.mod"),
        "module golang.org/x/tools\n\ngo 1.14\n",
    );
    write(
        &tools.join("cmd/bundle/main.go"),
        "package main\n\nimport \"os\"\n\nfunc main() {\n\tos.WriteFile(os.Args[2], []byte(\"bundled \"+os.Args[3]+\"\\n\"), 0o644)\n}\n",
    );
    let built = Command::new("go")
        .args(["build", "-o", "../programs/bundle", "./cmd/bundle"])
        .current_dir(&tools)
        .envs([("GOWORK", "off"), ("GOFLAGS", "")])
        .status()
        .unwrap();
    assert!(built.success());
}

/// The environment of a Go command that knows the proxy alone.
fn go_env(dir: &Path) -> Vec<(&'static str, String)> {
    let own = [
        ("GOPROXY", format!("file://{}/proxy", dir.display())),
        ("GOMODCACHE", dir.join("cache").display().to_string()),
    ];
    let fixed = [
        ("GONOSUMDB", "*"),
        ("GOFLAGS", "-modcacherw"),
        ("GOTOOLCHAIN", "local"),
        ("GOSUMDB", "off"),
        ("GOWORK", "off"),
    ];
    own.into_iter()
        .chain(fixed.map(|(name, value)| (name, value.to_owned())))
        .collect()
}

fn updatestd(dir: &Path, programs: &str, args: &[&str]) -> Ran {
    let path = format!(
        "{}:{}",
        dir.join(programs).display(),
        std::env::var("PATH").unwrap()
    );
    run(program("updatestd")
        .arg("-goroot")
        .arg(dir.join("goroot"))
        .args(args)
        .env("PATH", path)
        .envs(go_env(dir)))
}

#[test]
fn updatestd_brings_modules_to_the_heads() {
    if !has_go() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    tree(dir);
    let server = FakeGerrit::start().unwrap();
    server.world().project("net").set_branch("master", HEAD);
    server.world().project("quiet").branches.clear();
    let args = ["-branch", "master", "-gerrit", server.url()];
    let file =
        |name: &str| std::fs::read_to_string(dir.join("goroot/src").join(name)).unwrap_or_default();
    let before = file("go.mod");

    let done = updatestd(dir, "nowhere", &args);
    assert!(
        done.code == Some(2) && done.err.contains("bundle of golang.org/x/tools is missing"),
        "{}",
        done.err
    );
    assert_eq!(
        file("go.mod"),
        before,
        "nothing is changed without the program"
    );
    write_program(&dir.join("false/bundle"), "#!/bin/sh\n");
    let done = updatestd(dir, "false", &args);
    assert!(
        done.err.contains("is not the program bundle"),
        "{}",
        done.err
    );

    let done = updatestd(dir, "programs", &args);
    assert_eq!(done.code, Some(0), "{}", done.err);
    assert!(
        done.out
            .contains(&format!("std: golang.org/x/net {OLD} -> {NEW}\n")),
        "{}",
        done.out
    );
    assert!(
        done.out
            .contains("std: example.test/other skipped: no head of it is known\n"),
        "{}",
        done.out
    );
    assert!(
        file("go.mod").contains(&format!("golang.org/x/net {NEW}"))
            && file("go.mod").contains("go 1.16")
    );
    assert!(file("cmd/go.mod").contains("go 1.16"));
    assert!(file("vendor/golang.org/x/net/net.go").contains("V = 2"));
    assert_eq!(file("bundled.txt"), "bundled net\n");

    let names = [
        "go.mod",
        "go.sum",
        "vendor/modules.txt",
        "cmd/go.mod",
        "bundled.txt",
    ];
    let after = names.map(file);
    let done = updatestd(dir, "programs", &[&args[..], &["-json"]].concat());
    assert_eq!(done.code, Some(0), "{}", done.err);
    let told: serde_json::Value = serde_json::from_str(&done.out).unwrap();
    assert_eq!(
        told["modules"][0]["updated"].as_array().unwrap().len(),
        0,
        "{}",
        done.out
    );
    assert_eq!(names.map(file), after, "a second run is a no-op");
}

#[test]
fn updatestd_needs_a_tree_and_a_branch() {
    let dir = tempfile::tempdir().unwrap();
    let done = run(program("updatestd").args(["-branch", "x"]));
    assert_eq!(done.code, Some(2));
    let done = run(program("updatestd")
        .args(["-branch", "x", "-goroot"])
        .arg(dir.path()));
    assert!(
        done.code == Some(2) && done.err.contains("bad Go tree"),
        "{}",
        done.err
    );
}
