//! What happened, in order: the only truth, from which everything else is folded.
//!
//! Facts belong to streams: one build, one session, one wish. An event has an envelope that every
//! program reads, [`Recorded`], and a body that stays as it was written: kinds, fields and versions
//! that this version does not know are kept, so that an older program never destroys what a newer
//! one wrote. Events are facts, [`Memo`]s change, effects come after both are durable.

#[macro_use]
mod define;

mod batch;
mod build;
#[cfg(test)]
mod golden;
mod kinds;
mod memo;
mod pack;
mod principal;
mod recorded;
mod repo;
mod session;
mod stream;
mod wish;

pub use batch::{Admitted, Batch, Numbering, Page, StreamHead, Term, ended_term};
pub use build::{
    Artifact, Base, BlobRef, BuildEvent, CopiedBy, LeaseEnd, Outcome, SessionEnd, Snapshot, Start,
    UnitEnd,
};
pub use kinds::{EventKind, KindSet, StreamKind};
pub use memo::{Memo, MemoKey};
#[cfg(any(test, feature = "testing"))]
#[doc(hidden)]
pub use pack::fuzz_pack;
pub use pack::{PACK_EVENTS, Packer};
pub use principal::{Principal, PrincipalKind};
pub use recorded::{Encoded, Event, NewEvent, Recorded, Seq, Version};
pub use repo::RepoEvent;
pub use session::SessionEvent;
pub use stream::StreamId;
pub use wish::{BranchId, WishEvent, WishedBuild};
