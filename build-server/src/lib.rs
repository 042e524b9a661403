//! The servers of a build farm, as libraries.
//!
//! Each server is a feature; nothing here touches the environment, flags or signals of the
//! process: that is left to the programs.

#[cfg(feature = "buildlet")]
pub mod buildlet;
#[cfg(feature = "coordinator")]
pub mod coordinator;
#[cfg(feature = "web")]
pub mod dashboard;
#[cfg(feature = "coordinator")]
pub mod pool;
#[cfg(feature = "coordinator")]
pub mod record;
#[cfg(feature = "coordinator")]
pub mod run;
#[cfg(feature = "sim")]
pub mod sim;
#[cfg(feature = "coordinator")]
pub mod source;
#[cfg(feature = "coordinator")]
pub mod store;
pub mod supervise;
#[cfg(feature = "web")]
pub mod web;
