//! `rmplaysnippet`: deletes snippets of the playground.

use std::ffi::OsString;
use std::io::{BufRead as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use build_client::secret::MetadataServer;
use build_client::snippet::{Datastore, Directory, SnippetId, SnippetStore};
use clap::Parser;
use farmer_cli::{Exit, Failure};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::told::{failed, failure};

const EXAMPLES: &str = "Examples:
  rmplaysnippet https://go.dev/play/p/AbCdEfGhIjK
  rmplaysnippet -yes AbCdEfGhIjK ZyXwVuTsRqP
  rmplaysnippet -dry-run -dir /srv/snippets AbCdEfGhIjK

Snippets of Google Cloud Datastore are deleted in the name of $GOOGLE_ACCESS_TOKEN
(gcloud auth print-access-token), or of the account of the machine in Google Cloud.
Exit codes: 0 deleted, or nothing confirmed; 1 there was none or it was not allowed; 2 bad usage.";

/// Delete snippets of the playground
#[derive(Parser)]
#[command(name = "rmplaysnippet", version, after_help = EXAMPLES)]
struct Args {
    /// Do not ask
    #[arg(long)]
    yes: bool,
    /// Say whether there are such snippets, and delete none
    #[arg(long)]
    dry_run: bool,
    /// Snippets are the files of this directory
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Google Cloud project of the snippets
    #[arg(long, default_value = "golang-org")]
    project: String,
    /// Server that holds them
    #[arg(
        long,
        value_name = "URL",
        default_value = "https://datastore.googleapis.com",
        hide = true
    )]
    datastore: String,
    /// One JSON object for each snippet on standard output
    #[arg(long)]
    json: bool,
    /// Id or address of a snippet
    #[arg(value_name = "SNIPPET", required = true)]
    snippets: Vec<String>,
}

/// The entry point: the arguments without the program's name.
pub fn main(args: Vec<OsString>) -> ExitCode {
    farmer_cli::serving(args, Args::run)
}

impl Args {
    async fn run(self, stop: CancellationToken) -> Result<(), Failure> {
        let ids: Vec<SnippetId> = self
            .snippets
            .iter()
            .map(|text| SnippetId::parse(text))
            .collect::<Result<_, _>>()
            .map_err(|e| failure(&e))?;
        let store = self.store()?;
        for id in &ids {
            if !(self.yes || self.dry_run || confirmed(id)?) {
                eprintln!("Aborting ...");
                return Ok(());
            }
            let work = self.one(store.as_ref(), id);
            tokio::select! {
                done = work => done?,
                () = stop.cancelled() => return Err(Failure::interrupted()),
            }
        }
        Ok(())
    }

    async fn one(&self, store: &dyn SnippetStore, id: &SnippetId) -> Result<(), Failure> {
        let outcome = if self.dry_run {
            if store.has(id).await.map_err(|e| failed(&e))? {
                "found"
            } else {
                "missing"
            }
        } else {
            store.delete(id).await.map_err(|e| failed(&e))?;
            "deleted"
        };
        if self.json {
            println!("{}", json!({ "id": id.as_str(), "outcome": outcome }));
        } else {
            println!("Snippet with ID {:?} {outcome}", id.as_str());
        }
        if outcome == "missing" {
            Err(Failure::silent(Exit::Failed))
        } else {
            Ok(())
        }
    }

    fn store(&self) -> Result<Box<dyn SnippetStore>, Failure> {
        if let Some(dir) = &self.dir {
            return Ok(Box::new(Directory::new(dir)));
        }
        let store = match std::env::var("GOOGLE_ACCESS_TOKEN") {
            Ok(token) => Datastore::new(&self.project, token),
            Err(_) => MetadataServer::new("http://metadata.google.internal")
                .and_then(|server| Datastore::new(&self.project, server)),
        };
        Ok(Box::new(
            store.map_err(|e| failure(&e))?.at(&self.datastore),
        ))
    }
}

/// Asks, on the terminal, and takes every answer but one that begins with y as no.
fn confirmed(id: &SnippetId) -> Result<bool, Failure> {
    let mut err = std::io::stderr();
    write!(
        err,
        "Really delete Snippet with ID {:?}? [y,N]: ",
        id.as_str()
    )?;
    err.flush()?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    Ok(answer.trim_start().starts_with(['y', 'Y']))
}
