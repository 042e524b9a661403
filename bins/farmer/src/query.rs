//! `farmer query`: questions about a repository's history and what was built of it.

use std::path::PathBuf;

use farmer_cli::{Exit, Failure};
use farmer_corpus::query::Query;

pub(crate) const EXAMPLES: &str = "\
Examples:
  farmer query                                     the tables and their columns
  farmer query commits author~ann --limit 5        commits by somebody
  farmer query builds state=failed --json          builds that failed, as JSON lines
  farmer query \"SELECT builds.state, commits.subject FROM builds
      JOIN commits ON commits.hash = builds.commit_hash\"
  farmer query --log ~/golang issues closed=0      issues of a folder of mutation logs

A condition is COLUMN=VALUE; or !=, <, <=, >, >=, and ~ for a part of a text in any case.
Times are seconds since 1970.";

/// Prints the rows that were asked for.
pub(crate) async fn query(args: Query, data: PathBuf, json: bool) -> Result<(), Failure> {
    // Reading a history is plain work that blocks.
    let answered = tokio::task::spawn_blocking(move || args.run(&data, json));
    answered
        .await
        .map_err(|error| Failure::because(Exit::Infrastructure, &error, None))?
}
