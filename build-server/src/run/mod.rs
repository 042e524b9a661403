//! Carries out the engine's commands on leases, through `trait Buildlet` alone.

mod logs;

pub use logs::Logs;
