//! `farmer join`: another machine becomes one of a farm.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Stdio};

use crate::processes::{kill, wait_until};
use crate::repo::Repo;
use crate::up::SOON;

/// A process that is told to stop when the test is over.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        kill(self.0.id(), "TERM");
        // It has ended, or is ended now.
        let begin = std::time::Instant::now();
        while matches!(self.0.try_wait(), Ok(None)) {
            if begin.elapsed() > SOON {
                let _ = self.0.kill();
            }
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }
}

fn machines(address: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    let request =
        format!("GET /api/v1/machines HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn a_second_machine_joins_a_farm_by_one_command() {
    let repo = Repo::new();
    repo.write(".farmer.toml", "[[step]]\nname = \"a\"\nrun = \"true\"\n");
    repo.commit("first");
    let mut up = repo
        .farmer()
        .args(["up", "--port", "0", "--machines", "1", "--tls-dev"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(up.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let _up = Running(up);
    let url = line.trim_end();
    let address = url.strip_prefix("https://").unwrap();
    let join = |name: &str, token: &std::path::Path| {
        let mut command = repo.farmer();
        command
            .args(["join", url, "--name", name, "--work-dir"])
            .arg(repo.data().join("joined").join(name))
            .arg("--token-file")
            .arg(token)
            .stdout(Stdio::null());
        command
    };
    let wrong = repo.data().join("wrong");
    std::fs::write(&wrong, format!("farmer_{}\n", "0".repeat(64))).unwrap();
    let refused = join("box1", &wrong).output().unwrap();
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(said.contains("invalid build key"), "{said}");

    let token = repo.data().join("token");
    let joined = join("box2", &token).stderr(Stdio::null()).spawn().unwrap();
    let joined = Running(joined);
    wait_until("it has joined", SOON, || {
        machines(address).contains("box2@local")
    });
    drop(joined);
    wait_until("it is gone", SOON, || {
        !machines(address).contains("box2@local")
    });

    // The line that is printed with a key, word for word.
    let key = repo.data().join("box3.key");
    let file = key.display().to_string();
    let made = repo.run(&["key", "builder", "box3", "--out", &file]);
    let made = made.exits(0).err();
    let line = made.lines().find(|line| line.contains("farmer join"));
    let line = line.unwrap_or_else(|| panic!("no line that joins: {made}"));
    let words = line.split_once("farmer join ").unwrap().1;
    assert!(
        words.contains(url) && words.contains("--pin sha256:"),
        "{line}"
    );
    let mut command = repo.farmer();
    let joined = command
        .arg("join")
        .args(words.split_whitespace())
        .arg("--work-dir")
        .arg(repo.data().join("joined/box3"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let _joined = Running(joined);
    wait_until("it has joined by the printed line", SOON, || {
        machines(address).contains("box3@local")
    });
}
