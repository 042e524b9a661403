//! Servers beside the coordinator: each a module with an entry point.

mod door;
mod gitmirror;
mod hooks;
mod listen;
mod perfdata;
mod pubsubhelper;
mod tip;
mod vcweb;

use farmer_cli::Program;

/// The programs of the group, by name.
pub const PROGRAMS: &[(&str, Program)] = &[
    ("gitmirror", gitmirror::main),
    ("issueswebhook", hooks::issues),
    ("perfdata", perfdata::main),
    ("tip", tip::main),
    ("pubsubhelper", pubsubhelper::main),
    ("sendwikidiff", hooks::wiki_mail),
    ("vcweb", vcweb::main),
    ("wikiwebhook", hooks::wiki),
];
