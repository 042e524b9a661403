//! The recipe of every repository: its `.farmer.toml`, or what its files say.

mod cargo;
mod ci_file;
mod go;
mod guess;
mod look;
mod native;
mod node;
mod others;
mod python;

use async_trait::async_trait;

pub use self::ci_file::{CiFile, CiStep, fuzz_ci_file};
use self::guess::Guess;
use self::look::{Look, dir_of, file_name, read_text};
use super::farmer_toml::{self, FILE_NAME, FarmerToml, SAMPLE_HINT};
use super::{Recipe, Tree};
use crate::error::{Error, ErrorKind, Result};
use crate::ids::BuilderName;
use crate::plan::{Plan, Step};
use crate::work::{Builder, WorkItem};

/// Takes the steps of `.farmer.toml` in the commit, otherwise guesses them from its files.
#[derive(Clone, Copy, Debug, Default)]
pub struct Detect;

impl Detect {
    /// The configuration of a commit: `.farmer.toml`, `None` when there is no such file.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] when the file cannot be read as a configuration.
    pub async fn configuration(tree: &dyn Tree) -> Result<Option<FarmerToml>> {
        let Some(text) = read_text(tree, FILE_NAME).await? else {
            return Ok(None);
        };
        FarmerToml::parse(&text)
            .map(Some)
            .map_err(|e| e.while_doing(format!("read {FILE_NAME}")))
    }
}

#[async_trait]
impl Recipe for Detect {
    async fn plan(&self, item: &WorkItem, builder: &Builder, tree: &dyn Tree) -> Result<Plan> {
        match Self::configuration(tree).await? {
            Some(file) if !file.steps().is_empty() => {
                file.plan_for(item, &builder.name, format!("steps of {FILE_NAME}"))
            }
            Some(file) => {
                let guess = Detected::from_tree(tree).await?.into_plan();
                Ok(file.govern(guess, &builder.name))
            }
            None => Ok(Detected::from_tree(tree).await?.into_plan()),
        }
    }

    /// Those that the commit's file names, whether the farm has them or not, and that have something
    /// to run for it; without a file the local one.
    async fn builders(
        &self,
        item: &WorkItem,
        tree: &dyn Tree,
        all: &[BuilderName],
    ) -> Result<Vec<BuilderName>> {
        let file = Self::configuration(tree).await?.unwrap_or_default();
        let named = file.builders_for(item).into_iter().map(|b| b.name);
        let named: Vec<_> = named.collect();
        if file.names_builders() {
            return Ok(named);
        }
        let known = all.iter().filter(|name| named.contains(name));
        Ok(known.cloned().collect())
    }
}

/// The same configuration for every commit, such as one given by `--config`.
#[async_trait]
impl Recipe for FarmerToml {
    async fn plan(&self, item: &WorkItem, builder: &Builder, tree: &dyn Tree) -> Result<Plan> {
        if self.steps().is_empty() {
            let guess = Detected::from_tree(tree).await?.into_plan();
            return Ok(self.govern(guess, &builder.name));
        }
        self.plan_for(item, &builder.name, "steps of the given configuration")
    }

    /// Those of the farm that have something to run for the commit.
    async fn builders(
        &self,
        item: &WorkItem,
        _tree: &dyn Tree,
        all: &[BuilderName],
    ) -> Result<Vec<BuilderName>> {
        let of_file: Vec<_> = self.builders().into_iter().map(|b| b.name).collect();
        let some: Vec<_> = self
            .builders_for(item)
            .into_iter()
            .map(|b| b.name)
            .collect();
        let is_out = |name: &BuilderName| of_file.contains(name) && !some.contains(name);
        Ok(all.iter().filter(|name| !is_out(name)).cloned().collect())
    }
}

/// Steps guessed from the files of a commit.
///
/// The first manifest at the root that is known decides; every other one that is found is run in
/// its own folder, or said to be not run with the reason. Without a manifest at the root, those
/// below it are run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Detected(Plan);

/// The files that tell what to run, most telling first.
const MARKERS: &[&str] = &[
    "Cargo.toml",
    "go.work",
    "go.mod",
    "package.json",
    "pyproject.toml",
    "setup.py",
    "setup.cfg",
    "tox.ini",
    "CMakeLists.txt",
    "meson.build",
    "pom.xml",
    "build.gradle",
    "build.gradle.kts",
    "Package.swift",
    "mix.exs",
    "composer.json",
    "stack.yaml",
    "Gemfile",
    "build.zig",
    "MODULE.bazel",
    "WORKSPACE",
    "WORKSPACE.bazel",
    "configure",
    "autogen.sh",
    "bootstrap",
    "bootstrap.sh",
    "configure.ac",
    "configure.in",
    "Makefile",
    "makefile",
    "GNUmakefile",
    "justfile",
    "Justfile",
    ".justfile",
    "Taskfile.yml",
    "Taskfile.yaml",
    "requirements.txt",
    "Pipfile",
];

/// Endings of files that tell the same.
const ENDINGS: &[&str] = &[".sln", ".slnx", ".csproj", ".fsproj", ".cabal"];

/// Manifests that would be projects of their own beside the one that decides.
const LANGUAGES: &[&str] = &[
    "Cargo.toml",
    "go.mod",
    "package.json",
    "pyproject.toml",
    "setup.py",
    "CMakeLists.txt",
    "pom.xml",
    "build.gradle",
    "build.gradle.kts",
    "Package.swift",
    "mix.exs",
    "composer.json",
    "Gemfile",
];

/// Projects below a root that tells nothing; more are said.
const MAX_PROJECTS: usize = 8;

impl Detected {
    /// Guesses what to run.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] with a sample configuration as hint when no file tells, or when a
    /// manifest cannot be read.
    pub async fn from_tree(tree: &dyn Tree) -> Result<Self> {
        let look = Look::at(tree).await?;
        let at_root = look
            .first_of(MARKERS)
            .map(str::to_owned)
            .or_else(|| look.ending(ENDINGS).map(str::to_owned));
        let (from, guess) = match at_root {
            Some(marker) => {
                let guess = with_the_rest(&look, &marker, guess(&look, "", &marker).await?);
                (marker, guess)
            }
            None => below_the_root(&look).await?.ok_or_else(|| {
                Error::new(ErrorKind::Invalid, nothing_found(&look)).with_hint(SAMPLE_HINT)
            })?,
        };
        let does: Vec<_> = guess.steps.iter().map(in_its_place).collect();
        let own_ci = CiFile::find(tree).await?;
        let said = own_ci.map(|file| file.in_a_sentence()).unwrap_or_default();
        let reason = format!(
            "detected from {from}: {}{}{said}",
            does.join(", then "),
            guess.notes()
        );
        Ok(Self(Plan::new(guess.steps, reason)?))
    }

    /// The plan, with the guess explained as its reason.
    pub fn into_plan(self) -> Plan {
        self.0
    }

    /// The steps as a `.farmer.toml`.
    pub fn to_toml(&self) -> String {
        farmer_toml::write(&self.0)
    }
}

/// What a step runs, with its folder.
fn in_its_place(step: &Step) -> String {
    match step.dir.as_str() {
        "" => step.run.to_string(),
        dir => format!("in {dir} {}", step.run),
    }
}

/// What the manifest called `marker` in `dir` leads to, in the words of that folder.
async fn guess(look: &Look<'_>, dir: &str, marker: &str) -> Result<Guess> {
    Ok(match marker {
        "Cargo.toml" => cargo::cargo(look, dir).await?,
        "go.work" | "go.mod" if dir.is_empty() => go::go(look),
        "go.mod" => go::module(),
        "package.json" => node::node(look, dir).await?,
        "pyproject.toml" | "setup.py" | "setup.cfg" | "tox.ini" | "requirements.txt"
        | "Pipfile" => python::python(look, dir).await?,
        "CMakeLists.txt" => native::cmake(),
        "meson.build" => native::meson(),
        "pom.xml" => others::maven(look, dir).await?,
        "build.gradle" | "build.gradle.kts" => others::gradle(look, dir).await?,
        "Package.swift" => others::swift(),
        "mix.exs" => others::elixir(),
        "composer.json" => others::php(look, dir).await?,
        "Gemfile" => others::ruby(look, dir).await?,
        "stack.yaml" => others::stack(),
        "build.zig" => others::zig(),
        "MODULE.bazel" | "WORKSPACE" | "WORKSPACE.bazel" => others::bazel(),
        "justfile" | "Justfile" | ".justfile" => native::just(look, marker).await?,
        "Taskfile.yml" | "Taskfile.yaml" => native::taskfile(look, marker).await?,
        script if native::AUTOTOOLS.contains(&script) => native::autotools(script),
        name if name.ends_with(".cabal") => others::cabal(),
        name if ENDINGS.iter().any(|end| name.ends_with(end)) => others::dotnet(),
        makefile => native::make(look, dir, makefile).await?,
    })
}

/// Says which other manifests there are and why they are not run.
fn with_the_rest(look: &Look<'_>, marker: &str, mut guess: Guess) -> Guess {
    let because = format!("{marker} at the root tells what to run; name it in a [[step]]");
    let same = |name: &str| kind(name) == kind(marker);
    for name in LANGUAGES {
        if look.has(name) && !same(name) {
            guess.not_run(name, &because);
        }
    }
    for path in look.all_nested() {
        let name = file_name(path);
        // A manifest below one of its own kind is a part of it, except where that was said.
        if LANGUAGES.contains(&name) && !same(name) && !is_part(look, path) {
            guess.not_run(path, &because);
        }
    }
    guess
}

/// Names of the same kind of project.
fn kind(name: &str) -> &str {
    match name {
        "go.work" => "go.mod",
        "setup.py" | "setup.cfg" | "tox.ini" | "requirements.txt" | "Pipfile" => "pyproject.toml",
        "build.gradle.kts" => "build.gradle",
        name => name,
    }
}

/// Whether a manifest of the same kind lies in a folder above.
fn is_part(look: &Look<'_>, path: &str) -> bool {
    let name = file_name(path);
    let above = |other: &&str| {
        let dir = dir_of(other);
        *other != path && (dir.is_empty() || dir_of(path).starts_with(&format!("{dir}/")))
    };
    look.has(name) || look.nested(name).any(|other| above(&other))
}

/// Projects below a root that tells nothing, each in its own folder.
async fn below_the_root(look: &Look<'_>) -> Result<Option<(String, Guess)>> {
    let mut dirs: Vec<(&str, &str)> = Vec::new();
    let mut whole = Guess::default();
    for path in look.all_nested() {
        let (dir, name) = (dir_of(path), file_name(path));
        let is_inside = dirs
            .iter()
            .any(|(d, _)| dir == *d || dir.starts_with(&format!("{d}/")));
        if is_inside {
            continue;
        }
        if dirs.len() == MAX_PROJECTS {
            whole.not_run(path, "there are many projects; name it in a [[step]]");
            continue;
        }
        // Of several in one folder the most telling decides.
        let names = look.list(dir).await?;
        let best = MARKERS.iter().find(|m| names.iter().any(|n| n == *m));
        let marker = best.copied().unwrap_or(name);
        whole.join(guess(look, dir, marker).await?.within(dir));
        dirs.push((dir, marker));
    }
    let shown: Vec<_> = dirs
        .iter()
        .map(|(dir, name)| format!("{dir}/{name}"))
        .collect();
    Ok((!dirs.is_empty()).then(|| (shown.join(", "), whole)))
}

fn nothing_found(look: &Look<'_>) -> String {
    if look.is_empty() {
        return "the commit has no files".to_owned();
    }
    format!(
        "found no .farmer.toml and no file that tells how to build (looked for {} and names that end in {})",
        MARKERS.join(", "),
        ENDINGS.join(", ")
    )
}

#[cfg(test)]
mod tests;
