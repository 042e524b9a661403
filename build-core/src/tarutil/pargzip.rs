//! Parallel gzip: every chunk becomes a complete gzip member, in the order of the input.
//!
//! Any gunzip that reads more than one member (Go, gzip, ours) restores the input.
//! Protocol facts: docs/protocol/buildlet.md, pargzip.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, Scope};

use super::member::Member;

/// Bytes of input per gzip member when nothing else is said.
const CHUNK: usize = 1 << 20;

/// How to compress.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GzipOptions {
    level: u32,
    chunk: usize,
    threads: usize,
}

impl Default for GzipOptions {
    /// Level 5, members of 1 MiB, one thread per core. With `libdeflate` level 5 makes what other
    /// packers make at 6, within a hundredth, in less time: docs/benchmarks.md.
    fn default() -> Self {
        let threads = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        Self {
            level: 5,
            chunk: CHUNK,
            threads,
        }
    }
}

impl GzipOptions {
    /// With this level, 1 (fast) to 9 (small).
    #[must_use]
    pub fn level(self, level: u32) -> Self {
        Self {
            level: level.clamp(1, 9),
            ..self
        }
    }

    /// With this many bytes of input per member, at least one.
    #[must_use]
    pub fn chunk(self, bytes: usize) -> Self {
        Self {
            chunk: bytes.max(1),
            ..self
        }
    }

    /// With this many compressing threads, at least one; as many chunks are under way at most.
    #[must_use]
    pub fn threads(self, threads: usize) -> Self {
        Self {
            threads: threads.max(1),
            ..self
        }
    }
}

struct Job {
    chunk: Vec<u8>,
    done: SyncSender<io::Result<Vec<u8>>>,
}

/// A `Write` that compresses on threads of `scope` and writes members in order to `out`.
///
/// Call [`PargzipWriter::finish`]: dropping the writer abandons what is not written yet. Memory: about
/// twice the chunk size per thread.
///
/// ```
/// use std::io::{Read, Write};
/// use build_core::tarutil::{Gunzip, GzipOptions, PargzipWriter};
/// let packed = std::thread::scope(|scope| {
///     let mut gzip = PargzipWriter::new(scope, Vec::new(), &GzipOptions::default().chunk(4))?;
///     gzip.write_all(b"abcdefgh")?;
///     gzip.finish()
/// })?;
/// let mut text = String::new();
/// Gunzip::new(packed.as_slice()).read_to_string(&mut text)?;
/// assert_eq!(text, "abcdefgh");
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct PargzipWriter<W> {
    out: W,
    chunk_size: usize,
    chunk: Vec<u8>,
    jobs: SyncSender<Job>,
    /// Members under way, oldest first.
    flying: VecDeque<Receiver<io::Result<Vec<u8>>>>,
    most_flying: usize,
    /// Whether any member was begun: an empty input still makes one.
    begun: bool,
    failed: Option<(io::ErrorKind, String)>,
}

impl<W: Write> PargzipWriter<W> {
    /// Starts the compressing threads on `scope`; they end when the writer does.
    ///
    /// # Errors
    /// When a thread cannot be started or the level is not supported.
    pub fn new<'scope>(
        scope: &'scope Scope<'scope, '_>,
        out: W,
        options: &GzipOptions,
    ) -> io::Result<Self> {
        let (jobs, queue) = sync_channel::<Job>(options.threads);
        let queue = Arc::new(Mutex::new(queue));
        for _ in 0..options.threads {
            let queue = Arc::clone(&queue);
            let mut member = Member::new(options.level)?;
            Builder::new()
                .name("pargzip".into())
                .spawn_scoped(scope, move || work(&queue, &mut member))?;
        }
        Ok(Self {
            out,
            chunk_size: options.chunk,
            chunk: Vec::new(),
            jobs,
            flying: VecDeque::new(),
            most_flying: options.threads,
            begun: false,
            failed: None,
        })
    }

    /// Compresses the rest, waits for all members, writes them and gives back the output.
    ///
    /// # Errors
    /// The first error of any member or write, however late it came.
    pub fn finish(mut self) -> io::Result<W> {
        self.sound()?;
        if !self.chunk.is_empty() || !self.begun {
            self.submit()?;
        }
        self.drain(0)?;
        self.out.flush()?;
        Ok(self.out)
    }

    /// The first error, again and again.
    fn sound(&self) -> io::Result<()> {
        match &self.failed {
            Some((kind, text)) => Err(io::Error::new(*kind, text.clone())),
            None => Ok(()),
        }
    }

    fn submit(&mut self) -> io::Result<()> {
        self.drain(self.most_flying - 1)?;
        let chunk = std::mem::take(&mut self.chunk);
        let (done, member) = sync_channel(1);
        let gone = |_| io::Error::other("the compressing threads have ended");
        let sent = self.jobs.send(Job { chunk, done }).map_err(gone);
        self.keep(sent)?;
        self.flying.push_back(member);
        self.begun = true;
        Ok(())
    }

    /// Writes finished members until at most `most` are under way.
    fn drain(&mut self, most: usize) -> io::Result<()> {
        while self.flying.len() > most {
            let Some(oldest) = self.flying.pop_front() else {
                break;
            };
            let gone = |_| Err(io::Error::other("a compressing thread has ended"));
            let member = oldest.recv().unwrap_or_else(gone);
            let written = member.and_then(|member| self.out.write_all(&member));
            self.keep(written)?;
        }
        Ok(())
    }

    fn keep(&mut self, outcome: io::Result<()>) -> io::Result<()> {
        if let Err(error) = &outcome {
            self.failed = Some((error.kind(), error.to_string()));
        }
        outcome
    }
}

impl<W: Write> Write for PargzipWriter<W> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.sound()?;
        let n = buf.len().min(self.chunk_size - self.chunk.len());
        if self.chunk.capacity() == 0 {
            self.chunk.reserve_exact(self.chunk_size.min(CHUNK));
        }
        self.chunk.extend_from_slice(&buf[..n]);
        if self.chunk.len() == self.chunk_size {
            self.submit()?;
        }
        Ok(n)
    }

    /// Ends the current member early and writes everything; costs compression when called often.
    fn flush(&mut self) -> io::Result<()> {
        self.sound()?;
        if !self.chunk.is_empty() {
            self.submit()?;
        }
        self.drain(0)?;
        let flushed = self.out.flush();
        self.keep(flushed)
    }
}

fn work(queue: &Mutex<Receiver<Job>>, member: &mut Member) {
    loop {
        // A poisoned lock only means that another worker panicked while it waited.
        let next = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = next else { return };
        // The writer may be gone after an error: then nobody wants the member.
        drop(job.done.send(member.compress(&job.chunk)));
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::super::Gunzip;
    use super::*;

    fn compress(data: &[u8], options: &GzipOptions) -> Vec<u8> {
        std::thread::scope(|scope| {
            let mut gzip = PargzipWriter::new(scope, Vec::new(), options).unwrap();
            gzip.write_all(data).unwrap();
            gzip.finish().unwrap()
        })
    }

    fn inflate(data: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        Gunzip::new(data).read_to_end(&mut out).unwrap();
        out
    }

    #[test]
    fn members_come_in_order_at_any_size() {
        let data: Vec<u8> = (0..300_000_u32)
            .map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8)
            .collect();
        for (chunk, threads) in [(1, 3), (4, 1), (1000, 2), (65_536, 4), (1 << 20, 2)] {
            let data = if chunk < 100 { &data[..999] } else { &data[..] };
            let options = GzipOptions::default()
                .level(1)
                .chunk(chunk)
                .threads(threads);
            assert_eq!(
                inflate(&compress(data, &options)),
                data,
                "chunks of {chunk}"
            );
        }
    }

    #[test]
    fn the_vector_of_the_go_program_decodes() {
        let go = "1f8b08000000000000ff4a4c4a4e01040000ffff11cd82ed040000001f8b08000000000000ff4a4d4bcf00040000ffffb57b330804000000";
        assert_eq!(inflate(&hex::decode(go).unwrap()), b"abcdefgh");
        assert_eq!(
            inflate(&compress(b"abcdefgh", &GzipOptions::default().chunk(4))),
            b"abcdefgh"
        );
    }

    #[test]
    fn nothing_written_is_one_empty_member() {
        let empty = compress(b"", &GzipOptions::default());
        assert_eq!(empty[..3], [0x1f, 0x8b, 8]);
        assert_eq!(inflate(&empty), b"");
    }

    #[test]
    fn a_flush_makes_everything_readable() {
        std::thread::scope(|scope| {
            let mut gzip = PargzipWriter::new(scope, Vec::new(), &GzipOptions::default()).unwrap();
            gzip.write_all(b"early").unwrap();
            gzip.flush().unwrap();
            assert_eq!(inflate(&gzip.out), b"early");
        });
    }

    /// Takes so many writes, then fails.
    struct Failing(usize);

    impl Write for Failing {
        fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
            self.0 = self
                .0
                .checked_sub(1)
                .ok_or_else(|| io::Error::new(io::ErrorKind::StorageFull, "full"))?;
            Ok(buf.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn the_first_error_stays_and_a_late_one_is_told() {
        std::thread::scope(|scope| {
            let options = GzipOptions::default().chunk(10).threads(2);
            let mut gzip = PargzipWriter::new(scope, Failing(1), &options).unwrap();
            assert_eq!(
                gzip.write_all(&[0; 100]).unwrap_err().kind(),
                io::ErrorKind::StorageFull
            );
            for _ in 0..3 {
                assert_eq!(
                    gzip.write(b"more").unwrap_err().kind(),
                    io::ErrorKind::StorageFull
                );
            }
            assert!(gzip.finish().is_err());
            let mut late = PargzipWriter::new(scope, Failing(0), &options).unwrap();
            late.write_all(b"short").unwrap();
            assert_eq!(
                late.finish().err().map(|error| error.kind()),
                Some(io::ErrorKind::StorageFull)
            );
        });
    }
}
