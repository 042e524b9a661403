//! A project's whole history (git, GitHub, Gerrit) in memory, fed by a log of mutations.
//!
//! ```
//! # let dir = tempfile::tempdir()?;
//! # use maintner_core::{log::LogWriter, sample, source::MutationSink};
//! # LogWriter::open(dir.path())?.append_mutations(&sample::mutations())?;
//! use maintner_core::Corpus;
//!
//! let corpus = Corpus::open(dir.path())?;
//! let view = corpus.view();
//! for issue in view.github().repo("golang/go")?.issues().open().label("NeedsFix") {
//!     println!("{} {}", issue.number(), issue.title());
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`Corpus`] is the handle, [`View`] one version of it, [`query`] what can be asked,
//! [`Changes`] how to wait for news and [`View::since`] how to catch up. Texts stay in the mapped log; the rest are columns that
//! all views share. [`dump`] prints a corpus for comparison, [`log`] reads and writes logs,
//! [`pb`] are their messages, [`mutation`] reads them in place, [`source`] is where a log comes
//! from and goes to. By feature: `net` follows a log server and `godata` opens one in a call,
//! `serve` is such a server, `objstore` keeps a log in an object store, `maintapi` (feature
//! `grpc`) answers and asks over gRPC. The format is the one of the Go project's maintner, byte for byte:
//! `docs/protocol/reclog.md`.

pub mod activity;
pub(crate) mod corpus;
pub mod dump;
mod error;
mod follow;
#[cfg(feature = "generate")]
pub mod generate;
#[cfg(feature = "net")]
pub mod godata;
mod hash;
pub mod log;
#[cfg(feature = "grpc")]
pub mod maintapi;
mod map;
pub mod mutation;
#[cfg(feature = "net")]
pub mod net;
#[cfg(feature = "netlog")]
pub mod netlog;
#[cfg(feature = "objstore")]
pub mod objstore;
pub mod pb;
pub mod query;
pub mod relnote;
pub mod review_of;
pub mod reviews;
#[doc(hidden)]
pub mod sample;
#[cfg(feature = "serve")]
pub mod serve;
mod since;
mod snapshot;
pub mod source;
pub mod sync;

pub use corpus::{Anomalies, Anomaly, Corpus, Options, Status, View, fuzz_commit};
pub use error::{Error, Result};
pub use follow::{Change, Changes};
pub use hash::{BadHash, GitHash};
pub use since::{BadMark, Mark, Since, Touch, TouchedRecord};
pub use snapshot::fuzz_snapshot;
