//! `farmer key`: who may come in, and with what.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use build_core::clock::{Clock, SystemClock, Timestamp};
use build_core::recipe::parse_duration;
use build_server::https::pin_of_pem;
use build_server::store::DataLock;
use build_server::who::{Directory, Key, KeyId, KeyState, LastUse, Made, NewKey, Scope};
use clap::{Args, Subcommand};
use farmer_cli::Failure;
use serde_json::{Value, json};

use crate::describe::took;
use crate::output::{print_json, print_text};
use crate::ssh_key::{Ssh, ssh_key};
use crate::user::{caller, opened, parsed, refused};

pub(crate) const EXAMPLES: &str = "\
Examples:
  farmer key create ann --expires 90d --note laptop     a key for whatever the user ann may do
  farmer key create ann --scope sessions,repo:secret    for sessions and one private repository
  farmer key builder board-7 --host-type arm64          one machine; prints the line for that machine
  farmer key list                                       every key: whose, what for, used last when
  farmer key revoke K0123abcd                           ends it at once, also while the farm runs
  farmer key rotate K0123abcd --grace 1d                another in its place; the old one for a day more
  farmer key ssh add ann ~/.ssh/id_ed25519.pub          ann comes to her sessions over ssh with that key
  farmer key master new                                 another master key for the keys of Go's programs
  farmer key log                                        who changed what, and who was refused

A key is told once, on standard output or in the file of --out; the farm keeps its hash.";

#[derive(Debug, Subcommand)]
pub(crate) enum KeyCommand {
    /// Make a key of a user
    Create(Create),
    /// Make the key of a machine, and print the line that joins it
    Builder(Builder),
    /// List the keys
    List {
        /// Those too that are not good any more
        #[arg(long)]
        all: bool,
    },
    /// End a key at once
    Revoke {
        /// Its name, as listed
        #[arg(value_parser = parsed::<KeyId>)]
        key: KeyId,
    },
    /// Make another key in the place of one
    Rotate {
        /// Its name, as listed
        #[arg(value_parser = parsed::<KeyId>)]
        key: KeyId,
        /// How long the old one is good yet
        #[arg(long, value_name = "TIME", default_value = "1d", value_parser = duration)]
        grace: Duration,
        /// Write the key into this file, which must not be there
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Take legacy keys of this name no more: a host type, a builder, or user-NAME
    Refuse {
        /// The name
        name: String,
    },
    /// Take legacy keys of this name again
    Allow {
        /// The name
        name: String,
    },
    /// Public keys with which users come to their sessions over ssh
    #[command(subcommand)]
    Ssh(Ssh),
    /// The master key, from which the legacy keys of Go's programs are made
    #[command(subcommand)]
    Master(Master),
    /// Print who changed what and who was refused, the newest last
    Log {
        /// How many lines
        #[arg(long, default_value_t = 50)]
        limit: usize,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Create {
    /// Whose
    user: String,
    /// What it is good for: all, builds, sessions, repo:NAME, with commas between them
    #[arg(long, default_value = "all", value_parser = parsed::<Scope>)]
    scope: Scope,
    #[command(flatten)]
    more: More,
}

#[derive(Debug, Args)]
pub(crate) struct Builder {
    /// What the machine is called: the key is good for this name alone
    name: String,
    /// Its kind: the key is good for it alone
    #[arg(long, value_name = "KIND", default_value = "local")]
    host_type: String,
    /// Where the farm answers [default: where it answers now]
    #[arg(long)]
    url: Option<String>,
    #[command(flatten)]
    more: More,
}

#[derive(Debug, Args)]
struct More {
    /// How long it is good [default: until it is revoked]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    expires: Option<Duration>,
    /// A line for people
    #[arg(long, value_name = "TEXT", default_value = "")]
    note: String,
    /// Write the key into this file, which must not be there
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Master {
    /// Draw another one; keys of the one before are good until it is retired
    New,
    /// Take another one from a file
    Import {
        /// The file
        file: PathBuf,
    },
    /// Take keys of the present one alone
    Retire,
}

fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text).map_err(|e| match e.hint() {
        Some(hint) => format!("{e}: {hint}"),
        None => e.to_string(),
    })
}

/// Makes, lists and ends keys of the farm in `data`, whether it runs or not.
pub(crate) fn key(command: KeyCommand, data: &Path, json: bool) -> Result<(), Failure> {
    match &command {
        KeyCommand::Create(args) => check_new(args.more.out.as_deref())?,
        KeyCommand::Builder(args) => check_new(args.more.out.as_deref())?,
        KeyCommand::Rotate { out, .. } => check_new(out.as_deref())?,
        _ => {}
    }
    let (directory, by) = (opened(data)?, caller());
    let say = |text: String, value: Value| match json {
        true => print_json(&value),
        false => print_text(&format!("{text}\n")),
    };
    match command {
        KeyCommand::Create(args) => {
            let new = args
                .more
                .apply(NewKey::of_user(&args.user).with_scope(args.scope));
            let made = directory.create_key(&by, new).map_err(|e| refused(&e))?;
            tell(&made, args.more.out.as_deref(), json, None)
        }
        KeyCommand::Builder(args) => builder(&directory, args, data, json),
        KeyCommand::List { all } => list(&directory, all, json),
        KeyCommand::Revoke { key } => {
            let ended = directory.revoke_key(&by, &key).map_err(|e| refused(&e))?;
            let text = format!("{} of {} is revoked", ended.id, ended.owner.text());
            say(text, key_json(&ended, None, SystemClock.now()))
        }
        KeyCommand::Rotate { key, grace, out } => {
            let made = directory.rotate_key(&by, &key, grace);
            tell(&made.map_err(|e| refused(&e))?, out.as_deref(), json, None)
        }
        KeyCommand::Refuse { name } => {
            directory.refuse_name(&by, &name).map_err(|e| refused(&e))?;
            let value = json!({ "name": name, "refused": true });
            say(format!("the legacy key of {name} is refused"), value)
        }
        KeyCommand::Allow { name } => {
            directory.allow_name(&by, &name).map_err(|e| refused(&e))?;
            let value = json!({ "name": name, "refused": false });
            say(format!("the legacy key of {name} is taken again"), value)
        }
        KeyCommand::Ssh(command) => ssh_key(command, &directory, json),
        KeyCommand::Master(command) => {
            match &command {
                Master::New => directory.change_master(&by, None),
                Master::Import { file } => directory.change_master(&by, Some(&read(file)?)),
                Master::Retire => directory.retire_masters(&by),
            }
            .map_err(|e| refused(&e))?;
            let path = directory.master_file().unwrap_or_default();
            let text = format!("the master key is in {}", path.display());
            say(text, json!({ "master_file": path }))
        }
        KeyCommand::Log { limit } => log(&directory, limit, json),
    }
}

impl More {
    fn apply(&self, new: NewKey) -> NewKey {
        let new = new.with_note(self.note.clone());
        match self.expires {
            Some(time) => new.until(SystemClock.now() + time),
            None => new,
        }
    }
}

fn builder(directory: &Directory, args: Builder, data: &Path, json: bool) -> Result<(), Failure> {
    let url = match &args.url {
        Some(url) => url.clone(),
        None => DataLock::owner(data)
            .map_err(|e| refused(&e))?
            .and_then(|owner| owner.public.or(owner.address))
            .ok_or_else(|| {
                Failure::usage(
                    "no farm runs here, so nobody knows where it answers",
                    "say so with --url https://HOST:PORT, or start it with: farmer up",
                )
            })?,
    };
    let new = NewKey::of_machine(&args.host_type, &args.name).map_err(|e| refused(&e))?;
    let made = directory.create_key(&caller(), args.more.apply(new));
    let made = made.map_err(|e| refused(&e))?;
    let file = args.more.out.as_deref().unwrap_or(Path::new("FILE"));
    let mut line = format!("farmer join {url} --token-file {}", file.display());
    line += &format!(" --name {} --host-type {}", args.name, args.host_type);
    // The authority of this farm alone, when it has one.
    if let Ok(ca) = std::fs::read_to_string(data.join("tls/ca.pem")) {
        let pin = pin_of_pem(&ca).map_err(|e| {
            Failure::usage(e.to_string(), "start the farm with --tls-dev once more")
        })?;
        line += &format!(" --pin {pin}");
    }
    if url.starts_with("http://") {
        eprintln!(
            "farmer: machines join over https alone: start the farm with --tls-dev or a certificate"
        );
    }
    tell(&made, args.more.out.as_deref(), json, Some(&line))
}

/// Tells a secret: once, and never beside others in a command line.
fn tell(made: &Made, out: Option<&Path>, json: bool, join: Option<&str>) -> Result<(), Failure> {
    if let Some(path) = out {
        write_new(path, made.token.reveal())?;
    }
    if json {
        let mut value = key_json(&made.key, None, SystemClock.now());
        match out {
            Some(path) => value["file"] = json!(path),
            None => value["token"] = json!(made.token.reveal()),
        }
        if let Some(join) = join {
            value["join"] = json!(join);
        }
        return print_json(&value);
    }
    match out {
        Some(path) => eprintln!("farmer: wrote {}", path.display()),
        None => print_text(&format!("{}\n", made.token.reveal()))?,
    }
    eprintln!(
        "farmer: key {} of {}, for {}",
        made.key.id,
        made.key.owner.text(),
        made.key.scope
    );
    if let Some(join) = join {
        if out.is_none() {
            eprintln!(
                "farmer: put it in a file on that machine that its owner alone can read; there, run"
            );
        } else {
            eprintln!("farmer: take the file to that machine; there, run");
        }
        eprintln!("  {join}");
    }
    Ok(())
}

/// Before a key is made that could not be told.
fn check_new(out: Option<&Path>) -> Result<(), Failure> {
    match out.filter(|path| path.exists()) {
        None => Ok(()),
        Some(path) => Err(Failure::usage(
            format!("{} is there already", path.display()),
            "name a file that is not there",
        )),
    }
}

fn write_new(path: &Path, secret: &str) -> Result<(), Failure> {
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path);
    let written = file.and_then(|mut file| {
        writeln!(file, "{secret}")?;
        file.sync_all()
    });
    written.map_err(|e| {
        let text = format!(
            "the key was made, and cannot be written to {}: {e}",
            path.display()
        );
        Failure::usage(
            text,
            "revoke it, then name a file that is not there in a directory that is",
        )
    })
}

fn read(file: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(file).map_err(|e| {
        Failure::usage(
            format!("cannot read {}: {e}", file.display()),
            "name the file of the master key",
        )
    })
}

fn list(directory: &Directory, all: bool, json: bool) -> Result<(), Failure> {
    let now = SystemClock.now();
    let keys = directory.keys().map_err(|e| refused(&e))?;
    let is_shown = |key: &Key| all || key.state(now) == KeyState::Active;
    let keys: Vec<_> = keys.into_iter().filter(|(key, _)| is_shown(key)).collect();
    let names = directory.refused_names().map_err(|e| refused(&e))?;
    if json {
        keys.iter()
            .try_for_each(|(key, used)| print_json(&key_json(key, *used, now)))?;
        return names
            .iter()
            .try_for_each(|name| print_json(&json!({ "legacy": name, "refused": true })));
    }
    let mut text: String = keys
        .iter()
        .map(|(key, used)| key_line(key, *used, now))
        .collect();
    for name in &names {
        text += &format!("legacy key of {name}: refused\n");
    }
    if text.is_empty() {
        text = "there are no keys; make one with: farmer key create USER\n".into();
    }
    print_text(&text)
}

fn key_line(key: &Key, used: Option<LastUse>, now: Timestamp) -> String {
    let used = match used {
        Some(used) => format!("used {} ago", took(now.since(used.at))),
        None => "never used".into(),
    };
    let until = match key.expires {
        Some(expires) => format!(", until {expires}"),
        None => String::new(),
    };
    let note = match key.note.as_str() {
        "" => String::new(),
        note => format!("  {note}"),
    };
    format!(
        "{}  {:7}  {}  {}  {used}{until}{note}\n",
        key.id,
        key.state(now),
        key.owner.text(),
        key.scope
    )
}

fn key_json(key: &Key, used: Option<LastUse>, now: Timestamp) -> Value {
    json!({
        "id": key.id,
        "owner": key.owner,
        "scope": key.scope,
        "state": key.state(now),
        "note": key.note,
        "created": key.created.to_string(),
        "created_by": key.created_by,
        "expires": key.expires.map(|at| at.to_string()),
        "revoked": key.revoked.map(|at| at.to_string()),
        "replaces": key.replaces,
        "used": used.map(|used| used.at.to_string()),
        "used_from": used.and_then(|used| used.from),
    })
}

fn log(directory: &Directory, limit: usize, json: bool) -> Result<(), Failure> {
    let (events, damaged) = directory.audit(limit).map_err(|e| refused(&e))?;
    for event in events.iter().rev() {
        if json {
            let mut value = json!(event);
            value["at"] = json!(event.at.to_string());
            print_json(&value)?;
        } else {
            print_text(&format!("{}  {} {event}\n", event.at, event.by.text()))?;
        }
    }
    if damaged > 0 {
        eprintln!("farmer: {damaged} lines of the audit log are damaged");
    }
    Ok(())
}
