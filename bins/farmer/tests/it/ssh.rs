//! Sessions over ssh: `farmer up --ssh`, `farmer key ssh`, `gomote ssh`.

use std::io::Write as _;
use std::process::{Command, Stdio};

use crate::repo::{Repo, Run};
use crate::up::Farm;

/// Runs a command with this input.
fn fed(command: &mut Command, input: &str) -> Run {
    let pipes = command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = pipes.stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input.as_bytes()).unwrap();
    drop(stdin);
    Run::of(child.wait_with_output().unwrap())
}

#[test]
fn a_session_answers_to_ssh_from_behind_its_fence() {
    let repo = Repo::new();
    repo.write("hello", "hi\n").commit("first");
    // As builds are kept apart where nobody says otherwise.
    let farm = Farm::start_with(
        &repo,
        &[
            "--machines",
            "1",
            "--ssh",
            "0",
            "--ssh-record",
            "--sandbox",
            "auto",
        ],
    );
    let gomote = |args: &[&str]| {
        let mut command = repo.farmer();
        command.arg("gomote").args(args).env("HOME", repo.home());
        command
    };
    let created = Run::of(gomote(&["create", "local"]).output().unwrap()).exits(0);
    let name = created.out().trim().to_owned();

    // No login, no key and no flag on the machine of the farm.
    let ran = fed(
        &mut gomote(&["ssh", &name, "cat; echo err >&2; exit 7"]),
        "typed\n",
    )
    .exits(7);
    assert_eq!(ran.out(), "typed\n");
    assert!(ran.err().contains("err\n"), "{}", ran.err());
    let terminal = ["ssh", &name, "-tt", "test -t 0 && echo a t\"\"ty; exit 3"];
    let terminal = fed(&mut gomote(&terminal), "").exits(3);
    assert_eq!(terminal.out(), "a tty\r\n");
    // A shell with job control is one that has its terminal.
    let shell = fed(
        &mut gomote(&["ssh", &name, "-tt"]),
        "case $- in *m*) echo jo\"\"bs;; esac\nexit 4\n",
    )
    .exits(4);
    assert!(shell.out().contains("jobs\r\n"), "{}", shell.out());

    // A key of one's own, and plain ssh.
    let key = repo.home().join("key");
    let mut keygen = Command::new("ssh-keygen");
    keygen.args(["-q", "-t", "ed25519", "-N", "", "-f"]);
    assert!(keygen.arg(&key).status().unwrap().success());
    let public = key.with_extension("pub");
    let added = repo
        .run(&["key", "ssh", "add", "owner", public.to_str().unwrap()])
        .exits(0);
    assert!(added.out().starts_with("SHA256:"), "{}", added.out());
    let fingerprint = added.out().split(' ').next().unwrap().to_owned();
    let known = repo.data().join("ssh/known_hosts");
    let text = std::fs::read_to_string(&known).unwrap();
    let port = text.split(['[', ']', ':', ',']).nth(3).unwrap().to_owned();
    let ssh = |line: &str| {
        let mut command = Command::new("ssh");
        command.args([
            "-F",
            "/dev/null",
            "-o",
            "BatchMode=yes",
            "-o",
            "IdentitiesOnly=yes",
        ]);
        command.arg("-i").arg(&key).arg("-o");
        command.arg(format!("UserKnownHostsFile={}", known.display()));
        command.args(["-p", &port, &format!("{name}@localhost"), line]);
        command.env_remove("SSH_AUTH_SOCK");
        Run::of(command.output().unwrap())
    };
    assert_eq!(ssh("echo here").exits(0).out(), "here\n");
    let listed = repo.run(&["key", "ssh", "list", "--json"]).exits(0);
    assert_eq!(listed.events()[0]["key"], fingerprint.as_str());
    repo.run(&["key", "ssh", "remove", &fingerprint]).exits(0);
    ssh("true").exits(255);
    // What was said is written down, what was typed is not.
    let transcripts = std::fs::read_dir(repo.data().join("ssh/transcripts")).unwrap();
    let transcripts: Vec<_> = transcripts
        .map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap())
        .collect();
    assert_eq!(transcripts.len(), 4);
    let head = format!("owner on {name}: echo here");
    let here = transcripts
        .iter()
        .find(|text| text.contains(&head))
        .unwrap();
    assert!(here.contains(r#""o","here\n"]"#), "{here}");
    let log = repo.run(&["key", "log"]).exits(0);
    let came = format!("owner came over ssh to session {name} (certificate)");
    assert!(log.out().contains(&came), "{}", log.out());
    let hosted = "https://git.example.org/owner.keys";
    repo.run(&["key", "ssh", "follow", "owner", hosted])
        .exits(0);
    let listed = repo.run(&["key", "ssh", "list"]).exits(0).out();
    assert_eq!(listed, format!("{hosted}  owner\n"));
    repo.run(&["key", "ssh", "remove", hosted]).exits(0);
    repo.run(&[
        "key",
        "ssh",
        "follow",
        "owner",
        "http://git.example.org/owner.keys",
    ])
    .exits(2);
    repo.run(&["key", "ssh", "add", "nobody", public.to_str().unwrap()])
        .exits(2);
    repo.run(&["key", "ssh", "add", "owner", key.to_str().unwrap()])
        .exits(2);
    farm.stop().exits(0);
}
