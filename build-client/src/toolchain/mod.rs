//! Toolchains by name: `go1.9`, `gotip`, `node20.11.0` — fetched, checked, unpacked, run.
//!
//! A toolchain is described by a row of [`Rows`]: where its archives and checksums are, and what
//! its directory looks like. [`ToolchainDir`] keeps them side by side, `~/sdk/go1.9` as the Go
//! programs of `golang.org/x/build/version` do, with the same mark `.unpacked-success`: each finds
//! what the other has downloaded.
//!
//! ```
//! use build_client::toolchain::{Platform, Rows, Spec};
//! let rows = Rows::default();
//! let go = Spec::parse("go1.11beta1", &rows)?;
//! assert_eq!((go.toolchain(), go.version()), ("go", "1.11beta1"));
//! let linux: Platform = "linux-amd64".parse()?;
//! let archive = rows.row("go")?.archive(&go, &linux)?;
//! assert_eq!(archive, "go1.11beta1.linux-amd64.tar.gz");
//! # Ok::<(), build_client::Error>(())
//! ```
//!
//! An archive becomes a toolchain only when its length, its SHA-256 and, where the row has a key,
//! its signature are right, and when every entry of it stays within its directory. It is unpacked
//! aside, on the disk before it is marked, and put into place by a rename.

mod archive;
mod available;
mod checksum;
mod dir;
mod fetch;
mod gotip;
mod layout;
mod platform;
mod rows;
mod signature;
mod spec;

pub use archive::unpack_archive;
pub use dir::{Installed, Ready, ToolchainDir};
pub use fetch::{Happening, Source};
pub use gotip::{Gotip, TipRef};
pub use platform::Platform;
pub use rows::{Row, Rows};
pub use spec::{Spec, newest};
