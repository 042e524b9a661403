//! The Go program `version/go1.9` of the reference date beside ours, on one directory.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, OnceLock};

use build_client::testing::{Mirror, go_archive};
use rustls::pki_types::PrivateKeyDer;

use super::toolchain::Story;

/// The Go program, built once; `None` without Go.
fn go_program() -> Option<&'static Path> {
    static BUILT: OnceLock<Option<PathBuf>> = OnceLock::new();
    BUILT.get_or_init(build_go_program).as_deref()
}

fn build_go_program() -> Option<PathBuf> {
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join("go2020/go1.9");
    let built = Command::new("go")
        .args(["build", "-o"])
        .arg(&program)
        .arg("golang.org/x/build/version/go1.9")
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/go"))
        .env("GOFLAGS", "-mod=readonly")
        .stdin(Stdio::null())
        .output();
    let trouble = match built {
        Ok(output) if output.status.success() => return Some(program),
        Ok(output) => String::from_utf8_lossy(&output.stderr).into_owned(),
        Err(error) => format!("go: {error}"),
    };
    let in_ci = std::env::var_os("CI").is_some_and(|value| value == "true");
    assert!(!in_ci, "the Go program cannot be built: {trouble}");
    eprintln!("SKIPPED: no test against the Go program, it cannot be built: {trouble}");
    None
}

/// Path, mode, time and content of everything below `dir`.
fn tree(dir: &Path) -> BTreeMap<String, (u32, i64, Vec<u8>)> {
    fn walk(dir: &Path, base: &Path, found: &mut BTreeMap<String, (u32, i64, Vec<u8>)>) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let about = path.symlink_metadata().unwrap();
            let name = path.strip_prefix(base).unwrap().display().to_string();
            let mode = about.permissions().mode();
            if about.is_dir() {
                found.insert(name, (mode, 0, Vec::new()));
                walk(&path, base, found);
            } else {
                let mark = name == ".unpacked-success";
                let time = if mark { 0 } else { about.mtime() };
                found.insert(name, (mode, time, fs::read(&path).unwrap()));
            }
        }
    }
    let mut found = BTreeMap::new();
    walk(dir, dir, &mut found);
    found
}

#[tokio::test]
async fn the_go_program_runs_what_ours_has_downloaded() {
    let Some(program) = go_program() else { return };
    let story = Story::new();
    story.put("go1.9", 1000);
    let root = story.download("go1.9").await.unwrap().path;
    let run = |args: &[&str]| {
        let mut theirs = Command::new(program);
        theirs
            .args(args)
            .env("HOME", story.home.path())
            .output()
            .unwrap()
    };
    let done = run(&["download"]);
    assert!(done.status.success());
    let told = String::from_utf8(done.stderr).unwrap();
    assert_eq!(
        told,
        format!("go1.9: already downloaded in {}\n", root.display())
    );
    let theirs = String::from_utf8(run(&["x", "y"]).stdout).unwrap();
    let ready = story
        .dir
        .ready(&super::toolchain::spec("go1.9"), &story.rows())
        .unwrap();
    let path = std::env::var_os("PATH");
    let ours = ready
        .command(path.as_deref())
        .args(["x", "y"])
        .output()
        .unwrap();
    assert_eq!(theirs, String::from_utf8(ours.stdout).unwrap());
    assert!(theirs.contains("arg=y"), "{theirs}");
}

/// The Go program's host is fixed, so it goes through a proxy that ends TLS.
#[tokio::test]
async fn the_go_program_downloads_the_same_tree() {
    let Some(program) = go_program() else { return };
    let story = Story::new();
    story.put("go1.9", 30_000);
    let theirs = tempfile::tempdir().unwrap();
    let mirror = Mirror::start().unwrap();
    let name = "golang/go1.9.linux-amd64.tar.gz";
    mirror.put_archive(name, go_archive("go1.9", 30_000).unwrap());
    let certificate = theirs.path().join("ca.pem");
    let proxy = proxy(&certificate, mirror.url().to_owned());
    let run = |args: &[&str]| {
        let mut theirs_command = Command::new(program);
        theirs_command.args(args).env("HOME", theirs.path());
        theirs_command
            .env("HTTPS_PROXY", &proxy)
            .env("SSL_CERT_FILE", &certificate);
        theirs_command.env_remove("NO_PROXY").env_remove("no_proxy");
        theirs_command.output().unwrap()
    };
    if cfg!(not(all(target_os = "linux", target_arch = "x86_64"))) {
        return; // The mirror has the archive of this machine alone.
    }
    let done = run(&["download"]);
    assert!(
        done.status.success(),
        "{}",
        String::from_utf8_lossy(&done.stderr)
    );
    story.download("go1.9").await.unwrap();
    let ours = tree(&story.home.path().join("sdk/go1.9"));
    let mut go = tree(&theirs.path().join("sdk/go1.9"));
    // The one difference: theirs keeps the archive.
    assert!(go.remove("go1.9.linux-amd64.tar.gz").is_some());
    assert_eq!(
        ours.keys().collect::<Vec<_>>(),
        go.keys().collect::<Vec<_>>()
    );
    assert!(ours == go, "modes, times or contents differ");
    // What theirs has downloaded is one of ours too.
    let dir = build_client::toolchain::ToolchainDir::new(theirs.path().join("sdk"));
    assert!(
        dir.ready(&super::toolchain::spec("go1.9"), &story.rows())
            .is_ok()
    );
    assert!(dir.list(&story.rows()).unwrap()[0].ready);
}

/// A proxy for `CONNECT` that answers as `storage.googleapis.com` with the files of a mirror.
fn proxy(certificate: &Path, mirror: String) -> String {
    let key = rcgen::generate_simple_self_signed(["storage.googleapis.com".to_owned()]).unwrap();
    fs::write(certificate, key.cert.pem()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let secret = PrivateKeyDer::Pkcs8(key.signing_key.serialize_der().into());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![key.cert.der().clone()], secret)
        .unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for connection in listener.incoming().flatten() {
            let (config, mirror) = (Arc::clone(&config), mirror.clone());
            std::thread::spawn(move || {
                let _gone = tunnel(connection, config, &mirror);
            });
        }
    });
    format!("http://{address}")
}

fn head(stream: &mut impl std::io::Read) -> std::io::Result<String> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

fn tunnel(
    mut connection: TcpStream,
    config: Arc<rustls::ServerConfig>,
    mirror: &str,
) -> std::io::Result<()> {
    assert!(head(&mut connection)?.starts_with("CONNECT storage.googleapis.com:443 "));
    connection.write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
    let session = rustls::ServerConnection::new(config).map_err(std::io::Error::other)?;
    let mut tls = rustls::StreamOwned::new(session, connection);
    let request = head(&mut tls)?;
    let mirror = mirror.trim_start_matches("http://").trim_end_matches('/');
    let mut inner = TcpStream::connect(mirror)?;
    inner.write_all(request.as_bytes())?;
    inner.shutdown(std::net::Shutdown::Write)?;
    let mut answer = Vec::new();
    inner.read_to_end(&mut answer)?;
    // One answer a connection.
    let text = b"HTTP/1.1 ";
    assert!(answer.starts_with(text));
    let line = answer.iter().position(|&byte| byte == b'\n').unwrap_or(0) + 1;
    tls.write_all(&answer[..line])?;
    tls.write_all(b"Connection: close\r\n")?;
    tls.write_all(&answer[line..])?;
    tls.conn.send_close_notify();
    tls.flush()?;
    Ok(())
}
