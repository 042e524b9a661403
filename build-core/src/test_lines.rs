//! Which tests passed and which failed, read from what a step prints.
//!
//! A step is any command, so its tests are known only by the lines that test runners print:
//! libtest, `go test`, pytest, CTest, TAP, nextest and the runner of Node. Lines of other
//! programs say nothing.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

/// What is longer is no line of a test runner; its rest is skipped.
const MAX_LINE_BYTES: usize = 4096;
/// Names of failed tests that are kept; more are only counted.
const MAX_FAILED: usize = 1000;

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
    pub failures: Vec<String>,
}

impl TestCounts {
    /// Whether no test was seen at all.
    pub fn is_empty(&self) -> bool {
        self.passed + self.failed + self.skipped == 0
    }
}

/// How one test ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    Passed,
    Failed,
    Skipped,
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
    counts: TestCounts,
    /// Failed tests of a Go package whose name comes after them.
    of_package: Vec<String>,
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

    /// The output has ended.
    pub fn finish(mut self) -> TestCounts {
        self.end_line(&[]);
        for name in std::mem::take(&mut self.of_package) {
            self.note(name, Ended::Failed);
        }
        self.counts
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
        if let Some(package) = go_package(line) {
            return self.end_package(package);
        }
        if let Some(name) = line.trim_start().strip_prefix("--- FAIL: ") {
            return self.of_package.push(first_word(name).to_owned());
        }
        let found = libtest(line)
            .or_else(|| go_test(line))
            .or_else(|| pytest(line))
            .or_else(|| ctest(line))
            .or_else(|| nextest(line))
            .or_else(|| tap(line))
            .or_else(|| node(line));
        if let Some((name, ended)) = found {
            self.note(name.to_owned(), ended);
        }
    }

    /// A package that passed counts as one test, and one that failed without naming a test too.
    fn end_package(&mut self, (name, ended): (&str, Ended)) {
        let tests = std::mem::take(&mut self.of_package);
        if tests.is_empty() {
            return self.note(name.to_owned(), ended);
        }
        for test in tests {
            self.note(format!("{name}.{test}"), Ended::Failed);
        }
    }

    fn note(&mut self, name: String, ended: Ended) {
        match ended {
            Ended::Passed => self.counts.passed += 1,
            Ended::Skipped => self.counts.skipped += 1,
            // A summary names a test that was told already.
            Ended::Failed if self.counts.failures.contains(&name) => {}
            Ended::Failed => {
                self.counts.failed += 1;
                if self.counts.failures.len() < MAX_FAILED {
                    self.counts.failures.push(name);
                }
            }
        }
    }
}

/// Whether a line may be one of a test runner, at the cost of a glance: everything that is ever
/// printed passes here.
fn may_tell(line: &[u8]) -> bool {
    let first = line.iter().find(|byte| !byte.is_ascii_whitespace());
    match first {
        // `test`, `ok`, `not ok`, `---`, `PASS`, `FAIL`, `TIMEOUT`, `SIG…`, `ERROR`, `1/3`, a mark
        // of Node or a space beyond ASCII, a colour.
        Some(b't' | b'o' | b'n' | b'-' | b'P' | b'F' | b'T' | b'S' | b'E' | b'0'..=b'9' | 0x1b) => {
            true
        }
        Some(byte) if !byte.is_ascii() => true,
        Some(_) => memchr::memchr_iter(b':', line)
            .any(|at| line[at..].starts_with(b"::") && line[..at].ends_with(b".py")),
        None => false,
    }
}

/// The line as text, without colours; most lines have none.
fn plain(line: &[u8]) -> Cow<'_, str> {
    if memchr::memchr2(0x1b, b'\r', line).is_none() {
        return String::from_utf8_lossy(line);
    }
    let mut out = Vec::with_capacity(line.len());
    let mut bytes = line.iter().copied();
    while let Some(byte) = bytes.next() {
        match byte {
            // ESC [ parameters letter
            0x1b if bytes.next() == Some(b'[') => {
                bytes.find(|b| (0x40..=0x7e).contains(b));
            }
            0x1b | b'\r' => {}
            _ => out.push(byte),
        }
    }
    Cow::Owned(String::from_utf8_lossy(&out).into_owned())
}

fn first_word(text: &str) -> &str {
    text.split_whitespace().next().unwrap_or_default()
}

/// `test NAME ... ok`
fn libtest(line: &str) -> Option<(&str, Ended)> {
    let (name, end) = line.strip_prefix("test ")?.rsplit_once(" ... ")?;
    let name = name.strip_suffix(" - should panic").unwrap_or(name);
    let ended = match end.trim_end() {
        "ok" => Ended::Passed,
        "FAILED" => Ended::Failed,
        other if other.starts_with("ignored") => Ended::Skipped,
        _ => return None,
    };
    Some((name, ended))
}

/// `ok PACKAGE 0.1s`, `FAIL PACKAGE 0.1s`, with tabs between, so that prose is not taken for it.
fn go_package(line: &str) -> Option<(&str, Ended)> {
    let (word, rest) = line.split_once('\t')?;
    let name = rest.split(['\t', ' ']).next()?;
    let ended = match word.trim_end() {
        "ok" => Ended::Passed,
        "FAIL" => Ended::Failed,
        _ => return None,
    };
    (!name.is_empty()).then_some((name, ended))
}

/// `--- PASS: NAME (0.00s)`; failures wait for their package.
fn go_test(line: &str) -> Option<(&str, Ended)> {
    let rest = line.trim_start().strip_prefix("--- ")?;
    let (word, name) = rest.split_once(": ")?;
    let ended = match word {
        "PASS" => Ended::Passed,
        "SKIP" => Ended::Skipped,
        _ => return None,
    };
    Some((first_word(name), ended))
}

/// `FILE::NAME PASSED [ 50%]`, and in the summary `FAILED FILE::NAME - reason`
fn pytest(line: &str) -> Option<(&str, Ended)> {
    for word in ["FAILED ", "ERROR "] {
        if let Some(rest) = line.strip_prefix(word) {
            let name = rest.split(" - ").next()?.trim_end();
            return name.contains(".py").then_some((name, Ended::Failed));
        }
    }
    let (name, rest) = line.split_once(' ')?;
    if !name.contains(".py::") {
        return None;
    }
    let ended = match first_word(rest) {
        "PASSED" | "XFAIL" | "XPASS" => Ended::Passed,
        "FAILED" | "ERROR" => Ended::Failed,
        "SKIPPED" => Ended::Skipped,
        _ => return None,
    };
    Some((name, ended))
}

/// `1/3 Test  #1: NAME ......   Passed    0.01 sec`
fn ctest(line: &str) -> Option<(&str, Ended)> {
    let (count, rest) = line.trim_start().split_once(" Test ")?;
    let (at, of) = count.split_once('/')?;
    if at.parse::<u32>().is_err() || of.parse::<u32>().is_err() {
        return None;
    }
    let (_, rest) = rest.split_once(": ")?;
    let (name, end) = rest.split_once(" ..")?;
    let ended = match end.trim_start_matches('.').trim_start() {
        end if end.starts_with("Passed") => Ended::Passed,
        end if end.starts_with("***Skipped") || end.starts_with("***Not Run (Disabled)") => {
            Ended::Skipped
        }
        end if end.starts_with("***") => Ended::Failed,
        _ => return None,
    };
    Some((name.trim_end(), ended))
}

/// `PASS [   0.005s] CRATE NAME`
fn nextest(line: &str) -> Option<(&str, Ended)> {
    let (word, rest) = line.trim_start().split_once(" [")?;
    let (time, name) = rest.split_once("] ")?;
    let ended = match word {
        "PASS" => Ended::Passed,
        "FAIL" | "TIMEOUT" | "SIGABRT" | "SIGSEGV" => Ended::Failed,
        _ => return None,
    };
    time.trim().ends_with('s').then_some((name.trim(), ended))
}

/// `ok 1 - NAME`, `not ok 2 - NAME # SKIP`
fn tap(line: &str) -> Option<(&str, Ended)> {
    let line = line.trim_start();
    let (failed, rest) = match line.strip_prefix("not ok ") {
        Some(rest) => (true, rest),
        None => (false, line.strip_prefix("ok ")?),
    };
    let (number, name) = rest.split_once(' ')?;
    number.parse::<u32>().ok()?;
    let name = name.strip_prefix("- ").unwrap_or(name);
    let (name, directive) = name.split_once(" # ").unwrap_or((name, ""));
    let ended = match directive.get(..4).map(str::to_ascii_uppercase).as_deref() {
        Some("SKIP" | "TODO") => Ended::Skipped,
        _ if failed => Ended::Failed,
        _ => Ended::Passed,
    };
    Some((name.trim_end(), ended))
}

/// `✔ NAME (1.2ms)`, `✖ NAME (1.2ms)`
fn node(line: &str) -> Option<(&str, Ended)> {
    let line = line.trim_start();
    let (failed, rest) = match line.strip_prefix("✖ ") {
        Some(rest) => (true, rest),
        None => (false, line.strip_prefix("✔ ")?),
    };
    let (name, time) = rest.rsplit_once(" (")?;
    time.ends_with("ms)")
        .then_some((name, if failed { Ended::Failed } else { Ended::Passed }))
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
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn counts(text: &str) -> TestCounts {
        let mut lines = TestLines::default();
        lines.feed(text.as_bytes());
        lines.finish()
    }

    #[track_caller]
    fn check(text: &str, passed: u64, skipped: u64, failures: &[&str]) {
        let found = counts(text);
        assert_eq!(found.failures, failures, "{text}");
        assert_eq!((found.passed, found.skipped), (passed, skipped), "{text}");
    }

    #[test]
    fn libtest_and_its_doc_tests() {
        let text = "running 3 tests\ntest a::b ... ok\ntest c - should panic ... FAILED\n\
            test src/lib.rs - x (line 3) ... ignored, slow\n\nfailures:\n    c\ntest result: FAILED. 1 passed\n";
        check(text, 1, 1, &["c"]);
    }

    #[test]
    fn go_names_the_package_after_its_tests() {
        let text = "--- FAIL: TestA (0.00s)\n    --- FAIL: TestA/sub (0.00s)\n    a_test.go:3: no\nFAIL\n\
            FAIL\texample.com/a\t0.003s\nok  \texample.com/b\t(cached)\n?   \texample.com/c\t[no test files]\n\
            FAIL\texample.com/d [build failed]\n--- PASS: TestX (0.00s)\n";
        let failures = [
            "example.com/a.TestA",
            "example.com/a.TestA/sub",
            "example.com/d",
        ];
        check(text, 2, 0, &failures);
    }

    #[test]
    fn pytest_tells_a_failure_twice_and_it_counts_once() {
        let text = "tests/test_a.py::test_x PASSED   [ 50%]\ntests/test_a.py::test_y FAILED   [100%]\n\
            tests/test_a.py::test_z SKIPPED (no)\n=== short test summary info ===\n\
            FAILED tests/test_a.py::test_y - assert 1 == 2\nERROR: something else\n";
        check(text, 1, 1, &["tests/test_a.py::test_y"]);
    }

    #[test]
    fn ctest_nextest_tap_and_node() {
        check(
            "1/2 Test #1: one ......   Passed    0.01 sec\n2/2 Test #2: two ......***Failed    0.01 sec\n",
            1,
            0,
            &["two"],
        );
        check(
            "    PASS [   0.005s] core a::b\n    FAIL [   1.200s] core a::c\n",
            1,
            0,
            &["core a::c"],
        );
        check(
            "ok 1 - one\nnot ok 2 - two\nok 3 - three # SKIP later\n1..3\nok then\n",
            1,
            1,
            &["two"],
        );
        check(
            "\u{2714} adds (0.5ms)\n\u{2716} takes (1.5ms)\n",
            1,
            0,
            &["takes"],
        );
    }

    #[test]
    fn colours_and_carriage_returns_do_not_matter() {
        check("test a ... \u{1b}[32mok\u{1b}(B\u{1b}[m\r\n", 0, 0, &[]);
        check("test a ... \u{1b}[32mok\u{1b}[0m\r\n", 1, 0, &[]);
    }

    #[test]
    fn prose_and_endless_lines_say_nothing() {
        let long = format!("test {} ... FAILED\n", "x".repeat(MAX_LINE_BYTES));
        assert!(counts(&long).is_empty());
        assert!(counts("ok, that was the test ... of it\nFAIL early\nnot ok at all\n").is_empty());
    }

    #[test]
    fn many_failures_are_counted_and_the_first_named() {
        let text: String = (0..1500)
            .map(|n| format!("test t{n} ... FAILED\n"))
            .collect();
        let found = counts(&text);
        assert_eq!((found.failed, found.failures.len()), (1500, MAX_FAILED));
    }

    /// Lines of every runner, and lines near them.
    const LINES: &str = "( |\t){0,2}(\u{1b}\\[3[0-9]m)?(test [a-c] \\.\\.\\. (ok|FAILED)|--- (FAIL|PASS): T|(FAIL|ok)\tp\t1s\
        |a\\.py::b (PASSED|FAILED)|FAILED a\\.py - x|1/3 Test  #1: n \\.\\.\\. +(Passed|\\*\\*\\*Failed)\
        |(PASS|FAIL|SIGABRT|TIMEOUT) \\[ 1s\\] c n|(not )?ok 1 - n|[✔✖] n \\(1ms\\)|[a-z]{0,3})";

    proptest! {
        #[test]
        fn a_glance_drops_no_line_of_a_runner(line in LINES) {
            let mut read = TestLines::default();
            read.read(&plain(line.as_bytes()));
            prop_assert_eq!(counts(&line), read.finish());
        }

        #[test]
        fn any_output_is_survived(data in proptest::collection::vec(any::<u8>(), 0..2000)) {
            fuzz_test_lines(&data);
        }

        #[test]
        fn pieces_do_not_matter(lines in proptest::collection::vec("(test [a-c] \\.\\.\\. (ok|FAILED)|--- FAIL: T[a-c]|FAIL\tp\t1s)", 0..20)) {
            fuzz_test_lines(lines.join("\n").as_bytes());
        }
    }
}
