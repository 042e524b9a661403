//! What a log needs of an object store.

use std::future::Future;

use bytes::Bytes;

use super::Held;

/// An object as it is listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// Its name, without the prefix of the log.
    pub name: String,
    /// Its length in bytes.
    pub size: u64,
    /// When it was last written, in milliseconds since 1970 by the store's clock.
    pub modified: i64,
}

/// An object store, or the part of one that a log is in. Listing must show what was written
/// before, as all stores named in this module do.
pub trait Objects: Send + Sync {
    /// All objects.
    fn list(&self) -> impl Future<Output = Result<Vec<Object>, ObjectError>> + Send;

    /// The content of an object; nothing when there is none.
    fn get(&self, name: &str) -> impl Future<Output = Result<Option<Bytes>, ObjectError>> + Send;

    /// Writes an object, in the place of another of this name.
    fn put(&self, name: &str, bytes: Bytes)
    -> impl Future<Output = Result<(), ObjectError>> + Send;

    /// Writes an object unless there is one of this name; tells whether it did.
    fn create(
        &self,
        name: &str,
        bytes: Bytes,
    ) -> impl Future<Output = Result<bool, ObjectError>> + Send;

    /// Removes an object; one that is not there is no error.
    fn delete(&self, name: &str) -> impl Future<Output = Result<(), ObjectError>> + Send;
}

/// Why a log in an object store cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ObjectError {
    /// The store refused, or cannot be reached.
    #[error("cannot {action} {name} in the object store")]
    Store {
        /// What was tried: a verb such as `read`.
        action: &'static str,
        /// On which object.
        name: String,
        /// Why it failed.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Somebody else writes this log. A writer that learns this must stop.
    #[error("the log in the object store is written by {}", by.owner())]
    Fenced {
        /// Who.
        by: Held,
    },
    /// The folder and the store hold different histories.
    #[error(
        "segment {number} in the store is no beginning of the one in the folder, nor the reverse"
    )]
    Diverged {
        /// The first segment that differs.
        number: u32,
    },
    /// A segment's object is not what its name says, and nobody has the right bytes.
    #[error("object {name} is corrupt or gone, and the folder does not have its content")]
    Corrupt {
        /// The object.
        name: String,
    },
    /// A number is missing.
    #[error("saw max segment number {max} but missing segment {missing} in the object store")]
    Missing {
        /// The first number that is absent.
        missing: u32,
        /// The highest one that is there.
        max: u32,
    },
    /// A manifest that nobody of us wrote.
    #[error("manifest {name} is malformed")]
    Manifest {
        /// The object.
        name: String,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// The address is none of an object store that this build knows.
    #[error("{url:?} is no object store that this program knows: {hint}")]
    Address {
        /// What was given.
        url: String,
        /// What would be one.
        hint: &'static str,
    },
    /// The folder of the log cannot be read or written.
    #[error(transparent)]
    Log(#[from] crate::Error),
}
