//! Single files: put in place and removed.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use build_core::buildlet::{FileMode, param};
use build_core::tree::remove_tree;

use super::answer::{Lost, Refusal};
use super::bridge::{BodyReader, consume};
use super::paths::{Place, Places};
use super::routes::{Reply, Request, query_params, read_params, refuse, reply};
use super::server::App;

/// `PUT /write`: the body becomes a file, as a whole or not at all.
pub(crate) async fn write(app: &Arc<App>, mut request: Request<'_>) -> Result<(), Lost> {
    let (target, mode) = match write_target(app, &request) {
        Ok(target) => target,
        Err(refusal) => return refuse(request, refusal).await,
    };
    let work = move |body: BodyReader| write_file(&target, mode, body);
    let written = consume(&app.supervisor, "write a file", &mut request, work).await?;
    let result = written
        .map(|()| Reply::Text("OK".into()))
        .map_err(Refusal::from);
    reply(request, result).await
}

fn write_target(app: &App, request: &Request<'_>) -> Result<(PathBuf, u32), Refusal> {
    app.ensure_work_dir()?;
    let params = query_params(request)?;
    let mode = FileMode::parse_decimal(params.get(param::MODE).unwrap_or_default());
    let mode = mode.map_err(|error| Refusal::bad(error.to_string()))?;
    let target = Places::of(app).below(params.get(param::PATH).unwrap_or_default());
    let target = target.map_err(|_| Refusal::bad("bad path"))?;
    Ok((target, mode.to_unix_permissions()))
}

/// Writes beside the target and renames: readers see the old file or the new one, and a program
/// that runs keeps its own.
fn write_file(target: &Path, mode: u32, mut body: BodyReader) -> io::Result<()> {
    let parent = target.parent().unwrap_or(target);
    fs::create_dir_all(parent)?;
    let random = getrandom::u64().map_err(io::Error::other)?;
    let new = parent.join(format!(".new-{random:016x}"));
    let written = write_new(&new, mode, &mut body).and_then(|()| fs::rename(&new, target));
    if written.is_err() {
        // The error to tell is the first one.
        let _ = fs::remove_file(&new);
    }
    written
}

fn write_new(new: &Path, mode: u32, body: &mut BodyReader) -> io::Result<()> {
    use std::io::BufRead as _;
    let mut file = fs::File::create_new(new)?;
    loop {
        let piece = body.fill_buf()?;
        if piece.is_empty() {
            break;
        }
        file.write_all(piece)?;
        let count = piece.len();
        body.consume(count);
    }
    // After the contents: writing takes set-user-ID bits away, and the umask does not count.
    file.set_permissions(fs::Permissions::from_mode(mode))
}

/// `POST /removeall`: removes files and directories with everything in them.
pub(crate) async fn remove_all(app: &Arc<App>, mut request: Request<'_>) -> Result<(), Lost> {
    let targets = match remove_targets(app, &mut request).await {
        Ok(targets) => targets,
        Err(refusal) => return refuse(request, refusal).await,
    };
    let work_dir = app.work_dir.clone();
    let work = move || {
        targets
            .iter()
            .try_for_each(|target| remove(target, &work_dir))
    };
    let removed = app
        .supervisor
        .spawn_blocking("remove files", work)
        .await
        .map_err(|_| Lost)?;
    reply(
        request,
        removed.map(|()| Reply::Empty).map_err(Refusal::from),
    )
    .await
}

async fn remove_targets(app: &App, request: &mut Request<'_>) -> Result<Vec<PathBuf>, Refusal> {
    let params = read_params(request).await?;
    let places = Places::of(app);
    let checked = params
        .all(param::PATH)
        .map(|path| match places.place(path) {
            Ok(Place::Root) => Ok(app.work_dir.clone()),
            Ok(Place::Below(target)) => Ok(target),
            Err(_) => Err(Refusal::bad(format!("bad 'path' parameter: {path:?}"))),
        });
    let targets: Vec<PathBuf> = checked.collect::<Result<_, _>>()?;
    if targets.is_empty() {
        return Err(Refusal::bad("requires 'path' parameter"));
    }
    Ok(targets)
}

fn remove(target: &Path, work_dir: &Path) -> io::Result<()> {
    match remove_tree(target) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        // A mount point cannot be removed; empty is as good.
        Err(_) if target == work_dir && is_empty_dir(target) => Ok(()),
        removed => removed,
    }
}

fn is_empty_dir(path: &Path) -> bool {
    fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trees_without_rights_can_be_removed() {
        let dir = tempfile::tempdir().unwrap();
        let tree = dir.path().join("a");
        fs::create_dir_all(tree.join("b/c")).unwrap();
        fs::write(tree.join("b/f"), "x").unwrap();
        for path in ["b", ""] {
            fs::set_permissions(tree.join(path), fs::Permissions::from_mode(0o500)).unwrap();
        }
        remove(&tree, dir.path()).unwrap();
        assert!(!tree.exists());
        remove(&tree, dir.path()).unwrap();
    }

    #[test]
    fn links_are_removed_and_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let (outside, link) = (dir.path().join("outside"), dir.path().join("link"));
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("kept"), "").unwrap();
        std::os::unix::fs::symlink(&outside, &link).unwrap();
        remove(&link, dir.path()).unwrap();
        assert!(outside.join("kept").exists() && !link.exists());
    }
}
