//! Programs of a developer's and a release manager's day: each a module with an entry point.

pub mod buildstats;
pub mod fetchlogs;
pub mod genbuilderkey;
pub mod gerritctl;
pub mod gitauth;
pub mod gomote;
pub mod gophers;
pub mod greplogs;
mod perf;
mod perfrun;
pub mod racebuild;
pub mod retrybuilds;
pub mod rmplaysnippet;
mod told;
pub mod updatestd;
pub mod upload;

use farmer_cli::Program;

/// The programs of the group, by name.
pub const PROGRAMS: &[(&str, Program)] = &[
    ("buildstats", buildstats::main),
    ("fetchlogs", fetchlogs::main),
    ("genbuilderkey", genbuilderkey::main),
    ("gerritctl", gerritctl::main),
    ("gitauth", gitauth::main),
    ("gomote", gomote::main),
    ("gophers", gophers::main),
    ("greplogs", greplogs::main),
    ("perf", perf::main),
    ("perfrun", perfrun::main),
    ("racebuild", racebuild::main),
    ("retrybuilds", retrybuilds::main),
    ("rmplaysnippet", rmplaysnippet::main),
    ("updatestd", updatestd::main),
    ("upload", upload::main),
];
