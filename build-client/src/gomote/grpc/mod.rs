//! The interface of later years: `protos.GomoteService` (docs/protocol/gomote.md).
//!
//! Nothing of it is seen outside [`GomoteClient`](super::GomoteClient): a client that speaks so
//! answers as one that speaks as in 2020 does. Commands go on over lost connections where the
//! farm is one of ours, which says so in the metadata of its answers.

mod calls;
mod create;
mod exec;
mod machine;
mod objects;

pub(super) use calls::Calls;
pub(super) use machine::GrpcBuildlet;

/// Metadata of `ExecuteCommand` that servers of ours know and others pass over.
pub mod metadata {
    /// What is done with a command that has a name: [`START`], [`ATTACH`], [`STATUS`] or [`KILL`].
    /// The answer has it too when the server knows this.
    pub const EXEC: &str = "x-farmer-exec";
    /// The name.
    pub const EXEC_ID: &str = "x-farmer-exec-id";
    /// From which byte of its output on.
    pub const EXEC_OFFSET: &str = "x-farmer-exec-offset";
    /// In an answer to `InstanceAlive`: `true` where commands go on by themselves.
    pub const DETACHED: &str = "x-farmer-detached";
    /// In an answer to `SignSSHKey`: the port of the gateway, and the key that it shows.
    pub const SSH_PORT: &str = "x-farmer-ssh-port";
    /// See [`SSH_PORT`]; a line as in a file `.pub`.
    pub const SSH_HOST_KEY: &str = "x-farmer-ssh-host-key";

    /// Starts it; the one answer is its [`ExecStatus`](build_core::buildlet::ExecStatus) in JSON.
    pub const START: &str = "start";
    /// Its output from a byte on, then how it ended.
    pub const ATTACH: &str = "attach";
    /// The one answer is its status in JSON.
    pub const STATUS: &str = "status";
    /// Ends it; there is no answer.
    pub const KILL: &str = "kill";
}
