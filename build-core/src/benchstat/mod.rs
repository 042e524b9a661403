//! Statistics of benchmarks: summaries, comparisons of two sets, changes in a series.
//!
//! Results of benchmarks are not normally distributed: a summary is the median with an interval
//! from the order of the values, a comparison is the Mann-Whitney U test, changes in a series
//! are found by Pettitt's test. All three look at the order of the values alone.
//!
//! ```
//! use build_core::benchstat::{Compare, Sample};
//!
//! let old = Sample::new([10.0, 10.1, 9.9, 10.2, 10.0, 9.8]);
//! let new = Sample::new([8.0, 8.1, 7.9, 8.2, 8.0, 7.8]);
//! let compared = Compare::of(&old, &new, 0.05);
//! assert!(compared.p.unwrap() < 0.01);
//! assert_eq!(compared.delta.map(|d| format!("{:+.1}%", d * 100.0)).unwrap(), "-20.0%");
//! ```

mod change;
mod rank;
mod sample;
mod table;

pub use change::{Change, changes};
pub use rank::mann_whitney;
pub use sample::{Compare, Sample, Summary, geomean};
pub use table::{Cell, Row, Table, tables};
