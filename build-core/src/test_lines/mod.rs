//! Which tests passed and which failed, read from what a step prints.
//!
//! A step is any command, so its tests are known only by the lines that test runners print:
//! libtest, nextest, `go test` (text and `-json`), pytest (with xdist), unittest, CTest, Meson,
//! Automake, TAP, jest, vitest, mocha, the runner of Node, Surefire. Lines of other programs say
//! nothing. A name is taken as it is printed: never split, joined or quoted by guess.

mod go;
mod javascript;
mod jvm;
mod line;
mod native;
mod python;
mod results;
mod rust;

use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use self::results::{RESULTS_VERSION, ResultsReader, ResultsWriter, TestEnd, TestResult};

use self::TestEnd as Ended;
use self::line::{may_tell, plain, unmarked};
use crate::name::Name;

/// What is longer is no line of a test runner; its rest is skipped.
const MAX_LINE_BYTES: usize = 4096;
/// Names of failed tests that are kept; more are only counted.
const MAX_FAILED: usize = 1000;
/// The slowest tests that are kept.
const MAX_SLOWEST: usize = 10;

/// What is known of the tests of a unit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TestCounts {
    /// How many passed.
    pub passed: u64,
    /// How many failed, also those that are not named.
    pub failed: u64,
    /// How many were left out.
    pub skipped: u64,
    /// The failed ones, each once, in the order of their lines; the first 1,000.
    pub failures: Vec<Name>,
    /// The slowest ones whose time was printed, slowest first; at most ten.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub slowest: Vec<SlowTest>,
    /// A runner said that there was nothing to run, and no test was seen.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub none_ran: bool,
}

/// A test and how long it took.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlowTest {
    /// Its name, as it was printed.
    pub name: Name,
    /// How long it took, in microseconds.
    pub took_us: u64,
}

impl TestCounts {
    /// Whether no test was seen at all.
    pub fn is_empty(&self) -> bool {
        self.passed + self.failed + self.skipped == 0
    }
}

/// What a line tells.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Told {
    /// One test has ended.
    Test(String, Ended, Option<Duration>),
    /// A failed test of a Go package whose name comes after it.
    OfPackage(String),
    /// A package that is named after its tests.
    Package(String, Ended),
    /// A failed test by its last name; a line with its whole name may come.
    Titled(String),
    /// A failed test by its whole name, after [`Told::Titled`].
    Detailed(String),
    /// So many tests ended so, also those that were told by lines of their own.
    InAll { passed: u64, skipped: u64 },
    /// So many tests that are not named.
    More { passed: u64, skipped: u64 },
    /// A runner found nothing to run.
    NoneRan,
}

impl Told {
    fn test(name: &str, ended: Ended) -> Self {
        Self::Test(name.to_owned(), ended, None)
    }
}

/// Reads the output of a step, in pieces of any size.
///
/// ```
/// use build_core::test_lines::TestLines;
///
/// let mut lines = TestLines::default();
/// lines.feed(b"test parse::empty ... ok\ntest parse::lo");
/// lines.feed(b"ng ... FAILED\n");
/// let counts = lines.finish();
/// assert_eq!((counts.passed, counts.failed), (1, 1));
/// assert_eq!(counts.failures, ["parse::long"]);
/// ```
#[derive(Debug, Default)]
pub struct TestLines {
    line: Vec<u8>,
    too_long: bool,
    passed: u64,
    failed: u64,
    skipped: u64,
    /// The first ones, marked.
    failures: Vec<String>,
    slowest: Vec<SlowTest>,
    /// The result of each test, when they are wanted.
    results: Option<Vec<TestResult>>,
    /// Failed tests of a Go package whose name comes after them.
    of_package: Vec<String>,
    /// Failed tests that were told by their last names only.
    titled: Vec<String>,
    /// Whether whole names came after them.
    has_details: bool,
    /// Counted since the last line that counts all.
    since: (u64, u64),
    none_ran: bool,
}

impl TestLines {
    /// Takes the next bytes of the output.
    pub fn feed(&mut self, bytes: &[u8]) {
        let mut begin = 0;
        for end in memchr::memchr_iter(b'\n', bytes) {
            self.end_line(&bytes[begin..end]);
            begin = end + 1;
        }
        self.extend(&bytes[begin..]);
    }

    /// As the default, and keeps the result of each test for [`TestLines::take_results`].
    pub fn with_results() -> Self {
        Self {
            results: Some(Vec::new()),
            ..Self::default()
        }
    }

    /// Counts a test of which a report tells, not a line. A failed one that is named already is not
    /// counted again.
    pub fn tell(&mut self, name: &str, end: TestEnd, took: Option<Duration>) {
        self.take(Told::Test(name.to_owned(), end, took));
    }

    /// The results since it was asked last, in order.
    pub fn take_results(&mut self) -> Vec<TestResult> {
        self.results
            .as_mut()
            .map(std::mem::take)
            .unwrap_or_default()
    }

    /// The output has ended.
    pub fn finish(mut self) -> TestCounts {
        self.end();
        let failures = self.failures.iter().map(|name| unmarked(name)).collect();
        let mut counts = TestCounts {
            passed: self.passed,
            failed: self.failed,
            skipped: self.skipped,
            failures,
            slowest: self.slowest,
            none_ran: false,
        };
        counts.none_ran = self.none_ran && counts.is_empty();
        counts
    }

    /// Takes what was not told to its end: nothing more comes.
    pub fn end(&mut self) {
        self.end_line(&[]);
        for name in std::mem::take(&mut self.of_package) {
            self.fail(name, None);
        }
        if !self.has_details {
            for name in std::mem::take(&mut self.titled) {
                self.fail(name, None);
            }
        }
    }

    fn extend(&mut self, bytes: &[u8]) {
        if self.line.len() + bytes.len() > MAX_LINE_BYTES {
            self.too_long = true;
            self.line.clear();
        }
        if !self.too_long {
            self.line.extend_from_slice(bytes);
        }
    }

    /// A line has ended with `rest`; most come in one piece and are read where they are.
    fn end_line(&mut self, rest: &[u8]) {
        if self.line.is_empty() && !self.too_long {
            if rest.len() <= MAX_LINE_BYTES {
                self.read_bytes(rest);
            }
            return;
        }
        self.extend(rest);
        let mut line = std::mem::take(&mut self.line);
        if !std::mem::take(&mut self.too_long) {
            self.read_bytes(&line);
        }
        line.clear();
        self.line = line;
    }

    fn read_bytes(&mut self, line: &[u8]) {
        if may_tell(line) {
            self.read(&plain(line));
        }
    }

    fn read(&mut self, line: &str) {
        let told = go::json(line, &self.failures)
            .or_else(|| go::package(line))
            .or_else(|| go::test(line))
            .or_else(|| rust::libtest(line))
            .or_else(|| rust::nextest(line))
            .or_else(|| python::pytest(line, &self.failures))
            .or_else(|| python::unittest(line))
            .or_else(|| native::ctest(line))
            .or_else(|| native::meson(line))
            .or_else(|| native::automake(line))
            .or_else(|| native::tap(line))
            .or_else(|| javascript::node(line))
            .or_else(|| javascript::jest(line))
            .or_else(|| javascript::vitest(line))
            .or_else(|| javascript::mocha(line))
            .or_else(|| jvm::surefire(line));
        if let Some(told) = told {
            self.take(told);
        }
    }

    fn take(&mut self, told: Told) {
        match told {
            Told::Test(name, ended, took) => {
                if let Some(took) = took {
                    self.time(&name, took);
                }
                self.note(name, ended, took);
            }
            Told::OfPackage(name) => self.of_package.push(name),
            Told::Package(name, ended) => self.end_package(&name, ended),
            Told::Titled(name) => self.titled.push(name),
            Told::Detailed(name) => {
                self.has_details = true;
                self.fail(name, None);
            }
            Told::InAll { passed, skipped } => {
                let (seen_passed, seen_skipped) = std::mem::take(&mut self.since);
                self.passed += passed.saturating_sub(seen_passed);
                self.skipped += skipped.saturating_sub(seen_skipped);
            }
            Told::More { passed, skipped } => {
                self.passed += passed;
                self.skipped += skipped;
            }
            Told::NoneRan => self.none_ran = true,
        }
    }

    /// A package that passed counts as one test, and one that failed without naming a test too.
    fn end_package(&mut self, name: &str, ended: Ended) {
        let tests = std::mem::take(&mut self.of_package);
        if tests.is_empty() {
            return self.note(name.to_owned(), ended, None);
        }
        for test in tests {
            self.fail(format!("{name}.{test}"), None);
        }
    }

    fn note(&mut self, name: String, ended: Ended, took: Option<Duration>) {
        match ended {
            Ended::Passed => {
                self.passed += 1;
                self.since.0 += 1;
            }
            Ended::Skipped => {
                self.skipped += 1;
                self.since.1 += 1;
            }
            Ended::Failed => return self.fail(name, took),
        }
        self.keep(&name, ended, took);
    }

    /// A summary may name a test that was told already.
    fn fail(&mut self, name: String, took: Option<Duration>) {
        if self.failures.contains(&name) {
            return;
        }
        self.failed += 1;
        self.keep(&name, Ended::Failed, took);
        if self.failures.len() < MAX_FAILED {
            self.failures.push(name);
        }
    }

    fn keep(&mut self, name: &str, end: Ended, took: Option<Duration>) {
        if let Some(results) = &mut self.results {
            results.push(TestResult {
                name: unmarked(name),
                end,
                took_us: took.map(in_us),
            });
        }
    }

    fn time(&mut self, name: &str, took: Duration) {
        let took_us = in_us(took);
        let slowest = &mut self.slowest;
        if slowest.len() == MAX_SLOWEST && slowest.last().is_some_and(|s| s.took_us >= took_us) {
            return;
        }
        let at = slowest.partition_point(|s| s.took_us >= took_us);
        let name = unmarked(name);
        slowest.insert(at, SlowTest { name, took_us });
        slowest.truncate(MAX_SLOWEST);
    }
}

fn in_us(took: Duration) -> u64 {
    u64::try_from(took.as_micros()).unwrap_or(u64::MAX)
}

/// Any output is read alike whatever pieces it comes in, and never panics.
#[doc(hidden)]
pub fn fuzz_test_lines(data: &[u8]) {
    let mut whole = TestLines::default();
    whole.feed(data);
    let mut bytewise = TestLines::default();
    data.chunks(1).for_each(|byte| bytewise.feed(byte));
    assert_eq!(whole.finish(), bytewise.finish());
}

#[cfg(test)]
mod tests;
