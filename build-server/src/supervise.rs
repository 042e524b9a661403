//! The only place that starts tasks.
//!
//! A [`Supervisor`] is a named group of tasks with a token that asks them to end. Groups form a
//! tree: canceling a group cancels the groups below it, and draining a group waits for their
//! tasks too. A task that panics is logged, cancels its own group (a part without one of its
//! tasks is broken; whatever may fail alone gets a group of its own) and is reported by
//! [`Supervisor::drain`] of its group and of every group above.
//!
//! ```
//! # use std::time::Duration;
//! # use build_server::supervise::Supervisor;
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let all = Supervisor::new("server");
//! let token = all.token().clone();
//! all.spawn("ticker", async move { token.cancelled().await });
//! let sum = all.spawn_blocking("sum", || (1..=10u32).sum::<u32>());
//! assert_eq!(sum.await?, 55);
//! all.drain(Duration::from_secs(5)).await?;
//! # Ok(())
//! # }
//! ```

use std::any::Any;
use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::FutureExt;
use tokio::sync::Notify;
use tokio::task::{AbortHandle, JoinHandle};
use tokio_util::sync::CancellationToken;

/// How long tasks that were aborted at the deadline of a drain get to drop what they hold.
const ABORT_GRACE: Duration = Duration::from_secs(1);

/// A group of tasks that end together. Clones are the same group.
#[derive(Clone)]
pub struct Supervisor(Arc<Group>);

struct Group {
    name: Cow<'static, str>,
    token: CancellationToken,
    above: Option<Supervisor>,
    state: Mutex<State>,
    changed: Notify,
    next_id: AtomicU64,
}

#[derive(Default)]
struct State {
    running: HashMap<u64, Running>,
    panics: Vec<TaskPanic>,
}

struct Running {
    name: String,
    abort: Option<AbortHandle>,
}

/// A task that panicked, and what it said.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("task {task} panicked: {message}")]
pub struct TaskPanic {
    task: String,
    message: String,
}

impl TaskPanic {
    /// The task with its groups: `server/connections/accept`.
    pub fn task(&self) -> &str {
        &self.task
    }

    /// The text of the panic.
    pub fn message(&self) -> &str {
        &self.message
    }
}

/// Why a task has no result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TaskError {
    /// It panicked.
    #[error(transparent)]
    Panicked(#[from] TaskPanic),
    /// It was aborted before its end.
    #[error("task was aborted")]
    Aborted,
}

/// What went wrong while a group ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{group} did not end well: {}", self.describe())]
pub struct DrainError {
    group: String,
    stuck: Vec<String>,
    panics: Vec<TaskPanic>,
}

impl DrainError {
    /// Tasks that were still running at the deadline; they were aborted, blocking ones go on.
    pub fn stuck(&self) -> &[String] {
        &self.stuck
    }

    /// Tasks that panicked during the life of the group.
    pub fn panics(&self) -> &[TaskPanic] {
        &self.panics
    }

    fn describe(&self) -> String {
        let stuck = self
            .stuck
            .iter()
            .map(|name| format!("{name} still ran at the deadline"));
        let panics = self.panics.iter().map(ToString::to_string);
        stuck.chain(panics).collect::<Vec<_>>().join("; ")
    }
}

impl Supervisor {
    /// A group on its own.
    pub fn new(name: impl Into<Cow<'static, str>>) -> Self {
        Self::with_token(name, CancellationToken::new())
    }

    /// A group on its own that ends when `token` is canceled; the token becomes the group's.
    pub fn with_token(name: impl Into<Cow<'static, str>>, token: CancellationToken) -> Self {
        Self(Arc::new(Group {
            name: name.into(),
            token,
            above: None,
            state: Mutex::default(),
            changed: Notify::new(),
            next_id: AtomicU64::new(0),
        }))
    }

    /// A group below this one: canceled with it, but not the other way round.
    #[must_use]
    pub fn group(&self, name: impl Into<Cow<'static, str>>) -> Self {
        Self(Arc::new(Group {
            name: name.into(),
            token: self.0.token.child_token(),
            above: Some(self.clone()),
            state: Mutex::default(),
            changed: Notify::new(),
            next_id: AtomicU64::new(0),
        }))
    }

    /// The token that asks the tasks of this group, and of those below, to end.
    pub fn token(&self) -> &CancellationToken {
        &self.0.token
    }

    /// The group with those above it: `server/connections`.
    pub fn path(&self) -> String {
        match &self.0.above {
            Some(above) => format!("{}/{}", above.path(), self.0.name),
            None => self.0.name.to_string(),
        }
    }

    /// How many tasks of this group and of those below run.
    pub fn running(&self) -> usize {
        self.state().running.len()
    }

    /// The tasks of this group and of those below that run, with their groups, in order.
    pub fn task_names(&self) -> Vec<String> {
        let mut names: Vec<_> = self
            .state()
            .running
            .values()
            .map(|task| task.name.clone())
            .collect();
        names.sort();
        names
    }

    /// Starts a task. It goes on when the returned handle is dropped.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn spawn<T, F>(&self, name: &str, future: F) -> Task<T>
    where
        F: Future<Output = T> + Send + 'static,
        T: Send + 'static,
    {
        let entry = self.enter(name);
        let places = entry.places.clone();
        let body = async move {
            let ended = AssertUnwindSafe(future).catch_unwind().await;
            entry.leave(ended)
        };
        #[expect(clippy::disallowed_methods, reason = "the one place that spawns")]
        let handle = tokio::spawn(body);
        allow_abort(&places, &handle.abort_handle());
        Task(handle)
    }

    /// Starts a function that blocks, on a thread of its own kind. It cannot be aborted: bound
    /// what it does, or give it the token.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn spawn_blocking<T, F>(&self, name: &str, function: F) -> Task<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let entry = self.enter(name);
        Task(tokio::task::spawn_blocking(move || {
            entry.leave(std::panic::catch_unwind(AssertUnwindSafe(function)))
        }))
    }

    /// Asks every task to end and waits until they have, `deadline` at the longest; then aborts
    /// what is left.
    ///
    /// Cancel safe: the tasks have been asked to end, nothing else is lost.
    ///
    /// # Errors
    /// The tasks that did not end in time, and those that panicked at any time.
    pub async fn drain(&self, deadline: Duration) -> Result<(), DrainError> {
        self.0.token.cancel();
        let mut stuck = Vec::new();
        if tokio::time::timeout(deadline, self.idle()).await.is_err() {
            stuck = self.abort_all();
            // Only blocking tasks can outlive this, and they are in `stuck`.
            let _ = tokio::time::timeout(ABORT_GRACE, self.idle()).await;
        }
        let panics = self.state().panics.clone();
        if stuck.is_empty() && panics.is_empty() {
            return Ok(());
        }
        Err(DrainError {
            group: self.path(),
            stuck,
            panics,
        })
    }

    /// Waits until no task of this group, or of those below, runs. Cancel safe.
    pub async fn idle(&self) {
        loop {
            let changed = self.0.changed.notified();
            if self.state().running.is_empty() {
                return;
            }
            changed.await;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds this lock; a poisoned one would still be consistent.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn abort_all(&self) -> Vec<String> {
        let names = self.task_names();
        let state = self.state();
        let handles = state
            .running
            .values()
            .filter_map(|task| task.abort.as_ref());
        handles.for_each(AbortHandle::abort);
        names
    }

    fn groups_upwards(&self) -> impl Iterator<Item = &Self> {
        std::iter::successors(Some(self), |group| group.0.above.as_ref())
    }

    fn enter(&self, name: &str) -> Entry {
        let name = format!("{}/{name}", self.path());
        let places = self
            .groups_upwards()
            .map(|group| {
                let id = group.0.next_id.fetch_add(1, Ordering::Relaxed);
                let running = Running {
                    name: name.clone(),
                    abort: None,
                };
                group.state().running.insert(id, running);
                (group.clone(), id)
            })
            .collect();
        Entry { name, places }
    }
}

impl fmt::Debug for Supervisor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Supervisor({}, {} running)", self.path(), self.running())
    }
}

/// A task's place in its group and in the groups above; dropping it takes the task off.
struct Entry {
    name: String,
    places: Vec<(Supervisor, u64)>,
}

impl Entry {
    fn leave<T>(self, ended: Result<T, Box<dyn Any + Send>>) -> Result<T, TaskPanic> {
        ended.map_err(|payload| {
            let panic = TaskPanic {
                task: self.name.clone(),
                message: panic_text(&*payload),
            };
            tracing::error!(task = panic.task, message = panic.message, "task panicked");
            for (group, _) in &self.places {
                group.state().panics.push(panic.clone());
            }
            if let Some((group, _)) = self.places.first() {
                group.token().cancel();
            }
            panic
        })
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        for (group, id) in &self.places {
            group.state().running.remove(id);
            group.0.changed.notify_waiters();
        }
    }
}

/// The task may have ended by now; then it has no place any more.
fn allow_abort(places: &[(Supervisor, u64)], abort: &AbortHandle) {
    for (group, id) in places {
        if let Some(running) = group.state().running.get_mut(id) {
            running.abort = Some(abort.clone());
        }
    }
}

fn panic_text(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("(no text)").to_owned()
}

/// The result of a task to come: a future. Dropping it does not end the task.
#[derive(Debug)]
pub struct Task<T>(JoinHandle<Result<T, TaskPanic>>);

impl<T> Task<T> {
    /// Ends the task at its next wait; a blocking one only if it has not begun.
    pub fn abort(&self) {
        self.0.abort();
    }

    /// Whether it has ended.
    pub fn is_finished(&self) -> bool {
        self.0.is_finished()
    }
}

impl<T> Future for Task<T> {
    type Output = Result<T, TaskError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx).map(|joined| match joined {
            Ok(ended) => ended.map_err(TaskError::Panicked),
            // Panics are caught inside of the task, so this is the abort.
            Err(_aborted) => Err(TaskError::Aborted),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(5);

    #[tokio::test]
    async fn draining_cancels_and_waits_for_the_groups_below() {
        let all = Supervisor::new("all");
        let below = all.group("below");
        let token = below.token().clone();
        let task = below.spawn("waits", async move {
            token.cancelled().await;
            7
        });
        assert_eq!((all.running(), below.running()), (1, 1));
        all.drain(SOON).await.unwrap();
        assert!(task.is_finished());
        assert_eq!(task.await, Ok(7));
        assert_eq!(all.running(), 0);
    }

    #[tokio::test]
    async fn a_panic_ends_its_group_alone_and_is_told_above() {
        let all = Supervisor::new("all");
        let part = all.group("part");
        let failed = part.spawn("bad", async { panic!("no {}", "luck") }).await;
        let Err(TaskError::Panicked(panic)) = failed else {
            panic!("no panic: {failed:?}")
        };
        assert_eq!(panic.to_string(), "task all/part/bad panicked: no luck");
        assert!(part.token().is_cancelled());
        assert!(!all.token().is_cancelled());
        let error = all.drain(SOON).await.unwrap_err();
        assert_eq!(error.panics(), [panic]);
        assert_eq!(
            error.to_string(),
            "all did not end well: task all/part/bad panicked: no luck"
        );
    }

    #[tokio::test]
    async fn blocking_tasks_are_waited_for_and_their_panics_surface() {
        let all = Supervisor::new("all");
        let (go, wait) = std::sync::mpsc::channel::<()>();
        let waiting = all.spawn_blocking("waits", move || wait.recv().is_ok());
        let bad = all.spawn_blocking("bad", || panic!("odd"));
        assert!(matches!(bad.await, Err(TaskError::Panicked(_))));
        assert_eq!(all.running(), 1);
        go.send(()).unwrap();
        assert_eq!(waiting.await, Ok(true));
        assert_eq!(all.drain(SOON).await.unwrap_err().panics().len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn what_does_not_end_in_time_is_named_and_aborted() {
        let all = Supervisor::new("all");
        let task = all.spawn("deaf", std::future::pending::<()>());
        let error = all.drain(SOON).await.unwrap_err();
        assert_eq!(error.stuck(), ["all/deaf"]);
        assert_eq!(task.await, Err(TaskError::Aborted));
        assert_eq!(all.running(), 0);
    }

    #[tokio::test]
    async fn an_aborted_task_leaves_its_group() {
        let all = Supervisor::new("all");
        let task = all.spawn("long", std::future::pending::<()>());
        task.abort();
        assert_eq!(task.await, Err(TaskError::Aborted));
        all.idle().await;
    }
}
