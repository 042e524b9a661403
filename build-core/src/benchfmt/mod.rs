//! The format in which benchmarks print their results, as lines of text.
//!
//! ```text
//! commit: 1a2b3c            a label: it holds for the results after it
//! BenchmarkSort/n=10-8  1000  1234 ns/op  16 B/op  1 allocs/op
//! Unit ns/op better=lower   what is known of a unit
//! ```
//!
//! A label's key begins with a lower-case letter and holds no blank and no upper-case letter;
//! an empty value takes the label back. A result is a name that begins with `Benchmark` and an
//! upper-case letter or digit, a count of iterations, then pairs of a value and its unit. Any
//! other line is not of the format, and is passed over.
//!
//! ```
//! use build_core::benchfmt::Reader;
//!
//! let text = "commit: 1a2b3c\nBenchmarkSort/n=10-8 1000 1234 ns/op 16 B/op\nok x 1s\n";
//! let results: Vec<_> = Reader::new(text).collect();
//! assert_eq!(results[0].name().full(), "Sort/n=10-8");
//! assert_eq!(results[0].value("ns/op"), Some(1234.0));
//! assert_eq!(results[0].labels["commit"], "1a2b3c");
//! ```

mod name;
mod query;
mod reader;
mod unit;

pub use name::Name;
pub use query::{Op, Query, Term};
#[cfg(any(test, feature = "testing"))]
#[doc(hidden)]
pub use reader::fuzz_benchfmt;
pub use reader::{Measure, Reader, Result, is_label_key, label_of};
pub use unit::{Better, better, scaled};
