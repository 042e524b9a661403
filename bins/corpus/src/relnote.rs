//! `relnote`: release notes from what changes say about themselves, and from fragments.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::SystemTime;

use build_client::gerrit::{Auth, ChangeId, ChangeInfo, Client, QueryOptions};
use clap::Parser;
use farmer_cli::{Exit, Failure, Out};
use futures::TryStreamExt as _;
use jiff::civil::{Date, date};
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};
use maintner_core::query::{Cl, UnixTime};
use maintner_core::relnote::{
    Format, Fragment, Selection, merge, named_cls, notes, of_proposals, parse_note, render,
    todo_lines,
};

const EXAMPLES: &str = "Examples:
  relnote -corpus ~/var/maintnerd                        notes of the release to come, as text
  relnote -html -exclude-from doc/go1.16.html -corpus ~/var/maintnerd
  relnote -offline -corpus ~/var/maintnerd               only what messages of commits say
  relnote generate -goroot ~/go                          doc/next/**.md as go1.N.md
  relnote todo -goroot ~/go -corpus ~/var/maintnerd      what is still to be written

Comments on lines are not in the log: the Gerrit server is asked for those of changes that have the
word RELNOTE in one.";

/// Write release notes
#[derive(Parser)]
#[command(name = "relnote", version, after_help = EXAMPLES)]
struct Args {
    /// Write HTML
    #[arg(long, conflicts_with = "format")]
    html: bool,
    /// How to write the notes
    #[arg(long, value_parser = ["text", "html", "markdown", "json"], default_value = "text")]
    format: String,
    /// File of release notes; changes that it names as `CL NNNN` are left out
    #[arg(long, value_name = "FILE")]
    exclude_from: Option<PathBuf>,
    /// Only changes since this day, YYYY-MM-DD [default: the last 1 February or 1 August]
    #[arg(long, value_name = "DAY")]
    since: Option<Date>,
    /// Log folder
    #[arg(long, value_name = "FOLDER", default_value = ".")]
    corpus: PathBuf,
    /// Server that has the comments on lines
    #[arg(
        long,
        value_name = "URL",
        default_value = "https://go-review.googlesource.com"
    )]
    gerrit: String,
    /// Do not ask the server
    #[arg(long)]
    offline: bool,
    /// Go repository, for `generate` and `todo`
    #[arg(long, value_name = "DIR", env = "GOROOT")]
    goroot: Option<PathBuf>,
    /// Print what is skipped, and why
    #[arg(short = 'v')]
    verbose: bool,
    /// `generate` or `todo`; without it notes are gathered from changes
    command: Option<String>,
}

/// The entry point: the arguments without the program's name.
pub fn main(args: Vec<OsString>) -> ExitCode {
    farmer_cli::blocking(args, Args::run)
}

impl Args {
    fn run(&self, out: &mut Out) -> Result<(), Failure> {
        match self.command.as_deref() {
            None => self.gather(out),
            Some("generate") => self.generate(out),
            Some("todo") => self.todo(out),
            Some(other) => Err(failed(
                format!("unknown command {other:?}"),
                "generate or todo",
            )),
        }
    }

    fn gather(&self, out: &mut Out) -> Result<(), Failure> {
        let since = self.since.unwrap_or_else(|| last_cutoff(today()));
        let excluded = match &self.exclude_from {
            Some(file) => named_cls(&read(file)?),
            None => BTreeSet::new(),
        };
        let view = crate::maintq::corpus(&self.corpus)?.view();
        let selection = Selection::go(start_of(since)?);
        let cls = selection.cls(&view);
        let comments = if self.offline {
            BTreeMap::new()
        } else {
            self.comments(&cls, since)?
        };
        let found = notes(&cls, &comments, &import_path, &excluded);
        let format = match self.format.as_str() {
            "json" => {
                for note in &found {
                    writeln!(
                        out,
                        "{}",
                        serde_json::to_string(note).map_err(|e| Failure::because(
                            Exit::Infrastructure,
                            &e,
                            None
                        ))?
                    )?;
                }
                return Ok(());
            }
            "markdown" => Format::Markdown,
            "html" => Format::Html,
            _ if self.html => Format::Html,
            _ => Format::Text,
        };
        Ok(write!(out, "{}", render(&found, format))?)
    }

    /// The comments on the lines of those changes that the server finds the marker in.
    fn comments(&self, cls: &[Cl<'_>], since: Date) -> Result<BTreeMap<i32, Vec<String>>, Failure> {
        let told = |error: build_client::gerrit::Error| {
            Failure::because(
                Exit::Infrastructure,
                &error,
                Some("-offline reads only what messages of commits say"),
            )
        };
        let gerrit = Client::new(&self.gerrit, Auth::None)
            .map_err(|error| Failure::usage(error.to_string(), ""))?;
        let query = format!(
            "status:merged branch:master since:{since} (comment:\"RELNOTE\" OR comment:\"RELNOTES\")"
        );
        let asked = async {
            let found: Vec<ChangeInfo> = gerrit
                .changes(&query, &QueryOptions::new())
                .try_collect()
                .await?;
            let ours: BTreeSet<i32> = cls.iter().map(Cl::number).collect();
            let mut comments = BTreeMap::new();
            for number in found
                .iter()
                .filter_map(|change| i32::try_from(change.number).ok())
                .filter(|n| ours.contains(n))
            {
                let id = ChangeId::from(u64::from(number.unsigned_abs()));
                let files = gerrit.list_change_comments(&id).await?;
                let texts = files.into_values().flatten().map(|comment| comment.message);
                comments.insert(number, texts.collect());
            }
            Ok(comments)
        };
        tokio::runtime::Handle::current()
            .block_on(asked)
            .map_err(told)
    }

    fn goroot(&self) -> Result<&Path, Failure> {
        self.goroot
            .as_deref()
            .ok_or_else(|| Failure::usage("no Go repository is named", "name it with -goroot"))
    }

    /// The fragments below doc/next, and the version that they are for.
    fn fragments(&self) -> Result<(Vec<Fragment>, u32), Failure> {
        let goroot = self.goroot()?;
        let file = goroot.join("src/internal/goversion/goversion.go");
        let digits = read(&file)?.split("Version = ").nth(1).map(|rest| {
            rest.chars()
                .take_while(char::is_ascii_digit)
                .collect::<String>()
        });
        let minor = digits.and_then(|digits| digits.parse().ok());
        let minor =
            minor.ok_or_else(|| failed(format!("{} names no Version", file.display()), ""))?;
        let mut fragments = Vec::new();
        collect(&goroot.join("doc/next"), "", &mut fragments)?;
        if fragments.is_empty() {
            return Err(failed(
                format!("no fragments in {}", goroot.join("doc/next").display()),
                "",
            ));
        }
        Ok((fragments, minor))
    }

    fn generate(&self, out: &mut Out) -> Result<(), Failure> {
        let (fragments, minor) = self.fragments()?;
        let text = merge(&fragments, minor)
            .map_err(|error| Failure::because(Exit::Failed, &error, None))?;
        let file = format!("go1.{minor}.md");
        std::fs::write(&file, text)?;
        Ok(writeln!(out, "{file}")?)
    }

    fn todo(&self, out: &mut Out) -> Result<(), Failure> {
        let (fragments, _) = self.fragments()?;
        for line in todo_lines(&fragments) {
            writeln!(out, "{line}")?;
        }
        let since = match self.since {
            Some(day) => start_of(day)?,
            None => tree_opened(self.goroot()?)?,
        };
        let view = crate::maintq::corpus(&self.corpus)?.view();
        let cls = Selection::go(since).cls(&view);
        let text: String = fragments
            .iter()
            .map(|f| format!("{}\n{}\n", f.path, f.text))
            .collect();
        let named = named_cls(&text);
        for cl in &cls {
            let Some(note) = parse_note(&cl.commit().message()).map(str::to_owned) else {
                continue;
            };
            if named.contains(&cl.number()) {
                continue;
            }
            writeln!(
                out,
                "TODO: CL {} has a RELNOTE comment: {} ({note})",
                cl.number(),
                cl.subject()
            )?;
        }
        for (cl, issue) in of_proposals(&view, &cls, "golang/go", "Proposal-Accepted") {
            let told = text.contains(&format!("/issue/{issue}"))
                || text.contains(&format!("/{issue}.md\n"))
                || named.contains(&cl);
            if told {
                if self.verbose {
                    eprintln!("CL {cl} and the accepted proposal {issue} are in the notes");
                }
                continue;
            }
            writeln!(
                out,
                "TODO: accepted proposal https://go.dev/issue/{issue} (from CL {cl})"
            )?;
        }
        Ok(())
    }
}

/// Where the packages of a project of the Go project are.
fn import_path(project: &str) -> Option<String> {
    Some(match project {
        "go" => String::new(),
        "dl" => "golang.org/dl".to_owned(),
        "protobuf" => "google.golang.org/protobuf".to_owned(),
        "gollvm" | "gofrontend" | "grpc-review" | "gddo" | "proposal" | "playground" => {
            return None;
        }
        name => format!("golang.org/x/{name}"),
    })
}

fn today() -> Date {
    let now = Timestamp::try_from(SystemTime::now()).unwrap_or(Timestamp::UNIX_EPOCH);
    now.to_zoned(TimeZone::UTC).date()
}

/// The last 1 February or 1 August: releases are every six months.
fn last_cutoff(today: Date) -> Date {
    let mut next = date(2016, 8, 1);
    let mut last = next;
    while next < today {
        last = next;
        next = next.saturating_add(Span::new().months(6));
    }
    last
}

fn start_of(day: Date) -> Result<UnixTime, Failure> {
    let zoned = day
        .to_zoned(TimeZone::UTC)
        .map_err(|error| Failure::because(Exit::Usage, &error, None))?;
    Ok(UnixTime::new(zoned.timestamp().as_second()))
}

/// When the tree was opened for this release: the newest commit that updated its version.
fn tree_opened(goroot: &Path) -> Result<UnixTime, Failure> {
    let args = [
        "log",
        "-1",
        "--format=%ct",
        "--grep=update version to",
        "--",
        "src/internal/goversion/goversion.go",
    ];
    let done = Command::new("git")
        .args(args)
        .current_dir(goroot)
        .output()?;
    let text = String::from_utf8_lossy(&done.stdout).trim().to_owned();
    text.parse().map(UnixTime::new).map_err(|_| {
        failed(
            format!(
                "no commit of {} says \"update version to\"",
                goroot.display()
            ),
            "say when the tree was opened with -since",
        )
    })
}

fn collect(dir: &Path, below: &str, found: &mut Vec<Fragment>) -> Result<(), Failure> {
    let unread = |error: std::io::Error| {
        failed(
            format!("reading {}: {error}", dir.display()),
            "name a Go repository with -goroot",
        )
    };
    for entry in std::fs::read_dir(dir).map_err(unread)? {
        let entry = entry.map_err(unread)?;
        let path = format!("{below}{}", entry.file_name().to_string_lossy());
        if entry.file_type().map_err(unread)?.is_dir() {
            collect(&entry.path(), &format!("{path}/"), found)?;
        } else if path.ends_with(".md") {
            found.push(Fragment {
                text: read(&entry.path())?,
                path,
            });
        }
    }
    Ok(())
}

fn read(file: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(file)
        .map_err(|error| failed(format!("reading {}: {error}", file.display()), ""))
}

fn failed(text: String, hint: &str) -> Failure {
    let error = std::io::Error::new(std::io::ErrorKind::InvalidInput, text);
    Failure::because(Exit::Failed, &error, Some(hint))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_every_six_months() {
        assert_eq!(last_cutoff(date(2020, 12, 23)), date(2020, 8, 1));
        assert_eq!(last_cutoff(date(2021, 2, 1)), date(2020, 8, 1));
        assert_eq!(last_cutoff(date(2021, 2, 2)), date(2021, 2, 1));
    }
}
