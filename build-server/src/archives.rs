//! Archives that plans name by address.

use std::path::Path;

use async_trait::async_trait;
use build_core::Result;
use build_core::tarutil::Unpacked;

/// An archive on the web.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Archive<'a> {
    /// Where it is, by `http` or `https`.
    pub url: &'a str,
    /// Its SHA-256, lower-case hex.
    pub sha256: &'a str,
    /// Bytes it may have.
    pub max_bytes: u64,
}

/// Gets archives for builds. What is got is kept packed by the farm, so each is asked for once as
/// a rule.
#[async_trait]
pub trait Archives: Send + Sync {
    /// Fetches an archive into the file at `to`, whose directory exists. The file is there whole,
    /// with the right SHA-256, or not at all.
    ///
    /// Cancel safe: what was received may be there for the next call.
    ///
    /// # Errors
    /// [`build_core::ErrorKind::Invalid`] when the plan is at fault: there is nothing at the
    /// address, it is larger than allowed, or it is something else by its SHA-256.
    async fn fetch(&self, archive: &Archive<'_>, to: &Path) -> Result<()>;

    /// Unpacks the archive at `file` into the empty directory `dir`; nothing of it gets out, and no
    /// more than `total_bytes` come out of it.
    ///
    /// # Errors
    /// [`build_core::ErrorKind::Invalid`] when the archive is at fault.
    async fn unpack(&self, file: &Path, dir: &Path, total_bytes: u64) -> Result<Unpacked>;
}

#[cfg(feature = "toolchains")]
pub use web::WebArchives;

#[cfg(feature = "toolchains")]
mod web {
    use std::path::Path;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;

    use async_trait::async_trait;
    use build_client::httpdl::{Download, HttpClient};
    use build_client::toolchain::unpack_archive;
    use build_core::tarutil::Unpacked;
    use build_core::{Error, ErrorKind, Result};

    use super::{Archive, Archives};

    /// Longest download: less than a machine may take to be filled.
    const DEADLINE: Duration = Duration::from_secs(30 * 60);

    /// Archives by HTTP and HTTPS.
    #[derive(Clone, Debug)]
    pub struct WebArchives {
        client: HttpClient,
    }

    impl WebArchives {
        /// Fetches through `client`.
        pub fn new(client: HttpClient) -> Self {
            Self { client }
        }
    }

    /// The error of a download, as a fault of the plan where it is one.
    fn at_fault(url: &str, error: Error) -> Error {
        let hint = match error.kind() {
            ErrorKind::NotFound | ErrorKind::Denied => "see whether everybody can fetch it",
            ErrorKind::Corrupt => {
                "give the `sha256` that `sha256sum` prints of it; if it was right before, somebody has changed the file"
            }
            ErrorKind::Limit if error.chain().contains("is larger than") => {
                "allow more with `size`, such as size = \"4 GiB\""
            }
            ErrorKind::Invalid => "see whether the address is right",
            _ => return error.while_doing(format!("fetch {url}")),
        };
        Error::caused_by(
            ErrorKind::Invalid,
            format!("{url} cannot be an input"),
            error,
        )
        .with_hint(hint)
    }

    #[async_trait]
    impl Archives for WebArchives {
        async fn fetch(&self, archive: &Archive<'_>, to: &Path) -> Result<()> {
            let mut sum = [0; 32];
            hex::decode_to_slice(archive.sha256, &mut sum).map_err(|e| {
                let text = format!("{:?} is no SHA-256", archive.sha256);
                Error::caused_by(ErrorKind::Invalid, text, e)
            })?;
            let shown = archive.url.split(['?', '#']).next().unwrap_or_default();
            let download = Download::new(archive.url, to)
                .sha256(sum)
                .at_most(archive.max_bytes)
                .deadline(DEADLINE);
            let fetched = download.run(&self.client, &|_| ()).await;
            fetched.map(drop).map_err(|e| at_fault(shown, e))
        }

        async fn unpack(&self, file: &Path, dir: &Path, total_bytes: u64) -> Result<Unpacked> {
            let (file, dir) = (file.to_owned(), dir.to_owned());
            let cancelled = Cancelled::default();
            let flag = Arc::clone(&cancelled.0);
            let work = move || unpack_archive(&file, &dir, total_bytes, &flag);
            let done = tokio::task::spawn_blocking(work).await;
            let done =
                done.map_err(|e| Error::caused_by(ErrorKind::Bug, "unpack an archive", e))?;
            done.map_err(|error| match error.kind() {
                ErrorKind::Corrupt => {
                    let text = "it cannot be unpacked";
                    Error::caused_by(ErrorKind::Invalid, text, error)
                        .with_hint("an input is an archive whose names and links stay within it")
                }
                _ => error,
            })
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
}
