//! What happens to a farm on a bad day.

use std::fmt;

/// One thing that happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The farm is killed, and started again.
    Kill,
    /// The farm is told to stop while it builds.
    Stop,
    /// Its disk is full for a while.
    FullDisk,
    /// Its disk cannot be written to when it starts.
    ReadOnlyDisk,
    /// A byte of stored contents that can be made again is another one.
    FlippedByte,
    /// Small files of machines end early, while the farm is down.
    TornFiles,
    /// Clients connect and say nothing, or too little.
    SilentClients,
    /// A machine's process is killed.
    KilledMachine,
    /// The clock is a day off from the next start on.
    WrongClock,
}

impl Fault {
    pub(super) const ALL: [Self; 9] = [
        Self::Kill,
        Self::Stop,
        Self::FullDisk,
        Self::ReadOnlyDisk,
        Self::FlippedByte,
        Self::TornFiles,
        Self::SilentClients,
        Self::KilledMachine,
        Self::WrongClock,
    ];
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kill => "killed",
            Self::Stop => "stopped",
            Self::FullDisk => "full disk",
            Self::ReadOnlyDisk => "read-only disk",
            Self::FlippedByte => "flipped byte",
            Self::TornFiles => "torn files",
            Self::SilentClients => "silent clients",
            Self::KilledMachine => "killed machine",
            Self::WrongClock => "wrong clock",
        })
    }
}
