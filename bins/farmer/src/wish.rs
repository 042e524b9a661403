//! `farmer wish`: what is wanted of the farm that runs, and that it is not any more.

use std::path::Path;

use build_client::farm::FarmClient;
use build_core::ids::{BuildId, WishKey};
use build_core::report::{Wish, WishQuery};
use clap::{Args, Subcommand};
use farmer_cli::Failure;
use serde_json::json;

use crate::output::{failure, print_json, print_text};
use crate::running::{expect, refusal};

pub(crate) const EXAMPLES: &str = "\
Examples:
  farmer wish list                                  everything that has no result yet, and who wants it
  farmer wish list --build B0123456789              who wants this build
  farmer wish withdraw B0123456789                  it ends, when nobody else wants it
  farmer wish withdraw 0123456789abcdef0123456789abcdef

To end a build for everybody, use farmer cancel.";

#[derive(Debug, Subcommand)]
pub(crate) enum WishCommand {
    /// List what is wanted and has no result yet, the most urgent first
    List(List),
    /// Take something back: builds that nobody else wants end
    Withdraw {
        /// As listed; or a build, when only one wish wants it
        #[arg(required = true, value_name = "WISH|BUILD")]
        wishes: Vec<String>,
    },
}

#[derive(Debug, Args)]
pub(crate) struct List {
    /// Only what wants this build
    #[arg(long, value_name = "BUILD")]
    build: Option<String>,
    /// How many
    #[arg(long, default_value_t = 100)]
    limit: usize,
}

/// Lists and withdraws.
pub(crate) async fn wish(command: &WishCommand, data: &Path, json: bool) -> Result<(), Failure> {
    match command {
        WishCommand::List(args) => list(args, data, json).await,
        WishCommand::Withdraw { wishes } => withdraw(wishes, data, json).await,
    }
}

async fn list(args: &List, data: &Path, json: bool) -> Result<(), Failure> {
    let build = args.build.as_deref().map(BuildId::new).transpose();
    let build = build.map_err(|_| not_named(args.build.as_deref().unwrap_or_default()))?;
    let limit = Some(args.limit);
    let which = WishQuery { build, limit };
    let farm = expect(data)?;
    let found = farm.wishes(&which).await.map_err(|e| failure(&e))?;
    if json {
        return found.wishes.iter().try_for_each(print_json);
    }
    let mut text: String = found.wishes.iter().map(line).collect();
    let more = found.open - found.wishes.len().min(found.open);
    if more > 0 {
        text += &format!("and {more} more: give --limit\n");
    }
    if text.is_empty() {
        text = "nothing is wanted that has no result\n".into();
    }
    print_text(&text)
}

fn line(wish: &Wish) -> String {
    let builds: Vec<_> = wish.builds.iter().map(|build| build.id.as_str()).collect();
    let (key, by, repo) = (wish.key, wish.by.text(), &wish.repo);
    let (commit, subject) = (wish.commit.short(), &wish.subject);
    format!(
        "{key}  {by}  {repo} {commit} {subject:?}  {}\n",
        builds.join(" ")
    )
}

async fn withdraw(named: &[String], data: &Path, json: bool) -> Result<(), Failure> {
    let farm = expect(data)?;
    // All are found before the first one is taken back.
    let mut wishes = Vec::new();
    for name in named {
        let key = find(&farm, name).await?;
        if !wishes.contains(&key) {
            wishes.push(key);
        }
    }
    for key in wishes {
        farm.withdraw(&key).await.map_err(|e| refusal(&e))?;
        match json {
            true => print_json(&json!({ "key": key, "withdrawn": true }))?,
            false => print_text(&format!("{key} is withdrawn\n"))?,
        }
    }
    Ok(())
}

/// The wish that is named, or the only one that wants the build that is.
async fn find(farm: &FarmClient, name: &str) -> Result<WishKey, Failure> {
    if let Ok(key) = name.parse() {
        return Ok(key);
    }
    let build = BuildId::new(name).map_err(|_| not_named(name))?;
    let which = WishQuery {
        build: Some(build),
        limit: None,
    };
    let found = farm.wishes(&which).await.map_err(|e| failure(&e))?;
    match &found.wishes[..] {
        [only] => Ok(only.key),
        [] => Err(Failure::usage(
            format!("nobody wants build {name}: it has ended, or is not known"),
            "list what is wanted with: farmer wish list",
        )),
        several => {
            let several: Vec<_> = several
                .iter()
                .map(|wish| format!("{} of {}", wish.key, wish.by.text()))
                .collect();
            Err(Failure::usage(
                format!("{} want build {name}", several.join(" and ")),
                "name one of them, or end the build for everybody with: farmer cancel BUILD",
            ))
        }
    }
}

fn not_named(name: &str) -> Failure {
    Failure::usage(
        format!(
            "{name:?} is neither a wish nor a build: they have 32 hexadecimal digits, or look like B0123456789"
        ),
        "list what is wanted with: farmer wish list",
    )
}
