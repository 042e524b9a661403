//! The sessions of gomote users by OpenSSH's own `ssh`, `scp`, `sftp` and `rsync`.
//!
//! A [`Gateway`] listens on a port of its own and speaks ssh. The login name is the name of a
//! session (`ssh -p 2222 user-ann-linux-amd64-0@farm`), as it was in 2020. Whoever comes shows
//! either a public key that the [`Directory`](crate::who::Directory) knows
//! ([`SshKey`](crate::who::SshKey)), or a certificate that this farm's own [`Authority`] has
//! signed, as the newest gomote does it; and must own the session, or be an admin.
//!
//! Machines need no ssh server: their buildlet runs the command, on a terminal if wanted
//! (`/exec/attached`, see [`build_core::buildlet::ToCommand`]), over whatever connection the
//! coordinator has to it. As long as somebody is connected the session does not expire.
//!
//! docs/ssh.md tells how to use it.

mod agent;
mod authority;
mod command;
mod converse;
mod cut;
mod files;
mod forward;
mod gateway;
mod hosted;
mod inlet;
#[cfg(feature = "gomote-grpc")]
mod keys;
mod machine;
mod settings;
mod ticket;
mod transcript;
mod visitor;

pub use authority::{Authority, CertificateError, PRINCIPAL_DOMAIN};
pub use gateway::Gateway;
pub use settings::Settings;
pub use ticket::Tickets;
