//! `greplogs`: searches the logs of failures that `fetchlogs` keeps.

use std::ffi::OsString;
use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use build_client::greplogs::{LogFile, LogText, Period, logs_below, newest_first, time_of};
use clap::Parser;
use farmer_cli::{Exit, Failure, Out};
use regex::{Regex, RegexBuilder};
use serde_json::json;

use crate::told::failure;

const EXAMPLES: &str = "Examples:
  greplogs -e 'no space left' -l                  names of the logs, newest commits first
  greplogs -E 'unexpected EOF' -since 2020-12-01  failures that say so, as Markdown
  greplogs -triage -since 2020-12-20              a list to tick off, for an issue
  greplogs -dashboard=false -e FAIL logs/ x.log   other logs

Exit codes: 0 something was found, 1 nothing was, 2 bad usage or a log that could not be read.";

const PATH: &str = "\x1b[35m";
const COLON: &str = "\x1b[36m";
const MATCH: &str = "\x1b[1;31m";
const PLAIN: &str = "\x1b[0m";

/// Search the logs of failures that fetchlogs keeps
#[derive(Parser)]
#[command(name = "greplogs", version, after_help = EXAMPLES)]
struct Args {
    /// Logs that match; repeated, all must
    #[arg(short = 'e', long = "e", value_name = "REGEXP")]
    file: Vec<String>,
    /// Failures that match; repeated, a failure must match all
    #[arg(short = 'E', long = "E", value_name = "REGEXP")]
    fail: Vec<String>,
    /// Not builders and revisions that match; may be repeated
    #[arg(long, value_name = "REGEXP")]
    omit: Vec<String>,
    /// A failure that is known, as ISSUE=REGEXP: its logs are ticked off by -triage
    #[arg(long, value_name = "ISSUE=REGEXP")]
    known_issue: Vec<String>,
    /// A builder that is known to be broken, left out by -triage; may be repeated
    #[arg(long, value_name = "BUILDER")]
    broken: Vec<String>,
    /// Only commits since this day or time (2020-12-31, 2020-12-31T23:59:59)
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Only commits before this day or time
    #[arg(long, value_name = "TIME")]
    before: Option<String>,
    /// Search what fetchlogs keeps; with =false the paths that are given
    #[arg(long, num_args = 0..=1, default_value_t = true, default_missing_value = "true", action = clap::ArgAction::Set)]
    dashboard: bool,
    /// The directory of fetchlogs [default: the cache directory + /fetchlogs]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Where a log of the dashboard is shown, before its hash
    #[arg(
        long,
        value_name = "URL",
        default_value = "https://build.golang.org/log/"
    )]
    log_url: String,
    /// Write Markdown
    #[arg(long, num_args = 0..=1, default_value_t = true, default_missing_value = "true", action = clap::ArgAction::Set)]
    md: bool,
    /// Write a list to tick off; means -l, of all failures before today when nothing else is said
    #[arg(long)]
    triage: bool,
    /// Write what is found as details that open
    #[arg(long)]
    details: bool,
    /// Only names of logs
    #[arg(short = 'l', long = "l")]
    files_only: bool,
    /// Colors: never, always, or auto, for terminals
    #[arg(long, value_name = "WHEN", default_value = "auto", value_parser = ["never", "always", "auto"])]
    color: String,
    /// One JSON object for each log on standard output, with its failures
    #[arg(long, conflicts_with_all = ["triage", "details"])]
    json: bool,
    /// Logs and directories, with -dashboard=false
    paths: Vec<PathBuf>,
}

/// The entry point: the arguments without the program's name.
pub fn main(args: Vec<OsString>) -> ExitCode {
    let command = command_line(&args);
    farmer_cli::blocking(args, move |args: &Args, out| args.run(&command, out))
}

/// A word for a shell, as the Go program writes it: in quotes when it has blanks, else with a
/// backslash before what a shell would take for something else.
fn quoted(word: &str) -> String {
    let special =
        |(at, c): (usize, char)| r#"\'"`${[|&;<>()*?!"#.contains(c) || (at == 0 && c == '~');
    match word {
        "" => "''".to_owned(),
        word if word.contains([' ', '\t', '\n']) => {
            let parts = word.split('\'').map(|part| match part {
                "" => String::new(),
                part => format!("'{part}'"),
            });
            parts.collect::<Vec<_>>().join(r"\'")
        }
        word => {
            let mut out = String::new();
            for (at, c) in word.char_indices() {
                if special((at, c)) {
                    out.push('\\');
                }
                out.push(c);
            }
            out
        }
    }
}

/// The command as it was written, quoted for a shell.
fn command_line(args: &[OsString]) -> String {
    let words = args.iter().map(|arg| quoted(&arg.to_string_lossy()));
    let words = std::iter::once("greplogs".to_owned()).chain(words);
    words.collect::<Vec<_>>().join(" ")
}

/// What is searched for.
struct Query {
    file: Vec<Regex>,
    fail: Vec<Regex>,
    omit: Vec<Regex>,
    known: Vec<(String, Regex)>,
    period: Period,
}

impl Args {
    fn run(&self, command: &str, out: &mut Out) -> Result<(), Failure> {
        if self.dashboard && !self.paths.is_empty() {
            return Err(usage("-dashboard and paths are incompatible"));
        }
        let query = self.query()?;
        let colored = match self.color.as_str() {
            "always" => true,
            "never" => false,
            _ => std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none(),
        };
        let (roots, strip) = self.roots()?;
        let md = self.md && !self.json;
        if md {
            writeln!(out, "`{command}`")?;
            if self.details {
                writeln!(out, "<details>\n")?;
            }
        }
        let (mut found, mut unread) = (0, 0);
        for root in roots {
            let logs = match logs_below(&root, strip.as_deref()) {
                Ok(logs) => logs,
                Err(error) => {
                    unread += 1;
                    eprintln!("{}", error.chain());
                    continue;
                }
            };
            for log in logs {
                match self.look(&log, &query, colored, out) {
                    Ok(true) => found += 1,
                    Ok(false) => {}
                    Err(Looked::Log(error)) => {
                        unread += 1;
                        eprintln!("{}: {}", log.path.display(), error.chain());
                    }
                    Err(Looked::Output(error)) => return Err(error.into()),
                }
            }
        }
        if md {
            if self.details {
                writeln!(out, "\n</details>")?;
            }
            if found == 0 || self.triage || self.details {
                writeln!(out, "\n({found} matching logs)")?;
            }
        }
        match (found, unread) {
            (_, 1..) => Err(Failure::silent(Exit::Usage)),
            (0, _) => Err(Failure::silent(Exit::Failed)),
            _ => Ok(()),
        }
    }

    fn query(&self) -> Result<Query, Failure> {
        let all = |texts: &[String]| {
            texts
                .iter()
                .map(|text| regex(text))
                .collect::<Result<Vec<_>, _>>()
        };
        let known = |text: &String| match text.split_once('=') {
            Some((issue, text)) => Ok((issue.to_owned(), regex(text)?)),
            None => Err(usage(format!(
                "missing key, expected ISSUE=REGEXP in {text:?}"
            ))),
        };
        let time = |text: &Option<String>| match text {
            Some(text) => time_of(text).map_err(|e| failure(&e)),
            None => Ok(String::new()),
        };
        let mut query = Query {
            file: all(&self.file)?,
            fail: all(&self.fail)?,
            omit: all(&self.omit)?,
            known: self
                .known_issue
                .iter()
                .map(known)
                .collect::<Result<_, _>>()?,
            period: Period {
                since: time(&self.since)?,
                before: time(&self.before)?,
            },
        };
        if self.triage {
            if query.file.is_empty() && query.fail.is_empty() {
                query.fail.push(regex(".")?);
            }
            if query.period.before.is_empty() {
                query.period.before = jiff::Timestamp::now()
                    .strftime("%Y-%m-%dT00:00:00")
                    .to_string();
            }
        }
        Ok(query)
    }

    /// Where logs are, and what their names are shown without.
    fn roots(&self) -> Result<(Vec<PathBuf>, Option<PathBuf>), Failure> {
        if !self.dashboard {
            return Ok((self.paths.clone(), None));
        }
        let dir = self.dir.clone().or_else(crate::fetchlogs::default_dir);
        let Some(dir) = dir else {
            return Err(usage("no cache directory is known; give -dir"));
        };
        let rev = dir.join("rev");
        let roots = newest_first(&rev).map_err(|e| failure(&e))?;
        Ok((roots, Some(rev)))
    }

    /// Shows a log if it is one of those that are searched for.
    fn look(
        &self,
        log: &LogFile,
        query: &Query,
        colored: bool,
        out: &mut Out,
    ) -> Result<bool, Looked> {
        let omitted = |text: &str| query.omit.iter().any(|omit| omit.is_match(text));
        if omitted(log.builder()) || log.revisions().is_some_and(omitted) {
            return Ok(false);
        }
        if self.triage && self.broken.iter().any(|name| name == log.builder()) {
            return Ok(false);
        }
        if !log.is_within(&query.period)? {
            return Ok(false);
        }
        let text = log.read()?;
        let all = |list: &[Regex], text: &str| list.iter().all(|one| one.is_match(text));
        if !all(&query.file, &text) || !all(&query.fail, &text) {
            return Ok(false);
        }
        let LogText { text, failures } = LogText::of(text);
        let said = |f: &build_core::log_failures::LogFailure| match f.full_message.is_empty() {
            true => f.message.clone(),
            false => f.full_message.clone(),
        };
        let matching: Vec<_> = failures
            .iter()
            .filter(|failure| all(&query.fail, &said(failure)))
            .collect();
        if matching.is_empty() && !failures.is_empty() && !query.fail.is_empty() {
            return Ok(false);
        }
        if self.json {
            let url = log
                .hash
                .as_ref()
                .map(|hash| format!("{}{hash}", self.log_url));
            writeln!(
                out,
                "{}",
                json!({ "name": log.name, "builder": log.builder(), "url": url, "failures": matching })
            )?;
            return Ok(true);
        }
        let paint = |text: &str, color: &str| match colored {
            true => format!("{color}{text}{PLAIN}"),
            false => text.to_owned(),
        };
        let name = paint(&self.shown_name(log, query, &text), PATH);
        if self.files_only || self.triage {
            writeln!(out, "{name}")?;
            return Ok(true);
        }
        for failure in matching {
            writeln!(out, "{name}{}", paint(":", COLON))?;
            let said = said(failure);
            let said = match colored {
                true => highlighted(&said, query),
                false => said,
            };
            match self.md {
                true => writeln!(out, "```\n{said}\n```\n")?,
                false => writeln!(out, "{said}\n")?,
            }
        }
        Ok(true)
    }

    fn shown_name(&self, log: &LogFile, query: &Query, text: &str) -> String {
        let Some(hash) = log.hash.as_ref().filter(|_| self.md) else {
            return log.name.clone();
        };
        let link = format!("[{}]({}{hash})", log.name, self.log_url);
        if !self.triage {
            return link;
        }
        let known = query.known.iter().filter(|(_, regex)| regex.is_match(text));
        let mut issues: Vec<&str> = known.map(|(issue, _)| issue.as_str()).collect();
        issues.sort_unstable();
        match issues.is_empty() {
            true => format!("- [ ] {link}"),
            false => format!("- [x] ({}) {link}", issues.join(", ")),
        }
    }
}

/// Why a log was not looked at to its end.
enum Looked {
    Log(build_client::Error),
    Output(std::io::Error),
}

impl From<build_client::Error> for Looked {
    fn from(error: build_client::Error) -> Self {
        Self::Log(error)
    }
}

impl From<std::io::Error> for Looked {
    fn from(error: std::io::Error) -> Self {
        Self::Output(error)
    }
}

/// What matches, in color; where matches overlap they are one.
fn highlighted(text: &str, query: &Query) -> String {
    let regexes = query.file.iter().chain(&query.fail);
    let mut spans: Vec<(usize, usize)> = regexes
        .flat_map(|regex| {
            regex
                .find_iter(text)
                .map(|found| (found.start(), found.end()))
        })
        .filter(|(begin, end)| begin < end)
        .collect();
    spans.sort_unstable();
    let mut merged: Vec<(usize, usize)> = Vec::new();
    for (begin, end) in spans {
        match merged.last_mut() {
            Some(last) if begin <= last.1 => last.1 = last.1.max(end),
            _ => merged.push((begin, end)),
        }
    }
    let (mut shown, mut at) = (String::new(), 0);
    for (begin, end) in merged {
        shown.push_str(&text[at..begin]);
        shown.push_str(&format!("{MATCH}{}{PLAIN}", &text[begin..end]));
        at = end;
    }
    shown + &text[at..]
}

/// Line by line, as all of them are.
fn regex(text: &str) -> Result<Regex, Failure> {
    let built = RegexBuilder::new(text).multi_line(true).build();
    built.map_err(|error| {
        Failure::usage(
            format!("the expression {text:?} cannot be read: {error}"),
            "its form is that of RE2",
        )
    })
}

fn usage(text: impl Into<String>) -> Failure {
    Failure::usage(text, "see: greplogs --help")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlapping_matches_are_one() {
        let query = Query {
            file: vec![regex("abc").unwrap(), regex("cd").unwrap()],
            fail: vec![regex("x*").unwrap()],
            omit: Vec::new(),
            known: Vec::new(),
            period: Period::default(),
        };
        let shown = highlighted("1abcd2x", &query);
        assert_eq!(shown, format!("1{MATCH}abcd{PLAIN}2{MATCH}x{PLAIN}"));
    }

    #[test]
    fn commands_are_quoted_for_a_shell() {
        let args = ["-e", "it's", "it's a ~", "~x~", "-since=2020-12-01", ""].map(OsString::from);
        assert_eq!(
            command_line(&args),
            r"greplogs -e it\'s 'it'\''s a ~' \~x~ -since=2020-12-01 ''"
        );
    }
}
