//! `gomote` with a buildlet that is reached directly.

use std::io::Write as _;
use std::path::Path;
use std::process::Stdio;

use build_server::buildlet::{Address, BuildletServer, Config, Listener};
use tokio_util::sync::CancellationToken;

use super::{Ran, git, program, run};

/// A buildlet in this process, on a port of its own.
pub(super) struct Machine {
    name: String,
    home: tempfile::TempDir,
    stop: CancellationToken,
    serving: Option<std::thread::JoinHandle<()>>,
}

impl Machine {
    /// Where it listens.
    pub(super) fn address(&self) -> &str {
        self.name.split_once('@').unwrap().1
    }

    pub(super) fn start() -> Self {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir(home.path().join("w")).unwrap();
        let path = std::env::var("PATH").unwrap();
        let config = Config::new(home.path().join("w"), home.path().join("state"))
            .env([format!("PATH={path}")]);
        let (sender, address) = std::sync::mpsc::channel();
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let serving = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            runtime.unwrap().block_on(async {
                let any: Address = "127.0.0.1:0".parse().unwrap();
                let listener = Listener::bind(&any).await.unwrap();
                sender.send(listener.address()).unwrap();
                let server = BuildletServer::open(config).unwrap();
                server.run(vec![listener], stopped).await.unwrap();
            });
        });
        Self {
            name: format!("local@{}", address.recv().unwrap()),
            home,
            stop,
            serving: Some(serving),
        }
    }

    fn gomote(&self, args: &[&str]) -> Ran {
        self.gomote_in(Path::new("/"), args, b"")
    }

    /// `I` in the arguments is the machine.
    fn gomote_in(&self, dir: &Path, args: &[&str], input: &[u8]) -> Ran {
        let args = args.iter().map(|arg| match *arg {
            "I" => self.name.clone(),
            arg => arg.replace("I:", &format!("{}:", self.name)),
        });
        let mut command = program("gomote");
        command
            .args(args)
            .current_dir(dir)
            .env("HOME", self.home.path())
            .env_remove("XDG_CONFIG_HOME")
            .env_remove("XDG_STATE_HOME")
            .env_remove("GOMOTE_GROUP")
            .env_remove("GOMOTE_SERVER");
        if input.is_empty() {
            return run(&mut command);
        }
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        child.wait_with_output().unwrap().into()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(serving) = self.serving.take() {
            // A failure there has failed the test already.
            let _ = serving.join();
        }
    }
}

#[test]
fn commands_run_with_their_flags_and_their_codes() {
    let machine = Machine::start();
    let seven = machine.gomote(&[
        "run",
        "-e",
        "A=b c",
        "I",
        "/bin/sh",
        "-c",
        "echo $A; exit 7",
    ]);
    assert_eq!(
        (seven.code, seven.out.as_str()),
        (Some(7), "b c\n"),
        "{}",
        seven.err
    );
    assert!(seven.err.contains("exit status 7"), "{}", seven.err);
    // What follows the machine is the command's own.
    let dashes = machine.gomote(&[
        "run",
        "-system=true",
        "I",
        "printf",
        "%s.",
        "-e",
        "--",
        "-system",
    ]);
    assert_eq!(
        (dashes.code, dashes.out.as_str()),
        (Some(0), "-e.--.-system."),
        "{}",
        dashes.err
    );
    let killed = machine.gomote(&["run", "I", "/bin/sh", "-c", "kill -9 $$"]);
    assert_eq!(killed.code, Some(137), "{}", killed.err);
    let absent = machine.gomote(&["run", "I", "nosuch"]);
    assert_eq!(absent.code, Some(125), "{}", absent.err);
    let empty = machine.gomote(&["run", "-path=EMPTY", "I", "/usr/bin/env"]);
    assert!(
        empty.code == Some(0) && !empty.out.contains("\nPATH="),
        "{}",
        empty.out
    );
    let bad = machine.gomote(&["run", "-e", "BAD", "I", "/bin/true"]);
    assert_eq!(bad.code, Some(2));
    assert!(
        bad.err.contains("doesn't contains an '=' sign"),
        "{}",
        bad.err
    );
    let json = machine.gomote(&["-json", "run", "I", "/bin/sh", "-c", "exit 3"]);
    let value: serde_json::Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!((json.code, &value["exit_code"]), (Some(3), &3.into()));
    let again = machine.gomote(&[
        "run",
        "-until",
        "round 3",
        "I",
        "/bin/sh",
        "-c",
        "echo x >>n; echo round $(wc -l <n)",
    ]);
    assert_eq!(again.code, Some(0), "{}", again.err);
    assert!(again.out.ends_with("round 3\n"), "{}", again.out);
    let broken = machine.gomote(&["run", "-until", "(", "I", "/bin/true"]);
    assert_eq!(broken.code, Some(2));
}

#[test]
fn files_come_and_go() {
    let machine = Machine::start();
    let here = tempfile::tempdir().unwrap();
    let dir = here.path();
    let put = machine.gomote_in(
        dir,
        &["put", "-mode=0755", "I", "-", "d/tool"],
        b"#!/bin/sh\necho tool\n",
    );
    assert_eq!(put.code, Some(0), "{}", put.err);
    let ran = machine.gomote(&["run", "I", "d/tool"]);
    assert_eq!(ran.out, "tool\n");
    let nameless = machine.gomote_in(dir, &["put", "I", "-"], b"x");
    assert_eq!(nameless.code, Some(2));
    assert!(
        nameless
            .err
            .contains("must specify destination file name when source is standard input"),
        "{}",
        nameless.err
    );
    let typed = machine.gomote_in(dir, &["put", "-mode=0100644", "I", "-", "x"], b"x");
    assert!(
        typed.code == Some(2) && typed.err.contains("bad mode"),
        "{}",
        typed.err
    );
    let ls = machine.gomote(&["ls", "-R", "I", "d"]);
    assert!(ls.out.starts_with("-rwxr-xr-x\ttool\t20\t"), "{}", ls.out);

    let got = machine.gomote_in(dir, &["gettar", "-dir", "d", "-o", "d.tgz", "I"], b"");
    assert_eq!(got.code, Some(0), "{}", got.err);
    let back = machine.gomote_in(dir, &["puttar", "-dir=e", "I", "d.tgz"], b"");
    assert_eq!(back.code, Some(0), "{}", back.err);
    assert_eq!(machine.gomote(&["run", "I", "e/tool"]).out, "tool\n");

    let copied = machine.gomote_in(dir, &["cp", "I:e/tool", "mine"], b"");
    assert_eq!(copied.code, Some(0), "{}", copied.err);
    assert!(
        std::fs::read_to_string(dir.join("mine"))
            .unwrap()
            .contains("echo tool")
    );
    let whole = machine.gomote_in(dir, &["cp", "I:e", "tree"], b"");
    assert!(
        whole.code == Some(0) && dir.join("tree/tool").exists(),
        "{}",
        whole.err
    );
    let there = machine.gomote_in(dir, &["cp", "tree", "I:f"], b"");
    assert_eq!(there.code, Some(0), "{}", there.err);
    assert_eq!(machine.gomote(&["run", "I", "f/tool"]).out, "tool\n");
    let neither = machine.gomote_in(dir, &["cp", "a", "b"], b"");
    assert_eq!(neither.code, Some(2));

    let removed = machine.gomote(&["rm", "I", "e", "f"]);
    assert_eq!(removed.code, Some(0), "{}", removed.err);
    assert_eq!(machine.gomote(&["ls", "I", "e"]).code, Some(1));
    let out = machine.gomote(&["rm", "I", "../x"]);
    assert_eq!(out.code, Some(1), "{}", out.err);
    let ping = machine.gomote(&["ping", "-status", "I"]);
    assert!(
        ping.out.contains("workdir: /") && ping.out.contains("status: {Version:25}"),
        "{}",
        ping.out
    );
}

#[test]
fn a_tree_is_pushed_once() {
    let machine = Machine::start();
    let tree = tempfile::tempdir().unwrap();
    let root = tree.path().to_str().unwrap();
    git(tree.path(), &["init", "--quiet"]);
    for (name, text) in [
        ("src/a", "1"),
        ("src/b", "2"),
        (".gitignore", "*.o\n"),
        ("src/x.o", "o"),
    ] {
        let path = tree.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    let push = |more: &[&str]| {
        let args = [
            &["-json", "push", "-root", root, "-remote-dir", "t"],
            more,
            &["I"],
        ]
        .concat();
        let pushed = machine.gomote(&args);
        assert_eq!(pushed.code, Some(0), "{}", pushed.err);
        serde_json::from_str::<serde_json::Value>(&pushed.out).unwrap()
    };
    let would = push(&["-dry-run"]);
    assert_eq!(would["send"].as_array().unwrap().len(), 3);
    assert_eq!(machine.gomote(&["ls", "I", "t"]).code, Some(1));
    assert_eq!(push(&[])["sent"], 3);
    assert_eq!(push(&[])["sent"], 0);
    std::fs::write(tree.path().join("src/b"), "3").unwrap();
    std::fs::remove_file(tree.path().join("src/a")).unwrap();
    let changed = push(&[]);
    assert_eq!(
        (&changed["sent"], &changed["removed"]),
        (&1.into(), &1.into())
    );
    let seen = machine.gomote(&["run", "I", "/bin/sh", "-c", "cd t/src; ls; cat b"]);
    assert_eq!(seen.out, "b\n3");
    // What is ignored here stays there.
    machine.gomote(&["run", "I", "/bin/sh", "-c", "echo built >t/src/y.o"]);
    assert_eq!(push(&[])["removed"], 0);
}

#[test]
fn mistakes_are_told() {
    let machine = Machine::start();
    let nobody = machine.gomote(&["list"]);
    assert_eq!(nobody.code, Some(2));
    assert!(nobody.err.contains("farmer up"), "{}", nobody.err);
    assert_eq!(machine.gomote(&["walk"]).code, Some(2));
    assert_eq!(machine.gomote(&["create"]).code, Some(2));
    let clear = machine.gomote(&["-server", "http://farm.example.com", "list"]);
    assert!(
        clear.code == Some(1) && clear.err.contains("in the clear"),
        "{}",
        clear.err
    );
    let login = machine.gomote_in(Path::new("/"), &["-user", "ann", "login"], b"t0ken\n");
    assert_eq!(login.code, Some(0), "{}", login.err);
    let kept = machine.home.path().join(".config/gomote/user-ann.token");
    assert_eq!(std::fs::read_to_string(kept).unwrap(), "t0ken\n");
    let group = machine.gomote(&["group", "create", "g"]);
    assert_eq!(group.code, Some(0), "{}", group.err);
    assert!(machine.gomote(&["group", "list"]).out.contains("g\t(none)"));
    assert_eq!(machine.gomote(&["group", "create", "../g"]).code, Some(1));
    let help = machine.gomote(&["run", "-h"]);
    assert!(
        help.code == Some(0) && help.out.contains("--until"),
        "{}",
        help.out
    );
}

/// Answers requests of one connection each, by what stands in their first line and body, until the
/// test ends. The text is what is answered; one that begins with `!` is an error.
fn provider(answer: impl Fn(&str, &str) -> String + Send + 'static) -> String {
    use std::io::{BufRead as _, BufReader, Read as _};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let own = address.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = BufReader::new(stream.unwrap());
            let (mut first, mut length) = (String::new(), 0);
            stream.read_line(&mut first).unwrap();
            loop {
                let mut line = String::new();
                stream.read_line(&mut line).unwrap();
                if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap();
                }
                if line.trim().is_empty() {
                    break;
                }
            }
            let mut body = vec![0; length];
            stream.read_exact(&mut body).unwrap();
            let said = answer(first.trim(), std::str::from_utf8(&body).unwrap());
            let said = said.replace("OWN", &own);
            let (status, said) = match said.strip_prefix('!') {
                Some(said) => ("400 Bad Request", said),
                None => ("200 OK", said.as_str()),
            };
            let head = format!(
                "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {}",
                said.len()
            );
            // A program that has ended does not read it.
            let _ = write!(stream.get_mut(), "{head}\r\n\r\n{said}");
        }
    });
    address
}

#[test]
fn a_login_with_a_browser_is_kept_and_renewed() {
    let machine = Machine::start();
    // {"exp":1}: as good as expired at once. The farm is told by the same address.
    let asked = std::sync::atomic::AtomicUsize::new(0);
    let address = provider(move |first, body| {
        let nth = || asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let reply = match first.split(' ').nth(1).unwrap() {
            "/api/v1/identity" => r#"{"providers":[{"issuer":"OWN","client_id":"farm"}]}"#,
            "/.well-known/openid-configuration" => {
                r#"{"issuer":"OWN","device_authorization_endpoint":"OWN/d","token_endpoint":"OWN/t"}"#
            }
            "/d" => {
                assert!(
                    body.contains("client_id=farm") && body.contains("scope=openid"),
                    "{body}"
                );
                r#"{"device_code":"x","user_code":"WDJB-MJHT","verification_uri":"OWN/open","expires_in":60,"interval":0}"#
            }
            "/t" if body.contains("refresh_token=again") => {
                r#"{"id_token":"e30.eyJleHAiOjk5OTk5OTk5OTl9.new","refresh_token":"more"}"#
            }
            "/t" if nth() == 0 => r#"!{"error":"authorization_pending"}"#,
            "/t" => r#"{"id_token":"e30.eyJleHAiOjF9.old","refresh_token":"again"}"#,
            "/buildlet/list" => "[]",
            other => panic!("{other}"),
        };
        reply.to_owned()
    });
    let gomote =
        |args: &[&str]| machine.gomote(&[&["-server", &address, "-user", "ann"], args].concat());
    let login = gomote(&["login", "-device"]);
    assert_eq!(login.code, Some(0), "{}", login.err);
    assert!(
        login.err.contains(&format!(
            "open {address}/open and type this code: WDJB-MJHT"
        )),
        "{}",
        login.err
    );
    let folder = machine.home.path().join(".config/gomote");
    let token = || std::fs::read_to_string(folder.join("user-ann.token")).unwrap();
    assert_eq!(token(), "e30.eyJleHAiOjF9.old\n");
    let listed = gomote(&["list"]);
    assert_eq!(listed.code, Some(0), "{}", listed.err);
    assert_eq!(token(), "e30.eyJleHAiOjk5OTk5OTk5OTl9.new\n");
    let kept = std::fs::read_to_string(folder.join("user-ann.login")).unwrap();
    assert!(kept.contains(r#""refresh_token":"more""#), "{kept}");
    use std::os::unix::fs::PermissionsExt as _;
    let mode = std::fs::metadata(folder.join("user-ann.login"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    // Another provider than those of the farm, and both ways at once.
    let foreign = gomote(&["login", "-device", "-issuer", "https://login.example.org"]);
    assert!(
        foreign.code == Some(2) && foreign.err.contains("takes no tokens of"),
        "{}",
        foreign.err
    );
    assert_eq!(
        gomote(&["login", "-device", "-token-file", "-"]).code,
        Some(2)
    );
    // A token that is given forgets how the other one was renewed.
    let given = machine.gomote_in(Path::new("/"), &["-user", "ann", "login"], b"t0ken\n");
    assert_eq!(given.code, Some(0), "{}", given.err);
    assert!(!folder.join("user-ann.login").exists());
}
