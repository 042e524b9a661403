//! Machines for people: created by name, used through the coordinator, given back.
//!
//! A gomote session is a [`Session`](crate::coordinator::Session) with a name and an owner. This
//! module serves them as the coordinator of December 2020 does (docs/protocol/gomote.md):
//! `/buildlet/create`, `/buildlet/list`, and every request with `X-Buildlet-Proxy: NAME`, which
//! goes on to that machine. [`Gomote`] is a [`Dialect`](crate::front::Dialect) of the front door,
//! for answers with trailers and connections that are taken over need HTTP/1.1 as it stands.
//!
//! With the feature `gomote-grpc` the same sessions are served as the Go project's gomote of later
//! years speaks ([`GomoteService`]), with the files that it hands over ([`Objects`]).
//!
//! A session lasts for [`Settings::ttl`] after its last use, and longer while a command runs on it
//! that was started to go on by itself ([`Settings::unattended`]), is found again after a crash of the
//! coordinator, and belongs to who created it alone. What clients show of themselves is checked
//! by a [`Directory`](crate::who::Directory) and never reaches a machine.

mod create;
mod dialect;
mod instance;
#[cfg(feature = "gomote-grpc")]
mod objects;
mod proxy;
mod repro;
#[cfg(feature = "gomote-grpc")]
mod service;
mod sessions;
mod settings;
mod tunnel;
mod unattended;
mod user;

#[cfg(feature = "gomote-grpc")]
pub use build_client::gomote::protos;
pub use dialect::Gomote;
pub use instance::{Ended, Instance};
#[cfg(feature = "gomote-grpc")]
pub use objects::{ObjectLimits, Objects};
#[cfg(feature = "gomote-grpc")]
pub use service::{GomoteService, SshDoor, SshKeys};
pub use sessions::{Creating, Sessions, Unusable, Use, Waiting, Watcher};
pub use settings::{Ports, Settings};
pub use user::User;

/// The descriptors of `proto/gomote.proto`.
#[cfg(feature = "gomote-grpc")]
pub const PROTOS: &[u8] = include_bytes!("../../proto/gomote.bin");
