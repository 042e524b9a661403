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
pub struct Ask {
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
