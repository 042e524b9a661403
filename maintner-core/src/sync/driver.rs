//! The loop around readers: write, publish, step again.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use super::{Control, HostReader, HostState, Step, SyncError};
use crate::pb::Mutation;
use crate::source::MutationSink;
use crate::{Corpus, View};

/// Shortest pause between two looks at a host that should have news and shows none.
const FIRST_DOUBT: Duration = Duration::from_secs(1);

/// The log and the corpus that is read from it: what is written is durable, then visible.
pub struct Writer {
    inner: Mutex<Box<dyn MutationSink>>,
    corpus: Corpus,
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer")
            .field("corpus", &self.corpus)
            .finish_non_exhaustive()
    }
}

impl Writer {
    /// Writes to `sink`, which `corpus` reads.
    pub fn new(sink: impl MutationSink + 'static, corpus: Corpus) -> Self {
        Self {
            inner: Mutex::new(Box::new(sink)),
            corpus,
        }
    }

    /// The corpus.
    pub fn corpus(&self) -> &Corpus {
        &self.corpus
    }

    /// The newest view.
    pub fn view(&self) -> View {
        self.corpus.view()
    }

    /// Appends, and publishes what was appended.
    ///
    /// # Errors
    /// When the log cannot be written or read.
    pub fn write(&self, mutations: &[Mutation]) -> Result<(), SyncError> {
        // A writer that failed half-way says so itself at the next call.
        let mut sink = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        sink.append_mutations(mutations)?;
        drop(sink);
        self.corpus.update()?;
        Ok(())
    }
}

/// How often hosts are looked at.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Between two looks at a host that says nothing by itself.
    pub every: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            every: Duration::from_secs(15 * 60),
        }
    }
}

/// Brings the corpus in step with one host; how many mutations that took.
///
/// # Errors
/// Those of the reader and of the log; [`SyncError::Stopped`] when told to stop. What was
/// written stays written, and the next call goes on from there.
pub fn sync_once(
    reader: &mut dyn HostReader,
    writer: &Writer,
    control: &Control,
) -> Result<u64, SyncError> {
    let name = reader.name().to_owned();
    control.update(&name, |status| {
        status.state = HostState::Syncing;
        status.began.get_or_insert_with(SystemTime::now);
    });
    let done = steps(reader, writer, control, &name);
    if done.is_err() {
        // What was handed out and not written is to be found again.
        reader.restart(false);
    }
    control.update(&name, |status| {
        status.progress = reader.progress();
        match &done {
            Ok(_) => {
                status.state = HostState::InStep;
                status.in_step = Some(SystemTime::now());
                status.error = None;
            }
            Err(SyncError::Stopped) => {}
            Err(error) => {
                status.state = HostState::Failing;
                status.error = Some(full_text(error));
            }
        }
    });
    done
}

fn steps(
    reader: &mut dyn HostReader,
    writer: &Writer,
    control: &Control,
    name: &str,
) -> Result<u64, SyncError> {
    let mut written = 0;
    loop {
        if control.is_stopped() {
            return Err(SyncError::Stopped);
        }
        let step = reader.step(&writer.view())?;
        let state = match step {
            Step::Wait(_) => HostState::Waiting,
            _ => HostState::Syncing,
        };
        control.update(name, |status| {
            status.state = state;
            status.progress = reader.progress();
        });
        match step {
            Step::Write(mutations) => {
                writer.write(&mutations)?;
                let count = mutations.len() as u64;
                written += count;
                control.update(name, |status| status.mutations += count);
            }
            Step::Again => {}
            Step::Wait(patience) => control.wait(None, patience),
            Step::Done => return Ok(written),
        }
    }
}

/// An error with its causes, as one line.
pub(super) fn full_text(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// Keeps the corpus in step with all hosts until `control` is stopped. Each has a thread of its
/// own; all have ended when this returns. A host that fails is tried again.
pub fn keep_in_sync(
    readers: Vec<Box<dyn HostReader>>,
    writer: &Writer,
    control: &Control,
    options: Options,
) {
    std::thread::scope(|scope| {
        for mut reader in readers {
            scope.spawn(move || keep(&mut *reader, writer, control, options));
        }
    });
}

fn keep(reader: &mut dyn HostReader, writer: &Writer, control: &Control, options: Options) {
    let name = reader.name().to_owned();
    // Set while a wake-up has not shown any news yet: hosts announce before they list.
    let mut doubt: Option<Duration> = None;
    let mut woken = control.take(&name);
    while !control.is_stopped() {
        if woken {
            doubt = Some(FIRST_DOUBT);
        }
        reader.restart(doubt.is_some());
        let pause = match sync_once(reader, writer, control) {
            Ok(written) => {
                doubt = doubt.filter(|_| written == 0);
                let pause = doubt.unwrap_or(options.every).min(options.every);
                doubt = doubt
                    .map(|pause| pause * 2)
                    .filter(|&pause| pause < options.every);
                reader.due().map_or(pause, |due| pause.min(due))
            }
            Err(error) => error.pause().min(options.every),
        };
        control.wait(Some(&name), pause);
        woken = control.take(&name);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::source::MemoryLog;
    use crate::sync::Progress;
    use crate::{Options as Loading, pb};

    /// A host with a few tombstones, one more after each look.
    struct Host {
        count: Arc<AtomicU32>,
        fail: bool,
    }

    impl HostReader for Host {
        fn name(&self) -> &str {
            "test:host"
        }

        fn step(&mut self, view: &View) -> Result<Step, SyncError> {
            if std::mem::take(&mut self.fail) {
                return Err(SyncError::Unreachable {
                    request: "GET /".into(),
                    reason: "cut".into(),
                });
            }
            let repo = view.github().try_repo("o", "r");
            let known = repo.map_or(0, |repo| repo.issues().with_tombstones().count());
            if known as u32 >= self.count.load(Ordering::Relaxed) {
                return Ok(Step::Done);
            }
            let issue = pb::GithubIssueMutation {
                owner: "o".into(),
                repo: "r".into(),
                number: known as i32 + 1,
                not_exist: true,
                ..Default::default()
            };
            Ok(Step::Write(vec![Mutation {
                github_issue: Some(issue),
                ..Default::default()
            }]))
        }

        fn restart(&mut self, _expected: bool) {}

        fn progress(&self) -> Progress {
            Progress::default()
        }
    }

    fn writer() -> Writer {
        let log = MemoryLog::new();
        let corpus = Corpus::load(log.clone(), Loading::default()).unwrap();
        Writer::new(log, corpus)
    }

    #[test]
    fn every_step_sees_what_the_last_one_wrote() {
        let writer = writer();
        let mut host = Host {
            count: Arc::new(AtomicU32::new(3)),
            fail: false,
        };
        assert_eq!(sync_once(&mut host, &writer, &Control::new()).unwrap(), 3);
        assert_eq!(sync_once(&mut host, &writer, &Control::new()).unwrap(), 0);
        let repo = writer.view();
        let repo = repo.github().try_repo("o", "r").unwrap();
        assert_eq!(repo.issues().with_tombstones().count(), 3);
    }

    #[test]
    fn a_wake_up_is_followed_and_a_failure_shown_and_retried() {
        let (writer, control) = (writer(), Control::new());
        let count = Arc::new(AtomicU32::new(1));
        let host = Host {
            count: Arc::clone(&count),
            fail: true,
        };
        std::thread::scope(|scope| {
            scope.spawn(|| {
                keep_in_sync(vec![Box::new(host)], &writer, &control, Options::default());
            });
            let mut changes = writer.corpus().follow();
            while control
                .hosts()
                .get("test:host")
                .is_none_or(|h| h.error.is_none())
            {
                std::thread::yield_now();
            }
            let error = control.hosts()["test:host"].error.clone().unwrap();
            assert!(error.contains("GET /"), "{error}");
            control.wake("test:host");
            let first = changes.wait(Duration::from_secs(60)).unwrap().unwrap();
            assert_eq!(first.issues().count(), 1);
            count.store(2, Ordering::Relaxed);
            control.wake("test:host");
            let second = changes.wait(Duration::from_secs(60)).unwrap().unwrap();
            assert!(second.issues().any(|issue| issue.number() == 2));
            control.stop();
        });
        assert_eq!(control.hosts()["test:host"].mutations, 2);
    }
}
