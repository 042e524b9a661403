//! Processes that are really gone when they were ended.
//!
//! Each command starts a process group, and carries a mark in its environment. The buildlet
//! program makes itself child subreaper, so whatever a command leaves behind, however often it
//! forked and whatever session it made, stays below the buildlet. The tree of a command is what
//! `/proc` shows below its first process, in its group, or with its mark; what lost its parent
//! and its mark belongs to the one command that runs, or to nobody and ends before the next.

mod child;
mod end_watch;
mod modes;
mod pty;
mod table;
mod tree;

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::process::{Pid, WaitId, WaitIdOptions};

pub(crate) use child::{Child, Command, Ends, Exit, assigned, os_words, pipe, resize, widen};
pub(crate) use pty::Terminal;
pub(crate) use table::Process;
#[cfg(feature = "coordinator")]
pub(crate) use table::start_envs;
pub(crate) use tree::{EndReport, Grace};

use super::sandbox::Launcher;
use crate::supervise::Supervisor;
use table::Table;

/// Variable that marks the processes of a command: `ID/INSTANCE`, after a comma when the
/// buildlet itself runs below another one.
pub(crate) const MARK: &str = "FARMER_EXEC";

/// The processes that a buildlet has started. Clones share them.
#[derive(Clone)]
pub(crate) struct Processes(Arc<Shared>);

struct Shared {
    supervisor: Supervisor,
    /// Names the buildlet in marks, over restarts.
    instance: String,
    /// Mark that this program was started with.
    inherited: Option<String>,
    me: i32,
    /// Whether orphans become children of this process, and no other part of it has children.
    adopts: bool,
    /// How commands are started behind a fence, and where it is described.
    fenced: Option<(Launcher, PathBuf)>,
    /// Commands whose tree has not ended yet.
    known: Mutex<HashMap<i32, Known>>,
}

struct Known {
    id: String,
    reaped: bool,
}

impl Processes {
    /// With `adopts`, orphans of commands come to this process, which must then have no other
    /// children than those started here. Only Linux has child subreapers; elsewhere orphans go
    /// to the first process of the system.
    ///
    /// # Errors
    /// When the system refuses.
    pub(crate) fn new(
        supervisor: Supervisor,
        instance: String,
        inherited: Option<String>,
        adopts: bool,
        fenced: Option<(Launcher, PathBuf)>,
    ) -> io::Result<Self> {
        let me = rustix::process::getpid();
        let adopts = adopts && cfg!(target_os = "linux");
        #[cfg(target_os = "linux")]
        if adopts {
            rustix::process::set_child_subreaper(Some(me))?;
        }
        Ok(Self(Arc::new(Shared {
            supervisor,
            instance,
            inherited: inherited.filter(|mark| !mark.is_empty()),
            me: me.as_raw_nonzero().get(),
            adopts,
            fenced,
            known: Mutex::default(),
        })))
    }

    /// The directory of a machine whose commands are behind fences: all that they write is there.
    pub(crate) fn place(&self) -> Option<&Path> {
        self.0.fenced.as_ref().map(|(_, dir)| &**dir)
    }

    /// The value of [`MARK`] for a command.
    fn mark(&self, id: &str) -> String {
        match &self.0.inherited {
            Some(outer) => format!("{outer},{id}/{}", self.0.instance),
            None => format!("{id}/{}", self.0.instance),
        }
    }

    /// Which command of this buildlet a mark names.
    fn marked<'m>(&self, mark: &'m str) -> Option<&'m str> {
        marked_by(&self.0.instance, mark)
    }

    fn known(&self) -> MutexGuard<'_, HashMap<i32, Known>> {
        self.0.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether this process has any child; `true` too when that cannot be told cheaply.
    fn may_have_children(&self) -> bool {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        !self.0.adopts
            || !matches!(
                rustix::process::waitid(WaitId::All, options),
                Err(rustix::io::Errno::CHILD)
            )
    }

    /// Takes off the dead whose parent has died before them.
    fn reap_orphans(&self, table: &Table) {
        if !self.0.adopts {
            return;
        }
        let known = self.known();
        let is_orphan = |process: &&Process| {
            process.zombie && process.parent == self.0.me && !known.contains_key(&process.pid)
        };
        for orphan in table
            .iter()
            .filter(is_orphan)
            .filter_map(|p| Pid::from_raw(p.pid))
        {
            // It may have been reaped since the table was read; there is nothing else to do.
            let _ = rustix::process::waitid(
                WaitId::Pid(orphan),
                WaitIdOptions::EXITED | WaitIdOptions::NOHANG,
            );
        }
    }
}

/// Which command of a buildlet a mark names.
pub(crate) fn marked_by<'m>(instance: &str, mark: &'m str) -> Option<&'m str> {
    let ours = |element: &'m str| element.strip_suffix(instance)?.strip_suffix('/');
    mark.split(',').rev().find_map(ours)
}

#[cfg(test)]
mod tests;
