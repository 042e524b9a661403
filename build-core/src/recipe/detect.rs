//! The recipe of every repository: its `.farmer.toml`, or what its files say.

use async_trait::async_trait;

use super::farmer_toml::{self, FILE_NAME, FarmerToml, SAMPLE_HINT};
use super::{Recipe, Tree};
use crate::error::{Error, ErrorKind, Result};
use crate::ids::{BuilderName, StepName};
use crate::plan::{Plan, Step};
use crate::work::{Builder, WorkItem};

/// Longest configuration or manifest that is read.
const MAX_FILE_BYTES: u64 = 1 << 20;

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
    async fn plan(&self, _item: &WorkItem, builder: &Builder, tree: &dyn Tree) -> Result<Plan> {
        match Self::configuration(tree).await? {
            Some(file) if !file.steps().is_empty() => {
                file.plan(&builder.name, format!("steps of {FILE_NAME}"))
            }
            Some(file) => {
                let guess = Detected::from_tree(tree).await?.into_plan();
                Ok(file.govern(guess, &builder.name))
            }
            None => Ok(Detected::from_tree(tree).await?.into_plan()),
        }
    }

    /// Those that the commit's file names, whether the farm has them or not; without a file the
    /// local one.
    async fn builders(
        &self,
        _item: &WorkItem,
        tree: &dyn Tree,
        all: &[BuilderName],
    ) -> Result<Vec<BuilderName>> {
        let file = Self::configuration(tree).await?.unwrap_or_default();
        let named: Vec<_> = file.builders().into_iter().map(|b| b.name).collect();
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
    async fn plan(&self, _item: &WorkItem, builder: &Builder, tree: &dyn Tree) -> Result<Plan> {
        if self.steps().is_empty() {
            let guess = Detected::from_tree(tree).await?.into_plan();
            return Ok(self.govern(guess, &builder.name));
        }
        FarmerToml::plan(self, &builder.name, "steps of the given configuration")
    }
}

/// Steps guessed from the files at the root of a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Detected(Plan);

/// The files that tell what to run, most telling first.
const MARKERS: &[&str] = &[
    "Cargo.toml",
    "go.mod",
    "package.json",
    "pyproject.toml",
    "setup.py",
    "CMakeLists.txt",
    "meson.build",
    "Makefile",
    "makefile",
    "GNUmakefile",
    "pom.xml",
    "build.gradle",
    "build.gradle.kts",
];

impl Detected {
    /// Guesses what to run.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] with a sample configuration as hint when no file tells.
    pub async fn from_tree(tree: &dyn Tree) -> Result<Self> {
        let names = tree.list("").await?;
        let has = |name: &str| names.iter().any(|n| n == name);
        let Some(marker) = MARKERS.iter().copied().find(|m| has(m)) else {
            return Err(
                Error::new(ErrorKind::Invalid, nothing_found(&names)).with_hint(SAMPLE_HINT)
            );
        };
        let steps = match marker {
            "Cargo.toml" => cargo(has("Cargo.lock")),
            "go.mod" => go(),
            "package.json" => npm(tree, has("package-lock.json")).await?,
            "pyproject.toml" | "setup.py" => python(has("requirements.txt")),
            "CMakeLists.txt" => cmake(),
            "meson.build" => meson(),
            "pom.xml" => vec![step("verify", "mvn --batch-mode verify", &["mvn"])],
            "build.gradle" | "build.gradle.kts" if has("gradlew") => {
                vec![step("build", "./gradlew build", &["java"])]
            }
            "build.gradle" | "build.gradle.kts" => vec![step("build", "gradle build", &["gradle"])],
            makefile => make(&read_text(tree, makefile).await?.unwrap_or_default()),
        };
        let does: Vec<_> = steps.iter().map(|s| s.run.as_str()).collect();
        let reason = format!("detected from {marker}: {}", does.join(", then "));
        Ok(Self(Plan::new(steps, reason)?))
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

fn nothing_found(names: &[String]) -> String {
    if names.is_empty() {
        return "the commit has no files".to_owned();
    }
    "found no .farmer.toml and no file that tells how to build (looked for Cargo.toml, go.mod, package.json, \
     pyproject.toml, setup.py, CMakeLists.txt, meson.build, Makefile, pom.xml, build.gradle)"
        .to_owned()
}

async fn read_text(tree: &dyn Tree, path: &str) -> Result<Option<String>> {
    let Some(bytes) = tree.read(path, MAX_FILE_BYTES).await? else {
        return Ok(None);
    };
    let text = String::from_utf8(bytes).map_err(|e| {
        Error::caused_by(ErrorKind::Invalid, format!("{path} is not UTF-8 text"), e)
    })?;
    Ok(Some(text))
}

fn step(name: &str, run: &str, tools: &[&str]) -> Step {
    let name = StepName::new(name).expect("a valid step name");
    Step {
        tools: tools.iter().map(ToString::to_string).collect(),
        ..Step::new(name, run)
    }
}

/// Each step after the one before it.
fn chain(mut steps: Vec<Step>) -> Vec<Step> {
    for n in 1..steps.len() {
        steps[n].needs = vec![steps[n - 1].name.clone()];
    }
    steps
}

fn cargo(locked: bool) -> Vec<Step> {
    let flag = if locked { " --locked" } else { "" };
    let mut steps = chain(vec![
        step("build", &format!("cargo build{flag}"), &["cargo"]),
        step("test", &format!("cargo test{flag}"), &["cargo"]),
    ]);
    steps[1].cache = vec!["target".to_owned()];
    steps
}

fn go() -> Vec<Step> {
    vec![
        step("vet", "go vet ./...", &["go"]),
        step("test", "go test ./...", &["go"]),
    ]
}

async fn npm(tree: &dyn Tree, locked: bool) -> Result<Vec<Step>> {
    let manifest = read_text(tree, "package.json").await?.unwrap_or_default();
    let manifest: serde_json::Value = serde_json::from_str(&manifest)
        .map_err(|e| Error::caused_by(ErrorKind::Invalid, "package.json is not JSON", e))?;
    let install = if locked {
        "npm ci"
    } else {
        "npm install --no-audit --no-fund"
    };
    let mut steps = vec![step("install", install, &["npm"])];
    if manifest["scripts"]["test"].is_string() {
        steps.push(step("test", "npm test", &["npm"]));
    } else if manifest["scripts"]["build"].is_string() {
        steps.push(step("build", "npm run build", &["npm"]));
    }
    Ok(chain(steps))
}

fn python(requirements: bool) -> Vec<Step> {
    let also = if requirements {
        " -r requirements.txt"
    } else {
        ""
    };
    let install =
        format!("python3 -m venv .venv && .venv/bin/python -m pip install --quiet pytest{also} .");
    chain(vec![
        step("install", &install, &["python3"]),
        step("test", ".venv/bin/python -m pytest", &["python3"]),
    ])
}

fn cmake() -> Vec<Step> {
    chain(vec![
        step("configure", "cmake -S . -B build", &["cmake"]),
        step("build", "cmake --build build --parallel", &["cmake"]),
        step(
            "test",
            "ctest --test-dir build --output-on-failure",
            &["ctest"],
        ),
    ])
}

fn meson() -> Vec<Step> {
    chain(vec![
        step("setup", "meson setup build", &["meson"]),
        step("compile", "meson compile -C build", &["meson"]),
        step("test", "meson test -C build --print-errorlogs", &["meson"]),
    ])
}

fn make(makefile: &str) -> Vec<Step> {
    let mut steps = vec![step("make", "make", &["make"])];
    if let Some(target) = ["test", "check"]
        .into_iter()
        .find(|t| has_target(makefile, t))
    {
        steps.push(step(target, &format!("make {target}"), &["make"]));
    }
    chain(steps)
}

/// Whether a rule of the makefile names `target` on the left of its colon.
fn has_target(makefile: &str, target: &str) -> bool {
    makefile
        .lines()
        .filter(|line| !line.starts_with(['\t', '#', '.']))
        .any(|line| {
            let Some((left, right)) = line.split_once(':') else {
                return false;
            };
            !right.starts_with('=')
                && !left.contains('=')
                && left.split_whitespace().any(|name| name == target)
        })
}

#[cfg(test)]
mod tests {
    use futures_executor::block_on;

    use super::super::MemoryTree;
    use super::*;

    fn runs(tree: &MemoryTree) -> Vec<String> {
        let plan = block_on(Detected::from_tree(tree)).unwrap().into_plan();
        plan.steps.into_iter().map(|s| s.run).collect()
    }

    fn files(names: &[&str]) -> MemoryTree {
        names
            .iter()
            .fold(MemoryTree::default(), |tree, name| tree.with(name, ""))
    }

    #[test]
    fn each_kind_of_project_is_told_by_its_files() {
        assert_eq!(
            runs(&files(&["Cargo.toml", "Makefile"])),
            ["cargo build", "cargo test"]
        );
        assert_eq!(
            runs(&files(&["Cargo.toml", "Cargo.lock"]))[1],
            "cargo test --locked"
        );
        assert_eq!(runs(&files(&["go.mod"])), ["go vet ./...", "go test ./..."]);
        assert_eq!(runs(&files(&["CMakeLists.txt"])).len(), 3);
        assert_eq!(runs(&files(&["pom.xml"])), ["mvn --batch-mode verify"]);
        assert_eq!(
            runs(&files(&["build.gradle", "gradlew"])),
            ["./gradlew build"]
        );
        let node =
            MemoryTree::default().with("package.json", r#"{"scripts":{"test":"node t.js"}}"#);
        assert_eq!(
            runs(&node),
            ["npm install --no-audit --no-fund", "npm test"]
        );
    }

    #[test]
    fn make_test_runs_only_where_there_is_such_a_target() {
        let tree = |text: &str| MemoryTree::default().with("Makefile", text);
        assert_eq!(
            runs(&tree("all: x\ncheck: all\n\t./t\n")),
            ["make", "make check"]
        );
        assert_eq!(runs(&tree("all:\n\techo test: no\ntest := 1\n")), ["make"]);
        assert_eq!(
            runs(&tree("lint test: all\n\t./t\ncheck:\n")),
            ["make", "make test"]
        );
    }

    #[test]
    fn nothing_found_says_what_to_write() {
        let error = block_on(Detected::from_tree(&files(&["README"]))).unwrap_err();
        assert!(
            error.to_string().starts_with("found no .farmer.toml"),
            "{error}"
        );
        assert!(error.hint().unwrap().contains("[[step]]"));
        let empty = block_on(Detected::from_tree(&MemoryTree::default())).unwrap_err();
        assert_eq!(empty.to_string(), "the commit has no files");
    }

    #[test]
    fn a_guess_is_explained_and_can_be_written_down() {
        let guess = block_on(Detected::from_tree(&files(&["go.mod"]))).unwrap();
        let text = guess.to_toml();
        assert!(
            text.starts_with("# detected from go.mod: go vet ./..., then go test ./...\n"),
            "{text}"
        );
        assert_eq!(
            FarmerToml::parse(&text).unwrap().steps(),
            guess.into_plan().steps
        );
    }

    #[test]
    fn the_file_in_the_commit_comes_before_any_guess() {
        let tree = files(&["go.mod"]).with(".farmer.toml", "[[step]]\nname = 'x'\nrun = 'true'");
        let file = block_on(Detect::configuration(&tree)).unwrap().unwrap();
        assert_eq!(file.steps()[0].run, "true");
        let bad = files(&[]).with(".farmer.toml", "[[step");
        assert!(
            block_on(Detect::configuration(&bad))
                .unwrap_err()
                .chain()
                .starts_with("read .farmer.toml: ")
        );
    }
}
