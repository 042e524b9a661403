//! Archives and logs against the programs people use: GNU tar, gzip, pigz.
//!
//! `cargo bench -p build-core --bench peers -- archives TREE [RUNS]` packs and unpacks TREE;
//! `cargo bench -p build-core --bench peers -- logs [GIGABYTES]` measures the live log.
//! Runs alternate between the sides; raw samples are printed below each table.

mod archives;
mod logs;
mod samples;

use std::path::Path;

fn main() {
    // Cargo itself adds `--bench`.
    let args: Vec<String> = std::env::args()
        .skip(1)
        .filter(|arg| arg != "--bench")
        .collect();
    let number = |at: usize, default: u64| {
        args.get(at)
            .and_then(|arg| arg.parse().ok())
            .unwrap_or(default)
    };
    match args.first().map(String::as_str) {
        Some("archives") if args.len() > 1 => archives::run(Path::new(&args[1]), number(2, 10)),
        Some("logs") => logs::run(number(1, 10)),
        _ => {
            println!(
                "nothing measured; usage: peers archives TREE [RUNS] | peers logs [GIGABYTES]"
            );
        }
    }
}
