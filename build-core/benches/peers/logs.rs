//! The live log under the loads of a farm: a fast build, a crowd of readers, a stalled one, a huge log.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use build_core::livelog::{LiveLog, LogReader, LogWriter, Options, Position};
use futures::stream::{FuturesUnordered, StreamExt as _};

use crate::samples::{Side, latencies, print, status_kib};

/// What is appended at once, as read from a pipe.
const PIECE: usize = 64 << 10;
const LINE: usize = 200;

pub(crate) fn run(gigabytes: u64) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    one_reader(dir.path());
    crowd(dir.path());
    stalled(dir.path());
    huge(dir.path(), gigabytes);
    println!(
        "\npeak memory of all of the above: {} KiB",
        status_kib("VmHWM:")
    );
}

fn lines(bytes: usize) -> Vec<u8> {
    let line = [vec![b'x'; LINE - 1], vec![b'\n']].concat();
    line.repeat(bytes / LINE + 1)[..bytes].to_vec()
}

/// When each piece was appended, in nanoseconds since the start.
struct Times {
    start: Instant,
    appended: Vec<AtomicU64>,
    piece: usize,
}

impl Times {
    fn new(pieces: usize, piece: usize) -> Self {
        Self {
            start: Instant::now(),
            appended: (0..pieces).map(|_| AtomicU64::new(0)).collect(),
            piece,
        }
    }

    /// Appends `piece` again and again, at so many bytes a second.
    fn write(&self, mut writer: LogWriter, piece: &[u8], rate: u64) {
        for (i, appended) in self.appended.iter().enumerate() {
            let due = Duration::from_nanos((i * self.piece) as u64 * 1_000_000_000 / rate);
            std::thread::sleep(due.saturating_sub(self.start.elapsed()));
            appended.store(self.start.elapsed().as_nanos() as u64, Ordering::Release);
            writer.append(piece).expect("there is room");
        }
        writer.finish().expect("there is room");
    }

    /// Reads everything; the time from just before a piece's append until its last byte is here.
    async fn read(&self, mut reader: LogReader) -> Vec<Duration> {
        let mut buffer = vec![0; 16 << 10];
        let mut seen = Vec::with_capacity(self.appended.len());
        loop {
            if reader.read(&mut buffer).await.expect("readable") == 0 {
                return seen;
            }
            let now = self.start.elapsed();
            while seen.len() < self.appended.len()
                && reader.offset() >= ((seen.len() + 1) * self.piece) as u64
            {
                let appended = self.appended[seen.len()].load(Ordering::Acquire);
                seen.push(now.saturating_sub(Duration::from_nanos(appended)));
            }
        }
    }
}

fn create(dir: &Path) -> LogWriter {
    LogWriter::create(dir.join("log"), &Options::default()).expect("a new file")
}

fn one_reader(dir: &Path) {
    const RATE: u64 = 100_000_000;
    let times = Times::new(10 * RATE as usize / PIECE, PIECE);
    let writer = create(dir);
    let reader = writer.log().reader(Position::Start).expect("the start");
    let seen = std::thread::scope(|scope| {
        let reader = scope.spawn(|| futures_executor::block_on(times.read(reader)));
        times.write(writer, &lines(PIECE), RATE);
        reader.join().expect("no panic")
    });
    println!(
        "\n### one reader, 100 MB/s for 10 s\n\nline to reader: {}",
        latencies(&seen)
    );
}

fn crowd(dir: &Path) {
    const READERS: usize = 1_000;
    const RATE: u64 = 500_000;
    let piece = 4 << 10;
    let times = Times::new(10 * RATE as usize / piece, piece);
    let writer = create(dir);
    let log = writer.log();
    let before = status_kib("VmRSS:");
    let begin = Instant::now();
    let seen = std::thread::scope(|scope| {
        let half = || {
            let readers: FuturesUnordered<_> = (0..READERS / 2)
                .map(|_| times.read(log.reader(Position::Start).expect("the start")))
                .collect();
            futures_executor::block_on(readers.collect::<Vec<_>>()).concat()
        };
        let halves = [scope.spawn(half), scope.spawn(half)];
        times.write(writer, &lines(piece), RATE);
        halves.map(|half| half.join().expect("no panic")).concat()
    });
    let sum = (log.len() * READERS as u64) as f64 / begin.elapsed().as_secs_f64() / 1e9;
    println!(
        "\n### 1,000 readers, {sum:.2} GB/s in sum for 10 s\n\nline to reader: {}",
        latencies(&seen)
    );
    println!(
        "memory: {} KiB before, {} KiB after",
        before,
        status_kib("VmRSS:")
    );
}

/// The writer at full speed: beside a reader that never reads, beside one that only reads when all is
/// written, and alone.
fn stalled(dir: &Path) {
    const PIECES: usize = 16_000;
    let mut sides = [
        Side::new("a reader that never reads"),
        Side::new("a reader that joins late"),
        Side::new("no reader"),
    ];
    let piece = lines(PIECE);
    for run in 0..=10 {
        for (i, side) in sides.iter_mut().enumerate() {
            let mut writer = create(dir);
            let reader = (i < 2).then(|| writer.log().reader(Position::Start).expect("the start"));
            side.time(|| (0..PIECES).for_each(|_| writer.append(&piece).expect("there is room")));
            let log = writer.finish().expect("there is room");
            assert_eq!(log.len(), (PIECES * PIECE) as u64);
            if i == 1 {
                drain(reader.expect("made above"));
            }
            if run == 0 {
                side.seconds.clear();
            }
            side.note = format!("{} MB", PIECES * PIECE / 1_000_000);
        }
    }
    print("writer beside a stalled reader", &sides);
}

fn drain(mut reader: LogReader) {
    let mut buffer = vec![0; 64 << 10];
    while reader
        .read_within(&mut buffer, Duration::from_secs(10))
        .expect("readable")
        > 0
    {}
}

fn huge(dir: &Path, gigabytes: u64) {
    let path = dir.join("huge");
    let mut writer = LogWriter::create(&path, &Options::default()).expect("a new file");
    let piece = lines(LINE * 5_000);
    let pieces = gigabytes * 1_000_000_000 / piece.len() as u64;
    let begin = Instant::now();
    for _ in 0..pieces {
        writer.append(&piece).expect("there is room");
    }
    let took = begin.elapsed().as_secs_f64();
    writer.sync().expect("the disk");
    let log = writer.finish().expect("there is room");
    // The last line but a few: 49,999,000 of 50,000,000 in 10 GB.
    let line = log.lines() - 1_000;
    println!(
        "\n### a log of {} bytes, {} lines, opened at line {line}\n",
        log.len(),
        log.lines()
    );
    println!("written in {took:.1} s");
    drop(log);
    for state in ["warm", "cold"] {
        let samples: Vec<Duration> = (0..10)
            .map(|_| open_at(&path, line, state == "cold"))
            .collect();
        println!("{state} cache: {}", latencies(&samples));
    }
    println!("memory: {} KiB", status_kib("VmRSS:"));
}

/// From nothing to the first byte of a line.
fn open_at(path: &Path, line: u64, cold: bool) -> Duration {
    if cold {
        forget_pages(path);
        forget_pages(&path.with_extension("idx"));
    }
    let begin = Instant::now();
    let log = LiveLog::open(path).expect("the log");
    let mut reader = log.reader(Position::Line(line)).expect("the line");
    let mut buffer = [0; 4096];
    reader
        .read_within(&mut buffer, Duration::from_secs(10))
        .expect("readable");
    let took = begin.elapsed();
    assert_eq!(
        reader.offset() - buffer.len() as u64,
        line * LINE as u64,
        "the wrong line"
    );
    took
}

/// Takes a file that is on the disk out of the page cache.
fn forget_pages(path: &Path) {
    use rustix::fs::{Advice, fadvise};
    let file = std::fs::File::open(path).expect("the log");
    file.sync_all().expect("the disk");
    fadvise(&file, 0, None, Advice::DontNeed).expect("advice is taken");
}
