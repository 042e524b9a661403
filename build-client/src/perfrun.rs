//! Runs the benchmarks of several commits on one machine, in turns.
//!
//! The trees of the commits are put on the machine, the benchmarks of each are built once, and
//! then run in rounds: every round runs every commit, so that whatever else happens to the
//! machine happens to all of them. The output is text of benchmarks with the labels `commit`,
//! `iteration` and `start` before each run ([`build_core::benchfmt`]).

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use build_core::buildlet::{Buildlet as _, Exec};
use build_core::clock::Clock;
use build_core::{Error, ErrorKind, Result};
use serde::Deserialize;

use crate::HttpBuildlet;

/// A command on the machine. In its words `{dir}` is the tree of the commit, `{work}` the
/// machine's work directory, and `{commit}` the commit.
#[derive(Clone, Debug)]
pub struct Step {
    /// The program and its arguments.
    pub words: Vec<String>,
    /// Where it runs.
    pub dir: String,
    /// Variables.
    pub env: Vec<(String, String)>,
    /// Longest time it may take.
    pub limit: Duration,
}

/// Where the trees come from.
#[derive(Clone, Debug)]
pub enum Trees {
    /// The machine fetches them: an address with `{commit}` in it.
    Url(String),
    /// They are sent from here: a file with `{commit}` in its path, a tar with gzip.
    File(String),
}

/// What is run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The commits.
    pub commits: Vec<String>,
    /// Where their trees come from.
    pub trees: Trees,
    /// What builds the benchmarks, once for each commit.
    pub build: Step,
    /// What runs them.
    pub bench: Step,
    /// How often.
    pub rounds: u32,
    /// Begins each round with another commit than the one before.
    pub rotate: bool,
}

/// What happens, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// The tree of a commit is put on the machine.
    Installs(&'a str),
    /// The benchmarks of a commit are built.
    Builds(&'a str),
    /// A commit is run, in a round counted from 0.
    Runs(&'a str, u32),
}

impl Plan {
    /// The benchmarks that the Go project ran so: `test/bench/go1` of each commit, ten rounds,
    /// with the trees that the builder `source` has left.
    pub fn go1(commits: Vec<String>, source: &str) -> Self {
        let words = |words: &[&str]| words.iter().map(|w| (*w).to_owned()).collect();
        let limit = Duration::from_secs(3600);
        Self {
            commits,
            trees: Trees::Url(format!(
                "https://storage.googleapis.com/go-build-snap/go/{source}/{{commit}}.tar.gz"
            )),
            build: Step {
                words: words(&["{work}/{dir}/bin/go", "test", "-c"]),
                dir: "{dir}/test/bench/go1".to_owned(),
                env: vec![("GOROOT".to_owned(), "{work}/{dir}".to_owned())],
                limit,
            },
            bench: Step {
                words: words(&[
                    "{work}/{dir}/test/bench/go1/go1.test",
                    "-test.bench",
                    ".",
                    "-test.benchmem",
                ]),
                dir: "{dir}/test/bench/go1".to_owned(),
                env: Vec::new(),
                limit,
            },
            rounds: 10,
            rotate: false,
        }
    }

    fn check(&self) -> Result<()> {
        let wrong = |text: String| Err(Error::new(ErrorKind::Invalid, text));
        if self.commits.is_empty() {
            return wrong("no commit is named".to_owned());
        }
        for commit in &self.commits {
            let fine = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
            if commit.is_empty() || commit.starts_with(['.', '-']) || !commit.chars().all(fine) {
                return wrong(format!("{commit:?} names no commit"));
            }
        }
        if self.build.words.is_empty() || self.bench.words.is_empty() {
            return wrong("a command has no words".to_owned());
        }
        Ok(())
    }
}

/// The commits of a dashboard's `?mode=json` that `builder` built well, the newest first.
///
/// # Errors
/// [`ErrorKind::Invalid`] when the text is not of that form; [`ErrorKind::NotFound`] when the
/// dashboard has no such builder.
pub fn good_commits(status: &[u8], builder: &str) -> Result<Vec<String>> {
    #[derive(Deserialize)]
    struct Status {
        builders: Vec<String>,
        revisions: Option<Vec<Revision>>,
    }
    #[derive(Deserialize)]
    struct Revision {
        repo: String,
        revision: String,
        results: Vec<String>,
    }
    let status: Status = serde_json::from_slice(status)
        .map_err(|e| Error::caused_by(ErrorKind::Invalid, "read the status of the builders", e))?;
    let Some(column) = status.builders.iter().position(|b| b == builder) else {
        let error = Error::new(
            ErrorKind::NotFound,
            format!("builder {builder:?} not found"),
        );
        return Err(error.with_hint("name a builder of the dashboard with -buildlet_src"));
    };
    let good = |r: &Revision| r.repo == "go" && r.results.get(column).is_some_and(|s| s == "ok");
    let revisions = status.revisions.unwrap_or_default();
    Ok(revisions
        .into_iter()
        .filter(good)
        .map(|r| r.revision)
        .collect())
}

/// Runs `plan` on `machine` and writes what the benchmarks print.
///
/// Cancel safe: commands on the machine are ended when the answer is dropped.
///
/// # Errors
/// The machine's errors; [`ErrorKind::Invalid`] with the end of its output when a command
/// fails.
pub async fn run(
    machine: &HttpBuildlet,
    plan: &Plan,
    clock: &dyn Clock,
    out: &mut (dyn Write + Send),
    told: &mut (dyn FnMut(Event<'_>) + Send),
) -> Result<()> {
    plan.check()?;
    let work = machine.work_dir().await?;
    for commit in &plan.commits {
        told(Event::Installs(commit));
        let dir = format!("go-{commit}");
        match &plan.trees {
            Trees::Url(url) => {
                let url = url.replace("{commit}", commit);
                machine.put_tar_from_url(&url, &dir).await
            }
            Trees::File(path) => {
                let path = PathBuf::from(path.replace("{commit}", commit));
                send(machine, &path, &dir).await
            }
        }
        .map_err(|e| e.while_doing(format!("install the tree of {commit}")))?;
        told(Event::Builds(commit));
        let built = carry_out(machine, &plan.build, &work, commit).await;
        built.map_err(|e| e.while_doing(format!("build the benchmarks of {commit}")))?;
    }
    let count = plan.commits.len();
    for round in 0..plan.rounds {
        let first = if plan.rotate {
            round as usize % count
        } else {
            0
        };
        for n in 0..count {
            let commit = &plan.commits[(first + n) % count];
            told(Event::Runs(commit, round));
            let start = clock.now();
            let printed = carry_out(machine, &plan.bench, &work, commit)
                .await
                .map_err(|e| e.while_doing(format!("run {commit}, round {round}")))?;
            let write = |out: &mut (dyn Write + Send)| {
                writeln!(out, "commit: {commit}\niteration: {round}\nstart: {start}")?;
                out.write_all(&printed)?;
                writeln!(out)?;
                out.flush()
            };
            write(out).map_err(|e| Error::from(e).while_doing("write the results"))?;
        }
    }
    Ok(())
}

async fn send(machine: &HttpBuildlet, path: &std::path::Path, dir: &str) -> Result<()> {
    let read = std::fs::read(path);
    let tgz = read.map_err(|e| Error::from(e).while_doing(format!("read {}", path.display())))?;
    machine.put_tar(crate::once(tgz), dir).await
}

async fn carry_out(
    machine: &HttpBuildlet,
    step: &Step,
    work: &str,
    commit: &str,
) -> Result<Vec<u8>> {
    let fill = |text: &str| {
        let dir = format!("go-{commit}");
        text.replace("{dir}", &dir)
            .replace("{work}", work)
            .replace("{commit}", commit)
    };
    let mut exec = Exec::new(fill(&step.words[0])).dir(fill(&step.dir));
    for word in &step.words[1..] {
        exec = exec.arg(fill(word));
    }
    for (name, value) in &step.env {
        exec = exec.env(name, &fill(value));
    }
    let run = tokio::time::timeout(step.limit, machine.exec(exec));
    let done = run.await.map_err(|_| {
        let text = format!("it did not end within {} s", step.limit.as_secs());
        Error::new(ErrorKind::TimedOut, text)
    })??;
    if !done.outcome().is_ok() {
        let text = format!("{}; it printed:\n{}", done.outcome(), done.text());
        return Err(Error::new(ErrorKind::Invalid, text));
    }
    if done.dropped_bytes() > 0 {
        return Err(Error::new(
            ErrorKind::Limit,
            "it printed more than can be kept",
        ));
    }
    Ok(done.bytes().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_commits_are_those_of_the_builder() {
        let status = br#"{"builders":["a","b"],"revisions":[
            {"repo":"go","revision":"1","results":["ok","http://x"]},
            {"repo":"net","revision":"2","results":["ok","ok"]},
            {"repo":"go","revision":"3","results":["","ok"]}]}"#;
        assert_eq!(good_commits(status, "a").unwrap(), ["1"]);
        assert_eq!(good_commits(status, "b").unwrap(), ["3"]);
        let error = good_commits(status, "x").unwrap_err();
        assert_eq!(error.to_string(), "builder \"x\" not found");
        assert!(good_commits(b"<html>", "a").is_err());
        assert!(
            good_commits(br#"{"builders":["a"],"revisions":null}"#, "a")
                .unwrap()
                .is_empty()
        );
    }

    #[test]
    fn a_commit_cannot_name_another_place() {
        for wrong in ["", "../x", "-x", "a/b", "a b"] {
            let plan = Plan::go1(vec![wrong.to_owned()], "linux-amd64");
            assert!(plan.check().is_err(), "{wrong:?}");
        }
    }
}
