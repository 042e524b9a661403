//! Records of finished builds and their steps, copied from where the coordinator wrote them to
//! where they are asked.

use std::collections::HashSet;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use build_core::buildstats::{Span, TestSpan, TestStats};
use serde_json::{Map, Value};

use crate::{Error, ErrorKind, Result};

/// Records asked for at once.
pub const BATCH: usize = 1000;
/// Where a table begins that holds nothing.
const BEGINNING: &str = "1970-01-01T00:00:01Z";
/// What a record's id is called in a table.
const ID: &str = "_id";

/// A kind of record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A build.
    Build,
    /// A step of one.
    Span,
}

impl Kind {
    /// What its entities are called.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Build => "Build",
            Self::Span => "Span",
        }
    }
}

/// A record: its key, and its columns.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// The key, which no other record of its kind has.
    pub id: String,
    /// The columns by name.
    pub columns: Map<String, Value>,
}

impl Record {
    /// When it ended, RFC 3339 in UTC.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] when it has not ended.
    pub fn end(&self) -> Result<&str> {
        let end = self
            .columns
            .get("EndTime")
            .and_then(Value::as_str)
            .unwrap_or_default();
        if end.is_empty() || end.starts_with("0001-") {
            return Err(Error::new(
                ErrorKind::Corrupt,
                format!("record {:?} has no EndTime", self.id),
            ));
        }
        Ok(end)
    }
}

/// Where records come from.
#[async_trait]
pub trait RecordSource: Send + Sync {
    /// The first `limit` records that ended at `since` or later, in order of their end.
    ///
    /// # Errors
    /// When they cannot be had.
    async fn finished_since(&self, kind: Kind, since: &str, limit: usize) -> Result<Vec<Record>>;
}

/// Where records go.
pub trait Sink {
    /// When the last record ended.
    ///
    /// # Errors
    /// When the table cannot be read.
    fn last_end(&self, kind: Kind) -> Result<Option<String>>;

    /// Adds those records that are not there; gives how many.
    ///
    /// # Errors
    /// When the table cannot be written.
    fn insert(&mut self, kind: Kind, records: &[Record]) -> Result<usize>;
}

/// Copies what has ended since the last time; gives how many records are new. Twice in a row
/// adds nothing: records are known by their keys, and those that ended at the very same time as
/// the last one are asked for again.
///
/// # Errors
/// Those of both ends; what was copied by then stays.
pub async fn sync(
    source: &dyn RecordSource,
    sink: &mut dyn Sink,
    kind: Kind,
    told: &(dyn Fn(&str) + Sync),
) -> Result<usize> {
    let mut since = sink.last_end(kind)?.unwrap_or_else(|| BEGINNING.to_owned());
    let mut limit = BATCH;
    let mut added = 0;
    loop {
        let batch = source.finished_since(kind, &since, limit).await?;
        let Some(last) = batch.last() else { break };
        let end = last.end()?.to_owned();
        batch
            .iter()
            .try_for_each(|record| record.end().map(|_| ()))?;
        let new = sink.insert(kind, &batch)?;
        added += new;
        told(&format!(
            "{}: {new} of {} new, up to {end}",
            kind.name(),
            batch.len()
        ));
        if batch.len() < limit {
            break;
        }
        // A batch that ended all at once says nothing of what comes after it.
        limit = if end == since { limit * 2 } else { BATCH };
        since = end;
    }
    Ok(added)
}

/// Tables as files of a folder, a record a line: `builds.jsonl`, `spans.jsonl`.
#[derive(Debug)]
pub struct Folder {
    dir: PathBuf,
    known: [Option<HashSet<String>>; 2],
}

impl Folder {
    /// The tables in `dir`, which is made.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn open(dir: impl Into<PathBuf>) -> Result<Self> {
        let dir = dir.into();
        std::fs::create_dir_all(&dir).map_err(|error| failed("making", &dir, error))?;
        Ok(Self {
            dir,
            known: [None, None],
        })
    }

    fn file(&self, kind: Kind) -> PathBuf {
        self.dir.join(match kind {
            Kind::Build => "builds.jsonl",
            Kind::Span => "spans.jsonl",
        })
    }

    /// The rows of a table, to its last whole line: a torn one is what a killed run left.
    fn rows(&self, kind: Kind, mut each: impl FnMut(Map<String, Value>)) -> Result<u64> {
        let path = self.file(kind);
        let file = match std::fs::File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(0),
            Err(error) => return Err(failed("reading", &path, error)),
        };
        let mut reader = BufReader::new(file);
        let (mut line, mut whole, mut number) = (Vec::new(), 0, 0);
        loop {
            line.clear();
            let n = reader
                .read_until(b'\n', &mut line)
                .map_err(|error| failed("reading", &path, error))?;
            if n == 0 || line.last() != Some(&b'\n') {
                return Ok(whole);
            }
            number += 1;
            whole += n as u64;
            let row = serde_json::from_slice(&line).map_err(|error| {
                Error::caused_by(
                    ErrorKind::Corrupt,
                    format!("{}:{number}", path.display()),
                    error,
                )
            })?;
            each(row);
        }
    }

    /// How long tests took, from the steps of the time before `now`, seconds since 1970, that is
    /// looked at.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub fn test_stats(&self, now: i64) -> Result<TestStats> {
        let mut tests = Vec::new();
        self.rows(Kind::Span, |row| {
            let text = |name: &str| row.get(name).and_then(Value::as_str).unwrap_or_default();
            let start = text("StartTime")
                .parse::<jiff::Timestamp>()
                .map_or(i64::MIN, jiff::Timestamp::as_second);
            let seconds = row
                .get("Seconds")
                .and_then(Value::as_f64)
                .unwrap_or(f64::NAN);
            let span = Span {
                repo: text("Repo"),
                builder: text("Builder"),
                event: text("Event"),
                error: text("Error"),
                start,
                seconds,
            };
            tests.extend(TestSpan::of(&span, now));
        })?;
        Ok(TestStats::of(tests))
    }
}

fn failed(what: &str, path: &Path, error: std::io::Error) -> Error {
    Error::caused_by(
        ErrorKind::Unavailable,
        format!("{what} {}", path.display()),
        error,
    )
}

impl Sink for Folder {
    fn last_end(&self, kind: Kind) -> Result<Option<String>> {
        let mut last: Option<String> = None;
        self.rows(kind, |row| {
            if let Some(end) = row.get("EndTime").and_then(Value::as_str)
                && last.as_deref().is_none_or(|last| later(end, last))
            {
                last = Some(end.to_owned());
            }
        })?;
        Ok(last)
    }

    fn insert(&mut self, kind: Kind, records: &[Record]) -> Result<usize> {
        let path = self.file(kind);
        let write = |error| failed("writing", &path, error);
        let slot = kind as usize;
        if self.known[slot].is_none() {
            let mut ids = HashSet::new();
            let whole = self.rows(kind, |row| {
                ids.extend(row.get(ID).and_then(Value::as_str).map(str::to_owned));
            })?;
            let file = std::fs::OpenOptions::new()
                .create(true)
                .append(true)
                .open(&path)
                .map_err(write)?;
            file.set_len(whole).map_err(write)?;
            self.known[slot] = Some(ids);
        }
        let known = self.known[slot].get_or_insert_default();
        let mut text = Vec::new();
        let mut added = 0;
        for record in records {
            if !known.insert(record.id.clone()) {
                continue;
            }
            added += 1;
            let mut row: Map<String, Value> = record
                .columns
                .iter()
                .filter(|(name, _)| !name.starts_with('_'))
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect();
            row.insert(ID.to_owned(), record.id.clone().into());
            serde_json::to_writer(&mut text, &row)
                .map_err(|error| Error::caused_by(ErrorKind::Bug, "writing a row", error))?;
            text.push(b'\n');
        }
        let mut file = std::fs::OpenOptions::new()
            .append(true)
            .open(&path)
            .map_err(write)?;
        file.write_all(&text)
            .and_then(|()| file.sync_data())
            .map_err(write)?;
        Ok(added)
    }
}

/// Whether a time is later than another; as times, not as texts: fractions differ in length.
fn later(a: &str, b: &str) -> bool {
    let time = |text: &str| text.parse::<jiff::Timestamp>().ok();
    match (time(a), time(b)) {
        (Some(a), Some(b)) => a > b,
        _ => a > b,
    }
}

/// Records handed in, in order of their end: for tests, and for what is there already.
#[derive(Clone, Debug, Default)]
pub struct Given {
    /// Builds.
    pub builds: Vec<Record>,
    /// Steps.
    pub spans: Vec<Record>,
}

impl Given {
    /// Reads records from lines of JSON, as [`Folder`] writes them.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] with the line that is none.
    pub fn parse(text: &str) -> Result<Vec<Record>> {
        let record = |(number, line): (usize, &str)| {
            let bad =
                |why: &str| Error::new(ErrorKind::Corrupt, format!("line {}: {why}", number + 1));
            let mut columns: Map<String, Value> =
                serde_json::from_str(line).map_err(|error| bad(&error.to_string()))?;
            let id = columns
                .remove(ID)
                .and_then(|id| Some(id.as_str()?.to_owned()))
                .ok_or_else(|| bad("no _id"))?;
            Ok(Record { id, columns })
        };
        text.lines()
            .enumerate()
            .filter(|(_, line)| !line.trim().is_empty())
            .map(record)
            .collect()
    }
}

#[async_trait]
impl RecordSource for Given {
    async fn finished_since(&self, kind: Kind, since: &str, limit: usize) -> Result<Vec<Record>> {
        let all = match kind {
            Kind::Build => &self.builds,
            Kind::Span => &self.spans,
        };
        let mut found: Vec<Record> = all
            .iter()
            .filter(|record| record.end().is_ok_and(|end| !later(since, end)))
            .cloned()
            .collect();
        found.sort_by(|a, b| {
            let end = |record: &Record| {
                record
                    .end()
                    .ok()
                    .and_then(|end| end.parse::<jiff::Timestamp>().ok())
            };
            end(a).cmp(&end(b))
        });
        found.truncate(limit);
        Ok(found)
    }
}

#[cfg(feature = "rest")]
pub use datastore::Datastore;

#[cfg(feature = "rest")]
mod datastore;

#[cfg(test)]
mod tests {
    use super::*;

    fn record(id: &str, end: &str) -> Record {
        let columns = [("EndTime", end), ("_hidden", "x"), ("Builder", "b")]
            .map(|(name, value)| (name.to_owned(), Value::from(value)));
        Record {
            id: id.to_owned(),
            columns: columns.into_iter().collect(),
        }
    }

    #[tokio::test]
    async fn a_second_sync_adds_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let mut source = Given::default();
        // More at the same moment than fit a batch.
        source
            .builds
            .extend((0..2500).map(|n| record(&format!("r{n}"), "2020-12-01T00:00:00Z")));
        source.builds.push(record("last", "2020-12-01T00:00:00.5Z"));
        let quiet = |_: &str| ();
        let mut folder = Folder::open(dir.path()).unwrap();
        assert_eq!(
            sync(&source, &mut folder, Kind::Build, &quiet)
                .await
                .unwrap(),
            2501
        );
        assert_eq!(
            sync(&source, &mut folder, Kind::Build, &quiet)
                .await
                .unwrap(),
            0
        );
        let mut folder = Folder::open(dir.path()).unwrap();
        assert_eq!(
            folder.last_end(Kind::Build).unwrap().unwrap(),
            "2020-12-01T00:00:00.5Z"
        );
        source.builds.push(record("late", "2020-12-01T00:00:00.5Z"));
        assert_eq!(
            sync(&source, &mut folder, Kind::Build, &quiet)
                .await
                .unwrap(),
            1,
            "at the very moment of the last"
        );
        let text = std::fs::read_to_string(dir.path().join("builds.jsonl")).unwrap();
        assert!(text.lines().count() == 2502 && !text.contains("_hidden"));
        source.spans.push(record("zero", "0001-01-01T00:00:00Z"));
        assert_eq!(
            source
                .finished_since(Kind::Span, BEGINNING, 9)
                .await
                .unwrap()
                .len(),
            0
        );
        assert!(record("zero", "").end().is_err());
    }

    #[test]
    fn a_torn_line_is_cut() {
        let dir = tempfile::tempdir().unwrap();
        let mut folder = Folder::open(dir.path()).unwrap();
        folder
            .insert(Kind::Span, &[record("a", "2020-12-01T00:00:00Z")])
            .unwrap();
        let path = dir.path().join("spans.jsonl");
        let whole = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, format!("{whole}{{\"_id\": \"b")).unwrap();
        let mut folder = Folder::open(dir.path()).unwrap();
        assert_eq!(
            folder
                .insert(Kind::Span, &[record("b", "2020-12-01T00:00:01Z")])
                .unwrap(),
            1
        );
        assert_eq!(
            Given::parse(&std::fs::read_to_string(&path).unwrap())
                .unwrap()
                .len(),
            2
        );
        std::fs::write(&path, "not JSON\n").unwrap();
        assert!(
            folder
                .last_end(Kind::Span)
                .unwrap_err()
                .to_string()
                .ends_with("spans.jsonl:1")
        );
    }

    #[cfg(feature = "testing-gerrit")]
    #[tokio::test]
    async fn entities_of_a_google_project() {
        let server = crate::fake_gerrit::FakeGerrit::start().unwrap();
        let entity = "{\"batch\": {\"entityResults\": [{\"entity\": {\"key\": {\"path\": [{\"kind\": \"Span\", \"name\": \"x\"}]}, \
             \"properties\": {\"EndTime\": {\"timestampValue\": \"2020-12-01T00:00:00Z\"}, \"Seconds\": {\"doubleValue\": 1.5}, \
             \"N\": {\"integerValue\": \"7\"}, \"IsTry\": {\"booleanValue\": true}}}}]}}";
        server
            .world()
            .answer("/v1/projects/p:runQuery", 200, entity);
        let source = Datastore::new("p", "t0ken".to_owned())
            .unwrap()
            .at(server.url());
        let found = source
            .finished_since(Kind::Span, BEGINNING, 10)
            .await
            .unwrap();
        assert_eq!(found[0].id, "Span:x");
        assert_eq!(
            (&found[0].columns["Seconds"], &found[0].columns["N"]),
            (&Value::from(1.5), &Value::from(7))
        );
        server.world().answer("/v1/projects/p:runQuery", 403, "{}");
        let error = source
            .finished_since(Kind::Span, BEGINNING, 10)
            .await
            .unwrap_err();
        assert!(error.kind() == ErrorKind::Denied && !error.chain().contains("t0ken"));
    }
}
