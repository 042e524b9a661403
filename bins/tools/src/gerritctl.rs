//! `gerritctl`: asks and tells a Gerrit server.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use build_client::gerrit::{Auth, ChangeId, Client, Error, QueryOptions};
use clap::{Parser, Subcommand};
use farmer_cli::{Exit, Failure};
use futures::TryStreamExt as _;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::told::failed;

const EXAMPLES: &str = "Examples:
  gerritctl query 'status:open project:go'
  gerritctl --server https://review.example.com change 12
  gerritctl --auth git hashtags 12 --add wait-author --remove foo
  gerritctl --json branches go

Passwords are read from a file, never from the command line:
  gerritctl --user ann --password-file ~/keys/gerrit account self";

/// Ask and tell a Gerrit server
#[derive(Parser)]
#[command(name = "gerritctl", version, after_help = EXAMPLES)]
struct Args {
    /// Address of the server
    #[arg(
        long,
        value_name = "URL",
        default_value = "https://go-review.googlesource.com",
        global = true
    )]
    server: String,
    /// `git`: the credentials that git has for the server
    #[arg(long, value_parser = ["none", "git"], default_value = "none", global = true)]
    auth: String,
    /// User of an HTTP password
    #[arg(long, requires = "password_file", global = true)]
    user: Option<String>,
    /// File with the HTTP password
    #[arg(long, value_name = "FILE", requires = "user", global = true)]
    password_file: Option<PathBuf>,
    /// Print answers as JSON, an object a line
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// List the changes that a query finds
    Query {
        /// Ask for so many at a time
        #[arg(short = 'n', value_name = "N", default_value_t = 0)]
        page: usize,
        /// In Gerrit's search language
        query: String,
    },
    /// Print a change
    Change {
        /// Number, Change-Id, or project~branch~Change-Id
        id: String,
    },
    /// Print a project
    Project {
        /// Its name
        name: String,
    },
    /// List the active projects
    Projects,
    /// List the branches of a project
    Branches {
        /// Its name
        project: String,
    },
    /// Print an account
    Account {
        /// Number, address, or `self`
        id: String,
    },
    /// Print the hashtags of a change, after adding and removing some
    Hashtags {
        /// Number, Change-Id, or project~branch~Change-Id
        id: String,
        /// Add one; repeat it for more
        #[arg(long, value_name = "TAG")]
        add: Vec<String>,
        /// Remove one; repeat it for more
        #[arg(long, value_name = "TAG")]
        remove: Vec<String>,
    },
    /// Abandon a change
    Abandon {
        /// Number, Change-Id, or project~branch~Change-Id
        id: String,
        /// Why
        #[arg(short = 'm', default_value = "")]
        message: String,
    },
}

/// The entry point: the arguments without the program's name.
pub fn main(args: Vec<OsString>) -> ExitCode {
    farmer_cli::serving(args, Args::run)
}

impl Args {
    async fn run(self, stop: CancellationToken) -> Result<(), Failure> {
        let gerrit = Client::new(&self.server, self.auth()?).map_err(|e| told(&e))?;
        tokio::select! {
            done = self.ask(&gerrit) => done,
            () = stop.cancelled() => Err(Failure::interrupted()),
        }
    }

    fn auth(&self) -> Result<Auth, Failure> {
        if let (Some(user), Some(file)) = (&self.user, &self.password_file) {
            let password = std::fs::read_to_string(file).map_err(|error| {
                Failure::usage(format!("reading {}: {error}", file.display()), "")
            })?;
            return Ok(Auth::basic(user, password.trim()));
        }
        if self.auth == "none" {
            return Ok(Auth::None);
        }
        let home = std::env::home_dir().unwrap_or_default();
        Auth::of_git(&self.server, &std::env::current_dir()?, &home).map_err(|e| told(&e))
    }

    async fn ask(&self, gerrit: &Client) -> Result<(), Failure> {
        match &self.command {
            Command::Query { page, query } => {
                let changes = gerrit.changes(query, &QueryOptions::new().limit(*page));
                let mut changes = std::pin::pin!(changes);
                while let Some(change) = changes.try_next().await.map_err(|e| told(&e))? {
                    self.say(
                        &change,
                        &[
                            &change.number.to_string(),
                            &change.status,
                            &change.project,
                            &change.subject,
                        ],
                    )?;
                }
                Ok(())
            }
            Command::Change { id } => {
                let change = gerrit
                    .get_change_detail(&id.as_str().into(), &QueryOptions::new())
                    .await
                    .map_err(|e| told(&e))?;
                let owner = change
                    .owner
                    .as_ref()
                    .map(|owner| owner.email.clone())
                    .unwrap_or_default();
                self.say(
                    &change,
                    &[
                        &change.number.to_string(),
                        &change.status,
                        &change.project,
                        &owner,
                        &change.subject,
                    ],
                )
            }
            Command::Project { name } => {
                let project = gerrit.get_project(name).await.map_err(|e| told(&e))?;
                self.say(&project, &[name, &project.state, &project.description])
            }
            Command::Projects => {
                for project in gerrit.list_projects().await.map_err(|e| told(&e))? {
                    self.say(&project, &[&project.name])?;
                }
                Ok(())
            }
            Command::Branches { project } => {
                for branch in gerrit
                    .project_branches(project)
                    .await
                    .map_err(|e| told(&e))?
                    .values()
                {
                    self.say(branch, &[&branch.r#ref, &branch.revision])?;
                }
                Ok(())
            }
            Command::Account { id } => {
                let account = gerrit.get_account(id).await.map_err(|e| told(&e))?;
                self.say(
                    &account,
                    &[&account.number.to_string(), &account.name, &account.email],
                )
            }
            Command::Hashtags { id, add, remove } => {
                let tags = gerrit
                    .ensure_hashtags(&ChangeId::from(id.as_str()), add, remove)
                    .await
                    .map_err(|e| told(&e))?;
                self.say(&tags, &[&tags.join(" ")])
            }
            Command::Abandon { id, message } => {
                let change = gerrit
                    .abandon_change(&id.as_str().into(), message)
                    .await
                    .map_err(|e| told(&e))?;
                self.say(&change, &[&change.number.to_string(), &change.status])
            }
        }
    }

    fn say(&self, value: &impl Serialize, words: &[&str]) -> Result<(), Failure> {
        use std::io::Write as _;
        let line = if self.json {
            serde_json::to_string(value)
                .map_err(|e| Failure::because(Exit::Infrastructure, &e, None))?
        } else {
            words.join("\t")
        };
        match writeln!(std::io::stdout(), "{line}") {
            // A reader that went away, such as `head`, has seen what it wanted.
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
            written => Ok(written?),
        }
    }
}

fn told(error: &Error) -> Failure {
    let plain = build_client::Error::new(error.kind(), error.to_string());
    match std::error::Error::source(error) {
        Some(cause) => failed(&build_client::Error::caused_by(
            error.kind(),
            error.to_string(),
            cause.to_string(),
        )),
        None => failed(&plain),
    }
}
