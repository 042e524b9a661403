//! Machines for people, from the side of who uses them.
//!
//! [`GomoteClient`] asks a coordinator for machines by the interface of December 2020, or, with the
//! feature `gomote-grpc`, by that of later years (docs/protocol/gomote.md); each one is then a
//! [`Buildlet`](build_core::buildlet::Buildlet) whose requests go through that coordinator. [`push`] brings a tree of files to a machine and sends
//! nothing that is there already; [`run`] runs a command whose output survives lost connections;
//! [`Folder`] and [`groups`] know the files in which Go's program keeps names and tokens.

mod client;
mod credentials;
mod folder;
pub mod groups;
#[cfg(feature = "gomote-grpc")]
mod grpc;
#[cfg(feature = "gomote-grpc")]
mod later;
#[cfg(feature = "gomote-grpc")]
#[expect(
    missing_docs,
    clippy::pedantic,
    reason = "made from build-server/proto/gomote.proto"
)]
#[rustfmt::skip]
pub mod protos;
pub mod push;
mod run;
mod told;

pub use client::GomoteClient;
pub use credentials::Credentials;
pub use folder::{Folder, Login};
#[cfg(feature = "gomote-grpc")]
pub use grpc::metadata;
#[cfg(feature = "gomote-grpc")]
pub use later::Api;
pub use run::{Running, run};
pub use told::{Event, Listed, Reproduced, SshTicket, Step, seconds_until};
