//! The supported releases.

use std::collections::BTreeMap;

use tonic::Status;

use super::Policy;
use super::apipb::GoRelease;
use crate::GitHash;
use crate::query::Project;

/// The newest releases that have a tag and a branch, the newest first.
pub(super) fn supported(project: &Project<'_>, policy: &Policy) -> Result<Vec<GoRelease>, Status> {
    let mut tags: BTreeMap<(u16, u16), (u16, &str, GitHash)> = BTreeMap::new();
    let mut branches: BTreeMap<(u16, u16), (&str, GitHash)> = BTreeMap::new();
    for found in project.refs() {
        let (name, hash) = (found.name(), found.hash());
        if let Some(tag) = name.strip_prefix("refs/tags/")
            && let Some((major, minor, patch)) = (policy.tag)(tag)
        {
            let newest = tags.entry((major, minor)).or_insert((patch, tag, hash));
            if patch > newest.0 {
                *newest = (patch, tag, hash);
            }
        }
        if let Some(branch) = name.strip_prefix("refs/heads/")
            && let Some(version) = (policy.release_branch)(branch)
        {
            branches.insert(version, (branch, hash));
        }
    }
    let releases: Vec<GoRelease> = tags
        .into_iter()
        .rev()
        .filter_map(|(version, (patch, tag, hash))| {
            let (branch, branch_hash) = branches.get(&version)?;
            Some(GoRelease {
                major: version.0.into(),
                minor: version.1.into(),
                patch: patch.into(),
                tag_name: tag.to_owned(),
                tag_commit: hash.to_string(),
                branch_name: (*branch).to_owned(),
                branch_commit: branch_hash.to_string(),
            })
        })
        .take(policy.supported)
        .collect();
    if releases.len() < policy.supported {
        return Err(Status::unknown(
            "there was a problem finding supported Go releases",
        ));
    }
    Ok(releases)
}
