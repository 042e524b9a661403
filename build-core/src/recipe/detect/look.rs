//! What a guess looks at: the files of a commit, and the manifests among them.

use serde::de::DeserializeOwned;

use super::super::Tree;
use crate::error::{Error, ErrorKind, Result};

/// Longest configuration or manifest that is read.
const MAX_FILE_BYTES: u64 = 1 << 20;
/// Manifests beyond these are not looked for.
const MAX_NESTED: usize = 200;

/// The names that tell a project, wherever they lie.
const NESTED: &[&str] = &[
    "Cargo.toml",
    "go.mod",
    "package.json",
    "pyproject.toml",
    "setup.py",
    "pom.xml",
    "build.gradle",
    "build.gradle.kts",
    "mix.exs",
    "composer.json",
    "Gemfile",
    "Package.swift",
    "CMakeLists.txt",
    "meson.build",
    "Makefile",
];

/// Directories whose manifests belong to somebody else, or are input of tests.
const FOREIGN: &[&str] = &[
    "vendor",
    "node_modules",
    "third_party",
    "third-party",
    "testdata",
    "test-data",
    "fixtures",
    "__fixtures__",
    "site-packages",
];

/// The commit as a guess sees it.
pub(super) struct Look<'a> {
    tree: &'a dyn Tree,
    root: Vec<String>,
    /// Manifests below the root, nearest first.
    nested: Vec<String>,
}

impl<'a> Look<'a> {
    pub(super) async fn at(tree: &'a dyn Tree) -> Result<Self> {
        let root = tree.list("").await?;
        let found = tree.find(NESTED, MAX_NESTED).await?;
        let mut nested: Vec<_> = found
            .into_iter()
            .filter(|path| path.contains('/') && !is_foreign(path))
            .collect();
        nested.sort_by(|a, b| (depth(a), a).cmp(&(depth(b), b)));
        Ok(Self { tree, root, nested })
    }

    /// Whether the commit holds nothing at all.
    pub(super) fn is_empty(&self) -> bool {
        self.root.is_empty()
    }

    /// Whether the root holds a file of that name.
    pub(super) fn has(&self, name: &str) -> bool {
        self.root.iter().any(|n| n == name)
    }

    /// The first of `names` at the root.
    pub(super) fn first_of(&self, names: &[&'static str]) -> Option<&'static str> {
        names.iter().copied().find(|name| self.has(name))
    }

    /// The first file at the root whose name ends so.
    pub(super) fn ending(&self, ends: &[&str]) -> Option<&str> {
        let mut names = self.root.iter().map(String::as_str);
        names.find(|name| ends.iter().any(|end| name.ends_with(end)))
    }

    /// Names of files and directories in `dir`, `""` for the root.
    pub(super) async fn list(&self, dir: &str) -> Result<Vec<String>> {
        if dir.is_empty() {
            return Ok(self.root.clone());
        }
        self.tree.list(dir).await
    }

    /// Whether `dir` holds a file or, with a slash at its end, a directory of that name.
    pub(super) async fn has_in(&self, dir: &str, name: &str) -> Result<bool> {
        Ok(self.list(dir).await?.iter().any(|n| n == name))
    }

    /// Manifests called `name` below the root, nearest first.
    pub(super) fn nested<'s>(&'s self, name: &'s str) -> impl Iterator<Item = &'s str> {
        let paths = self.nested.iter().map(String::as_str);
        paths.filter(move |path| file_name(path) == name)
    }

    /// All manifests below the root, nearest first.
    pub(super) fn all_nested(&self) -> &[String] {
        &self.nested
    }

    /// A file as text, `None` when there is none.
    ///
    /// # Errors
    /// When it is no UTF-8 text, or too large.
    pub(super) async fn text(&self, path: &str) -> Result<Option<String>> {
        read_text(self.tree, path).await
    }

    /// A manifest in TOML; an absent one is empty.
    pub(super) async fn toml(&self, path: &str) -> Result<toml::Table> {
        let text = self.text(path).await?.unwrap_or_default();
        text.parse().map_err(|e: toml::de::Error| {
            let why = e.message().to_owned();
            Error::new(ErrorKind::Invalid, format!("{path} is not TOML: {why}"))
        })
    }

    /// A manifest in JSON; an absent one is `null`.
    pub(super) async fn json<T: DeserializeOwned + Default>(&self, path: &str) -> Result<T> {
        let Some(text) = self.text(path).await? else {
            return Ok(T::default());
        };
        serde_json::from_str(text.trim_start_matches('\u{feff}'))
            .map_err(|e| Error::caused_by(ErrorKind::Invalid, format!("{path} is not JSON"), e))
    }
}

fn depth(path: &str) -> usize {
    path.matches('/').count()
}

/// The directory of a path, `""` for the root.
pub(super) fn dir_of(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(dir, _)| dir)
}

/// The last name of a path.
pub(super) fn file_name(path: &str) -> &str {
    path.rsplit_once('/').map_or(path, |(_, name)| name)
}

/// `name` in `dir`.
pub(super) fn join(dir: &str, name: &str) -> String {
    if dir.is_empty() {
        name.to_owned()
    } else {
        format!("{dir}/{name}")
    }
}

fn is_foreign(path: &str) -> bool {
    dir_of(path)
        .split('/')
        .any(|part| part.starts_with(['.', '_']) || FOREIGN.contains(&part))
}

/// A file that is too large for us is so however often it is read.
fn too_large(path: &str, error: Error) -> Error {
    match error.kind() {
        ErrorKind::Limit => {
            let hint = format!("make {path} smaller than {} MiB", MAX_FILE_BYTES >> 20);
            Error::new(ErrorKind::Invalid, error.chain()).with_hint(hint)
        }
        _ => error,
    }
}

/// A file of a commit as text, `None` when there is none.
pub(super) async fn read_text(tree: &dyn Tree, path: &str) -> Result<Option<String>> {
    let read = tree.read(path, MAX_FILE_BYTES).await;
    let Some(bytes) = read.map_err(|e| too_large(path, e))? else {
        return Ok(None);
    };
    let text = String::from_utf8(bytes).map_err(|e| {
        Error::caused_by(ErrorKind::Invalid, format!("{path} is not UTF-8 text"), e)
    })?;
    Ok(Some(text))
}
