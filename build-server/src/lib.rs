//! The servers of a build farm, as libraries.
//!
//! Each server is a feature; nothing here touches the environment, flags or signals of the
//! process: that is left to the programs.
//!
//! A farm that builds every commit of a repository on two buildlets of this machine:
//!
//! ```no_run
//! # #[cfg(all(feature = "coordinator", feature = "buildlet"))]
//! # async fn farm() -> build_core::Result<()> {
//! use build_core::recipe::Detect;
//! use build_server::coordinator::Coordinator;
//! use build_server::pool::LocalPool;
//! use build_server::source::GitSource;
//! use build_server::store::Store;
//!
//! let coordinator = Coordinator::builder()
//!     .source(GitSource::watch("/srv/project"))
//!     .recipe(Detect)
//!     .pool(LocalPool::new("/usr/bin/farmer", 2))
//!     .store(Store::memory())
//!     .build()?;
//! let handle = coordinator.handle();
//! let running = tokio_util::sync::CancellationToken::new();
//! coordinator.run(running).await
//! # }
//! ```
//!
//! And the same scheduler, engine and recovery for a simulated hour, with everything that can fail:
//!
//! ```
//! # #[cfg(feature = "sim")] {
//! use build_core::schedule::Fifo;
//! use build_server::sim::{Faults, HOUR, Sim};
//!
//! let report = Sim::seed(7).policy(Fifo).machines(5).faults(Faults::ALL).run_for(HOUR).check()?;
//! assert!(report.builds() > 0);
//! # }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#[cfg(feature = "coordinator")]
pub mod archives;
#[cfg(feature = "sqlite")]
pub mod backup;
#[cfg(feature = "buildlet")]
pub mod buildlet;
#[cfg(feature = "child")]
pub mod child;
#[cfg(feature = "classic")]
pub mod classic;
#[cfg(feature = "coordinator")]
pub mod coordinator;
#[cfg(feature = "web")]
pub mod dashboard;
#[cfg(feature = "sqlite")]
pub mod doctor;
#[cfg(any(
    feature = "buildlet",
    feature = "coordinator",
    feature = "gitmirror",
    feature = "perf",
    feature = "readers",
    feature = "tip",
    feature = "who"
))]
mod file_lock;
#[cfg(feature = "coordinator")]
pub mod flakes;
#[cfg(feature = "front")]
pub mod front;
#[cfg(feature = "gitmirror")]
pub mod gitmirror;
#[cfg(feature = "gomote")]
pub mod gomote;
#[cfg(feature = "grpc")]
pub mod grpc;
#[cfg(feature = "hooks")]
pub mod hooks;
#[cfg(feature = "http")]
pub mod http;
#[cfg(feature = "https")]
pub mod https;
#[cfg(feature = "coordinator")]
pub mod kind;
#[cfg(feature = "modproxy")]
pub mod modproxy;
#[cfg(feature = "coordinator")]
pub mod notify;
#[cfg(feature = "coordinator")]
pub mod outcomes;
#[cfg(feature = "perf")]
pub mod perf;
#[cfg(feature = "coordinator")]
pub mod pool;
#[cfg(all(feature = "buildlet", feature = "http"))]
pub mod programs;
#[cfg(feature = "pubsub")]
pub mod pubsub;
#[cfg(feature = "readers")]
pub mod readers;
#[cfg(feature = "coordinator")]
pub mod record;
#[cfg(feature = "coordinator")]
pub mod rerun;
#[cfg(feature = "coordinator")]
pub mod retention;
#[cfg(feature = "coordinator")]
pub mod run;
#[cfg(feature = "sim")]
pub mod sim;
pub mod singleflight;
#[cfg(feature = "coordinator")]
pub mod source;
pub mod spanlog;
#[cfg(feature = "coordinator")]
mod spread;
#[cfg(feature = "ssh")]
pub mod ssh;
#[cfg(feature = "coordinator")]
pub mod store;
pub mod supervise;
#[cfg(feature = "testing")]
pub mod testing;
#[cfg(feature = "tip")]
pub mod tip;
#[cfg(feature = "coordinator")]
pub mod toolchains;
#[cfg(feature = "otel")]
pub mod traces;
#[cfg(feature = "vcweb")]
pub mod vcweb;
#[cfg(feature = "web")]
pub mod web;
#[cfg(feature = "who")]
pub mod who;
