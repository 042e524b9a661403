//! CMake, Meson, Autotools, Make and the runners of tasks beside it.

use super::guess::{Guess, step};
use super::look::{Look, join};
use crate::error::Result;

/// `--parallel` without a number starts any number of compilers at once.
const PROCESSORS: &str = "\"$(getconf _NPROCESSORS_ONLN)\"";

pub(super) fn cmake() -> Guess {
    Guess::chain(vec![
        step("configure", "cmake -S . -B build", &["cmake"]),
        step(
            "build",
            &format!("cmake --build build --parallel {PROCESSORS}"),
            &["cmake"],
        ),
        step(
            "test",
            "ctest --test-dir build --output-on-failure --no-tests=error",
            &["ctest"],
        ),
    ])
}

pub(super) fn meson() -> Guess {
    Guess::chain(vec![
        step("setup", "meson setup build", &["meson"]),
        step("compile", "meson compile -C build", &["meson"]),
        step("test", "meson test -C build --print-errorlogs", &["meson"]),
    ])
}

/// The files that begin a project of Autotools, nearest to the end of the work first.
pub(super) const AUTOTOOLS: &[&str] = &[
    "configure",
    "autogen.sh",
    "bootstrap",
    "bootstrap.sh",
    "configure.ac",
    "configure.in",
];

/// `marker` is one of [`AUTOTOOLS`].
pub(super) fn autotools(marker: &str) -> Guess {
    let configure = match marker {
        "configure" => step("configure", "./configure", &[]),
        "configure.ac" | "configure.in" => step(
            "configure",
            "autoreconf --force --install && ./configure",
            &["autoreconf"],
        ),
        script => step(
            "configure",
            &format!("NOCONFIGURE=1 ./{script} && ./configure"),
            &["autoreconf"],
        ),
    };
    let make = format!("make -j {PROCESSORS}");
    Guess::chain(vec![
        configure,
        step("make", &make, &["make"]),
        step("check", "make check", &["make"]),
    ])
}

/// The default target, then `test` or `check` when there is such a target beside it.
pub(super) async fn make(look: &Look<'_>, dir: &str, name: &str) -> Result<Guess> {
    let makefile = look.text(&join(dir, name)).await?.unwrap_or_default();
    Ok(make_steps(&makefile))
}

fn make_steps(makefile: &str) -> Guess {
    let mut steps = vec![step("make", "make", &["make"])];
    let found = ["test", "check"]
        .into_iter()
        .find(|t| has_target(makefile, t));
    if let Some(target) = found.filter(|_| !default_runs_tests(makefile)) {
        steps.push(step(target, &format!("make {target}"), &["make"]));
    }
    Guess::chain(steps)
}

/// Whether plain `make` runs the tests already: they are its first rule, or what the first rule needs.
fn default_runs_tests(makefile: &str) -> bool {
    let first = rules(makefile).find(|(left, _)| !left.contains('%'));
    first.is_some_and(|(targets, needs)| {
        let words = targets
            .split_whitespace()
            .take(1)
            .chain(needs.split_whitespace());
        words
            .into_iter()
            .any(|word| word == "test" || word == "check")
    })
}

/// Whether a rule of the makefile names `target` on the left of its colon.
fn has_target(makefile: &str, target: &str) -> bool {
    rules(makefile).any(|(left, _)| left.split_whitespace().any(|name| name == target))
}

/// The rules of a makefile: targets, and what they need.
fn rules(makefile: &str) -> impl Iterator<Item = (&str, &str)> {
    makefile
        .lines()
        .filter(|line| !line.starts_with(['\t', '#', '.', ' ']))
        .filter_map(|line| {
            let (left, right) = line.split_once(':')?;
            let right = right.strip_prefix(':').unwrap_or(right);
            let is_rule = !right.starts_with('=') && !left.contains(['=', '$']);
            let needs = right.split(['#', ';', '|']).next().unwrap_or_default();
            is_rule.then_some((left, needs))
        })
}

/// `just`: its recipe `test` or `check`, otherwise the default one.
pub(super) async fn just(look: &Look<'_>, name: &str) -> Result<Guess> {
    let text = look.text(name).await?.unwrap_or_default();
    let has = |recipe: &str| {
        text.lines().any(|line| {
            let head = line.strip_prefix('@').unwrap_or(line);
            let rest = head.strip_prefix(recipe).unwrap_or("=");
            rest.contains(':') && rest.starts_with([':', ' ']) && !rest.contains(":=")
        })
    };
    let recipe = ["test", "check"].into_iter().find(|recipe| has(recipe));
    let run = recipe.map_or("just".to_owned(), |recipe| format!("just {recipe}"));
    Ok(Guess::chain(vec![step(
        recipe.unwrap_or("just"),
        &run,
        &["just"],
    )]))
}

/// `task`: its task `test` or `check`, otherwise the default one.
pub(super) async fn taskfile(look: &Look<'_>, name: &str) -> Result<Guess> {
    let text = look.text(name).await?.unwrap_or_default();
    let has = |task: &str| {
        text.lines()
            .any(|line| line.trim_end() == format!("  {task}:"))
    };
    let task = ["test", "check"].into_iter().find(|task| has(task));
    let run = task.map_or("task".to_owned(), |task| format!("task {task}"));
    Ok(Guess::chain(vec![step(
        task.unwrap_or("task"),
        &run,
        &["task"],
    )]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runs(makefile: &str) -> Vec<String> {
        let steps = make_steps(makefile).steps;
        steps.into_iter().map(|step| step.run.to_string()).collect()
    }

    #[test]
    fn make_test_runs_only_where_there_is_such_a_target() {
        assert_eq!(runs("all: x\ncheck: all\n\t./t\n"), ["make", "make check"]);
        assert_eq!(runs("all:\n\techo test: no\ntest := 1\n"), ["make"]);
        assert_eq!(
            runs("lint test: all\n\t./t\ncheck:\n"),
            ["make", "make test"]
        );
    }

    #[test]
    fn tests_that_plain_make_runs_are_run_once() {
        assert_eq!(runs("test:\n\t./t\n"), ["make"]);
        assert_eq!(
            runs(".PHONY: all\nall: build test # both\nbuild:\ntest:\n"),
            ["make"]
        );
        assert_eq!(
            runs("%.o: %.c\n\tcc\nCC ?= cc\nall: build\ntest:\n"),
            ["make", "make test"]
        );
    }
}
