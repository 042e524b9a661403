//! Answers about detached commands and leases: our extension of the protocol, in JSON.

use serde::{Deserialize, Serialize};

use super::{ExecOutcome, ExecStatus};
use crate::clock::Timestamp;
use crate::ids::ExecId;

/// How far a detached command is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ExecState {
    /// It runs.
    Running,
    /// It ended by itself, for a limit, or could not be started.
    Ended,
    /// It was ended because a client asked for it.
    Killed,
    /// The buildlet ended while it ran; how it went on is unknown.
    Lost,
}

/// A detached command, as `GET /exec/ID`, `GET /exec` and `POST /exec/start` tell it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecReport {
    /// Its name.
    pub id: ExecId,
    /// Process id of its first process; none when it could not be started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// How far it is.
    pub state: ExecState,
    /// The text of the `Process-State` trailer, once it has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process_state: Option<String>,
    /// Exit status, if it exited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// Number of the signal that ended it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    /// Bytes of output that can be read: where the next attachment goes on.
    pub output_bytes: u64,
    /// When it was started: microseconds since 1970-01-01 UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_us: Option<Timestamp>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_us: Option<Timestamp>,
    /// Whether a part of the output was dropped.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub truncated: bool,
}

impl ExecReport {
    /// A command that was started now.
    #[must_use]
    pub fn started(id: ExecId, pid: Option<u32>, now: Timestamp) -> Self {
        Self {
            id,
            pid,
            state: ExecState::Running,
            process_state: None,
            exit_code: None,
            signal: None,
            output_bytes: 0,
            started_us: Some(now),
            ended_us: None,
            truncated: false,
        }
    }

    /// The same command after it has ended so.
    #[must_use]
    pub fn ended(mut self, outcome: &ExecOutcome, now: Timestamp) -> Self {
        self.state = match outcome {
            ExecOutcome::Killed => ExecState::Killed,
            ExecOutcome::Lost => ExecState::Lost,
            _ => ExecState::Ended,
        };
        self.process_state = Some(outcome.to_process_state());
        self.exit_code = outcome.exit_code();
        self.signal = outcome.signal();
        self.ended_us = Some(now);
        self
    }

    /// How it ended; `None` while it runs.
    #[must_use]
    pub fn outcome(&self) -> Option<ExecOutcome> {
        match self.state {
            ExecState::Running => None,
            ExecState::Killed => Some(ExecOutcome::Killed),
            ExecState::Lost => Some(ExecOutcome::Lost),
            ExecState::Ended => {
                let text = self.process_state.as_deref().unwrap_or_default();
                Some(ExecOutcome::parse_process_state(text))
            }
        }
    }
}

impl From<ExecReport> for ExecStatus {
    fn from(report: ExecReport) -> Self {
        Self {
            outcome: report.outcome(),
            id: report.id,
            pid: report.pid,
            output_bytes: report.output_bytes,
        }
    }
}

/// The answer to `POST /lease`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseReport {
    /// When the buildlet ends everything, unless the lease is renewed before.
    pub expires_us: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> ExecReport {
        let id = ExecId::new("b1.test").unwrap();
        ExecReport::started(id, Some(4711), Timestamp::from_micros(1_000_000))
    }

    #[test]
    fn the_json_of_a_running_command() {
        insta::assert_snapshot!(
            serde_json::to_string(&report()).unwrap(),
            @r#"{"id":"b1.test","pid":4711,"state":"running","output_bytes":0,"started_us":1000000}"#
        );
    }

    #[test]
    fn the_json_of_ended_commands() {
        let now = Timestamp::from_micros(2_500_000);
        let exited = report().ended(&ExecOutcome::of_exit(3), now);
        insta::assert_snapshot!(
            serde_json::to_string(&exited).unwrap(),
            @r#"{"id":"b1.test","pid":4711,"state":"ended","process_state":"exit status 3","exit_code":3,"output_bytes":0,"started_us":1000000,"ended_us":2500000}"#
        );
        let mut killed = report().ended(&ExecOutcome::Killed, now);
        killed.truncated = true;
        insta::assert_snapshot!(
            serde_json::to_string(&killed).unwrap(),
            @r#"{"id":"b1.test","pid":4711,"state":"killed","process_state":"signal: killed","signal":9,"output_bytes":0,"started_us":1000000,"ended_us":2500000,"truncated":true}"#
        );
    }

    #[test]
    fn every_outcome_comes_back() {
        let outcomes = [
            ExecOutcome::Ok,
            ExecOutcome::Exit(3),
            ExecOutcome::of_signal(11, true),
            ExecOutcome::NotStarted("fork/exec /w/x: permission denied".into()),
            ExecOutcome::TimedOut,
            ExecOutcome::Silent,
            ExecOutcome::DiskQuota,
            ExecOutcome::Limit("memory".into()),
            ExecOutcome::Killed,
            ExecOutcome::Lost,
        ];
        for outcome in outcomes {
            let report = report().ended(&outcome, Timestamp::default());
            let json = serde_json::to_string(&report).unwrap();
            let again: ExecReport = serde_json::from_str(&json).unwrap();
            assert_eq!(again, report);
            assert_eq!(ExecStatus::from(again).outcome, Some(outcome));
        }
        assert_eq!(ExecStatus::from(report()).outcome, None);
    }

    #[test]
    fn unknown_members_are_ignored() {
        let json = r#"{"id":"a","state":"running","output_bytes":5,"new":1}"#;
        let report: ExecReport = serde_json::from_str(json).unwrap();
        assert_eq!((report.pid, report.output_bytes), (None, 5));
    }
}
