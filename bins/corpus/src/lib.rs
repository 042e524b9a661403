//! Programs over the corpus: each a module with an entry point.

#[cfg(feature = "sql")]
mod ask;
pub mod cl;
pub mod gopherstats;
pub mod gostats;
pub mod live;
pub mod maintnerd;
pub mod maintq;
pub mod maintserve;
pub mod maintwatch;
#[cfg(feature = "parquet")]
mod parquet;
#[cfg(feature = "sql")]
pub mod query;
pub mod relnote;
mod rows;
#[cfg(feature = "sql")]
mod sql;
mod text_format;
pub mod updatecontrib;

use farmer_cli::Program;

/// The programs of the group, by name.
pub const PROGRAMS: &[(&str, Program)] = &[
    ("cl", cl::main),
    ("gopherstats", gopherstats::main),
    ("gostats", gostats::main),
    ("maintnerd", maintnerd::main),
    ("maintq", maintq::main),
    ("maintserve", maintserve::main),
    ("maintwatch", maintwatch::main),
    ("relnote", relnote::main),
    ("updatecontrib", updatecontrib::main),
];
