//! The lines of a log, one after the other.

/// What a coordinator writes where it has cut a log.
const TRUNCATED: &str = "... log truncated ...";

/// Where a reader of a log is. A copy goes on from the same line.
#[derive(Clone)]
pub(super) struct Lines<'a> {
    text: &'a str,
    at: usize,
}

/// What goes on to the end of a package.
pub(super) struct Block<'a> {
    /// The lines between the first one and the end.
    pub(super) body: &'a str,
    /// The package; empty when the log was cut.
    pub(super) package: &'a str,
    /// Everything, up to the package's name.
    pub(super) whole: &'a str,
}

impl<'a> Lines<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    pub(super) fn is_done(&self) -> bool {
        self.at >= self.text.len()
    }

    /// This line, without its end; empty after the last one.
    pub(super) fn peek(&self) -> &'a str {
        let rest = &self.text[self.at..];
        rest.split_once('\n').map_or(rest, |(line, _)| line)
    }

    /// The same; the next line is then this one.
    pub(super) fn take(&mut self) -> &'a str {
        let line = self.peek();
        self.at = (self.at + line.len() + 1).min(self.text.len());
        line
    }

    /// A place in the text.
    pub(super) fn position(&self) -> usize {
        self.at
    }

    /// What was taken since a place.
    pub(super) fn since(&self, begin: usize) -> &'a str {
        &self.text[begin..self.at]
    }

    /// What was taken since `begin`, and of this line what names the package that ends with it.
    pub(super) fn since_with_end(&self, begin: usize) -> &'a str {
        &self.text[begin..self.at + end_of(self.peek())]
    }

    /// Takes this line and what follows it, through the next end of a package; nothing when there
    /// is none. With `some`, at least one line is between them.
    pub(super) fn next_test_end(&mut self, some: bool) -> Option<Block<'a>> {
        let mut ahead = self.clone();
        let begin = self.at;
        ahead.take();
        let body = ahead.at;
        if some && !ahead.is_done() {
            ahead.take();
        }
        while !ahead.is_done() {
            let line = ahead.peek();
            if let Some(package) = starts_test_end(line) {
                let block = Block {
                    body: &self.text[body..ahead.at],
                    package,
                    whole: &self.text[begin..ahead.at + end_of(line)],
                };
                ahead.take();
                *self = ahead;
                return Some(block);
            }
            ahead.take();
        }
        None
    }

    /// Takes this line and the next one, when that is the end of a package.
    pub(super) fn next_is_test_end(&mut self) -> Option<Block<'a>> {
        let mut ahead = self.clone();
        ahead.take();
        starts_test_end(ahead.peek())?;
        self.next_test_end(false)
    }
}

/// How much of a line that ends a package is part of what failed.
fn end_of(line: &str) -> usize {
    match failed_package(line) {
        Some((_, rest)) => line.len() - rest.len(),
        None => line.len(),
    }
}

/// The package whose end a line is; empty where a log was cut.
pub(super) fn starts_test_end(line: &str) -> Option<&str> {
    match failed_package(line) {
        Some((package, _)) => Some(package),
        None => (line == TRUNCATED).then_some(""),
    }
}

/// The package of a line `FAIL PACKAGE`, and what follows it.
pub(super) fn failed_package(line: &str) -> Option<(&str, &str)> {
    // A wrapper of long ago printed this without an end of line.
    let line = line.strip_prefix("exitcode=1").unwrap_or(line);
    let rest = line.strip_prefix("FAIL")?;
    let package = rest.trim_start_matches([' ', '\t']);
    if package.len() == rest.len() || package.is_empty() {
        return None;
    }
    let end = package.find(char::is_whitespace).unwrap_or(package.len());
    Some(package.split_at(end))
}
