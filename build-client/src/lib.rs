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
//!   (`instance`), which a machine joins by `reverse`.
//! - `testing`: `testing::FakeBuildlet`.
//! - `httpdl`: conditional, resumable downloads (`httpdl::Download`).
//! - `toolchain`: toolchains by name, fetched, checked and run (`toolchain::ToolchainDir`).
//! - `rest`: REST calls: [`gerrit`], and what else speaks HTTP.
//! - `farm`: the API of a farm, typed ([`farm::FarmClient`]).
//! - `contributors`: [`contributors`], which sorts names.
//! - `testing-gerrit`: `fake_gerrit::FakeGerrit`.
//! - `stage0`: which buildlet a machine runs; `workers`: containers of build machines.
//! - `objects`: [`upload`] to object stores by URL: folders and memory; `objects-cloud`: S3, GCS
//!   and Azure too.

pub mod address_pool;
#[cfg(unix)]
pub mod bootstrap;
#[cfg(feature = "rest")]
pub mod build_dashboard;
mod buildlet;
pub mod buildstats;
#[cfg(feature = "contributors")]
pub mod contributors;
#[cfg(feature = "rest")]
pub mod device;
#[cfg(feature = "testing-gerrit")]
pub mod fake_gerrit;
#[cfg(feature = "farm")]
pub mod farm;
#[cfg(feature = "rest")]
pub mod fetchlogs;
#[cfg(feature = "rest")]
pub mod gerrit;
pub mod gitauth;
#[cfg(feature = "gomote")]
pub mod gomote;
pub mod gophers;
pub mod greplogs;
#[cfg(feature = "httpdl")]
pub mod httpdl;
#[cfg(feature = "tls")]
pub mod instance;
mod key_pair;
pub mod perfrun;
#[cfg(feature = "stage0")]
mod plain_http;
#[cfg(unix)]
pub mod racebuild;
#[cfg(feature = "rest")]
pub mod rest;
#[cfg(feature = "tls")]
pub mod reverse;
pub mod secret;
pub mod snippet;
#[cfg(feature = "stage0")]
pub mod stage0;
#[cfg(all(feature = "testing", unix))]
pub mod testing;
#[cfg(feature = "workers")]
pub mod testssh;
mod timeouts;
#[cfg(feature = "toolchain")]
pub mod toolchain;
pub mod transport;
pub mod updatestd;
#[cfg(feature = "objects")]
pub mod upload;
#[cfg(feature = "workers")]
pub mod workers;

pub use build_core::{Error, ErrorKind, Result};
pub use buildlet::{HttpBuildlet, HttpBuildletBuilder, collect, once};
pub use key_pair::KeyPair;
pub use timeouts::Timeouts;
