//! The readers of a list of targets.

use std::path::{Path, PathBuf};

use farmer_cli::Failure;
use maintner_core::sync::gerrit::Gerrit;
use maintner_core::sync::github::estimate::{Estimate, estimate};
use maintner_core::sync::github::rest::client;
use maintner_core::sync::github::{GitHub, Hints};
use maintner_core::sync::plain::PlainGit;
use maintner_core::sync::remote::{GitMirror, Listing};
use maintner_core::sync::state::{NotesFolder, escaped};
use maintner_core::sync::{Control, HostReader, Target};
use tokio::runtime::Handle;

use super::login::Login;
use super::report::{failure, words};

/// GitHub's own interface.
pub(crate) const GITHUB: &str = "https://api.github.com";

/// How hosts are asked.
#[derive(Debug, Clone)]
pub(crate) struct Asking {
    /// Where mirrors and notes are kept.
    pub(crate) folder: PathBuf,
    /// The interface of GitHub, or of an Enterprise server.
    pub(crate) api: String,
    pub(crate) login: Login,
    /// Requests a second; 0 for no limit of our own.
    pub(crate) rate: f64,
    pub(crate) home: Option<PathBuf>,
    pub(crate) control: Control,
    pub(crate) runtime: Handle,
}

impl Asking {
    /// A reader, and where its wake-ups may name issues. Where the Go program has its mirrors,
    /// ours are too, with a suffix: those of Go have a working tree.
    /// `cost`: what its first synchronisation is known to take.
    pub(crate) fn reader(
        &self,
        target: &Target,
        cost: Option<&Estimate>,
    ) -> Result<(Box<dyn HostReader>, Option<Hints>), Failure> {
        let mirror = |url: &str, name: &str, listing| {
            let folder = self.folder.join(format!("{}.git", escaped(name)));
            GitMirror::open(url, name, &folder, listing, &self.control)
                .map_err(|error| failure(&error))
        };
        Ok(match target {
            Target::Git { url } => {
                let name = Target::git_project(url);
                (
                    Box::new(PlainGit::new(mirror(url, &name, Listing::Branches)?)),
                    None,
                )
            }
            Target::Gerrit { project } => {
                let url = format!("https://{project}");
                let mirror = mirror(&url, project, Listing::All)?;
                (Box::new(Gerrit::new(project, mirror)), None)
            }
            Target::GitHub { owner, repo } => {
                let http = self.http()?;
                let notes = NotesFolder::new(self.notes());
                let reader = GitHub::new(owner, repo, http, notes, self.rate)
                    .map_err(|error| failure(&error))?;
                // Which comments were minimised is told to those who say who they are.
                let known = self.login.is_somebody(self.home.as_deref())?;
                let mut reader = reader.with_minimized(known);
                if let Some(cost) = cost {
                    reader.expect_requests(cost.requests());
                }
                let hints = reader.hints();
                (Box::new(reader), Some(hints))
            }
        })
    }

    fn notes(&self) -> PathBuf {
        self.folder.join("notes")
    }

    fn http(&self) -> Result<impl maintner_core::sync::github::Http + use<>, Failure> {
        let credentials = self.login.credentials(self.home.as_deref())?;
        client(&self.api, credentials, self.runtime.clone()).map_err(|error| failure(&error))
    }

    /// What a first synchronisation of a target will cost, where that can be asked and where
    /// there was none.
    pub(crate) fn estimate(&self, target: &Target) -> Result<Option<Estimate>, Failure> {
        let Target::GitHub { owner, repo } = target else {
            return Ok(None);
        };
        let begun = self
            .notes()
            .join(format!("{}.json", escaped(&target.to_string())));
        if begun.exists() {
            return Ok(None);
        }
        let mut http = self.http()?;
        let cost = estimate(&mut http, owner, repo).map_err(|error| failure(&error))?;
        Ok(Some(cost))
    }
}

/// What a first synchronisation takes, as a sentence.
pub(crate) fn cost(target: &Target, estimate: &Estimate, rate: f64) -> String {
    format!(
        "{target}: {} issues and pull requests, {} comments, {} events, {} comments on code: about {} requests, {}",
        estimate.issues,
        estimate.comments,
        estimate.events,
        estimate.code_comments,
        estimate.requests(),
        words(estimate.time(rate)),
    )
}

/// The folder where the log of a data directory is.
pub(crate) fn home() -> Option<PathBuf> {
    std::env::var_os("HOME")
        .map(PathBuf::from)
        .filter(|home| home.as_path() != Path::new(""))
}
