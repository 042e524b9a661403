//! A live view of a repository in a terminal, drawn from the change stream.
//!
//! `cargo run --example live_view FOLDER`, where the folder is a git repository, or a log that
//! `maintnerd` or `farmer corpus serve` writes; ends with Ctrl-C. Without a folder, a log in
//! memory is shown while it grows, and the view ends with it.

use std::io::{IsTerminal, Write};
use std::path::Path;
use std::time::Duration;

use maintner_core::pb::{GithubIssueMutation, Mutation, Timestamp};
use maintner_core::source::{MemoryLog, MutationSink as _};
use maintner_core::{Change, Corpus, Options};

/// Lines of news that are shown.
const LINES: usize = 20;

fn main() -> anyhow::Result<()> {
    let Some(folder) = std::env::args().nth(1) else {
        return growing();
    };
    let corpus = match Path::new(&folder).join("HEAD").exists()
        || Path::new(&folder).join(".git").exists()
    {
        true => Corpus::from_git(&folder)?,
        false => Corpus::open(&folder)?,
    };
    let mut screen = Screen::default();
    let mut changes = corpus.follow();
    screen.draw(&corpus)?;
    loop {
        if let Some(change) = changes.wait(Duration::from_secs(60)) {
            screen.add(&change?);
            screen.draw(&corpus)?;
        }
    }
}

/// The newest news, oldest first.
#[derive(Default)]
struct Screen {
    news: Vec<String>,
}

impl Screen {
    fn add(&mut self, change: &Change) {
        let commits = change
            .commits()
            .filter(maintner_core::query::Commit::is_known);
        self.news.extend(commits.map(|commit| {
            let author = commit.author();
            format!(
                "commit {:.10} {} ({})",
                commit.hash().to_string(),
                commit.summary(),
                author.name()
            )
        }));
        self.news.extend(
            change
                .refs()
                .map(|found| format!("{} is at {:.10}", found.name(), found.hash().to_string())),
        );
        self.news.extend(change.issues().map(|issue| {
            let state = if issue.is_closed() { "closed" } else { "open" };
            format!(
                "{issue} {state}: {} ({} comments)",
                issue.title(),
                issue.comments().count()
            )
        }));
        self.news.extend(change.cls().map(|cl| {
            format!(
                "change {cl} {}: {} (patch set {})",
                cl.status().as_str(),
                cl.subject(),
                cl.version()
            )
        }));
        let surplus = self.news.len().saturating_sub(LINES);
        self.news.drain(..surplus);
    }

    fn draw(&self, corpus: &Corpus) -> std::io::Result<()> {
        let view = corpus.view();
        let mut out = std::io::stdout().lock();
        if out.is_terminal() {
            // Clears the screen; what follows begins at its top.
            write!(out, "\x1b[2J\x1b[H")?;
        }
        let open: usize = view
            .github()
            .repos()
            .map(|repo| repo.issues().open().count())
            .sum();
        let changes: usize = view
            .gerrit()
            .projects()
            .map(|p| p.cls().open().count())
            .sum();
        writeln!(
            out,
            "{} commits, {open} open issues, {changes} open changes, at {}",
            view.git().commits().count(),
            view.position()
        )?;
        self.news
            .iter()
            .try_for_each(|line| writeln!(out, "  {line}"))?;
        out.flush()
    }
}

/// Three issues, one after the other.
fn growing() -> anyhow::Result<()> {
    let mut log = MemoryLog::new();
    let corpus = Corpus::load(log.clone(), Options::default())?;
    let mut changes = corpus.follow();
    let mut screen = Screen::default();
    for number in 1..=3 {
        let issue = GithubIssueMutation {
            owner: "octo".into(),
            repo: "app".into(),
            number,
            title: format!("an issue that says {number}"),
            created: Some(Timestamp {
                seconds: 1_600_000_000,
                nanos: 0,
            }),
            ..GithubIssueMutation::default()
        };
        log.append_mutations(&[Mutation {
            github_issue: Some(issue),
            ..Mutation::default()
        }])?;
        if let Some(change) = changes.wait(Duration::from_secs(60)) {
            screen.add(&change?);
            screen.draw(&corpus)?;
        }
    }
    Ok(())
}
