//! A log given on the command line: a folder, one of its files, or the address of a log server.

use std::fs;
use std::path::{Path, PathBuf};

use farmer_cli::{Exit, Failure};
use maintner_core::log::{LogFolder, LogPosition, Segment, SegmentName};
use maintner_core::net::{NetworkSource, Ready};
use maintner_core::{Corpus, Error, Options, godata};

use farmer_cli::progress;

/// The address of a log server, if this is one.
fn server(path: &Path) -> Option<&str> {
    let text = path.to_str()?;
    let web = text.starts_with("http://") || text.starts_with("https://");
    web.then_some(text)
}

/// The folder of a log: its own, or the one in which a server's log is kept and was brought up
/// to date. Must run on a thread that may block.
pub(crate) fn folder(path: &Path) -> Result<PathBuf, Failure> {
    let Some(url) = server(path) else {
        return Ok(path.to_owned());
    };
    let (_corpus, source) = follow(url)?;
    let folder = source.folder();
    folder.ok_or_else(|| Failure::usage(format!("{url} is kept nowhere"), "name a folder"))
}

/// A corpus over a log server, and what keeps it up to date.
fn follow(url: &str) -> Result<(Corpus, NetworkSource), Failure> {
    let bar = progress::spinner("following");
    let opened = tokio::runtime::Handle::current().block_on(godata::open_with_status(
        godata::Options::default().server(url),
    ));
    bar.finish_and_clear();
    let (corpus, source, ready) = opened.map_err(|error| failure(&error))?;
    if let Ready::Offline { warning } = ready {
        eprintln!("maintq: {url} cannot be reached ({warning}); this is its log as it was");
    }
    Ok((corpus, source))
}

/// The segments of the log at `path`.
pub(crate) fn segments(path: &Path) -> Result<Vec<Segment>, Failure> {
    let path = &folder(path)?;
    let meta = fs::metadata(path).map_err(|source| {
        failure(&Error::Io {
            action: "read",
            path: path.to_owned(),
            source,
        })
    })?;
    if meta.is_dir() {
        let folder = LogFolder::open(path).map_err(|error| failure(&error))?;
        return Ok(folder.segments().to_vec());
    }
    let file_name = path
        .file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default();
    let name = SegmentName::parse(&file_name).unwrap_or(SegmentName::Day(file_name));
    Ok(vec![Segment::file(
        name,
        LogPosition::START,
        meta.len(),
        path.to_owned(),
    )])
}

/// The corpus of the log folder at `path`, or of the log server at this address.
pub(crate) fn corpus(path: &Path) -> Result<Corpus, Failure> {
    if let Some(url) = server(path) {
        return Ok(follow(url)?.0);
    }
    let bar = progress::spinner("loading");
    let corpus = Corpus::open_with(path, Options::default()).map_err(|error| failure(&error))?;
    bar.finish_and_clear();
    Ok(corpus)
}

/// The exit code that an error of the library asks for, and what to do about it.
pub(crate) fn failure(error: &Error) -> Failure {
    let (exit, hint) = match error {
        Error::Record { .. } => (
            Exit::Failed,
            Some("maintq verify tells more; maintq repair cuts a damaged end"),
        ),
        Error::Damaged { .. } => (
            Exit::Failed,
            Some("maintq repair keeps the cut bytes in a file beside the log"),
        ),
        Error::Mutation { .. }
        | Error::HashMismatch { .. }
        | Error::MissingSegment { .. }
        | Error::MixedLog { .. } => (Exit::Failed, None),
        Error::Locked { .. } => (
            Exit::Infrastructure,
            Some("stop the program that writes this log first"),
        ),
        Error::Server { .. } => (
            Exit::Infrastructure,
            Some("a log server's address ends in /logs, such as https://maintner.golang.org/logs"),
        ),
        _ => (Exit::Infrastructure, None),
    };
    Failure::because(exit, error, hint)
}
