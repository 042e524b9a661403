//! The log server: any [`MutationSource`] over HTTP.
//!
//! | Request | Answer |
//! |---|---|
//! | `GET /logs` | the index: a JSON array of segments; `startseg=N` leaves out those before N |
//! | `GET /logs?waitsizenot=N` | the same once the log is not N bytes long, else 304 after 55 s |
//! | `GET /logs/N` | the segment, or a range of it |
//! | `GET /logs/stream?from=N:OFFSET&sha224=HASH` | what is appended, as server-sent events |
//!
//! The first three are those of the Go project's server, for its clients. The server is a
//! library value: [`LogServer::router`] goes into any axum program, and [`LogServer::run`] is a
//! future that the program drives.
//!
//! ```no_run
//! # async fn example(stop: tokio_util::sync::CancellationToken) -> Result<(), Box<dyn std::error::Error>> {
//! use axum::serve::ListenerExt as _;
//! use maintner_core::log::WriterOptions;
//! use maintner_core::serve::{LogServer, Options};
//! use maintner_core::source::LiveLog;
//!
//! let log = LiveLog::open("/var/lib/corpus", WriterOptions::default())?;
//! let server = LogServer::new(log.clone(), Options::default())?;
//! let listener = tokio::net::TcpListener::bind("localhost:6343").await?;
//! // News are small and must not wait for each other.
//! let listener = listener.tap_io(|tcp| drop(tcp.set_nodelay(true)));
//! let serve = axum::serve(listener, server.router())
//!     .with_graceful_shutdown(stop.clone().cancelled_owned());
//! let (served, ()) = tokio::join!(serve, server.run(stop));
//! # Ok(served?)
//! # }
//! ```
//!
//! [`MutationSource`]: crate::source::MutationSource

mod answer;
mod index;
mod options;
mod pages;
mod segment;
mod server;
mod stream;

pub use options::Options;
pub use pages::Pages;
pub use server::LogServer;
