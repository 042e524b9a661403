//! The corpus' gRPC interface: questions of programs that do not want to hold a corpus.
//!
//! [`Api`] answers them from a [`Corpus`](crate::Corpus), [`Api::router`] serves it beside
//! anything else that speaks HTTP/2, [`Client`] asks. Service, messages, status codes and texts
//! are those of the Go project's daemon (`docs/protocol/maintapi.md`); what is the Go project's
//! own (its server, its branches, its labels) is a [`Policy`].
//!
//! ```no_run
//! # async fn example(corpus: maintner_core::Corpus) -> Result<(), Box<dyn std::error::Error>> {
//! use maintner_core::maintapi::{Api, Client, Policy};
//!
//! let api = Api::new(corpus, Policy::default());
//! let listener = tokio::net::TcpListener::bind("localhost:6343").await?;
//! # drop((api.router(), listener));
//! let mut client = Client::connect("localhost:6344").await?;
//! let head = client.get_ref("go.googlesource.com", "go", "refs/heads/master").await?;
//! # let _ = head;
//! # Ok(())
//! # }
//! ```

mod api;
#[expect(
    missing_docs,
    clippy::pedantic,
    reason = "generated from proto/apipb.proto"
)]
#[rustfmt::skip]
pub mod apipb;
mod client;
mod dashboard;
#[cfg(feature = "net")]
mod gerrit;
mod policy;
mod releases;
mod service;
mod tls;
mod trailers;
mod trywork;
pub mod version;

pub use api::Api;
pub use client::{Client, ConnectError, channel};
#[cfg(feature = "net")]
pub use gerrit::GerritSearch;
pub use policy::Policy;
pub use trailers::{TrailersAlways, refusal};
pub use trywork::{ChangeSearch, Comment, SearchError, WaitingChange, WaitingMessage};

#[cfg(test)]
mod tests;
