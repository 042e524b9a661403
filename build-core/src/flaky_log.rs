//! Whether the log of a failure looks like the machine's fault.

/// What a log of a flake holds, and how short it may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Phrases {
    /// Beginnings.
    pub beginnings: Vec<String>,
    /// Words anywhere.
    pub anywhere: Vec<String>,
}

impl Phrases {
    /// The Go project's of December 2020.
    #[must_use]
    pub fn go() -> Self {
        let words = |list: &[&str]| list.iter().map(|word| (*word).to_owned()).collect();
        Self {
            beginnings: words(&["exit status ", "timed out after ", "Failed to schedule "]),
            anywhere: words(&[
                "No space left on device",
                "no space left on device",
                "fatal error: error in backend: IO failure on output stream",
                "Boffset: unknown state 0",
                "Bseek: unknown state 0",
                "error exporting repository: exit status",
                "remote error: User Is Over Quota",
                "fatal: remote did not send all necessary objects",
                "Failed to schedule \"",
                "lookup _xmpp-server._tcp.google.com. on 8.8.8.8:53: dial udp 8.8.8.8:53: i/o timeout",
                "lookup _xmpp-server._tcp.google.com on",
                "lookup gmail.com. on 8.8.8.8:53: dial udp 8.8.8.8:53: i/o timeout",
                "lookup gmail.com on 8.8.8.8:53",
                "lookup www.mit.edu on ",
                "undefined: runtime.SetMutexProfileFraction",
                "make.bat: The parameter is incorrect",
                "killed",
                "memory",
                "allocate",
                "Killed",
                "Error running API checker: exit status 1",
                "/compile: exit status 1",
                "cmd/link: exit status 1",
            ]),
        }
    }

    /// One phrase a line; `^` before one asks for it at the beginning; `#` begins a comment.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let lines = text
            .lines()
            .map(str::trim_end)
            .filter(|line| !line.is_empty() && !line.starts_with('#'));
        let (beginnings, anywhere): (Vec<&str>, Vec<&str>) =
            lines.partition(|line| line.starts_with('^'));
        Self {
            beginnings: beginnings.iter().map(|line| line[1..].to_owned()).collect(),
            anywhere: anywhere.iter().map(|line| (*line).to_owned()).collect(),
        }
    }
}

/// What makes a log look like that of a flake; `None` when nothing does.
///
/// A log of one or two lines tells of no test, and a short one with `error: exit status` of a
/// command that could not run.
#[must_use]
pub fn is_flaky<'a>(log: &str, phrases: &'a Phrases) -> Option<&'a str> {
    let newlines = |text: &str| memchr::memchr_iter(b'\n', text.as_bytes()).count();
    if newlines(log.trim()) < 2 {
        return Some("fewer than three lines");
    }
    if let Some(found) = phrases
        .beginnings
        .iter()
        .find(|start| log.starts_with(*start))
    {
        return Some(found);
    }
    let has = |text: &str| memchr::memmem::find(log.as_bytes(), text.as_bytes()).is_some();
    if let Some(found) = phrases.anywhere.iter().find(|phrase| has(phrase)) {
        return Some(found);
    }
    if newlines(log) < 20 && has("error: exit status") {
        return Some("error: exit status");
    }
    (has("fatal: destination path '") && has("' already exists and is not an empty directory."))
        .then_some("fatal: destination path already exists")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flakes_of_the_go_project() {
        let go = Phrases::go();
        let test = "--- FAIL: TestX (0.00s)\n".to_owned() + &"    x_test.go:1: wrong\n".repeat(40);
        assert_eq!(is_flaky(&test, &go), None);
        for (log, why) in [
            ("one line", "fewer than three lines"),
            ("", "fewer than three lines"),
            ("timed out after 3m\na\nb\nc", "timed out after "),
            (
                "a\nb\nc\nno space left on device\n",
                "no space left on device",
            ),
            ("a\nb\nc\nerror: exit status 1\n", "error: exit status"),
        ] {
            assert_eq!(is_flaky(log, &go), Some(why), "{log:?}");
        }
        let path = format!(
            "{test}fatal: destination path 'go.tools.TMP' already exists and is not an empty directory.\n"
        );
        assert!(is_flaky(&path, &go).is_some());
        assert_eq!(
            is_flaky(&format!("{test}error: exit status 1\n"), &go),
            None,
            "in a long one"
        );
    }

    #[test]
    fn phrases_of_another_project() {
        let phrases = Phrases::parse("# comment\n^lost connection\nout of disk\n\n");
        assert_eq!(
            is_flaky("lost connection\n1\n2\n3", &phrases),
            Some("lost connection")
        );
        assert_eq!(
            is_flaky("1\n2\n3\nthis is out of disk\n", &phrases),
            Some("out of disk")
        );
        assert_eq!(is_flaky("1\n2\n3\nkilled\n", &phrases), None);
    }
}
