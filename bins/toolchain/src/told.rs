//! What people are told: progress, and errors with their exit codes.

use std::sync::Mutex;

use build_client::httpdl::Progress;
use build_client::toolchain::Happening;
use build_client::{Error, ErrorKind};
use farmer_cli::progress::{self, ProgressBar};
use farmer_cli::{Exit, Failure};

/// An error of the library, with the exit code that its kind asks for.
pub(crate) fn failure(error: &Error) -> Failure {
    let exit = match error.kind() {
        ErrorKind::Invalid | ErrorKind::Unsupported => Exit::Usage,
        ErrorKind::NotFound | ErrorKind::Conflict | ErrorKind::Corrupt => Exit::Failed,
        _ => Exit::Infrastructure,
    };
    Failure::because(exit, error, error.hint())
}

/// Tells what happens to one toolchain: a bar on a terminal, lines of what is worth a line.
pub(crate) struct Told {
    name: String,
    bar: Mutex<Option<ProgressBar>>,
}

impl Told {
    pub(crate) fn new(name: impl ToString) -> Self {
        Self {
            name: name.to_string(),
            bar: Mutex::new(None),
        }
    }

    pub(crate) fn tell(&self, happening: Happening) {
        let name = &self.name;
        match happening {
            Happening::Archive(Progress::Received { done, total }) => self.received(done, total),
            Happening::Waiting | Happening::Archive(Progress::Waiting) => {
                self.line(&format!("{name}: another process works on it; waiting"));
            }
            Happening::Archive(Progress::Retrying { cause, .. }) => {
                self.line(&format!("{name}: {cause}; trying again"));
            }
            Happening::Archive(Progress::Restarting { cause }) => {
                self.line(&format!("{name}: {cause}; beginning anew"));
            }
            Happening::NextMirror { cause } => {
                self.line(&format!("{name}: {cause}; asking the next mirror"));
            }
            Happening::Unpacking(archive) => {
                self.finish();
                self.line(&format!("Unpacking {} ...", archive.display()));
            }
            _ => {}
        }
    }

    fn received(&self, done: u64, total: Option<u64>) {
        let Ok(mut bar) = self.bar.lock() else { return };
        let bar = bar.get_or_insert_with(|| match total {
            Some(total) => progress::bytes("Downloading", total),
            None => progress::spinner("Downloading"),
        });
        bar.set_position(done);
    }

    /// A line on standard error, above the bar.
    pub(crate) fn line(&self, line: &str) {
        match self.bar.lock() {
            Ok(bar) if bar.is_some() => {
                if let Some(bar) = &*bar {
                    bar.suspend(|| eprintln!("{line}"));
                }
            }
            _ => eprintln!("{line}"),
        }
    }

    pub(crate) fn finish(&self) {
        if let Ok(mut bar) = self.bar.lock()
            && let Some(bar) = bar.take()
        {
            bar.finish_and_clear();
        }
    }
}
