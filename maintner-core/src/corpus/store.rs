//! The handle: one writer behind a lock, a published view in front of it.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use rayon::{ThreadPool, ThreadPoolBuilder};

use super::apply::{State, Touched};
use super::checkpoint::Checkpoints;
use super::keeper::Keeper;
use super::load::{continues, load};
use super::{Options, View};
use crate::follow::{Change, Changes, Watch};
use crate::log::{LogPosition, Segment};
use crate::source::{DiskSource, MutationSource, Rewrites};
use crate::{Error, Result};

/// A log that changes while it is listed or read is looked at again, so often.
const TRIES: usize = 5;
/// How long the first question has the disk for itself.
const BEFORE_READING_AHEAD: Duration = Duration::from_millis(3);
/// How long the first questions share it with nothing but what a walk over issues needs.
const BEFORE_CHECK: Duration = Duration::from_millis(50);

/// A project's history in memory. Clones are handles to the same corpus.
///
/// ```
/// use maintner_core::{Corpus, Options, source::MemoryLog};
///
/// let log = MemoryLog::new();
/// let corpus = Corpus::load(log, Options::default())?;
/// assert_eq!(corpus.view().github().repos().count(), 0);
/// # Ok::<(), maintner_core::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Corpus {
    shared: Arc<Shared>,
}

pub(crate) struct Shared {
    published: ArcSwap<State>,
    writer: Mutex<Writer>,
    pub(crate) source: Box<dyn MutationSource>,
    pub(crate) watch: Watch,
    options: Options,
    pool: Option<ThreadPool>,
    /// End of the log when it was last read, an incomplete last record included.
    read_end: AtomicU64,
    /// How often the source had rolled its log back then.
    read_epoch: AtomicU64,
    from_snapshot: AtomicBool,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared")
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

#[derive(Debug, Default)]
struct Writer {
    state: State,
    /// As they were when the state was loaded.
    segments: Vec<Segment>,
    /// How often the source had rolled its log back when it was read.
    epoch: u64,
    /// Earlier states, to which a log that is rolled back leads.
    checkpoints: Checkpoints,
    keeper: Keeper,
}

/// The log of a source as it was at one time.
struct Listing {
    segments: Vec<Segment>,
    epoch: u64,
    /// How much of what was read is still in it; all, when nothing is said.
    survived: Option<LogPosition>,
}

impl Corpus {
    /// Loads the log in a folder.
    ///
    /// # Errors
    /// When the folder is no log or the log is damaged. A last record that is cut short is not
    /// damage: somebody may be writing it.
    pub fn open(folder: impl AsRef<Path>) -> Result<Self> {
        Self::open_with(folder, Options::default())
    }

    /// Loads the log in a folder in a particular way.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_with(folder: impl AsRef<Path>, options: Options) -> Result<Self> {
        Self::load(DiskSource::new(folder), options)
    }

    /// Loads a log from anywhere.
    ///
    /// # Errors
    /// When the source cannot be read or the log is damaged.
    pub fn load(source: impl MutationSource + 'static, options: Options) -> Result<Self> {
        let pool = match options.workers {
            0 => None,
            workers => Some(thread_pool(workers)?),
        };
        let shared = Shared {
            published: ArcSwap::default(),
            writer: Mutex::default(),
            source: Box::new(source),
            watch: Watch::default(),
            options,
            pool,
            read_end: AtomicU64::new(0),
            read_epoch: AtomicU64::new(0),
            from_snapshot: AtomicBool::new(false),
        };
        shared.start()?;
        let shared = Arc::new(shared);
        check_later(&shared);
        Ok(Self { shared })
    }

    /// The corpus as it is now. Costs a reference count; never waits for the writer.
    pub fn view(&self) -> View {
        self.shared.view()
    }

    /// Reads what is new in the log and publishes it, all at once.
    ///
    /// Returns what changed, or nothing when the log is as it was. Should the log have been
    /// rewritten, the corpus goes back to a state from before that and on from there (or is
    /// loaded anew, when it remembers none), and the change says so. Blocks other writers,
    /// never readers; on an error the corpus stays as it was.
    ///
    /// # Errors
    /// When the log cannot be read or is damaged.
    pub fn update(&self) -> Result<Option<Change>> {
        self.shared.update()
    }

    /// Writes a snapshot of the present state to a file, from which a corpus of the same log
    /// can start: see [`Options::snapshot_file`]. Usually this happens by itself.
    ///
    /// # Errors
    /// As [`check_snapshot`](Self::check_snapshot), or when the file cannot be written; it is
    /// then as it was before.
    pub fn save_snapshot(&self, path: impl AsRef<Path>) -> Result<()> {
        self.check_snapshot()?;
        let mut writer = self.shared.lock();
        let Writer {
            state,
            segments,
            keeper,
            ..
        } = &mut *writer;
        keeper.save(path.as_ref(), state, segments)
    }

    /// Whether the corpus started from a snapshot rather than by reading the whole log.
    pub fn started_from_snapshot(&self) -> bool {
        self.shared.from_snapshot.load(Ordering::Relaxed)
    }

    /// Waits until the snapshot that the corpus started from was compared with its checksums.
    ///
    /// A corpus opens at once and makes this comparison in the background, a moment later. A
    /// file that was damaged on the disk can give wrong answers until then. When damage is
    /// found, the corpus is loaded from the log and published as a reset. Returns whether the
    /// snapshot was sound or there was none.
    ///
    /// # Errors
    /// When the snapshot is damaged and the log cannot be loaded either.
    pub fn check_snapshot(&self) -> Result<bool> {
        self.shared.check_snapshot()
    }

    /// The stream of changes from now on. While one exists, a thread looks for new data.
    pub fn follow(&self) -> Changes {
        Changes::new(&self.shared)
    }
}

/// Reads ahead and checks the snapshot in the background; when there is none, nothing.
fn check_later(shared: &Arc<Shared>) {
    let Some(check) = shared.lock().keeper.check() else {
        return;
    };
    let (weak, state) = (Arc::downgrade(shared), shared.published.load_full());
    std::thread::spawn(move || {
        if !check.rest(BEFORE_READING_AHEAD) {
            return;
        }
        state.github.prefetch();
        drop(state);
        if !check.rest(BEFORE_CHECK) || check.is_sound().is_none() {
            return;
        }
        if let Some(shared) = weak.upgrade()
            && let Err(error) = shared.check_snapshot()
        {
            shared.watch.fail(error);
        }
    });
}

fn thread_pool(workers: usize) -> Result<ThreadPool> {
    ThreadPoolBuilder::new()
        .num_threads(workers)
        .build()
        .map_err(|error| {
            Error::io("start threads for", Path::new("corpus"))(std::io::Error::other(error))
        })
}

impl Shared {
    pub(crate) fn view(&self) -> View {
        View::new(self.published.load_full())
    }

    /// The first load: from the snapshot, if there is one, and what the log has beyond it.
    fn start(&self) -> Result<()> {
        let mut writer = self.lock();
        let segments = self.list(&writer)?.segments;
        writer.keeper = Keeper::new(&self.options.snapshot, &segments);
        let keeper = &mut writer.keeper;
        if let Some(mut state) = self.install(|| keeper.open(&segments)) {
            self.from_snapshot.store(true, Ordering::Relaxed);
            self.publish(&mut state, Touched::default(), true);
            writer.state = state;
        }
        self.catch_up(&mut writer).map(drop)
    }

    pub(crate) fn update(&self) -> Result<Option<Change>> {
        let mut writer = self.lock();
        self.catch_up(&mut writer)
    }

    /// Lists and reads the log; again, when it was rolled back or a file was renamed meanwhile.
    /// Listed under the lock: an older list would look like a log that was cut.
    fn catch_up(&self, writer: &mut Writer) -> Result<Option<Change>> {
        let mut tries = 1;
        loop {
            let listing = self.list(writer)?;
            match self.advance(writer, listing) {
                Err(error) if tries < TRIES && is_in_motion(&error) => tries += 1,
                done => return done,
            }
        }
    }

    /// The segments, all of one time.
    fn list(&self, writer: &Writer) -> Result<Listing> {
        loop {
            let Rewrites { epoch, survived } = self.source.rewrites(writer.epoch);
            let segments = self.source.segments()?;
            if self.source.rewrites(epoch).epoch == epoch {
                return Ok(Listing {
                    segments,
                    epoch,
                    survived,
                });
            }
        }
    }

    fn check_snapshot(&self) -> Result<bool> {
        let Some(check) = self.lock().keeper.check() else {
            return Ok(true);
        };
        // Updates go on meanwhile.
        let Some(sound) = check.is_sound() else {
            return Ok(true); // Stopped: it is not in use any more.
        };
        let mut writer = self.lock();
        // Somebody else may have been faster.
        let current = writer.keeper.check();
        if !current.is_some_and(|current| Arc::ptr_eq(&current, &check)) {
            return Ok(sound);
        }
        if sound {
            writer.keeper.trust();
        } else {
            let listing = self.list(&writer)?;
            self.reload(&mut writer, listing)?;
        }
        Ok(sound)
    }

    /// Loads everything again, from the log.
    fn reload(&self, writer: &mut Writer, listing: Listing) -> Result<Option<Change>> {
        self.start_over(writer, State::default(), listing)
    }

    /// Goes on from the newest remembered state of which everything is still in the log.
    fn roll_back(
        &self,
        writer: &mut Writer,
        common: LogPosition,
        listing: Listing,
    ) -> Result<Option<Change>> {
        let state = writer.checkpoints.newest_at(common.bytes());
        let state = state.map_or_else(State::default, |state| State::clone(&state));
        self.start_over(writer, state, listing)
    }

    fn start_over(
        &self,
        writer: &mut Writer,
        state: State,
        listing: Listing,
    ) -> Result<Option<Change>> {
        let from_log = state.position == 0;
        let state = State {
            generation: writer.state.generation,
            ..state
        };
        let check = writer.keeper.check();
        writer.keeper.forget();
        let position = state.position;
        let done = self.advance_from(writer, state, listing, true);
        match &done {
            Ok(_) => {
                writer.checkpoints.forget_after(position);
                if from_log {
                    self.from_snapshot.store(false, Ordering::Relaxed);
                }
            }
            Err(_) => writer.keeper.doubt(check),
        }
        done
    }

    fn advance(&self, writer: &mut Writer, listing: Listing) -> Result<Option<Change>> {
        let reached = writer.state.position;
        if let Some(common) = listing.survived.filter(|common| common.bytes() < reached) {
            return self.roll_back(writer, common, listing);
        }
        match continues(&writer.state, &writer.segments, &listing.segments) {
            Err(Error::Split { common }) => self.roll_back(writer, common, listing),
            continued => {
                continued?;
                let state = writer.state.clone();
                self.advance_from(writer, state, listing, false)
            }
        }
    }

    fn advance_from(
        &self,
        writer: &mut Writer,
        mut state: State,
        listing: Listing,
        reset: bool,
    ) -> Result<Option<Change>> {
        let Listing {
            segments, epoch, ..
        } = listing;
        let touched = self.install(|| load(&mut state, &segments, &self.options))?;
        if let Some(common) = self.source.rewrites(epoch).survived {
            // What was read may be of two histories.
            return Err(Error::Split { common });
        }
        writer.epoch = epoch;
        self.read_epoch.store(epoch, Ordering::Release);
        self.read_end.store(
            segments.last().map_or(0, |last| last.end().bytes()),
            Ordering::Release,
        );
        writer.segments = segments;
        let touched = if reset {
            Some(touched.unwrap_or_default())
        } else {
            touched
        };
        let change = touched.map(|touched| self.publish(&mut state, touched, reset));
        writer.state = state;
        if change.is_some() {
            let published = self.published.load_full();
            writer.keeper.published(&published, &writer.segments);
            writer.checkpoints.add(published);
        }
        Ok(change)
    }

    /// Whether the log was rolled back since it was read; its end may be where it was.
    pub(crate) fn is_rewritten(&self) -> bool {
        let epoch = self.read_epoch.load(Ordering::Acquire);
        self.source.rewrites(epoch).survived.is_some()
    }

    pub(crate) fn read_end(&self) -> LogPosition {
        LogPosition::new(self.read_end.load(Ordering::Acquire))
    }

    fn publish(&self, state: &mut State, touched: Touched, reset: bool) -> Change {
        if reset {
            state.origin = None;
        }
        state.generation += 1;
        if state.origin.is_none() && state.position > 0 {
            state.origin = Some(Arc::new(state.clone()));
        }
        let published = Arc::new(state.clone());
        self.published.store(Arc::clone(&published));
        let touched = Arc::new(touched);
        self.watch
            .publish(published.generation, Arc::clone(&touched), reset);
        Change::new(View::new(published), touched, reset)
    }

    /// Works on threads of the pool from beginning to end: going there for each part anew would
    /// take longer than a small update.
    fn install<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        match &self.pool {
            Some(pool) => pool.install(work),
            None => rayon::scope(|_| work()),
        }
    }

    /// The writer is replaced as a whole, so a panic elsewhere leaves a whole one.
    fn lock(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether an error may only say that the log was changed while it was read.
fn is_in_motion(error: &Error) -> bool {
    match error {
        Error::Split { .. } => true,
        Error::Io { source, .. } => source.kind() == std::io::ErrorKind::NotFound,
        _ => false,
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let writer = self
            .writer
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner);
        writer.keeper.close(&writer.state, &writer.segments);
    }
}
