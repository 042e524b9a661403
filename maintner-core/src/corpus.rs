//! The corpus: everything a log says, in columns, with the texts left in the log.
//!
//! Loading is two steps. [`scan`] turns pieces of the log into flat operations, in parallel and
//! ahead; `apply` replays them, entity by entity. A first load and an update of one record take
//! the same way. Readers hold an immutable [`View`]; the writer prepares the next one beside it.

mod anomaly;
pub(crate) mod apply;
mod checked;
mod checkpoint;
pub(crate) mod chunk;
pub(crate) mod commits;
mod dump;

pub(crate) mod gerrit;
pub(crate) mod github;
mod intern;
mod keeper;
pub(crate) mod load;
mod options;
mod scan;
pub(crate) mod store;
pub(crate) mod text;
mod view;

pub use anomaly::{Anomalies, Anomaly};
pub use commits::fuzz_commit;
pub use gerrit::meta::Status;
pub use options::Options;
pub use store::Corpus;
pub use view::View;

#[cfg(test)]
mod tests;
