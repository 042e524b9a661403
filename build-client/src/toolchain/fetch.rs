//! Downloads of toolchains: from the first mirror that has what its checksum says.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::time::timeout;

use super::checksum::{self, Known};
use super::dir::{Held, Installed, ToolchainDir, blocking, clear, is_marked, mark, programs};
use super::platform::Platform;
use super::rows::{Row, Rows, Words};
use super::spec::{Spec, newest};
use super::{archive, layout};
use crate::httpdl::{Download, HttpClient, Progress, shown};
use crate::{Error, ErrorKind, Result};

/// The longest time for one toolchain, waiting included.
const DEADLINE: Duration = Duration::from_secs(3 * 3600);

/// Where toolchains come from.
#[derive(Clone, Debug)]
pub struct Source {
    client: HttpClient,
    rows: Rows,
    platform: Platform,
    deadline: Duration,
}

/// What a download of a toolchain does at the moment; for people.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Happening {
    /// Another process downloads or removes the same toolchain; this one waits for it.
    Waiting,
    /// The archive is being received.
    Archive(Progress),
    /// A mirror failed, and the next one is asked.
    NextMirror {
        /// Why.
        cause: String,
    },
    /// The archive is whole and is being unpacked.
    Unpacking(PathBuf),
}

type Tell<'a> = &'a (dyn Fn(Happening) + Sync);

impl Source {
    /// The mirrors of `rows`, through `client`, for this machine.
    pub fn new(client: HttpClient, rows: Rows) -> Self {
        Self {
            client,
            rows,
            platform: Platform::here(),
            deadline: DEADLINE,
        }
    }

    /// For another machine.
    #[must_use]
    pub fn platform(self, platform: Platform) -> Self {
        Self { platform, ..self }
    }

    /// The longest time for one toolchain. Default three hours.
    #[must_use]
    pub fn deadline(self, deadline: Duration) -> Self {
        Self { deadline, ..self }
    }

    /// Through what its mirrors are asked.
    pub fn client(&self) -> &HttpClient {
        &self.client
    }

    /// The rows.
    pub fn rows(&self) -> &Rows {
        &self.rows
    }

    /// The newest version of a toolchain that `wanted` is the beginning of, by what its mirrors
    /// list: of `go` and `1.22` it is `go1.22.12`.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when there is none, [`ErrorKind::Unsupported`] when the row does not
    /// say where versions are listed, and those of the connection.
    pub async fn newest(&self, toolchain: &str, wanted: &str) -> Result<Spec> {
        let row = self.rows.row(toolchain)?;
        Spec::new(toolchain, wanted)?;
        let mut failure = None;
        for mirror in &row.mirrors {
            let Some(url) = row.versions(mirror, wanted) else {
                let what =
                    format!("the row of {toolchain} does not say where its versions are listed");
                let error = Error::new(ErrorKind::Unsupported, what);
                return Err(error.with_hint("name a version in full"));
            };
            match self.client.small(&url).await {
                Ok(index) => {
                    let versions = checksum::versions(&index);
                    if let Some(found) = newest(wanted, versions.iter().map(String::as_str)) {
                        return Spec::new(toolchain, found);
                    }
                }
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => failure = Some(error),
            }
        }
        Err(failure.unwrap_or_else(|| {
            let what = format!("there is no release {wanted} of {}", row.title);
            Error::new(ErrorKind::NotFound, what)
        }))
    }
}

impl ToolchainDir {
    /// Downloads a toolchain, unless it is there.
    ///
    /// Any number of calls, in any number of processes, share one download. One that was cut or
    /// killed at any point goes on from there the next time. Nothing is at the toolchain's place
    /// before all of it is on the disk and has been checked.
    ///
    /// Cancel safety: a dropped call leaves what it has received for the next one.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when no mirror has it, [`ErrorKind::Corrupt`] when what the last
    /// mirror has is not what its checksum or signature says or would leave its directory,
    /// [`ErrorKind::Conflict`] when something else is in its place, [`ErrorKind::TimedOut`], and
    /// those of the disk and the connection.
    pub async fn download(
        &self,
        spec: &Spec,
        source: &Source,
        tell: Tell<'_>,
    ) -> Result<Installed> {
        let path = self.path(spec);
        if !is_marked(&path) {
            let all = self.locked(spec, source, tell);
            timeout(source.deadline, all).await.map_err(|_| {
                let what = format!("{spec} took longer than {:?}", source.deadline);
                Error::new(ErrorKind::TimedOut, what)
            })??;
        }
        Ok(Installed {
            name: spec.to_string(),
            path,
            ready: true,
        })
    }

    async fn locked(&self, spec: &Spec, source: &Source, tell: Tell<'_>) -> Result<()> {
        let row = source.rows.row(spec.toolchain())?;
        let name = row.archive(spec, &source.platform)?;
        self.is_ours(&self.path(spec), Some(&name))?;
        let held = self
            .hold(&spec.to_string(), &|| tell(Happening::Waiting))
            .await?;
        let held = Arc::new(held);
        if is_marked(&self.path(spec)) {
            return Ok(());
        }
        let archive = self.archive_path(spec, &name)?;
        self.adopt(spec, &archive);
        let words = row.words(spec, &source.platform)?;
        let mut failure = None;
        for mirror in &row.mirrors {
            if let Some(error) = failure.take() {
                let cause = Error::chain(&error);
                tell(Happening::NextMirror { cause });
            }
            let at = At {
                row,
                words: words.at(mirror),
                url: format!("{mirror}{name}"),
                name: &name,
                held: Arc::clone(&held),
            };
            let fetched = self.fetch(spec, source, &at, &archive, tell).await;
            match fetched {
                Ok(()) => return Ok(()),
                // What the owner has to see to is the same with every mirror.
                Err(error)
                    if matches!(
                        error.kind(),
                        ErrorKind::Limit | ErrorKind::Conflict | ErrorKind::Denied
                    ) =>
                {
                    return Err(error);
                }
                Err(error) => failure = Some(error),
            }
        }
        Err(failure.unwrap_or_else(|| Error::new(ErrorKind::Invalid, "the row has no mirrors")))
    }

    async fn fetch(
        &self,
        spec: &Spec,
        source: &Source,
        at: &At<'_>,
        archive: &Path,
        tell: Tell<'_>,
    ) -> Result<()> {
        let known = at.known(spec, source).await?;
        let mut download = Download::new(&at.url, archive)
            .sha256(known.sum)
            .deadline(source.deadline);
        if let Some(bytes) = known.bytes {
            download = download.bytes(bytes);
        }
        let received = |progress| tell(Happening::Archive(progress));
        let received = download.run(&source.client, &received).await;
        received.map_err(|error| match error.kind() {
            ErrorKind::NotFound => at.no_release(spec, source),
            _ => error,
        })?;
        let checked = at.check_signature(source, archive).await;
        let unpacked = match checked {
            Ok(()) => {
                tell(Happening::Unpacking(archive.to_owned()));
                self.unpack(spec, at, archive).await
            }
            Err(error) => Err(error),
        };
        if unpacked.is_ok()
            || unpacked
                .as_ref()
                .is_err_and(|error| error.kind() == ErrorKind::Corrupt)
        {
            // Done with, or of no use to anybody.
            let _gone_already = std::fs::remove_file(archive);
        }
        unpacked
    }

    async fn unpack(&self, spec: &Spec, at: &At<'_>, archive: &Path) -> Result<()> {
        let name = spec.to_string();
        let new = self.work(&format!("{name}.new"))?;
        let cancelled = Cancelled::default();
        let (root, links, form) = (at.row.root(&at.words), at.row.links, at.row.layout);
        let (dir, from, flag) = (self.clone(), archive.to_owned(), Arc::clone(&cancelled.0));
        let row = at.row.clone();
        // The lock lasts as long as the thread, also when nobody waits for it any more.
        let held = Arc::clone(&at.held);
        blocking(move || {
            let _held = held;
            clear(&new)?;
            std::fs::create_dir_all(&new)
                .map_err(|error| crate::httpdl::part::failed("make", &new, error))?;
            let unpacked = archive::unpack(&from, &new, links, &flag)
                .and_then(|_| layout::settle(&new, &root, form))
                .and_then(|found| match programs(&found, &row).is_dir() {
                    true => Ok(found),
                    false => {
                        let what = format!("the archive lacks the directory {}", row.bin);
                        Err(Error::new(ErrorKind::Corrupt, what))
                    }
                })
                .and_then(|found| {
                    mark(&found)?;
                    dir.place(&name, &found)
                });
            clear(&new)?;
            unpacked
        })
        .await
    }

    /// Where the archive is kept until it is unpacked.
    fn archive_path(&self, spec: &Spec, name: &str) -> Result<PathBuf> {
        let file = name.rsplit('/').next().unwrap_or(name);
        // Only names that the row's words make: neither empty nor a way up.
        if file.is_empty() || file.starts_with('.') {
            let what = format!("the archive of {spec} cannot be called {name:?}");
            return Err(Error::new(ErrorKind::Invalid, what));
        }
        self.work(file)
    }

    /// Takes the archive that a Go program has left unfinished; its checksum decides on it.
    fn adopt(&self, spec: &Spec, archive: &Path) {
        let Some(name) = archive.file_name() else {
            return;
        };
        let theirs = self.path(spec).join(name);
        if archive.exists() || !theirs.is_file() {
            return;
        }
        if let Err(error) = std::fs::hard_link(&theirs, archive) {
            tracing::debug!(%error, path = %theirs.display(), "cannot be taken over");
        }
    }
}

/// Tells the thread that unpacks when nobody waits for it any more.
#[derive(Default)]
struct Cancelled(Arc<AtomicBool>);

impl Drop for Cancelled {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// One archive at one mirror.
struct At<'a> {
    row: &'a Row,
    words: Words,
    url: String,
    name: &'a str,
    held: Arc<Held>,
}

impl At<'_> {
    fn no_release(&self, spec: &Spec, source: &Source) -> Error {
        let what = format!(
            "no binary release of {spec} for {} at {}",
            source.platform,
            shown(&self.url)
        );
        Error::new(ErrorKind::NotFound, what)
    }

    /// What is published about the archive; nothing is taken without.
    async fn known(&self, spec: &Spec, source: &Source) -> Result<Known> {
        let mut failure = None;
        for url in self.row.checksums(&self.words) {
            match source.client.small(&url).await {
                Ok(text) => {
                    if let Some(known) = checksum::find(&text, self.name) {
                        return Ok(known);
                    }
                }
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                // The mirror's own failure says more than that of a place after it.
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        let there = source.client.exists(&self.url).await;
        match (there, failure) {
            (Ok(false), _) => Err(self.no_release(spec, source)),
            (_, Some(error)) | (Err(error), None) => Err(error),
            (Ok(true), None) => {
                let what = format!("no SHA-256 of {} is published", shown(&self.url));
                let error = Error::new(ErrorKind::Corrupt, what);
                Err(error.with_hint(
                    "an archive is not taken without; set `checksums` in the row to where it is",
                ))
            }
        }
    }

    async fn check_signature(&self, source: &Source, archive: &Path) -> Result<()> {
        let Some(signature) = &self.row.signature else {
            return Ok(());
        };
        let url = self.words.fill(signature.url());
        let found =
            source.client.small(&url).await.map_err(|error| {
                error.while_doing(format!("the signature of {}", shown(&self.url)))
            })?;
        signature.check(archive, &found).await
    }
}
