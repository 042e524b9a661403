//! Where machines come from: implementations of [`build_core::pool::Pool`].
//!
//! A pool knows machines, not builds. Each one sees to it that a machine ends when its lease
//! does, also when this process is killed.

#[cfg(unix)]
mod local;
#[cfg(unix)]
mod local_hosts;
#[cfg(feature = "reverse")]
mod reverse;
mod undetached;

#[cfg(unix)]
pub use local::{Keeper, Limits, LocalPool, LocalPoolBuilder, own_labels};
#[cfg(unix)]
pub use local_hosts::{LocalHost, LocalHosts};
#[cfg(feature = "reverse")]
pub use reverse::{
    Applicant, Doorman, Expected, Finding, Level, Pass, Refused, ReverseDialect, ReversePool,
    ReversePoolBuilder, Seen, Timing,
};
pub use undetached::Undetached;
