//! One gzip member from one chunk; the compressor is kept from chunk to chunk.

#[cfg(not(feature = "libdeflate"))]
pub(super) use portable::Member;
#[cfg(feature = "libdeflate")]
pub(super) use with_libdeflate::Member;

#[cfg(not(feature = "libdeflate"))]
mod portable {
    use std::io;

    use flate2::{Compress, Compression, Crc, FlushCompress, Status};

    /// No flags, no time, no name, unknown system: what Go and gzip of a pipe write.
    const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];

    /// A deflate stream that is reset for each member.
    pub(in super::super) struct Member {
        deflate: Compress,
    }

    impl Member {
        pub(in super::super) fn new(level: u32) -> io::Result<Self> {
            Ok(Self {
                deflate: Compress::new(Compression::new(level), false),
            })
        }

        pub(in super::super) fn compress(&mut self, chunk: &[u8]) -> io::Result<Vec<u8>> {
            let mut out = Vec::with_capacity(64 + chunk.len() / 3);
            out.extend_from_slice(&HEADER);
            self.deflate.reset();
            loop {
                let taken = usize::try_from(self.deflate.total_in()).map_err(io::Error::other)?;
                match self
                    .deflate
                    .compress_vec(&chunk[taken..], &mut out, FlushCompress::Finish)?
                {
                    Status::StreamEnd => break,
                    Status::Ok | Status::BufError => out.reserve(out.len()),
                }
            }
            let mut crc = Crc::new();
            crc.update(chunk);
            out.extend_from_slice(&crc.sum().to_le_bytes());
            out.extend_from_slice(&crc.amount().to_le_bytes());
            Ok(out)
        }
    }
}

#[cfg(feature = "libdeflate")]
mod with_libdeflate {
    use std::io;

    use libdeflater::{CompressionLvl, Compressor};

    /// A libdeflate compressor: smaller members at the same speed.
    pub(in super::super) struct Member {
        compressor: Compressor,
    }

    impl Member {
        pub(in super::super) fn new(level: u32) -> io::Result<Self> {
            let level = i32::try_from(level).map_err(io::Error::other)?;
            let level = CompressionLvl::new(level).map_err(|_| {
                io::Error::new(
                    io::ErrorKind::InvalidInput,
                    format!("no compression level {level}"),
                )
            })?;
            Ok(Self {
                compressor: Compressor::new(level),
            })
        }

        pub(in super::super) fn compress(&mut self, chunk: &[u8]) -> io::Result<Vec<u8>> {
            let mut out = vec![0; self.compressor.gzip_compress_bound(chunk.len())];
            let n = self
                .compressor
                .gzip_compress(chunk, &mut out)
                .map_err(io::Error::other)?;
            out.truncate(n);
            Ok(out)
        }
    }
}
