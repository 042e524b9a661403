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

/// Whether contents were left out when the repository was cloned, to be had from elsewhere.
pub(super) fn is_partial(common_dir: &Path) -> bool {
    let config = std::fs::read_to_string(common_dir.join("config")).unwrap_or_default();
    config.lines().any(|line| {
        let (key, value) = line.split_once('=').unwrap_or((line, "true"));
        let is = |name: &str| key.trim().eq_ignore_ascii_case(name);
        is("promisor") && !value.trim().eq_ignore_ascii_case("false") || is("partialclone")
    })
}

/// `HEAD` and all refs with what they point at, as they are written: no object is read.
pub(super) fn written(git_dir: &Path, common_dir: &Path) -> Result<Vec<u8>> {
    let store = store(git_dir, common_dir);
    let mut text = Vec::new();
    let mut say = |name: &[u8], target: &Target| {
        text.extend_from_slice(target.to_string().as_bytes());
        text.push(b' ');
        text.extend_from_slice(name);
        text.push(b'\n');
    };
    if let Some(head) = store.try_find("HEAD").map_err(failed(git_dir))? {
        say(b"HEAD", &head.target);
    }
    let platform = store.iter().map_err(failed(git_dir))?;
    for one in platform.all().map_err(Error::io("list refs of", git_dir))? {
        let one = one.map_err(failed(git_dir))?;
        say(one.name.as_bstr(), &one.target);
    }
    Ok(text)
}

fn store(git_dir: &Path, common_dir: &Path) -> Store {
    let kind = gix_hash::Kind::Sha1;
    if git_dir == common_dir {
        Store::at(git_dir.to_owned(), kind)
    } else {
        Store::for_linked_worktree(git_dir.to_owned(), common_dir.to_owned(), kind)
    }
}

/// `HEAD` and all refs with the commits that they point at; what is no commit is left out.
pub(super) fn all(
    git_dir: &Path,
    common_dir: &Path,
    objects: &gix_odb::Handle,
) -> Result<Vec<(String, ObjectId)>> {
    let store = store(git_dir, common_dir);
    let mut found = Vec::new();
    let mut symbolic = Vec::new();
    let head = store.try_find("HEAD").map_err(failed(git_dir))?;
    match head.map(|head| head.target) {
        Some(Target::Object(id)) => found.extend(named("HEAD", peel(objects, id))),
        Some(Target::Symbolic(name)) => symbolic.push(("HEAD".to_owned(), name.to_string())),
        None => {}
    }
    let platform = store.iter().map_err(failed(git_dir))?;
    for one in platform.all().map_err(Error::io("list refs of", git_dir))? {
        let one = one.map_err(failed(git_dir))?;
        // Names that are no text cannot be said in a log.
        let Ok(name) = std::str::from_utf8(one.name.as_bstr()) else {
            continue;
        };
        match one.target {
            Target::Object(id) => {
                let id = peel(objects, one.peeled.unwrap_or(id));
                found.extend(named(name, id));
            }
            Target::Symbolic(target) => symbolic.push((name.to_owned(), target.to_string())),
        }
    }
    // A symbolic ref points at one of the others, or at a branch that is not born yet.
    for (name, target) in symbolic {
        let id = found.iter().find(|(name, _)| *name == target);
        found.extend(named(&name, id.map(|(_, id)| *id)));
    }
    Ok(found)
}

fn named(name: &str, id: Option<ObjectId>) -> Option<(String, ObjectId)> {
    Some((name.to_owned(), id?))
}

/// The commit behind a chain of tags.
pub(in crate::sync) fn peel(objects: &gix_odb::Handle, mut id: ObjectId) -> Option<ObjectId> {
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
