//! A corpus the slow way: one record after the other into plain maps, written
//! for reading, not for speed. The oracle for everything clever.
//! Rules: `docs/protocol/canonical-dump.md` and the protocol.

mod gerrit;
mod git;
mod github;

use std::collections::{BTreeMap, HashMap};

use maintner_core::dump::{Dump, Line};
use maintner_core::log::{LogPosition, LogReader, Segment};
use maintner_core::pb::{GithubUser, Mutation};
use prost::Message as _;

use self::gerrit::Project;
use self::git::{Commit, Hash};
use self::github::Repo;

/// Everything a log says.
#[derive(Default)]
pub(crate) struct Reference {
    users: HashMap<i64, String>,
    repos: BTreeMap<(String, String), Repo>,
    /// `None` is a placeholder: named as a parent, not seen yet.
    commits: HashMap<Hash, Option<Commit>>,
    projects: BTreeMap<String, Project>,
    skipped: u64,
}

impl Reference {
    /// Applies all whole records of `segments`.
    pub(crate) fn load(segments: Vec<Segment>) -> Self {
        let mut reference = Self::default();
        let mut reader = LogReader::new(segments, LogPosition::START)
            .expect("the log can be opened")
            .lenient();
        while let Some((_, payload)) = reader.next_record().expect("the log can be read") {
            reference.apply_bytes(payload);
        }
        reference
    }

    /// Applies one payload.
    pub(crate) fn apply_bytes(&mut self, payload: &[u8]) {
        match Mutation::decode(payload) {
            Ok(mutation) => self.apply(mutation),
            Err(_) => self.skip(),
        }
    }

    /// How much was skipped because it made no sense.
    pub(crate) fn skipped(&self) -> u64 {
        self.skipped
    }

    fn apply(&mut self, mutation: Mutation) {
        if let Some(issue) = mutation.github_issue {
            self.apply_issue(issue);
        }
        if let Some(github) = mutation.github {
            self.apply_github(github);
        }
        if let Some(commit) = mutation.git.and_then(|git| git.commit) {
            self.apply_commit(&commit);
        }
        if let Some(gerrit) = mutation.gerrit {
            self.apply_gerrit(gerrit);
        }
    }

    fn skip(&mut self) {
        self.skipped += 1;
    }

    /// Notes a user; the id, if it is one.
    fn user(&mut self, user: Option<GithubUser>) -> Option<i64> {
        let GithubUser { id, login } = user?;
        if id == 0 {
            self.skip();
            return None;
        }
        let known = self.users.entry(id).or_default();
        if !login.is_empty() {
            *known = login;
        }
        Some(id)
    }

    /// The canonical dump.
    pub(crate) fn dump(&self) -> Dump {
        let mut dump = Dump::new();
        for ((owner, repo), content) in &self.repos {
            content.dump(&mut dump, owner, repo);
        }
        for (hash, commit) in &self.commits {
            match commit {
                Some(commit) => dump.push(&commit.line(hash)),
                None => dump.push(&Line::Placeholder {
                    hash: hex::encode(hash),
                }),
            }
        }
        for (name, project) in &self.projects {
            project.dump(&mut dump, name, &self.commits);
        }
        dump.finish(|id| self.users.get(&id).map_or("", String::as_str))
    }
}
