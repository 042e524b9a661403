//! Appending, finding lines, reading.

use std::hint::black_box;
use std::time::Duration;

use build_core::livelog::{LiveLog, LogWriter, Options, Position};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

const PIECE: usize = 64 << 10;
const LOG: usize = 256 << 20;

fn bench(criterion: &mut Criterion) {
    let line = format!("{}\n", "x".repeat(99));
    let piece = line.repeat(PIECE / line.len());
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("log");

    let mut group = criterion.benchmark_group("livelog");
    group.measurement_time(Duration::from_secs(5));
    group.throughput(Throughput::Bytes(piece.len() as u64));
    group.bench_function("append to memory", |bencher| {
        bencher.iter_batched_ref(
            || LogWriter::in_memory(Options::default()),
            |writer| writer.append(piece.as_bytes()),
            criterion::BatchSize::SmallInput,
        );
    });
    group.bench_function("append to a file", |bencher| {
        let mut writer = LogWriter::create(&path, &Options::default()).expect("a new file");
        let mut written = 0;
        bencher.iter(|| {
            if written > LOG {
                writer = LogWriter::create(&path, &Options::default()).expect("a new file");
                written = 0;
            }
            written += piece.len();
            writer.append(black_box(piece.as_bytes()))
        });
    });
    let mut writer = LogWriter::create(&path, &Options::default()).expect("a new file");
    for _ in 0..LOG / piece.len() {
        writer.append(piece.as_bytes()).expect("there is room");
    }
    let log = writer.finish().expect("there is room");
    group.throughput(Throughput::Elements(1));
    group.bench_function("open", |bencher| bencher.iter(|| LiveLog::open(&path)));
    group.bench_function("find a line", |bencher| {
        let mut line = 0;
        bencher.iter(|| {
            line = (line + 1_234_567) % log.lines();
            log.reader(Position::Line(black_box(line)))
        });
    });
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
