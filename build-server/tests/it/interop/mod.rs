//! Programs of the Go project of December 2020 as judges. What they show is written down by
//! [`compat`], and compared with docs/compatibility.md by `.ci/run only interop`.

pub mod compat;
#[cfg(all(feature = "grpc", feature = "testing"))]
mod coordinator;
mod farm;
mod hall;
#[cfg(feature = "who")]
mod keys;
mod machine;
mod peers;
mod revdial;
#[cfg(feature = "reverse")]
mod reverse;
mod traps;
pub mod trusting;
