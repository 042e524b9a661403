//! Trees: unpacked from archives, and packed.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::sync::Arc;

use build_core::buildlet::{NOT_GET, header, param};
use build_core::name::Name;
use build_core::tarutil::{GzipOptions, Pack, PackError, Packed, Untar};
use flate2::Compression;
use flate2::write::GzEncoder;

use super::answer::{Lost, Refusal, chain};
use super::bridge::{BodyReader, BodyWriter, consume, produce_body, stream};
use super::fetch;
use super::paths::{Place, Places};
use super::routes::{Reply, Request, query_params, read_params, refuse, reply};
use super::server::App;

/// Threads that compress: each holds a few megabytes.
const MOST_PACKERS: usize = 4;
/// The directory that is not fetched twice.
const FETCHED_ONCE: &str = "go1.4";

/// `/writetgz`: the body (PUT), or what a URL leads to (POST), is unpacked into a directory.
pub(crate) async fn unpack(app: &Arc<App>, mut request: Request<'_>) -> Result<(), Lost> {
    let result = match request.head().method() {
        "PUT" => unpack_body(app, &mut request).await,
        _ => unpack_url(app, &mut request).await,
    };
    reply(request, result?).await
}

type Unpacked = Result<Result<Reply, Refusal>, Lost>;

async fn unpack_body(app: &Arc<App>, request: &mut Request<'_>) -> Unpacked {
    let job = match Job::new(app, request) {
        Ok(job) => job,
        Err(refusal) => return Ok(Err(refusal)),
    };
    consume(&app.supervisor, "unpack an archive", request, move |body| {
        job.run(body)
    })
    .await
}

async fn unpack_url(app: &Arc<App>, request: &mut Request<'_>) -> Unpacked {
    let (url, job) = match url_job(app, request).await {
        Ok(Some(asked)) => asked,
        Ok(None) => return Ok(Ok(Reply::Text("SKIP".into()))),
        Err(refusal) => return Ok(Err(refusal)),
    };
    fetch::fetch(app, &url, move |body| job.run(body)).await
}

/// What to fetch; `None` when it is there already.
async fn url_job(
    app: &Arc<App>,
    request: &mut Request<'_>,
) -> Result<Option<(String, Job)>, Refusal> {
    let params = read_params(request).await?;
    let url = params.get(param::URL).unwrap_or_default().to_owned();
    if url.is_empty() {
        return Err(Refusal::bad("missing url POST param"));
    }
    let job = Job::new(app, request)?;
    let once = params.query().get(param::DIR) == Some(FETCHED_ONCE);
    Ok((!once || !job.base.path().is_dir()).then_some((url, job)))
}

/// An archive to be unpacked.
struct Job {
    base: Place,
    app: Arc<App>,
}

impl Job {
    fn new(app: &Arc<App>, request: &Request<'_>) -> Result<Self, Refusal> {
        app.ensure_work_dir()?;
        let params = query_params(request)?;
        let dir = params.get(param::DIR).unwrap_or_default();
        let base = Places::of(app).dir(dir);
        let base = base.map_err(|outside| outside.refusal("bogus dir", dir))?;
        Ok(Self {
            base,
            app: app.clone(),
        })
    }

    /// Unpacks on this thread.
    fn run(self, body: BodyReader) -> Result<Reply, Refusal> {
        let bad_base = |error: io::Error| Refusal::failed(format!("mkdir of base: {error}"));
        let base = self.base.make_dir().map_err(bad_base)?;
        let stop = self.app.supervisor.token().clone();
        let untar = Untar::beneath(base, self.base.path())
            .policy(self.app.config.archives.clone())
            .cancel_when(|| stop.is_cancelled());
        match untar.unpack(body) {
            Ok(done) => {
                if done.times_not_set > 0 {
                    tracing::warn!(
                        files = done.times_not_set,
                        "modification times could not be set"
                    );
                }
                Ok(Reply::Text("OK".into()))
            }
            Err(error) => Err(Refusal::new(error.status(), error.wire_text())),
        }
    }
}

/// `/tgz`: a directory (GET), or files of it that a form names (POST), as a tar stream,
/// gzip-compressed in several members.
pub(crate) async fn pack(app: &Arc<App>, mut request: Request<'_>) -> Result<(), Lost> {
    let target = match pack_target(app, &mut request).await {
        Ok(target) => target,
        Err(refusal) => return refuse(request, refusal).await,
    };
    let produced = produce_body(&app.supervisor, "pack a directory", move |out| {
        let path = target.base.path();
        let opened = target.base.open().and_then(|found| Pack::of(found, &path));
        let pack = opened.map_err(|error| no_such_dir(&path, &error))?;
        let pack = match &target.files {
            Some(files) => pack.filter(|path| is_on_the_way(files, path)),
            None => pack,
        };
        let packed = if target.parallel {
            pack.write_gz(out, &gzip_options())
        } else {
            write_one_member(pack, out)
        };
        packed
            .map(drop)
            .map_err(|error| Refusal::failed(chain(&error)))
    });
    stream(request, header::ARCHIVE_TYPE, produced).await
}

struct PackTarget {
    base: Place,
    /// Whether several members are wanted.
    parallel: bool,
    /// The files that are wanted; `None`: all.
    files: Option<BTreeSet<Vec<u8>>>,
}

async fn pack_target(app: &App, request: &mut Request<'_>) -> Result<PackTarget, Refusal> {
    app.ensure_work_dir()?;
    let is_form = request.head().method() == "POST";
    let params = match is_form {
        true => read_params(request).await?,
        false => query_params(request)?,
    };
    let dir = params.get(param::DIR).unwrap_or_default();
    let base = Places::of(app).dir(dir);
    let base = base.map_err(|outside| outside.refusal("bogus dir", dir))?;
    let files = params.all(param::PATH);
    let files = files.map(|path| path.as_bytes().to_vec());
    let escaped = params.all(param::ESCAPED_PATH).map(Name::unescape);
    let escaped = escaped.map(|path| path.as_bytes().to_vec());
    let files: BTreeSet<Vec<u8>> = files.chain(escaped).collect();
    if is_form && files.is_empty() {
        // As in 2020, when there was no form of files.
        return Err(Refusal::bad(NOT_GET));
    }
    Ok(PackTarget {
        base,
        parallel: params.get(param::PARGZIP) != Some("0"),
        files: is_form.then_some(files),
    })
}

/// Whether a path is wanted, or a directory above one that is. Names are compared, never opened:
/// one that leads out matches nothing.
fn is_on_the_way(files: &BTreeSet<Vec<u8>>, path: &[u8]) -> bool {
    let below = [path, b"/"].concat();
    let first = files.range(below.clone()..).next();
    files.contains(path) || first.is_some_and(|file| file.starts_with(&below))
}

fn gzip_options() -> GzipOptions {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    GzipOptions::default().threads(cores.min(MOST_PACKERS))
}

fn write_one_member(pack: Pack<'_>, out: &mut BodyWriter) -> Result<Packed, PackError> {
    let mut gzip = GzEncoder::new(out, Compression::default());
    let packed = pack.write_tar(&mut gzip)?;
    gzip.finish().map_err(PackError::Write)?;
    Ok(packed)
}

fn no_such_dir(base: &Path, error: &io::Error) -> Refusal {
    Refusal::bad(format!("cannot read {}: {error}", base.display()))
}
