//! The synchronisation of a repository without any IO.

mod answers;
mod aside;
mod plan;

pub(super) use aside::Asked;

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

use super::diff::Repo;
use super::limits::{Verdict, judge};
use super::notes::{Saved, Tag};
use super::tasks::{Task, base};
use super::{Answer, Request};
use crate::View;
use crate::pb::Mutation;
use crate::sync::{Progress, SyncError};

/// How often the same is asked in vain before the comparison is given up for now.
const TRIES: u32 = 8;
/// Mutations handed out at a time.
const BATCH: usize = 2000;

/// What is to be done next.
#[derive(Debug, Clone, PartialEq)]
pub enum Next {
    /// Send this, and give the answer to [`Machine::answer`].
    Request(Request),
    /// Append these and make them visible; then ask again, with the new view.
    Write(Vec<Mutation>),
    /// Keep these notes in place of the old ones.
    Save(Vec<u8>),
    /// Ask again after this time.
    Wait(Duration),
    /// The view has what GitHub has.
    Done,
}

/// Compares a repository with views, one request after the other.
///
/// ```
/// use maintner_core::sync::github::{Answer, Machine, Next};
/// # let corpus = maintner_core::sample::corpus();
/// let mut machine = Machine::new("golang", "go", None);
/// let Next::Request(request) = machine.next(&corpus.view(), 0)? else { unreachable!() };
/// assert_eq!(request.path, "/repos/golang/go/labels?per_page=100");
/// let answer = Answer { status: 502, ..Answer::default() };
/// machine.answer(&corpus.view(), 0, Ok(answer))?;
/// assert!(matches!(machine.next(&corpus.view(), 0)?, Next::Wait(_)), "and then the same again");
/// # Ok::<(), maintner_core::sync::SyncError>(())
/// ```
#[derive(Debug)]
pub struct Machine {
    repo: Repo,
    notes: Saved,
    /// The notes as they were last handed out: what they presume is durable.
    durable: Saved,
    unsaved: bool,
    running: bool,
    tasks: VecDeque<Task>,
    pending: Vec<Mutation>,
    pause: Option<Duration>,
    tries: u32,
    /// Answers that may be old will not do.
    expected: bool,
    hints: HashSet<i32>,
    /// GitHub's clock at its last answer.
    now: i64,
    cycle: Cycle,
    /// Counts of comments that do not match and were looked into.
    explained: HashMap<i32, u64>,
    /// Whether GitHub's other interface is asked, which needs credentials.
    graphql: bool,
    requests: u64,
    total: Option<u64>,
    what: &'static str,
}

/// What one comparison learnt that the view does not say.
#[derive(Debug, Default)]
struct Cycle {
    /// A list of the repository was answered, so a missing issue means what it says.
    answered: bool,
    /// How many comments issues have, as their list says.
    counts: HashMap<i32, u64>,
    /// Of those, the ones whose comments are being compared.
    doubted: HashMap<i32, u64>,
    checked: HashSet<i32>,
    /// GitHub's clock when the end of the comments was reached, and when events were begun.
    comments: Option<i64>,
    events: Option<i64>,
    /// URL of the repository as its issues have it.
    url: Option<String>,
}

impl Machine {
    /// For the repository `owner/repo`, going on from the notes of an earlier machine.
    pub fn new(owner: &str, repo: &str, notes: Option<&[u8]>) -> Self {
        let notes = notes.map(Saved::read).unwrap_or_default();
        Self {
            repo: Repo {
                owner: owner.to_owned(),
                name: repo.to_owned(),
            },
            durable: notes.clone(),
            notes,
            unsaved: false,
            running: false,
            tasks: VecDeque::new(),
            pending: Vec::new(),
            pause: None,
            tries: 0,
            expected: false,
            hints: HashSet::new(),
            now: 0,
            cycle: Cycle::default(),
            explained: HashMap::new(),
            graphql: false,
            requests: 0,
            total: None,
            what: "labels",
        }
    }

    /// Asks too which comments were minimised, four more requests a comparison at most. GitHub
    /// tells it by its GraphQL interface alone, and to nobody without credentials.
    #[must_use]
    pub fn with_minimized(mut self, yes: bool) -> Self {
        self.graphql = yes;
        self
    }

    /// Begins a new comparison; `expected`: there is news, so no answer may be an old one.
    pub fn restart(&mut self, expected: bool) {
        self.running = false;
        self.tasks.clear();
        self.pending.clear();
        self.pause = None;
        self.tries = 0;
        self.expected = expected;
        // What was noted and perhaps not written is asked again.
        self.notes = self.durable.clone();
        self.unsaved = false;
    }

    /// Somebody says that something happened to this issue: the next comparison looks whether it
    /// is still there.
    pub fn hint(&mut self, number: i32) {
        self.hints.insert(number);
    }

    /// How many requests the first comparison will take, for those who watch.
    pub fn expect_requests(&mut self, total: u64) {
        self.total = Some(total);
    }

    /// How far it is.
    pub fn progress(&self) -> Progress {
        Progress {
            what: self.what,
            done: self.requests,
            total: self.total,
            requests: self.requests,
        }
    }

    /// Where the repository is now, if it was renamed: a path of the interface.
    pub fn moved_to(&self) -> Option<&str> {
        self.notes.moved_to.as_deref()
    }

    /// How long until something is to be looked at again.
    pub fn due(&self) -> Option<Duration> {
        let due = self
            .notes
            .again
            .iter()
            .map(|&(due, _)| due - self.now)
            .min()?;
        Some(Duration::from_secs(due.max(1).unsigned_abs()))
    }

    /// What is to be done. `view` has everything that was handed out before; `now` is our clock
    /// in Unix seconds, used only until GitHub told its own.
    ///
    /// # Errors
    /// [`SyncError::BadTarget`] for times beyond all calendars, which no clock shows.
    pub fn next(&mut self, view: &View, now: i64) -> Result<Next, SyncError> {
        if self.now == 0 {
            self.now = now;
        }
        loop {
            if !self.pending.is_empty() {
                let rest = self.pending.len().min(BATCH);
                return Ok(Next::Write(self.pending.drain(..rest).collect()));
            }
            if std::mem::take(&mut self.unsaved) {
                self.durable = self.notes.clone();
                return Ok(Next::Save(self.notes.write()));
            }
            if let Some(pause) = self.pause.take() {
                return Ok(Next::Wait(pause));
            }
            if !std::mem::replace(&mut self.running, true) {
                self.plan();
            }
            let Some(task) = self.tasks.front() else {
                self.running = false;
                self.expected = false;
                self.total = None;
                return Ok(Next::Done);
            };
            self.what = task.what();
            if let Some(request) = self.request() {
                return Ok(Next::Request(request));
            }
            if let Some(task) = self.tasks.pop_front() {
                self.look(view, task);
            }
        }
    }

    /// The request of the first task, if it needs one.
    fn request(&self) -> Option<Request> {
        let task = self.tasks.front()?;
        if let Task::Minimized(asked) = task {
            return Some(aside::question(&self.repo.owner, &self.repo.name, asked));
        }
        let base = base(&self.repo, self.notes.moved_to.as_deref());
        let mut request = Request::get(plan::path(task, &base, &self.notes)?);
        let slot = task.slot().filter(|_| !self.expected);
        let tag = slot.and_then(|slot| self.notes.tags.get(&slot));
        request.etag = tag
            .filter(|tag| tag.path == request.path)
            .map(|tag| tag.etag.clone());
        Some(request)
    }

    /// Takes the answer to the request that was handed out last.
    ///
    /// # Errors
    /// When GitHub refuses, or could not be asked after many tries: the comparison is to be
    /// begun anew, later.
    pub fn answer(
        &mut self,
        view: &View,
        now: i64,
        answer: Result<Answer, String>,
    ) -> Result<(), SyncError> {
        let Some(request) = self.request() else {
            return Ok(());
        };
        self.requests += 1;
        let answer = match answer {
            Ok(answer) => answer,
            Err(reason) => return self.retry(&request, reason),
        };
        if let Some(date) = answer.date() {
            self.now = date;
        }
        let verdict = judge(&answer, self.tries, now);
        let is_aside = matches!(self.tasks.front(), Some(Task::Minimized(_)));
        match verdict {
            // Whoever is not let in there is not told; everything else goes on.
            Verdict::Refused(_) | Verdict::Retry(_) if is_aside => {
                self.graphql &= matches!(verdict, Verdict::Retry(_));
                self.tasks
                    .retain(|task| !matches!(task, Task::Minimized(_)));
                return Ok(());
            }
            Verdict::Pause(pause) => {
                self.tries += 1;
                self.pause = Some(pause);
                return Ok(());
            }
            Verdict::Retry(reason) => return self.retry(&request, reason),
            Verdict::Refused(reason) => {
                return Err(SyncError::Refused {
                    request: request.name(),
                    status: answer.status,
                    reason,
                });
            }
            _ => {}
        }
        let Some(task) = self.tasks.pop_front() else {
            return Ok(());
        };
        let slot = task.slot();
        match self.take(view, task, verdict, &answer) {
            Ok(answers::Taken::Whole) => {
                self.tries = 0;
                self.remember(slot, &request, &answer);
                Ok(())
            }
            Ok(answers::Taken::Passing) => {
                self.tries = 0;
                Ok(())
            }
            Err((task, answers::Trouble::Cut(reason))) => {
                self.tasks.push_front(*task);
                self.retry(&request, reason)
            }
            Err((_, answers::Trouble::NoRepository)) => Err(SyncError::Refused {
                request: request.name(),
                status: answer.status,
                reason: format!(
                    "there is no repository {}/{} that these credentials may read",
                    self.repo.owner, self.repo.name
                ),
            }),
        }
    }

    fn remember(&mut self, slot: Option<String>, request: &Request, answer: &Answer) {
        if let (Some(slot), Some(etag)) = (slot, answer.header("etag")) {
            let tag = Tag {
                path: request.path.clone(),
                etag: etag.to_owned(),
            };
            if self.notes.tags.get(&slot) != Some(&tag) {
                self.notes.tags.insert(slot, tag);
                self.unsaved = true;
            }
        }
    }

    fn retry(&mut self, request: &Request, reason: String) -> Result<(), SyncError> {
        self.tries += 1;
        if self.tries >= TRIES {
            return Err(SyncError::Unreachable {
                request: request.name(),
                reason,
            });
        }
        self.pause = Some(Duration::from_secs(1 << self.tries.min(6)));
        Ok(())
    }
}
