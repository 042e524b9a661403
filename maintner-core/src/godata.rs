//! One call to the corpus of the Go project, or of any other log server.
//!
//! ```no_run
//! # async fn example() -> Result<(), maintner_core::Error> {
//! use maintner_core::godata::{self, Options};
//!
//! let corpus = godata::open(Options::default()).await?;
//! let issues = corpus.view().github().repo("golang/go").map(|repo| repo.issues().open().count());
//! # let _ = issues;
//! # Ok(())
//! # }
//! ```
//!
//! The log is kept in a folder, so that only what is new is fetched the next time, and with a
//! snapshot beside it the corpus opens at once. The corpus stays live: see [`Corpus::follow`].

use std::path::PathBuf;

use crate::net::{self, NetworkSource, Ready};
use crate::{Corpus, Error, Result};

/// The log server of the Go project.
pub const GO_SERVER: &str = "https://maintner.golang.org/logs";
/// The folder of the Go project's log among a user's caches. The name is the one that the Go
/// project's programs use, and the files are the same.
const FOLDER: &str = "golang-maintner";

/// Which log server, and where its log is kept. Default: that of the Go project, kept among the
/// user's caches.
#[derive(Debug, Clone)]
pub struct Options {
    server: String,
    cache: Option<PathBuf>,
    corpus: crate::Options,
    attempts: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            server: GO_SERVER.to_owned(),
            cache: None,
            corpus: crate::Options::default(),
            attempts: 5,
        }
    }
}

impl Options {
    /// The address of the server's index.
    #[must_use]
    pub fn server(mut self, url: impl Into<String>) -> Self {
        self.server = url.into();
        self
    }

    /// The folder for the log; made when it is not there. Each server needs its own.
    #[must_use]
    pub fn cache_dir(mut self, folder: impl Into<PathBuf>) -> Self {
        self.cache = Some(folder.into());
        self
    }

    /// How the corpus is loaded.
    #[must_use]
    pub fn corpus(mut self, options: crate::Options) -> Self {
        self.corpus = options;
        self
    }

    /// Attempts to reach the server when nothing is kept yet. Default: 5.
    #[must_use]
    pub fn attempts(mut self, attempts: u32) -> Self {
        self.attempts = attempts;
        self
    }

    fn folder(&self) -> Result<PathBuf> {
        if let Some(folder) = &self.cache {
            return Ok(folder.clone());
        }
        let folder = if self.server == GO_SERVER {
            FOLDER.to_owned()
        } else {
            // Another server's log is another log.
            let safe = |c: char| {
                if c.is_ascii_alphanumeric() || c == '.' {
                    c
                } else {
                    '-'
                }
            };
            let name: String = self.server.chars().map(safe).collect();
            format!("maintner-{name}")
        };
        let caches = user_cache_dir().ok_or_else(|| Error::Server {
            url: self.server.clone(),
            source: "there is no home folder for its log; name a folder".into(),
        })?;
        Ok(caches.join(folder))
    }
}

/// A corpus that follows a log server.
///
/// Returns when everything that the server has is loaded; with a log from earlier also when the
/// server cannot be reached (see [`open_with_status`] to learn that). Must be called on a
/// runtime of tokio.
///
/// # Errors
/// When the folder cannot be used, or nothing is kept yet and the server cannot be reached.
pub async fn open(options: Options) -> Result<Corpus> {
    Ok(open_with_status(options).await?.0)
}

/// [`open`], and also what keeps the corpus up to date: whether it is offline, and why.
///
/// # Errors
/// As [`open`].
pub async fn open_with_status(options: Options) -> Result<(Corpus, NetworkSource, Ready)> {
    let server = options.server.clone();
    let open = tokio::task::spawn_blocking(move || {
        let folder = options.folder()?;
        let follow = net::Options::new(options.server)
            .cache(folder)
            .attempts(options.attempts);
        // Opening checks what is kept, which reads the disk.
        Ok::<_, Error>((NetworkSource::spawn(follow)?, options.corpus))
    });
    let (source, corpus_options) = joined(&server, open).await?;
    let ready = source.ready().await?;
    let reader = source.clone();
    let load = tokio::task::spawn_blocking(move || Corpus::load(reader, corpus_options));
    let corpus = joined(&server, load).await?;
    Ok((corpus, source, ready))
}

async fn joined<T>(server: &str, work: tokio::task::JoinHandle<Result<T>>) -> Result<T> {
    work.await.unwrap_or_else(|error| {
        Err(Error::Server {
            url: server.to_owned(),
            source: error.into(),
        })
    })
}

/// Where programs of this user keep what can be fetched again: `$XDG_CACHE_HOME`,
/// `~/Library/Caches` on macOS, `~/.cache` elsewhere. This is the one place of the library that
/// looks at the environment, and only when no folder was named.
fn user_cache_dir() -> Option<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    if let Some(folder) = set("XDG_CACHE_HOME") {
        return Some(folder.into());
    }
    let home = PathBuf::from(set("HOME")?);
    Some(if cfg!(target_os = "macos") {
        home.join("Library/Caches")
    } else {
        home.join(".cache")
    })
}
