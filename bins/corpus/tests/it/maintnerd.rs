//! `maintnerd`.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::run;

pub(crate) fn git(folder: &Path, args: &[&str]) -> String {
    let done = Command::new("git")
        .args(["-c", "user.name=Gopher", "-c", "user.email=g@example.com"])
        .args(["-c", "init.defaultBranch=main"])
        .args(args)
        .current_dir(folder)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_SYSTEM", "/dev/null")
        .output()
        .unwrap();
    assert!(
        done.status.success(),
        "{args:?}: {}",
        String::from_utf8_lossy(&done.stderr)
    );
    String::from_utf8(done.stdout).unwrap().trim().to_owned()
}

pub(crate) fn commit(folder: &Path, message: &str) {
    git(
        folder,
        &["commit", "--quiet", "--allow-empty", "-m", message],
    );
}

/// A repository with two commits and a tag.
pub(crate) fn repository(folder: &Path) {
    std::fs::create_dir_all(folder).unwrap();
    git(folder, &["init", "--quiet"]);
    commit(folder, "first");
    git(folder, &["tag", "v1.2"]);
    std::fs::write(folder.join("file"), "text\n").unwrap();
    git(folder, &["add", "file"]);
    commit(folder, "second\n\nReviewed-by: Ann <ann@example.com>");
}

#[test]
fn sync_and_quit_writes_a_log_of_a_git_remote() {
    let dir = tempfile::tempdir().unwrap();
    let (repo, data) = (dir.path().join("repo"), dir.path().join("data"));
    repository(&repo);
    let watch = format!("-watch-git={}", repo.display());
    let data_dir = format!("-data-dir={}", data.display());
    let sync = || run("maintnerd", &[&watch, &data_dir, &"-sync-and-quit"]);
    let ran = sync();
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    let exported = |table: &str| run("maintq", &[&"export", &"--table", &table, &data]).out;
    assert_eq!(exported("commits").lines().count(), 2);
    let refs = exported("refs");
    assert!(
        refs.contains("refs/tags/v1.2") && refs.contains("local/repo"),
        "{refs}"
    );
    let size = || {
        let files = std::fs::read_dir(&data).unwrap().map(|e| e.unwrap());
        let logs = files.filter(|e| e.file_name().to_string_lossy().ends_with(".mutlog"));
        logs.map(|e| e.metadata().unwrap().len()).sum::<u64>()
    };
    let before = size();
    assert_eq!(sync().code, Some(0));
    assert_eq!(size(), before, "in step already");
    commit(&repo, "third");
    assert_eq!(sync().code, Some(0));
    assert!(size() > before);
    let ran = run("maintnerd", &[&data_dir, &"-init-and-quit"]);
    assert!(ran.out.starts_with("Loaded data in "), "{}", ran.out);
}

#[test]
fn what_is_wrong_with_the_flags_is_named() {
    for (flag, words) in [
        (
            "-watch-gerrit=go.googlesource.com/a/b",
            "expected to contain exactly 1 slash",
        ),
        (
            "-watch-github=golang",
            "Should be 'owner/repo,owner2/repo2'",
        ),
        ("-watch-github=a/b,a/b", "github:a/b is named twice"),
        ("-config=zzz", "unknown --config=zzz"),
        (
            "-github-token-file=/nonexistent/token",
            "/nonexistent/token",
        ),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let data = format!("-data-dir={}", dir.path().display());
        let ran = run(
            "maintnerd",
            &[&flag, &data, &"-watch-github=x/y", &"-sync-and-quit"],
        );
        let ran = match flag.starts_with("-watch-github") {
            true => run("maintnerd", &[&flag, &data, &"-sync-and-quit"]),
            false => ran,
        };
        assert_eq!(ran.code, Some(2), "{flag}: {}", ran.err);
        assert!(ran.err.contains(words), "{flag}: {}", ran.err);
    }
    let dir = tempfile::tempdir().unwrap();
    let data = format!("-data-dir={}", dir.path().display());
    let ran = run(
        "maintnerd",
        &[&"-watch-git=/nonexistent/repo", &data, &"-sync-and-quit"],
    );
    assert_eq!(ran.code, Some(3), "{}", ran.err);
    assert!(
        ran.err.contains("/nonexistent/repo") && ran.err.contains("hint:"),
        "{}",
        ran.err
    );
}

/// A running service; ended with the test.
pub(crate) struct Served {
    pub(crate) child: Child,
    pub(crate) address: String,
    /// The address of TLS, if it has one.
    pub(crate) tls: Option<String>,
}

impl Drop for Served {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn serve(args: &[&str]) -> Served {
    Served::start(Command::new(env!("CARGO_BIN_EXE_farmer-corpus")), args)
}

impl Served {
    pub(crate) fn start(mut command: Command, args: &[&str]) -> Self {
        command.arg("maintnerd").args(args);
        if !args.iter().any(|arg| arg.starts_with("-listen=")) {
            command.arg("-listen=127.0.0.1:0");
        }
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut served = Self {
            child,
            address: String::new(),
            tls: None,
        };
        let mut lines = lines.map(Result::unwrap);
        let mut said = Vec::new();
        for line in lines.by_ref() {
            if let Some(address) = line.strip_prefix("listening on http://") {
                served.address = address.to_owned();
                break;
            }
            if let Some(secure) = line.strip_prefix("listening on https://") {
                let (_, port) = secure.split_once(", ").unwrap().0.rsplit_once(':').unwrap();
                served.tls = Some(format!("localhost:{port}"));
            }
            said.push(line);
        }
        assert!(!served.address.is_empty(), "it ended: {said:?}");
        // The rest must not fill the pipe.
        std::thread::spawn(move || lines.for_each(drop));
        served
    }

    fn ask(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let timeout = Some(std::time::Duration::from_secs(20));
        stream.set_read_timeout(timeout).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    pub(crate) fn get(&self, path: &str) -> String {
        self.ask(&format!(
            "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
        ))
    }

    /// Asks until the answer has these words.
    pub(crate) fn until(&self, path: &str, words: &str) -> String {
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
        loop {
            let answer = self.get(path);
            if answer.contains(words) {
                return answer;
            }
            assert!(
                std::time::Instant::now() < deadline,
                "{path} never says {words:?}: {answer}"
            );
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
    }
}

#[test]
fn check_21_a_service_shows_itself_follows_and_ends_well() {
    let dir = tempfile::tempdir().unwrap();
    let (repo, data) = (dir.path().join("repo"), dir.path().join("data"));
    repository(&repo);
    let secret = dir.path().join("secret");
    std::fs::write(&secret, "s3cret\n").unwrap();
    let mut served = serve(&[
        &format!("-watch-git={}", repo.display()),
        &format!("-data-dir={}", data.display()),
        &format!("-webhook-secret-file={}", secret.display()),
        "-every=1",
    ]);
    served.until("/healthz", "200 OK");
    let page = served.until("/", "in step");
    assert!(
        page.contains("maintnerd") && page.contains(repo.to_str().unwrap()),
        "{page}"
    );
    assert!(served.get("/nope").starts_with("HTTP/1.1 404"));
    let metrics = served.get("/metrics");
    assert!(metrics.contains("maintner_log_records 3"), "{metrics}");
    let hook = "POST /webhook/github HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}";
    assert!(served.ask(hook).starts_with("HTTP/1.1 401"));
    commit(&repo, "third");
    served.until("/metrics", "maintner_log_records 5");
    served.until("/status.json", "\"state\":\"in step\"");

    // A second one is refused while the first writes.
    let watch = format!("-watch-git={}", repo.display());
    let data_dir = format!("-data-dir={}", data.display());
    let second = run("maintnerd", &[&watch, &data_dir, &"-sync-and-quit"]);
    assert_eq!(second.code, Some(3));
    assert!(
        second.err.contains("in use by another writer"),
        "{}",
        second.err
    );

    let id = served.child.id().to_string();
    Command::new("kill").args(["-TERM", &id]).status().unwrap();
    let ended = served.child.wait().unwrap();
    assert_eq!(ended.code(), Some(0), "{ended}");
    let ran = run("maintnerd", &[&watch, &data_dir, &"-sync-and-quit"]);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
}
