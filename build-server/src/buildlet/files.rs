//! Single files: put in place and removed.

use std::fs;
use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;

use build_core::buildlet::{FileMode, param};
use build_core::tree::{remove_tree, remove_tree_at};
use rustix::fs::{AtFlags, Mode, OFlags};

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

fn write_target(app: &App, request: &Request<'_>) -> Result<(Place, u32), Refusal> {
    app.ensure_work_dir()?;
    let params = query_params(request)?;
    let mode = FileMode::parse_decimal(params.get(param::MODE).unwrap_or_default());
    let mode = mode.map_err(|error| Refusal::bad(error.to_string()))?;
    let path = params.get(param::PATH).unwrap_or_default();
    match Places::of(app).entry(path) {
        Ok(target) if target.is_root() => Err(Refusal::bad("bad path")),
        Ok(target) => Ok((target, mode.to_unix_permissions())),
        Err(outside) => Err(outside.refusal("bad path", path)),
    }
}

/// Writes beside the target and renames: readers see the old file or the new one, and a program
/// that runs keeps its own.
fn write_file(target: &Place, mode: u32, mut body: BodyReader) -> io::Result<()> {
    let (parent, name) = target.parent();
    let parent = parent.make_dir()?;
    let random = getrandom::u64().map_err(io::Error::other)?;
    let new = format!(".new-{random:016x}");
    let written = write_new(parent.as_fd(), &new, mode, &mut body)
        .and_then(|()| Ok(rustix::fs::renameat(&parent, new.as_str(), &parent, name)?));
    if written.is_err() {
        // The error to tell is the first one.
        let _ = rustix::fs::unlinkat(&parent, new.as_str(), AtFlags::empty());
    }
    written
}

fn write_new(dir: BorrowedFd<'_>, new: &str, mode: u32, body: &mut BodyReader) -> io::Result<()> {
    use std::io::BufRead as _;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let file = rustix::fs::openat(dir, new, flags, Mode::from_raw_mode(0o666))?;
    let mut file = fs::File::from(file);
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
    let work = move || targets.iter().try_for_each(remove);
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

async fn remove_targets(app: &App, request: &mut Request<'_>) -> Result<Vec<Place>, Refusal> {
    let params = read_params(request).await?;
    app.ensure_work_dir()?;
    let places = Places::of(app);
    let checked = params.all(param::PATH).map(|path| {
        let refused = format!("bad 'path' parameter: {path:?}");
        let place = places.entry(path);
        place.map_err(|outside| outside.refusal(&refused, path))
    });
    let targets: Vec<Place> = checked.collect::<Result<_, _>>()?;
    if targets.is_empty() {
        return Err(Refusal::bad("requires 'path' parameter"));
    }
    Ok(targets)
}

fn remove(target: &Place) -> io::Result<()> {
    let removed = match target.is_root() {
        true => remove_tree(&target.path()),
        false => {
            let (parent, name) = target.parent();
            parent
                .open()
                .and_then(|dir| remove_tree_at(dir.as_fd(), name))
        }
    };
    match removed {
        Err(error) if is_absent(&error) => Ok(()),
        // A mount point cannot be removed; empty is as good.
        Err(_) if target.is_root() && target.is_empty_dir() => Ok(()),
        removed => removed,
    }
}

fn is_absent(error: &io::Error) -> bool {
    use io::ErrorKind::{NotADirectory, NotFound};
    matches!(error.kind(), NotFound | NotADirectory)
}
