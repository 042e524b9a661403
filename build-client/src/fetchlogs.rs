//! The logs of failures of a dashboard, kept in a directory to be searched.
//!
//! `log/HASH` are the logs; `rev/DATE-REVISION/BUILDER` are links to them, beside `.rev.json` and
//! `.builders.json`, which say what the dashboard said. What is there already is not fetched
//! again; files appear whole.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use futures::StreamExt as _;
use serde::Serialize;
use sha1::{Digest as _, Sha1};

use crate::build_dashboard::{BuildRevision, BuildStatus, Dashboard};
use crate::{Error, ErrorKind, Result};

/// What is fetched, and where it is kept.
#[derive(Clone, Debug)]
pub struct Sync {
    /// The directory.
    pub dir: PathBuf,
    /// Logs fetched at the same time.
    pub jobs: usize,
    /// Commits looked at of each repository and branch.
    pub commits: usize,
    /// Repositories by name, with their import paths; the main one, `go`, has none.
    pub repos: Vec<(String, String)>,
    /// Branches; an empty name is the dashboard's own choice.
    pub branches: Vec<String>,
    /// Only commits of this time or later, `YYYY-MM-DDTHH:MM:SS` or its beginning; empty: all.
    pub since: String,
}

/// What was done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Commits seen.
    pub commits: usize,
    /// Logs fetched.
    pub fetched: usize,
    /// Logs that were there already.
    pub kept: usize,
    /// Logs that could not be had, with why.
    pub failed: Vec<String>,
}

/// A log of a commit: where it is, and the links that lead to it.
type Wanted = BTreeMap<String, (String, Vec<PathBuf>)>;

impl Sync {
    /// Fetches what is missing; `told` hears of each request.
    ///
    /// Cancel safety: what is kept by then is whole; the next run goes on.
    ///
    /// # Errors
    /// When the directory cannot be written, or a page of the dashboard cannot be had. A log
    /// that cannot be had is in the report.
    pub async fn run(
        &self,
        dashboard: &Dashboard,
        told: &(dyn Fn(&str) + std::marker::Sync),
    ) -> Result<Report> {
        for dir in ["log", "rev"] {
            make_dir(&self.dir.join(dir))?;
        }
        let mut report = Report::default();
        let mut go_dates = BTreeMap::new();
        let mut seen = BTreeSet::new();
        // The main repository first: its dates are the others' too.
        let mut repos: Vec<&(String, String)> = self.repos.iter().collect();
        repos.sort_by_key(|(name, _)| name != "go");
        for (repo, import_path) in repos {
            for branch in &self.branches {
                let mut left = self.commits;
                for page in 0.. {
                    let url = dashboard.page_url(page, import_path, branch);
                    told(&format!("fetching {url}"));
                    let status = dashboard.page(&url).await?;
                    let (rows, wanted) =
                        self.rows(&status, repo, &mut left, &mut go_dates, &mut seen)?;
                    report.commits += rows;
                    self.logs(dashboard, wanted, told, &mut report).await?;
                    let end = status
                        .revisions
                        .iter()
                        .any(|row| row.date.as_str() < self.since.as_str());
                    if status.revisions.is_empty() || left == 0 || end {
                        break;
                    }
                }
            }
        }
        Ok(report)
    }

    /// Writes the directories of a page's commits, and gives the logs that belong to them.
    fn rows(
        &self,
        status: &BuildStatus,
        repo: &str,
        left: &mut usize,
        go_dates: &mut BTreeMap<String, String>,
        seen: &mut BTreeSet<PathBuf>,
    ) -> Result<(usize, Wanted)> {
        let mut wanted = Wanted::new();
        let mut rows = 0;
        for row in status.revisions.iter().filter(|row| row.repo == repo) {
            if *left == 0 || row.date.as_str() < self.since.as_str() {
                break;
            }
            *left -= 1;
            if row.repo == "go" {
                go_dates.insert(row.revision.clone(), row.date.clone());
            }
            let dir = self.dir.join("rev").join(directory(row, go_dates)?);
            if !seen.insert(dir.clone()) {
                continue;
            }
            rows += 1;
            make_dir(&dir)?;
            write_whole(&dir.join(".rev.json"), &go_json(row)?)?;
            write_whole(&dir.join(".builders.json"), &go_json(&status.builders)?)?;
            for (builder, result) in status.builders.iter().zip(&row.results) {
                if result.is_empty() || result == "ok" {
                    continue;
                }
                let name = result.rsplit('/').next().unwrap_or_default();
                if !is_file_name(name) || !is_file_name(builder) {
                    let text = format!("{builder:?} and {name:?} are no names of files");
                    return Err(Error::new(ErrorKind::Corrupt, text));
                }
                let entry = wanted
                    .entry(name.to_owned())
                    .or_insert_with(|| (result.clone(), Vec::new()));
                entry.1.push(dir.join(builder));
            }
        }
        Ok((rows, wanted))
    }

    async fn logs(
        &self,
        dashboard: &Dashboard,
        wanted: Wanted,
        told: &(dyn Fn(&str) + std::marker::Sync),
        report: &mut Report,
    ) -> Result<()> {
        let fetches = futures::stream::iter(wanted).map(|(name, (url, links))| async move {
            let path = self.dir.join("log").join(&name);
            if path.is_file() {
                return (name, links, Ok(false));
            }
            told(&format!("fetching {url}"));
            let fetched = async {
                let log = dashboard.log(&url).await?;
                check_hash(&name, &log, &url)?;
                write_whole(&path, &log).map(|()| true)
            };
            let fetched = fetched.await;
            (name, links, fetched)
        });
        let mut fetches = std::pin::pin!(fetches.buffer_unordered(self.jobs.max(1)));
        while let Some((name, links, fetched)) = fetches.next().await {
            match fetched {
                Ok(true) => report.fetched += 1,
                Ok(false) => report.kept += 1,
                Err(error) => {
                    report.failed.push(error.chain());
                    continue;
                }
            }
            for link in links {
                link_log(&link, &name)?;
            }
        }
        Ok(())
    }
}

fn is_file_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with('.')
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

/// A log that is named by its SHA-1 must have it.
fn check_hash(name: &str, log: &[u8], url: &str) -> Result<()> {
    let is_hash = name.len() == 40 && name.bytes().all(|b| b.is_ascii_hexdigit());
    if !is_hash || hex::encode(Sha1::digest(log)) == name.to_ascii_lowercase() {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Corrupt,
        format!("fetching {url}: the log does not have the hash that it is named by"),
    ))
}

/// `DATE-REVISION`, and for other repositories than the main one `DATE-REVISION-GOREVISION` with
/// the later of both dates.
fn directory(row: &BuildRevision, go_dates: &BTreeMap<String, String>) -> Result<String> {
    let bad = |what: &str| {
        Error::new(
            ErrorKind::Corrupt,
            format!("malformed {what} of revision {:?}", row.revision),
        )
    };
    let short = |hash: &str| {
        let short = hash
            .get(..7)
            .filter(|_| hash.bytes().all(|b| b.is_ascii_hexdigit()));
        short.map(str::to_owned).ok_or_else(|| bad("hash"))
    };
    let second = |date: &str| {
        let parsed: std::result::Result<jiff::Timestamp, _> = date.parse();
        parsed
            .ok()
            .and(date.get(..19))
            .map(str::to_owned)
            .ok_or_else(|| bad("date"))
    };
    let date = second(&row.date)?;
    if row.go_revision.is_empty() {
        return Ok(format!("{date}-{}", short(&row.revision)?));
    }
    let go_date = go_dates
        .get(&row.go_revision)
        .map(|date| second(date))
        .transpose()?;
    let later = go_date.map_or(date.clone(), |go_date| go_date.max(date));
    Ok(format!(
        "{later}-{}-{}",
        short(&row.revision)?,
        short(&row.go_revision)?
    ))
}

/// A line of JSON as Go programs write it: fit to stand in a page.
fn go_json(value: &impl Serialize) -> Result<Vec<u8>> {
    let text = serde_json::to_string(value)
        .map_err(|error| Error::caused_by(ErrorKind::Bug, "writing JSON", error))?;
    let mut out = String::with_capacity(text.len() + 1);
    for c in text.chars() {
        match c {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => out += &format!("\\u{:04x}", u32::from(c)),
            c => out.push(c),
        }
    }
    out.push('\n');
    Ok(out.into_bytes())
}

fn failed(path: &Path, error: io::Error) -> Error {
    Error::caused_by(
        ErrorKind::Unavailable,
        format!("writing {}", path.display()),
        error,
    )
}

fn make_dir(dir: &Path) -> Result<()> {
    match std::fs::create_dir(dir) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(failed(dir, error)),
        _ => Ok(()),
    }
}

fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let write = || -> io::Result<()> {
        let mut file = tempfile::Builder::new()
            .prefix(".")
            .suffix(".tmp")
            .tempfile_in(path.parent().unwrap_or_else(|| Path::new(".")))?;
        file.write_all(bytes)?;
        file.as_file()
            .set_permissions(std::fs::Permissions::from_mode(0o644))?;
        file.as_file().sync_all()?;
        file.persist(path).map_err(|error| error.error)?;
        Ok(())
    };
    write().map_err(|error| failed(path, error))
}

/// A link to a log; one that leads elsewhere, because it was built again since, is replaced.
fn link_log(link: &Path, name: &str) -> Result<()> {
    let target = Path::new("../../log").join(name);
    let make = || match std::os::unix::fs::symlink(&target, link) {
        Err(error)
            if error.kind() == io::ErrorKind::AlreadyExists
                && std::fs::read_link(link).ok().as_ref() != Some(&target) =>
        {
            std::fs::remove_file(link)?;
            std::os::unix::fs::symlink(&target, link)
        }
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    };
    make().map_err(|error| failed(link, error))
}
