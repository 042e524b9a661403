//! Whether a build may begin with directories of an earlier one: whether its tools will see what has
//! changed since.
//!
//! Tools that go by time see that a file has changed, and who uses it only as far as somebody has
//! told them. They do not see that a file is gone, that a new one comes first in a search path, or
//! that a rule is another one. So a build begins warm only where everything that has changed is of a
//! kind whose users every tool knows; anything else is built from nothing.

use std::collections::BTreeSet;
use std::path::Path;

use build_core::plan::{CommandLine, Step};

use super::times::Times;

/// Files that are compiled for themselves: whoever makes something of them names them.
const UNITS: &[&str] = &["c", "cc", "cpp", "cxx", "m", "mm", "s", "f90"];
/// Files in which one of those may be included after all.
const INCLUDING: &[&str] = &[
    "c", "cc", "cpp", "cxx", "m", "mm", "s", "f90", "h", "hh", "hpp", "hxx", "inc", "inl", "ipp",
];
/// Files that say how others are checked out: their contents change without a change of theirs.
const OF_GIT: &[&str] = &[".gitattributes", ".gitmodules"];
/// Files that are looked through for one that includes another.
const LONGEST: u64 = 4 << 20;

/// A tool that keeps account of its sources by itself, whatever becomes of them.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tool {
    Cargo,
    Go,
}

impl Tool {
    /// Whether it sees a change of such a file, and that it came or went.
    fn knows(self, path: &str) -> bool {
        match self {
            Self::Cargo => path.ends_with(".rs") || is_called(path, &["Cargo.toml", "Cargo.lock"]),
            Self::Go => path.ends_with(".go") || is_called(path, &["go.mod", "go.sum"]),
        }
    }
}

/// The tool that is all of a step: nothing of a shell is in its command.
fn tool_of(step: &Step) -> Option<Tool> {
    let commands = std::iter::once(&step.run).chain(&step.tests);
    let words = commands.map(|command| match command {
        CommandLine::Argv(words) => words.first().map(String::as_str),
        CommandLine::Shell { script, .. } => {
            let plain = |c: char| c.is_ascii_alphanumeric() || " -_=./:,@+{}".contains(c);
            let is_plain = script.chars().all(plain);
            script.split(' ').next().filter(|_| is_plain)
        }
    });
    let mut tools = words.map(|word| match word {
        Some("cargo") => Some(Tool::Cargo),
        Some("go") => Some(Tool::Go),
        _ => None,
    });
    let first = tools.next()??;
    tools.all(|tool| tool == Some(first)).then_some(first)
}

/// Whether all steps are of tools that know where their sources are, wherever they are moved.
pub(super) fn keeps_account(steps: &[Step]) -> bool {
    steps.iter().all(|step| tool_of(step).is_some())
}

fn name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

fn is_called(path: &str, names: &[&str]) -> bool {
    names.contains(&name(path))
}

fn has_end(path: &str, ends: &[&str]) -> bool {
    let end = name(path).rsplit_once('.').map(|(_, end)| end);
    end.is_some_and(|end| ends.contains(&end))
}

/// What has changed, in three kinds.
pub(super) struct Changes<'a> {
    pub(super) changed: BTreeSet<&'a str>,
    pub(super) added: BTreeSet<&'a str>,
    pub(super) removed: BTreeSet<&'a str>,
}

impl<'a> Changes<'a> {
    /// From the files that a checkout had to those it has, `changed` by their contents. `None`, when
    /// something has changed that is neither: a submodule.
    pub(super) fn of(
        changed: &'a [String],
        before: &'a Times,
        now: &'a Times,
    ) -> Result<Self, &'a str> {
        let files = |times: &'a Times| times.files().collect::<BTreeSet<&str>>();
        let (was, is) = (files(before), files(now));
        let all: BTreeSet<&str> = changed.iter().map(String::as_str).collect();
        if let Some(strange) = all
            .iter()
            .find(|path| !was.contains(*path) && !is.contains(*path))
        {
            return Err(strange);
        }
        Ok(Self {
            changed: all
                .iter()
                .copied()
                .filter(|p| was.contains(p) && is.contains(p))
                .collect(),
            added: is.difference(&was).copied().collect(),
            removed: was.difference(&is).copied().collect(),
        })
    }

    /// Why the build begins cold; `None` when it may begin warm. Blocking.
    pub(super) fn speak_against(&self, steps: &[Step], top: &Path, now: &Times) -> Option<String> {
        let all = || {
            let came = self.added.iter().map(|path| (*path, "was added"));
            let went = self.removed.iter().map(|path| (*path, "was removed"));
            let changed = self.changed.iter().map(|path| (*path, "has changed"));
            came.chain(went).chain(changed)
        };
        if let Some((path, what)) = all().find(|(path, _)| is_called(path, OF_GIT)) {
            return Some(format!(
                "{path} {what}, which says how other files are checked out"
            ));
        }
        let tools: Option<Vec<Tool>> = steps.iter().map(tool_of).collect();
        let unseen = |path: &str, what: &str| match &tools {
            Some(tools) => !tools.iter().any(|tool| tool.knows(path)),
            None => what != "has changed" || !has_end(path, UNITS),
        };
        if let Some((path, what)) = all().find(|(path, what)| unseen(path, what)) {
            return Some(format!(
                "{path} {what}, and not every tool sees what follows from it"
            ));
        }
        if tools.is_some() {
            return None;
        }
        let (path, by) = self.included(top, now)?;
        Some(format!("{path} has changed, and {by} includes it"))
    }

    /// A changed file that another one includes.
    fn included<'n>(&self, top: &Path, now: &'n Times) -> Option<(&'a str, &'n str)> {
        if self.changed.is_empty() {
            return None;
        }
        for by in now.files().filter(|path| has_end(path, INCLUDING)) {
            let path = top.join(by);
            // What cannot be looked through may include anything.
            let is_long = path
                .symlink_metadata()
                .map_or(true, |about| about.len() > LONGEST);
            let text = std::fs::read(&path).unwrap_or_default();
            let text = String::from_utf8_lossy(&text);
            let includes = |changed: &&&str| {
                let name = name(changed);
                let mut lines = text.lines().filter(|line| line.contains("include"));
                is_long || lines.any(|line| line.contains(name))
            };
            if let Some(changed) = self.changed.iter().find(includes) {
                return Some((*changed, by));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use build_core::ids::StepName;

    fn step(run: &str) -> Step {
        Step::new(StepName::new("s").unwrap(), run)
    }

    fn verdict(run: &str, changed: &[&str], before: &[&str], now: &[&str]) -> Option<String> {
        let dir = tempfile::tempdir().unwrap();
        for name in now.iter().filter(|name| !name.contains('/')) {
            std::fs::write(dir.path().join(name), "int x;\n").unwrap();
        }
        std::fs::write(dir.path().join("all.c"), "#include \"part.c\"\n").unwrap();
        let changed: Vec<String> = changed.iter().map(|path| (*path).to_owned()).collect();
        let (before, now) = (Times::named(before), Times::named(now));
        let changes = Changes::of(&changed, &before, &now).ok()?;
        changes.speak_against(&[step(run)], dir.path(), &now)
    }

    #[test]
    fn only_what_every_tool_sees_begins_warm() {
        let same = ["all.c", "a.c", "a.h", "Makefile", "part.c"];
        let warm = [
            ("make", &["a.c"][..]),
            ("make CC=gcc && ./test", &["a.c"]),
            ("make", &[]),
        ];
        for (run, changed) in warm {
            assert_eq!(
                verdict(run, changed, &same, &same),
                None,
                "{run} {changed:?}"
            );
        }
        for (path, said) in [
            (
                "a.h",
                "a.h has changed, and not every tool sees what follows from it",
            ),
            (
                "Makefile",
                "Makefile has changed, and not every tool sees what follows from it",
            ),
            ("part.c", "part.c has changed, and all.c includes it"),
        ] {
            assert_eq!(
                verdict("make", &[path], &same, &same).as_deref(),
                Some(said)
            );
        }
        let gone = verdict("make", &["b.c"], &["b.c"], &[]);
        let came = verdict("make", &["b.c"], &[], &["b.c"]);
        assert!(gone.unwrap().starts_with("b.c was removed"));
        assert!(came.unwrap().starts_with("b.c was added"));
    }

    #[test]
    fn cargo_and_go_see_their_own_files_come_and_go() {
        let cargo = "cargo test --workspace";
        assert_eq!(verdict(cargo, &["a.rs"], &["a.rs"], &[]), None);
        assert_eq!(
            verdict(cargo, &["Cargo.lock"], &["Cargo.lock"], &["Cargo.lock"]),
            None
        );
        assert!(verdict(cargo, &["a.h"], &["a.h"], &["a.h"]).is_some());
        assert_eq!(verdict("go test ./...", &["a.go"], &[], &["a.go"]), None);
        // Whatever comes beside them is not theirs.
        assert!(verdict("cargo build; make", &["a.rs"], &["a.rs"], &[]).is_some());
        let attributes = verdict(cargo, &[".gitattributes"], &[], &[".gitattributes"]);
        assert!(
            attributes
                .unwrap()
                .contains("how other files are checked out")
        );
    }
}
