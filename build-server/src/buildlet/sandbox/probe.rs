//! Which levels this machine has.

use std::process::Stdio;
use std::time::{Duration, Instant};

use build_core::plan::{Network, Sandbox};

use super::fence::{Bounds, Fence, Level};
use super::launcher::{Launcher, Reads, Report};
use crate::buildlet::processes::Command;

/// How long one trial may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two looks whether it has ended.
const LOOK: Duration = Duration::from_millis(1);

/// The highest level of a machine, and why it is not higher.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Available {
    /// The highest level.
    pub level: Level,
    /// Why the next one is not there; `None` when there is no higher one.
    pub why_not_higher: Option<String>,
}

/// Starts a command that does nothing at each level, the highest first. Blocks, some milliseconds
/// as a rule and twenty seconds at most.
pub fn probe(launcher: &Launcher) -> Available {
    let mut why = None;
    for level in [Level::Namespaces, Level::User] {
        match attempt(launcher, level) {
            Ok(()) => {
                return Available {
                    level,
                    why_not_higher: why,
                };
            }
            Err(text) => why = Some(format!("{level}: {text}")),
        }
    }
    Available {
        level: Level::None,
        why_not_higher: why,
    }
}

fn attempt(launcher: &Launcher, level: Level) -> Result<(), String> {
    let command = Command {
        program: "/bin/true".into(),
        args: Vec::new(),
        env: Vec::new(),
        env_bytes: Vec::new(),
        dir: "/".into(),
        sandbox: Sandbox::default(),
        network: Network::default(),
        bounds: Bounds::default(),
    };
    let fence = Fence {
        level,
        ..Fence::default()
    };
    let launched = launcher.launch(&command, fence, Reads::Nothing);
    let (mut std, mut launched) = launched.map_err(|e| e.to_string())?;
    std.stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = std.spawn().map_err(|e| e.to_string())?;
    let begin = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().map_err(|e| e.to_string())? {
            break status;
        }
        if begin.elapsed() > PATIENCE {
            // It is told as what it is; that it cannot be killed adds nothing.
            let _ = child.kill().and_then(|()| child.wait());
            return Err("no answer".into());
        }
        std::thread::sleep(LOOK);
    };
    match (
        status.code(),
        status.code().and_then(|c| launched.report(c)),
    ) {
        (Some(0), _) => Ok(()),
        (_, Some(Report::Failed(text))) => {
            Err(text.strip_prefix("sandbox: ").unwrap_or(&text).to_owned())
        }
        _ => Err(format!("the trial ended with {status}")),
    }
}
