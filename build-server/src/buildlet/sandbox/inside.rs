//! The first process of a command's namespaces.

use std::io;
use std::process::ExitCode;

use build_core::plan::Network;
use rustix::process::{DumpableBehavior, Pid, Resource, Rlimit, WaitOptions, setrlimit};

use super::fence::Fence;
use super::launch::{code, command, not_started};
use super::launcher::{Order, Report, SIGNALED, Told};
use super::{capabilities, loopback, restrict, view};

/// Fewer are looked at, and not bounded by the kernel.
const FEWEST_PROCESSES: u64 = 64;
/// Tells in the status of a process that its memory was dumped.
const CORE: i32 = 0x80;

/// Furnishes the namespaces, starts the command in them and ends as it does; whatever else runs
/// here ends with this process.
pub(super) fn run(order: &Order, told: &mut Told) -> Result<ExitCode, String> {
    let fence = &order.fence;
    let failed = |what: &str, error: io::Error| format!("sandbox: {what}: {error}");
    if fence.network == Network::Loopback {
        loopback::bring_up().map_err(|e| failed("bring loopback up", e))?;
    }
    view::build(fence)?;
    if let Some(most) = most_processes(fence) {
        limit_processes(most).map_err(|e| failed("limit processes", e))?;
    }
    capabilities::drop_all().map_err(|e| failed("drop capabilities", e))?;
    restrict::in_namespaces(fence)?;
    // The command must not look into this process, though it is the same user's.
    let hidden = rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable);
    hidden.map_err(|e| failed("hide the first process", e.into()))?;
    let child = command(order, told)?.spawn();
    let child = child.map_err(|error| not_started(order, &error))?;
    let ended = reap_until(Pid::from_child(&child)).map_err(|e| failed("wait", e))?;
    Ok(match ended {
        Ended::Code(ended) => code(ended),
        Ended::Signal { number, core } => {
            told.report(&Report::Signal { number, core });
            code(SIGNALED + number)
        }
    })
}

/// The bound of the machine; where the command has a lower one, above that: who looks at it tells
/// what it was, and the kernel keeps it small until then.
fn most_processes(fence: &Fence) -> Option<u64> {
    let of_command = fence.bounds.processes;
    let of_command = of_command.map(|most| most.saturating_mul(2).max(FEWEST_PROCESSES));
    match (fence.processes, of_command) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

/// Counted in this user namespace alone.
fn limit_processes(most: u64) -> io::Result<()> {
    let limit = Rlimit {
        current: Some(most),
        maximum: Some(most),
    };
    Ok(setrlimit(Resource::Nproc, limit)?)
}

enum Ended {
    Code(i32),
    Signal { number: i32, core: bool },
}

/// Takes off whoever ends here, until the command has.
fn reap_until(command: Pid) -> io::Result<Ended> {
    loop {
        let ended = match rustix::process::wait(WaitOptions::empty()) {
            Err(rustix::io::Errno::INTR) => continue,
            ended => ended?,
        };
        let Some((_, ended)) = ended.filter(|(pid, _)| *pid == command) else {
            continue;
        };
        return Ok(match ended.terminating_signal() {
            Some(number) => Ended::Signal {
                number,
                core: ended.as_raw() & CORE != 0,
            },
            None => Ended::Code(ended.exit_status().unwrap_or_default()),
        });
    }
}
