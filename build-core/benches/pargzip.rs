//! Compression and decompression alone, on text made from a seed.

use std::hint::black_box;
use std::io::{Read, Write};
use std::time::Duration;

use build_core::tarutil::{Gunzip, GzipOptions, PargzipWriter};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

const SIZE: usize = 16 << 20;

/// Lines of words, some common and some rare, as source text has them.
fn source_like(bytes: usize) -> Vec<u8> {
    let mut state = 7_u64;
    let mut text = Vec::with_capacity(bytes + 64);
    while text.len() < bytes {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let word = (state >> 33) % (1 << ((state >> 59) % 14));
        let end = if state >> 61 == 0 { "\n\t" } else { " " };
        write!(text, "w{word:x}{end}").expect("writing to memory does not fail");
    }
    text.truncate(bytes);
    text
}

fn compress(text: &[u8], options: &GzipOptions) -> Vec<u8> {
    std::thread::scope(|scope| {
        let mut gzip = PargzipWriter::new(scope, Vec::new(), options).expect("threads start");
        gzip.write_all(text)
            .expect("writing to memory does not fail");
        gzip.finish().expect("writing to memory does not fail")
    })
}

fn bench(criterion: &mut Criterion) {
    let text = source_like(SIZE);
    let mut group = criterion.benchmark_group("pargzip");
    group
        .throughput(Throughput::Bytes(SIZE as u64))
        .sample_size(10)
        .measurement_time(Duration::from_secs(8));
    for level in [1, 6, 9] {
        let options = GzipOptions::default().level(level);
        group.bench_function(BenchmarkId::new("compress", level), |bencher| {
            bencher.iter(|| compress(black_box(&text), &options));
        });
    }
    let packed = compress(&text, &GzipOptions::default());
    group.bench_function("gunzip", |bencher| {
        bencher.iter(|| {
            std::io::copy(
                &mut Gunzip::new(black_box(packed.as_slice())),
                &mut std::io::sink(),
            )
        });
    });
    group.finish();
    let mut whole = Vec::new();
    Gunzip::new(packed.as_slice())
        .read_to_end(&mut whole)
        .expect("what was packed unpacks");
    assert!(whole == text, "compression must not change the text");
}

criterion_group!(benches, bench);
criterion_main!(benches);
