//! Integration tests of the servers: one binary, one module for each story.

#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "tests"
)]

#[cfg(feature = "acme-objects")]
mod acme;
#[cfg(feature = "sqlite")]
mod backup;
#[cfg(feature = "buildlet")]
mod buildlet;
#[cfg(feature = "coordinator")]
mod caches;
#[cfg(feature = "classic")]
mod classic;
#[cfg(feature = "buildlet")]
mod client;
#[cfg(feature = "sqlite")]
mod contracts;
#[cfg(feature = "coordinator")]
mod coordinator;
#[cfg(feature = "sqlite")]
mod crash;
#[cfg(feature = "sqlite")]
mod damage;
#[cfg(feature = "coordinator")]
mod farm;
#[cfg(feature = "coordinator")]
mod finding;
#[cfg(feature = "coordinator")]
mod flakes;
#[cfg(all(feature = "front", feature = "testing"))]
mod front;
#[cfg(feature = "buildlet")]
mod go_interop;
#[cfg(feature = "gomote")]
mod gomote;
#[cfg(all(feature = "grpc", feature = "testing"))]
mod grpc;
#[cfg(feature = "coordinator")]
mod hostile;
#[cfg(all(feature = "coordinator", feature = "toolchains"))]
mod inputs;
#[cfg(feature = "https")]
mod interop;
#[cfg(feature = "coordinator")]
mod many;
#[cfg(feature = "sqlite")]
mod month;
#[cfg(feature = "sqlite")]
mod neighbours;
#[cfg(feature = "coordinator")]
mod odd;
#[cfg(feature = "web")]
mod outside;
#[cfg(feature = "web")]
mod pages;
#[cfg(feature = "coordinator")]
mod plans;
#[cfg(feature = "coordinator")]
mod readers;
#[cfg(feature = "coordinator")]
mod reports;
#[cfg(feature = "sim")]
mod seeds;
#[cfg(feature = "coordinator")]
mod sessions;
#[cfg(feature = "coordinator")]
mod source;
#[cfg(feature = "coordinator")]
mod sources_missing;
#[cfg(feature = "coordinator")]
mod stopping;
#[cfg(feature = "sqlite")]
mod store;
#[cfg(feature = "coordinator")]
mod traces;
mod warm;
#[cfg(feature = "web")]
mod web;
#[cfg(all(feature = "oidc", feature = "web"))]
mod who;
