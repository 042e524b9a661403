//! HTTP/1.1 in the dialect that buildlets and coordinators speak, without IO.
//!
//! General HTTP stacks refuse or lose parts of it, so heads, bodies and connections are
//! read and written here (protocol facts: docs/protocol/buildlet.md):
//!
//! - `Host` may be empty; connections are taken over without any `Upgrade` header;
//! - Go dialers answer `HTTP/0.0 101 Switching Protocols`; bytes that follow a 101 in the
//!   same packet are kept;
//! - chunked bodies carry trailers whether or not the client sent `TE: trailers`;
//! - framing is strict: what two readers could understand differently is refused.
//!
//! [`ServerConn`] and [`ClientConn`] are the state machines: bytes in, [`Event`]s out, and
//! writers that append bytes to a buffer. With the feature `io`, [`io`] runs them over
//! tokio's IO traits; buildlet servers and clients are built on that.
//!
//! The pieces below them serve alone as well: [`RequestHead::parse`],
//! [`ResponseHead::parse`], [`BodyDecoder`], [`BodyEncoder`].

mod body;
mod client_conn;
mod conn;
mod encode;
mod error;
mod framing;
#[cfg(any(test, feature = "testing"))]
mod fuzz;
mod head;
mod headers;
mod inbound;
#[cfg(feature = "io")]
pub mod io;
mod limits;
mod scan;
mod server_conn;

pub use body::{BodyDecoder, BodyEvent};
pub use client_conn::ClientConn;
pub use conn::Event;
pub use encode::{BodyEncoder, BodySize};
pub use error::Error;
pub use framing::Framing;
#[cfg(any(test, feature = "testing"))]
pub use fuzz::{fuzz_body, fuzz_chunks, fuzz_head};
pub use head::{RequestHead, ResponseHead, Version};
pub use headers::Headers;
pub use limits::{HostPolicy, Limits};
pub use server_conn::ServerConn;

#[cfg(test)]
mod tests;
