//! `farmer user`: people, and what they are to a farm.

use std::path::Path;
use std::str::FromStr;

use build_core::event::Principal;
use build_core::{Error, ErrorKind};
use build_server::who::{Directory, Pattern, Role, UserEntry};
use clap::Subcommand;
use farmer_cli::{Exit, Failure};
use serde_json::{Value, json};

use crate::output::{failure, print_json, print_text};

pub(crate) const EXAMPLES: &str = "\
Examples:
  farmer user add ann                       asks for builds, ends them, has sessions
  farmer user add bob --role admin          does everything
  farmer user add eve --reads 'team-*'      reads private repositories whose names begin so
  farmer user role ann anyone               reads public pages only
  farmer user remove ann                    with every key

What is changed counts at once, also while the farm runs.";

#[derive(Debug, Subcommand)]
pub(crate) enum UserCommand {
    /// Add a user
    Add {
        /// A name: letters, digits and . _ - + @
        name: String,
        /// What they are: anyone, user or admin
        #[arg(long, default_value_t = Role::User, value_parser = parsed::<Role>)]
        role: Role,
        /// A private repository that they read; may be given more than once
        #[arg(long, value_name = "REPO", value_parser = parsed::<Pattern>)]
        reads: Vec<Pattern>,
    },
    /// List the users
    List,
    /// Give a user another role, or other private repositories to read
    Role {
        /// Who
        name: String,
        /// What they are: anyone, user or admin
        #[arg(value_parser = parsed::<Role>)]
        role: Role,
        /// A private repository that they read, in place of those before; may be given more than once
        #[arg(long, value_name = "REPO", num_args = 0..=1, value_parser = parsed::<Pattern>)]
        reads: Option<Vec<Pattern>>,
    },
    /// Remove a user, with every key
    Remove {
        /// Who
        name: String,
    },
}

/// Who acts here, for the audit log: whoever can write the data directory is the owner.
pub(crate) fn caller() -> Principal {
    let name = ["USER", "LOGNAME"]
        .into_iter()
        .filter_map(|name| std::env::var(name).ok());
    let name = name.into_iter().find(|name| !name.is_empty());
    Principal::person(&name.unwrap_or_else(|| "owner".into()))
}

/// Reads an argument; what is wrong with it is told with its remedy.
pub(crate) fn parsed<T: FromStr<Err = Error>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|e: Error| match e.hint() {
        Some(hint) => format!("{e}: {hint}"),
        None => e.to_string(),
    })
}

/// A change that was refused: what is asked for cannot be now, and the program is not at fault.
pub(crate) fn refused(error: &Error) -> Failure {
    match error.kind() {
        ErrorKind::Conflict | ErrorKind::Limit => {
            Failure::because(Exit::Failed, error, error.hint())
        }
        _ => failure(error),
    }
}

/// The directory of a data directory that is there.
pub(crate) fn opened(data: &Path) -> Result<Directory, Failure> {
    if !data.is_dir() {
        return Err(Failure::usage(
            format!("there is no data directory {}", data.display()),
            "start the farm once with: farmer up, or name another directory with --data",
        ));
    }
    Directory::open(data).map_err(|e| refused(&e))
}

/// Adds, lists, changes and removes users of the farm in `data`, whether it runs or not.
pub(crate) fn user(command: UserCommand, data: &Path, json: bool) -> Result<(), Failure> {
    let (directory, by) = (opened(data)?, caller());
    let say = |text: String, value: Value| match json {
        true => print_json(&value),
        false => print_text(&format!("{text}\n")),
    };
    match command {
        UserCommand::Add { name, role, reads } => {
            let user = directory.add_user(&by, &name, role, &reads);
            let user = user.map_err(|e| refused(&e))?;
            say(line(&name, &user), user_json(&name, &user))?;
            if !json {
                eprintln!("farmer: make a key with: farmer key create {name}");
            }
            Ok(())
        }
        UserCommand::List => {
            let users = directory.users().map_err(|e| refused(&e))?;
            if users.is_empty() && !json {
                return print_text(
                    "there are no users but the owner; add one with: farmer user add NAME\n",
                );
            }
            users
                .iter()
                .try_for_each(|(name, user)| say(line(name, user), user_json(name, user)))
        }
        UserCommand::Role { name, role, reads } => {
            let user = directory.change_user(&by, &name, Some(role), reads.as_deref());
            let user = user.map_err(|e| refused(&e))?;
            say(line(&name, &user), user_json(&name, &user))
        }
        UserCommand::Remove { name } => {
            let keys = directory.remove_user(&by, &name).map_err(|e| refused(&e))?;
            let text = format!("{name} is removed, and {keys} keys are revoked");
            say(
                text,
                json!({ "name": name, "removed": true, "keys_revoked": keys }),
            )
        }
    }
}

fn line(name: &str, user: &UserEntry) -> String {
    let reads: Vec<_> = user.reads.iter().map(Pattern::as_str).collect();
    match reads.as_slice() {
        [] => format!("{name}  {}", user.role),
        some => format!("{name}  {}  reads {}", user.role, some.join(", ")),
    }
}

fn user_json(name: &str, user: &UserEntry) -> Value {
    json!({
        "name": name,
        "role": user.role,
        "reads": user.reads,
        "added": user.added.to_string(),
        "added_by": user.added_by,
    })
}
