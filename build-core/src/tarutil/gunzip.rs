//! Multi-member gunzip as a plain reader.

use std::io::{self, BufRead, BufReader, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use flate2::bufread::GzDecoder;

const INPUT: usize = 128 << 10;

/// First byte of each gzip member.
const MAGIC: u8 = 0x1f;

/// Decompresses a gzip stream of any number of members, to its very end, checksums verified.
///
/// As gzip itself does, bytes after the last member that do not begin another one are left alone.
/// An error of kind [`io::ErrorKind::UnexpectedEof`] means that the stream was cut.
#[derive(Debug)]
pub struct Gunzip<R: Read> {
    /// The member being read; `None` only while one is replaced by the next, and at the end.
    member: Option<GzDecoder<BufReader<Counted<R>>>>,
}

impl<R: Read> Gunzip<R> {
    /// Decompresses `input`, which is read in larger pieces.
    pub fn new(input: R) -> Self {
        Self::counting(input, Arc::default())
    }

    pub(super) fn counting(input: R, taken: Arc<AtomicU64>) -> Self {
        let input = BufReader::with_capacity(INPUT, Counted { input, taken });
        Self {
            member: Some(GzDecoder::new(input)),
        }
    }

    /// Goes on with the next member, if there is one.
    fn next_member(&mut self) -> io::Result<()> {
        let Some(mut finished) = self.member.take() else {
            return Ok(());
        };
        if finished.get_mut().fill_buf()?.first() == Some(&MAGIC) {
            self.member = Some(GzDecoder::new(finished.into_inner()));
        }
        Ok(())
    }
}

impl<R: Read> Read for Gunzip<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        while let Some(member) = &mut self.member {
            let n = member.read(buf)?;
            if n > 0 || buf.is_empty() {
                return Ok(n);
            }
            self.next_member()?;
        }
        Ok(0)
    }
}

#[derive(Debug)]
struct Counted<R> {
    input: R,
    taken: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.input.read(buf)?;
        self.taken.fetch_add(n as u64, Ordering::Relaxed);
        Ok(n)
    }
}

/// Fuzz target: any bytes as a gzip stream; ends without panic and within a bounded output.
pub fn fuzz_gunzip(data: &[u8]) {
    let mut out = Gunzip::new(data).take(1 << 20);
    // Whether it decodes is not the question here.
    drop(io::copy(&mut out, &mut io::sink()));
}

#[cfg(test)]
pub(super) mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use proptest::prelude::*;

    use super::*;

    pub(in crate::tarutil) fn member(content: &[u8]) -> Vec<u8> {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        gzip.write_all(content).unwrap();
        gzip.finish().unwrap()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn any_bytes_are_survived(data: Vec<u8>, content: Vec<u8>, at in 0_usize..64, byte: u8) {
            fuzz_gunzip(&data);
            let mut damaged = member(&content);
            let place = at % damaged.len();
            damaged[place] = byte;
            fuzz_gunzip(&damaged);
        }
    }
}
