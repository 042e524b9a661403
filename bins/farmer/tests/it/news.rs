//! Somebody is told when a branch breaks and when it is mended, once each, however often the farm
//! is killed.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use crate::processes::wait_until;
use crate::repo::Repo;
use crate::up::{Farm, SOON};

/// Builders, and so builds of a commit.
const BUILDERS: usize = 20;

/// What each of them runs: a test that fails until it is mended.
const LOOK: &str = "sleep 0.3; test -e well || { echo 'test well ... FAILED'; exit 1; }";

/// Kills of the farm: `FARMER_KILLS`, else some that take a minute.
fn kills() -> u64 {
    let wanted = std::env::var("FARMER_KILLS").ok();
    wanted.and_then(|n| n.parse().ok()).unwrap_or(20)
}

/// Times that are not the same within a run, and the same from run to run.
struct Delays(u64);

impl Delays {
    fn next(&mut self, below: Duration) -> Duration {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        below.mul_f64((self.0 >> 11) as f64 / (1u64 << 53) as f64)
    }
}

/// Somebody with a record of their own, who knows keys again.
struct Told {
    record: PathBuf,
}

impl Told {
    fn set_up(repo: &Repo) -> Self {
        let record = repo.home().join("record");
        let keys = repo.home().join("keys");
        std::fs::create_dir(&keys).unwrap();
        let script = repo.home().join("told.sh");
        let text = format!(
            "key=$(echo \"$FARMER_EFFECT\" | tr / _)\n\
             cat >/dev/null\n\
             mkdir {}/$key 2>/dev/null || exit 0\n\
             echo \"$FARMER_EFFECT\" >> {}\n",
            keys.display(),
            record.display()
        );
        std::fs::write(&script, text).unwrap();
        let settings = format!(
            "[[notify]]\nname = \"lamp\"\ncommand = [\"/bin/sh\", \"{}\"]\n",
            script.display()
        );
        std::fs::create_dir_all(repo.data()).unwrap();
        std::fs::write(repo.data().join("farmer.toml"), settings).unwrap();
        Self { record }
    }

    /// How often each thing was told.
    fn counts(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for line in std::fs::read_to_string(&self.record)
            .unwrap_or_default()
            .lines()
        {
            *counts.entry(line.to_owned()).or_default() += 1;
        }
        counts
    }

    fn of(&self, what: &str) -> usize {
        let prefix = format!("lamp/{what}/");
        self.counts()
            .keys()
            .filter(|key| key.starts_with(&prefix))
            .count()
    }
}

fn config() -> String {
    let builders =
        (0..BUILDERS).map(|n| format!("[[builder]]\nname = \"b{n}\"\nhost = \"local\"\n"));
    let builders: String = builders.collect();
    format!("[[step]]\nname = \"look\"\nrun = \"{LOOK}\"\n{builders}")
}

fn start(repo: &Repo) -> Farm {
    Farm::start_with(repo, &["--machines", "20"])
}

/// How often each build was run again.
fn reruns(farm: &Farm) -> BTreeMap<String, usize> {
    let (status, body) = farm.ask("GET", "/api/v1/builds?limit=1000", &[]);
    assert_eq!(status, 200, "{body}");
    let page: serde_json::Value = serde_json::from_str(&body).unwrap();
    let rows = page["builds"].as_array().unwrap();
    let mut reruns = BTreeMap::new();
    for first in rows
        .iter()
        .filter_map(|row| row["item"]["rerun_of"].as_str())
    {
        *reruns.entry(first.to_owned()).or_default() += 1;
    }
    reruns
}

#[test]
fn news_are_told_once_however_often_the_farm_is_killed() {
    let repo = Repo::new();
    repo.write(".farmer.toml", &config()).commit("broken");
    let told = Told::set_up(&repo);
    let mut delays = Delays(0x2545_f491_4f6c_dd1d);
    for what in ["broken", "fixed"] {
        if what == "fixed" {
            repo.write("well", "").commit("mended");
        }
        for round in 0..kills() / 2 {
            let farm = start(&repo);
            let longest = Duration::from_millis(300 + 150 * (round % 12));
            std::thread::park_timeout(delays.next(longest));
            // Dropped: it is killed, whatever it does.
            drop(farm);
        }
        let farm = start(&repo);
        wait_until(what, 2 * SOON, || told.of(what) == BUILDERS);
        // All may have been told before this start: then the reader is just beginning.
        wait_until("the reader is listed", SOON, || {
            let listed = repo.run(&["outbox", "list"]);
            listed.out().starts_with("notify  position ")
        });
        // The readers of the farm itself were killed as often.
        wait_until("each is run again once", 2 * SOON, || {
            let reruns = reruns(&farm);
            assert!(reruns.values().all(|count| *count == 1), "{reruns:#?}");
            reruns.len() == BUILDERS
        });
        farm.stop().exits(0);
    }
    let counts = told.counts();
    assert_eq!(counts.len(), 2 * BUILDERS, "{counts:#?}");
    assert!(counts.values().all(|count| *count == 1), "{counts:#?}");
}

#[test]
fn what_cannot_be_told_is_listed_tried_again_and_forgotten() {
    let repo = Repo::new();
    repo.write(
        ".farmer.toml",
        "[[step]]\nname = \"look\"\nrun = \"false\"\n",
    )
    .commit("broken");
    std::fs::create_dir_all(repo.data()).unwrap();
    let settings = "[[notify]]\nname = \"lamp\"\ncommand = [\"/bin/sh\", \"-c\", \"echo no lamp >&2; exit 65\"]\n";
    std::fs::write(repo.data().join("farmer.toml"), settings).unwrap();
    let none = repo.run(&["outbox", "list"]).exits(2);
    assert!(none.err().contains("no farm runs"), "{}", none.err());
    let farm = Farm::start_with(&repo, &["--machines", "1"]);
    let list = || repo.run(&["outbox", "list"]).exits(0).out();
    wait_until("it is given up", SOON, || {
        list().contains("given up, 1 attempts")
    });
    let listed = list();
    assert!(listed.contains("refuses it: no lamp"), "{listed}");
    let (status, _) = farm.ask("GET", "/api/v1/outbox", &[]);
    assert_eq!(status, 401, "it needs the token");
    let rows = repo.run(&["outbox", "list", "--json"]).exits(0).events();
    let key = rows[0]["entries"][0]["key"].as_str().unwrap().to_owned();
    let wrong = repo.run(&["outbox", "retry", "nobody"]).exits(2);
    assert!(wrong.err().contains("there are notify"), "{}", wrong.err());
    let again = repo.run(&["outbox", "retry", "notify"]).exits(0);
    assert_eq!(again.out(), "1 tried again\n");
    wait_until("it is given up again", SOON, || list().contains("given up"));
    let forgotten = repo.run(&["outbox", "forget", "notify", &key]).exits(0);
    assert_eq!(forgotten.out(), "1 forgotten\n");
    assert!(!list().contains(&key));
    farm.stop().exits(0);
}
