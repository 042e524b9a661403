//! `perf`: compares results of benchmarks.

use std::ffi::OsString;
use std::io::{Read as _, Write as _};
use std::process::ExitCode;

use build_core::benchfmt::{Reader, Result as Bench};
use build_core::benchstat::tables;
use clap::{Parser, Subcommand};
use farmer_cli::{Failure, Out, blocking};

/// Compares results of benchmarks by their order alone: medians, Mann-Whitney U test.
#[derive(Parser, Debug)]
#[command(
    name = "perf",
    after_help = "Examples:\n  perf compare old.txt new.txt\n  perf compare base=old.txt fast=new.txt \
        -json\n  go test -bench . -count 10 | perf compare -\n\n\
        A change is told when the test gives it less than -alpha by chance; otherwise there is ~."
)]
struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand, Debug)]
enum What {
    /// Compares files with the first of them; one file is summed up.
    Compare {
        /// Files in benchmark format, `NAME=FILE` to name them, `-` for standard input.
        #[arg(required = true, value_name = "FILE")]
        files: Vec<String>,
        /// Differences that are at least so probable by chance are none.
        #[arg(long, default_value_t = 0.05)]
        alpha: f64,
        /// Labels by which rows are told apart, besides the benchmark's name.
        #[arg(long, value_name = "LABEL")]
        by: Vec<String>,
        /// Prints JSON.
        #[arg(long)]
        json: bool,
    },
}

pub(crate) fn main(args: Vec<OsString>) -> ExitCode {
    blocking::<Args>(args, |args, out| match &args.what {
        What::Compare {
            files,
            alpha,
            by,
            json,
        } => compare(files, *alpha, by, *json, out),
    })
}

fn compare(
    files: &[String],
    alpha: f64,
    by: &[String],
    json: bool,
    out: &mut Out,
) -> Result<(), Failure> {
    if !(alpha > 0.0 && alpha < 1.0) {
        return Err(Failure::usage(
            format!("{alpha} is no probability"),
            "give -alpha a number between 0 and 1, such as 0.05",
        ));
    }
    let sets = files
        .iter()
        .map(|file| read(file))
        .collect::<Result<Vec<_>, _>>()?;
    let by: Vec<&str> = by.iter().map(String::as_str).collect();
    let tables = tables(&sets, &by, alpha);
    if json {
        let text = serde_json::to_string_pretty(&tables).map_err(anyhow::Error::from)?;
        writeln!(out, "{text}")?;
        return Ok(());
    }
    for (n, table) in tables.iter().enumerate() {
        if n > 0 {
            writeln!(out)?;
        }
        write!(out, "{}", table.to_text())?;
    }
    Ok(())
}

/// The results in a file, under its name.
fn read(file: &str) -> Result<(String, Vec<Bench>), Failure> {
    let (name, path) = file.split_once('=').unwrap_or((file, file));
    let mut bytes = Vec::new();
    let read = match path {
        "-" => std::io::stdin().read_to_end(&mut bytes).map(drop),
        path => std::fs::File::open(path).and_then(|mut f| f.read_to_end(&mut bytes).map(drop)),
    };
    read.map_err(|e| Failure::usage(format!("read {path}: {e}"), "name a file with results"))?;
    let text = String::from_utf8_lossy(&bytes);
    let results: Vec<Bench> = Reader::new(&text).collect();
    if results.is_empty() {
        return Err(Failure::usage(
            format!("{path} holds no results of benchmarks"),
            "a result is a line such as: BenchmarkSort-8 1000 1234 ns/op",
        ));
    }
    Ok((name.to_owned(), results))
}
