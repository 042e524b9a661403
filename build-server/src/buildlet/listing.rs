//! `GET /ls`.

use std::fs::{self, Metadata};
use std::io::{self, Read as _, Write};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use build_core::buildlet::{DirEntry, FileMode, LsRecord, header, param};
use sha1::{Digest as _, Sha1};

use super::answer::{Lost, Refusal};
use super::bridge::{produce_body, stream};
use super::paths::Places;
use super::routes::{Request, query_params, refuse};
use super::server::App;

/// Pieces in which files are read for their digest.
const READ_BYTES: usize = 128 << 10;

/// What to list and how.
struct Listing {
    root: PathBuf,
    recursive: bool,
    digest: bool,
    skip: Vec<PathBuf>,
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
        let root = Places::of(app).dir_path(params.get(param::DIR).unwrap_or_default());
        let accept = request
            .head()
            .headers()
            .get_str("Accept")
            .unwrap_or_default();
        Ok(Self {
            root: root.map_err(|_| Refusal::bad("bogus 'dir' parameter"))?,
            recursive: params.flag(param::RECURSIVE),
            digest: params.flag(param::DIGEST),
            skip: params.all(param::SKIP).map(PathBuf::from).collect(),
            json: accept.contains(header::NDJSON_TYPE),
        })
    }

    /// Writes all lines.
    fn write(&self, out: &mut impl Write) -> Result<(), Refusal> {
        let failed = |path: &Path, error: io::Error| {
            let words = super::processes::os_words(&error);
            Refusal::failed(format!("Walk error: lstat {}: {words}", path.display()))
        };
        let root = fs::symlink_metadata(&self.root).map_err(|error| failed(&self.root, error))?;
        if !root.is_dir() {
            let name = self.root.file_name().unwrap_or_default();
            return self
                .line(Path::new(name), &self.root, &root, out)
                .map_err(|e| failed(&self.root, e));
        }
        let mut pending = self
            .entries(Path::new(""))
            .map_err(|error| failed(&self.root, error))?;
        while let Some(relative) = pending.pop() {
            let path = self.root.join(&relative);
            let file = fs::symlink_metadata(&path).map_err(|error| failed(&path, error))?;
            if file.is_dir() && self.skip.contains(&relative) {
                continue;
            }
            self.line(&relative, &path, &file, out)
                .map_err(|error| failed(&path, error))?;
            if file.is_dir() && self.recursive {
                pending.extend(
                    self.entries(&relative)
                        .map_err(|error| failed(&path, error))?,
                );
            }
        }
        Ok(())
    }

    /// The entries of a directory, last first.
    fn entries(&self, relative: &Path) -> io::Result<Vec<PathBuf>> {
        let entries = fs::read_dir(self.root.join(relative))?;
        let names: io::Result<Vec<_>> = entries
            .map(|entry| Ok(relative.join(entry?.file_name())))
            .collect();
        let mut names = names?;
        names.sort_unstable_by(|a, b| b.as_os_str().cmp(a.as_os_str()));
        Ok(names)
    }

    fn line(
        &self,
        relative: &Path,
        path: &Path,
        file: &Metadata,
        out: &mut impl Write,
    ) -> io::Result<()> {
        let record = self.record(relative, path, file)?;
        if self.json {
            serde_json::to_writer(&mut *out, &record)?;
            return out.write_all(b"\n");
        }
        out.write_all(DirEntry::from(record).to_line().as_bytes())
    }

    fn record(&self, relative: &Path, path: &Path, file: &Metadata) -> io::Result<LsRecord> {
        let mut name = relative.to_string_lossy().into_owned();
        if file.is_dir() {
            name.push('/');
        }
        let link = if self.json && file.is_symlink() {
            Some(fs::read_link(path)?)
        } else {
            None
        };
        let mtime_ns = file
            .mtime()
            .saturating_mul(1_000_000_000)
            .saturating_add(file.mtime_nsec());
        Ok(LsRecord {
            mode: FileMode::from_unix(file.mode()).to_string(),
            name,
            size: file.is_file().then_some(file.len()),
            mtime_ns: file.is_file().then_some(mtime_ns),
            sha1: if self.digest && file.is_file() {
                Some(sha1_of(path)?)
            } else {
                None
            },
            sha256: None,
            link: link.map(|target| target.to_string_lossy().into_owned()),
        })
    }
}

fn sha1_of(path: &Path) -> io::Result<String> {
    let mut file = fs::File::open(path)?;
    let mut digest = Sha1::new();
    let mut piece = vec![0; READ_BYTES];
    loop {
        match file.read(&mut piece)? {
            0 => return Ok(hex::encode(digest.finalize())),
            count => digest.update(&piece[..count]),
        }
    }
}
