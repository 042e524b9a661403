//! What every kind of host answers.

use std::time::Duration;

use super::SyncError;
use crate::View;
use crate::pb::Mutation;

/// What a reader found.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// The log lacks these. The next step comes when they are durable and visible.
    Write(Vec<Mutation>),
    /// Something was looked at and nothing is to be written; there is more to look at.
    Again,
    /// The host asks for patience, or the clock has to move on: step again after this time.
    Wait(Duration),
    /// The view has what the host has.
    Done,
}

/// How far a reader is with what it does now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Progress {
    /// What it does, such as `comments`.
    pub what: &'static str,
    /// How many things it went through.
    pub done: u64,
    /// How many there are, where that is known.
    pub total: Option<u64>,
    /// Questions asked of the host since the reader was made.
    pub requests: u64,
}

/// One thing on one host that the corpus is kept in step with: a repository, a project.
///
/// A reader is a program that can be stopped between any two steps and started anew from what
/// the log has. It may keep notes of its own (see [`state`](super::state)), written only when
/// what they presume is durable: without them it asks more, and finds the same.
pub trait HostReader: Send {
    /// Such as `github:golang/go`: the topic of wake-ups, and what messages name.
    fn name(&self) -> &str;

    /// Compares the host with `view`. Blocks for as long as one question to the host takes.
    ///
    /// # Errors
    /// When the host cannot be read; [`SyncError::is_lasting`] tells whether another try helps.
    fn step(&mut self, view: &View) -> Result<Step, SyncError>;

    /// Begins a new comparison at the next step. `expected`: somebody said that there is news,
    /// so answers from a cache will not do.
    fn restart(&mut self, expected: bool);

    /// How far it is.
    fn progress(&self) -> Progress;

    /// How long until it wants to look again, if it has reasons of its own.
    fn due(&self) -> Option<Duration> {
        None
    }

    /// What people should know about it, such as that its repository has another name now.
    fn remark(&self) -> Option<String> {
        None
    }
}
