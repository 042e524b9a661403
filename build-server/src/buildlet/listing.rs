//! `GET /ls`.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read as _, Write};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::sync::Arc;

use build_core::buildlet::{DirEntry, FileMode, LsRecord, header, param};
use build_core::tree::Descent;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use sha1::{Digest as _, Sha1};

use super::answer::{Lost, Refusal};
use super::bridge::{produce_body, stream};
use super::paths::{Place, Places};
use super::routes::{Request, query_params, refuse};
use super::server::App;

/// Pieces in which files are read for their digest.
const READ_BYTES: usize = 128 << 10;

/// What to list and how.
struct Listing {
    root: Place,
    recursive: bool,
    digest: bool,
    skip: Vec<Vec<u8>>,
    json: bool,
}

/// Lists a directory, lexically, directories before their contents.
pub(crate) async fn list(app: &Arc<App>, request: Request<'_>) -> Result<(), Lost> {
    let listing = match Listing::asked(app, &request) {
        Ok(listing) => listing,
        Err(refusal) => return refuse(request, refusal).await,
    };
    let kind = if listing.json {
        header::NDJSON_TYPE
    } else {
        "text/plain; charset=utf-8"
    };
    let produced = produce_body(&app.supervisor, "list files", move |out| listing.write(out));
    stream(request, kind, produced).await
}

impl Listing {
    fn asked(app: &App, request: &Request<'_>) -> Result<Self, Refusal> {
        app.ensure_work_dir()?;
        let params = query_params(request)?;
        let dir = params.get(param::DIR).unwrap_or_default();
        let root = Places::of(app).dir(dir);
        let accept = request
            .head()
            .headers()
            .get_str("Accept")
            .unwrap_or_default();
        let skip = params.all(param::SKIP);
        Ok(Self {
            root: root.map_err(|outside| outside.refusal("bogus 'dir' parameter", dir))?,
            recursive: params.flag(param::RECURSIVE),
            digest: params.flag(param::DIGEST),
            skip: skip.map(|path| path.as_bytes().to_vec()).collect(),
            json: accept.contains(header::NDJSON_TYPE),
        })
    }

    /// Writes all lines.
    fn write(&self, out: &mut impl Write) -> Result<(), Refusal> {
        let mut path = Vec::new();
        self.walk(&mut path, out).map_err(|error| {
            let path = self.root.path().join(OsStr::from_bytes(&path));
            let words = super::processes::os_words(&error);
            // Joined with nothing it would have a slash at its end.
            let shown = path.display().to_string();
            let shown = shown.trim_end_matches('/');
            Refusal::failed(format!("Walk error: lstat {shown}: {words}"))
        })
    }

    /// `path` is what is looked at, below the root; it stays where an error ended it.
    fn walk(&self, path: &mut Vec<u8>, out: &mut impl Write) -> io::Result<()> {
        let root = self.root.open()?;
        let about = rustix::fs::fstat(&root)?;
        if !is_dir(&about) {
            let (dir, name) = self.root.parent();
            return self.line(name, name, dir.open()?.as_fd(), &about, out);
        }
        let mut descent = Descent::at(root)?;
        // How long the path was above each directory that was entered.
        let mut above = Vec::new();
        loop {
            while let Some(name) = descent.next_name() {
                let length = path.len();
                if length > 0 {
                    path.push(b'/');
                }
                path.extend_from_slice(&name);
                let about =
                    rustix::fs::statat(descent.dir(), name.as_slice(), AtFlags::SYMLINK_NOFOLLOW)?;
                if !(is_dir(&about) && self.skip.contains(path)) {
                    self.line(path, &name, descent.dir(), &about, out)?;
                    if is_dir(&about) && self.recursive {
                        descent.enter(&name)?;
                        above.push(length);
                        continue;
                    }
                }
                path.truncate(length);
            }
            if descent.leave()?.is_none() {
                return Ok(());
            }
            path.truncate(above.pop().unwrap_or_default());
        }
    }

    /// Writes the line of what is called `name` in `dir`.
    fn line(
        &self,
        relative: &[u8],
        name: &[u8],
        dir: BorrowedFd<'_>,
        about: &Stat,
        out: &mut impl Write,
    ) -> io::Result<()> {
        let record = self.record(relative, name, dir, about)?;
        if self.json {
            serde_json::to_writer(&mut *out, &record)?;
            return out.write_all(b"\n");
        }
        out.write_all(&DirEntry::from(record).to_line())
    }

    fn record(
        &self,
        relative: &[u8],
        name: &[u8],
        dir: BorrowedFd<'_>,
        about: &Stat,
    ) -> io::Result<LsRecord> {
        let kind = FileType::from_raw_mode(about.st_mode);
        let is_file = kind == FileType::RegularFile;
        let mut shown = relative.to_vec();
        if kind == FileType::Directory {
            shown.push(b'/');
        }
        let link = match self.json && kind == FileType::Symlink {
            true => Some(rustix::fs::readlinkat(dir, name, Vec::new())?),
            false => None,
        };
        let mtime_ns = (about.st_mtime)
            .saturating_mul(1_000_000_000)
            .saturating_add(about.st_mtime_nsec as i64);
        Ok(LsRecord {
            mode: FileMode::from_unix(mode_of(about)).to_string(),
            name: shown.into(),
            size: is_file.then_some(about.st_size.unsigned_abs()),
            mtime_ns: is_file.then_some(mtime_ns),
            sha1: match self.digest && is_file {
                true => Some(sha1_of(dir, name)?),
                false => None,
            },
            sha256: None,
            link: link.map(|target| target.into_bytes().into()),
        })
    }
}

fn is_dir(about: &Stat) -> bool {
    FileType::from_raw_mode(about.st_mode) == FileType::Directory
}

#[cfg_attr(
    target_os = "linux",
    expect(clippy::useless_conversion, reason = "a mode has 16 bits elsewhere")
)]
fn mode_of(about: &Stat) -> u32 {
    u32::from(about.st_mode)
}

fn sha1_of(dir: BorrowedFd<'_>, name: &[u8]) -> io::Result<String> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut file = File::from(rustix::fs::openat(dir, name, flags, Mode::empty())?);
    let mut digest = Sha1::new();
    let mut piece = vec![0; READ_BYTES];
    loop {
        match file.read(&mut piece)? {
            0 => return Ok(hex::encode(digest.finalize())),
            count => digest.update(&piece[..count]),
        }
    }
}
