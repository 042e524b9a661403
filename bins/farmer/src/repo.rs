//! `farmer repo`: what the repositories of the farm that runs are called, and where they lie.

use std::path::Path;

use build_core::ids::RepoName;
use build_core::report::{Repo, RepoChange};
use clap::Subcommand;
use farmer_cli::Failure;

use crate::build_there::origin;
use crate::output::{failure, print_json, print_text};
use crate::running::{expect, refusal};

pub(crate) const EXAMPLES: &str = "\
Examples:
  farmer repo list                                       what they are called, where they lie
  farmer repo rename server api-server                   builds from now on are of api-server
  farmer repo move server https://git.example.org/api    the same repository, at another place

A repository keeps its id, and with it what is known of its commits and tests. Builds of before a
new name keep the old one.";

#[derive(Debug, Subcommand)]
pub(crate) enum RepoCommand {
    /// List them: the name, the id, where it lies
    List,
    /// Call one otherwise from now on
    Rename {
        /// Its name, its id, or a place where it was found
        repo: String,
        /// What it is called; no other one may be
        name: String,
    },
    /// Say that one lies elsewhere now: what is found there is of it
    Move {
        /// Its name, its id, or a place where it was found
        repo: String,
        /// A path or a URL
        origin: String,
    },
}

/// Lists, renames, moves.
pub(crate) async fn repo(command: &RepoCommand, data: &Path, json: bool) -> Result<(), Failure> {
    let farm = expect(data)?;
    let known = farm.repos().await.map_err(|e| failure(&e))?.repos;
    let (named, change) = match command {
        RepoCommand::List => {
            return match json {
                true => known.iter().try_for_each(print_json),
                false => print_text(&table(&known)),
            };
        }
        RepoCommand::Rename { repo, name } => {
            let name = RepoName::new(name).map_err(|e| failure(&e))?;
            let name = Some(name);
            (repo, RepoChange { name, origin: None })
        }
        RepoCommand::Move { repo, origin: to } => {
            let origin = Some(origin(to)?);
            (repo, RepoChange { name: None, origin })
        }
    };
    let repo = find(&known, named)?;
    let changed = farm.change_repo(&repo.id, &change).await;
    let changed = changed.map_err(|e| refusal(&e))?;
    match json {
        true => print_json(&changed),
        false => print_text(&table(&[changed])),
    }
}

/// The one that is meant: by its id, else by its name, else by the only place that fits.
fn find<'r>(known: &'r [Repo], named: &str) -> Result<&'r Repo, Failure> {
    let by_id = known.iter().find(|repo| repo.id.as_str() == named);
    let by_name = known.iter().find(|repo| repo.name.as_str() == named);
    if let Some(repo) = by_id.or(by_name) {
        return Ok(repo);
    }
    let place = origin(named)?;
    let is_there = |repo: &&Repo| {
        let mut places = repo.origins.iter();
        places.any(|origin| *origin == place || origin == named)
    };
    let found: Vec<_> = known.iter().filter(is_there).collect();
    let hint = "list them with: farmer repo list";
    match found[..] {
        [only] => Ok(only),
        [] => Err(Failure::usage(
            format!("there is no repository {named:?}"),
            hint,
        )),
        _ => {
            let text = format!("several repositories were found at {named:?}: name one by its id");
            Err(Failure::usage(text, hint))
        }
    }
}

fn table(repos: &[Repo]) -> String {
    let line = |repo: &Repo| format!("{}  {}  {}\n", repo.name, repo.id, repo.origin);
    match repos.is_empty() {
        true => "nothing was asked of any repository yet\n".into(),
        false => repos.iter().map(line).collect(),
    }
}

#[cfg(test)]
mod tests {
    use build_core::ids::RepoId;

    use super::*;

    #[test]
    fn a_repository_is_meant_by_its_id_its_name_or_its_place() {
        let repo = |n, name: &str, origins: &[&str]| Repo {
            id: RepoId::from_bits(n),
            name: RepoName::new(name).unwrap(),
            origin: origins[0].to_owned(),
            origins: origins.iter().map(|&origin| origin.to_owned()).collect(),
        };
        let known = [
            repo(1, "server", &["https://a/server", "https://both/x"]),
            repo(2, "tools", &["https://b/tools", "https://both/x"]),
        ];
        for named in ["server", known[0].id.as_str(), "https://a/server"] {
            assert_eq!(find(&known, named).unwrap().id, known[0].id, "{named}");
        }
        for named in ["other", "https://both/x", ""] {
            assert!(find(&known, named).is_err(), "{named}");
        }
        let text = table(&known[1..]);
        assert_eq!(text, format!("tools  {}  https://b/tools\n", known[1].id));
    }
}
