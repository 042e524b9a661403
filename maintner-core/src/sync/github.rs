//! A repository on GitHub, over its REST interface.
//!
//! [`Machine`] is the whole of it without any IO: it says which request is to be sent next,
//! takes the answer, and says what the log lacks. [`GitHub`] runs it with something that sends
//! requests ([`Http`]) and something that keeps notes. [`estimate`] asks how many calls a first
//! synchronisation will take, [`auth`] makes the credentials, [`webhook`] reads what GitHub
//! sends by itself.
//!
//! Lists that GitHub has for a whole repository (issues, comments, events, comments on code) are
//! read as such, oldest change first, each page beginning where the last one ended in *time*: an
//! edit meanwhile moves a thing to the end of the list, never past the reader. Only reviews are
//! asked for one pull request at a time, because GitHub has no other way.

pub mod auth;
mod diff;
pub mod estimate;
mod http;
mod json;
mod keyset;
mod limits;
mod machine;
mod model;
mod notes;
mod reader;
#[cfg(feature = "github-http")]
pub mod rest;
mod tasks;
pub mod webhook;

pub use http::{Answer, Http, Request};
pub use machine::{Machine, Next};
pub use reader::{GitHub, Hints};
