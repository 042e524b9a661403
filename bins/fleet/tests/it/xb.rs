//! `xb`, with stand-ins for kubectl, docker and gcloud, beside the program of the Go project.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::go_peer::go_program;
use crate::{Ran, program, run, write, write_program};

/// Programs that write down how they were called.
fn programs(dir: &Path, context: &str) -> PathBuf {
    let bin = dir.join("bin");
    let log = dir.join("calls");
    write_program(
        &bin.join("kubectl"),
        &format!(
            "#!/bin/sh\necho kubectl \"$@\" >> {}\nif [ \"$*\" = 'config current-context' ]; then echo '{context}'; exit 0; fi\necho ran \"$@\"\nexit 7\n",
            log.display()
        ),
    );
    for name in ["docker", "go", "make"] {
        let script = format!(
            "#!/bin/sh\necho {name} \"$@\" >> {}\n[ {name} = go ] && echo {}\nexit 0\n",
            log.display(),
            dir.display()
        );
        write_program(&bin.join(name), &script);
    }
    write_program(
        &bin.join("gcloud"),
        "#!/bin/sh\nprintf 'NAME ACTIVE ACCOUNT\\nmain True ann@home.test\\nwork False ann@google.com\\n'\n",
    );
    bin
}

fn with_path(mut command: Command, dir: &Path, args: &[&str]) -> Ran {
    let path = format!(
        "{}:{}",
        dir.join("bin").display(),
        std::env::var("PATH").unwrap()
    );
    run(command.args(args).current_dir(dir).env("PATH", path))
}

fn xb(dir: &Path, args: &[&str]) -> Ran {
    with_path(program("xb"), dir, args)
}

fn calls(dir: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(dir.join("calls")).unwrap_or_default();
    let _none_yet = std::fs::remove_file(dir.join("calls"));
    text.lines().map(str::to_owned).collect()
}

#[test]
fn xb_runs_a_command_only_where_it_was_meant() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    programs(dir, "gke_go-dashboard-dev_us-central1-f_go");
    let done = xb(dir, &["--prod", "kubectl", "delete", "pod", "x"]);
    assert_eq!(done.code, Some(1));
    assert!(done.err.contains("currently using \"gke_go-dashboard-dev_us-central1-f_go\"; want \"gke_symbolic-datum-552_us-central1-f_go\""), "{}", done.err);
    assert!(done.err.contains("gcloud container clusters get-credentials --project=symbolic-datum-552 --zone=us-central1-f go"));
    assert_eq!(calls(dir), ["kubectl config current-context"]);
    let done = xb(
        dir,
        &["-staging", "kubectl", "get", "-o", "json", "--staging"],
    );
    assert_eq!(
        (done.code, done.out.as_str()),
        (Some(7), "ran get -o json --staging\n"),
        "the child's exit code is ours"
    );
    calls(dir);
    for args in [
        &["kubectl", "get"][..],
        &["--prod", "--staging", "kubectl", "get"],
        &["docker", "push", "REPO/x"],
    ] {
        let done = xb(dir, args);
        assert!(
            done.code == Some(1)
                && done
                    .err
                    .contains("must specify exactly one of --prod or --staging"),
            "{}",
            done.err
        );
        assert!(calls(dir).is_empty());
    }
    let done = xb(dir, &["google-email"]);
    assert_eq!(
        (done.code, done.out.as_str()),
        (Some(0), "ann@google.com\n")
    );
    assert!(
        xb(dir, &["helm", "x"])
            .err
            .contains("unknown command \"helm\"")
    );
}

#[test]
fn xb_knows_the_images_below() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    programs(dir, "");
    assert_eq!(
        xb(dir, &["--staging", "docker", "tag", "x", "REPO/x:REPO"]).code,
        Some(0)
    );
    assert_eq!(
        calls(dir),
        ["docker tag x gcr.io/go-dashboard-dev/x:gcr.io/go-dashboard-dev"]
    );
    write(&dir.join("Dockerfile"), "FROM ubuntu\n");
    let done = xb(dir, &["docker", "build", "."]);
    assert!(
        done.code == Some(1) && done.err.contains("unsupported layer \"ubuntu\""),
        "{}",
        done.err
    );
    assert!(calls(dir).is_empty(), "nothing was run");
    write(
        &dir.join("other"),
        "FROM golang:1.15 AS build\nFROM golang/buildlet-stage0\n",
    );
    assert_eq!(
        xb(dir, &["docker", "build", "-f", "other", "."]).code,
        Some(0)
    );
    assert_eq!(
        calls(dir),
        [
            "go list -f {{.Dir}} golang.org/x/build/cmd/buildlet/stage0",
            "make docker",
            "docker build -f other ."
        ]
    );
    let done = xb(dir, &["--dry-run", "--prod", "docker", "push", "REPO/x"]);
    assert_eq!(
        (done.out.as_str(), calls(dir).len()),
        ("docker push gcr.io/symbolic-datum-552/x\n", 0)
    );
}

#[test]
fn xb_of_another_project() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    programs(dir, "live");
    write(
        &dir.join("rules"),
        "base_images = [\"debian:\"]\n[environment.live]\ncontext = \"live\"\nrepo = \"r.test/live\"\n",
    );
    assert_eq!(
        xb(
            dir,
            &["--config", "rules", "--env", "live", "kubectl", "get"]
        )
        .code,
        Some(7)
    );
    let done = xb(dir, &["--config=rules", "--env=other", "kubectl", "get"]);
    assert!(
        done.code == Some(1) && done.err.contains("there is live"),
        "{}",
        done.err
    );
    write(&dir.join("rules"), "[environment.live\n");
    let done = xb(dir, &["--config=rules", "--env=live", "kubectl", "get"]);
    assert!(
        done.code == Some(2) && done.err.contains("rules"),
        "{}",
        done.err
    );
}

#[test]
fn xb_does_what_the_go_program_does() {
    let Some(go) = go_program("xb") else { return };
    for context in ["gke_go-dashboard-dev_us-central1-f_go", "other", ""] {
        for args in [
            &["--staging", "kubectl", "get", "pods"][..],
            &["--prod", "kubectl", "get"],
            &["--staging", "docker", "push", "REPO/x"],
            &["docker", "ps"],
            &["docker", "push", "REPO/x"],
            &["docker", "build", "-f", "good", "."],
            &["docker", "build", "-f", "bad", "."],
            &["google-email"],
            &["helm"],
        ] {
            let mut seen = Vec::new();
            for command in [program("xb"), Command::new(&go)] {
                let dir = tempfile::tempdir().unwrap();
                programs(dir.path(), context);
                write(
                    &dir.path().join("good"),
                    "FROM debian:10\nRUN x\nFROM fedora:33\n",
                );
                write(&dir.path().join("bad"), "FROM debian\n");
                let done = with_path(command, dir.path(), args);
                seen.push((done.out, done.code == Some(0), calls(dir.path())));
            }
            assert_eq!(seen[0], seen[1], "{context:?} {args:?}");
        }
    }
}
