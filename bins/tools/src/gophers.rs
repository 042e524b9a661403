//! `gophers`: people by any of their names.

use std::ffi::OsString;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use build_client::gophers::People;
use clap::{Parser, Subcommand};
use farmer_cli::{Exit, Failure, Out};

use crate::told::{failed, failure};

const EXAMPLES: &str = "Examples:
  gophers lookup -people people.toml @annx ann@example.com
  gophers check people.toml more.toml
  gophers import-mailmap .mailmap > people.toml

A file of people:
  [[person]]
  name = \"Ann X\"
  github = [\"annx\"]
  emails = [\"ann@example.com\", \"ann@home.example\"]
  gerrit_ids = [\"5@62eb7196-b449-3ce5-99f1-c037f21e1705\"]
  gomote = [\"ann\"]
  tags = [\"org:example\"]

Exit codes: 0 all were found or nothing is wrong, 1 not so, 2 bad usage.";

/// Find people by any of their names
#[derive(Parser)]
#[command(name = "gophers", version, after_help = EXAMPLES)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Print who somebody is: by full name, @github, address or Gerrit account
    Lookup {
        /// File of people; repeat it for more
        #[arg(long, value_name = "FILE", required = true)]
        people: Vec<PathBuf>,
        /// Print the person as JSON
        #[arg(long)]
        json: bool,
        /// What they are called
        #[arg(required = true)]
        ids: Vec<String>,
    },
    /// Say what is wrong in files of people
    Check {
        /// Print each fault as JSON
        #[arg(long)]
        json: bool,
        /// Files of people
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
    /// Print a .mailmap of git as a file of people
    ImportMailmap {
        /// The file
        file: PathBuf,
    },
}

/// The entry point: the arguments without the program's name.
pub fn main(args: Vec<OsString>) -> ExitCode {
    farmer_cli::blocking(args, Args::run)
}

impl Args {
    fn run(&self, out: &mut Out) -> Result<(), Failure> {
        match &self.command {
            Command::Lookup {
                people,
                json: as_json,
                ids,
            } => {
                let people = People::load(people).map_err(|e| failure(&e))?;
                let mut missing = false;
                for id in ids {
                    match people.get(id) {
                        Some(person) if *as_json => writeln!(out, "{}", json(person)?)?,
                        Some(person) => {
                            let github = if person.github.is_empty() {
                                String::new()
                            } else {
                                format!("@{}", person.github)
                            };
                            let tags = person.tags.iter().cloned().collect::<Vec<_>>().join(",");
                            writeln!(
                                out,
                                "{}\t{github}\t{}\t{tags}",
                                person.name,
                                person.emails.join(",")
                            )?;
                        }
                        None => missing = true,
                    }
                }
                if missing {
                    Err(Failure::silent(Exit::Failed))
                } else {
                    Ok(())
                }
            }
            Command::Check {
                json: as_json,
                files,
            } => {
                let people = People::load(files).map_err(|e| failure(&e))?;
                for fault in people.faults() {
                    if *as_json {
                        writeln!(out, "{}", json(fault)?)?;
                    } else {
                        writeln!(out, "{}: {}", fault.place, fault.text)?;
                    }
                }
                if people.faults().is_empty() {
                    Ok(())
                } else {
                    Err(Failure::silent(Exit::Failed))
                }
            }
            Command::ImportMailmap { file } => {
                let text = std::fs::read_to_string(file).map_err(|error| {
                    Failure::usage(format!("reading {}: {error}", file.display()), "")
                })?;
                let people = People::from_mailmap(&text).map_err(|e| failed(&e))?;
                Ok(write!(out, "{}", people.to_toml())?)
            }
        }
    }
}

/// A value as one line of JSON.
fn json(value: &impl serde::Serialize) -> Result<String, Failure> {
    serde_json::to_string(value)
        .map_err(|error| Failure::because(Exit::Infrastructure, &error, None))
}
