//! Clients of a build farm: drive a buildlet over TCP, TLS or a unix socket.
//!
//! [`HttpBuildlet`] speaks to real buildlets, this project's and Go's. With the feature
//! `testing` there is one without a server, `testing::FakeBuildlet`: real files and real
//! commands, and faults on demand. Both are a [`Buildlet`](build_core::buildlet::Buildlet),
//! so what drives one drives the other:
//!
//! ```
//! # #[cfg(feature = "testing")]
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> build_client::Result<()> {
//! use build_client::testing::FakeBuildlet;
//! use build_core::buildlet::{Buildlet, Exec};
//!
//! async fn greet(machine: &dyn Buildlet) -> build_client::Result<String> {
//!     machine.put("names/one", 0o644, build_client::once("world")).await?;
//!     let done = machine.exec(Exec::shell("echo hello $(cat names/one)")).await?;
//!     assert!(done.outcome().is_ok());
//!     Ok(done.text())
//! }
//!
//! let machine = FakeBuildlet::new("fake")?;
//! assert_eq!(greet(&machine).await?, "hello world\n");
//! # Ok(())
//! # }
//! # #[cfg(not(feature = "testing"))]
//! # fn main() {}
//! ```
//!
//! # Features
//!
//! - `tls`: TLS with the buildlet's key pinned (`transport::TlsDial`), and to a coordinator
//!   (`instance`).
//! - `testing`: `testing::FakeBuildlet`.
//! - `httpdl`: conditional, resumable downloads (`httpdl::Download`).
//! - `toolchain`: toolchains by name, fetched, checked and run (`toolchain::ToolchainDir`).

mod buildlet;
#[cfg(feature = "httpdl")]
pub mod httpdl;
#[cfg(feature = "tls")]
pub mod instance;
mod key_pair;
pub mod perfrun;
#[cfg(all(feature = "testing", unix))]
pub mod testing;
mod timeouts;
#[cfg(feature = "toolchain")]
pub mod toolchain;
pub mod transport;

pub use build_core::{Error, ErrorKind, Result};
pub use buildlet::{HttpBuildlet, HttpBuildletBuilder, collect, once};
pub use key_pair::KeyPair;
pub use timeouts::Timeouts;
