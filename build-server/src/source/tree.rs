//! The files of a commit, or of a work tree, for recipes.

use std::collections::HashSet;
use std::fs::{File, Metadata};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use build_core::ids::CommitHash;
use build_core::recipe::Tree;
use build_core::tree::Beneath;
use build_core::{Error, ErrorKind, Result};
use rustix::fs::{AtFlags, Dir, FileType};

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
            Some(words) if words[0] == "symlink" => Err(leads_out(path)),
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
        let names: HashSet<&str> = names.iter().copied().collect();
        let is_named = |path: &&str| names.contains(path.rsplit('/').next().unwrap_or(path));
        Ok(paths
            .filter(is_named)
            .take(limit)
            .map(str::to_owned)
            .collect())
    }
}

impl CommitTree {
    /// Hash, type and size of an object, which links of the commit may lead to; `symlink …` when they
    /// lead out of it, `None` when there is none of that name.
    async fn about(&self, object: &str) -> Result<Option<String>> {
        let git = &self.repo.git;
        let input = format!("{object}\n");
        let args = ["cat-file", "--batch-check", "--follow-symlinks"];
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

/// What a path leads to, and what that is; `None` when there is no such thing. Links are followed as
/// long as they stay in the directory. Blocking.
fn open_below(top: &Path, path: &str) -> Result<Option<(File, Metadata)>> {
    use std::io::ErrorKind::{CrossesDevices, InvalidInput, NotADirectory, NotFound};
    let path = path.trim_matches('/');
    let opened = Beneath::open(top).and_then(|beneath| {
        let file = beneath.open_target(path.as_bytes())?;
        let about = file.metadata()?;
        Ok((file, about))
    });
    match opened {
        Ok(opened) => Ok(Some(opened)),
        Err(e) if matches!(e.kind(), NotFound | NotADirectory | InvalidInput) => Ok(None),
        Err(e) if e.kind() == CrossesDevices => Err(leads_out(path)),
        Err(e) => Err(Error::from(e).while_doing(format!("read {}", top.join(path).display()))),
    }
}

fn leads_out(path: &str) -> Error {
    let text = format!("{path} is a link that leads out of the repository");
    Error::new(ErrorKind::Invalid, text)
}

/// The names in a directory, those of directories with a slash; without `.git`. Blocking.
fn names_in(dir: &File) -> std::io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(dir)? {
        let name = entry?.file_name().to_owned();
        let Ok(text) = name.to_str() else {
            continue;
        };
        if matches!(text, "." | ".." | ".git") {
            continue;
        }
        let about = rustix::fs::statat(dir, &name, AtFlags::SYMLINK_NOFOLLOW)?;
        let is_dir = FileType::from_raw_mode(about.st_mode) == FileType::Directory;
        names.push(format!("{text}{}", if is_dir { "/" } else { "" }));
    }
    names.sort();
    Ok(names)
}

#[async_trait]
impl Tree for WorkTree {
    async fn list(&self, dir: &str) -> Result<Vec<String>> {
        let (top, dir) = (self.top.clone(), dir.to_owned());
        let list = move || match open_below(&top, &dir)? {
            Some((found, about)) if about.is_dir() => Ok(names_in(&found)?),
            _ => Ok(Vec::new()),
        };
        blocking(list).await
    }

    async fn read(&self, path: &str, max_bytes: u64) -> Result<Option<Vec<u8>>> {
        let (top, path) = (self.top.clone(), path.to_owned());
        let read = move || {
            let Some((mut file, about)) = open_below(&top, &path)? else {
                return Ok(None);
            };
            if !about.is_file() {
                return Ok(None);
            }
            if about.len() > max_bytes {
                return Err(too_large(&path, about.len(), max_bytes));
            }
            let mut contents = Vec::new();
            let read = file.read_to_end(&mut contents);
            read.map_err(|e| Error::from(e).while_doing(format!("read {path}")))?;
            Ok(Some(contents))
        };
        blocking(read).await
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|e| Error::caused_by(ErrorKind::Bug, "read a work tree", e))?
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[tokio::test]
    async fn a_work_tree_is_read_through_links_that_stay_in_it_alone() {
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path().join("top");
        std::fs::create_dir_all(top.join("ci")).unwrap();
        std::fs::create_dir(dir.path().join("outside")).unwrap();
        std::fs::write(dir.path().join("outside/secret"), "theirs").unwrap();
        std::fs::write(top.join("ci/plan"), "ours").unwrap();
        symlink("ci/plan", top.join("inside")).unwrap();
        symlink("../outside", top.join("out")).unwrap();
        symlink("/etc/passwd", top.join("absolute")).unwrap();
        let tree = WorkTree::at(&top);
        assert_eq!(tree.read("inside", 99).await.unwrap().unwrap(), b"ours");
        assert_eq!(tree.read("ci", 99).await.unwrap(), None);
        assert_eq!(tree.read("ci/none", 99).await.unwrap(), None);
        assert_eq!(tree.read("../outside/secret", 99).await.unwrap(), None);
        for path in ["out/secret", "absolute"] {
            let error = tree.read(path, 99).await.unwrap_err();
            let said = error.to_string();
            assert!(said.contains("leads out of the repository"), "{said}");
        }
        let names = tree.list("").await.unwrap();
        assert_eq!(names, ["absolute", "ci/", "inside", "out"]);
        assert_eq!(tree.list("../outside").await.unwrap(), [""; 0]);
        assert!(tree.list("out").await.is_err());
    }
}
