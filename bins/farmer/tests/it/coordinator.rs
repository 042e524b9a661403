//! `coordinator`: the documents of the Go project's, from the real program.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::processes::kill;

struct Coordinator {
    child: Child,
    address: String,
    _data: tempfile::TempDir,
}

fn coordinator(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_farmer"));
    command.arg("coordinator").args(args).env("USER", "gopher");
    command
        .env_remove("FARMER_TLS_CERT")
        .env_remove("FARMER_TLS_KEY");
    command.env_remove("GOPROXY");
    command.stdin(Stdio::null());
    command
}

impl Coordinator {
    fn start() -> Self {
        let data = tempfile::tempdir().unwrap();
        let dir = format!("-data={}", data.path().display());
        let mut child = coordinator(&["-mode=dev", "-listen=127.0.0.1:0", &dir])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let stdout = child.stdout.take().unwrap();
        BufReader::new(stdout).read_line(&mut line).unwrap();
        let address = line.trim_end().strip_prefix("https://").unwrap().to_owned();
        Self {
            child,
            address,
            _data: data,
        }
    }

    /// The answer to a request without TLS, which programs of this machine may do.
    fn get(&self, path: &str) -> (String, String) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let host = &self.address;
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
        )
        .unwrap();
        let mut said = String::new();
        stream.read_to_string(&mut said).unwrap();
        let (head, body) = said.split_once("\r\n\r\n").unwrap();
        (head.to_owned(), body.to_owned())
    }
}

#[test]
fn a_coordinator_for_development_answers_as_the_go_one() {
    let mut coordinator = Coordinator::start();
    let (head, body) = coordinator.get("/builders?mode=json");
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert!(
        head.contains("content-type: application/json\r\n"),
        "{head}"
    );
    let said: Value = serde_json::from_str(&body).unwrap();
    let local = &said["Hosts"]["host-linux-amd64-localdev"];
    assert_eq!(local["SSHUsername"], "gopher");
    assert_eq!(said["Builders"].as_object().unwrap().len(), 108);
    let (_, page) = coordinator.get("/");
    assert!(page.contains("Scheduler State"), "{page}");
    for (path, status) in [
        ("/builders", 200),
        ("/dashboard", 200),
        ("/queues", 200),
        ("/style.css", 200),
        ("/board", 200),
        ("/metrics", 200),
        ("/healthz", 200),
        ("/status/work", 200),
        ("/status/post-submit-active.json", 200),
        ("/status/reverse.json", 200),
        ("/status/machines", 200),
        ("/debug/tasks", 401),
        ("/programs", 200),
        ("/programs/nope", 404),
        ("/try", 404),
        ("/try.json", 404),
        ("/temporarylogs", 404),
        ("/nope", 404),
    ] {
        let (head, _) = coordinator.get(path);
        assert!(
            head.starts_with(&format!("HTTP/1.1 {status} ")),
            "{path}: {head}"
        );
    }
    kill(coordinator.child.id(), "TERM");
    assert!(coordinator.child.wait().unwrap().success());
}

#[test]
fn what_would_be_open_to_everybody_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        format!("-masterkey={}", path.display())
    };
    let (empty, public) = (file("empty", " \n"), file("public", "gophers rule\n"));
    let (good, data) = (
        file("good", "a secret"),
        format!("-data={}", dir.path().join("data").display()),
    );
    for (args, words) in [
        (&["-mode=bogus"][..], "bogus"),
        (
            &["-mode=dev", "-listen=0.0.0.0:0"],
            "everybody knows the key",
        ),
        (&["-mode=prod"], "No builder master key provided"),
        (&["-masterkey=/missing"], "/missing"),
        (&["-mode=prod", &empty], "is empty"),
        (&["-mode=dev", &empty], "is empty"),
        (&["-mode=prod", &public], "public one"),
        (&["-mode=prod", &good], "no certificate"),
        (
            &[
                "-mode=prod",
                &good,
                "-tls-cert=/missing.pem",
                "-tls-key=/missing.pem",
            ],
            "/missing.pem",
        ),
        (&["-mode=dev", "-env=nosuch"], "nosuch"),
        (&["-mode=dev", "-dev_gce"], "cloud"),
        (&["-mode=dev", "-builders=/missing.toml"], "/missing.toml"),
        (
            &[
                "-mode=dev",
                "-listen=127.0.0.1:0",
                "-module-proxy=127.0.0.1:0",
            ],
            "where modules come from",
        ),
    ] {
        let output = coordinator(args).arg(&data).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {said}");
        assert!(said.contains(words), "{args:?}: {said}");
    }
}
