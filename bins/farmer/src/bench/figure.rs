//! What a bench found.

use std::time::Instant;

use serde::Serialize;

/// How often each thing is measured.
pub(super) const REPEATS: usize = 5;

/// One figure: the median, and all samples.
#[derive(Serialize)]
pub(super) struct Figure {
    pub(super) bench: &'static str,
    what: String,
    pub(super) value: f64,
    unit: &'static str,
    samples: Vec<f64>,
}

impl Figure {
    pub(super) fn new(
        bench: &'static str,
        what: impl Into<String>,
        unit: &'static str,
        samples: Vec<f64>,
    ) -> Self {
        let mut sorted = samples.clone();
        sorted.sort_by(f64::total_cmp);
        Self {
            bench,
            what: what.into(),
            value: sorted[sorted.len() / 2],
            unit,
            samples,
        }
    }

    /// The line that people read.
    pub(super) fn line(&self) -> String {
        format!(
            "{:<10} {:>12.0} {:<10} {}\n",
            self.bench, self.value, self.unit, self.what
        )
    }
}

/// Runs that each give how much was done; the figure is per second.
pub(super) fn measure(
    bench: &'static str,
    what: String,
    unit: &'static str,
    mut run: impl FnMut() -> f64,
) -> Figure {
    let samples = (0..REPEATS).map(|_| per_second(&mut run)).collect();
    Figure::new(bench, what, unit, samples)
}

fn per_second(run: &mut impl FnMut() -> f64) -> f64 {
    let begin = Instant::now();
    let done = run();
    done / begin.elapsed().as_secs_f64()
}
