//! Downloads and toolchains against a mirror on this machine, and against the Go program of 2020.

#![allow(missing_docs, unreachable_pub, clippy::unwrap_used, reason = "tests")]

mod go2020;
mod gotip;
mod hostile;
mod httpdl;
mod toolchain;
