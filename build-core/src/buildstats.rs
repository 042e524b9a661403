//! How long each test takes on each builder, from the spans of past builds.
//!
//! ```
//! use build_core::buildstats::{TestSpan, TestStats};
//! use std::time::Duration;
//!
//! let span = |seconds| TestSpan { builder: "linux-amd64".into(), test: "go_test:fmt".into(), seconds };
//! let stats = TestStats::of([1.0, 2.0, 3.0, 4.0, 100.0].map(span));
//! assert_eq!(stats.duration("linux-amd64", "go_test:fmt"), Duration::from_secs(3));
//! assert_eq!(stats.duration("linux-amd64", "go_test:net"), Duration::from_secs(3), "unknown");
//! assert_eq!(stats.text(), "linux-amd64\tgo_test:fmt\t3.0 seconds\t5\n");
//! ```

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

/// What a test is taken to last that nobody has seen.
pub const UNKNOWN: Duration = Duration::from_secs(3);
/// How far back spans are looked at.
pub const WINDOW: Duration = Duration::from_secs(500 * 3600);
/// What the event of a span begins with that ran a test.
const RUN_TEST: &str = "run_test:";

/// A step of a build, as the coordinator records it; what is not needed here is left out.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Span<'a> {
    /// The repository.
    pub repo: &'a str,
    /// The builder.
    pub builder: &'a str,
    /// What it was.
    pub event: &'a str,
    /// What went wrong; empty: nothing.
    pub error: &'a str,
    /// When it began, seconds since 1970.
    pub start: i64,
    /// How long it took.
    pub seconds: f64,
}

/// A test that passed.
#[derive(Clone, Debug, PartialEq)]
pub struct TestSpan {
    /// Where.
    pub builder: String,
    /// Which, such as `go_test:net/http`.
    pub test: String,
    /// How long it took.
    pub seconds: f64,
}

impl TestSpan {
    /// The test that a span ran: one of the main repository that passed, in the time before
    /// `now`, seconds since 1970, that is looked at.
    #[must_use]
    pub fn of(span: &Span<'_>, now: i64) -> Option<Self> {
        let oldest = now.saturating_sub_unsigned(WINDOW.as_secs());
        let test = span.event.strip_prefix(RUN_TEST)?;
        let counts = span.repo == "go"
            && span.error.is_empty()
            && span.start >= oldest
            && span.seconds.is_finite()
            && span.seconds >= 0.0;
        counts.then(|| Self {
            builder: span.builder.to_owned(),
            test: test.to_owned(),
            seconds: span.seconds,
        })
    }
}

/// A test on a builder.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TestSpeed {
    /// The builder.
    pub builder: String,
    /// The test.
    pub test: String,
    /// The median of how long it took.
    pub seconds: f64,
    /// How often it was seen.
    pub runs: usize,
}

/// The tests of all builders.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TestStats(BTreeMap<String, BTreeMap<String, (f64, usize)>>);

impl TestStats {
    /// From tests that passed.
    #[must_use]
    pub fn of(spans: impl IntoIterator<Item = TestSpan>) -> Self {
        let mut seen: BTreeMap<String, BTreeMap<String, Vec<f64>>> = BTreeMap::new();
        for span in spans {
            seen.entry(span.builder)
                .or_default()
                .entry(span.test)
                .or_default()
                .push(span.seconds);
        }
        let tests = |tests: BTreeMap<String, Vec<f64>>| {
            tests
                .into_iter()
                .map(|(test, times)| (test, median(times)))
                .collect()
        };
        Self(
            seen.into_iter()
                .map(|(builder, of)| (builder, tests(of)))
                .collect(),
        )
    }

    /// How long a test is likely to take; [`UNKNOWN`] when nobody has seen it.
    #[must_use]
    pub fn duration(&self, builder: &str, test: &str) -> Duration {
        let known = self.0.get(builder).and_then(|tests| tests.get(test));
        known
            .and_then(|(seconds, _)| Duration::try_from_secs_f64(*seconds).ok())
            .unwrap_or(UNKNOWN)
    }

    /// The builders, in order.
    pub fn builders(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// The tests of a builder, in order.
    pub fn tests(&self, builder: &str) -> impl Iterator<Item = &str> {
        self.0
            .get(builder)
            .into_iter()
            .flat_map(|tests| tests.keys().map(String::as_str))
    }

    /// All of it, by builder and test.
    pub fn rows(&self) -> impl Iterator<Item = TestSpeed> + '_ {
        self.0.iter().flat_map(|(builder, tests)| {
            tests.iter().map(|(test, (seconds, runs))| TestSpeed {
                builder: builder.clone(),
                test: test.clone(),
                seconds: *seconds,
                runs: *runs,
            })
        })
    }

    /// A line for each test: builder, test, seconds, runs.
    #[must_use]
    pub fn text(&self) -> String {
        let line = |row: TestSpeed| {
            format!(
                "{}\t{}\t{:.1} seconds\t{}\n",
                row.builder, row.test, row.seconds, row.runs
            )
        };
        self.rows().map(line).collect()
    }
}

/// The median, and of how many.
fn median(mut times: Vec<f64>) -> (f64, usize) {
    times.sort_by(f64::total_cmp);
    let runs = times.len();
    let upper = times.get(runs / 2).copied().unwrap_or_default();
    let lower = if runs.is_multiple_of(2) {
        times
            .get((runs / 2).wrapping_sub(1))
            .copied()
            .unwrap_or(upper)
    } else {
        upper
    };
    (f64::midpoint(lower, upper), runs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_tests_that_passed_lately_count() {
        let good = Span {
            repo: "go",
            builder: "b",
            event: "run_test:x",
            error: "",
            start: 1000,
            seconds: 2.0,
        };
        let test = TestSpan::of(&good, 2000).unwrap();
        assert_eq!((test.test.as_str(), test.seconds), ("x", 2.0));
        for bad in [
            Span {
                repo: "net",
                ..good.clone()
            },
            Span {
                event: "make_and_test",
                ..good.clone()
            },
            Span {
                error: "exit status 1",
                ..good.clone()
            },
            Span {
                seconds: f64::NAN,
                ..good.clone()
            },
        ] {
            assert_eq!(TestSpan::of(&bad, 2000), None, "{bad:?}");
        }
        assert_eq!(TestSpan::of(&good, 1001 + 500 * 3600), None, "long ago");
    }

    #[test]
    fn medians_of_any_number() {
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), (2.5, 4));
        assert_eq!(median(vec![5.0]), (5.0, 1));
        let span = |builder: &str, test: &str| TestSpan {
            builder: builder.into(),
            test: test.into(),
            seconds: 1.0,
        };
        let stats = TestStats::of([span("b", "y"), span("b", "x"), span("a", "z")]);
        assert_eq!(stats.builders().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(stats.tests("b").collect::<Vec<_>>(), ["x", "y"]);
        assert_eq!(stats.tests("c").count(), 0);
    }
}
