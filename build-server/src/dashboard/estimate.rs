//! How long things usually take, from the records of past builds.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use build_core::Result;
use build_core::ids::{BuilderName, RepoName, StepName};
use build_core::plan::{Part, Unit};
use build_core::sentences::about;

use crate::record::{BuildRow, Timing};
use crate::store::Records;

/// Past runs that an estimate is made of, at most.
const SAMPLES: usize = 20;

/// The median of past runs that passed, and how many they were.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Estimate {
    median: Duration,
    samples: usize,
}

impl Estimate {
    /// The middle of some durations; `None` of none.
    pub(super) fn of(mut spans: Vec<Duration>) -> Option<Self> {
        let samples = spans.len();
        let middle = samples.checked_sub(1)? / 2;
        let (_, median, _) = spans.select_nth_unstable(middle);
        Some(Self {
            median: *median,
            samples,
        })
    }

    /// How far something is that has taken `elapsed`; 99 while it is not over.
    pub(super) fn percent(self, elapsed: Duration) -> u64 {
        let whole = self.median.as_millis().max(1);
        u64::try_from(elapsed.as_millis() * 100 / whole).map_or(99, |percent| percent.min(99))
    }

    /// One after the other.
    fn and(self, next: Self) -> Self {
        Self {
            median: self.median + next.median,
            samples: self.samples.min(next.samples),
        }
    }
}

impl fmt::Display for Estimate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let runs = if self.samples == 1 { "run" } else { "runs" };
        let Self { median, samples } = self;
        write!(f, "about {} (median of {samples} {runs})", about(*median))
    }
}

/// Asks the records once for each step.
pub(super) struct Estimates {
    records: Arc<dyn Records>,
    asked: HashMap<(RepoName, BuilderName, StepName), Vec<Timing>>,
}

impl Estimates {
    pub(super) fn new(records: Arc<dyn Records>) -> Self {
        Self {
            records,
            asked: HashMap::new(),
        }
    }

    /// How long a unit of a build usually takes.
    ///
    /// # Errors
    /// When the records cannot be read.
    pub(super) async fn of(&mut self, row: &BuildRow, unit: &Unit) -> Result<Option<Estimate>> {
        let timings = self.timings(row, &unit.step).await?;
        let alike = timings.iter().filter(|t| is_alike(t.part, unit.part));
        Ok(Estimate::of(alike.map(|t| t.took).collect()))
    }

    /// How long all steps of a build take one after the other, as far as they have a past.
    ///
    /// # Errors
    /// When the records cannot be read.
    pub(super) async fn of_build(&mut self, row: &BuildRow) -> Result<Option<Estimate>> {
        self.of_steps(row, &row.steps).await
    }

    async fn of_steps(&mut self, row: &BuildRow, steps: &[StepName]) -> Result<Option<Estimate>> {
        let mut whole: Option<Estimate> = None;
        for step in steps {
            let timings = self.timings(row, step).await?;
            let step = Estimate::of(timings.iter().map(|t| t.took).collect());
            whole = match (whole, step) {
                (Some(whole), Some(step)) => Some(whole.and(step)),
                (whole, step) => whole.or(step),
            };
        }
        Ok(whole)
    }

    async fn timings(&mut self, row: &BuildRow, step: &StepName) -> Result<&[Timing]> {
        let (repo, builder) = (&row.item.repo, &row.builder);
        let key = (repo.clone(), builder.clone(), step.clone());
        if !self.asked.contains_key(&key) {
            let timings = self.records.timings(repo, builder, step, SAMPLES).await?;
            self.asked.insert(key.clone(), timings);
        }
        Ok(&self.asked[&key])
    }
}

fn is_alike(one: Part, other: Part) -> bool {
    std::mem::discriminant(&one) == std::mem::discriminant(&other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_estimate_is_the_median_and_says_of_how_many() {
        assert_eq!(Estimate::of(Vec::new()), None);
        let spans = [300, 100, 900].map(Duration::from_secs);
        let estimate = Estimate::of(spans.into()).unwrap();
        assert_eq!(estimate.to_string(), "about 5 min (median of 3 runs)");
        assert_eq!(estimate.percent(Duration::from_secs(150)), 50);
        assert_eq!(estimate.percent(Duration::from_secs(1_000_000)), 99);
    }
}
