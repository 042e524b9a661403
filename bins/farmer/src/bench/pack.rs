//! Archives.

use build_core::tarutil::{GzipOptions, Pack};
use farmer_cli::{Exit, Failure};

use super::figure::{Figure, measure};

/// Packs a megabyte of text that compresses like source code, again and again.
pub(super) fn pack() -> Result<Figure, Failure> {
    const FILES: usize = 64;
    const FILE_BYTES: usize = 1 << 20;
    let dir = tempfile::tempdir()?;
    let words = [
        "let", "value", "=", "self", "fn", "return", "(", ")", "{", "}\n", "match", "some", "none",
        "index",
    ];
    let mut state = 1u64;
    for n in 0..FILES {
        let mut text = String::with_capacity(FILE_BYTES + 16);
        while text.len() < FILE_BYTES {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            text.push_str(words[(state >> 33) as usize % words.len()]);
            text.push(' ');
        }
        std::fs::write(dir.path().join(format!("{n}.txt")), text)?;
    }
    let megabytes = (FILES * FILE_BYTES) as f64 / 1e6;
    let mut trouble = None;
    let figure = measure(
        "pack",
        "of text packed as tar.gz, level 1".to_owned(),
        "MB/s",
        || {
            let packed = Pack::open(dir.path())
                .map_err(|e| e.to_string())
                .and_then(|p| {
                    p.write_gz(std::io::sink(), &GzipOptions::default().level(1))
                        .map_err(|e| e.to_string())
                });
            trouble = trouble.take().or(packed.err());
            megabytes
        },
    );
    match trouble {
        Some(text) => Err(Failure::because(
            Exit::Infrastructure,
            &std::io::Error::other(text),
            None,
        )),
        None => Ok(figure),
    }
}
