//! What failed, read out of the log of a whole test run of the Go project.
//!
//! A log is read line by line; what a failure says, where it was and in which package is taken
//! from the forms in which `go test`, the runtime and `go tool dist test` write them. The same
//! failure in many packages is one of the machine and is told once.
//!
//! ```
//! use build_core::log_failures::failures_of;
//!
//! let log = "--- FAIL: TestA (0.00s)\n    a_test.go:7: boom\nFAIL\nFAIL\texample.com/p\t0.1s\n";
//! let found = failures_of(log);
//! assert_eq!(found[0].package, "example.com/p");
//! assert_eq!(found[0].message, "boom");
//! ```

mod lines;
mod traceback;

use std::collections::{HashMap, HashSet};

use serde::Serialize;

use self::lines::{Lines, failed_package, starts_test_end};
use self::traceback::{take_traceback, test_of, where_of};

/// In as many packages the same failure is one of the machine.
const EVERYWHERE: usize = 5;

/// A failure.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LogFailure {
    /// The package, or the section of the tests; empty when it is the machine's.
    pub package: String,
    /// The test.
    pub test: String,
    /// What it says, one line.
    pub message: String,
    /// All that it says.
    pub full_message: String,
    /// The function in which it was.
    pub function: String,
    /// The file in which it was.
    pub file: String,
    /// The line in the file; 0 for none.
    pub line: u32,
}

impl LogFailure {
    fn new(package: &str, message: impl Into<String>, full_message: &str) -> Self {
        Self {
            package: package.to_owned(),
            message: message.into(),
            full_message: full_message.trim_end_matches('\n').to_owned(),
            ..Self::default()
        }
    }

    /// What two failures with the same cause have in common: numbers and what is around them
    /// count as the same.
    #[must_use]
    pub fn signature(&self) -> Signature {
        Signature {
            message: without_numbers(&self.message),
            function: self.function.clone(),
            file: self.file.clone(),
            line: self.line,
        }
    }
}

/// What failures with one cause have in common.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Signature {
    /// The message; words with digits are an ellipsis.
    pub message: String,
    /// The function.
    pub function: String,
    /// The file.
    pub file: String,
    /// The line.
    pub line: u32,
}

/// The failures that a log tells.
#[must_use]
pub fn failures_of(log: &str) -> Vec<LogFailure> {
    let log = canonical(log);
    let mut reading = Reading::new(&log);
    while !reading.lines.is_done() {
        let known = reading.step();
        if known {
            reading.unknown.clear();
        } else {
            let line = reading.lines.take();
            reading.unknown.push(line);
        }
    }
    let mut found = reading.found;
    if found.is_empty() {
        found.extend(of_the_whole(&log, reading.testing_started));
    }
    for failure in &mut found {
        shorten(&mut failure.package);
    }
    once(found)
}

/// Carriage returns before the end of a line are none of its business.
fn canonical(log: &str) -> String {
    let mut text = String::with_capacity(log.len());
    for line in log.split_inclusive('\n') {
        match line.strip_suffix('\n') {
            Some(line) => {
                text.push_str(line.trim_end_matches('\r'));
                text.push('\n');
            }
            None => text.push_str(line),
        }
    }
    text
}

struct Reading<'a> {
    lines: Lines<'a>,
    found: Vec<LogFailure>,
    unknown: Vec<&'a str>,
    testing_started: bool,
    section: &'a str,
    /// Failures before the section.
    before: usize,
}

impl<'a> Reading<'a> {
    fn new(log: &'a str) -> Self {
        Self {
            lines: Lines::new(log),
            found: Vec::new(),
            unknown: Vec::new(),
            testing_started: false,
            section: "",
            before: 0,
        }
    }

    /// Takes what is known at this line; false when nothing is, and nothing was taken.
    fn step(&mut self) -> bool {
        let line = self.lines.peek();
        let hashes = line.trim_start_matches('#');
        if hashes.len() < line.len() && hashes.starts_with(" Testing packages") {
            self.testing_started = true;
            self.section = line.strip_prefix("##### ").unwrap_or_default();
            self.before = self.found.len();
        } else if let Some(section) = line.strip_prefix("##### ") {
            self.section = section;
            self.before = self.found.len();
        } else if self.block() {
            return true;
        } else if let Some(package) = build_failed(line) {
            let failure = LogFailure::new(package, "build failed", line);
            self.found.push(failure);
        } else if is_runtime(line) && self.of_the_runtime() {
            return true;
        } else if let Some(said) = line.strip_prefix("Error running API checker: ") {
            self.found.push(LogFailure::new("API checker", said, line));
        } else if is_good(line) {
        } else if let Some(end) = starts_test_end(line) {
            let failure = LogFailure::new(end, self.unknown_failure(), line);
            self.found.push(failure);
        } else if self.found.len() == self.before && is_misc(line) {
            let failure = LogFailure::new(self.section, self.unknown_failure(), line);
            self.found.push(failure);
        } else {
            return false;
        }
        self.lines.take();
        true
    }

    fn unknown_failure(&self) -> String {
        let first = self.unknown.iter().find(|line| !line.is_empty());
        format!("unknown failure: {}", first.copied().unwrap_or_default())
    }

    /// What begins at this line and goes on to the end of a package.
    fn block(&mut self) -> bool {
        let line = self.lines.peek();
        if let Some(name) = line.strip_prefix("--- FAIL: ") {
            let Some(block) = self.lines.next_test_end(false) else {
                return false;
            };
            let name = name.split([' ', '\t', '-']).next().unwrap_or_default();
            self.found.push(of_a_test(name, &block));
            return true;
        }
        if line.starts_with("# go run run.go") {
            let Some(block) = self.lines.next_test_end(true) else {
                return false;
            };
            let package = format!("test/{}", block.package);
            let message = block.body.lines().next().unwrap_or_default();
            self.found
                .push(LogFailure::new(&package, message, block.whole));
            return true;
        }
        if line.starts_with("panic: test timed out after ") {
            let Some(block) = self.lines.next_test_end(false) else {
                return false;
            };
            let failure = LogFailure::new(block.package, "test timed out", block.whole);
            let test = test_of(block.body);
            self.found.push(LogFailure { test, ..failure });
            return true;
        }
        if line.starts_with("*** Test killed") && line.ends_with("ran too long") {
            let Some(block) = self.lines.next_is_test_end() else {
                return false;
            };
            let before = self.unknown.join("\n");
            let all = format!("{before}\n{}", block.whole);
            let failure = LogFailure::new(block.package, "test timed out", &all);
            let test = test_of(&before);
            self.found.push(LogFailure { test, ..failure });
            return true;
        }
        false
    }

    /// A panic, or an error of the runtime, with the traceback after it.
    fn of_the_runtime(&mut self) -> bool {
        let begin = self.lines.position();
        // What the runtime prints before it dies is part of it.
        let mut ahead = self.lines.clone();
        while ahead.peek().starts_with("runtime:") && said_of(ahead.peek()).is_none() {
            ahead.take();
            if ahead.is_done() {
                return false;
            }
        }
        let line = ahead.peek();
        let Some(message) = said_of(line) else {
            return false;
        };
        let fatal = line.contains("fatal error:");
        ahead.take();
        let traceback = take_traceback(&mut ahead);
        let mut package = "";
        if ahead.peek().starts_with("exit status") {
            ahead.take();
        }
        if ahead.peek().starts_with("*** Test killed") {
            ahead.take();
        }
        let mut whole = ahead.since(begin);
        if let Some(end) = starts_test_end(ahead.peek()) {
            package = end;
            whole = ahead.since_with_end(begin);
            ahead.take();
        }
        let place = where_of(traceback);
        // A panic is the package's whose end follows it; the runtime's errors are its own.
        let package = match (fatal, package) {
            (true, _) => "runtime",
            (false, "") => "testing",
            (false, package) => package,
        };
        let failure = LogFailure::new(package, message, whole);
        self.found.push(LogFailure {
            function: place.function,
            file: place.file,
            line: place.line,
            ..failure
        });
        self.lines = ahead;
        true
    }
}

/// A failed test: what its last error says, else its panic.
fn of_a_test(name: &str, block: &lines::Block<'_>) -> LogFailure {
    let failure = LogFailure::new(block.package, "unknown testing.T failure", block.whole);
    let failure = LogFailure {
        test: name.to_owned(),
        ..failure
    };
    if let Some((file, line, message)) = block.body.lines().rev().find_map(error_line) {
        return LogFailure {
            file: file.to_owned(),
            line,
            message: message.to_owned(),
            ..failure
        };
    }
    let panic = block.body.lines().find_map(|line| {
        let (_, said) = line.split_once("panic: ")?;
        Some(said.split_once(" [recovered]")?.0)
    });
    let Some(message) = panic else {
        return failure;
    };
    let place = where_of(block.body);
    LogFailure {
        message: message.to_owned(),
        function: place.function,
        file: place.file,
        line: place.line,
        ..failure
    }
}

/// `    file.go:7: what it says`; for years logs had a tab in the place of the blanks.
fn error_line(line: &str) -> Option<(&str, u32, &str)> {
    let begin = line.find(['\t', ' ']).filter(|at| *at == 0)?;
    let text = line[begin..].trim_start_matches([' ', '\t']);
    let (file, rest) = text.split_once(':')?;
    let (number, message) = rest.split_once(": ")?;
    let is_file = !file.is_empty() && !file.contains(char::is_whitespace);
    Some((file, number.parse().ok()?, message)).filter(|_| is_file)
}

/// What stands after the word that tells of a panic or an error of the runtime.
fn said_of(line: &str) -> Option<&str> {
    // The last one: a panic may turn into an error while it is told.
    let words = ["panic: ", "fatal error: "];
    let ends = words
        .iter()
        .filter_map(|word| Some(line.rfind(word)? + word.len()));
    ends.max().map(|at| &line[at..])
}

fn is_runtime(line: &str) -> bool {
    ["runtime:", "panic:", "fatal error:"]
        .iter()
        .any(|word| line.contains(word))
}

fn build_failed(line: &str) -> Option<&str> {
    let (package, rest) = failed_package(line)?;
    rest.trim_start()
        .starts_with("[build failed]")
        .then_some(package)
}

fn is_good(line: &str) -> bool {
    let blank_after = |word: &str| {
        line.strip_prefix(word)
            .is_some_and(|rest| rest.starts_with([' ', '\t']))
    };
    ["#", "Benchmark", "PASS", "=== ", "--- "]
        .iter()
        .any(|begin| line.starts_with(begin))
        || blank_after("ok")
        || blank_after("?")
}

fn is_misc(line: &str) -> bool {
    line.contains("Failed: exit status") || line.contains("Failed: test failed")
}

/// What a log without a failure of its own shows as a whole.
fn of_the_whole(log: &str, testing_started: bool) -> Option<LogFailure> {
    let is_late = |line: &str| {
        let killed =
            line.starts_with("Build complete") && line.contains("Result: error: timed out");
        let shard = line
            .strip_prefix("Test \"")
            .and_then(|rest| rest.split_once('"'));
        killed
            || shard.is_some_and(|(_, rest)| {
                rest.strip_prefix(" ran over ")
                    .is_some_and(|rest| rest.contains(" limit"))
            })
    };
    let why = if log.contains("no space left on device") {
        "no space left on device"
    } else if log.lines().any(is_late) {
        "timed out"
    } else if log.contains("Failed to schedule") {
        "failed to schedule"
    } else if log.contains("nosplit stack overflow") {
        "nosplit stack overflow"
    } else if testing_started {
        return None;
    } else {
        return Some(LogFailure::new("", "toolchain build failed", ""));
    };
    Some(LogFailure::new("", format!("build failed ({why})"), ""))
}

/// Packages in a directory of their own are known without it.
fn shorten(package: &mut String) {
    if package.starts_with("_/tmp/") {
        *package = package.splitn(4, '/').nth(3).unwrap_or_default().to_owned();
    }
}

/// The same in many packages is told once, without one.
fn once(found: Vec<LogFailure>) -> Vec<LogFailure> {
    let mut packages: HashMap<Signature, HashSet<&str>> = HashMap::new();
    for failure in &found {
        let known = packages.entry(failure.signature()).or_default();
        known.insert(failure.package.as_str());
    }
    let everywhere: HashSet<Signature> = packages
        .into_iter()
        .filter(|(_, packages)| packages.len() >= EVERYWHERE)
        .map(|(signature, _)| signature)
        .collect();
    let mut told = HashSet::new();
    let mut kept = Vec::new();
    for failure in found {
        let signature = failure.signature();
        if !everywhere.contains(&signature) {
            kept.push(failure);
        } else if told.insert(signature) {
            kept.push(LogFailure {
                package: String::new(),
                test: String::new(),
                ..failure
            });
        }
    }
    kept
}

/// Words with digits in them are an ellipsis.
fn without_numbers(message: &str) -> String {
    let mut text = String::with_capacity(message.len());
    let mut word = String::new();
    for c in message.chars().chain(['\0']) {
        if c.is_alphabetic() || c.is_ascii_digit() {
            word.push(c);
            continue;
        }
        match word.contains(|c: char| c.is_ascii_digit()) {
            true => text.push('…'),
            false => text.push_str(&word),
        }
        word.clear();
        if c != '\0' {
            text.push(c);
        }
    }
    text
}

#[cfg(test)]
mod tests;
