//! Python projects, by the tool that their authors use.

use toml::Table;

use super::guess::{Guess, step};
use super::look::{Look, join};
use crate::error::Result;

/// Names of extras and dependency groups that hold what tests need, best first.
const TEST_GROUPS: &[&str] = &["test", "tests", "testing", "dev", "develop"];

/// Lists of requirements beside the main one.
const REQUIREMENTS: &[&str] = &[
    "requirements.txt",
    "requirements-dev.txt",
    "requirements-test.txt",
    "requirements-tests.txt",
    "dev-requirements.txt",
    "test-requirements.txt",
    "requirements_dev.txt",
    "requirements/test.txt",
    "requirements/tests.txt",
    "requirements/dev.txt",
];

const PYTHON: &str = ".venv/bin/python";

/// Makes the environment that the project's own files describe, and runs its tests in it.
pub(super) async fn python(look: &Look<'_>, dir: &str) -> Result<Guess> {
    let project = look.toml(&join(dir, "pyproject.toml")).await?;
    let files = look.list(dir).await?;
    let has = |name: &str| files.iter().any(|n| n == name);
    let tool = |name: &str| project.get("tool").and_then(|t| t.get(name));
    let managed = |install: &str, test: &str, program: &str| {
        Guess::chain(vec![
            step("install", install, &[program]),
            step("test", test, &[program]),
        ])
    };
    if has("uv.lock") {
        return Ok(managed(
            "uv sync --locked --all-extras",
            "uv run pytest",
            "uv",
        ));
    }
    if has("poetry.lock") || tool("poetry").is_some() {
        return Ok(managed("poetry install", "poetry run pytest", "poetry"));
    }
    if has("pdm.lock") {
        return Ok(managed("pdm install", "pdm run pytest", "pdm"));
    }
    if has("Pipfile.lock") || has("Pipfile") {
        return Ok(managed(
            "pipenv install --dev",
            "pipenv run pytest",
            "pipenv",
        ));
    }
    if has("tox.ini") || tool("tox").is_some() {
        return Ok(in_environment("tox", ".venv/bin/tox run -e py"));
    }
    if let Some(hatch) = tool("hatch").and_then(|h| h.get("envs")) {
        let scripts = hatch.get("default").and_then(|d| d.get("scripts"));
        let own = scripts.and_then(|s| s.get("test")).is_some();
        let run = if own { "run test" } else { "test" };
        return Ok(in_environment("hatch", &format!(".venv/bin/hatch {run}")));
    }
    let install = needs(&project, look, dir, &files).await?;
    Ok(in_environment(&install, &format!("{PYTHON} -m pytest")))
}

/// A virtual environment with `install`, and a command in it.
fn in_environment(install: &str, test: &str) -> Guess {
    let install = format!(
        "python3 -m venv .venv && {PYTHON} -m pip install --quiet --disable-pip-version-check {install}"
    );
    Guess::chain(vec![
        step("install", &install, &["python3"]),
        step("test", test, &["python3"]),
    ])
}

/// What pip installs: pytest, the lists of requirements, the project with what its tests need.
async fn needs(project: &Table, look: &Look<'_>, dir: &str, files: &[String]) -> Result<String> {
    let mut install = "pytest".to_owned();
    for list in REQUIREMENTS {
        let found = match list.split_once('/') {
            None => files.iter().any(|n| n == list),
            Some((folder, name)) => {
                let folder_is_there = files.iter().any(|n| n.trim_end_matches('/') == folder);
                folder_is_there && look.has_in(&join(dir, folder), name).await?
            }
        };
        if found {
            install.push_str(&format!(" -r {list}"));
        }
    }
    let names = |table: Option<&toml::Value>| {
        let table = table.and_then(toml::Value::as_table);
        let known = |name: &&&str| table.is_some_and(|t| t.contains_key(**name));
        TEST_GROUPS.iter().find(known).copied()
    };
    let optional = project
        .get("project")
        .and_then(|p| p.get("optional-dependencies"));
    let is_package = ["setup.py", "setup.cfg"]
        .iter()
        .any(|f| files.iter().any(|n| n == f))
        || project.contains_key("build-system")
        || project.contains_key("project");
    if is_package {
        match names(optional) {
            Some(extra) => install.push_str(&format!(" '.[{extra}]'")),
            None => install.push_str(" ."),
        }
    }
    if let Some(group) = names(project.get("dependency-groups")) {
        // Groups need a pip that is newer than the one many systems bring.
        return Ok(format!(
            "--upgrade pip && {PYTHON} -m pip install --quiet --disable-pip-version-check {install} --group {group}"
        ));
    }
    Ok(install)
}
