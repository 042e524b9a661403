//! The connections of [`super`] over tokio's IO traits; any runtime, no timers, no tasks.
//!
//! **Server.** [`Server::next`] yields one [`Exchange`] after the other. A handler reads
//! the request body through [`Body`], then answers with [`Exchange::respond`] (whole body),
//! [`Exchange::start`] (a [`ResponseWriter`]: each write is flushed as its own chunk, then
//! trailers), or [`Exchange::switch_protocols`]. Dropping an exchange or a writer before
//! its end aborts: `next` then gives `None`, and dropping the server cuts the connection so
//! that the client sees a truncated body.
//!
//! **Client.** [`Client::send`] and [`Client::start`] write a request and give a
//! [`Response`], whose body is read through [`Body`] too. A response that comes while the
//! request is still being written ends the writing: see [`RequestWriter::write`].
//!
//! **Deadlines** are the caller's: wrap the futures in a time-out. What a dropped future
//! leaves behind is said at each function. Waiting for bytes ([`Server::ready`],
//! [`Server::next`], [`Body::chunk`], the `closed` and `answered` functions) is cancel
//! safe; a write that is dropped half-way leaves the connection unusable, which the next
//! call reports.
//!
//! ```
//! use build_core::h1::io::{Body, Client, Error, Server};
//! use build_core::h1::{BodySize, Headers, Limits, RequestHead, ResponseHead};
//!
//! async fn serve(io: tokio::io::DuplexStream) -> Result<(), Error> {
//!     let mut server = Server::new(io, Limits::default());
//!     while let Some(mut exchange) = server.next().await? {
//!         let form = exchange.read_all(10 << 20).await?;
//!         let head = ResponseHead::new(200).with("Trailer", "Process-State");
//!         let mut response = exchange.start(head, BodySize::Unknown).await?;
//!         response.write(&form).await?;
//!         response.finish(&Headers::new().with("Process-State", "ok")).await?;
//!     }
//!     Ok(())
//! }
//!
//! async fn ask(io: tokio::io::DuplexStream) -> Result<(), Error> {
//!     let mut client = Client::new(io, Limits::default());
//!     let mut response = client.send(&RequestHead::new("POST", "/exec"), Some(b"cmd=x")).await?;
//!     assert_eq!(response.read_all(1 << 20).await?, "cmd=x");
//!     assert_eq!(response.trailers().get_str("Process-State"), Some("ok"));
//!     Ok(())
//! }
//!
//! let (near, far) = tokio::io::duplex(64);
//! let (served, asked) = futures_executor::block_on(futures::future::join(serve(near), ask(far)));
//! served?;
//! asked?;
//! # Ok::<(), Error>(())
//! ```

mod body;
mod client;
mod exchange;
mod rewind;
mod server;
mod transport;

pub use body::{Body, BodyReader};
pub use client::{Client, Flow, RequestWriter, Response};
pub use exchange::{Exchange, ResponseWriter, Switched};
pub use rewind::Rewind;
pub use server::Server;
pub use transport::Duplex;

/// Why an exchange over a stream failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The stream failed.
    #[error("http connection failed")]
    Io(#[from] std::io::Error),
    /// The peer broke the protocol, or the caller asked for something that cannot be
    /// written.
    #[error("http exchange failed")]
    Protocol(#[from] super::Error),
}

impl Error {
    /// The protocol error, if it is one.
    #[must_use]
    pub fn protocol(&self) -> Option<&super::Error> {
        match self {
            Self::Protocol(error) => Some(error),
            Self::Io(_) => None,
        }
    }
}

impl From<Error> for std::io::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::Io(error) => error,
            Error::Protocol(super::Error::Truncated) => {
                Self::new(std::io::ErrorKind::UnexpectedEof, super::Error::Truncated)
            }
            Error::Protocol(error) => Self::new(std::io::ErrorKind::InvalidData, error),
        }
    }
}

#[cfg(test)]
mod tests;
