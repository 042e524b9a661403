//! A client of Gerrit, the code review server: changes, reviews, projects, accounts.
//!
//! Facts of the protocol are those of Gerrit's REST documentation: answers begin with a guard
//! line, calls with credentials go to paths under `/a`, lists say themselves that there is more.
//!
//! ```no_run
//! # async fn demo() -> Result<(), build_client::gerrit::Error> {
//! use build_client::gerrit::{Auth, Client, QueryOptions};
//! use futures::TryStreamExt as _;
//!
//! let gerrit = Client::new("https://go-review.googlesource.com", Auth::None)?;
//! let mut changes = std::pin::pin!(gerrit.changes("status:open project:go", &QueryOptions::new().field("LABELS")));
//! while let Some(change) = changes.try_next().await? {
//!     println!("{} {}", change.number, change.subject);
//! }
//! # Ok(()) }
//! ```

mod accounts;
mod auth;
mod calls;
mod change_id;
mod client;
mod cookies;
mod edits;
mod error;
#[cfg(test)]
mod tests;
mod time;
mod types;

pub use accounts::AccountTable;
pub use auth::{Auth, TokenSource};
pub use calls::QueryOptions;
pub use change_id::ChangeId;
pub use client::{Client, ClientBuilder};
pub use cookies::{Cookie, parse_cookies, parse_netrc};
pub use error::Error;
pub use time::GerritTime;
pub use types::*;
