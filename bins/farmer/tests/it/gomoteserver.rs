//! `gomoteserver`: the real program, with a machine of this computer.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

fn farmer(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_farmer"));
    command.args(args).stdin(Stdio::null());
    command
        .env_remove("FARMER_TLS_CERT")
        .env_remove("FARMER_TLS_KEY");
    command
}

struct Server {
    child: Child,
    address: String,
}

fn start(data: &str) -> Server {
    let mut child = farmer(&["gomoteserver", "-mode=dev", "-listen=localhost:0", data])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let stdout = child.stdout.take().unwrap();
    BufReader::new(stdout).read_line(&mut line).unwrap();
    let address = line.trim_end().strip_prefix("https://");
    let address = address.unwrap_or_else(|| panic!("{line}")).to_owned();
    Server { child, address }
}

impl Server {
    /// `farmer down` with these flags, and what it says.
    fn down(mut self, data: &Path, flags: &[&str]) -> String {
        let mut down = farmer(&["down"]);
        let output = down.args(flags).env("FARMER_DATA", data).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{said}");
        assert!(self.child.wait().unwrap().success());
        said
    }
}

#[test]
fn a_server_of_machines_alone_keeps_them_over_a_stop() {
    let dir = tempfile::tempdir().unwrap();
    let kept_in = dir.path().join("data");
    let data = format!("-data={}", kept_in.display());
    let home = dir.path().join("home");
    let key = build_core::key::MasterKey::new(build_core::key::GO_DEVELOPMENT_MASTER).unwrap();
    std::fs::create_dir_all(home.join("gomote")).unwrap();
    let token = home.join("gomote/user-tester.token");
    std::fs::write(token, key.key_of("user-tester")).unwrap();
    let gomote = |server: &Server, args: &[&str]| -> Output {
        farmer(&["gomote", "-user=tester", "-server", &server.address, "-ca"])
            .arg(dir.path().join("data/tls/ca.pem"))
            .args(args)
            .env("XDG_CONFIG_HOME", &home)
            .output()
            .unwrap()
    };
    let said = |output: Output| {
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{error}");
        String::from_utf8(output.stdout).unwrap()
    };
    let server = start(&data);
    let name = "user-tester-linux-amd64-localdev-0";
    let created = said(gomote(&server, &["create", "linux-amd64-localdev"]));
    assert_eq!(created.trim_end(), name);
    said(gomote(
        &server,
        &["run", name, "/bin/sh", "-c", "echo kept > file"],
    ));
    let told = server.down(&kept_in, &[]);
    let stays = format!("1 session stays open with its machine ({name})");
    assert!(told.contains(&stays), "{told}");

    let server = start(&data);
    let kept = said(gomote(&server, &["run", name, "/bin/cat", "file"]));
    assert_eq!(kept, "kept\n");
    assert!(said(gomote(&server, &["list"])).starts_with(name));
    let told = server.down(&kept_in, &["--sessions"]);
    assert!(told.contains("1 machine has ended"), "{told}");
}

#[test]
fn what_a_server_of_machines_would_open_to_everybody_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let data = format!("-data={}", dir.path().join("data").display());
    let key = dir.path().join("key");
    std::fs::write(&key, "a secret").unwrap();
    let key = format!("-masterkey={}", key.display());
    for (args, words) in [
        (&["-mode=bogus"][..], "bogus"),
        (&["-listen-http=:0"], "everybody knows the key"),
        (&["-mode=prod"], "no certificate"),
        (&[key.as_str(), "-listen-http=:0"], "HTTP is not private"),
        (&["-listen-https-autocert=:0"], "--acme"),
        (&["-listen=:0", "-listen-http=:0"], "cannot be used with"),
        (&["-listen=nowhere"], "an address is IP:PORT"),
    ] {
        let output = farmer(&["gomoteserver"]).args(args).arg(&data).output();
        let output = output.unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {said}");
        assert!(said.contains(words), "{args:?}: {said}");
    }
}
