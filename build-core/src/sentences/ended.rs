//! How things ended, in words.

use super::took;
use crate::buildlet::ExecOutcome;
use crate::event::UnitEnd;

/// How a unit ended, as one clause.
pub fn end(end: &UnitEnd) -> String {
    match end {
        UnitEnd::Exited(ExecOutcome::Ok) => "passed".into(),
        UnitEnd::Exited(ExecOutcome::Exit(status)) => format!("exit status {status}"),
        UnitEnd::Exited(outcome) => outcome.to_string(),
        UnitEnd::TimedOut(limit) => format!("ran longer than {}", took(*limit)),
        UnitEnd::Silent(limit) => format!("printed nothing for {}", took(*limit)),
        UnitEnd::DiskQuota => "the disk was nearly full".into(),
        UnitEnd::NoTests => "no tests ran".into(),
        UnitEnd::MissingTool(tool) => format!("{tool}: not found on PATH"),
        UnitEnd::Lost(text) => format!("the machine was lost: {text}"),
        UnitEnd::Interrupted => "interrupted when the farm was stopped, will run again".into(),
        UnitEnd::Canceled => "canceled".into(),
    }
}
