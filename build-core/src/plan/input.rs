//! What lies in the work directory besides the commit: other checkouts, archives, snapshots.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{Plan, Step};
use crate::error::{Error, ErrorKind, Result};
use crate::event::BlobRef;
use crate::ids::{BuildId, BuilderName, StepName};
use crate::work::WorkItem;

/// Largest archive that is fetched when nothing is said.
pub const ARCHIVE_BYTES: u64 = 1 << 30;

/// One more thing in the work directory of a build, put there before its first step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Input {
    /// Where it goes, below the checkout. No two inputs share a place, and the commit has nothing
    /// there.
    pub dir: String,
    /// What it is.
    pub from: InputFrom,
}

/// What an [`Input`] is. What a name stands for is found out once, when the build is planned, and
/// is recorded with the plan: the same build never sees two of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum InputFrom {
    /// A commit of another repository, or another commit of the same one.
    Checkout {
        /// The repository: its name in the farm, a URL, or `../PATH` beside a repository of the
        /// machine of the farm.
        repo: String,
        /// The branch, tag or commit; `None`: its default branch.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        rev: Option<String>,
        /// The commit, once it is known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        item: Option<Box<WorkItem>>,
    },
    /// A file from the web.
    Archive {
        /// Where it is fetched, by `http` or `https`.
        url: String,
        /// Its SHA-256, lower-case hex.
        sha256: String,
        /// Bytes it may have.
        max_bytes: u64,
        /// Whether it is an archive that is unpacked; else it is a file called [`Input::dir`].
        unpack: bool,
        /// Folders at the beginning of each name that are left out.
        #[serde(default)]
        strip: u32,
    },
    /// What a step of an earlier build has kept as its snapshot.
    Snapshot {
        /// The step.
        step: StepName,
        /// The builder of that build; `None`: the same.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        builder: Option<BuilderName>,
        /// The repository, as of a checkout; `None`: the same one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        repo: Option<String>,
        /// The branch, tag or commit from which on builds are looked for, as of a checkout.
        /// `None`: the commit that is built, of another repository its default branch.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        rev: Option<String>,
        /// Whether the build goes on without it when there is none.
        #[serde(default)]
        optional: bool,
        /// What was found, once it was looked for: `None` then says that there is none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        found: Option<FoundSnapshot>,
    },
}

/// The snapshot of an earlier build.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FoundSnapshot {
    /// The build that has kept it.
    pub build: BuildId,
    /// The packed directory.
    pub contents: BlobRef,
}

/// The snapshot of an earlier step of the same build, put in place before a step runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepInput {
    /// The step that has kept it; the step needs it.
    pub step: StepName,
    /// Where it goes, below the checkout.
    pub dir: String,
}

impl Input {
    /// The same, before anybody found out what its names stand for.
    #[must_use]
    pub fn asked(&self) -> Self {
        let mut asked = self.clone();
        match &mut asked.from {
            InputFrom::Checkout { item, .. } => *item = None,
            InputFrom::Snapshot { found, .. } => *found = None,
            InputFrom::Archive { .. } => {}
        }
        asked
    }
}

/// Names all contents that these inputs have, and their places: as long as it stays the same, so
/// do they. Empty when there are none.
pub fn identity(inputs: &[Input]) -> String {
    let mut hash = Sha256::new();
    for input in inputs {
        let what = match &input.from {
            InputFrom::Checkout { item, .. } => {
                let commit = item.as_ref().map_or("", |item| item.commit.as_str());
                format!("checkout {commit}")
            }
            InputFrom::Archive {
                sha256,
                unpack,
                strip,
                ..
            } => format!("archive {sha256} {unpack} {strip}"),
            InputFrom::Snapshot { found, .. } => {
                let sha256 = found.as_ref().map_or("", |found| &found.contents.sha256);
                format!("snapshot {sha256}")
            }
        };
        for part in [&input.dir, &what] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
    }
    match inputs.is_empty() {
        true => String::new(),
        false => hex::encode(&hash.finalize()[..16]),
    }
}

impl fmt::Display for Input {
    /// What it is and where it goes, in a few words.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in {}", self.from, self.dir)
    }
}

impl fmt::Display for InputFrom {
    /// What it is, in a few words.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Checkout {
                item: Some(item),
                rev,
                ..
            } => {
                write!(f, "{} at {}", item.repo, item.commit.short())?;
                match rev.as_deref().filter(|rev| *rev != item.commit.as_str()) {
                    Some(rev) => write!(f, " ({rev})"),
                    None => Ok(()),
                }
            }
            Self::Checkout { repo, rev, .. } => {
                let rev = rev.as_deref().unwrap_or("its default branch");
                write!(f, "{repo} at {rev}")
            }
            Self::Archive { url, sha256, .. } => {
                // What may be a permission is not shown.
                let shown = url.split(['?', '#']).next().unwrap_or_default();
                write!(
                    f,
                    "{shown}, SHA-256 {}…",
                    sha256.get(..12).unwrap_or(sha256)
                )
            }
            Self::Snapshot {
                step,
                found: Some(found),
                ..
            } => write!(f, "the snapshot of step {step} of build {}", found.build),
            Self::Snapshot {
                step,
                builder,
                repo,
                optional,
                ..
            } => {
                write!(f, "the snapshot of step {step}")?;
                if let Some(repo) = repo {
                    write!(f, " of {repo}")?;
                }
                if let Some(builder) = builder {
                    write!(f, " on {builder}")?;
                }
                match optional {
                    true => f.write_str(" (if there is one)"),
                    false => Ok(()),
                }
            }
        }
    }
}

fn invalid(text: String) -> Error {
    Error::new(ErrorKind::Invalid, text)
}

/// A place is a path below the checkout, in its plain form, and nothing of git's.
pub(crate) fn check_place(what: &str, dir: &str) -> Result<()> {
    let hint = "give a path below the checkout, such as \"third_party/tools\"";
    let plain = |part: &str| !matches!(part, "" | "." | ".." | ".git");
    let text = match dir {
        "" => format!("{what} has no place"),
        _ if dir.starts_with('/') || dir.split('/').any(|part| part == "..") => {
            format!("{what}, dir: {dir:?} leads out of the checkout")
        }
        _ if !dir.split('/').all(plain) || dir.contains(['\\', '\0']) => {
            format!("{what}, dir: {dir:?} is no place for it")
        }
        _ => return Ok(()),
    };
    Err(invalid(text).with_hint(hint))
}

/// Whether one of two places lies in the other, or they are one.
pub(crate) fn overlap(a: &str, b: &str) -> bool {
    let inside = |outer: &str, inner: &str| {
        let rest = inner.strip_prefix(outer);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    inside(a, b) || inside(b, a)
}

/// No two things share a place, and each has one below the checkout.
pub(super) fn check_places(plan: &Plan) -> Result<()> {
    let taken = |dir: &str, before: &[(String, &str)]| {
        let other = before.iter().find(|(_, place)| overlap(place, dir));
        other.map(|(what, place)| format!("{what} is in {place:?}"))
    };
    let mut places: Vec<(String, &str)> = Vec::new();
    for input in &plan.inputs {
        let what = input.from.to_string();
        check_place(&what, &input.dir)?;
        if let Some(other) = taken(&input.dir, &places) {
            let text = format!("{what} cannot be put in {:?}: {other}", input.dir);
            return Err(invalid(text).with_hint("give each input a `dir` of its own"));
        }
        places.push((what, &input.dir));
    }
    for step in &plan.steps {
        let mut places = places.clone();
        for input in &step.inputs {
            let what = format!("the tree of step {:?}", input.step.as_str());
            check_place(&what, &input.dir)?;
            if let Some(other) = taken(&input.dir, &places) {
                let text = format!("{what} cannot be put in {:?}: {other}", input.dir);
                return Err(invalid(text).with_hint("give each input a `dir` of its own"));
            }
            places.push((what, &input.dir));
        }
    }
    Ok(())
}

/// A step gets snapshots of steps that keep one and that it needs.
pub(super) fn check_inputs(step: &Step, all: &[Step]) -> Result<()> {
    let name = step.name.as_str();
    if step.snapshot.is_some() && step.tests.is_some() {
        let text = format!("step {name:?} has shards, which have no directory in common to keep");
        return Err(invalid(text).with_hint("keep the snapshot of a step that runs as a whole"));
    }
    for input in &step.inputs {
        let from = input.step.as_str();
        if !step.needs.contains(&input.step) {
            let text =
                format!("step {name:?} gets the tree of step {from:?}, which it does not need");
            return Err(invalid(text).with_hint(format!("add {from:?} to its `needs`")));
        }
        let keeps = all.iter().find(|other| other.name == input.step);
        if keeps.is_none_or(|other| other.snapshot.is_none()) {
            let text = format!("step {name:?} gets the tree of step {from:?}, which keeps none");
            return Err(invalid(text).with_hint(format!(
                "add `snapshot = \".\"`, or the path of a directory, to step {from:?}"
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Step;

    fn archive(dir: &str) -> Input {
        let from = InputFrom::Archive {
            url: "https://h/a.tgz?token=1".into(),
            sha256: "ab".repeat(32),
            max_bytes: ARCHIVE_BYTES,
            unpack: true,
            strip: 0,
        };
        Input {
            dir: dir.into(),
            from,
        }
    }

    #[test]
    fn each_input_has_a_place_of_its_own() {
        let step = Step::new(StepName::new("a").unwrap(), "x");
        let plan = |dirs: &[&str]| {
            let mut plan = Plan::new(vec![step.clone()], "test")?;
            plan.inputs = dirs.iter().map(|dir| archive(dir)).collect();
            plan.checked()
        };
        assert!(plan(&["a", "ab", "b/c"]).is_ok());
        let what = "https://h/a.tgz, SHA-256 abababababab…";
        for (dirs, said) in [
            (
                &["a", "a"][..],
                format!("{what} cannot be put in \"a\": {what} is in \"a\""),
            ),
            (
                &["a/b", "a"],
                format!("{what} cannot be put in \"a\": {what} is in \"a/b\""),
            ),
            (
                &["../a"],
                format!("{what}, dir: \"../a\" leads out of the checkout"),
            ),
            (
                &["/a"],
                format!("{what}, dir: \"/a\" leads out of the checkout"),
            ),
            (&[""], format!("{what} has no place")),
            (
                &[".git/hooks"],
                format!("{what}, dir: \".git/hooks\" is no place for it"),
            ),
        ] {
            assert_eq!(plan(dirs).unwrap_err().to_string(), said);
        }
    }

    #[test]
    fn an_identity_goes_by_contents_and_places() {
        assert_eq!(identity(&[]), "");
        let one = identity(&[archive("a")]);
        assert_eq!(one, identity(&[archive("a")]));
        assert_ne!(one, identity(&[archive("b")]));
        let mut other = archive("a");
        if let InputFrom::Archive { url, .. } = &mut other.from {
            *url = "https://mirror/a.tgz".into();
        }
        assert_eq!(one, identity(&[other]));
    }
}
