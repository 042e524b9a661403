//! Which failures are the machine's and which the code's, and how long to wait before
//! trying again.

use std::time::Duration;

use crate::buildlet::ExecOutcome;
use crate::event::UnitEnd;
use crate::ids::BuilderName;
use crate::plan::Step;

/// How often a machine may fail to start for one unit before its build gives up.
pub const CREATION_ATTEMPTS: u32 = 5;
/// How often a recipe that cannot be read is asked before its build gives up.
pub const PLAN_ATTEMPTS: u32 = 5;

/// Growing pauses between attempts: 1 s, doubled each time, 60 s at most.
///
/// ```
/// use build_core::retry::pause_after;
/// use std::time::Duration;
/// assert_eq!(pause_after(1), Duration::from_secs(1));
/// assert_eq!(pause_after(4), Duration::from_secs(8));
/// assert_eq!(pause_after(100), Duration::from_secs(60));
/// ```
pub fn pause_after(failures: u32) -> Duration {
    let doublings = failures.saturating_sub(1).min(6);
    Duration::from_secs((1 << doublings).min(60))
}

/// Whose fault the end of a unit was.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Blame {
    /// It passed.
    Nobody,
    /// The code: final, never tried again. One sentence.
    Code(String),
    /// The configuration: final.
    Configuration {
        /// One sentence.
        text: String,
        /// What to do about it.
        hint: String,
    },
    /// The machine or the way to it: tried again as often as the plan's limits allow.
    Machine(String),
    /// Whoever runs the farm stopped it: run again, without counting it.
    Operator,
    /// Somebody canceled the build.
    Canceled,
}

/// Whose fault `end` was, of a unit that ran for `builder`.
pub fn blame(end: &UnitEnd, builder: &BuilderName) -> Blame {
    match end {
        UnitEnd::Exited(ExecOutcome::Ok) => Blame::Nobody,
        UnitEnd::Exited(other) => Blame::Code(other.to_string()),
        UnitEnd::TimedOut(limit) => Blame::Code(format!("ran longer than {}", human(*limit))),
        UnitEnd::Silent(limit) => Blame::Code(format!("no output for {}", human(*limit))),
        UnitEnd::DiskQuota => Blame::Code("disk quota".into()),
        UnitEnd::NoTests => Blame::Code("no tests ran".into()),
        UnitEnd::MissingTool(tool) => Blame::Configuration {
            text: format!("{tool}: not found on PATH of builder {builder}"),
            hint: format!(
                "install {tool} on the machine, or choose a builder whose machines have it"
            ),
        },
        UnitEnd::Lost(text) => Blame::Machine(text.clone()),
        UnitEnd::Interrupted => Blame::Operator,
        UnitEnd::Canceled => Blame::Canceled,
    }
}

/// The end of a unit in the words of the event log: what the buildlet enforced becomes the
/// limit of the step, and a command that was ended by order, which nobody gave, was ended
/// with its machine.
pub fn classify(end: UnitEnd, step: &Step) -> UnitEnd {
    match end {
        UnitEnd::Exited(ExecOutcome::TimedOut) => UnitEnd::TimedOut(step.timeout),
        UnitEnd::Exited(ExecOutcome::Silent) => UnitEnd::Silent(step.quiet),
        UnitEnd::Exited(ExecOutcome::DiskQuota) => UnitEnd::DiskQuota,
        UnitEnd::NoTests if step.may_run_no_tests => UnitEnd::Exited(ExecOutcome::Ok),
        UnitEnd::Exited(ExecOutcome::Killed) => {
            UnitEnd::Lost("the machine ended the command".into())
        }
        other => other,
    }
}

/// A duration for people: `1h30m`, `20m`, `45s`.
fn human(time: Duration) -> String {
    let seconds = time.as_secs();
    let parts = [
        (seconds / 3600, "h"),
        (seconds / 60 % 60, "m"),
        (seconds % 60, "s"),
    ];
    let text: String = parts
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, unit)| format!("{count}{unit}"))
        .collect();
    if text.is_empty() {
        format!("{}ms", time.as_millis())
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::StepName;

    fn local() -> BuilderName {
        BuilderName::new("local").unwrap()
    }

    #[test]
    fn limits_that_the_buildlet_enforced_are_told_as_limits_of_the_step() {
        let step = Step::new(StepName::new("test").unwrap(), "true");
        let end = classify(UnitEnd::Exited(ExecOutcome::TimedOut), &step);
        assert_eq!(
            blame(&end, &local()),
            Blame::Code("ran longer than 2h".into())
        );
        let end = classify(UnitEnd::Exited(ExecOutcome::Silent), &step);
        assert_eq!(
            blame(&end, &local()),
            Blame::Code("no output for 20m".into())
        );
        let end = classify(UnitEnd::Exited(ExecOutcome::DiskQuota), &step);
        assert_eq!(blame(&end, &local()), Blame::Code("disk quota".into()));
    }

    #[test]
    fn only_machines_are_given_a_second_chance() {
        assert_eq!(
            blame(&UnitEnd::Lost("reset".into()), &local()),
            Blame::Machine("reset".into())
        );
        let failed = UnitEnd::Exited(ExecOutcome::Exit(3));
        assert_eq!(
            blame(&failed, &local()),
            Blame::Code("exit status 3".into())
        );
        let tool = blame(&UnitEnd::MissingTool("cargo".into()), &local());
        assert!(
            matches!(tool, Blame::Configuration { text, .. } if text == "cargo: not found on PATH of builder local")
        );
    }

    #[test]
    fn durations_read_well() {
        assert_eq!(human(Duration::from_secs(5445)), "1h30m45s");
        assert_eq!(human(Duration::from_millis(20)), "20ms");
    }
}
