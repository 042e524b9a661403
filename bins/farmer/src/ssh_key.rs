//! `farmer key ssh`: with which public keys users come to their sessions.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use build_server::who::{Directory, SshKey, SshPublicKey, SshSource};
use clap::Subcommand;
use farmer_cli::Failure;
use serde_json::{Value, json};

use crate::output::{print_json, print_text};
use crate::user::{caller, refused};

/// Longest file of public keys.
const MAX_BYTES: u64 = 1 << 20;

#[derive(Debug, Subcommand)]
pub(crate) enum Ssh {
    /// Add the public keys of a file, each on a line
    Add {
        /// Whose; owner for whoever runs the farm
        user: String,
        /// The file, such as ~/.ssh/id_ed25519.pub; - for standard input
        file: PathBuf,
    },
    /// Take the keys that a code host publishes, such as https://github.com/ann.keys; looked at again
    /// every ten minutes
    Follow {
        /// Whose; owner for whoever runs the farm
        user: String,
        /// The address
        address: String,
    },
    /// List them
    List {
        /// Of this user alone
        user: Option<String>,
    },
    /// Take one away
    Remove {
        /// As listed: SHA256:..., or the address of a code host
        key: String,
    },
}

/// Adds, lists and removes public keys for ssh, whether the farm runs or not.
pub(crate) fn ssh_key(command: Ssh, directory: &Directory, json: bool) -> Result<(), Failure> {
    let say = |name: &str, key: &SshKey| match json {
        true => print_json(&value(name, key)),
        false => print_text(&line(name, key)),
    };
    match command {
        Ssh::Add { user, file } => {
            // All are read before the first one is added.
            for key in read(&file)? {
                let added = directory.add_ssh_key(&caller(), &user, &key);
                let (name, key) = added.map_err(|e| refused(&e))?;
                say(&name, &key)?;
            }
            Ok(())
        }
        Ssh::Follow { user, address } => {
            let added = directory.add_ssh_source(&caller(), &user, &address);
            let source = added.map_err(|e| refused(&e))?;
            say_source(&address, &source, json)
        }
        Ssh::List { user } => {
            let sources = directory.ssh_sources().map_err(|e| refused(&e))?;
            let of_user = |source: &SshSource| user.as_ref().is_none_or(|u| source.user == *u);
            let sources: Vec<_> = sources.iter().filter(|(_, s)| of_user(s)).collect();
            let keys = directory.ssh_keys().map_err(|e| refused(&e))?;
            let is_shown = |key: &SshKey| user.as_ref().is_none_or(|user| key.user == *user);
            let keys: Vec<_> = keys.iter().filter(|(_, key)| is_shown(key)).collect();
            if keys.is_empty() && sources.is_empty() && !json {
                let text =
                    "there are no keys for ssh; add one with: farmer key ssh add USER FILE\n";
                return print_text(text);
            }
            keys.into_iter()
                .try_for_each(|(name, key)| say(name, key))?;
            let mut sources = sources.into_iter();
            sources.try_for_each(|(address, source)| say_source(address, source, json))
        }
        Ssh::Remove { key } => {
            let is_address = key.contains("://");
            let user = match is_address {
                true => directory.remove_ssh_source(&caller(), &key).map(|s| s.user),
                false => directory.remove_ssh_key(&caller(), &key).map(|k| k.user),
            };
            let user = user.map_err(|e| refused(&e))?;
            let name = if is_address { "address" } else { "key" };
            match json {
                true => print_json(&json!({ name: key, "user": user, "removed": true })),
                false => print_text(&format!("{key} of {user} is removed\n")),
            }
        }
    }
}

fn say_source(address: &str, source: &SshSource, json: bool) -> Result<(), Failure> {
    match json {
        true => print_json(&json!({
            "address": address,
            "user": source.user,
            "added": source.added.to_string(),
            "added_by": source.added_by,
        })),
        false => print_text(&format!("{address}  {}\n", source.user)),
    }
}

fn read(file: &Path) -> Result<Vec<SshPublicKey>, Failure> {
    let mut text = String::new();
    let read = match file == Path::new("-") {
        true => std::io::stdin()
            .lock()
            .take(MAX_BYTES)
            .read_to_string(&mut text),
        false => std::fs::File::open(file)
            .and_then(|file| file.take(MAX_BYTES).read_to_string(&mut text)),
    };
    let hint = "name the file of a public key, such as ~/.ssh/id_ed25519.pub";
    read.map_err(|e| Failure::usage(format!("cannot read {}: {e}", file.display()), hint))?;
    let lines = text.lines().map(str::trim);
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    let keys: Result<Vec<SshPublicKey>, _> = lines.map(str::parse).collect();
    let keys = keys.map_err(|e| refused(&e))?;
    match keys.is_empty() {
        true => Err(Failure::usage(
            format!("{} holds no key", file.display()),
            hint,
        )),
        false => Ok(keys),
    }
}

fn line(name: &str, key: &SshKey) -> String {
    let kind = key.line.split(' ').next().unwrap_or_default();
    let text = format!("{name}  {}  {kind}  {}", key.user, key.note);
    format!("{}\n", text.trim_end())
}

fn value(name: &str, key: &SshKey) -> Value {
    json!({
        "key": name,
        "user": key.user,
        "line": key.line,
        "note": key.note,
        "added": key.added.to_string(),
        "added_by": key.added_by,
    })
}
