//! The real program on real repositories.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod answers;
mod backup;
mod chaos;
mod conditions;
mod coordinator;
mod damage;
mod errors;
mod farms;
mod gomote;
mod gomoteserver;
mod interop;
mod join;
mod join_apart;
mod kill;
mod kinds;
mod limits;
mod links;
mod news;
mod others;
mod people;
mod processes;
mod query;
mod repo;
mod sessions;
mod sources;
mod ssh;
mod steps;
mod together;
mod told;
mod tool_caches;
mod up;
