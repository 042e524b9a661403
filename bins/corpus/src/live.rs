//! A corpus that is kept in step with its hosts: `maintnerd`, `farmer corpus`.

pub(crate) mod changes;
pub mod command;
pub(crate) mod doors;
pub(crate) mod log;
pub(crate) mod login;
pub(crate) mod readers;
pub(crate) mod report;
pub(crate) mod service;
pub(crate) mod targets;
mod web;
