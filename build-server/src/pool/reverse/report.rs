//! What is told of the machines: `/status/reverse.json`, and which of them are missing.

use std::collections::BTreeSet;
use std::time::Duration;

use build_core::go_json;
use build_core::ids::HostType;
use build_core::status_json::{ReverseBuilder, ReverseBuilderStatus};
use serde::Serialize;
use tokio::time::Instant;

use super::machine::Hold;
use super::{ReversePool, by_kind};

/// How long a machine may be away, also after a start, before it is missed.
const GRACE: Duration = Duration::from_secs(120);
/// From this part of missing machines on it is an error.
const MANY_MISSING: f64 = 0.15;

/// Machines of a kind that should be there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    /// The kind.
    pub host_type: HostType,
    /// How many.
    pub count: u32,
    /// Their names, where they are known.
    pub names: BTreeSet<String>,
}

impl Expected {
    /// So many machines of a kind.
    #[must_use]
    pub fn count(host_type: HostType, count: u32) -> Self {
        Self {
            host_type,
            count,
            names: BTreeSet::new(),
        }
    }
}

/// How bad a [`Finding`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Worth knowing.
    Info,
    /// Somebody should look.
    Warn,
    /// Somebody must look.
    Error,
}

/// Something about the machines that people should know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Finding {
    /// How bad it is.
    pub level: Level,
    /// What it is.
    pub text: String,
}

impl ReversePool {
    /// The machines by kind, as `/status/reverse.json` shows them. `waiters` says how many wait for
    /// a machine of a kind.
    pub fn reverse_status(&self, waiters: impl Fn(&str) -> u32) -> ReverseBuilderStatus {
        let now = Instant::now();
        let seconds = |since: Instant| now.saturating_duration_since(since).as_secs_f64();
        let mut status = ReverseBuilderStatus::default();
        for expected in self.0.expected.iter().filter(|expected| expected.count > 0) {
            status.host(expected.host_type.as_str()).expect = expected.count;
        }
        for life in self.0.lives() {
            let known = &life.registration;
            let state = life.state();
            let Some(connected) = state.connected else {
                continue;
            };
            let busy = !matches!(state.hold, Hold::Idle);
            let spent = seconds(state.since);
            let host = status.host(known.host_type.as_str());
            host.connected += 1;
            match busy {
                true => host.busy += 1,
                false => host.idle += 1,
            }
            host.machines.insert(
                known.host.clone(),
                ReverseBuilder {
                    name: known.host.clone(),
                    host_type: known.host_type.to_string(),
                    connected_sec: seconds(connected),
                    idle_sec: if busy { 0.0 } else { spent },
                    busy_sec: if busy { spent } else { 0.0 },
                    version: known.version.clone(),
                    busy,
                },
            );
        }
        for (kind, host) in &mut status.host_types {
            host.waiters = waiters(kind);
        }
        status
    }

    /// The text of `/status/reverse.json`.
    pub fn reverse_status_json(&self, waiters: impl Fn(&str) -> u32) -> String {
        go_json::to_string_indented(&self.reverse_status(waiters))
    }

    /// Which machines are missing, and what else is odd.
    #[must_use]
    pub fn findings(&self) -> Vec<Finding> {
        let lives = self.0.lives();
        let kinds = by_kind(&lives);
        let young = self.0.started.elapsed() < GRACE;
        let mut findings = Vec::new();
        for expected in &self.0.expected {
            let here: BTreeSet<&str> = kinds
                .get(&expected.host_type)
                .into_iter()
                .flatten()
                .filter(|life| life.is_connected())
                .map(|life| life.registration.host.as_str())
                .collect();
            self.missing(expected, &here, young, &mut findings);
        }
        for refused in self.refusals() {
            findings.push(Finding {
                level: Level::Warn,
                text: format!(
                    "machine {:?} of kind {:?} from {} was refused {} times: {}",
                    refused.host, refused.host_type, refused.address, refused.count, refused.why
                ),
            });
        }
        findings
    }

    fn missing(
        &self,
        expected: &Expected,
        here: &BTreeSet<&str>,
        young: bool,
        findings: &mut Vec<Finding>,
    ) {
        let count = u32::try_from(here.len()).unwrap_or(u32::MAX);
        let missing = expected.count.saturating_sub(count);
        let level = |level| if young { Level::Info } else { level };
        let kind = &expected.host_type;
        let now = self.0.clock.now();
        let history = self.history();
        for name in expected
            .names
            .iter()
            .filter(|name| !here.contains(name.as_str()))
        {
            let seen = history
                .iter()
                .find(|seen| seen.host == *name && seen.host_type == *kind);
            let last = match seen {
                Some(seen) if now.since(seen.last) < GRACE => continue,
                Some(seen) => format!("last seen {} s ago", now.since(seen.last).as_secs()),
                None => "not seen since the start".to_owned(),
            };
            findings.push(Finding {
                level: level(Level::Warn),
                text: format!("{kind} machine {name} is missing, {last}"),
            });
        }
        if missing > 0 {
            let part = f64::from(missing) / f64::from(expected.count);
            let bad = match part >= MANY_MISSING {
                true => Level::Error,
                false => Level::Warn,
            };
            findings.push(Finding {
                level: level(bad),
                text: format!(
                    "{missing} of {} {kind} machines are missing",
                    expected.count
                ),
            });
        }
    }
}
