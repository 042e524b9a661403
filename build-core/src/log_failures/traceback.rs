//! Tracebacks of Go programs.

use super::lines::Lines;

/// A place in a program.
#[derive(Default)]
pub(super) struct Place {
    pub(super) function: String,
    pub(super) file: String,
    pub(super) line: u32,
}

/// Takes the lines before the next traceback, and it.
pub(super) fn take_traceback<'a>(lines: &mut Lines<'a>) -> &'a str {
    let begins = |line: &str| {
        let goroutine = line.strip_prefix("goroutine ").is_some_and(|rest| {
            rest.starts_with(|c: char| c.is_ascii_digit()) && rest.ends_with(':')
        });
        goroutine || line == "runtime stack:"
    };
    while !lines.is_done() && !begins(lines.peek()) {
        lines.take();
    }
    let begin = lines.position();
    while !lines.is_done() {
        let line = lines.peek();
        let goes_on = line.is_empty()
            || ["\t", "goroutine ", "runtime stack:", "created by "]
                .iter()
                .any(|part| line.starts_with(part));
        if goes_on {
            lines.take();
            continue;
        }
        let mut ahead = lines.clone();
        ahead.take();
        if call(line, ahead.peek()).is_none() {
            break;
        }
        ahead.take();
        *lines = ahead;
    }
    lines.since(begin)
}

/// A call: its function, and after a tab where it is.
fn call<'a>(line: &'a str, place: &'a str) -> Option<(&'a str, &'a str, u32)> {
    let open = line.find('(').filter(|_| line.ends_with(')'))?;
    // Names of methods have brackets too: the arguments are in the last ones.
    let open = line.rfind('(').map_or(open, |last| last.max(open));
    let function = &line[..open];
    if function.is_empty() || function.contains(char::is_whitespace) {
        return None;
    }
    let place = place.strip_prefix('\t')?;
    let place = place.split(' ').next().unwrap_or(place);
    let (file, number) = place.rsplit_once(':')?;
    Some((function, file, number.parse().ok()?))
}

/// The function, file and line that panicked.
pub(super) fn where_of(traceback: &str) -> Place {
    let mut lines = Lines::new(traceback);
    while !lines.is_done() {
        let line = lines.take();
        let Some((function, file, number)) = call(line, lines.peek()) else {
            continue;
        };
        let handles = function.starts_with("runtime.panic")
            || ["runtime.throw", "runtime.sigpanic"].contains(&function);
        if !handles {
            return Place {
                function: function.to_owned(),
                file: file.to_owned(),
                line: number,
            };
        }
    }
    Place::default()
}

/// The test in a traceback: a function of a test's file.
pub(super) fn test_of(traceback: &str) -> String {
    let mut lines = Lines::new(traceback);
    while !lines.is_done() {
        let line = lines.take();
        let name = line
            .split_once(".Test")
            .and_then(|(_, rest)| rest.split_once('('));
        if let Some((name, _)) = name
            && !name.is_empty()
            && lines.peek().contains("_test.go")
        {
            return format!("Test{name}");
        }
    }
    String::new()
}
