//! What a farm says of itself to programs: the bodies of its API, the same for those who answer
//! and those who ask.
//!
//! Events and rows are the farm's own and may change with it; reports are a promise. Instants are
//! RFC 3339 in UTC ([`rfc3339`]), spans are milliseconds under names that end in `_ms`
//! ([`millis`]), and what can be one of several things is a lower-case word. `docs/openapi.json`
//! describes the same bodies; every answer of the tests is judged by it.
//!
//! ```
//! use build_core::report::{BuildStatus, NewBuild, Refusal};
//! use build_core::ErrorKind;
//!
//! let wish = NewBuild { repo: "/home/me/project".into(), ..NewBuild::default() };
//! assert_eq!(serde_json::to_string(&wish).unwrap(), r#"{"repo":"/home/me/project"}"#);
//! assert_eq!(serde_json::to_string(&BuildStatus::Passed).unwrap(), r#""passed""#);
//!
//! // A refusal is an error on both sides, of the same kind.
//! let no = Refusal::new(ErrorKind::Conflict, "it has ended", "there is nothing left to cancel");
//! assert_eq!(no.into_error(ErrorKind::Invalid).kind(), ErrorKind::Conflict);
//! ```

mod artifact;
mod board;
mod build;
mod event;
mod failed_test;
mod farm;
mod identity;
mod input;
mod item;
mod machine;
pub mod millis;
mod outbox;
mod outcome;
mod part;
mod past;
mod people;
mod queue;
mod refusal;
mod repo;
mod review;
pub mod rfc3339;
mod run;
mod session;
mod status;
mod test;
mod wish;

pub use artifact::{ArtifactPage, ArtifactQuery, ListedArtifact, artifact_address, artifact_place};
pub use board::{Board, BoardBuild, BoardCommit, BoardQuery};
pub use build::{Build, BuildPage, BuildQuery, Created, KeptFiles, LogQuery, NewBuild};
pub use event::{Event, EventQuery};
pub use failed_test::{FailedTest, VerdictWord};
pub use farm::{LostSource, PoolReport, Pools};
pub use identity::{IdentityProvider, IdentityProviders};
pub use input::{Input, InputWord};
pub use item::Item;
pub use machine::{Aside, HoldMachine, Machine, Machines, Wear};
pub use outbox::{
    EntryWord, ForgetEffect, Outbox, OutboxChanged, OutboxEntry, ReaderStatus, RetryEffects,
};
pub use outcome::Outcome;
pub use part::PartName;
pub use past::{MachinesPast, PastEvent, PastMachine, RefusedMachine};
pub use people::{
    Key, KeyRotation, KeyUse, KeyWord, Keys, MadeKey, NewKey, NewUser, User, UserChange,
    UserRemoved, Users,
};
pub use queue::{
    Ahead, AsideMachine, Hold, Misfit, Queue, QueuedBuild, Quota, Waiting, WaitingUnit, Why,
};
pub use refusal::Refusal;
pub use repo::{Repo, RepoChange, Repos};
pub use review::Review;
pub use run::{Run, RunStatus, SlowTest, Tests};
pub use session::{Session, Sessions};
pub use status::{BuildStatus, Rerun};
pub use test::TestReport;
pub use wish::{Wish, WishQuery, WishedBuild, Wishes};
