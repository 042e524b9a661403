//! Archives of source trees: tar in gzip, written in parallel, unpacked without trust.
//!
//! - [`Pack`] turns a directory tree into an archive, [`FileList`] does so for entries made up in memory.
//! - [`Untar`] unpacks an archive of unknown origin below a directory under a [`Policy`].
//! - [`PargzipWriter`] and [`Gunzip`] are the multi-member gzip below them.
//!
//! Everything is plain blocking [`Read`](std::io::Read) and [`Write`](std::io::Write): call it from a
//! thread that may block. Callers are the buildlet's `/tgz` and `/writetgz` handlers and every client
//! that pushes a tree. Protocol facts: docs/protocol/buildlet.md, archives.

mod file_list;
mod frame;
mod glob;
mod gunzip;
mod header;
#[cfg(any(test, feature = "testing"))]
pub mod hostile;
#[cfg(unix)]
mod inflate_beside;
#[cfg(unix)]
mod links;
mod member;
#[cfg(unix)]
mod names;
mod newest;
#[cfg(unix)]
mod owners;
#[cfg(unix)]
mod pack;
mod pargzip;
mod pax;
mod policy;
mod retime;
#[cfg(unix)]
mod stop;
#[cfg(unix)]
mod unpacking;
#[cfg(unix)]
mod untar;
mod untar_error;
mod ustar;
#[cfg(unix)]
mod walk;

pub use file_list::{FileList, FileListReader};
pub use frame::{FrameError, fuzz_tar};
pub use glob::Glob;
#[cfg(any(test, feature = "testing"))]
#[doc(hidden)]
pub use glob::fuzz_glob;
pub use gunzip::{Gunzip, fuzz_gunzip};
pub use header::{EntryHeader, EntryKind, Modified};
#[cfg(unix)]
pub(crate) use names::climbs_only_first;
pub use newest::newest;
#[cfg(unix)]
pub use pack::{Pack, PackError, Packed};
pub use pargzip::{GzipOptions, PargzipWriter};
pub use policy::{Limits, Links, Names, Policy};
pub use retime::retime;
#[cfg(unix)]
pub use untar::{Unpacked, Untar};
pub use untar_error::{Bound, UntarError};
