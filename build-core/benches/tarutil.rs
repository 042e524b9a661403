//! Packing and unpacking a tree of small files made from a seed.

use std::path::Path;
use std::time::Duration;

use build_core::tarutil::{EntryHeader, FileList, GzipOptions, Pack, Untar};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};

const FILES: usize = 2_000;
const FILE: usize = 8 << 10;

fn tree() -> FileList {
    let mut list = FileList::new();
    for i in 0..FILES {
        let line = format!("line of file {i}\n");
        let content = line.repeat(FILE / line.len());
        list.add_bytes(
            EntryHeader::file(format!("dir{}/file{i}.go", i / 40), 0),
            content,
        );
    }
    list
}

fn unpack(archive: &[u8], dir: &Path) {
    Untar::open(dir)
        .and_then(|untar| untar.unpack(archive).map_err(std::io::Error::other))
        .expect("unpacks");
}

fn bench(criterion: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut archive = Vec::new();
    std::io::copy(&mut tree().open_gz(), &mut archive).expect("reading memory does not fail");
    unpack(&archive, dir.path());

    let mut group = criterion.benchmark_group("tarutil");
    group
        .throughput(Throughput::Elements(FILES as u64))
        .sample_size(10)
        .measurement_time(Duration::from_secs(8));
    group.bench_function("unpack", |bencher| {
        let fresh = || tempfile::tempdir().expect("a temporary directory");
        bencher.iter_batched_ref(
            fresh,
            |dir| unpack(&archive, dir.path()),
            BatchSize::PerIteration,
        );
    });
    group.bench_function("pack", |bencher| {
        let options = GzipOptions::default();
        bencher
            .iter(|| Pack::open(dir.path()).map(|pack| pack.write_gz(std::io::sink(), &options)));
    });
    group.bench_function("pack without gzip", |bencher| {
        bencher.iter(|| Pack::open(dir.path()).map(|pack| pack.write_tar(std::io::sink())));
    });
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
