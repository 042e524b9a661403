//! A log kept in an object store: in memory, in a folder, in S3, in Google Cloud Storage.
//!
//! The log is written to a folder first, where it is durable and visible at once
//! ([`LogWriter`](crate::log::LogWriter) in numbered segments). An [`ObjectLog`] copies it to
//! the store and guards it there against a second writer. Segments are objects named
//! `NNNN.<sha224>.mutlog`, the layout of the Go project's daemon, which can read them.
//!
//! What counts is said by a *manifest*, a small object that lists the segments. Each manifest
//! has a number, and it is made only if none of that number is there: of two writers one fails,
//! and is [`Fenced`](ObjectError::Fenced) from then on. An upload that was torn or forgotten is
//! in no manifest. Stores need nothing for this but "create if absent".
//!
//! ```
//! # async fn example() -> Result<(), maintner_core::objstore::ObjectError> {
//! use maintner_core::objstore::{Bucket, ObjectLog, Owner};
//!
//! let bucket = Bucket::memory();
//! let mut log = ObjectLog::open(bucket, Owner::new("host-1")).await?;
//! log.restore("/var/lib/corpus".as_ref()).await?;
//! log.acquire(std::time::SystemTime::now()).await?;
//! # Ok(())
//! # }
//! ```

mod bucket;
mod follow;
#[cfg(feature = "objstore-gcs")]
mod gcs;
#[cfg(test)]
#[cfg(feature = "objstore-gcs")]
mod gcs_tests;
mod keep;
mod lease;
mod log;
mod manifest;
mod objects;
mod restore;

pub use bucket::Bucket;
pub use follow::follow;
pub use keep::{Keep, keep};
pub use lease::{Lease, LeasedLog};
pub use log::{ObjectLog, Owner, Pushed, Uploaded};
pub use manifest::{Held, Manifest};
pub use objects::{Object, ObjectError, Objects};

#[cfg(test)]
mod tests;
