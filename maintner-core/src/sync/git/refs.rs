//! Where a repository's history is entered.

use std::path::Path;

use gix_hash::ObjectId;
use gix_object::{FindExt as _, Kind};
use gix_ref::Target;
use gix_ref::file::Store;

use super::failed;
use crate::{Error, Result};

/// Refuses repositories whose objects are not named by SHA-1.
pub(super) fn check_hash(common_dir: &Path) -> Result<()> {
    // Without a configuration there are only defaults.
    let config = std::fs::read_to_string(common_dir.join("config")).unwrap_or_default();
    let value = config.lines().find_map(|line| {
        let (key, value) = line.split_once('=')?;
        let is_hash = key.trim().eq_ignore_ascii_case("objectformat");
        is_hash.then(|| value.trim())
    });
    match value {
        None | Some("sha1") => Ok(()),
        Some(other) => Err(failed(common_dir)(format!("unsupported git hash {other}"))),
    }
}

/// The commits that `HEAD` and all refs point at; what is no commit is left out.
pub(super) fn tips(
    git_dir: &Path,
    common_dir: &Path,
    objects: &gix_odb::Handle,
) -> Result<Vec<ObjectId>> {
    let kind = gix_hash::Kind::Sha1;
    let store = if git_dir == common_dir {
        Store::at(git_dir.to_owned(), kind)
    } else {
        Store::for_linked_worktree(git_dir.to_owned(), common_dir.to_owned(), kind)
    };
    let mut tips = Vec::new();
    // A symbolic HEAD points at one of the refs below, or at a branch that is not born yet.
    let head = store.try_find("HEAD").map_err(failed(git_dir))?;
    if let Some(Target::Object(id)) = head.map(|head| head.target) {
        tips.extend(peel(objects, id));
    }
    let platform = store.iter().map_err(failed(git_dir))?;
    for found in platform.all().map_err(Error::io("list refs of", git_dir))? {
        let found = found.map_err(failed(git_dir))?;
        if let Target::Object(id) = found.target {
            tips.extend(peel(objects, found.peeled.unwrap_or(id)));
        }
    }
    Ok(tips)
}

/// The commit behind a chain of tags.
fn peel(objects: &gix_odb::Handle, mut id: ObjectId) -> Option<ObjectId> {
    let mut buffer = Vec::new();
    // Tags of tags are rare, and never this deep.
    for _ in 0..16 {
        let object = objects.find(&id, &mut buffer).ok()?;
        match object.kind {
            Kind::Commit => return Some(id),
            Kind::Tag => {
                let tag = gix_object::TagRefIter::from_bytes(object.data, gix_hash::Kind::Sha1);
                id = tag.target_id().ok()?;
            }
            _ => return None,
        }
    }
    None
}
