//! Who reviews what, from nothing but a git remote: commits are fetched, their `Reviewed-by`
//! lines counted by the folders that they touch.
//!
//! `cargo run --example who_reviews_what [URL]`; without a URL, a small repository is made and
//! read.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context as _;
use maintner_core::source::MemoryLog;
use maintner_core::sync::plain::PlainGit;
use maintner_core::sync::remote::{GitMirror, Listing};
use maintner_core::sync::{Control, Target, Writer, sync_once};
use maintner_core::{Corpus, Options, View};

fn main() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let url = match std::env::args().nth(1) {
        Some(url) => url,
        None => small_repository(&dir.path().join("small"))?,
    };
    // A corpus in memory; `LogWriter::open(folder)` in its place would keep it.
    let log = MemoryLog::new();
    let corpus = Corpus::load(log.clone(), Options::default())?;
    let writer = Writer::new(log, corpus);
    let (name, control) = (Target::git_project(&url), Control::new());
    let folder = dir.path().join("mirror");
    let mirror = GitMirror::open(&url, &name, &folder, Listing::Branches, &control)?;
    let written = sync_once(&mut PlainGit::new(mirror), &writer, &control)?;
    println!("{name}: {written} mutations");
    for ((reviewer, folder), commits) in reviews(&writer.view()) {
        println!("{commits:>5}  {reviewer}  {folder}");
    }
    Ok(())
}

/// Commits by reviewer and folder.
fn reviews(view: &View) -> BTreeMap<(String, String), u32> {
    let mut counts = BTreeMap::new();
    for commit in view.git().commits() {
        let message = commit.message();
        let reviewers = message
            .lines()
            .filter_map(|line| line.strip_prefix("Reviewed-by:"));
        for reviewer in reviewers {
            let name = reviewer.split('<').next().unwrap_or_default().trim();
            let mut folders: Vec<&str> = commit
                .files()
                .map(|file| {
                    file.name()
                        .rsplit_once('/')
                        .map_or(".", |(folder, _)| folder)
                })
                .collect();
            folders.dedup();
            for folder in folders {
                *counts
                    .entry((name.to_owned(), folder.to_owned()))
                    .or_default() += 1;
            }
        }
    }
    counts
}

fn small_repository(folder: &Path) -> anyhow::Result<String> {
    std::fs::create_dir_all(folder.join("net"))?;
    let git = |args: &[&str]| {
        let who = ["-c", "user.name=Ann", "-c", "user.email=ann@example.com"];
        let mut command = std::process::Command::new("git");
        let done = command.args(who).args(args).current_dir(folder).status();
        let done = done.context("cannot run git")?;
        anyhow::ensure!(done.success(), "git {args:?} failed");
        Ok(())
    };
    git(&["init", "--quiet"])?;
    for (text, message) in [
        ("1\n", "begin"),
        ("2\n", "net: faster\n\nReviewed-by: Bob <bob@example.com>"),
        (
            "3\n",
            "net: right\n\nReviewed-by: Bob <bob@example.com>\nReviewed-by: Cy <cy@example.com>",
        ),
    ] {
        std::fs::write(folder.join("net/dial.txt"), text)?;
        git(&["add", "--all"])?;
        git(&["commit", "--quiet", "--message", message])?;
    }
    Ok(folder.display().to_string())
}
