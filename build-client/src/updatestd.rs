//! Brings the modules of Go's standard library to the heads of a branch: the pinned
//! `golang.org/x` modules, what is vendored of them, and what is bundled from them.
//!
//! What runs the Go command is a [`ModuleTool`]; where the heads come from is the caller's.
//! Everything is checked before anything is changed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::{Deserialize, Serialize};

use crate::{Error, ErrorKind, Result};

/// Where the modules of the heads are: `golang.org/x/NAME`.
pub const PREFIX: &str = "golang.org/x/";
/// From this version on the documentation server is pinned in a source file.
const PINS_DOC: u32 = 27;
/// Where it is pinned, and after which words.
const DOC_DIR: &str = "cmd/go/internal/doc";
const DOC_MODULE: &str = "golang.org/x/pkgsite";

/// A module that another one needs, as `go list -m -json` tells it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Module {
    /// Its path.
    pub path: String,
    /// Its version; empty for the main module.
    pub version: String,
    /// Whether it is the module that is looked at.
    pub main: bool,
}

/// What runs the Go command.
pub trait ModuleTool {
    /// Checks that everything needed is there, before anything is changed.
    ///
    /// # Errors
    /// When it is not, with what is missing.
    fn check(&self) -> Result<()>;
    /// The modules that the one in `dir` needs.
    ///
    /// # Errors
    /// When they cannot be listed.
    fn list(&self, dir: &Path) -> Result<Vec<Module>>;
    /// The version that `module@query` is.
    ///
    /// # Errors
    /// When there is none.
    fn resolve(&self, dir: &Path, module: &str, query: &str) -> Result<String>;
    /// Sets the Go version of the module in `dir`, such as `1.16`.
    ///
    /// # Errors
    /// When it cannot.
    fn set_go_version(&self, dir: &Path, version: &str) -> Result<()>;
    /// Needs `modules`, each `path@version`, from now on.
    ///
    /// # Errors
    /// When one cannot be had.
    fn get(&self, dir: &Path, modules: &[String]) -> Result<()>;
    /// Brings go.mod, go.sum and the vendored files in order.
    ///
    /// # Errors
    /// When it cannot.
    fn tidy_and_vendor(&self, dir: &Path) -> Result<()>;
    /// Bundles anew what `//go:generate bundle` lines in `dir` say.
    ///
    /// # Errors
    /// When it cannot.
    fn bundle(&self, dir: &Path) -> Result<()>;
}

/// A module that got another version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Updated {
    /// The module.
    pub module: String,
    /// What it was.
    pub from: String,
    /// What it is.
    pub to: String,
}

/// What became of one module of the tree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Changed {
    /// The directory, below `src`.
    pub dir: String,
    /// Modules it needs that got another version.
    pub updated: Vec<Updated>,
    /// Modules it needs that no head was given for.
    pub skipped: Vec<String>,
}

/// What became of the tree.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The Go version, such as `1.16`.
    pub go: String,
    /// Its modules.
    pub modules: Vec<Changed>,
    /// Files whose pinned documentation server got another version.
    pub pins: Vec<String>,
}

/// The minor version that the tree at `goroot` is: 16 for Go 1.16.
///
/// # Errors
/// [`ErrorKind::Invalid`] when the tree does not say.
pub fn minor_version(goroot: &Path) -> Result<u32> {
    let file = goroot.join("src/internal/goversion/goversion.go");
    let text = std::fs::read_to_string(&file).map_err(|error| {
        Error::caused_by(
            ErrorKind::Invalid,
            format!("bad Go tree: reading {}", file.display()),
            error,
        )
        .with_hint("name the root of a Go repository with -goroot")
    })?;
    let number = text.lines().find_map(|line| {
        let line = line.trim_start().trim_start_matches("const ");
        let digits = line
            .strip_prefix("Version")?
            .trim_start()
            .strip_prefix('=')?
            .trim();
        digits
            .split(|c: char| !c.is_ascii_digit())
            .next()?
            .parse()
            .ok()
    });
    number.ok_or_else(|| {
        Error::new(
            ErrorKind::Invalid,
            format!("{} names no Version", file.display()),
        )
    })
}

/// The directories with a go.mod below `root`, in order: not those of test data, of vendored
/// files, or whose name begins with `.` or `_`.
///
/// # Errors
/// When a directory cannot be read.
pub fn module_dirs(root: &Path) -> Result<Vec<PathBuf>> {
    let unread = |error| {
        Error::caused_by(
            ErrorKind::Unavailable,
            format!("reading {}", root.display()),
            error,
        )
    };
    let mut found = Vec::new();
    if root.join("go.mod").is_file() {
        found.push(root.to_owned());
    }
    let mut dirs = Vec::new();
    for entry in std::fs::read_dir(root).map_err(unread)? {
        let entry = entry.map_err(unread)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let passed_over = name.starts_with(['.', '_']) || name == "testdata" || name == "vendor";
        if !passed_over && entry.file_type().map_err(unread)?.is_dir() {
            dirs.push(entry.path());
        }
    }
    dirs.sort();
    for dir in dirs {
        found.extend(module_dirs(&dir)?);
    }
    Ok(found)
}

/// Updates the tree at `goroot` to `heads`: the hash of the wanted head by module path.
/// `told` hears what is being done, a line at a time.
///
/// # Errors
/// Before anything is changed: when the tree or the tool is not what it must be. Afterwards:
/// those of the tool; what was changed by then stays.
pub fn update(
    goroot: &Path,
    heads: &BTreeMap<String, String>,
    tool: &dyn ModuleTool,
    told: &mut dyn FnMut(&str),
) -> Result<Report> {
    let minor = minor_version(goroot)?;
    tool.check()?;
    let src = goroot.join("src");
    let dirs = module_dirs(&src)?;
    if dirs.is_empty() {
        return Err(Error::new(
            ErrorKind::Invalid,
            format!("{} holds no go.mod", src.display()),
        ));
    }
    let go = format!("1.{minor}");
    let mut report = Report {
        go: go.clone(),
        ..Report::default()
    };
    for dir in &dirs {
        let name = dir.strip_prefix(&src).unwrap_or(dir).display().to_string();
        told(&format!(
            "updating module {}",
            if name.is_empty() { "std" } else { &name }
        ));
        let before = tool.list(dir)?;
        let needed = || before.iter().filter(|module| !module.main);
        let wanted: Vec<String> = needed()
            .filter_map(|m| Some(format!("{}@{}", m.path, heads.get(&m.path)?)))
            .collect();
        let skipped = needed()
            .filter(|m| !heads.contains_key(&m.path))
            .map(|m| m.path.clone())
            .collect();
        tool.set_go_version(dir, &go)?;
        if !wanted.is_empty() {
            tool.get(dir, &wanted)?;
        }
        tool.tidy_and_vendor(dir)?;
        let after: BTreeMap<String, String> = tool
            .list(dir)?
            .into_iter()
            .map(|m| (m.path, m.version))
            .collect();
        let updated = needed().filter_map(|m| {
            let to = after.get(&m.path).filter(|to| **to != m.version)?;
            Some(Updated {
                module: m.path.clone(),
                from: m.version.clone(),
                to: to.clone(),
            })
        });
        report.modules.push(Changed {
            dir: name,
            updated: updated.collect(),
            skipped,
        });
    }
    for dir in &dirs {
        told(&format!("bundling in {}", dir.display()));
        tool.bundle(dir)?;
    }
    if let (PINS_DOC.., Some(head)) = (minor, heads.get(DOC_MODULE)) {
        let version = tool.resolve(&dirs[0], DOC_MODULE, head)?;
        report.pins = pin_doc(&src, &version)?;
    }
    Ok(report)
}

/// Writes the version of the documentation server where it is pinned: the word after
/// `golang.org/x/pkgsite/…@`, or the value of a constant that is such a version.
fn pin_doc(src: &Path, version: &str) -> Result<Vec<String>> {
    let dir = src.join(DOC_DIR);
    let Ok(entries) = std::fs::read_dir(&dir) else {
        return Ok(Vec::new());
    };
    let mut files: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect();
    files.sort();
    let mut pinned = Vec::new();
    for file in files
        .iter()
        .filter(|file| file.extension().is_some_and(|ext| ext == "go"))
    {
        let failed = |error| {
            Error::caused_by(
                ErrorKind::Unavailable,
                format!("rewriting {}", file.display()),
                error,
            )
        };
        let text = std::fs::read_to_string(file).map_err(failed)?;
        if !text.contains(DOC_MODULE) {
            continue;
        }
        let new = with_pseudo_versions(&text, version);
        if new != text {
            std::fs::write(file, new).map_err(failed)?;
            pinned.push(file.strip_prefix(src).unwrap_or(file).display().to_string());
        }
    }
    Ok(pinned)
}

/// `text` with each pseudo-version (`v0.0.0-20060102150405-0123456789ab`) replaced.
fn with_pseudo_versions(text: &str, version: &str) -> String {
    const LENGTH: usize = "v0.0.0-20060102150405-0123456789ab".len();
    let is_one = |word: &str| {
        let parts: Vec<&str> = word.split('-').collect();
        matches!(parts[..], ["v0.0.0", time, hash]
            if time.len() == 14 && time.bytes().all(|b| b.is_ascii_digit())
            && hash.len() == 12 && hash.bytes().all(|b| b.is_ascii_hexdigit()))
    };
    let mut new = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("v0.0.0-") {
        let word = rest.get(at..at + LENGTH).unwrap_or_default();
        new.push_str(&rest[..at]);
        let (kept, next) = if is_one(word) {
            (version, at + LENGTH)
        } else {
            ("v0.0.0-", at + 7)
        };
        new.push_str(kept);
        rest = &rest[next..];
    }
    new.push_str(rest);
    new
}

/// The Go command of a tree.
#[derive(Clone, Debug)]
pub struct GoCommand {
    go: PathBuf,
    bundle: PathBuf,
    env: Vec<(String, String)>,
}

impl GoCommand {
    /// `go` and the program `bundle` of golang.org/x/tools, by path.
    pub fn new(go: impl Into<PathBuf>, bundle: impl Into<PathBuf>) -> Self {
        Self {
            go: go.into(),
            bundle: bundle.into(),
            env: Vec::new(),
        }
    }

    /// Sets a variable of the environment it runs in.
    #[must_use]
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    fn run(&self, dir: &Path, args: &[&str]) -> Result<String> {
        let line = || format!("go {} in {}", args.join(" "), dir.display());
        // A workspace around the tree would choose other versions.
        let output = Command::new(&self.go)
            .args(args)
            .current_dir(dir)
            .env("GOWORK", "off")
            .env("PWD", dir)
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .stdin(std::process::Stdio::null())
            .output()
            .map_err(|error| {
                Error::caused_by(
                    ErrorKind::Unavailable,
                    format!("starting {}", self.go.display()),
                    error,
                )
            })?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let told = String::from_utf8_lossy(&output.stderr);
        Err(Error::new(
            ErrorKind::Invalid,
            format!("{}: {}\n{}", line(), output.status, told.trim_end()),
        ))
    }
}

impl ModuleTool for GoCommand {
    fn check(&self) -> Result<()> {
        let hint = "install it with: go install golang.org/x/tools/cmd/bundle@latest";
        if !self.bundle.is_file() {
            let text = format!(
                "the program bundle of golang.org/x/tools is missing: no {}",
                self.bundle.display()
            );
            return Err(Error::new(ErrorKind::NotFound, text).with_hint(hint));
        }
        let dir = self.bundle.parent().unwrap_or_else(|| Path::new("/"));
        let info = self
            .run(dir, &["version", "-m", &self.bundle.to_string_lossy()])
            .unwrap_or_default();
        let is_it = info.lines().any(|line| {
            line.split_whitespace()
                .eq(["path", "golang.org/x/tools/cmd/bundle"])
        });
        if is_it {
            return Ok(());
        }
        let text = format!(
            "{} is not the program bundle of golang.org/x/tools",
            self.bundle.display()
        );
        Err(Error::new(ErrorKind::Invalid, text).with_hint(hint))
    }

    fn list(&self, dir: &Path) -> Result<Vec<Module>> {
        let text = self.run(dir, &["list", "-mod=readonly", "-m", "-json", "all"])?;
        serde_json::Deserializer::from_str(&text)
            .into_iter()
            .collect::<std::result::Result<_, _>>()
            .map_err(|error| {
                Error::caused_by(ErrorKind::Corrupt, "reading what go list says", error)
            })
    }

    fn resolve(&self, dir: &Path, module: &str, query: &str) -> Result<String> {
        let version = self.run(
            dir,
            &[
                "list",
                "-mod=readonly",
                "-m",
                "-f",
                "{{.Version}}",
                &format!("{module}@{query}"),
            ],
        )?;
        Ok(version.trim().to_owned())
    }

    fn set_go_version(&self, dir: &Path, version: &str) -> Result<()> {
        self.run(dir, &["mod", "edit", &format!("-go={version}")])
            .map(|_| ())
    }

    fn get(&self, dir: &Path, modules: &[String]) -> Result<()> {
        let args: Vec<&str> = std::iter::once("get")
            .chain(modules.iter().map(String::as_str))
            .collect();
        self.run(dir, &args).map(|_| ())
    }

    fn tidy_and_vendor(&self, dir: &Path) -> Result<()> {
        self.run(dir, &["mod", "tidy"])?;
        self.run(dir, &["mod", "vendor"]).map(|_| ())
    }

    fn bundle(&self, dir: &Path) -> Result<()> {
        self.run(dir, &["generate", "-run=bundle", "./..."])
            .map(|_| ())
    }
}

/// The head of `branch` in each project of a Gerrit server, by module path; projects without
/// that branch are left out.
///
/// # Errors
/// Those of the server.
#[cfg(feature = "rest")]
pub async fn heads(
    gerrit: &crate::gerrit::Client,
    branch: &str,
) -> std::result::Result<BTreeMap<String, String>, crate::gerrit::Error> {
    use futures::{StreamExt as _, TryStreamExt as _};
    let projects = gerrit.list_projects().await?;
    // A few at a time: there are some sixty projects.
    let asked = futures::stream::iter(projects).map(|project| async move {
        match gerrit.get_branch(&project.name, branch).await {
            Ok(head) => Ok(Some((format!("{PREFIX}{}", project.name), head.revision))),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    });
    asked
        .buffered(8)
        .try_filter_map(async |head| Ok(head))
        .try_collect()
        .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pinned_versions_are_replaced() {
        let text = "x@v0.0.0-20250608123103-82c52f1754cd\", v0.0.0-x v0.0.0-";
        assert_eq!(with_pseudo_versions(text, "v1"), "x@v1\", v0.0.0-x v0.0.0-");
    }

    #[test]
    fn the_tree_says_its_version() {
        let dir = tempfile::tempdir().unwrap();
        assert!(minor_version(dir.path()).is_err());
        let file = dir.path().join("src/internal/goversion/goversion.go");
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(
            &file,
            "package goversion\n\n// Version is x\nconst Version = 16\n",
        )
        .unwrap();
        assert_eq!(minor_version(dir.path()).unwrap(), 16);
        std::fs::write(&file, "package goversion\n").unwrap();
        assert!(
            minor_version(dir.path())
                .unwrap_err()
                .to_string()
                .contains("names no Version")
        );
    }

    #[test]
    fn modules_of_a_tree() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["", "cmd", "vendor/x", "a/testdata/y", "_z", ".git", "b/c"] {
            std::fs::create_dir_all(dir.path().join(name)).unwrap();
            std::fs::write(dir.path().join(name).join("go.mod"), "module x\n").unwrap();
        }
        let found = module_dirs(dir.path()).unwrap();
        assert_eq!(
            found,
            ["", "b/c", "cmd"].map(|name| if name.is_empty() {
                dir.path().to_owned()
            } else {
                dir.path().join(name)
            })
        );
    }
}
