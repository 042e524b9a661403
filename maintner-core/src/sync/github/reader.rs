//! The machine with something that sends requests and something that keeps notes.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use super::{Http, Machine, Next};
use crate::View;
use crate::sync::state::Notes;
use crate::sync::{HostReader, Progress, Step, SyncError};

/// Issues that somebody says something happened to. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Hints {
    numbers: Arc<Mutex<BTreeSet<i32>>>,
}

impl Hints {
    /// Says that something happened to this issue.
    pub fn add(&self, number: i32) {
        let mut numbers = self.numbers.lock().unwrap_or_else(PoisonError::into_inner);
        numbers.insert(number);
    }

    fn take(&self) -> BTreeSet<i32> {
        std::mem::take(&mut self.numbers.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Keeps the corpus in step with a repository on GitHub.
pub struct GitHub<H> {
    name: String,
    machine: Machine,
    http: H,
    notes: Box<dyn Notes>,
    hints: Hints,
    /// Between two requests.
    pace: Duration,
    last: Option<Instant>,
    /// A request was refused for its credentials, and is sent again with new ones.
    renewed: bool,
}

impl<H> std::fmt::Debug for GitHub<H> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GitHub")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl<H: Http> GitHub<H> {
    /// The repository `owner/repo`, asked through `http`, at most `rate` times a second (0: as
    /// often as GitHub answers).
    ///
    /// # Errors
    /// When the notes of an earlier run cannot be read.
    pub fn new(
        owner: &str,
        repo: &str,
        http: H,
        notes: impl Notes + 'static,
        rate: f64,
    ) -> Result<Self, SyncError> {
        let name = format!("github:{owner}/{repo}");
        let known = notes.load(&name).map_err(|source| SyncError::Notes {
            action: "read",
            name: name.clone(),
            source,
        })?;
        let pace = match rate > 0.0 {
            true => Duration::try_from_secs_f64(1.0 / rate).unwrap_or(Duration::ZERO),
            false => Duration::ZERO,
        };
        Ok(Self {
            machine: Machine::new(owner, repo, known.as_deref()),
            name,
            http,
            notes: Box::new(notes),
            hints: Hints::default(),
            pace,
            last: None,
            renewed: false,
        })
    }

    /// Asks too which comments were minimised: [`Machine::with_minimized`]. For clients that have
    /// credentials.
    #[must_use]
    pub fn with_minimized(mut self, yes: bool) -> Self {
        self.machine = self.machine.with_minimized(yes);
        self
    }

    /// Where to say that something happened to an issue.
    pub fn hints(&self) -> Hints {
        self.hints.clone()
    }

    /// How many requests the first comparison will take, for those who watch.
    pub fn expect_requests(&mut self, total: u64) {
        self.machine.expect_requests(total);
    }
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs().cast_signed())
}

impl<H: Http> HostReader for GitHub<H> {
    fn name(&self) -> &str {
        &self.name
    }

    fn step(&mut self, view: &View) -> Result<Step, SyncError> {
        match self.machine.next(view, now())? {
            Next::Write(mutations) => Ok(Step::Write(mutations)),
            Next::Wait(pause) => Ok(Step::Wait(pause)),
            Next::Done => Ok(Step::Done),
            Next::Save(notes) => {
                let saved = self.notes.save(&self.name, &notes);
                saved.map_err(|source| SyncError::Notes {
                    action: "write",
                    name: self.name.clone(),
                    source,
                })?;
                Ok(Step::Again)
            }
            Next::Request(request) => {
                let early = self
                    .last
                    .map(|last| self.pace.saturating_sub(last.elapsed()));
                if let Some(early) = early.filter(|early| !early.is_zero()) {
                    return Ok(Step::Wait(early));
                }
                self.last = Some(Instant::now());
                let answer = self.http.send(&request);
                let refused = answer.as_ref().is_ok_and(|answer| answer.status == 401);
                if refused && !self.renewed && self.http.renew() {
                    self.renewed = true;
                    return Ok(Step::Again);
                }
                self.renewed = false;
                self.machine.answer(view, now(), answer)?;
                Ok(Step::Again)
            }
        }
    }

    fn restart(&mut self, expected: bool) {
        self.machine.restart(expected);
        for number in self.hints.take() {
            self.machine.hint(number);
        }
    }

    fn progress(&self) -> Progress {
        self.machine.progress()
    }

    fn due(&self) -> Option<Duration> {
        self.machine.due()
    }

    fn remark(&self) -> Option<String> {
        let place = self.machine.moved_to()?;
        Some(format!(
            "the repository was renamed; it is read as https://api.github.com{place}"
        ))
    }
}
