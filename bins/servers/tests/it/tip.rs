//! `tip`, with real commits that build and that do not.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::peer::{LIMIT, Peer, ask, git};

/// Serves a side; one with a file `mortal` dies when the file `die` is there beside the sides.
const WRAPPER: &str = "if [ -e mortal ]; then (while [ ! -e ../../../../die ]; do sleep 0.02; done; kill $$) & fi; \
    exec $0 vcweb -http 127.0.0.1:$1 -d $2";

/// A repository whose commits are versions of a site, and a `tip` that serves them.
struct Story {
    dir: tempfile::TempDir,
}

impl Story {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("repo")).unwrap();
        git(&dir.path().join("repo"), &["init", "-q"]);
        Self { dir }
    }

    fn repo(&self) -> PathBuf {
        self.dir.path().join("repo")
    }

    /// Commits a version whose build is a shell script; answers the commit in short.
    fn commit(&self, version: &str, build: &str) -> String {
        let site = self.repo().join("go/site");
        fs::create_dir_all(&site).unwrap();
        fs::write(
            site.join("index.html"),
            format!("<html>version {version}\n"),
        )
        .unwrap();
        fs::write(self.repo().join("build.sh"), build).unwrap();
        git(&self.repo(), &["add", "-A"]);
        git(&self.repo(), &["commit", "-qm", version]);
        git(&self.repo(), &["rev-parse", "HEAD"])[..8].to_owned()
    }

    /// Starts `tip`; a side is served by a program of the same group, from the side's files.
    fn serve(&self, more: &str) -> Peer {
        self.serve_within(20, more)
    }

    /// The same, with seconds in which a side must be good.
    fn serve_within(&self, within: u32, more: &str) -> Peer {
        let config = self.dir.path().join("tip.toml");
        let text = format!(
            "every_seconds = 0.01\nretry_seconds = 0.2\nkeep = 1\n{more}\n\
             [[source]]\nname = 'site'\nurl = '{}'\n\
             [[step]]\ncommand = ['sh', 'build.sh']\ndir = 'site'\n\
             [serve]\ndir = 'site'\ncommand = ['sh', '-c', '''{WRAPPER}''', '{}', '{{port}}', '{{side}}/site']\n\
             [probe]\npath = '/go/site/'\ncontains = 'version'\nwithin_seconds = {within}\nevery_seconds = 0.05\n\
             [redirect]\n'beta.example.org' = 'https://tip.example.org'\n",
            self.repo().display(),
            env!("CARGO_BIN_EXE_farmer-servers"),
        );
        fs::write(&config, text).unwrap();
        let data = self.dir.path().join("data");
        Peer::start("tip", 1, |command| {
            command
                .args(["-http", "127.0.0.1:0", "-config"])
                .arg(&config)
                .arg("-data")
                .arg(&data);
        })
    }
}

fn status_says(peer: &Peer, text: &str) -> String {
    peer.wait_for("/_tipstatus", |answer| answer.text().contains(text))
        .text()
}

fn sides(dir: &Path) -> usize {
    fs::read_dir(dir.join("data/sides")).unwrap().count()
}

#[test]
fn tip_serves_the_newest_good_commit_and_never_a_bad_one() {
    let story = Story::new();
    let first = story.commit("one", "exit 0");
    let mut tip = story.serve_within(3, "settle_seconds = 0.3");
    let status = status_says(&tip, &format!("current=site={first}"));
    let lines: Vec<&str> = status
        .lines()
        .map(|l| l.split('=').next().unwrap())
        .collect();
    assert_eq!(lines, ["side", "current", "error", "uptime"]);
    assert!(
        status.contains("side=a\n") && status.contains("error=<nil>\n"),
        "{status}"
    );
    assert!(tip.get("/go/site/").text().contains("version one"));
    assert_eq!(tip.get("/_ah/health").text(), "ok");

    // One that does not build, and one that does not answer well.
    story.commit("two", "echo broken; exit 1");
    assert!(status_says(&tip, "exit status: 1").contains(&format!("current=site={first}")));
    assert!(
        tip.get("/_tip").text().contains("broken"),
        "the page shows the log"
    );
    story.commit("three", "rm -r go");
    status_says(&tip, "it was not good within 3 s");
    assert!(tip.get("/go/site/").text().contains("version one"));
    let fifth = story.commit("five", "exit 0");
    status_says(&tip, &format!("current=site={fifth}"));
    assert!(tip.get("/go/site/").text().contains("version five"));
    // It is settled a moment later.
    let settled = tip.wait_for("/_tipstatus?format=json", |answer| {
        answer.text().contains("\"error\":null,\"uptime")
    });
    let json: serde_json::Value = serde_json::from_slice(&settled.body).unwrap();
    assert!(json["attempts"].as_array().unwrap().len() >= 2);

    let elsewhere = tip.ask("GET", "/x?y", "Host: beta.example.org\r\n", b"");
    assert_eq!(elsewhere.status, 302);
    assert_eq!(
        elsewhere.header("location"),
        Some("https://tip.example.org/x?y")
    );
    assert_eq!(tip.end(), Some(0), "it ends well when asked to");

    // A restart serves at once what was good last, without a build.
    fs::rename(story.repo(), story.dir.path().join("away")).unwrap();
    let tip = story.serve("");
    let answer = tip.wait_for("/go/site/", |answer| answer.status == 200);
    assert!(answer.text().contains("version five"));
    status_says(&tip, "ls-remote");
    assert!(
        tip.get("/go/site/").text().contains("version five"),
        "a lost source changes nothing"
    );
}

#[test]
fn tip_switches_back_from_a_side_that_dies_early() {
    let story = Story::new();
    let first = story.commit("one", "exit 0");
    let tip = story.serve("settle_seconds = 10.0");
    status_says(&tip, &format!("current=site={first}"));
    let second = story.commit("two", "touch mortal");
    status_says(&tip, &format!("current=site={second}"));
    assert!(tip.get("/go/site/").text().contains("version two"));
    fs::write(story.dir.path().join("die"), "").unwrap();
    let told = status_says(&tip, &format!("switched back to site={first}"));
    assert!(told.contains(&format!("current=site={first}")), "{told}");
    assert!(tip.get("/go/site/").text().contains("version one"));
}

#[test]
fn tip_starts_a_live_site_again_whose_process_dies() {
    let story = Story::new();
    let first = story.commit("one", "exit 0");
    let tip = story.serve("settle_seconds = 0.0");
    status_says(&tip, &format!("current=site={first}"));
    // Nothing but the side's own process has its directory in its arguments.
    let killed = std::process::Command::new("sh")
        .arg("-c")
        .arg(format!(
            "for p in /proc/[0-9]*; do if tr '\\0' ' ' 2>/dev/null <$p/cmdline | grep -q 'vcweb.*{}/data/sides'; \
             then kill -9 ${{p#/proc/}}; echo killed; fi; done",
            story.dir.path().display()
        ))
        .output()
        .unwrap();
    assert!(
        String::from_utf8_lossy(&killed.stdout).contains("killed"),
        "{killed:?}"
    );
    status_says(&tip, "error=its process has ended");
    tip.wait_for("/go/site/", |answer| answer.status == 200);
}

#[test]
fn tip_switches_a_hundred_times_under_load_without_a_failed_request() {
    const SWITCHES: u64 = 100;
    let story = Story::new();
    let first = story.commit("0", "exit 0");
    let tip = story.serve("settle_seconds = 0.0");
    status_says(&tip, &format!("current=site={first}"));
    let (stop, asked) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicU64::new(0)),
    );
    let address = tip.addresses[0].clone();
    let visitors: Vec<_> = (0..3)
        .map(|_| {
            let (stop, asked, address) = (stop.clone(), asked.clone(), address.clone());
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let answer = ask(&address, "GET", "/go/site/", "", b"").expect("an answer");
                    assert_eq!(answer.status, 200, "{}", answer.text());
                    assert!(answer.text().starts_with("<html>version "));
                    asked.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    let until = Instant::now() + LIMIT * 3;
    for n in 1..=SWITCHES {
        // Every tenth commit is bad and is passed over.
        if n % 10 == 0 {
            let seen = story.commit(&format!("bad {n}"), "exit 1");
            tip.wait_for("/_tipstatus?format=json", |answer| {
                answer.text().contains(&seen)
            });
        }
        let commit = story.commit(&n.to_string(), "exit 0");
        status_says(&tip, &format!("current=site={commit}"));
        assert!(Instant::now() < until, "{n} switches took too long");
    }
    stop.store(true, Ordering::Relaxed);
    for visitor in visitors {
        visitor.join().expect("no request failed");
    }
    let status: serde_json::Value =
        serde_json::from_slice(&tip.get("/_tipstatus?format=json").body).unwrap();
    assert_eq!(status["switches"], SWITCHES + 1);
    let asked = asked.load(Ordering::Relaxed);
    assert!(asked >= SWITCHES, "only {asked} requests");
    // Old sides do not pile up; the last ones may be on their way out.
    let until = Instant::now() + Duration::from_secs(20);
    while sides(story.dir.path()) > 3 {
        assert!(
            Instant::now() < until,
            "{} sides are left",
            sides(story.dir.path())
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn tip_says_what_is_wrong_before_it_serves() {
    let run = |args: &[&str]| {
        super::program("tip")
            .env_remove("TIP_BUILDER")
            .args(args)
            .output()
            .unwrap()
    };
    let told = |args: &[&str]| {
        let done = run(args);
        assert_eq!(done.status.code(), Some(2), "{done:?}");
        String::from_utf8(done.stderr).unwrap()
    };
    assert!(told(&[]).contains("TIP_BUILDER"));
    assert!(told(&["-builder", "beta"]).contains("golangorg or talks"));
    assert!(told(&["-config", "/no/such"]).contains("/no/such"));
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data").display().to_string();
    let named = ["-builder", "talks", "-http", "127.0.0.1:0", "-data", &data];
    let named = told(&[&named[..], &["-autocert", "x"]].concat());
    assert!(named.contains("no authority vouches"), "{named}");
    assert!(run(&["-builder", "golangorg", "-check"]).status.success());
    let help = String::from_utf8(run(&["--help"]).stdout).unwrap();
    assert!(help.contains("Examples:"), "{help}");
}
