//! What a repository's own CI file says plainly: the commands it runs.
//!
//! Read are workflows of GitHub, and the files of GitLab, Woodpecker and Buildkite. Only plain
//! commands are taken over; everything else is listed as left out.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::super::Tree;
use super::super::farmer_toml;
use super::guess::chain;
use super::look::{file_name, join, read_text};
use crate::error::{Error, ErrorKind, Result};
use crate::ids::StepName;
use crate::plan::{Plan, Step};

/// Commands that are shown beside a guess.
const SHOWN: usize = 4;
/// Longest command that is shown.
const SHOWN_BYTES: usize = 80;

/// A CI file of a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CiFile {
    /// Where it lies.
    path: String,
    steps: Vec<CiStep>,
    left_out: Vec<String>,
}

/// One command of a CI file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CiStep {
    /// The job it belongs to.
    pub job: String,
    /// Its name, empty when it has none.
    pub name: String,
    /// Shell lines.
    pub run: String,
    /// Below the checkout; empty for its root.
    pub dir: String,
    /// Added to the environment.
    pub env: BTreeMap<String, String>,
}

impl CiFile {
    /// The repository's CI file, `None` when there is none that can be read.
    ///
    /// # Errors
    /// When the commit cannot be read.
    pub async fn find(tree: &dyn Tree) -> Result<Option<Self>> {
        for path in candidates(tree).await? {
            let Ok(Some(text)) = read_text(tree, &path).await else {
                continue;
            };
            // What is only shown beside a guess may be anything.
            if let Ok(file) = Self::parse(&path, &text)
                && !file.steps.is_empty()
            {
                return Ok(Some(file));
            }
        }
        Ok(None)
    }

    /// Reads a CI file; what kind it is is told by its path.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] when it is no YAML, or of no kind that is known.
    pub fn parse(path: &str, text: &str) -> Result<Self> {
        let value: Value = serde_saphyr::from_str(text).map_err(|e| {
            let why = e.to_string();
            let line = why.lines().next().unwrap_or_default().to_owned();
            Error::new(ErrorKind::Invalid, format!("{path} is not YAML: {line}"))
        })?;
        let mut file = Self {
            path: path.to_owned(),
            steps: Vec::new(),
            left_out: Vec::new(),
        };
        match file_name(path) {
            ".gitlab-ci.yml" | ".gitlab-ci.yaml" => file.gitlab(&value),
            _ if path.contains(".buildkite") => file.buildkite(&value),
            _ if path.contains("woodpecker") => file.woodpecker(&value),
            _ if value["jobs"].is_object() => file.github(&value),
            _ => {
                return Err(Error::new(
                    ErrorKind::Invalid,
                    format!("{path} is no CI file of a kind that is known"),
                )
                .with_hint(
                    "known are GitHub workflows, .gitlab-ci.yml, .woodpecker and .buildkite",
                ));
            }
        }
        Ok(file)
    }

    /// Where it lies in the repository.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The commands it runs, in its order.
    pub fn steps(&self) -> &[CiStep] {
        &self.steps
    }

    /// What could not be taken over, each with its place.
    pub fn left_out(&self) -> &[String] {
        &self.left_out
    }

    /// The commands that are short enough to be shown behind a guess.
    pub(super) fn in_a_sentence(&self) -> String {
        let lines = self.steps.iter().filter_map(|step| {
            let mut lines = step.run.lines().map(str::trim).filter(|l| !l.is_empty());
            let line = lines.next()?;
            (lines.next().is_none() && line.len() <= SHOWN_BYTES).then_some(line)
        });
        let shown: Vec<_> = lines.take(SHOWN).collect();
        if shown.is_empty() {
            return String::new();
        }
        format!("; its own CI ({}) runs: {}", self.path, shown.join(", "))
    }

    /// The commands as a `.farmer.toml`, with what was left out as comments.
    ///
    /// Steps of a job run one after the other in one work directory; jobs are independent.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] when nothing could be taken over.
    pub fn to_toml(&self) -> Result<String> {
        if self.steps.is_empty() {
            let text = format!("{} has no command that can be taken over", self.path);
            let hint = match self.left_out.first() {
                Some(first) => format!("left out is: {first}"),
                None => "write the steps by hand; see docs/configuration.md".to_owned(),
            };
            return Err(Error::new(ErrorKind::Invalid, text).with_hint(hint));
        }
        let plan = Plan::new(self.plan_steps(), format!("taken from {}", self.path))?;
        let mut text = farmer_toml::write(&plan);
        if !self.left_out.is_empty() {
            text.push_str("\n# Left out:\n");
            for what in &self.left_out {
                text.push_str(&format!("# - {}\n", what.replace('\n', " ")));
            }
        }
        Ok(text)
    }

    fn plan_steps(&self) -> Vec<Step> {
        let mut steps: Vec<Step> = Vec::new();
        let mut of_job: Vec<Step> = Vec::new();
        for (n, step) in self.steps.iter().enumerate() {
            let name = free_name(step, n, steps.iter().chain(&of_job));
            of_job.push(Step {
                dir: step.dir.clone(),
                env: step.env.clone(),
                ..Step::new(name, step.run.clone())
            });
            if self
                .steps
                .get(n + 1)
                .is_none_or(|next| next.job != step.job)
            {
                steps.extend(chain(std::mem::take(&mut of_job)));
            }
        }
        steps
    }

    fn leave_out(&mut self, place: &str, what: &str) {
        self.left_out.push(format!("{place}: {what}"));
    }

    fn github(&mut self, file: &Value) {
        for (job, body) in object(&file["jobs"]) {
            for key in ["services", "container", "strategy", "if"] {
                if !body[key].is_null() {
                    self.leave_out(job, &format!("`{key}` is not taken over"));
                }
            }
            if let Some(uses) = body["uses"].as_str() {
                self.leave_out(job, &format!("uses {uses}"));
            }
            let mut env = strings(&file["env"]);
            env.extend(strings(&body["env"]));
            let default_dir = &body["defaults"]["run"]["working-directory"];
            for step in body["steps"].as_array().into_iter().flatten() {
                let name = step["name"].as_str().unwrap_or_default();
                let place = if name.is_empty() {
                    job.clone()
                } else {
                    format!("{job}, {name}")
                };
                let Some(run) = step["run"].as_str() else {
                    match step["uses"].as_str() {
                        Some(uses) if uses.starts_with("actions/checkout@") => {}
                        Some(uses) => self.leave_out(&place, &format!("uses {uses}")),
                        None => self.leave_out(&place, "has no command"),
                    }
                    continue;
                };
                let dir = step["working-directory"].as_str().or(default_dir.as_str());
                let mut env = env.clone();
                env.extend(strings(&step["env"]));
                if !step["if"].is_null() {
                    self.leave_out(&place, "`if` is not taken over");
                }
                self.add(job, name, run, dir.unwrap_or_default(), env, &place);
            }
        }
    }

    fn gitlab(&mut self, file: &Value) {
        const KEYWORDS: &[&str] = &[
            "stages",
            "variables",
            "default",
            "include",
            "workflow",
            "image",
            "services",
            "cache",
            "before_script",
            "after_script",
            "pages",
            "spec",
        ];
        if !file["include"].is_null() {
            self.leave_out("include", "other files are not read");
        }
        let before = &file["before_script"];
        let before = if before.is_null() {
            &file["default"]["before_script"]
        } else {
            before
        };
        for (job, body) in object(file) {
            if KEYWORDS.contains(&job.as_str()) || job.starts_with('.') || body["script"].is_null()
            {
                continue;
            }
            for key in ["services", "rules", "only", "except", "extends", "parallel"] {
                if !body[key].is_null() {
                    self.leave_out(job, &format!("`{key}` is not taken over"));
                }
            }
            let own = &body["before_script"];
            let before = if own.is_null() { before } else { own };
            let lines: Vec<_> = [before, &body["script"]]
                .into_iter()
                .flat_map(lines)
                .collect();
            let mut env = strings(&file["variables"]);
            env.extend(strings(&body["variables"]));
            self.add(job, "", &lines.join("\n"), "", env, job);
        }
    }

    fn woodpecker(&mut self, file: &Value) {
        let named: Vec<(String, &Value)> = match &file["steps"] {
            Value::Object(steps) => steps.iter().map(|(n, s)| (n.clone(), s)).collect(),
            Value::Array(steps) => steps
                .iter()
                .map(|s| (s["name"].as_str().unwrap_or_default().to_owned(), s))
                .collect(),
            _ => Vec::new(),
        };
        if !file["services"].is_null() {
            self.leave_out("services", "are not taken over");
        }
        for (name, step) in named {
            let run = lines(&step["commands"]).join("\n");
            if run.is_empty() {
                self.leave_out(&name, "is a plugin");
                continue;
            }
            let env = strings(&step["environment"]);
            self.add("woodpecker", &name, &run, "", env, &name);
        }
    }

    fn buildkite(&mut self, file: &Value) {
        let steps = if file.is_array() {
            file
        } else {
            &file["steps"]
        };
        for step in steps.as_array().into_iter().flatten() {
            let label = step["label"]
                .as_str()
                .or(step["key"].as_str())
                .unwrap_or_default();
            let run: Vec<_> = [&step["command"], &step["commands"]]
                .into_iter()
                .flat_map(lines)
                .collect();
            if run.is_empty() {
                if step.is_object() {
                    self.leave_out(label, "has no command");
                }
                continue;
            }
            if !step["plugins"].is_null() {
                self.leave_out(label, "`plugins` are not taken over");
            }
            let mut env = strings(&file["env"]);
            env.extend(strings(&step["env"]));
            // Each runs on an agent of its own.
            let job = format!("{label} {}", self.steps.len());
            self.add(&job, label, &run.join("\n"), "", env, label);
        }
    }

    fn add(
        &mut self,
        job: &str,
        name: &str,
        run: &str,
        dir: &str,
        mut env: BTreeMap<String, String>,
        place: &str,
    ) {
        if is_computed(run) || is_computed(dir) {
            return self.leave_out(place, "its command has an expression of the CI system");
        }
        if dir.split('/').any(|part| part == "..") || dir.starts_with('/') {
            return self.leave_out(place, "it runs outside of the checkout");
        }
        if env.values().any(|value| is_computed(value)) {
            self.leave_out(place, "variables with an expression of the CI system");
            env.retain(|_, value| !is_computed(value));
        }
        self.steps.push(CiStep {
            job: job.to_owned(),
            name: name.to_owned(),
            run: run.trim_end().to_owned(),
            dir: dir.trim_start_matches("./").to_owned(),
            env,
        });
    }
}

/// The paths where CI files lie, the most telling first.
async fn candidates(tree: &dyn Tree) -> Result<Vec<String>> {
    let root = tree.list("").await?;
    let mut paths = Vec::new();
    for (dir, deeper) in [
        (".github/", Some("workflows")),
        (".woodpecker/", None),
        (".buildkite/", None),
    ] {
        if !root.iter().any(|n| n == dir) {
            continue;
        }
        let dir = deeper.map_or(dir.trim_end_matches('/').to_owned(), |d| {
            format!("{dir}{d}")
        });
        let mut names = tree.list(&dir).await?;
        names.retain(|n| n.ends_with(".yml") || n.ends_with(".yaml"));
        names.sort_by_key(|n| (!is_telling(n), n.clone()));
        paths.extend(names.iter().map(|name| join(&dir, name)));
    }
    let at_root = [".gitlab-ci.yml", ".woodpecker.yml", ".woodpecker.yaml"];
    paths.extend(
        at_root
            .iter()
            .filter(|n| root.iter().any(|r| r == **n))
            .map(ToString::to_string),
    );
    // Many workflows do other things than build.
    paths.truncate(4);
    Ok(paths)
}

fn is_telling(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    ["ci", "test", "build", "main", "check", "pipeline"]
        .iter()
        .any(|word| name.contains(word))
}

fn object(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flat_map(Map::iter)
}

/// One line or a list of them.
fn lines(value: &Value) -> Vec<String> {
    match value {
        Value::String(line) => vec![line.trim_end().to_owned()],
        Value::Array(list) => list.iter().flat_map(lines).collect(),
        _ => Vec::new(),
    }
}

/// A map of plain values; others are no variables.
fn strings(value: &Value) -> BTreeMap<String, String> {
    let text = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(truth) => Some(truth.to_string()),
        _ => None,
    };
    object(value)
        .filter_map(|(name, value)| Some((name.clone(), text(value)?)))
        .collect()
}

/// Whether the CI system fills something in.
fn is_computed(text: &str) -> bool {
    text.contains("${{")
}

/// The step's name, made unique.
fn free_name<'s>(step: &CiStep, n: usize, mut taken: impl Iterator<Item = &'s Step>) -> StepName {
    let name = match (step.name.trim(), step.job.trim()) {
        ("", "") => format!("step {}", n + 1),
        ("", job) => job.to_owned(),
        (name, job) if job.is_empty() || job.starts_with(name) => name.to_owned(),
        (name, job) => format!("{job}: {name}"),
    };
    let name: String = name.chars().filter(|c| !c.is_control()).take(90).collect();
    let name = name.trim();
    let is_taken = taken.any(|other| other.name.as_str() == name);
    let name = if is_taken {
        format!("{name} ({})", n + 1)
    } else {
        name.to_owned()
    };
    StepName::new(&name)
        .or_else(|_| StepName::new(format!("step {}", n + 1)))
        .expect("a number makes a valid name")
}

/// Any text is read or refused, and what is read can be written down.
#[doc(hidden)]
pub fn fuzz_ci_file(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    for path in [
        ".github/workflows/ci.yml",
        ".gitlab-ci.yml",
        ".woodpecker.yml",
        ".buildkite/p.yml",
    ] {
        if let Ok(file) = CiFile::parse(path, text) {
            let _written_or_refused = file.to_toml();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::FarmerToml;
    use super::*;

    #[test]
    fn a_workflow_becomes_steps_and_a_list_of_what_is_left_out() {
        let text = "on: [push]\nenv: {A: 1}\njobs:\n  test:\n    strategy: {matrix: {os: [linux]}}\n    steps:\n\
            \x20     - uses: actions/checkout@v4\n      - uses: actions/setup-go@v5\n\
            \x20     - name: Vet\n        run: go vet ./...\n        working-directory: ./sub\n\
            \x20     - run: |\n          go build ./...\n          go test ./...\n\
            \x20     - run: echo ${{ github.sha }}\n  lint:\n    steps:\n      - run: ./lint\n";
        let file = CiFile::parse(".github/workflows/ci.yml", text).unwrap();
        let runs: Vec<_> = file.steps().iter().map(|s| s.run.as_str()).collect();
        let both: Vec<_> = {
            let mut sorted = runs.clone();
            sorted.sort_unstable();
            sorted
        };
        assert_eq!(
            both,
            ["./lint", "go build ./...\ngo test ./...", "go vet ./..."]
        );
        let vet = file.steps().iter().find(|s| s.name == "Vet").unwrap();
        assert_eq!((vet.dir.as_str(), vet.env["A"].as_str()), ("sub", "1"));
        assert_eq!(file.left_out().len(), 3, "{:?}", file.left_out());
        assert!(file.in_a_sentence().contains("go vet ./..."));
        let toml = file.to_toml().unwrap();
        let back = FarmerToml::parse(&toml).unwrap();
        assert_eq!(back.steps().len(), 3);
        assert!(
            toml.contains("# - test: `strategy` is not taken over"),
            "{toml}"
        );
    }

    #[test]
    fn gitlab_woodpecker_and_buildkite_are_read() {
        let gitlab = "stages: [a]\nbefore_script: [./prepare]\ntest:\n  script:\n    - make\n    - make check\n.hidden:\n  script: [no]\n";
        let file = CiFile::parse(".gitlab-ci.yml", gitlab).unwrap();
        assert_eq!(file.steps()[0].run, "./prepare\nmake\nmake check");
        assert_eq!(file.steps().len(), 1);
        let woodpecker = "steps:\n  - name: t\n    image: x\n    commands: [make]\n  - name: p\n    image: plugin\n";
        let file = CiFile::parse(".woodpecker.yml", woodpecker).unwrap();
        assert_eq!(
            (file.steps()[0].run.as_str(), file.left_out().len()),
            ("make", 1)
        );
        let buildkite =
            "steps:\n  - label: T\n    command: make test\n  - wait\n  - commands: [a, b]\n";
        let file = CiFile::parse(".buildkite/pipeline.yml", buildkite).unwrap();
        let runs: Vec<_> = file.steps().iter().map(|s| s.run.as_str()).collect();
        assert_eq!(runs, ["make test", "a\nb"]);
    }

    #[test]
    fn what_is_no_ci_file_is_said() {
        let error = CiFile::parse("x.yml", "a: [").unwrap_err();
        assert!(
            error.to_string().starts_with("x.yml is not YAML"),
            "{error}"
        );
        let error = CiFile::parse("x.yml", "a: 1").unwrap_err();
        assert!(error.to_string().contains("no CI file"), "{error}");
        assert!(
            CiFile::parse(".gitlab-ci.yml", "a: 1")
                .unwrap()
                .to_toml()
                .is_err()
        );
        fuzz_ci_file(b"jobs: {a: {steps: [{run: x}, {run: x}]}}");
    }
}
