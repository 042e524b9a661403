//! Machines for people, from the side of who uses them.
//!
//! [`GomoteClient`] asks a coordinator for machines by the interface of December 2020
//! (docs/protocol/gomote.md); each one is then an [`HttpBuildlet`](crate::HttpBuildlet) whose
//! requests go through that coordinator. [`push`] brings a tree of files to a machine and sends
//! nothing that is there already; [`run`] runs a command whose output survives lost connections;
//! [`Folder`] and [`groups`] know the files in which Go's program keeps names and tokens.

mod client;
mod folder;
pub mod groups;
pub mod push;
mod run;

pub use client::{
    Credentials, Event, GomoteClient, Listed, Reproduced, SshTicket, Step, seconds_until,
};
pub use folder::{Folder, Login};
pub use run::{Running, run};
