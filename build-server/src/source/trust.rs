//! How far a commit is trusted that somebody names: by the refs that lead to it.
//!
//! Hosts of repositories give out more than what their owners have taken: the commits of every
//! change under review can be fetched, by the names of their refs and by their hashes. So a commit
//! that no branch and no tag has comes from outside, whoever asks for it.

use build_core::Result;
use build_core::ids::CommitHash;
use build_core::ref_rules::Refs;
use build_core::work::Trust;

use super::repo::Repo;

/// Where the owner of a checkout has refs, besides branches and tags, that nobody else writes to.
const OWN: [&str; 5] = [
    "refs/remotes/",
    "refs/stash",
    "refs/bisect/",
    "refs/original/",
    "refs/farmer/",
];
/// Refs that are looked at for one that leads to a commit.
const LOOKED_AT: &str = "--count=1000";

/// What is checked out, or the default branch of a remote.
const HEAD: &str = "HEAD";

/// What leads to a commit.
pub(super) struct Lead {
    pub(super) trust: Trust,
    /// The whole name of the ref by which it was named, if it is that of no branch and no tag.
    pub(super) other_ref: Option<String>,
}

impl Repo {
    /// How far a commit is trusted that was named as `rev` (`None`: what is checked out, or the
    /// default branch). Of a repository that is somebody's own (`is_own`) what no ref leads to was
    /// made there.
    pub(super) async fn lead_to(
        &self,
        commit: &CommitHash,
        rev: Option<&str>,
        refs: &Refs,
        is_own: bool,
    ) -> Result<Lead> {
        let named = self.whole_name(rev.unwrap_or(HEAD)).await?;
        let trust = match named.as_deref() {
            // What is checked out, on no branch, was put there by the owner.
            Some(HEAD) => Trust::Unknown,
            Some(name) if name.starts_with("refs/") => trust_by_name(name, refs, is_own),
            _ => self.trust_by_reach(commit, refs, is_own).await?,
        };
        let other_ref = named.filter(|name| name.starts_with("refs/") && !is_usual(name));
        Ok(Lead { trust, other_ref })
    }

    /// The whole name of the ref that `rev` stands for; `None` for hashes and what is computed.
    async fn whole_name(&self, rev: &str) -> Result<Option<String>> {
        let args = ["rev-parse", "--symbolic-full-name", "--verify", "--quiet"];
        let named = self.ask(&[&args[..], &[rev]].concat()).await?;
        Ok(named.filter(|name| !name.is_empty()))
    }

    /// How far a commit is trusted that was named by its hash, or as an ancestor of another.
    async fn trust_by_reach(
        &self,
        commit: &CommitHash,
        refs: &Refs,
        is_own: bool,
    ) -> Result<Trust> {
        if self.is_behind_trusted(commit, refs).await? {
            return Ok(Trust::Unknown);
        }
        if !is_own {
            return Ok(Trust::Untrusted);
        }
        let contains = format!("--contains={commit}");
        let args = ["for-each-ref", LOOKED_AT, "--format=%(refname)", &contains];
        let listed = self.run(&args).await?;
        let listed = String::from_utf8_lossy(&listed);
        let from_outside = |name| trust_by_name(name, refs, is_own) == Trust::Untrusted;
        Ok(match listed.lines().any(from_outside) {
            true => Trust::Untrusted,
            false => Trust::Unknown,
        })
    }

    /// Whether a branch or a tag has it that not anybody may write to, or what is checked out.
    async fn is_behind_trusted(&self, commit: &CommitHash, refs: &Refs) -> Result<bool> {
        // Cheap, and right for almost all.
        if let Some(head) = self.whole_name(HEAD).await?
            && (head == HEAD || refs.trust(head.as_bytes()) != Trust::Untrusted)
            && self.has_behind(&[HEAD], commit).await?
        {
            return Ok(true);
        }
        let mut from: Vec<String> = Vec::new();
        for (below, all) in [("refs/heads/", "--branches"), ("refs/tags/", "--tags")] {
            if let Some(patterns) = refs.untrusted_below(below) {
                from.extend(patterns.iter().map(|p| format!("--exclude={p}")));
                from.push(all.to_owned());
            }
        }
        let from: Vec<&str> = from.iter().map(String::as_str).collect();
        match from.is_empty() {
            true => Ok(false),
            false => self.has_behind(&from, commit).await,
        }
    }

    /// Whether a commit is one of those that `from` leads to.
    async fn has_behind(&self, from: &[&str], commit: &CommitHash) -> Result<bool> {
        let args = ["rev-list", "--max-count=1", commit.as_str(), "--not"];
        let missing = self.run(&[&args[..], from].concat()).await?;
        Ok(missing.is_empty())
    }
}

fn is_usual(name: &str) -> bool {
    name.starts_with("refs/heads/") || name.starts_with("refs/tags/")
}

/// How far those are trusted who may write to a ref.
fn trust_by_name(name: &str, refs: &Refs, is_own: bool) -> Trust {
    match is_own && OWN.iter().any(|own| name.starts_with(own)) {
        true => Trust::Unknown,
        false => refs.trust(name.as_bytes()),
    }
}
