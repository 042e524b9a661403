//! Bugs on purpose, to show that the simulation finds such bugs.

/// A bug that can be planted into a [`crate::dispatch::Dispatcher`] or a
/// [`crate::reader::Machine`]. For tests only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Plant {
    /// A machine that is announced again counts as free, whoever holds it.
    DoubleGrant,
    /// A machine that rests after a failure is never looked at again.
    LostWakeUp,
    /// A machine that was given back still counts as held by its author and repository.
    KeptQuota,
    /// The first event of an append that failed is taken for written.
    DroppedEvent,
    /// A batch is written whatever version its streams have.
    UncheckedVersion,
    /// The last event of a pack is not in it.
    LossyPack,
    /// A build of a wish that was withdrawn goes on.
    WithdrawnWishBuilt,
    /// A reader writes how far it has read before it writes what follows from that.
    CursorFirst,
    /// A reader acts before it is written that it is about to.
    EffectFirst,
    /// A reader that was ended while it acted acts again, without asking whether it did.
    NeverAsks,
}
