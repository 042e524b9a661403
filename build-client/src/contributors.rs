//! A file of contributors, brought up to date with the authors of git repositories.
//!
//! A line is a name and addresses: `Ann X <ann@example.com> <ann@home.example>`. Who is there
//! already, by address or name, stays as it is; who is not is added; then the lines are sorted as
//! people sort names, without regard to case and accents.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::{Error, ErrorKind, Result};

/// The last line of what stays at the top of the file.
const SORTED_BELOW: &str = "# Please keep the list sorted.";

/// A repository whose authors are contributors.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Repo {
    /// What it is called in messages.
    pub name: String,
    /// Its clone.
    pub dir: PathBuf,
    /// Where it is cloned from when it is not there, and fetched from.
    #[serde(default)]
    pub url: String,
    /// Its name on GitHub, `owner/name`.
    #[serde(default)]
    pub github: String,
    /// The branch; `origin/HEAD` when empty.
    #[serde(default)]
    pub branch: String,
}

/// What is looked at, and what is known to be wrong in it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The repositories, the main one first.
    pub repo: Vec<Repo>,
    /// Commits whose author says nothing, by the first seven digits.
    pub ignore_commits: BTreeSet<String>,
    /// Addresses of nobody.
    pub ignore_emails: BTreeSet<String>,
    /// Right addresses by wrong ones.
    pub email: BTreeMap<String, String>,
    /// Right names by wrong ones.
    pub name: BTreeMap<String, String>,
    /// Names of one word that are names.
    pub valid_names: BTreeSet<String>,
    /// Names of several words that are none.
    pub invalid_names: BTreeSet<String>,
}

impl Config {
    /// Reads a configuration.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] with the place of the mistake.
    pub fn parse(text: &str) -> Result<Self> {
        toml::from_str(text).map_err(|error| {
            Error::caused_by(
                ErrorKind::Invalid,
                "bad configuration of contributors",
                error,
            )
        })
    }

    fn is_name(&self, name: &str) -> bool {
        self.valid_names.contains(name)
            || (name.contains(' ') && !self.invalid_names.contains(name))
    }
}

/// Somebody who wrote a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Author {
    /// Name.
    pub name: String,
    /// Address.
    pub email: String,
    /// The repository, as an index into [`Config::repo`].
    repo: usize,
    /// Their newest commit there.
    commit: String,
}

/// What a code host knows of an author.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Profile {
    /// User.
    pub login: String,
    /// Number.
    pub id: u64,
    /// Full name; empty when not given.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub name: String,
}

fn null_is_empty<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> std::result::Result<String, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// Who knows the authors of commits.
#[async_trait]
pub trait Profiles: Send + Sync {
    /// The author of a commit of a repository, `owner/name`; `None` when they have no account.
    ///
    /// # Errors
    /// When that cannot be told.
    async fn author(&self, repo: &str, commit: &str) -> Result<Option<Profile>>;
}

/// A file of contributors.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contributors {
    /// The file up to the line below which it is sorted.
    head: Vec<String>,
    lines: Vec<String>,
    emails: HashSet<String>,
    names: HashSet<String>,
}

fn plain_email(email: &str) -> String {
    email.to_lowercase().replace('.', "")
}

fn plain_name(name: &str) -> String {
    name.to_lowercase().replace(['.', ','], "")
}

impl Contributors {
    /// Reads a file.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let all: Vec<&str> = text.lines().collect();
        let cut = all
            .iter()
            .position(|line| line.trim() == SORTED_BELOW)
            .map_or(0, |at| at + 1);
        let mut file = Self {
            head: all[..cut].iter().map(|line| (*line).to_owned()).collect(),
            ..Self::default()
        };
        for line in &all[cut..] {
            if !line.trim().is_empty() {
                file.add_line(line);
            }
        }
        file
    }

    fn add_line(&mut self, line: &str) {
        if !line.starts_with('#') {
            let mut parts = line.split('<');
            self.names
                .insert(plain_name(parts.next().unwrap_or_default().trim()));
            let emails = parts.filter_map(|part| Some(plain_email(part.split_once('>')?.0)));
            self.emails.extend(emails);
        }
        self.lines.push(line.to_owned());
    }

    /// Whether somebody with this address is in it.
    #[must_use]
    pub fn has_email(&self, email: &str) -> bool {
        self.emails.contains(&plain_email(email))
    }

    /// Whether somebody with this name is in it.
    #[must_use]
    pub fn has_name(&self, name: &str) -> bool {
        self.names.contains(&plain_name(name))
    }

    /// The file, sorted.
    #[must_use]
    pub fn text(&self) -> String {
        let mut lines = self.lines.clone();
        sort_names(&mut lines);
        let mut text = String::new();
        for line in self.head.iter().chain(&lines) {
            text.push_str(line);
            text.push('\n');
        }
        text
    }
}

/// Sorts as people sort names: by letters, without regard to case, accents and width.
pub fn sort_names(lines: &mut [String]) {
    use icu_collator::options::{CollatorOptions, Strength};
    let mut options = CollatorOptions::default();
    options.strength = Some(Strength::Primary);
    match icu_collator::Collator::try_new(icu_collator::CollatorPreferences::default(), options) {
        Ok(collator) => lines.sort_by(|a, b| collator.compare(a, b)),
        // The data is compiled in; without it the order is of letters alone.
        Err(_) => lines.sort_by_key(|line| line.to_lowercase()),
    }
}

/// What was done and found, each list sorted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Lines added, names found.
    pub actions: Vec<String>,
    /// Who could not be named.
    pub warnings: Vec<String>,
    /// What could not be asked.
    pub errors: Vec<String>,
}

/// The authors of the repositories, each address once, with their newest commit. Repositories
/// that are not there are cloned; those that are, fetched, unless `offline`.
///
/// # Errors
/// When git cannot be run, or fails.
pub fn authors(config: &Config, offline: bool, told: &dyn Fn(&str)) -> Result<Vec<Author>> {
    let mut seen = HashSet::new();
    let mut found = Vec::new();
    for (number, repo) in config.repo.iter().enumerate() {
        told(&format!("Processing repo: {}", repo.name));
        if !offline && !repo.url.is_empty() {
            if repo.dir.exists() {
                git(&repo.dir, &["fetch", "--quiet"])?;
            } else {
                git(
                    Path::new("."),
                    &[
                        "clone",
                        "--quiet",
                        "--",
                        &repo.url,
                        &repo.dir.to_string_lossy(),
                    ],
                )?;
            }
        }
        let branch = if repo.branch.is_empty() {
            "origin/HEAD"
        } else {
            &repo.branch
        };
        let log = git(
            &repo.dir,
            &["log", "--format=%ae/%h/%an", "--end-of-options", branch],
        )?;
        for line in log.lines() {
            let mut parts = line.splitn(3, '/');
            let (Some(email), Some(commit), Some(name)) =
                (parts.next(), parts.next(), parts.next())
            else {
                continue;
            };
            let short = commit.get(..7).unwrap_or(commit);
            let email = config.email.get(email).map_or(email, String::as_str);
            if config.ignore_commits.contains(short)
                || config.ignore_emails.contains(email)
                || !seen.insert(email.to_owned())
            {
                continue;
            }
            let name = config.name.get(name).map_or(name, String::as_str);
            found.push(Author {
                name: name.to_owned(),
                email: email.to_owned(),
                repo: number,
                commit: commit.to_owned(),
            });
        }
    }
    Ok(found)
}

fn git(dir: &Path, args: &[&str]) -> Result<String> {
    let what = || format!("git {} in {}", args.first().unwrap_or(&""), dir.display());
    let done = Command::new("git")
        .args(args)
        .current_dir(dir)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| Error::caused_by(ErrorKind::Unavailable, what(), error))?;
    if done.status.success() {
        return Ok(String::from_utf8_lossy(&done.stdout).into_owned());
    }
    Err(Error::new(
        ErrorKind::Unavailable,
        format!(
            "{}: {}",
            what(),
            String::from_utf8_lossy(&done.stderr).trim()
        ),
    ))
}

/// Adds those authors to the file that are not in it. Who has no name of several words is asked
/// for at `profiles`.
pub async fn update(
    file: &mut Contributors,
    authors: &[Author],
    config: &Config,
    profiles: &dyn Profiles,
) -> Report {
    let mut report = Report::default();
    for author in authors.iter().filter(|author| !author.email.is_empty()) {
        if file.has_email(&author.email) {
            continue;
        }
        let repo = &config.repo[author.repo];
        let who = format!(
            "{} <{}> https://github.com/{}/commit/{}",
            author.name, author.email, repo.github, author.commit
        );
        let mut name = author.name.clone();
        if !config.is_name(&name) {
            let profile = match profiles.author(&repo.github, &author.commit).await {
                Ok(Some(profile)) => profile,
                Ok(None) => {
                    report.warnings.push(format!(
                        "There is no GitHub user associated with {who}, skipping"
                    ));
                    continue;
                }
                Err(error) => {
                    report.errors.push(format!(
                        "Error fetching GitHub name for {who}: {}",
                        error.chain()
                    ));
                    continue;
                }
            };
            if config.is_name(&profile.name) {
                report
                    .actions
                    .push(format!("Used GitHub name {:?} for {who}", profile.name));
                name = profile.name;
            } else if (profile.name.is_empty() || profile.name == profile.login)
                && name == profile.login
            {
                report.actions.push(format!(
                    "Used GitHub User @{} ({}) form for {who}",
                    profile.login, profile.id
                ));
                name = format!("GitHub User @{} ({})", profile.login, profile.id);
            } else {
                report.warnings.push(format!(
                    "Found invalid-looking name {:?} for GitHub user @{}, skipping {who}",
                    profile.name, profile.login
                ));
                continue;
            }
        }
        let plain = |text: &str| !text.contains(['<', '>', '\n']);
        if !(plain(&name) && plain(&author.email)) {
            report.warnings.push(format!(
                "{who} has a name or address that would break the file, skipping"
            ));
            continue;
        }
        if !file.has_name(&name) {
            file.add_line(&format!("{name} <{}>", author.email));
            report
                .actions
                .push(format!("Added {name} <{}>", author.email));
        }
    }
    for list in [
        &mut report.actions,
        &mut report.warnings,
        &mut report.errors,
    ] {
        list.sort();
    }
    report
}

/// Nobody knows anybody.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoProfiles;

#[async_trait]
impl Profiles for NoProfiles {
    async fn author(&self, _repo: &str, _commit: &str) -> Result<Option<Profile>> {
        Ok(None)
    }
}

pub use accounts::{AuthorAccount, GitHubAccounts, Team};
pub use github::GitHubProfiles;

mod accounts;
mod github;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_sort_as_people_sort_them() {
        let mut names = ["Zoe", "emile", "Émile", "adam", "Ångström", "Zed"].map(str::to_owned);
        sort_names(&mut names);
        assert_eq!(names, ["adam", "Ångström", "emile", "Émile", "Zed", "Zoe"]);
    }

    #[test]
    fn people_are_known_by_any_address_and_name() {
        let file = Contributors::parse(
            "# head\n# Please keep the list sorted.\n\nZoe Z <zoe.z@x.test> <z@home.test>\nAnn X, Jr. <ann@x.test>\n",
        );
        assert!(
            file.has_email("Zoez@X.test")
                && file.has_email("z@home.test")
                && file.has_name("ann x jr")
        );
        assert!(!file.has_email("bo@x.test") && !file.has_name("head"));
        assert_eq!(
            file.text(),
            "# head\n# Please keep the list sorted.\nAnn X, Jr. <ann@x.test>\nZoe Z <zoe.z@x.test> <z@home.test>\n"
        );
    }
}
