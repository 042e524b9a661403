//! The files of a commit, or of a work tree, for recipes.

use std::path::{Component, Path, PathBuf};

use async_trait::async_trait;
use build_core::ids::CommitHash;
use build_core::recipe::Tree;
use build_core::{Error, ErrorKind, Result};

use super::repo::Repo;

/// Files of a commit.
pub(super) struct CommitTree {
    pub(super) repo: Repo,
    pub(super) commit: CommitHash,
}

/// Files as they lie in a directory, committed or not.
pub struct WorkTree {
    pub(super) top: PathBuf,
}

impl WorkTree {
    /// The files below `top`.
    pub fn at(top: impl Into<PathBuf>) -> Self {
        Self { top: top.into() }
    }
}

fn too_large(path: &str, size: u64, max_bytes: u64) -> Error {
    let text = format!("{path} has {size} bytes, more than the {max_bytes} that are read");
    Error::new(ErrorKind::Limit, text)
}

#[async_trait]
impl Tree for CommitTree {
    async fn list(&self, dir: &str) -> Result<Vec<String>> {
        let dir = match dir.trim_matches('/') {
            "" => String::new(),
            dir => format!("{dir}/"),
        };
        let mut args = vec!["ls-tree", "-z", "--full-tree", self.commit.as_str()];
        if !dir.is_empty() {
            args.extend(["--", dir.as_str()]);
        }
        let listed = self.repo.run(&args).await?;
        let lines = listed.split(|&b| b == 0).filter(|line| !line.is_empty());
        Ok(lines.filter_map(|line| name_in(&dir, line)).collect())
    }

    async fn read(&self, path: &str, max_bytes: u64) -> Result<Option<Vec<u8>>> {
        if path.contains('\n') {
            return Ok(None);
        }
        let object = format!("{}:{path}", self.commit);
        let about = self.about(&object).await?;
        match about.as_deref().map(|a| a.split(' ').collect::<Vec<_>>()) {
            Some(words) if words.get(1) == Some(&"blob") => {
                let size = words
                    .get(2)
                    .and_then(|s| s.parse().ok())
                    .unwrap_or(u64::MAX);
                if size > max_bytes {
                    return Err(too_large(path, size, max_bytes));
                }
                Ok(Some(self.repo.run(&["cat-file", "blob", words[0]]).await?))
            }
            _ => Ok(None),
        }
    }

    /// One call for all directories.
    async fn find(&self, names: &[&str], limit: usize) -> Result<Vec<String>> {
        let args = [
            "ls-tree",
            "-r",
            "-z",
            "--full-tree",
            "--name-only",
            self.commit.as_str(),
        ];
        let listed = self.repo.run(&args).await?;
        let paths = listed
            .split(|&b| b == 0)
            .filter_map(|p| std::str::from_utf8(p).ok());
        let is_named = |path: &&str| names.contains(&path.rsplit('/').next().unwrap_or(path));
        Ok(paths
            .filter(is_named)
            .take(limit)
            .map(str::to_owned)
            .collect())
    }
}

impl CommitTree {
    /// Hash, type and size of an object; `None` when there is none of that name.
    async fn about(&self, object: &str) -> Result<Option<String>> {
        let git = &self.repo.git;
        let input = format!("{object}\n");
        let args = ["cat-file", "--batch-check"];
        let line = git
            .run_with(self.repo.place(), &args, input.as_bytes())
            .await?;
        let line = super::git::text(&line);
        Ok((!line.ends_with(" missing")).then_some(line))
    }
}

/// The name in `dir` of one line of `ls-tree`; names that are not UTF-8 are left out.
fn name_in(dir: &str, line: &[u8]) -> Option<String> {
    let line = std::str::from_utf8(line).ok()?;
    let (about, path) = line.split_once('\t')?;
    let name = path.strip_prefix(dir)?;
    let is_dir = about.contains(" tree ") || about.contains(" commit ");
    Some(if is_dir {
        format!("{name}/")
    } else {
        name.to_owned()
    })
}

impl WorkTree {
    fn path(&self, path: &str) -> Option<PathBuf> {
        let relative = Path::new(path.trim_matches('/'));
        let is_plain = relative
            .components()
            .all(|c| matches!(c, Component::Normal(_)));
        is_plain.then(|| self.top.join(relative))
    }
}

#[async_trait]
impl Tree for WorkTree {
    async fn list(&self, dir: &str) -> Result<Vec<String>> {
        let Some(dir) = self.path(dir) else {
            return Ok(Vec::new());
        };
        let mut entries = match tokio::fs::read_dir(&dir).await {
            Ok(entries) => entries,
            Err(_) => return Ok(Vec::new()),
        };
        let mut names = Vec::new();
        while let Some(entry) = entries.next_entry().await? {
            let Ok(name) = entry.file_name().into_string() else {
                continue;
            };
            match entry.file_type().await?.is_dir() {
                _ if name == ".git" => {}
                true => names.push(format!("{name}/")),
                false => names.push(name),
            }
        }
        names.sort();
        Ok(names)
    }

    async fn read(&self, path: &str, max_bytes: u64) -> Result<Option<Vec<u8>>> {
        let Some(file) = self.path(path) else {
            return Ok(None);
        };
        let about = match tokio::fs::metadata(&file).await {
            Ok(about) if about.is_file() => about,
            _ => return Ok(None),
        };
        if about.len() > max_bytes {
            return Err(too_large(path, about.len(), max_bytes));
        }
        let contents = tokio::fs::read(&file).await;
        Ok(Some(contents.map_err(|e| {
            Error::from(e).while_doing(format!("read {}", file.display()))
        })?))
    }
}
