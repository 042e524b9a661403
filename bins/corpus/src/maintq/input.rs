//! A log given on the command line: a folder, or one of its files.

use std::fs;
use std::path::Path;

use farmer_cli::{Exit, Failure};
use maintner_core::Error;
use maintner_core::log::{LogFolder, LogPosition, Segment, SegmentName};
use maintner_core::{Corpus, Options};

use farmer_cli::progress;

/// The segments of the log at `path`.
pub(crate) fn segments(path: &Path) -> Result<Vec<Segment>, Failure> {
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

/// The corpus of the log folder at `path`.
pub(crate) fn corpus(path: &Path) -> Result<Corpus, Failure> {
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
        _ => (Exit::Infrastructure, None),
    };
    Failure::because(exit, error, hint)
}
