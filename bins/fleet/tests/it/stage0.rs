use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::tcgetattr;
use sha2::{Digest as _, Sha256};

use super::{Ran, program, run};

/// A buildlet that tells how it was called.
const BUILDLET: &str = "#!/bin/sh\necho \"args $*\"\nenv | grep ^GO_STAGE0\n\
    [ -n \"$PORT\" ] && echo \"open: $(ls -l /proc/$PPID/fd | grep -c \"$PORT\\$\")\"\nexit 7\n";

/// Serves the buildlet, and metadata; ends with the test.
struct Server {
    address: String,
    /// Method and path of each request.
    asked: Arc<Mutex<Vec<String>>>,
}

impl Server {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (log, own) = (Arc::clone(&asked), address.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                let mut first = String::new();
                reader.read_line(&mut first).unwrap();
                let mut line = String::from("x");
                while !line.trim().is_empty() {
                    line.clear();
                    reader.read_line(&mut line).unwrap();
                }
                let words: Vec<&str> = first.split_whitespace().collect();
                log.lock()
                    .unwrap()
                    .push(format!("{} {}", words[0], words[1]));
                let (status, body) = match words[1] {
                    "/buildlet" => ("200 OK", BUILDLET.to_owned()),
                    path if path.ends_with("/instance/id") => ("200 OK", "1".to_owned()),
                    path if path.ends_with("/buildlet-binary-url") => {
                        ("200 OK", format!("http://{own}/buildlet"))
                    }
                    _ => ("404 Not Found", String::new()),
                };
                let head = format!(
                    "HTTP/1.1 {status}\r\nLast-Modified: Tue, 01 Dec 2020 10:00:00 GMT\r\n\
                     Metadata-Flavor: Google\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
                    body.len()
                );
                let body = if words[0] == "HEAD" { "" } else { &body };
                // A client that has gone is its own matter.
                let _ = stream.write_all(format!("{head}{body}").as_bytes());
            }
        });
        Self { address, asked }
    }

    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }
}

fn stage0(dir: &Path) -> Command {
    let mut command = program("stage0");
    command
        .current_dir(dir)
        .env_remove("GO_BUILDER_ENV")
        .env_remove("GCE_METADATA_HOST")
        .env("STAGE0_ARGS", "--reverse-type=mine --hostname=${NAME}")
        .env("NAME", "h1");
    command
}

#[test]
fn stage0_fetches_the_buildlet_once_and_runs_it() {
    let (server, dir) = (Server::start(), tempfile::tempdir().unwrap());
    let url = format!("http://{}/buildlet", server.address);
    let once = || run(stage0(dir.path()).env("META_BUILDLET_BINARY_URL", &url));
    let done = once();
    assert_eq!(done.code, Some(7), "{done:?}");
    assert!(
        done.out.contains("args --reverse-type=mine --hostname=h1"),
        "{done:?}"
    );
    assert!(done.out.contains("GO_STAGE0_NET_DELAY=0s"), "{done:?}");
    let asked = server.asked();
    assert!(asked.contains(&"GET /buildlet".to_owned()), "{asked:?}");
    assert_eq!(once().code, Some(7));
    let asked = server.asked();
    assert_eq!(asked, ["GET /netcheck", "HEAD /buildlet"], "it is current");
}

#[test]
fn stage0_logs_to_the_serial_port_which_its_buildlet_finds_free() {
    let (server, dir) = (Server::start(), tempfile::tempdir().unwrap());
    let url = format!("http://{}/buildlet", server.address);
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY;
    let reader = openpt(flags).unwrap();
    grantpt(&reader).unwrap();
    unlockpt(&reader).unwrap();
    let port = ptsname(&reader, vec![]).unwrap().into_string().unwrap();
    // While nobody has it open, what was written to it is lost.
    let held = std::fs::OpenOptions::new().write(true).open(&port).unwrap();
    let done = run(stage0(dir.path())
        .env("META_BUILDLET_BINARY_URL", &url)
        .env("PORT", &port)
        .arg(format!("-serial={port}")));
    assert_eq!(done.code, Some(7), "{done:?}");
    assert!(done.out.contains("open: 0\n"), "{done:?}");
    let settings = tcgetattr(&held).unwrap();
    assert_eq!(settings.output_speed(), 9600);
    let mut said = vec![0; 1 << 16];
    let count = std::fs::File::from(reader).read(&mut said).unwrap();
    let said = String::from_utf8_lossy(&said[..count]);
    assert!(said.contains(&url) && done.err.contains(&url), "{said}");
    assert!(said.contains("the buildlet has ended"), "{said}");

    let absent = dir.path().join("absent");
    let done = run(stage0(dir.path())
        .env("META_BUILDLET_BINARY_URL", &url)
        .arg(format!("-serial={}", absent.display())));
    assert_eq!(done.code, Some(7), "a machine without it works: {done:?}");
    assert!(done.err.contains("no serial port"), "{done:?}");
}

#[test]
fn stage0_asks_the_metadata_of_its_cloud() {
    let (server, dir) = (Server::start(), tempfile::tempdir().unwrap());
    let done = run(stage0(dir.path())
        .env("GCE_METADATA_HOST", &server.address)
        .arg("-dry-run"));
    assert_eq!(done.code, Some(0), "{done:?}");
    assert!(done.out.contains("\"source\":\"metadata\""), "{done:?}");
    assert!(
        done.out
            .contains(&format!("http://{}/buildlet", server.address)),
        "{done:?}"
    );
}

#[test]
fn stage0_refuses_what_is_not_the_buildlet() {
    let (server, dir) = (Server::start(), tempfile::tempdir().unwrap());
    let url = format!("http://{}/buildlet", server.address);
    let with = |sum: &str| {
        let mut command = stage0(dir.path());
        run(command
            .env("META_BUILDLET_BINARY_URL", &url)
            .env("META_BUILDLET_BINARY_SHA256", sum))
    };
    let done = with(&"0".repeat(64));
    assert_eq!(done.code, Some(1), "{done:?}");
    assert!(done.err.contains(&url), "{done:?}");
    assert!(!dir.path().join("buildlet.exe").exists());
    let sum: String = Sha256::digest(BUILDLET)
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect();
    assert_eq!(with(&sum).code, Some(7));
    assert_eq!(with("x").code, Some(2));
}

#[test]
fn stage0_names_what_is_missing() {
    let dir = tempfile::tempdir().unwrap();
    let ran = |change: &dyn Fn(&mut Command)| -> Ran {
        let mut command = stage0(dir.path());
        change(&mut command);
        run(&mut command)
    };
    let closed = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/buildlet", closed.local_addr().unwrap());
    drop(closed);
    let done = ran(&|command| {
        command
            .env("META_BUILDLET_BINARY_URL", &url)
            .arg("-network-wait=1s");
    });
    assert_eq!(done.code, Some(1), "{done:?}");
    assert!(done.err.contains("the network is not there"), "{done:?}");
    let done = ran(&|command| {
        command.args(["--untar-file=x.tar.gz", "--untar-dest-dir=missing"]);
    });
    assert_eq!(done.code, Some(1));
    assert!(done.err.contains("--untar-dest-dir=missing"), "{done:?}");
}

#[test]
fn stage0_unpacks_archives() {
    let dir = tempfile::tempdir().unwrap();
    let into = dir.path().join("into");
    std::fs::create_dir(&into).unwrap();
    std::fs::write(dir.path().join("file"), "text").unwrap();
    let mut packed = Command::new("tar");
    packed
        .args(["czf", "x.tar.gz", "file"])
        .current_dir(dir.path());
    assert!(packed.status().unwrap().success());
    let done = run(stage0(dir.path()).args(["-untar-file=x.tar.gz", "-untar-dest-dir=into"]));
    assert_eq!(done.code, Some(0), "{done:?}");
    assert_eq!(std::fs::read_to_string(into.join("file")).unwrap(), "text");
}
