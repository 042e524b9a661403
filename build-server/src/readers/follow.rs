//! The driver: one task that reads, commits and calls.

use std::any::Any;
use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use build_core::clock::{Clock, SystemClock, Timestamp};
use build_core::event::Memo;
use build_core::ids::{EffectKey, ReaderName, SinkName};
use build_core::reader::{
    Answer, Call, CallKind, Cursor, Input, Machine, Notice, PAGE_BYTES, PAGE_ITEMS, PageEnds, Step,
    TakeFailure, Taken, memo_prefixes,
};
use build_core::{Error, ErrorKind, Result};
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use tokio::sync::{Mutex, mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::feed::{Feed, FeedPage};
use super::memos::Memos;
use super::outbox::{Outbox, Request, status};
use super::reader::Reader;
use super::sink::{Made, Sink};

/// Questions that wait; more wait at their senders.
const REQUESTS: usize = 16;
/// How long a page, a look or a commit may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks at the clock, which may be set.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);
/// How long what was begun may take once the program is to end.
const DRAIN: Duration = Duration::from_secs(5);

/// What people are told.
type Tell = Arc<dyn Fn(&ReaderName, &Notice) + Send + Sync>;

/// A reader with everything it needs, to be run.
pub struct Follower<R: Reader> {
    name: ReaderName,
    reader: Arc<Mutex<R>>,
    feed: Arc<R::Feed>,
    memos: Arc<dyn Memos>,
    sinks: BTreeMap<SinkName, Arc<dyn Sink>>,
    clock: Arc<dyn Clock>,
    tell: Tell,
    from_end: bool,
    requests: mpsc::Receiver<Request>,
    outbox: Outbox,
    caught_up: watch::Sender<bool>,
}

/// Something that was waited for has happened.
enum Done<T> {
    Changed,
    Fetched(Result<FeedPage<T>>),
    Taken(Result<Taken, TakeFailure>),
    Committed(u64, Result<()>),
    Answered(u64, Answer),
}

type Job<T> = Pin<Box<dyn Future<Output = Done<T>> + Send>>;

impl<R: Reader> Follower<R> {
    /// A reader of a feed that keeps how far it is in `memos`.
    pub fn new(reader: R, feed: R::Feed, memos: Arc<dyn Memos>) -> Self {
        let name = reader.name().clone();
        let (sender, requests) = mpsc::channel(REQUESTS);
        let (caught_up, news) = watch::channel(false);
        Self {
            outbox: Outbox::new(name.clone(), sender, news),
            name,
            reader: Arc::new(Mutex::new(reader)),
            feed: Arc::new(feed),
            memos,
            sinks: BTreeMap::new(),
            clock: Arc::new(SystemClock),
            tell: Arc::new(|reader, notice| tracing::warn!(%reader, "{notice}")),
            from_end: false,
            requests,
            caught_up,
        }
    }

    /// Without a cursor it begins at the end of the feed: what was before is nobody's news. The
    /// default begins at the beginning.
    #[must_use]
    pub fn from_end(mut self) -> Self {
        self.from_end = true;
        self
    }

    /// Adds where effects to `name` go. An effect to a name that nobody added is given up.
    #[must_use]
    pub fn sink(self, name: SinkName, sink: impl Sink) -> Self {
        self.any_sink(name, Arc::new(sink))
    }

    /// As [`Follower::sink`], for one that several readers share.
    #[must_use]
    pub fn any_sink(mut self, name: SinkName, sink: Arc<dyn Sink>) -> Self {
        self.sinks.insert(name, sink);
        self
    }

    /// Sets where it learns what time it is.
    #[must_use]
    pub fn clock(self, clock: impl Clock + 'static) -> Self {
        self.any_clock(Arc::new(clock))
    }

    /// As [`Follower::clock`], for one that others go by too.
    #[must_use]
    pub fn any_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Sets how people are told of what was given up. The default writes a warning to the log.
    #[must_use]
    pub fn tell(mut self, tell: impl Fn(&ReaderName, &Notice) + Send + Sync + 'static) -> Self {
        self.tell = Arc::new(tell);
        self
    }

    /// Its outbox, to look at and to decide about.
    pub fn outbox(&self) -> Outbox {
        self.outbox.clone()
    }

    /// Reads and acts until `stop`. What was begun then gets a few seconds; of what does not end
    /// in that time the next run finds out.
    ///
    /// # Errors
    /// When what it kept cannot be read: a reader does not begin anew because of that.
    pub async fn run(mut self, stop: CancellationToken) -> Result<()> {
        let mut run = self.begin().await?;
        run.tell(Input::Changed);
        let mut ends = None;
        loop {
            run.watch_feed();
            let idle = run.machine.is_caught_up();
            self.caught_up
                .send_if_modified(|was| std::mem::replace(was, idle) != idle);
            if ends.is_some() && run.machine.is_idle() {
                return Ok(());
            }
            let sleep = run.sleep();
            tokio::select! {
                () = stop.cancelled(), if ends.is_none() => {
                    ends = Some(tokio::time::Instant::now() + DRAIN);
                    run.tell(Input::Stop);
                }
                () = tokio::time::sleep_until(ends.unwrap_or_else(tokio::time::Instant::now)),
                    if ends.is_some() => return Ok(()),
                Some(done) = run.jobs.next(), if !run.jobs.is_empty() => run.done(done),
                () = tokio::time::sleep(sleep) => {
                    // It is wished for again, if it still is.
                    run.wake = None;
                    run.tell(Input::Tick);
                }
                Some(request) = self.requests.recv() => run.answer(request),
            }
        }
    }

    async fn begin(&self) -> Result<Run<R>> {
        let name = self.name.clone();
        let doing = |e: Error| e.while_doing(format!("start reader {name}"));
        let prefixes = memo_prefixes(&self.name);
        let memos = self.memos.load(&prefixes).await.map_err(doing)?;
        let now = self.clock.now();
        let mut reader = self.reader.lock().await;
        let on_poison = reader.on_poison();
        let restored = Machine::restore(self.name.clone(), on_poison, &memos, now);
        let mut machine = restored.map_err(doing)?;
        if self.from_end && machine.is_new() {
            machine.begin_at(self.feed.end().await.map_err(doing)?, now);
        }
        reader
            .resume(machine.state().cloned())
            .await
            .map_err(doing)?;
        Ok(Run {
            machine,
            reader: self.reader.clone(),
            feed: self.feed.clone(),
            memos: self.memos.clone(),
            sinks: self.sinks.clone(),
            clock: self.clock.clone(),
            tell_people: self.tell.clone(),
            jobs: FuturesUnordered::new(),
            page: Arc::new(Vec::new()),
            wake: None,
            watched: None,
        })
    }
}

/// A reader that runs.
struct Run<R: Reader> {
    machine: Machine,
    reader: Arc<Mutex<R>>,
    feed: Arc<R::Feed>,
    memos: Arc<dyn Memos>,
    sinks: BTreeMap<SinkName, Arc<dyn Sink>>,
    clock: Arc<dyn Clock>,
    tell_people: Tell,
    jobs: FuturesUnordered<Job<Item<R>>>,
    page: Arc<Vec<Item<R>>>,
    wake: Option<Timestamp>,
    /// Behind what it waits for more.
    watched: Option<Cursor>,
}

type Item<R> = <<R as Reader>::Feed as Feed>::Item;

impl<R: Reader> Run<R> {
    fn tell(&mut self, input: Input) {
        let steps = self.machine.handle(input, self.clock.now());
        for step in steps {
            match step {
                Step::Fetch { after } => self.fetch(after),
                Step::Take { from, to } => self.take(from, to),
                Step::Commit { batch, memos } => self.commit(batch, memos),
                Step::Call(call) => self.call(call),
                Step::WakeAt(at) => self.wake = Some(at),
                Step::Tell(notice) => (self.tell_people)(self.machine.name(), &notice),
                // Nothing else is known, and not doing it is not losing it.
                other => tracing::error!(step = ?other, "a reader's step is not known"),
            }
        }
    }

    fn sleep(&self) -> Duration {
        let wake = self.wake.map(|at| at.since(self.clock.now()));
        wake.unwrap_or(LONGEST_SLEEP).min(LONGEST_SLEEP)
    }

    fn done(&mut self, done: Done<Item<R>>) {
        let input = match done {
            Done::Changed => {
                self.watched = None;
                Input::Changed
            }
            Done::Fetched(Ok(page)) => Input::Fetched(self.keep(page)),
            Done::Fetched(Err(error)) => {
                Input::FetchFailed(format!("cannot read on: {}", error.chain()))
            }
            Done::Taken(Ok(taken)) => Input::Taken(taken),
            Done::Taken(Err(failure)) => Input::TakeFailed(failure),
            Done::Committed(batch, Ok(())) => Input::Committed { batch },
            Done::Committed(batch, Err(error)) => {
                let text = error.chain().to_string();
                Input::CommitFailed { batch, text }
            }
            Done::Answered(call, answer) => Input::Answered { call, answer },
        };
        self.tell(input);
    }

    fn keep(&mut self, page: FeedPage<Item<R>>) -> PageEnds {
        let (ends, items) = page.items.into_iter().unzip();
        self.page = Arc::new(items);
        PageEnds {
            ends,
            next: page.next,
            is_last: page.is_last,
            is_reset: page.is_reset,
        }
    }

    /// At the end of the feed: waits for more.
    fn watch_feed(&mut self) {
        if !self.machine.is_at_end() || self.watched.is_some() {
            return;
        }
        let at = self.machine.place().cursor.clone();
        self.watched = Some(at.clone());
        let feed = self.feed.clone();
        self.jobs.push(Box::pin(async move {
            feed.changed(&at).await;
            Done::Changed
        }));
    }

    fn fetch(&mut self, after: Cursor) {
        let feed = self.feed.clone();
        self.jobs.push(Box::pin(async move {
            let fetch = feed.after(&after, PAGE_ITEMS, PAGE_BYTES);
            Done::Fetched(within(PATIENCE, "read a page", fetch).await)
        }));
    }

    fn take(&mut self, from: usize, to: usize) {
        let (reader, page) = (self.reader.clone(), self.page.clone());
        self.jobs.push(Box::pin(async move {
            let mut reader = reader.lock().await;
            let Some(items) = page.get(from..to) else {
                let text = "a page has fewer items than it said".into();
                return Done::Taken(Err(TakeFailure::Failed(text)));
            };
            let taking = within(PATIENCE, "look at a page", reader.take(items));
            Done::Taken(match AssertUnwindSafe(taking).catch_unwind().await {
                Ok(Ok(taken)) => Ok(taken),
                Ok(Err(error)) => Err(failure(&error)),
                Err(panic) => Err(TakeFailure::Panicked(text_of(&*panic))),
            })
        }));
    }

    fn commit(&mut self, batch: u64, memos: Vec<Memo>) {
        let store = self.memos.clone();
        self.jobs.push(Box::pin(async move {
            let saved = within(PATIENCE, "write memos", store.save(memos)).await;
            Done::Committed(batch, saved)
        }));
    }

    fn call(&mut self, call: Box<Call>) {
        let sink = self.sinks.get(&call.effect.to).cloned();
        self.jobs.push(Box::pin(async move {
            let asks = call.kind == CallKind::Ask;
            let Some(sink) = sink else {
                let text = format!("there is no sink called {}", call.effect.to);
                return Done::Answered(call.number, Answer::Refused(text));
            };
            let calling = async {
                match asks {
                    true => sink.is_made(&call).await,
                    false => sink.make(&call).await,
                }
            };
            let limit = sink.deadline();
            let calling = AssertUnwindSafe(tokio::time::timeout(limit, calling));
            let made = match calling.catch_unwind().await {
                Ok(Ok(made)) => made,
                Ok(Err(_)) => {
                    let text = format!("no answer within {} s", limit.as_secs());
                    Made::Perhaps(text.into())
                }
                Err(panic) => {
                    let text = format!("the sink panicked: {}", text_of(&*panic));
                    Made::Perhaps(text.into())
                }
            };
            Done::Answered(call.number, made.answer(asks))
        }));
    }

    fn answer(&mut self, request: Request) {
        // Whoever does not wait for the answer does not need it.
        match request {
            Request::Status(answer) => {
                let _gone = answer.send(status(&self.machine));
            }
            Request::Retry { key, until, answer } => {
                let count = self.count_given_up(key.as_ref());
                let stopped = self.machine.place().stopped.is_some() && key.is_none();
                if count.is_ok() || stopped {
                    self.tell(Input::Retry { key, until });
                }
                let _gone = answer.send(count.or_else(|e| if stopped { Ok(0) } else { Err(e) }));
            }
            Request::Forget { key, answer } => {
                let count = self.count_given_up(Some(&key));
                if count.is_ok() {
                    self.tell(Input::Forget { key });
                }
                let _gone = answer.send(count);
            }
            Request::Park { end } => self.tell(Input::Park { end }),
        }
    }

    fn count_given_up(&self, key: Option<&EffectKey>) -> Result<usize> {
        let given_up = self.machine.given_up();
        let count = given_up.filter(|entry| key.is_none_or(|key| *key == entry.effect.key));
        match (count.count(), key) {
            (0, Some(key)) => {
                let text = format!("{} has given up nothing called {key}", self.machine.name());
                Err(Error::new(ErrorKind::NotFound, text)
                    .with_hint("`farmer outbox list` shows what it has"))
            }
            (count, _) => Ok(count),
        }
    }
}

/// Waits for something with an end.
async fn within<T>(
    limit: Duration,
    doing: &str,
    what: impl Future<Output = Result<T>>,
) -> Result<T> {
    match tokio::time::timeout(limit, what).await {
        Ok(done) => done,
        Err(_) => {
            let text = format!("could not {doing} within {} s", limit.as_secs());
            Err(Error::new(ErrorKind::TimedOut, text))
        }
    }
}

fn failure(error: &Error) -> TakeFailure {
    let text = error.chain().to_string();
    match error.kind().is_retryable() {
        true => TakeFailure::NotNow(text),
        false => TakeFailure::Failed(text),
    }
}

/// What a panic said.
fn text_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("without a text").to_owned()
}
