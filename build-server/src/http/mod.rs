//! What every server with pages or JSON is made of: connections, names, the guard, refusals.
//!
//! A server is a [`Router`](axum::Router) that [`guarded`] puts behind the checks and headers
//! of a [`Guard`], and that [`serve`] hands connections to. [`page`] draws pages without
//! scripts for servers that have no menu of their own.

mod answer;
mod doors;
mod guard;
mod hosts;
pub mod page;
#[cfg(feature = "proxy")]
mod proxy;
mod serve;

pub use crate::front::Remote;
pub use answer::Refusal;
pub use doors::Doors;
pub use guard::{Guard, guarded};
pub use hosts::Hosts;
#[cfg(feature = "proxy")]
pub use proxy::Upstream;
pub use serve::serve;
