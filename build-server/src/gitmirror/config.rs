//! Which repositories are mirrored, from where, to where.

use std::path::PathBuf;
use std::time::Duration;

use build_core::repos::{Repo, Repos};
use build_core::{Error, ErrorKind, Result};
use serde::Deserialize;

/// What is mirrored.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The repositories.
    #[serde(rename = "repo")]
    pub repos: Vec<RepoSpec>,
    /// Seconds between two looks at a source.
    #[serde(default = "poll")]
    pub poll_seconds: f64,
    /// Seconds after which source and destinations are compared even when nothing seems new.
    #[serde(default = "safety")]
    pub safety_seconds: f64,
    /// Seconds that one fetch or push may take.
    #[serde(default = "limit")]
    pub limit_seconds: f64,
}

/// A repository.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RepoSpec {
    /// Its name here: of its pages and archives.
    pub name: String,
    /// Where it is fetched from.
    pub source: String,
    /// Where it is pushed to.
    #[serde(rename = "dest", default)]
    pub dests: Vec<DestSpec>,
    /// Patterns of references below `refs/heads/` and `refs/tags/` that are mirrored, such as
    /// `refs/heads/*`; `*` matches slashes too. Default: all of both.
    #[serde(default)]
    pub include: Vec<String>,
    /// Patterns of those that are not; at the destination they are left as they are.
    #[serde(default)]
    pub exclude: Vec<String>,
    /// References that one round may delete or lose at the source; more, and the round is
    /// refused until somebody has looked. Default: ten, or half of all when that is more.
    pub max_deletions: Option<usize>,
    /// Fetches the code host's references of changes too, so that archives of them can be had.
    #[serde(default)]
    pub changes: bool,
}

/// A destination.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DestSpec {
    /// Its name, for people.
    pub name: String,
    /// Where it is pushed to.
    pub url: String,
    /// A file with the key for SSH.
    pub ssh_key: Option<PathBuf>,
    /// A file with `USER:TOKEN` for HTTPS.
    pub credentials: Option<PathBuf>,
}

fn poll() -> f64 {
    60.0
}
fn safety() -> f64 {
    300.0
}
fn limit() -> f64 {
    600.0
}

/// Names of branches that GitHub refuses: those that look like hashes.
const HASHES: &str = "refs/heads/????????????????????????????????????????";

/// Where the repositories of a project are, and where its mirrors.
#[derive(Clone, Debug)]
pub struct Project {
    /// What the address of a source begins with, before the name of its repository.
    pub source: String,
    /// What the address of a mirror begins with, before `OWNER/NAME.git`.
    pub dest: String,
    /// A file with the key for SSH.
    pub ssh_key: Option<PathBuf>,
    /// A file with `USER:TOKEN` for HTTPS.
    pub credentials: Option<PathBuf>,
}

impl Default for Project {
    /// The Go project's, with this machine's own key for GitHub.
    fn default() -> Self {
        Self {
            source: "https://go.googlesource.com/".to_owned(),
            dest: "git@github.com:".to_owned(),
            ssh_key: None,
            credentials: None,
        }
    }
}

impl Project {
    /// The repositories of a table that are mirrored or built. Those that are mirrored have a
    /// destination; branches with the names of hashes are left out, which GitHub refuses.
    pub fn repos(&self, table: &Repos) -> Vec<RepoSpec> {
        let wanted = table.iter().filter(|repo| repo.mirrored || repo.buildable);
        let spec = |repo: &Repo| RepoSpec {
            name: repo.project.clone(),
            source: format!("{}{}", self.source, repo.project),
            dests: repo.mirrored.then(|| self.dest(repo)).into_iter().collect(),
            include: Vec::new(),
            exclude: vec![HASHES.to_owned()],
            max_deletions: None,
            changes: false,
        };
        wanted.map(spec).collect()
    }

    fn dest(&self, repo: &Repo) -> DestSpec {
        DestSpec {
            name: "github".to_owned(),
            url: format!("{}{}.git", self.dest, repo.github),
            ssh_key: self.ssh_key.clone(),
            credentials: self.credentials.clone(),
        }
    }
}

impl Config {
    /// Repositories without a file of configuration.
    pub fn of(repos: Vec<RepoSpec>) -> Self {
        Self {
            repos,
            poll_seconds: poll(),
            safety_seconds: safety(),
            limit_seconds: limit(),
        }
    }

    /// Reads a configuration in TOML; `name` is for errors.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] with what is wrong.
    pub fn parse(text: &str, name: &str) -> Result<Self> {
        let config: Self = toml::from_str(text)
            .map_err(|e| Error::caused_by(ErrorKind::Invalid, format!("read {name}"), e))?;
        config
            .check()
            .map_err(|e| e.while_doing(format!("read {name}")))?;
        Ok(config)
    }

    /// Whether it can be carried out.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] with what is wrong.
    pub fn check(&self) -> Result<()> {
        let wrong = |text: String| Err(Error::new(ErrorKind::Invalid, text));
        if self.repos.is_empty() {
            return wrong("no [[repo]] is named".to_owned());
        }
        for seconds in [self.poll_seconds, self.safety_seconds, self.limit_seconds] {
            if Duration::try_from_secs_f64(seconds).is_err() {
                return wrong(format!("{seconds} is no number of seconds"));
            }
        }
        for repo in &self.repos {
            let fine = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
            if repo.name.is_empty()
                || repo.name.starts_with(['.', '-'])
                || !repo.name.chars().all(fine)
            {
                return wrong(format!("a repository cannot be called {:?}", repo.name));
            }
            if self.repos.iter().filter(|r| r.name == repo.name).count() > 1 {
                return wrong(format!("two repositories are called {}", repo.name));
            }
            let urls = repo.dests.iter().map(|d| &d.url).chain([&repo.source]);
            for url in urls {
                if url.is_empty() || url.starts_with('-') || url.chars().any(char::is_control) {
                    return wrong(format!("{url:?} names no repository"));
                }
            }
            // Pushed to, the source would lose what somebody has just written there.
            if repo.dests.iter().any(|dest| dest.url == repo.source) {
                return wrong(format!("{} is its own destination", repo.name));
            }
            for key in repo.dests.iter().filter_map(|d| d.ssh_key.as_ref()) {
                let shown = key.to_string_lossy();
                if shown
                    .chars()
                    .any(|c| c.is_whitespace() || "'\"\\$`".contains(c))
                {
                    return wrong(format!(
                        "the path {shown:?} of a key holds blanks or quotes"
                    ));
                }
            }
        }
        Ok(())
    }
}

impl RepoSpec {
    /// Whether a reference is mirrored.
    pub(super) fn mirrors(&self, name: &str) -> bool {
        let any = |patterns: &[String]| patterns.iter().any(|p| matches(p, name));
        (name.starts_with("refs/heads/") || name.starts_with("refs/tags/"))
            && (self.include.is_empty() || any(&self.include))
            && !any(&self.exclude)
    }

    /// How many of `all` references one round may delete.
    pub(super) fn may_delete(&self, all: usize) -> usize {
        self.max_deletions.unwrap_or_else(|| (all / 2).max(10))
    }
}

/// Whether `name` is what `pattern` says, where `*` stands for anything and `?` for one character.
fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) =
        (pattern.chars().collect(), name.chars().collect());
    let (mut p, mut n) = (0, 0);
    // Where the last star was, and how much it stands for so far.
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(c) if *c == '?' || *c == name[n] => {
                p += 1;
                n += 1;
            }
            _ => match star {
                Some((at, stands)) => {
                    star = Some((at, stands + 1));
                    p = at + 1;
                    n = stands + 1;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        for (pattern, name, is) in [
            ("refs/heads/*", "refs/heads/a/b", true),
            ("refs/heads/*-x", "refs/heads/a-x-x", true),
            ("refs/heads/?", "refs/heads/ab", false),
            ("*", "", true),
            ("a", "ab", false),
            ("a*b*c", "abxbc", true),
        ] {
            assert_eq!(matches(pattern, name), is, "{pattern} {name}");
        }
    }

    #[test]
    fn a_project_is_its_table_of_repositories() {
        let repo = |project: &str, github: &str| Repo {
            project: project.to_owned(),
            mirrored: !github.is_empty(),
            buildable: project != "notes",
            github: github.to_owned(),
            ..Repo::default()
        };
        let table = Repos::new(vec![
            repo("protobuf", "protocolbuffers/protobuf-go"),
            repo("own", ""),
            repo("notes", ""),
        ]);
        let repos = Project::default().repos(&table.unwrap());
        let of: Vec<_> = repos
            .iter()
            .map(|r| (&*r.source, r.dests.first().map(|d| &*d.url)))
            .collect();
        let github = "git@github.com:protocolbuffers/protobuf-go.git";
        assert_eq!(
            of,
            [
                ("https://go.googlesource.com/own", None),
                ("https://go.googlesource.com/protobuf", Some(github)),
            ]
        );
        assert!(!repos[1].mirrors(&format!("refs/heads/{}", "0a".repeat(20))));
        assert!(repos[1].mirrors("refs/heads/main"));
        Config::of(repos).check().unwrap();
    }

    #[test]
    fn what_is_wrong_is_named() {
        let repo = |more: &str| format!("[[repo]]\nname='a'\nsource='/s'\n{more}");
        let dest = "[[repo.dest]]\nname='d'\n";
        assert!(Config::parse(&repo(&format!("{dest}url='/d'")), "f").is_ok());
        for (text, told) in [
            (String::new(), "repo"),
            (repo("").replace("'a'", "'../a'"), "cannot be called"),
            (repo(&repo("")), "two repositories"),
            (repo(&format!("{dest}url='/s'")), "its own destination"),
            (repo(&format!("{dest}url='--x'")), "names no repository"),
            (repo(&format!("{dest}url='x'\nssh_key='a b'")), "blanks"),
            (
                format!("poll_seconds=-1.0\n{}", repo("")),
                "no number of seconds",
            ),
        ] {
            let error = Config::parse(&text, "f").unwrap_err().chain();
            assert!(error.contains(told), "{error}");
        }
    }
}
