//! The buildlet: the agent that runs on each machine.
//!
//! [`BuildletServer`] takes files, runs commands and gives files back, over HTTP in the dialect
//! of [`build_core::h1`]; protocol facts: docs/protocol/buildlet.md. Beside the calls of the Go
//! buildlet it knows detached commands, whose output is spooled to disk, and leases, at whose
//! end it ends everything and itself.
//!
//! A request comes in through `listen`, `connection` and `routes`; a handler answers it
//! (`files`, `listing`, `archives`, `exec`, `detached_calls`, `machine`, `ssh`, `debug`); what it
//! starts is in `processes`, what outlives its connection in `detached`. Work that blocks runs
//! on threads, fed through `bridge`.
//!
//! The buildlet runs whatever it is told by whoever may connect: see [`Listener::is_exposed`].
//! Linux only: the ends of process trees are looked up in `/proc`.

mod agent;
mod answer;
mod archives;
mod attached;
mod bridge;
mod config;
mod connection;
mod debug;
mod detached;
mod detached_calls;
mod exec;
mod fetch;
mod files;
pub mod groups;
mod lease;
#[cfg(feature = "coordinator")]
mod leftovers;
mod listen;
mod listing;
mod machine;
mod paths;
mod processes;
mod resting;
mod routes;
pub mod sandbox;
mod server;
#[cfg(feature = "buildlet-sftp")]
mod sftp;
mod ssh;
mod state;
mod tcp_proxy;
#[cfg(feature = "buildlet-tls")]
mod tls;
mod trees;

#[cfg(feature = "coordinator")]
pub(crate) use leftovers::Leftovers;

pub use config::{Config, SshAccess};
pub use listen::{Address, Listener};
pub use machine::{ARCH, OS};
pub use server::{BuildletServer, Ended, Error, Held};
pub use state::{Description, StateError};
#[cfg(feature = "buildlet-tls")]
pub use tls::{ServerTls, TlsError};
