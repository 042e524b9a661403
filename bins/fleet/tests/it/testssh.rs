use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use super::{program, run, write_program};

/// Sends a line through the bridge, and prints what comes back.
const SSH: &str = r#"#!/bin/bash
while [ $# -gt 0 ]; do [ "$1" = -p ] && port=$2; shift; done
exec 3<>/dev/tcp/localhost/$port
echo hello >&3
read -r line <&3
echo "$line"
"#;
const KEYGEN: &str = r#"#!/bin/sh
for file; do :; done
echo private >"$file"
echo "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAITEST testssh" >"$file.pub"
"#;
const DOCKER: &str = r#"#!/bin/sh
echo "$@" >>"$(dirname "$0")/calls"
case "$1" in
run) echo c1 ;;
inspect) echo "ADDRESS" ;;
logs) echo "sshd did not start" ;;
esac
"#;

/// A buildlet that knows one call; it ends with the test.
fn buildlet(status: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") {
                if reader.read_line(&mut head).unwrap() == 0 {
                    break;
                }
            }
            if !head.starts_with("POST /connect-ssh") {
                continue;
            }
            assert!(head.contains("X-Go-Ssh-User: gopher"), "{head}");
            assert!(
                head.contains("X-Go-Authorized-Key: ssh-ed25519 AAAA"),
                "{head}"
            );
            write!(stream, "HTTP/1.1 {status}\r\n\r\n").unwrap();
            let mut line = String::new();
            if reader.read_line(&mut line).is_ok() && line == "hello\n" {
                stream.write_all(b"SSH works\n").unwrap();
            }
        }
    });
    address
}

fn testssh(dir: &Path, address: &str) -> Command {
    write_program(&dir.join("ssh"), SSH);
    write_program(&dir.join("ssh-keygen"), KEYGEN);
    write_program(&dir.join("docker"), &DOCKER.replace("ADDRESS", address));
    let mut command = program("testssh");
    let path = format!("{}:{}", dir.display(), std::env::var("PATH").unwrap());
    command.env("PATH", path).args(["-user", "gopher"]);
    command.arg(format!("-key-dir={}", dir.join("keys").display()));
    command
}

#[test]
fn testssh_logs_in_through_the_buildlet_and_removes_its_container() {
    let dir = tempfile::tempdir().unwrap();
    let address = buildlet("101 Switching Protocols");
    let done = run(testssh(dir.path(), &address).arg("-start-image=img"));
    assert_eq!(
        (done.code, done.out.as_str()),
        (Some(0), "SSH works\n"),
        "{done:?}"
    );
    let calls = std::fs::read_to_string(dir.path().join("calls")).unwrap();
    assert!(
        calls.starts_with("run -d --stop-timeout=300 -e META_BUILDLET_BINARY_URL="),
        "{calls}"
    );
    assert!(calls.ends_with("rm -f c1\n"), "{calls}");
    let done = run(testssh(dir.path(), "").arg(format!("-address={address}")));
    assert_eq!(
        (done.code, done.out.as_str()),
        (Some(0), "SSH works\n"),
        "{done:?}"
    );
}

#[test]
fn testssh_shows_the_log_of_a_container_that_fails() {
    let dir = tempfile::tempdir().unwrap();
    let address = buildlet("502 Bad Gateway\r\nContent-Length: 0");
    let done = run(testssh(dir.path(), &address).arg("-start-image=img"));
    assert_eq!(done.code, Some(1));
    assert!(
        done.err.contains("502") && done.err.contains("sshd did not start"),
        "{done:?}"
    );
    let calls = std::fs::read_to_string(dir.path().join("calls")).unwrap();
    assert!(calls.ends_with("rm -f c1\n"), "{calls}");
    let done = run(&mut testssh(dir.path(), ""));
    assert_eq!(done.code, Some(1));
    assert!(done.err.contains("no address specified"), "{done:?}");
}
