//! What the launcher does, in its own process.

use std::process::ExitCode;

/// The first argument of a launcher.
pub const LAUNCH: &str = "sandbox-launch";
/// The first argument of a launcher that is the first process of its namespaces.
pub const INSIDE: &str = "sandbox-inside";

/// Starts the command that standard input tells of, behind its fence, and ends as it does.
///
/// A program whose first argument is [`LAUNCH`] or [`INSIDE`] calls this before it has started
/// any thread, with `name` and `arguments` as they were given to [`Launcher::this_program`].
///
/// [`Launcher::this_program`]: super::Launcher::this_program
#[cfg(target_os = "linux")]
pub fn launch(argument: &str, name: &str, arguments: &[&str]) -> ExitCode {
    linux::launch(argument, name, arguments)
}

/// Other systems have no sandboxes.
#[cfg(not(target_os = "linux"))]
pub fn launch(_: &str, _: &str, _: &[&str]) -> ExitCode {
    ExitCode::FAILURE
}

#[cfg(target_os = "linux")]
mod linux {
    use std::fs;
    use std::io;
    use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
    use std::process::{Command, ExitCode};

    use build_core::plan::{Network, Sandbox};
    use rustix::process::{getgid, getuid};
    use rustix::thread::UnshareFlags;

    use super::super::fence::{Bounds, Level};
    use super::super::launcher::{FAILED, Order, Report, SIGNALED, Told};
    use super::super::{capabilities, inside, restrict};
    use super::INSIDE;
    use crate::buildlet::groups;
    use crate::buildlet::processes::{Command as Wanted, assigned};

    pub(super) fn launch(argument: &str, name: &str, arguments: &[&str]) -> ExitCode {
        let Ok(mut told) = Told::stdin() else {
            return code(FAILED);
        };
        let ended = match told.order() {
            Ok(order) if argument == INSIDE => inside::run(&order, &mut told),
            Ok(order) => begin(&order, &mut told, name, arguments),
            Err(error) => Err(format!("the launcher's order cannot be read: {error}")),
        };
        ended.unwrap_or_else(|text| {
            told.report(&Report::Failed(text));
            code(FAILED)
        })
    }

    fn begin(
        order: &Order,
        told: &mut Told,
        name: &str,
        arguments: &[&str],
    ) -> Result<ExitCode, String> {
        if let Some(group) = &order.fence.group {
            let entered = groups::join(group);
            entered.map_err(|e| format!("the control group cannot be entered: {e}"))?;
        }
        match order.fence.level {
            Level::Namespaces => apart(order, told, name, arguments),
            _ => become_command(order, told),
        }
    }

    pub(in super::super) fn code(code: i32) -> ExitCode {
        // Codes of processes have eight bits.
        ExitCode::from(u8::try_from(code & 0xff).unwrap_or(u8::MAX))
    }

    /// The command as it is started, with its own environment and what it reads.
    ///
    /// # Errors
    /// When it cannot be handed what it reads.
    pub(in super::super) fn command(order: &Order, told: &mut Told) -> Result<Command, String> {
        let input = told.input(order);
        let input = input.map_err(|error| format!("sandbox: hand on the input: {error}"))?;
        let mut command = Command::new(&order.program);
        command
            .args(&order.args)
            .env_clear()
            .envs(order.env_bytes.iter().filter_map(assigned))
            .envs(order.env.iter().filter_map(|pair| pair.split_once('=')))
            .current_dir(&order.dir)
            .stdin(input);
        Ok(command)
    }

    /// Why it was not started, in the protocol's words.
    pub(in super::super) fn not_started(order: &Order, error: &io::Error) -> String {
        let wanted = Wanted {
            program: order.program.clone(),
            args: Vec::new(),
            env: Vec::new(),
            env_bytes: Vec::new(),
            dir: order.dir.clone(),
            sandbox: Sandbox::default(),
            network: Network::default(),
            bounds: Bounds::default(),
        };
        wanted.spawn_failure(error)
    }

    fn become_command(order: &Order, told: &mut Told) -> Result<ExitCode, String> {
        if order.fence.level == Level::User {
            restrict::as_user(&order.fence)?;
        }
        let error = command(order, told)?.exec();
        Err(not_started(order, &error))
    }

    /// Makes namespaces and waits for the end of their first process.
    fn apart(
        order: &Order,
        told: &mut Told,
        name: &str,
        arguments: &[&str],
    ) -> Result<ExitCode, String> {
        let failed = |what: &str, error: io::Error| format!("sandbox: {what}: {error}");
        namespaces(order.fence.network).map_err(|e| failed("make namespaces", e))?;
        capabilities::hand_on().map_err(|e| failed("keep capabilities", e))?;
        let mut first = Command::new("/proc/self/exe");
        first.arg0(name).args(arguments).arg(INSIDE);
        first.stdin(told.hand_on().map_err(|e| failed("hand on the input", e))?);
        let status = first.status();
        let status = status.map_err(|e| failed("start the first process", e))?;
        if let Some(ended) = status.code() {
            return Ok(code(ended));
        }
        let number = status.signal().unwrap_or_default();
        if !told.has_report() {
            told.report(&Report::Signal {
                number,
                core: status.core_dumped(),
            });
        }
        Ok(code(SIGNALED + number))
    }

    fn namespaces(network: Network) -> io::Result<()> {
        let (uid, gid) = (getuid().as_raw(), getgid().as_raw());
        let mut flags = UnshareFlags::NEWUSER
            | UnshareFlags::NEWNS
            | UnshareFlags::NEWPID
            | UnshareFlags::NEWIPC
            | UnshareFlags::NEWUTS
            | UnshareFlags::NEWCGROUP;
        if network != Network::Open {
            flags |= UnshareFlags::NEWNET;
        }
        #[expect(
            deprecated,
            reason = "it is unsafe for tables of descriptors alone, which stay shared; what replaces it is unsafe"
        )]
        rustix::thread::unshare(flags)?;
        fs::write("/proc/self/setgroups", "deny")?;
        fs::write("/proc/self/uid_map", format!("{uid} {uid} 1"))?;
        fs::write("/proc/self/gid_map", format!("{gid} {gid} 1"))
    }
}

#[cfg(target_os = "linux")]
pub(super) use linux::{code, command, not_started};
