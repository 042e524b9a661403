//! Directory trees of any depth, walked beneath handles: what a build leaves behind may be deeper
//! than a stack, wider than a table of descriptors, and full of links.
//!
//! - [`Beneath`] opens and creates what lies below a directory.
//! - [`Descent`] goes down and up again with few descriptors and no recursion.
//! - [`remove_tree`] removes a tree with it, read-only parts included.
//! - [`measure()`] counts what a tree takes of its disk.
//!
//! No link is ever followed out of a tree.

mod beneath;
mod descent;
mod measure;
mod remove;

pub use beneath::Beneath;
pub(crate) use beneath::{free_bytes, set_modified};
pub use descent::Descent;
pub use measure::{Taken, measure};
pub use remove::{remove_tree, remove_tree_at};
