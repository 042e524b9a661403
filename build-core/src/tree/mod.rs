//! Directory trees of any depth, walked beneath handles: what a build leaves behind may be deeper
//! than a stack, wider than a table of descriptors, and full of links.
//!
//! - [`Descent`] goes down and up again with few descriptors and no recursion.
//! - [`remove_tree`] removes a tree with it, read-only parts included.
//!
//! No link is followed anywhere.

mod descent;
mod remove;

pub use descent::Descent;
pub use remove::remove_tree;
