//! Commits and what they changed, read by all cores.

use gix_hash::ObjectId;
use gix_object::{FindExt as _, Kind};
use gix_odb::HandleArc;
use rayon::prelude::*;

use super::{Repository, cached, failed, numstat};
use crate::pb::{GitCommit, GitDiffTree, GitDiffTreeFile};
use crate::{GitHash, Result};

/// Commits that one thread reads in a row at least: what it decoded for one of them serves the
/// next.
const ROW: usize = 64;
/// So many rows for each thread, as some take longer than others.
const ROWS: usize = 4;

impl Repository {
    /// Commits are handed out without their files from now on, which takes a small part of the
    /// time; [`files_of`](Self::files_of) reads them later.
    #[must_use]
    pub fn without_files(mut self) -> Self {
        self.files = false;
        self
    }

    /// The files that commits changed, for each of `commits`; as
    /// [`next_batch`](Self::next_batch) hands them out. Reading is quickest for commits that
    /// follow each other, children first. Nothing for a commit of which a partial clone lacks
    /// the contents, and for one that is not there.
    ///
    /// # Errors
    /// When the repository cannot be read.
    pub fn files_of(&self, commits: &[GitHash]) -> Result<Vec<Option<Vec<GitDiffTreeFile>>>> {
        self.each(commits, |objects, hash| {
            let id = ObjectId::from_bytes_or_panic(hash.as_bytes());
            let mut buffer = Vec::new();
            let Ok(found) = objects.find(&id, &mut buffer) else {
                return Ok(None);
            };
            let raw = if found.kind == Kind::Commit {
                found.data
            } else {
                &[]
            };
            self.changed(objects, raw)
        })
    }

    /// The commit `id` as the log has it, under the name `named` (that of a tag, for tags).
    pub(in crate::sync) fn read(
        &self,
        objects: &HandleArc,
        id: ObjectId,
        named: ObjectId,
    ) -> Result<GitCommit> {
        let mut buffer = Vec::new();
        let object = objects
            .find(&id, &mut buffer)
            .map_err(failed(&self.git_dir))?;
        let raw = if object.kind == Kind::Commit {
            object.data.to_vec()
        } else {
            Vec::new()
        };
        let file = match self.files {
            true => self.changed(objects, &raw)?.unwrap_or_default(),
            false => Vec::new(),
        };
        Ok(GitCommit {
            sha1: named.to_string(),
            raw,
            diff_tree: Some(GitDiffTree { file }),
        })
    }

    /// What the commit changed; nothing when a partial clone cannot tell.
    fn changed(&self, objects: &HandleArc, raw: &[u8]) -> Result<Option<Vec<GitDiffTreeFile>>> {
        match numstat::of_commit(objects, raw) {
            Ok(files) => Ok(Some(files)),
            Err(_) if self.partial => Ok(None),
            Err(reason) => Err(failed(&self.git_dir)(reason)),
        }
    }

    /// Calls `read` for each of `commits`, on all cores. What packs hold is older the further it
    /// is from its base, so children come before their parents where speed matters.
    pub(in crate::sync) fn each<I: Sync, R: Send>(
        &self,
        commits: &[I],
        read: impl Fn(&HandleArc, &I) -> Result<R> + Sync,
    ) -> Result<Vec<R>> {
        if commits.is_empty() {
            return Ok(Vec::new());
        }
        let mut objects = cached::open(&self.common_dir.join("objects"))?;
        if self.partial {
            // What is missing is not looked for again and again.
            objects.refresh_never();
        }
        let rows = rayon::current_num_threads() * ROWS;
        let row = commits.len().div_ceil(rows).max(ROW);
        let rows: Vec<_> = commits
            .chunks(row)
            .map(|row| (objects.clone(), row))
            .collect();
        let read = rows.into_par_iter().map(|(objects, row)| {
            let read = row.iter().map(|commit| read(&objects, commit));
            read.collect::<Result<Vec<R>>>()
        });
        let read = read.collect::<Result<Vec<Vec<R>>>>()?;
        Ok(read.into_iter().flatten().collect())
    }
}
