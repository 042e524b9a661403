//! `maintq sql`: asks a log in SQL.

use std::path::PathBuf;

use farmer_cli::Failure;

use super::input::{corpus, folder};
use crate::sql::{Question, add_builds, attach, build, of_log, open, print_answer, print_tables};
use farmer_cli::Out;

/// Asks the corpus in SQL; without a query lists the tables
///
/// The rows are kept in a file beside the log and made again when the log has changed.
/// Times are Unix seconds.
#[derive(clap::Args)]
pub(super) struct Args {
    /// Log folder, or the address of a log server
    folder: PathBuf,
    /// The query; or a table and conditions: issues closed=0 title~slow
    query: Vec<String>,
    /// One JSON object a row
    #[arg(long)]
    json: bool,
    /// Build records, as table "builds": a data directory of farmer
    #[arg(long, value_name = "DIR")]
    records: Option<PathBuf>,
    /// Another SQLite file, to be queried as NAME.TABLE; may be given several times
    #[arg(long, value_name = "NAME=FILE")]
    attach: Vec<String>,
    /// Folder for the file of rows instead of the log folder
    #[arg(long)]
    cache: Option<PathBuf>,
}

impl Args {
    pub(super) fn run(&self, out: &mut Out) -> Result<(), Failure> {
        if self.query.is_empty() {
            return print_tables(self.records.is_some(), out);
        }
        let question = Question::parse(&self.query, None)?;
        let runtime = tokio::runtime::Handle::current();
        let log = folder(&self.folder)?;
        let file = of_log(&log, self.cache.as_ref().unwrap_or(&log))?;
        if !file.exists() {
            let view = corpus(&log)?.view();
            runtime.block_on(build(&view, &file))?;
        }
        runtime.block_on(async {
            let mut db = open(&file).await?;
            if let Some(records) = &self.records {
                add_builds(&mut db, records).await?;
            }
            for attached in &self.attach {
                attach(&mut db, attached).await?;
            }
            print_answer(&mut db, &question, self.json, out).await
        })
    }
}
