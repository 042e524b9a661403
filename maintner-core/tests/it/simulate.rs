//! A week of a log's life under a seed: two writers with an object store between them, a
//! server, followers; crashes, cuts, full stores, lost answers, torn uploads, clock jumps. No
//! network, no disk, no clock. (Full disks below a folder: `damage.rs`.)
//!
//! `MAINTNER_SIM_SEEDS=10000` runs more seeds, `MAINTNER_SIM_FIRST` begins elsewhere.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_executor::block_on;
use maintner_core::log::{LogPosition, Records, Segment, SegmentName, Sha224Hex, encode_record};
use maintner_core::netlog::{
    Answer, Append, Ask, EventReader, Follower, Ledger, LocalLog, Snapshot,
};
use maintner_core::objstore::{Object, ObjectError, ObjectLog, Objects, Owner};
use maintner_core::source::{MutationSource, Rewrites};
use maintner_core::{Corpus, Result};
use prost::Message as _;

use crate::net::{fingerprint, issue, load};

/// A fault that a checker must find, because nothing in the product would repair it.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Bug {
    None,
    /// The server leaves a record out.
    LostPage,
    /// The server says a record twice.
    DoubledEvent,
    /// The store lets two writers make the same manifest.
    ForgottenFence,
}

/// SplitMix64.
#[derive(Debug, Clone)]
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

/// The store, as one process sees it.
#[derive(Debug, Clone)]
struct Store {
    objects: Arc<Mutex<BTreeMap<String, (Bytes, i64)>>>,
    rng: Arc<Mutex<Rng>>,
    /// Operations until the process dies in the middle of one.
    life: Arc<Mutex<Option<u64>>>,
    /// What goes wrong with the next writes, while the process lives.
    trouble: Arc<Mutex<Vec<Trouble>>>,
    fenced: bool,
}

/// What can go wrong with a write.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Trouble {
    /// There is no room.
    Full,
    /// It is done, and the answer is lost.
    Unanswered,
}

fn unwritten() -> ObjectError {
    ObjectError::Store {
        action: "write",
        name: "it: full, or no answer".to_owned(),
        source: "trouble".into(),
    }
}

/// Whether the process lives on after this error.
fn lives_on(error: &ObjectError) -> bool {
    matches!(
        error,
        ObjectError::Store {
            action: "write",
            ..
        }
    )
}

fn dead() -> ObjectError {
    ObjectError::Store {
        action: "reach",
        name: "it: the process died".to_owned(),
        source: "crash".into(),
    }
}

impl Store {
    /// Lets others run, then tells whether the process dies in this operation.
    async fn begin(&self) -> Result<bool, ObjectError> {
        while self.rng.lock().unwrap().one_in(2) {
            yield_now().await;
        }
        let mut life = self.life.lock().unwrap();
        match &mut *life {
            None => Ok(false),
            Some(0) => Err(dead()),
            Some(left) => {
                *left -= 1;
                Ok(*left == 0)
            }
        }
    }

    fn end(dying: bool) -> Result<(), ObjectError> {
        if dying { Err(dead()) } else { Ok(()) }
    }

    fn trouble(&self) -> Option<Trouble> {
        self.trouble.lock().unwrap().pop()
    }

    fn insert(&self, name: &str, bytes: Bytes) {
        let mut objects = self.objects.lock().unwrap();
        let time = objects.values().map(|(_, time)| *time).max().unwrap_or(0) + 1;
        objects.insert(name.to_owned(), (bytes, time));
    }
}

async fn yield_now() {
    let mut yielded = false;
    std::future::poll_fn(|context| {
        if std::mem::replace(&mut yielded, true) {
            return std::task::Poll::Ready(());
        }
        context.waker().wake_by_ref();
        std::task::Poll::Pending
    })
    .await;
}

impl Objects for Store {
    async fn list(&self) -> Result<Vec<Object>, ObjectError> {
        let dying = self.begin().await?;
        Self::end(dying)?;
        let objects = self.objects.lock().unwrap();
        let all = objects.iter().map(|(name, (bytes, modified))| Object {
            name: name.clone(),
            size: bytes.len() as u64,
            modified: *modified,
        });
        Ok(all.collect())
    }

    async fn get(&self, name: &str) -> Result<Option<Bytes>, ObjectError> {
        let dying = self.begin().await?;
        Self::end(dying)?;
        let objects = self.objects.lock().unwrap();
        Ok(objects.get(name).map(|(bytes, _)| bytes.clone()))
    }

    async fn put(&self, name: &str, bytes: Bytes) -> Result<(), ObjectError> {
        let dying = self.begin().await?;
        let trouble = self.trouble();
        if dying || trouble == Some(Trouble::Full) {
            // A torn upload, in a store that shows such.
            let kept = self.rng.lock().unwrap().below(bytes.len() as u64 + 1);
            let known = self.objects.lock().unwrap().contains_key(name);
            if !known {
                self.insert(name, bytes.slice(..kept as usize));
            }
        } else {
            self.insert(name, bytes);
        }
        Self::end(dying)?;
        trouble.map_or(Ok(()), |_| Err(unwritten()))
    }

    async fn create(&self, name: &str, bytes: Bytes) -> Result<bool, ObjectError> {
        let dying = self.begin().await?;
        let trouble = self.trouble();
        if !dying && trouble == Some(Trouble::Full) {
            return Err(unwritten());
        }
        let free = !self.fenced || !self.objects.lock().unwrap().contains_key(name);
        // Who dies may or may not have been heard.
        if free && (!dying || self.rng.lock().unwrap().one_in(2)) {
            self.insert(name, bytes);
        }
        Self::end(dying)?;
        trouble.map_or(Ok(free), |_| Err(unwritten()))
    }

    async fn delete(&self, name: &str) -> Result<(), ObjectError> {
        let dying = self.begin().await?;
        self.objects.lock().unwrap().remove(name);
        Self::end(dying)
    }
}

/// Bytes after which a segment is complete.
const TARGET: usize = 250;
/// What happens in one life.
const STEPS: usize = 120;
const LEASE: Duration = Duration::from_secs(30);

/// The durable part of a writer.
#[derive(Debug, Default, Clone)]
struct Disk(Vec<Vec<u8>>);

impl Disk {
    fn append(&mut self, payload: &[u8]) {
        if self
            .0
            .last()
            .is_none_or(|last| last.len() + payload.len() > TARGET)
        {
            self.0.push(Vec::new());
        }
        let last = self.0.last_mut().unwrap();
        let offset = last.len() as u64;
        encode_record(last, offset, payload);
    }

    fn segments(&self) -> Vec<Segment> {
        segments_of(&self.0)
    }

    fn bytes(&self) -> Vec<u8> {
        self.0.concat()
    }
}

fn segments_of(all: &[Vec<u8>]) -> Vec<Segment> {
    let mut base = LogPosition::START;
    let mut segments = Vec::new();
    for (number, bytes) in (0u32..).zip(all) {
        let name = if number as usize + 1 < all.len() {
            SegmentName::Frozen {
                number,
                sha224: Sha224Hex::of(bytes),
            }
        } else {
            SegmentName::Growing { number }
        };
        let segment = Segment::memory(name, base, Bytes::copy_from_slice(bytes));
        base = segment.end();
        segments.push(segment);
    }
    segments
}

struct Writer {
    disk: Disk,
    log: Option<ObjectLog<Store>>,
    ledger: Ledger,
    name: &'static str,
    lives: u64,
}

/// A follower's copy, shared with a corpus.
#[derive(Clone)]
struct Copy(Arc<Mutex<LocalLog>>);

impl MutationSource for Copy {
    fn segments(&self) -> Result<Vec<Segment>> {
        Ok(self.0.lock().unwrap().segments())
    }

    fn wait(&self, _known: LogPosition, _patience: Duration) -> Result<LogPosition> {
        Ok(self.0.lock().unwrap().end())
    }

    fn rewrites(&self, since: u64) -> Rewrites {
        let log = self.0.lock().unwrap();
        Rewrites {
            epoch: log.history().epoch(),
            survived: log.history().survived(since),
        }
    }
}

struct World {
    rng: Rng,
    now: SystemTime,
    store: Store,
    writers: [Writer; 2],
    active: usize,
    followers: Vec<(Follower, Copy)>,
    corpus: Corpus,
    /// Everything that a writer was told is in the store.
    committed: Vec<u8>,
    issues: i32,
    bug: Bug,
    /// What the checker found.
    found: Option<String>,
    takeovers: u64,
    fenced: u64,
    /// Writes that failed while the writer lived.
    unwritten: u64,
}

/// What happened in a life, so that a simulation in which nothing does is noticed.
#[derive(Debug, Default, Clone, Copy, PartialEq)]
struct Events {
    rollbacks: u64,
    takeovers: u64,
    fenced: u64,
    unwritten: u64,
}

impl World {
    fn new(seed: u64, bug: Bug) -> Self {
        let store = Store {
            objects: Arc::default(),
            rng: Arc::new(Mutex::new(Rng(seed ^ 0x5eed))),
            life: Arc::default(),
            trouble: Arc::default(),
            fenced: bug != Bug::ForgottenFence,
        };
        let writer = |name| Writer {
            disk: Disk::default(),
            log: None,
            ledger: Ledger::new(),
            name,
            lives: 0,
        };
        let followers: Vec<_> = (0..3)
            .map(|_| {
                (
                    Follower::new(),
                    Copy(Arc::new(Mutex::new(LocalLog::memory()))),
                )
            })
            .collect();
        let corpus = load(followers[0].1.clone());
        Self {
            rng: Rng(seed),
            now: SystemTime::UNIX_EPOCH + Duration::from_secs(1_600_000_000),
            store,
            writers: [writer("one"), writer("other")],
            active: 0,
            followers,
            corpus,
            committed: Vec::new(),
            issues: 0,
            bug,
            found: None,
            takeovers: 0,
            fenced: 0,
            unwritten: 0,
        }
    }

    fn events(&self) -> Events {
        let epochs = self
            .followers
            .iter()
            .map(|(_, copy)| copy.rewrites(0).epoch);
        Events {
            rollbacks: epochs.sum(),
            takeovers: self.takeovers,
            fenced: self.fenced,
            unwritten: self.unwritten,
        }
    }

    fn step(&mut self) {
        let follower = self.rng.below(3) as usize;
        match self.rng.below(20) {
            0..=3 => self.append(),
            4..=5 => self.refresh(),
            6..=10 => self.ask(follower, true),
            11..=13 => self.tail(follower),
            14 => self.push(true),
            15 => self.advance_clock(),
            16 => self.take_over(),
            17 => self.zombie(),
            18 => {
                // The process of a follower starts again, sometimes without its cache.
                self.followers[follower].0 = Follower::new();
                if follower > 0 && self.rng.one_in(3) {
                    self.followers[follower].1 = Copy(Arc::new(Mutex::new(LocalLog::memory())));
                }
            }
            _ => {
                self.writers[self.active].ledger = Ledger::new();
                self.corpus.update().unwrap();
            }
        }
    }

    fn writer(&mut self) -> &mut Writer {
        &mut self.writers[self.active]
    }

    fn append(&mut self) {
        let now = self.now;
        let may = self
            .writer()
            .log
            .as_ref()
            .is_some_and(|log| log.may_write(now));
        if !may {
            return self.open(self.active, true);
        }
        self.issues += 1;
        let length = self.rng.below(60) as usize;
        let payload = issue(self.issues, &"t".repeat(length)).encode_to_vec();
        self.writer().disk.append(&payload);
    }

    fn refresh(&mut self) {
        let mut segments = self.writer().disk.segments();
        if matches!(self.bug, Bug::LostPage | Bug::DoubledEvent) && segments.len() > 1 {
            segments = sabotage(&segments, self.bug);
        }
        self.writer().ledger.refresh(&segments).unwrap();
    }

    fn snapshot(&mut self) -> Arc<Snapshot> {
        Arc::clone(self.writer().ledger.snapshot())
    }

    /// One question of a follower, with whatever happens on the way.
    fn ask(&mut self, at: usize, faults: bool) {
        let snapshot = self.snapshot();
        let (follower, copy) = &mut self.followers[at];
        let mut log = copy.0.lock().unwrap();
        let rng = &mut self.rng;
        if faults && rng.one_in(4) {
            return; // no answer
        }
        let answer = match follower.next(&log) {
            Ask::Index { wait: Some(sum) } if sum == snapshot.sum() => Answer::Unchanged,
            Ask::Index { .. } => {
                Answer::Index(snapshot.index(|served| format!("/logs/{}", served.number())))
            }
            Ask::Segment {
                number, from, to, ..
            } => match snapshot.find(number) {
                Some(served) if from < served.len() => {
                    let from = if faults && rng.one_in(6) { 0 } else { from };
                    let mut bytes = served.read(from, to).unwrap().to_vec();
                    if faults && rng.one_in(4) {
                        bytes.truncate(rng.below(bytes.len() as u64 + 1) as usize);
                    }
                    if faults && rng.one_in(8) && !bytes.is_empty() {
                        let place = rng.below(bytes.len() as u64) as usize;
                        bytes[place] ^= 4;
                    }
                    Answer::Bytes {
                        from,
                        bytes: bytes.into(),
                    }
                }
                _ => Answer::Gone,
            },
        };
        // What is refused is asked again.
        let _ = follower.feed(&mut log, answer);
    }

    fn tail(&mut self, at: usize) {
        let snapshot = self.snapshot();
        let (follower, copy) = &mut self.followers[at];
        let mut log = copy.0.lock().unwrap();
        let (mut number, mut offset, sha224) = match log.pieces().last() {
            Some(last) => (log.pieces().len() as u32 - 1, last.len(), last.sha224()),
            None => (0, 0, Sha224Hex::of(b"")),
        };
        if !snapshot.agrees(number, offset, sha224).unwrap() {
            follower.ask_at_once();
            return;
        }
        let mut events = EventReader::new();
        let mut batches: Vec<Append> = Vec::new();
        while let Ok(Some((event, next, end))) = snapshot.next_event(number, offset) {
            (number, offset) = (next, end);
            events.feed(&event);
            batches.extend(events.next_append().unwrap());
        }
        for batch in batches.clone() {
            let batch = match self.rng.below(8) {
                0 => continue,           // lost
                1 => batches[0].clone(), // said again
                _ => batch,
            };
            if !follower.tail(&mut log, &batch).unwrap() {
                break;
            }
        }
        follower.ask_at_once();
    }

    /// Opens the store for a writer: what its disk lacks is fetched, then it acquires the log.
    fn open(&mut self, at: usize, faults: bool) {
        let life = faults.then(|| 3 + self.rng.below(30));
        let writer = &mut self.writers[at];
        writer.lives += 1;
        let nonce = writer.lives * 2 + at as u64;
        let owner = Owner::new(writer.name).nonce(nonce).lease(LEASE);
        *self.store.life.lock().unwrap() = life.filter(|_| self.rng.one_in(4));
        let opened = block_on(open(self.store.clone(), owner, &mut writer.disk, self.now));
        *self.store.life.lock().unwrap() = None;
        if let Ok(log) = opened {
            writer.log = Some(log);
            self.writers[1 - at].lives += 1;
            self.active = at;
            self.check_committed(at);
        }
    }

    fn push(&mut self, faults: bool) {
        let at = self.active;
        if self.writers[at].log.is_none() {
            return self.open(at, faults);
        }
        let life = self.rng.below(8);
        *self.store.life.lock().unwrap() = (faults && self.rng.one_in(3)).then_some(life);
        if faults && self.rng.one_in(3) {
            let kinds = [Trouble::Full, Trouble::Unanswered];
            let count = 1 + self.rng.below(3);
            let troubles = (0..count).map(|_| kinds[self.rng.below(2) as usize]);
            *self.store.trouble.lock().unwrap() = troubles.collect();
        }
        let now = self.now;
        let writer = &mut self.writers[at];
        let segments = writer.disk.segments();
        let pushed = block_on(writer.log.as_mut().unwrap().push(&segments, now));
        *self.store.life.lock().unwrap() = None;
        // There is room again, and the network is back.
        self.store.trouble.lock().unwrap().clear();
        match pushed {
            Ok(_) => self.check_committed(at),
            // As the loop that keeps a store up to date: it is pushed again later.
            Err(error) if lives_on(&error) => self.unwritten += 1,
            Err(ObjectError::Store { .. } | ObjectError::Fenced { .. }) => {
                // The process died, or must stop.
                let writer = &mut self.writers[at];
                writer.log = None;
                writer.ledger = Ledger::new();
            }
            Err(error) => self.found = Some(format!("push: {error}")),
        }
    }

    /// What was committed is never lost again.
    fn check_committed(&mut self, at: usize) {
        let bytes = block_on(stored(self.writers[at].log.as_ref().unwrap()));
        match bytes {
            Ok(bytes) if bytes.starts_with(&self.committed) => self.committed = bytes,
            Ok(_) => self.found = Some("what was committed is gone".to_owned()),
            Err(error) => self.found = Some(format!("what was committed cannot be read: {error}")),
        }
    }

    /// The other writer tries to take the log while the active one uploads.
    fn take_over(&mut self) {
        let (at, other, now) = (self.active, 1 - self.active, self.now);
        let segments = self.writers[at].disk.segments();
        self.writers[other].lives += 1;
        let owner = Owner::new(self.writers[other].name)
            .nonce(self.writers[other].lives * 2 + other as u64)
            .lease(LEASE);
        let mut disk = self.writers[other].disk.clone();
        let mut log = self.writers[at].log.take();
        let (pushed, opened) = block_on(join(
            async {
                match &mut log {
                    Some(log) => log.push(&segments, now).await.map(drop),
                    None => Ok(()),
                }
            },
            open(self.store.clone(), owner, &mut disk, now),
        ));
        self.writers[at].log = log;
        if pushed.is_ok() && self.writers[at].log.is_some() && opened.is_err() {
            self.check_committed(at);
        }
        if let Ok(log) = opened {
            self.writers[other].disk = disk;
            self.writers[other].log = Some(log);
            self.writers[other].ledger = Ledger::new();
            self.active = other;
            self.takeovers += 1;
            self.check_committed(other);
        }
    }

    /// A writer that slept while another one took the log wants to go on.
    fn zombie(&mut self) {
        let (other, now) = (1 - self.active, self.now);
        let active = self.writers[self.active].log.as_ref();
        let epoch = active.map(|log| log.manifest().epoch());
        let writer = &mut self.writers[other];
        let Some(log) = &mut writer.log else { return };
        if epoch.is_none_or(|epoch| log.manifest().epoch() >= epoch) {
            return;
        }
        writer
            .disk
            .append(&issue(1_000_000, "of a zombie").encode_to_vec());
        let segments = writer.disk.segments();
        match block_on(log.push(&segments, now)) {
            Err(_) => {
                writer.log = None;
                self.fenced += 1;
            }
            Ok(_) => self.found = Some("a fenced writer wrote".to_owned()),
        }
    }

    fn advance_clock(&mut self) {
        let seconds = Duration::from_secs(self.rng.below(50));
        self.now = if self.rng.one_in(5) {
            self.now - seconds
        } else {
            self.now + seconds
        };
    }

    /// The faults end; everybody must come to the same.
    fn settle(&mut self) -> std::result::Result<(), String> {
        for _ in 0..20 {
            self.now += LEASE * 2;
            if self.writers[self.active].log.is_none() {
                self.open(self.active, false);
            }
            self.push(false);
            if self.writers[self.active].log.is_some() {
                break;
            }
        }
        self.refresh();
        for at in 0..self.followers.len() {
            self.followers[at].0.ask_at_once();
            for _ in 0..200 {
                self.ask(at, false);
            }
        }
        if let Some(found) = self.found.take() {
            return Err(found);
        }
        let truth = self.writers[self.active].disk.bytes();
        if self.committed != truth {
            return Err("the store is not the writer's log".to_owned());
        }
        self.corpus.update().map_err(|error| error.to_string())?;
        let disk = Memory(self.writers[self.active].disk.segments());
        let wanted = fingerprint(&load(disk));
        for (_, copy) in &self.followers {
            let bytes: Vec<u8> = copy
                .segments()
                .unwrap()
                .iter()
                .flat_map(|segment| segment.load().unwrap().to_vec())
                .collect();
            if bytes != truth {
                return Err(format!(
                    "a follower has {} bytes that are not the writer's {}",
                    bytes.len(),
                    truth.len()
                ));
            }
        }
        if fingerprint(&self.corpus) != wanted {
            return Err("a corpus that lived through it says something else".to_owned());
        }
        Ok(())
    }
}

/// A writer's disk as it is.
struct Memory(Vec<Segment>);

impl MutationSource for Memory {
    fn segments(&self) -> Result<Vec<Segment>> {
        Ok(self.0.clone())
    }

    fn wait(&self, _known: LogPosition, _patience: Duration) -> Result<LogPosition> {
        Ok(self.0.last().map_or(LogPosition::START, Segment::end))
    }
}

async fn open(
    store: Store,
    owner: Owner,
    disk: &mut Disk,
    now: SystemTime,
) -> Result<ObjectLog<Store>, ObjectError> {
    let mut log = ObjectLog::open(store, owner).await?;
    log.acquire(now).await?;
    let mut all = Vec::new();
    for number in 0..log.manifest().objects().count() {
        all.push(log.fetch(number as u32).await?.to_vec());
    }
    let (mine, theirs) = (disk.bytes(), all.concat());
    if !mine.starts_with(&theirs) {
        *disk = Disk(all);
    }
    Ok(log)
}

async fn stored(log: &ObjectLog<Store>) -> Result<Vec<u8>, ObjectError> {
    let mut all = Vec::new();
    for number in 0..log.manifest().objects().count() {
        all.extend_from_slice(&log.fetch(number as u32).await?);
    }
    Ok(all)
}

/// Polls both until both are done.
async fn join<A, B>(a: impl Future<Output = A>, b: impl Future<Output = B>) -> (A, B) {
    let (mut a, mut b) = (Box::pin(a), Box::pin(b));
    let (mut one, mut other) = (None, None);
    std::future::poll_fn(move |context| {
        use std::task::Poll;
        if one.is_none()
            && let Poll::Ready(done) = a.as_mut().poll(context)
        {
            one = Some(done);
        }
        if other.is_none()
            && let Poll::Ready(done) = b.as_mut().poll(context)
        {
            other = Some(done);
        }
        match (one.take(), other.take()) {
            (Some(one), Some(other)) => Poll::Ready((one, other)),
            (first, second) => {
                (one, other) = (first, second);
                Poll::Pending
            }
        }
    })
    .await
}

/// A server that leaves the last record of the first segment out, or says it twice.
fn sabotage(segments: &[Segment], bug: Bug) -> Vec<Segment> {
    let all: Vec<Vec<u8>> = segments
        .iter()
        .enumerate()
        .map(|(at, segment)| {
            let bytes = segment.load().unwrap();
            if at > 0 {
                return bytes.to_vec();
            }
            let mut payloads: Vec<Vec<u8>> = Records::new(&bytes)
                .map(|record| record.unwrap().payload().to_vec())
                .collect();
            let last = payloads.pop().unwrap();
            if bug == Bug::DoubledEvent {
                payloads.extend([last.clone(), last]);
            }
            let mut out = Vec::new();
            for payload in payloads {
                let offset = out.len() as u64;
                encode_record(&mut out, offset, &payload);
            }
            out
        })
        .filter(|bytes| !bytes.is_empty())
        .collect();
    segments_of(&all)
}

fn run(seed: u64, bug: Bug) -> std::result::Result<Events, String> {
    let mut world = World::new(seed, bug);
    for _ in 0..STEPS {
        world.step();
    }
    world.settle()?;
    Ok(world.events())
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .ok()
        .map_or(default, |value| value.parse().unwrap())
}

#[test]
fn followers_come_to_what_the_writer_wrote_under_500_seeds() {
    let (first, count) = (
        number("MAINTNER_SIM_FIRST", 1),
        number("MAINTNER_SIM_SEEDS", 500),
    );
    let next = std::sync::atomic::AtomicU64::new(first);
    let (failed, sum) = (Mutex::new(Vec::new()), Mutex::new(Events::default()));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    if seed >= first + count {
                        return;
                    }
                    match run(seed, Bug::None) {
                        Ok(events) => {
                            let mut sum = sum.lock().unwrap();
                            sum.rollbacks += events.rollbacks;
                            sum.takeovers += events.takeovers;
                            sum.fenced += events.fenced;
                            sum.unwritten += events.unwritten;
                        }
                        Err(what) => failed.lock().unwrap().push(format!("seed {seed}: {what}")),
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    assert!(
        failed.is_empty(),
        "{} failed: {:#?}",
        failed.len(),
        &failed[..failed.len().min(5)]
    );
    let sum = sum.into_inner().unwrap();
    println!("{count} seeds: {sum:?}");
    let lived = sum.rollbacks > count / 10
        && sum.takeovers > count / 10
        && sum.fenced > 0
        && sum.unwritten > count;
    assert!(lived || count < 100, "too little happens: {sum:?}");
}

#[test]
fn planted_bugs_are_found() {
    for (bug, seeds) in [
        (Bug::LostPage, 10),
        (Bug::DoubledEvent, 10),
        (Bug::ForgottenFence, 40),
    ] {
        let found = (1..=seeds).filter(|&seed| run(seed, bug).is_err()).count();
        assert!(found > 0, "{bug:?} was not found under {seeds} seeds");
    }
}

#[test]
fn a_seed_gives_the_same_life_twice() {
    let life = |seed| {
        let mut world = World::new(seed, Bug::None);
        for _ in 0..STEPS {
            world.step();
        }
        (
            world.committed.clone(),
            world.issues,
            world.writers[0].lives,
        )
    };
    assert_eq!(life(7), life(7));
}
