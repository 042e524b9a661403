//! A reader: its own place in the log, waiting as a task or as a thread.

use std::future::poll_fn;
use std::io;
#[cfg(feature = "io")]
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
#[cfg(feature = "io")]
use std::task::{Context, ready};
use std::task::{Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};

use super::log::LiveLog;
use super::waiters::Ticket;

/// Reads a log from one place on; made by [`LiveLog::reader`].
///
/// A read returns what is there, waits when nothing is, and returns 0 bytes once the log is finished
/// and read to its end, or the reader is closed. With feature `io` it is also a `tokio::io::AsyncRead`.
/// File reads happen on the calling task or thread; they are short, but hand a cold log of gigabytes
/// to a thread that may block ([`LogReader::ready`], then [`LogReader::try_read`] there).
#[derive(Debug)]
pub struct LogReader {
    log: LiveLog,
    offset: u64,
    /// Where reading ends even if the log goes on.
    limit: u64,
    ticket: Ticket,
    closed: Arc<AtomicBool>,
}

impl LogReader {
    pub(super) fn new(log: LiveLog, offset: u64) -> Self {
        let id = log.shared.next_reader.fetch_add(1, Ordering::Relaxed);
        Self {
            log,
            offset,
            limit: u64::MAX,
            ticket: Ticket::new(id),
            closed: Arc::default(),
        }
    }

    /// Does not follow: ends where the log ends now.
    #[must_use]
    pub fn until_now(mut self) -> Self {
        self.limit = self.log.len();
        self
    }

    /// Ends at this byte at the latest.
    #[must_use]
    pub fn until(mut self, offset: u64) -> Self {
        self.limit = self.limit.min(offset);
        self
    }

    /// The byte that is read next.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// What ends this reader, and no other, from elsewhere.
    pub fn closer(&self) -> Closer {
        Closer {
            log: self.log.clone(),
            id: self.ticket.id(),
            closed: Arc::clone(&self.closed),
        }
    }

    /// Reads what is there without waiting: `None` when more may come later.
    ///
    /// # Errors
    /// Those of the storage.
    pub fn try_read(&mut self, buf: &mut [u8]) -> io::Result<Option<usize>> {
        let Some(available) = self.available() else {
            return Ok(None);
        };
        let most = buf.len().min(available);
        if most == 0 {
            return Ok(Some(0));
        }
        let shared = &self.log.shared;
        let buf = &mut buf[..most];
        let n = match shared.last_piece.read_at(buf, self.offset) {
            0 => shared.text.read_at(buf, self.offset)?,
            n => n,
        };
        if n == 0 {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the log's text is shorter than it was",
            ));
        }
        self.offset += n as u64;
        Ok(Some(n))
    }

    /// Bytes that can be read at once: `None` when there are none yet, 0 at the end.
    fn available(&self) -> Option<usize> {
        // Asked first: what is published before the end must still be read.
        let finished = self.log.is_finished();
        if self.closed.load(Ordering::Acquire) {
            return Some(0);
        }
        let end = self.log.len().min(self.limit);
        let available = usize::try_from(end.saturating_sub(self.offset)).unwrap_or(usize::MAX);
        let over = finished || self.offset >= self.limit;
        (available > 0 || over).then_some(available)
    }

    /// Waits until there is something to read or nothing will come any more: then
    /// [`LogReader::try_read`] does not return `None`. Cancel safe.
    pub async fn ready(&mut self) {
        poll_fn(|context| self.poll_ready(context.waker())).await;
    }

    /// Reads into `buf`, waiting while there is nothing; 0 bytes at the end. Cancel safe: a dropped
    /// future has read nothing.
    ///
    /// # Errors
    /// Those of the storage.
    pub async fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.ready().await;
        Ok(self.try_read(buf)?.unwrap_or_default())
    }

    /// Reads into `buf` on this thread, waiting no longer than `patience`; 0 bytes at the end.
    ///
    /// # Errors
    /// Those of the storage, and [`io::ErrorKind::TimedOut`].
    pub fn read_within(&mut self, buf: &mut [u8], patience: Duration) -> io::Result<usize> {
        if let Some(n) = self.try_read(buf)? {
            return Ok(n);
        }
        let deadline = Instant::now() + patience;
        let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
        while self.poll_ready(&waker).is_pending() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                self.log.shared.waiters.forget(&self.ticket);
                return Err(io::ErrorKind::TimedOut.into());
            }
            std::thread::park_timeout(left);
        }
        Ok(self.try_read(buf)?.unwrap_or_default())
    }

    /// Reads to the end of a log on this thread, waiting no longer than `patience` for each piece.
    ///
    /// # Errors
    /// Those of the storage, and [`io::ErrorKind::TimedOut`].
    pub fn read_to_end(&mut self, text: &mut Vec<u8>, patience: Duration) -> io::Result<()> {
        let mut buffer = vec![0; 64 << 10];
        loop {
            match self.read_within(&mut buffer, patience)? {
                0 => return Ok(()),
                n => text.extend_from_slice(&buffer[..n]),
            }
        }
    }

    fn poll_ready(&mut self, waker: &Waker) -> Poll<()> {
        if self.available().is_some() {
            return Poll::Ready(());
        }
        self.log.shared.waiters.register(&mut self.ticket, waker);
        // Once more: it may have come before the registration.
        if self.available().is_none() {
            return Poll::Pending;
        }
        self.log.shared.waiters.forget(&self.ticket);
        Poll::Ready(())
    }
}

#[cfg(feature = "io")]
impl tokio::io::AsyncRead for LogReader {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buf: &mut tokio::io::ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.poll_ready(context.waker()));
        let n = self
            .try_read(buf.initialize_unfilled())?
            .unwrap_or_default();
        buf.advance(n);
        Poll::Ready(Ok(()))
    }
}

impl Drop for LogReader {
    fn drop(&mut self) {
        self.log.shared.waiters.forget(&self.ticket);
    }
}

/// Ends one reader from elsewhere.
#[derive(Clone, Debug)]
pub struct Closer {
    log: LiveLog,
    id: u64,
    closed: Arc<AtomicBool>,
}

impl Closer {
    /// The reader's present and later reads return 0 bytes; others do not notice.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.log.shared.waiters.wake(self.id);
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

#[cfg(test)]
mod tests {
    use super::super::{LogWriter, Options, Position};
    use super::*;
    use futures_executor::block_on;

    const SOON: Duration = Duration::from_secs(60);

    #[test]
    fn late_joiners_and_followers_see_all() {
        let mut writer = LogWriter::in_memory(Options::default().memory(1000));
        let piece = b"a line of this log\n".repeat(100);
        let expected = piece.repeat(20);
        let read = |mut reader: LogReader| {
            let mut text = Vec::new();
            reader.read_to_end(&mut text, SOON).unwrap();
            text
        };
        std::thread::scope(|scope| {
            let mut readers = Vec::new();
            for _ in 0..20 {
                let reader = writer.log().reader(Position::Start).unwrap();
                readers.push(scope.spawn(move || read(reader)));
                writer.append(&piece).unwrap();
            }
            let log = writer.finish().unwrap();
            for reader in readers {
                assert_eq!(reader.join().unwrap(), expected);
            }
            assert_eq!(read(log.reader(Position::Start).unwrap()), expected);
        });
    }

    #[test]
    fn a_hundred_readers_of_a_capped_log_see_the_same() {
        const CAP: u64 = 2 << 20;
        let mut writer = LogWriter::in_memory(Options::default().cap(CAP));
        let log = writer.log();
        let read = |position| {
            let mut text = Vec::new();
            let mut reader = log.reader(position).unwrap();
            reader.read_to_end(&mut text, SOON).unwrap();
            text
        };
        std::thread::scope(|scope| {
            let readers: Vec<_> = (0..100)
                .map(|_| scope.spawn(|| read(Position::Start)))
                .collect();
            let _never_reads = log.reader(Position::Start).unwrap();
            for i in 0..3072_u32 {
                writer.append(format!("{i:1023}\n").as_bytes()).unwrap();
            }
            writer.finish().unwrap();
            let late = read(Position::Start);
            assert!(late.len() as u64 <= CAP);
            assert!(late.ends_with(b" 3071\n"));
            for reader in readers {
                assert!(reader.join().unwrap() == late, "two readers differ");
            }
        });
        assert_eq!(
            read(Position::Last(1)),
            format!("{:1023}\n", 3071).into_bytes()
        );
    }

    #[test]
    fn a_close_ends_one_reader_only() {
        let mut writer = LogWriter::in_memory(Options::default());
        let mut closed = writer.log().reader(Position::Start).unwrap();
        let mut open = writer.log().reader(Position::Start).unwrap();
        let closer = closed.closer();
        std::thread::scope(|scope| {
            let ended = scope.spawn(move || closed.read_within(&mut [0; 9], SOON).unwrap());
            closer.close();
            assert_eq!(ended.join().unwrap(), 0);
        });
        let waited = open.read_within(&mut [0; 9], Duration::ZERO);
        assert_eq!(waited.unwrap_err().kind(), io::ErrorKind::TimedOut);
        writer.append(b"on").unwrap();
        assert_eq!(open.read_within(&mut [0; 9], SOON).unwrap(), 2);
    }

    #[test]
    fn tasks_wait_without_a_runtime() {
        let mut writer = LogWriter::in_memory(Options::default());
        let mut reader = writer.log().reader(Position::Start).unwrap();
        let text = std::thread::spawn(move || {
            block_on(async {
                let (mut text, mut buf) = (Vec::new(), [0; 5]);
                loop {
                    match reader.read(&mut buf).await.unwrap() {
                        0 => return text,
                        n => text.extend_from_slice(&buf[..n]),
                    }
                }
            })
        });
        for word in ["one ", "two ", "three"] {
            writer.append(word.as_bytes()).unwrap();
        }
        drop(writer);
        assert_eq!(text.join().unwrap(), b"one two three");
    }

    #[test]
    fn readers_may_end_before_the_log() {
        let mut writer = LogWriter::in_memory(Options::default());
        writer.append(b"0123456789").unwrap();
        let text = |mut reader: LogReader| {
            let mut text = Vec::new();
            reader.read_to_end(&mut text, Duration::ZERO).unwrap();
            String::from_utf8(text).unwrap()
        };
        let reader = |position| writer.log().reader(position).unwrap();
        assert_eq!(text(reader(Position::Offset(7)).until_now()), "789");
        assert_eq!(text(reader(Position::Start).until(3)), "012");
        assert_eq!(text(reader(Position::Offset(99)).until_now()), "");
    }
}
