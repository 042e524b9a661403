//! Which refs of a Gerrit project are followed, and where they point as a view has it.

use std::collections::HashMap;

use crate::corpus::gerrit::RefKind;
use crate::sync::plain::known_refs;
use crate::{GitHash, View};

/// Refs that say nothing about the project's history, or too much about people.
const IGNORED: &[&str] = &["refs/users/", "refs/meta/", "refs/cache-automerge/"];

/// Whether a ref is followed: branches, tags, patch sets, meta commits and others; of the refs
/// of changes only these two kinds.
pub(super) fn is_of_interest(name: &str) -> bool {
    if name.starts_with("refs/changes/") {
        return of_change(name).is_some();
    }
    !IGNORED.iter().any(|prefix| name.starts_with(prefix))
}

/// `refs/changes/NN/NUMBER/VERSION` or `…/meta`, and nothing after it.
fn of_change(name: &str) -> Option<RefKind> {
    let last = name.rsplit('/').next()?;
    let whole = name.split('/').count() == 5;
    let plain = last == "meta" || last.bytes().all(|byte| byte.is_ascii_digit());
    match RefKind::of(name.as_bytes()) {
        kind @ (RefKind::Meta(_) | RefKind::PatchSet(..)) if whole && plain => Some(kind),
        _ => None,
    }
}

/// Where the refs of a project point as a view has it.
#[derive(Debug, Default)]
pub(super) struct KnownRefs {
    refs: HashMap<String, GitHash>,
}

impl KnownRefs {
    pub(super) fn of(view: &View, project: &str) -> Self {
        let mut refs: HashMap<String, GitHash> = known_refs(view, project).into_iter().collect();
        let state = view.state();
        let gerrit = &state.gerrit;
        if let Some(row) = gerrit.find_project(&state.log, project) {
            for &change in gerrit.project_cls.get(row) {
                let fixed = gerrit.cls.get(change);
                let hash = |commit: u32| state.commits.hashes.get(commit);
                let name = |leaf: &str| {
                    format!(
                        "refs/changes/{:02}/{}/{leaf}",
                        fixed.number % 100,
                        fixed.number
                    )
                };
                if let Some(head) = fixed.head.checked_sub(1) {
                    refs.insert(name("meta"), hash(head));
                }
                for patch_set in gerrit.patch_sets.get(change) {
                    refs.insert(name(&patch_set.version.to_string()), hash(patch_set.commit));
                }
            }
        }
        Self { refs }
    }

    pub(super) fn get(&self, name: &str) -> Option<GitHash> {
        self.refs.get(name).copied()
    }

    pub(super) fn names(&self) -> impl Iterator<Item = String> + '_ {
        self.refs.keys().cloned()
    }

    pub(super) fn hashes(&self) -> impl Iterator<Item = GitHash> + '_ {
        self.refs.values().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::is_of_interest;

    #[test]
    fn refs_that_are_followed() {
        for (name, wanted) in [
            ("HEAD", true),
            ("refs/heads/master", true),
            ("refs/tags/go1^{}", true),
            ("refs/changes/00/14700/meta", true),
            ("refs/changes/00/14700/12", true),
            ("refs/changes/00/14700/robot-comments", false),
            ("refs/changes/00/14700/meta/x", false),
            ("refs/changes/00/14700/1x", false),
            ("refs/users/01/1", false),
            ("refs/meta/config", false),
            ("refs/cache-automerge/00/1", false),
        ] {
            assert_eq!(is_of_interest(name), wanted, "{name}");
        }
    }
}
