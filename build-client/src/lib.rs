//! Clients of a build farm: drive a buildlet over TCP, TLS or a unix socket.

mod buildlet;
mod key_pair;
mod timeouts;
pub mod transport;

pub use build_core::{Error, ErrorKind, Result};
pub use buildlet::{HttpBuildlet, HttpBuildletBuilder, collect, once};
pub use key_pair::KeyPair;
pub use timeouts::Timeouts;
