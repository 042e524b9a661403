//! A bare repository that mirrors the refs of interest of a remote.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use gix_hash::ObjectId;

use super::program::Program;
use super::{GitRemote, RemoteRef};
use crate::pb::GitCommit;
use crate::sync::git::{Repository, git_hash, peel, walk};
use crate::sync::{Control, SyncError};
use crate::{Error, GitHash};

/// How long a question to the remote may take.
const DEADLINE: Duration = Duration::from_secs(600);
/// Where the remote's `HEAD` is kept: the mirror's own says something else.
const HEAD: &str = "refs/sync/HEAD";
/// Complaints of git about a ref rather than about the connection.
const ABOUT_A_REF: &[&str] = &[
    "not our ref",
    "invalid refspec",
    "couldn't find remote ref",
    "cannot lock ref",
    "bad ref name",
    "unable to resolve reference",
];
/// Refs fetched since they were last packed into one file.
const PACK_AFTER: usize = 2000;

/// Which refs of the remote are of interest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listing {
    /// Branches and tags: others are not even listed.
    Branches,
    /// All: those of changes are among them.
    All,
}

/// A remote as the git program sees it, mirrored in a folder.
#[derive(Debug)]
pub struct GitMirror {
    folder: PathBuf,
    repository: Repository,
    program: Program,
    listing: Listing,
    unpacked: usize,
}

impl GitMirror {
    /// The mirror of `url` in `folder`, made when needed. `name` is what the repository is called
    /// in the log. `control` ends questions that are under way when it is stopped.
    ///
    /// # Errors
    /// When the folder cannot be made, or is something else.
    pub fn open(
        url: &str,
        name: &str,
        folder: &Path,
        listing: Listing,
        control: &Control,
    ) -> Result<Self, SyncError> {
        let program = Program {
            url: url.to_owned(),
            deadline: DEADLINE,
            control: control.clone(),
        };
        let io = |action| Error::io(action, folder);
        fs::create_dir_all(folder).map_err(io("make"))?;
        if !folder.join("HEAD").exists() {
            let init = ["init", "--quiet", "--bare", "."];
            program.run("init", folder, &init, b"")?;
        }
        // Always written: a project that moved keeps what was fetched from its old place.
        let remote = ["config", "--replace-all", "remote.origin.url", url];
        program.run("config", folder, &remote, b"")?;
        Ok(Self {
            folder: folder.to_owned(),
            repository: Repository::bare(folder, name),
            program,
            listing,
            unpacked: 0,
        })
    }

    /// What the repository is called in the log.
    pub fn repository(&self) -> &Repository {
        &self.repository
    }

    fn git(&self, action: &'static str, args: &[&str], input: &str) -> Result<Vec<u8>, SyncError> {
        self.program
            .run(action, &self.folder, args, input.as_bytes())
    }

    /// Fetches; halves the list until those refs are found that cannot be had.
    fn fetch_some(&self, refs: &[RemoteRef], gone: &mut Vec<RemoteRef>) -> Result<(), SyncError> {
        let mut specs = String::new();
        for one in refs {
            let name = if one.name == "HEAD" { HEAD } else { &one.name };
            specs.push_str(&format!("+{}:{name}\n", one.hash));
        }
        let args = [
            "fetch",
            "--quiet",
            "--no-tags",
            "--no-write-fetch-head",
            "--no-auto-gc",
            "--no-recurse-submodules",
            "--refmap=",
            "--stdin",
            "origin",
        ];
        match self.git("fetch", &args, &specs) {
            Ok(_) => Ok(()),
            Err(SyncError::Git { reason, .. })
                if ABOUT_A_REF.iter().any(|words| reason.contains(words)) =>
            {
                if let [only] = refs {
                    gone.push(only.clone());
                    return Ok(());
                }
                let (first, second) = refs.split_at(refs.len() / 2);
                self.fetch_some(first, gone)?;
                self.fetch_some(second, gone)
            }
            Err(error) => Err(error),
        }
    }

    fn objects(&self) -> Result<gix_odb::Handle, SyncError> {
        Ok(self.repository.objects()?)
    }
}

fn object_id(hash: GitHash) -> ObjectId {
    ObjectId::from_bytes_or_panic(hash.as_bytes())
}

/// The lines of `git ls-remote`.
fn parse_listing(listing: &[u8]) -> Vec<RemoteRef> {
    let parse = |line: &[u8]| {
        // Names that are no text cannot be said in a log.
        let (hash, name) = std::str::from_utf8(line).ok()?.split_once('\t')?;
        Some(RemoteRef {
            name: name.to_owned(),
            hash: hash.parse().ok()?,
        })
    };
    listing
        .split(|&byte| byte == b'\n')
        .filter_map(parse)
        .collect()
}

impl GitRemote for GitMirror {
    fn url(&self) -> &str {
        &self.program.url
    }

    fn list(&mut self) -> Result<Vec<RemoteRef>, SyncError> {
        let args: &[&str] = match self.listing {
            Listing::Branches => &["ls-remote", "--quiet", "--heads", "--tags", "origin"],
            Listing::All => &["ls-remote", "--quiet", "origin"],
        };
        let listed = parse_listing(&self.git("ls-remote", args, "")?);
        Ok(super::without_repeats(listed))
    }

    fn fetch(&mut self, refs: &[RemoteRef]) -> Result<Vec<RemoteRef>, SyncError> {
        let mut gone = Vec::new();
        // What a tag points at comes with the tag.
        let wanted: Vec<RemoteRef> = refs
            .iter()
            .filter(|one| !one.name.ends_with("^{}"))
            .cloned()
            .collect();
        if !wanted.is_empty() {
            self.fetch_some(&wanted, &mut gone)?;
        }
        self.unpacked += wanted.len();
        if self.unpacked >= PACK_AFTER {
            self.git("pack-refs", &["pack-refs", "--all"], "")?;
            // Objects of refs that moved on are kept: the log may be about to read them.
            let tidy = ["-c", "gc.pruneExpire=never", "gc", "--auto", "--quiet"];
            self.git("gc", &tidy, "")?;
            self.unpacked = 0;
        }
        Ok(gone)
    }

    fn forget(&mut self, names: &[String]) -> Result<(), SyncError> {
        let mut commands = String::new();
        for name in names.iter().filter(|name| !name.ends_with("^{}")) {
            let name = if name == "HEAD" { HEAD } else { name };
            commands.push_str(&format!("delete {name}\n"));
        }
        if !commands.is_empty() {
            self.git("update-ref", &["update-ref", "--stdin"], &commands)?;
        }
        Ok(())
    }

    fn peel(&self, hash: GitHash) -> Result<Option<GitHash>, SyncError> {
        let found = peel(&self.objects()?, object_id(hash));
        Ok(found.as_ref().map(git_hash))
    }

    fn walk(
        &self,
        tips: &[GitHash],
        is_known: &dyn Fn(GitHash) -> bool,
    ) -> Result<Vec<GitHash>, SyncError> {
        let objects = self.objects()?;
        let tips = tips.iter().map(|&tip| object_id(tip));
        let mut found = walk(&objects, tips, &mut HashSet::new(), is_known);
        found.reverse();
        Ok(found.iter().map(git_hash).collect())
    }

    fn read(&self, commits: &[(GitHash, GitHash)]) -> Result<Vec<GitCommit>, SyncError> {
        // Children first: so packs are decoded quickest.
        let backwards: Vec<_> = commits.iter().rev().collect();
        let mut read = self.repository.each(&backwards, |objects, ids| {
            let (id, named) = (object_id(ids.0), object_id(ids.1));
            self.repository.read(objects, id, named)
        })?;
        read.reverse();
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listings() {
        let hash = "0123456789abcdef0123456789abcdef01234567";
        let text = format!("{hash}\tHEAD\n{hash}\trefs/tags/v1^{{}}\nno line\n{hash} \x01\n");
        let names: Vec<String> = parse_listing(text.as_bytes())
            .into_iter()
            .map(|found| found.name)
            .collect();
        assert_eq!(names, ["HEAD", "refs/tags/v1^{}"]);
    }
}
