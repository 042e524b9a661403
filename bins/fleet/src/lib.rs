//! Programs that make and keep machines and their images: each a module with an entry point.

pub mod genbootstrap;
pub mod rundockerbuildlet;
pub mod stage0;
pub mod testssh;
pub mod xb;

use farmer_cli::Program;

/// The programs of the group, by name.
pub const PROGRAMS: &[(&str, Program)] = &[
    ("genbootstrap", genbootstrap::main),
    ("rundockerbuildlet", rundockerbuildlet::main),
    ("stage0", stage0::main),
    ("testssh", testssh::main),
    ("xb", xb::main),
];
