//! Inflating on a thread of its own, beside the one that consumes.

use std::io::{self, BufRead, Read};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};

use super::gunzip::Gunzip;

/// Bytes inflated at a time, and how many such buffers are under way between the two threads.
const CHUNK: usize = 256 << 10;
const CHUNKS: usize = 4;

/// Inflates `input` on this thread while `consume` runs on another one, at most 1 MiB behind.
///
/// Returns what `consume` returned; what it left unread is not inflated. The input's thread stays
/// this one, so `input` need not be `Send`.
///
/// # Errors
/// When the thread cannot be started. Errors of the stream reach `consume` as read errors.
pub(crate) fn inflate_beside<R, T>(
    input: R,
    consume: impl FnOnce(&mut Inflated) -> T + Send,
) -> io::Result<T>
where
    R: Read,
    T: Send,
{
    let taken = Arc::new(AtomicU64::new(0));
    let (full, filled) = sync_channel(CHUNKS);
    let (empty, emptied) = channel();
    let mut inflated = Inflated {
        filled,
        empty,
        chunk: Vec::new(),
        at: 0,
        failed: None,
        taken: Arc::clone(&taken),
    };
    std::thread::scope(|scope| {
        let name = std::thread::Builder::new().name("unpack".into());
        let consumer = name.spawn_scoped(scope, move || consume(&mut inflated))?;
        feed(Gunzip::counting(input, taken), &full, &emptied);
        drop(full);
        Ok(consumer
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })
}

fn feed(
    mut gunzip: Gunzip<impl Read>,
    full: &SyncSender<io::Result<Vec<u8>>>,
    emptied: &Receiver<Vec<u8>>,
) {
    loop {
        let mut chunk = emptied.try_recv().unwrap_or_default();
        chunk.resize(CHUNK, 0);
        let (filled, outcome) = read_full(&mut gunzip, &mut chunk);
        let last = filled < CHUNK;
        chunk.truncate(filled);
        // A send fails when the consumer is done: then nobody wants the rest.
        if full.send(Ok(chunk)).is_err() {
            return;
        }
        match outcome {
            Err(error) => return drop(full.send(Err(error))),
            Ok(()) if last => return,
            Ok(()) => {}
        }
    }
}

/// Reads until `buf` is full, the stream ends or fails: what came before a failure still counts.
fn read_full(input: &mut impl Read, buf: &mut [u8]) -> (usize, io::Result<()>) {
    let mut filled = 0;
    while filled < buf.len() {
        match input.read(&mut buf[filled..]) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return (filled, Err(error)),
        }
    }
    (filled, Ok(()))
}

/// The consuming end of [`inflate_beside`].
#[derive(Debug)]
pub(crate) struct Inflated {
    filled: Receiver<io::Result<Vec<u8>>>,
    empty: Sender<Vec<u8>>,
    chunk: Vec<u8>,
    at: usize,
    failed: Option<io::ErrorKind>,
    taken: Arc<AtomicU64>,
}

impl Inflated {
    /// Counts the compressed bytes taken from the input.
    pub(crate) fn compressed(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.taken)
    }
}

impl Read for Inflated {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let n = available.len().min(buf.len());
        buf[..n].copy_from_slice(&available[..n]);
        self.consume(n);
        Ok(n)
    }
}

impl BufRead for Inflated {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.at == self.chunk.len() {
            if let Some(kind) = self.failed {
                return Err(kind.into());
            }
            match self.filled.recv() {
                // The sender is gone: the stream has ended.
                Err(_) => return Ok(&[]),
                Ok(Err(error)) => {
                    self.failed = Some(error.kind());
                    return Err(error);
                }
                Ok(Ok(chunk)) => {
                    self.at = 0;
                    // The feeder may have ended: then the buffer is simply freed.
                    drop(self.empty.send(std::mem::replace(&mut self.chunk, chunk)));
                }
            }
        }
        Ok(&self.chunk[self.at..])
    }

    fn consume(&mut self, n: usize) {
        self.at = (self.at + n).min(self.chunk.len());
    }
}

#[cfg(test)]
mod tests {
    use flate2::Compression;
    use proptest::prelude::*;

    use super::super::gunzip::tests::member;
    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn members_are_joined_alone_and_beside(contents in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..3000), 1..8)) {
            let stream = contents.iter().map(|content| member(content)).collect::<Vec<_>>().concat();
            let mut plain = Vec::new();
            Gunzip::new(stream.as_slice()).read_to_end(&mut plain).unwrap();
            prop_assert_eq!(&plain, &contents.concat());
            let beside = inflate_beside(stream.as_slice(), |inflated| {
                let mut out = Vec::new();
                inflated.read_to_end(&mut out).map(|_| out)
            });
            prop_assert_eq!(beside.unwrap().unwrap(), plain);
        }
    }

    #[test]
    fn a_consumer_that_stops_early_stops_the_rest() {
        let endless = io::repeat(0).take(1 << 40);
        let zeros = flate2::read::GzEncoder::new(endless, Compression::fast());
        let first =
            inflate_beside(zeros, |inflated| inflated.fill_buf().map(|chunk| chunk[0])).unwrap();
        assert_eq!(first.unwrap(), 0);
    }

    #[test]
    fn a_failing_input_fails_the_consumer_after_what_came_before() {
        struct Cut<'d>(&'d [u8]);
        impl Read for Cut<'_> {
            fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
                match self.0.read(buf)? {
                    0 => Err(io::ErrorKind::ConnectionReset.into()),
                    n => Ok(n),
                }
            }
        }
        let whole = member(&[7; 100_000]);
        let cut = Cut(&whole[..whole.len() - 9]);
        let error = inflate_beside(cut, |inflated| {
            inflated.read_to_end(&mut Vec::new()).unwrap_err()
        });
        assert_eq!(error.unwrap().kind(), io::ErrorKind::ConnectionReset);
    }
}
