//! Where machines come from: implementations of [`build_core::pool::Pool`].
//!
//! A pool knows machines, not builds. Each one sees to it that a machine ends when its lease
//! does, also when this process is killed.

#[cfg(unix)]
mod local;

#[cfg(unix)]
pub use local::{LocalPool, LocalPoolBuilder};
