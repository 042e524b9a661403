//! Samples of one side, and tables of several.

use std::time::{Duration, Instant};

/// Seconds of each run of one side, and what else is known of it.
pub(crate) struct Side {
    pub(crate) name: String,
    pub(crate) seconds: Vec<f64>,
    pub(crate) note: String,
}

impl Side {
    pub(crate) fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            seconds: Vec::new(),
            note: String::new(),
        }
    }

    pub(crate) fn time<T>(&mut self, run: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let done = run();
        self.seconds.push(start.elapsed().as_secs_f64());
        done
    }

    fn median(&self) -> f64 {
        quantile(&self.seconds, 0.5)
    }
}

/// A quantile of samples in any order.
pub(crate) fn quantile(samples: &[f64], q: f64) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let last = sorted.len().saturating_sub(1);
    sorted
        .get((last as f64 * q).round() as usize)
        .copied()
        .unwrap_or_default()
}

/// One line per side, each compared with the last one, then the samples.
pub(crate) fn print(title: &str, sides: &[Side]) {
    println!("\n### {title}\n");
    println!("| side | median s | min | max | last / this | note |\n|---|---|---|---|---|---|");
    let peer = sides.last().map_or(0.0, Side::median);
    for side in sides {
        let (low, high) = (quantile(&side.seconds, 0.0), quantile(&side.seconds, 1.0));
        let ratio = peer / side.median();
        println!(
            "| {} | {:.3} | {low:.3} | {high:.3} | {ratio:.2} | {} |",
            side.name,
            side.median(),
            side.note
        );
    }
    println!();
    for side in sides {
        let raw: Vec<String> = side
            .seconds
            .iter()
            .map(|seconds| format!("{seconds:.3}"))
            .collect();
        println!("- {}: {}", side.name, raw.join(" "));
    }
}

/// `p50 / p99 / max` of latencies.
pub(crate) fn latencies(samples: &[Duration]) -> String {
    let micros: Vec<f64> = samples
        .iter()
        .map(|sample| sample.as_secs_f64() * 1e6)
        .collect();
    let at = |q| quantile(&micros, q);
    format!(
        "p50 {:.0} µs, p99 {:.0} µs, max {:.0} µs ({} samples)",
        at(0.5),
        at(0.99),
        at(1.0),
        micros.len()
    )
}

/// A line of `/proc/self/status` in KiB, or 0 where there is none.
pub(crate) fn status_kib(key: &str) -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(key));
    line.and_then(|rest| {
        rest.trim_matches(|c: char| !c.is_ascii_digit())
            .parse()
            .ok()
    })
    .unwrap_or_default()
}
