//! Types, protocols and state machines of a build farm.
//!
//! Nothing here does IO, reads a clock or starts a task: the scheduler and the
//! build engine are state machines, the protocols are codecs over bytes, and the
//! seams ([`clock::Clock`], [`buildlet::Buildlet`], [`pool::Pool`],
//! [`schedule::Policy`], [`recipe::Recipe`], [`work::WorkSource`]) are traits
//! that the crates above implement.
//!
//! A build planned, its tests spread over machines, its turn taken, all in memory:
//!
//! ```
//! use build_core::clock::Timestamp;
//! use build_core::ids::{BuildId, BuilderName, HostType, MachineId, StepName};
//! use build_core::plan::{Part, Plan, Step, Unit};
//! use build_core::schedule::{Action, Event, Fifo, Labels, Machine, Scheduler, Waiter, WaiterId};
//! use build_core::shard;
//! use build_core::work::Class;
//!
//! # fn main() -> build_core::Result<()> {
//! let build = Step::new(StepName::new("build")?, "make");
//! let test = Step::new(StepName::new("test")?, "make test").needing(&build.name);
//! let plan = Plan::new(vec![test, build], "written by hand")?;
//! assert_eq!(plan.steps[0].name.as_str(), "build");
//!
//! let tests = shard::parse_listing(b"parse print scan");
//! let shards = shard::spread(&tests, 2, &shard::Durations::default());
//! assert_eq!(shards.iter().map(Vec::len).sum::<usize>(), 3);
//!
//! let mut scheduler = Scheduler::new(Fifo);
//! let waiter = Waiter {
//!     id: WaiterId {
//!         build: BuildId::from_bits(1).into(),
//!         unit: Unit { step: plan.steps[0].name.clone(), part: Part::Whole },
//!     },
//!     builder: BuilderName::new("linux")?,
//!     host_type: HostType::new("linux")?,
//!     needs: Labels::default(),
//!     tags: Labels::default(),
//!     class: Class::DefaultTip,
//!     author: None,
//!     repo: None,
//!     commit_time: Timestamp::default(),
//!     enqueued: Timestamp::default(),
//!     deadline: None,
//!     helper: false,
//! };
//! let machine = Machine::new(MachineId::new("m1")?, HostType::new("linux")?, Labels::default());
//! assert!(scheduler.step(Event::Enter(waiter), Timestamp::default()).is_empty());
//! let granted = scheduler.step(Event::Up(machine), Timestamp::default());
//! assert!(matches!(granted[..], [Action::Grant { .. }]));
//! # Ok(()) }
//! ```
//!
//! # Features
//!
//! - `io`: thin shells of the protocols over tokio's IO traits.
//! - `config`: `.farmer.toml` and detection, [`recipe`].
//! - `testing`: mistakes that the simulation must find.
//! - `libdeflate`: packs with a C library, faster.

pub mod benchfmt;
pub mod benchstat;
pub mod bootstrap_trim;
pub mod buildenv;
pub mod builders;
pub mod buildlet;
pub mod buildstats;
pub mod clock;
pub mod content_type;
pub mod dispatch;
pub mod engine;
pub mod env_list;
pub mod error;
pub mod event;
pub mod flakes;
pub mod flaky_log;
pub mod foreach;
pub mod go_json;
pub mod goversion;
pub mod h1;
pub mod ids;
pub mod key;
pub mod livelog;
pub mod log_failures;
pub mod log_hash;
pub mod machine;
pub mod name;
pub mod plan;
#[cfg(any(test, feature = "testing"))]
pub mod plant;
pub mod pool;
pub mod pubsubtypes;
pub mod racebuild;
pub mod read_at;
pub mod reader;
pub mod recipe;
pub mod ref_rules;
pub mod report;
pub mod repos;
pub mod repository;
pub mod rerun;
pub mod retry;
pub mod revdial;
pub mod schedule;
pub mod sentences;
pub mod service_file;
pub mod shard;
pub mod spanlog;
pub mod status_json;
pub mod tarutil;
pub mod test_lines;
#[cfg(unix)]
pub mod tree;
pub mod webhook;
pub mod wish;
pub mod work;
pub mod xb;

pub use error::{Error, ErrorKind, Result};
