//! Saved questions over a corpus, in SQL: what people ask of every project.

use std::io::Write as _;
use std::path::Path;

use farmer_cli::{Failure, Out};

use crate::sql::{Question, build, of_log, open, print_answer};

/// A question, its words, and the statement that answers it.
struct Saved {
    name: &'static str,
    about: &'static str,
    sql: &'static str,
}

const SAVED: &[Saved] = &[
    Saved {
        name: "who-reviews-what",
        about: "reviewers by the folders of what they reviewed: votes, reviews, Reviewed-by lines",
        sql: include_str!("ask/who-reviews-what.sql"),
    },
    Saved {
        name: "time-to-first-review",
        about: "by month, how long changes and pull requests waited for somebody else's word",
        sql: include_str!("ask/time-to-first-review.sql"),
    },
    Saved {
        name: "stale-issues",
        about: "open issues that nobody touched for ninety days, the longest first",
        sql: include_str!("ask/stale-issues.sql"),
    },
    Saved {
        name: "backports",
        about: "changes and commits that were picked from another branch, with their originals",
        sql: include_str!("ask/backports.sql"),
    },
];

/// Which question, and how much of its answer.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Ask {
    /// The question; all are listed when not given
    name: Option<String>,
    /// At most N rows
    #[arg(long, value_name = "N", default_value_t = 50)]
    limit: u32,
    /// Print the SQL, for a question of your own: farmer query --log DIR "SELECT …"
    #[arg(long)]
    sql: bool,
}

impl Ask {
    /// Answers on standard output. Rows are kept below `data`. Blocks; must be called where tokio
    /// allows that.
    ///
    /// # Errors
    /// When there is no such question or no corpus, or the disk fails.
    pub(crate) fn run(&self, log: &Path, data: &Path, json: bool) -> Result<(), Failure> {
        let mut out = Out::new();
        let answered = self.answer(log, data, json, &mut out);
        let answered = answered.and_then(|()| Ok(out.flush()?));
        if out.is_closed() { Ok(()) } else { answered }
    }

    fn answer(&self, log: &Path, data: &Path, json: bool, out: &mut Out) -> Result<(), Failure> {
        let Some(name) = &self.name else {
            for saved in SAVED {
                writeln!(out, "{:22} {}", saved.name, saved.about)?;
            }
            return Ok(());
        };
        let saved = SAVED.iter().find(|saved| saved.name == name);
        let saved = saved.ok_or_else(|| {
            let names: Vec<&str> = SAVED.iter().map(|saved| saved.name).collect();
            Failure::usage(
                format!("there is no saved question {name:?}"),
                format!("ask one of: {}", names.join(", ")),
            )
        })?;
        if self.sql {
            out.write_all(saved.sql.as_bytes())?;
            return Ok(());
        }
        let runtime = tokio::runtime::Handle::current();
        let file = of_log(log, &data.join("query"))?;
        if !file.exists() {
            let view = crate::maintq::corpus(log)?.view();
            runtime.block_on(build(&view, &file))?;
        }
        let question = Question {
            sql: format!("SELECT * FROM ({}) LIMIT {}", saved.sql, self.limit),
            values: Vec::new(),
        };
        runtime.block_on(async {
            let mut db = open(&file).await?;
            print_answer(&mut db, &question, json, out).await
        })
    }
}

#[cfg(test)]
mod tests {
    use maintner_core::generate::{Generator, Profile};
    use sqlx::{AssertSqlSafe, Row as _};

    use super::*;

    fn rows(saved: &Saved, log: &Path) -> Vec<String> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .unwrap();
        let log = log.to_owned();
        runtime.block_on(async {
            let file = of_log(&log, &log.join("rows")).unwrap();
            if !file.exists() {
                let view = crate::maintq::corpus(&log).unwrap().view();
                build(&view, &file).await.unwrap();
            }
            let mut db = open(&file).await.unwrap();
            let rows = sqlx::query(AssertSqlSafe(saved.sql))
                .fetch_all(&mut db)
                .await
                .unwrap();
            rows.iter()
                .map(|row| {
                    let cells = (0..row.len()).map(|at| {
                        let text = row.try_get::<String, _>(at);
                        let number = || row.try_get::<i64, _>(at).unwrap_or_default().to_string();
                        text.unwrap_or_else(|_| number())
                    });
                    cells.collect::<Vec<_>>().join("|")
                })
                .collect()
        })
    }

    fn saved(name: &str) -> &'static Saved {
        SAVED.iter().find(|saved| saved.name == name).unwrap()
    }

    #[test]
    fn every_question_has_an_answer_in_a_generated_log() {
        let dir = tempfile::tempdir().unwrap();
        Generator::new(Profile::Tiny)
            .records(20_000)
            .write(dir.path())
            .unwrap();
        for name in ["who-reviews-what", "time-to-first-review", "stale-issues"] {
            assert!(!rows(saved(name), dir.path()).is_empty(), "{name}");
        }
        // The generator picks nothing from other branches; the question is still a good one.
        rows(saved("backports"), dir.path());
    }

    #[test]
    fn reviewers_and_picked_commits_of_nothing_but_git() {
        use maintner_core::log::LogWriter;
        use maintner_core::pb::{GitCommit, GitDiffTree, GitDiffTreeFile, GitMutation, Mutation};
        use maintner_core::source::MutationSink as _;

        let file = |name: &str| GitDiffTreeFile {
            file: name.to_owned(),
            added: 1,
            ..GitDiffTreeFile::default()
        };
        let who = "Ann <ann@example.com> 1600000000 +0000";
        let raw = format!(
            "tree {0}\nauthor {who}\ncommitter {who}\n\nfix\n\nReviewed-by: Bob <b@example.com>\n\
             Reviewed-by: Cy <c@example.com>\n(cherry picked from commit {0})\n",
            "0123456789abcdef0123456789abcdef01234567"
        );
        let commit = GitCommit {
            sha1: "1123456789abcdef0123456789abcdef01234567".into(),
            raw: raw.into_bytes(),
            diff_tree: Some(GitDiffTree {
                file: vec![file("net/http/a.go"), file("README")],
            }),
        };
        let git = GitMutation {
            repo: None,
            commit: Some(commit),
        };
        let dir = tempfile::tempdir().unwrap();
        let mutation = Mutation {
            git: Some(git),
            ..Mutation::default()
        };
        LogWriter::open(dir.path())
            .unwrap()
            .append_mutations(&[mutation])
            .unwrap();
        assert_eq!(
            rows(saved("who-reviews-what"), dir.path()),
            [
                "Bob <b@example.com>|.|1",
                "Bob <b@example.com>|net|1",
                "Cy <c@example.com>|.|1",
                "Cy <c@example.com>|net|1",
            ]
        );
        assert_eq!(
            rows(saved("backports"), dir.path()),
            [
                "||1123456789abcdef0123456789abcdef01234567|merged|fix|0123456789abcdef0123456789abcdef01234567"
            ]
        );
    }
}
