//! The servers of a build farm, as libraries.
//!
//! Each server is a feature; nothing here touches the environment, flags or signals of the
//! process: that is left to the programs.

pub mod supervise;
