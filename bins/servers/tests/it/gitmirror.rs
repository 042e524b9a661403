//! `gitmirror`, with repositories of this machine.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use super::peer::{LIMIT, Peer, git};

/// A source that is worked on, and a bare destination.
struct Story {
    dir: tempfile::TempDir,
}

impl Story {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for (name, args) in [
            ("source", &["init", "-q"][..]),
            ("dest", &["init", "-q", "--bare"]),
        ] {
            fs::create_dir(dir.path().join(name)).unwrap();
            git(&dir.path().join(name), args);
        }
        let story = Self { dir };
        story.commit("one");
        story
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn commit(&self, text: &str) -> String {
        let source = self.path("source");
        fs::write(source.join("file"), text).unwrap();
        git(&source, &["add", "-A"]);
        git(&source, &["commit", "-qm", text]);
        git(&source, &["rev-parse", "HEAD"])
    }

    fn mirror(&self, more: &str) -> Peer {
        let config = self.path("mirror.toml");
        let text = format!(
            "poll_seconds = 3600.0\n[[repo]]\nname = 'proj'\nsource = '{}'\n{more}\n\
             [[repo.dest]]\nname = 'hub'\nurl = '{}'\n",
            self.path("source").display(),
            self.path("dest").display()
        );
        fs::write(&config, text).unwrap();
        Peer::start("gitmirror", 1, |command| {
            command
                .args(["-http", "127.0.0.1:0", "-mirror", "-config"])
                .arg(&config);
            command.arg("-cachedir").arg(self.path("cache"));
        })
    }

    /// Branches and tags at a place.
    fn refs(&self, name: &str) -> String {
        git(
            &self.path(name),
            &[
                "for-each-ref",
                "--format=%(refname) %(objectname)",
                "refs/heads",
                "refs/tags",
            ],
        )
    }

    fn wait_until_same(&self, peer: &Peer) {
        peer.ask("POST", "/notify/proj", "", b"");
        let until = Instant::now() + LIMIT;
        while self.refs("source") != self.refs("dest") {
            assert!(
                Instant::now() < until,
                "{}",
                peer.get("/status.json").text()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

#[test]
fn gitmirror_makes_destinations_the_same_and_loses_nothing() {
    let story = Story::new();
    let dest = story.path("dest");
    let mut peer = story.mirror("");
    story.wait_until_same(&peer);
    peer.wait_for("/", |answer| answer.text().contains("</a> - ok\n"));

    // New, moved and deleted branches and tags; what is elsewhere at the destination stays.
    let source = story.path("source");
    git(&source, &["tag", "v1"]);
    git(&source, &["branch", "old"]);
    story.commit("two");
    git(
        &dest,
        &["update-ref", "refs/pull/1/head", "refs/heads/master"],
    );
    story.wait_until_same(&peer);
    git(&source, &["branch", "-D", "old"]);
    git(&source, &["tag", "-d", "v1"]);
    story.wait_until_same(&peer);
    assert!(git(&dest, &["for-each-ref", "refs/pull"]).contains("refs/pull/1/head"));

    // Somebody has pushed to the destination: it is made the same, and theirs is kept here.
    let work = story.path("work");
    git(
        story.dir.path(),
        &[
            "clone",
            "-q",
            dest.to_str().unwrap(),
            work.to_str().unwrap(),
        ],
    );
    fs::write(work.join("theirs"), "x").unwrap();
    git(&work, &["add", "-A"]);
    git(&work, &["commit", "-qm", "theirs"]);
    git(
        &work,
        &[
            "push",
            "-q",
            "origin",
            "HEAD:master",
            "HEAD:refs/heads/extra",
        ],
    );
    let theirs = git(&work, &["rev-parse", "HEAD"]);
    story.commit("three");
    story.wait_until_same(&peer);
    let copy = story.path("cache/proj.git");
    let lost = git(&copy, &["for-each-ref", "--format=%(refname)", "refs/lost"]);
    assert!(
        lost.contains(&format!("refs/lost/hub/{theirs}/heads/master")),
        "{lost}"
    );
    assert!(
        lost.contains(&format!("refs/lost/hub/{theirs}/heads/extra")),
        "{lost}"
    );
    assert_eq!(git(&copy, &["show", &format!("{theirs}:theirs")]), "x");

    // The next start goes on with the same copy.
    assert_eq!(peer.end(), Some(0));
    let inode = |path: &Path| std::os::unix::fs::MetadataExt::ino(&fs::metadata(path).unwrap());
    let before = inode(&copy);
    let peer = story.mirror("");
    story.commit("four");
    story.wait_until_same(&peer);
    assert_eq!(inode(&copy), before);
    assert_eq!(git(&copy, &["remote"]), "");
    let second = super::program("gitmirror")
        .args(["-http", "127.0.0.1:0", "-repo", "a=/b", "-cachedir"])
        .arg(story.path("cache"))
        .output()
        .unwrap();
    assert!(!second.status.success());
    assert!(String::from_utf8_lossy(&second.stderr).contains("another mirror"));
}

#[test]
fn gitmirror_does_not_follow_a_source_that_has_lost_much() {
    let story = Story::new();
    let source = story.path("source");
    for n in 0..30 {
        git(&source, &["branch", &format!("b{n}")]);
    }
    let peer = story.mirror("exclude = ['refs/heads/private-*']");
    git(&source, &["branch", "private-x"]);
    let until = Instant::now() + LIMIT;
    while story.refs("dest").lines().count() < 31 {
        assert!(
            Instant::now() < until,
            "{}",
            peer.get("/status.json").text()
        );
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(!story.refs("dest").contains("private"));
    let good = story.refs("dest");
    for n in 0..20 {
        git(&source, &["branch", "-D", &format!("b{n}")]);
    }
    peer.ask("POST", "/notify/proj", "", b"");
    let told = peer
        .wait_for("/healthz", |answer| answer.status == 500)
        .text();
    assert!(told.contains("has lost 20 of 32"), "{told}");
    assert_eq!(story.refs("dest"), good);
    // A source that is emptied, by a repair for example.
    fs::rename(source.join(".git"), story.path("kept")).unwrap();
    git(&source, &["init", "-q"]);
    peer.ask("POST", "/notify/proj", "", b"");
    peer.wait_for("/healthz", |answer| {
        answer.text().contains("no branches any more")
    });
    assert_eq!(story.refs("dest"), good);
    let line = peer.get("/").text();
    assert!(line.contains("</a> - broken for "), "{line}");
    // It is there again: the mirror goes on without a restart.
    fs::remove_dir_all(source.join(".git")).unwrap();
    fs::rename(story.path("kept"), source.join(".git")).unwrap();
    for n in 0..20 {
        git(&source, &["branch", &format!("b{n}")]);
    }
    peer.ask("POST", "/notify/proj", "", b"");
    peer.wait_for("/healthz", |answer| answer.status == 200);
    assert!(peer.get("/").text().contains("</a> - ok; recent failure "));
    assert_eq!(peer.get("/healthz?max-lag=10").status, 200);
    assert_eq!(peer.get("/healthz?max-lag=x").status, 400);
}

#[test]
fn gitmirror_serves_archives_of_any_revision() {
    let story = Story::new();
    let first = git(&story.path("source"), &["rev-parse", "HEAD"]);
    let peer = story.mirror("");
    story.wait_until_same(&peer);
    let names = |archive: &[u8]| {
        let file = story.path("archive.tar.gz");
        fs::write(&file, archive).unwrap();
        let listed = Command::new("tar").arg("tzf").arg(file).output().unwrap();
        assert!(listed.status.success());
        String::from_utf8(listed.stdout).unwrap()
    };
    let archive = peer.get(&format!("/proj.tar.gz?rev={first}"));
    assert_eq!(
        (archive.status, archive.header("content-type")),
        (200, Some("application/x-compressed"))
    );
    assert_eq!(
        archive.header("content-length"),
        Some(archive.body.len().to_string().as_str())
    );
    assert_eq!(names(&archive.body), "file\n", "the tree at the top");
    let tag = archive.header("etag").unwrap();
    let again = peer.ask(
        "GET",
        "/proj.tar.gz?rev=master",
        &format!("If-None-Match: {tag}\r\n"),
        b"",
    );
    assert_eq!(again.status, 304);
    let head = peer.ask("HEAD", "/proj.tar.gz?rev=master", "", b"");
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_eq!(
        head.header("content-length"),
        archive.header("content-length")
    );
    // One that is newer than the copy is fetched.
    let new = story.commit("newer");
    assert_eq!(peer.get(&format!("/proj.tar.gz?rev={new}")).status, 200);
    for (method, path, status) in [
        ("GET", "/proj.tar.gz?rev=--output=x.tgz", 400),
        ("GET", "/proj.tar.gz?rev=a..b", 400),
        ("GET", "/proj.tar.gz", 400),
        ("GET", "/proj.tar.gz?rev=", 400),
        ("POST", "/proj.tar.gz?rev=master", 400),
        ("GET", "/proj.tar.gz?rev=nothing", 500),
        ("GET", "/other.tar.gz?rev=master", 404),
        ("GET", "/debug/watcher/other", 404),
        ("POST", "/notify/other", 404),
        ("GET", "/x", 404),
    ] {
        assert_eq!(
            peer.ask(method, path, "", b"").status,
            status,
            "{method} {path}"
        );
    }
    let left: Vec<_> = fs::read_dir(story.path("cache/proj.git"))
        .unwrap()
        .flatten()
        .collect();
    assert!(
        left.iter()
            .all(|e| !e.file_name().to_string_lossy().contains("tgz"))
    );

    // The page is read line by line by other programs.
    let page = peer.get("/debug/watcher/").text();
    let lines: Vec<&str> = page.lines().collect();
    assert_eq!(lines.last(), Some(&"</pre></body></html>"));
    assert!(
        lines[0].starts_with("<html><body><pre><a href='/debug/watcher/proj'>proj</a> - "),
        "{page}"
    );
    let watcher = peer.get("/debug/watcher/proj").text();
    assert!(
        watcher.contains("watcher status for repo: \"proj\"") && watcher.contains(" waiting\n"),
        "{watcher}"
    );
    assert!(peer.get("/status").text().contains("same at"));
    assert!(!peer.get("/debug/env").text().contains("PATH"));
}

#[test]
fn gitmirror_ends_a_git_that_hangs() {
    let dir = tempfile::tempdir().unwrap();
    // A server that accepts and never answers.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/repo", listener.local_addr().unwrap());
    let config = dir.path().join("mirror.toml");
    fs::write(
        &config,
        format!("[[repo]]\nname = 'proj'\nsource = '{url}'\n"),
    )
    .unwrap();
    let mut peer = Peer::start("gitmirror", 1, |command| {
        command
            .args(["-http", "127.0.0.1:0", "-mirror", "-config"])
            .arg(&config);
        command.arg("-cachedir").arg(dir.path().join("cache"));
    });
    let running = || {
        let processes = fs::read_dir("/proc").unwrap().flatten();
        let lines = processes.filter_map(|p| fs::read(p.path().join("cmdline")).ok());
        lines
            .map(|l| String::from_utf8_lossy(&l).into_owned())
            .any(|l| l.contains(&url))
    };
    let until = Instant::now() + LIMIT;
    while !running() {
        assert!(Instant::now() < until, "git is not started");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(peer.end(), Some(0));
    while running() {
        assert!(Instant::now() < until, "git is left");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn gitmirror_knows_the_repositories_of_a_project() {
    let story = Story::new();
    let (sources, hub) = (story.path("sources"), story.path("hub"));
    fs::create_dir_all(&sources).unwrap();
    let dest = hub.join("protocolbuffers/protobuf-go.git");
    fs::create_dir_all(&dest).unwrap();
    git(&dest, &["init", "-q", "--bare"]);
    fs::rename(story.path("source"), sources.join("protobuf")).unwrap();
    let base = |path: &Path| format!("{}/", path.display());
    let mut peer = Peer::start("gitmirror", 1, |command| {
        command
            .args(["-http", "127.0.0.1:0", "-mirror", "-project", "go"])
            .args(["-only", "protobuf", "-source-base", &base(&sources)])
            .args(["-dest-base", &base(&hub)]);
    });
    peer.wait_for("/status", |_| {
        git(&dest, &["for-each-ref"]).contains("refs/heads/")
    });
    peer.wait_for("/", |answer| answer.text().contains("protobuf</a> - ok\n"));
    assert_eq!(peer.end(), Some(0));
    let none = super::program("gitmirror")
        .args(["-project", "go", "-only", "nothing"])
        .output()
        .unwrap();
    assert_eq!(none.status.code(), Some(2));
    let told = String::from_utf8_lossy(&none.stderr).into_owned();
    assert!(
        told.contains("\"nothing\"") && told.contains("vscode-go"),
        "{told}"
    );
}
