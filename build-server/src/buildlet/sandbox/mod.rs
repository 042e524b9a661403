//! What a command may reach on its machine.
//!
//! | level | a command sees |
//! |---|---|
//! | `none` | what the user of the buildlet sees |
//! | `user` | its own directories for writing, tools for reading, nothing hidden; Landlock, a filter of system calls and no new privileges |
//! | `namespaces` | the same in namespaces of its own: other processes do not exist, hidden directories are empty, tools are written to in layers that vanish; on request no network |
//!
//! A buildlet never restricts itself. It starts its own program once more, as a launcher, which
//! restricts itself and becomes the command (`user`), or makes namespaces, of which it is the
//! first process, and starts the command there (`namespaces`). The launcher reads what to do from
//! a file without a name and writes there what went wrong, so nothing that a build chooses, its
//! environment for one, reaches it before the fence stands.
//!
//! docs/sandbox.md tells what each level was seen to stop.

#[cfg(target_os = "linux")]
mod calls;
#[cfg(target_os = "linux")]
mod capabilities;
mod fence;
#[cfg(target_os = "linux")]
mod handed;
#[cfg(target_os = "linux")]
mod inside;
mod launch;
mod launcher;
#[cfg(target_os = "linux")]
mod loopback;
mod probe;
#[cfg(target_os = "linux")]
mod restrict;
#[cfg(target_os = "linux")]
mod view;

pub use fence::{Bounds, Fence, Level};
pub use launch::{INSIDE, LAUNCH, launch};
pub use launcher::Launcher;
pub(crate) use launcher::{Launched, Reads, Report};
pub use probe::{Available, probe};
