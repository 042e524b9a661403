//! The results of all tests of a run, as they are kept: compressed lines of JSON, of any number.

use std::io::{self, BufRead, BufReader, Read, Write};

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result};
use crate::name::Name;

/// Counts the changes of the format. A field that may be missing is no change; of a newer version
/// nothing is guessed.
pub const RESULTS_VERSION: u16 = 1;
/// What the first line says it is.
const FORMAT: &str = "test results";
/// Longest line that is read: longer than any that is written.
const MAX_LINE_BYTES: u64 = 64 << 10;

/// How one test ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum TestEnd {
    /// It passed.
    Passed,
    /// It failed.
    Failed,
    /// It was left out.
    Skipped,
}

/// One test that ran, or was left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TestResult {
    /// Its name, as it was printed.
    pub name: Name,
    /// How it ended.
    pub end: TestEnd,
    /// How long it took, in microseconds, when that was printed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub took_us: Option<u64>,
}

#[derive(Serialize, Deserialize)]
struct Head {
    format: String,
    v: u16,
}

/// Writes results, one after another.
///
/// ```
/// use build_core::test_lines::{ResultsReader, ResultsWriter, TestEnd, TestResult};
/// # fn main() -> build_core::Result<()> {
/// let result = TestResult { name: "parse::empty".into(), end: TestEnd::Passed, took_us: Some(5) };
/// let mut writer = ResultsWriter::new(Vec::new())?;
/// writer.write(&result)?;
/// let kept = writer.finish()?;
/// let read: Vec<TestResult> = ResultsReader::new(&kept[..])?.collect::<build_core::Result<_>>()?;
/// assert_eq!(read, [result]);
/// # Ok(()) }
/// ```
pub struct ResultsWriter<W: Write>(GzEncoder<W>);

impl<W: Write> ResultsWriter<W> {
    /// Begins them in `to`.
    ///
    /// # Errors
    /// When `to` cannot be written.
    pub fn new(to: W) -> Result<Self> {
        let mut writer = Self(GzEncoder::new(to, Compression::default()));
        writer.line(&Head {
            format: FORMAT.to_owned(),
            v: RESULTS_VERSION,
        })?;
        Ok(writer)
    }

    /// Adds one.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&mut self, result: &TestResult) -> Result<()> {
        self.line(result)
    }

    fn line(&mut self, value: &impl Serialize) -> Result<()> {
        let mut line = serde_json::to_vec(value)
            .map_err(|e| Error::caused_by(ErrorKind::Bug, "write a test result", e))?;
        line.push(b'\n');
        Ok(self.0.write_all(&line)?)
    }

    /// All of them were written: the place they were written to.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn finish(self) -> Result<W> {
        Ok(self.0.finish()?)
    }
}

/// Reads results, one after another. Nothing comes behind an error.
pub struct ResultsReader<R: Read> {
    lines: BufReader<GzDecoder<R>>,
    over: bool,
}

impl<R: Read> ResultsReader<R> {
    /// Reads what a [`ResultsWriter`] has written.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] when it is something else, [`ErrorKind::Unsupported`] when it was
    /// written by a newer version.
    pub fn new(from: R) -> Result<Self> {
        let lines = BufReader::new(GzDecoder::new(from));
        let mut reader = Self { lines, over: false };
        let head = reader.line()?.ok_or_else(|| corrupt("they are empty"))?;
        let head: Head = serde_json::from_slice(&head)
            .map_err(|e| Error::caused_by(ErrorKind::Corrupt, "read test results", e))?;
        if head.format != FORMAT {
            return Err(corrupt("this is something else"));
        }
        if head.v > RESULTS_VERSION {
            let text = format!("test results of version {} are not understood", head.v);
            let error = Error::new(ErrorKind::Unsupported, text);
            return Err(
                error.with_hint("read them with the version that wrote them, or a newer one")
            );
        }
        Ok(reader)
    }

    fn line(&mut self) -> Result<Option<Vec<u8>>> {
        let mut line = Vec::new();
        let limited = &mut (&mut self.lines).take(MAX_LINE_BYTES);
        match limited.read_until(b'\n', &mut line) {
            Ok(0) => Ok(None),
            Ok(_) if line.ends_with(b"\n") => Ok(Some(line)),
            Ok(_) => Err(corrupt("a line has no end")),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Err(corrupt("they were cut off"))
            }
            Err(error) => Err(Error::caused_by(
                ErrorKind::Corrupt,
                "read test results",
                error,
            )),
        }
    }
}

fn corrupt(why: &str) -> Error {
    Error::new(ErrorKind::Corrupt, format!("read test results: {why}"))
}

impl<R: Read> Iterator for ResultsReader<R> {
    type Item = Result<TestResult>;

    fn next(&mut self) -> Option<Result<TestResult>> {
        if self.over {
            return None;
        }
        let read = self.line().transpose()?.and_then(|line| {
            serde_json::from_slice(&line)
                .map_err(|e| Error::caused_by(ErrorKind::Corrupt, "read test results", e))
        });
        self.over = read.is_err();
        Some(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some() -> Vec<TestResult> {
        let result = |name: &[u8], end, took_us| TestResult {
            name: name.into(),
            end,
            took_us,
        };
        vec![
            result(b"parse::empty", TestEnd::Passed, Some(5)),
            result(b"caf\xe9", TestEnd::Failed, None),
            result(b"later", TestEnd::Skipped, None),
        ]
    }

    fn kept(results: &[TestResult]) -> Vec<u8> {
        let mut writer = ResultsWriter::new(Vec::new()).unwrap();
        results
            .iter()
            .for_each(|result| writer.write(result).unwrap());
        writer.finish().unwrap()
    }

    fn unpacked(kept: &[u8]) -> String {
        let mut text = String::new();
        GzDecoder::new(kept).read_to_string(&mut text).unwrap();
        text
    }

    fn packed(text: &str) -> Vec<u8> {
        let mut packer = GzEncoder::new(Vec::new(), Compression::default());
        packer.write_all(text.as_bytes()).unwrap();
        packer.finish().unwrap()
    }

    /// What was written once is read for ever: a difference is a new version.
    #[test]
    fn results_are_written_as_they_were() {
        let golden = include_str!("golden/results-v1.jsonl");
        assert_eq!(unpacked(&kept(&some())), golden);
        let more = golden.replace(
            "\"took_us\":5",
            "\"took_us\":5,\"of\":{\"a\":\"newer version\"}",
        );
        for text in [golden, &more] {
            let read = packed(text);
            let read: Result<Vec<_>> = ResultsReader::new(&read[..]).unwrap().collect();
            assert_eq!(read.unwrap(), some());
        }
    }

    #[test]
    fn what_is_damaged_or_newer_is_said() {
        let kind = |bytes: &[u8]| match ResultsReader::new(bytes) {
            Err(error) => error.kind(),
            Ok(reader) => reader.collect::<Result<Vec<_>>>().unwrap_err().kind(),
        };
        let whole = kept(&some());
        assert_eq!(kind(&whole[..whole.len() - 9]), ErrorKind::Corrupt);
        assert_eq!(kind(b"prose"), ErrorKind::Corrupt);
        assert_eq!(kind(&packed("")), ErrorKind::Corrupt);
        assert_eq!(
            kind(&packed("{\"format\":\"x\",\"v\":1}\n")),
            ErrorKind::Corrupt
        );
        let newer = "{\"format\":\"test results\",\"v\":2}\n";
        assert_eq!(kind(&packed(newer)), ErrorKind::Unsupported);
        let endless = format!(
            "{{\"format\":\"test results\",\"v\":1}}\n{}",
            "x".repeat(1 << 20)
        );
        assert_eq!(kind(&packed(&endless)), ErrorKind::Corrupt);
    }
}
