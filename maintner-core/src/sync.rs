//! Where new mutations come from: the hosts, compared with what the log has.
//!
//! ```text
//! HostReader::step(view) -> mutations -> log (durable) -> corpus (visible) -> step again
//! ```
//!
//! A [`HostReader`] looks at its host and at a view, and says what to append: it never changes a
//! corpus. [`Writer`] appends and publishes, [`sync_once`] repeats that until the two are in
//! step, [`keep_in_sync`] does it for many hosts for as long as a [`Control`] lets it.
//! `docs/programs/maintnerd.md` tells what is read from which kind of host, and what a reader
//! for another kind (GitLab, Forgejo) has to answer.

mod control;
mod driver;
mod error;
#[cfg(feature = "git")]
pub mod gerrit;
#[cfg(feature = "git")]
pub mod git;
#[cfg(feature = "github")]
pub mod github;
#[cfg(feature = "git")]
pub mod plain;
#[cfg(feature = "github")]
pub mod pubsub;
mod reader;
#[cfg(feature = "git")]
pub mod remote;
pub mod state;
pub mod target;

pub use control::{Control, HostState, HostStatus};
#[cfg(feature = "github-http")]
use driver::full_text;
pub use driver::{Options, Writer, keep_in_sync, sync_once};
pub use error::SyncError;
pub use reader::{HostReader, Progress, Step};
pub use target::Target;
