//! What changed, for those who wait for it.
//!
//! A subscription is level-triggered: a slow reader gets one change that sums up all it missed,
//! and the newest view.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_core::Stream;

use crate::corpus::apply::Touched;
use crate::corpus::store::Shared;
use crate::query::{Cl, Commit, Issue, Ref};
use crate::{Error, Result, View};

/// How long the watching thread waits at most before it looks whether it is still wanted.
const PATIENCE: Duration = Duration::from_millis(250);
/// Pause after a failure to read the log.
const AFTER_ERROR: Duration = Duration::from_secs(1);
/// Changes remembered for slow readers; beyond that they are told that anything may differ.
const REMEMBERED: usize = 256;

/// A new version of the corpus, and what is different in it.
#[derive(Clone)]
pub struct Change {
    view: View,
    touched: Arc<Touched>,
    reset: bool,
}

impl fmt::Debug for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Change")
            .field("generation", &self.view.generation())
            .field("position", &self.view.position())
            .field("issues", &self.touched.issues.len())
            .field("cls", &self.touched.cls.len())
            .field("refs", &self.touched.refs.len())
            .field("commits", &self.touched.commits.len())
            .field("is_reset", &self.reset)
            .finish()
    }
}

impl Change {
    pub(crate) fn new(view: View, touched: Arc<Touched>, reset: bool) -> Self {
        Self {
            view,
            touched,
            reset,
        }
    }

    /// The new version.
    pub fn view(&self) -> &View {
        &self.view
    }

    /// Whether anything may be different: the log was rewritten, or the reader was very slow.
    /// The lists below are then no guide.
    pub fn is_reset(&self) -> bool {
        self.reset
    }

    /// Issues and pull requests that the log spoke about.
    pub fn issues(&self) -> impl Iterator<Item = Issue<'_>> {
        self.touched
            .issues
            .iter()
            .map(|&row| Issue::new(self.view.state(), row))
    }

    /// Gerrit changes that got a patch set or a meta commit and are complete.
    pub fn cls(&self) -> impl Iterator<Item = Cl<'_>> {
        let state = self.view.state();
        self.touched
            .cls
            .iter()
            .filter_map(|&row| Cl::complete(state, row))
    }

    /// Branches, tags and other refs that were set and not deleted.
    pub fn refs(&self) -> impl Iterator<Item = Ref<'_>> {
        let state = self.view.state();
        self.touched
            .refs
            .iter()
            .filter_map(|&row| Ref::existing(state, row))
    }

    /// Commits that are new.
    pub fn commits(&self) -> impl Iterator<Item = Commit<'_>> {
        self.touched
            .commits
            .iter()
            .map(|&row| Commit::new(self.view.state(), row))
    }
}

/// Where published versions and waiting readers meet.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    inner: Mutex<Inner>,
    published: Condvar,
}

#[derive(Debug, Default)]
struct Inner {
    generation: u64,
    /// The newest changes, the last one of `generation`.
    recent: VecDeque<(Arc<Touched>, bool)>,
    wakers: Vec<Waker>,
    failure: Option<Error>,
    followers: usize,
    /// Whether a thread looks for new data.
    watched: bool,
}

impl Inner {
    /// Everything after generation `seen`, and whether anything may differ.
    fn since(&self, seen: u64) -> (Arc<Touched>, bool) {
        let missed = usize::try_from(self.generation - seen).unwrap_or(usize::MAX);
        if missed > self.recent.len() {
            return (Arc::default(), true);
        }
        let missed = self.recent.iter().skip(self.recent.len() - missed);
        if let (1, Some((touched, reset))) = (missed.len(), missed.clone().next()) {
            return (Arc::clone(touched), *reset);
        }
        let mut sum = Touched::default();
        let mut reset = false;
        for (touched, one) in missed {
            sum.merge(touched);
            reset |= one;
        }
        (Arc::new(sum), reset)
    }
}

impl Watch {
    pub(crate) fn publish(&self, generation: u64, touched: Arc<Touched>, reset: bool) {
        let mut inner = self.lock();
        inner.generation = generation;
        inner.recent.push_back((touched, reset));
        if inner.recent.len() > REMEMBERED {
            inner.recent.pop_front();
        }
        self.wake(inner);
    }

    pub(crate) fn fail(&self, error: Error) {
        let mut inner = self.lock();
        inner.failure = Some(error);
        self.wake(inner);
    }

    fn wake(&self, mut inner: MutexGuard<'_, Inner>) {
        let wakers = std::mem::take(&mut inner.wakers);
        drop(inner);
        self.published.notify_all();
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Every change of `Inner` is a single step, so a panic elsewhere leaves a whole one.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The changes of a corpus from the moment of subscription on. Never ends.
///
/// An error to read the log is given to one of the subscriptions, and reading is tried again.
#[derive(Debug)]
pub struct Changes {
    shared: Arc<Shared>,
    seen: u64,
}

impl Changes {
    pub(crate) fn new(shared: &Arc<Shared>) -> Self {
        let mut inner = shared.watch.lock();
        inner.followers += 1;
        let start = !std::mem::replace(&mut inner.watched, true);
        let seen = inner.generation;
        drop(inner);
        if start {
            let weak = Arc::downgrade(shared);
            std::thread::spawn(move || watch(&weak));
        }
        Self {
            shared: Arc::clone(shared),
            seen,
        }
    }

    /// Waits for the next change.
    ///
    /// ```
    /// use maintner_core::{Corpus, Options, pb, source::{MemoryLog, MutationSink}};
    /// # futures_executor::block_on(async {
    /// let mut log = MemoryLog::new();
    /// let corpus = Corpus::load(log.clone(), Options::default())?;
    /// let mut changes = corpus.follow();
    /// log.append_mutations(&[pb::Mutation::default()])?;
    /// if let Some(change) = changes.next().await {
    ///     assert_eq!(change?.view().position().bytes(), 8);
    /// }
    /// # Ok::<(), maintner_core::Error>(()) }).unwrap();
    /// ```
    ///
    /// Cancel safe: a change that was not returned will be part of the next one.
    pub async fn next(&mut self) -> Option<Result<Change>> {
        std::future::poll_fn(|context| Pin::new(&mut *self).poll_next(context)).await
    }

    /// Waits for the next change on this thread, at most for `patience`.
    pub fn wait(&mut self, patience: Duration) -> Option<Result<Change>> {
        let shared = Arc::clone(&self.shared);
        let idle = |inner: &mut Inner| inner.generation == self.seen && inner.failure.is_none();
        let waited = shared
            .watch
            .published
            .wait_timeout_while(shared.watch.lock(), patience, idle);
        let (mut inner, _timeout) = waited.unwrap_or_else(PoisonError::into_inner);
        self.take(&mut inner)
    }

    fn take(&mut self, inner: &mut Inner) -> Option<Result<Change>> {
        if let Some(error) = inner.failure.take() {
            return Some(Err(error));
        }
        if inner.generation == self.seen {
            return None;
        }
        let (touched, reset) = inner.since(self.seen);
        self.seen = inner.generation;
        Some(Ok(Change::new(self.shared.view(), touched, reset)))
    }
}

impl Stream for Changes {
    type Item = Result<Change>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let shared = Arc::clone(&self.shared);
        let mut inner = shared.watch.lock();
        match self.take(&mut inner) {
            Some(change) => Poll::Ready(Some(change)),
            None => {
                inner.wakers.push(context.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl Drop for Changes {
    fn drop(&mut self) {
        self.shared.watch.lock().followers -= 1;
    }
}

/// Updates the corpus whenever its source has something new, while anybody follows it.
fn watch(shared: &Weak<Shared>) {
    while let Some(shared) = shared.upgrade() {
        {
            let mut inner = shared.watch.lock();
            if inner.followers == 0 {
                inner.watched = false;
                return;
            }
        }
        let known = shared.read_end();
        let done = shared.source.wait(known, PATIENCE).and_then(|end| {
            if end == known && !shared.is_rewritten() {
                Ok(None)
            } else {
                shared.update()
            }
        });
        if let Err(error) = done {
            shared.watch.fail(error);
            drop(shared);
            std::thread::sleep(AFTER_ERROR);
        }
    }
}
